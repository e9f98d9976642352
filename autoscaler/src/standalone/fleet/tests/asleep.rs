use super::*;

impl Host {
    /// `ready` engines, of which so many may sleep at once.
    fn with_beds(ready: u32, beds: usize) -> Self {
        let mut host = Self::with_ready(ready);
        host.models.get_mut("m").unwrap().most_asleep = beds;
        host
    }

    /// `ready` engines that stay and one that sleeps, at 4 s.
    fn with_a_sleeper(ready: u32) -> Self {
        let mut host = Self::with_beds(ready + 1, 1);
        host.step(2000, &wanted(ready));
        let sleeper = format!("m-{ready}");
        assert_eq!(host.step(3000, &idle(ready)), [sleep(&sleeper)]);
        host.step(4000, &Seen { answers: answer(&sleeper, Ok(())), ..wanted(ready) });
        host
    }
}

/// As many as wanted, and the router has applied every list and has nothing in flight.
fn idle(count: u32) -> Seen<'static> {
    Seen { router: Some(RouterView { generation: 99, in_flight: BTreeMap::new() }), ..wanted(count) }
}

fn sleep(id: &str) -> Order {
    Order::Sleep { id: id.into(), why: "idle after draining for 1.0 s".into() }
}

fn wake(id: &str) -> Order {
    Order::Wake { id: id.into() }
}

fn answer(id: &str, outcome: Result<(), CallFailure>) -> BTreeMap<String, Result<(), CallFailure>> {
    BTreeMap::from([(id.to_owned(), outcome)])
}

fn failure(is_unsupported: bool) -> Result<(), CallFailure> {
    Err(CallFailure { is_unsupported, what: "no".into() })
}

#[test]
fn a_drained_engine_sleeps_out_of_the_list_and_the_one_beyond_the_beds_ends() {
    let mut host = Host::with_beds(3, 1);
    host.step(2000, &wanted(1));
    let orders = host.step(3000, &idle(1));
    assert!(matches!(&orders[..], [Order::Sleep { .. }, Order::Terminate { id, .. }] if id == "m-2"), "{orders:?}");
    assert_eq!(host.words(), ["m-0 ready", "m-1 dozing", "m-2 stopping"]);
    host.step(4000, &Seen { answers: answer("m-1", Ok(())), ended: ended("m-2"), ..wanted(1) });
    assert_eq!(host.words(), ["m-0 ready", "m-1 asleep"]);
    let listed: Vec<String> = host.fleet.handover(&host.models).engines.into_iter().map(|engine| engine.id).collect();
    assert_eq!(listed, ["m-0"]);
    assert_eq!((host.fleet.active("m"), host.fleet.asleep("m")), (1, 1));
}

#[test]
fn a_fleet_that_was_stored_before_engines_slept_is_read_and_one_that_sleeps_survives_its_text() {
    let host = Host::with_a_sleeper(1);
    let text = serde_json::to_string(&host.fleet).unwrap();
    assert_eq!(serde_json::from_str::<Fleet>(&text).unwrap(), host.fleet);
    let fleet = Host::with_ready(1).fleet;
    let text = serde_json::to_string(&fleet).unwrap();
    let before = text.replace(",\"sleepLevel\":\"offloaded\"", "");
    assert!(before.len() < text.len() && !before.contains("woken"), "{before}");
    assert_eq!(serde_json::from_str::<Fleet>(&before).unwrap(), fleet);
}

#[test]
fn a_sleeper_is_woken_before_anything_starts_and_is_listed_once_it_is_awake() {
    let mut host = Host::with_a_sleeper(1);
    assert_eq!(host.step(5000, &wanted(3)), [wake("m-1"), start("m-2")]);
    assert_eq!(host.fleet.handover(&host.models).engines.len(), 1);
    let generation = host.fleet.generation;
    host.step(6000, &Seen { answers: answer("m-1", Ok(())), ..wanted(3) });
    assert_eq!(host.words(), ["m-0 ready", "m-1 ready", "m-2 starting"]);
    assert_eq!(host.fleet.generation, generation + 1);
    assert_eq!(host.fleet.members[1].woken, Some(at(5000)));
}

#[test]
fn one_that_falls_asleep_is_waited_for_and_then_woken() {
    let mut host = Host::with_beds(2, 1);
    host.step(2000, &wanted(1));
    host.step(3000, &idle(1));
    assert_eq!(host.step(3100, &wanted(2)), []);
    assert_eq!(host.step(4000, &Seen { answers: answer("m-1", Ok(())), ..wanted(2) }), [wake("m-1")]);
}

