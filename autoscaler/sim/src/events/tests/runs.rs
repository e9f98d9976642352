use proptest::prelude::*;

use super::super::{
    EngineKind, EventRun, Friction, Retries, Routing, Scrape, Settings, Stage, Stages, llmd_ramp, simulate,
};
use super::{Schedule, task};
use crate::demand::Demand;
use crate::policy::{Signals, Task};
use crate::score::Discipline;
use crate::startup::{Faults, StartupLaw, Stretch};

fn run(source: &Stages, task: &Task, settings: &Settings, policy: impl FnMut(&Signals<'_>) -> u32) -> EventRun {
    simulate(source, &mut Schedule(policy), task, settings).unwrap()
}

fn scraped(scrape: Scrape) -> Friction {
    Friction { scrape, ..Friction::default() }
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * other.abs().max(1.0)
}

#[test]
fn both_engines_give_the_same_run() {
    let task = task(2000, 200, 4);
    // A little more than two replicas carry.
    let source = Stages::steady(600.0, 2.1 * task.capacity.requests_per_second, 2000, 200);
    let fast = Settings { initial_replicas: 3, ..Settings::new(&task, 0.0, 600.0) };
    let plain = Settings { engine: EngineKind::Stepping { prefix_cache: false }, ..fast.clone() };
    let up_and_down = |signals: &Signals<'_>| if signals.now_seconds < 200.0 { 4 } else { 2 };
    let (fast, plain) = (run(&source, &task, &fast, up_and_down), run(&source, &task, &plain, up_and_down));
    assert!(fast.requests > 5000 && (0.3..0.99).contains(&fast.attainment), "{} of {}", fast.met, fast.requests);
    assert!((fast.attainment - plain.attainment).abs() < 0.002, "{} {}", fast.attainment, plain.attainment);
    assert!((fast.ttft_seconds.p95 / plain.ttft_seconds.p95 - 1.0).abs() < 0.01);
    assert!((fast.inter_token_mean_seconds / plain.inter_token_mean_seconds - 1.0).abs() < 0.001);
    assert!((fast.engine_seconds - plain.engine_seconds).abs() < 1.0);
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    let task = task(1000, 100, 4);
    let source = Stages::steady(300.0, 20.0, 1000, 100);
    let settings = Settings {
        startup: StartupLaw { mean_seconds: 60.0, cv: 0.3, failed_share: 0.1 },
        friction: scraped(Scrape { period_seconds: 15.0, delay_seconds: 2.0, loss_share: 0.2 }),
        ..Settings::new(&task, 0.0, 300.0)
    };
    let of_seed = |seed| {
        let settings = Settings { seed, ..settings.clone() };
        run(&source, &task, &settings, |signals| 1 + (signals.running / 60.0) as u32)
    };
    assert_eq!(of_seed(1), of_seed(1));
    assert_ne!(of_seed(1), of_seed(2));
}

#[test]
fn a_constant_fleet_is_billed_for_all_of_the_time_and_starts_none() {
    let task = task(1000, 100, 3);
    let settings = Settings { initial_replicas: 3, ..Settings::new(&task, 100.0, 700.0) };
    let run = run(&Stages::steady(900.0, 5.0, 1000, 100), &task, &settings, |_| 3);
    assert!(close(run.engine_seconds, 1800.0) && close(run.mean_replicas, 3.0));
    assert_eq!((run.starts, run.starts_wasted, run.errors, run.missed_ttft), (0, 0, 0, 0));
    assert!(close(run.attainment, 1.0) && close(run.attainment_worst_hour, 1.0));
    assert!((run.requests as f64 - 3000.0).abs() < 220.0, "only arrivals of the stretch: {}", run.requests);
}

#[test]
fn training_is_neither_billed_nor_scored() {
    let task = task(1000, 100, 3);
    let settings = Settings { initial_replicas: 1, score_from_seconds: 300.0, ..Settings::new(&task, 0.0, 600.0) };
    let run =
        run(&Stages::steady(600.0, 5.0, 1000, 100), &task, &settings, |s| if s.now_seconds < 50.0 { 1 } else { 2 });
    assert_eq!(run.starts, 0);
    assert!(close(run.engine_seconds, 600.0), "{}", run.engine_seconds);
    assert!((run.requests as f64 - 1500.0).abs() < 160.0);
}

#[test]
fn start_up_is_billed_from_the_order_and_serves_only_when_over() {
    let task = task(1000, 100, 2);
    let settings = Settings { initial_replicas: 1, ..Settings::new(&task, 0.0, 600.0) };
    let source = Stages::steady(600.0, 1.0, 1000, 100);
    let run = run(&source, &task, &settings, |signals| if signals.now_seconds < 100.0 { 1 } else { 2 });
    assert!(close(run.engine_seconds, 600.0 + 500.0));
    let ready: Vec<u32> = run.record.iter().map(|sample| sample.ready).collect();
    assert_eq!((ready[21], ready[23], run.record[11].ordered), (1, 2, 2), "ordered at 100 s, Ready at 220 s");
}

#[test]
fn a_released_replica_finishes_what_it_has_and_is_billed_until_then() {
    let task = task(1000, 400, 2);
    let settings = Settings { initial_replicas: 2, ..Settings::new(&task, 0.0, 300.0) };
    let source = Stages::steady(300.0, 4.0, 1000, 400);
    let run = run(&source, &task, &settings, |signals| if signals.now_seconds < 100.0 { 2 } else { 1 });
    assert!(run.engine_seconds > 401.0 && run.engine_seconds < 420.0, "{}", run.engine_seconds);
    assert_eq!((run.errors, run.met), (0, run.requests));
}

#[test]
fn replicas_that_are_not_ready_are_released_first_and_count_as_wasted() {
    let task = task(1000, 100, 4);
    let settings = Settings { initial_replicas: 1, ..Settings::new(&task, 0.0, 300.0) };
    let source = Stages::steady(300.0, 1.0, 1000, 100);
    let policy = |signals: &Signals<'_>| match signals.now_seconds {
        now if now < 50.0 => 1,
        now if now < 100.0 => 4,
        _ => 1,
    };
    let run = run(&source, &task, &settings, policy);
    assert_eq!((run.starts, run.starts_wasted), (3, 3));
    assert!(close(run.engine_seconds, 300.0 + 3.0 * 50.0));
    assert!(run.record.iter().all(|sample| sample.ready == 1));
    assert!(close(run.reversals_per_day, 86_400.0 / 300.0), "up at 50 s, down at 100 s");
}

