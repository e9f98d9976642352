//! What holds for a plan that has lived through days, whatever comes then.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::properties::facts;
use super::*;
use crate::DemandHistory;

/// A minute is a day here, and a plan step a look.
const STEP_MILLISECONDS: i64 = 250;
const DAY_STEPS: i64 = 240;
const STARTUP_MILLISECONDS: i64 = 3000;
const MOST_ENGINES: usize = 12;

fn rhythm() -> Rhythm {
    Rhythm::new(60.0, 1.0 / 80.0, 0.25).expect("valid")
}

fn compressed(settings: Settings) -> Settings {
    Settings {
        stabilization_seconds: 1.0,
        startup_seconds: Some(3.0),
        control_period_seconds: 0.25,
        capacity_prior: 4.0,
        rhythm: rhythm(),
        ..settings
    }
}

/// Whether requests are counted as they come and end, as routers and engines do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counters {
    There,
    Missing,
}

#[derive(Debug, Clone)]
struct Engine {
    id: usize,
    created: i64,
    finished: f64,
    gaps: SumCount,
}

/// A fleet that has what was decided a start-up time ago, under days that are alike.
#[derive(Debug, Clone)]
struct Life {
    step: i64,
    engines: Vec<Engine>,
    started: usize,
    received: f64,
    counters: Counters,
    state: State,
    /// What a shell keeps of the demand.
    kept: DemandHistory,
}

impl Life {
    /// After four days.
    fn experienced(counters: Counters) -> Self {
        let mut life = Self {
            step: 0,
            engines: Vec::new(),
            started: 0,
            received: 0.0,
            counters,
            state: State::default(),
            kept: DemandHistory::default(),
        };
        life.scale_to(4);
        for _ in 0..4 * DAY_STEPS {
            life.live();
        }
        life
    }

    fn now(&self) -> Timestamp {
        at(self.step * STEP_MILLISECONDS)
    }

    /// Requests at once: a hill, a spike, and a little of chance.
    fn requests(&self) -> usize {
        let phase = (self.step % DAY_STEPS) as f64 / DAY_STEPS as f64;
        let hill = 16.0 + 12.0 * (std::f64::consts::TAU * phase).sin();
        let spike = if (0.6..0.65).contains(&phase) { 12.0 } else { 0.0 };
        let chance = (self.step.unsigned_abs().wrapping_mul(2_654_435_761) >> 7) % 5;
        (hill + spike) as usize + chance as usize
    }

    fn is_ready(&self, engine: &Engine) -> bool {
        self.step * STEP_MILLISECONDS - engine.created >= STARTUP_MILLISECONDS
    }

    /// What runs and waits in each engine that is Ready, in order.
    fn loads(&self) -> Vec<(f64, f64)> {
        let ready = self.engines.iter().filter(|engine| self.is_ready(engine)).count();
        let requests = self.requests();
        let share = |place| requests / ready + usize::from(place < requests % ready);
        (0..ready).map(|place| (share(place).min(4) as f64, share(place).saturating_sub(4) as f64)).collect()
    }

    fn facts(&self) -> Facts {
        let (now, is_counted) = (self.now(), self.counters == Counters::There);
        let mut loads = self.loads().into_iter();
        let engines = self.engines.iter().map(|engine| {
            let (created, since) = (at(engine.created), at(engine.created + STARTUP_MILLISECONDS));
            let is_ready = self.is_ready(engine);
            let (running, waiting) = if is_ready { loads.next().unwrap_or_default() } else { (0.0, 0.0) };
            let seen = EngineSample {
                finished_total: is_counted.then_some(engine.finished),
                ttft: is_counted.then_some(SumCount { sum: 0.01 * engine.finished, count: engine.finished }),
                inter_token_latency: is_counted.then_some(engine.gaps),
                ..sample(now, running, waiting)
            };
            EngineFacts {
                id: format!("ns/engine-{}", engine.id),
                phase: if is_ready { Phase::Ready { created, since } } else { Phase::Starting { since: created } },
                milestones: Milestones::default(),
                observation: if is_ready { Observation::Seen(seen) } else { absent() },
            }
        });
        let mut router = router(now, 0.0, &[]);
        if let RouterFacts::Replicas(routers) = &mut router
            && let RouterObservation::Seen(sample) = &mut routers[0].observation
        {
            sample.received_total = self.received;
        }
        Facts {
            settings: compressed(settings()),
            replicas: self.engines.len() as u32,
            engines: engines.collect(),
            router: if is_counted { router } else { RouterFacts::NotConfigured },
            standby: None,
        }
    }

