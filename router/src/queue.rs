//! The requests of one model that wait for an engine.
//!
//! Only the one that is next looks for an engine; when it has one it leaves and wakes the one behind. So a place that
//! becomes free goes to whom the discipline says, and a hundred waiting requests cost no more than one. Who is next
//! changes with time alone, when a request becomes late: it notices at its next look, and wakes the one before it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use router_core::{Discipline, FirstTokenTime, Line, Place, late_until};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a queue shows of itself.
#[derive(Clone, Debug, Default)]
pub struct QueueMetrics {
    /// Requests waiting.
    pub depth: Gauge,
    /// Those of them that cannot meet the objective any more.
    pub late: Gauge,
    /// Requests that got an engine before an older one did.
    pub overtakes: Counter,
}

/// Requests waiting, in order of arrival.
#[derive(Debug)]
pub struct Queue {
    // Held for a map operation only, and by nobody while nobody waits.
    line: Mutex<Line<Arc<Notify>>>,
    length: AtomicUsize,
    metrics: QueueMetrics,
    since: Instant,
    is_fifo: AtomicBool,
    // 0: none.
    objective_ms: AtomicU64,
    first_token: AtomicU64,
}

/// A place in the queue; dropping it leaves the queue and wakes the next.
#[derive(Debug)]
pub struct Ticket<'a> {
    queue: &'a Queue,
    place: Place,
    turn: Arc<Notify>,
}

impl Queue {
    /// An empty queue without an objective.
    pub fn new(metrics: QueueMetrics) -> Self {
        Self {
            line: Mutex::default(),
            length: AtomicUsize::new(0),
            metrics,
            since: Instant::now(),
            is_fifo: AtomicBool::new(false),
            objective_ms: AtomicU64::new(0),
            first_token: AtomicU64::new(0),
        }
    }

    /// From now on this decides who is next, of those waiting as well. An objective below a millisecond is one.
    pub fn order_by(&self, discipline: Discipline, objective: Option<Duration>) {
        self.is_fifo.store(discipline == Discipline::Fifo, Ordering::Relaxed);
        self.objective_ms.store(objective.map_or(0, |ttft| whole_ms(ttft).max(1)), Ordering::Relaxed);
    }

