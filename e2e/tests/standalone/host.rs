//! One standalone host under test: configuration, the real programs, and a broom.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use testkit::{Program, binary, eventually, free_port, http_client};
use tokio::sync::{Mutex, MutexGuard};

/// Generous: two busy cores start processes slowly, and a healthy run never waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// The tests share two cores with engines that use both: one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// A host and the autoscaler that runs on it, if one does.
pub(crate) struct Host {
    _folder: tempfile::TempDir,
    pub(crate) state_dir: PathBuf,
    pub(crate) page: String,
    pub(crate) router: String,
    pub(crate) adapter: String,
    autoscaler: Option<Program>,
    http: reqwest::Client,
    ports: [u16; 7],
    _turn: MutexGuard<'static, ()>,
}

impl Host {
    pub(crate) async fn new() -> Result<Self> {
        let turn = TURN.lock().await;
        let folder = tempfile::tempdir()?;
        // As the mark in the environment of processes has it.
        let state_dir = folder.path().canonicalize()?.join("state");
        std::fs::create_dir(&state_dir)?;
        let ports = [free_port()?, free_port()?, free_port()?, free_port()?, free_port()?, free_port()?, free_port()?];
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        Ok(Self {
            _folder: folder,
            state_dir,
            page: url(ports[0]),
            router: url(ports[1]),
            adapter: url(ports[4]),
            autoscaler: None,
            http: http_client()?,
            ports,
            _turn: turn,
        })
    }

    /// Writes the configuration: `model` is the entry of `models`, indented by two blanks after its dash.
    pub(crate) fn configure(&self, model: &str) -> Result<()> {
        let [page, router, router_admin, own_admin, adapter, adapter_admin, first] = self.ports;
        let text = format!(
            "stateDir: {}\ncontrolPeriod: 250ms\nprocess: {{adminAddress: '127.0.0.1:{own_admin}'}}\n\
             ports: {{first: {}, last: {}}}\n\
             router: {{address: '127.0.0.1:{router}', adminAddress: '127.0.0.1:{router_admin}'}}\n\
             adapter: {{address: '127.0.0.1:{adapter}', adminAddress: '127.0.0.1:{adapter_admin}', config: {{direct: {{scrapeInterval: 1s}}, timing: {{interval: 1s}}}}}}\n\
             page: {{address: '127.0.0.1:{page}'}}\nmodels:\n- {model}\n",
            self.state_dir.display(),
            // Engines listen below the range of outgoing connections; the random part keeps parallel checkouts apart.
            20_000 + first % 10_000,
            20_000 + first % 10_000 + 200,
        );
        Ok(std::fs::write(self.config(), text)?)
    }

    fn config(&self) -> PathBuf {
        self.state_dir.join("standalone.yaml")
    }

    /// Starts an autoscaler and waits for its page.
    pub(crate) async fn start(&mut self, flags: &[&str]) -> Result<()> {
        self.autoscaler = Some(self.launch(flags)?);
        eventually(DEADLINE, "the page", || self.state()).await.with_context(|| self.log()).map(drop)
    }

    /// Starts an autoscaler that is not expected to live.
    pub(crate) fn launch(&self, flags: &[&str]) -> Result<Program> {
        let config = self.config().display().to_string();
        let arguments = [&["standalone", "--config", &config], flags].concat();
        Program::start(&binary("autoscaler")?, &arguments, &self.state_dir.join("autoscaler.log"))
    }

    /// Sends the autoscaler a signal and waits for its end.
    pub(crate) async fn end(&mut self, signal: Signal) -> Result<i32> {
        let mut autoscaler = self.autoscaler.take().context("no autoscaler runs")?;
        autoscaler.signal(signal)?;
        autoscaler.exit_code(DEADLINE).await
    }

    /// The answer of `/api/state`.
    pub(crate) async fn state(&self) -> Result<Value> {
        let url = format!("{}/api/state?after=9000000000000", self.page);
        Ok(self.http.get(url).send().await?.error_for_status()?.json().await?)
    }

