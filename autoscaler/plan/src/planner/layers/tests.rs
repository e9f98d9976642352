use autoscaler_forecast::{Forecaster, Rhythm};
use proptest::prelude::*;

use super::*;

const SEASON: u64 = 240;
const STARTUP_STEPS: usize = 24;

/// A minute is a day here, and a plan step a quarter of a second.
fn rhythm() -> Rhythm {
    Rhythm::new(60.0, 1.0 / 80.0, 0.25).expect("valid")
}

/// One replica is busy; six are in the second half of each day.
fn demand(step: u64) -> f64 {
    if step % SEASON < SEASON / 2 { 1.0 } else { 6.0 }
}

/// Five days, looked at up to some steps into the sixth.
fn forecaster(steps: u64) -> Forecaster {
    let mut forecaster = Forecaster::new(rhythm(), 0);
    for step in 0..5 * SEASON + steps {
        forecaster.push(demand(step));
        forecaster.look(STARTUP_STEPS);
    }
    forecaster
}

/// Layers on, by a plan that had `replicas` on before.
fn layers(steps: u64, replicas: u32, sleepers: Option<Sleepers>) -> u32 {
    let forecaster = forecaster(steps);
    let horizon = Horizon { usage: forecaster.usage(), startup_steps: STARTUP_STEPS, sleepers };
    Layers::new(20.0, replicas).step(&horizon, &mut Tables::default())
}

fn asleep(asleep: usize) -> Sleepers {
    Sleepers { reach: 1 + asleep, most: 5, price: 0.1, wake_steps: 2 }
}

#[test]
fn what_can_be_woken_is_ordered_a_wake_before_it_is_needed_and_the_rest_a_start_before() {
    let first = |layer: u32, sleepers: Option<Sleepers>| {
        (SEASON / 2 - 40..SEASON / 2 + 10).find(|steps| layers(*steps, 1, sleepers) >= layer).expect("ordered at last")
    };
    let (cold, woken) = (first(3, None), first(3, Some(asleep(5))));
    assert!(cold <= SEASON / 2 - STARTUP_STEPS as u64, "ordered at {cold}");
    assert!(woken > cold + 10 && woken <= SEASON / 2, "woken at {woken}, ordered cold at {cold}");
    // Two sleep: the second and third replica are woken, the fourth is started and so ordered as early as ever.
    assert_eq!(first(4, Some(asleep(2))), first(4, None));
}

#[test]
fn a_replica_that_can_be_woken_is_let_go_where_one_that_ends_is_kept() {
    // A lull that is over before a start is: who ends an engine now orders it again at once.
    let steps = SEASON / 2 - 16;
    let sleepers = Sleepers { reach: 6, ..asleep(5) };
    assert_eq!((layers(steps, 6, None), layers(steps, 6, Some(sleepers))), (6, 1));
    // One whose sleep costs nearly as much as its work is not worth the trouble.
    assert_eq!(layers(steps, 6, Some(Sleepers { price: 0.99, ..sleepers })), 6);
}

#[test]
fn a_layer_that_was_woken_is_credited_by_the_wake_and_one_that_was_started_by_the_start() {
    let forecaster = forecaster(SEASON / 2 - 1);
    let horizon = Horizon { usage: forecaster.usage(), startup_steps: STARTUP_STEPS, sleepers: Some(asleep(2)) };
    let mut layers = Layers::new(20.0, 1);
    assert_eq!(layers.step(&horizon, &mut Tables::default()), 6);
    let woken: Vec<bool> = layers.on.iter().map(|on| on.is_woken).collect();
    assert_eq!(woken, [false, true, true, false, false, false]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn all_layers_below_one_that_is_wanted_are_wanted_too(
        demand in prop::collection::vec(0.0_f64..12.0, 4..40),
        price in 1.5_f64..100.0,
        replicas in 0_u32..12,
    ) {
        let mut forecaster = Forecaster::new(rhythm(), 0);
        let mut layers = Layers::new(price, replicas);
        let mut tables = Tables::default();
        for step in 0..2 * SEASON {
            // Steps, spikes and noise, the same in both days.
            let value = demand[(step % SEASON) as usize / 6 % demand.len()];
            forecaster.push(if step.is_multiple_of(17) { value * 2.0 } else { value });
            forecaster.look(STARTUP_STEPS);
            let horizon = Horizon { usage: forecaster.usage(), startup_steps: STARTUP_STEPS, sleepers: None };
            let all = 1..=horizon.usage.layers();
            let wanted: Vec<usize> = all.filter(|layer| layers.wants(*layer, &horizon, &mut tables)).collect();
            prop_assert_eq!(wanted.last().copied().unwrap_or(0), wanted.len(), "{:?}", wanted);
            prop_assert_eq!(layers.step(&horizon, &mut tables) as usize, wanted.len());
        }
    }
}
