//! Schedule and HPA: a floor for every hour of the week, learned from the week before, above it an HPA on the queue.
//!
//! What a careful operator builds from KEDA's cron trigger and a Prometheus trigger. The floor of an hour begins one
//! start-up time early. Until a week has passed yesterday stands in. It ships nowhere; the first setting takes the
//! peak of the hour and the targets of `hpa-queue`.

use super::hpa::{Hpa, SYNC_SECONDS};
use super::hpa_queue::{HpaQueue, behavior};
use super::knob::Knob;
use super::meter::{Meter, whole};
use crate::{Demand, Policy, Signals, Task};

const HOUR_SECONDS: f64 = 3600.0;
const DAY_HOURS: usize = 24;
const WEEK_HOURS: usize = 7 * DAY_HOURS;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "share of last week's peak", unit: "", shipped: 1.0, tried: &[0.4, 0.6, 0.8, 1.0, 1.2, 1.5] },
    Knob { name: "target", unit: " of a replica's rate", shipped: 0.7, tried: &[0.35, 0.5, 0.6, 0.7] },
    Knob { name: "down window", unit: " s", shipped: 300.0, tried: &[300.0, 900.0] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    Box::new(CronHpa {
        share: knobs[0],
        startup_seconds: task.startup_seconds,
        meter: Meter::new(task),
        peaks: Vec::new(),
        queue: HpaQueue::new(task, knobs[1], knobs[2]),
        hpa: Hpa::new(task.min_replicas, task.max_replicas, Some(behavior(knobs[2]))),
    })
}

struct CronHpa {
    share: f64,
    startup_seconds: f64,
    meter: Meter,
    /// Largest mean demand of each hour since the start.
    peaks: Vec<f64>,
    queue: HpaQueue,
    hpa: Hpa,
}

impl CronHpa {
    fn learn(&mut self, now: f64, load: f64) {
        let hour = (now / HOUR_SECONDS) as usize;
        if hour >= self.peaks.len() {
            self.peaks.resize(hour + 1, 0.0);
        }
        self.peaks[hour] = self.peaks[hour].max(load);
    }

    fn floor_of(&self, seconds: f64) -> u32 {
        let hour = (seconds / HOUR_SECONDS) as usize;
        let peak = |back: usize| hour.checked_sub(back).and_then(|hour| self.peaks.get(hour)).copied();
        whole(self.share * peak(WEEK_HOURS).or_else(|| peak(DAY_HOURS)).unwrap_or(0.0))
    }
}

impl Policy for CronHpa {
    fn period_seconds(&self) -> f64 {
        SYNC_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let now = signals.now_seconds;
        if signals.is_fresh {
            let load = self.meter.read(signals);
            self.learn(now, load.mean);
        }
        let floor = self.floor_of(now).max(self.floor_of(now + self.startup_seconds));
        let queue = self.queue.recommended(signals);
        let recommended = super::hpa::combine(&[Some(floor), queue], signals.replicas);
        self.hpa.settle(now, signals.replicas, recommended)
    }
}
