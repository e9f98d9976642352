//! Router and adapter as processes of ours: written configuration, start, back-off, adoption, end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

use super::config::{AdapterConfig, RouterConfig};
use super::fingerprint::fingerprint;
use super::launch::{Launch, Supervised};
use super::state_dir::{StateDir, StoredProcess};
use super::validate::InvalidKey;

/// Router and adapter are needed at once and start in milliseconds: a short wait, doubled up to half a minute.
const FIRST_BACKOFF_SECONDS: f64 = 0.5;
const LONGEST_BACKOFF_SECONDS: f64 = 30.0;
/// A run this long forgets earlier crashes.
const GOOD_RUN_SECONDS: f64 = 60.0;
/// Namespace under which metrics are served: outside Kubernetes there is only one.
pub const NAMESPACE: &str = "default";
/// A little more than the five minutes that router and adapter give their streams.
const STOP_TIMEOUT: Duration = Duration::from_secs(310);

/// One supervised program.
#[derive(Debug)]
pub struct Program {
    /// `router` or `adapter`.
    pub name: &'static str,
    /// Its base URL for users.
    pub url: String,
    argv: Vec<String>,
    fingerprint: String,
    process: Option<Supervised>,
    // The process found is from another configuration: it ends, and its successor starts.
    is_outdated: bool,
    started: Option<Timestamp>,
    stopping: Option<Timestamp>,
    restart_at: Option<Timestamp>,
    crashes_in_a_row: u32,
    /// Restarts since this autoscaler started.
    pub restarts: u32,
}

impl Program {
    /// The router, with its configuration written into the state folder. `models` are by served name.
    ///
    /// # Errors
    /// If the program is not found or the configuration cannot be written.
    pub fn router(section: &RouterConfig, models: &Value, state_dir: &StateDir) -> anyhow::Result<Self> {
        let ours = json!({
            "process": { "adminAddress": section.admin_address },
            "listen": section.address,
            "engines": { "file": state_dir.engines_file() },
            "models": models,
        });
        let url = format!("http://{}", section.address);
        Self::new("router", section.program.as_deref(), url, merged(&section.config, ours), state_dir, &[])
    }

    /// The adapter, with its configuration written into the state folder. `routers` and `autoscaler` are admin URLs.
    ///
    /// # Errors
    /// If the program is not found or the configuration cannot be written.
    pub fn adapter(
        section: &AdapterConfig,
        routers: &[String],
        autoscaler: &str,
        state_dir: &StateDir,
    ) -> anyhow::Result<Self> {
        let ours = json!({
            "process": { "adminAddress": section.admin_address },
            "server": { "address": section.address, "authentication": "none" },
            "direct": {
                "namespace": NAMESPACE,
                "enginesFile": state_dir.engines_file(),
                "routers": routers,
                "autoscalers": [autoscaler],
            },
        });
        let url = format!("http://{}", section.address);
        Self::new("adapter", section.program.as_deref(), url, merged(&section.config, ours), state_dir, &["serve"])
    }

    fn new(
        name: &'static str,
        program: Option<&Path>,
        url: String,
        config: Value,
        state_dir: &StateDir,
        subcommand: &[&str],
    ) -> anyhow::Result<Self> {
        let program = resolve(name, program)?;
        let file = state_dir.path().join(format!("{name}.yaml"));
        // JSON is YAML; pretty, because people will look at it.
        let text = serde_json::to_string_pretty(&config)?;
        state_dir.replace_if_changed(&format!("{name}.yaml"), text.as_bytes())?;
        let mut argv = vec![program.display().to_string()];
        argv.extend(subcommand.iter().map(|word| (*word).to_owned()));
        argv.extend(["--config".to_owned(), file.display().to_string()]);
        let fingerprint = fingerprint(argv.iter().chain([&text]));
        Ok(Self {
            name,
            url,
            argv,
            fingerprint,
            process: None,
            is_outdated: false,
            started: None,
            stopping: None,
            restart_at: None,
            crashes_in_a_row: 0,
            restarts: 0,
        })
    }

    /// Takes over the process of an autoscaler before us; one with another configuration is asked to end first.
    pub fn adopt(&mut self, stored: StoredProcess, now: Timestamp) -> bool {
        let Some(process) = Supervised::adopt(stored.identity) else { return false };
        self.is_outdated = stored.fingerprint != self.fingerprint;
        tracing::info!(program = self.name, pid = process.identity().pid, outdated = self.is_outdated, "adopted");
        self.process = Some(process);
        self.started = Some(now);
        if self.is_outdated {
            self.stop(now);
        }
        true
    }

    /// Starts, restarts and ends what is due; true if a process came or went.
    pub fn step(&mut self, now: Timestamp, state_dir: &StateDir, is_wanted: bool) -> bool {
        let mut is_changed = false;
        if let Some(how) = self.process.as_mut().and_then(Supervised::ended) {
            is_changed = true;
            self.process = None;
            self.has_ended(now, &how, is_wanted);
        }
        if !is_wanted && self.process.is_some() && self.stopping.is_none() {
            self.stop(now);
        }
        if let (Some(process), Some(since)) = (&self.process, self.stopping)
            && now.duration_since(since) > SignedDuration::try_from(STOP_TIMEOUT).unwrap_or_default()
        {
            process.signal(Signal::SIGKILL);
        }
        if is_wanted && self.process.is_none() && self.restart_at.is_none_or(|at| now >= at) {
            is_changed = true;
            self.start(now, state_dir);
        }
        is_changed
    }

