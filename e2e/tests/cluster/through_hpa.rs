use anyhow::{Context, Result, ensure};
use e2e::cluster::stack::{self, CLIENTS, MOST, PATIENCE, served};
use e2e::cluster::{Clients, progress, replicas};
use tokio::time::Instant;

use super::hpa::is_valid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_hpa_publishes_a_wish_that_an_hpa_carries_out() -> Result<()> {
    stack::shared("through", async |stack| {
        let (engines, hpa, autoscaler) =
            (stack.engines("through"), stack.hpa("through"), stack.engine_autoscaler("through"));
        hpa.wait(Instant::now(), PATIENCE, "a valid engine_desired_replicas", is_valid).await?;

        let start = Instant::now();
        let clients = Clients::start(&stack.router, &served("through"), CLIENTS)?;
        let full =
            engines.wait(start, PATIENCE, "enough engines ready", |object| replicas(object).1 >= MOST - 1).await?;
        progress(
            "through",
            &format!("{} engines ready after {:.1} s", replicas(&full.object).1, (full.at - start).as_secs_f64()),
        );
        clients.stop().await.expect_no_failure(CLIENTS)?;
        let stop = Instant::now();
        engines.wait(stop, PATIENCE, "one engine wanted", |object| replicas(object).0 == 1).await?;

        let hpa = hpa.latest().context("the HPA is there")?;
        ensure!(
            hpa["spec"]["metrics"][0]["external"]["metric"]["name"] == "engine_desired_replicas",
            "{}",
            hpa["spec"]
        );
        let wanted =
            autoscaler.latest().context("the EngineAutoscaler is there")?["status"]["desiredReplicas"].as_u64();
        ensure!(wanted == Some(1), "the EngineAutoscaler wants {wanted:?}");
        // Each says in its events what it did: one published, the other scaled.
        let published = stack.events("EngineAutoscaler", "through").await?;
        let others = published.iter().find(|(reason, _)| reason != "Published");
        ensure!(!published.is_empty() && others.is_none(), "events of the EngineAutoscaler: {published:?}");
        let scaled = stack.events("HorizontalPodAutoscaler", "through").await?;
        let wish = |(reason, message): &(String, String)| {
            reason == "SuccessfulRescale" && message.contains("engine_desired_replicas")
        };
        ensure!(scaled.iter().any(wish), "events of the HPA: {scaled:?}");
        Ok(())
    })
    .await
}
