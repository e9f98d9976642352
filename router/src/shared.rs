//! What all threads of the router share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use process::shutdown::Shutdown;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::Tunables;
use crate::fleet::Snapshot;
use crate::metrics::Metrics;

/// Read-mostly state of all threads.
#[derive(Debug)]
pub struct Shared {
    /// Engines and models as they are now.
    pub snapshot: ArcSwap<Snapshot>,
    /// Limits as they are configured now.
    pub tunables: ArcSwap<Tunables>,
    /// All metrics.
    pub metrics: Metrics,
    /// Stages of the graceful stop.
    pub shutdown: Shutdown,
    /// Some engine was taken out and wants probes.
    pub ejected: Notify,
    started: Instant,
    stage: AtomicU8,
    sequence: AtomicU64,
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
}

impl Shared {
    /// State without any engine.
    pub fn new(tunables: Tunables, metrics: Metrics, shutdown: Shutdown) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            tunables: ArcSwap::from_pointee(tunables),
            metrics,
            shutdown,
            ejected: Notify::new(),
            started: Instant::now(),
            stage: AtomicU8::new(0),
            sequence: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
        }
    }

    /// Follows the stages of the stop, so that requests read a number and take no lock.
    pub async fn follow_stages(&self) {
        self.shutdown.draining().cancelled().await;
        self.stage.store(1, Ordering::Release);
        self.shutdown.stop_accepting().cancelled().await;
        self.stage.store(2, Ordering::Release);
    }

    /// How far the stop has come: 0 not begun, 1 draining, 2 no new connections.
    pub fn stage(&self) -> u8 {
        self.stage.load(Ordering::Acquire)
    }

    /// Whether the stop has begun.
    pub fn is_draining(&self) -> bool {
        self.stage() > 0
    }

    /// Milliseconds since the start, the clock of the pure parts.
    pub fn now_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// The next number in the order of admission.
    pub fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets the next waiting request of every model look for an engine. Free while nobody waits.
    pub fn wake_waiting(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        for model in &self.snapshot.load().models {
            model.queue.wake_next();
        }
    }

    /// Accounts for a request that waits; `None` if the bodies of those waiting would exceed `max_bytes`.
    pub fn start_waiting(self: &Arc<Self>, bytes: u64, max_bytes: u64) -> Option<Waiting> {
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::SeqCst);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting { shared: self.clone(), bytes };
        (before.saturating_add(bytes) <= max_bytes).then_some(waiting)
    }
}

/// A request that waits, as far as the whole router is concerned.
#[derive(Debug)]
pub struct Waiting {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
        self.shared.waiting_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}