    fn scale_to(&mut self, replicas: u32) {
        self.engines.truncate(replicas as usize);
        while self.engines.len() < replicas as usize {
            let created = self.step * STEP_MILLISECONDS;
            self.engines.push(Engine { id: self.started, created, finished: 0.0, gaps: SumCount::default() });
            self.started += 1;
        }
    }

    /// Lets the step pass: half a second a request, a hundred tokens each, more slowly the more there are.
    fn pass(&mut self) {
        let loads = self.loads();
        let ready: Vec<bool> = self.engines.iter().map(|engine| self.is_ready(engine)).collect();
        let ready = self.engines.iter_mut().zip(ready).filter(|(_, is_ready)| *is_ready).map(|(engine, _)| engine);
        for (engine, (running, _)) in ready.zip(&loads) {
            let ended = running / 2.0;
            engine.finished += ended;
            engine.gaps.count += 100.0 * ended;
            engine.gaps.sum += 100.0 * ended * (0.003 + 0.0005 * running);
            self.received += ended;
        }
        self.step += 1;
    }

    /// Decides, has done what was decided, and goes on to the next step.
    fn live(&mut self) -> Decision {
        let now = self.now();
        let decision = decide(&self.facts(), &mut self.state, now);
        let news = self.state.demand_since(self.kept.next_step());
        for (step, replicas) in (news.first_step..).zip(&news.replicas) {
            self.kept.add(step, *replicas);
        }
        self.scale_to(decision.replicas);
        self.pass();
        decision
    }
}

static COUNTED: LazyLock<Life> = LazyLock::new(|| Life::experienced(Counters::There));
static UNCOUNTED: LazyLock<Life> = LazyLock::new(|| Life::experienced(Counters::Missing));

/// At some time of the fifth day.
fn lived(life: &Life, steps: i64) -> Life {
    let mut life = life.clone();
    for _ in 0..steps {
        life.live();
    }
    life
}

/// What could be seen of any fleet, seen now.
fn seen_at(facts: &Facts, now: Timestamp) -> Facts {
    let mut facts = Facts { settings: compressed(facts.settings.clone()), ..facts.clone() };
    for engine in &mut facts.engines {
        if let Observation::Seen(sample) = &mut engine.observation {
            sample.at = now;
        }
    }
    if let RouterFacts::Replicas(routers) = &mut facts.router {
        for router in routers {
            if let RouterObservation::Seen(sample) = &mut router.observation {
                sample.at = now;
            }
        }
    }
    facts
}

