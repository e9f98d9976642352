//! What requests are like just now: the mean over those of the last minutes.

use crate::Demand;

/// Traces change their mix of prompts and answers within the hour; engines and routers show it as they serve it. Ten minutes of
/// life, where a step is ten seconds.
const WINDOW_STEPS: f64 = 60.0;

/// Fading sums over what arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    arrivals: f64,
    work: f64,
    prompt_tokens: f64,
    output_tokens: f64,
    service_seconds: f64,
    /// Requests in service on a full replica, in the mean over the trace.
    usual_per_replica: f64,
    keep: f64,
}

impl Mix {
    /// Begins with the mean of the whole trace.
    pub(super) fn new(demand: &Demand) -> Self {
        let steps = (demand.replicas.len() as f64).max(1.0);
        let keep = (-1.0 / WINDOW_STEPS).exp();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / steps / (1.0 - keep);
        let mut mix = Self {
            arrivals: mean(&demand.arrivals),
            work: mean(&demand.replicas) * demand.step_seconds,
            prompt_tokens: mean(&demand.prompt_tokens),
            output_tokens: mean(&demand.output_tokens),
            service_seconds: mean(&demand.service_seconds),
            usual_per_replica: 1.0,
            keep,
        };
        mix.usual_per_replica = mix.per_replica();
        mix
    }

    /// Takes one step in. Silence changes nothing.
    pub(super) fn advance(&mut self, demand: &Demand, step: usize) {
        if demand.arrivals[step] <= 0.0 && demand.replicas[step] <= 0.0 {
            return;
        }
        let keep = self.keep;
        let add = |sum: &mut f64, value: f64| *sum = *sum * keep + value;
        add(&mut self.arrivals, demand.arrivals[step]);
        add(&mut self.work, demand.replicas[step] * demand.step_seconds);
        add(&mut self.prompt_tokens, demand.prompt_tokens[step]);
        add(&mut self.output_tokens, demand.output_tokens[step]);
        add(&mut self.service_seconds, demand.service_seconds[step]);
    }

    /// Requests in a replica-second of work.
    pub(super) fn requests_per_work(&self) -> f64 {
        ratio(self.arrivals, self.work)
    }

    /// Mean prompt, in tokens.
    pub(super) fn prompt_tokens(&self) -> f64 {
        ratio(self.prompt_tokens, self.arrivals)
    }

    /// Mean answer, in tokens.
    pub(super) fn output_tokens(&self) -> f64 {
        ratio(self.output_tokens, self.arrivals)
    }

    /// Requests that a full replica has in service, against the mean over the trace: long ones are fewer.
    pub(super) fn crowd(&self) -> f64 {
        let crowd = ratio(self.per_replica(), self.usual_per_replica);
        if crowd > 0.0 { crowd } else { 1.0 }
    }

    fn per_replica(&self) -> f64 {
        ratio(self.service_seconds, self.work)
    }
}

fn ratio(of: f64, to: f64) -> f64 {
    if to > 0.0 { of / to } else { 0.0 }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers are exact")]
mod tests {
    use super::*;

    /// An hour of requests that take `work` replica-seconds, 100 s and 50 tokens of answer each, then one of twice these.
    fn demand(silent: usize) -> Demand {
        let hour = |value: f64| vec![value; 360];
        let series = |value: f64| [hour(value), vec![0.0; silent], hour(2.0 * value)].concat();
        let arrivals = [hour(10.0), vec![0.0; silent], hour(10.0)].concat();
        Demand {
            step_seconds: 10.0,
            replicas: series(2.0),
            prompt_tokens: arrivals.iter().map(|n| n * 100.0).collect(),
            output_tokens: series(500.0),
            service_seconds: arrivals.iter().map(|n| n * 100.0).collect(),
            arrivals,
        }
    }

    #[test]
    fn the_mix_is_that_of_the_last_minutes_and_lasts_through_silence() {
        let demand = demand(6 * 3600);
        let mut mix = Mix::new(&demand);
        assert!((mix.crowd() - 1.0).abs() < 1e-12);
        let mut at = |steps: std::ops::Range<usize>| {
            steps.for_each(|step| mix.advance(&demand, step));
            [mix.requests_per_work(), mix.output_tokens(), mix.crowd()].map(|value| (value * 100.0).round() / 100.0)
        };
        // Of each request a replica of the first hour holds 50 a time, of the second 25: 33 in the mean.
        assert_eq!(at(0..360), [0.5, 50.0, 1.5]);
        assert_eq!(at(360..360 + 6 * 3600), [0.5, 50.0, 1.5]);
        // After an hour e^-6 of the hour before is left.
        assert_eq!(at(360 + 6 * 3600..demand.replicas.len()), [0.25, 99.88, 0.75]);
    }

    #[test]
    fn a_trace_without_requests_has_no_mix_and_no_number_that_is_none() {
        let silent = Demand {
            arrivals: vec![0.0; 3],
            replicas: vec![0.0; 3],
            prompt_tokens: vec![0.0; 3],
            output_tokens: vec![0.0; 3],
            service_seconds: vec![0.0; 3],
            step_seconds: 10.0,
        };
        let mix = Mix::new(&silent);
        assert_eq!(
            [mix.requests_per_work(), mix.output_tokens(), mix.prompt_tokens(), mix.crowd()],
            [0.0, 0.0, 0.0, 1.0]
        );
    }
}
