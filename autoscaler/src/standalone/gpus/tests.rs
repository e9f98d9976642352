use std::collections::BTreeMap;
use std::path::Path;

use autoscaler_plan::{EngineSample, reasons};
use jiff::Timestamp;

use super::*;
use crate::standalone::brain::{Brain, Readings};
use crate::standalone::fleet::{CallFailure, Order, Seen};
use crate::standalone::readings::EngineReading;
use crate::standalone::validate::{Model, Validated, validate};

fn pool() -> Vec<String> {
    ["0", "1", "2", "3"].map(String::from).to_vec()
}

#[test]
fn the_lowest_free_gpus_are_given_whole() {
    let held = BTreeSet::from(["1".to_owned()]);
    assert_eq!(assign(&pool(), &held, 2), Some(vec!["0".into(), "2".into()]));
    assert_eq!(assign(&pool(), &held, 4), None);
    assert_eq!(assign(&[], &BTreeSet::new(), 0), Some(vec![]));
}

/// Two models on one host, the loop around them, and no process.
struct Host {
    config: Validated,
    fleet: Fleet,
    brains: BTreeMap<String, Brain>,
    ended: BTreeMap<String, String>,
    answers: BTreeMap<String, Result<(), CallFailure>>,
    gpus_short: usize,
    milliseconds: i64,
    /// Every reason that `patient` was ever bound by.
    bound_by: BTreeSet<&'static str>,
}

impl Host {
    /// `urgent` comes before `patient`; an engine of either carries 4 requests at once.
    fn with_gpus(gpus: &str) -> Self {
        Self::with(gpus, "")
    }

    /// The same with more keys of both models.
    fn with(gpus: &str, keys: &str) -> Self {
        let model = |name: &str, priority: i32| {
            format!(
                "- {{name: {name}, command: 'e {{port}}', maxReplicas: 4, capacityPrior: 4, priority: {priority}{keys}}}\n"
            )
        };
        let text = format!(
            "controlPeriod: 250ms\ngpus: {gpus}\nrouter: {{start: false, adminAddress: null}}\nmodels:\n{}{}",
            model("urgent", 10),
            model("patient", 0)
        );
        let config = validate(process::config::parse(&text).unwrap(), Path::new("/state")).unwrap();
        let brain = || Brain { wanted: 1, ..Brain::default() };
        let brains = [("urgent".to_owned(), brain()), ("patient".to_owned(), brain())].into();
        Self {
            config,
            fleet: Fleet::default(),
            brains,
            ended: BTreeMap::new(),
            answers: BTreeMap::new(),
            gpus_short: 0,
            milliseconds: 0,
            bound_by: BTreeSet::new(),
        }
    }

    /// Lives for so long with so many requests in each engine of the two models.
    fn live(&mut self, seconds: i64, urgent: f64, patient: f64) {
        for _ in 0..seconds * 4 {
            self.milliseconds += 250;
            let now = Timestamp::from_millisecond(1_000_000_000 + self.milliseconds).unwrap();
            let readings = self.readings(now, urgent, patient);
            let decide =
                |model: &Model| self.brains.get_mut(&model.name).unwrap().decide(model, &self.fleet, &readings, now);
            let claims: Vec<Claim> = self.config.models.iter().filter_map(decide).collect();
            let grants = share_out(self.config.gpus.len(), &self.fleet, &claims);
            self.gpus_short = short(&claims, &grants);
            for (claim, grant) in claims.iter().zip(&grants) {
                self.brains.get_mut(&claim.name).unwrap().take(grant);
            }
            self.bound_by.insert(self.reasons("patient")[0]);
            self.step(now);
        }
    }

    fn readings(&self, now: Timestamp, urgent: f64, patient: f64) -> Readings {
        let read = |member: &crate::standalone::fleet::Member| {
            let running = if member.model == "urgent" { urgent } else { patient };
            let sample = EngineSample {
                has_vllm_metrics: true,
                running: Some(running),
                waiting: Some(0.0),
                ..EngineSample::without_vllm_metrics(now)
            };
            (member.id.clone(), EngineReading { id: member.id.clone(), is_healthy: true, sample: Ok(sample) })
        };
        let good: BTreeMap<String, EngineReading> = self.fleet.members.iter().map(read).collect();
        Readings { engines: good.clone(), good, ..Readings::default() }
    }

