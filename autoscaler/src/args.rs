//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::lab::LabCommand;
use crate::{controller, crd, explain, lab, standalone};

/// Predictive autoscaler for LLM engines.
///
/// Keeps each engine Deployment (or the engine processes of one host) at the fewest replicas that meet a latency
/// objective, planning over the engine's learned start-up time, and says why.
#[derive(Debug, Parser)]
#[command(name = "autoscaler", version, about, max_term_width = 120)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the EngineAutoscalers of a namespace and scale their targets
    Controller(controller::args::ControllerArgs),
    /// Run and scale engine processes on this host, without Kubernetes
    Standalone(standalone::args::StandaloneArgs),
    /// Print or apply the CustomResourceDefinition
    #[command(subcommand)]
    Crd(crd::CrdCommand),
    /// Put the last decision of an EngineAutoscaler into words
    Explain(explain::ExplainArgs),
    /// Play scaling policies against a trace and compare cost and misses
    Simulate(Box<lab::SimulateArgs>),
    /// Play our policy on the history of a running system, against what was in fact ordered
    Backtest(Box<lab::BacktestArgs>),
    /// Choose objective and bounds from history, and print the Helm values with the expected saving
    Tune(Box<lab::TuneArgs>),
    /// Run the whole benchmark over a folder of traces and print its tables as markdown
    Benchmark(Box<lab::BenchmarkArgs>),
}

impl Args {
    /// Runs the command; an error is printed with its causes.
    pub async fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Controller(args) => Box::pin(controller::run(args)).await,
            Command::Standalone(args) => Box::pin(standalone::run(args)).await,
            Command::Crd(command) => crd::run(command).await,
            Command::Explain(args) => explain::run(args).await,
            Command::Simulate(args) => lab::run(LabCommand::Simulate(*args)).await,
            Command::Backtest(args) => lab::run(LabCommand::Backtest(*args)).await,
            Command::Tune(args) => lab::run(LabCommand::Tune(*args)).await,
            Command::Benchmark(args) => lab::run(LabCommand::Benchmark(*args)).await,
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => process::exit::failure("autoscaler", &error),
        }
    }
}
