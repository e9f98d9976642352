use std::num::NonZeroUsize;

use autoscaler_sim::{EngineProfile, StartupLaw};
use engine_model::{Objective, preset};

use super::*;
use crate::output;
use crate::policies;
use crate::trace::Lengths;

/// Days that are alike: a base load with a spike of an hour every noon.
pub(crate) fn spikes(days: u32) -> Trace {
    let rates = (0..days * 288).map(|step| {
        let hour = f64::from(step % 288) / 12.0;
        (f64::from(step) * 300.0, if (12.0..13.0).contains(&hour) { 6.0 } else { 1.0 })
    });
    Trace::from_rates("spikes", &[rates.collect()], &Lengths::fixed(2000, 1000)).unwrap()
}

fn trace() -> Trace {
    spikes(5)
}

/// A day of training and two seeds, on the engine and objective that documentation uses.
pub(crate) fn experiment() -> Experiment {
    let preset = preset("qwen3-32b-h100-tp2").unwrap();
    let objective = Objective { ttft_seconds: 3.0, inter_token_seconds: 0.1 };
    let engine = EngineProfile { step: preset.step, limits: preset.limits, objective, cached_share: 0.0 };
    Experiment {
        mean_replicas: Some(1.5),
        train_seconds: 86_400.0,
        seeds: vec![1, 2],
        event_days: EventDays::Two,
        threads: NonZeroUsize::new(2).unwrap(),
        ..Experiment::new(engine, StartupLaw::fixed(240.0), 0.99)
    }
}

fn ran(experiment: &Experiment, names: &[&str]) -> Results {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    run(experiment, &trace(), &policies::chosen(&names, &[]).unwrap(), &Progress::hidden()).unwrap()
}

#[test]
fn rows_come_in_order_and_the_same_every_time() {
    let queues = vec![Discipline::Fifo, Discipline::Deadline];
    let experiment = Experiment { queues, ..experiment() };
    let results = ran(&experiment, &["reactive", "static-peak"]);
    let order: Vec<(&str, Discipline, u64)> =
        results.rows.iter().map(|r| (r.outcome.policy.as_str(), r.outcome.queue, r.outcome.seed)).collect();
    let of =
        |queue| [("reactive", queue, 1), ("reactive", queue, 2), ("static-peak", queue, 1), ("static-peak", queue, 2)];
    assert_eq!(order, [of(Discipline::Fifo), of(Discipline::Deadline)].concat());
    let again = ran(&experiment, &["reactive", "static-peak"]);
    assert_eq!(output::json_lines(&results).unwrap(), output::json_lines(&again).unwrap());
    assert!(!results.is_recurring && results.day_autocorrelation.unwrap() > 0.9);
}

