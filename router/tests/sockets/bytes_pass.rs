use bytes::Bytes;
use testkit::eventually;

use crate::fake::{Fake, Reply};
use crate::harness::{PATIENCE, Router};

/// Unknown fields, big integers, odd spacing, a duplicate and an escaped key: a retyped body would change.
const ODD: &str = "{ \"zz_unknown\":{\"b\":1.50,\"a\":[1,2],\"big\":12345678901234567890123},\r\n \"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9\\/\",\"zz\":1}],\"seed\":42,\"seed\":43,\"mod\\u0065l\":\"m\",\"kv_transfer_params\":{\"x\":1} }";

#[tokio::test]
async fn request_and_answer_bytes_are_identical() {
    const ANSWER: &str = "{ \"id\" : \"x\",\"n\":1.50 }\n";
    let engine = Fake::start(&["m"], |_| {
        Reply::Whole(
            201,
            vec![
                ("content-type", "application/json"),
                ("x-custom-answer", "a"),
                ("connection", "x-hop"),
                ("x-hop", "h"),
            ],
            Bytes::from_static(ANSWER.as_bytes()),
        )
    })
    .await;
    let router = Router::before(&[engine.url()], &[]).await;
    let response = router
        .client
        .post(format!("{}/v1/completions?id=7&x=%20", router.url))
        .header("authorization", "Bearer user-key")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("x-request-id", "rid-1")
        .header("connection", "x-drop")
        .header("x-drop", "1")
        .body(ODD)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-custom-answer"], "a");
    assert_eq!(response.headers()["x-request-id"], "rid-1");
    assert!(!response.headers().contains_key("x-hop"));
    assert_eq!(response.text().await.unwrap(), ANSWER);
    let seen = engine.seen().remove(0);
    assert_eq!(seen.body, ODD.as_bytes());
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/completions?id=7&x=%20"));
    assert_eq!(seen.headers["host"], engine.address.to_string());
    assert_eq!(seen.headers["authorization"], "Bearer user-key");
    assert_eq!(seen.headers["x-request-id"], "rid-1");
    assert_eq!(seen.headers["content-length"], ODD.len().to_string());
    assert!(seen.headers.contains_key("traceparent") && !seen.headers.contains_key("x-drop"));
}

#[tokio::test]
async fn a_missing_request_id_is_made_and_told_to_both_sides() {
    let engine = Fake::start(&["m"], |_| Reply::json(200, "{}")).await;
    let router = Router::before(&[engine.url()], &[]).await;
    let response = router.chat().await;
    let id = response.headers()["x-request-id"].clone();
    assert!(id.to_str().unwrap().starts_with("req-"));
    assert_eq!(engine.seen()[0].headers["x-request-id"], id);
}

#[tokio::test]
async fn large_and_chunked_bodies_arrive_whole() {
    let engine = Fake::start(&["m"], |seen| Reply::Whole(200, vec![], seen.body.clone())).await;
    let router = Router::before(&[engine.url()], &[]).await;
    let body = format!("{{\"prompt\":\"{}\",\"model\":\"m\"}}", "x\\\"y".repeat(1_000_000));
    let answer = router.post("/v1/completions", body.clone()).await.bytes().await.unwrap();
    assert_eq!(answer, body.as_bytes());
    let pieces: Vec<std::io::Result<Bytes>> =
        body.as_bytes().chunks(65_537).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let answer = router.post("/v1/completions", chunked).await.bytes().await.unwrap();
    assert_eq!(answer, body.as_bytes());
}

#[tokio::test]
async fn any_path_and_method_reaches_an_engine() {
    let engine = Fake::start(&["m"], |seen| Reply::Whole(200, vec![], seen.path.clone().into())).await;
    let router = Router::before(&[engine.url()], &[]).await;
    let form = "--XX\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nRIFF\r\n--XX--\r\n";
    let upload = router
        .client
        .post(format!("{}/v1/audio/transcriptions", router.url))
        .header("content-type", "multipart/form-data; boundary=XX")
        .body(form);
    assert_eq!(upload.send().await.unwrap().text().await.unwrap(), "/v1/audio/transcriptions");
    assert_eq!(engine.seen()[0].body, form.as_bytes());
    for method in ["GET", "DELETE", "PUT"] {
        let request = router.client.request(method.parse().unwrap(), format!("{}/some/new/api?x=1", router.url));
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), "/some/new/api?x=1", "{method}");
    }
}

#[tokio::test]
async fn http2_without_tls_works_and_many_requests_share_a_connection() {
    let engine = Fake::start(&["m"], |seen| Reply::Whole(200, vec![], seen.body.clone())).await;
    let router = Router::before(&[engine.url()], &[]).await;
    let address = router.url.trim_start_matches("http://");
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let requests = (0..20).map(|number| {
        let mut sender = sender.clone();
        async move {
            let body = format!("{{\"model\":\"m\",\"n\":{number}}}");
            let request = http::Request::post(format!("http://{address}/v1/completions"))
                .body(http_body_util::Full::new(Bytes::from(body.clone())))
                .unwrap();
            let answer = sender.send_request(request).await.unwrap();
            let answer = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
            assert_eq!(answer, body.as_bytes());
        }
    });
    futures::future::join_all(requests).await;
    assert_eq!(engine.seen().len(), 20);
}

#[tokio::test]
async fn the_routers_own_paths_are_answered_without_an_engine() {
    let engine = Fake::start(&["m"], |_| Reply::json(200, "{}")).await;
    let router = Router::before(&[engine.url()], &[]).await;
    for (path, expected) in [
        ("/health", "{\"status\":\"healthy\"}".to_owned()),
        ("/version", format!("{{\"version\":\"{}\"}}", env!("CARGO_PKG_VERSION"))),
        ("/engines", format!("[{{\"engine_id\":\"{}\",\"serving_models\":[\"m\"]}}]", engine.address)),
        ("/v1/models", "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"max_model_len\":512}]}".to_owned()),
    ] {
        let answer = router.client.get(format!("{}{path}", router.url)).send().await.unwrap().text().await.unwrap();
        assert_eq!(answer, expected, "{path}");
    }
    assert!(engine.seen().is_empty());
}

#[tokio::test]
async fn requests_spread_over_engines_and_are_counted() {
    let answer = |_: &crate::fake::Seen| Reply::json(200, "{}");
    let (one, two) = (Fake::start(&["m"], answer).await, Fake::start(&["m"], answer).await);
    let router = Router::before(&[one.url(), two.url()], &[]).await;
    for _ in 0..40 {
        assert_eq!(router.chat().await.status(), 200);
    }
    assert!(one.seen().len() >= 8 && two.seen().len() >= 8, "{} and {}", one.seen().len(), two.seen().len());
    router.metric_becomes("router_requests_received_total{model_name=\"m\"}", 40.0).await;
    router.metric_becomes("router_requests_total{model_name=\"m\",code=\"200\"}", 40.0).await;
    assert_eq!(router.metric("router_queue_depth{model_name=\"m\"}").await, Some(0.0));
    eventually(PATIENCE, "durations of both engines", || async {
        let text = router.metrics().await;
        let counts: Vec<&str> =
            text.lines().filter(|line| line.starts_with("router_request_duration_seconds_count")).collect();
        anyhow::ensure!(counts.len() == 2, "{counts:?}");
        let sum: f64 = counts.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
        anyhow::ensure!(sum > 39.5, "{counts:?}");
        Ok(())
    })
    .await
    .unwrap();
}
