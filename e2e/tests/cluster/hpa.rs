use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::cluster::stack::{self, CLIENTS, MOST, NAMESPACE, PATIENCE, RELEASE, Stack, served};
use e2e::cluster::{Clients, Cluster, conditions, end_watch, progress, replicas};
use serde_json::Value;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hpa_takes_engines_from_one_to_many_under_load_and_back() -> Result<()> {
    stack::shared("hpa", async |stack| {
        let (engines, hpa) = (stack.engines("hpa"), stack.hpa("hpa"));
        let valid = hpa.wait(Instant::now(), PATIENCE, "valid metrics", is_valid).await?;
        let described = tokio::spawn(describe_each_second(Arc::clone(&stack.cluster)));

        let start = Instant::now();
        let clients = Clients::start(&stack.router, &served("hpa"), CLIENTS)?;
        let full =
            engines.wait(start, PATIENCE, "all engines ready", |object| replicas(object) == (MOST, MOST)).await?;
        progress("hpa", &format!("{MOST} engines ready after {:.1} s", (full.at - start).as_secs_f64()));
        tokio::time::sleep(Duration::from_secs(15)).await;
        let loaded_until = Instant::now();
        for state in engines.since(full.at).iter().filter(|state| state.at <= loaded_until) {
            ensure!(
                replicas(&state.object).0 >= MOST - 1,
                "{} engines wanted while the load lasts",
                replicas(&state.object).0
            );
        }

        let outcome = clients.stop().await;
        outcome.expect_no_failure(CLIENTS)?;
        let stop = Instant::now();
        let back = engines.wait(stop, PATIENCE, "one engine wanted", |object| replicas(object).0 == 1).await?;
        progress("hpa", &format!("one engine wanted {:.1} s after the load", (back.at - stop).as_secs_f64()));

        for state in hpa.since(valid.at) {
            ensure!(is_valid(&state.object), "the HPA lost its metrics: {}", state.object["status"]);
        }
        end_watch(described).await
    })
    .await
}

/// Both metrics have a current value and the HPA says that it can use them.
pub(crate) fn is_valid(hpa: &Value) -> bool {
    let active = conditions(hpa).iter().any(|(kind, status, ..)| kind == "ScalingActive" && status == "True");
    let metrics = hpa["status"]["currentMetrics"].as_array().map(Vec::as_slice).unwrap_or_default();
    let current = metrics.iter().filter(|metric| metric["external"]["current"]["averageValue"].is_string()).count();
    active && current == hpa["spec"]["metrics"].as_array().map_or(0, Vec::len)
}

/// What a person would type: `kubectl describe hpa` again and again. Ends with an error at the first `<unknown>`.
async fn describe_each_second(cluster: Arc<Cluster>) -> Result<()> {
    loop {
        let hpa = format!("{RELEASE}-hpa");
        let text = cluster.kubectl(&["describe", "hpa", &hpa, "-n", NAMESPACE]).await?;
        ensure!(!text.contains("<unknown>"), "kubectl describe hpa shows an unknown metric:\n{text}");
        for metric in ["vllm_num_requests_waiting", "vllm_num_requests_running"] {
            ensure!(text.contains(metric), "kubectl describe hpa does not show {metric}:\n{text}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits until the model's HPA has wanted and got [`MOST`] engines.
pub(crate) async fn fill(stack: &Stack, model: &str, start: Instant) -> Result<()> {
    let engines = stack.engines(model);
    engines.wait(start, PATIENCE, "all engines ready", |object| replicas(object) == (MOST, MOST)).await.map(drop)
}
