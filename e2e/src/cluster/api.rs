use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::StatusCode;
use serde_json::Value;
use testkit::{Program, eventually};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{EngineLives, History};

/// Longest run of one kubectl or helm command; `helm --wait` has its own, shorter one.
const COMMAND_DEADLINE: Duration = Duration::from_secs(180);

/// A cluster that a test works on: commands through `kubectl`, reads and watches through `kubectl proxy`, which spares a
/// process for each look.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    address: String,
    client: reqwest::Client,
    _proxy: Program,
    _folder: tempfile::TempDir,
}

impl Cluster {
    /// The cluster that `E2E_KUBECONFIG` names, or `None` with a line that says the test is skipped.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn connect(test: &str) -> Result<Option<Self>> {
        let Some(kubeconfig) = std::env::var_os("E2E_KUBECONFIG").filter(|path| !path.is_empty()) else {
            // Not eprintln: the test harness would swallow it, and a skipped test has to say so.
            writeln!(
                std::io::stderr(),
                "skipped: {test}: no cluster; run it with `e2e/cluster/cluster.sh test` (root), or set E2E_KUBECONFIG"
            )?;
            return Ok(None);
        };
        let kubeconfig = PathBuf::from(kubeconfig);
        let folder = tempfile::tempdir()?;
        let mut command = std::process::Command::new("kubectl");
        command.arg("--kubeconfig").arg(&kubeconfig).args(["proxy", "--port=0"]);
        let proxy = Program::start_command(command, &folder.path().join("proxy.log"))
            .context("kubectl is not on PATH: run e2e/install-tools.sh")?;
        let address = eventually(Duration::from_secs(20), "an address from kubectl proxy", || async {
            let output = proxy.output();
            let address = output.lines().find_map(|line| line.strip_prefix("Starting to serve on "));
            Ok(format!("http://{}", address.with_context(|| format!("it said: {output}"))?.trim()))
        })
        .await?;
        // Watches last for minutes; each read sets a timeout of its own.
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Some(Self { kubeconfig, address, client, _proxy: proxy, _folder: folder }))
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// If it fails; its messages are in the error.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run("kubectl", arguments, None).await
    }

    /// `kubectl apply` of a manifest into a namespace.
    ///
    /// # Errors
    /// If the cluster refuses it.
    pub async fn apply(&self, namespace: &str, manifest: &str) -> Result<()> {
        self.run("kubectl", &["apply", "-n", namespace, "-f", "-"], Some(manifest)).await.map(drop)
    }

    /// Runs kubectl or helm with this cluster's kubeconfig.
    ///
    /// # Errors
    /// If it fails or takes too long; its messages are in the error.
    pub async fn run(&self, program: &str, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let line = format!("{program} {}", arguments.join(" "));
        let mut child =
            command.spawn().with_context(|| format!("{program} is not on PATH: run e2e/install-tools.sh"))?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        stdin.write_all(input.unwrap_or_default().as_bytes()).await?;
        drop(stdin);
        let output = tokio::time::timeout(COMMAND_DEADLINE, child.wait_with_output())
            .await
            .with_context(|| format!("`{line}` runs for more than {COMMAND_DEADLINE:?}"))??;
        if !output.status.success() {
            bail!(
                "`{line}` failed: {}{}",
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// An object or list of the API as JSON, `None` if there is none. `path` begins with `/api`.
    ///
    /// # Errors
    /// If the API answers anything but 200 and 404.
    pub async fn find(&self, path: &str) -> Result<Option<Value>> {
        let response =
            self.client.get(format!("{}{path}", self.address)).timeout(Duration::from_secs(30)).send().await?;
        match response.status() {
            StatusCode::OK => Ok(Some(response.json().await.with_context(|| format!("JSON from {path}"))?)),
            StatusCode::NOT_FOUND => Ok(None),
            status => bail!("{path} answered {status}: {}", response.text().await?),
        }
    }

    /// An object that has to be there.
    ///
    /// # Errors
    /// If it is not.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.find(path).await?.with_context(|| format!("{path} does not exist"))
    }

    /// Body and status of any path, with a query that is percent-encoded here.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn fetch(&self, path: &str, query: &[(&str, &str)]) -> Result<(StatusCode, String)> {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.address), query)?;
        let response = self.client.get(url).timeout(Duration::from_secs(30)).send().await?;
        Ok((response.status(), response.text().await?))
    }

    /// Records every state that the objects of `collection` go through, from now on. `name` picks one of them.
    #[must_use]
    pub fn watch(&self, collection: &str, name: &str) -> History {
        History::record(self.client.clone(), format!("{}{collection}", self.address), name.to_owned())
    }

    /// Records from when to when each engine of a namespace lives, from now on.
    #[must_use]
    pub fn watch_engines(&self, namespace: &str) -> EngineLives {
        EngineLives::record(self.client.clone(), format!("{}/api/v1/namespaces/{namespace}/pods", self.address))
    }

    /// Where a NodePort Service is reached from here.
    ///
    /// # Errors
    /// If the Service has no such port, or no node has an address.
    pub async fn node_port(&self, namespace: &str, service: &str) -> Result<String> {
        let service = self.get(&format!("/api/v1/namespaces/{namespace}/services/{service}")).await?;
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("the Service has no nodePort")?;
        let nodes = self.get("/api/v1/nodes").await?;
        let addresses = nodes["items"][0]["status"]["addresses"].as_array().context("the node has no addresses")?;
        let address =
            addresses.iter().find(|address| address["type"] == "InternalIP").context("the node has no InternalIP")?;
        Ok(format!("http://{}:{port}", address["address"].as_str().unwrap_or_default()))
    }

    /// Path of the kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

/// `(spec.replicas, status.readyReplicas)` of a Deployment.
#[must_use]
pub fn replicas(deployment: &Value) -> (u64, u64) {
    (deployment["spec"]["replicas"].as_u64().unwrap_or(0), deployment["status"]["readyReplicas"].as_u64().unwrap_or(0))
}

/// `(type, status, reason, message)` of each condition in an object's status.
#[must_use]
pub fn conditions(object: &Value) -> Vec<(String, String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    list.iter()
        .map(|one| (text(&one["type"]), text(&one["status"]), text(&one["reason"]), text(&one["message"])))
        .collect()
}
