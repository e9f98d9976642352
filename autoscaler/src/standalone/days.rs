//! The last seasons side by side: what each day cost, against what foresight would have cost, and what clients felt.
//!
//! Days are counted from the first request that reached the router, since nothing says when a day begins elsewhere.

use std::collections::{BTreeMap, VecDeque};

use autoscaler_sim::optimum;
use jiff::Timestamp;
use serde::Serialize;

use super::quantiles::{Buckets, QuantileWindow};

/// Days that are kept.
const MOST_DAYS: usize = 7;
/// Parts of a day that demand is looked at in, if the control period is not longer.
const PARTS: f64 = 1440.0;
/// Points of a day's curve.
const CURVE_POINTS: usize = 240;

/// One look at a model.
#[derive(Debug, Clone, Copy)]
pub struct DayLook {
    /// When.
    pub at: Timestamp,
    /// Length of a day, in seconds.
    pub season_seconds: f64,
    /// Time between two looks, in seconds.
    pub period_seconds: f64,
    /// Demand in replicas, unqueued.
    pub demand: f64,
    /// Engines that take requests.
    pub ready: u32,
    /// Engines that exist and cost.
    pub engines: u32,
    /// Requests admitted since the router started.
    pub received_total: f64,
    /// Learned start-up time (median), in seconds.
    pub startup_seconds: f64,
    /// Bounds of the number of engines: the optimum keeps within them too.
    pub bounds: (u32, u32),
}

/// The days of one model.
#[derive(Debug, Default)]
pub struct Days {
    began: Option<Timestamp>,
    first_received: Option<f64>,
    last: Option<Timestamp>,
    answered: BTreeMap<String, f64>,
    days: VecDeque<Day>,
    part_seconds: f64,
    startup_seconds: f64,
    bounds: (u32, u32),
}

#[derive(Debug, Default)]
struct Day {
    number: u64,
    seconds: f64,
    engine_seconds: f64,
    demand_seconds: f64,
    missed_seconds: f64,
    requests: f64,
    failed: f64,
    ttft: Buckets,
    parts: Vec<Part>,
}

/// Integrals over a part of a day.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    seconds: f64,
    demand_seconds: f64,
    engine_seconds: f64,
}

/// One day as the page shows it. Times are engine time: wall time × time scale.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DayPicture {
    /// From 1.
    pub number: u64,
    /// Length of a whole day, seconds of wall time.
    pub season_seconds: f64,
    /// How much of it has passed, seconds of wall time.
    pub seconds: f64,
    /// Requests that were answered.
    pub requests: f64,
    /// Those that failed (5xx).
    pub failed: f64,
    /// Quantiles 0.5, 0.95, 0.99 of the time to first token.
    pub ttft_seconds: [Option<f64>; 3],
    /// Seconds of engines, from start to end.
    pub engine_seconds: f64,
    /// The same over what a clairvoyant plan needs that misses nothing.
    pub times_opt: Option<f64>,
    /// Share of the demand above the engines that took requests, 0 to 1.
    pub overflow: Option<f64>,
    /// Demand and engines, in replicas, in even steps of the day.
    pub curve: Vec<[f64; 2]>,
}

impl Days {
    /// Takes one look in; the answers so far by status code, and the histogram of times to first token after it has taken
    /// its own look.
    pub fn take(&mut self, look: DayLook, answered: &BTreeMap<String, f64>, ttft: &QuantileWindow) {
        let before = self.last.replace(look.at);
        let answered_before = std::mem::replace(&mut self.answered, answered.clone());
        let first = *self.first_received.get_or_insert(look.received_total);
        if self.began.is_none() && look.received_total > first {
            // The request came since the last look.
            self.began = before.or(Some(look.at));
            self.part_seconds = (look.season_seconds / PARTS).max(look.period_seconds);
        }
        let (Some(began), Some(before)) = (self.began, before) else { return };
        self.startup_seconds = look.startup_seconds;
        self.bounds = look.bounds;
        let elapsed = look.at.duration_since(before).as_secs_f64().max(0.0);
        let middle = (look.at.duration_since(began).as_secs_f64() - elapsed / 2.0).max(0.0);
        let number = (middle / look.season_seconds) as u64 + 1;
        let part = ((middle % look.season_seconds) / self.part_seconds) as usize;
        if self.days.back().is_none_or(|day| day.number != number) {
            self.days.push_back(Day { number, ..Day::default() });
            if self.days.len() > MOST_DAYS {
                self.days.pop_front();
            }
        }
        let Some(day) = self.days.back_mut() else { return };
        let demand = look.demand;
        let engines = f64::from(look.engines);
        day.seconds += elapsed;
        day.engine_seconds += engines * elapsed;
        day.demand_seconds += demand * elapsed;
        day.missed_seconds += (demand - f64::from(look.ready)).max(0.0) * elapsed;
        for (code, total) in answered {
            let old = answered_before.get(code).copied().unwrap_or(0.0);
            let new = if *total >= old { total - old } else { *total };
            day.requests += new;
            if code.starts_with('5') {
                day.failed += new;
            }
        }
        for (bound, count) in ttft.newest().into_iter().flatten() {
            *day.ttft.entry(*bound).or_default() += count;
        }
        if day.parts.len() <= part {
            day.parts.resize(part + 1, Part::default());
        }
        let part = &mut day.parts[part];
        part.seconds += elapsed;
        part.demand_seconds += demand * elapsed;
        part.engine_seconds += engines * elapsed;
    }

