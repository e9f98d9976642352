use proptest::prelude::*;

use super::*;

const TOLERANCE: Tolerance = Tolerance { up: 0.1, down: 0.1 };

fn items(sum: f64, count: u32, missing: u32, unready: u32) -> PodItems {
    PodItems { sum: milli(sum), count, missing, unready }
}

#[test]
fn a_value_target_scales_the_ready_pods_and_an_average_target_ignores_them() {
    // 30 against 10: three times as many of the 2 ready of 4.
    assert_eq!(external_value(milli(30.0), milli(10.0), 4, 2, TOLERANCE), 6);
    assert_eq!(external_average(milli(30.0), milli(10.0), 4, TOLERANCE), 3);
}

#[test]
fn the_tolerance_is_inclusive_and_has_two_sides() {
    let value = |usage| external_value(milli(usage), milli(10.0), 5, 5, TOLERANCE);
    assert_eq!([value(9.0), value(11.0)], [5, 5]);
    assert_eq!([value(8.999), value(11.001)], [5, 6]);
    assert_eq!(value(8.0), 4);
    let one_sided = Tolerance { up: 0.0, down: 0.5 };
    assert_eq!(external_value(milli(10.1), milli(10.0), 5, 5, one_sided), 6);
    assert_eq!(external_value(milli(5.0), milli(10.0), 5, 5, one_sided), 5);
}

#[test]
fn from_zero_there_is_no_tolerance_and_the_least_noise_is_a_replica() {
    assert_eq!(external_value(milli(1e-4), milli(10.0), 0, 0, TOLERANCE), 1);
    assert_eq!(milli(1e-4), 1);
    assert_eq!(external_average(milli(25.0), milli(10.0), 0, TOLERANCE), 3, "infinite ratio");
    assert_eq!(external_average(0, milli(10.0), 0, TOLERANCE), 0, "no number is not within the tolerance");
}

#[test]
fn unready_pods_count_as_idle_when_it_would_scale_up_and_not_when_down() {
    // Two ready at 20 against 10 would be 4; with two pending it is 20 · 2 / 4 = 10: enough.
    assert_eq!(pods_average(items(40.0, 2, 0, 0), milli(10.0), 2, TOLERANCE), Some(4));
    assert_eq!(pods_average(items(40.0, 2, 0, 2), milli(10.0), 4, TOLERANCE), Some(4));
    // At 60 in sum each of the four is at 15: six.
    assert_eq!(pods_average(items(60.0, 2, 0, 2), milli(10.0), 4, TOLERANCE), Some(6));
    // Idle: the pending ones are left out, the two ready come down to one.
    assert_eq!(pods_average(items(10.0, 2, 0, 2), milli(10.0), 4, TOLERANCE), Some(1));
}

#[test]
fn missing_pods_count_against_every_change() {
    // Down: missing ones at the target. (4 + 10) / 2 = 7: 2 · 0.7 = 2.
    assert_eq!(pods_average(items(4.0, 1, 1, 0), milli(10.0), 2, TOLERANCE), Some(2));
    // Up: missing ones idle. 30 / 2 = 15: 3, where one alone would have called for 3 too, of one pod.
    assert_eq!(pods_average(items(30.0, 1, 1, 0), milli(10.0), 2, TOLERANCE), Some(3));
    // The direction turns when they are filled in: hold.
    assert_eq!(pods_average(items(12.0, 1, 3, 0), milli(10.0), 4, TOLERANCE), Some(4));
    assert_eq!(pods_average(items(0.0, 0, 4, 0), milli(10.0), 4, TOLERANCE), None);
}

#[test]
fn several_metrics_take_the_largest_and_a_missing_one_forbids_to_scale_down() {
    assert_eq!(combine(&[Some(3), Some(5)], 4), Some(5));
    assert_eq!(combine(&[None, Some(5)], 4), Some(5));
    assert_eq!(combine(&[None, Some(3)], 4), None);
    assert_eq!(combine(&[None, None], 4), None);
}

#[test]
fn without_behaviour_it_at_most_doubles_and_at_least_reaches_four() {
    let mut hpa = Hpa::new(1, 100, None);
    assert_eq!(hpa.settle(0.0, 1, Some(50)), 4);
    assert_eq!(hpa.settle(15.0, 4, Some(50)), 8);
    assert_eq!(hpa.settle(30.0, 8, Some(50)), 16);
}

#[test]
fn without_behaviour_the_highest_recommendation_of_five_minutes_holds() {
    let mut hpa = Hpa::new(1, 100, None);
    assert_eq!(hpa.settle(0.0, 10, Some(12)), 12);
    assert_eq!(hpa.settle(15.0, 12, Some(3)), 12);
    assert_eq!(hpa.settle(285.0, 12, Some(3)), 12);
    assert_eq!(hpa.settle(300.0, 12, Some(3)), 3);
}

