use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

use super::*;

async fn served(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn client(url: &str) -> Client {
    process::install_crypto_provider();
    Client::new(&Options { url: url.into(), timeout: Duration::from_millis(300), ..Options::default() }).unwrap()
}

#[tokio::test]
async fn an_answer_arrives_with_labels_values_and_warnings() {
    let body = r#"{"status":"success","warnings":["w"],"data":{"resultType":"vector","result":[
        {"metric":{"model":"a"},"value":[1,"2"]}]}}"#;
    let url = served(Router::new().route("/prefix/api/v1/query", post(move || async move { body }))).await;
    let answer = client(&format!("{url}/prefix/")).query("up").await.unwrap();
    assert_eq!((answer.series.len(), answer.warnings.len()), (1, 1));
}

#[tokio::test]
async fn each_failure_has_its_own_class() {
    let refused = r#"{"status":"error","errorType":"bad_data","error":"1:4: parse error"}"#;
    let router = |status: StatusCode, body: &'static str| {
        Router::new().route("/api/v1/query", post(move || async move { (status, body) }))
    };
    for (status, body, reason, retryable) in [
        (StatusCode::BAD_REQUEST, refused, "refused", false),
        (StatusCode::SERVICE_UNAVAILABLE, "<html>unavailable</html>", "status", true),
        (StatusCode::INTERNAL_SERVER_ERROR, refused, "status", true),
        (StatusCode::FOUND, "", "status", true),
        (StatusCode::OK, "not json", "body", true),
    ] {
        let error = client(&served(router(status, body)).await).query("up").await.unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), (reason, retryable), "{error}");
    }
    let error = client("http://127.0.0.1:1").query("up").await.unwrap_err();
    assert_eq!(error.reason(), "connect");
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_costs_no_more_than_the_timeout() {
    let hang = || async { std::future::pending::<&'static str>().await };
    let error = client(&served(Router::new().route("/api/v1/query", post(hang))).await).query("up").await.unwrap_err();
    assert_eq!(error.reason(), "timeout");
}

#[tokio::test]
async fn headers_and_a_replaced_token_are_sent() {
    let echo = |headers: HeaderMap| async move {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        (
            StatusCode::BAD_REQUEST,
            format!(
                r#"{{"status":"error","errorType":"echo","error":"{} {}"}}"#,
                text("authorization"),
                text("x-scope-orgid")
            ),
        )
    };
    let url = served(Router::new().route("/api/v1/query", post(echo))).await;
    let path = std::env::temp_dir().join(format!("prometheus-token-{}", std::process::id()));
    process::install_crypto_provider();
    let client = Client::new(&Options {
        url,
        timeout: Duration::from_secs(1),
        headers: vec![("X-Scope-OrgID".into(), "tenant".into())],
        bearer_token_file: Some(path.clone()),
        ..Options::default()
    })
    .unwrap();
    for token in ["first", "second"] {
        std::fs::write(&path, format!("{token}\n")).unwrap();
        let error = client.query("up").await.unwrap_err().to_string();
        assert!(error.contains(&format!("Bearer {token} tenant")), "{error}");
        assert!(!format!("{client:?}").contains("tenant"));
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(client.query("up").await.unwrap_err().reason(), "token");
}

#[test]
fn unusable_options_are_named() {
    process::install_crypto_provider();
    let with = |url: &str, headers: Vec<(String, String)>| Options {
        url: url.into(),
        headers,
        timeout: Duration::from_secs(1),
        ..Options::default()
    };
    assert!(Client::new(&with("::", vec![])).unwrap_err().to_string().contains("http://HOST:PORT"));
    let error = Client::new(&with("http://h", vec![("a b".into(), "c".into())])).unwrap_err();
    assert!(error.to_string().contains("header `a b`"));
}

#[tokio::test]
async fn a_long_history_is_asked_for_in_pieces_that_touch_and_do_not_overlap() {
    use std::collections::HashMap;

    let range = |body: String| async move {
        let url = reqwest::Url::parse(&format!("http://form/?{body}")).unwrap();
        let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let number = |key: &str| asked[key].parse::<i64>().expect("whole seconds");
        let values: Vec<String> =
            (number("start")..=number("end")).step_by(10).map(|at| format!("[{at},\"1\"]")).collect();
        assert!(values.len() <= 5_000);
        let values = values.join(",");
        format!(
            r#"{{"status":"success","warnings":["w"],"data":{{"resultType":"matrix","result":[{{"metric":{{"a":"b"}},"values":[{values}]}}]}}}}"#
        )
    };
    let client = client(&served(Router::new().route("/api/v1/query_range", post(range))).await);
    let moment = |second| jiff::Timestamp::from_second(second).unwrap();
    let step = Duration::from_secs(10);
    let answer = client.query_history("x", moment(1_000_003), moment(1_120_009), step).await.unwrap();
    assert_eq!((answer.series.len(), answer.warnings.len()), (1, 1));
    let times: Vec<f64> = answer.series[0].points.iter().map(|(at, _)| *at).collect();
    assert_eq!((times[0], times.len()), (1_000_000.0, 12_001));
    assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 10.0).abs() < 1e-9));
}
