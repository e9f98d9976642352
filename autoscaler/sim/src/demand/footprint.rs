//! What one request takes of a replica.

use engine_model::{Workload, capacity};

use super::EngineProfile;

/// Bits of the mantissa that are kept: 16 classes in an octave.
const MANTISSA_BITS: u32 = 4;
const DROPPED_BITS: u32 = f32::MANTISSA_DIGITS - 1 - MANTISSA_BITS;
/// Classes of token numbers up to 2^24.
const CLASSES: usize = 25 << MANTISSA_BITS;

/// Share of a replica and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Footprint {
    /// `1 / n*`, 0 to 1.
    pub(super) replicas: f64,
    /// Prefill and answer, unqueued.
    pub(super) seconds: f64,
}

#[derive(Debug, Clone, Copy)]
struct Class {
    replicas: f64,
    prefill_seconds: f64,
    inter_token_seconds: f64,
}

/// Footprints by class of prompt and answer length, computed when first asked for.
pub(super) struct Footprints<'a> {
    engine: &'a EngineProfile,
    classes: Vec<Option<Class>>,
}

impl<'a> Footprints<'a> {
    pub(super) fn new(engine: &'a EngineProfile) -> Self {
        Self { engine, classes: vec![None; CLASSES * CLASSES] }
    }

    pub(super) fn of(&mut self, prompt_tokens: u32, output_tokens: u32) -> Footprint {
        let (prompt, output) = (class_of(prompt_tokens), class_of(output_tokens));
        let engine = self.engine;
        let class = *self.classes[prompt * CLASSES + output]
            .get_or_insert_with(|| class(engine, class_middle(prompt), class_middle(output)));
        let seconds = class.prefill_seconds + f64::from(output_tokens) * class.inter_token_seconds;
        Footprint { replicas: class.replicas, seconds }
    }
}

fn class(engine: &EngineProfile, prompt_tokens: f64, output_tokens: f64) -> Class {
    let workload = Workload { prompt_tokens, output_tokens, cached_share: engine.cached_share };
    let carried = capacity(&engine.step, &workload, &engine.limits, &engine.objective).concurrency.max(1);
    let concurrency = f64::from(carried);
    let chunk = f64::from(engine.limits.max_batched_tokens) - (concurrency - 1.0);
    Class {
        replicas: 1.0 / concurrency,
        prefill_seconds: engine.step.prefill_seconds(
            workload.uncached_prompt_tokens(),
            chunk,
            concurrency - 1.0,
            &workload,
        ),
        inter_token_seconds: engine.step.steady_step_seconds(concurrency, &workload),
    }
}

fn class_of(tokens: u32) -> usize {
    let bits = (tokens.max(1) as f32).to_bits() >> DROPPED_BITS;
    let first = 1.0f32.to_bits() >> DROPPED_BITS;
    ((bits - first) as usize).min(CLASSES - 1)
}

fn class_middle(class: usize) -> f64 {
    let first = 1.0f32.to_bits() >> DROPPED_BITS;
    let edge = |class: usize| f64::from(f32::from_bits((class as u32 + first) << DROPPED_BITS));
    let (from, to) = (edge(class), edge(class + 1));
    // The middle of the whole numbers of the class: the number itself where there is but one.
    from + ((to - from - 1.0) / 2.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_middle_and_is_never_off_by_more_than_a_thirty_second() {
        for tokens in (1..200).chain([1000, 4096, 12_345, 131_072, 9_999_999]) {
            let middle = class_middle(class_of(tokens));
            assert!((middle / f64::from(tokens) - 1.0).abs() <= 1.0 / 32.0, "{tokens} in the class of {middle}");
            assert!(tokens > 16 || (middle - f64::from(tokens)).abs() < 1e-9, "{tokens} in the class of {middle}");
        }
        assert_eq!(class_of(0), class_of(1));
        assert_eq!(class_of(u32::MAX), CLASSES - 1);
    }
}
