use std::collections::BTreeSet;

use super::*;
use crate::fluid::{FluidSettings, Run, Scenario};
use crate::policy::tests::task;
use crate::{Discipline, Stretch};

const DT: f64 = 10.0;

fn demand_of(replicas: impl Iterator<Item = f64>) -> Demand {
    let task = task();
    let rates: Vec<f64> = replicas.map(|r| r * task.capacity.requests_per_second).collect();
    Demand::from_rates(&rates, DT, &task, None).unwrap()
}

fn play(baseline: &Baseline, setting: usize, demand: &Demand, startup_seconds: f64) -> Run {
    let mut task = task();
    task.startup_seconds = startup_seconds;
    let settings = FluidSettings {
        keep_steps: true,
        first_replicas: Some(4),
        ..FluidSettings::new(startup_seconds, Discipline::Fifo)
    };
    let mut policy = baseline.build(&task, demand, setting).unwrap();
    Scenario::new(demand, &task, settings).unwrap().run(policy.as_mut())
}

/// Four replicas' worth for an hour, then sixteen for two, then a quarter of one for four.
fn step_up_and_down() -> Demand {
    demand_of((0..2520).map(|t| {
        if t < 360 {
            3.0
        } else if t < 1080 {
            16.0
        } else {
            0.25
        }
    }))
}

#[test]
fn names_are_unique_and_none_has_more_than_fifty_settings() {
    let names: BTreeSet<&str> = all().iter().map(|baseline| baseline.name).collect();
    assert_eq!(names.len(), all().len());
    for baseline in all() {
        let settings = baseline.settings();
        assert!((2..=50).contains(&settings.len()), "{}: {}", baseline.name, settings.len());
        assert!(baseline.build(&task(), &step_up_and_down(), settings.len()).is_none());
        assert!(named(baseline.name).is_some());
    }
    assert!(named("none of them").is_none());
}

#[test]
fn each_moves_up_under_overload_and_down_when_idle() {
    let demand = step_up_and_down();
    for baseline in all() {
        // Two are shipped such that they do not scale: that is what is known about them.
        let is_stuck = ["static-peak", "keda-waiting", "aibrix-kpa"].contains(&baseline.name);
        let run = play(baseline, 0, &demand, 60.0);
        // The least of the hour: some overshoot and come back.
        let before = run.steps.replicas[..360].iter().min().unwrap();
        let busy = run.steps.replicas[360..1080].iter().max().unwrap();
        let idle = run.steps.replicas.last().unwrap();
        assert!(is_stuck || busy > before, "{}: {before} before, {busy} under overload", baseline.name);
        // Autopilot looks back over three days.
        assert!(
            is_stuck || baseline.name == "autopilot" || idle < busy,
            "{}: {busy} under overload, {idle} idle",
            baseline.name
        );
    }
}

#[test]
fn none_leaves_its_bounds_at_any_setting() {
    let demand = step_up_and_down();
    let mut task = task();
    (task.min_replicas, task.max_replicas) = (2, 9);
    let settings = FluidSettings { keep_steps: true, ..FluidSettings::new(120.0, Discipline::Fifo) };
    let scenario = Scenario::new(&demand, &task, settings).unwrap();
    for baseline in all() {
        for setting in 0..baseline.setting_count() {
            let run = scenario.run(baseline.build(&task, &demand, setting).unwrap().as_mut());
            let (least, most) = (run.steps.replicas.iter().min().unwrap(), run.steps.replicas.iter().max().unwrap());
            assert!(*least >= 2 && *most <= 9, "{} at {setting}: {least} to {most}", baseline.name);
        }
    }
}

#[test]
fn the_shipped_keda_query_ends_on_its_fallback_and_the_shipped_kpa_on_a_mean_over_its_target() {
    let demand = demand_of((0..1080).map(|_| 6.0));
    let shipped = |name: &str| *play(named(name).unwrap(), 0, &demand, 60.0).steps.replicas.last().unwrap();
    assert_eq!(shipped("keda-waiting"), 2);
    // A full engine uses more than half of the cache: two targets of 50 %, were it one replica or a hundred.
    assert_eq!(shipped("aibrix-kpa"), 2);
    assert!(shipped("hpa-queue") >= 6, "{}", shipped("hpa-queue"));
}

#[test]
fn the_oracle_misses_nothing_and_costs_the_optimum() {
    let demand = step_up_and_down();
    for name in ["oracle-l", "opt"] {
        let run = play(named(name).unwrap(), 0, &demand, 60.0);
        // The first step is not decided: four are there.
        assert_eq!(run.total().overflow(), 0.0, "{name}");
        assert!((run.total().times_opt() - 1.0).abs() < 2e-3, "{name}: {}", run.total().times_opt());
    }
}

#[test]
fn a_lost_scrape_drains_those_that_take_it_for_silence_and_no_others() {
    let demand = demand_of((0..720).map(|_| 6.0));
    let mut task = task();
    task.startup_seconds = 60.0;
    let mut settings = FluidSettings::new(60.0, Discipline::Fifo);
    (settings.keep_steps, settings.first_replicas) = (true, Some(7));
    settings.faults.scrape_losses = vec![Stretch { from_seconds: 3600.0, to_seconds: 5400.0 }];
    let scenario = Scenario::new(&demand, &task, settings).unwrap();
    let drained: Vec<&str> = all()
        .iter()
        .filter(|baseline| !baseline.is_clairvoyant)
        .filter(|baseline| {
            let run = scenario.run(baseline.build(&task, &demand, 0).unwrap().as_mut());
            run.steps.replicas[539] + 1 < run.steps.replicas[359]
        })
        .map(|baseline| baseline.name)
        .collect();
    // KEDA's sum drains without a lost scrape too, whenever nothing waits.
    assert_eq!(drained, ["keda-waiting-sum", "llm-d-p90"]);
}
