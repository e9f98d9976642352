//! The forecast that is reported, held to its word: quantiles are moved until they cover what they claim.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Levels of the reported quantiles.
pub const LEVELS: [f64; 4] = [0.5, 0.8, 0.95, 0.99];

/// Step of a quantile's correction, as a share of it. A miss of the 99 % quantile moves it up by about this, a hit down by a
/// hundredth of that, so that in the long run one in a hundred misses (online quantile tracking; Gibbs and Candès 2021,
/// "Adaptive conformal inference under distribution shift"). Forecasts half a minute apart miss together for as long as a load
/// rises: with larger steps a quantile runs after the load, and covers what it claims by being far off in turn.
const STEP: f64 = 0.005;

/// Step of the corrections behind [`Forecast::limit`], which is to run after the load: what was missed a moment ago is expected now.
const LIMIT_STEP: f64 = 0.05;

/// Bounds of the correction's logarithm: beyond a factor of 20 the forecast is of no use anyway.
const MOST_CORRECTION: f64 = 3.0;

/// Quantiles of the largest demand within one start-up time, in replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Values at [`LEVELS`].
    pub quantiles: [f64; LEVELS.len()],
    /// Demand above this was not expected: the 99 % quantile, corrected ten times as fast.
    #[serde(default)]
    pub limit: f64,
}

/// Corrections of each level, and the forecasts they made that wait for judgement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tracking {
    corrections: [f64; LEVELS.len()],
    pending: VecDeque<(u64, u64, [f64; LEVELS.len()])>,
}

impl Tracking {
    /// Corrects the mixture's own quantiles, and remembers them for judgement over the steps `from..to`.
    fn corrected(&mut self, from: u64, to: u64, raw: [f64; LEVELS.len()]) -> [f64; LEVELS.len()] {
        let mut quantiles = raw;
        let mut least = 0.0_f64;
        for (value, correction) in quantiles.iter_mut().zip(self.corrections) {
            // A higher level is never below a lower one.
            *value = (*value * correction.exp()).max(least);
            least = *value;
        }
        // The start-up time turned out shorter: what waits for a longer one would hold up the rest, and judge another question.
        while self.pending.back().is_some_and(|(_, later, _)| *later > to) {
            self.pending.pop_back();
        }
        self.pending.push_back((from, to, quantiles));
        quantiles
    }

    /// Judges the forecasts whose time has come, and tells `judged` which levels each covered.
    fn judge(
        &mut self,
        next: u64,
        step: f64,
        most_of: impl Fn(u64, u64) -> f64,
        mut judged: impl FnMut([bool; LEVELS.len()]),
    ) {
        while self.pending.front().is_some_and(|(_, to, _)| *to <= next) {
            let Some((from, to, quantiles)) = self.pending.pop_front() else { return };
            let most = most_of(from, to);
            let missed = quantiles.map(|quantile| most > quantile);
            for ((correction, missed), level) in self.corrections.iter_mut().zip(missed).zip(LEVELS) {
                let surprise = f64::from(u8::from(missed)) - (1.0 - level);
                *correction = (*correction + step * surprise).clamp(-MOST_CORRECTION, MOST_CORRECTION);
            }
            judged(missed.map(|missed| !missed));
        }
    }
}

/// Corrections learned so far, and what was covered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Calibration {
    #[serde(default)]
    reported: Tracking,
    #[serde(default)]
    limit: Tracking,
    pub(crate) judged: u64,
    pub(crate) covered: [u64; LEVELS.len()],
}

impl Calibration {
    /// Corrects the mixture's own quantiles of the steps `from..to`, and remembers what it made of them.
    pub(crate) fn forecast(&mut self, from: u64, to: u64, raw: [f64; LEVELS.len()]) -> Forecast {
        let [.., limit] = self.limit.corrected(from, to, raw);
        Forecast { quantiles: self.reported.corrected(from, to, raw), limit }
    }

    /// Judges the forecasts whose time has come.
    pub(crate) fn judge(&mut self, next: u64, most_of: impl Fn(u64, u64) -> f64) {
        let Self { reported, limit, judged, covered } = self;
        limit.judge(next, LIMIT_STEP, &most_of, |_| {});
        reported.judge(next, STEP, &most_of, |held| {
            *judged += 1;
            for (count, held) in covered.iter_mut().zip(held) {
                *count += u64::from(held);
            }
        });
    }
}

/// The values at `levels` of a weighted sample, which is sorted here. Empty gives zeros.
pub(crate) fn weighted_quantiles<const N: usize>(sample: &mut [(f64, f64)], levels: &[f64; N]) -> [f64; N] {
    sample.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
    let total: f64 = sample.iter().map(|(_, weight)| weight).sum();
    let mut values = [0.0; N];
    let (mut below, mut at) = (0.0, 0);
    for (value, level) in values.iter_mut().zip(levels) {
        while at + 1 < sample.len() && below + sample[at].1 <= level * total {
            below += sample[at].1;
            at += 1;
        }
        *value = sample.get(at).map_or(0.0, |(value, _)| *value);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_that_is_always_too_low_is_raised_until_it_covers_what_it_claims() {
        let mut calibration = Calibration::default();
        // Demand moves over 1..=100 in an order without pattern; the raw forecast claims 10 at every level.
        let mut covered = [0_u32; LEVELS.len()];
        let (rounds, warm) = (200_000_u64, 20_000);
        for step in 0..rounds {
            let forecast = calibration.forecast(step, step + 1, [10.0; LEVELS.len()]);
            let most = (step.wrapping_mul(6_364_136_223_846_793_005) >> 33) % 100 + 1;
            calibration.judge(step + 1, |_, _| most as f64);
            if step >= warm {
                for (count, value) in covered.iter_mut().zip(forecast.quantiles) {
                    *count += u32::from(most as f64 <= value);
                }
            }
        }
        for (count, level) in covered.iter().zip(LEVELS) {
            let share = f64::from(*count) / (rounds - warm) as f64;
            assert!((share - level).abs() < 0.01, "{level}: {share}");
        }
    }

    #[test]
    fn quantiles_of_a_sample_follow_its_weights() {
        let mut sample = [(3.0, 1.0), (1.0, 8.0), (2.0, 1.0)];
        let values = weighted_quantiles(&mut sample, &[0.5, 0.85, 0.95]);
        assert_eq!(values.map(|value| value as u32), [1, 2, 3]);
        assert_eq!(weighted_quantiles(&mut [], &[0.5]).map(|value| value as u32), [0]);
    }
}
