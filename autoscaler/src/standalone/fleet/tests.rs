use super::*;

mod asleep;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_000_000_000 + milliseconds).unwrap()
}

fn rules() -> BTreeMap<String, ModelRules> {
    let limits = Limits { startup: 60.0, drain: 10.0, stop: 5.0, backoff: 1.0, max_backoff: 8.0, health: 20.0 };
    let rules = ModelRules {
        gpus_per_engine: 0,
        most_asleep: 0,
        sleep_level: SleepLevel::Offloaded,
        limits,
        served_model_name: "served".into(),
        objective: ServedObjective { ttft_seconds: 1.5, inter_token_latency_seconds: Some(0.1) },
    };
    BTreeMap::from([("m".to_owned(), rules)])
}

fn first_free(fleet: &Fleet) -> Option<u16> {
    (20_000..20_010).find(|port| !fleet.held_ports().contains(port))
}

/// A fleet and its clock.
struct Host {
    fleet: Fleet,
    models: BTreeMap<String, ModelRules>,
}

impl Host {
    fn new() -> Self {
        Self { fleet: Fleet::default(), models: rules() }
    }

    fn step(&mut self, milliseconds: i64, seen: &Seen<'_>) -> Vec<Order> {
        let orders = self.fleet.step(at(milliseconds), &self.models, seen, first_free);
        orders.into_iter().filter(|order| !matches!(order, Order::Log { .. })).collect()
    }

    /// A fleet of `count` ready engines at time 1000.
    fn with_ready(count: u32) -> Self {
        let mut host = Self::new();
        host.step(0, &wanted(count));
        let health = host.fleet.members.iter().map(|member| (member.id.clone(), true)).collect();
        host.step(1000, &Seen { health, ..wanted(count) });
        host
    }

    fn words(&self) -> Vec<String> {
        self.fleet.members.iter().map(|member| format!("{} {}", member.id, member.life.word())).collect()
    }
}

fn wanted(count: u32) -> Seen<'static> {
    Seen { wanted: BTreeMap::from([("m".to_owned(), count)]), ..Seen::default() }
}

fn start(id: &str) -> Order {
    Order::Start { id: id.into() }
}

fn ended(id: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(id.to_owned(), "signal: 9 (SIGKILL)".to_owned())])
}

#[test]
fn wanted_engines_are_started_each_with_its_own_port_and_index() {
    let mut host = Host::new();
    assert_eq!(host.step(0, &wanted(2)), [start("m-0"), start("m-1")]);
    let places: Vec<_> = host.fleet.members.iter().map(|member| (member.index, member.port)).collect();
    assert_eq!(places, [(0, 20_000), (1, 20_001)]);
    assert_eq!(host.fleet.handover(&host.models).engines, []);
    assert_eq!(host.fleet.generation, 0);
}

#[test]
fn a_healthy_engine_is_handed_over_with_the_objective() {
    let host = Host::with_ready(1);
    let list = host.fleet.handover(&host.models);
    assert_eq!((list.generation, list.engines[0].state), (1, EngineState::Ready));
    assert_eq!(list.engines[0].url, "http://127.0.0.1:20000");
    assert_eq!(list.objectives["served"], host.models["m"].objective);
}

#[test]
fn a_drained_engine_gets_sigterm_only_when_the_router_applied_the_list_and_is_done_with_it() {
    let mut host = Host::with_ready(2);
    assert_eq!(host.step(2000, &wanted(1)), []);
    assert_eq!(host.words(), ["m-0 ready", "m-1 draining"]);
    assert_eq!(host.fleet.generation, 2);
    let router = |generation, in_flight| {
        Some(RouterView { generation, in_flight: BTreeMap::from([("m-1".to_owned(), in_flight)]) })
    };
    for view in [None, router(1, 0), router(2, 3)] {
        assert_eq!(host.step(3000, &Seen { router: view, ..wanted(1) }), []);
    }
    let orders = host.step(4000, &Seen { router: router(2, 0), ..wanted(1) });
    assert!(matches!(&orders[..], [Order::Terminate { id, .. }] if id == "m-1"), "{orders:?}");
    assert_eq!(host.fleet.handover(&host.models).engines[1].state, EngineState::Draining);
    host.step(5000, &Seen { ended: ended("m-1"), ..wanted(1) });
    assert_eq!(host.words(), ["m-0 ready"]);
    assert_eq!(host.fleet.generation, 3);
}

#[test]
fn a_busy_drain_ends_at_its_timeout_and_a_stuck_stop_at_its_own() {
    let mut host = Host::with_ready(2);
    host.step(2000, &wanted(1));
    assert_eq!(host.step(11_000, &wanted(1)), []);
    let orders = host.step(12_100, &wanted(1));
    assert!(matches!(&orders[..], [Order::Terminate { why, .. }] if why.contains("drain.timeout")), "{orders:?}");
    assert_eq!(host.step(17_000, &wanted(1)), []);
    let orders = host.step(17_200, &wanted(1));
    assert!(matches!(&orders[..], [Order::Kill { why, .. }] if why.contains("drain.stopTimeout")), "{orders:?}");
}

#[test]
fn an_engine_that_is_wanted_again_returns_instead_of_a_new_start() {
    let mut host = Host::with_ready(2);
    host.step(2000, &wanted(1));
    assert_eq!(host.step(2500, &wanted(3)), [start("m-2")]);
    assert_eq!(host.words(), ["m-0 ready", "m-1 ready", "m-2 starting"]);
    assert_eq!(host.fleet.generation, 3);
}

