//! Whether this process wants traffic, and if not, why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Named reasons that keep the process from being ready. Ready means: no reason left.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    // Held for a map insert or remove only, never across an await.
    pending: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// Not ready because of `what`, until [`Readiness::clear`] is called for it.
    pub fn wait_for(&self, what: &'static str, why: impl Into<String>) {
        self.lock().insert(what, why.into());
    }

    /// `what` no longer keeps the process from being ready.
    pub fn clear(&self, what: &'static str) {
        self.lock().remove(what);
    }

    /// The reasons left, as `what: why`; empty when ready.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.lock().iter().map(|(what, why)| format!("{what}: {why}")).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
