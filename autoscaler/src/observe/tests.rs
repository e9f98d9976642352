use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use autoscaler_plan::{Objective, Observation, Phase, RateLimits, RouterFacts, RouterObservation, Settings, SumCount};
use axum::Router;
use axum::routing::get;
use engines::{Engine, EngineState};

use super::facts::{Freshness, Share, TargetView, facts};
use super::*;

const ENGINE_PAGE: &str = "# TYPE vllm:num_requests_running gauge\n\
    vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3\n\
    vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 2\n\
    vllm:request_success_total{engine=\"0\",finished_reason=\"stop\",model_name=\"m\"} 7\n\
    vllm:inter_token_latency_seconds_sum{engine=\"0\",model_name=\"m\"} 1.5\n\
    vllm:inter_token_latency_seconds_count{engine=\"0\",model_name=\"m\"} 100\n";

const ROUTER_PAGE: &str = "router_queue_depth{model_name=\"m\"} 4\n\
    router_requests_received_total{model_name=\"m\"} 120\n\
    router_requests_in_flight{model_name=\"m\",engine=\"ns/e-0\"} 5\n\
    router_requests_in_flight{model_name=\"m\",engine=\"ns/other\"} 9\n\
    router_time_to_first_token_seconds_sum{model_name=\"m\",engine=\"ns/e-0\"} 2.5\n\
    router_time_to_first_token_seconds_count{model_name=\"m\",engine=\"ns/e-0\"} 50\n\
    router_time_to_first_token_seconds_bucket{model_name=\"m\",engine=\"ns/e-0\",le=\"+Inf\"} 50\n";

fn clock() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