#[test]
fn without_a_replica_requests_end_with_an_error_at_the_deadline() {
    let task = task(1000, 100, 2);
    let settings = Settings { initial_replicas: 0, ..Settings::new(&task, 0.0, 100.0) };
    let run = run(&Stages::steady(100.0, 2.0, 1000, 100), &task, &settings, |_| 0);
    assert_eq!((run.errors, run.met), (run.requests, 0));
    assert!(run.requests > 100 && close(run.engine_seconds, 0.0) && close(run.attainment, 0.0));
    assert!(run.record[9].queued <= 30 * 4, "{}", run.record[9].queued);
}

#[test]
fn a_request_that_fits_no_engine_is_an_error_at_once() {
    let mut task = task(1000, 100, 1);
    task.limits.kv_tokens = 1000;
    let run = run(&Stages::steady(100.0, 2.0, 1000, 100), &task, &Settings::new(&task, 0.0, 100.0), |_| 1);
    assert_eq!((run.errors, run.met), (run.requests, 0));
}

#[test]
fn in_overload_the_deadline_discipline_meets_what_the_engines_can_and_fifo_next_to_nothing() {
    let task = task(4000, 1000, 2);
    // A fifth more than two replicas carry.
    let rate = 2.4 * task.capacity.requests_per_second;
    let source = Stages::steady(1800.0, rate, 4000, 1000);
    let settings = Settings { initial_replicas: 2, score_from_seconds: 600.0, ..Settings::new(&task, 0.0, 1800.0) };
    let of = |discipline| run(&source, &task, &Settings { discipline, ..settings.clone() }, |_| 2).attainment;
    let (fifo, deadline) = (of(Discipline::Fifo), of(Discipline::Deadline));
    assert!(fifo < 0.1 && deadline > 0.7, "fifo {fifo}, deadline {deadline}");
}

