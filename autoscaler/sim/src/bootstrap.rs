//! How sure a figure is: days drawn again and again from those that were seen.
//!
//! Days, not steps, are drawn because misses come in clusters: steps of one overload are not independent.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::fluid::Block;

/// Days below which an interval would say nothing.
const LEAST_DAYS: usize = 5;
/// Draws: the ends of a 95 % interval are then each told by 50 of them.
const DRAWS: usize = 2000;

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    /// 2.5 % of the draws are below.
    pub low: f64,
    /// 2.5 % of the draws are above.
    pub high: f64,
}

/// The interval of a figure of the whole, such as [`Block::times_opt`] or [`Block::overflow`]. `None` below five days.
pub fn interval(days: &[Block], seed: u64, figure: impl Fn(&Block) -> f64) -> Option<Interval> {
    if days.len() < LEAST_DAYS {
        return None;
    }
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut figures: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn = (0..days.len()).map(|_| &days[random.random_range(0..days.len())]);
            figure(&drawn.fold(Block::default(), |sum, day| sum.plus(day)))
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    let tail = DRAWS / 40;
    Some(Interval { low: figures[tail], high: figures[DRAWS - 1 - tail] })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers, and what was handed through, are exact")]
mod tests {
    use super::*;

    fn day(missed_demand: f64) -> Block {
        Block { demand: 100.0, missed_demand, ..Block::default() }
    }

    #[test]
    fn days_that_are_alike_leave_no_doubt_and_days_that_differ_do() {
        let alike = interval(&vec![day(2.0); 10], 1, Block::overflow).unwrap();
        assert!((alike.low - 0.02).abs() < 1e-12 && (alike.high - 0.02).abs() < 1e-12);
        let days: Vec<Block> = (0..10).map(|d| day(if d == 0 { 20.0 } else { 0.0 })).collect();
        let differ = interval(&days, 1, Block::overflow).unwrap();
        // No draw holds the bad day with a chance of 35 %, three or more with 7 %.
        assert_eq!(differ.low, 0.0);
        assert!((0.05..=0.09).contains(&differ.high), "{differ:?}");
        assert_eq!(interval(&days, 1, Block::overflow), interval(&days, 1, Block::overflow));
    }

    #[test]
    fn four_days_say_nothing() {
        assert_eq!(interval(&vec![day(1.0); 4], 1, Block::overflow), None);
    }
}
