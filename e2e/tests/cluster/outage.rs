use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cluster::stack::{self, CLIENTS, MOST, NAMESPACE, PATIENCE, Stack, served};
use e2e::cluster::{Clients, History, conditions, progress, replicas};
use serde_json::Value;
use testkit::eventually;
use tokio::time::Instant;

use super::hpa::{fill, is_valid};

/// Within this time of the loss of Prometheus the HPA names the error: maxAge of the rules (30 s), a collection, a sync.
const NAMED_WITHIN: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_prometheus_an_hpa_holds_and_says_so_while_an_engine_autoscaler_works_on() -> Result<()> {
    stack::alone("outage", async |stack| {
        let control = control_run(stack).await?;
        progress("outage", &format!("control run: one engine wanted {:.1} s after the load", control.as_secs_f64()));

        let hpa = stack.hpa("hpa");
        let engines = stack.engines("hpa");
        let clients = Clients::start(&stack.router, &served("hpa"), CLIENTS)?;
        fill(stack, "hpa", Instant::now()).await?;
        // The last that Prometheus sees, and the adapter answers from until it is too old, is a full fleet.
        eventually(PATIENCE, "a full fleet in Prometheus", || async {
            let running = stack.monitoring.value("sum(vllm:num_requests_running{model=\"hpa\"})").await?;
            ensure!(running >= 12.0, "{running} requests running");
            Ok(())
        })
        .await?;
        stack.monitoring.stop().await?;
        let outcome = outage(stack, clients, &hpa, &engines, control).await;
        let recovered = Instant::now();
        // Also after a failure: the tests that follow need it, and what is made of it.
        stack.monitoring.start().await?;
        let valid = hpa.wait(recovered, PATIENCE, "valid metrics again", is_valid).await;
        outcome?;
        valid?;
        let back = engines.wait(recovered, PATIENCE, "one engine wanted", |object| replicas(object).0 == 1).await?;
        let seconds = (back.at - recovered).as_secs_f64();
        progress("outage", &format!("one engine wanted {seconds:.1} s after the return of Prometheus"));
        Ok(())
    })
    .await
}

/// Prometheus is gone, now the load ends: the HPA of a full fleet holds and names the error, an EngineAutoscaler works.
async fn outage(stack: &Stack, clients: Clients, hpa: &History, engines: &History, control: Duration) -> Result<()> {
    let lost = Instant::now();
    clients.stop().await.expect_no_failure(CLIENTS)?;
    let working = engine_autoscaler_works(stack);
    let holding = async {
        let named = hpa.wait(lost, NAMED_WITHIN, "an error that names the rule", names_the_error).await?;
        progress(
            "outage",
            &format!("named after {:.1} s: {}", (named.at - lost).as_secs_f64(), scaling_active(&named.object)),
        );
        // Well beyond the time in which the control run fell.
        tokio::time::sleep_until(lost + NAMED_WITHIN.max(control * 2)).await;
        anyhow::Ok(named.at)
    };
    let (working, holding) = tokio::join!(working, holding);
    let named = holding?;
    working.context("the EngineAutoscaler while Prometheus is gone")?;

    // Until the error is named the HPA acts on the last values, which are young enough: those of a loaded fleet, whose engines
    // may have been between two requests when they were scraped. The control run fell to one. From then on nothing may move.
    let mut held = MOST;
    for state in engines.since(lost) {
        let wanted = replicas(&state.object).0;
        ensure!(wanted > 1, "the HPA fell to {wanted} on the values of a loaded fleet");
        ensure!(wanted >= held || state.at < named, "the HPA fell from {held} to {wanted} without metrics");
        held = wanted;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_engines_unscrapable_an_engine_autoscaler_holds_and_says_so() -> Result<()> {
    stack::alone("unscrapable", async |stack| {
        let (engines, autoscaler) = (stack.engines("eas"), stack.engine_autoscaler("eas"));
        let start = Instant::now();
        let clients = Clients::start(&stack.router, &served("eas"), CLIENTS)?;
        let enough =
            engines.wait(start, PATIENCE, "enough engines ready", |object| replicas(object).1 >= MOST - 1).await?;
        let held = replicas(&enough.object).0;
        clients.stop().await.expect_no_failure(CLIENTS)?;

        // The port that pods announce is what everyone scrapes; nothing listens on this one.
        let selector = format!("model=eas,app.kubernetes.io/instance={}", stack::RELEASE);
        let annotate =
            ["annotate", "pods", "-n", NAMESPACE, "-l", &selector, "--overwrite", "vllm-prod-stack.io/port=9"];
        stack.cluster.kubectl(&annotate).await?;
        let blind = Instant::now();
        let says_so =
            |object: &Value| condition(object, "MetricsAvailable").is_some_and(|(status, ..)| status == "False");
        let said = autoscaler.wait(blind, PATIENCE, "MetricsAvailable=False", says_so).await?;
        progress("unscrapable", &format!("{:?}", condition(&said.object, "MetricsAvailable")));
        let at_loss = engines.latest().map(|object| replicas(&object).0).context("the Deployment is there")?;
        // Three times the stabilisation of this EngineAutoscaler.
        tokio::time::sleep_until(blind + Duration::from_secs(30)).await;
        for state in engines.since(said.at) {
            ensure!(
                replicas(&state.object).0 >= at_loss.min(held),
                "fell to {} while blind",
                replicas(&state.object).0
            );
        }

        let selector = selector.as_str();
        stack
            .cluster
            .kubectl(&["annotate", "pods", "-n", NAMESPACE, "-l", selector, "vllm-prod-stack.io/port-"])
            .await?;
        let seeing = Instant::now();
        engines.wait(seeing, PATIENCE, "one engine wanted", |object| replicas(object).0 == 1).await.map(drop)
    })
    .await
}

/// Without a fault: how long after the load the HPA wants one engine.
async fn control_run(stack: &Stack) -> Result<Duration> {
    let engines = stack.engines("hpa");
    let clients = Clients::start(&stack.router, &served("hpa"), CLIENTS)?;
    fill(stack, "hpa", Instant::now()).await?;
    clients.stop().await.expect_no_failure(CLIENTS)?;
    let stop = Instant::now();
    let back = engines.wait(stop, PATIENCE, "one engine wanted", |object| replicas(object).0 == 1).await?;
    Ok(back.at - stop)
}

async fn engine_autoscaler_works(stack: &Stack) -> Result<()> {
    let engines = stack.engines("eas");
    let start = Instant::now();
    let clients = Clients::start(&stack.router, &served("eas"), CLIENTS)?;
    engines.wait(start, PATIENCE, "enough engines ready", |object| replicas(object).1 >= MOST - 1).await?;
    clients.stop().await.expect_no_failure(CLIENTS)?;
    engines.wait(Instant::now(), PATIENCE, "one engine wanted", |object| replicas(object).0 == 1).await.map(drop)
}

fn condition(object: &Value, kind: &str) -> Option<(String, String, String)> {
    let found = conditions(object).into_iter().find(|(name, ..)| name == kind)?;
    Some((found.1, found.2, found.3))
}

fn scaling_active(hpa: &Value) -> String {
    condition(hpa, "ScalingActive").map_or_else(
        || "no ScalingActive".to_owned(),
        |(status, reason, message)| format!("{status} {reason}: {message}"),
    )
}

/// The message is the adapter's own: which rule, and why.
fn names_the_error(hpa: &Value) -> bool {
    condition(hpa, "ScalingActive")
        .is_some_and(|(status, _, message)| status == "False" && message.contains("vllm_num_requests"))
}
