//! The requests of one model that wait for an engine, first come first served.
//!
//! Only the oldest one looks for an engine; when it has one it leaves and wakes the next. So a place that becomes free
//! goes to the oldest, and a hundred waiting requests cost no more than one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// Requests waiting, by the order of their admission.
#[derive(Debug)]
pub struct Queue {
    // Held for a map operation only.
    waiting: Mutex<BTreeMap<u64, Arc<Notify>>>,
    length: AtomicUsize,
    depth: Gauge,
}

/// A place in the queue; dropping it leaves the queue and wakes the next.
#[derive(Debug)]
pub struct Ticket<'a> {
    queue: &'a Queue,
    sequence: u64,
    turn: Arc<Notify>,
}

impl Queue {
    /// An empty queue that shows its length in `depth`.
    pub fn new(depth: Gauge) -> Self {
        Self { waiting: Mutex::default(), length: AtomicUsize::new(0), depth }
    }

    /// Requests waiting.
    pub fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nobody older than `sequence` waits.
    pub fn is_first(&self, sequence: u64) -> bool {
        self.is_empty() || self.lock().first_key_value().is_none_or(|(oldest, _)| *oldest >= sequence)
    }

    /// Joins, at the place that the order of admission gives; `None` if `max` requests wait already.
    pub fn join(&self, sequence: u64, max: usize) -> Option<Ticket<'_>> {
        let turn = Arc::new(Notify::new());
        let mut waiting = self.lock();
        if waiting.len() >= max {
            return None;
        }
        waiting.insert(sequence, turn.clone());
        self.show(waiting.len());
        Some(Ticket { queue: self, sequence, turn })
    }

    /// Lets the oldest request look for an engine.
    pub fn wake_first(&self) {
        if self.is_empty() {
            return;
        }
        if let Some((_, turn)) = self.lock().first_key_value() {
            turn.notify_one();
        }
    }

    fn show(&self, length: usize) {
        self.length.store(length, Ordering::Release);
        self.depth.set(i64::try_from(length).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// Whether this is the oldest request.
    pub fn is_first(&self) -> bool {
        self.queue.is_first(self.sequence)
    }

    /// Waits until something happened that may give the oldest request an engine, or this one became the oldest.
    pub async fn turn(&self) {
        self.turn.notified().await;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        waiting.remove(&self.sequence);
        self.queue.show(waiting.len());
        if let Some((_, next)) = waiting.first_key_value() {
            next.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn queue() -> (Queue, Gauge) {
        let depth = Gauge::default();
        (Queue::new(depth.clone()), depth)
    }

    #[test]
    fn the_oldest_is_first_wherever_it_joined() {
        let (queue, depth) = queue();
        assert!(queue.is_first(7));
        let young = queue.join(5, 10).expect("room");
        let old = queue.join(3, 10).expect("room");
        assert!(old.is_first() && !young.is_first() && !queue.is_first(4));
        assert_eq!(depth.get(), 2);
        drop(old);
        assert!(young.is_first());
        assert!(young.turn().now_or_never().is_some(), "the next one is woken");
        drop(young);
        assert_eq!((queue.len(), depth.get()), (0, 0));
    }

    #[test]
    fn a_wake_goes_to_the_oldest_only_and_is_kept_until_it_looks() {
        let (queue, _) = queue();
        let old = queue.join(1, 10).expect("room");
        let young = queue.join(2, 10).expect("room");
        queue.wake_first();
        assert!(young.turn().now_or_never().is_none());
        assert!(old.turn().now_or_never().is_some());
    }

    #[test]
    fn the_queue_is_bounded() {
        let (queue, _) = queue();
        let _one = queue.join(1, 1).expect("room");
        assert!(queue.join(2, 1).is_none());
        assert_eq!(queue.len(), 1);
    }
}
