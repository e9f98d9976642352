//! A trace at another pace and size, as single arrivals. The same seed gives the same arrivals.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::trace::{Trace, TraceRequest};

/// One request to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// When, since the start of the replay.
    pub at: Duration,
    /// Tokens of the prompt, about.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
}

/// How rates become requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateReplay {
    /// Seconds of recorded time that pass in one second of the replay.
    pub pace: f64,
    /// Requests per second where the trace is highest.
    pub peak_requests_per_second: f64,
    /// Mean tokens of a prompt.
    pub mean_prompt_tokens: f64,
    /// Mean tokens of an answer.
    pub mean_output_tokens: f64,
    /// Seed of arrivals and lengths.
    pub seed: u64,
}

/// How recorded requests become requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestReplay {
    /// Seconds of recorded time that pass in one second of the replay.
    pub pace: f64,
    /// Tokens per second of the replay that the fleet can generate: busier stretches are thinned to it.
    pub carried_tokens_per_second: f64,
    /// Longer prompts are cut.
    pub max_prompt_tokens: u32,
    /// Longer answers are cut.
    pub max_output_tokens: u32,
    /// Seed of the thinning.
    pub seed: u64,
}

/// Window over which the busiest stretch of a trace is looked for: a queue absorbs shorter ones.
const BUSIEST_SECONDS: f64 = 5.0;
/// Longest request of a rate replay, in means: the tail exists, and one request does not hold an engine for the whole replay.
const LONGEST_IN_MEANS: f64 = 4.0;

impl RateReplay {
    /// Arrivals of a Poisson process whose rate follows `values`.
    #[must_use]
    pub fn arrivals(&self, step_seconds: f64, values: &[f64]) -> Vec<Arrival> {
        let highest = values.iter().copied().fold(0.0, f64::max);
        let mut times = Pcg64Mcg::seed_from_u64(self.seed);
        // A stream of its own, so that another length never moves an arrival.
        let mut lengths = Pcg64Mcg::seed_from_u64(self.seed ^ 0x6c65_6e67_7468_7321);
        let step = step_seconds / self.pace;
        let mut arrivals = Vec::new();
        // Unit exponential gaps are used up by the integrated rate: exact for rates that change between arrivals.
        let mut left = exponential(&mut times);
        for (place, value) in values.iter().enumerate() {
            let rate = value / highest * self.peak_requests_per_second;
            let mut passed = 0.0;
            while rate > 0.0 && left <= rate * (step - passed) {
                passed += left / rate;
                #[expect(clippy::cast_precision_loss, reason = "a trace has far fewer than 2^53 values")]
                let at = place as f64 * step + passed;
                arrivals.push(Arrival {
                    at: Duration::from_secs_f64(at),
                    prompt_tokens: length(&mut lengths, self.mean_prompt_tokens),
                    output_tokens: length(&mut lengths, self.mean_output_tokens),
                });
                left = exponential(&mut times);
            }
            left -= rate * (step - passed);
        }
        arrivals
    }
}

impl RequestReplay {
    /// The share of requests that is kept, so that the busiest stretch asks for no more than is carried.
    #[must_use]
    pub fn kept_share(&self, requests: &[TraceRequest]) -> f64 {
        let tokens = |request: &TraceRequest| f64::from(request.output_tokens.min(self.max_output_tokens));
        let mut first = 0;
        let (mut inside, mut most) = (0.0, 0.0f64);
        for (place, request) in requests.iter().enumerate() {
            inside += tokens(request);
            while (request.at_seconds - requests[first].at_seconds) / self.pace > BUSIEST_SECONDS {
                inside -= tokens(&requests[first]);
                first += 1;
            }
            debug_assert!(first <= place, "the window never passes its end");
            most = most.max(inside / BUSIEST_SECONDS);
        }
        if most > 0.0 { (self.carried_tokens_per_second / most).min(1.0) } else { 1.0 }
    }