    /// Engines are healthy at once, idle when they drain, asleep, awake or gone a step after they are told to be.
    fn step(&mut self, now: Timestamp) {
        let rules = self.config.models.iter().map(|model| (model.name.clone(), model.rules.clone())).collect();
        let seen = Seen {
            wanted: self.brains.iter().map(|(name, brain)| (name.clone(), brain.wanted)).collect(),
            ended: std::mem::take(&mut self.ended),
            health: self.fleet.members.iter().map(|member| (member.id.clone(), true)).collect(),
            load: self.fleet.members.iter().map(|member| (member.id.clone(), 0.0)).collect(),
            routerless: Some(self.fleet.members.iter().map(|member| (member.id.clone(), (now, 0.0))).collect()),
            gpus: &self.config.gpus,
            gpus_short: self.gpus_short,
            answers: std::mem::take(&mut self.answers),
            ..Seen::default()
        };
        for order in self.fleet.step(now, &rules, &seen, |fleet| u16::try_from(fleet.next_number).ok()) {
            match order {
                Order::Terminate { id, .. } => drop(self.ended.insert(id, "SIGTERM".to_owned())),
                Order::Sleep { id, .. } | Order::Wake { id } => drop(self.answers.insert(id, Ok(()))),
                _ => {}
            }
        }
    }

    fn engines(&self) -> (u32, u32) {
        (self.fleet.active("urgent"), self.fleet.active("patient"))
    }

    fn reasons(&self, model: &str) -> Vec<&'static str> {
        let decision = self.brains[model].decision.as_ref().unwrap();
        decision.because.iter().map(|reason| reason.reason).collect()
    }
}

#[test]
fn a_model_takes_the_gpus_that_nobody_else_wants_and_yields_them_to_a_higher_priority() {
    let mut host = Host::with_gpus("[0, 1, 2, 3]");
    host.live(20, 0.0, 8.0);
    assert_eq!(host.engines(), (1, 3));
    assert_eq!(host.reasons("patient")[0], reasons::LIMITED_BY_POOL);
    host.live(20, 4.0, 8.0);
    assert!(!host.bound_by.contains(reasons::YIELDED_TO_POOL));
    assert_eq!(host.engines(), (1, 3), "one engine at its capacity needs no second");
    host.live(20, 12.0, 8.0);
    assert_eq!(host.engines(), (3, 1));
    assert!(host.bound_by.contains(reasons::YIELDED_TO_POOL), "{:?}", host.bound_by);
}

#[test]
fn engines_of_an_earlier_configuration_hold_their_gpus_until_they_are_gone() {
    let mut host = Host::with_gpus("[0, 1, 2]");
    host.live(1, 0.0, 0.0);
    assert_eq!(host.engines(), (1, 1));
    let mut other = host.fleet.members[0].clone();
    other.id = "gone-0".to_owned();
    other.model = "gone".to_owned();
    other.gpus = vec!["2".to_owned()];
    host.fleet.members.push(other);
    host.live(20, 12.0, 0.0);
    assert_eq!((host.engines(), host.reasons("urgent")[0]), ((1, 1), reasons::WAITING_FOR_POOL));
    host.fleet.members.retain(|member| member.model != "gone");
    host.live(5, 12.0, 0.0);
    assert_eq!((host.engines(), host.reasons("urgent")[0]), ((2, 1), reasons::LIMITED_BY_POOL));
}

#[test]
fn a_sleeping_engine_keeps_its_gpu_for_its_model_until_another_waits_for_it() {
    let mut host = Host::with("[0, 1, 2, 3]", ", sleep: {engines: 3}, scaleDown: {stabilizationSeconds: 5}");
    let asleep = |host: &Host| (host.fleet.asleep("urgent"), host.fleet.asleep("patient"));
    host.live(20, 0.0, 8.0);
    host.live(20, 0.0, 0.0);
    assert_eq!((host.engines(), asleep(&host)), ((1, 1), (0, 2)));
    let sleeping = host.fleet.next_number;
    host.live(10, 0.0, 8.0);
    assert_eq!((host.engines(), asleep(&host)), ((1, 3), (0, 0)));
    assert_eq!(host.fleet.next_number, sleeping, "nothing was started: those that slept were woken");
    host.live(20, 0.0, 0.0);
    host.live(10, 12.0, 0.0);
    assert_eq!((host.engines(), asleep(&host)), ((3, 1), (0, 0)));
}