#[test]
fn lines_have_exactly_the_fields_that_scripts_rely_on() {
    let lines = output::json_lines(&ran(&experiment(), &["static-peak"])).unwrap();
    let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let names: Vec<&String> = line.as_object().unwrap().keys().collect();
    let contract = "policy tuned trace level queue seed startup_seconds requests attainment attainment_worst_hour \
                    overflow engine_seconds opt_engine_seconds times_opt mean_replicas ttft_seconds starts \
                    starts_wasted reversals_per_day forecast_coverage";
    assert_eq!(names, contract.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn hindsight_is_the_cheapest_setting_that_keeps_the_target() {
    let hindsight = ran(&Experiment { tuning: Tuning::Hindsight, ..experiment() }, &["reactive"]);
    let row = &hindsight.rows[0];
    assert_eq!(row.outcome.tuned, "hindsight");
    let (place, is_on_target) = cheapest(&row.frontier, 0.01).unwrap();
    assert!(is_on_target && row.is_on_target);
    let summary = &output::summaries(&hindsight)[0];
    assert!(
        (summary.times_opt / row.frontier[place].cost - 1.0).abs() < 0.01,
        "{} {:?}",
        summary.times_opt,
        row.frontier[place]
    );
    assert!(summary.overflow <= 0.011, "{}", summary.overflow);
    let matched = row.matched_times_opt.unwrap();
    assert!(matched <= row.frontier[place].cost + 1e-9 && matched > 0.5, "{matched}");
}

#[test]
fn tuned_scores_the_second_half_only() {
    let whole = ran(&experiment(), &["reactive"]);
    let tuned = ran(&Experiment { tuning: Tuning::Tuned, ..experiment() }, &["reactive"]);
    let (whole, tuned) = (&whole.rows[0].outcome, &tuned.rows[0].outcome);
    assert_eq!(tuned.tuned, "tuned");
    assert!((tuned.requests / whole.requests - 0.5).abs() < 0.03, "{} of {}", tuned.requests, whole.requests);
}

#[test]
fn a_short_trace_is_scored_from_its_begin_and_says_so() {
    let rates = (0..48).map(|step| (f64::from(step) * 600.0, 2.0)).collect();
    let short = Trace::from_rates("short", &[rates], &Lengths::fixed(2000, 1000)).unwrap();
    let policies = policies::chosen(&["static-peak".to_owned()], &[]).unwrap();
    let results = run(&experiment(), &short, &policies, &Progress::hidden()).unwrap();
    assert!(results.train_seconds.abs() < 1e-9);
    assert!(results.notes[0].contains("shorter than four days"), "{:?}", results.notes);
}

#[test]
fn ours_is_scored_on_the_second_half_of_an_hour_too() {
    let rates = (0..6).map(|step| (f64::from(step) * 600.0, 2.0)).collect();
    let hour = Trace::from_rates("hour", &[rates], &Lengths::fixed(2000, 1000)).unwrap();
    let policies = policies::chosen(&["predictive".to_owned()], policies::OURS).unwrap();
    let tuned = Experiment { tuning: Tuning::Tuned, ..experiment() };
    let results = run(&tuned, &hour, &policies, &Progress::hidden()).unwrap();
    let outcome = &results.rows[0].outcome;
    assert!(outcome.requests > 0.0 && outcome.times_opt > 0.5, "{outcome:?}");
}

#[test]
fn what_cannot_be_is_refused_with_the_flag_to_change() {
    let refused = |experiment: Experiment| {
        let policies = policies::chosen(&["static-peak".to_owned()], &[]).unwrap();
        run(&experiment, &trace(), &policies, &Progress::hidden()).unwrap_err().to_string()
    };
    let message = refused(Experiment { train_seconds: 5.0 * 86_400.0, ..experiment() });
    assert!(message.contains("--train leaves nothing of the trace's 120.0 h to score"), "{message}");
    let mut hasty = experiment();
    hasty.engine.objective.ttft_seconds = 1e-3;
    assert!(refused(hasty).contains("allow a longer --ttft"));
}

#[test]
fn every_request_of_a_window_is_scored_at_level_events() {
    let window = Some(Stretch { from_seconds: 86_400.0 + 11.0 * 3600.0, to_seconds: 86_400.0 + 14.0 * 3600.0 });
    let experiment = Experiment { levels: vec![Level::Events], seeds: vec![1], window, ..experiment() };
    let results = ran(&experiment, &["static-peak", "reactive", "oracle-l"]);
    let [peak, reactive, oracle] = results.rows.as_slice() else { panic!("{:?}", results.rows.len()) };
    assert!(peak.outcome.attainment > 0.99, "{}", peak.outcome.attainment);
    assert!(reactive.outcome.attainment < peak.outcome.attainment);
    assert!(oracle.outcome.attainment > reactive.outcome.attainment);
    assert!(oracle.outcome.times_opt < peak.outcome.times_opt);
    // 1.5 replicas in the mean over the day; the window has the noon's spike.
    let source = trace().at(results.factor).unwrap();
    let mut arrivals = 0.0;
    use autoscaler_sim::RequestSource as _;
    let window = experiment.window.unwrap();
    source.visit(window.from_seconds, window.to_seconds, 1, &mut |_| arrivals += 1.0);
    assert!((reactive.outcome.requests - arrivals).abs() < 0.5);
}

#[test]
fn all_outputs_name_every_policy() {
    let results = ran(&Experiment { keeps_steps: true, ..experiment() }, &["reactive", "static-peak", "opt"]);
    for text in [
        output::table(&results),
        output::markdown(&results),
        output::html(&results, &[]).unwrap(),
        output::json_lines(&results).unwrap(),
    ] {
        assert!(["reactive", "static-peak", "opt"].iter().all(|name| text.contains(name)), "{text}");
    }
    let page = output::html(&results, &[]).unwrap();
    assert!(!page.contains("http://") || page.matches("http://").count() == page.matches("http://www.w3.org").count());
    assert!(!page.contains("src=") && !page.contains("{{"));
}
