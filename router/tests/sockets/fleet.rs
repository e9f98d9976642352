use std::time::Duration;

use serde_json::Value;
use testkit::eventually;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::fake::{Fake, Reply};
use crate::harness::{PATIENCE, Router};

#[tokio::test]
async fn a_new_list_is_applied_and_a_draining_engine_gets_nothing_while_its_stream_ends_in_peace() {
    let (engine_side, chunks) = mpsc::channel(1);
    let chunks = std::sync::Mutex::new(Some(chunks));
    let old = Fake::start(&["m"], move |_| {
        chunks.lock().unwrap().take().map_or_else(|| Reply::json(200, "old"), Reply::Stream)
    })
    .await;
    let new = Fake::start(&["m"], |_| Reply::json(200, "new")).await;
    let router = Router::following(&[("old", &old.url(), "ready")], &[]).await;
    engine_side.send(Ok("data: {\"n\":1}\n\n".into())).await.unwrap();
    let mut stream = router.chat_stream().await;
    stream.chunk().await.unwrap().unwrap();

    let since = Instant::now();
    Router::hand_over(&router.folder, 2, &[("old", &old.url(), "draining"), ("new", &new.url(), "ready")]);
    router.applied(2).await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let engine = |page: &Value, id: &str| {
        page["engines"].as_array().unwrap().iter().find(|engine| engine["id"] == id).cloned().unwrap_or_default()
    };
    let page = router.engines().await;
    assert_eq!(
        (engine(&page, "old")["state"].as_str(), engine(&page, "old")["in_flight"].as_u64()),
        (Some("draining"), Some(1))
    );
    assert_eq!(engine(&page, "old")["model"], "label");
    for _ in 0..10 {
        assert_eq!(router.chat().await.text().await.unwrap(), "new");
    }

    Router::hand_over(&router.folder, 3, &[("new", &new.url(), "ready")]);
    router.applied(3).await;
    let page = router.engines().await;
    assert_eq!(engine(&page, "old")["in_flight"], 1, "an engine that left is shown until it is idle: {page}");
    engine_side.send(Ok("data: [DONE]\n\n".into())).await.unwrap();
    drop(engine_side);
    assert_eq!(stream.text().await.unwrap(), "data: [DONE]\n\n");
    router.metric_becomes("router_engines_generation", 3.0).await;
    let labels = "{model_name=\"m\",engine=\"old\"}";
    router.metric_becomes(&format!("router_requests_in_flight{labels}"), 0.0).await;
}

#[tokio::test]
async fn a_bad_list_changes_nothing_and_is_told() {
    let engine = Fake::start(&["m"], |_| Reply::json(200, "{}")).await;
    let router = Router::following(&[("a", &engine.url(), "ready")], &[]).await;
    for bad in [
        "{\"generation\":2,",
        "{\"generation\":2,\"engines\":[{\"id\":\"a\",\"url\":\"127.0.0.1\",\"model\":\"\",\"state\":\"ready\"}]}",
    ] {
        std::fs::write(Router::engines_file(&router.folder), bad).unwrap();
        router.metric_becomes("router_engines_list_good", 0.0).await;
        assert_eq!(router.chat().await.status(), 200);
        assert_eq!(router.engines().await["generation"], 1);
        assert!(router.program.output().contains("the last good one stays"));
        Router::hand_over(&router.folder, 1, &[("a", &engine.url(), "ready")]);
        router.metric_becomes("router_engines_list_good", 1.0).await;
    }
    std::fs::remove_file(Router::engines_file(&router.folder)).unwrap();
    router.metric_becomes("router_engines_list_good", 0.0).await;
    assert_eq!(router.chat().await.status(), 200);
}

#[tokio::test]
async fn models_of_all_engines_are_merged_once_each() {
    let one = Fake::start(&["m", "m-lora"], |_| Reply::json(200, "one")).await;
    let two = Fake::start(&["m", "other"], |_| Reply::json(200, "two")).await;
    let router = Router::before(&[one.url(), two.url()], &[]).await;
    let list: Value = serde_json::from_str(
        &router.client.get(format!("{}/v1/models", router.url)).send().await.unwrap().text().await.unwrap(),
    )
    .unwrap();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|card| card["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["m", "m-lora", "other"]);
    assert_eq!(list["data"][0]["max_model_len"], 512, "cards keep what the engine wrote");
    for _ in 0..5 {
        assert_eq!(router.post("/v1/completions", r#"{"model":"m-lora"}"#).await.text().await.unwrap(), "one");
        assert_eq!(router.post("/v1/completions", r#"{"model":"other"}"#).await.text().await.unwrap(), "two");
    }
}

#[tokio::test]
async fn an_engine_that_has_not_told_its_names_gets_nothing() {
    // It listens and never answers: neither `/v1/models` nor anything else.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let engine = Fake::start(&["m"], |_| Reply::json(200, "{}")).await;
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let router = Router::start(&["--engine", &silent_url, "--engine", &engine.url()]).await;
    eventually(PATIENCE, "the model of the other engine", || async {
        let answer = router.chat().await;
        anyhow::ensure!(answer.status() == 200, "{}", answer.text().await?);
        Ok(())
    })
    .await
    .unwrap();
    for _ in 0..10 {
        assert_eq!(router.chat().await.status(), 200);
    }
    let unknown = router.post("/v1/completions", r#"{"model":"nope"}"#).await;
    assert_eq!(unknown.status(), 503, "the silent engine may serve it");
    router.ready().await;
    router.metric_becomes("router_engines{state=\"unnamed\"}", 1.0).await;
}

#[tokio::test]
async fn series_of_objectives_and_models_exist_before_the_first_request() {
    let router = Router::following(&[], &[]).await;
    assert_eq!(router.metric("router_objective_time_to_first_token_seconds{model_name=\"m\"}").await, Some(1.5));
    assert_eq!(router.metric("router_objective_inter_token_latency_seconds{model_name=\"m\"}").await, Some(0.25));
    assert_eq!(router.metric("router_requests_received_total{model_name=\"m\"}").await, Some(0.0));
    let text = router.metrics().await;
    openmetrics_parser::openmetrics::parse_openmetrics(&text).expect("OpenMetrics");
}
