//! Which engines go when fewer are wanted.

use std::collections::BTreeMap;

use super::{Life, Member};

/// The `count` engines of `model` that go first: those that crashed, then those still starting (newest first: the
/// oldest is the nearest to being useful), then the ready ones with the fewest requests, newest first among equals.
pub(super) fn choose(members: &[Member], model: &str, count: usize, load: &BTreeMap<String, f64>) -> Vec<String> {
    let mut candidates: Vec<&Member> = members.iter().filter(|m| m.model == model && m.is_active()).collect();
    candidates.sort_by(|a, b| {
        let key = |m: &Member| match m.life {
            Life::Crashed { .. } => (0, 0.0),
            Life::Starting { .. } => (1, 0.0),
            Life::Ready { .. }
            | Life::Waking { .. }
            | Life::Dozing { .. }
            | Life::Asleep { .. }
            | Life::Draining { .. }
            | Life::Stopping { .. } => (2, load.get(&m.id).copied().unwrap_or(0.0)),
        };
        let (rank_a, load_a) = key(a);
        let (rank_b, load_b) = key(b);
        rank_a.cmp(&rank_b).then(load_a.total_cmp(&load_b)).then(b.created.cmp(&a.created)).then(b.id.cmp(&a.id))
    });
    candidates.into_iter().take(count).map(|member| member.id.clone()).collect()
}
