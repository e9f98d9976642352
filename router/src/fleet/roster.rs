//! The one owner of engines and models: takes lists and answers in, gives snapshots out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engines::EngineState;
use engines::handover::ServedObjective;
use router_core::{EngineFacts, EngineKey, Fleet};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::names::{Learned, learn};
use super::snapshot::{EngineView, Snapshot};
use super::source::{Listed, ListedEngine};
use crate::config::Tunables;
use crate::live::{EngineLive, ModelLive, Target};
use crate::shared::Shared;

/// How long the series of an engine that is gone stay: two scrapes of Prometheus' default minute.
const KEEP_SERIES: Duration = Duration::from_secs(120);
/// Most names remembered from engines that are gone, so that names from outside cannot fill the memory.
const MAX_REMEMBERED_NAMES: usize = 10_000;

/// Engines and models with their history.
pub struct Roster {
    shared: Arc<Shared>,
    learned: mpsc::Sender<Learned>,
    tasks: JoinSet<()>,
    workers: usize,
    next_key: u64,
    generation: u64,
    members: BTreeMap<Arc<str>, Member>,
    gone: Vec<(Member, Instant)>,
    models: HashMap<Arc<str>, Arc<ModelLive>>,
    targets: HashMap<(EngineKey, Arc<str>), Arc<Target>>,
    cards: BTreeMap<Arc<str>, Value>,
    objectives: BTreeMap<String, ServedObjective>,
    tunables: Arc<Tunables>,
}

struct Member {
    live: Arc<EngineLive>,
    model: String,
    state: EngineState,
    names: Option<Vec<Arc<str>>>,
    asking: Option<AbortHandle>,
}

impl Roster {
    /// A roster without engines.
    pub fn new(shared: Arc<Shared>, learned: mpsc::Sender<Learned>, workers: usize) -> Self {
        let tunables = shared.tunables.load_full();
        Self {
            shared,
            learned,
            tasks: JoinSet::new(),
            workers,
            next_key: 0,
            generation: 0,
            members: BTreeMap::new(),
            gone: Vec::new(),
            models: HashMap::new(),
            targets: HashMap::new(),
            cards: BTreeMap::new(),
            objectives: BTreeMap::new(),
            tunables,
        }
    }

    /// Takes over a new list.
    pub fn apply(&mut self, list: &Listed, now: Instant) {
        self.generation = list.generation;
        self.objectives.clone_from(&list.objectives);
        let mut old = std::mem::take(&mut self.members);
        for engine in &list.engines {
            let kept = old.remove(&engine.id).filter(|member| member.live.url == engine.url);
            let member = self.member(engine, kept);
            self.members.insert(engine.id.clone(), member);
        }
        for (_, member) in old {
            if let Some(asking) = &member.asking {
                asking.abort();
            }
            tracing::info!(engine = &*member.live.id, in_flight = member.live.in_flight(), "engine left");
            self.gone.push((member, now));
        }
        tracing::debug!(generation = self.generation, engines = self.members.len(), "list of engines applied");
    }

    fn member(&mut self, engine: &ListedEngine, kept: Option<Member>) -> Member {
        let mut member = kept.unwrap_or_else(|| {
            let key = EngineKey(self.next_key);
            self.next_key += 1;
            tracing::info!(engine = &*engine.id, url = %engine.url, "engine joined");
            let live = EngineLive::new(key, engine.id.clone(), engine.url.clone(), self.workers);
            Member { live: Arc::new(live), model: String::new(), state: engine.state, names: None, asking: None }
        });
        member.model.clone_from(&engine.model);
        member.state = engine.state;
        if engine.state == EngineState::Ready && member.asking.is_none() {
            member.asking = Some(self.tasks.spawn(learn(member.live.clone(), self.learned.clone())));
        }
        member
    }

    /// Takes over what an engine serves; true if that is news.
    pub fn learned(&mut self, learned: Learned) -> bool {
        let Some(member) = self.members.values_mut().find(|member| member.live.key == learned.key) else {
            return false;
        };
        let names: Vec<Arc<str>> = learned.cards.iter().map(|(id, _)| id.clone()).collect();
        let news = member.names.as_ref() != Some(&names);
        if news {
            tracing::info!(engine = &*member.live.id, names = ?names, "engine serves");
            member.names = Some(names);
        }
        for (id, card) in learned.cards {
            if self.cards.len() < MAX_REMEMBERED_NAMES || self.cards.contains_key(&id) {
                self.cards.insert(id, card);
            }
        }
        news
    }

    /// Regular upkeep; true if limits or engines have changed.
    pub fn tick(&mut self, now: Instant) -> bool {
        while self.tasks.try_join_next().is_some() {}
        for member in self.members.values() {
            for pool in &member.live.pools {
                pool.sweep(now);
            }
        }
        self.show_states();
        for model in self.models.values() {
            model.queue.show_late();
        }
        let tunables = self.shared.tunables.load_full();
        let reloaded = !Arc::ptr_eq(&tunables, &self.tunables);
        self.tunables = tunables;
        let over = |(member, since): &(Member, Instant)| {
            member.live.in_flight() == 0 && now.saturating_duration_since(*since) >= KEEP_SERIES
        };
        let forgotten: Vec<(Member, Instant)> = self.gone.extract_if(.., |gone| over(gone)).collect();
        for (member, _) in &forgotten {
            self.forget(member.live.key);
        }
        reloaded || !forgotten.is_empty()
    }

