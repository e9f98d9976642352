use engine_model::preset;
use proptest::prelude::*;

use super::*;
use crate::Request;
use crate::policy::tests::task;

struct Listed {
    requests: Vec<Request>,
    seconds: f64,
}

impl RequestSource for Listed {
    fn duration_seconds(&self) -> f64 {
        self.seconds
    }

    fn visit(&self, from_seconds: f64, to_seconds: f64, _seed: u64, each: &mut dyn FnMut(&Request)) {
        let is_in = |r: &&Request| (from_seconds..to_seconds).contains(&r.arrival_seconds);
        self.requests.iter().filter(is_in).for_each(each);
    }

    fn grain_seconds(&self) -> f64 {
        1.0
    }
}

fn request(arrival_seconds: f64, prompt_tokens: u32, output_tokens: u32) -> Request {
    Request { arrival_seconds, prompt_tokens, output_tokens, prefix_group: 0, shared_tokens: 0 }
}

fn engine() -> EngineProfile {
    let preset = preset("qwen3-32b-h100-tp2").unwrap();
    let objective = Objective { ttft_seconds: 3.0, inter_token_seconds: 0.1 };
    EngineProfile { step: preset.step, limits: preset.limits, objective, cached_share: 0.0 }
}

#[test]
fn one_request_occupies_its_share_of_a_replica_for_its_service() {
    let source = Listed { requests: vec![request(13.0, 1000, 200)], seconds: 100.0 };
    let demand = Demand::from_requests(&source, 0, 10.0, &engine()).unwrap();
    let workload = Workload { prompt_tokens: 1000.0, output_tokens: 200.0, cached_share: 0.0 };
    let carried = engine_model::capacity(&engine().step, &workload, &engine().limits, &engine().objective);
    let weight = 1.0 / f64::from(carried.concurrency);
    let about = |a: f64, b: f64| (a / b - 1.0).abs() < 0.05;
    assert_eq!(demand.arrivals[1], 1.0);
    assert_eq!(demand.replicas[0], 0.0);
    assert!(about(demand.replicas[1], 0.7 * weight), "{} {weight}", demand.replicas[1]);
    assert!(about(demand.replicas[2], weight), "{} {weight}", demand.replicas[2]);
    let seconds = demand.replica_seconds_per_request().unwrap() / weight;
    assert!(about(seconds, 200.0 * carried.inter_token_seconds), "{seconds}");
    assert_eq!(demand.mean_workload(0.0), Some(workload));
}

#[test]
fn a_request_that_no_engine_serves_in_time_occupies_a_whole_one() {
    // The KV cache holds 350,000 tokens.
    let source = Listed { requests: vec![request(0.0, 400_000, 10_000)], seconds: 100.0 };
    let demand = Demand::from_requests(&source, 0, 10.0, &engine()).unwrap();
    assert!((demand.replicas[5] - 1.0).abs() < 1e-9, "{:?}", demand.replicas);
}

#[test]
fn a_steady_rate_of_one_replicas_capacity_is_a_demand_of_one() {
    let task = task();
    let rates = vec![task.capacity.requests_per_second; 200];
    let exact = Demand::from_rates(&rates, 10.0, &task, None).unwrap();
    assert!((exact.replicas[150] - 1.0).abs() < 1e-9, "{}", exact.replicas[150]);
    let busy = vec![100.0 * task.capacity.requests_per_second; 2000];
    let random = Demand::from_rates(&busy, 10.0, &task, Some(5)).unwrap();
    assert!((random.mean_replicas() - 100.0).abs() < 1.0, "{}", random.mean_replicas());
    assert_ne!(random, Demand::from_rates(&busy, 10.0, &task, Some(6)).unwrap());
    assert_eq!(random, Demand::from_rates(&busy, 10.0, &task, Some(5)).unwrap());
}

#[test]
fn rates_and_steps_out_of_range_are_refused_by_name() {
    let refused = Demand::from_rates(&[1.0, -2.0], 10.0, &task(), None).unwrap_err();
    assert_eq!(refused.to_string(), "rate = -2: must be requests a second, at least 0");
    assert_eq!(Demand::from_rates(&[1.0], 0.0, &task(), None).unwrap_err().field, "step");
}

#[test]
fn a_silent_trace_has_neither_a_mean_request_nor_a_need() {
    let demand = Demand::from_requests(&Listed { requests: vec![], seconds: 60.0 }, 0, 10.0, &engine()).unwrap();
    assert_eq!((demand.mean_workload(0.0), demand.replica_seconds_per_request()), (None, None));
    assert_eq!(demand.replicas, [0.0; 6]);
}

proptest! {
    #[test]
    fn spread_over_the_steps_a_request_keeps_its_replica_seconds(
        arrivals in prop::collection::vec((0.0..300.0f64, 1u32..4000, 1u32..400), 1..40),
    ) {
        let requests: Vec<Request> = arrivals.iter().map(|(at, i, o)| request(*at, *i, *o)).collect();
        let total: f64 = {
            let engine = engine();
            let mut footprints = Footprints::new(&engine);
            requests.iter().map(|r| footprints.of(r.prompt_tokens, r.output_tokens)).map(|f| f.replicas * f.seconds).sum()
        };
        let demand = Demand::from_requests(&Listed { requests, seconds: 600.0 }, 0, 10.0, &engine()).unwrap();
        let spread = demand.replicas.iter().sum::<f64>() * 10.0;
        prop_assert!((spread - total).abs() < 1e-6 * total.max(1.0), "{} {}", spread, total);
    }

    #[test]
    fn the_kernel_of_a_service_time_sums_to_it(steps in 0.01..12.0f64) {
        let kernel = occupancy_kernel(steps);
        prop_assert!((kernel.iter().sum::<f64>() - steps).abs() < 1e-9);
        prop_assert!(kernel.iter().all(|share| (-1e-12..=1.0 + 1e-12).contains(share)), "{:?}", kernel);
    }
}
