//! `engines.json`: how the standalone autoscaler hands its engines to router and adapter.
//!
//! The writer renames a whole file into place, so a reader sees the old or the new list, never half of one.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::EngineState;

/// A list of thousands of engines fits; anything larger is not ours.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// One engine of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverEngine {
    /// Stable name of the engine.
    pub id: String,
    /// Base URL such as `http://127.0.0.1:18001`.
    pub url: String,
    /// Value of the `model` label.
    pub model: String,
    /// `ready` takes requests, `draining` finishes what it has; `starting` is never routed to.
    pub state: EngineState,
}

/// What the users of a served name were promised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServedObjective {
    /// Seconds to the first token.
    pub ttft_seconds: f64,
    /// Mean seconds between two tokens of one answer; `None` if nothing was promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inter_token_latency_seconds: Option<f64>,
}

impl ServedObjective {
    /// What keeps both.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        let promises = [self.inter_token_latency_seconds, other.inter_token_latency_seconds];
        Self {
            ttft_seconds: self.ttft_seconds.min(other.ttft_seconds),
            inter_token_latency_seconds: promises.into_iter().flatten().reduce(f64::min),
        }
    }
}

/// The whole list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Handover {
    /// Grows with each list; readers report the one they have applied.
    pub generation: u64,
    /// Every engine that exists for requests.
    pub engines: Vec<HandoverEngine>,
    /// By served name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objectives: BTreeMap<String, ServedObjective>,
}

/// Why the list could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The file system refused.
    #[error("engines file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The content is not a list of engines.
    #[error("engines file {path} is not a list of engines: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
}

impl Handover {
    /// Reads the list.
    ///
    /// # Errors
    /// If the file cannot be read, is larger than 4 MiB or does not fit; ids must be unique and URLs be `http(s)://`.
    pub fn read(path: &Path) -> Result<Self, HandoverError> {
        let io = |source| HandoverError::Io { path: path.to_owned(), source };
        let refuse = |message: String| HandoverError::Parse { path: path.to_owned(), message };
        if std::fs::metadata(path).map_err(io)?.len() > MAX_FILE_BYTES {
            return Err(refuse(format!("larger than {MAX_FILE_BYTES} bytes")));
        }
        let bytes = std::fs::read(path).map_err(io)?;
        let list: Self = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        let mut ids = std::collections::BTreeSet::new();
        for engine in &list.engines {
            if !ids.insert(&engine.id) {
                return Err(refuse(format!("engine id `{}` is there twice", engine.id)));
            }
            if !engine.url.starts_with("http://") && !engine.url.starts_with("https://") {
                return Err(refuse(format!(
                    "engine `{}`: url `{}` must begin with http:// or https://",
                    engine.id, engine.url
                )));
            }
        }
        Ok(list)
    }

    /// Renames a new list into place.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), HandoverError> {
        let io = |source| HandoverError::Io { path: path.to_owned(), source };
        let text = serde_json::to_vec(self).map_err(|error| io(error.into()))?;
        let fresh = path.with_extension("json.new");
        let mut file = std::fs::File::create(&fresh).map_err(io)?;
        file.write_all(&text).map_err(io)?;
        std::fs::rename(&fresh, path).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_list_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engines.json");
        let list = Handover {
            generation: 7,
            engines: vec![HandoverEngine {
                id: "a".into(),
                url: "http://127.0.0.1:1".into(),
                model: "m".into(),
                state: EngineState::Draining,
            }],
            objectives: BTreeMap::from([(
                "m".into(),
                ServedObjective { ttft_seconds: 1.0, inter_token_latency_seconds: None },
            )]),
        };
        list.write(&path).unwrap();
        assert_eq!(Handover::read(&path).unwrap(), list);
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"state\":\"draining\""));
    }

    #[test]
    fn a_bad_list_names_the_engine_and_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engines.json");
        let engine = |url: &str| format!("{{\"id\":\"a\",\"url\":\"{url}\",\"model\":\"m\",\"state\":\"ready\"}}");
        for (engines, expected) in [
            (engine("127.0.0.1:1"), "must begin with http://"),
            (format!("{0},{0}", engine("http://h")), "`a` is there twice"),
            (engine("http://h").replace("ready", "READY"), "READY"),
        ] {
            std::fs::write(&path, format!("{{\"generation\":1,\"engines\":[{engines}]}}")).unwrap();
            let message = Handover::read(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
