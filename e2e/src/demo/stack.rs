//! `autoscaler standalone` and all that it starts: begun together, ended together.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;
use testkit::Program;
use tokio::time::{Instant, sleep};

use super::Engine;
use super::scenario::{Scenario, llama_python, root};

/// The first engine must be ready by then: 3 s for an emulated one, seconds to a minute for a real one on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// Router and adapter keep accepting for 5 s after their signal, then streams end.
const STOP_DEADLINE: Duration = Duration::from_secs(45);

/// The running stack.
#[derive(Debug)]
pub struct Stack {
    program: Program,
    ports: BTreeMap<&'static str, u16>,
    state_dir: PathBuf,
    http: reqwest::Client,
    events_from: u64,
}

/// What `/api/state` tells, as far as it is needed here.
#[derive(Debug, Deserialize)]
pub struct State {
    /// The models; the demo has one.
    pub models: Vec<ModelState>,
    /// What happened since the last look.
    pub events: Vec<Event>,
}

/// The model.
#[derive(Debug, Deserialize)]
pub struct ModelState {
    /// The numbers of this moment.
    pub now: Option<Now>,
    /// Its engines.
    pub engines: Vec<EngineState>,
    /// The days so far.
    pub days: Vec<DayState>,
}

/// A day, as the autoscaler counts it.
#[derive(Debug, Clone, Deserialize)]
pub struct DayState {
    /// From 1.
    pub number: u64,
    /// Seconds of engines, engine time.
    pub engine_seconds: f64,
    /// The same over what a clairvoyant plan needs that misses nothing.
    pub times_opt: Option<f64>,
    /// Share of the demand above the engines that took requests.
    pub overflow: Option<f64>,
}

/// The numbers of this moment.
#[derive(Debug, Deserialize)]
pub struct Now {
    /// Requests per second.
    pub arrivals_per_second: Option<f64>,
    /// Engines wanted.
    pub wanted: u32,
    /// Engines that take requests.
    pub ready: u32,
    /// Requests that wait.
    pub queue: f64,
    /// Quantiles 0.5, 0.95, 0.99 of the time to first token, engine time.
    pub ttft_seconds: [Option<f64>; 3],
}

/// An engine.
#[derive(Debug, Deserialize)]
pub struct EngineState {
    /// `starting`, `ready`, `draining`, `stopping` or `crashed`.
    pub state: String,
}

/// Something that happened.
#[derive(Debug, Deserialize)]
pub struct Event {
    /// Its number.
    pub number: u64,
    /// `scale` or `engine`.
    pub kind: String,
    /// Model or engine.
    pub about: String,
    /// What.
    pub message: String,
    /// Whether somebody should look at it.
    pub warning: bool,
}

