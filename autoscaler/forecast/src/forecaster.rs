//! The mixture of experts over the history.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::calibration::{Calibration, Forecast, LEVELS, weighted_quantiles};
use crate::experts::{self, EXPERTS, ExpertKind, Path, Present, STARTS, Start, Windows};
use crate::history::History;
use crate::mixing::{JUDGED, Mixing, Quantiles};
use crate::rhythm::Rhythm;
use crate::usage::Usage;

/// Points of one start-up time at which demand is looked at.
const POINTS: usize = 8;

/// The plan looks ahead over so many start-up times: an order now must pay off before another could replace it.
const STARTUPS_AHEAD: usize = 3;

/// Seasons kept: seven to compare with, and the windows before the oldest.
pub const SEASONS_KEPT: f64 = 7.2;

/// Seasons over which the experts' record fades.
const MEMORY_SEASONS: f64 = 2.0;

/// What is worth keeping over a restart, beside the history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    mixing: Mixing,
    calibration: Calibration,
    /// As of the last look that judged.
    #[serde(default)]
    forecast: Forecast,
}

/// Demand in, expected use of every replica out.
#[derive(Debug, Clone)]
pub struct Forecaster {
    rhythm: Rhythm,
    windows: Windows,
    history: History,
    record: Record,
    starts: Vec<Start>,
    usage: Usage,
    weights: [f64; EXPERTS],
    paths: Vec<Path>,
    maxima: Vec<(f64, f64)>,
    peaks: Peaks,
}

impl Forecaster {
    /// A forecaster whose first step is `next`, counted from any fixed moment.
    #[must_use]
    pub fn new(rhythm: Rhythm, next: u64) -> Self {
        Self {
            rhythm,
            windows: Windows::of(&rhythm),
            history: History::new(next, rhythm.seasons(SEASONS_KEPT)),
            record: Record::default(),
            starts: Vec::new(),
            usage: Usage::default(),
            weights: [0.0; EXPERTS],
            paths: Vec::new(),
            maxima: Vec::new(),
            peaks: Peaks::default(),
        }
    }

    /// The demand so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The experts' record.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Takes the record of an earlier run.
    pub fn restore(&mut self, record: Record) {
        self.record.mixing.restore(&record.mixing);
        self.record.calibration = record.calibration;
        self.record.forecast = record.forecast;
    }

    /// Weight of each expert in the last look, 0 to 1.
    pub fn weights(&self) -> impl Iterator<Item = (ExpertKind, f64)> + '_ {
        ExpertKind::ALL.into_iter().zip(self.weights)
    }

    /// Quantiles of the largest demand within one start-up time, as of the last look that judged.
    #[must_use]
    pub fn forecast(&self) -> &Forecast {
        &self.record.forecast
    }

    /// Demand of the last half minute, in replicas.
    #[must_use]
    pub fn present(&self) -> f64 {
        self.history.mean_before(self.history.next(), self.windows.now)
    }

    /// Expected use of each layer, as of the last look.
    #[must_use]
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// How often each reported quantile covered what came, of how many forecasts.
    #[must_use]
    pub fn coverage(&self) -> (u64, [u64; LEVELS.len()]) {
        (self.record.calibration.judged, self.record.calibration.covered)
    }

    /// Adds the demand of the step that has just ended, in replicas.
    pub fn push(&mut self, demand: f64) {
        let demand = if demand.is_finite() { demand.max(0.0) } else { 0.0 };
        self.peaks.push(demand, self.rhythm.season());
        self.history.push(demand);
    }

    /// Adds the demand of a step of long ago, with all that a look at that time would leave but the record.
    pub fn recall(&mut self, demand: f64, startup_steps: usize) {
        self.push(demand);
        self.refresh_starts(startup_steps.max(1));
    }

    /// Looks ahead from the step that comes next, over a start-up time of so many plan steps.
    pub fn look(&mut self, startup_steps: usize) -> &Usage {
        let startup_steps = startup_steps.max(1);
        let next = self.history.next();
        let every = self.windows.now as u64;
        let judges = next.is_multiple_of(every);
        if judges {
            let memory = self.rhythm.seasons(MEMORY_SEASONS) as f64 / every as f64;
            let history = &self.history;
            self.record.mixing.judge(next, memory, |from, to| history.most_of(from, to));
            self.record.calibration.judge(next, |from, to| history.most_of(from, to));
        }
        self.refresh_starts(startup_steps);
        self.lay_paths(startup_steps, judges);
        &self.usage
    }

    /// Draws some starts of persistence anew now and then, so many that they stay spread over the last season, or over as
    /// much of it as there is. Which ones and where follows from the step alone, so that a restart draws the same.
    fn refresh_starts(&mut self, startup_steps: usize) {
        let next = self.history.next();
        let every = self.rhythm.minutes(10.0) as u64;
        if !next.is_multiple_of(every) {
            return;
        }
        let oldest = next.saturating_sub(self.rhythm.season() as u64).max(self.history.first() + 1);
        let Some(newest) = next.checked_sub(startup_steps as u64 + 1).filter(|newest| *newest > oldest) else { return };
        let draw = |salt: u64| oldest + scatter(next.wrapping_mul(64).wrapping_add(salt)) % (newest - oldest);
        let due = (STARTS as u64 * every).div_ceil(newest - oldest).min(STARTS as u64);
        if self.starts.is_empty() || due == STARTS as u64 {
            self.starts = (0..STARTS as u64).map(|salt| Start::at(draw(salt), &self.history, &self.windows)).collect();
            return;
        }
        for salt in 0..due {
            let which = scatter(next ^ (0x5eed + salt)) as usize % STARTS;
            self.starts[which] = Start::at(draw(salt), &self.history, &self.windows);
        }
    }

    fn lay_paths(&mut self, startup_steps: usize, judges: bool) {
        let Self { history, windows, usage, paths, maxima, .. } = self;
        let season = self.rhythm.season();
        let present = Present::of(history, windows);
        let day_known =
            self.rhythm.compares_days() && history.next() >= history.first() + season as u64 + windows.now as u64;
        let available = ExpertKind::ALL.map(|kind| (day_known || !kind.is_day()) && !history.is_empty());
        self.weights = self.record.mixing.weights(&available);

        let stride = startup_steps.div_ceil(POINTS);
        let points = startup_steps.div_ceil(stride);
        let horizon = points * STARTUPS_AHEAD;
        // Beyond this no path is believed, nor is there a buffer for it.
        let most = 1.5 * self.peaks.most().max(present.now) + 2.0;
        usage.begin(points, STARTUPS_AHEAD, stride, most);
        maxima.clear();
        let mut judged: Quantiles = [None; EXPERTS];
        for kind in ExpertKind::ALL {
            let weight = self.weights[kind as usize];
            // An expert of no weight is heard only where it is judged.
            if !available[kind as usize] || (weight < 0.01 && !judges) {
                continue;
            }
            experts::paths(kind, &present, history, &self.starts, windows, season, paths);
            if paths.is_empty() {
                // No start yet: the present stays.
                paths.push(Path { base: history.next(), ratio: 0.0, gap: present.now, fade: f64::INFINITY });
            }
            let each = weight / paths.len() as f64;
            let first = maxima.len();
            for path in paths.iter() {
                let keep = (-(stride as f64) / path.fade).exp();
                let mut gap = path.gap;
                let mut most = present.now;
                for point in 0..horizon {
                    let demand = (path.ratio * history.at(path.base + (point * stride) as u64) + gap).max(0.0);
                    gap *= keep;
                    if point <= points {
                        most = most.max(demand);
                    }
                    usage.add(point, demand, each);
                }
                maxima.push((most, each));
            }
            if judges {
                let mut own = maxima[first..].to_vec();
                own.iter_mut().for_each(|(_, weight)| *weight = 1.0);
                judged[kind as usize] = Some(weighted_quantiles(&mut own, &JUDGED));
            }
        }
        usage.finish();
        if judges {
            let (from, to) = (history.next(), history.next() + startup_steps as u64 + 1);
            self.record.mixing.remember(from, to, judged);
            let raw = weighted_quantiles(maxima, &LEVELS);
            self.record.forecast = self.record.calibration.forecast(from, to, raw);
        }
    }
}

