//! Demand: what arrives, how long it stays, and so how many requests would be in service if none had to wait.
//!
//! What arrives is never taken from throughput, which a full fleet censors.

mod counters;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;
use crate::decision::Demand;
use crate::facts::Facts;
use crate::look::Look;
use counters::Counter;

/// The load is averaged over this share of the start-up time before the reactive floor acts on it: a start that takes
/// minutes need not answer a blip of seconds.
const SMOOTH_SHARE: f64 = 1.0 / 8.0;

/// Longest average of the load.
const SMOOTH_MOST_SECONDS: f64 = 30.0;

/// Arrivals are shown as their average over this share of the start-up time.
const SHOWN_SHARE: f64 = 0.25;

/// A backlog is to be gone within this share of a start-up time once its engines are there.
const DRAIN_SHARE: f64 = 0.5;

/// What is in service corrects the model's service time by this factor at most. It fades over so many start-up times, or the time
/// in which so many requests arrive, where that is more, but not over more than the last.
const MOST_CORRECTION: f64 = 5.0;
const CORRECTION_STARTUPS: f64 = 1.5;
const CORRECTION_REQUESTS: f64 = 300.0;
const MOST_CORRECTION_STARTUPS: f64 = 5.0;

/// An engine with this share of its capacity in service may be full.
const FULL_SHARE: f64 = 0.93;

/// Inflow over outflow of a fleet that cannot keep up are believed up to this ratio.
const MOST_OVERLOAD: f64 = 4.0;

/// Of what an overload shows so much counts at once: the ends of its waves are seen a little late.
const OVERLOAD_SHARE: f64 = 0.85;

/// Counts of arrivals kept: a service time of eight minutes at a control period of two seconds.
const MOST_ARRIVAL_COUNTS: usize = 240;

/// Average with an exponential window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Average(Option<f64>);

impl Average {
    fn add(&mut self, value: f64, elapsed_seconds: f64, window_seconds: f64) {
        let old = self.0.unwrap_or(value);
        self.0 = Some(old + (1.0 - (-elapsed_seconds / window_seconds).exp()) * (value - old));
    }
}

/// What is remembered of the load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DemandState {
    in_service: Average,
    waiting: Average,
    arrivals: Average,
    /// Requests that came and that ended per second, over a service time.
    #[serde(default)]
    inflow: Average,
    #[serde(default)]
    outflow: Average,
    /// Requests in service, and requests that ended per second, over the same window: their ratio is the service time.
    served: Average,
    ended: Average,
    /// Request-seconds in service as seen, and as the engine model expects of what arrived: their ratio corrects the model.
    stayed: f64,
    expected_to_stay: f64,
    /// Requests that would be in service if none had to wait.
    offered: Option<f64>,
    /// Late requests per second since the last look.
    #[serde(skip)]
    late_per_second: Option<f64>,
    /// Arrivals of the last looks: seconds, requests. Not stored: a restart counts anew.
    #[serde(skip)]
    lately: VecDeque<(f64, f64)>,
    /// Last counters per engine and router, and the work then: after a restart the rate of the gap is known.
    counters: BTreeMap<String, f64>,
    work: Option<f64>,
}

/// What one look added to the memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Times {
    pub(crate) elapsed_seconds: f64,
    pub(crate) startup_seconds: f64,
    /// Until the next replica serves: by a wake where one sleeps, else by a start.
    pub(crate) next_seconds: f64,
    /// Unqueued, at capacity; `None` until the engine model knows it.
    pub(crate) service_seconds: Option<f64>,
    /// The same at the present load.
    pub(crate) present_service_seconds: Option<f64>,
    /// Requests at once that a replica carries.
    pub(crate) capacity_requests: f64,
    /// Objective of the time to first token.
    pub(crate) ttft_seconds: f64,
    /// Engines take a batch and end it whole, as prefill does: what they hold at a moment says little of how long it stays, so
    /// what they ended corrects the model.
    pub(crate) serves_in_batches: bool,
}

/// Arrivals of the last looks.
#[derive(Debug, Clone, Copy, Default)]
struct Within {
    requests: f64,
    seconds: f64,
    looks: usize,
}

