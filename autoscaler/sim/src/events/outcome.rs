//! What a run came to, request by request and every ten seconds.

use engine_model::Objective;
use serde::Serialize;

use super::engine::{Finished, Gauges, Job};
use super::fleet::FleetTotals;
use super::histogram::Histogram;
use super::settings::Settings;
use crate::demand::Demand;
use crate::score::Quantiles;

const HOUR_SECONDS: f64 = 3600.0;
const DAY_SECONDS: f64 = 86_400.0;
/// Two changes of opposite direction within this time are a reversal.
const REVERSAL_SECONDS: f64 = 600.0;

/// Result of [`super::simulate`]. A request is one arrival of the trace: retries load the fleet, but a request that
/// failed is a miss however its retry fares. Requests, engine time and starts count from `score_from_seconds` on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRun {
    /// Requests scored.
    pub requests: u64,
    /// Those that met both objectives: time to first token from arrival at the router, and mean time between tokens.
    pub met: u64,
    /// Those that were answered, but whose first token came too late.
    pub missed_ttft: u64,
    /// Those that were answered, but whose tokens came too slowly.
    pub missed_inter_token: u64,
    /// Those that were answered with an error: they waited too long, or do not fit into an engine.
    pub errors: u64,
    /// Requests that came back, scored or not.
    pub retries: u64,
    /// Share that met the objective; 1 without requests.
    pub attainment: f64,
    /// The same in the worst hour after `score_from_seconds`.
    pub attainment_worst_hour: f64,
    /// Time from arrival to first token of the requests that were answered.
    pub ttft_seconds: Quantiles,
    /// Mean over requests of the mean time between tokens, of those answered, in seconds.
    pub inter_token_mean_seconds: f64,
    /// Seconds of engines, from order to the end of the last request after release; failed starts included.
    pub engine_seconds: f64,
    /// Engines billed, in the mean.
    pub mean_replicas: f64,
    /// Engines ordered.
    pub starts: u64,
    /// Engines released before they were Ready.
    pub starts_wasted: u64,
    /// Changes of direction within ten minutes, per day.
    pub reversals_per_day: f64,
    /// Sequences that lost their KV blocks and were computed again, in the whole run.
    pub preemptions: u64,
    /// Share of prompt tokens found in the prefix cache, in the whole run.
    pub prefix_hit_share: f64,
    /// Every [`EventRun::RECORD_SECONDS`], from the begin of the run.
    pub record: Vec<Sample>,
    /// Begin of the run, in seconds since the start of the trace.
    pub from_seconds: f64,
    /// Begin of what is scored.
    pub score_from_seconds: f64,
    /// End of the run.
    pub to_seconds: f64,
}

impl EventRun {
    /// Time from one sample of the record to the next.
    pub const RECORD_SECONDS: f64 = 10.0;

    /// Share of `demand` above the Ready replicas, over the scored stretch: the miss that the fluid simulator counts.
    #[must_use]
    pub fn overflow(&self, demand: &Demand) -> f64 {
        let (mut above, mut total) = (0.0, 0.0);
        for (index, sample) in self.record.iter().enumerate() {
            let now = self.from_seconds + index as f64 * Self::RECORD_SECONDS;
            if now < self.score_from_seconds || now >= self.to_seconds {
                continue;
            }
            // A little more, lest a rounding error take the step before.
            let Some(needed) = demand.replicas.get((now / demand.step_seconds + 1e-6) as usize) else { continue };
            above += (needed - f64::from(sample.ready)).max(0.0);
            total += needed;
        }
        if total > 0.0 { above / total } else { 0.0 }
    }
}

/// The state at one moment, and what happened in the ten seconds before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Replicas ordered and not released.
    pub ordered: u32,
    /// Those that are Ready.
    pub ready: u32,
    /// Requests in engines, draining ones included.
    pub in_flight: u32,
    /// Requests in the router's queue.
    pub queued: u32,
    /// Requests that arrived, retries included.
    pub arrived: u32,
    /// Requests that ended within the objective, by the time of their end.
    pub met: u32,
    /// Requests that ended otherwise.
    pub missed: u32,
}

/// Counts as requests end.
#[derive(Debug)]
pub(super) struct Tally {
    objective: Objective,
    from_seconds: f64,
    score_from_seconds: f64,
    to_seconds: f64,
    hours: Vec<(u64, u64)>,
    met: u64,
    missed_ttft: u64,
    missed_inter_token: u64,
    errors: u64,
    ttft: Histogram,
    inter_token_sum_seconds: f64,
    record: Vec<Sample>,
    sample: Sample,
    last_change: Option<(bool, f64)>,
    reversals: u64,
}

