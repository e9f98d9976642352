//! The router's process, and clients of it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Program, eventually};

/// What anything may take on a machine that is busy with a build.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Requests of the model `m` whose first token came too late, and streams whose tokens came too slowly.
pub(crate) const LATE: &str = "router_requests_late_total{model_name=\"m\"}";
pub(crate) const SLOW: &str = "router_requests_slow_total{model_name=\"m\"}";
/// Mean time between tokens that the list of engines promises for the model `m`.
pub(crate) const PROMISED_INTER_TOKEN: Duration = Duration::from_millis(250);

/// A running router.
pub(crate) struct Router {
    pub(crate) program: Program,
    /// Base URL of the data port.
    pub(crate) url: String,
    /// Base URL of the admin port.
    pub(crate) admin: String,
    pub(crate) folder: TempDir,
    pub(crate) client: reqwest::Client,
}

pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_router"))
}

impl Router {
    /// Starts with these flags on free ports and waits until it listens.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, flags).await
    }

    pub(crate) async fn start_in(folder: TempDir, flags: &[&str]) -> Self {
        let log = folder.path().join("router.log");
        let mut all = vec!["--listen", "127.0.0.1:0", "--admin-address", "127.0.0.1:0", "--log-level", "debug"];
        all.extend(flags);
        let mut program = Program::start(&binary(), &all, &log).unwrap();
        let mut running = true;
        let line = eventually(PATIENCE, "the router's start", || {
            let found = program.output().lines().find(|line| line.contains("router listens")).map(str::to_owned);
            running &= program.is_running();
            let output = program.output();
            async move { found.with_context(|| format!("running: {running}; output:\n{output}")) }
        })
        .await
        .unwrap();
        let field = |name: &str| {
            let rest = &line[line.find(name).unwrap() + name.len()..];
            format!("http://{}", rest.split_whitespace().next().unwrap())
        };
        let client = testkit::http_client().unwrap();
        Self { program, url: field(" address="), admin: field("admin="), folder, client }
    }

    /// Starts in front of engines and waits until their models are known.
    pub(crate) async fn before(engines: &[String], flags: &[&str]) -> Self {
        let mut all: Vec<&str> = engines.iter().flat_map(|url| ["--engine", url]).collect();
        all.extend(flags);
        let router = Self::start(&all).await;
        router.ready().await;
        router
    }

    pub(crate) async fn ready(&self) {
        testkit::wait_for_http(&format!("{}/readyz", self.admin), PATIENCE).await.unwrap();
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let request = self.client.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    }

    /// A chat request for model `m`.
    pub(crate) async fn chat(&self) -> reqwest::Response {
        self.post("/v1/chat/completions", r#"{"model":"m","messages":[]}"#).await
    }

    /// A streamed chat request for model `m`.
    pub(crate) async fn chat_stream(&self) -> reqwest::Response {
        self.post("/v1/chat/completions", r#"{"model":"m","stream":true,"messages":[]}"#).await
    }

    pub(crate) async fn metrics(&self) -> String {
        self.client.get(format!("{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap()
    }

    /// Value of a series, by its exact name and labels; absent is `None`.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics().await;
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits until a series has a value.
    pub(crate) async fn metric_becomes(&self, series: &str, value: f64) {
        eventually(PATIENCE, &format!("{series} = {value}"), || async {
            let now = self.metric(series).await;
            ensure!(now.is_some_and(|now| (now - value).abs() < 1e-9), "it is {now:?}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// The admin page `/engines`.
    pub(crate) async fn engines(&self) -> Value {
        let text = self.client.get(format!("{}/engines", self.admin)).send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until the generation is applied.
    pub(crate) async fn applied(&self, generation: u64) {
        eventually(PATIENCE, &format!("generation {generation}"), || async {
            let page = self.engines().await;
            ensure!(page["generation"] == generation, "{page}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// The list that `--engines-file` reads.
    pub(crate) fn engines_file(folder: &TempDir) -> PathBuf {
        folder.path().join("engines.json")
    }

    /// Renames a new list into place; engines as (id, URL, state).
    pub(crate) fn hand_over(folder: &TempDir, generation: u64, engines: &[(&str, &str, &str)]) {
        let engines: Vec<Value> = engines
            .iter()
            .map(|(id, url, state)| json!({"id": id, "url": url, "model": "label", "state": state}))
            .collect();
        let between = PROMISED_INTER_TOKEN.as_secs_f64();
        let promised = json!({"ttft_seconds": 1.5, "inter_token_latency_seconds": between});
        let list = json!({"generation": generation, "engines": engines, "objectives": {"m": promised}});
        let fresh = folder.path().join("engines.json.fresh");
        std::fs::write(&fresh, list.to_string()).unwrap();
        std::fs::rename(fresh, Self::engines_file(folder)).unwrap();
    }

    /// A router that follows an engines file in its own folder.
    pub(crate) async fn following(engines: &[(&str, &str, &str)], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::hand_over(&folder, 1, engines);
        let file = Self::engines_file(&folder).display().to_string();
        let mut all = vec!["--engines-file", file.as_str()];
        all.extend(flags);
        let router = Self::start_in(folder, &all).await;
        router.ready().await;
        router.applied(1).await;
        router
    }
}

/// The error object of one of the router's own answers.
pub(crate) async fn error_of(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let error = body["error"].clone();
    for field in ["message", "type", "param", "code"] {
        assert!(error.get(field).is_some(), "{field} is missing in {text}");
    }
    (status, error)
}
