//! `make demo`: the whole stack on this machine, three days of real load in three minutes, a page to watch.
//!
//! ```text
//! scenario (engine, trace → arrivals) ─▶ stack (autoscaler standalone and all it starts)
//!                                          │ /api/state             ▲ requests
//!                                          ▼                        │
//!                                        narrate ◀── outcomes ── load::run ─▶ summary
//! ```
//! Everything started here ends here, on Ctrl-C too.

pub mod narrate;
pub mod scenario;
pub mod stack;
pub mod summary;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::load::client::Client;
use crate::load::run::{self, Load};
use narrate::Narrator;
use scenario::Scenario;
use stack::Stack;
use summary::Summary;

/// Run the whole stack on this machine and replay real load against it.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "demo", version)]
pub struct Args {
    /// Trace to replay instead of the packed three days: `ts,value` CSV (a day a minute), Azure CSV or Mooncake JSON
    /// lines (20 times as fast as recorded)
    #[arg(long, value_name = "FILE", env = "TRACE", value_parser = path_or_nothing)]
    pub trace: Option<PathBuf>,
    /// Engines to run
    #[arg(long, value_enum, env = "ENGINE", default_value = "emulator")]
    pub engine: Engine,
    /// Seed of arrivals and lengths
    #[arg(long, env = "SEED", default_value_t = 11)]
    pub seed: u64,
    /// End the replay after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
}

/// Which engines the demo runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// The emulator: up to twelve engines without a GPU.
    Emulator,
    /// SmolLM2 on llama.cpp: a real model, up to two engines, few requests.
    Llama,
}

/// clap's own parser of paths refuses `TRACE=`, which a Makefile passes on for "none".
fn path_or_nothing(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(PathBuf::from(text))
}

/// Runs the demo to its end or to Ctrl-C.
///
/// # Errors
/// If the trace cannot be read, something is not installed or built, or the stack does not start.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    let scenario = Scenario::new(&args)?;
    let mut stack = Stack::start(&scenario)?;
    let mut narrator = Narrator::new(&stack, &scenario);
    let replayed = replay(&scenario, &mut stack, &mut narrator, &stop).await;
    narrator.ending();
    // Whatever happened, nothing may be left running.
    let stopped = stack.stop().await;
    let summary = replayed?;
    stopped?;
    narrator.close(&summary.render(&scenario));
    Ok(())
}

/// Starts up, replays, watches. A stop while it runs ends the sending and still gives a summary.
async fn replay(
    scenario: &Scenario,
    stack: &mut Stack,
    narrator: &mut Narrator,
    stop: &CancellationToken,
) -> anyhow::Result<Summary> {
    tokio::select! {
        ready = stack.ready() => ready?,
        () = stop.cancelled() => anyhow::bail!("stopped before the replay began"),
    }
    narrator.started(stack);
    let load = Load {
        client: Client::new(&stack.router_url(), scenario.request_deadline)?,
        model: "demo".to_owned(),
        ignore_eos: scenario.engine == Engine::Emulator,
    };
    let mut summary = Summary::new(scenario);
    let mut outcomes = run::start(load, scenario.arrivals.clone(), stop.clone());
    let mut look = tokio::time::interval(Duration::from_millis(250));
    let started = tokio::time::Instant::now();
    loop {
        tokio::select! {
            finished = outcomes.recv() => match finished {
                Some(finished) => summary.add(&finished),
                None => break,
            },
            _ = look.tick() => {
                stack.check()?;
                if let Ok(state) = stack.state().await {
                    summary.watch(&state, started.elapsed());
                    narrator.narrate(&state, &summary, started.elapsed(), stack).await;
                }
            }
            () = give_up(stop) => break,
        }
    }
    summary.finish(started.elapsed(), stop.is_cancelled());
    Ok(summary)
}

/// Cancelled by the first SIGINT or SIGTERM.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        token.cancel();
    });
    Ok(stop)
}

/// A stop, and a moment for requests in flight.
async fn give_up(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
}
