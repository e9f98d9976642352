use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use testkit::eventually;
use tokio::sync::mpsc;

use crate::fake::{Fake, Reply, Seen};
use crate::harness::{LATE, PATIENCE, PROMISED_INTER_TOKEN, Router, SLOW};

/// An engine whose next answers are these streams, in order.
fn streams(receivers: Vec<mpsc::Receiver<io::Result<Bytes>>>) -> impl Fn(&Seen) -> Reply + Send + Sync {
    let receivers = Mutex::new(receivers.into_iter());
    move |_| receivers.lock().unwrap().next().map_or(Reply::Never, Reply::Stream)
}

fn event(text: &'static str) -> io::Result<Bytes> {
    Ok(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn each_event_arrives_before_the_next_one_is_made() {
    let (engine_side, chunks) = mpsc::channel(1);
    let engine = Fake::start(&["m"], streams(vec![chunks])).await;
    let router = Router::before(&[engine.url()], &[]).await;
    engine_side.send(event("data: {\"n\":0}\n\n")).await.unwrap();
    let mut response = router.chat_stream().await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(response.chunk().await.unwrap().unwrap(), "data: {\"n\":0}\n\n");
    for _ in 0..3 {
        engine_side.send(event("data: {\"n\":1}\n\n")).await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "data: {\"n\":1}\n\n");
    }
    engine_side.send(event("data: [DONE]\n\n")).await.unwrap();
    drop(engine_side);
    assert_eq!(response.text().await.unwrap(), "data: [DONE]\n\n");
    let labels = format!("{{model_name=\"m\",engine=\"{}\"}}", engine.address);
    router.metric_becomes(&format!("router_time_to_first_token_seconds_count{labels}"), 1.0).await;
    router.metric_becomes(&format!("router_inter_token_latency_seconds_count{labels}"), 3.0).await;
    router.metric_becomes(&format!("router_requests_in_flight{labels}"), 0.0).await;
    assert_eq!(engine.aborts(), 0);
}

#[tokio::test]
async fn a_stream_whose_tokens_come_too_slowly_is_counted_and_one_in_time_is_not() {
    let (slow, slow_chunks) = mpsc::channel(1);
    let (quick, quick_chunks) = mpsc::channel(1);
    let engine = Fake::start(&["m"], streams(vec![quick_chunks, slow_chunks])).await;
    let router = Router::following(&[("a", &engine.url(), "ready")], &[]).await;
    for (engine_side, pause) in [(quick, Duration::ZERO), (slow, PROMISED_INTER_TOKEN * 2)] {
        engine_side.send(event("data: {\"n\":0}\n\n")).await.unwrap();
        let mut response = router.chat_stream().await;
        response.chunk().await.unwrap().unwrap();
        tokio::time::sleep(pause).await;
        engine_side.send(event("data: {\"n\":1}\n\ndata: [DONE]\n\n")).await.unwrap();
        drop(engine_side);
        response.text().await.unwrap();
        router.metric_becomes(SLOW, if pause.is_zero() { 0.0 } else { 1.0 }).await;
        assert_eq!(router.metric(LATE).await, Some(0.0));
    }
}

async fn engine_is_told(engine: &Fake) {
    eventually(PATIENCE, "the engine to see the abort", || async {
        anyhow::ensure!(engine.aborts() == 1, "{} aborts", engine.aborts());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_in_a_silent_stream_reaches_the_engine() {
    let (engine_side, chunks) = mpsc::channel(1);
    let engine = Fake::start(&["m"], streams(vec![chunks])).await;
    let router = Router::before(&[engine.url()], &[]).await;
    engine_side.send(event("data: {}\n\n")).await.unwrap();
    let mut response = router.chat_stream().await;
    response.chunk().await.unwrap().unwrap();
    // The engine sends nothing from here on, so nobody finds out by writing.
    drop(response);
    engine_is_told(&engine).await;
    router.metric_becomes("router_client_disconnects_total{model_name=\"m\"}", 1.0).await;
    let labels = format!("{{model_name=\"m\",engine=\"{}\"}}", engine.address);
    router.metric_becomes(&format!("router_requests_in_flight{labels}"), 0.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_reaches_the_engine() {
    let engine = Fake::start(&["m"], |_| Reply::Never).await;
    let router = Router::before(&[engine.url()], &[]).await;
    let url = format!("{}/v1/chat/completions", router.url);
    let request = tokio::spawn(testkit::http_client().unwrap().post(url).body(r#"{"model":"m"}"#).send());
    let labels = format!("{{model_name=\"m\",engine=\"{}\"}}", engine.address);
    router.metric_becomes(&format!("router_requests_in_flight{labels}"), 1.0).await;
    request.abort();
    engine_is_told(&engine).await;
    router.metric_becomes("router_requests_total{model_name=\"m\",code=\"499\"}", 1.0).await;
}

#[tokio::test]
async fn an_engine_lost_in_mid_stream_becomes_an_error_event() {
    for (path, cut, expected) in [
        ("/v1/chat/completions", "data: {\"n\":1}\n\n", "data: {\"n\":1}\n\ndata: {\"error\":{\"message\":"),
        // A half event is ended first, so that the error stays readable.
        ("/v1/chat/completions", "data: {\"n", "data: {\"n\n\ndata: {\"error\":{\"message\":"),
        (
            "/v1/messages",
            "event: ping\ndata: {}\n\n",
            "event: ping\ndata: {}\n\nevent: error\ndata: {\"type\":\"error\"",
        ),
    ] {
        let (engine_side, chunks) = mpsc::channel(2);
        let engine = Fake::start(&["m"], streams(vec![chunks])).await;
        let router = Router::before(&[engine.url()], &[]).await;
        engine_side.send(event("data: {\"n\":0}\n\n")).await.unwrap();
        let mut response = router.post(path, r#"{"model":"m","stream":true}"#).await;
        let mut text = response.chunk().await.unwrap().unwrap().to_vec();
        engine_side.send(event(cut)).await.unwrap();
        while !text.ends_with(cut.as_bytes()) {
            text.extend(response.chunk().await.unwrap().unwrap());
        }
        engine_side.send(Err(io::Error::other("gone"))).await.unwrap();
        while let Some(chunk) = response.chunk().await.unwrap() {
            text.extend(chunk);
        }
        let text = String::from_utf8(text).unwrap();
        let rest = text.strip_prefix("data: {\"n\":0}\n\n").unwrap();
        assert!(rest.starts_with(expected) && rest.ends_with("}}\n\n"), "{path}: {text}");
        assert!(!text.contains("[DONE]"), "an answer that was cut is not done");
        let series = format!(
            "router_upstream_errors_total{{model_name=\"m\",engine=\"{}\",reason=\"mid_stream\"}}",
            engine.address
        );
        router.metric_becomes(&series, 1.0).await;
    }
}