    /// Time to first token that was promised.
    pub fn objective(&self) -> Option<Duration> {
        Some(self.objective_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    /// An engine took this long from getting a request to its first token.
    pub fn first_token_after(&self, time: Duration) {
        // Two threads at once lose one of two samples, which a moving mean does not mind.
        let known = FirstTokenTime::from_word(self.first_token.load(Ordering::Relaxed));
        self.first_token.store(known.with(time.as_secs_f32() * 1e3).to_word(), Ordering::Relaxed);
    }

    /// The place of a request that came at `arrived` and was admitted as number `sequence`.
    pub fn place(&self, arrived: Instant, sequence: u64) -> Place {
        Place { arrived_ms: whole_ms(arrived.saturating_duration_since(self.since)), sequence }
    }

    /// Requests waiting.
    pub fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a request, waiting or new, is not behind anybody who waits.
    pub fn is_next(&self, place: Place) -> bool {
        self.is_empty() || self.lock().is_next(place, self.late_until())
    }

    /// Joins; `None` if `max` requests wait already.
    pub fn join(&self, place: Place, max: usize) -> Option<Ticket<'_>> {
        let turn = Arc::new(Notify::new());
        let mut line = self.lock();
        if !line.join(place, turn.clone(), max) {
            return None;
        }
        self.show(&line);
        Some(Ticket { queue: self, place, turn })
    }

    /// Lets the request that is next look for an engine.
    pub fn wake_next(&self) {
        if self.is_empty() {
            return;
        }
        if let Some((_, turn)) = self.lock().next(self.late_until()) {
            turn.notify_one();
        }
    }

    /// Notes that the request at `place` has an engine now.
    pub fn served(&self, place: Place) {
        if !self.is_empty() && self.lock().has_older(place) {
            self.metrics.overtakes.inc();
        }
    }

    /// Shows how many are late, which changes with time.
    pub fn show_late(&self) {
        let late = if self.is_empty() { 0 } else { self.lock().late(self.late_under(Discipline::Deadline)) };
        self.metrics.late.set(i64::try_from(late).unwrap_or(i64::MAX));
    }

    fn late_until(&self) -> Option<u64> {
        let is_fifo = self.is_fifo.load(Ordering::Relaxed);
        self.late_under(if is_fifo { Discipline::Fifo } else { Discipline::Deadline })
    }

    fn late_under(&self, discipline: Discipline) -> Option<u64> {
        let objective_ms = Some(self.objective_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0);
        let first_token = FirstTokenTime::from_word(self.first_token.load(Ordering::Relaxed));
        let expected_ms = whole_ms(Duration::try_from_secs_f32(first_token.expected_ms() / 1e3).unwrap_or_default());
        late_until(discipline, objective_ms, expected_ms, whole_ms(self.since.elapsed()))
    }

    fn show(&self, line: &Line<Arc<Notify>>) {
        self.length.store(line.len(), Ordering::Release);
        self.metrics.depth.set(i64::try_from(line.len()).unwrap_or(i64::MAX));
        if line.is_empty() {
            self.metrics.late.set(0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line<Arc<Notify>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// Whether nobody is before this request.
    pub fn is_next(&self) -> bool {
        self.queue.is_next(self.place)
    }

    /// Waits until something happened that may give this request an engine, or it became the next.
    pub async fn turn(&self) {
        self.turn.notified().await;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.lock();
        line.leave(self.place);
        self.queue.show(&line);
        if let Some((_, next)) = line.next(self.queue.late_until()) {
            next.notify_one();
        }
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn queue(objective: Option<Duration>) -> Queue {
        let queue = Queue::new(QueueMetrics::default());
        queue.order_by(Discipline::Deadline, objective);
        queue
    }

    fn join(queue: &Queue, sequence: u64) -> Ticket<'_> {
        queue.join(queue.place(Instant::now(), sequence), 10).expect("room")
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_next_wherever_it_joined() {
        let queue = queue(None);
        let came = Instant::now();
        let place = |sequence| queue.place(came, sequence);
        assert!(queue.is_next(place(7)));
        let young = queue.join(place(5), 10).expect("room");
        let old = queue.join(place(3), 10).expect("room");
        assert!(old.is_next() && !young.is_next() && !queue.is_next(place(4)));
        assert_eq!(queue.metrics.depth.get(), 2);
        drop(old);
        assert!(young.is_next());
        assert!(young.turn().now_or_never().is_some(), "the next one is woken");
        drop(young);
        assert_eq!((queue.len(), queue.metrics.depth.get()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_goes_to_the_next_only_and_is_kept_until_it_looks() {
        let queue = queue(None);
        let old = join(&queue, 1);
        let young = join(&queue, 2);
        queue.wake_next();
        assert!(young.turn().now_or_never().is_none());
        assert!(old.turn().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded() {
        let queue = queue(None);
        let _one = queue.join(queue.place(Instant::now(), 1), 1).expect("room");
        assert!(queue.join(queue.place(Instant::now(), 2), 1).is_none());
        assert_eq!(queue.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_becomes_late_yields_and_is_counted() {
        let queue = queue(Some(1000 * MS));
        let old = join(&queue, 1);
        tokio::time::advance(600 * MS).await;
        let young = join(&queue, 2);
        assert!(old.is_next());
        tokio::time::advance(400 * MS).await;
        assert!(young.is_next() && !old.is_next());
        queue.wake_next();
        assert!(old.turn().now_or_never().is_none() && young.turn().now_or_never().is_some());
        queue.show_late();
        assert_eq!(queue.metrics.late.get(), 1);
        queue.served(young.place);
        queue.served(old.place);
        assert_eq!(queue.metrics.overtakes.get(), 1);
        drop(young);
        assert!(old.is_next() && old.turn().now_or_never().is_some());
        drop(old);
        assert_eq!(queue.metrics.late.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_engines_take_to_a_first_token_is_taken_off_the_objective() {
        let queue = queue(Some(1000 * MS));
        for _ in 0..100 {
            queue.first_token_after(200 * MS);
        }
        let old = join(&queue, 1);
        tokio::time::advance(700 * MS).await;
        let young = join(&queue, 2);
        assert!(old.is_next());
        tokio::time::advance(150 * MS).await;
        assert!(young.is_next());
    }

    #[tokio::test(start_paused = true)]
    async fn fifo_never_lets_anybody_overtake_and_still_shows_who_is_late() {
        let queue = queue(None);
        queue.order_by(Discipline::Fifo, Some(1000 * MS));
        let old = join(&queue, 1);
        tokio::time::advance(5000 * MS).await;
        let young = join(&queue, 2);
        assert!(old.is_next() && !young.is_next());
        queue.show_late();
        assert_eq!(queue.metrics.late.get(), 1);
    }
}
