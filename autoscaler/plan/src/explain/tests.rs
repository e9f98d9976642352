use autoscaler_forecast::Forecast;
use jiff::Timestamp;

use super::*;
use crate::capacity::{Capacity, CapacitySource};
use crate::decide::tests::settings;
use crate::decision::{Demand, Observed, Reason, reasons};
use crate::facts::{EngineFacts, EngineSample, Facts, Milestones, Observation, Phase, RouterFacts};
use crate::startup::Startup;
use crate::{LogError, LogRecord, State, decide};

/// Three Ready replicas and one that starts, on the way up in the morning of the second week.
fn morning() -> Decision {
    let message = "demand of 2.80 replicas will peak at 3.40 (median), 4.70 (95 %) within the 240.0 s of a start";
    Decision {
        replicas: 5,
        wanted: 5,
        because: vec![Reason::new(reasons::FORECAST, 5.0, message.to_owned())],
        demand: Demand { in_service: 90.0, waiting: 0.0, replicas: 2.8, floor_replicas: 2.7, ..Demand::default() },
        plan: Some(Planned {
            replicas: 5,
            price: Some(13.0),
            gain: 1.1,
            hold_seconds: 600.0,
            goal: 0.0123,
            forecast: Forecast { quantiles: [3.4, 4.1, 4.7, 5.6], limit: 5.6 },
        }),
        capacity: Capacity {
            requests: 32.4,
            source: CapacitySource::InterTokenLatency,
            ttft_seconds: 0.4,
            objective_out_of_reach: false,
            service_seconds: Some(9.0),
            present_service_seconds: Some(8.0),
            confidence: 0.91,
            prompt_tokens: Some(1155.0),
            output_tokens: Some(211.0),
        },
        startup: Startup {
            p50_seconds: 185.0,
            p95_seconds: 240.0,
            samples: 32,
            failures: 1,
            machine_p95_seconds: Some(62.0),
            image_p95_seconds: Some(31.0),
            stock_outs: 2,
        },
        standby: None,
        credit: Some(Credit { starting: 1, missing: 1, first_ready_seconds: 110.0, last_ready_seconds: 110.0 }),
        allowed_missed_share: 0.01,
        forecast_coverage: Some(ForecastCoverage { judged: 20_000, covered: [10_060, 16_010, 19_020, 19_790] }),
        score: Some(Score {
            seconds: 604_800.0,
            billed_replica_seconds: 1.12e6,
            optimum_replica_seconds: 1.0e6,
            demand_replica_seconds: 0.8e6,
            missed_replica_seconds: 0.008e6,
        }),
        observed: Observed { ready: 3, starting: 1, ..Observed::default() },
    }
}

fn text(decision: &Decision) -> String {
    decision.terms().iter().map(|Term { term, words }| format!("{term}: {words}\n")).collect()
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).expect("in range")
}

/// One idle Ready engine and one that has just begun to start.
fn idle() -> Facts {
    let now = at(0);
    let sample = EngineSample { has_vllm_metrics: true, running: Some(0.0), ..EngineSample::without_vllm_metrics(now) };
    let engine = |id: &str, phase, observation| EngineFacts {
        id: id.to_owned(),
        phase,
        milestones: Milestones::default(),
        observation,
    };
    let ready = Phase::Ready { created: at(-600_000), since: at(-500_000) };
    let engines = vec![
        engine("ns/a-0", ready, Observation::Seen(sample)),
        engine("ns/a-1", Phase::Starting { since: at(-5_000) }, Observation::Absent { reason: "starts".to_owned() }),
    ];
    Facts { settings: settings(), replicas: 2, engines, router: RouterFacts::NotConfigured, standby: None }
}

#[test]
fn a_forecast_that_binds_is_explained_term_by_term() {
    insta::assert_snapshot!(text(&morning()));
}

#[test]
fn before_anything_was_learned_the_words_say_so() {
    let decision = decide(&idle(), &mut State::default(), at(0));
    insta::assert_snapshot!(text(&decision));
}

#[test]
fn a_hold_tells_what_was_wanted_before_it() {
    let message = "none of 3 Ready engines and 1 routers answers: holding 4";
    let decision = Decision {
        replicas: 4,
        wanted: 1,
        because: vec![Reason::new(reasons::METRICS_SILENT, 3.0, message.to_owned())],
        credit: Some(Credit { starting: 3, missing: 0, first_ready_seconds: 0.0, last_ready_seconds: 31.4 }),
        score: morning().score.map(|score| Score { billed_replica_seconds: 0.95e6, ..score }),
        ..morning()
    };
    insta::assert_snapshot!(text(&decision));
}

#[test]
fn engines_that_sleep_are_told_with_their_price_and_wake_time() {
    let wake = Startup { p50_seconds: 1.9, p95_seconds: 3.2, samples: 4, failures: 0, ..morning().startup };
    let told = |asleep, waking, wake| {
        let standby = Standby { asleep, most: 3, price: 0.1 };
        let tier = StandbyTier { standby, waking, wake };
        let decision = Decision { standby: Some(tier), ..morning() };
        let mut terms = decision.terms().into_iter().filter(|term| term.term == "standby");
        terms.next().expect("a term of its own").words
    };
    let learned = "A wake takes 1.9 s in the median and 3.2 s at 95 % (learned from 4 wakes).";
    assert_eq!(
        told(2, 0, wake),
        format!("2 engines of at most 3 are asleep, at 10.00 % of the price of a Ready one. {learned}")
    );
    let words = told(0, 1, Startup { samples: 0, ..wake });
    assert!(words.starts_with("No engine is asleep, up to 3 may be, 1 being woken, at 10.00 %"), "{words}");
    assert!(words.ends_with("(not learned yet)."), "{words}");
}

#[test]
fn words_fit_into_a_status() {
    let longest: usize = morning().terms().iter().map(|term| term.words.len()).max().expect("terms");
    assert!(longest < 320, "{longest}");
    assert!(text(&morning()).len() < 1600);
}

#[test]
fn spans_are_told_in_the_unit_that_a_reader_expects() {
    let told = [0.25, 42.0, 600.0, 9000.0, 604_800.0].map(span);
    assert_eq!(told, ["0.2 s", "42 s", "10 min", "2.5 h", "7.0 days"]);
}

#[test]
fn a_record_survives_its_line() {
    let mut state = State::default();
    let facts = Facts { router: RouterFacts::Replicas(Vec::new()), ..idle() };
    for facts in [idle(), facts] {
        let decision = decide(&facts, &mut state, at(0));
        let record = LogRecord::new(at(0), facts, decision);
        assert_eq!(LogRecord::from_line(&record.to_line()).expect("its own line"), record);
    }
    let record = LogRecord::new(at(0), idle(), morning());
    assert_eq!(LogRecord::from_line(&record.to_line()).expect("its own line"), record);
}

#[test]
fn a_line_of_another_version_is_refused_by_name_and_so_is_an_unknown_reason() {
    let line = LogRecord::new(at(0), idle(), morning()).to_line();
    let error = LogRecord::from_line(&line.replacen("\"version\":1", "\"version\":9", 1)).expect_err("another version");
    assert_eq!(error.to_string(), "the line has version 9, this program reads version 1");
    let error = LogRecord::from_line(&line.replace("\"Forecast\"", "\"Tarot\"")).expect_err("no reason of ours");
    assert!(matches!(&error, LogError::Malformed(cause) if cause.to_string().contains("`Tarot` is no reason")));
}
