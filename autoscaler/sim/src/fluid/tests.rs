use proptest::prelude::*;

use super::*;
use crate::policy::tests::task;
use crate::{Replica, Signals};

/// Answers by a function of the signals.
struct Told<F>(F);

impl<F: FnMut(&Signals<'_>) -> u32> Policy for Told<F> {
    fn period_seconds(&self) -> f64 {
        10.0
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        self.0(signals)
    }
}

fn demand_of(replicas: &[f64]) -> Demand {
    let task = task();
    let arrivals: Vec<f64> = replicas.iter().map(|r| r * task.capacity.requests_per_second * 10.0).collect();
    let tokens = |per_request: f64| arrivals.iter().map(|n| n * per_request).collect();
    Demand {
        step_seconds: 10.0,
        replicas: replicas.to_vec(),
        prompt_tokens: tokens(task.workload.prompt_tokens),
        output_tokens: tokens(task.workload.output_tokens),
        service_seconds: tokens(task.service_seconds),
        arrivals,
    }
}

fn settings(discipline: Discipline) -> FluidSettings {
    FluidSettings { keep_steps: true, ..FluidSettings::new(60.0, discipline) }
}

fn wave(steps: usize) -> Vec<f64> {
    (0..steps).map(|t| 5.0 + 3.0 * (t as f64 / 60.0).sin()).collect()
}

