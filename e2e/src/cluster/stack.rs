//! The release that the tests share, and who may use it when.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::{Cluster, History, Monitoring, Release, repository};

/// Name of the release.
pub const RELEASE: &str = "stack";
/// Its namespace.
pub const NAMESPACE: &str = "e2e-stack";
/// Most engines of any model.
pub const MOST: u64 = 4;
/// Clients that keep every sequence of [`MOST`] engines busy, so that a moment with a few less changes no decision.
pub const CLIENTS: usize = 16;

/// Values of the release: one Deployment for each way to scale; four sequences an engine, so that a few clients are a crowd.
///
/// # Errors
/// If the file beside the harness cannot be read.
pub fn values() -> Result<String> {
    let path = repository().join("e2e/cluster/stack.yaml");
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

static TURN: std::sync::LazyLock<Arc<RwLock<()>>> = std::sync::LazyLock::new(Arc::default);
static INSTALLED: Mutex<Installation> = Mutex::const_new(Installation::Absent);
static INTERESTED: std::sync::Mutex<Weak<Uninstall>> = std::sync::Mutex::new(Weak::new());

enum Installation {
    Absent,
    Done,
    Failed(String),
}

/// Held by each test from its start, while it waits for its turn too. The last to end uninstalls the release.
struct Uninstall;

impl Uninstall {
    fn later() -> Arc<Self> {
        let mut interested = INTERESTED.lock().expect("no holder panics");
        let all = interested.upgrade().unwrap_or_else(|| Arc::new(Self));
        *interested = Arc::downgrade(&all);
        all
    }
}

#[expect(clippy::print_stderr, reason = "what is left behind must be seen")]
impl Drop for Uninstall {
    fn drop(&mut self) {
        let Ok(mut installation) = INSTALLED.try_lock() else { return };
        if !matches!(*installation, Installation::Done) {
            return;
        }
        *installation = Installation::Absent;
        let uninstall = |program: &str, arguments: &[&str]| {
            let kubeconfig = std::env::var_os("E2E_KUBECONFIG").unwrap_or_default();
            let output = std::process::Command::new(program).args(arguments).env("KUBECONFIG", kubeconfig).output();
            if let Err(error) = output {
                eprintln!("{program} {arguments:?}: {error}");
            }
        };
        uninstall("helm", &["uninstall", RELEASE, "-n", NAMESPACE]);
        uninstall("kubectl", &["delete", "namespace", NAMESPACE, "e2e-monitoring", "--wait=false"]);
        uninstall("kubectl", &["delete", "clusterrole,clusterrolebinding", "e2e-prometheus"]);
    }
}

enum Turn {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

/// The installed stack in the hands of one test. If that test fails, what the cluster says is printed.
pub struct Stack {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The release that all tests share.
    pub release: Release,
    /// Its Prometheus.
    pub monitoring: Monitoring,
    /// Base URL of the router.
    pub router: String,
    _turn: Turn,
}

/// Runs a test with the stack; others may run at the same time. Without a cluster it says so and passes.
///
/// # Errors
/// Those of the test, or if the stack cannot be installed.
pub async fn shared(test: &str, body: impl AsyncFnOnce(&Stack) -> Result<()>) -> Result<()> {
    let _interest = Uninstall::later();
    let turn = Turn::Shared { _guard: Arc::clone(&TURN).read_owned().await };
    run(test, turn, body).await
}

/// Runs a test with the stack while no other test does. Without a cluster it says so and passes.
///
/// # Errors
/// Those of the test, or if the stack cannot be installed.
pub async fn alone(test: &str, body: impl AsyncFnOnce(&Stack) -> Result<()>) -> Result<()> {
    let _interest = Uninstall::later();
    // Only to save time: tests that can run together should find each other, not be split by one that runs alone.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let turn = Turn::Alone { _guard: Arc::clone(&TURN).write_owned().await };
    run(test, turn, body).await
}

async fn run(test: &str, turn: Turn, body: impl AsyncFnOnce(&Stack) -> Result<()>) -> Result<()> {
    let Some(cluster) = Cluster::connect(test).await? else { return Ok(()) };
    let stack = Stack::open(Arc::new(cluster), turn).await?;
    let outcome = body(&stack).await;
    if let Err(error) = &outcome {
        stack.release.print_diagnostics().await;
        // Last, and on a line of its own: the run's summary repeats it.
        super::progress(test, &format!("FAILED: {error:#}"));
    }
    outcome
}

impl Stack {
    async fn open(cluster: Arc<Cluster>, turn: Turn) -> Result<Self> {
        let mut installation = INSTALLED.lock().await;
        if let Installation::Failed(failure) = &*installation {
            bail!("the stack was not installed: {failure}");
        }
        if matches!(*installation, Installation::Absent) {
            if let Err(error) = install(&cluster).await {
                *installation = Installation::Failed(format!("{error:#}"));
                return Err(error);
            }
            *installation = Installation::Done;
        }
        drop(installation);
        let router = cluster.node_port(NAMESPACE, &format!("{RELEASE}-router-service")).await?;
        Ok(Self {
            release: Release::installed(&cluster, RELEASE, NAMESPACE)?,
            monitoring: Monitoring::installed(&cluster),
            cluster,
            router,
            _turn: turn,
        })
    }

    /// Every state of a model's engine Deployment from now on.
    #[must_use]
    pub fn engines(&self, model: &str) -> History {
        self.cluster.watch(&self.release.deployments(), &deployment(model))
    }

    /// Every state of a model's HPA from now on.
    #[must_use]
    pub fn hpa(&self, model: &str) -> History {
        self.cluster.watch(&self.release.hpas(), &format!("{RELEASE}-{model}"))
    }

    /// Every state of a model's EngineAutoscaler from now on.
    #[must_use]
    pub fn engine_autoscaler(&self, model: &str) -> History {
        self.cluster.watch(&self.release.engine_autoscalers(), &format!("{RELEASE}-{model}"))
    }

    /// `(reason, message)` of the events about an object, oldest first.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub async fn events(&self, kind: &str, model: &str) -> Result<Vec<(String, String)>> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/events");
        let list = self.cluster.get(&path).await?;
        let items = list["items"].as_array().context("a list has items")?;
        let about = items.iter().filter(|event| {
            event["involvedObject"]["kind"] == kind && event["involvedObject"]["name"] == format!("{RELEASE}-{model}")
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(about.map(|event| (text(&event["reason"]), text(&event["message"]))).collect())
    }
}

/// Name of the Deployment of a model's engines.
#[must_use]
pub fn deployment(model: &str) -> String {
    format!("{RELEASE}-{model}-deployment-vllm")
}

/// Name that clients send for a model.
#[must_use]
pub fn served(model: &str) -> String {
    format!("e2e/{model}")
}

/// How long a test waits for what should take seconds; the machine may be busy with much else.
pub const PATIENCE: Duration = Duration::from_secs(120);

async fn install(cluster: &Arc<Cluster>) -> Result<()> {
    Monitoring::install(cluster).await?;
    Release::install(cluster, RELEASE, NAMESPACE, &values()?).await?;
    Ok(())
}
