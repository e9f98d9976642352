//! The decision log on disk: what each decision was made on, one line of JSON each, in one bounded file a target.
//!
//! ```text
//! decision ─▶ queue ─▶ writer thread ─▶ FOLDER/NAME.jsonl, which becomes NAME.jsonl.1 at half of its bound
//! ```
//! Nobody waits for the disk: a full queue loses the record, and says so.

pub mod read;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use autoscaler_plan::LogRecord;

/// Records that wait for the disk: half a second of a thousand objects at the default period, a few megabytes.
const QUEUE: usize = 256;

/// Bytes of a log when nothing else is said, in megabytes: some hours of a dozen engines each second.
pub const DEFAULT_MEGABYTES: u32 = 64;

/// Most that may be asked for: a terabyte is a typing error.
pub const MOST_MEGABYTES: u32 = 100_000;

/// A log that nobody waits for.
#[derive(Debug)]
pub struct DecisionLog {
    sender: Option<SyncSender<(String, LogRecord)>>,
    writer: Option<JoinHandle<()>>,
}

impl DecisionLog {
    /// Creates the folder and starts the writer. Each target's files hold at most `megabytes` together.
    ///
    /// # Errors
    /// If the folder cannot be created, or no thread can be started.
    pub fn open(folder: &Path, megabytes: u32) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (sender, receiver) = sync_channel(QUEUE);
        let files = Files { folder: folder.to_owned(), most_bytes: u64::from(megabytes) * 1_000_000 };
        let writer =
            std::thread::Builder::new().name("decision-log".to_owned()).spawn(move || write_all(&files, &receiver))?;
        Ok(Self { sender: Some(sender), writer: Some(writer) })
    }

    /// Takes a record for the log of `name`. Never waits.
    pub fn record(&self, name: &str, record: LogRecord) {
        let Some(sender) = &self.sender else { return };
        match sender.try_send((name.to_owned(), record)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                tracing::warn!(name, "decision not logged: the disk is slower than the decisions");
            }
            Err(TrySendError::Disconnected(_)) => tracing::warn!(name, "decision not logged: the writer has ended"),
        }
    }
}

impl Drop for DecisionLog {
    /// Writes what is still in the queue.
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the decision log has crashed");
        }
    }
}

/// The file of a target in a folder of logs.
#[must_use]
pub fn file_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.jsonl"))
}

/// Where the older half of a log is.
#[must_use]
pub fn older_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

fn write_all(files: &Files, receiver: &Receiver<(String, LogRecord)>) {
    let mut is_failing = false;
    while let Ok((name, record)) = receiver.recv() {
        match files.append(&name, &record) {
            Ok(()) => is_failing = false,
            // Once for a stretch of failures: a full disk would fill the program's own log as well.
            Err(error) if !is_failing => {
                tracing::warn!(folder = %files.folder.display(), %error, "decisions not logged until this is mended");
                is_failing = true;
            }
            Err(_) => {}
        }
    }
}

struct Files {
    folder: PathBuf,
    most_bytes: u64,
}

impl Files {
    fn append(&self, name: &str, record: &LogRecord) -> io::Result<()> {
        let path = file_of(&self.folder, name);
        let mut line = record.to_line();
        line.push('\n');
        if std::fs::metadata(&path).is_ok_and(|file| file.len() + line.len() as u64 > self.most_bytes / 2) {
            std::fs::rename(&path, older_of(&path))?;
        }
        OpenOptions::new().create(true).append(true).open(&path)?.write_all(line.as_bytes())
    }
}

#[cfg(test)]
pub(crate) mod tests;