impl DemandState {
    /// Takes one look into the averages. Without a complete look the averages stay: half a fleet is not half the load.
    pub(crate) fn learn(&mut self, facts: &Facts, look: &Look, times: Times) {
        let Times { elapsed_seconds, startup_seconds, next_seconds, .. } = times;
        let period = facts.settings.control_period_seconds;
        let smooth = (SMOOTH_SHARE * next_seconds).clamp(period, SMOOTH_MOST_SECONDS.max(period));
        let complete = look.observed.unobserved == 0 && look.observed.routers_silent == 0;
        let work = look.in_service + look.waiting;
        if !complete {
            // Higher than known is certain, lower is not.
            let known = [(&mut self.in_service, look.in_service), (&mut self.waiting, look.waiting)];
            for (average, value) in known {
                if average.0.is_none_or(|old| value > old) {
                    average.add(value, elapsed_seconds, smooth);
                }
            }
            self.offered = Some(self.offered.map_or(work, |offered| offered.max(look.in_service)));
            self.counters.clear();
            self.late_per_second = None;
            self.work = None;
            return;
        }
        self.in_service.add(look.in_service, elapsed_seconds, smooth);
        self.waiting.add(look.waiting, elapsed_seconds, smooth);
        // Counters of processes that are gone are forgotten.
        let before = std::mem::take(&mut self.counters);
        let mut increase = |counters: Option<Vec<Counter>>| self.increase(&before, counters);
        let received = increase(counters::received(facts));
        let finished = increase(counters::finished(facts));
        let unanswered = increase(counters::unanswered(facts));
        let late = increase(counters::late(facts));
        let slow = increase(counters::slow(facts)).filter(|_| counters::events_are_tokens(facts)).unwrap_or(0.0);
        self.late_per_second = late.filter(|_| elapsed_seconds > 0.0).map(|late| (late + slow) / elapsed_seconds);
        let change = self.work.replace(work).map(|before| work - before);
        if elapsed_seconds <= 0.0 {
            self.offered.get_or_insert(work);
            return;
        }
        let arrived = received.or_else(|| Some((finished? + change?).max(0.0)));
        // What no engine answered was in none: counted as ended, an overload would look like short answers.
        let ended = finished.or_else(|| Some((received? - unanswered.unwrap_or(0.0) - change?).max(0.0)));
        let stay = times.service_seconds.unwrap_or(startup_seconds).clamp(period, startup_seconds.max(period));
        if let Some(arrived) = arrived {
            self.arrivals.add(arrived / elapsed_seconds, elapsed_seconds, (SHOWN_SHARE * startup_seconds).max(period));
            self.inflow.add(arrived / elapsed_seconds, elapsed_seconds, stay);
        }
        if let Some(ended) = ended {
            self.outflow.add(ended / elapsed_seconds, elapsed_seconds, stay);
            let window = startup_seconds.max(30.0 * period);
            self.served.add(look.in_service, elapsed_seconds, window);
            self.ended.add(ended / elapsed_seconds, elapsed_seconds, window);
            if let Some(present) = times.present_service_seconds.filter(|_| times.serves_in_batches) {
                let memory = MOST_CORRECTION_STARTUPS * startup_seconds;
                self.fold(look.in_service * elapsed_seconds, ended * present, elapsed_seconds, memory);
            }
        }
        self.offer(arrived, look, times);
    }

    /// Requests that would be in service at capacity if none had to wait: those that arrived within the last service time.
    /// Neither a full fleet, which hides what it cannot serve, nor an idle one, which serves faster, changes that.
    fn offer(&mut self, arrived: Option<f64>, look: &Look, times: Times) {
        let stay = self.service_seconds(times);
        let (Some(arrived), Some(stay)) = (arrived, stay) else {
            self.offered = Some(look.in_service + look.waiting);
            return;
        };
        self.lately.push_back((times.elapsed_seconds, arrived));
        self.correct(look, times);
        let stay = self.service_seconds(times).unwrap_or(stay);
        let Within { requests, seconds, looks } = self.arrived_within(stay);
        // What the model's own time is held against is kept, too.
        let looks = looks.max(times.service_seconds.map_or(0, |seconds| self.arrived_within(seconds).looks));
        self.lately.drain(..self.lately.len() - looks);
        // After a start less than a service time is known: what is there already stays in part.
        let before = (1.0 - seconds / stay).max(0.0) * self.offered.unwrap_or(look.in_service + look.waiting);
        let outflow = self.outflow.0.unwrap_or(0.0);
        let is_overloaded = look.waiting > times.ttft_seconds * outflow;
        let whole = self.through_a_full_fleet(look);
        // What is in service is certain, unless it is the rest of what came before.
        let seen = if is_overloaded { OVERLOAD_SHARE * whole } else { 0.0 }.max(look.in_service.min(whole));
        self.offered = Some((requests + before).max(seen));
    }

    /// What would be in service if a full fleet were large enough, whatever the model says: by Little's law what is in service in
    /// the proportion of what comes to what ends.
    fn through_a_full_fleet(&self, look: &Look) -> f64 {
        match (self.inflow.0, self.outflow.0) {
            (Some(inflow), Some(outflow)) if outflow > 0.0 => look.in_service * (inflow / outflow).min(MOST_OVERLOAD),
            _ => look.in_service,
        }
    }

    /// What arrived within the last seconds, as far as it is remembered.
    fn arrived_within(&self, span_seconds: f64) -> Within {
        let mut within = Within::default();
        for (seconds, arrivals) in self.lately.iter().rev() {
            if within.seconds >= span_seconds || within.looks >= MOST_ARRIVAL_COUNTS {
                break;
            }
            within.requests += arrivals * ((span_seconds - within.seconds) / seconds).min(1.0);
            within.seconds += seconds;
            within.looks += 1;
        }
        within
    }

