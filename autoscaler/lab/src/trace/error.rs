//! Why a trace cannot be used.

use std::path::PathBuf;

/// Why a trace cannot be used: where it says so, and what it must say.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file or folder cannot be read.
    #[error("read {path}")]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it could not be.
        #[source]
        source: std::io::Error,
    },
    /// A value in a text file is not what belongs there.
    #[error("{path}, line {line}, {column}: found `{found}`, expected {expected}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// Name of the column or field.
        column: &'static str,
        /// What is there, cut to a readable length.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// A file as a whole is not what the format says.
    #[error("{path}: {problem}; expected {expected}")]
    Content {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The file is larger than any trace that makes sense here.
    #[error("{path}: {bytes} bytes are more than the {most} that are read; cut the trace into shorter stretches")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// Largest size that is read.
        most: u64,
    },
    /// The rates come to more requests than can be simulated.
    #[error(
        "the trace at {factor:.3} times its rates has {requests:.3e} requests, more than the {most:.0e} that are \
         simulated; ask for fewer replicas in the mean, or cut the trace into shorter stretches"
    )]
    TooManyRequests {
        /// Factor on its rates.
        factor: f64,
        /// Requests that this gives.
        requests: f64,
        /// The most.
        most: f64,
    },
}

/// `text` as an error message shows it: short and on one line.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 40;
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}