    fn forget(&mut self, key: EngineKey) {
        let still_there: BTreeSet<Arc<str>> = self.members.keys().cloned().collect();
        self.targets.retain(|(engine, name), target| {
            let keep = *engine != key;
            // An engine that came back under its old name goes on with its old series.
            if !keep && !still_there.contains(&target.engine.id) {
                self.shared.metrics.forget_pair(name, &target.engine.id);
            }
            keep
        });
    }

    fn show_states(&self) {
        let mut counts =
            BTreeMap::from([("ready", 0), ("ejected", 0), ("unnamed", 0), ("starting", 0), ("draining", 0)]);
        for view in self.views().iter().filter(|view| view.state.is_some()) {
            *counts.entry(view.state_name()).or_insert(0) += 1;
        }
        for (state, count) in counts {
            self.shared.metrics.engines(state, count);
        }
    }

    fn views(&self) -> Vec<EngineView> {
        let view = |member: &Member, state| EngineView {
            live: member.live.clone(),
            model: member.model.clone(),
            state,
            names: member.names.clone(),
        };
        let here = self.members.values().map(|member| view(member, Some(member.state)));
        let gone =
            self.gone.iter().filter(|(member, _)| member.live.in_flight() > 0).map(|(member, _)| view(member, None));
        here.chain(gone).collect()
    }

    /// Builds a snapshot and gives it to the requests.
    pub fn publish(&mut self) {
        let views = self.views();
        let facts: Vec<EngineFacts> = views
            .iter()
            .map(|view| EngineFacts {
                key: view.live.key,
                accepting: view.state == Some(EngineState::Ready),
                names: view.names.clone(),
            })
            .collect();
        let fleet = Fleet::build(&facts, self.known_names());
        let models: Vec<Arc<ModelLive>> = fleet.models().iter().map(|model| self.model(&model.name)).collect();
        let mut targets: Vec<Vec<Arc<Target>>> = Vec::with_capacity(models.len());
        for (model, live) in fleet.models().iter().zip(&models) {
            targets.push(model.engines.iter().map(|at| self.target(&views[*at].live, live)).collect());
        }
        self.set_objectives(&models);
        let snapshot = Snapshot {
            model_list: self.model_list(&fleet),
            engine_list: engine_list(&views),
            fleet,
            generation: self.generation,
            engines: views,
            models,
            targets,
        };
        self.shared.metrics.engines_generation.set(i64::try_from(self.generation).unwrap_or(i64::MAX));
        self.show_states();
        self.shared.snapshot.store(Arc::new(snapshot));
        self.shared.wake_waiting();
    }

    fn known_names(&self) -> Vec<Arc<str>> {
        let declared = self.tunables.models.keys().chain(self.objectives.keys()).map(|name| Arc::from(name.as_str()));
        declared.chain(self.cards.keys().cloned()).collect()
    }

    fn model(&mut self, name: &Arc<str>) -> Arc<ModelLive> {
        let metrics = &self.shared.metrics;
        let model = self.models.entry(name.clone()).or_insert_with(|| {
            let metrics = metrics.model(name);
            Arc::new(ModelLive::new(name.clone(), metrics))
        });
        model.clone()
    }

    fn target(&mut self, engine: &Arc<EngineLive>, model: &Arc<ModelLive>) -> Arc<Target> {
        let metrics = &self.shared.metrics;
        let target = self.targets.entry((engine.key, model.name.clone())).or_insert_with(|| {
            let metrics = metrics.pair(&model.name, &engine.id);
            Arc::new(Target { engine: engine.clone(), model: model.clone(), metrics })
        });
        target.clone()
    }

    fn set_objectives(&self, models: &[Arc<ModelLive>]) {
        for model in models {
            let listed = self.objectives.get(&*model.name).copied();
            let configured = self.tunables.models.get(&*model.name).copied().flatten();
            let strictest = [listed, configured].into_iter().flatten().reduce(ServedObjective::stricter);
            self.shared.metrics.objective(&model.name, strictest);
            model.promise(strictest, self.tunables.queue_discipline);
        }
    }

    fn model_list(&self, fleet: &Fleet) -> Bytes {
        let cards: Vec<Value> = fleet
            .models()
            .iter()
            .map(|model| match self.cards.get(&model.name) {
                Some(card) => card.clone(),
                None => json!({"id": &*model.name, "object": "model", "created": 0, "owned_by": "vllm-prod-stack"}),
            })
            .collect();
        Bytes::from(json!({"object": "list", "data": cards}).to_string())
    }
}

/// The list of engines in the shape that production-stack's `/engines` has.
fn engine_list(views: &[EngineView]) -> Bytes {
    let list: Vec<Value> = views
        .iter()
        .filter(|view| view.state == Some(EngineState::Ready))
        .map(|view| {
            let names: Vec<&str> = view.names.iter().flatten().map(|name| &**name).collect();
            json!({"engine_id": &*view.live.id, "serving_models": names})
        })
        .collect();
    Bytes::from(Value::from(list).to_string())
}
