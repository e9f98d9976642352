use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cluster::stack::{self, CLIENTS, MOST, NAMESPACE, PATIENCE, RELEASE, Stack, served, values};
use e2e::cluster::{Clients, progress, replicas};
use serde_json::Value;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_autoscaler_scales_says_why_and_survives_a_helm_upgrade() -> Result<()> {
    stack::shared("eas", async |stack| {
        let (engines, autoscaler) = (stack.engines("eas"), stack.engine_autoscaler("eas"));
        autoscaler.wait(Instant::now(), PATIENCE, "a decision", |object| !because(object).is_empty()).await?;

        let start = Instant::now();
        let clients = Clients::start(&stack.router, &served("eas"), CLIENTS)?;
        let wanted =
            engines.wait(start, PATIENCE, "enough engines ready", |object| replicas(object).1 >= MOST - 1).await?;
        progress(
            "eas",
            &format!("{} engines ready after {:.1} s", replicas(&wanted.object).1, (wanted.at - start).as_secs_f64()),
        );
        expect_reasons(stack, &autoscaler.latest().context("the EngineAutoscaler is there")?).await?;

        let upgrade = Instant::now();
        stack.release.upgrade(&with_annotation()?).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        for state in engines.since(upgrade) {
            ensure!(
                replicas(&state.object).0 >= MOST - 1,
                "an upgrade must keep the replicas, they are {}",
                replicas(&state.object).0
            );
        }
        let annotated = |object: &Value| object["metadata"]["annotations"]["e2e/upgraded"] == "true";
        engines.wait(upgrade, PATIENCE, "the upgrade", annotated).await?;

        let outcome = clients.stop().await;
        outcome.expect_no_failure(CLIENTS)?;
        let stop = Instant::now();
        let back = engines.wait(stop, PATIENCE, "one engine wanted", |object| replicas(object).0 == 1).await?;
        progress("eas", &format!("one engine wanted {:.1} s after the load", (back.at - stop).as_secs_f64()));
        Ok(())
    })
    .await
}

/// `(reason, message)` of each reason of the last decision.
pub(crate) fn because(autoscaler: &Value) -> Vec<(String, String)> {
    let reasons = autoscaler["status"]["lastDecision"]["because"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    reasons.iter().map(|one| (text(&one["reason"]), text(&one["message"]))).collect()
}

/// Status, events and `kubectl get eas` tell the same story.
async fn expect_reasons(stack: &Stack, autoscaler: &Value) -> Result<()> {
    let reasons = because(autoscaler);
    ensure!(!reasons.is_empty(), "a decision has reasons: {}", autoscaler["status"]);
    for (reason, message) in &reasons {
        ensure!(!reason.is_empty() && !message.is_empty(), "each reason has a name and a message: {reasons:?}");
    }
    ensure!(autoscaler["status"]["desiredReplicas"].as_u64() >= Some(MOST - 1), "status: {}", autoscaler["status"]);
    let events = stack.events("EngineAutoscaler", "eas").await?;
    ensure!(!events.is_empty(), "a change of the replicas is an event");
    let name = format!("{RELEASE}-eas");
    let line = stack.cluster.kubectl(&["get", "eas", &name, "-n", NAMESPACE]).await?;
    let first = &reasons[0].0;
    for column in ["DESIRED", "READY", "REASON"] {
        ensure!(line.contains(column), "kubectl get eas lacks the column {column}:\n{line}");
    }
    progress("eas", &format!("says {first}: {}; event {:?}; {}", reasons[0].1, events[events.len() - 1], line.trim()));
    Ok(())
}

fn with_annotation() -> Result<String> {
    Ok(values()?.replace("modelURL: e2e/eas\n", "modelURL: e2e/eas\n      annotations: {e2e/upgraded: \"true\"}\n"))
}