    /// The days as the page shows them, oldest first.
    pub fn pictures(&self, season_seconds: f64, time_scale: f64, ttft: &QuantileWindow) -> Vec<DayPicture> {
        let demand: Vec<Vec<f64>> =
            self.days.iter().map(|day| filled(&day.parts, |part| part.demand_seconds)).collect();
        let (least, most) = self.bounds;
        let mut need = optimum::need(&demand.concat(), 1.0);
        need.iter_mut().for_each(|replicas| *replicas = (*replicas).max(least).min(most.max(least)));
        let startup_parts =
            if self.part_seconds > 0.0 { (self.startup_seconds / self.part_seconds).round() as usize } else { 0 };
        let mut optimum = optimum::schedule(&need, startup_parts).into_iter();
        let mut pictures = Vec::new();
        for (day, demand) in self.days.iter().zip(&demand) {
            let engines = filled(&day.parts, |part| part.engine_seconds);
            let best = optimum.by_ref().take(day.parts.len()).map(f64::from).sum::<f64>();
            let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
            let points = demand.iter().zip(&engines).map(|(demand, engines)| [rounded(*demand), rounded(*engines)]);
            let every = day.parts.len().div_ceil(CURVE_POINTS).max(1);
            pictures.push(DayPicture {
                number: day.number,
                season_seconds,
                seconds: rounded(day.seconds),
                requests: day.requests,
                failed: day.failed,
                ttft_seconds: [0.5, 0.95, 0.99]
                    .map(|q| ttft.quantile_of(&day.ttft, q).map(|seconds| rounded(seconds * time_scale))),
                engine_seconds: rounded(day.engine_seconds * time_scale),
                times_opt: share(engines.iter().sum(), best).map(rounded),
                overflow: share(day.missed_seconds, day.demand_seconds).map(rounded),
                curve: points.step_by(every).collect(),
            });
        }
        pictures
    }
}

/// Means of the parts; one that no look fell into is as the one before.
fn filled(parts: &[Part], sum: impl Fn(&Part) -> f64) -> Vec<f64> {
    let mut last = 0.0;
    let mean = |part: &Part| {
        if part.seconds > 0.0 {
            last = sum(part) / part.seconds;
        }
        last
    };
    parts.iter().map(mean).collect()
}

/// Four digits after the point are finer than any pixel.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays days of 60 s at 4 looks a second: `demand` and `engines` at each second of a day.
    fn played(seconds: u32, demand: impl Fn(u32) -> f64, engines: impl Fn(u32) -> u32) -> Vec<DayPicture> {
        let (mut days, ttft) = (Days::default(), QuantileWindow::default());
        for quarter in 0..=seconds * 4 {
            // A look tells of the quarter of a second that ends with it.
            let second = quarter.saturating_sub(1) / 4;
            let look = DayLook {
                at: Timestamp::from_millisecond(1_000_000_000 + i64::from(quarter) * 250).unwrap(),
                season_seconds: 60.0,
                period_seconds: 0.25,
                demand: demand(second),
                ready: engines(second),
                engines: engines(second),
                received_total: f64::from(quarter),
                startup_seconds: 3.0,
                bounds: (2, 12),
            };
            let answered =
                BTreeMap::from([("200".to_owned(), f64::from(quarter)), ("503".to_owned(), f64::from(quarter / 8))]);
            days.take(look, &answered, &ttft);
        }
        days.pictures(60.0, 20.0, &ttft)
    }

    #[test]
    fn a_fleet_that_is_always_what_it_must_be_costs_once_the_optimum_and_one_twice_as_large_twice() {
        let pictures = played(120, |_| 3.5, |second| if second < 60 { 8 } else { 4 });
        let told: Vec<_> = pictures.iter().map(|day| (day.number, day.times_opt, day.overflow)).collect();
        assert_eq!(told, [(1, Some(2.0), Some(0.0)), (2, Some(1.0), Some(0.0))]);
        assert!((pictures[1].engine_seconds - 4.0 * 60.0 * 20.0).abs() < 1.0, "{}", pictures[1].engine_seconds);
        assert_eq!((pictures[0].requests, pictures[0].failed), (270.0, 30.0));
        assert_eq!(pictures[0].curve.len(), 240);
    }

    #[test]
    fn demand_above_the_engines_is_overflow_and_the_optimum_sees_it_coming() {
        let pictures = played(60, |second| if (30..40).contains(&second) { 6.0 } else { 1.0 }, |_| 2);
        let overflow = pictures[0].overflow.unwrap();
        assert!((overflow - 40.0 / 110.0).abs() < 0.01, "{overflow}");
        // Six for ten seconds and the start before, two else.
        let best = 6.0 * 13.0 + 2.0 * 47.0;
        assert!((pictures[0].times_opt.unwrap() - 120.0 / best).abs() < 0.01, "{:?}", pictures[0].times_opt);
    }

    #[test]
    fn nothing_is_told_before_the_first_request() {
        let mut days = Days::default();
        let look = DayLook {
            at: Timestamp::UNIX_EPOCH,
            season_seconds: 60.0,
            period_seconds: 0.25,
            demand: 0.0,
            ready: 0,
            engines: 2,
            received_total: 7.0,
            startup_seconds: 3.0,
            bounds: (2, 12),
        };
        days.take(look, &BTreeMap::new(), &QuantileWindow::default());
        assert_eq!(days.pictures(60.0, 1.0, &QuantileWindow::default()), []);
    }
}
