//! Where answers go.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use autoscaler_lab::policies::DecisionSink;

/// Writes to the file, or to stdout; a reader that has seen enough is no error.
pub(super) fn write(text: &str, file: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = file else {
        return match std::io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.context("write to stdout"),
        };
    };
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Tells on stderr what a reader of the answer should know.
#[expect(clippy::print_stderr, reason = "stdout has the answer")]
pub(super) fn tell(note: &str) {
    eprintln!("autoscaler: {note}");
}

/// A decision log of a simulated run: whole, since nothing else can be asked for it later.
pub(super) struct DecisionFile {
    path: PathBuf,
    // Held to write a line; the first error stays.
    written: Arc<Mutex<io::Result<BufWriter<File>>>>,
}

impl DecisionFile {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), written: Arc::new(Mutex::new(Ok(BufWriter::new(file)))) })
    }

    pub(super) fn sink(&self) -> DecisionSink {
        let written = Arc::clone(&self.written);
        DecisionSink::new(move |record| {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            let failure = match written.as_mut() {
                Ok(file) => writeln!(file, "{}", record.to_line()).err(),
                Err(_) => None,
            };
            if let Some(error) = failure {
                *written = Err(error);
            }
        })
    }

    /// Whether everything was written.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match std::mem::replace(&mut *written, Err(io::Error::other("finished"))) {
            Ok(mut file) => file.flush(),
            Err(error) => Err(error),
        };
        result.with_context(|| format!("write {}", self.path.display()))
    }
}
