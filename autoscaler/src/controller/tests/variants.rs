//! Two targets that serve one model on unlike GPUs: llama-8b has a Ready engine, mistral is told to have one.

use super::*;

fn stage() -> Stage {
    let stage = Stage::new();
    stage.second_deployment(1);
    stage
}

fn variant(target: &str, price: f64, mode: &str) -> Value {
    json!({"scaleTargetRef": {"name": target}, "servedModelName": "llama", "maxReplicas": 6, "mode": mode,
        "variant": {"price": price}})
}

#[tokio::test]
async fn what_one_decision_asks_for_is_ordered_where_it_costs_least() {
    let mut stage = stage();
    stage.object("llama-8b", &variant("llama-8b", 3.0, "Scale"));
    stage.object("mistral", &variant("mistral", 1.0, "Scale"));
    stage.round(&["llama-8b", "mistral"], 32.0, 96.0).await;
    assert_eq!(stage.both_replicas(), (json!(1), json!(3)));
    assert_eq!(stage.status("mistral")["reason"], "LeastPrice");
    let message = stage.status("mistral")["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("costs least as 1 of llama-8b,"), "{message}");
}

#[tokio::test]
async fn a_variant_that_is_not_ours_to_change_keeps_its_replicas_and_counts_once_it_is_ready() {
    let mut stage = stage();
    stage.object("llama-8b", &variant("llama-8b", 3.0, "Scale"));
    stage.object("mistral", &variant("mistral", 1.0, "Advise"));
    stage.round(&["llama-8b", "mistral"], 32.0, 96.0).await;
    // Mistral has no Ready engine, so llama-8b carries its share too.
    assert_eq!(stage.both_replicas(), (json!(4), json!(1)));
}

#[tokio::test]
async fn a_variant_of_no_model_is_refused_with_the_field_and_the_fix() {
    let mut stage = stage();
    let mut spec = variant("llama-8b", 3.0, "Scale");
    spec.as_object_mut().expect("an object").remove("servedModelName");
    stage.object("llama-8b", &spec);
    stage.object("mistral", &variant("mistral", 0.0, "Scale"));
    stage.round(&["llama-8b", "mistral"], 32.0, 96.0).await;
    assert_eq!(stage.both_replicas(), (json!(1), json!(1)));
    let (_, reason, message) = stage.condition("llama-8b", "Ready");
    assert_eq!(reason, "InvalidSpec");
    assert!(
        message.contains("spec.servedModelName: it is empty, and variants of a model find each other by it"),
        "{message}"
    );
    let (_, _, message) = stage.condition("mistral", "Ready");
    assert!(
        message.contains("spec.variant.price: 0 is no price; write what a replica costs, such as 2.5"),
        "{message}"
    );
}