#[test]
fn a_fleet_at_the_peak_misses_nothing_and_is_billed_every_second() {
    let (demand, task) = (demand_of(&wave(2000)), task());
    for discipline in [Discipline::Fifo, Discipline::Deadline] {
        let mut settings = settings(discipline);
        settings.first_replicas = Some(8);
        let scenario = Scenario::new(&demand, &task, settings).unwrap();
        let run = scenario.run(&mut Told(|_: &Signals<'_>| 8));
        let outcome = scenario.outcome(&run, "static-peak", "defaults", "wave");
        assert_eq!((outcome.overflow, outcome.attainment, outcome.attainment_worst_hour), (0.0, 1.0, 1.0));
        assert_eq!((outcome.engine_seconds, outcome.mean_replicas), (8.0 * 20_000.0, 8.0));
        assert_eq!((outcome.starts, outcome.reversals_per_day), (0, 0.0));
        assert!(outcome.times_opt > 1.0);
        assert!((outcome.requests - demand.arrivals.iter().sum::<f64>()).abs() < 1e-6);
        assert_eq!(outcome.ttft_seconds.p99, task.capacity.ttft_seconds);
    }
}

#[test]
fn the_schedule_of_the_optimum_misses_nothing_at_the_cost_of_the_optimum() {
    let (demand, task) = (demand_of(&wave(2000)), task());
    let scenario = Scenario::new(&demand, &task, settings(Discipline::Fifo)).unwrap();
    let schedule = scenario.optimum().to_vec();
    let mut settings = settings(Discipline::Fifo);
    settings.first_replicas = Some(schedule[0]);
    let scenario = Scenario::new(&demand, &task, settings).unwrap();
    let run = scenario.run(&mut Told(|s: &Signals<'_>| schedule[(s.now_seconds / 10.0).round() as usize]));
    assert_eq!((run.total().overflow(), run.total().attainment()), (0.0, 1.0));
    assert!((run.total().times_opt() - 1.0).abs() < 1e-12);
    assert!(run.total().starts > 10);
}

#[test]
fn a_failed_start_is_billed_as_long_as_it_takes() {
    let (demand, task) = (demand_of(&[1.0; 100]), task());
    let mut settings = settings(Discipline::Fifo);
    settings.first_replicas = Some(1);
    settings.faults.failing_starts = vec![(Stretch { from_seconds: 0.0, to_seconds: 50.0 }, 1.0)];
    let scenario = Scenario::new(&demand, &task, settings).unwrap();
    let run = scenario.run(&mut Told(|_: &Signals<'_>| 2));
    assert_eq!(run.total().failed_starts, 1);
    // Ordered at 10, failed at 70, Ready at 130.
    assert_eq!(run.total().engine_seconds, 10.0 + 2.0 * 990.0);
    assert_eq!(run.steps.ready[12..14], [1.0, 2.0]);
}

#[test]
fn lost_scrapes_freeze_what_is_shown_and_say_so() {
    let (demand, task) = (demand_of(&wave(60)), task());
    let mut settings = settings(Discipline::Fifo);
    settings.first_replicas = Some(3);
    settings.faults.scrape_losses = vec![Stretch { from_seconds: 100.0, to_seconds: 200.0 }];
    let scenario = Scenario::new(&demand, &task, settings).unwrap();
    let mut seen: Vec<(f64, bool, f64, u32, Vec<Replica>)> = Vec::new();
    scenario.run(&mut Told(|s: &Signals<'_>| {
        seen.push((s.now_seconds, s.is_fresh, s.arrived_total, s.replicas, s.fleet.to_vec()));
        if s.now_seconds < 150.0 { 3 } else { 4 }
    }));
    let at = |seconds: f64| seen.iter().find(|seen| seen.0 == seconds).unwrap();
    assert!(at(90.0).1 && !at(100.0).1 && !at(190.0).1 && at(200.0).1);
    assert_eq!(at(90.0).2, at(190.0).2);
    assert_eq!(at(100.0).4, at(190.0).4);
    assert_eq!((at(150.0).3, at(160.0).3), (3, 4), "the number ordered is known from Kubernetes");
    assert!(at(200.0).2 > at(190.0).2);
}

#[test]
fn what_is_shown_adds_up() {
    let (demand, task) = (demand_of(&wave(500)), task());
    let mut settings = settings(Discipline::Fifo);
    settings.first_replicas = Some(6);
    settings.queue_deadline_seconds = f64::INFINITY;
    let scenario = Scenario::new(&demand, &task, settings).unwrap();
    let mut most_running = 0.0f64;
    let mut ends_waiting = 0.0;
    scenario.run(&mut Told(|s: &Signals<'_>| {
        // Whatever arrived has ended, waits, or is in service, which the fluid does in no time.
        assert!((s.arrived_total - s.finished_total - s.waiting).abs() < 1e-6 * s.arrived_total.max(1.0));
        assert!(s.ready <= s.replicas && s.fleet.len() == s.replicas as usize);
        assert!((0.0..=1.0).contains(&s.kv_cache_usage));
        assert!(s.ttft_p90_seconds >= s.ttft_mean_seconds - 1e-9);
        most_running = most_running.max(s.running);
        ends_waiting = s.waiting;
        6
    }));
    let full = 6.0 * f64::from(task.capacity.concurrency);
    assert!((most_running - full).abs() < 1e-6, "{most_running} of {full}");
    assert!(ends_waiting < 1e-6 || ends_waiting.is_finite());
}

#[test]
fn only_the_scored_time_is_billed() {
    let (demand, task) = (demand_of(&wave(2000)), task());
    let whole = Scenario::new(&demand, &task, settings(Discipline::Fifo)).unwrap();
    let later = Scenario::new(&demand, &task, settings(Discipline::Fifo).scored_from(7200.0)).unwrap();
    let play = |scenario: &Scenario<'_>| scenario.run(&mut Told(|_: &Signals<'_>| 6));
    let (whole, later) = (play(&whole), play(&later));
    assert_eq!(later.blocks, whole.blocks[2..]);
    assert_eq!(whole.part(0.0, 1.0), whole.total());
    assert_eq!(whole.part(0.0, 0.5).plus(&whole.part(0.5, 1.0)).requests, whole.total().requests);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let (demand, mut task) = (demand_of(&[1.0]), task());
    let refused = |task: &Task, settings| Scenario::new(&demand, task, settings).unwrap_err().field;
    assert_eq!(refused(&task, FluidSettings::new(-1.0, Discipline::Fifo)), "startup");
    task.min_replicas = 300;
    assert_eq!(refused(&task, settings(Discipline::Fifo)), "min replicas");
}

proptest! {
    #[test]
    fn the_bill_is_the_sum_over_the_replicas_and_misses_are_shares(
        loads in prop::collection::vec(0.0..12.0f64, 50..300),
        wanted in prop::collection::vec(1u32..14, 300),
        cv in prop_oneof![Just(0.0), 0.05..0.6f64],
        failed_share in prop_oneof![Just(0.0), 0.0..0.5f64],
        is_fifo in any::<bool>(),
    ) {
        let (demand, task) = (demand_of(&loads), task());
        let discipline = if is_fifo { Discipline::Fifo } else { Discipline::Deadline };
        let mut settings = settings(discipline);
        settings.startup = StartupLaw { mean_seconds: 60.0, cv, failed_share };
        let scenario = Scenario::new(&demand, &task, settings).unwrap();
        let run = scenario.run(&mut Told(|s: &Signals<'_>| wanted[(s.now_seconds / 10.0) as usize]));
        let billed: f64 = run.steps.replicas.iter().map(|r| f64::from(*r) * 10.0).sum();
        prop_assert!((run.total().engine_seconds - billed).abs() < 1e-6);
        for (step, replicas) in run.steps.replicas.iter().enumerate() {
            // Nothing is decided in the first step.
            prop_assert!(step == 0 || *replicas == wanted[step]);
            prop_assert!(run.steps.ready[step] <= f64::from(*replicas) + 1e-9);
        }
        let total = run.total();
        prop_assert!((0.0..=1.0).contains(&total.overflow()) && (0.0..=1.0).contains(&total.attainment()));
        prop_assert!(total.missed_requests <= total.requests + 1e-6);
        prop_assert!(total.starts_wasted <= total.starts);
    }

    #[test]
    fn letting_the_late_wait_never_makes_more_requests_late(
        loads in prop::collection::vec(0.0..12.0f64, 50..200), replicas in 4u32..9,
    ) {
        let (demand, task) = (demand_of(&loads), task());
        let missed = |discipline| {
            let scenario = Scenario::new(&demand, &task, settings(discipline)).unwrap();
            scenario.run(&mut Told(|_: &Signals<'_>| replicas)).total().missed_requests
        };
        // Both see the same steps; the fluid of one is exact within a step, of the other at its ends.
        prop_assert!(missed(Discipline::Deadline) <= 1.02 * missed(Discipline::Fifo) + 1.0);
    }
}