#[test]
fn without_a_reserve_an_overloaded_router_serves_those_that_are_about_to_miss() {
    let task = task(1155, 211, 4);
    let rate = 1.1 * 4.0 * task.capacity.requests_per_second;
    let source = Stages::steady(900.0, rate, 1155, 211);
    let settings = Settings { initial_replicas: 4, score_from_seconds: 300.0, ..Settings::new(&task, 0.0, 900.0) };
    let of = |ttft_reserve| run(&source, &task, &Settings { ttft_reserve, ..settings.clone() }, |_| 4).attainment;
    let (none, default) = (of(0.0), of(settings.ttft_reserve));
    // What four replicas can carry of it is 1 / 1.1.
    assert!(none < 0.5 && default > 0.88, "none {none}, default {default}");
}

#[test]
fn retries_make_an_overload_worse() {
    let task = task(4000, 1000, 1);
    let rate = 1.5 * task.capacity.requests_per_second;
    let source = Stages::steady(1200.0, rate, 4000, 1000);
    let once = Settings { discipline: Discipline::Fifo, ..Settings::new(&task, 0.0, 1200.0) };
    let retries = Some(Retries { share: 0.8, backoff_seconds: 2.0, most: 3 });
    let again = Settings { friction: Friction { retries, ..Friction::default() }, ..once.clone() };
    let (once, again) = (run(&source, &task, &once, |_| 1), run(&source, &task, &again, |_| 1));
    let arrived = |run: &EventRun| run.record.iter().map(|sample| u64::from(sample.arrived)).sum::<u64>();
    assert_eq!((once.retries, once.requests), (0, again.requests), "retries are not scored");
    assert!(again.retries > 100 && arrived(&again) > arrived(&once) + 100);
    assert!(again.errors > once.errors, "{} {}", again.errors, once.errors);
}

#[test]
fn an_order_in_a_stock_out_waits_unbilled_until_there_is_hardware() {
    let task = task(1000, 100, 3);
    let stock_out = (Stretch { from_seconds: 0.0, to_seconds: 200.0 }, 2);
    let settings = Settings {
        initial_replicas: 1,
        faults: Faults { stock_outs: vec![stock_out], ..Faults::default() },
        ..Settings::new(&task, 0.0, 600.0)
    };
    let run = run(&Stages::steady(600.0, 1.0, 1000, 100), &task, &settings, |_| 3);
    let ready = |seconds: usize| run.record[seconds / 10].ready;
    assert_eq!((ready(110), ready(120), ready(310), ready(320)), (1, 2, 2, 3));
    assert!(close(run.engine_seconds, 600.0 + 600.0 + 400.0));
}

#[test]
fn what_a_policy_is_told_is_as_old_as_the_last_scrape_that_came_through() {
    let task = task(1000, 100, 1);
    let settings = Settings {
        friction: scraped(Scrape { period_seconds: 15.0, delay_seconds: 4.0, loss_share: 0.0 }),
        faults: Faults { scrape_losses: vec![Stretch { from_seconds: 100.0, to_seconds: 200.0 }], ..Faults::default() },
        ..Settings::new(&task, 0.0, 400.0)
    };
    let mut seen = Vec::new();
    run(&Stages::steady(400.0, 10.0, 1000, 100), &task, &settings, |signals| {
        seen.push((signals.now_seconds, signals.arrived_total, signals.is_fresh));
        1
    });
    let at = |seconds: f64| seen[(seconds / 10.0) as usize];
    // Scrapes at 0, 15, 30 … can be queried 4 s later; those of 105 to 195 s are lost.
    assert!((at(90.0).1 / 750.0 - 1.0).abs() < 0.15, "at 90 s what was scraped at 75 s: {}", at(90.0).1);
    assert!(at(100.0).2 && !at(110.0).2 && !at(210.0).2 && at(220.0).2);
    assert_eq!(at(110.0).1.to_bits(), at(210.0).1.to_bits());
    let live = Settings { friction: Friction::default(), ..settings.clone() };
    let mut fresh = Vec::new();
    run(&Stages::steady(400.0, 10.0, 1000, 100), &task, &live, |signals| {
        fresh.push(signals.is_fresh);
        1
    });
    assert_eq!(fresh.iter().filter(|fresh| !**fresh).count(), 10, "live metrics are lost for 100 s and no longer");
}

