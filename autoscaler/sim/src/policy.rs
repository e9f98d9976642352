//! What a scaling policy is told and what it answers.

use std::ops::RangeInclusive;

use engine_model::{Capacity, Limits, Objective, StepTime, Workload, capacity};

use crate::demand::{Demand, EngineProfile};
use crate::score::Coverage;

/// What does not change during a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Latency to keep.
    pub objective: Objective,
    /// Share of requests that must meet it, 0 to 1.
    pub attainment: f64,
    /// Mean time from order to Ready, in seconds.
    pub startup_seconds: f64,
    /// Fewest replicas.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// Step time of the engine.
    pub step: StepTime,
    /// Limits of the engine.
    pub limits: Limits,
    /// Mean request of the trace.
    pub workload: Workload,
    /// What a replica carries of that workload within the objective (`n*`).
    pub capacity: Capacity,
    /// Mean seconds that a request is in service at that capacity, unqueued.
    pub service_seconds: f64,
}

impl Task {
    /// The task of an engine under a mean request; attainment, start-up time and bounds as given.
    #[must_use]
    pub fn new(
        engine: &EngineProfile,
        workload: Workload,
        attainment: f64,
        startup_seconds: f64,
        replicas: RangeInclusive<u32>,
    ) -> Self {
        let workload = Workload { cached_share: engine.cached_share, ..workload };
        let capacity = capacity(&engine.step, &workload, &engine.limits, &engine.objective);
        let others = f64::from(capacity.concurrency.saturating_sub(1));
        let chunk = f64::from(engine.limits.max_batched_tokens) - others;
        let prefill = engine.step.prefill_seconds(workload.uncached_prompt_tokens(), chunk, others, &workload);
        let service_seconds = prefill + workload.output_tokens * capacity.inter_token_seconds;
        let mut task = Self {
            objective: engine.objective,
            attainment,
            startup_seconds,
            min_replicas: *replicas.start(),
            max_replicas: *replicas.end(),
            step: engine.step,
            limits: engine.limits,
            workload,
            capacity,
            service_seconds,
        };
        // A request that misses the objective even alone still takes a whole replica.
        task.capacity.requests_per_second = f64::from(capacity.concurrency.max(1)) / service_seconds;
        task
    }

    /// Requests that a replica has in service at a share of its rate, 0 to 1.
    ///
    /// An engine with less to do is faster, so that it holds fewer requests than its share of the work: by Little's law
    /// `n = load · n* · S(n) / S(n*)`, `S` being the time in service.
    #[must_use]
    pub fn in_service_at(&self, load: f64) -> f64 {
        let (step, workload) = (&self.step, &self.workload);
        let full = f64::from(self.capacity.concurrency.max(1));
        let service = |n: f64| {
            let others = (n - 1.0).max(0.0);
            let chunk = f64::from(self.limits.max_batched_tokens) - others;
            step.prefill_seconds(workload.uncached_prompt_tokens(), chunk, others, workload)
                + workload.output_tokens * step.steady_step_seconds(n.max(1.0), workload)
        };
        // From the full engine downwards: every round comes closer, from above.
        (0..60).fold(full, |n, _| (load * full * service(n) / service(full)).min(full))
    }

    /// The same with the capacity in requests a second that the trace in fact takes. Lengths that vary make it another
    /// than that of the mean request, and a profiling run of the baselines' authors would have found the former.
    #[must_use]
    pub fn calibrated(mut self, demand: &Demand) -> Self {
        if let Some(replica_seconds) = demand.replica_seconds_per_request().filter(|seconds| *seconds > 0.0) {
            self.capacity.requests_per_second = 1.0 / replica_seconds;
        }
        self
    }
}

/// A replica that exists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replica {
    /// Unique in a run.
    pub id: u64,
    /// When it was ordered, in seconds since the start of the trace.
    pub ordered_seconds: f64,
    /// When it became Ready.
    pub ready_seconds: Option<f64>,
    /// What its own metrics show now; `None` while it starts, and where replicas are not told apart (level fluid).
    pub load: Option<ReplicaLoad>,
}

