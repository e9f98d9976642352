//! The YAML configuration file: bounded, strict, and with errors that name the place.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use crate::duration::HumanDuration as Duration;
pub use follow::follow;

mod follow;

/// Larger files are refused: no configuration of ours comes near it, and a wrong path may point anywhere.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Why a configuration file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("read configuration file {path}: {source}; check --config")]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is implausibly large.
    #[error(
        "configuration file {path} has {bytes} bytes, more than the {MAX_FILE_BYTES} that are read; check --config"
    )]
    TooLarge {
        /// The file asked for.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The content does not fit the schema.
    #[error("configuration file {path}: {message}")]
    Parse {
        /// The file asked for.
        path: PathBuf,
        /// What is wrong and at which line.
        message: String,
    },
}

/// A configuration file with its text as read once: what is compared with later is what was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigText {
    path: PathBuf,
    text: String,
}

impl ConfigText {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is larger than 4 MiB.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(read)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(ConfigError::TooLarge { path: path.to_owned(), bytes });
        }
        Ok(Self { path: path.to_owned(), text: std::fs::read_to_string(path).map_err(read)? })
    }

    /// Where it was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says, as YAML or JSON.
    ///
    /// # Errors
    /// If it does not fit `T`; the error names file, line and key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        parse(&self.text).map_err(|message| ConfigError::Parse { path: self.path.clone(), message })
    }
}

/// Reads and parses one YAML (or JSON) file.
///
/// # Errors
/// If the file cannot be read, is larger than 4 MiB, or does not fit `T`; the error names file, line and key.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    ConfigText::read(path)?.parse()
}

/// Parses YAML text; an empty document is an empty mapping, so that every key keeps its default.
///
/// # Errors
/// What is wrong, with line, column and key.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let has_content = text.lines().any(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && line != "---"
    });
    serde_saphyr::from_str(if has_content { text } else { "{}" }).map_err(|error| error.to_string())
}

/// The schema of `T` as pretty JSON, for the `*.schema.json` files that ship with each program.
#[must_use]
pub fn schema_json<T: schemars::JsonSchema>() -> String {
    let schema = schemars::schema_for!(T);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
    struct Example {
        listen: String,
        deadline: Duration,
    }

    impl Default for Example {
        fn default() -> Self {
            Self { listen: "[::]:8000".into(), deadline: Duration::from_secs(30) }
        }
    }

    fn load_text(text: &str) -> Result<Example, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(file.path())
    }

    #[test]
    fn an_empty_file_keeps_every_default() {
        for text in ["", "---\n", "# only a comment\n"] {
            assert_eq!(load_text(text).unwrap().deadline, Duration::from_secs(30));
        }
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let message = load_text("listen: a\ndedline: 5s\n").unwrap_err().to_string();
        assert!(message.contains("dedline") && message.contains('2'), "{message}");
    }

    #[test]
    fn a_bad_duration_is_named_with_the_fix() {
        let message = load_text("deadline: 5\n").unwrap_err().to_string();
        assert!(message.contains("250ms"), "{message}");
    }

    #[test]
    fn a_missing_file_says_which_flag_to_check() {
        let message = load::<Example>(Path::new("/does/not/exist.yaml")).unwrap_err().to_string();
        assert!(message.contains("/does/not/exist.yaml") && message.contains("--config"), "{message}");
    }
}
