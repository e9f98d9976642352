use std::collections::HashMap;

use autoscaler_plan::{Facts, Objective, Queue, RateLimits, Rhythm, RouterFacts, decide};
use axum::http::StatusCode;
use axum::routing::post;
use jiff::SignedDuration;

use super::*;
use crate::past::PrometheusConfig;

const DAY: f64 = 86_400.0;

fn settings() -> Settings {
    Settings {
        min_replicas: 1,
        max_replicas: 20,
        objective: Objective { ttft_seconds: 1.0, inter_token_latency_seconds: 0.05, attainment: 0.999 },
        stabilization_seconds: 60.0,
        rate_limits: RateLimits::default(),
        startup_seconds: Some(240.0),
        control_period_seconds: 2.0,
        capacity_prior: 10.0,
        engine_profile: None,
        floors: Vec::new(),
        // In steps of two minutes, for a test that takes no time.
        rhythm: Rhythm::new(DAY, 1.0, 120.0).expect("valid"),
        queue: Queue::Deadline,
        tier: None,
        paused: false,
    }
}

fn target() -> Target {
    Target { model: "m".to_owned(), namespace: "ns".to_owned(), share: 1.0 }
}

/// Three a second by day, none by night.
fn by_day(at: f64) -> f64 {
    if (0.3..0.8).contains(&(at / DAY).fract()) { 3.0 } else { 0.0 }
}

async fn range(body: String) -> String {
    let url = reqwest::Url::parse(&format!("http://form/?{body}")).expect("a form");
    let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
    let number = |key: &str| asked[key].parse::<f64>().expect("a number");
    assert_eq!(asked["query"], r#"sum(rate(router_requests_received_total{namespace="ns",model_name="m"}[60000ms]))"#);
    let (start, end, step) = (number("start"), number("end"), number("step"));
    let steps = ((end - start) / step) as usize + 1;
    assert!(steps <= 11_000, "more than a Prometheus answers");
    let values: Vec<String> =
        (0..steps).map(|index| start + index as f64 * step).map(|at| format!("[{at},\"{}\"]", by_day(at))).collect();
    let values = values.join(",");
    format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[{values}]}}]}}}}"#
    )
}

async fn source(router: axum::Router) -> Arc<Source> {
    process::install_crypto_provider();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let config = PrometheusConfig::at(&format!("http://{}", listener.local_addr().expect("bound")));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Arc::new(Source::new(&config, true).expect("usable"))
}

/// A decision for a fleet that nobody has asked yet, with a service time as if it were known.
fn decided(state: &mut State, now: Timestamp) -> Decision {
    let facts = Facts {
        settings: settings(),
        replicas: 1,
        engines: Vec::new(),
        router: RouterFacts::Replicas(Vec::new()),
        standby: None,
    };
    let mut decision = decide(&facts, state, now);
    decision.demand.service_seconds = Some(10.0);
    decision
}

/// Goes on until the first attempt has ended.
async fn until_told(back_fill: &mut BackFill, source: &Arc<Source>, state: &mut State, now: Timestamp) -> Told {
    let decision = decided(state, now);
    let attempt = async {
        loop {
            back_fill.advance(source, &target(), &settings(), &decision, state, now);
            match back_fill.told() {
                Some(told) if told.reason != "Reading" => return told.clone(),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), attempt).await.expect("an attempt ends")
}

fn noon() -> Timestamp {
    Timestamp::from_second(1_700_049_600).expect("in range")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_begins_predicts_from_its_first_step_on_once_it_was_told_of_the_past() {
    let source = source(axum::Router::new().route("/api/v1/query_range", post(range))).await;
    // An hour before the day begins, with nobody there.
    let now = noon().checked_add(SignedDuration::from_secs(17 * 3600)).expect("in range");
    let (mut back_fill, mut state) = (BackFill::default(), State::default());
    let told = until_told(&mut back_fill, &source, &mut state, now).await;
    assert_eq!((told.is_read, told.reason), (true, "Read"), "{told:?}");
    assert!(told.message.starts_with("168.0 h of arrivals") || told.message.starts_with("167.9 h"), "{told:?}");
    let later = |seconds| now.checked_add(SignedDuration::from_secs(seconds)).expect("in range");
    let plan = decided(&mut state, later(120)).plan.expect("a plan in the first step");
    assert!(plan.replicas <= 1, "night: {plan:?}");
    // 07:12 is 0.3 of a day; a start takes four minutes, and three a second for 10 s fill three of ten.
    let mut at_dawn = 0;
    for seconds in (240..=2 * 3600 + 720 - 120).step_by(120) {
        at_dawn = decided(&mut state, later(seconds)).plan.expect("a plan").replicas;
    }
    assert!(at_dawn >= 3, "ordered before anybody came: {at_dawn}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_fails_is_told_and_tried_again_and_decisions_go_on() {
    let down = || async { (StatusCode::SERVICE_UNAVAILABLE, "<html>down</html>") };
    let source = source(axum::Router::new().route("/api/v1/query_range", post(down))).await;
    let (mut back_fill, mut state) = (BackFill::default(), State::default());
    let told = until_told(&mut back_fill, &source, &mut state, noon()).await;
    assert_eq!((told.is_read, told.reason), (false, "PrometheusFailed"));
    assert!(told.message.contains("answered 503") && told.message.contains("tried again in 15 s"), "{told:?}");
    assert!(matches!(back_fill.stage, Stage::Due(at) if at > Instant::now()));
    assert_eq!(decided(&mut state, noon()).replicas, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_knows_nothing_is_told_with_the_query_and_the_fix() {
    let nothing = || async { r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"# };
    let source = source(axum::Router::new().route("/api/v1/query_range", post(nothing))).await;
    let (mut back_fill, mut state) = (BackFill::default(), State::default());
    let told = until_told(&mut back_fill, &source, &mut state, noon()).await;
    assert_eq!(told.reason, "NoHistory");
    assert!(told.message.contains("router_requests_received_total") && told.message.contains("prometheus.arrivals"));
}
