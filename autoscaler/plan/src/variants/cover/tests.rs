use proptest::prelude::*;

use super::*;

fn variant(name: &str, capacity_requests: f64, price: f64, max_replicas: u32) -> Variant {
    Variant {
        name: name.to_owned(),
        capacity_requests,
        price,
        startup_seconds: 100.0,
        present: 0,
        min_replicas: 0,
        max_replicas,
    }
}

fn need(within_seconds: f64, requests: f64) -> Need {
    Need { within_seconds, requests }
}

fn replicas(variants: &[Variant], needs: &[Need]) -> Vec<u32> {
    cover(variants, needs, 3600.0).replicas
}

#[test]
fn the_cheapest_request_is_carried_first_and_the_rest_by_what_fits_it() {
    let variants = [variant("h100", 100.0, 10.0, 9), variant("l4", 12.0, 2.0, 9)];
    assert_eq!(replicas(&variants, &[need(600.0, 200.0)]), [2, 0]);
    // Ten requests more: one small replica is cheaper than a third large one.
    assert_eq!(replicas(&variants, &[need(600.0, 210.0)]), [2, 1]);
    assert_eq!(replicas(&variants, &[need(600.0, 290.0)]), [3, 0]);
    assert_eq!(replicas(&variants, &[need(600.0, 0.0)]), [0, 0]);
}

#[test]
fn what_starts_too_slowly_is_no_help_for_the_demand_that_comes_first() {
    let slow = Variant { startup_seconds: 600.0, ..variant("cheap", 10.0, 1.0, 9) };
    let fast = Variant { startup_seconds: 60.0, ..variant("dear", 10.0, 3.0, 9) };
    let variants = [slow.clone(), fast.clone()];
    assert_eq!(replicas(&variants, &[need(600.0, 30.0)]), [3, 0]);
    assert_eq!(replicas(&variants, &[need(60.0, 10.0), need(600.0, 30.0)]), [2, 1]);
    // What is there already is there at once.
    let there = Variant { present: 1, ..slow };
    assert_eq!(replicas(&[there, fast], &[need(60.0, 10.0), need(600.0, 30.0)]), [3, 0]);
}

#[test]
fn what_is_there_stays_unless_a_change_pays_within_the_horizon() {
    let old = Variant { present: 1, ..variant("old", 10.0, 1.0, 1) };
    let new = variant("new", 10.0, 0.9, 1);
    let chosen =
        |horizon_seconds| cover(&[old.clone(), new.clone()], &[need(0.0, 0.0), need(600.0, 10.0)], horizon_seconds);
    assert_eq!(chosen(600.0).replicas, [1, 0]);
    assert_eq!(chosen(6000.0).replicas, [0, 1]);
}

#[test]
fn where_the_maxima_do_not_suffice_as_little_as_possible_stays_missing() {
    let short = cover(&[variant("a", 10.0, 1.0, 2), variant("b", 5.0, 1.0, 1)], &[need(600.0, 40.0)], 3600.0);
    assert_eq!((short.replicas, short.is_least), (vec![2, 1], true));
    assert!((short.missing_requests[0] - 15.0).abs() < 1e-9);
}

#[test]
fn a_variant_whose_capacity_is_not_known_keeps_what_it_has() {
    let unknown = Variant { present: 3, ..variant("unknown", f64::NAN, 1.0, 9) };
    assert_eq!(replicas(&[unknown, variant("known", 10.0, 1.0, 9)], &[need(600.0, 20.0)]), [3, 2]);
}

#[test]
fn hundreds_of_replicas_of_four_variants_are_searched_to_the_end() {
    let variants = [
        variant("a", 96.0, 9.8, 300),
        variant("b", 40.0, 4.3, 300),
        variant("c", 17.0, 1.9, 300),
        variant("d", 12.0, 1.5, 300),
    ];
    assert!(cover(&variants, &[need(600.0, 12_345.0)], 3600.0).is_least);
}

fn any_variant() -> impl Strategy<Value = Variant> {
    (1_u32..40, 1_u32..30, prop::sample::select(vec![30.0, 300.0]), 0_u32..4, 0_u32..3, 0_u32..4).prop_map(
        |(capacity, price, startup_seconds, present, min_replicas, span)| Variant {
            startup_seconds,
            present,
            min_replicas,
            ..variant("v", f64::from(capacity), f64::from(price), min_replicas + span)
        },
    )
}

/// Price of a choice, and what of each need it leaves.
fn judged(variants: &[Variant], needs: &[Need], replicas: &[u32], horizon_seconds: f64) -> (f64, Vec<f64>) {
    let price = variants.iter().zip(replicas).map(|(variant, count)| {
        let new = f64::from(count.saturating_sub(variant.present));
        variant.price * (f64::from(*count) + new * variant.startup_seconds / horizon_seconds)
    });
    let left = needs.iter().map(|need| {
        let carried = variants.iter().zip(replicas).map(|(variant, count)| {
            let late = variant.startup_seconds > need.within_seconds;
            f64::from(if late { (*count).min(variant.present) } else { *count }) * variant.capacity_requests
        });
        (need.requests - carried.sum::<f64>()).max(0.0)
    });
    (price.sum(), left.collect())
}

proptest! {
    #[test]
    fn no_cover_is_cheaper_than_the_one_that_is_found(
        variants in prop::collection::vec(any_variant(), 1..4), soon in 0_u32..120, later in 0_u32..200,
    ) {
        let needs = [need(60.0, f64::from(soon)), need(600.0, f64::from(later))];
        let found = cover(&variants, &needs, 1000.0);
        let (price, left) = judged(&variants, &needs, &found.replicas, 1000.0);
        prop_assert!((price - found.price).abs() < 1e-6);
        prop_assert!(left.iter().zip(&found.missing_requests).all(|(left, missing)| *left < missing + 1e-6));
        let mut choices = vec![Vec::new()];
        for variant in &variants {
            choices = choices
                .iter()
                .flat_map(|choice: &Vec<u32>| {
                    (variant.min_replicas..=variant.max_replicas).map(|count| [choice.as_slice(), &[count]].concat())
                })
                .collect();
        }
        for choice in choices {
            let (other_price, other_left) = judged(&variants, &needs, &choice, 1000.0);
            let leaves = |than: f64| other_left.iter().zip(&left).all(|(other, left)| *other < left + than);
            let is_less = other_left.iter().zip(&left).any(|(other, left)| *other < left - 1e-6);
            let is_better = is_less || (leaves(1e-6) && other_price < price - 1e-6);
            prop_assert!(!is_better, "{choice:?} leaves {other_left:?} at {other_price}, not {left:?} at {price}");
        }
    }
}
