//! Who a process is: its number alone is used again by others, its number with its start time is not.

use nix::errno::Errno;
use procfs::ProcError;
use procfs::process::{ProcState, Process};
use serde::{Deserialize, Serialize};

/// One run of one process on one boot of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessIdentity {
    /// Process number; also the number of its process group, since every process here leads one.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`/proc/<pid>/stat`, field 22).
    pub start_ticks: u64,
    /// Boot of the host, since ticks begin anew with it.
    pub boot_id: String,
}

impl ProcessIdentity {
    /// The process that has this number now, if there is one.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Process::new(pid).ok()?.stat().ok()?;
        Some(Self { pid, start_ticks: stat.starttime, boot_id: boot_id() })
    }

    /// Whether this very process still runs; one that has ended and waits to be collected does not.
    pub fn is_running(&self) -> bool {
        let stat = match Process::new(self.pid).and_then(|process| process.stat()) {
            Ok(stat) => stat,
            Err(error) => return !is_gone(&error),
        };
        let ended = matches!(stat.state(), Ok(ProcState::Zombie | ProcState::Dead));
        let boot_id = boot_id();
        let same_boot = boot_id.is_empty() || self.boot_id.is_empty() || self.boot_id == boot_id;
        !ended && stat.starttime == self.start_ticks && same_boot
    }

    /// Whether another process has taken the number meanwhile.
    pub fn number_is_taken_over(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now != *self)
    }
}

/// Whether there is no such process. Any other failure (no file descriptor is left) says nothing about it.
fn is_gone(error: &ProcError) -> bool {
    match error {
        ProcError::NotFound(_) => true,
        ProcError::Io(error, _) => error.raw_os_error() == Some(Errno::ESRCH as i32),
        _ => false,
    }
}

/// The kernel's id of this boot; empty where it cannot be read, which then compares equal.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_until_it_ends() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let identity = ProcessIdentity::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(identity.is_running() && !identity.number_is_taken_over());
        let another = ProcessIdentity { start_ticks: identity.start_ticks + 1, ..identity.clone() };
        assert!(!another.is_running() && another.number_is_taken_over());
        child.kill().unwrap();
        while identity.is_running() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!identity.is_running());
    }
}
