//! One log through all that decides. `simulate` writes it, `backtest` must write the same for the same load; controller
//! and standalone are shown what it holds as pods, processes and scrapes, and must decide the same. So each path's own
//! code is in the loop: how facts are gathered, what is remembered between decisions, and what is not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use autoscaler_plan::{
    Decision, EngineFacts, Facts, LogRecord, Observation, Phase, RouterFacts, RouterObservation, State, decide, reasons,
};
use clap::Parser as _;
use engines::{Engine, EngineState};
use jiff::{SignedDuration, Timestamp};
use process::args::ProcessArgs;
use serde_json::json;

use crate::controller::args::ControllerConfig;
use crate::controller::case::Case;
use crate::controller::objects::Object;
use crate::controller::round::{Controller, Tracked, View, resume};
use crate::controller::scale::Scale;
use crate::fake_api::FakeApi;
use crate::lab::{self, BacktestArgs, LabCommand, SimulateArgs};
use crate::metrics::Metrics;
use crate::observe::facts::{Freshness, Share};
use crate::observe::read::RouterModel;
use crate::observe::{Readings, RouterPage};
use crate::standalone::brain::{self, Brain};
use crate::standalone::fleet::{Fleet, Life, Member, RouterView, SleepLevel};
use crate::standalone::readings::{EngineReading, RouterReading};
use crate::standalone::validate::{Model, validate};

/// Six hours of a wave of an hour's length, with a spike in each: six days of a life whose days take an hour.
const SEASON_SECONDS: u32 = 3600;
const SEASONS: u32 = 6;

#[derive(clap::Parser)]
struct Parsed<T: clap::Args> {
    #[command(flatten)]
    args: T,
}

fn parsed<T: clap::Args>(line: &str) -> T {
    Parsed::<T>::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}")).args
}

fn rates() -> Vec<(u32, f64)> {
    (0..SEASONS * SEASON_SECONDS / 60)
        .map(|minute| {
            let phase = f64::from(minute * 60 % SEASON_SECONDS) / f64::from(SEASON_SECONDS);
            let spike = if (0.5..0.6).contains(&phase) { 2.5 } else { 0.0 };
            (1_700_006_400 + minute * 60, 20.0 * (1.2 + (phase * std::f64::consts::TAU).sin() + spike))
        })
        .collect()
}