async fn serve(page: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let routes = Router::new().route("/metrics", get(move || async move { page }));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

fn engine(id: &str, url: &str, state: EngineState) -> Engine {
    Engine {
        id: id.to_owned(),
        namespace: "ns".to_owned(),
        url: url.to_owned(),
        model: "llama".to_owned(),
        state,
        created_at: Some(later(-100)),
        ready_since: Some(later(-50)),
        scheduled_at: None,
        containers_started_at: None,
        labels: Arc::new(BTreeMap::new()),
    }
}

fn freshness() -> Freshness {
    let second = Duration::from_secs(1);
    Freshness { engine_period: 2 * second, router_period: second, scrape_timeout: 2 * second }
}

pub(crate) fn settings() -> Settings {
    Settings {
        min_replicas: 1,
        max_replicas: 4,
        objective: Objective { ttft_seconds: 1.0, inter_token_latency_seconds: 0.05, attainment: 0.99 },
        stabilization_seconds: 60.0,
        rate_limits: RateLimits::default(),
        startup_seconds: None,
        control_period_seconds: 2.0,
        capacity_prior: 32.0,
        rhythm: autoscaler_plan::Rhythm::DAY,
        queue: autoscaler_plan::Queue::Deadline,
        tier: None,
        engine_profile: None,
        floors: Vec::new(),
        paused: false,
    }
}

fn scraper() -> Scraper {
    process::install_crypto_provider();
    Scraper::new(Duration::from_secs(2)).expect("a client")
}

fn view<'a>(engines: &'a [Engine], routers: &'a [Engine], share: Share) -> TargetView<'a> {
    TargetView {
        settings: settings(),
        replicas: 2,
        engines: engines.iter().collect(),
        router: Some(("m", routers)),
        share,
    }
}

#[tokio::test]
async fn pages_of_engines_and_routers_become_facts() {
    let engines = [engine("ns/e-0", &serve(ENGINE_PAGE).await, EngineState::Ready)];
    let routers = [engine("ns/r-0", &serve(ROUTER_PAGE).await, EngineState::Ready)];
    let readings = Readings::default();
    readings.scrape_engines(&scraper(), &engines, clock).await;
    readings.scrape_routers(&scraper(), &routers, clock).await;
    let share = Share { own: 1, all: 2, targets: 2 };
    let facts = facts(&view(&engines, &routers, share), &readings, &freshness(), later(1));
    let Observation::Seen(sample) = &facts.engines[0].observation else { panic!("{facts:?}") };
    assert_eq!((sample.running, sample.waiting, sample.finished_total), (Some(3.0), Some(2.0), Some(7.0)));
    assert_eq!(sample.inter_token_latency, Some(SumCount { sum: 1.5, count: 100.0 }));
    assert_eq!(facts.engines[0].phase, Phase::Ready { created: later(-100), since: later(-50) });
    let RouterFacts::Replicas(replicas) = &facts.router else { panic!("{facts:?}") };
    let RouterObservation::Seen(router) = &replicas[0].observation else { panic!("{facts:?}") };
    assert!((router.queue_depth - 2.0).abs() < 1e-9 && (router.arrivals_share - 0.5).abs() < 1e-9, "{router:?}");
    assert_eq!(router.engines.keys().collect::<Vec<_>>(), ["ns/e-0"]);
    assert_eq!(router.engines["ns/e-0"].ttft, Some(SumCount { sum: 2.5, count: 50.0 }));
}

#[tokio::test]
async fn a_lost_scrape_is_bridged_and_a_long_silence_is_not() {
    let url = serve(ENGINE_PAGE).await;
    let readings = Readings::default();
    readings.scrape_engines(&scraper(), &[engine("ns/e-0", &url, EngineState::Ready)], clock).await;
    let gone = [engine("ns/e-0", "http://127.0.0.1:9", EngineState::Ready)];
    readings.scrape_engines(&scraper(), &gone, clock).await;
    let share = Share { own: 1, all: 1, targets: 1 };
    let at = |seconds| {
        facts(&view(&gone, &[], share), &readings, &freshness(), later(seconds)).engines[0].observation.clone()
    };
    assert!(matches!(at(7), Observation::Seen(_)));
    let Observation::Stale { age_seconds, reason } = at(9) else { panic!("{:?}", at(9)) };
    assert!((age_seconds - 9.0).abs() < 1e-9 && reason.contains("connect"), "{reason}");
}

#[tokio::test]
async fn absent_zero_and_unreachable_are_told_apart() {
    let readings = Readings::default();
    let engines = [engine("ns/e-0", "http://127.0.0.1:9", EngineState::Ready)];
    let routers = [engine("ns/r-0", "http://127.0.0.1:9", EngineState::Ready)];
    readings.scrape_engines(&scraper(), &engines, clock).await;
    readings.scrape_routers(&scraper(), &routers, clock).await;
    let share = Share { own: 1, all: 1, targets: 1 };
    let silent = facts(&view(&engines, &routers, share), &readings, &freshness(), later(1));
    assert!(matches!(silent.engines[0].observation, Observation::Absent { .. }));
    let RouterFacts::Replicas(replicas) = &silent.router else { panic!("{silent:?}") };
    assert!(matches!(replicas[0].observation, RouterObservation::Unreachable { .. }));
    let none = facts(&view(&engines, &[], share), &readings, &freshness(), later(1));
    assert_eq!(none.router, RouterFacts::NotConfigured);
}

#[tokio::test]
async fn a_router_that_starts_is_not_waited_for() {
    let readings = Readings::default();
    let routers = [engine("ns/r-0", "http://127.0.0.1:9", EngineState::Starting)];
    let share = Share { own: 0, all: 0, targets: 1 };
    let facts = facts(&view(&[], &routers, share), &readings, &freshness(), later(1));
    assert_eq!(facts.router, RouterFacts::Replicas(Vec::new()));
}

#[test]
fn a_router_that_was_never_asked_for_a_model_is_none_of_its_tiers() {
    let (readings, routers) = (Readings::default(), [engine("ns/r-0", "http://127.0.0.1:9", EngineState::Ready)]);
    let of = |tier, received_total| {
        let model = read::RouterModel { received_total, ..read::RouterModel::default() };
        readings.put_router("ns/r-0", clock(), [("m".to_owned(), model)].into());
        let mut view = view(&[], &routers, Share { own: 0, all: 0, targets: 1 });
        view.settings.tier = tier;
        facts(&view, &readings, &freshness(), later(1)).router != RouterFacts::NotConfigured
    };
    let decode = Some(autoscaler_plan::Tier::Decode);
    assert_eq!((of(None, 0.0), of(decode, 0.0), of(decode, 1.0)), (true, false, true));
}

#[test]
fn a_shared_queue_is_split_by_ready_engines_and_evenly_without_any() {
    for (share, expected) in [
        (Share { own: 1, all: 4, targets: 2 }, 0.25),
        (Share { own: 0, all: 4, targets: 2 }, 0.0),
        (Share { own: 0, all: 0, targets: 2 }, 0.5),
        (Share { own: 0, all: 0, targets: 1 }, 1.0),
    ] {
        assert!((share.fraction() - expected).abs() < 1e-9, "{share:?}");
    }
}

#[test]
fn an_engine_without_vllm_metrics_is_seen_as_such() {
    let page = EngineMetrics::from_exposition(&exposition::parse("llamacpp:requests_processing 1\n"));
    assert!(!read::engine_sample(&page, clock()).has_vllm_metrics);
}
