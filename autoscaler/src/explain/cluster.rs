//! An EngineAutoscaler, from its status.

use anyhow::Context as _;
use autoscaler_api::{ConditionStatus, EngineAutoscaler, EngineAutoscalerStatus, LastDecision};
use autoscaler_plan::Tier;
use kube::{Api, Client, ResourceExt as _};

use super::write_terms;

pub(super) async fn explain_object(name: &str, namespace: Option<&str>) -> anyhow::Result<String> {
    let client = Client::try_default()
        .await
        .context("find the cluster: neither in a pod nor a kubeconfig; without a cluster use --standalone or --log")?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace()).to_owned();
    let api: Api<EngineAutoscaler> = Api::namespaced(client, &namespace);
    let object = api.get(name).await.with_context(|| format!("read EngineAutoscaler {namespace}/{name}"))?;
    Ok(explain(&object))
}

/// The explanation of an object.
#[must_use]
pub fn explain(object: &EngineAutoscaler) -> String {
    let spec = &object.spec;
    let mut text = format!(
        "{} keeps {} {} between {} and {} replicas (mode {}{}{}).\n\
         Objective: {} of requests get their first token within {} and the next ones each {}.\n",
        object.name_any(),
        spec.scale_target_ref.kind,
        spec.scale_target_ref.name,
        spec.min_replicas,
        spec.max_replicas,
        spec.mode.as_str(),
        spec.tier.map(|tier| format!(", {} tier", Tier::from(tier).as_str())).unwrap_or_default(),
        if spec.paused { ", paused" } else { "" },
        spec.objective.attainment,
        spec.objective.ttft,
        spec.objective.inter_token_latency
    );
    let Some(status) = &object.status else {
        return text + "No decision yet: is the controller running, and does it watch this namespace?\n";
    };
    match &status.last_decision {
        Some(last) => text += &decision(status, last),
        None => {
            let why = status.message.as_deref().unwrap_or("no reason is given");
            text += &format!("No decision yet: {why}\n");
        }
    }
    for condition in &status.conditions {
        let holds = match condition.status {
            ConditionStatus::True => "yes",
            ConditionStatus::False => "no",
            ConditionStatus::Unknown => "unknown",
        };
        text += &format!("{}: {holds} ({}), {}\n", condition.type_, condition.reason, condition.message);
    }
    text
}

fn decision(status: &EngineAutoscalerStatus, last: &LastDecision) -> String {
    let count = |replicas: Option<i32>| replicas.map_or_else(|| "?".to_owned(), |replicas| replicas.to_string());
    let mut text = format!(
        "At {}: {} replicas decided, {} ordered, {} Ready; the load alone asks for {}.\n",
        last.at,
        last.replicas,
        count(status.current_replicas),
        count(status.ready_replicas),
        last.wanted,
    );
    write_terms(
        &mut text,
        last.because.iter().map(|reason| (reason.reason.as_str(), reason.message.as_str())),
        last.terms.iter().map(|term| (term.term.as_str(), term.words.as_str())),
    );
    if let (Some(now), Some(then)) = (last.arrivals_per_second, last.forecast_per_second) {
        text += &format!("Arrivals: {now} requests/s, {then} expected when an engine ordered now is Ready.\n");
    }
    text
}
