//! Who may read what: every way to arrive at the API over real TLS.

use crate::support::{HPA, Server};
use adapter_core::defaults::{Timing, rules};
use reqwest::{Client, RequestBuilder};

const METRIC: &str =
    "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/vllm_num_requests_waiting?labelSelector=model%3Da";

async fn started() -> Server {
    let server = Server::start(&rules(&Timing::default())).await;
    server.observe("vllm_num_requests_waiting", "default", "a", 7.0);
    server
}

fn as_hpa(request: RequestBuilder) -> RequestBuilder {
    request
        .header("X-Remote-User", HPA)
        .header("X-Remote-Group", "system:serviceaccounts")
        .header("X-Remote-Group", "system:authenticated")
}

async fn status(request: RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    assert!(answer.headers().get("retry-after").is_none());
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn get(client: &Client, server: &Server, path: &str) -> RequestBuilder {
    client.get(format!("{}{path}", server.url))
}

#[tokio::test]
async fn the_front_proxy_speaks_for_hpa() {
    let server = started().await;
    let (code, body) = status(as_hpa(get(&server.front_proxy(), &server, METRIC))).await;
    assert_eq!(code, 200, "{body}");
    assert!(body.contains(r#""value":"7""#), "{body}");
    let reviews = server.reviews.lock().unwrap();
    insta::assert_json_snapshot!(reviews[0], @r#"
    {
      "groups": [
        "system:serviceaccounts",
        "system:authenticated"
      ],
      "resourceAttributes": {
        "group": "external.metrics.k8s.io",
        "namespace": "default",
        "resource": "vllm_num_requests_waiting",
        "verb": "list",
        "version": "v1beta1"
      },
      "user": "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
    }
    "#);
}

#[tokio::test]
async fn decisions_are_remembered() {
    let server = started().await;
    let client = server.front_proxy();
    for _ in 0..20 {
        assert_eq!(status(as_hpa(get(&client, &server, METRIC))).await.0, 200);
    }
    assert_eq!(server.reviews.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn spoofed_headers_count_for_nobody_but_the_front_proxy() {
    let server = started().await;
    let stranger = crate::support::Ca::new("front-proxy-ca");
    for (who, pem) in [
        ("no certificate", None),
        ("right name, wrong CA", Some(stranger.client("front-proxy-client", None))),
        ("right CA, wrong name", Some(server.proxy_ca.client("somebody", None))),
    ] {
        let (code, body) = status(as_hpa(get(&server.client(pem.as_deref()), &server, METRIC))).await;
        assert_eq!(code, 403, "{who}: {body}");
        assert!(body.contains(r#"User \"system:anonymous\" cannot list resource"#), "{who}: {body}");
    }
    let masters = get(&server.client(None), &server, METRIC)
        .header("X-Remote-User", "x")
        .header("X-Remote-Group", "system:masters");
    assert_eq!(status(masters).await.0, 403);
}

#[tokio::test]
async fn a_client_certificate_identifies_its_holder_whatever_the_headers_say() {
    let server = started().await;
    let alice = server.client(Some(&server.client_ca.client("alice", Some("team"))));
    assert_eq!(status(get(&alice, &server, METRIC).header("X-Remote-User", "mallory")).await.0, 200);
    let review = server.reviews.lock().unwrap()[0].clone();
    assert_eq!((review["user"].as_str(), review["groups"][0].as_str()), (Some("alice"), Some("team")));
    let carol = server.client(Some(&server.client_ca.client("carol", None)));
    assert_eq!(status(as_hpa(get(&carol, &server, METRIC))).await.0, 403);
}

#[tokio::test]
async fn a_bearer_token_is_reviewed() {
    let server = started().await;
    let client = server.client(None);
    assert_eq!(status(get(&client, &server, METRIC).bearer_auth("good-token")).await.0, 200);
    let (code, body) = status(get(&client, &server, METRIC).bearer_auth("bad-token")).await;
    assert_eq!((code, body.contains("the bearer token is not valid")), (401, true), "{body}");
    assert!(!body.contains("bad-token"));
}

#[tokio::test]
async fn masters_need_no_review_and_probes_no_identity() {
    let server = started().await;
    let aggregator = get(&server.front_proxy(), &server, "/apis/external.metrics.k8s.io/v1beta1")
        .header("X-Remote-User", "system:kube-aggregator")
        .header("X-Remote-Group", "system:masters");
    assert_eq!(status(aggregator).await.0, 200);
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(status(get(&server.client(None), &server, path)).await.0, 200);
    }
    assert!(server.reviews.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_rotated_proxy_ca_applies_to_open_connections() {
    let server = started().await;
    let client = server.front_proxy();
    assert_eq!(status(as_hpa(get(&client, &server, METRIC))).await.0, 200);
    let fresh = crate::support::Ca::new("front-proxy-ca");
    let data = crate::support::trust_data(&fresh.pem, &server.client_ca.pem);
    server.trust.store(std::sync::Arc::new(adapter::cluster::trust::parse(&data).unwrap()));
    assert_eq!(status(as_hpa(get(&client, &server, METRIC))).await.0, 403);
    let renewed = server.client(Some(&fresh.client("front-proxy-client", None)));
    assert_eq!(status(as_hpa(get(&renewed, &server, METRIC))).await.0, 200);
}

#[tokio::test]
async fn a_draining_server_still_answers_and_asks_to_close() {
    let server = started().await;
    assert_eq!(status(as_hpa(get(&server.front_proxy(), &server, METRIC))).await.0, 200);
    server.stages.draining.cancel();
    let answer = as_hpa(get(&server.front_proxy(), &server, METRIC)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["connection"], "close");
    server.stages.stop_accepting.cancel();
    let refused = || async {
        let sent = as_hpa(get(&server.front_proxy(), &server, METRIC)).send().await;
        anyhow::ensure!(sent.is_err(), "still accepting");
        Ok(())
    };
    testkit::eventually(std::time::Duration::from_secs(5), "closing the port", refused).await.unwrap();
}
