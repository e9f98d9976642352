//! Where answers go.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::Context as _;

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
