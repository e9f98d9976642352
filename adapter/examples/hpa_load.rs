//! Measures a running `adapter` as many HPAs would see it, with an upstream that counts queries.
//!
//! Starts the program given as first argument with 11 rules and 909 models (9,999 series) behind a Prometheus stand-in,
//! sends what 200 HPAs with two metrics each send (one request per 15 s and metric), then a saturated loop, and prints
//! latencies, upstream queries per minute and resident memory as one Markdown table.
//!
//! `cargo run -p adapter --example hpa_load -- target/debug/adapter [seconds]`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};
use testkit::{Program, eventually, free_port};
use tokio::time::Instant;

const MODELS: usize = 909;
const HPAS: usize = 200;
const METRICS: [&str; 2] = ["vllm_num_requests_waiting", "vllm_num_requests_running"];
const HPA_PERIOD: Duration = Duration::from_secs(15);
const SATURATING_CLIENTS: usize = 4;

fn main() -> anyhow::Result<()> {
    process::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let binary = PathBuf::from(arguments.next().context("first argument: path of the adapter program")?);
    let seconds: u64 = arguments.next().map_or(Ok(60), |text| text.parse())?;
    let queries = Arc::new(AtomicU64::new(0));
    let upstream = upstream(queries.clone()).await?;
    let folder = tempfile::tempdir()?;
    let (_adapter, api, admin) = start(&binary, folder.path(), &upstream)?;
    let client = testkit::http_client()?;
    eventually(Duration::from_secs(30), "the first collection", || async {
        let url = url(&api, 0, METRICS[0]);
        ensure!(client.get(url).send().await?.status() == 200, "no value yet");
        Ok(())
    })
    .await?;

    let before = queries.load(Ordering::Relaxed);
    let started = Instant::now();
    let paced = paced(&client, &api, Duration::from_secs(seconds)).await?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    #[expect(clippy::cast_precision_loss, reason = "a count of queries")]
    let per_minute = (queries.load(Ordering::Relaxed) - before) as f64 / minutes;
    let saturated = saturated(&client, &api, Duration::from_secs(seconds / 4)).await?;

    let resident = resident_bytes(&client, &admin).await?;
    let mut out = std::io::stdout();
    report(&mut out, "200 HPAs x 2 metrics / 15 s", paced, Duration::from_secs(seconds))?;
    report(&mut out, "saturated loop, 4 connections", saturated, Duration::from_secs(seconds / 4))?;
    writeln!(out, "| upstream queries per minute | {per_minute:.0} |  |  |  |")?;
    writeln!(out, "| resident memory, MiB | {:.1} |  |  |  |", resident / 1024.0 / 1024.0)?;
    Ok(())
}

/// Answers each rule's query with one value per model, and the targets' query with one fresh engine per model.
async fn upstream(queries: Arc<AtomicU64>) -> anyhow::Result<String> {
    let routes = Router::new().route("/api/v1/query", post(answer)).with_state(queries);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(url)
}

async fn answer(State(queries): State<Arc<AtomicU64>>, body: String) -> axum::Json<Value> {
    queries.fetch_add(1, Ordering::Relaxed);
    // Only the query of the targets sets a label of that name.
    let is_targets = body.contains("scrape");
    let series = (0..MODELS).flat_map(|model| {
        let labels = json!({"namespace": "default", "model": format!("model-{model}")});
        if !is_targets {
            return vec![json!({"metric": labels, "value": [0, model.to_string()]})];
        }
        ["serving-engine", "router", "autoscaler"]
            .map(|component| {
                let mut labels = labels.clone();
                labels["component"] = json!(component);
                labels["pod"] = json!(format!("{component}-{model}"));
                labels["scrape"] = json!("ok");
                json!({"metric": labels, "value": [0, "1"]})
            })
            .to_vec()
    });
    let result: Vec<Value> = series.collect();
    axum::Json(json!({"status": "success", "data": {"resultType": "vector", "result": result}}))
}

fn start(binary: &Path, folder: &Path, upstream: &str) -> anyhow::Result<(Program, String, String)> {
    let (api, admin) = (format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?));
    let config = format!(
        "process: {{adminAddress: '{admin}'}}\n\
         server: {{address: '{api}', authentication: none}}\n\
         prometheus: {{url: '{upstream}'}}\n"
    );
    let file = folder.join("adapter.yaml");
    std::fs::write(&file, config)?;
    let program = Program::start(binary, &["serve", "--config", &file.to_string_lossy()], &folder.join("log"))?;
    Ok((program, format!("http://{api}"), format!("http://{admin}")))
}

fn url(api: &str, hpa: usize, metric: &str) -> String {
    format!("{api}/apis/external.metrics.k8s.io/v1beta1/namespaces/default/{metric}?labelSelector=model%3Dmodel-{hpa}")
}

async fn timed(client: &reqwest::Client, url: String) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let answer = client.get(url).send().await?;
    ensure!(answer.status() == 200, "{}", answer.text().await?);
    answer.bytes().await?;
    Ok(started.elapsed())
}

/// Every HPA asks for its metrics once per period, spread evenly as their phases are in life.
async fn paced(client: &reqwest::Client, api: &str, length: Duration) -> anyhow::Result<Vec<Duration>> {
    let requests = HPAS * METRICS.len();
    let mut clock = tokio::time::interval(HPA_PERIOD / u32::try_from(requests)?);
    let end = Instant::now() + length;
    let mut latencies = Vec::new();
    let mut index = 0;
    while Instant::now() < end {
        clock.tick().await;
        latencies.push(timed(client, url(api, index / METRICS.len() % HPAS, METRICS[index % METRICS.len()])).await?);
        index += 1;
    }
    Ok(latencies)
}

async fn saturated(client: &reqwest::Client, api: &str, length: Duration) -> anyhow::Result<Vec<Duration>> {
    let end = Instant::now() + length;
    let loops = (0..SATURATING_CLIENTS).map(|place| async move {
        let mut latencies = Vec::new();
        let mut index = place;
        while Instant::now() < end {
            latencies.push(timed(client, url(api, index % MODELS, METRICS[index % METRICS.len()])).await?);
            index += SATURATING_CLIENTS;
        }
        anyhow::Ok(latencies)
    });
    let all = futures::future::try_join_all(loops).await?;
    Ok(all.into_iter().flatten().collect())
}

async fn resident_bytes(client: &reqwest::Client, admin: &str) -> anyhow::Result<f64> {
    let text = client.get(format!("{admin}/metrics")).send().await?.text().await?;
    let line =
        text.lines().find(|line| line.starts_with("process_resident_memory_bytes ")).context("no memory metric")?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

fn report(out: &mut impl Write, name: &str, mut latencies: Vec<Duration>, length: Duration) -> anyhow::Result<()> {
    latencies.sort();
    let at = |share: usize| latencies.get((latencies.len() * share / 1000).min(latencies.len().saturating_sub(1)));
    let shown = |share: usize| at(share).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0);
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let rate = latencies.len() as f64 / length.as_secs_f64();
    writeln!(
        out,
        "| {name} | {rate:.0} requests/s | p50 {:.3} ms | p99 {:.3} ms | p99.9 {:.3} ms |",
        shown(500),
        shown(990),
        shown(999)
    )?;
    Ok(())
}
