use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A real program in its own process group; whatever is left of the group is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
    exited: Option<i32>,
}

/// The path of one of our binaries: beside the running test's own, where cargo puts them.
///
/// # Errors
/// If it is not built; the message says how.
pub fn binary(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let beside = here.ancestors().skip(1).take(3).map(|folder| folder.join(name)).find(|path| path.is_file());
    beside.with_context(|| format!("the program `{name}` is not built; run `cargo build --workspace` first"))
}

impl Program {
    /// Starts `path arguments…` with output to `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(path: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        let mut command = Command::new(path);
        command.args(arguments);
        Self::start_command(command, log)
    }

    /// Starts a prepared command (environment, folder) with output to `log`, in a process group of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_command(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self { child, log: log.to_owned(), exited: None })
    }

    /// Process id, which is also the id of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal to the program alone, not to its group.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(nix::sys::signal::kill(self.as_pid(), signal)?)
    }

    /// True while it has not exited.
    pub fn is_running(&mut self) -> bool {
        self.try_exit().is_none()
    }

    /// Waits for its end and returns the exit code, or 128 + signal.
    ///
    /// # Errors
    /// If it still runs after `deadline`; its output is in the error.
    pub async fn exit_code(&mut self, deadline: Duration) -> Result<i32> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            if let Some(code) = self.try_exit() {
                return Ok(code);
            }
            if tokio::time::Instant::now() >= end {
                anyhow::bail!("process {} still runs after {deadline:?}; its output:\n{}", self.pid(), self.output());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn try_exit(&mut self) -> Option<i32> {
        if self.exited.is_none() {
            let status = self.child.try_wait().ok().flatten()?;
            self.exited = Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
        }
        self.exited
    }

    fn as_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid()).unwrap_or_default())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // ESRCH: the whole group is gone already, as it should be.
        let _gone = killpg(self.as_pid(), Signal::SIGKILL);
        let _reaped = self.child.wait();
    }
}
