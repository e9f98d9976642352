use anyhow::{Result, ensure};
use e2e::cluster::stack::{self, CLIENTS, PATIENCE, served};
use e2e::cluster::{Clients, progress, replicas};
use serde_json::Value;
use tokio::time::Instant;

use super::engine_autoscaler::because;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn advise_decides_and_never_acts() -> Result<()> {
    stack::shared("advise", async |stack| {
        let (engines, autoscaler) = (stack.engines("advise"), stack.engine_autoscaler("advise"));
        let start = Instant::now();
        let clients = Clients::start(&stack.router, &served("advise"), CLIENTS)?;
        let wants_more = |object: &Value| object["status"]["desiredReplicas"].as_u64() >= Some(2);
        let advice = autoscaler.wait(start, PATIENCE, "advice to scale up", wants_more).await?;
        progress(
            "advise",
            &format!("advises {}: {:?}", advice.object["status"]["desiredReplicas"], because(&advice.object).first()),
        );
        ensure!(!because(&advice.object).is_empty(), "advice has reasons: {}", advice.object["status"]);
        clients.stop().await.expect_no_failure(CLIENTS)?;
        let stop = Instant::now();
        let wants_one = |object: &Value| object["status"]["desiredReplicas"].as_u64() == Some(1);
        autoscaler.wait(stop, PATIENCE, "advice to scale down", wants_one).await?;
        for state in engines.all() {
            ensure!(replicas(&state.object).0 == 1, "Advise must not scale, it wrote {}", replicas(&state.object).0);
        }
        Ok(())
    })
    .await
}
