use super::*;

const UNITS: ReplicaUnits = ReplicaUnits { service_seconds: 20.0, requests: 10.0 };

fn past(step_seconds: f64, per_second: Vec<Option<f64>>) -> Past {
    Past { begin: Timestamp::from_second(1_000_000).expect("in range"), step_seconds, per_second }
}

#[test]
fn steady_arrivals_are_their_service_time_over_the_capacity() {
    let past = past(60.0, vec![Some(3.0); 10]);
    let (first, demand) = past.demand(&Rhythm::DAY, &UNITS).expect("usable");
    assert_eq!((first, demand.len()), (100_000, 60));
    // 3 a second for 20 s over 10 at once.
    assert!(demand.iter().all(|replicas| (replicas - 6.0).abs() < 1e-9), "{demand:?}");
}

#[test]
fn a_request_is_demand_for_as_long_as_it_is_in_service() {
    let mut rates = vec![Some(0.0); 12];
    rates[3] = Some(1.0);
    let (_, demand) = past(10.0, rates).demand(&Rhythm::DAY, &UNITS).expect("usable");
    // Ten requests of 20 s over ten at once are 20 replica-seconds, two plan steps of one replica.
    assert!((demand.iter().sum::<f64>() - 2.0).abs() < 1e-9, "{demand:?}");
    assert!(demand[..3].iter().chain(&demand[6..]).all(|replicas| *replicas < 1e-9), "{demand:?}");
}

#[test]
fn a_short_gap_holds_the_value_before_it_and_a_long_one_ends_what_is_known() {
    let hour = |rate: Option<f64>, hours: usize| vec![rate; hours * 60];
    let short = [hour(Some(1.0), 2), hour(None, 5), hour(Some(2.0), 1)].concat();
    let (first, demand) = past(60.0, short).demand(&Rhythm::DAY, &UNITS).expect("usable");
    assert_eq!((first, demand.len()), (100_000, 8 * 360));
    assert!((demand[5 * 360] - 2.0).abs() < 1e-9 && (demand[8 * 360 - 1] - 4.0).abs() < 1e-9);
    let long = [hour(Some(1.0), 2), hour(None, 7), hour(Some(2.0), 1)].concat();
    let (first, demand) = past(60.0, long).demand(&Rhythm::DAY, &UNITS).expect("usable");
    assert_eq!((first, demand.len()), (100_000 + 9 * 360, 360));
}

#[test]
fn no_more_is_kept_than_a_forecast_looks_back_on() {
    let (_, demand) = past(600.0, vec![Some(1.0); 20 * 144]).demand(&Rhythm::DAY, &UNITS).expect("usable");
    assert_eq!(demand.len(), Rhythm::DAY.seasons(SEASONS_KEPT));
}

#[test]
fn a_past_without_a_usable_value_is_none() {
    for rates in [vec![], vec![None; 9], vec![Some(f64::NAN), Some(-1.0), Some(f64::INFINITY)]] {
        assert_eq!(past(60.0, rates).demand(&Rhythm::DAY, &UNITS), None);
    }
    assert_eq!(past(0.0, vec![Some(1.0); 9]).demand(&Rhythm::DAY, &UNITS), None);
}
