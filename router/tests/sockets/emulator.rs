//! Against the real emulator of a vLLM, as a process.

use std::time::Duration;

use futures::future::join_all;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Program, free_port};

use crate::harness::{PATIENCE, Router, error_of};

struct Engine {
    program: Program,
    url: String,
    _folder: TempDir,
}

async fn engine(flags: &[&str]) -> Engine {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().unwrap().to_string();
    let mut all = vec!["serve", "m", "--host", "127.0.0.1", "--port", &port, "--time-scale", "50"];
    all.extend(flags);
    let binary = testkit::binary("engine-emulator").unwrap();
    let program = Program::start(&binary, &all, &folder.path().join("engine.log")).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    testkit::wait_for_http(&format!("{url}/health"), PATIENCE).await.unwrap();
    Engine { program, url, _folder: folder }
}

const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":16,"ignore_eos":true"#;

#[tokio::test]
async fn chat_works_streamed_and_not() {
    let engine = engine(&[]).await;
    let router = Router::before(std::slice::from_ref(&engine.url), &[]).await;
    let whole: Value =
        serde_json::from_str(&router.post("/v1/chat/completions", format!("{CHAT}}}")).await.text().await.unwrap())
            .unwrap();
    assert_eq!(whole["usage"]["completion_tokens"], 16);
    let text = router.post("/v1/chat/completions", format!("{CHAT},\"stream\":true}}")).await.text().await.unwrap();
    assert!(text.starts_with("data: {") && text.ends_with("data: [DONE]\n\n"), "{text}");
    let events = text.matches("data: {").count();
    let labels = format!("{{model_name=\"m\",engine=\"{}\"}}", engine.url.trim_start_matches("http://"));
    router.metric_becomes(&format!("router_time_to_first_token_seconds_count{labels}"), 1.0).await;
    #[expect(clippy::cast_precision_loss, reason = "a few events")]
    let gaps = (events - 1) as f64;
    router.metric_becomes(&format!("router_inter_token_latency_seconds_count{labels}"), gaps).await;
    let (status, _) = error_of(router.post("/v1/chat/completions", r#"{"model":"nope"}"#).await).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn an_overloaded_pair_of_engines_answers_everything_in_time() {
    let flags = ["--max-num-seqs", "2", "--max-num-queued-reqs", "2"];
    let engines = [engine(&flags).await, engine(&flags).await];
    let router = Router::before(&[engines[0].url.clone(), engines[1].url.clone()], &[]).await;
    // Eight have room; the others meet 503, streamed ones inside a 200, and have to be held and retried.
    let requests = (0..40).map(|number| {
        let body = if number % 2 == 0 { format!("{CHAT}}}") } else { format!("{CHAT},\"stream\":true}}") };
        router.post("/v1/chat/completions", body)
    });
    for response in join_all(requests).await {
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        assert!(!text.contains("error"), "{text}");
    }
    let refused = router.metric("router_retries_total{model_name=\"m\",reason=\"full\"}").await;
    assert!(refused.is_some_and(|refused| refused > 0.0), "the test has to overload them: {refused:?}");
    router.metric_becomes("router_queue_depth{model_name=\"m\"}", 0.0).await;
}

#[tokio::test]
async fn an_engine_that_is_told_to_stop_fails_no_request() {
    let flags = ["--shutdown-timeout", "20"];
    let mut engines = [engine(&flags).await, engine(&flags).await];
    let router = Router::before(&[engines[0].url.clone(), engines[1].url.clone()], &[]).await;
    let ask = || router.post("/v1/chat/completions", format!("{CHAT},\"stream\":true}}"));
    let before = join_all((0..8).map(|_| ask())).await;
    engines[0].program.signal(Signal::SIGTERM).unwrap();
    for _ in 0..30 {
        let response = ask().await;
        assert_eq!(response.status(), 200);
        assert!(response.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    }
    for response in before {
        assert!(response.text().await.unwrap().ends_with("data: [DONE]\n\n"), "running streams finish");
    }
    engines[0].program.exit_code(Duration::from_secs(30)).await.unwrap();
    assert_eq!(ask().await.status(), 200);
}
