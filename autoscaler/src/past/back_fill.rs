//! One target's past on its way into its plan: read, lived through, taken up.

use std::sync::Arc;
use std::time::Duration;

use autoscaler_plan::{Decision, Rehearsed, ReplicaUnits, Settings, State};
use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::source::{PastError, Source};

/// Seasons that a forecast compares with.
const SEASONS: f64 = 7.0;

/// How long a service time of its own is waited for, until that of the past is asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// After a failure it is tried again after this, then twice as long, and so on.
const FIRST_RETRY: Duration = Duration::from_secs(15);
const LAST_RETRY: Duration = Duration::from_secs(600);

/// When what an arrival means in replicas has moved by this factor since the past was taken up, it is read anew, though no
/// sooner than after this time: a capacity is learned in the first minutes, and the past was counted in what was believed.
const MOVED: f64 = 1.25;
const SETTLED: Duration = Duration::from_secs(600);

/// Whose past it is.
#[derive(Debug, Clone)]
pub struct Target {
    /// The name that clients use.
    pub model: String,
    /// Namespace of the routers.
    pub namespace: String,
    /// This target's share of what arrives for the name, 0 to 1.
    pub share: f64,
}

/// How far it has come.
#[derive(Debug, Default)]
pub struct BackFill {
    stage: Stage,
    began: Option<Instant>,
    failures: u32,
    told: Option<Told>,
}

/// What there is to tell: for a condition and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether the plan knows the past.
    pub is_read: bool,
    /// A bounded word.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    New,
    Due(Instant),
    Working(AbortOnDropHandle<Result<Worked, PastError>>),
    Done(Instant, ReplicaUnits),
}

#[derive(Debug)]
struct Worked {
    rehearsed: Rehearsed,
    units: ReplicaUnits,
}

impl BackFill {
    /// What there is to tell; `None` before the first attempt.
    #[must_use]
    pub fn told(&self) -> Option<&Told> {
        self.told.as_ref()
    }

    /// Goes on as far as it can without waiting. To be called after each decision.
    pub fn advance(
        &mut self,
        source: &Arc<Source>,
        target: &Target,
        settings: &Settings,
        decision: &Decision,
        state: &mut State,
        now: Timestamp,
    ) {
        let clock = Instant::now();
        let began = *self.began.get_or_insert(clock);
        match std::mem::take(&mut self.stage) {
            Stage::New => self.begin(source, target, settings, decision, clock, now),
            Stage::Due(at) if at <= clock => {
                let is_patient = clock.duration_since(began) < PATIENCE;
                if decision.demand.service_seconds.is_none() && is_patient {
                    self.stage = Stage::Due(at);
                } else {
                    self.stage = work(source, target, settings, decision, now);
                }
            }
            Stage::Working(mut handle) => match (&mut handle).now_or_never() {
                None => self.stage = Stage::Working(handle),
                Some(Ok(Ok(worked))) => self.finish(target, worked, settings, state, clock),
                Some(Ok(Err(error))) => self.fail(target, error.reason(), error.to_string(), clock),
                Some(Err(error)) => self.fail(target, "RehearsalFailed", error.to_string(), clock),
            },
            Stage::Done(at, units) => {
                let is_settled = clock.duration_since(at) >= SETTLED;
                let is_due = is_settled && self.has_moved(settings, &units, decision, clock);
                self.stage = if is_due { Stage::Due(clock) } else { Stage::Done(at, units) };
            }
            stage @ Stage::Due(_) => self.stage = stage,
        }
    }

    fn begin(
        &mut self,
        source: &Arc<Source>,
        target: &Target,
        settings: &Settings,
        decision: &Decision,
        clock: Instant,
        now: Timestamp,
    ) {
        let message = "what arrived in the past is being read".to_owned();
        self.told = Some(Told { is_read: false, reason: "Reading", message });
        self.stage = match decision.demand.service_seconds {
            Some(_) => work(source, target, settings, decision, now),
            None => Stage::Due(clock),
        };
    }