#[test]
fn an_engine_without_the_call_ends_as_ever_and_no_other_is_asked() {
    let mut host = Host::with_beds(3, 2);
    host.step(2000, &wanted(2));
    assert_eq!(host.step(3000, &idle(2)), [sleep("m-2")]);
    let seen = Seen { answers: answer("m-2", failure(true)), ..wanted(2) };
    let orders = host.fleet.step(at(4000), &host.models, &seen, first_free);
    assert!(matches!(&orders[..], [Order::Log { warning: true, .. }, Order::Terminate { .. }]), "{orders:?}");
    host.step(5000, &Seen { ended: ended("m-2"), ..wanted(1) });
    let orders = host.step(6000, &idle(1));
    assert!(matches!(&orders[..], [Order::Terminate { id, .. }] if id == "m-1"), "{orders:?}");
    // One that has the call, and fails, says nothing about the others.
    let mut host = Host::with_beds(3, 2);
    host.step(2000, &wanted(1));
    host.step(3000, &idle(1));
    let orders = host.step(4000, &Seen { answers: answer("m-2", failure(false)), ..wanted(1) });
    assert!(matches!(&orders[..], [Order::Terminate { id, .. }] if id == "m-2"), "{orders:?}");
    assert!(host.fleet.sleepless.is_empty());
}

#[test]
fn a_sleeper_that_dies_is_gone_and_a_wake_that_fails_ends_in_a_cold_start() {
    let mut host = Host::with_a_sleeper(1);
    host.step(5000, &Seen { ended: ended("m-1"), ..wanted(1) });
    assert_eq!(host.words(), ["m-0 ready"]);
    assert_eq!(host.step(6000, &wanted(2)), [start("m-2")]);

    let mut host = Host::with_a_sleeper(1);
    host.step(5000, &wanted(2));
    let orders = host.step(6000, &Seen { answers: answer("m-1", failure(false)), ..wanted(2) });
    assert!(matches!(&orders[..], [Order::Kill { why, .. }] if why.starts_with("it cannot be woken")), "{orders:?}");
    host.step(6100, &Seen { ended: ended("m-1"), ..wanted(2) });
    assert_eq!(host.words(), ["m-0 ready", "m-1 crashed"]);
    assert_eq!(host.step(7200, &wanted(2)), [start("m-1")]);
    assert_eq!(host.fleet.members[1].woken, None);
}

#[test]
fn a_sleeper_gives_its_gpus_to_a_model_that_waits_for_them_and_else_keeps_them() {
    let mut host = Host::with_a_sleeper(1);
    for (index, member) in host.fleet.members.iter_mut().enumerate() {
        member.gpus = vec![index.to_string()];
    }
    assert_eq!(host.step(5000, &wanted(1)), []);
    let waits = || Seen { gpus_short: 1, ..wanted(1) };
    let orders = host.step(6000, &waits());
    assert!(
        matches!(&orders[..], [Order::Terminate { id, why }] if id == "m-1" && why.contains("another model")),
        "{orders:?}"
    );
    assert_eq!(host.step(6100, &waits()), []);
}

#[test]
fn a_gpu_that_is_free_already_costs_no_second_sleeper_its_own() {
    let mut host = Host::with_beds(3, 2);
    host.step(2000, &wanted(1));
    for (index, member) in host.fleet.members.iter_mut().enumerate() {
        member.gpus = vec![index.to_string()];
        if index > 0 {
            member.life = Life::Asleep { since: at(3000), healthy: at(3000) };
        }
    }
    let gpus = ["0", "1", "2"].map(String::from);
    let waits = || Seen { gpus: &gpus, gpus_short: 1, ..wanted(1) };
    let orders = host.step(6000, &waits());
    let [Order::Terminate { id, .. }] = &orders[..] else { panic!("{orders:?}") };
    let gone = Seen { ended: BTreeMap::from([(id.clone(), "SIGTERM".to_owned())]), ..waits() };
    assert_eq!(host.step(6100, &gone), [], "its GPU is what was asked for, though nobody counted anew");
    assert_eq!(host.step(6150, &waits()), []);
}

#[test]
fn a_hung_sleeper_is_killed_and_none_sleeps_once_everything_ends_or_fewer_may() {
    let mut host = Host::with_a_sleeper(1);
    let health = BTreeMap::from([("m-0".to_owned(), true), ("m-1".to_owned(), false)]);
    let orders = host.step(24_100, &Seen { health, ..wanted(1) });
    assert!(matches!(&orders[..], [Order::Kill { id, .. }] if id == "m-1"), "{orders:?}");

    let mut host = Host::with_a_sleeper(1);
    let orders = host.step(5000, &Seen { is_stopping: true, ..Seen::default() });
    assert!(matches!(&orders[..], [Order::Terminate { id, .. }] if id == "m-1"), "{orders:?}");

    let mut host = Host::with_a_sleeper(1);
    host.models.get_mut("m").unwrap().most_asleep = 0;
    let orders = host.step(5000, &wanted(1));
    assert!(matches!(&orders[..], [Order::Terminate { why, .. }] if why.contains("sleep.engines")), "{orders:?}");
}

#[test]
fn a_busy_engine_whose_drain_is_over_ends_and_does_not_sleep() {
    let mut host = Host::with_beds(2, 1);
    host.step(2000, &wanted(1));
    let orders = host.step(12_100, &wanted(1));
    assert!(matches!(&orders[..], [Order::Terminate { why, .. }] if why.contains("drain.timeout")), "{orders:?}");
}
