use proptest::prelude::*;

use super::*;

fn pool(gpus: u32) -> Pool {
    Pool { name: "h100".to_owned(), gpus }
}

/// A model of one GPU a replica that wants `wanted` and has `present`, each fully used.
fn claim(name: &str, priority: i32, present: u32, wanted: u32) -> Claim {
    Claim {
        name: name.to_owned(),
        terms: PoolTerms { gpus_per_replica: NonZeroU32::MIN, priority },
        min_replicas: 0,
        wanted,
        present,
        ending: 0,
        takes_back: false,
        keeps: false,
        uses: vec![LayerUse { kept: 1.0, ordered: 2.0 / 3.0 }; wanted as usize],
    }
}

/// The same on `gpus` GPUs a replica.
fn on(gpus: u32, claim: Claim) -> Claim {
    let gpus_per_replica = NonZeroU32::new(gpus).expect("at least one GPU");
    Claim { terms: PoolTerms { gpus_per_replica, ..claim.terms }, ..claim }
}

/// The same, its last replica used this much.
fn last_used(share: f64, mut claim: Claim) -> Claim {
    if let Some(last) = claim.uses.last_mut() {
        *last = LayerUse { kept: share, ordered: share * 2.0 / 3.0 };
    }
    claim
}

fn granted(gpus: u32, claims: &[Claim]) -> Vec<u32> {
    divide(&pool(gpus), claims).iter().map(|grant| grant.granted).collect()
}

fn replicas(gpus: u32, claims: &[Claim]) -> Vec<u32> {
    divide(&pool(gpus), claims).iter().map(|grant| grant.replicas).collect()
}

#[test]
fn with_room_for_all_everybody_gets_what_it_wants_and_no_reason() {
    let grants = divide(&pool(8), &[claim("a", 0, 1, 3), on(2, claim("b", 5, 0, 2))]);
    assert_eq!(grants.iter().map(|grant| grant.replicas).collect::<Vec<_>>(), [3, 2]);
    assert!(grants.iter().all(|grant| grant.because.is_empty()));
}

#[test]
fn minima_come_before_priorities_and_priorities_before_use() {
    let low = Claim { min_replicas: 1, ..claim("low", 0, 0, 3) };
    assert_eq!(granted(4, &[claim("high", 5, 0, 9), low.clone()]), [3, 1]);
    assert_eq!(granted(4, &[last_used(0.01, claim("high", 5, 0, 4)), low]), [3, 1]);
    assert_eq!(granted(4, &[last_used(0.01, claim("high", 5, 0, 4)), claim("low", 0, 0, 3)]), [4, 0]);
}

#[test]
fn at_equal_priority_a_gpu_goes_where_it_is_busiest() {
    let claims = [last_used(0.3, claim("a", 0, 0, 2)), last_used(0.6, claim("b", 0, 0, 2))];
    assert_eq!(granted(3, &claims), [1, 2]);
}

#[test]
fn minima_that_do_not_fit_go_by_priority_and_then_round() {
    let with_min = |name, priority| Claim { min_replicas: 2, ..claim(name, priority, 0, 2) };
    assert_eq!(granted(3, &[with_min("a", 0), with_min("b", 1)]), [1, 2]);
    assert_eq!(granted(2, &[with_min("a", 0), with_min("b", 0)]), [1, 1]);
}

#[test]
fn a_replica_that_is_there_stays_unless_another_would_be_used_half_as_much_again() {
    let there = |share| last_used(share, claim("there", 0, 1, 1));
    let new = |share| last_used(share, claim("new", 0, 0, 1));
    // 2/3 of 0.7 is 0.47: not worth a start-up time on which the GPU serves nobody.
    assert_eq!(granted(1, &[there(0.5), new(0.7)]), [1, 0]);
    assert_eq!(granted(1, &[there(0.5), new(0.8)]), [0, 1]);
}

#[test]
fn a_replica_that_does_not_fit_leaves_its_gpus_to_smaller_ones() {
    assert_eq!(granted(7, &[on(4, claim("big", 1, 0, 2)), claim("small", 0, 0, 5)]), [1, 3]);
}

#[test]
fn what_is_paused_silent_or_not_ours_keeps_its_gpus_whatever_the_priority() {
    let silent = Claim { keeps: true, ..claim("silent", 0, 3, 3) };
    assert_eq!(granted(4, &[claim("high", 9, 0, 4), silent.clone()]), [1, 3]);
    // A pool that was made smaller takes nothing from it either.
    assert_eq!(granted(2, &[claim("high", 9, 0, 4), silent]), [0, 3]);
}

