//! What HPA reads while a real Prometheus is well, slow, broken or gone: answers come at once and are never wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter::collect::Collector;
use adapter::collect::upstream::PrometheusSource;
use adapter::config::Config;
use adapter::fleet::Fleet;
use adapter::metrics::Metrics;
use adapter::serve::documents::Documents;
use adapter::serve::{Access, Api};
use adapter::store::Store;
use anyhow::ensure;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::BodyExt;
use serde_json::Value;
use testkit::{Program, eventually, free_port};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// An answer from memory takes far less; this bounds what a busy machine adds.
const ANSWER_DEADLINE: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(30);

const WELL: u8 = 0;
const SLOW: u8 = 1;
const BROKEN: u8 = 2;
const GARBAGE: u8 = 3;
const REFUSED: u8 = 4;

/// Passes queries on to Prometheus, or does to them what the mode says.
#[derive(Clone)]
struct Proxy {
    upstream: String,
    mode: Arc<AtomicU8>,
    client: reqwest::Client,
}

async fn pass(State(proxy): State<Proxy>, request: Request) -> Response {
    match proxy.mode.load(Ordering::SeqCst) {
        SLOW => std::future::pending().await,
        BROKEN => (StatusCode::SERVICE_UNAVAILABLE, "<html>out of order</html>").into_response(),
        GARBAGE => "not json".into_response(),
        REFUSED => {
            let body = r#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
            (StatusCode::UNPROCESSABLE_ENTITY, body).into_response()
        }
        _ => {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let sent = proxy.client.post(format!("{}{path}", proxy.upstream)).body(body);
            let sent = sent.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").send().await.unwrap();
            (StatusCode::from_u16(sent.status().as_u16()).unwrap(), sent.bytes().await.unwrap()).into_response()
        }
    }
}

async fn listening(router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A Prometheus that scrapes a page of ours, the adapter that asks it through a proxy, and the means to break both.
struct Stage {
    page: Arc<Mutex<Option<String>>>,
    mode: Arc<AtomicU8>,
    api: Arc<Api>,
    _prometheus: Program,
    _folder: tempfile::TempDir,
    _stop: tokio_util::sync::DropGuard,
}

const PAGE: &str = "vllm:num_requests_waiting{model_name=\"m\",engine=\"0\"} 8\n\
                    vllm:kv_cache_usage_perc{model_name=\"m\",engine=\"0\"} 0.5\n";

const RULES: &str = r#"
server: {address: "127.0.0.1:1", authentication: none}
timing: {interval: 250ms, maxAge: 4s}
rules:
- {name: own_nan, promql: 'label_replace(vector(0) / 0, "namespace", "default", "", "")'}
- {name: own_infinite, promql: 'label_replace(vector(1) / 0, "namespace", "default", "", "")'}
- {name: own_negative, promql: 'label_replace(vector(-2), "namespace", "default", "", "")'}
- {name: own_small, promql: 'label_replace(vector(0.0006), "namespace", "default", "", "")'}
- {name: own_tiny, promql: 'label_replace(vector(0.0004), "namespace", "default", "", "")'}
- {name: own_huge, promql: 'label_replace(vector(1e30), "namespace", "default", "", "")'}
- {name: own_empty, promql: 'nothing_has_this_name'}
- {name: own_empty_zero, promql: 'nothing_has_this_name', missing: zero}
- {name: own_scalar, promql: 'scalar(vector(5))'}
- {name: own_broken, promql: 'sum without (', interval: 250ms}
"#;

fn prometheus_binary() -> Option<PathBuf> {
    std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("prometheus")).find(|file| file.is_file())
    })
}

impl Stage {
    #[expect(clippy::print_stdout, reason = "a skip must be seen")]
    async fn build() -> Option<Self> {
        let Some(binary) = prometheus_binary() else {
            println!("skipped: no `prometheus` in PATH (Debian package prometheus)");
            return None;
        };
        process::install_crypto_provider();
        let page = Arc::new(Mutex::new(Some(PAGE.to_owned())));
        let engine = listening(axum::Router::new().route("/metrics", get(exported)).with_state(page.clone())).await;
        let folder = tempfile::tempdir().unwrap();
        let (prometheus, upstream) = start_prometheus(&binary, folder.path(), &engine).await;
        let mode = Arc::new(AtomicU8::new(WELL));
        let client = testkit::http_client().unwrap();
        let proxy = Proxy { upstream, mode: mode.clone(), client };
        let url = format!("http://{}", listening(axum::Router::new().fallback(pass).with_state(proxy)).await);
        let (api, stop) = start_adapter(&url);
        Some(Self { page, mode, api, _prometheus: prometheus, _folder: folder, _stop: stop.drop_guard() })
    }

