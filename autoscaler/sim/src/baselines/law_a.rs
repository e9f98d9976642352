//! Recurring-peak floor ("law A"): reactive, above a floor from the same time of the last seven days.
//!
//! `max(reactive, ceil(floor · q75 over 7 days of the largest demand in [t - 60 s, t + L + 60 s]))`. From our survey of
//! what foresight is worth on recurring load; ships nowhere.

use super::knob::Knob;
use super::meter::{Meter, usual_period, whole};
use crate::window::SlidingMax;
use crate::{Demand, Policy, Signals, Task};

const DAY_SECONDS: f64 = 86_400.0;
const DAYS: usize = 7;
const QUANTILE: f64 = 0.75;
/// The profile is widened by this at both ends: peaks do not come to the second.
const MARGIN_SECONDS: f64 = 60.0;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "headroom", unit: "", shipped: 1.2, tried: &[1.0, 1.3, 2.0, 4.0] },
    Knob { name: "hold", unit: " s", shipped: 300.0, tried: &[0.0, 600.0, 3600.0] },
    Knob { name: "floor", unit: "", shipped: 1.0, tried: &[0.8, 1.0, 1.3, 1.8] },
];

pub(super) fn build(task: &Task, demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(LawA::new(task, demand, knobs[0], knobs[1], knobs[2]))
}

pub(super) struct LawA {
    period_seconds: f64,
    headroom: f64,
    floor: f64,
    meter: Meter,
    hold: SlidingMax,
    window: SlidingMax,
    window_steps: usize,
    margin_steps: usize,
    day_steps: usize,
    /// Largest demand of the window that ends at each step.
    largest: Vec<f64>,
}

impl LawA {
    pub(super) fn new(task: &Task, demand: &Demand, headroom: f64, hold_seconds: f64, floor: f64) -> Self {
        let period_seconds = usual_period(demand);
        let window_seconds = task.startup_seconds + 2.0 * MARGIN_SECONDS;
        let steps = |seconds: f64| (seconds / period_seconds).round() as usize;
        Self {
            period_seconds,
            headroom,
            floor,
            meter: Meter::new(task),
            hold: SlidingMax::new(hold_seconds),
            window: SlidingMax::new(window_seconds),
            window_steps: steps(window_seconds),
            margin_steps: steps(MARGIN_SECONDS),
            day_steps: steps(DAY_SECONDS),
            largest: Vec::new(),
        }
    }

    fn profile(&self) -> f64 {
        let now = self.largest.len();
        let mut peaks = [0.0; DAYS];
        let mut count = 0;
        for day in 1..=DAYS {
            // The window of that day begins a margin before this time of day; it is filed under its last step.
            let last = (now + self.window_steps).checked_sub(day * self.day_steps + self.margin_steps + 1);
            if let Some(peak) = last.filter(|last| *last >= self.window_steps).and_then(|last| self.largest.get(last)) {
                peaks[count] = *peak;
                count += 1;
            }
        }
        quantile(&mut peaks[..count], QUANTILE)
    }
}

impl Policy for LawA {
    fn period_seconds(&self) -> f64 {
        self.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh {
            // The profile has one entry a step; a counter that stands still must not be read.
            self.largest.push(self.largest.last().copied().unwrap_or(0.0));
            return signals.replicas;
        }
        let load = self.meter.read(signals);
        self.largest.push(self.window.push(signals.now_seconds, load.now));
        let reactive = self.hold.push(signals.now_seconds, f64::from(whole(self.headroom * load.mean))) as u32;
        reactive.max(whole(self.floor * self.profile()))
    }
}

/// Quantile by linear interpolation; 0 of nothing.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = share * values.len().saturating_sub(1) as f64;
    let below = values.get(at as usize).copied().unwrap_or(0.0);
    let above = values.get(at as usize + 1).copied().unwrap_or(below);
    below + (above - below) * at.fract()
}
