//! What a change of policy saves, with an interval.

use autoscaler_sim::bootstrap::{self, Interval};
use autoscaler_sim::fluid::Block;

/// A saving and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Saving {
    /// Share of the present cost that is saved; negative when it costs more.
    pub share: f64,
    /// 95 % interval from days drawn again and again; `None` below five days.
    pub interval: Option<Interval>,
}

/// The saving of `new` over `present`, the same days of both.
#[must_use]
pub fn saving(new: &[Block], present: &[Block]) -> Option<Saving> {
    // A pair of days is drawn together: both had the same load, so their difference is surer than either.
    let pairs: Vec<Block> = new
        .iter()
        .zip(present)
        .map(|(new, present)| Block { opt_engine_seconds: present.engine_seconds, ..*new })
        .collect();
    let share = |block: &Block| 1.0 - block.engine_seconds / block.opt_engine_seconds;
    let total = pairs.iter().fold(Block::default(), Block::plus);
    (total.opt_engine_seconds > 0.0)
        .then(|| Saving { share: share(&total), interval: bootstrap::interval(&pairs, 1, share) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(costs: &[f64]) -> Vec<Block> {
        costs.iter().map(|cost| Block { engine_seconds: *cost, ..Block::default() }).collect()
    }

    #[test]
    fn days_of_the_same_load_are_compared_in_pairs() {
        let present = days(&[10.0, 100.0, 20.0, 50.0, 70.0]);
        let new = days(&[8.0, 80.0, 16.0, 40.0, 56.0]);
        let saving = saving(&new, &present).unwrap();
        let interval = saving.interval.unwrap();
        assert!((saving.share - 0.2).abs() < 1e-12);
        assert!((interval.low - 0.2).abs() < 1e-9 && (interval.high - 0.2).abs() < 1e-9);
        assert_eq!(super::saving(&[], &[]), None);
    }
}
