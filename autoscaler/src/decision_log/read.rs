//! Reading a decision log, the older half first.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use autoscaler_plan::{LogError, LogRecord};
use jiff::Timestamp;
use serde::Deserialize;

use super::older_of;

/// Why a log tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("read the decision log {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The line that is asked for cannot be understood.
    #[error("{} line {line}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        source: LogError,
    },
    /// There is no decision as early as that.
    #[error("the decision log {} begins at {first}, after {at}; name a later --at", path.display())]
    TooEarly {
        /// The file.
        path: PathBuf,
        /// Its first decision.
        first: Timestamp,
        /// What was asked for.
        at: Timestamp,
    },
    /// There is no decision at all.
    #[error("the decision log {} holds no decision; is it a log that `decisionLog` or --decision-log wrote?", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The last decision at or before a moment, or the last of all.
///
/// # Errors
/// If the file cannot be read, or holds no such decision.
pub fn decision_at(path: &Path, at: Option<Timestamp>) -> Result<LogRecord, ReadError> {
    /// Enough of a line to know whether it is the one.
    #[derive(Deserialize)]
    struct Moment {
        at: Timestamp,
    }
    let older = older_of(path);
    let mut first = None;
    let mut found: Option<(PathBuf, usize, String)> = None;
    for path in [older.as_path(), path] {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if path == older && error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(ReadError::Io { path: path.to_owned(), source }),
        };
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
            // A line that was cut by a crash is none.
            let Ok(moment) = serde_json::from_str::<Moment>(&line) else { continue };
            first = first.or(Some(moment.at));
            if at.is_some_and(|at| moment.at > at) {
                break;
            }
            found = Some((path.to_owned(), index + 1, line));
        }
    }
    match (found, first, at) {
        (Some((path, line, text)), _, _) => {
            LogRecord::from_line(&text).map_err(|source| ReadError::Line { path, line, source })
        }
        (None, Some(first), Some(at)) => Err(ReadError::TooEarly { path: path.to_owned(), first, at }),
        (None, _, _) => Err(ReadError::Empty { path: path.to_owned() }),
    }
}