#[test]
fn a_start_waits_until_the_gpus_are_free() {
    let claims = [claim("high", 1, 0, 3), claim("low", 0, 4, 4)];
    assert_eq!((granted(4, &claims), replicas(4, &claims)), (vec![3, 1], vec![0, 1]));
    // One of the three has ended, two still hold their GPUs.
    let claims = [claim("high", 1, 0, 3), Claim { ending: 2, ..claim("low", 0, 1, 4) }];
    assert_eq!((granted(4, &claims), replicas(4, &claims)), (vec![3, 1], vec![1, 1]));
}

#[test]
fn an_engine_that_ends_is_taken_back_without_waiting_for_its_gpu() {
    let back = |takes_back| Claim { ending: 2, takes_back, ..claim("a", 0, 2, 4) };
    assert_eq!(replicas(4, &[back(true)]), [4]);
    assert_eq!(replicas(4, &[back(false)]), [2]);
}

#[test]
fn the_reasons_tell_what_was_wanted_what_was_given_and_who_has_the_rest() {
    let claims = [on(2, claim("chat", 10, 1, 2)), claim("code", 0, 4, 4), claim("idle", 0, 0, 0)];
    let [chat, code, idle] = <[Grant; 3]>::try_from(divide(&pool(6), &claims)).expect("three");
    assert_eq!((chat.granted, chat.replicas, chat.because[0].reason), (2, 1, reasons::WAITING_FOR_POOL));
    assert_eq!(chat.because[0].message, "2 replicas are granted, 1 of them wait until GPUs of pool h100 come free");
    assert_eq!((code.granted, code.because[0].reason), (2, reasons::YIELDED_TO_POOL));
    assert_eq!(
        code.because[0].message,
        "4 replicas of 1 GPU are wanted and 2 granted: pool h100 has 6 GPUs; others have chat 4 (priority 10)"
    );
    assert!(idle.because.is_empty());
}

