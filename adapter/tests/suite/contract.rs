//! Requests of a real kube-apiserver and HPA, word for word, and what they are answered.

use crate::support::Server;
use adapter_core::Rule;
use adapter_core::defaults::{Timing, rules};
use reqwest::Method;
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../fixtures/aggregator-requests.json");

/// The recorded HPA asks for `vllm_kv`: the default rule under that name.
fn recorded_rules() -> Vec<Rule> {
    let mut rules = rules(&Timing::default());
    let mut renamed = rules.iter().find(|rule| rule.name == "vllm_kv_cache_usage_perc").unwrap().clone();
    renamed.name = "vllm_kv".into();
    rules.push(renamed);
    rules
}

async fn answer(server: &Server, request: &Value) -> Value {
    let client = server.front_proxy();
    let method: Method = request["method"].as_str().unwrap().parse().unwrap();
    let path = request["path"].as_str().unwrap();
    let mut sent = client.request(method, format!("{}{path}", server.url));
    for header in request["headers"].as_array().unwrap() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        if name != "Host" {
            sent = sent.header(name, value);
        }
    }
    let got = sent.send().await.unwrap();
    let content_type = got.headers()["content-type"].to_str().unwrap().to_owned();
    let status = got.status().as_u16();
    let mut body: Value = got.json().await.unwrap();
    if let Some(timestamp) = body.pointer_mut("/items/0/timestamp") {
        assert!(timestamp.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
        *timestamp = json!("[time]");
    }
    // The lists of names are covered by the tests of the documents themselves.
    for names in ["/resources", "/items/0/versions/0/resources"] {
        if let Some(names) = body.pointer_mut(names) {
            *names = json!("[names]");
        }
    }
    json!({"path": path, "status": status, "content_type": content_type, "body": body})
}

#[tokio::test]
async fn recorded_requests_get_the_answers_that_hpa_and_aggregator_expect() {
    let server = Server::start(&recorded_rules()).await;
    server.observe("vllm_kv", "default", "a", 0.75);
    server.observe("vllm_kv", "other", "a", 0.5);
    let recorded: Vec<Value> = serde_json::from_str(RECORDED).unwrap();
    assert_eq!(recorded.len(), 9);
    let mut answers = Vec::new();
    for request in &recorded {
        answers.push(answer(&server, request).await);
    }
    insta::assert_json_snapshot!(answers);
}

#[tokio::test]
async fn discovery_is_kept_by_its_etag() {
    let server = Server::start(&rules(&Timing::default())).await;
    let client = server.front_proxy();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    for (path, accept) in [("/apis", accept), ("/apis/external.metrics.k8s.io/v1beta1", "application/json")] {
        let request = || {
            let request = client.get(format!("{}{path}", server.url)).header("Accept", accept);
            request.header("X-Remote-User", "system:kube-aggregator").header("X-Remote-Group", "system:masters")
        };
        let first = request().send().await.unwrap();
        let tag = first.headers()["etag"].clone();
        let again = request().header("If-None-Match", &tag).send().await.unwrap();
        assert_eq!((again.status().as_u16(), again.headers()["etag"].clone()), (304, tag.clone()));
        server.api.documents.replace(&["other"]);
        let changed = request().header("If-None-Match", &tag).send().await.unwrap();
        assert_eq!(changed.status(), 200);
        server.api.documents.replace(&rules(&Timing::default()).iter().map(|r| r.name.as_str()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn refusals_are_status_objects_that_name_the_rule_and_the_fix() {
    let server = Server::start(&rules(&Timing::default())).await;
    server.observe("vllm_num_requests_waiting", "default", "a", 1.0);
    let client = server.front_proxy();
    let base = format!("{}/apis/external.metrics.k8s.io/v1beta1/namespaces/default", server.url);
    for (method, path, accept, code, expected) in [
        (Method::GET, "/nope", "*/*", 404_u16, "no rule has the name nope"),
        (
            Method::GET,
            "/vllm_num_requests_waiting?labelSelector=model%3Ea",
            "*/*",
            400_u16,
            "rule vllm_num_requests_waiting: labelSelector",
        ),
        (Method::GET, "/vllm_num_requests_waiting?labelSelector=%F", "*/*", 400_u16, "not percent-encoded"),
        (Method::GET, "/vllm_num_requests_waiting?labelSelector=model%3Db", "*/*", 503_u16, "models there: a"),
        (Method::GET, "/vllm_num_requests_running", "*/*", 503_u16, "no collection has succeeded yet"),
        (
            Method::GET,
            "/vllm_num_requests_waiting",
            "application/vnd.kubernetes.protobuf",
            406,
            "only application/json",
        ),
        (Method::POST, "/vllm_num_requests_waiting", "*/*", 405_u16, "only GET and HEAD"),
        (Method::GET, "/a/b", "*/*", 404_u16, "serves nothing at"),
    ] {
        let request = client.request(method, format!("{base}{path}")).header("Accept", accept);
        let answer =
            request.header("X-Remote-User", "root").header("X-Remote-Group", "system:masters").send().await.unwrap();
        assert!(answer.headers().get("retry-after").is_none());
        assert_eq!(answer.status().as_u16(), code, "{path}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!((body["kind"].as_str(), body["code"].as_u64()), (Some("Status"), Some(u64::from(code))));
        assert!(body["message"].as_str().unwrap().contains(expected), "{path}: {body}");
    }
}