impl Tally {
    pub(super) fn new(objective: Objective, settings: &Settings) -> Self {
        Self {
            objective,
            from_seconds: settings.from_seconds,
            score_from_seconds: settings.score_from_seconds,
            to_seconds: settings.to_seconds,
            hours: Vec::new(),
            met: 0,
            missed_ttft: 0,
            missed_inter_token: 0,
            errors: 0,
            ttft: Histogram::new(),
            inter_token_sum_seconds: 0.0,
            record: Vec::new(),
            sample: Sample::default(),
            last_change: None,
            reversals: 0,
        }
    }

    pub(super) fn count_arrival(&mut self) {
        self.sample.arrived += 1;
    }

    pub(super) fn count_answer(&mut self, answer: &Finished) {
        let (ttft, inter_token) = (answer.ttft_seconds(), answer.inter_token_seconds());
        let in_time = ttft <= self.objective.ttft_seconds;
        let met = in_time && inter_token <= self.objective.inter_token_seconds;
        if self.count_end(&answer.job, met) {
            self.ttft.observe(ttft);
            self.inter_token_sum_seconds += inter_token;
            self.missed_ttft += u64::from(!in_time);
            self.missed_inter_token += u64::from(in_time && !met);
        }
    }

    pub(super) fn count_error(&mut self, job: &Job) {
        if self.count_end(job, false) {
            self.errors += 1;
        }
    }

    /// Whether the request is scored.
    fn count_end(&mut self, job: &Job, met: bool) -> bool {
        if met {
            self.sample.met += 1;
        } else {
            self.sample.missed += 1;
        }
        if job.retries > 0 || job.arrival_seconds < self.score_from_seconds {
            return false;
        }
        let hour = ((job.arrival_seconds - self.score_from_seconds) / HOUR_SECONDS) as usize;
        if hour >= self.hours.len() {
            self.hours.resize(hour + 1, (0, 0));
        }
        self.hours[hour].0 += u64::from(met);
        self.hours[hour].1 += 1;
        self.met += u64::from(met);
        true
    }

    /// Notes a change of the replicas ordered.
    pub(super) fn count_change(&mut self, now: f64, before: u32, after: u32) {
        if before == after {
            return;
        }
        let is_up = after > before;
        let reversed = self.last_change.is_some_and(|(up, since)| up != is_up && now - since <= REVERSAL_SECONDS);
        self.reversals += u64::from(reversed && now >= self.score_from_seconds);
        self.last_change = Some((is_up, now));
    }

    /// Ends a sample of the record.
    pub(super) fn record(&mut self, ordered: u32, ready: u32, in_flight: u32, queued: u32) {
        self.record.push(Sample { ordered, ready, in_flight, queued, ..std::mem::take(&mut self.sample) });
    }

    pub(super) fn outcome(
        self,
        fleet: FleetTotals,
        fleet_before: FleetTotals,
        engines: Gauges,
        retries: u64,
    ) -> EventRun {
        let requests: u64 = self.hours.iter().map(|hour| hour.1).sum();
        let share = |met: u64, of: u64| if of == 0 { 1.0 } else { met as f64 / of as f64 };
        let scored_seconds = (self.to_seconds - self.score_from_seconds).max(0.0);
        let answered = requests - self.errors;
        EventRun {
            requests,
            met: self.met,
            missed_ttft: self.missed_ttft,
            missed_inter_token: self.missed_inter_token,
            errors: self.errors,
            retries,
            attainment: share(self.met, requests),
            attainment_worst_hour: self.hours.iter().map(|(met, of)| share(*met, *of)).fold(1.0, f64::min),
            ttft_seconds: Quantiles {
                p50: self.ttft.quantile(0.5),
                p95: self.ttft.quantile(0.95),
                p99: self.ttft.quantile(0.99),
            },
            inter_token_mean_seconds: self.inter_token_sum_seconds / answered.max(1) as f64,
            engine_seconds: fleet.engine_seconds,
            mean_replicas: if scored_seconds > 0.0 { fleet.engine_seconds / scored_seconds } else { 0.0 },
            starts: fleet.starts - fleet_before.starts,
            starts_wasted: fleet.starts_wasted - fleet_before.starts_wasted,
            reversals_per_day: if scored_seconds > 0.0 {
                self.reversals as f64 * DAY_SECONDS / scored_seconds
            } else {
                0.0
            },
            preemptions: engines.preemptions,
            prefix_hit_share: engines.cached_prompt_tokens as f64 / engines.prompt_tokens.max(1) as f64,
            record: self.record,
            from_seconds: self.from_seconds,
            score_from_seconds: self.score_from_seconds,
            to_seconds: self.to_seconds,
        }
    }
}
