//! The tasks that keep the snapshot of the fleet: where engines come from, what they serve, and whether they live.
//!
//! ```text
//! source (static, file, pods) ──list──▶ roster ──Snapshot──▶ requests
//!      names (/v1/models of each) ─────▶   │
//!      probe (/health of those taken out) ─┘ wakes waiting requests
//!      room (/metrics, if asked for) ─▶ limit per engine
//! ```

pub mod fetch;
pub mod names;
pub mod probe;
pub mod room;
pub mod roster;
pub mod snapshot;
pub mod source;

use std::sync::Arc;
use std::time::Duration;

use process::readiness::Readiness;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use self::probe::probe;
pub use self::room::watch as watch_room;
pub use self::snapshot::Snapshot;
pub use self::source::{Listed, follow};

use self::roster::Roster;
use crate::shared::Shared;

/// How often connections are swept, gone engines forgotten and changed limits noticed.
const TICK: Duration = Duration::from_secs(1);
/// How long the router waits at its start for engines to tell what they serve before it takes requests all the same.
const SILENT_ENGINES_PATIENCE: Duration = Duration::from_secs(3);

/// Publishes a new snapshot whenever the list of engines or what they serve changes.
pub async fn keep(
    shared: Arc<Shared>,
    mut listed: watch::Receiver<Option<Arc<Listed>>>,
    readiness: Readiness,
    workers: usize,
) -> Result<(), std::convert::Infallible> {
    let (learned_sender, mut learned) = mpsc::channel(64);
    let mut roster = Roster::new(shared.clone(), learned_sender, workers);
    let mut first_list: Option<Instant> = None;
    let mut tick = tokio::time::interval(TICK);
    roster.publish();
    loop {
        // Cancel-safe: `changed`, `recv` and `tick` lose nothing when dropped.
        let changed = tokio::select! {
            Ok(()) = listed.changed() => {
                if let Some(list) = listed.borrow_and_update().clone() {
                    roster.apply(&list, Instant::now());
                    first_list.get_or_insert_with(Instant::now);
                }
                true
            },
            Some(learned) = learned.recv() => roster.learned(learned),
            now = tick.tick() => roster.tick(now),
        };
        if changed {
            roster.publish();
        }
        if let Some(since) = first_list
            && (shared.snapshot.load().fleet.unnamed() == 0 || since.elapsed() >= SILENT_ENGINES_PATIENCE)
        {
            readiness.clear("engines");
        }
    }
}
