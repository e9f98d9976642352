//! A decision of a log.

use std::path::Path;

use autoscaler_plan::{LogRecord, Phase};
use jiff::Timestamp;

use super::{percent, write_terms};
use crate::decision_log::read::decision_at;

pub(super) fn explain_file(file: &Path, at: Option<Timestamp>) -> anyhow::Result<String> {
    Ok(explain_record(&decision_at(file, at)?))
}

/// The explanation of one recorded decision.
pub(super) fn explain_record(record: &LogRecord) -> String {
    let LogRecord { at, facts, decision, .. } = record;
    let settings = &facts.settings;
    let observed = &decision.observed;
    let draining = facts.engines.iter().filter(|engine| matches!(engine.phase, Phase::Draining)).count();
    let mut text = format!(
        "Between {} and {} replicas; {} % of requests get their first token within {} s and the next ones each {} s.\n\
         At {}: {} replicas decided, {} ordered, {} Ready, {} starting, {draining} draining; the load alone asks for {}.\n",
        settings.min_replicas,
        settings.max_replicas,
        percent(settings.objective.attainment),
        settings.objective.ttft_seconds,
        settings.objective.inter_token_latency_seconds,
        at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"),
        decision.replicas,
        facts.replicas,
        observed.ready,
        observed.starting,
        decision.wanted,
    );
    let terms = decision.terms();
    write_terms(
        &mut text,
        decision.because.iter().map(|reason| (reason.reason, reason.message.as_str())),
        terms.iter().map(|term| (term.term, term.words.as_str())),
    );
    text
}
