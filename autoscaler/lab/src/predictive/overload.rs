//! What ours believes of the demand while every engine is full and requests wait in vain.

use autoscaler_sim::events::{self, Lengths, Stages};
use engine_model::{Workload, preset};

use super::*;

const REPLICAS: u32 = 4;

/// Demand as it is believed in at the end of half an hour in which `load` times what the replicas carry arrives.
fn believed(load: f64, queue: Discipline) -> f64 {
    let preset = preset("qwen3-32b-h100-tp2").unwrap();
    let objective = engine_model::Objective { ttft_seconds: 3.0, inter_token_seconds: 0.1 };
    let engine =
        autoscaler_sim::EngineProfile { step: preset.step, limits: preset.limits, objective, cached_share: 0.0 };
    let workload = Workload { prompt_tokens: 1000.0, output_tokens: 300.0, cached_share: 0.0 };
    let task = Task::new(&engine, workload, 0.99, 240.0, REPLICAS..=REPLICAS);
    let setup =
        OwnSetup { task: &task, queue, season_seconds: 86_400.0, tempo: 1.0, step_seconds: 10.0, decisions: None };
    let mut policy = Predictive::new(&setup);
    let rate = load * f64::from(REPLICAS) * task.capacity.requests_per_second;
    let settings = events::Settings { discipline: queue, ..events::Settings::new(&task, 0.0, 1800.0) };
    let source = Stages { lengths: Lengths::Exponential, ..Stages::steady(1800.0, rate, 1000, 300) };
    events::simulate(&source, &mut policy, &task, &settings).unwrap();
    policy.decision.expect("it has decided").demand.replicas
}

#[test]
fn demand_beyond_what_engines_can_serve_is_believed_in_first_come_first_served() {
    for load in [1.5, 2.5] {
        let (found, true_demand) = (believed(load, Discipline::Fifo), load * f64::from(REPLICAS));
        assert!((found / true_demand - 1.0).abs() < 0.1, "{found:.2} of {true_demand}");
    }
}

/// What yields are long prompts, which make it no more: those that are served take less time than the mean request.
#[test]
fn most_of_it_is_believed_in_where_late_requests_yield() {
    for load in [1.5, 2.5] {
        let (found, true_demand) = (believed(load, Discipline::Deadline), load * f64::from(REPLICAS));
        assert!((0.65..1.1).contains(&(found / true_demand)), "{found:.2} of {true_demand}");
    }
}
