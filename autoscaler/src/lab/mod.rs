//! The laboratory on the command line: `simulate`, `tune`, `backtest`, `benchmark`.
//!
//! Reads flags and traces, fetches history from a Prometheus, and writes what autoscaler-lab answers. Nothing here decides
//! or simulates.

mod args;
mod backtest;
mod benchmark;
mod fetch;
mod friction;
mod output;
mod simulate;
mod tune;

pub use backtest::BacktestArgs;
pub use benchmark::BenchmarkArgs;
pub use simulate::SimulateArgs;
pub use tune::TuneArgs;

/// A command of the laboratory.
#[derive(Debug, Clone)]
pub enum LabCommand {
    /// Policies against a trace.
    Simulate(SimulateArgs),
    /// Ours against what a running system had.
    Backtest(BacktestArgs),
    /// Settings for a running system, and what they save.
    Tune(TuneArgs),
    /// All shared traces.
    Benchmark(BenchmarkArgs),
}

/// Runs a command; the work keeps its thread busy, so it has one of its own.
///
/// # Errors
/// If a flag or a trace cannot be used, or the answer cannot be written.
pub async fn run(command: LabCommand) -> anyhow::Result<()> {
    let history = match &command {
        LabCommand::Simulate(args) => args.experiment.trace.fetch().await?,
        LabCommand::Backtest(args) => args.replicas.fetch(&args.experiment.trace).await?,
        LabCommand::Tune(args) => args.replicas.fetch(&args.experiment.trace).await?,
        LabCommand::Benchmark(_) => None,
    };
    tokio::task::spawn_blocking(move || match command {
        LabCommand::Simulate(args) => simulate::run(&args, history),
        LabCommand::Backtest(args) => backtest::run(&args, history),
        LabCommand::Tune(args) => tune::run(&args, history),
        LabCommand::Benchmark(args) => benchmark::run(&args),
    })
    .await?
}
