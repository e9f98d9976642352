//! `autoscaler explain NAME`: the last decision of an EngineAutoscaler, in plain words, from its status.

use anyhow::Context as _;
use autoscaler_api::{ConditionStatus, EngineAutoscaler, EngineAutoscalerStatus};
use kube::{Api, Client, ResourceExt as _};

/// Put the last decision of an EngineAutoscaler into words.
#[derive(Debug, Clone, clap::Args)]
pub struct ExplainArgs {
    /// Name of the EngineAutoscaler
    pub name: String,
    /// Its namespace [default: that of the kubeconfig]
    #[arg(long, short, env = "NAMESPACE")]
    pub namespace: Option<String>,
}

/// Prints the explanation.
///
/// # Errors
/// If there is no cluster or no such object.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub async fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("find the cluster: neither in a pod nor a kubeconfig")?;
    let namespace = args.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let api: Api<EngineAutoscaler> = Api::namespaced(client, &namespace);
    let object =
        api.get(&args.name).await.with_context(|| format!("read EngineAutoscaler {namespace}/{}", args.name))?;
    print!("{}", explain(&object));
    Ok(())
}

/// The explanation.
#[must_use]
pub fn explain(object: &EngineAutoscaler) -> String {
    let mut text = String::new();
    let spec = &object.spec;
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!(
        "{} keeps {} {} between {} and {} replicas (mode {}{}).",
        object.name_any(),
        spec.scale_target_ref.kind,
        spec.scale_target_ref.name,
        spec.min_replicas,
        spec.max_replicas,
        spec.mode.as_str(),
        if spec.paused { ", paused" } else { "" },
    ));
    line(format!(
        "Objective: {} of requests get their first token within {} and the next ones each {}.",
        spec.objective.attainment, spec.objective.ttft, spec.objective.inter_token_latency
    ));
    let Some(status) = &object.status else {
        line("No decision yet: is the controller running, and does it watch this namespace?".to_owned());
        return text;
    };
    decision(status, &mut line);
    learned(status, &mut line);
    for condition in &status.conditions {
        let holds = match condition.status {
            ConditionStatus::True => "yes",
            ConditionStatus::False => "no",
            ConditionStatus::Unknown => "unknown",
        };
        line(format!("{}: {holds} ({}), {}", condition.type_, condition.reason, condition.message));
    }
    text
}

fn decision(status: &EngineAutoscalerStatus, line: &mut impl FnMut(String)) {
    let Some(last) = &status.last_decision else {
        line(format!("No decision yet: {}", status.message.as_deref().unwrap_or("no reason is given")));
        return;
    };
    let count = |replicas: Option<i32>| replicas.map_or_else(|| "?".to_owned(), |replicas| replicas.to_string());
    line(format!(
        "At {}: {} replicas decided, {} ordered, {} Ready; the load alone asks for {}.",
        last.at,
        last.replicas,
        count(status.current_replicas),
        count(status.ready_replicas),
        last.wanted,
    ));
    line("Because:".to_owned());
    for reason in &last.because {
        line(format!("  {}: {}", reason.reason, reason.message));
    }
    if let (Some(now), Some(then)) = (last.arrivals_per_second, last.forecast_per_second) {
        line(format!("Arrivals: {now} requests/s, {then} expected when an engine ordered now is Ready."));
    }
}

fn learned(status: &EngineAutoscalerStatus, line: &mut impl FnMut(String)) {
    if let Some(capacity) = &status.capacity {
        line(format!(
            "A replica carries {} requests at once, set by {}.",
            capacity.requests_per_replica, capacity.set_by
        ));
    }
    if let Some(startup) = &status.startup {
        let source = match startup.samples {
            0 => "not learned yet, or set by startup.override".to_owned(),
            samples => format!("learned from {samples} starts"),
        };
        line(format!(
            "A start takes {} s in the median and {} s at 95 % ({source}).",
            startup.p50_seconds, startup.p95_seconds
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_explained_in_whole_sentences() {
        let object: EngineAutoscaler = serde_json::from_value(serde_json::json!({
            "apiVersion": "autoscaling.vllm-prod-stack.io/v1alpha1", "kind": "EngineAutoscaler",
            "metadata": {"name": "llama-8b"},
            "spec": {"scaleTargetRef": {"name": "llama-8b"}, "maxReplicas": 12},
            "status": {"currentReplicas": 3, "readyReplicas": 2,
                "lastDecision": {"at": "2026-11-23T02:00:00Z", "replicas": 4, "wanted": 4, "inService": 30.0, "waiting": 2.0,
                    "arrivalsPerSecond": 1.5, "forecastPerSecond": 2.0,
                    "because": [{"reason": "Demand", "message": "30.0 requests in service", "value": 4.0}]},
                "capacity": {"requestsPerReplica": 8.0, "setBy": "engines seen full"},
                "startup": {"p50Seconds": 80.0, "p95Seconds": 95.5, "samples": 6},
                "conditions": [{"type": "Ready", "status": "True", "reason": "Scaling", "message": "decisions are written",
                    "lastTransitionTime": "2026-11-23T01:00:00Z"}]}
        }))
        .expect("an object");
        insta::assert_snapshot!(explain(&object));
    }

    #[test]
    fn an_object_nobody_decides_on_says_so() {
        let object: EngineAutoscaler = serde_json::from_value(serde_json::json!({
            "apiVersion": "autoscaling.vllm-prod-stack.io/v1alpha1", "kind": "EngineAutoscaler",
            "metadata": {"name": "a"}, "spec": {"scaleTargetRef": {"name": "a"}, "maxReplicas": 1}
        }))
        .expect("an object");
        assert!(explain(&object).contains("is the controller running"), "{}", explain(&object));
    }
}
