//! The past and the laboratory against a real Prometheus, filled with three days by promtool. Skipped where the two programs
//! are not installed (`e2e/install-tools.sh chart` unpacks them).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use autoscaler::past::{PrometheusConfig, Source};

const DAYS: i64 = 3;
const SCRAPE_SECONDS: i64 = 15;
const DAY: f64 = 86_400.0;

/// Requests a second: a hill by day.
fn rate(at: f64) -> f64 {
    4.0 + 3.0 * (std::f64::consts::TAU * at / DAY).sin()
}

/// A program on PATH, or where the end-to-end tests keep theirs.
fn program(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("E2E_CACHE").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
        Some(cache.join("vllm-prod-stack"))
    });
    let unpacked = cache.map(|cache| cache.join("tools/debian/usr/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(unpacked);
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
}

/// What two router pods counted, one of which began anew each day; how long requests took; what was ordered.
fn open_metrics(begin: i64, end: i64) -> String {
    let mut text = String::new();
    let times = || (begin..=end).step_by(SCRAPE_SECONDS as usize);
    text += "# TYPE router_requests_received counter\n";
    for (pod, share) in [("router-0", 0.75), ("router-1", 0.25)] {
        let mut total = 0.0;
        for at in times() {
            let is_restarted = pod == "router-1" && (at - begin) % 86_400 == 43_200;
            total = if is_restarted { 0.0 } else { total + share * rate(at as f64) * SCRAPE_SECONDS as f64 };
            let labels = format!(r#"namespace="models",model_name="llama \"8b\"",pod="{pod}""#);
            writeln!(text, "router_requests_received_total{{{labels}}} {total} {at}").expect("memory");
        }
    }
    for (part, per_request) in [("sum", 7.5), ("count", 1.0)] {
        writeln!(text, "# TYPE vllm:request_inference_time_seconds_{part} unknown").expect("memory");
        for at in times() {
            let total = per_request * (at - begin) as f64;
            let labels = r#"namespace="models",model_name="llama \"8b\"""#;
            writeln!(text, "vllm:request_inference_time_seconds_{part}{{{labels}}} {total} {at}").expect("memory");
        }
    }
    text += "# TYPE kube_deployment_spec_replicas gauge\n";
    for at in times() {
        writeln!(text, "kube_deployment_spec_replicas{{deployment=\"llama\"}} 12 {at}").expect("memory");
    }
    text + "# EOF\n"
}

/// A Prometheus that ends with the test.
struct Running {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(prometheus: &Path, promtool: &Path, now: i64) -> Running {
    let folder = tempfile::tempdir().expect("a folder");
    let (metrics, data) = (folder.path().join("metrics.txt"), folder.path().join("data"));
    std::fs::write(&metrics, open_metrics(now - DAYS * 86_400, now)).expect("written");
    let filled = Command::new(promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=24h"])
        .args([&metrics, &data])
        .output()
        .expect("promtool runs");
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    let config = folder.path().join("prometheus.yaml");
    std::fs::write(&config, "global: {}\n").expect("written");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let child = Command::new(prometheus)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus runs");
    Running { child, url: format!("http://127.0.0.1:{port}"), _folder: folder }
}

async fn until_ready(url: &str) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().expect("a client");
    let ready = async {
        while !client.get(format!("{url}/-/ready")).send().await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ready).await.expect("prometheus answers");
}

#[tokio::test]
async fn the_past_and_the_laboratory_read_a_real_prometheus() {
    let (Some(prometheus), Some(promtool)) = (program("prometheus"), program("promtool")) else {
        eprintln!("skipped: needs prometheus and promtool (e2e/install-tools.sh chart)");
        return;
    };
    process::install_crypto_provider();
    let now = process::clock::now();
    let running = start(&prometheus, &promtool, now.as_second());
    until_ready(&running.url).await;

    let source = Source::new(&PrometheusConfig::at(&running.url), true).expect("usable");
    let span = 7.0 * DAY;
    let past = source.past("llama \"8b\"", "models", 0.5, span, 10.0, now).await.expect("a past");
    let known = past.per_second.iter().flatten().count();
    assert!(known as f64 > 0.99 * DAYS as f64 * DAY / 10.0, "{known} values");
    let begin = past.begin.as_millisecond() as f64 / 1e3;
    let mut off = 0;
    for (index, value) in past.per_second.iter().enumerate() {
        let Some(value) = value else { continue };
        let expected = 0.5 * rate(begin + (index as f64 + 0.5) * 10.0);
        off += usize::from((value / expected - 1.0).abs() > 0.02);
    }
    // A counter that begins anew loses what it counted within the window.
    assert!(off < 60, "{off} of {known} values are off");
    let seconds = source.service_seconds("llama \"8b\"", "models").await.expect("a service time");
    assert!((seconds - 7.5).abs() < 0.1, "{seconds}");
    let nothing = source.past("gemma", "models", 1.0, span, 10.0, now).await.expect_err("nobody asked for it");
    assert_eq!(nothing.reason(), "NoHistory");

    let query = r#"sum(rate(router_requests_received_total{namespace="models"}[1m]))"#;
    let replicas = r#"kube_deployment_spec_replicas{deployment="llama"}"#;
    for (command, expected) in [("tune", "now: as-run"), ("backtest", "as-run")] {
        let run = Command::new(env!("CARGO_BIN_EXE_autoscaler"))
            .args([command, "--prometheus-url", &running.url, "--query", query, "--replicas-query", replicas])
            .args(["--history", "7d", "--startup", "120s", "--seeds", "1", "--train", "1d"])
            .output()
            .expect("autoscaler runs");
        let (text, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success() && text.contains(expected), "{command}:\n{text}\n{errors}");
    }
}