    /// The requests that are kept, at the new pace.
    #[must_use]
    pub fn arrivals(&self, requests: &[TraceRequest]) -> Vec<Arrival> {
        let kept = self.kept_share(requests);
        let mut rng = Pcg64Mcg::seed_from_u64(self.seed);
        let chosen = requests.iter().filter(|_| rng.random::<f64>() < kept);
        chosen
            .map(|request| Arrival {
                at: Duration::from_secs_f64(request.at_seconds / self.pace),
                prompt_tokens: request.prompt_tokens.clamp(1, self.max_prompt_tokens),
                output_tokens: request.output_tokens.clamp(1, self.max_output_tokens),
            })
            .collect()
    }
}

/// Length of the replay in wall time.
#[must_use]
pub fn duration(trace: &Trace, pace: f64) -> Duration {
    let seconds = match trace {
        #[expect(clippy::cast_precision_loss, reason = "a trace has far fewer than 2^53 values")]
        Trace::Rates { step_seconds, values } => step_seconds * values.len() as f64,
        Trace::Requests(requests) => requests.last().map_or(0.0, |request| request.at_seconds),
    };
    Duration::from_secs_f64(seconds / pace)
}

fn exponential(rng: &mut Pcg64Mcg) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

/// A length around `mean`: exponential, at least a quarter and at most four times of it.
fn length(rng: &mut Pcg64Mcg, mean: f64) -> u32 {
    let tokens = mean * (0.25 + 0.75 * exponential(rng)).min(LONGEST_IN_MEANS);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by four means")]
    let tokens = tokens.round() as u32;
    tokens.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: RateReplay = RateReplay {
        pace: 60.0,
        peak_requests_per_second: 100.0,
        mean_prompt_tokens: 200.0,
        mean_output_tokens: 60.0,
        seed: 7,
    };

    #[test]
    fn arrivals_follow_the_rates_and_the_seed() {
        let values = [1.0, 4.0, 0.0, 2.0];
        let arrivals = RATES.arrivals(6000.0, &values);
        // 100 s a value at 25, 100, 0 and 50 requests per second.
        let count = |from: u64, to: u64| {
            arrivals.iter().filter(|a| (Duration::from_secs(from)..Duration::from_secs(to)).contains(&a.at)).count()
        };
        assert!((2300..2700).contains(&count(0, 100)), "{}", count(0, 100));
        assert!((9600..10_400).contains(&count(100, 200)));
        assert_eq!(count(200, 300), 0);
        assert!((4700..5300).contains(&count(300, 400)));
        assert!(arrivals.is_sorted_by(|a, b| a.at <= b.at));
        let mean = arrivals.iter().map(|a| f64::from(a.output_tokens)).sum::<f64>() / arrivals.len() as f64;
        assert!((50.0..70.0).contains(&mean), "{mean}");
        assert_eq!(arrivals, RATES.arrivals(6000.0, &values));
        assert_ne!(arrivals, RateReplay { seed: 8, ..RATES }.arrivals(6000.0, &values));
    }

    #[test]
    fn recorded_requests_are_thinned_to_what_is_carried() {
        let requests: Vec<TraceRequest> = (0..20_000)
            .map(|place| TraceRequest { at_seconds: f64::from(place) * 0.1, prompt_tokens: 9000, output_tokens: 50 })
            .collect();
        // 10 requests of 50 tokens a second, 20 times as fast: 10,000 tokens a second.
        let replay = RequestReplay {
            pace: 20.0,
            carried_tokens_per_second: 2500.0,
            max_prompt_tokens: 4000,
            max_output_tokens: 1000,
            seed: 1,
        };
        assert!((replay.kept_share(&requests) - 0.25).abs() < 0.01);
        let arrivals = replay.arrivals(&requests);
        assert!((4600..5400).contains(&arrivals.len()), "{}", arrivals.len());
        assert!(arrivals.iter().all(|arrival| arrival.prompt_tokens == 4000));
        assert!(arrivals.last().unwrap().at <= Duration::from_secs(100));
        let roomy = RequestReplay { carried_tokens_per_second: 1e6, ..replay };
        assert_eq!(roomy.arrivals(&requests).len(), requests.len());
    }
}
