//! What a monitoring system would show of the fluid.

use engine_model::ttft_seconds;

use super::fleet::Fleet;
use super::mix::Mix;
use super::queue::Served;
use crate::{Demand, Discipline, Replica, Signals, Task};

/// Points at which the state of an engine is computed between idle and full.
const POINTS: usize = 128;

/// An engine at a share of its capacity.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct EngineState {
    running: f64,
    inter_token_seconds: f64,
    ttft_seconds: f64,
}

#[derive(Debug)]
pub(super) struct Gauges {
    /// Signals of the last step, complete but for the fleet.
    last: Signals<'static>,
    /// The fleet as it was when scrapes began to be lost.
    lost_fleet: Option<Vec<Replica>>,
    engine: Vec<EngineState>,
    mix: Mix,
    /// Share of the cache that a request holds in the mean.
    kv_share_of_request: f64,
    load: f64,
    ready: f64,
    /// Signals last given to a policy; kept only when scrapes will be lost.
    given: Option<Signals<'static>>,
    loses_scrapes: bool,
    discipline: Discipline,
}

impl Gauges {
    pub(super) fn new(task: &Task, demand: &Demand, discipline: Discipline, loses_scrapes: bool) -> Self {
        let engine = engine_states(task);
        let idle = engine.first().copied().unwrap_or_default();
        let last = Signals {
            now_seconds: 0.0,
            period_seconds: 0.0,
            replicas: 0,
            fleet: &[],
            ready: 0,
            arrived_total: 0.0,
            arrived_prompt_tokens_total: 0.0,
            late_total: 0.0,
            finished_total: 0.0,
            output_tokens_total: 0.0,
            running: 0.0,
            waiting: 0.0,
            waiting_prompt_tokens: 0.0,
            kv_cache_usage: 0.0,
            ttft_p90_seconds: idle.ttft_seconds,
            ttft_mean_seconds: idle.ttft_seconds,
            inter_token_latency_p90_seconds: idle.inter_token_seconds,
            inter_token_latency_mean_seconds: idle.inter_token_seconds,
            is_fresh: true,
        };
        Self {
            given: loses_scrapes.then(|| last.clone()),
            loses_scrapes,
            discipline,
            last,
            lost_fleet: None,
            engine,
            mix: Mix::new(demand),
            kv_share_of_request: task.workload.mean_context_tokens() / (task.limits.kv_tokens as f64).max(1.0),
            load: 0.0,
            ready: 0.0,
        }
    }

    /// Takes one step in.
    pub(super) fn advance(&mut self, demand: &Demand, step: usize, ready: f64, served: &Served) {
        self.mix.advance(demand, step);
        let requests_per_work = self.mix.requests_per_work();
        let last = &mut self.last;
        last.arrived_total += demand.arrivals[step];
        last.arrived_prompt_tokens_total += demand.prompt_tokens[step];
        last.late_total += match self.discipline {
            Discipline::Deadline => served.overflow * requests_per_work,
            Discipline::Fifo => served.missed,
        };
        let finished = served.work * requests_per_work;
        last.finished_total += finished;
        last.output_tokens_total += finished * self.mix.output_tokens();
        last.waiting = served.backlog * requests_per_work;
        self.ready = ready;
        self.load = if ready > 0.0 { (served.work / (ready * demand.step_seconds)).min(1.0) } else { 0.0 };
        let late = served.late_share;
        last.ttft_mean_seconds = (1.0 - late) * served.wait_seconds + late * served.late_wait_seconds;
        // A tenth of the requests and more late: the 90 % quantile is one of theirs.
        last.ttft_p90_seconds = if late >= 0.1 { served.late_wait_seconds } else { served.wait_seconds };
    }

    /// What a policy is shown now.
    pub(super) fn read<'a>(
        &'a mut self,
        now_seconds: f64,
        period_seconds: f64,
        fleet: &'a Fleet,
        is_fresh: bool,
    ) -> Signals<'a> {
        let replicas = fleet.len();
        if let Some(given) = self.given.as_ref().filter(|_| !is_fresh) {
            let fleet: &'a [Replica] = self.lost_fleet.get_or_insert_with(|| fleet.replicas().to_vec());
            return Signals { now_seconds, period_seconds, replicas, fleet, is_fresh, ..given.clone() };
        }
        self.lost_fleet = None;
        let engine = self.engine_at(self.load);
        let running = engine.running * self.ready * self.mix.crowd();
        let signals = Signals {
            now_seconds,
            period_seconds,
            replicas,
            fleet: &[],
            ready: fleet.ready(),
            running,
            waiting_prompt_tokens: self.last.waiting * self.mix.prompt_tokens(),
            kv_cache_usage: (engine.running * self.kv_share_of_request).min(1.0),
            ttft_p90_seconds: self.last.ttft_p90_seconds + engine.ttft_seconds,
            ttft_mean_seconds: self.last.ttft_mean_seconds + engine.ttft_seconds,
            inter_token_latency_p90_seconds: engine.inter_token_seconds,
            inter_token_latency_mean_seconds: engine.inter_token_seconds,
            ..self.last.clone()
        };
        if self.loses_scrapes {
            self.given = Some(signals.clone());
        }
        Signals { fleet: fleet.replicas(), ..signals }
    }

    fn engine_at(&self, load: f64) -> EngineState {
        let at = load * POINTS as f64;
        let index = (at as usize).min(POINTS - 1);
        let (a, b, part) = (self.engine[index], self.engine[index + 1], at - index as f64);
        let between = |a: f64, b: f64| a + part * (b - a);
        EngineState {
            running: between(a.running, b.running),
            inter_token_seconds: between(a.inter_token_seconds, b.inter_token_seconds),
            ttft_seconds: between(a.ttft_seconds, b.ttft_seconds),
        }
    }
}

/// Engines from idle to full.
fn engine_states(task: &Task) -> Vec<EngineState> {
    let (step, workload, limits) = (&task.step, &task.workload, &task.limits);
    let state = |point: usize| {
        let running = task.in_service_at(point as f64 / POINTS as f64);
        let busy = running.max(1.0);
        EngineState {
            running,
            inter_token_seconds: step.steady_step_seconds(busy, workload),
            ttft_seconds: ttft_seconds(step, busy, workload, limits),
        }
    };
    (0..=POINTS).map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::task;

    #[test]
    fn a_full_engine_runs_its_capacity_and_half_the_work_is_less_than_half_of_that() {
        let task = task();
        let engine = engine_states(&task);
        let full = f64::from(task.capacity.concurrency);
        assert!((engine[POINTS].running - full).abs() < 1e-6);
        assert!((engine[POINTS].inter_token_seconds - task.capacity.inter_token_seconds).abs() < 1e-9);
        assert!(engine[0].running < 1e-9);
        let half = engine[POINTS / 2];
        assert!(half.running < 0.5 * full && half.running > 0.1 * full, "{half:?} of {full}");
        assert!(engine.windows(2).all(|pair| pair[0].running < pair[1].running));
    }
}
