//! The decision log: one line of JSON for each decision, with all it was made on.
//!
//! A log answers why a decision was made, and feeds the same facts to another version or another program.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::facts::Facts;

/// Raised when the meaning of a recorded field changes; lines of another version are then refused.
pub const LOG_VERSION: u32 = 1;

/// One line of a decision log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRecord {
    version: u32,
    /// When it was decided.
    pub at: Timestamp,
    /// What it was decided on.
    pub facts: Facts,
    /// What was decided, and why.
    pub decision: Decision,
}

/// A line that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It is no record of a decision.
    #[error("read a line of the decision log")]
    Malformed(#[source] serde_json::Error),
    /// It was written by another version.
    #[error("the line has version {found}, this program reads version {LOG_VERSION}")]
    Version {
        /// The version of the line.
        found: u32,
    },
}

impl LogRecord {
    /// A record of a decision.
    #[must_use]
    pub fn new(at: Timestamp, facts: Facts, decision: Decision) -> Self {
        Self { version: LOG_VERSION, at, facts, decision }
    }

    /// The line, without its end. Numbers that are no numbers are written as null.
    ///
    /// # Panics
    /// Never: a record holds only numbers, strings, times, lists and maps with names.
    #[must_use]
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a record holds only numbers, strings, times, lists and maps with names")
    }

    /// Reads what [`LogRecord::to_line`] wrote.
    ///
    /// # Errors
    /// If the line is no record, or one of another version.
    pub fn from_line(line: &str) -> Result<Self, LogError> {
        /// Read first, so that another version is told from a broken line.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(line).map_err(LogError::Malformed)?;
        if version != LOG_VERSION {
            return Err(LogError::Version { found: version });
        }
        serde_json::from_str(line).map_err(LogError::Malformed)
    }
}
