//! The line of requests that wait for an engine of one model, and who is next in it.
//!
//! All requests of a model share one objective, so the order of arrival is the order of due times as well: one ordered
//! map is the whole queue, and "late" is everything before a moment. Under `deadline` the oldest that can still meet the
//! objective is next; those that cannot wait behind, because serving them first makes those behind them late too: one
//! overload would cost everybody, not only the requests that were too many.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

/// Which of the waiting requests gets the next place in an engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Discipline {
    /// The oldest that can still meet the model's objective; if there is none, the oldest.
    #[default]
    Deadline,
    /// The oldest.
    Fifo,
}

/// Where a request stands: by arrival, and by order of admission within the same millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// When it came, in milliseconds on the router's clock.
    pub arrived_ms: u64,
    /// Its number in the order of admission.
    pub sequence: u64,
}

/// Waiting requests of one model, each with what wakes it.
#[derive(Debug)]
pub struct Line<T> {
    waiting: BTreeMap<Place, T>,
}

/// Requests that came at this moment or before cannot meet the objective any more; `None` if all can.
///
/// A request that gets its place now has its first token in `expected_ms`. That is bounded by half of the objective: an
/// engine that is slower than its objective would otherwise make everybody late, which is first come first served, and
/// those who could hope for the least delay would get the most.
pub fn late_until(discipline: Discipline, objective_ms: Option<u64>, expected_ms: u64, now_ms: u64) -> Option<u64> {
    match (discipline, objective_ms) {
        (Discipline::Fifo, _) | (Discipline::Deadline, None) => None,
        (Discipline::Deadline, Some(objective_ms)) => {
            now_ms.checked_sub(objective_ms - expected_ms.min(objective_ms / 2))
        }
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new() }
    }
}

impl<T> Line<T> {
    /// Requests waiting.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Joins; false, and nothing changes, if `max` wait already or the place is taken.
    pub fn join(&mut self, place: Place, waker: T, max: usize) -> bool {
        if self.waiting.len() >= max {
            return false;
        }
        match self.waiting.entry(place) {
            Entry::Vacant(free) => {
                free.insert(waker);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// Leaves, served or not.
    pub fn leave(&mut self, place: Place) -> Option<T> {
        self.waiting.remove(&place)
    }

    /// Who is next when requests that came until `late_until_ms` are late, see [`late_until`].
    pub fn next(&self, late_until_ms: Option<u64>) -> Option<(Place, &T)> {
        let in_time = late_until_ms.and_then(|late| self.waiting.range(in_time(late)).next());
        in_time.or_else(|| self.waiting.first_key_value()).map(|(place, waker)| (*place, waker))
    }

    /// Whether a request at `place`, waiting or new, is not behind anybody who waits.
    pub fn is_next(&self, place: Place, late_until_ms: Option<u64>) -> bool {
        let is_late = |place: Place| late_until_ms.is_some_and(|late| place.arrived_ms <= late);
        self.next(late_until_ms).is_none_or(|(next, _)| (is_late(place), place) <= (is_late(next), next))
    }

    /// Whether somebody who came before `place` waits: it overtakes if it is served now.
    pub fn has_older(&self, place: Place) -> bool {
        self.waiting.first_key_value().is_some_and(|(oldest, _)| *oldest < place)
    }

    /// How many of those waiting are late. Takes time in proportion to the answer.
    pub fn late(&self, late_until_ms: Option<u64>) -> usize {
        late_until_ms.map_or(0, |late| self.waiting.range(..=last_of(late)).count())
    }
}

fn last_of(late_until_ms: u64) -> Place {
    Place { arrived_ms: late_until_ms, sequence: u64::MAX }
}

fn in_time(late_until_ms: u64) -> (Bound<Place>, Bound<Place>) {
    (Bound::Excluded(last_of(late_until_ms)), Bound::Unbounded)
}

#[cfg(test)]
mod tests;
