//! Prints the figures of `docs/benchmarks/cluster.md`; `e2e/cluster/measure.sh` runs it, with HPA at Kubernetes' defaults.

use anyhow::{Context, Result};
use e2e::cluster::stack::{self, CLIENTS, PATIENCE, Stack, served};
use e2e::cluster::{Clients, progress, replicas};
use tokio::time::Instant;

/// An HPA decides each 15 s: several runs meet it at several phases.
const RUNS: usize = 4;

#[tokio::main]
async fn main() -> Result<()> {
    stack::alone("measure", measure).await
}

async fn measure(stack: &Stack) -> Result<()> {
    for model in ["hpa", "eas"] {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            times.push(one_run(stack, model).await?);
        }
        let decided = quantiles(times.iter().map(|time| time.0).collect());
        let ready = quantiles(times.iter().map(|time| time.1).collect());
        print(&format!("| {model} | {decided} | {ready} |"));
    }
    for component in ["router", "adapter", "autoscaler"] {
        let query = format!("max(max_over_time(process_resident_memory_bytes{{component=\"{component}\"}}[10m]))");
        let bytes = stack.monitoring.value(&query).await.context(component)?;
        print(&format!("| {component} | {:.1} MiB |", bytes / f64::from(1 << 20)));
    }
    Ok(())
}

/// Seconds from the first request to (more engines wanted, a new one Ready).
async fn one_run(stack: &Stack, model: &str) -> Result<(f64, f64)> {
    let engines = stack.engines(model);
    engines.wait(Instant::now(), PATIENCE * 4, "one engine", |object| replicas(object) == (1, 1)).await?;
    let start = Instant::now();
    let clients = Clients::start(&stack.router, &served(model), CLIENTS)?;
    let wanted = engines.wait(start, PATIENCE, "more engines wanted", |object| replicas(object).0 > 1).await?;
    let ready = engines.wait(start, PATIENCE, "a new engine ready", |object| replicas(object).1 > 1).await?;
    clients.stop().await.expect_no_failure(1)?;
    let times = ((wanted.at - start).as_secs_f64(), (ready.at - start).as_secs_f64());
    progress("measure", &format!("{model}: wanted after {:.1} s, ready after {:.1} s", times.0, times.1));
    Ok(times)
}

fn quantiles(mut seconds: Vec<f64>) -> String {
    seconds.sort_by(f64::total_cmp);
    format!("{:.1} / {:.1} / {:.1}", seconds[0], seconds[seconds.len() / 2], seconds[seconds.len() - 1])
}

#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
fn print(line: &str) {
    println!("{line}");
}
