//! The folder of what outlives a restart: the lock, what runs, what was learned, logs. Files are renamed into place.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::fleet::Fleet;
use super::process_identity::ProcessIdentity;

/// Raised when the meaning of a stored field changes.
const VERSION: u32 = 1;

/// A log beyond this is set back: with one older copy, 16 MiB a process.
const MAX_LOG_BYTES: u64 = 8 * 1024 * 1024;

/// A folder that this process alone uses.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    // Held as long as we live; the system gives it back when we are killed.
    _lock: Flock<File>,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// The file system refused.
    #[error("state folder: {path}: {source}; choose another stateDir")]
    Io {
        /// What was to be used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another autoscaler uses it.
    #[error("state folder {path} is in use by another autoscaler{pid}; stop it, or choose another stateDir")]
    InUse {
        /// The folder.
        path: PathBuf,
        /// ` (process 123)` if known.
        pid: String,
    },
    /// The stored state cannot be read.
    #[error("stored state {path}: {message}; move the file away to start without it: processes found are then ended")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// What is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    version: u32,
    /// The engines.
    pub fleet: Fleet,
    /// Processes of engines, by engine id.
    pub processes: BTreeMap<String, StoredProcess>,
    /// Processes of router and adapter, by name.
    pub programs: BTreeMap<String, StoredProcess>,
    /// What was learned about each model, as `autoscaler_plan::State` writes it.
    pub learned: BTreeMap<String, String>,
}

/// A process and what it was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredProcess {
    /// Who it is.
    pub identity: ProcessIdentity,
    /// What it was started with: another one means that it must not be adopted.
    pub fingerprint: String,
}

/// Folder of the decision logs in a state folder.
pub fn decisions_of(state_dir: &Path) -> PathBuf {
    state_dir.join("decisions")
}

impl StateDir {
    /// Creates the folder if needed and takes its lock.
    ///
    /// # Errors
    /// If the folder cannot be written, or another autoscaler holds it.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let io = |source| StateDirError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path.join("logs")).map_err(io)?;
        std::fs::create_dir_all(path.join("demand")).map_err(io)?;
        let path = path.canonicalize().map_err(io)?;
        let lock_path = path.join("lock");
        let lock_io = |source| StateDirError::Io { path: lock_path.clone(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(lock_io)?;
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            let pid = std::fs::read_to_string(&lock_path).unwrap_or_default();
            let pid = if pid.trim().is_empty() { String::new() } else { format!(" (process {})", pid.trim()) };
            StateDirError::InUse { path: path.clone(), pid }
        })?;
        lock.set_len(0).map_err(lock_io)?;
        writeln!(lock, "{}", std::process::id()).map_err(lock_io)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `engines.json`.
    pub fn engines_file(&self) -> PathBuf {
        self.path.join("engines.json")
    }

    /// Log of one process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// Folder of the decision logs.
    pub fn decisions(&self) -> PathBuf {
        decisions_of(&self.path)
    }

    /// Demand of a model, step by step.
    pub fn demand_file(&self, model: &str) -> PathBuf {
        self.path.join("demand").join(format!("{model}.csv"))
    }

    fn state_file(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// What an autoscaler before us stored; nothing stored is an empty state.
    ///
    /// # Errors
    /// If the file is there and cannot be understood: guessing would lose processes.
    pub fn load(&self) -> Result<Stored, StateDirError> {
        let path = self.state_file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
            Err(source) => return Err(StateDirError::Io { path, source }),
        };
        let stored: Stored = serde_json::from_str(&text)
            .map_err(|error| StateDirError::Malformed { path: path.clone(), message: error.to_string() })?;
        if stored.version != VERSION {
            let message = format!("has version {}, this program reads version {VERSION}", stored.version);
            return Err(StateDirError::Malformed { path, message });
        }
        Ok(stored)
    }

    /// Stores what runs and what was learned.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn store(&self, stored: &mut Stored) -> io::Result<()> {
        stored.version = VERSION;
        let text = serde_json::to_vec(stored)?;
        self.replace("state.json", &text)
    }

    /// Renames a file of this content into place; true if it differs from what was there.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn replace_if_changed(&self, name: &str, content: &[u8]) -> io::Result<bool> {
        if std::fs::read(self.path.join(name)).is_ok_and(|old| old == content) {
            return Ok(false);
        }
        self.replace(name, content).map(|()| true)
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let fresh = self.path.join(format!("{name}.new"));
        std::fs::write(&fresh, content)?;
        std::fs::rename(&fresh, self.path.join(name))
    }

    /// Sets long logs back, keeping one older copy, and removes those of engines that are gone beyond the newest fifty.
    ///
    /// Processes hold their log open for appending, so the file is copied and emptied, not renamed.
    pub fn bound_logs(&self, living: impl Fn(&str) -> bool) -> io::Result<()> {
        const KEPT_OF_THE_GONE: usize = 50;
        let mut gone = Vec::new();
        for entry in std::fs::read_dir(self.path.join("logs"))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let path = entry.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let process = name.trim_end_matches(".1").trim_end_matches(".log");
            if !living(process) {
                gone.push((metadata.modified()?, path));
            } else if metadata.len() > MAX_LOG_BYTES && name.ends_with(".log") {
                std::fs::copy(&path, path.with_extension("log.1"))?;
                OpenOptions::new().write(true).open(&path)?.set_len(0)?;
            }
        }
        gone.sort_by(|a, b| b.cmp(a));
        for (_, path) in gone.into_iter().skip(KEPT_OF_THE_GONE) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_autoscaler_on_the_same_folder_is_refused_and_the_first_named() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDir::open(folder.path()).unwrap();
        let message = StateDir::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("(process {})", std::process::id())), "{message}");
        assert!(message.contains("choose another stateDir"), "{message}");
        drop(first);
        StateDir::open(folder.path()).unwrap();
    }

    #[test]
    fn what_is_stored_is_read_back_and_a_broken_file_is_not_guessed_at() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(folder.path()).unwrap();
        assert!(state_dir.load().unwrap().fleet.members.is_empty());
        let mut stored = Stored::default();
        stored.fleet.generation = 7;
        stored.learned.insert("m".into(), "{}".into());
        state_dir.store(&mut stored).unwrap();
        assert_eq!(state_dir.load().unwrap().fleet.generation, 7);
        std::fs::write(folder.path().join("state.json"), "{\"version\":").unwrap();
        let message = state_dir.load().unwrap_err().to_string();
        assert!(message.contains("move the file away"), "{message}");
    }

    #[test]
    fn logs_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(folder.path()).unwrap();
        let log = state_dir.log("m-1");
        std::fs::File::create(&log).unwrap().set_len(MAX_LOG_BYTES + 1).unwrap();
        for number in 0..60 {
            std::fs::write(state_dir.log(&format!("gone-{number}")), "x").unwrap();
        }
        state_dir.bound_logs(|name| name == "m-1").unwrap();
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        assert!(log.with_extension("log.1").exists());
        let left = std::fs::read_dir(folder.path().join("logs")).unwrap().count();
        assert_eq!(left, 52);
    }
}