#[test]
fn signals_agree_with_each_other() {
    let task = task(1000, 100, 2);
    let settings = Settings { initial_replicas: 2, ..Settings::new(&task, 0.0, 600.0) };
    let mut last = (0.0, 0.0, 0.0);
    run(&Stages::steady(600.0, 24.0, 1000, 100), &task, &settings, |signals| {
        let in_system = signals.arrived_total - signals.finished_total;
        // What has come since an engine's step began is in none of its gauges: at 24 requests a second a handful.
        let unseen = in_system - signals.running - signals.waiting;
        assert!((-0.5..15.0).contains(&unseen), "{signals:?}");
        assert!((0.0..=1.0).contains(&signals.kv_cache_usage));
        assert!(signals.ttft_p90_seconds >= 0.0 && signals.inter_token_latency_p90_seconds < 0.2);
        let now = (signals.arrived_total, signals.output_tokens_total, signals.finished_total);
        assert!(now.0 >= last.0 && now.1 >= last.1 && now.2 >= last.2, "counters only grow");
        last = now;
        2
    });
    assert!((last.1 / (last.2 * 100.0) - 1.0).abs() < 0.05, "a hundred tokens a request: {last:?}");
}

#[test]
fn what_waits_in_vain_is_late_and_nothing_that_an_engine_finished() {
    let task = task(1000, 100, 1);
    let source = Stages::steady(600.0, 2.0 * task.capacity.requests_per_second, 1000, 100);
    let (mut finished, mut late, mut tokens) = (0.0, 0.0, 0.0);
    let run = run(&source, &task, &Settings::new(&task, 0.0, 600.0), |signals| {
        (finished, late, tokens) = (signals.finished_total, signals.late_total, signals.output_tokens_total);
        1
    });
    assert!(run.errors > run.requests / 4, "{run:?}");
    assert!((tokens / (finished * 100.0) - 1.0).abs() < 0.05, "a hundred tokens a request: {tokens} of {finished}");
    assert!(late > 0.95 * run.errors as f64, "{late}");
}

#[test]
fn more_replicas_mean_fewer_prefix_hits() {
    let task = task(1000, 50, 16);
    let source = Stages { shared_tokens: 900, groups: 60, ..Stages::steady(120.0, 6.0, 1000, 50) };
    let hits = |replicas: u32| {
        let settings = Settings {
            engine: EngineKind::Stepping { prefix_cache: true },
            initial_replicas: replicas,
            ..Settings::new(&task, 0.0, 120.0)
        };
        run(&source, &task, &settings, |_| replicas).prefix_hit_share
    };
    let (one, eight) = (hits(1), hits(8));
    assert!(one > 0.7 && eight < one - 0.2, "one {one}, eight {eight}");
}

#[test]
fn the_record_reaches_from_the_begin_to_the_end_even_of_a_quiet_run() {
    let task = task(1000, 100, 1);
    for (to_seconds, samples) in [(200.0, 21), (195.0, 20)] {
        let run = run(&Stages::steady(50.0, 1.0, 1000, 100), &task, &Settings::new(&task, 0.0, to_seconds), |_| 1);
        assert_eq!(run.record.len(), samples);
        assert_eq!(run.requests, run.record.iter().map(|sample| u64::from(sample.arrived)).sum::<u64>());
    }
}

