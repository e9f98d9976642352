//! Starting and ending one process that must outlive us: own process group, output into a file, a mark to find it by.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::process_identity::ProcessIdentity;

/// Environment variable that names the state folder of the autoscaler that started a process.
pub const STATE_DIR_MARK: &str = "VLLM_PROD_STACK_STATE_DIR";

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables beside those of this process.
    pub environment: BTreeMap<String, String>,
    /// File that takes standard output and standard error, appended.
    pub log: PathBuf,
    /// State folder, set as the mark.
    pub state_dir: PathBuf,
}

/// A process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Its log cannot be opened.
    #[error("open log {path}: {source}")]
    Log {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The program cannot be run.
    #[error("run {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was gone before it could be identified.
    #[error("{program} ended at once")]
    Gone {
        /// The program.
        program: String,
    },
}

/// A process that we started or adopted.
#[derive(Debug)]
pub struct Supervised {
    identity: ProcessIdentity,
    // None for an adopted process: its parent is gone, and only the system collects it.
    child: Option<Child>,
}

impl Launch {
    /// Starts the process as the leader of a process group of its own.
    ///
    /// Output goes straight into a file, not through a pipe of ours: a pipe would break, and with it the process, when
    /// the autoscaler is killed.
    pub fn start(&self) -> Result<Supervised, LaunchError> {
        let program = self.argv.first().cloned().unwrap_or_default();
        let log_error = |source| LaunchError::Log { path: self.log.clone(), source };
        let output = OpenOptions::new().create(true).append(true).open(&self.log).map_err(log_error)?;
        let errors = output.try_clone().map_err(log_error)?;
        let child = Command::new(&program)
            .args(self.argv.iter().skip(1))
            .envs(&self.environment)
            .env(STATE_DIR_MARK, &self.state_dir)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| LaunchError::Run { program: program.clone(), source })?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        // Not collected yet, so even a process that has ended already is still listed.
        let identity = ProcessIdentity::of(pid).ok_or(LaunchError::Gone { program })?;
        Ok(Supervised { identity, child: Some(child) })
    }
}

impl Supervised {
    /// Takes over a process started by an autoscaler before us, if it still runs.
    pub fn adopt(identity: ProcessIdentity) -> Option<Self> {
        identity.is_running().then_some(Self { identity, child: None })
    }

    /// Who it is.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// How it ended, if it has. What it left behind in its process group is killed, and the process is collected.
    pub fn ended(&mut self) -> Option<String> {
        if self.identity.is_running() {
            return None;
        }
        // Before collecting: until then the number of the group cannot be given to anybody else.
        self.signal(Signal::SIGKILL);
        let how = match self.child.take().map(|mut child| child.wait()) {
            Some(Ok(status)) => status.to_string(),
            Some(Err(error)) => format!("ended, status unknown: {error}"),
            None => "ended".to_owned(),
        };
        Some(how)
    }

    /// Sends a signal to the whole process group.
    pub fn signal(&self, signal: Signal) {
        if self.child.is_none() && self.identity.number_is_taken_over() {
            return;
        }
        signal_group(self.identity.pid, signal);
    }
}

/// Sends a signal to a process group; one that has ended meanwhile is what was wanted.
pub fn signal_group(group: i32, signal: Signal) {
    match killpg(Pid::from_raw(group), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(group, %signal, %error, "signal not delivered"),
    }
}

/// Process groups that carry the mark of `state_dir` and are not led by one of `known`: left over from a crash.
pub fn left_over_groups(state_dir: &Path, known: &[ProcessIdentity]) -> Vec<i32> {
    let Ok(processes) = procfs::process::all_processes() else { return Vec::new() };
    let mut groups: Vec<i32> = processes
        .filter_map(Result::ok)
        .filter(|process| {
            let environment = process.environ().unwrap_or_default();
            environment.get(std::ffi::OsStr::new(STATE_DIR_MARK)).is_some_and(|value| Path::new(value) == state_dir)
        })
        .filter_map(|process| process.stat().ok())
        .filter(|stat| !matches!(stat.state, 'Z' | 'X'))
        .map(|stat| stat.pgrp)
        .filter(|group| !known.iter().any(|identity| identity.pid == *group))
        // A process that carries the mark because a user works in a shell started by an engine is not ours to end.
        .filter(|group| *group > 1 && *group != nix::unistd::getpgrp().as_raw())
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(folder: &Path, argv: &[&str]) -> Launch {
        Launch {
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
            log: folder.join("a.log"),
            state_dir: folder.to_owned(),
        }
    }

    fn wait_for_end(process: &mut Supervised) -> String {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            if let Some(how) = process.ended() {
                return how;
            }
            assert!(tokio::time::Instant::now() < deadline, "still running");
            std::thread::yield_now();
        }
    }

    #[test]
    fn output_goes_to_the_log_and_the_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = launch(folder.path(), &["sh", "-c", "echo $GREETING; exit 3"]).start().unwrap();
        assert_eq!(wait_for_end(&mut process), "exit status: 3");
        assert_eq!(std::fs::read_to_string(folder.path().join("a.log")).unwrap(), "hello\n");
    }

    #[test]
    fn children_left_behind_by_a_crash_end_with_their_group() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = launch(folder.path(), &["sh", "-c", "sleep 600 & echo $!; exec sleep 600"]).start().unwrap();
        let log = folder.path().join("a.log");
        let worker = loop {
            if let Ok(pid) = std::fs::read_to_string(&log).unwrap_or_default().trim().parse() {
                break ProcessIdentity::of(pid).unwrap();
            }
        };
        assert_eq!(left_over_groups(folder.path(), &[]), [process.identity().pid]);
        assert!(left_over_groups(folder.path(), &[process.identity().clone()]).is_empty());
        nix::sys::signal::kill(Pid::from_raw(process.identity().pid), Signal::SIGKILL).unwrap();
        assert_eq!(wait_for_end(&mut process), "signal: 9 (SIGKILL)");
        while worker.is_running() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = launch(folder.path(), &["/no/such/engine"]).start().unwrap_err();
        assert!(error.to_string().starts_with("run /no/such/engine: No such file"), "{error}");
    }

    #[test]
    fn a_process_of_an_earlier_run_is_adopted_only_if_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let process = launch(folder.path(), &["sleep", "600"]).start().unwrap();
        let identity = process.identity().clone();
        let impostor = ProcessIdentity { start_ticks: identity.start_ticks + 1, ..identity.clone() };
        assert!(Supervised::adopt(impostor).is_none());
        let mut adopted = Supervised::adopt(identity).unwrap();
        adopted.signal(Signal::SIGTERM);
        assert_eq!(wait_for_end(&mut adopted), "ended");
    }
}