    /// What HPA reads, within the deadline.
    async fn read(&self, metric: &str) -> (u16, Value) {
        let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/default/{metric}");
        let request = http::Request::get(path).body(()).unwrap();
        let answer = tokio::time::timeout(ANSWER_DEADLINE, self.api.handle(request)).await;
        let answer = answer.expect("an answer from memory waits for no source");
        let code = answer.status().as_u16();
        (code, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    async fn until(&self, metric: &str, what: &str, holds: impl Fn(u16, &Value) -> bool) -> Value {
        let check = || async {
            let (code, body) = self.read(metric).await;
            ensure!(holds(code, &body), "{metric}: {code} {body}");
            Ok(body)
        };
        eventually(PATIENCE, what, check).await.unwrap()
    }

    async fn until_value(&self, metric: &str, value: &str) {
        self.until(metric, &format!("the value {value}"), |_, body| body["items"][0]["value"] == value).await;
    }

    async fn until_error(&self, metric: &str, text: &str) {
        let holds = |code, body: &Value| code == 503 && body["message"].as_str().is_some_and(|m| m.contains(text));
        self.until(metric, &format!("an error with `{text}`"), holds).await;
    }
}

async fn exported(State(page): State<Arc<Mutex<Option<String>>>>) -> Response {
    let page = page.lock().unwrap().clone();
    page.map_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response(), IntoResponse::into_response)
}

async fn start_prometheus(binary: &Path, folder: &Path, engine: &str) -> (Program, String) {
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n\
         - job_name: engines\n  static_configs:\n  - targets: ['{engine}']\n    \
           labels: {{namespace: default, pod: m-1, model: m, component: serving-engine}}\n"
    );
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address={address}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let program = Program::start(binary, &arguments, &folder.join("log")).unwrap();
    let url = format!("http://{address}");
    testkit::wait_for_http(&format!("{url}/-/ready"), PATIENCE).await.unwrap();
    (program, url)
}

fn start_adapter(prometheus_url: &str) -> (Arc<Api>, CancellationToken) {
    let text = format!("{RULES}prometheus: {{url: '{prometheus_url}', timeout: 500ms, scrapeInterval: 1s}}\n");
    let config = Config::new(process::config::parse(&text).unwrap(), None).unwrap();
    assert_eq!(config.rejected.len(), 1, "the broken rule is reported and hides no other");
    let store = Arc::new(Store::default());
    let mut registry = process::admin::registry("adapter", "0.0.0");
    let metrics = Metrics::register(&mut registry, store.clone());
    let api =
        Api { store: store.clone(), access: Access::Open, metrics: metrics.clone(), documents: Documents::default() };
    let api = Arc::new(api);
    adapter::reload::apply(&config, &api, &metrics);
    let collector = Collector {
        store,
        metrics,
        fleet: Fleet::listed(&config.file.direct),
        prometheus: Some(PrometheusSource::new(config.file.prometheus.as_ref().unwrap()).unwrap()),
        direct: None,
        is_prometheus_primary: true,
        scrape_interval: config.scrape_interval(),
        is_failing: std::sync::atomic::AtomicBool::default(),
    };
    let stop = CancellationToken::new();
    let (sender, receiver) = tokio::sync::watch::channel(Arc::new(config));
    let until = stop.clone();
    tokio::spawn(async move {
        Arc::new(collector).run(receiver, until).await;
        drop(sender);
    });
    (api, stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_prometheus_never_delay_or_falsify_an_answer() {
    let Some(stage) = Stage::build().await else { return };
    stage.until_value("vllm_num_requests_waiting", "8").await;
    stage.until_value("vllm_kv_cache_usage_perc", "500m").await;
    stage.until_value("vllm_ttft_seconds_p95", "0").await;
    odd_values(&stage).await;
    for (mode, text) in [
        (SLOW, "no answer from"),
        (BROKEN, "answered 503"),
        (GARBAGE, "unusable answer"),
        (REFUSED, "too many samples"),
    ] {
        stage.mode.store(mode, Ordering::SeqCst);
        // Younger than maxAge the last good value answers, then the error says why.
        assert_eq!(stage.read("vllm_num_requests_waiting").await.0, 200, "{text}");
        stage.until_error("vllm_num_requests_waiting", text).await;
        stage.mode.store(WELL, Ordering::SeqCst);
        stage.until_value("vllm_num_requests_waiting", "8").await;
    }
    *stage.page.lock().unwrap() = None;
    stage.until_error("vllm_num_requests_waiting", "the last scrape of m-1 failed").await;
    *stage.page.lock().unwrap() = Some(PAGE.replace("} 8", "} 3"));
    stage.until_value("vllm_num_requests_waiting", "3").await;
}

/// The matrix of odd values, through a real Prometheus.
async fn odd_values(stage: &Stage) {
    let values: BTreeMap<&str, &str> = BTreeMap::from([
        ("own_negative", "-2"),
        ("own_small", "1m"),
        ("own_tiny", "0"),
        ("own_huge", "9223372036854775807m"),
        ("own_empty_zero", "0"),
    ]);
    for (metric, value) in values {
        stage.until_value(metric, value).await;
    }
    for (metric, text) in [
        ("own_nan", "not a number (NaN)"),
        ("own_infinite", "the value is inf"),
        ("own_empty", "has no series for {}"),
        ("own_scalar", "carry no `namespace` label"),
    ] {
        stage.until_error(metric, text).await;
    }
    assert_eq!(stage.read("own_broken").await.0, 404);
}
