//! What requests are like, and what they take: mean tokens, KV cache, time to first token.

use engine_model::Workload;
use serde::{Deserialize, Serialize};

/// Requests whose mean is believed, and kept through a silent night.
const ENOUGH_REQUESTS: f64 = 10.0;

/// The mean request of an engine that does not tell its tokens. Learned and used with the same figures they cancel: the
/// capacity is then that of the traffic it was learned from.
const NOMINAL: Workload = Workload { prompt_tokens: 1000.0, output_tokens: 250.0, cached_share: 0.0 };

/// Tokens of requests that ended between two looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Finished {
    pub(crate) requests: f64,
    pub(crate) prompt_tokens: f64,
    pub(crate) output_tokens: f64,
}

/// Fading sums over ended requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Traffic {
    requests: f64,
    prompt_tokens: f64,
    output_tokens: f64,
}

impl Traffic {
    pub(crate) fn fade(&mut self, keep: f64) {
        if self.requests > 2.0 * ENOUGH_REQUESTS {
            self.requests *= keep;
            self.prompt_tokens *= keep;
            self.output_tokens *= keep;
        }
    }

    pub(crate) fn add(&mut self, finished: &Finished) {
        self.requests += finished.requests;
        self.prompt_tokens += finished.prompt_tokens;
        self.output_tokens += finished.output_tokens;
    }

    /// The mean request, once it is known.
    pub(crate) fn mean(&self) -> Option<Workload> {
        let is_known = self.requests >= ENOUGH_REQUESTS && self.prompt_tokens > 0.0 && self.output_tokens > 0.0;
        is_known.then(|| Workload {
            prompt_tokens: self.prompt_tokens / self.requests,
            output_tokens: self.output_tokens / self.requests,
            cached_share: 0.0,
        })
    }

    /// The mean request, or a nominal one.
    pub(crate) fn mean_or_nominal(&self) -> Workload {
        self.mean().unwrap_or(NOMINAL)
    }
}

/// Looks that the cache's size is averaged over.
const CACHE_WINDOW: f64 = 100.0;

/// Looks after which it is believed.
const ENOUGH_LOOKS: f64 = 4.0;

/// Mean share of the cache in use below which blocks and rounding say more than requests.
const LEAST_USAGE: f64 = 0.02;

/// The KV cache's size, from what running requests take of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CacheUse {
    looks: f64,
    usage: f64,
    context_tokens: f64,
    /// The size that the engine told.
    told_tokens: Option<f64>,
}

impl CacheUse {
    /// Takes in one look: `running` requests of `workload` hold `usage` of the cache, a share from 0 to 1.
    pub(crate) fn add(&mut self, running: f64, workload: &Workload, usage: f64) {
        if running < 1.0 || !(usage > 0.0 && usage <= 1.0) {
            return;
        }
        let keep = 1.0 - 1.0 / CACHE_WINDOW;
        self.looks = self.looks * keep + 1.0;
        self.usage = self.usage * keep + usage;
        self.context_tokens = self.context_tokens * keep + running * workload.mean_context_tokens();
    }

    pub(crate) fn tell(&mut self, tokens: f64) {
        if tokens.is_finite() && tokens >= 1.0 {
            self.told_tokens = Some(tokens);
        }
    }

    /// Tokens that the cache holds: as used (shared prefixes count once, block rounding counts), else as told.
    pub(crate) fn tokens(&self) -> Option<f64> {
        let is_known = self.looks >= ENOUGH_LOOKS && self.usage >= LEAST_USAGE * self.looks;
        if is_known { Some(self.context_tokens / self.usage) } else { self.told_tokens }
    }
}

/// Samples that the time to first token is averaged over.
const FIRST_TOKEN_WINDOW: f64 = 100.0;

/// Relative scatter of one sample of the time to first token.
const SCATTER: f64 = 0.3;

/// Width of the prior on what is added to the model's time to first token, relative to the times seen.
const ADDED_WIDTH: f64 = 0.5;

/// The time to first token is expected to be no less than this share of the model's.
const LEAST_SHARE: f64 = 0.05;

/// A sample further off than this factor counts less.
const OUTLIER_FACTOR: f64 = 2.0;

/// Time to first token as seen against the model's: `added + factor · model`. Networks, tokenisation and prompts that come
/// in bunches are not in the model and add; prompts found in the prefix cache take off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FirstToken {
    /// Sums of w, w/y², w·x/y², w·x²/y², w/y, w·x/y for a model's x and a measured y.
    sums: [f64; 6],
}

impl FirstToken {
    pub(crate) fn fade(&mut self, keep: f64) {
        self.sums = self.sums.map(|sum| sum * keep);
    }

    /// Takes in a mean of `seconds` where the model says `modelled`.
    pub(crate) fn add(&mut self, modelled: f64, seconds: f64, weight: f64) {
        let mut weight = weight.min(FIRST_TOKEN_WINDOW);
        if self.is_known() {
            let expected = self.expected(modelled);
            let factor = (seconds / expected).max(expected / seconds);
            if factor > OUTLIER_FACTOR {
                weight *= OUTLIER_FACTOR / factor;
            }
        }
        self.fade(1.0 - weight / FIRST_TOKEN_WINDOW);
        let (x, one) = (modelled / seconds, seconds.recip());
        for (sum, value) in self.sums.iter_mut().zip([1.0, one * one, one * x, x * x, one, x]) {
            *sum += weight * value;
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        self.sums[0] >= super::evidence::ENOUGH
    }

    /// What is expected where the model says `modelled`.
    pub(crate) fn expected(&self, modelled: f64) -> f64 {
        let [weight, added_added, added_factor, factor_factor, added, factor] = self.sums;
        if weight <= 0.0 {
            return modelled;
        }
        let variance = SCATTER * SCATTER;
        // w/y² over w is the inverse square of a typical time.
        let added_added = added_added * (1.0 + variance / (weight * ADDED_WIDTH * ADDED_WIDTH));
        let (factor_factor, target) = (factor_factor + variance, factor + variance);
        let determinant = added_added * factor_factor - added_factor * added_factor;
        let factor = ((added_added * target - added_factor * added) / determinant).max(0.0);
        let added = (added - added_factor * factor) / added_added;
        // The line may cross 0 below every load that was seen.
        (added + factor * modelled).max(LEAST_SHARE * modelled)
    }
}