#[test]
fn overflow_is_the_share_of_demand_above_the_ready_replicas_while_scored() {
    let task = task(1000, 100, 2);
    let settings = Settings { initial_replicas: 2, score_from_seconds: 300.0, ..Settings::new(&task, 0.0, 900.0) };
    let run = run(&Stages::steady(900.0, 1.0, 1000, 100), &task, &settings, |_| 2);
    let replicas = [vec![9.0; 30], vec![3.0; 30], vec![1.0; 30], vec![9.0; 30]].concat();
    let none = vec![0.0; replicas.len()];
    let demand = Demand {
        step_seconds: 10.0,
        replicas,
        arrivals: none.clone(),
        prompt_tokens: none.clone(),
        output_tokens: none.clone(),
        service_seconds: none,
    };
    assert!(close(run.overflow(&demand), 30.0 / 120.0), "{}", run.overflow(&demand));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let task = task(1000, 100, 1);
    let good = Settings::new(&task, 0.0, 10.0);
    let source = Stages::steady(10.0, 1.0, 1000, 100);
    let refused = |settings: &Settings, task: &Task| {
        simulate(&source, &mut Schedule(|_: &Signals<'_>| 1), task, settings).unwrap_err().to_string()
    };
    let cases = [
        (Settings { to_seconds: -1.0, ..good.clone() }, "to_seconds = -1: must be at least from_seconds"),
        (Settings { engine_concurrency: 0, ..good.clone() }, "engine_concurrency = 0: must be at least 1 request"),
        (
            Settings { friction: scraped(Scrape { loss_share: 2.0, ..Scrape::default() }), ..good.clone() },
            "scrape.loss_share = 2: must be a share from 0 to 1",
        ),
    ];
    for (settings, message) in cases {
        assert_eq!(refused(&settings, &task), message);
    }
    let mut narrow = task.clone();
    narrow.limits.max_batched_tokens = 256;
    assert!(refused(&good, &narrow).starts_with("limits.max_batched_tokens = 256: must be above limits.max_sequences"));
}

#[test]
fn eight_replicas_carry_the_ramp_of_llmd() {
    let task = task(4000, 1000, 8);
    let settings = Settings { initial_replicas: 8, ..Settings::new(&task, 0.0, 2520.0) };
    let run = run(&llmd_ramp(), &task, &settings, |_| 8);
    assert!(run.attainment > 0.995, "{}", run.attainment);
    assert!((1.3..1.5).contains(&task.capacity.requests_per_second), "{}", task.capacity.requests_per_second);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_request_ends_once_whatever_the_policy_does(
        orders in prop::collection::vec(0_u32..6, 1..20),
        rate in 1.0_f64..40.0,
        is_fifo in any::<bool>(),
        is_exact in any::<bool>(),
    ) {
        let task = task(800, 60, 5);
        let stages = vec![Stage { seconds: 100.0, requests_per_second: rate }; 2];
        let source = Stages { stages, ..Stages::steady(0.0, 0.0, 800, 60) };
        let settings = Settings {
            discipline: if is_fifo { Discipline::Fifo } else { Discipline::Deadline },
            routing: if is_exact { Routing::LeastLoad } else { Routing::TwoChoices },
            startup: StartupLaw { mean_seconds: 30.0, cv: 0.5, failed_share: 0.1 },
            engine_concurrency: 20,
            ..Settings::new(&task, 0.0, 200.0)
        };
        let mut turn = 0;
        let run = run(&source, &task, &settings, |_| { turn += 1; orders[turn % orders.len()] });
        let arrived: u64 = run.record.iter().map(|sample| u64::from(sample.arrived)).sum();
        prop_assert_eq!(run.requests, arrived);
        prop_assert_eq!(run.requests, run.met + run.missed_ttft + run.missed_inter_token + run.errors);
        prop_assert!(run.engine_seconds <= 200.0 * 5.0 * 2.0);
        prop_assert!(run.record.iter().all(|sample| sample.ready <= sample.ordered && sample.ordered <= 5));
    }
}
