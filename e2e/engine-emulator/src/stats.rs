//! What the engine counts: the numbers behind `/metrics`.

/// A histogram with fixed bounds.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    bounds: Vec<f64>,
    /// One for each bound, and one for what is above all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &[f64]) -> Self {
        Self { bounds: bounds.to_vec(), counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(crate) fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Upper bounds with the number of values at or below each; the last bound is infinite.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().scan(0, |below, count| {
            *below += count;
            Some(*below)
        }))
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn sum(&self) -> f64 {
        self.sum
    }
}

const TTFT_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const BETWEEN_TOKENS_SECONDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const REQUEST_SECONDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const BLOCK_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1200.0, 1800.0,
];
const STEP_TOKENS: &[f64] = &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];

/// 1, 2, 5, 10, … up to `largest`: the bounds that depend on the length of the model.
fn one_two_five(largest: u32) -> Vec<f64> {
    let decades = (0..10).map(|decade| 10_f64.powi(decade));
    decades
        .flat_map(|decade| [1.0, 2.0, 5.0].map(|mantissa| mantissa * decade))
        .take_while(|bound| *bound <= f64::from(largest))
        .collect()
}

/// Lives of KV blocks, measured on a sample.
#[derive(Debug, Clone)]
pub(crate) struct BlockTimes {
    pub(crate) lifetime: Histogram,
    pub(crate) idle_before_evict: Histogram,
    pub(crate) reuse_gap: Histogram,
}

impl Default for BlockTimes {
    fn default() -> Self {
        let empty = Histogram::new(BLOCK_SECONDS);
        Self { lifetime: empty.clone(), idle_before_evict: empty.clone(), reuse_gap: empty }
    }
}

/// Why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FinishReason {
    /// The model ended its answer.
    Stop,
    /// As many tokens as were asked for, or as fit the model.
    Length,
    /// Cut off by `/pause` or `/sleep`. A client that goes away is counted nowhere, as in vLLM.
    Abort,
}

impl FinishReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
        }
    }
}

/// Counters and histograms since the start. Times are wall time in seconds.
#[derive(Debug, Clone)]
pub(crate) struct Stats {
    pub(crate) prefix_cache_queries: u64,
    pub(crate) prefix_cache_hits: u64,
    pub(crate) preemptions: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) prompt_tokens_computed: u64,
    pub(crate) prompt_tokens_cached: u64,
    pub(crate) generation_tokens: u64,
    pub(crate) finished_stop: u64,
    pub(crate) finished_length: u64,
    pub(crate) finished_abort: u64,
    pub(crate) rejected: u64,
    pub(crate) request_prompt_tokens: Histogram,
    pub(crate) request_generation_tokens: Histogram,
    pub(crate) iteration_tokens: Histogram,
    pub(crate) request_max_generation_tokens: Histogram,
    pub(crate) request_n: Histogram,
    pub(crate) request_max_tokens: Histogram,
    pub(crate) ttft: Histogram,
    pub(crate) inter_token: Histogram,
    pub(crate) per_output_token: Histogram,
    pub(crate) e2e: Histogram,
    pub(crate) queue: Histogram,
    pub(crate) inference: Histogram,
    pub(crate) prefill: Histogram,
    pub(crate) decode: Histogram,
    pub(crate) request_preemptions: Histogram,
    pub(crate) prefill_computed_tokens: Histogram,
    pub(crate) blocks: BlockTimes,
}

impl Stats {
    /// Nothing counted yet, for a model of `max_model_len` tokens.
    pub(crate) fn new(max_model_len: u32) -> Self {
        let tokens = Histogram::new(&one_two_five(max_model_len));
        let request = Histogram::new(REQUEST_SECONDS);
        Self {
            prefix_cache_queries: 0,
            prefix_cache_hits: 0,
            preemptions: 0,
            prompt_tokens: 0,
            prompt_tokens_computed: 0,
            prompt_tokens_cached: 0,
            generation_tokens: 0,
            finished_stop: 0,
            finished_length: 0,
            finished_abort: 0,
            rejected: 0,
            request_prompt_tokens: tokens.clone(),
            request_generation_tokens: tokens.clone(),
            iteration_tokens: Histogram::new(STEP_TOKENS),
            request_max_generation_tokens: tokens.clone(),
            request_n: Histogram::new(&[1.0, 2.0, 5.0, 10.0, 20.0]),
            request_max_tokens: tokens.clone(),
            ttft: Histogram::new(TTFT_SECONDS),
            inter_token: Histogram::new(BETWEEN_TOKENS_SECONDS),
            per_output_token: Histogram::new(BETWEEN_TOKENS_SECONDS),
            e2e: request.clone(),
            queue: request.clone(),
            inference: request.clone(),
            prefill: request.clone(),
            decode: request,
            request_preemptions: Histogram::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0]),
            prefill_computed_tokens: tokens,
            blocks: BlockTimes::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_counts_below_it_and_buckets_add_up() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 9.0] {
            histogram.observe(value);
        }
        let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!((counts, histogram.count()), (vec![2, 3, 4], 4));
        assert!((histogram.sum() - 12.0).abs() < 1e-12);
    }

    #[test]
    fn length_bounds_end_at_the_length_of_the_model() {
        assert_eq!(one_two_five(512), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]);
        assert_eq!(one_two_five(40_960).last(), Some(&20_000.0));
    }
}