/// The load as both laboratory commands read it, and what they logged.
async fn logged_by_the_laboratory(folder: &Path) -> (Vec<LogRecord>, Vec<LogRecord>) {
    let file = |name: &str| folder.join(name).display().to_string();
    let csv: String = rates().iter().map(|(at, rate)| format!("{at},{rate:.3}\n")).collect();
    std::fs::write(file("load.csv"), format!("ts,value\n{csv}")).unwrap();
    let values: Vec<_> = rates().iter().map(|(at, rate)| json!([at, format!("{rate:.3}")])).collect();
    let matrix = json!({"status": "success",
        "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}});
    std::fs::write(file("load.json"), matrix.to_string()).unwrap();
    std::fs::write(file("ran.csv"), "ts,value\n1700006400,3\n").unwrap();
    let common = "--startup 240s --seeds 1 --season 1h --train 0s --queue deadline --level fluid";
    let simulate: SimulateArgs = parsed(&format!(
        "simulate --trace {} --mean-replicas recorded --policy predictive {common} --output json --output-file {} --decision-log {}",
        file("load.csv"),
        file("simulated.json"),
        file("simulated.jsonl")
    ));
    lab::run(LabCommand::Simulate(simulate)).await.unwrap();
    let backtest: BacktestArgs = parsed(&format!(
        "backtest --trace {} --format prometheus --replicas {} --policy predictive {common} --output json --output-file {} --decision-log {}",
        file("load.json"),
        file("ran.csv"),
        file("backtested.json"),
        file("backtested.jsonl")
    ));
    lab::run(LabCommand::Backtest(backtest)).await.unwrap();
    let read = |name: &str| {
        let text = std::fs::read_to_string(file(name)).unwrap();
        text.lines().map(|line| LogRecord::from_line(line).unwrap()).collect()
    };
    (read("simulated.jsonl"), read("backtested.jsonl"))
}

fn before(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_sub(SignedDuration::from_secs(seconds)).unwrap()
}

/// The same days with what a simulator does not show: an engine that is silent for a while, one whose metrics are not
/// vLLM's, one that drains, and a router that does not answer. Replicas follow from the decisions, as in a real loop.
fn troubled(log: &[LogRecord]) -> Vec<LogRecord> {
    let mut state = State::default();
    let mut replicas = None;
    let records = log.iter().enumerate().map(|(index, record)| {
        let now = record.at;
        let mut facts = Facts { replicas: replicas.unwrap_or(record.facts.replicas), ..record.facts.clone() };
        let ready = |engine: &&mut EngineFacts| matches!(engine.phase, Phase::Ready { .. });
        if let Some(engine) = facts.engines.iter_mut().find(ready) {
            match index % 300 {
                40..55 => engine.observation = Observation::Stale { age_seconds: 60.0, reason: "timed out".to_owned() },
                90..105 => engine.phase = Phase::Draining,
                140..155 => {
                    if let Observation::Seen(sample) = &mut engine.observation {
                        *sample = autoscaler_plan::EngineSample::without_vllm_metrics(sample.at);
                    }
                }
                _ => {}
            }
        }
        if let (200..220, RouterFacts::Replicas(routers)) = (index % 300, &mut facts.router) {
            for router in routers {
                router.observation = RouterObservation::Unreachable { reason: "connection refused".to_owned() };
            }
        }
        let decision = decide(&facts, &mut state, now);
        replicas = Some(decision.replicas);
        LogRecord::new(now, facts, decision)
    });
    records.collect()
}

/// What a router's page says of the model.
fn router_page(facts: &Facts) -> Option<(Timestamp, RouterPage)> {
    let RouterFacts::Replicas(replicas) = &facts.router else { panic!("the laboratory has a router") };
    let RouterObservation::Seen(sample) = &replicas[0].observation else { return None };
    let model = RouterModel {
        queue_depth: sample.queue_depth,
        received_total: sample.received_total,
        late_total: sample.late_total,
        slow_total: sample.slow_total,
        engines: sample.engines.clone(),
        ..RouterModel::default()
    };
    Some((sample.at, BTreeMap::from([("m".to_owned(), model)])))
}

/// What the log's engine looks like to a watch of pods.
fn pod(engine: &EngineFacts) -> Engine {
    let (state, created_at, ready_since) = match engine.phase {
        Phase::Starting { since } => (EngineState::Starting, Some(since), None),
        Phase::Ready { created, since } => (EngineState::Ready, Some(created), Some(since)),
        Phase::Draining => (EngineState::Draining, None, None),
    };
    pod_in(&engine.id, state, created_at, ready_since)
}

fn pod_in(id: &str, state: EngineState, created_at: Option<Timestamp>, ready_since: Option<Timestamp>) -> Engine {
    Engine {
        id: id.to_owned(),
        namespace: "ns".to_owned(),
        url: String::new(),
        model: "m".to_owned(),
        state,
        created_at,
        ready_since,
        scheduled_at: None,
        containers_started_at: None,
        labels: Arc::default(),
    }
}

/// Decisions of the controller; before record `restart` another replica takes over, with what the status remembers.
fn by_controller(log: &[LogRecord], restart: Option<usize>) -> Vec<Decision> {
    let object: autoscaler_api::EngineAutoscaler = serde_json::from_value(json!({
        "apiVersion": "autoscaling.vllm-prod-stack.io/v1alpha1", "kind": "EngineAutoscaler",
        "metadata": {"name": "m", "namespace": "ns", "uid": "1"},
        "spec": {"scaleTargetRef": {"name": "m"}, "servedModelName": "m", "maxReplicas": 9}
    }))
    .unwrap();
    let settings = ControllerConfig::default().settings(&ProcessArgs::default(), "host").unwrap();
    let period = Duration::from_secs(10);
    let freshness = Freshness { engine_period: period, router_period: period, scrape_timeout: period };
    let controller =
        Controller::new(FakeApi::default().client(), "ns".to_owned(), settings, Metrics::default(), freshness);
    let (objects, readings) = (BTreeMap::new(), Readings::default());
    let mut tracked = Tracked::default();
    let decisions = log.iter().enumerate().map(|(index, LogRecord { at, facts, .. })| {
        if restart == Some(index) {
            tracked = taken_over(&object, &tracked);
        }
        readings.clear();
        for EngineFacts { id, observation, .. } in &facts.engines {
            match observation {
                Observation::Seen(sample) => readings.put_engine(id, sample.clone()),
                Observation::Stale { .. } => {
                    readings.put_engine(id, autoscaler_plan::EngineSample::without_vllm_metrics(before(*at, 60)));
                }
                Observation::Absent { .. } => {}
            }
        }
        if let Some((seen_at, page)) = router_page(facts) {
            readings.put_router("router", seen_at, page);
        }
        let engines: Vec<Engine> = facts.engines.iter().map(pod).collect();
        let routers = [pod_in("router", EngineState::Ready, None, None)];
        let view = View { objects: &objects, engines: &engines, routers: &routers, readings: &readings };
        let mut valid = autoscaler_api::validate(&object.spec, 10.0, 32.0).unwrap();
        valid.settings = facts.settings.clone();
        let scale = Scale { replicas: facts.replicas, selector: String::new(), resource_version: None };
        let case = Case { object: &object, valid, scale, refused: None, engines: engines.iter().collect() };
        let ready = engines.iter().filter(|engine| engine.state == EngineState::Ready).count();
        let share = Share { own: ready, all: ready, targets: 1 };
        controller.decide(&case, share, &view, &mut tracked, *at).1
    });
    decisions.collect()
}

/// What the next leader remembers of what the last one wrote into the status.
fn taken_over(object: &autoscaler_api::EngineAutoscaler, tracked: &Tracked) -> Tracked {
    let mut content = object.clone();
    content.status.get_or_insert_default().memory = Some(tracked.state.to_json());
    resume(&Object { name: "m".to_owned(), uid: "1".to_owned(), generation: None, content: Ok(content) })
}

/// What the log's engine looks like to a supervisor of processes.
fn member(engine: &EngineFacts, now: Timestamp) -> Member {
    let (launched, life) = match engine.phase {
        Phase::Starting { since } => (since, Life::Starting { since }),
        Phase::Ready { created, since } => (created, Life::Ready { since, healthy: now }),
        Phase::Draining => {
            let long_ago = before(now, 900);
            (long_ago, Life::Draining { since: now, ready_since: long_ago, generation: 1 })
        }
    };
    Member {
        id: engine.id.clone(),
        model: "m".to_owned(),
        index: 0,
        port: 1,
        gpus: Vec::new(),
        created: launched,
        launched,
        restarts: 0,
        crashes_in_a_row: 0,
        is_retired: false,
        woken: None,
        sleep_level: SleepLevel::default(),
        life,
    }
}

/// Decisions of standalone; before record `restart` it is started anew, with what the state folder remembers.
fn by_standalone(log: &[LogRecord], restart: Option<usize>) -> Vec<Decision> {
    let file = process::config::parse("models: [{name: m, command: 'e {port}', maxReplicas: 9}]").unwrap();
    let config = validate(file, Path::new("/state")).unwrap();
    let mut brain = Brain { wanted: log[0].facts.replicas, ..Brain::default() };
    let decisions = log.iter().enumerate().map(|(index, LogRecord { at, facts, .. })| {
        if restart == Some(index) {
            let state = State::from_json(&brain.state.to_json()).unwrap();
            brain = Brain { state, wanted: brain.wanted, ..Brain::default() };
        }
        let model = Model { settings: facts.settings.clone(), ..config.models[0].clone() };
        let members = facts.engines.iter().map(|engine| member(engine, *at)).collect();
        let fleet = Fleet { members, ..Fleet::default() };
        let mut readings = brain::Readings { has_router: true, ..brain::Readings::default() };
        for EngineFacts { id, observation, .. } in &facts.engines {
            let sample = match observation {
                Observation::Seen(sample) => sample.clone(),
                Observation::Stale { .. } => autoscaler_plan::EngineSample::without_vllm_metrics(before(*at, 60)),
                Observation::Absent { .. } => continue,
            };
            let reading = EngineReading { id: id.clone(), is_healthy: true, sample: Ok(sample) };
            readings.good.insert(id.clone(), reading);
        }
        let view = Ok(RouterView::default());
        readings.router = Some(match router_page(facts) {
            Some((at, page)) => RouterReading { at, metrics: Ok(page), view },
            None => RouterReading { at: *at, metrics: Err("connection refused".to_owned()), view },
        });
        assert_eq!(brain.wanted, facts.replicas, "standalone's own order, at record {index}");
        assert!(brain.decide(&model, &fleet, &readings, *at).is_none(), "no GPUs are claimed");
        brain.record(*at).unwrap().decision
    });
    decisions.collect()
}

/// Compares one by one, so that a failure shows the first that differs and not thousands.
fn assert_same(who: &str, decisions: &[Decision], log: &[LogRecord]) {
    assert_eq!(decisions.len(), log.len());
    for (index, (decision, record)) in decisions.iter().zip(log).enumerate() {
        assert_eq!(*decision, record.decision, "{who} at record {index}");
    }
}

#[tokio::test]
async fn simulator_backtest_controller_and_standalone_decide_the_same_on_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let (log, backtested) = logged_by_the_laboratory(folder.path()).await;
    // The end of the last step has nothing left to decide on.
    assert_eq!(log.len(), (SEASONS * SEASON_SECONDS / 10) as usize - 1);
    assert_eq!(backtested.len(), log.len());
    for (index, (left, right)) in log.iter().zip(&backtested).enumerate() {
        assert_eq!(left, right, "backtest at record {index}");
    }
    // A log on which nothing happens would prove nothing.
    let headlines: Vec<&str> = log.iter().filter_map(|record| Some(record.decision.headline()?.reason)).collect();
    for reason in [reasons::DEMAND, reasons::FORECAST, reasons::STABILIZING] {
        assert!(headlines.contains(&reason), "{reason} never decides");
    }
    let replicas: Vec<u32> = log.iter().map(|record| record.decision.replicas).collect();
    assert!(replicas.windows(2).filter(|pair| pair[0] != pair[1]).count() > 20, "{replicas:?}");

    let mut state = State::default();
    let replayed: Vec<Decision> = log.iter().map(|record| decide(&record.facts, &mut state, record.at)).collect();
    assert_same("a replay of the log", &replayed, &log);
    assert_same("controller", &by_controller(&log, None), &log);
    assert_same("standalone", &by_standalone(&log, None), &log);

    let log = troubled(&log);
    let held = log.iter().filter(|record| !record.decision.has_complete_metrics()).count();
    assert!(held > 100, "{held}");
    assert_same("controller in trouble", &by_controller(&log, None), &log);
    assert_same("standalone in trouble", &by_standalone(&log, None), &log);
}

#[tokio::test]
async fn after_a_restart_the_controller_goes_on_with_the_state_that_its_status_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = logged_by_the_laboratory(folder.path()).await;
    for restart in [30, 60, 90, 400, 700, 1010, 1555, 1900] {
        let controller = by_controller(&log, Some(restart));
        let mut state = State::default();
        let mut replayed = Vec::new();
        for (index, record) in log.iter().enumerate() {
            if index == restart {
                state = State::from_json(&state.to_json()).unwrap();
            }
            replayed.push(decide(&record.facts, &mut state, record.at));
        }
        let same = controller.iter().zip(&replayed).position(|(left, right)| left != right);
        assert_eq!(same, None, "restart {restart}: the controller's status is the state");
    }
}

/// The state holds the last 96 plan steps; what older ones taught comes back from Prometheus, or from the file that standalone
/// keeps. Until then the plan may be early or late with a replica.
#[tokio::test]
async fn a_restart_anywhere_begins_with_the_same_replicas_mostly_and_is_seldom_far_off() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = logged_by_the_laboratory(folder.path()).await;
    let mut state = State::default();
    let mut off = [0; 4];
    for (index, record) in log.iter().enumerate() {
        if index % 16 == 11 {
            let mut restarted = State::from_json(&state.to_json()).unwrap();
            let replicas = decide(&record.facts, &mut restarted, record.at).replicas;
            let by = replicas.abs_diff(record.decision.replicas) as usize;
            off[by.min(3)] += 1;
        }
        decide(&record.facts, &mut state, record.at);
    }
    let [same, one, two, more] = off;
    let told = format!("of 135 restarts {same} are right, {one} off by one, {two} by two, {more} by more");
    assert!(same >= 90 && two + more <= 13 && more <= 3, "{told}");
}