/// The largest demand of the seasons that are kept, from one maximum for each part of a season.
#[derive(Debug, Clone, Default)]
struct Peaks {
    parts: VecDeque<f64>,
    steps: usize,
}

impl Peaks {
    /// Parts of a season, and parts kept.
    const PARTS: usize = 24;
    const KEPT: usize = 8 * Self::PARTS;

    fn push(&mut self, demand: f64, season: usize) {
        if self.steps == 0 {
            self.parts.push_back(0.0);
            if self.parts.len() > Self::KEPT {
                self.parts.pop_front();
            }
        }
        self.steps = (self.steps + 1) % season.div_ceil(Self::PARTS);
        if let Some(last) = self.parts.back_mut() {
            *last = last.max(demand);
        }
    }

    fn most(&self) -> f64 {
        self.parts.iter().copied().fold(0.0, f64::max)
    }
}

/// Splitmix64: a step's index scattered over all numbers (Steele, Lea and Flood 2014).
fn scatter(index: u64) -> u64 {
    let mut z = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_days_only_the_present_is_continued() {
        let rhythm = Rhythm::new(60.0, 1.0 / 80.0, 0.25).expect("valid");
        let season = rhythm.season() as u64;
        let day_weight = |rhythm: Rhythm| -> f64 {
            let mut forecaster = Forecaster::new(rhythm, 0);
            for step in 0..3 * season {
                forecaster.push(if step % season < 20 { 8.0 } else { 1.0 });
                forecaster.look(12);
            }
            forecaster.weights().filter(|(kind, _)| kind.is_day()).map(|(_, weight)| weight).sum()
        };
        let (with, without) = (day_weight(rhythm), day_weight(rhythm.without_days()));
        assert!(with > 0.5 && without <= 0.0, "{with} {without}");
    }

    #[test]
    fn a_client_that_follows_no_clock_does_not_hide_what_comes_each_day() {
        let rhythm = Rhythm::new(60.0, 1.0 / 80.0, 0.25).expect("valid");
        let season = rhythm.season() as u64;
        let mut forecaster = Forecaster::new(rhythm, 0);
        for step in 0..8 * season {
            let others = if (100..112).contains(&(step % season)) { 6.0 } else { 1.0 };
            // On for some hours or off, at another time each day.
            let client = if scatter(step / 84).is_multiple_of(2) { 9.0 } else { 0.0 };
            forecaster.push(others + client);
            forecaster.look(12);
        }
        let weights: Vec<_> = forecaster.weights().collect();
        let leads = weights.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(kind, _)| *kind);
        assert_eq!(leads, Some(ExpertKind::MovedDay), "{weights:?}");
    }
}