    pub(crate) async fn get(&self, url: &str) -> Result<String> {
        Ok(self.http.get(url).send().await?.error_for_status()?.text().await?)
    }

    /// Waits until `pick` finds in the state what it looks for.
    pub(crate) async fn wait<T>(&self, what: &str, pick: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let found = eventually(DEADLINE, what, || async {
            let state = self.state().await?;
            pick(&state).with_context(|| format!("the state is {:#}", brief(&state)))
        });
        found.await.with_context(|| self.log())
    }

    /// Waits until this many engines take requests and no other exists; returns id and process of each.
    pub(crate) async fn wait_for_engines(&self, count: usize) -> Result<Vec<(String, i32)>> {
        self.wait(&format!("{count} ready engines"), |state| {
            let engines = engines(state);
            let ready = engines.iter().filter(|engine| engine["state"] == "ready");
            let ready: Vec<_> = ready.filter_map(|engine| Some((id(engine), process(engine)?))).collect();
            (ready.len() == count && engines.len() == count).then_some(ready)
        })
        .await
    }

    /// Process groups that carry the mark of this host.
    pub(crate) fn processes_left(&self) -> Vec<i32> {
        let mark = [b"VLLM_PROD_STACK_STATE_DIR=", self.state_dir.as_os_str().as_bytes()].concat();
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let marked = pids.filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark)
        });
        marked.collect()
    }

    /// Asserts that nothing of this host runs any more.
    pub(crate) async fn assert_empty(&self) -> Result<()> {
        eventually(Duration::from_secs(5), "the end of all processes", || async {
            let left = self.processes_left();
            ensure!(left.is_empty(), "still running: {left:?}\n{}", self.log());
            Ok(())
        })
        .await
    }

    pub(crate) fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.state_dir.join(name)).unwrap_or_default();
        format!("autoscaler:\n{}\nrouter:\n{}", read("autoscaler.log"), read("logs/router.log"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A failed test leaves nothing either: first who would restart them, then the rest.
        drop(self.autoscaler.take());
        for pid in self.processes_left() {
            // ESRCH: it has ended meanwhile, or is no leader and ends with its group.
            let _ended = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Engines of the first model.
pub(crate) fn engines(state: &Value) -> &[Value] {
    state["models"][0]["engines"].as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn id(engine: &Value) -> String {
    engine["id"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn process(engine: &Value) -> Option<i32> {
    engine["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
}

/// Messages of the events about one engine.
pub(crate) fn events_about<'a>(state: &'a Value, id: &str) -> Vec<&'a str> {
    let events = state["events"].as_array().map_or(&[][..], Vec::as_slice);
    events.iter().filter(|event| event["about"] == id).filter_map(|event| event["message"].as_str()).collect()
}

fn brief(state: &Value) -> Value {
    serde_json::json!({ "models": state["models"], "programs": state["programs"] })
}

/// An entry of `models` with emulated engines: four places, 2.5 ms a step, ready after a second.
pub(crate) fn emulated(replicas: &str) -> Result<String> {
    let emulator = binary("engine-emulator")?;
    Ok(format!(
        "name: demo\n  command: '\"{}\" serve demo --host 127.0.0.1 --port {{port}} --max-num-seqs 4 --step-ms 50 --startup 20 --time-scale 20 --shutdown-timeout 30'\n  \
         {replicas}\n  objective: {{ttft: 150ms, interTokenLatency: 5ms}}\n  capacityPrior: 4\n  forecast: {{season: 60s, tempo: 0.0125, planStep: 250ms}}\n  scaleDown: {{stabilizationSeconds: 2}}\n  \
         drain: {{timeout: 60s, stopTimeout: 10s}}",
        path(&emulator)
    ))
}

pub(crate) fn path(path: &Path) -> String {
    path.display().to_string()
}
