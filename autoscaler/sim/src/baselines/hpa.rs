//! The arithmetic of Kubernetes' HorizontalPodAutoscaler (controller of about 1.33 to 1.37), exactly.
//!
//! ```text
//! metrics ─▶ external_value | external_average | pods_average ─▶ recommendation of each metric
//!         ─▶ combine (max; an error holds) ─▶ Hpa::settle: early exits, stabilisation, rate limits, bounds
//! ```
//!
//! Quantities are whole thousandths, as the controller has them.

use std::collections::VecDeque;

/// Seconds between two rounds of the controller (`--horizontal-pod-autoscaler-sync-period`).
pub const SYNC_SECONDS: f64 = 15.0;
/// Seconds for which the highest recommendation holds against scaling down
/// (`--horizontal-pod-autoscaler-downscale-stabilization`).
pub const DOWN_STABILIZATION_SECONDS: f64 = 300.0;

/// Deviation from the target that is left alone, inclusive at both ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Above 1.
    pub up: f64,
    /// Below 1.
    pub down: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { up: 0.1, down: 0.1 }
    }
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// A quantity in thousandths, rounded up as `resource.Quantity` is.
#[must_use]
pub fn milli(quantity: f64) -> i64 {
    // The cast saturates, as the controller's sum does.
    (quantity * 1000.0 - 1e-9).ceil() as i64
}

/// Recommendation of an External or Object metric with `target.value`.
#[must_use]
pub fn external_value(usage: i64, target: i64, replicas: u32, ready: u32, tolerance: Tolerance) -> u32 {
    let ratio = usage as f64 / target as f64;
    if replicas == 0 {
        rounded_up(ratio)
    } else if tolerance.covers(ratio) {
        replicas
    } else {
        rounded_up(ratio * f64::from(ready))
    }
}

/// Recommendation of an External or Object metric with `target.averageValue`; `status_replicas` as the scale reports.
#[must_use]
pub fn external_average(usage: i64, target: i64, status_replicas: u32, tolerance: Tolerance) -> u32 {
    let ratio = usage as f64 / (target as f64 * f64::from(status_replicas));
    if tolerance.covers(ratio) { status_replicas } else { rounded_up(usage as f64 / target as f64) }
}

/// Items of a Pods metric, after those of ignored and unready pods were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodItems {
    /// Sum of the items.
    pub sum: i64,
    /// Number of the items.
    pub count: u32,
    /// Pods without an item.
    pub missing: u32,
    /// Pods that are pending.
    pub unready: u32,
}

/// Recommendation of a Pods metric; `None` without any item, which is an error.
#[must_use]
pub fn pods_average(items: PodItems, target: i64, replicas: u32, tolerance: Tolerance) -> Option<u32> {
    let PodItems { sum, count, missing, unready } = items;
    if count == 0 {
        return None;
    }
    let ratio_of = |sum: i64, count: u32| sum.div_euclid(i64::from(count)) as f64 / target as f64;
    let ratio = ratio_of(sum, count);
    let fills_unready = unready > 0 && ratio > 1.0;
    if !fills_unready && missing == 0 {
        return Some(if tolerance.covers(ratio) { replicas } else { rounded_up(ratio * f64::from(count)) });
    }
    let (mut sum, mut count) = (sum, count);
    // Missing pods are taken to be at the target when it would scale down, idle when it would scale up.
    if ratio < 1.0 {
        sum += target.saturating_mul(i64::from(missing));
        count += missing;
    } else if ratio > 1.0 {
        count += missing;
    }
    if fills_unready {
        count += unready;
    }
    let again = ratio_of(sum, count);
    if tolerance.covers(again) || (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0) {
        return Some(replicas);
    }
    let wanted = rounded_up(again * f64::from(count));
    let turns = (again < 1.0 && wanted > replicas) || (again > 1.0 && wanted < replicas);
    Some(if turns { replicas } else { wanted })
}

