//! One round over all objects: prepare → decide → share among variants, tiers, then pools → apply → report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use autoscaler_api::{EngineAutoscalerStatus, validate};
use autoscaler_plan::{Decision, Facts, LogRecord, State, decide};
use engines::Engine;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::apply::{self, Outcome};
use super::args::ControllerSettings;
use super::case::{Case, CaseError, Decided, refuse_second_owners, shares};
use super::objects::Object;
use super::pools::{self, Member};
use super::scale::{self, OtherScalers};
use super::{report, tiers, variants};
use crate::decision_log::DecisionLog;
use crate::leader::{Leadership, WRITE_TIMEOUT};
use crate::metrics::{Metrics, ModelLabels, ObjectLabels};
use crate::observe::Readings;
use crate::observe::facts::{Freshness, Share, TargetView, facts};
use crate::observe::selector;
use crate::past::{BackFill, Source, Target};

/// Objects at work at once, each with one request to the API server: 200 of them take 13 answers one after another, 0.13 s
/// at 10 ms, and a target that does not answer holds up one place of sixteen and not the others.
const CONCURRENT_OBJECTS: usize = 16;

/// How old the list of other scalers may be: somebody who adds an HPA sees the refusal within this time.
const OTHER_SCALERS_AGE: Duration = Duration::from_secs(10);

/// What one round looks at.
pub struct View<'a> {
    /// All EngineAutoscalers.
    pub objects: &'a BTreeMap<String, Object>,
    /// All engines.
    pub engines: &'a [Engine],
    /// All router replicas.
    pub routers: &'a [Engine],
    /// What they said.
    pub readings: &'a Readings,
}

/// What is remembered of one object from round to round.
#[derive(Debug, Default)]
pub struct Tracked {
    pub(super) uid: String,
    pub(crate) state: State,
    /// The status as last written.
    pub(super) written: Option<(Instant, EngineAutoscalerStatus)>,
    /// Replicas last told in an event.
    pub(super) announced: Option<u32>,
    labels: Option<(ModelLabels, ObjectLabels)>,
    /// How far its past has come.
    pub(super) back_fill: BackFill,
}

/// The controller between rounds.
pub struct Controller {
    pub(super) client: Client,
    pub(super) namespace: String,
    settings: ControllerSettings,
    metrics: Metrics,
    freshness: Freshness,
    decision_log: Option<DecisionLog>,
    past: Option<Arc<Source>>,
    tracked: BTreeMap<String, Tracked>,
    others: Option<(Instant, OtherScalers)>,
}