    /// Within the first season of this process: what was lived through since counts in replicas of its own time.
    fn has_moved(&self, settings: &Settings, units: &ReplicaUnits, decision: &Decision, clock: Instant) -> bool {
        let Some(now) = units_of(decision) else { return false };
        let is_young = self.began.is_some_and(|began| (clock - began).as_secs_f64() < settings.rhythm.season_seconds());
        let moved = now.replicas_per_arrival() / units.replicas_per_arrival();
        is_young && !(1.0 / MOVED..=MOVED).contains(&moved)
    }

    fn finish(&mut self, target: &Target, worked: Worked, settings: &Settings, state: &mut State, clock: Instant) {
        let Worked { rehearsed, units } = worked;
        let steps = rehearsed.steps();
        if !state.take_up(rehearsed, settings.rhythm) {
            let message = "the past that was read does not fit the plan any more".to_owned();
            return self.fail(target, "Outdated", message, clock);
        }
        self.failures = 0;
        let hours = steps as f64 * settings.rhythm.step_seconds() / 3600.0;
        let message = format!("{hours:.1} h of arrivals were read from prometheus and lived through");
        tracing::info!(model = target.model, hours, "the plan knows the past");
        self.told = Some(Told { is_read: true, reason: "Read", message });
        self.stage = Stage::Done(clock, units);
    }

    fn fail(&mut self, target: &Target, reason: &'static str, problem: String, clock: Instant) {
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(LAST_RETRY);
        self.failures += 1;
        self.stage = Stage::Due(clock + wait);
        let message = format!("{problem}; tried again in {} s, decisions go on without it", wait.as_secs());
        let is_news = self.told.as_ref().is_none_or(|told| told.reason != reason);
        if is_news && reason != "NoServiceTime" {
            tracing::warn!(model = target.model, error = problem, "the past is not read yet, it is tried again");
        } else {
            tracing::debug!(model = target.model, error = problem, "the past is not read yet, it is tried again");
        }
        // A past that was read once is still known.
        if self.told.as_ref().is_none_or(|told| !told.is_read) {
            self.told = Some(Told { is_read: false, reason, message });
        }
    }
}

fn units_of(decision: &Decision) -> Option<ReplicaUnits> {
    let service_seconds = decision.demand.service_seconds.filter(|seconds| *seconds > 0.0)?;
    Some(ReplicaUnits { service_seconds, requests: decision.capacity.requests })
}

/// Reads and rehearses in a task of its own.
fn work(source: &Arc<Source>, target: &Target, settings: &Settings, decision: &Decision, now: Timestamp) -> Stage {
    let (source, target, settings) = (source.clone(), target.clone(), settings.clone());
    let (units, requests) = (units_of(decision), decision.capacity.requests);
    let startup_seconds = decision.startup.p95_seconds;
    Stage::Working(AbortOnDropHandle::new(tokio::spawn(async move {
        let (past, units) = {
            // Closed only with the source, which this task holds.
            let _permit = source.questions.acquire().await;
            let rhythm = settings.rhythm;
            let span = SEASONS * rhythm.season_seconds();
            let Target { model, namespace, share } = &target;
            let past = source.past(model, namespace, *share, span, rhythm.step_seconds(), now).await?;
            let units = match units {
                Some(units) => units,
                None => ReplicaUnits { service_seconds: source.service_seconds(model, namespace).await?, requests },
            };
            (past, units)
        };
        let _permit = source.rehearsals.acquire().await;
        let nothing = || PastError::Nothing { query: target.model.clone() };
        let rehearse = move || Rehearsed::of(&past, &settings, &units, startup_seconds);
        let rehearsed = tokio::task::spawn_blocking(rehearse).await.ok().flatten().ok_or_else(nothing)?;
        Ok(Worked { rehearsed, units })
    })))
}

#[cfg(test)]
mod tests;
