//! Demand: how many replicas each step of a trace needs.

mod footprint;
mod poisson;

use engine_model::{Limits, Objective, StepTime, Workload};
use footprint::Footprints;
pub(crate) use poisson::Poisson;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use crate::{RequestSource, SettingError, Task};

/// A trace as the fluid simulator sees it. All series have one value per step.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// Length of a step, in seconds.
    pub step_seconds: f64,
    /// Replicas that the requests in service would occupy, unqueued: request `i` occupies `1 / n*(I, O)` of a replica
    /// from its arrival for its prefill and `O · T(n*)`; the mean over the step.
    pub replicas: Vec<f64>,
    /// Requests that arrive in the step.
    pub arrivals: Vec<f64>,
    /// Prompt tokens that arrive in the step.
    pub prompt_tokens: Vec<f64>,
    /// Answer tokens that the arrivals of the step ask for.
    pub output_tokens: Vec<f64>,
    /// Seconds that the arrivals of the step are in service, unqueued, summed over them.
    pub service_seconds: Vec<f64>,
}

/// The engine and the objective by which requests are weighed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineProfile {
    /// Step time of the engine.
    pub step: StepTime,
    /// Limits of the engine.
    pub limits: Limits,
    /// Latency to keep.
    pub objective: Objective,
    /// Share of each prompt found in the prefix cache, 0 to 1.
    pub cached_share: f64,
}

impl Demand {
    /// Of all requests of a trace. The same seed gives the same requests.
    ///
    /// Prompts and answers are rounded to sixteenths of an octave to look `n*` up, so a single request may weigh up to
    /// 3 % more or less than it should, the sum does not. A request that no empty engine could serve within the
    /// objective occupies a whole replica.
    pub fn from_requests(
        source: &dyn RequestSource,
        seed: u64,
        step_seconds: f64,
        engine: &EngineProfile,
    ) -> Result<Self, SettingError> {
        check_step(step_seconds)?;
        let steps = (source.duration_seconds() / step_seconds).ceil().max(0.0) as usize;
        let mut demand = Self::silent(step_seconds, steps);
        let mut footprints = Footprints::new(engine);
        // Change of the occupancy from one step to the next; a request changes it in the two steps about each end.
        let mut change = vec![0.0; steps + 2];
        source.visit(0.0, source.duration_seconds(), seed, &mut |request| {
            let at = (request.arrival_seconds / step_seconds).max(0.0);
            let step = at as usize;
            if step >= steps {
                return;
            }
            demand.arrivals[step] += 1.0;
            demand.prompt_tokens[step] += f64::from(request.prompt_tokens);
            demand.output_tokens[step] += f64::from(request.output_tokens);
            let footprint = footprints.of(request.prompt_tokens, request.output_tokens);
            demand.service_seconds[step] += footprint.seconds;
            ramp(&mut change, at, footprint.replicas);
            ramp(&mut change, at + footprint.seconds / step_seconds, -footprint.replicas);
        });
        let mut occupied = 0.0;
        for (replicas, change) in demand.replicas.iter_mut().zip(change) {
            occupied += change;
            // Sums and differences of shares leave rounding errors where nobody is in service.
            *replicas = if occupied < 1e-9 { 0.0 } else { occupied };
        }
        Ok(demand)
    }

