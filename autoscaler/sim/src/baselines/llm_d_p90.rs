//! llm-d's latency law under KEDA (July 2026): replicas by how near the 90 % quantiles are to the objective.
//!
//! `s = max(p90 TTFT / objective, p90 inter-token latency / objective)`, at most 2, smoothed (0.6 of the newest);
//! above 0.55, with credit for starting replicas `c = ready / N`, up to `N + ceil(N (s c / 0.55 - 1))`; below 0.40 down
//! by `floor(N (1 - s / 0.40))`. An HPA follows: up by at most 100 % or 4 pods a minute after 30 s, down by one pod in
//! two minutes after 180 s. A lost scrape reads as idle and drains, as its authors say.

use super::hpa::{Behavior, Direction, Hpa, SYNC_SECONDS, Select, Step};
use super::knob::Knob;
use crate::{Demand, Policy, Signals, Task};

const MOST: f64 = 2.0;
const NEWEST: f64 = 0.6;

pub(super) const KNOBS: &[Knob] = &[
    Knob { name: "up threshold", unit: "", shipped: 0.55, tried: &[0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95] },
    Knob { name: "down threshold", unit: " of up", shipped: 0.4 / 0.55, tried: &[0.5, 0.4 / 0.55, 0.9] },
    Knob { name: "down window", unit: " s", shipped: 180.0, tried: &[180.0, 900.0] },
];

pub(super) fn build(task: &Task, _demand: &Demand, knobs: &[f64]) -> Box<dyn Policy> {
    let behavior = Behavior {
        up: Direction {
            window_seconds: 30.0,
            limits: vec![(Step::Percent(100), 60.0), (Step::Pods(4), 60.0)],
            select: Select::Max,
        },
        down: Direction { window_seconds: knobs[2], limits: vec![(Step::Pods(1), 120.0)], select: Select::Max },
    };
    Box::new(P90 {
        up: knobs[0],
        down: knobs[0] * knobs[1],
        ttft_seconds: task.objective.ttft_seconds,
        inter_token_seconds: task.objective.inter_token_seconds,
        smoothed: None,
        hpa: Hpa::new(task.min_replicas, task.max_replicas, Some(behavior)),
    })
}

struct P90 {
    up: f64,
    down: f64,
    ttft_seconds: f64,
    inter_token_seconds: f64,
    smoothed: Option<f64>,
    hpa: Hpa,
}

impl Policy for P90 {
    fn period_seconds(&self) -> f64 {
        SYNC_SECONDS
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let nearness = (signals.ttft_p90_seconds / self.ttft_seconds)
            .max(signals.inter_token_latency_p90_seconds / self.inter_token_seconds)
            .min(MOST);
        let newest = if signals.is_fresh { nearness } else { 0.0 };
        let s = self.smoothed.map_or(newest, |old| NEWEST * newest + (1.0 - NEWEST) * old);
        self.smoothed = Some(s);
        let replicas = f64::from(signals.replicas);
        let credited = s * f64::from(signals.ready) / replicas.max(1.0);
        let wanted = if credited > self.up {
            replicas + (replicas * (credited / self.up - 1.0)).ceil()
        } else if s < self.down {
            replicas - (replicas * (1.0 - s / self.down)).floor()
        } else {
            replicas
        };
        self.hpa.settle(signals.now_seconds, signals.replicas, Some(wanted as u32))
    }
}
