//! What changes from request to request: loads, failures and queues, beside the immutable snapshot.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engines::handover::ServedObjective;
use http::HeaderValue;
use router_core::{Discipline, EngineKey, EngineQueue, Failure, Load, Pressure, Room, ejects};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::MaxInFlight;
use crate::engine_url::EngineUrl;
use crate::metrics::{ModelMetrics, PairMetrics};
use crate::pool::Pool;
use crate::queue::Queue;
use crate::shared::Shared;

/// An engine that drains answers `/health` as if it did not: it is asked again this much later, in milliseconds.
const DRAINING_PAUSE_MS: u64 = 1_000;
/// No limit was learned from its metrics.
const NO_LIMIT: u32 = u32::MAX;

/// One engine from its first appearance until it is gone and idle.
#[derive(Debug)]
pub struct EngineLive {
    /// Its identity in this process.
    pub key: EngineKey,
    /// Its name in metrics and lists.
    pub id: Arc<str>,
    /// Where it is.
    pub url: EngineUrl,
    /// Value of the `Host` header of requests to it.
    pub host: HeaderValue,
    /// Idle connections, by worker.
    pub pools: Box<[Pool]>,
    /// It may serve other models than it said last.
    pub ask_again: Notify,
    in_flight: AtomicU32,
    failures: AtomicU32,
    ejected: AtomicBool,
    pressed: AtomicBool,
    pressure: Mutex<Option<Pressure>>,
    // What its metrics taught: touched by looks at them only, requests read the number beside it.
    room: Mutex<Option<(Room, Instant)>>,
    room_limit: AtomicU32,
}

impl EngineLive {
    /// An engine without any history.
    pub fn new(key: EngineKey, id: Arc<str>, url: EngineUrl, workers: usize) -> Self {
        let host = HeaderValue::from_str(&url.authority).unwrap_or_else(|_| HeaderValue::from_static("engine"));
        Self {
            key,
            id,
            url,
            host,
            pools: (0..workers).map(|_| Pool::default()).collect(),
            ask_again: Notify::new(),
            in_flight: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejected: AtomicBool::new(false),
            pressed: AtomicBool::new(false),
            pressure: Mutex::new(None),
            room: Mutex::new(None),
            room_limit: AtomicU32::new(NO_LIMIT),
        }
    }

    /// Requests of this router that it holds.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it is out until a probe succeeds.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    /// Its load at `now_ms`, with `max` as configured.
    pub fn load(&self, max: Option<MaxInFlight>, now_ms: u64) -> Load {
        let cap = match max {
            None => None,
            Some(MaxInFlight::Fixed(number)) => Some(number.get()),
            Some(MaxInFlight::Auto) => self.room(),
        };
        let limit = match self.learned_limit(now_ms) {
            Some(learned) => Some(cap.map_or(learned, |cap| cap.min(learned))),
            None => cap,
        };
        Load { in_flight: self.in_flight(), limit, ejected: self.is_ejected() }
    }

    fn learned_limit(&self, now_ms: u64) -> Option<u32> {
        if !self.pressed.load(Ordering::Relaxed) {
            return None;
        }
        let mut pressure = self.pressure.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = pressure.and_then(|pressure| pressure.limit_at(now_ms));
        if limit.is_none() {
            *pressure = None;
            self.pressed.store(false, Ordering::Relaxed);
        }
        limit
    }

    /// Most requests of this router that it runs at once, as its metrics taught; `None` if they were not read or it was
    /// never seen full.
    pub fn room(&self) -> Option<u32> {
        Some(self.room_limit.load(Ordering::Relaxed)).filter(|limit| *limit != NO_LIMIT)
    }

    /// Its metrics showed this queue at `now`.
    pub fn saw_queue(&self, seen: EngineQueue, now: Instant) {
        let mut known = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let room = known.map_or_else(Room::default, |(room, _)| room).after(seen);
        *known = Some((room, now));
        self.room_limit.store(room.limit(seen).unwrap_or(NO_LIMIT), Ordering::Relaxed);
    }

