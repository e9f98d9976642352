//! What ours decides on one short trace, decision by decision: a change of the plan shows here as the orders that it moves.

use std::sync::{Arc, Mutex};

use autoscaler_plan::reasons;
use autoscaler_sim::fluid::{FluidSettings, Scenario};
use autoscaler_sim::{Faults, Stretch};

use super::third_day::{DAY_SECONDS, STARTUP_SECONDS, Sample, demanded, policy};
use super::*;

/// On the second day.
const SCRAPE_LOSS: Stretch = Stretch { from_seconds: 90.0, to_seconds: 96.0 };
/// On the third day: a third more than all engines carry.
const OVERLOAD: Stretch = Stretch { from_seconds: 132.0, to_seconds: 138.0 };
const OVERLOAD_REQUESTS_PER_SECOND: f64 = 400.0;
const MAX_REPLICAS: u32 = 12;

/// The demo's three days, with an overload.
fn trace() -> Sample {
    let mut sample = Sample::load();
    let minute_seconds = DAY_SECONDS / 1440.0;
    for (minute, rate) in sample.requests_per_second.iter_mut().enumerate() {
        if OVERLOAD.contains(minute as f64 * minute_seconds) {
            *rate = OVERLOAD_REQUESTS_PER_SECOND;
        }
    }
    sample
}

/// `(seconds, replicas, binding reason)` of every decision.
fn decisions() -> Vec<(f64, u32, &'static str)> {
    let (demand, task) = demanded(&trace(), 1, MAX_REPLICAS);
    let taken = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let taken = Arc::clone(&taken);
        DecisionSink::new(move |record: LogRecord| {
            let seconds = (record.at.as_millisecond() - START_SECONDS * 1000) as f64 / 1e3;
            let reason = record.decision.headline().map_or("", |reason| reason.reason);
            taken.lock().unwrap().push((seconds, record.decision.replicas, reason));
        })
    };
    let mut policy = policy(&task, Some(&sink));
    let settings = FluidSettings {
        first_replicas: Some(2),
        faults: Faults { scrape_losses: vec![SCRAPE_LOSS], ..Faults::default() },
        ..FluidSettings::new(STARTUP_SECONDS, Discipline::Deadline)
    };
    Scenario::new(&demand, &task, settings).unwrap().run(&mut policy);
    let taken = taken.lock().unwrap();
    taken.clone()
}

#[test]
fn three_days_with_a_scrape_loss_and_an_overload_are_decided_as_before() {
    let decisions = decisions();
    let within = |stretch: Stretch| decisions.iter().filter(move |(seconds, ..)| stretch.contains(*seconds));
    assert!(within(SCRAPE_LOSS).all(|(_, _, reason)| *reason == reasons::METRICS_SILENT), "nothing is seen");
    assert!(within(OVERLOAD).any(|(_, replicas, _)| *replicas == MAX_REPLICAS), "all that may be had is ordered");
    // Where replicas or reason change.
    let mut text = String::from("seconds replicas reason\n");
    let mut last = None;
    for (seconds, replicas, reason) in &decisions {
        if last.replace((replicas, reason)) != Some((replicas, reason)) {
            text += &format!("{seconds:7.2} {replicas:8} {reason}\n");
        }
    }
    insta::assert_snapshot!(text);
}
