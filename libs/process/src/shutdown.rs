//! Graceful stop: not ready at once, still accepting for a while, then finishing what runs.
//!
//! ```text
//! SIGTERM/SIGINT ─▶ draining ──5 s──▶ stop accepting ──≤300 s──▶ give up what still runs
//! ```
//! The five seconds cover the time a load balancer needs to see `/readyz` fail; closing the port at once would
//! refuse connections that are still being sent here.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

/// How long connections are still accepted after the signal.
pub const ACCEPT_WHILE_DRAINING: Duration = Duration::from_secs(5);
/// How long running streams may take to finish, counted from the signal.
pub const FINISH_STREAMS: Duration = Duration::from_secs(300);

/// The stages of a graceful stop as tokens that anyone may await; cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    stop_accepting: CancellationToken,
    give_up: CancellationToken,
}

impl Shutdown {
    /// Tokens without a signal behind them: for tests and for programs inside programs.
    #[must_use]
    pub fn manual() -> Self {
        Self::default()
    }

    /// Listens for SIGTERM and SIGINT; a second signal skips what is left of the waiting.
    ///
    /// # Errors
    /// If the process may not install signal handlers.
    pub fn on_signals(readiness: Readiness) -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::default();
        let stages = shutdown.clone();
        tokio::spawn(async move {
            let name = tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
            tracing::info!(signal = name, "draining");
            readiness.wait_for("shutdown", "draining after a signal");
            let stages_run = stages.run();
            tokio::select! {
                () = stages_run => {}
                _ = terminate.recv() => stages.abort(),
                _ = interrupt.recv() => stages.abort(),
            }
        });
        Ok(shutdown)
    }

    /// Walks through the stages now; returns when the last one is reached.
    pub async fn run(&self) {
        self.draining.cancel();
        tokio::time::sleep(ACCEPT_WHILE_DRAINING).await;
        self.stop_accepting.cancel();
        tokio::time::sleep(FINISH_STREAMS.saturating_sub(ACCEPT_WHILE_DRAINING)).await;
        self.give_up.cancel();
    }

    /// Reaches all stages at once.
    pub fn abort(&self) {
        self.draining.cancel();
        self.stop_accepting.cancel();
        self.give_up.cancel();
    }

    /// Cancelled when the stop begins: report not ready, close connections after their answer.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when no new connection may be accepted any more.
    #[must_use]
    pub fn stop_accepting(&self) -> &CancellationToken {
        &self.stop_accepting
    }

    /// Cancelled when what still runs has to be dropped.
    #[must_use]
    pub fn give_up(&self) -> &CancellationToken {
        &self.give_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_stages_come_in_order() {
        let shutdown = Shutdown::manual();
        let stages = shutdown.clone();
        let running = tokio::spawn(async move { stages.run().await });
        shutdown.draining().cancelled().await;
        assert!(!shutdown.stop_accepting().is_cancelled());
        shutdown.stop_accepting().cancelled().await;
        assert!(!shutdown.give_up().is_cancelled());
        running.await.unwrap();
        assert!(shutdown.give_up().is_cancelled());
    }
}