    /// Its metrics show no queue: it may be another engine now.
    pub fn forget_queue(&self) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.room_limit.store(NO_LIMIT, Ordering::Relaxed);
    }

    /// Its metrics could not be read at `now`; what they taught is good for `time` after they could.
    pub fn forget_queue_after(&self, time: Duration, now: Instant) {
        let last = self.room.lock().unwrap_or_else(PoisonError::into_inner).map(|(_, last)| last);
        if last.is_some_and(|last| now.saturating_duration_since(last) >= time) {
            self.forget_queue();
        }
    }

    /// It refused a request, which is still counted in flight.
    pub fn refused(&self, retry_after_ms: Option<u64>, now_ms: u64) {
        let held = self.in_flight().saturating_sub(1);
        let mut pressure = self.pressure.lock().unwrap_or_else(PoisonError::into_inner);
        *pressure = Some(Pressure::refused(*pressure, held, retry_after_ms, now_ms));
        self.pressed.store(true, Ordering::Relaxed);
    }

    /// It said that it is shutting down.
    pub fn is_leaving(&self, now_ms: u64) {
        self.refused(Some(DRAINING_PAUSE_MS), now_ms);
    }

    /// It failed a request; true if that takes it out now.
    pub fn failed(&self, failure: Failure) -> bool {
        let in_a_row = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        ejects(failure, in_a_row) && !self.ejected.swap(true, Ordering::Relaxed)
    }

    /// It answered.
    pub fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A probe succeeded.
    pub fn readmit(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.ejected.store(false, Ordering::Relaxed);
    }
}

/// One model for as long as this process knows it.
#[derive(Debug)]
pub struct ModelLive {
    /// The name that clients say.
    pub name: Arc<str>,
    /// Requests that wait for an engine of it.
    pub queue: Queue,
    /// Its metrics.
    pub metrics: ModelMetrics,
    // Nanoseconds; 0: nothing was promised.
    inter_token_objective: AtomicU64,
}

impl ModelLive {
    /// A model that nobody asked for yet, and that promises nothing.
    pub fn new(name: Arc<str>, metrics: ModelMetrics) -> Self {
        Self { name, queue: Queue::new(metrics.queue.clone()), metrics, inter_token_objective: AtomicU64::new(0) }
    }

    /// From now on this was promised.
    pub fn promise(&self, objective: Option<ServedObjective>, discipline: Discipline) {
        // No objective that a number of seconds cannot hold is one that anybody waits for.
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        self.queue.order_by(discipline, objective.and_then(|objective| time(objective.ttft_seconds)));
        let between = objective.and_then(|objective| objective.inter_token_latency_seconds).and_then(time);
        let nanos = between.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.inter_token_objective.store(nanos, Ordering::Relaxed);
    }

    /// Mean time between two tokens of one answer that was promised.
    pub fn inter_token_objective(&self) -> Option<Duration> {
        Some(self.inter_token_objective.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }
}

/// One model on one engine: what a request is sent to.
#[derive(Debug)]
pub struct Target {
    /// The engine.
    pub engine: Arc<EngineLive>,
    /// The model.
    pub model: Arc<ModelLive>,
    /// Metrics of the two together.
    pub metrics: PairMetrics,
}

/// A place in an engine, held from the decision to the end of the answer.
#[derive(Debug)]
pub struct Lease {
    /// What the request is sent to.
    pub target: Arc<Target>,
    shared: Arc<Shared>,
}

impl Lease {
    /// Takes a place, unless another thread took the last one below `limit` first.
    pub fn take(shared: &Arc<Shared>, target: &Arc<Target>, limit: Option<u32>) -> Option<Self> {
        let before = target.engine.in_flight.fetch_add(1, Ordering::Relaxed);
        if limit.is_some_and(|limit| before >= limit) {
            target.engine.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        target.metrics.in_flight.inc();
        Some(Self { target: target.clone(), shared: shared.clone() })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.target.metrics.in_flight.dec();
        self.target.engine.in_flight.fetch_sub(1, Ordering::Relaxed);
        // The place may be what another request waits for, of this model or of another one on the same engine.
        self.shared.wake_waiting();
    }
}