#[test]
fn these_lives_have_a_plan_that_forecasts_and_moves() {
    for life in [&*COUNTED, &*UNCOUNTED] {
        let mut life = life.clone();
        let day: Vec<Decision> = (0..DAY_STEPS).map(|_| life.live()).collect();
        assert!(day.iter().all(|decision| decision.plan.is_some()));
        let forecasts = day.iter().filter(|decision| decision.because[0].reason == reasons::FORECAST).count();
        assert!(forecasts > DAY_STEPS as usize / 4, "{forecasts}");
        let replicas = day.iter().map(|decision| decision.replicas);
        let (least, most) = (replicas.clone().min().unwrap(), replicas.max().unwrap());
        assert!(most >= least + 4, "{least} to {most}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn replicas_stay_within_the_limits(steps in 0..DAY_STEPS, trouble in prop::collection::vec(facts(), 1..12)) {
        let mut life = lived(&COUNTED, steps);
        for facts in &trouble {
            let now = life.now();
            let facts = seen_at(facts, now);
            let decision = decide(&facts, &mut life.state, now);
            prop_assert!(decision.plan.is_some());
            if facts.settings.paused {
                prop_assert_eq!(decision.replicas, facts.replicas);
            } else {
                prop_assert!((facts.settings.min_replicas..=facts.settings.max_replicas).contains(&decision.replicas));
            }
            life.step += 1;
        }
    }

    #[test]
    fn nothing_is_drained_while_an_engine_or_a_router_is_silent(
        steps in 0..DAY_STEPS,
        silent in prop::collection::vec((0..MOST_ENGINES, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let mut life = lived(&COUNTED, steps);
        for (engine, is_engine_silent, is_router_silent) in silent {
            let mut facts = life.facts();
            if is_engine_silent {
                let place = engine % facts.engines.len();
                facts.engines[place].observation = absent();
            }
            if is_router_silent {
                facts.router = silent_router();
            }
            let now = life.now();
            let decision = decide(&facts, &mut life.state, now);
            prop_assert!(decision.plan.is_some());
            if !decision.has_complete_metrics() {
                prop_assert!(decision.replicas >= facts.replicas, "{:?}", decision.because);
            }
            life.scale_to(decision.replicas);
            life.pass();
        }
    }

    #[test]
    fn nothing_is_drained_while_any_fleet_is_silent(
        steps in 0..DAY_STEPS,
        trouble in prop::collection::vec(facts(), 1..12),
    ) {
        let mut life = lived(&COUNTED, steps);
        for facts in &trouble {
            let now = life.now();
            let facts = seen_at(facts, now);
            let decision = decide(&facts, &mut life.state, now);
            let held = facts.replicas.clamp(facts.settings.min_replicas, facts.settings.max_replicas);
            if !decision.has_complete_metrics() && !facts.settings.paused {
                prop_assert!(decision.replicas >= held, "{} < {}: {:?}", decision.replicas, held, decision.because);
            }
            life.step += 1;
        }
    }

    /// But for the last digits of mean latencies, into which engines are taken one after the other.
    #[test]
    fn the_order_of_engines_does_not_matter(
        steps in 0..DAY_STEPS,
        order in Just((0..MOST_ENGINES).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut life = lived(&COUNTED, steps);
        let mut state = life.state.clone();
        for _ in 0..DAY_STEPS / 4 {
            let (now, mut turned) = (life.now(), life.facts());
            let mut places = order.iter();
            turned.engines.sort_by_cached_key(|_| places.next());
            let decision = decide(&turned, &mut state, now);
            let other = life.live();
            prop_assert_eq!((other.replicas, other.wanted), (decision.replicas, decision.wanted));
            prop_assert_eq!(other.demand, decision.demand);
        }
    }
}

/// Restarts at every sixth step of a day, each followed for half a day: how many of them change a decision, and looks at
/// which the worst of them does. None by more than a replica, if the days before are handed back.
fn changed_by_restarts(life: &Life, is_handed_back: bool) -> (usize, usize) {
    let (mut restarts, mut most_looks) = (0, 0);
    for steps in (0..DAY_STEPS).step_by(6) {
        let mut life = lived(life, steps);
        let mut restarted = State::from_json(&life.state.to_json()).expect("its own text");
        if is_handed_back {
            restarted.recall(life.kept.clone());
        }
        let mut looks = 0;
        for _ in 0..DAY_STEPS / 2 {
            let now = life.now();
            let decision = decide(&life.facts(), &mut restarted, now);
            let lived = life.live();
            looks += usize::from(decision.replicas != lived.replicas);
            assert!(!is_handed_back || decision.replicas.abs_diff(lived.replicas) <= 1, "{decision:#?} {lived:#?}");
        }
        restarts += usize::from(looks > 0);
        most_looks = most_looks.max(looks);
    }
    (restarts, most_looks)
}

/// What a layer wanted before the stored steps is not known to the last, and a demand on its edge falls to either side.
#[test]
fn a_restart_that_is_handed_the_days_before_hardly_changes_a_decision() {
    for life in [&*COUNTED, &*UNCOUNTED] {
        let (restarts, looks) = changed_by_restarts(life, true);
        assert!(restarts <= 4 && looks <= 8, "{restarts} of 40 restarts, at most {looks} of 120 decisions");
        let without = changed_by_restarts(life, false);
        assert!(without.0 > 20 && without.1 > 16, "{without:?} without: the test shows nothing");
    }
}