    fn has_ended(&mut self, now: Timestamp, how: &str, is_wanted: bool) {
        if self.stopping.take().is_some() {
            self.is_outdated = false;
            tracing::info!(program = self.name, how, "ended");
            return;
        }
        let ran = self.started.map_or(0.0, |started| now.duration_since(started).as_secs_f64());
        self.crashes_in_a_row = if ran > GOOD_RUN_SECONDS { 1 } else { self.crashes_in_a_row + 1 };
        let doublings = i32::try_from(self.crashes_in_a_row.min(20)).unwrap_or(20) - 1;
        let wait = (FIRST_BACKOFF_SECONDS * 2f64.powi(doublings)).min(LONGEST_BACKOFF_SECONDS);
        self.restart_at = SignedDuration::try_from_secs_f64(wait).ok().and_then(|wait| now.checked_add(wait).ok());
        if is_wanted {
            self.restarts += 1;
            tracing::warn!(program = self.name, how, restart_after_seconds = wait, "ended by itself; see its log");
        }
    }

    fn start(&mut self, now: Timestamp, state_dir: &StateDir) {
        let launch = Launch {
            argv: self.argv.clone(),
            environment: std::collections::BTreeMap::new(),
            log: state_dir.log(self.name),
            state_dir: state_dir.path().to_owned(),
        };
        self.started = Some(now);
        match launch.start() {
            Ok(process) => {
                tracing::info!(program = self.name, pid = process.identity().pid, url = self.url, "started");
                self.process = Some(process);
            }
            Err(error) => self.has_ended(now, &error.to_string(), true),
        }
    }

    /// Asks it to end after its streams.
    pub fn stop(&mut self, now: Timestamp) {
        if let Some(process) = &self.process {
            process.signal(Signal::SIGTERM);
            self.stopping.get_or_insert(now);
        }
    }

    /// Ends it now.
    pub fn kill(&self) {
        if let Some(process) = &self.process {
            process.signal(Signal::SIGKILL);
        }
    }

    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Its process number.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(|process| process.identity().pid)
    }

    /// One word for the page.
    pub fn word(&self) -> &'static str {
        match (&self.process, self.stopping) {
            (Some(_), None) => "running",
            (Some(_), Some(_)) => "stopping",
            (None, _) => "down",
        }
    }

    /// For the state file.
    pub fn stored(&self) -> Option<StoredProcess> {
        let identity = self.process.as_ref()?.identity().clone();
        // An outdated process must not look like a fresh one to the next start.
        let fingerprint = if self.is_outdated { "outdated".to_owned() } else { self.fingerprint.clone() };
        Some(StoredProcess { identity, fingerprint })
    }
}

/// The program to run: as configured, else the one beside ours, else the one on PATH.
fn resolve(name: &str, configured: Option<&Path>) -> Result<PathBuf, InvalidKey> {
    let missing = |problem: String| InvalidKey { key: format!("{name}.program"), problem };
    if let Some(path) = configured {
        let problem =
            format!("{} is not a file; write the path of the {name} program, or {name}.start: false", path.display());
        return if path.is_file() { Ok(path.to_owned()) } else { Err(missing(problem)) };
    }
    let beside =
        std::env::current_exe().ok().and_then(|us| Some(us.parent()?.join(name))).filter(|path| path.is_file());
    beside.or_else(|| on_path(name)).ok_or_else(|| {
        missing(format!("no `{name}` beside this program or on PATH; write its path, or {name}.start: false"))
    })
}

/// The first file of this name on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// A section's free settings with ours over them: what the supervisor depends on cannot be set two ways.
fn merged(free: &Map<String, Value>, ours: Value) -> Value {
    fn put(under: &mut Value, over: Value) {
        match (under, over) {
            (Value::Object(under), Value::Object(over)) => {
                for (key, value) in over {
                    put(under.entry(key).or_insert(Value::Null), value);
                }
            }
            (under, over) => *under = over,
        }
    }
    let mut config = Value::Object(free.clone());
    put(&mut config, ours);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_settings_stay_and_ours_win() {
        let free = json!({ "listen": "0.0.0.0:1", "queue": { "deadline": "5s" }, "process": { "logLevel": "debug" } });
        let Value::Object(free) = free else { panic!("an object") };
        let config =
            merged(&free, json!({ "listen": "127.0.0.1:8000", "process": { "adminAddress": "127.0.0.1:9101" } }));
        assert_eq!(
            config,
            json!({
                "listen": "127.0.0.1:8000",
                "queue": { "deadline": "5s" },
                "process": { "logLevel": "debug", "adminAddress": "127.0.0.1:9101" }
            })
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_its_key() {
        let message = resolve("router", Some(Path::new("/no/router"))).unwrap_err().to_string();
        assert_eq!(
            message,
            "router.program: /no/router is not a file; write the path of the router program, or router.start: false"
        );
    }
}
