use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use testkit::eventually;
use tokio::time::Instant;

use crate::fake::{BUSY, BUSY_EVENT, DRAINING, Fake, Reply};
use crate::harness::{PATIENCE, Router, error_of};

/// All requests succeed although one of two engines answers like this; returns the router and that engine's requests.
async fn survives(reason: &str, bad: impl Fn() -> Reply + Send + Sync + 'static) -> usize {
    let bad = Fake::start(&["m"], move |_| bad()).await;
    let good = Fake::start(&["m"], |_| Reply::events("data: {}\n\ndata: [DONE]\n\n")).await;
    let router = Router::before(&[bad.url(), good.url()], &[]).await;
    for _ in 0..30 {
        let response = router.chat_stream().await;
        assert_eq!(response.status(), 200, "{reason}");
        assert_eq!(response.text().await.unwrap(), "data: {}\n\ndata: [DONE]\n\n", "{reason}");
    }
    let retries = router.metric(&format!("router_retries_total{{model_name=\"m\",reason=\"{reason}\"}}")).await;
    assert!(retries.is_some_and(|retries| retries >= 1.0), "{reason}: {retries:?}");
    bad.seen().len()
}

#[tokio::test]
async fn an_engine_that_drains_costs_no_request_and_is_left_alone() {
    let asked = survives("draining", || Reply::json(500, DRAINING)).await;
    assert!(asked <= 5, "asked {asked} times");
}

#[tokio::test]
async fn a_full_engine_costs_no_request() {
    survives("full", || Reply::json(503, BUSY)).await;
}

#[tokio::test]
async fn an_engine_that_is_full_in_the_first_event_of_a_stream_costs_no_request() {
    survives("full", || Reply::events(BUSY_EVENT)).await;
}

#[tokio::test]
async fn an_engine_that_closes_connections_costs_no_request() {
    survives("reset", || Reply::Close).await;
}

#[tokio::test]
async fn a_wish_to_retry_later_is_honoured() {
    let asked = survives("full", || Reply::Whole(429, vec![("retry-after", "30")], Bytes::from_static(b"{}"))).await;
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn errors_of_the_client_and_of_the_model_are_passed_on_at_once() {
    static STATUS: AtomicUsize = AtomicUsize::new(0);
    let engine = Fake::start(&["m"], |_| {
        let status = u16::try_from(STATUS.load(Ordering::SeqCst)).unwrap();
        Reply::json(status, "{\"error\":{\"message\":\"from the engine\"}}")
    })
    .await;
    let router = Router::before(&[engine.url()], &[]).await;
    for status in [400_u16, 401, 404, 422, 500, 502] {
        STATUS.store(status.into(), Ordering::SeqCst);
        let response = router.chat().await;
        assert_eq!(response.status(), status);
        assert_eq!(response.text().await.unwrap(), "{\"error\":{\"message\":\"from the engine\"}}");
    }
    assert_eq!(engine.seen().len(), 6, "none of them was retried");
    assert_eq!(router.engines().await["engines"][0]["state"], "ready", "none of them is held against the engine");
}

#[tokio::test]
async fn no_engine_gets_a_request_twice_and_the_attempts_end() {
    let engines = [
        Fake::start(&["m"], |_| Reply::Close).await,
        Fake::start(&["m"], |_| Reply::Close).await,
        Fake::start(&["m"], |_| Reply::Close).await,
    ];
    let urls: Vec<String> = engines.iter().map(Fake::url).collect();
    let router = Router::before(&urls[..2], &[]).await;
    let (status, error) = error_of(router.chat().await).await;
    assert_eq!((status, error["code"].as_str()), (502, Some("engine_failed")));
    assert_eq!([engines[0].seen().len(), engines[1].seen().len()], [1, 1]);
    let router = Router::before(&urls, &["--max-attempts", "2"]).await;
    let (status, error) = error_of(router.chat().await).await;
    assert_eq!(status, 502);
    assert!(error["message"].as_str().unwrap().starts_with("2 engine(s)"), "{error}");
    assert_eq!(engines.iter().map(|engine| engine.seen().len()).sum::<usize>(), 4);
}

#[tokio::test]
async fn an_engine_that_is_gone_is_taken_out_and_is_back_within_two_seconds_of_its_return() {
    let good = Fake::start(&["m"], |_| Reply::json(200, "{}")).await;
    let lost = Fake::start(&["m"], |_| Reply::json(200, "{}")).await;
    let address = lost.address;
    let router = Router::before(&[good.url(), lost.url()], &[]).await;
    drop(lost);
    let state = |wanted: &'static str| {
        let router = &router;
        move || async move {
            assert_eq!(router.chat().await.status(), 200, "no request fails meanwhile");
            let page = router.engines().await;
            let engines = page["engines"].as_array().unwrap();
            let lost = engines.iter().find(|engine| engine["id"] == address.to_string()).unwrap();
            anyhow::ensure!(lost["state"] == wanted, "{page}");
            Ok(())
        }
    };
    eventually(PATIENCE, "the lost engine to be taken out", state("ejected")).await.unwrap();
    let returned = Fake::start_at(address, &["m"], |_| Reply::json(200, "{}")).await;
    let since = Instant::now();
    eventually(PATIENCE, "its return", state("ready")).await.unwrap();
    eventually(PATIENCE, "requests for it", || async {
        router.chat().await;
        anyhow::ensure!(!returned.seen().is_empty(), "none yet");
        Ok(())
    })
    .await
    .unwrap();
    // 2 s is the promise; the rest is for a machine that is busy with a build.
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
}
