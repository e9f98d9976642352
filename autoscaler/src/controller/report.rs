//! What is told of a round: log lines, events, status. All of it is rendered from the decision's reasons.

use autoscaler_api::{EngineAutoscaler, EngineAutoscalerStatus, Mode, conditions};
use autoscaler_plan::{Decision, Facts, Observation, RouterFacts, RouterObservation, reasons};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event as K8sEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::apply::Outcome;
use super::case::{Case, CaseError};
use super::objects::Object;
use super::round::{Controller, Tracked};
use crate::leader::WRITE_TIMEOUT;

/// A status that tells the same story is written again after this time, for its numbers and what was learned.
const REWRITE: Duration = Duration::from_secs(60);

/// Who tells.
const REPORTER: &str = "vllm-prod-stack-autoscaler";

/// Kubernetes refuses longer event notes.
const LONGEST_NOTE: usize = 1000;

/// Age of the oldest reading in use.
#[must_use]
pub fn observation_age_seconds(facts: &Facts, now: Timestamp) -> f64 {
    let engines = facts.engines.iter().filter_map(|engine| match &engine.observation {
        Observation::Seen(sample) => Some(now.duration_since(sample.at).as_secs_f64()),
        Observation::Stale { age_seconds, .. } => Some(*age_seconds),
        Observation::Absent { .. } => None,
    });
    let routers = match &facts.router {
        RouterFacts::NotConfigured => [].as_slice(),
        RouterFacts::Replicas(replicas) => replicas.as_slice(),
    };
    let routers = routers.iter().filter_map(|replica| match &replica.observation {
        RouterObservation::Seen(sample) => Some(now.duration_since(sample.at).as_secs_f64()),
        RouterObservation::Unreachable { .. } => None,
    });
    engines.chain(routers).fold(0.0, f64::max)
}

/// One line at info when something changes, at debug otherwise.
pub fn log(case: &Case<'_>, decision: &Decision, outcome: &Outcome) {
    let name = case.object.name_any();
    let (reason, why) = decision.headline().map_or(("", ""), |headline| (headline.reason, headline.message.as_str()));
    let (to, ready) = (decision.replicas, decision.observed.ready);
    match outcome {
        Outcome::Scaled { from } => tracing::info!(
            engine_autoscaler = name, target = %case.valid.target, from, to, ready, reason, why, "scaled"
        ),
        Outcome::Failed(error) => tracing::warn!(
            engine_autoscaler = name, target = %case.valid.target, to, error = %error, "not scaled, the next round tries again"
        ),
        Outcome::NotLeading => tracing::warn!(engine_autoscaler = name, to, "not scaled: another replica may lead"),
        Outcome::Refused | Outcome::Unchanged | Outcome::Published | Outcome::Advised => tracing::debug!(
            engine_autoscaler = name, current = case.scale.replicas, to, ready, reason, why, outcome = ?outcome, "decided"
        ),
    }
}

/// An event when the replicas change: those of the target, or those that are published or advised.
pub async fn announce(
    controller: &Controller,
    case: &Case<'_>,
    decision: &Decision,
    outcome: &Outcome,
    tracked: &mut Tracked,
    now: Timestamp,
) {
    let (reason, before) = match outcome {
        Outcome::Scaled { from } => ("Scaled", *from),
        Outcome::Published => ("Published", tracked.announced.unwrap_or(case.scale.replicas)),
        Outcome::Advised => ("Advised", tracked.announced.unwrap_or(case.scale.replicas)),
        Outcome::Unchanged | Outcome::Refused | Outcome::NotLeading | Outcome::Failed(_) => return,
    };
    tracked.announced = Some(decision.replicas);
    if before == decision.replicas {
        return;
    }
    let because: Vec<String> =
        decision.because.iter().map(|reason| format!("{}: {}", reason.reason, reason.message)).collect();
    let mut note = format!("{} {before} → {}: {}", case.valid.target, decision.replicas, because.join("; "));
    if let Some((cut, _)) = note.char_indices().nth(LONGEST_NOTE) {
        note.truncate(cut);
    }
    let event = K8sEvent {
        action: Some("Scale".to_owned()),
        event_time: Some(MicroTime(now)),
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", case.object.name_any(), now.as_nanosecond())),
            namespace: Some(controller.namespace.clone()),
            ..ObjectMeta::default()
        },
        note: Some(note),
        reason: Some(reason.to_owned()),
        regarding: Some(case.object.object_ref(&())),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(controller.identity().to_owned()),
        type_: Some("Normal".to_owned()),
        ..K8sEvent::default()
    };
    // Not through kube's Recorder: it would fold "1 → 3" and a later "3 → 6" into one event with the first one's words.
    let api: Api<K8sEvent> = Api::namespaced(controller.client.clone(), &controller.namespace);
    match tokio::time::timeout(WRITE_TIMEOUT, api.create(&PostParams::default(), &event)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(error = %error, "event not written"),
        Err(_) => tracing::warn!("event not written: no answer in time"),
    }
}

