use std::sync::{Arc, Mutex};

use testkit::eventually;
use tokio::sync::mpsc;

use crate::fake::{BUSY, Fake, Reply};
use crate::harness::{LATE, PATIENCE, Router, error_of};

const DEPTH: &str = "router_queue_depth{model_name=\"m\"}";

fn ask(router: &Router, number: usize) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    let url = format!("{}/v1/completions", router.url);
    let body = format!("{{\"model\":\"m\",\"number\":{number}}}");
    tokio::spawn(router.client.post(url).body(body).send())
}

#[tokio::test]
async fn requests_for_a_model_without_engines_are_held_until_one_appears() {
    let router = Router::following(&[], &[]).await;
    // The objective in the list makes the model known although nothing serves it.
    assert_eq!(router.metric(DEPTH).await, Some(0.0));
    let waiting: Vec<_> = (0..3).map(|number| ask(&router, number)).collect();
    router.metric_becomes(DEPTH, 3.0).await;
    let engine = Fake::start(&["m"], |_| Reply::json(200, "{}")).await;
    Router::hand_over(&router.folder, 2, &[("a", &engine.url(), "ready")]);
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
    router.metric_becomes(DEPTH, 0.0).await;
    assert_eq!(router.metric("router_queue_wait_seconds_count{model_name=\"m\"}").await, Some(3.0));
    assert!(router.metric("router_queue_wait_seconds_sum{model_name=\"m\"}").await.unwrap() > 0.0);
    assert_eq!(router.metric(LATE).await, Some(0.0), "within the objective of 1.5 s");
}

#[tokio::test]
async fn a_model_that_was_served_before_is_held_after_its_last_engine_left() {
    let engine = Fake::start(&["seen-before"], |_| Reply::json(200, "{}")).await;
    let router = Router::following(&[("a", &engine.url(), "ready")], &["--queue-deadline", "200ms"]).await;
    Router::hand_over(&router.folder, 2, &[]);
    router.applied(2).await;
    let (status, error) = error_of(router.post("/v1/completions", r#"{"model":"seen-before"}"#).await).await;
    assert_eq!((status, error["code"].as_str()), (503, Some("no_engine_available")), "{error}");
}

#[tokio::test]
async fn the_deadline_ends_the_wait_with_a_clear_503() {
    let router = Router::following(&[], &["--queue-deadline", "300ms"]).await;
    let response = ask(&router, 0).await.unwrap().unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, error) = error_of(response).await;
    assert_eq!((status, error["code"].as_str()), (503, Some("no_engine_available")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("`m` within 0.3 s: no engine of it is ready"), "{message}");
    router.metric_becomes(DEPTH, 0.0).await;
    assert_eq!(router.metric("router_requests_total{model_name=\"m\",code=\"503\"}").await, Some(1.0));
    assert_eq!(router.metric(LATE).await, Some(1.0), "found no engine");
}

#[tokio::test]
async fn the_queue_is_bounded_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    Router::hand_over(&folder, 1, &[]);
    let config = folder.path().join("config.yaml");
    std::fs::write(
        &config,
        format!("engines: {{file: '{}'}}\nqueue: {{maxRequests: 2}}\n", Router::engines_file(&folder).display()),
    )
    .unwrap();
    let config = config.display().to_string();
    let router = Router::start_in(folder, &["--config", &config]).await;
    router.ready().await;
    let held: Vec<_> = (0..2).map(|number| ask(&router, number)).collect();
    router.metric_becomes(DEPTH, 2.0).await;
    let (status, error) = error_of(ask(&router, 2).await.unwrap().unwrap()).await;
    assert_eq!((status, error["code"].as_str()), (503, Some("queue_full")));
    assert!(error["message"].as_str().unwrap().contains("queue.maxRequests"));
    for request in held {
        // A client that leaves frees its place.
        request.abort();
    }
    router.metric_becomes(DEPTH, 0.0).await;
}

#[tokio::test]
async fn with_a_cap_per_engine_requests_wait_their_turn_in_order() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (go, gate) = mpsc::channel::<()>(8);
    let gate = Arc::new(tokio::sync::Mutex::new(gate));
    let (seen, let_through) = (order.clone(), gate.clone());
    let engine = Fake::start(&["m"], move |request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        seen.lock().unwrap().push(body["number"].as_u64().unwrap());
        let (sender, receiver) = mpsc::channel(1);
        let gate = let_through.clone();
        tokio::spawn(async move {
            sender.send(Ok("data: {}\n\n".into())).await.unwrap();
            gate.lock().await.recv().await;
        });
        Reply::Stream(receiver)
    })
    .await;
    let router = Router::before(&[engine.url()], &["--max-in-flight-per-engine", "1"]).await;
    let first = ask(&router, 0).await.unwrap().unwrap();
    let mut rest = Vec::new();
    for number in 1..5_u32 {
        rest.push(ask(&router, number as usize));
        router.metric_becomes(DEPTH, f64::from(number)).await;
    }
    assert_eq!(engine.seen().len(), 1, "no more than the cap at a time");
    go.send(()).await.unwrap();
    first.text().await.unwrap();
    for request in rest {
        let response = request.await.unwrap().unwrap();
        go.send(()).await.unwrap();
        response.text().await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn requests_wait_while_every_engine_is_full_and_go_on_when_one_is_not() {
    let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let state = full.clone();
    let engine = Fake::start(&["m"], move |_| {
        if state.load(std::sync::atomic::Ordering::SeqCst) { Reply::json(503, BUSY) } else { Reply::json(200, "{}") }
    })
    .await;
    let router = Router::before(&[engine.url()], &[]).await;
    let waiting: Vec<_> = (0..10).map(|number| ask(&router, number)).collect();
    router.metric_becomes(DEPTH, 10.0).await;
    let asked = engine.seen().len();
    eventually(PATIENCE, "the full engine to be asked again", || async {
        anyhow::ensure!(engine.seen().len() > asked, "{asked}");
        Ok(())
    })
    .await
    .unwrap();
    full.store(false, std::sync::atomic::Ordering::SeqCst);
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
    // Ten waiting requests must not all ask a full engine all the time.
    assert!(engine.seen().len() < 80, "{}", engine.seen().len());
}

#[tokio::test]
async fn an_only_engine_that_restarts_costs_no_request() {
    let engine = Fake::start(&["m"], |_| Reply::json(200, "{}")).await;
    let address = engine.address;
    let router = Router::before(&[engine.url()], &[]).await;
    drop(engine);
    let request = ask(&router, 0);
    router.metric_becomes(DEPTH, 1.0).await;
    let _returned = Fake::start_at(address, &["m"], |_| Reply::json(200, "{}")).await;
    assert_eq!(request.await.unwrap().unwrap().status(), 200);
}
