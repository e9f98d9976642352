//! The flags and the `process:` section that every program has.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Flags shared by all programs; flatten them into the program's own arguments.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ProcessArgs {
    /// YAML configuration file. Precedence: flag, then environment, then file, then default
    #[arg(long, value_name = "FILE", env = "CONFIG_FILE")]
    pub config: Option<PathBuf>,
    /// Address of the admin server: /metrics, /livez, /readyz and debug pages
    #[arg(long, value_name = "ADDRESS", env = "ADMIN_ADDRESS", help_heading = "Process")]
    pub admin_address: Option<SocketAddr>,
    /// Least severe level that is logged, or a filter such as `info,router=debug` [default: info]
    #[arg(long, value_name = "FILTER", env = "LOG_LEVEL", help_heading = "Process")]
    pub log_level: Option<String>,
    /// How log lines are written [default: text]
    #[arg(long, value_name = "FORMAT", env = "LOG_FORMAT", value_enum, help_heading = "Process")]
    pub log_format: Option<LogFormat>,
    /// Print the configuration that results from flags, environment and file, and exit
    #[arg(long, help_heading = "Process")]
    pub print_config: bool,
    /// Print the JSON schema of the configuration file, and exit
    #[arg(long, hide = true)]
    pub print_config_schema: bool,
}

/// The `process:` section of a configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ProcessConfig {
    /// Address of the admin server, default `0.0.0.0:9100`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_address: Option<SocketAddr>,
    /// Least severe level that is logged, or a filter such as `info,router=debug`; default `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// How log lines are written, `text` or `json`; default `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

/// What applies after flags, environment, file and defaults are put in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSettings {
    /// Address of the admin server.
    pub admin_address: SocketAddr,
    /// Filter of log lines.
    pub log_level: String,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// Port of every program's admin server, unless several run on one host.
pub const DEFAULT_ADMIN_PORT: u16 = 9100;

impl ProcessArgs {
    /// Puts flags (and environment) over the file's section over the defaults.
    #[must_use]
    pub fn settings(&self, file: &ProcessConfig) -> ProcessSettings {
        ProcessSettings {
            admin_address: self
                .admin_address
                .or(file.admin_address)
                .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], DEFAULT_ADMIN_PORT))),
            log_level: self.log_level.clone().or_else(|| file.log_level.clone()).unwrap_or_else(|| "info".into()),
            log_format: self.log_format.or(file.log_format).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file =
            ProcessConfig { log_level: Some("warn".into()), log_format: Some(LogFormat::Json), admin_address: None };
        let args = ProcessArgs { log_level: Some("debug".into()), ..ProcessArgs::default() };
        let settings = args.settings(&file);
        assert_eq!(settings.log_level, "debug");
        assert_eq!(settings.log_format, LogFormat::Json);
        assert_eq!(settings.admin_address.port(), DEFAULT_ADMIN_PORT);
    }
}