    /// Holds the model's service time against what is in service: were it right, that would be what arrived within it. Engines
    /// that are not full are faster and hold less; a fleet that is full holds no more than it can, so what comes and ends counts.
    fn correct(&mut self, look: &Look, times: Times) {
        let (Some(modelled), Some(present)) = (times.service_seconds, times.present_service_seconds) else { return };
        let arrived = self.arrived_within(modelled);
        let is_known = arrived.seconds >= modelled.min(MOST_ARRIVAL_COUNTS as f64 * times.elapsed_seconds);
        if times.serves_in_batches || !is_known || present <= 0.0 {
            return;
        }
        let is_full = is_full(look, times);
        let held = if is_full { look.in_service.min(self.through_a_full_fleet(look)) } else { look.in_service };
        let in_service = held * modelled / present;
        if is_full && in_service < arrived.requests * self.correction() {
            return;
        }
        let per_second = arrived.requests / arrived.seconds;
        let memory = CORRECTION_STARTUPS * times.startup_seconds;
        let memory = if per_second > 0.0 { memory.max(CORRECTION_REQUESTS / per_second) } else { memory };
        let memory = memory.min(MOST_CORRECTION_STARTUPS * times.startup_seconds);
        let elapsed = times.elapsed_seconds;
        self.fold(in_service * elapsed, arrived.requests * elapsed, elapsed, memory);
    }

    /// Adds request-seconds in service, as seen and as expected, to fading sums.
    fn fold(&mut self, stayed: f64, expected: f64, elapsed_seconds: f64, memory_seconds: f64) {
        let keep = (-elapsed_seconds / memory_seconds).exp();
        self.stayed = self.stayed * keep + stayed;
        self.expected_to_stay = self.expected_to_stay * keep + expected;
    }

    /// Seconds a request is in service at capacity: what the engine model says, corrected by what was seen of it (long
    /// answers stay longer than the mean one), else what was seen.
    fn service_seconds(&self, times: Times) -> Option<f64> {
        times.service_seconds.map(|seconds| seconds * self.correction()).or_else(|| self.observed_service_seconds())
    }

    /// Factor on the model's service time.
    fn correction(&self) -> f64 {
        let is_known = self.expected_to_stay > 0.0 && self.stayed > 0.0;
        let factor = if is_known { self.stayed / self.expected_to_stay } else { 1.0 };
        factor.clamp(1.0 / MOST_CORRECTION, MOST_CORRECTION)
    }

    /// Seconds a request was in service, from what was seen.
    fn observed_service_seconds(&self) -> Option<f64> {
        match (self.served.0, self.ended.0) {
            (Some(served), Some(ended)) if served > 0.0 && ended > 0.0 => Some(served / ended),
            _ => None,
        }
    }

    /// Growth of counters since the last look; a new or restarted process counts from where it is seen first.
    fn increase(&mut self, before: &BTreeMap<String, f64>, counters: Option<Vec<Counter>>) -> Option<f64> {
        let mut known = false;
        let mut sum = 0.0;
        for Counter { name, value, share } in counters? {
            if let Some(before) = before.get(&name) {
                known = true;
                sum += share * if value >= *before { value - before } else { value };
            }
            self.counters.insert(name, value);
        }
        known.then_some(sum)
    }

    /// The load now, in requests and in replicas.
    pub(crate) fn at(&self, look: &Look, capacity: &Capacity, times: Times) -> Demand {
        let service_seconds = self.service_seconds(times);
        let in_service = self.in_service.0.unwrap_or(look.in_service);
        let waiting = self.waiting.0.unwrap_or(look.waiting);
        // Room for what waits. Ordered engines come after a start-up time and then have as long to drain it: a request that
        // is served in a tenth of that needs a tenth of a slot. Without this credit a queue orders ever more while its
        // engines start.
        let drain_seconds = DRAIN_SHARE * times.next_seconds;
        let share = service_seconds.map_or(1.0, |seconds| (seconds / drain_seconds).min(1.0));
        let mut floor = (in_service + waiting * share) / capacity.requests;
        if floor * capacity.requests < NOTHING && look.in_service + look.waiting <= 0.0 {
            floor = 0.0;
        }
        Demand {
            in_service: look.in_service,
            waiting: look.waiting,
            replicas: self.offered.unwrap_or(0.0) / capacity.requests,
            floor_replicas: floor,
            arrivals_per_second: self.arrivals.0,
            late_per_second: self.late_per_second,
            forecast_per_second: None,
            service_seconds,
        }
    }
}

/// Whether engines may have as much as they can, so that what is in service says less than all.
fn is_full(look: &Look, times: Times) -> bool {
    let room = f64::from(look.observed.ready) * times.capacity_requests;
    look.waiting >= 1.0 || look.in_service >= FULL_SHARE * room
}

/// Less than a hundredth of a request at once, with nothing there now, is the tail of an average.
const NOTHING: f64 = 0.01;

#[cfg(test)]
mod tests;
