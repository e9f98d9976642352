//! Who foresaw it best: experts are weighed by their record on the maximum over a start-up time.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize};

use crate::experts::{EXPERTS, ExpertKind};

/// Quantiles at which a forecast of the maximum is judged.
pub(crate) const JUDGED: [f64; 3] = [0.5, 0.8, 0.95];

/// Weights are the losses to the power of minus this: the best expert leads, close ones share.
const SHARPNESS: i32 = 6;

/// Forecasts of each expert that made one: the judged quantiles of the maximum.
pub(crate) type Quantiles = [Option<[f64; JUDGED.len()]>; EXPERTS];

/// Fading pinball losses of the experts, and forecasts that wait to be judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mixing {
    #[serde(deserialize_with = "losses_of_any_version")]
    losses: [f64; EXPERTS],
    /// Made anew by living through the last steps again: they do not depend on the losses.
    #[serde(skip)]
    pending: VecDeque<(u64, u64, Quantiles)>,
}

impl Mixing {
    /// Takes the losses of an earlier run; what waits to be judged stays.
    pub(crate) fn restore(&mut self, earlier: &Self) {
        self.losses = earlier.losses;
    }

    /// Remembers forecasts made before step `from` for the maximum of the steps `from..to`.
    pub(crate) fn remember(&mut self, from: u64, to: u64, quantiles: Quantiles) {
        // The start-up time turned out shorter: what waits for a longer one would hold up the rest, and judge another question.
        while self.pending.back().is_some_and(|(_, later, _)| *later > to) {
            self.pending.pop_back();
        }
        self.pending.push_back((from, to, quantiles));
    }

    /// Judges the forecasts whose time has come. `memory` is the number of judgements after which a loss has faded to 1/e.
    pub(crate) fn judge(&mut self, next: u64, memory: f64, most_of: impl Fn(u64, u64) -> f64) {
        let keep = 1.0 - 1.0 / memory.max(2.0);
        while self.pending.front().is_some_and(|(_, to, _)| *to <= next) {
            let Some((from, to, quantiles)) = self.pending.pop_front() else { return };
            let most = most_of(from, to);
            let general = self.losses[ExpertKind::PersistenceNow as usize];
            for (expert, forecast) in quantiles.iter().enumerate() {
                let Some(forecast) = forecast else { continue };
                let loss: f64 = JUDGED.iter().zip(forecast).map(|(level, value)| pinball(*level, most - value)).sum();
                let old = &mut self.losses[expert];
                if *old <= 0.0 {
                    // A newcomer starts at the standing of plain persistence, not at zero.
                    let is_day = ExpertKind::ALL[expert].is_day();
                    *old = if is_day && general > 0.0 { general } else { loss / (1.0 - keep) };
                }
                *old = *old * keep + loss;
            }
        }
    }

    /// Weights of the experts that are available; they add up to 1.
    pub(crate) fn weights(&self, available: &[bool; EXPERTS]) -> [f64; EXPERTS] {
        let known = |expert: usize| available[expert] && self.losses[expert] > 0.0;
        let least =
            (0..EXPERTS).filter(|expert| known(*expert)).map(|expert| self.losses[expert]).fold(f64::MAX, f64::min);
        let mut weights = [0.0; EXPERTS];
        for (expert, weight) in weights.iter_mut().enumerate() {
            if available[expert] {
                *weight = if known(expert) { (least / self.losses[expert]).powi(SHARPNESS) } else { 1.0 };
            }
        }
        let sum: f64 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        weights
    }
}

/// A record that was kept when there were fewer experts: those that came later are appended to [`ExpertKind::ALL`], and begin
/// as newcomers.
fn losses_of_any_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f64; EXPERTS], D::Error> {
    let kept = Vec::<f64>::deserialize(deserializer)?;
    let mut losses = [0.0; EXPERTS];
    losses.iter_mut().zip(kept).for_each(|(loss, kept)| *loss = kept);
    Ok(losses)
}

/// Loss of a forecast quantile: what lies above it costs `level`, what lies below `1 - level`.
fn pinball(level: f64, above: f64) -> f64 {
    if above > 0.0 { level * above } else { (level - 1.0) * above }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expert_that_foresees_leads_and_an_absent_one_has_no_say() {
        let mut mixing = Mixing::default();
        for step in 0..50 {
            let mut quantiles: Quantiles = [Some([5.0; 3]); EXPERTS];
            quantiles[0] = Some([9.0; 3]);
            mixing.remember(step, step + 1, quantiles);
            mixing.judge(step + 1, 20.0, |_, _| 10.0);
        }
        let weights = mixing.weights(&[true; EXPERTS]);
        assert!(weights[0] > 0.99, "{weights:?}");
        let without = mixing.weights(&[false, true, true, true, true, true]);
        assert!(without[0] <= 0.0 && (without.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_start_up_time_that_turned_out_shorter_does_not_hold_up_the_record() {
        let mut mixing = Mixing::default();
        mixing.remember(0, 480, [Some([5.0; 3]); EXPERTS]);
        mixing.remember(2, 14, [Some([5.0; 3]); EXPERTS]);
        mixing.judge(14, 20.0, |_, _| 10.0);
        assert!(mixing.pending.is_empty() && mixing.losses.iter().all(|loss| *loss > 0.0), "{mixing:?}");
    }

    #[test]
    fn a_record_of_fewer_experts_is_taken_up_and_those_that_came_later_begin_as_newcomers() {
        let kept = r#"{"losses":[5.0,4.0,3.0,2.0,1.0]}"#;
        let mut mixing: Mixing = serde_json::from_str(kept).expect("readable");
        assert_eq!(mixing.losses.map(|loss| loss as u32), [5, 4, 3, 2, 1, 0]);
        mixing.remember(0, 1, [Some([10.0; 3]); EXPERTS]);
        mixing.judge(1, 20.0, |_, _| 10.0);
        let (moved, plain) = (ExpertKind::MovedDay as usize, ExpertKind::PersistenceNow as usize);
        assert!((mixing.losses[moved] - mixing.losses[plain]).abs() < 1e-12, "{mixing:?}");
    }
}