#[test]
fn the_least_loaded_go_first_and_starting_engines_before_them() {
    let mut host = Host::with_ready(3);
    host.step(2000, &wanted(5));
    let load = BTreeMap::from([("m-0".to_owned(), 1.0), ("m-1".to_owned(), 4.0), ("m-2".to_owned(), 2.0)]);
    let orders = host.step(2500, &Seen { load, ..wanted(2) });
    assert_eq!(orders.len(), 2, "{orders:?}");
    assert_eq!(host.words(), ["m-0 draining", "m-1 ready", "m-2 ready", "m-3 stopping", "m-4 stopping"]);
}

#[test]
fn a_crashed_engine_leaves_the_list_at_once_and_starts_again_with_doubling_waits() {
    let mut host = Host::with_ready(1);
    host.step(2000, &Seen { ended: ended("m-0"), ..wanted(1) });
    assert_eq!(host.words(), ["m-0 crashed"]);
    assert_eq!(host.fleet.handover(&host.models).engines, []);
    assert_eq!(host.step(2900, &wanted(1)), []);
    assert_eq!(host.step(3000, &wanted(1)), [start("m-0")]);
    host.step(3100, &Seen { ended: ended("m-0"), ..wanted(1) });
    assert_eq!(host.step(5000, &wanted(1)), []);
    assert_eq!(host.step(5100, &wanted(1)), [start("m-0")]);
    assert_eq!(host.fleet.members[0].restarts, 2);
    // Healthy for longer than maxBackoff: the next crash waits the shortest time again.
    for milliseconds in [6000, 14_100] {
        host.step(milliseconds, &Seen { health: BTreeMap::from([("m-0".into(), true)]), ..wanted(1) });
    }
    host.step(15_000, &Seen { ended: ended("m-0"), ..wanted(1) });
    assert_eq!(host.step(16_000, &wanted(1)), [start("m-0")]);
}

#[test]
fn hung_and_never_ready_engines_are_killed() {
    let mut host = Host::with_ready(1);
    let sick = || Seen { health: BTreeMap::from([("m-0".into(), false)]), ..wanted(1) };
    assert_eq!(host.step(20_000, &sick()), []);
    let orders = host.step(21_100, &sick());
    assert!(matches!(&orders[..], [Order::Kill { why, .. }] if why.contains("healthTimeout")), "{orders:?}");
    let mut host = Host::new();
    host.step(0, &wanted(1));
    let orders = host.step(60_100, &wanted(1));
    assert!(matches!(&orders[..], [Order::Kill { why, .. }] if why.contains("startup.timeout")), "{orders:?}");
}

#[test]
fn an_engine_that_nobody_asked_for_a_while_is_not_killed_and_a_kill_is_not_said_at_every_step() {
    let mut host = Host::with_ready(1);
    let health = |is_healthy| Seen { health: BTreeMap::from([("m-0".into(), is_healthy)]), ..wanted(1) };
    assert_eq!(host.step(3_600_000, &wanted(1)), [], "the host slept for an hour");
    assert_eq!(host.step(3_600_050, &health(true)), []);
    assert_eq!(host.step(3_621_000, &health(false)).len(), 1);
    assert_eq!(host.step(3_621_050, &health(false)), []);
}

#[test]
fn gpus_are_held_until_their_engine_is_gone() {
    let mut host = Host::new();
    host.models.get_mut("m").unwrap().gpus_per_engine = 2;
    let gpus = ["0", "1", "2", "3"].map(String::from);
    let wants = |count| Seen { gpus: &gpus, ..wanted(count) };
    assert_eq!(host.step(0, &wants(3)), [start("m-0"), start("m-1")]);
    assert_eq!(host.fleet.members[1].gpus, ["2", "3"]);
    host.step(100, &wants(1));
    assert_eq!(host.words(), ["m-0 starting", "m-1 stopping"]);
    assert_eq!(host.step(200, &wants(2)), []);
    assert_eq!(host.step(300, &Seen { ended: ended("m-1"), ..wants(2) }), [start("m-2")]);
    assert_eq!(host.fleet.members[1].gpus, ["2", "3"]);
}

#[test]
fn without_a_router_an_engine_ends_when_it_is_idle_itself() {
    let mut host = Host::with_ready(2);
    let load = BTreeMap::from([("m-0".to_owned(), 9.0), ("m-1".to_owned(), 0.0)]);
    let own = |moment, load| BTreeMap::from([("m-1".to_owned(), (at(moment), load))]);
    let seen = |own_load| Seen { routerless: Some(own_load), load: load.clone(), ..wanted(1) };
    assert_eq!(host.step(2000, &seen(own(1900, 0.0))), [], "requests may have come since");
    assert_eq!(host.step(2100, &seen(BTreeMap::new())), [], "it does not tell");
    assert_eq!(host.step(2200, &seen(own(2150, 2.0))), []);
    let orders = host.step(3000, &seen(own(2900, 0.0)));
    assert!(matches!(&orders[..], [Order::Terminate { .. }]), "{orders:?}");
}

#[test]
fn a_fleet_survives_its_text() {
    let mut host = Host::with_ready(2);
    host.step(2000, &wanted(1));
    let text = serde_json::to_string(&host.fleet).unwrap();
    assert_eq!(serde_json::from_str::<Fleet>(&text).unwrap(), host.fleet);
}