impl Controller {
    /// A controller that has seen nothing yet.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: String,
        settings: ControllerSettings,
        metrics: Metrics,
        freshness: Freshness,
    ) -> Self {
        let (tracked, others) = (BTreeMap::new(), None);
        Self { client, namespace, settings, metrics, freshness, decision_log: None, past: None, tracked, others }
    }

    /// The same, with a log of what decisions are made on.
    #[must_use]
    pub fn with_decision_log(self, decision_log: Option<DecisionLog>) -> Self {
        Self { decision_log, ..self }
    }

    /// The same, with somebody to ask about the past.
    #[must_use]
    pub fn with_past(self, past: Option<Arc<Source>>) -> Self {
        Self { past, ..self }
    }

    /// Name of this replica.
    pub(super) fn identity(&self) -> &str {
        &self.settings.identity
    }

    /// Forgets what an earlier term remembers: the objects' status knows what another leader did meanwhile.
    pub fn begin_term(&mut self, leads: bool) {
        self.tracked.clear();
        self.others = None;
        self.metrics.set_leader(leads);
    }

    /// One round.
    pub async fn round(&mut self, view: &View<'_>, leadership: &watch::Receiver<Leadership>, now: Timestamp) {
        self.track(view.objects);
        self.look_for_other_scalers().await;
        let cases = self.prepare(view).await;
        let shares = shares(&cases);
        let mut tracked = std::mem::take(&mut self.tracked);
        let this = &*self;
        let mut members = Vec::with_capacity(cases.len());
        for (name, case) in cases {
            let mut memory = tracked.remove(&name).unwrap_or_default();
            let share = shares.get(&name).copied().unwrap_or(Share { own: 0, all: 0, targets: 1 });
            let decided = case.map(|case| {
                let (facts, decision) = this.decide(&case, share, view, &mut memory, now);
                Decided { case, share, facts, decision }
            });
            members.push(Member { object: &view.objects[&name], name, memory, decided });
        }
        variants::share_out(&mut members, now);
        tiers::share_out(&mut members, &BTreeMap::new(), now);
        let granted = pools::granted(&this.settings.pools, &members);
        if !granted.is_empty() {
            tiers::share_out(&mut members, &granted, now);
        }
        pools::share_out(&this.settings.pools, &mut members);
        let mut work = Vec::with_capacity(members.len());
        for Member { object, name, mut memory, decided } in members {
            work.push(async move {
                if leadership.borrow().holds(Instant::now()) {
                    match decided {
                        Err(error) => this.report_failure(object, &mut memory, &error, now).await,
                        Ok(decided) => this.carry_out(decided, &mut memory, leadership, now).await,
                    }
                }
                (name, memory)
            });
        }
        self.tracked = futures::stream::iter(work).buffer_unordered(CONCURRENT_OBJECTS).collect().await;
        if !leadership.borrow().holds(Instant::now()) {
            tracing::warn!("the lease may have passed on: what was left of this round is not carried out");
        }
    }

    /// Begins to remember new objects, where the last leader stopped, and forgets those that are gone.
    fn track(&mut self, objects: &BTreeMap<String, Object>) {
        let metrics = &self.metrics;
        self.tracked.retain(|name, tracked| {
            let stays = objects.get(name).is_some_and(|object| object.uid == tracked.uid);
            if let (false, Some((model, object))) = (stays, &tracked.labels) {
                metrics.forget(model, object);
            }
            stays
        });
        for object in objects.values() {
            if !self.tracked.contains_key(&object.name) {
                self.tracked.insert(object.name.clone(), resume(object));
            }
        }
    }

    async fn look_for_other_scalers(&mut self) {
        if self.others.as_ref().is_some_and(|(at, _)| at.elapsed() < OTHER_SCALERS_AGE) {
            return;
        }
        let listing = OtherScalers::list(&self.client, &self.namespace);
        let others = match tokio::time::timeout(WRITE_TIMEOUT, listing).await {
            Ok(others) => others,
            Err(_) => OtherScalers::unknown("list HPAs: no answer in time"),
        };
        self.others = Some((Instant::now(), others));
    }

    /// Validates every object and reads its target's scale.
    async fn prepare<'a>(&self, view: &View<'a>) -> Vec<(String, Result<Case<'a>, CaseError>)> {
        let examine = |object: &'a Object| async move {
            let case = tokio::time::timeout(WRITE_TIMEOUT, self.case(object, view)).await;
            (object.name.clone(), case.unwrap_or(Err(CaseError::Timeout)))
        };
        // Collected first: a lazy iterator over borrowed objects inside the stream is not `Send` for every lifetime.
        let cases: Vec<_> = view.objects.values().map(examine).collect();
        let mut cases: Vec<_> = futures::stream::iter(cases).buffer_unordered(CONCURRENT_OBJECTS).collect().await;
        cases.sort_by(|(left, _), (right, _)| left.cmp(right));
        refuse_second_owners(&mut cases);
        cases
    }

    async fn case<'a>(&self, object: &'a Object, view: &View<'a>) -> Result<Case<'a>, CaseError> {
        let content = object.content.as_ref().map_err(|error| CaseError::Unreadable(error.clone()))?;
        let period = self.settings.control_period.as_secs_f64();
        let valid = validate(&content.spec, period, self.settings.capacity_prior)?;
        pools::check(&self.settings.pools, valid.pool.as_ref())?;
        tiers::check(view.objects, content, &object.name, valid.tier.as_ref())?;
        let scale = scale::read(&self.client, &self.namespace, &valid.target).await?;
        let mut engines = Vec::new();
        for engine in view.engines {
            if selector::matches(&scale.selector, &engine.labels)? {
                engines.push(engine);
            }
        }
        let refused = apply::refusal(&valid, self.others.as_ref().map(|(_, others)| others));
        Ok(Case { object: content, valid, scale, refused, engines })
    }

    /// Acts, logs and tells.
    async fn carry_out(
        &self,
        Decided { case, share, facts, decision }: Decided<'_>,
        tracked: &mut Tracked,
        leadership: &watch::Receiver<Leadership>,
        now: Timestamp,
    ) {
        let age = report::observation_age_seconds(&facts, now);
        if let Some(log) = &self.decision_log {
            log.record(&case.object.name_any(), LogRecord::new(now, facts, decision.clone()));
        }
        self.read_the_past(&case, share, &decision, tracked, now);
        let outcome = apply::apply(self, &case, &decision, leadership).await;
        let (model, object) = self.labels(&case);
        self.metrics.record(&model, &object, &decision, case.scale.replicas, age);
        tracked.labels = Some((model, object));
        self.tell(&case, &decision, &outcome, tracked, now).await;
    }

    /// Decides, before pools are shared; with what it rests on.
    pub(crate) fn decide(
        &self,
        case: &Case<'_>,
        share: Share,
        view: &View<'_>,
        tracked: &mut Tracked,
        now: Timestamp,
    ) -> (Facts, Decision) {
        let target = TargetView {
            settings: case.valid.settings_at(now),
            replicas: case.scale.replicas,
            engines: case.engines.clone(),
            router: case.valid.served_model_name.as_deref().map(|served| (served, view.routers)),
            share,
        };
        let facts = facts(&target, view.readings, &self.freshness, now);
        let decision = decide(&facts, &mut tracked.state, now);
        (facts, decision)
    }

    /// A plan that begins is told of the past, if there is somebody to ask and a name to ask for.
    fn read_the_past(&self, case: &Case<'_>, share: Share, decision: &Decision, tracked: &mut Tracked, now: Timestamp) {
        let (Some(past), Some(model)) = (&self.past, &case.valid.served_model_name) else { return };
        // What routers of ours received is not what arrived at a tier.
        if case.valid.tier.is_some() && past.asks_routers() {
            return;
        }
        let target = Target { model: model.clone(), namespace: self.namespace.clone(), share: share.fraction() };
        tracked.back_fill.advance(past, &target, &case.valid.settings, decision, &mut tracked.state, now);
    }

    fn labels(&self, case: &Case<'_>) -> (ModelLabels, ObjectLabels) {
        let labelled = case.object.labels().get(engines::discover::MODEL_LABEL);
        let of_engines = || case.engines.first().map(|engine| engine.model.clone()).filter(|model| !model.is_empty());
        let model = labelled.cloned().or_else(of_engines).unwrap_or_else(|| case.object.name_any());
        let namespace = self.namespace.clone();
        (ModelLabels { namespace: namespace.clone(), model }, ObjectLabels { namespace, name: case.object.name_any() })
    }

    async fn tell(
        &self,
        case: &Case<'_>,
        decision: &Decision,
        outcome: &Outcome,
        tracked: &mut Tracked,
        now: Timestamp,
    ) {
        report::log(case, decision, outcome);
        report::announce(self, case, decision, outcome, tracked, now).await;
        let status = report::status(case, decision, outcome, tracked, now);
        report::write(self, &case.object.name_any(), status, tracked).await;
    }

    async fn report_failure(&self, object: &Object, tracked: &mut Tracked, error: &CaseError, now: Timestamp) {
        tracing::debug!(engine_autoscaler = object.name, error = %error, "no decision");
        let status = report::failure(object, error, tracked, now);
        report::write(self, &object.name, status, tracked).await;
    }
}

/// Continues from what the last leader wrote into the status.
pub(crate) fn resume(object: &Object) -> Tracked {
    let status = object.content.as_ref().ok().and_then(|content| content.status.as_ref());
    let memory = status.and_then(|status| status.memory.as_deref());
    let state = memory.map(State::from_json).transpose().unwrap_or_else(|error| {
        tracing::warn!(engine_autoscaler = object.name, error = %error, "what was learned cannot be read, learning starts again");
        None
    });
    let announced = status.and_then(|status| status.desired_replicas).and_then(|count| u32::try_from(count).ok());
    Tracked { uid: object.uid.clone(), state: state.unwrap_or_default(), announced, ..Tracked::default() }
}
