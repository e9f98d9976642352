//! The `adapter` program.

use std::path::PathBuf;
use std::process::ExitCode;

use adapter::config::file::ConfigFile;
use clap::{Parser, Subcommand};
use process::args::ProcessArgs;

/// Kubernetes metrics API server for LLM engines: gives HPA queue depth, throughput, latency and KV-cache use
#[derive(Parser)]
#[command(name = "adapter", version, max_term_width = 110)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve external.metrics.k8s.io
    Serve(ProcessArgs),
    /// Check a configuration file, PromQL included, and show what each rule asks
    Check {
        /// YAML configuration file
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    process::install_crypto_provider();
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write;
            drop(writeln!(std::io::stderr(), "adapter: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    match args.command {
        Command::Serve(process) if process.print_config_schema => {
            use std::io::Write;
            write!(out, "{}", process::config::schema_json::<ConfigFile>())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve(_) => anyhow::bail!("serving comes with the next commit"),
        Command::Check { file } => {
            let is_good = adapter::check::check(&file, &mut out)?;
            Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
