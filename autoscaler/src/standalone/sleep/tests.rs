use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::*;

type Heard = Arc<Mutex<Vec<String>>>;

/// An engine that notes what it is told and answers as `answer` says; asked whether it sleeps, it does after a `/sleep` and
/// until everything is awake.
async fn engine(answer: fn(&str) -> StatusCode) -> (String, Heard) {
    let heard = Heard::default();
    let notes = heard.clone();
    let serve = move |request: Request| {
        let heard = notes.clone();
        async move { reply(&request, answer, &heard) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
    (url, heard)
}

fn reply(request: &Request, answer: fn(&str) -> StatusCode, heard: &Heard) -> Response {
    let path = request.uri().path_and_query().unwrap().as_str().to_owned();
    let mut heard = heard.lock().unwrap();
    if request.method() == "POST" {
        heard.push(path.clone());
        return answer(&path).into_response();
    }
    let awake = ["/wake_up", "/wake_up?tags=kv_cache"];
    let is_sleeping =
        heard.iter().any(|told| told.starts_with("/sleep")) && !heard.iter().any(|told| awake.contains(&told.as_str()));
    match path.as_str() {
        "/is_sleeping" => format!("{{\"is_sleeping\":{is_sleeping}}}").into_response(),
        _ => StatusCode::OK.into_response(),
    }
}

async fn told(url: &str, call: Call, level: SleepLevel) -> Result<(), CallFailure> {
    process::install_crypto_provider();
    call.carry_out(&client().unwrap(), url, level, Duration::from_secs(5)).await
}

#[tokio::test]
async fn the_weights_of_level_2_are_loaded_again_between_the_two_halves_of_a_wake() {
    let (url, heard) = engine(|_| StatusCode::OK).await;
    told(&url, Call::Sleep, SleepLevel::Discarded).await.unwrap();
    told(&url, Call::Wake, SleepLevel::Discarded).await.unwrap();
    let expected =
        ["/sleep?level=2", "/wake_up?tags=weights", "/collective_rpc", "/wake_up?tags=kv_cache", "/reset_prefix_cache"];
    assert_eq!(*heard.lock().unwrap(), expected);
    let (url, heard) = engine(|_| StatusCode::OK).await;
    told(&url, Call::Sleep, SleepLevel::Offloaded).await.unwrap();
    told(&url, Call::Wake, SleepLevel::Offloaded).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), ["/sleep?level=1", "/wake_up"]);
}

#[tokio::test]
async fn an_engine_without_the_call_is_told_apart_from_one_that_fails_and_the_fix_is_named() {
    let (url, _) = engine(|_| StatusCode::NOT_FOUND).await;
    let failure = told(&url, Call::Sleep, SleepLevel::Offloaded).await.unwrap_err();
    assert!(failure.is_unsupported && failure.what.starts_with("/sleep is answered 404"), "{failure}");
    assert!(
        failure.what.contains("VLLM_SERVER_DEV_MODE=1") && failure.what.contains("--enable-sleep-mode"),
        "{failure}"
    );
    let (url, _) = engine(|_| StatusCode::INTERNAL_SERVER_ERROR).await;
    let failure = told(&url, Call::Sleep, SleepLevel::Offloaded).await.unwrap_err();
    assert!(!failure.is_unsupported && failure.what.contains("answered 500"), "{failure}");
    let failure = told("http://127.0.0.1:9", Call::Wake, SleepLevel::Offloaded).await.unwrap_err();
    assert!(!failure.is_unsupported && failure.what.contains("/wake_up"), "{failure}");
}

#[tokio::test]
async fn an_engine_that_says_it_sleeps_or_wakes_and_does_not_is_not_believed() {
    let (url, heard) = engine(|_| StatusCode::OK).await;
    heard.lock().unwrap().push("/wake_up".to_owned());
    let failure = told(&url, Call::Sleep, SleepLevel::Offloaded).await.unwrap_err();
    assert_eq!(failure.what, "/sleep answers 200, and /is_sleeping false");
    // Whoever takes too long is given up.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    process::install_crypto_provider();
    let woken = Call::Wake.carry_out(&client().unwrap(), &url, SleepLevel::Offloaded, Duration::ZERO).await;
    assert_eq!(woken.unwrap_err().what, "it is not awake after 0 s");
}