/// The status after a decision.
#[must_use]
pub fn status(
    case: &Case<'_>,
    decision: &Decision,
    outcome: &Outcome,
    tracked: &Tracked,
    now: Timestamp,
) -> EngineAutoscalerStatus {
    let before = tracked.written.as_ref().map(|(_, status)| status.clone());
    let mut status = before.or_else(|| case.object.status.clone()).unwrap_or_default();
    let generation = case.object.metadata.generation;
    status.observed_generation = generation;
    let current = if matches!(outcome, Outcome::Scaled { .. }) { decision.replicas } else { case.scale.replicas };
    status.record(decision, current, now);
    status.memory = Some(tracked.state.to_json());
    let mut set = |type_, holds: bool, reason: &str, message: String| {
        status.set_condition(type_, holds.into(), reason, message, generation, now);
    };
    let observed = &decision.observed;
    match (decision.has_complete_metrics(), decision.is_silent()) {
        (true, _) => set(conditions::METRICS_AVAILABLE, true, "Observed", "every engine and router answers".to_owned()),
        (false, silent) => {
            let reason = if silent { "Silent" } else { "Incomplete" };
            let message = format!(
                "{} of {} Ready engines are not observed, {} router replicas do not answer: no scale-down",
                observed.unobserved, observed.ready, observed.routers_silent
            );
            set(conditions::METRICS_AVAILABLE, false, reason, message);
        }
    }
    let (owned, reason, message) = ownership(case);
    set(conditions::TARGET_OWNED, owned, reason, message);
    let limit = decision.because.iter().find(|reason| reasons::LIMITS.contains(&reason.reason));
    match limit {
        Some(limit) => set(conditions::LIMITED, true, limit.reason, limit.message.clone()),
        None => {
            set(conditions::LIMITED, false, "WithinLimits", "the load asks for a number within the limits".to_owned());
        }
    }
    if let Some(told) = tracked.back_fill.told() {
        set(conditions::HISTORY_READ, told.is_read, told.reason, told.message.clone());
    }
    match outcome {
        Outcome::Failed(error) => set(conditions::READY, false, error.reason(), error.to_string()),
        Outcome::Refused => set(conditions::READY, false, reason_of_refusal(case), refusal_message(case)),
        _ => set(conditions::READY, true, mode_reason(case.valid.mode), mode_message(case.valid.mode).to_owned()),
    }
    if let (Outcome::Refused, Some((reason, message))) = (outcome, &case.refused) {
        status.reason = Some((*reason).to_owned());
        status.message = Some(message.clone());
    }
    status
}

fn ownership(case: &Case<'_>) -> (bool, &'static str, String) {
    match (&case.refused, case.valid.mode) {
        (Some((reason, message)), Mode::Scale) => (false, reason, message.clone()),
        (Some((_, message)), Mode::ThroughHPA | Mode::Advise) => {
            (false, "NotActing", format!("as mode {} has it: {message}", case.valid.mode.as_str()))
        }
        (None, Mode::Scale) => (true, "OnlyOwner", "nothing else scales the target".to_owned()),
        (None, mode) => (false, "NotActing", format!("mode {} does not write the target's scale", mode.as_str())),
    }
}

fn reason_of_refusal(case: &Case<'_>) -> &'static str {
    case.refused.as_ref().map_or("Refused", |(reason, _)| reason)
}

fn refusal_message(case: &Case<'_>) -> String {
    case.refused.as_ref().map(|(_, message)| message.clone()).unwrap_or_default()
}

fn mode_reason(mode: Mode) -> &'static str {
    match mode {
        Mode::Scale => "Scaling",
        Mode::ThroughHPA => "Publishing",
        Mode::Advise => "Advising",
    }
}

fn mode_message(mode: Mode) -> &'static str {
    match mode {
        Mode::Scale => "decisions are written to the target's scale",
        Mode::ThroughHPA => "decisions are published as engine_desired_replicas for an HPA",
        Mode::Advise => "decisions are shown and not acted on",
    }
}

/// The status when no decision can be made: everything else stays as it was.
#[must_use]
pub fn failure(object: &Object, error: &CaseError, tracked: &Tracked, now: Timestamp) -> EngineAutoscalerStatus {
    let before = tracked.written.as_ref().map(|(_, status)| status.clone());
    let stored = || object.content.as_ref().ok().and_then(|content| content.status.clone());
    let mut status = before.or_else(stored).unwrap_or_default();
    status.observed_generation = object.generation;
    status.reason = Some(error.reason().to_owned());
    status.message = Some(error.to_string());
    let holds = autoscaler_api::ConditionStatus::False;
    status.set_condition(conditions::READY, holds, error.reason(), error.to_string(), object.generation, now);
    status
}

/// Whether two statuses tell a reader the same story; numbers that flicker are no news.
fn same_story(left: &EngineAutoscalerStatus, right: &EngineAutoscalerStatus) -> bool {
    let story = |status: &EngineAutoscalerStatus| {
        let conditions: Vec<_> = status
            .conditions
            .iter()
            .map(|condition| (condition.type_.clone(), condition.status, condition.reason.clone()))
            .collect();
        (
            status.observed_generation,
            (status.desired_replicas, status.current_replicas, status.ready_replicas),
            status.reason.clone(),
            conditions,
        )
    };
    story(left) == story(right)
}

/// Writes a status that is news, or a minute old.
pub async fn write(controller: &Controller, name: &str, status: EngineAutoscalerStatus, tracked: &mut Tracked) {
    if let Some((at, written)) = &tracked.written
        && at.elapsed() < REWRITE
        && same_story(written, &status)
    {
        return;
    }
    // Through an untyped object: the answer of an object that cannot be read must not fail the write.
    let kind = ApiResource::erase::<EngineAutoscaler>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(controller.client.clone(), &controller.namespace, &kind);
    let patch = Patch::Merge(json!({"status": status}));
    let params = PatchParams::default();
    let write = api.patch_status(name, &params, &patch);
    match tokio::time::timeout(WRITE_TIMEOUT, write).await {
        Ok(Ok(_)) => tracked.written = Some((Instant::now(), status)),
        // Deleted meanwhile: the watch says so soon.
        Ok(Err(kube::Error::Api(answer))) if answer.code == 404 => {}
        Ok(Err(error)) => tracing::warn!(engine_autoscaler = name, error = %error, "status not written"),
        Err(_) => tracing::warn!(engine_autoscaler = name, "status not written: no answer in time"),
    }
}
