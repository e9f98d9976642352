use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::cluster::stack::{self, NAMESPACE, RELEASE, deployment, served};
use e2e::cluster::{Clients, Cluster, conditions, end_watch, progress};
use tokio::time::Instant;

/// Two engines of four sequences, with room for one of them.
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_everything_fails_no_request() -> Result<()> {
    stack::alone("restart", async |stack| {
        let api = stack.cluster.watch("/apis/apiregistration.k8s.io/v1/apiservices", "v1beta1.external.metrics.k8s.io");
        let asking = tokio::spawn(ask_the_adapter(Arc::clone(&stack.cluster)));
        let clients = Clients::start(&stack.router, &served("steady"), CLIENTS)?;
        for deployment in [format!("{RELEASE}-deployment-router"), format!("{RELEASE}-adapter"), deployment("steady")] {
            let start = Instant::now();
            let deployment = format!("deployment/{deployment}");
            stack.cluster.kubectl(&["rollout", "restart", &deployment, "-n", NAMESPACE]).await?;
            stack.cluster.kubectl(&["rollout", "status", &deployment, "-n", NAMESPACE, "--timeout=150s"]).await?;
            progress("restart", &format!("{deployment} restarted in {:.1} s", start.elapsed().as_secs_f64()));
        }
        // The last engines drain yet: their preStop is 10 s, and a request lasts a few.
        tokio::time::sleep(Duration::from_secs(15)).await;
        clients.stop().await.expect_no_failure(20 * CLIENTS)?;
        end_watch(asking).await?;
        let states = api.all();
        ensure!(!states.is_empty(), "the APIService was seen");
        for state in states {
            let available =
                conditions(&state.object).into_iter().any(|(kind, status, ..)| kind == "Available" && status == "True");
            ensure!(available, "the APIService was not Available: {}", state.object["status"]);
        }
        Ok(())
    })
    .await
}

/// Asks for a metric again and again, as an HPA does, through the API server. Ends with an error when an answer is not 200.
async fn ask_the_adapter(cluster: Arc<Cluster>) -> Result<()> {
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/vllm_num_requests_running");
    loop {
        let (status, body) = cluster.fetch(&path, &[("labelSelector", "model=hpa")]).await?;
        ensure!(status == 200, "the metrics API answered {status}: {body}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