/// The largest of the valid recommendations. `None`, which holds, when none is valid or when one is missing and the
/// others would scale down.
#[must_use]
pub fn combine(recommended: &[Option<u32>], replicas: u32) -> Option<u32> {
    let largest = recommended.iter().flatten().copied().max()?;
    (recommended.iter().all(Option::is_some) || largest >= replicas).then_some(largest)
}

/// `ceil`, saturating: NaN becomes 0, infinity the largest.
fn rounded_up(replicas: f64) -> u32 {
    replicas.ceil() as u32
}

/// How much a rate limit allows in its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// That many pods.
    Pods(u32),
    /// That share of the pods there were, in per cent.
    Percent(u32),
}

/// Which of several rate limits decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// The one that allows most.
    Max,
    /// The one that allows least.
    Min,
    /// None: no scaling in this direction.
    Disabled,
}

/// Behaviour in one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// Stabilisation window.
    pub window_seconds: f64,
    /// Rate limits, each over a period in seconds.
    pub limits: Vec<(Step, f64)>,
    /// Which of them decides.
    pub select: Select,
}

/// `spec.behavior`.
#[derive(Debug, Clone, PartialEq)]
pub struct Behavior {
    /// Upwards.
    pub up: Direction,
    /// Downwards.
    pub down: Direction,
}

impl Default for Behavior {
    /// What the API fills in for halves that are not given.
    fn default() -> Self {
        let limits = vec![(Step::Pods(4), 15.0), (Step::Percent(100), 15.0)];
        Self {
            up: Direction { window_seconds: 0.0, limits, select: Select::Max },
            down: Direction {
                window_seconds: DOWN_STABILIZATION_SECONDS,
                limits: vec![(Step::Percent(100), 15.0)],
                select: Select::Max,
            },
        }
    }
}

/// What a controller remembers of one HorizontalPodAutoscaler, in memory only.
#[derive(Debug, Clone)]
pub struct Hpa {
    least: u32,
    most: u32,
    behavior: Option<Behavior>,
    recommendations: VecDeque<(f64, u32)>,
    added: VecDeque<(f64, u32)>,
    removed: VecDeque<(f64, u32)>,
    is_seeded: bool,
}

impl Hpa {
    /// Between bounds; `behavior` `None` is a spec that gives none.
    #[must_use]
    pub const fn new(least: u32, most: u32, behavior: Option<Behavior>) -> Self {
        Self {
            least,
            most,
            behavior,
            recommendations: VecDeque::new(),
            added: VecDeque::new(),
            removed: VecDeque::new(),
            is_seeded: false,
        }
    }

    /// One round: replicas to write from those there are and what the metrics recommend; `None` recommends to hold.
    pub fn settle(&mut self, now_seconds: f64, replicas: u32, recommended: Option<u32>) -> u32 {
        if !self.is_seeded {
            self.recommendations.push_back((now_seconds, replicas));
            self.is_seeded = true;
        }
        if replicas == 0 && self.least != 0 {
            return 0;
        }
        if replicas > self.most || replicas < self.least {
            return replicas.clamp(self.least, self.most);
        }
        let Some(recommended) = recommended else { return replicas };
        match self.behavior.take() {
            None => self.settle_plainly(now_seconds, replicas, recommended),
            Some(behavior) => {
                let settled = self.settle_by(&behavior, now_seconds, replicas, recommended);
                self.behavior = Some(behavior);
                settled
            }
        }
    }

    fn settle_plainly(&mut self, now: f64, replicas: u32, recommended: u32) -> u32 {
        let stable = self.highest_since(now - DOWN_STABILIZATION_SECONDS).max(recommended);
        self.remember(now, recommended, DOWN_STABILIZATION_SECONDS);
        let limit = replicas.saturating_mul(2).max(4);
        stable.max(self.least).min(self.most.min(limit))
    }

