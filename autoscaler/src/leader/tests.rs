use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fake_api::FakeApi;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/ns/leases/lease";

fn clock() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000).expect("in range")
}

fn candidate(api: &FakeApi, me: &str) -> (Candidate, watch::Receiver<Leadership>) {
    Candidate::new(Api::namespaced(api.client(), "ns"), "lease".to_owned(), me.to_owned(), clock)
}

fn seen(holder: Option<&str>, since: Instant) -> Seen {
    Seen { holder: holder.map(str::to_owned), resource_version: "1".to_owned(), duration: LEASE_DURATION, since }
}

#[tokio::test]
async fn a_lease_is_taken_only_when_it_is_free_ours_or_silent_for_its_duration() {
    let start = Instant::now();
    let later = |seconds| start + Duration::from_secs(seconds);
    for (holder, seconds, expected) in [
        (None, 0, Step::Acquire),
        (Some(""), 0, Step::Acquire),
        (Some("me"), 0, Step::Renew),
        (Some("me"), 100, Step::Renew),
        (Some("other"), 14, Step::Wait),
        (Some("other"), 15, Step::Acquire),
    ] {
        assert_eq!(step(&seen(holder, start), "me", later(seconds)), expected, "{holder:?} after {seconds} s");
    }
}

#[tokio::test]
async fn the_first_replica_leads_and_the_second_waits() {
    let (api, now) = (FakeApi::default(), Instant::now());
    let ((mut first, leads_first), (mut second, leads_second)) = (candidate(&api, "a"), candidate(&api, "b"));
    first.attempt(now).await;
    second.attempt(now).await;
    assert!(leads_first.borrow().holds(now));
    assert!(!leads_second.borrow().holds(now));
    assert_eq!(api.get(PATH).expect("made")["spec"]["holderIdentity"], "a");
}

#[tokio::test]
async fn a_lease_that_is_there_and_empty_is_taken_with_its_labels_kept() {
    let (api, now) = (FakeApi::default(), Instant::now());
    api.put(
        PATH,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "lease", "labels": {"app.kubernetes.io/managed-by": "Helm"}}}),
    );
    let (mut first, leads) = candidate(&api, "a");
    first.attempt(now).await;
    assert!(leads.borrow().holds(now));
    assert_eq!(api.get(PATH).expect("there")["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
}

#[tokio::test]
async fn a_silent_leader_has_stopped_before_another_one_begins() {
    let (api, mut now) = (FakeApi::default(), Instant::now());
    let ((mut first, leads_first), (mut second, leads_second)) = (candidate(&api, "a"), candidate(&api, "b"));
    first.attempt(now).await;
    // The first is cut off from now on; the second looks each two seconds.
    let mut overlap = 0;
    for _ in 0..20 {
        second.attempt(now).await;
        overlap += u32::from(leads_first.borrow().holds(now) && leads_second.borrow().holds(now));
        now += RETRY_PERIOD;
    }
    assert_eq!(overlap, 0);
    assert!(leads_second.borrow().holds(now));
    assert_eq!(api.get(PATH).expect("there")["spec"]["holderIdentity"], "b");
    // Cut off no longer, the first sees that it has lost.
    first.attempt(now).await;
    assert!(!leads_first.borrow().holds(now));
}

#[tokio::test]
async fn a_short_outage_of_the_api_server_does_not_end_a_term_and_a_long_one_does() {
    let (api, start) = (FakeApi::default(), Instant::now());
    let later = |seconds| start + Duration::from_secs(seconds);
    let (mut first, leads) = candidate(&api, "a");
    first.attempt(start).await;
    api.refuse("GET", PATH, 500);
    first.attempt(later(6)).await;
    assert!(leads.borrow().holds(later(6)));
    first.attempt(later(11)).await;
    assert!(!leads.borrow().holds(later(11)));
    api.refuse("GET", PATH, 0);
    first.attempt(later(12)).await;
    assert!(leads.borrow().holds(later(12)));
}

#[tokio::test]
async fn who_loses_a_race_for_the_write_does_not_lead() {
    let (api, now) = (FakeApi::default(), Instant::now());
    let (mut first, leads) = candidate(&api, "a");
    api.put(PATH, json!({"metadata": {"name": "lease"}, "spec": {}}));
    api.refuse("PUT", PATH, 409);
    first.attempt(now).await;
    assert!(!leads.borrow().holds(now));
}

#[tokio::test]
async fn a_leader_that_stops_hands_the_lease_back() {
    let api = FakeApi::default();
    let (first, leads) = candidate(&api, "a");
    let stop = CancellationToken::new();
    let running = tokio::spawn(first.run(stop.clone()));
    let mut changed = leads.clone();
    tokio::time::timeout(WRITE_TIMEOUT, changed.changed()).await.expect("in time").expect("it leads");
    stop.cancel();
    running.await.expect("it stops");
    assert!(!leads.borrow().holds(Instant::now()));
    assert_eq!(api.get(PATH).expect("there")["spec"].get("holderIdentity"), None);
    let (mut second, leads_second) = candidate(&api, "b");
    second.attempt(Instant::now()).await;
    assert!(leads_second.borrow().holds(Instant::now()));
}

proptest! {
    /// Two replicas that look and fail at random: never two leaders, at no moment of a leader's term.
    #[test]
    fn there_are_never_two_leaders(turns in prop::collection::vec((0_u64..6000, any::<bool>(), 0_usize..2), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let (api, mut now) = (FakeApi::default(), Instant::now());
            let mut replicas = [candidate(&api, "a"), candidate(&api, "b")];
            replicas[0].0.attempt(now).await;
            assert!(replicas[0].1.borrow().holds(now), "the first one leads, or nothing is tested");
            for (wait, reachable, who) in turns {
                now += Duration::from_millis(wait);
                api.refuse("GET", PATH, if reachable { 0 } else { 500 });
                replicas[who].0.attempt(now).await;
                let leaders = replicas.iter().filter(|(_, leads)| leads.borrow().holds(now)).count();
                assert!(leaders <= 1, "two leaders at {now:?}");
            }
        });
    }
}
