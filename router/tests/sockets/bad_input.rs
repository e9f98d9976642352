use std::process::Command;

use crate::fake::{Fake, Reply};
use crate::harness::{Router, binary, error_of};

/// What the router says when it refuses to start.
fn refusal(arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn bad_flags_are_named_with_the_fix() {
    for (arguments, expected) in [
        (&[][..], "no engines: give --engine URL"),
        (&["--engine", "10.0.0.7:8000"], "write it as http://host:port"),
        (&["--engine", "https://10.0.0.7"], "TLS"),
        (&["--engine", "http://a:1", "--engines-file", "x"], "a static list and a file"),
        (&["--engine", "http://a:1", "--queue-deadline", "30"], "such as 250ms, 1s"),
        (&["--engine", "http://a:1", "--listen", "localhost"], "--listen"),
        (&["--engine", "http://a:1", "--config", "/nonexistent.yaml"], "check --config"),
        (&["--engnie", "http://a:1"], "--engine"),
        (&["--probe", "localhost:8000"], "write http://host:port/path"),
        (&["--probe", "http://a:1", "--probe-deadline", "10ms"], "write 1s or more"),
    ] {
        let message = refusal(arguments);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[test]
fn bad_keys_in_the_file_are_named_with_line_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.yaml");
    for (text, expected) in [
        ("engines: {static: ['http://a:1']}\nqueue:\n  dedline: 5s\n", "dedline"),
        ("engines: {static: ['http://a:1']}\nretry: {maxAttempts: many}\n", "maxAttempts"),
        ("engines: {static: ['http://a:1']}\nmaxBodyBytes: 0\n", "`maxBodyBytes` must be greater than 0"),
    ] {
        std::fs::write(&file, text).unwrap();
        let message = refusal(&["--config", &file.display().to_string()]);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn a_port_in_use_is_an_error_and_not_a_second_router_that_shares_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let message = refusal(&["--engine", "http://a:1", "--listen", &address, "--admin-address", "127.0.0.1:0"]);
    assert!(message.contains("choose another --listen"), "{message}");
}

#[test]
fn an_error_shows_where_it_arose_when_backtraces_are_asked_for() {
    let refused = |backtrace: &str| {
        let output =
            Command::new(binary()).args(["--config", "/nonexistent.yaml"]).env("RUST_BACKTRACE", backtrace).output();
        String::from_utf8(output.unwrap().stderr).unwrap()
    };
    let plain = refused("0");
    let (once, end) = ("router: read configuration file /nonexistent.yaml: No such file", "check --config\n");
    assert!(plain.starts_with(once) && plain.ends_with(end) && plain.lines().count() == 1, "{plain}");
    let long = refused("1");
    assert!(long.contains("Stack backtrace") && long.contains("src/run.rs"), "{long}");
}

#[tokio::test]
async fn a_probe_prints_a_good_answer_and_fails_on_another() {
    let (_engine, router) = two_models(&[]).await;
    let probe = async |url: String| {
        let run = move || Command::new(binary()).args(["--probe", &url, "--probe-deadline", "1s"]).output().unwrap();
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_good, printed, _) = probe(format!("{}/v1/models", router.url)).await;
    assert!(is_good && printed.contains("\"id\":\"m\"") && printed.contains("\"id\":\"n\""), "{printed}");
    let (is_good, printed, told) = probe(format!("{}/nothing", router.admin)).await;
    assert!(!is_good && printed.is_empty() && told.contains("answered 404"), "{told}");
    let (is_good, _, told) = probe("http://127.0.0.1:9/".to_owned()).await;
    assert!(!is_good && told.contains("connect to http://127.0.0.1:9/"), "{told}");
}

#[test]
fn the_configuration_that_applies_can_be_printed_and_read_back() {
    let output = Command::new(binary())
        .args(["--engine", "http://a:1", "--queue-deadline", "5s", "--print-config"])
        .env("ROUTER_MAX_ATTEMPTS", "2")
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let read: router::config::FileConfig = process::config::parse(&text).unwrap();
    let settings = read.settings().unwrap();
    assert_eq!(settings.tunables.queue_deadline, std::time::Duration::from_secs(5));
    assert_eq!(settings.tunables.max_attempts, 2);
    assert!(text.contains("maxBodyBytes: 67108864"), "{text}");
}

async fn two_models(flags: &[&str]) -> (Fake, Router) {
    let engine = Fake::start(&["m", "n"], |_| Reply::json(200, "{}")).await;
    let router = Router::before(&[engine.url()], flags).await;
    (engine, router)
}

#[tokio::test]
async fn an_unknown_model_is_answered_with_those_that_exist() {
    let (engine, router) = two_models(&[]).await;
    let (status, error) = error_of(router.post("/v1/completions", r#"{"model":"gpt-9"}"#).await).await;
    assert_eq!(
        (status, error["code"].as_str(), error["param"].as_str()),
        (404, Some("model_not_found"), Some("model"))
    );
    assert_eq!(error["message"], "model `gpt-9` does not exist; models: m, n");
    assert!(engine.seen().is_empty());
    router.metric_becomes("router_requests_total{model_name=\"other\",code=\"404\"}", 1.0).await;
}

#[tokio::test]
async fn a_body_that_names_no_model_is_told_so_where_there_are_several() {
    let (_engine, router) = two_models(&[]).await;
    for (body, expected) in [
        ("{\"prompt\":\"x\"}", "the request body has no `model`"),
        ("{\"model\":7}", "`model` in the request body is not a string"),
        ("{\"model\":\"m\"", "the JSON body ends too early, at byte 12"),
        ("hello", "the body is not a JSON object"),
        ("", "the request has no body"),
    ] {
        let (status, error) = error_of(router.post("/v1/completions", body).await).await;
        let message = error["message"].as_str().unwrap();
        assert_eq!((status, error["code"].as_str()), (400, Some("model_required")), "{body}");
        assert!(message.contains(expected) && message.ends_with("models: m, n"), "{body}: {message}");
    }
    let form = router.client.post(format!("{}/v1/audio/transcriptions", router.url));
    let form = form.header("content-type", "multipart/form-data; boundary=X").body("--X--\r\n").send().await.unwrap();
    let (status, error) = error_of(form).await;
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().contains("multipart"), "{error}");
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_refused_with_the_cap() {
    let (engine, router) = two_models(&["--max-body-bytes", "1000"]).await;
    let body = format!("{{\"model\":\"m\",\"prompt\":\"{}\"}}", "x".repeat(100_000));
    let (status, error) = error_of(router.post("/v1/completions", body.clone()).await).await;
    assert_eq!((status, error["code"].as_str()), (413, Some("request_too_large")));
    assert!(error["message"].as_str().unwrap().contains("larger than 1000 bytes"), "{error}");
    let pieces: Vec<std::io::Result<String>> =
        body.as_bytes().chunks(900).map(|piece| Ok(String::from_utf8(piece.to_vec()).unwrap())).collect();
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let (status, _) = error_of(router.post("/v1/completions", chunked).await).await;
    assert_eq!(status, 413, "a body of unknown length is cut at the cap too");
    assert!(engine.seen().is_empty());
    assert_eq!(router.post("/v1/completions", "{\"model\":\"m\"}").await.status(), 200);
}