    fn settle_by(&mut self, behavior: &Behavior, now: f64, replicas: u32, recommended: u32) -> u32 {
        let (up, down) = (&behavior.up, &behavior.down);
        let high = self.lowest_since(now - up.window_seconds).min(recommended);
        let low = self.highest_since(now - down.window_seconds).max(recommended);
        let stable = replicas.max(high).min(low);
        self.remember(now, recommended, up.window_seconds.max(down.window_seconds));
        let limited = if stable > replicas {
            stable.min(self.limit_up(up, now, replicas).min(self.most))
        } else {
            stable.max(self.limit_down(down, now, replicas).max(self.least))
        };
        let settled = limited.clamp(self.least, self.most);
        self.count_change(behavior, now, replicas, settled);
        settled
    }

    fn limit_up(&self, up: &Direction, now: f64, replicas: u32) -> u32 {
        let allowed = up.limits.iter().map(|(step, period)| {
            let start = self.at_start(now - period, replicas);
            match step {
                Step::Pods(pods) => start.saturating_add(*pods),
                Step::Percent(percent) => rounded_up(f64::from(start) * (1.0 + f64::from(*percent) / 100.0)),
            }
        });
        let limit = match up.select {
            Select::Max => allowed.max(),
            Select::Min => allowed.min(),
            Select::Disabled => None,
        };
        limit.unwrap_or(replicas).max(replicas)
    }

    fn limit_down(&self, down: &Direction, now: f64, replicas: u32) -> u32 {
        let allowed = down.limits.iter().map(|(step, period)| {
            let start = self.at_start(now - period, replicas);
            match step {
                Step::Pods(pods) => start.saturating_sub(*pods),
                // Truncated, as the controller's conversion to a whole number does.
                Step::Percent(percent) => (f64::from(start) * (1.0 - f64::from(*percent) / 100.0)).max(0.0) as u32,
            }
        });
        // Downwards the limit that allows most is the lowest.
        let limit = match down.select {
            Select::Max => allowed.min(),
            Select::Min => allowed.max(),
            Select::Disabled => None,
        };
        limit.unwrap_or(replicas).min(replicas)
    }

    /// Replicas at the start of a period, from what was written since.
    fn at_start(&self, since: f64, replicas: u32) -> u32 {
        let sum = |events: &VecDeque<(f64, u32)>| -> u32 {
            events.iter().rev().take_while(|(at, _)| *at > since).map(|(_, pods)| *pods).sum()
        };
        replicas.saturating_sub(sum(&self.added)).saturating_add(sum(&self.removed))
    }

    fn count_change(&mut self, behavior: &Behavior, now: f64, from: u32, to: u32) {
        let longest = |d: &Direction| d.limits.iter().map(|(_, period)| *period).fold(0.0, f64::max);
        let (events, keep) = if to > from {
            (&mut self.added, longest(&behavior.up).max(longest(&behavior.down)))
        } else if to < from {
            (&mut self.removed, longest(&behavior.up).max(longest(&behavior.down)))
        } else {
            return;
        };
        events.push_back((now, to.abs_diff(from)));
        while events.front().is_some_and(|(at, _)| *at <= now - keep) {
            events.pop_front();
        }
    }

    fn remember(&mut self, now: f64, recommended: u32, keep_seconds: f64) {
        self.recommendations.push_back((now, recommended));
        while self.recommendations.front().is_some_and(|(at, _)| *at <= now - keep_seconds) {
            self.recommendations.pop_front();
        }
    }

    fn highest_since(&self, since: f64) -> u32 {
        self.since(since).max().unwrap_or(0)
    }

    fn lowest_since(&self, since: f64) -> u32 {
        self.since(since).min().unwrap_or(u32::MAX)
    }

    fn since(&self, since: f64) -> impl Iterator<Item = u32> {
        self.recommendations.iter().rev().take_while(move |(at, _)| *at > since).map(|(_, replicas)| *replicas)
    }
}

#[cfg(test)]
mod tests;