/// What one replica does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplicaLoad {
    /// In its running batch.
    pub running: f64,
    /// Those that it has not begun.
    pub waiting: f64,
    /// Times between two tokens of an answer since it became Ready: their number.
    pub gaps_total: f64,
    /// Their sum, in seconds.
    pub gaps_seconds_total: f64,
    /// Share of its KV cache in use, 0 to 1.
    pub kv_cache_usage: f64,
}

/// What a monitoring system knows at the moment of a decision. Sums are over the whole fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct Signals<'a> {
    /// Now, in seconds since the start of the trace.
    pub now_seconds: f64,
    /// Seconds since the last decision.
    pub period_seconds: f64,
    /// Replicas ordered and not released, those that start included (`spec.replicas`).
    pub replicas: u32,
    /// Those of them, oldest first.
    pub fleet: &'a [Replica],
    /// Those that are Ready.
    pub ready: u32,
    /// Requests that arrived since the start of the trace.
    pub arrived_total: f64,
    /// Prompt tokens that arrived since the start of the trace.
    pub arrived_prompt_tokens_total: f64,
    /// Requests that missed an objective since the start of the trace, as the router counts them: a late first token when it
    /// comes, slow tokens at the end of the answer; in the fluid under `Deadline`, those above the Ready replicas.
    pub late_total: f64,
    /// Requests that engines answered to the end since the start of the trace, as they count them: not those that waited in
    /// vain.
    pub finished_total: f64,
    /// Answer tokens produced since the start of the trace.
    pub output_tokens_total: f64,
    /// Requests in running batches.
    pub running: f64,
    /// Requests that wait, in engines and in the router.
    pub waiting: f64,
    /// Prompt tokens of the requests that wait.
    pub waiting_prompt_tokens: f64,
    /// Share of the KV cache in use, mean over the Ready replicas, 0 to 1.
    pub kv_cache_usage: f64,
    /// 90 % quantile of the time to first token of recent requests, in seconds.
    pub ttft_p90_seconds: f64,
    /// Mean time to first token of recent requests, in seconds.
    pub ttft_mean_seconds: f64,
    /// 90 % quantile of the time between tokens of recent requests, in seconds.
    pub inter_token_latency_p90_seconds: f64,
    /// Mean time between tokens of recent requests, in seconds.
    pub inter_token_latency_mean_seconds: f64,
    /// False when the scrape was lost: then all of the above but `replicas` and `now_seconds` are those of the last good one.
    pub is_fresh: bool,
}

/// A scaling policy: signals in, replicas out. The simulator clamps the answer to the task's bounds.
pub trait Policy {
    /// Time from one decision to the next, in seconds.
    fn period_seconds(&self) -> f64;

    /// Replicas that should exist now.
    fn decide(&mut self, signals: &Signals<'_>) -> u32;

    /// How often its forecast of the largest demand over a start-up time held, if it makes one.
    fn coverage(&self) -> Option<Coverage> {
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use engine_model::preset;

    use super::*;

    /// Of a dense model of 32 billion parameters on two H100 and a chat-like request.
    pub(crate) fn task() -> Task {
        let preset = preset("qwen3-32b-h100-tp2").unwrap();
        let objective = Objective { ttft_seconds: 3.0, inter_token_seconds: 0.1 };
        let engine = EngineProfile { step: preset.step, limits: preset.limits, objective, cached_share: 0.0 };
        let workload = Workload { prompt_tokens: 1200.0, output_tokens: 200.0, cached_share: 0.0 };
        Task::new(&engine, workload, 0.99, 240.0, 1..=200)
    }

    #[test]
    fn a_replica_full_of_mean_requests_serves_at_its_rate() {
        let task = task();
        let in_service = task.capacity.requests_per_second * task.service_seconds;
        assert!((in_service - f64::from(task.capacity.concurrency)).abs() < 1e-9);
        assert!(task.capacity.concurrency > 10, "{:?}", task.capacity);
    }

    #[test]
    fn half_of_the_work_is_less_than_half_of_the_requests_in_service() {
        let task = task();
        let full = f64::from(task.capacity.concurrency);
        assert!((task.in_service_at(1.0) - full).abs() < 1e-6 && task.in_service_at(0.0) < 1e-9);
        let half = task.in_service_at(0.5);
        assert!(half > 0.1 * full && half < 0.25 * full, "{half} of {full}");
    }
}
