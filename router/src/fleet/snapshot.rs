//! The immutable view of the fleet that requests read.

use std::sync::Arc;

use bytes::Bytes;
use engines::EngineState;
use router_core::{Fleet, Lookup};
use serde_json::json;

use crate::live::{EngineLive, ModelLive, Target};

/// One engine of a snapshot.
#[derive(Clone, Debug)]
pub struct EngineView {
    /// Its loads and connections.
    pub live: Arc<EngineLive>,
    /// Value of its `model` label.
    pub model: String,
    /// Whether it may get requests; `None` when it has left the list and only finishes what it has.
    pub state: Option<EngineState>,
    /// The names it serves, once known.
    pub names: Option<Vec<Arc<str>>>,
}

/// Engines and models as they are now.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The part that routing decides on.
    pub fleet: Fleet,
    /// Generation of the list that this comes from.
    pub generation: u64,
    /// All engines, those that have left the list but still answer requests included.
    pub engines: Vec<EngineView>,
    /// Models, in the order of [`Fleet::models`].
    pub models: Vec<Arc<ModelLive>>,
    /// For each model its engines, in the order of `Model::engines`.
    pub targets: Vec<Vec<Arc<Target>>>,
    /// Body of `/v1/models`.
    pub model_list: Bytes,
    /// Body of `/engines` on the data port.
    pub engine_list: Bytes,
}

impl EngineView {
    /// Name of its state in lists and metrics.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            Some(EngineState::Ready) if self.live.is_ejected() => "ejected",
            Some(EngineState::Ready) if self.names.is_none() => "unnamed",
            Some(EngineState::Ready) => "ready",
            Some(EngineState::Starting) => "starting",
            Some(EngineState::Draining) => "draining",
            None => "gone",
        }
    }
}

impl Snapshot {
    /// Position of a model in [`Snapshot::models`].
    pub fn position(&self, model: &ModelLive) -> Option<usize> {
        match self.fleet.find(Some(&model.name)) {
            Lookup::Model(at) => Some(at),
            Lookup::Unknown | Lookup::NotYetKnown(_) | Lookup::Ambiguous(_) => None,
        }
    }

    /// The admin page `/engines`: what the standalone supervisor reads before it stops an engine.
    pub fn admin_page(&self) -> String {
        let engines: Vec<_> = self
            .engines
            .iter()
            .map(|view| {
                json!({
                    "id": &*view.live.id,
                    "url": view.live.url.to_string(),
                    "model": view.model,
                    "state": view.state_name(),
                    "in_flight": view.live.in_flight(),
                    "room": view.live.room(),
                    "served_models": view.names.iter().flatten().map(|name| &**name).collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({"generation": self.generation, "engines": engines}).to_string()
    }
}