impl Stack {
    /// Writes the configuration and starts the autoscaler, which starts the rest.
    ///
    /// # Errors
    /// If a program is not built, or no port is free.
    pub fn start(scenario: &Scenario) -> anyhow::Result<Self> {
        let autoscaler = testkit::binary("autoscaler")?;
        for name in ["router", "adapter", "engine-emulator"] {
            testkit::binary(name)?;
        }
        let mut ports = BTreeMap::new();
        for (name, preferred) in [
            ("PAGE_PORT", 8080),
            ("ROUTER_PORT", 8000),
            ("ROUTER_ADMIN_PORT", 9101),
            ("AUTOSCALER_PORT", 9102),
            ("ADAPTER_ADMIN_PORT", 9103),
            ("ADAPTER_PORT", 6443),
        ] {
            ports.insert(name, free_or_preferred(preferred)?);
        }
        // Always the same folder: a demo that was killed outright is cleaned up by the next one.
        let user = std::fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid());
        let state_dir = std::env::temp_dir().join(format!("vllm-prod-stack-demo-{user}"));
        std::fs::create_dir_all(&state_dir).with_context(|| format!("create {}", state_dir.display()))?;
        let folder = autoscaler.parent().context("the autoscaler is in a folder")?;
        let mut text = scenario.template.to_owned();
        let mut fill = |name: &str, value: &str| text = text.replace(&format!("@{name}@"), value);
        fill("STATE_DIR", &state_dir.display().to_string());
        fill("BIN", &folder.display().to_string());
        fill("ROOT", &root().display().to_string());
        if scenario.engine == Engine::Llama {
            fill("PYTHON", &llama_python()?.display().to_string());
        }
        for (name, port) in &ports {
            fill(name, &port.to_string());
        }
        let config = state_dir.join("demo.yaml");
        std::fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        let log = state_dir.join("autoscaler.log");
        drop(std::fs::remove_file(&log));
        let config = config.display().to_string();
        let program = Program::start(&autoscaler, &["standalone", "--config", &config], &log)?;
        Ok(Self { program, ports, state_dir, http: testkit::http_client()?, events_from: 0 })
    }

    /// Waits until the router answers for the model and the fewest engines are ready.
    ///
    /// # Errors
    /// If it does not in time, or the autoscaler ends; its log is in the error.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        let url = format!("{}/v1/models", self.router_url());
        loop {
            self.check()?;
            if let Ok(answer) = self.http.get(&url).send().await
                && answer.text().await.is_ok_and(|text| text.contains("\"demo\""))
                && let Ok(state) = self.state().await
                && state.models.iter().flat_map(|model| &model.now).all(|now| now.ready >= now.wanted)
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "no engine was ready after {START_DEADLINE:?}; the log of the autoscaler:\n{}",
                    self.program.output()
                );
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Fails once the autoscaler has ended.
    ///
    /// # Errors
    /// With its log.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if self.program.is_running() {
            return Ok(());
        }
        bail!("the autoscaler has ended; its log:\n{}", self.program.output())
    }

    /// What happens now, and what has happened since the last call.
    ///
    /// # Errors
    /// If the page does not answer.
    pub async fn state(&mut self) -> anyhow::Result<State> {
        let url = format!("{}/api/state?after={}&events={}", self.page_url(), i64::MAX, self.events_from);
        let state: State = self.http.get(url).send().await?.json().await?;
        if let Some(last) = state.events.last() {
            self.events_from = last.number + 1;
        }
        Ok(state)
    }

    /// An external metric as HPA would ask for it: URL and value.
    ///
    /// # Errors
    /// If the adapter does not answer with a value.
    pub async fn external_metric(&self, name: &str) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            value: String,
        }
        let answer = self.http.get(self.external_metric_url(name)).send().await?;
        let list: List = answer.error_for_status()?.json().await?;
        Ok(list.items.first().context("no value")?.value.clone())
    }

    /// Where HPA would ask for a metric of the model.
    #[must_use]
    pub fn external_metric_url(&self, name: &str) -> String {
        let port = self.port("ADAPTER_PORT");
        format!(
            "http://127.0.0.1:{port}/apis/external.metrics.k8s.io/v1beta1/namespaces/default/{name}?labelSelector=model%3Ddemo"
        )
    }

    /// The page.
    #[must_use]
    pub fn page_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port("PAGE_PORT"))
    }

    /// The OpenAI API.
    #[must_use]
    pub fn router_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port("ROUTER_PORT"))
    }

    fn port(&self, name: &str) -> u16 {
        self.ports.get(name).copied().unwrap_or_default()
    }

    /// Ends everything and removes the state folder.
    ///
    /// # Errors
    /// If something still runs after three quarters of a minute.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if self.program.is_running() {
            self.program.signal(Signal::SIGTERM)?;
            if self.program.exit_code(STOP_DEADLINE).await.is_err() {
                // A second signal: nobody waits for streams any more.
                self.program.signal(Signal::SIGTERM)?;
                self.program.exit_code(Duration::from_secs(10)).await.context("the stack did not stop")?;
            }
        }
        drop(std::fs::remove_dir_all(&self.state_dir));
        Ok(())
    }
}

/// The well-known port if nobody has it, else any.
fn free_or_preferred(preferred: u16) -> anyhow::Result<u16> {
    match TcpListener::bind(("127.0.0.1", preferred)) {
        Ok(_) => Ok(preferred),
        Err(_) => testkit::free_port(),
    }
}