    /// Of a series of request rates, one per step, all requests being the mean one of `task`: for fast experiments.
    /// With a seed the arrivals of a step are drawn from a Poisson law, without one they are exact. In service each
    /// request occupies its share of a replica for [`Task::service_seconds`], arrivals being even within a step.
    pub fn from_rates(
        requests_per_second: &[f64],
        step_seconds: f64,
        task: &Task,
        seed: Option<u64>,
    ) -> Result<Self, SettingError> {
        check_step(step_seconds)?;
        if let Some(rate) = requests_per_second.iter().find(|rate| !rate.is_finite() || **rate < 0.0) {
            return Err(SettingError { field: "rate", value: *rate, expected: "requests a second, at least 0" });
        }
        let mut demand = Self::silent(step_seconds, requests_per_second.len());
        let mut random = seed.map(Pcg64Mcg::seed_from_u64);
        for (arrivals, rate) in demand.arrivals.iter_mut().zip(requests_per_second) {
            let mean = rate * step_seconds;
            *arrivals = random.as_mut().map_or(mean, |random| Poisson::new(mean).sample(random));
        }
        demand.prompt_tokens = demand.arrivals.iter().map(|n| n * task.workload.prompt_tokens).collect();
        demand.output_tokens = demand.arrivals.iter().map(|n| n * task.workload.output_tokens).collect();
        demand.service_seconds = demand.arrivals.iter().map(|n| n * task.service_seconds).collect();
        // Weight of a request times its time in service is what the capacity says a request costs.
        let weight = 1.0 / (task.capacity.requests_per_second * task.service_seconds);
        let kernel = occupancy_kernel(task.service_seconds / step_seconds);
        for (step, arrivals) in demand.arrivals.iter().enumerate() {
            for (replicas, share) in demand.replicas[step..].iter_mut().zip(&kernel) {
                *replicas += arrivals * weight * share;
            }
        }
        Ok(demand)
    }

    /// Length of the trace in seconds.
    #[must_use]
    pub fn duration_seconds(&self) -> f64 {
        self.step_seconds * self.replicas.len() as f64
    }

    /// Steps in a time, to the nearest.
    #[must_use]
    pub fn steps_in(&self, seconds: f64) -> usize {
        (seconds / self.step_seconds).round().max(0.0) as usize
    }

    /// Mean demand in replicas; 0 for an empty trace.
    #[must_use]
    pub fn mean_replicas(&self) -> f64 {
        self.replicas.iter().sum::<f64>() / (self.replicas.len() as f64).max(1.0)
    }

    /// Replica-seconds that a request takes in the mean; `None` when none arrives.
    #[must_use]
    pub fn replica_seconds_per_request(&self) -> Option<f64> {
        let requests: f64 = self.arrivals.iter().sum();
        (requests > 0.0).then(|| self.replicas.iter().sum::<f64>() * self.step_seconds / requests)
    }

    /// The mean request of the trace; `None` when none arrives.
    #[must_use]
    pub fn mean_workload(&self, cached_share: f64) -> Option<Workload> {
        let requests: f64 = self.arrivals.iter().sum();
        let mean = |tokens: &[f64]| tokens.iter().sum::<f64>() / requests;
        (requests > 0.0).then(|| Workload {
            prompt_tokens: mean(&self.prompt_tokens),
            output_tokens: mean(&self.output_tokens),
            cached_share,
        })
    }

    fn silent(step_seconds: f64, steps: usize) -> Self {
        let zeros = vec![0.0; steps];
        Self {
            step_seconds,
            replicas: zeros.clone(),
            arrivals: zeros.clone(),
            prompt_tokens: zeros.clone(),
            output_tokens: zeros.clone(),
            service_seconds: zeros,
        }
    }
}

fn check_step(step_seconds: f64) -> Result<(), SettingError> {
    let ok = step_seconds.is_finite() && step_seconds > 0.0;
    SettingError::check(ok, "step", step_seconds, "a number of seconds above 0")
}

/// Adds `weight` to the occupancy from `at` on, `at` in steps: the mean over the step it falls into is a part of it.
fn ramp(change: &mut [f64], at: f64, weight: f64) {
    let step = at as usize;
    if step + 1 < change.len() {
        let missed = weight * (at - step as f64);
        change[step] += weight - missed;
        change[step + 1] += missed;
    }
}

/// Mean share of each step, the arrival's own first, in which a request is in service that arrives at any moment of a
/// step with equal chance and stays for `steps`.
fn occupancy_kernel(steps: f64) -> Vec<f64> {
    // Second integral of the box: share in service up to a moment is a ramp, its mean over a step a parabola.
    let integral = |x: f64| {
        if x <= 0.0 {
            0.0
        } else if x < 1.0 {
            x * x / 2.0
        } else {
            x - 0.5
        }
    };
    let up_to = |step: usize| integral(step as f64) - integral(step as f64 - steps);
    (0..steps.ceil() as usize + 1).map(|step| up_to(step + 1) - up_to(step)).collect()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers, and what was handed through, are exact")]
mod tests;