#[test]
fn two_claims_of_one_name_move_nothing() {
    let grants = divide(&pool(9), &[claim("a", 0, 1, 3), claim("a", 0, 2, 0)]);
    assert_eq!(grants.iter().map(|grant| grant.replicas).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(grants[0].because[0].reason, reasons::PLAN_REFUSED);
    assert!(grants[0].because[0].message.contains("a has two claims on one pool"), "{:?}", grants[0].because);
}

fn any_claim(gpus: impl Strategy<Value = u32>) -> impl Strategy<Value = Claim> {
    let numbers = (gpus, -2_i32..3, 0_u32..4, 0_u32..9, 0_u32..7, 0_u32..3);
    (numbers, any::<bool>(), prop::bool::weighted(0.2), prop::collection::vec(0.0_f64..1.0, 9)).prop_map(
        |((gpus, priority, min, wanted, present, ending), takes_back, keeps, uses)| {
            let uses = uses.iter().map(|share| LayerUse { kept: *share, ordered: share * 2.0 / 3.0 }).collect();
            let min_replicas = min.min(wanted);
            on(gpus, Claim { min_replicas, ending, takes_back, keeps, uses, ..claim("", priority, present, wanted) })
        },
    )
}

fn claims(gpus: impl Strategy<Value = u32> + Clone) -> impl Strategy<Value = Vec<Claim>> {
    prop::collection::vec(any_claim(gpus), 1..7).prop_map(|claims| {
        let named = |(index, claim)| Claim { name: format!("m{index}"), ..claim };
        claims.into_iter().enumerate().map(named).collect()
    })
}

fn gpus_of(claims: &[Claim], replicas: impl Fn(usize) -> u32) -> u32 {
    claims.iter().enumerate().map(|(index, claim)| replicas(index) * claim.terms.gpus_per_replica.get()).sum()
}

fn stays(claim: &Claim) -> u32 {
    if claim.keeps { claim.present.min(claim.wanted) } else { 0 }
}

proptest! {
    #[test]
    fn nobody_gets_more_than_it_wants_and_all_together_no_more_than_there_is(
        gpus in 0_u32..30, claims in claims(1_u32..5),
    ) {
        let grants = divide(&pool(gpus), &claims);
        for (claim, grant) in claims.iter().zip(&grants) {
            prop_assert!(grant.replicas <= grant.granted && grant.granted <= claim.wanted);
            prop_assert!(grant.replicas >= stays(claim));
            prop_assert_eq!(grant.because.is_empty(), grant.replicas == claim.wanted);
            prop_assert!(grant.because.iter().all(|reason| reason.reason != reasons::PLAN_REFUSED));
        }
        let kept = gpus_of(&claims, |index| stays(&claims[index]));
        prop_assert!(gpus_of(&claims, |index| grants[index].granted) <= gpus.max(kept));
        // GPUs that somebody holds, and those that are ordered, are never more than there are.
        let held = gpus_of(&claims, |index| claims[index].present + claims[index].ending);
        let ordered = gpus_of(&claims, |index| {
            let back = if claims[index].takes_back { claims[index].ending } else { 0 };
            grants[index].replicas.saturating_sub(claims[index].present + back)
        });
        prop_assert!(ordered == 0 || held + ordered <= gpus);
    }

    #[test]
    fn minima_are_met_where_the_pool_holds_them_all(spare in 0_u32..9, claims in claims(1_u32..5)) {
        let gpus = spare + gpus_of(&claims, |index| stays(&claims[index]).max(claims[index].min_replicas));
        for (claim, granted) in claims.iter().zip(granted(gpus, &claims)) {
            prop_assert!(granted >= claim.min_replicas);
        }
    }

    #[test]
    fn a_lower_priority_gets_nothing_beyond_its_minimum_that_a_higher_one_could_use(
        gpus in 0_u32..20, claims in claims(1_u32..5),
    ) {
        let granted = granted(gpus, &claims);
        for (high, claim) in claims.iter().enumerate().filter(|(index, claim)| granted[*index] < claim.wanted) {
            for (low, other) in claims.iter().enumerate() {
                let spare = granted[low].saturating_sub(other.min_replicas.max(stays(other)));
                let spare_gpus = spare * other.terms.gpus_per_replica.get();
                let fits = spare_gpus >= claim.terms.gpus_per_replica.get();
                prop_assert!(!(other.terms.priority < claim.terms.priority && fits), "{high} lacks what {low} has");
            }
        }
    }

    #[test]
    fn the_order_of_claims_does_not_matter(
        gpus in 0_u32..20, (claims, turned) in claims(1_u32..5).prop_flat_map(|claims| (Just(claims.clone()), Just(claims).prop_shuffle())),
    ) {
        let by_name = |claims: &[Claim]| -> std::collections::BTreeMap<String, Grant> {
            claims.iter().map(|claim| claim.name.clone()).zip(divide(&pool(gpus), claims)).collect()
        };
        prop_assert_eq!(by_name(&claims), by_name(&turned));
    }

    #[test]
    fn more_priority_more_use_or_more_wanted_never_gets_less(
        gpus in 0_u32..20, claims in claims(1_u32..5), priority in 0_i32..3, wanted in 0_u32..4, used in 0.0_f64..0.5,
    ) {
        let mut dearer = claims.clone();
        dearer[0].terms.priority += priority;
        dearer[0].wanted += wanted;
        for layer in &mut dearer[0].uses {
            *layer = LayerUse { kept: layer.kept + used, ordered: layer.ordered + used };
        }
        prop_assert!(granted(gpus, &dearer)[0] >= granted(gpus, &claims)[0]);
    }

    #[test]
    fn more_gpus_never_give_anybody_less_where_replicas_are_alike(gpus in 0_u32..20, claims in claims(Just(2_u32))) {
        for (more, fewer) in granted(gpus + 1, &claims).into_iter().zip(granted(gpus, &claims)) {
            prop_assert!(more >= fewer);
        }
    }

    #[test]
    fn a_division_that_is_carried_out_is_the_same_the_next_time(gpus in 0_u32..20, claims in claims(1_u32..5)) {
        let first = granted(gpus, &claims);
        let next: Vec<Claim> = claims
            .iter()
            .zip(&first)
            .map(|(claim, granted)| Claim { present: *granted, ending: 0, ..claim.clone() })
            .collect();
        let second = divide(&pool(gpus), &next);
        for ((first, second), claim) in first.iter().zip(&second).zip(&claims) {
            prop_assert_eq!(*first, second.granted, "{}", claim.name);
            prop_assert_eq!(second.replicas, second.granted);
        }
    }
}
