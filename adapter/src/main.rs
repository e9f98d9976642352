//! The `adapter` program.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use adapter::config::file::ConfigFile;
use adapter::explain::ExplainArgs;
use clap::{Parser, Subcommand};
use process::args::ProcessArgs;

/// Kubernetes metrics API server for LLM engines: gives HPA queue depth, throughput, latency and KV-cache use
///
/// It collects on its own clock, from Prometheus or from the engines themselves, and answers from memory. Values that
/// are too old or not known are errors that say which rule and why: HPA then holds its replicas.
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
    /// Show what an HPA would read from a running adapter, how old it is, and why
    Explain(ExplainArgs),
}

fn main() -> ExitCode {
    process::install_crypto_provider();
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => process::exit::failure("adapter", &error),
    }
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    let code = |is_good: bool| if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    match args.command {
        Command::Serve(process) if process.print_config_schema => {
            write!(out, "{}", process::config::schema_json::<ConfigFile>())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve(process) if process.print_config => {
            adapter::run::print_config(&process, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve(process) => {
            runtime()?.block_on(adapter::run::serve(process))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { file } => Ok(code(adapter::check::check(&file, &mut out)?)),
        Command::Explain(args) => Ok(code(runtime()?.block_on(adapter::explain::explain(&args, &mut out))?)),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    // Answers come from memory and collection waits for the network: two threads are plenty, and save stacks.
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
