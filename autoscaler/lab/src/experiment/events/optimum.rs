//! What foresight would cost, request by request: the cheapest of the schedules that keep the target.

use autoscaler_sim::{Discipline, Policy, Signals, Stretch, optimum as schedules};

use super::super::{Ground, STEP_SECONDS, days};
use super::{LEAD_SECONDS, Sum, simulate};
use crate::error::LabError;

/// How a margin is looked for: in steps of a factor, up or down, until the target is kept or no more; then by halves.
#[derive(Debug, Clone, Copy)]
struct Search {
    factor: f64,
    most_steps: i32,
    halvings: usize,
}

/// To 2 % of the margin, from any.
const WIDE: Search = Search { factor: 1.15, most_steps: 12, halvings: 3 };
/// To 2 % of the margin, from one that is about right.
const NEAR: Search = Search { factor: 1.04, most_steps: 40, halvings: 1 };

/// A step up that gains less attainment than this is the last.
const LEAST_GAIN: f64 = 2e-4;

/// The optimum as replayed request by request.
#[derive(Debug)]
pub(super) struct Optimum {
    pub(super) engine_seconds: f64,
    /// Whether its schedule keeps the target; where no schedule does, it is the one without margin.
    pub(super) is_on_target: bool,
}

/// Of the schedules `max over [t, t + L] of ceil(margin · demand)` the one with the smallest margin that keeps the target.
pub(super) fn optimum(
    ground: &Ground<'_>,
    queue: Discipline,
    seed: usize,
    windows: &[Stretch],
) -> Result<Optimum, LabError> {
    let replay = |margin: f64, windows: &[Stretch]| replay(ground, queue, seed, windows, margin);
    let attainment = ground.experiment.attainment;
    let sample = days::sample(ground);
    // Many days take long to replay: two of them tell where to begin.
    let found = if sample.as_slice() == windows {
        search(WIDE, 1.0, attainment, &|margin| replay(margin, windows))?
    } else {
        match search(WIDE, 1.0, attainment, &|margin| replay(margin, &sample))? {
            Some((margin, _)) => search(NEAR, margin, attainment, &|margin| replay(margin, windows))?,
            None => search(WIDE, 1.0, attainment, &|margin| replay(margin, windows))?,
        }
    };
    Ok(match found {
        Some((_, sum)) => Optimum { engine_seconds: sum.engine_seconds, is_on_target: true },
        None => Optimum { engine_seconds: replay(1.0, windows)?.engine_seconds, is_on_target: false },
    })
}

/// The smallest margin that keeps the target, and what it came to; `None` when none does.
fn search(
    Search { factor, most_steps, halvings }: Search,
    begin: f64,
    target: f64,
    replay: &dyn Fn(f64) -> Result<Sum, LabError>,
) -> Result<Option<(f64, Sum)>, LabError> {
    let mut last = replay(begin)?;
    let mut best = (last.attainment() >= target).then(|| (begin, last.clone()));
    let is_kept_at_first = best.is_some();
    let (mut low, mut high) = (begin, begin);
    for step in 1..=most_steps {
        let margin = begin * factor.powi(if is_kept_at_first { -step } else { step });
        let sum = replay(margin)?;
        let is_kept = sum.attainment() >= target;
        // Prompts that are too long for the objective miss it in an empty fleet: more replicas change nothing.
        if !is_kept && !is_kept_at_first && sum.attainment() < last.attainment() + LEAST_GAIN {
            return Ok(None);
        }
        if is_kept {
            (high, best) = (margin, Some((margin, sum.clone())));
        } else {
            low = margin;
        }
        if is_kept != is_kept_at_first {
            break;
        }
        last = sum;
    }
    if best.is_none() {
        return Ok(None);
    }
    for _ in 0..halvings {
        let middle = f64::midpoint(low, high);
        let sum = replay(middle)?;
        if sum.attainment() >= target {
            (high, best) = (middle, Some((middle, sum)));
        } else {
            low = middle;
        }
    }
    Ok(best)
}

fn replay(
    ground: &Ground<'_>,
    queue: Discipline,
    seed: usize,
    windows: &[Stretch],
    margin: f64,
) -> Result<Sum, LabError> {
    let demand = &ground.demands[seed];
    let mut need = schedules::need(&demand.replicas, margin);
    need.iter_mut().for_each(|n| *n = (*n).clamp(ground.task.min_replicas, ground.task.max_replicas));
    let startup_steps = demand.steps_in(ground.experiment.startup.mean_seconds);
    let mut policy = Schedule(schedules::schedule(&need, startup_steps));
    let mut sum = Sum::default();
    for &window in windows {
        let first = policy.at((window.from_seconds - LEAD_SECONDS).max(0.0));
        let run = simulate(ground, &mut policy, queue, seed, window, first)?;
        sum.add(&run, demand, window);
    }
    Ok(sum)
}

/// Replicas fixed beforehand for every step.
struct Schedule(Vec<u32>);

impl Schedule {
    fn at(&self, seconds: f64) -> u32 {
        self.0.get((seconds / STEP_SECONDS + 1e-6) as usize).or_else(|| self.0.last()).copied().unwrap_or(0)
    }
}

impl Policy for Schedule {
    fn period_seconds(&self) -> f64 {
        STEP_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        self.at(signals.now_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attains as much as its margin, up to .995.
    fn replayed(margin: f64) -> Result<Sum, LabError> {
        let met = 1000.0 * margin.min(0.995);
        Ok(Sum { requests: 1000.0, met, engine_seconds: margin, ..Sum::default() })
    }

    #[test]
    fn the_smallest_margin_that_keeps_the_target_is_found_from_above_and_from_below() {
        for begin in [0.4, 0.99, 1.6] {
            let (margin, sum) = search(WIDE, begin, 0.8, &replayed).unwrap().expect("there is one");
            assert!((0.8..0.8 * 1.02).contains(&margin), "{margin} from {begin}");
            assert!((sum.engine_seconds - margin).abs() < 1e-12);
        }
    }

    #[test]
    fn a_target_that_no_margin_keeps_is_given_up() {
        assert!(search(WIDE, 0.5, 0.999, &replayed).unwrap().is_none());
    }
}
