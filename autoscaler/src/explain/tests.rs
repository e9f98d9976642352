use autoscaler_api::EngineAutoscaler;
use serde_json::json;

use super::*;

fn object(status: &serde_json::Value) -> EngineAutoscaler {
    let mut object = json!({
        "apiVersion": "autoscaling.vllm-prod-stack.io/v1alpha1", "kind": "EngineAutoscaler",
        "metadata": {"name": "llama-8b"}, "spec": {"scaleTargetRef": {"name": "llama-8b"}, "maxReplicas": 12}
    });
    if !status.is_null() {
        object["status"] = status.clone();
    }
    serde_json::from_value(object).expect("an object")
}

#[test]
fn an_object_is_explained_in_whole_sentences() {
    let status = json!({"currentReplicas": 3, "readyReplicas": 2,
        "lastDecision": {"at": "2026-11-23T02:00:00Z", "replicas": 4, "wanted": 4, "inService": 30.0, "waiting": 2.0,
            "arrivalsPerSecond": 1.5, "forecastPerSecond": 2.0,
            "because": [{"reason": "Demand", "message": "30.0 requests in service", "value": 4.0}],
            "terms": [{"term": "binding", "words": "Demand decides on 4 replicas: 30.0 requests in service."},
                {"term": "capacity", "words": "A replica carries 8.0 requests at once, set by engines seen full."}]},
        "capacity": {"requestsPerReplica": 8.0, "setBy": "engines seen full"},
        "startup": {"p50Seconds": 80.0, "p95Seconds": 95.5, "samples": 6},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Scaling", "message": "decisions are written",
            "lastTransitionTime": "2026-11-23T01:00:00Z"}]});
    insta::assert_snapshot!(explain(&object(&status)));
}

#[test]
fn an_object_nobody_decides_on_says_so() {
    let text = explain(&object(&json!(null)));
    assert!(text.contains("is the controller running"), "{text}");
}

#[test]
fn a_page_is_explained_model_by_model_and_an_unknown_one_is_named() {
    let model = |name: &str| {
        json!({"name": name, "min_replicas": 1, "max_replicas": 4, "objective_attainment": 0.99,
            "because": [{"reason": "Forecast", "message": "demand will peak", "value": 3.0}],
            "terms": [{"term": "startup", "words": "A start takes 3 s."}],
            "now": {"wanted": 3, "ready": 2, "starting": 1}, "engines": []})
    };
    let page = json!({"at_ms": 5, "models": [model("a"), model("b")]});
    let page: standalone::Page = serde_json::from_value(page).expect("a page");
    insta::assert_snapshot!(standalone::explain_page(&page, None).expect("both"));
    let mut sleeping = model("c");
    sleeping["asleep"] = json!(2);
    let sleeping: standalone::Page = serde_json::from_value(json!({"models": [sleeping]})).expect("a page");
    let text = standalone::explain_page(&sleeping, None).expect("one");
    assert!(text.contains("3 wanted, 2 Ready, 1 starting, 2 asleep.\n"), "{text}");
    let error = standalone::explain_page(&page, Some("c")).expect_err("unknown").to_string();
    assert_eq!(error, "no model `c` runs there; known are: a, b");
}

#[tokio::test]
async fn a_state_folder_and_a_log_file_tell_the_same() {
    use crate::decision_log::{DecisionLog, file_of, tests::record};
    let folder = tempfile::tempdir().expect("a folder");
    let decisions = crate::standalone::state_dir::decisions_of(folder.path());
    let log = DecisionLog::open(&decisions, 1).expect("writable");
    (0..3).for_each(|second| log.record("llama-8b", record(second)));
    drop(log);
    let at = Some("2027-01-15T08:00:01Z".parse().expect("a time"));
    let path = folder.path().to_string_lossy().into_owned();
    let by_folder = standalone::explain_host(&path, Some("llama-8b"), at).await.expect("logged");
    let by_file = log::explain_file(&file_of(&decisions, "llama-8b"), at).expect("logged");
    assert_eq!(by_folder, format!("llama-8b\n{by_file}"));
    insta::assert_snapshot!(by_file);
    let error = standalone::explain_host(&path, Some("mistral"), None).await.expect_err("unknown").to_string();
    assert!(error.ends_with("no decision of `mistral`; known are: llama-8b"), "{error}");
    let error = standalone::explain_host("http://127.0.0.1:9", None, at).await.expect_err("a page has one").to_string();
    assert!(error.contains("name the state folder instead"), "{error}");
}
