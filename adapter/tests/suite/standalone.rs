//! The program itself on one host: engines from a hand-over file, plain HTTP on loopback, and no Kubernetes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::Router;
use axum::routing::get;
use engines::EngineState;
use engines::handover::{Handover, HandoverEngine};
use serde_json::Value;
use testkit::{Program, eventually, free_port};

const PATIENCE: Duration = Duration::from_secs(20);
const PAGE: &str = "vllm:num_requests_waiting{model_name=\"served\",engine=\"0\"} 4\n\
                    vllm:num_requests_running{model_name=\"served\",engine=\"0\"} 2\n";

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_adapter"))
}

async fn page(text: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(listener, Router::new().route("/metrics", get(move || async move { text }))).await
    });
    url
}

fn hand_over(folder: &Path, generation: u64, urls: &[&str]) {
    let engine = |(index, url): (usize, &&str)| HandoverEngine {
        id: format!("e-{index}"),
        url: (*url).to_owned(),
        model: "a".into(),
        state: EngineState::Ready,
    };
    let engines = urls.iter().enumerate().map(engine).collect();
    let list = Handover { generation, engines, ..Handover::default() };
    list.write(&folder.join("engines.json")).unwrap();
}

struct Standalone {
    program: Program,
    api: String,
    admin: String,
    folder: tempfile::TempDir,
}

impl Standalone {
    async fn start(router: &str) -> Self {
        process::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let (api, admin) = (free_port().unwrap(), free_port().unwrap());
        let config = format!(
            "process: {{adminAddress: '127.0.0.1:{admin}'}}\n\
             server: {{address: '127.0.0.1:{api}', authentication: none}}\n\
             direct: {{scrapeInterval: 250ms, enginesFile: '{}', routers: ['{router}']}}\n\
             timing: {{maxAge: 5s}}\n",
            folder.path().join("engines.json").display()
        );
        std::fs::write(folder.path().join("adapter.yaml"), config).unwrap();
        let file = folder.path().join("adapter.yaml");
        let log = folder.path().join("log");
        let program = Program::start(&binary(), &["serve", "--config", &file.to_string_lossy()], &log).unwrap();
        let (api, admin) = (format!("http://127.0.0.1:{api}"), format!("http://127.0.0.1:{admin}"));
        testkit::wait_for_http(&format!("{admin}/readyz"), PATIENCE).await.unwrap();
        Self { program, api, admin, folder }
    }

    async fn until(&self, metric: &str, holds: impl Fn(u16, &Value) -> bool) {
        let client = testkit::http_client().unwrap();
        let url = format!(
            "{}/apis/external.metrics.k8s.io/v1beta1/namespaces/default/{metric}?labelSelector=model%3Da",
            self.api
        );
        let check = || async {
            let answer = client.get(&url).send().await?;
            let (code, body) = (answer.status().as_u16(), answer.json::<Value>().await?);
            ensure!(holds(code, &body), "{code} {body}");
            Ok(())
        };
        eventually(PATIENCE, metric, check).await.unwrap();
    }

    async fn until_value(&self, metric: &str, value: &str) {
        self.until(metric, |_, body| body["items"][0]["value"] == value).await;
    }

    async fn until_error(&self, metric: &str, text: &str) {
        self.until(metric, |code, body| code == 503 && body["message"].as_str().is_some_and(|m| m.contains(text)))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_of_a_hand_over_file_are_read_directly_until_sigterm() -> Result<()> {
    let (one, two) = (page(PAGE).await, page(PAGE).await);
    let router = page("router_queue_depth{model_name=\"served\"} 6\n").await;
    let mut adapter = Standalone::start(&router).await;
    adapter.until_error("vllm_num_requests_waiting", "engines.json").await;
    hand_over(adapter.folder.path(), 1, &[&one]);
    adapter.until_value("vllm_num_requests_waiting", "4").await;
    adapter.until_value("router_queue_depth", "6").await;
    adapter.until_value("vllm_ttft_seconds_p95", "0").await;
    hand_over(adapter.folder.path(), 2, &[&one, &two]);
    adapter.until_value("vllm_num_requests_waiting", "8").await;
    std::fs::write(adapter.folder.path().join("engines.json"), "{")?;
    adapter.until_value("vllm_num_requests_waiting", "8").await;

    let explained = std::process::Command::new(binary())
        .args(["explain", "vllm_num_requests_waiting", "-l", "model=a", "--admin", &adapter.admin])
        .output()?;
    let text = String::from_utf8(explained.stdout)?;
    assert!(explained.status.success() && text.contains("HPA reads 8"), "{text}");

    adapter.program.signal(nix::sys::signal::Signal::SIGTERM)?;
    assert_eq!(adapter.program.exit_code(Duration::from_secs(20)).await?, 0, "{}", adapter.program.output());
    Ok(())
}

#[tokio::test]
async fn rules_are_reloaded_and_a_bad_file_changes_nothing() {
    let router = page("").await;
    let adapter = Standalone::start(&router).await;
    let file = adapter.folder.path().join("adapter.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    adapter.until("own", |code, _| code == 404).await;
    let measure = "{metrics: ['vllm:num_requests_waiting'], component: serving-engine, aggregate: max}";
    std::fs::write(&file, format!("{good}rules: [{{name: own, measure: {measure}}}]\n")).unwrap();
    adapter.until("own", |code, _| code == 503).await;
    std::fs::write(&file, "server: {addres: x}\n").unwrap();
    let client = testkit::http_client().unwrap();
    let refused = || async {
        let text = client.get(format!("{}/metrics", adapter.admin)).send().await?.text().await?;
        ensure!(text.contains("adapter_config_reloads_total{outcome=\"refused\"} 1"), "not seen yet");
        Ok(())
    };
    eventually(PATIENCE, "a refused reload", refused).await.unwrap();
    adapter.until("own", |code, _| code == 503).await;
    assert!(adapter.program.output().contains("addres"), "the log names the key");
}

#[test]
fn bad_command_lines_and_files_end_with_an_error_that_names_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    let run = |arguments: &[&str], text: &str| {
        std::fs::write(&file, text).unwrap();
        let output = std::process::Command::new(binary()).args(arguments).env_remove("POD_NAMESPACE").output().unwrap();
        let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success(), "{arguments:?}: {all}");
        all
    };
    let path = file.to_string_lossy().into_owned();
    let open = "server: {authentication: none, address: '127.0.0.1:1'}\n";
    for (arguments, text, expected) in [
        (vec!["check", &path], "sevrer: {}", "sevrer"),
        (vec!["check", &path], "{}", "server.certificate: is missing"),
        (vec!["check", &path], &format!("{open}rules: [{{name: x, promql: 'sum('}}]"), "rules[0] (x).promql"),
        (vec!["check", &path], &format!("{open}rules: [{{name: x, promql: up}}]"), "needs `prometheus.url`"),
        (vec!["serve", "--config", &path], "server: {authentication: none}", "use 127.0.0.1:6443"),
        (vec!["serve", "--config", "/does/not/exist"], "", "check --config"),
        (vec!["serve", "--admin-address", "9100"], "", "--admin-address"),
        (vec!["explain", "m", "--admin", "localhost"], "", "http://HOST:PORT"),
        (vec!["explain", "m", "--admin", "http://127.0.0.1:1"], "", "no adapter answers"),
    ] {
        let all = run(&arguments, text);
        assert!(all.contains(expected), "{arguments:?}: {all}");
    }
}
