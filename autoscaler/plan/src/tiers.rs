//! Prefill and decode on engines of their own: both tiers from the same arrivals, in ratio, never one without the other.

/// What one request asks of both tiers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Requests a second.
    pub arrivals_per_second: f64,
    /// Tokens of a prompt that are not cached: the work of prefill.
    pub prompt_tokens: f64,
    /// Tokens of an answer: the work of decode.
    pub output_tokens: f64,
}

/// One tier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tier {
    /// Tokens a second that a replica works off within the objective; above 0.
    pub tokens_per_second: f64,
    /// Fewest replicas.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
}

/// Replicas of both tiers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tiers {
    /// Of prefill.
    pub prefill: u32,
    /// Of decode.
    pub decode: u32,
    /// Share of the work that both together carry, 0 to 1.
    pub carried_share: f64,
}

/// Why no plan can be made.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum TierError {
    /// A number that is none, or negative.
    #[error("{what} is {value}")]
    NotANumber {
        /// Which one.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A request that went through one tier would find nobody in the other.
    #[error("a tier without a replica: at most {prefill} of prefill and {decode} of decode")]
    MissingTier {
        /// Most replicas of prefill.
        prefill: u32,
        /// Most replicas of decode.
        decode: u32,
    },
}

/// Plans both tiers for the same work. Where one is at its most, the other is not given more than what comes through.
///
/// # Errors
/// If a number is none, or a tier may have no replica.
pub fn plan_tiers(work: &Work, prefill: &Tier, decode: &Tier) -> Result<Tiers, TierError> {
    for (what, value) in [
        ("the number of arrivals a second", work.arrivals_per_second),
        ("the number of tokens of a prompt", work.prompt_tokens),
        ("the number of tokens of an answer", work.output_tokens),
    ] {
        if !(value.is_finite() && value >= 0.0) {
            return Err(TierError::NotANumber { what, value });
        }
    }
    for (what, tier) in [("the capacity of prefill", prefill), ("the capacity of decode", decode)] {
        if !(tier.tokens_per_second.is_finite() && tier.tokens_per_second > 0.0) {
            return Err(TierError::NotANumber { what, value: tier.tokens_per_second });
        }
    }
    if prefill.max_replicas == 0 || decode.max_replicas == 0 {
        return Err(TierError::MissingTier { prefill: prefill.max_replicas, decode: decode.max_replicas });
    }
    let prefill_load = work.arrivals_per_second * work.prompt_tokens / prefill.tokens_per_second;
    let decode_load = work.arrivals_per_second * work.output_tokens / decode.tokens_per_second;
    let carried_share = share(prefill, prefill_load).min(share(decode, decode_load));
    let is_awake = work.arrivals_per_second > 0.0 || prefill.min_replicas > 0 || decode.min_replicas > 0;
    let replicas = |tier: &Tier, load: f64| {
        let needed = (load * carried_share - 1e-9).ceil().max(f64::from(u32::from(is_awake)));
        // A float beyond u32 saturates, and the maximum clamps it.
        (needed as u32).max(tier.min_replicas).min(tier.max_replicas)
    };
    Ok(Tiers { prefill: replicas(prefill, prefill_load), decode: replicas(decode, decode_load), carried_share })
}

/// Share of a load that a tier can carry at its most.
fn share(tier: &Tier, load: f64) -> f64 {
    let most = f64::from(tier.max_replicas);
    if load > most { most / load } else { 1.0 }
}

#[cfg(test)]
mod tests;
