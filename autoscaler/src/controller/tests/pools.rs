//! Two targets on one pool of four GPUs.

use super::*;

/// The controller of a pool of four GPUs, and beside llama-8b a Deployment of three replicas.
fn stage() -> Stage {
    let config: ControllerConfig = process::config::parse("pools: {h100: {gpus: 4}}\n").expect("valid");
    let stage = Stage::with(config.settings(&ProcessArgs::default(), "host").expect("valid"));
    stage.second_deployment(3);
    stage
}

fn pooled(target: &str, priority: i32, mode: &str) -> Value {
    json!({"scaleTargetRef": {"name": target}, "maxReplicas": 6, "mode": mode,
        "pool": {"name": "h100", "priority": priority}})
}

#[tokio::test]
async fn the_higher_priority_is_given_gpus_once_the_lower_one_has_let_them_go() {
    let mut stage = stage();
    stage.object("llama-8b", &pooled("llama-8b", 5, "Scale"));
    stage.object("mistral", &pooled("mistral", 0, "Scale"));
    stage.round(&["llama-8b", "mistral"], 32.0, 96.0).await;
    assert_eq!(stage.both_replicas(), (json!(1), json!(1)));
    assert_eq!(stage.status("llama-8b")["reason"], "WaitingForPool");
    let (status, reason, message) = stage.condition("mistral", "Limited");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "YieldedToPool"));
    assert!(message.contains("pool h100 has 4 GPUs; others have llama-8b 3 (priority 5)"), "{message}");
    stage.round(&["llama-8b", "mistral"], 32.0, 96.0).await;
    assert_eq!(stage.both_replicas(), (json!(3), json!(1)));
    assert_eq!(stage.condition("llama-8b", "Limited").1, "LimitedByPool");
}

#[tokio::test]
async fn what_is_not_ours_to_change_keeps_its_gpus() {
    let mut stage = stage();
    stage.object("llama-8b", &pooled("llama-8b", 5, "Scale"));
    stage.object("mistral", &pooled("mistral", 0, "Advise"));
    for _ in 0..3 {
        stage.round(&["llama-8b", "mistral"], 32.0, 96.0).await;
    }
    assert_eq!(stage.both_replicas(), (json!(1), json!(3)));
    assert_eq!(stage.status("llama-8b")["reason"], "LimitedByPool");
}

#[tokio::test]
async fn a_target_that_cannot_be_read_keeps_what_was_last_seen_of_it() {
    let mut stage = stage();
    stage.object("llama-8b", &pooled("llama-8b", 5, "Scale"));
    stage.object("mistral", &pooled("mistral", 0, "Scale"));
    stage.round(&["llama-8b", "mistral"], 1.0, 0.0).await;
    assert_eq!(stage.status("mistral")["currentReplicas"], 3);
    stage.api.refuse("GET", MISTRAL, 500);
    for _ in 0..3 {
        stage.round(&["llama-8b", "mistral"], 32.0, 96.0).await;
    }
    assert_eq!(stage.both_replicas(), (json!(1), json!(3)));
}

#[tokio::test]
async fn a_pool_that_is_not_configured_is_named_with_those_that_are() {
    let mut stage = stage();
    let mut spec = pooled("llama-8b", 0, "Scale");
    spec["pool"]["name"] = json!("a100");
    stage.object("llama-8b", &spec);
    stage.round(&["llama-8b"], 32.0, 96.0).await;
    let (_, reason, message) = stage.condition("llama-8b", "Ready");
    assert_eq!((stage.both_replicas().0, reason.as_str()), (json!(1), "InvalidSpec"));
    assert!(message.contains("spec.pool.name: the controller's configuration has no pool `a100` (h100)"), "{message}");
}