#[test]
fn the_first_round_after_a_start_of_the_controller_does_not_scale_down() {
    let mut hpa = Hpa::new(1, 100, Some(Behavior::default()));
    assert_eq!(hpa.settle(1000.0, 10, Some(2)), 10);
    assert_eq!(hpa.settle(1300.0, 10, Some(2)), 2);
}

#[test]
fn rate_limits_look_back_over_their_period() {
    let up = Direction {
        window_seconds: 0.0,
        limits: vec![(Step::Pods(4), 60.0), (Step::Percent(100), 60.0)],
        select: Select::Max,
    };
    let mut hpa = Hpa::new(1, 100, Some(Behavior { up, ..Behavior::default() }));
    assert_eq!(hpa.settle(0.0, 2, Some(50)), 6);
    assert_eq!(hpa.settle(15.0, 6, Some(50)), 6, "the period began at two");
    assert_eq!(hpa.settle(60.0, 6, Some(50)), 12);
}

#[test]
fn one_pod_in_two_minutes_downwards_is_one_pod_in_two_minutes() {
    let down = Direction { window_seconds: 0.0, limits: vec![(Step::Pods(1), 120.0)], select: Select::Max };
    let mut hpa = Hpa::new(1, 100, Some(Behavior { down, ..Behavior::default() }));
    let mut replicas = 10;
    let counts: Vec<u32> = (0..17)
        .map(|round| {
            replicas = hpa.settle(15.0 * f64::from(round), replicas, Some(1));
            replicas
        })
        .collect();
    assert_eq!(counts, [9, 9, 9, 9, 9, 9, 9, 9, 8, 8, 8, 8, 8, 8, 8, 8, 7]);
}

#[test]
fn an_upward_window_takes_the_lowest_recommendation_and_disabled_forbids() {
    let up = Direction { window_seconds: 60.0, ..Behavior::default().up };
    let mut hpa = Hpa::new(1, 100, Some(Behavior { up, ..Behavior::default() }));
    assert_eq!(hpa.settle(0.0, 2, Some(4)), 2, "the seed is two");
    assert_eq!(hpa.settle(59.0, 2, Some(4)), 2);
    assert_eq!(hpa.settle(61.0, 2, Some(3)), 3);
    let up = Direction { select: Select::Disabled, ..Behavior::default().up };
    let mut hpa = Hpa::new(1, 100, Some(Behavior { up, ..Behavior::default() }));
    assert_eq!(hpa.settle(0.0, 2, Some(4)), 2);
}

#[test]
fn percent_alone_never_leaves_zero_and_bounds_come_before_everything() {
    let up = Direction { window_seconds: 0.0, limits: vec![(Step::Percent(100), 15.0)], select: Select::Max };
    let mut hpa = Hpa::new(0, 10, Some(Behavior { up, ..Behavior::default() }));
    assert_eq!(hpa.settle(0.0, 0, Some(7)), 0);
    let mut hpa = Hpa::new(0, 10, Some(Behavior::default()));
    assert_eq!(hpa.settle(0.0, 0, Some(7)), 4, "four pods in the first period");
    let mut hpa = Hpa::new(2, 10, Some(Behavior::default()));
    assert_eq!(hpa.settle(0.0, 0, Some(7)), 0, "disabled");
    assert_eq!([hpa.settle(15.0, 20, None), hpa.settle(30.0, 1, None)], [10, 2]);
    assert_eq!(hpa.settle(45.0, 5, None), 5, "no metric: hold");
}

proptest! {
    #[test]
    fn it_never_leaves_its_bounds(
        rounds in prop::collection::vec(prop::option::of(0u32..500), 1..80), has_behavior in any::<bool>(), first in 2u32..30,
    ) {
        let mut hpa = Hpa::new(2, 30, has_behavior.then(Behavior::default));
        let mut replicas = first;
        for (round, recommended) in rounds.into_iter().enumerate() {
            replicas = hpa.settle(15.0 * round as f64, replicas, recommended);
            prop_assert!((2..=30).contains(&replicas), "{}", replicas);
        }
    }

    #[test]
    fn more_usage_never_recommends_less(usage in 0i64..10_000_000, more in 0i64..1_000_000, replicas in 1u32..50) {
        let of = |usage| external_value(usage, 10_000, replicas, replicas, TOLERANCE);
        prop_assert!(of(usage) <= of(usage + more));
        let average = |usage| external_average(usage, 10_000, replicas, TOLERANCE);
        prop_assert!(average(usage) <= average(usage + more));
    }
}
