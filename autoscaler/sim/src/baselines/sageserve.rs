//! SageServe (arXiv 2502.14517), its law LT-UA: an hourly plan, approached by utilisation.
//!
//! Plan: capacity for the largest forecast of the coming hour and 10 % more. The fleet moves up to it when utilisation
//! is above 0.5, down to it when below 0.25, and beyond it by one above 0.9 or when what is seen is five times the
//! forecast. Its forecast is a seasonal ARIMA of the token rate; here the same hour of yesterday at today's level, the
//! last hour before there is one, which such a model comes down to without its noise terms.

use super::knob::Knob;
use super::meter::{Meter, usual_period, whole};
use crate::{Demand, Policy, Signals, Task};

const HOUR_SECONDS: f64 = 3600.0;
const DAY_HOURS: usize = 24;
const EMERGENCY_UTILISATION: f64 = 0.9;
const EMERGENCY_RATIO: f64 = 5.0;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "buffer", unit: "", shipped: 0.1, tried: &[0.0, 0.1, 0.3, 0.6, 1.0, 2.0] },
    Knob { name: "up above", unit: "", shipped: 0.5, tried: &[0.3, 0.5, 0.7] },
    Knob { name: "down below", unit: "", shipped: 0.25, tried: &[0.1, 0.25] },
];

pub(super) fn build(task: &Task, demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(SageServe {
        period_seconds: usual_period(demand),
        buffer: knobs[0],
        up: knobs[1],
        down: knobs[2],
        meter: Meter::new(task),
        peaks: vec![0.0],
        forecast: 0.0,
    })
}

struct SageServe {
    period_seconds: f64,
    buffer: f64,
    up: f64,
    down: f64,
    meter: Meter,
    /// Largest mean load of each hour; the last is not over.
    peaks: Vec<f64>,
    forecast: f64,
}

impl SageServe {
    /// Begins an hour: its forecast is yesterday's, by how the last hour compares with yesterday's.
    fn begin(&mut self, hour: usize) {
        while self.peaks.len() <= hour {
            self.peaks.push(0.0);
        }
        let of = |back: usize| hour.checked_sub(back).map(|hour| self.peaks[hour]);
        let last = of(1).unwrap_or(0.0);
        self.forecast = match (of(DAY_HOURS), of(DAY_HOURS + 1)) {
            (Some(then), Some(before)) if before > 0.0 => then * (last / before).clamp(0.5, 2.0),
            _ => last,
        };
    }
}

impl Policy for SageServe {
    fn period_seconds(&self) -> f64 {
        self.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if !signals.is_fresh {
            return signals.replicas;
        }
        let load = self.meter.read(signals).mean;
        let hour = (signals.now_seconds / HOUR_SECONDS) as usize;
        if hour >= self.peaks.len() {
            self.begin(hour);
        }
        self.peaks[hour] = self.peaks[hour].max(load);
        let plan = whole(self.forecast * (1.0 + self.buffer)).max(1);
        let utilisation = load / f64::from(signals.replicas.max(1));
        if utilisation > EMERGENCY_UTILISATION || load > EMERGENCY_RATIO * self.forecast.max(1.0) {
            (signals.replicas + 1).max(plan)
        } else if utilisation > self.up {
            signals.replicas.max(plan)
        } else if utilisation < self.down {
            signals.replicas.min(plan)
        } else {
            signals.replicas
        }
    }
}
