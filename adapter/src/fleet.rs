//! Which engines, routers and autoscalers there are: from pods in a cluster, from files and lists elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use adapter_core::history::TargetId;
use adapter_core::{Component, ReadyEngine};
use engines::discover::{PodScope, Pods, watch_pods};
use engines::handover::Handover;
use engines::{Engine, EngineState};
use jiff::Timestamp;

use crate::config::file::Direct;

/// What there is at one moment.
#[derive(Clone, Debug, Default)]
pub struct FleetView {
    /// What can be scraped, with its metrics URL.
    pub targets: Vec<(TargetId, String)>,
    /// Engines that take requests, and so must be scraped.
    pub ready: Vec<ReadyEngine>,
}

/// Where the fleet is looked up.
#[derive(Debug)]
pub enum Fleet {
    /// Watches of pods.
    Pods {
        /// Engine pods.
        engines: Pods,
        /// Router pods.
        routers: Pods,
        /// Autoscaler pods.
        autoscalers: Pods,
    },
    /// Lists and the hand-over file of a standalone autoscaler.
    Lists(Lists),
}

/// Lists of the configuration file.
#[derive(Debug)]
pub struct Lists {
    direct: Direct,
    /// Last good hand-over, and since when its engines are ready.
    // Held while a small file is read, never across an await.
    last: Mutex<(Handover, BTreeMap<String, Timestamp>)>,
}

/// A watch of pods; it must be run.
pub type Watch = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Label of autoscaler pods.
const AUTOSCALER_SELECTOR: &str = "app.kubernetes.io/component=autoscaler";

impl Fleet {
    /// Watches pods of all namespaces; the futures must be run.
    pub fn watching(client: &kube::Client) -> (Self, [Watch; 3]) {
        let (engines, engine_watch) = watch_pods(client.clone(), PodScope::engines(None, None));
        let (routers, router_watch) = watch_pods(client.clone(), PodScope::routers(None, None));
        let autoscaler_scope = PodScope { selector: AUTOSCALER_SELECTOR.to_owned(), ..PodScope::routers(None, None) };
        let (autoscalers, autoscaler_watch) = watch_pods(client.clone(), autoscaler_scope);
        let watches: [Watch; 3] = [Box::pin(engine_watch), Box::pin(router_watch), Box::pin(autoscaler_watch)];
        (Self::Pods { engines, routers, autoscalers }, watches)
    }

    /// Reads lists and the hand-over file.
    pub fn listed(direct: &Direct) -> Self {
        Self::Lists(Lists { direct: direct.clone(), last: Mutex::default() })
    }

    /// The fleet now; the error says what is not known yet.
    pub fn view(&self, now: Timestamp) -> Result<FleetView, String> {
        match self {
            Self::Pods { engines, routers, autoscalers } => pods(engines, routers, autoscalers, now),
            Self::Lists(lists) => lists.view(now),
        }
    }
}

fn pods(engines: &Pods, routers: &Pods, autoscalers: &Pods, now: Timestamp) -> Result<FleetView, String> {
    let list = |pods: &Pods, what: &str| -> Result<Arc<Vec<Engine>>, String> {
        pods.borrow().clone().ok_or_else(|| format!("the list of {what} pods has not arrived from Kubernetes yet"))
    };
    let mut view = FleetView::default();
    for engine in list(engines, "engine")?.iter() {
        let name = engine.id.rsplit('/').next().unwrap_or_default().to_owned();
        if engine.state == EngineState::Ready {
            view.ready.push(ReadyEngine {
                namespace: engine.namespace.clone(),
                model: engine.model.clone(),
                name: name.clone(),
                since: engine.ready_since.unwrap_or(now),
            });
        }
        if engine.state != EngineState::Starting {
            view.targets.push(target(Component::ServingEngine, engine, name));
        }
    }
    for (component, pods, what) in
        [(Component::Router, routers, "router"), (Component::Autoscaler, autoscalers, "autoscaler")]
    {
        let running = list(pods, what)?;
        for pod in running.iter().filter(|pod| pod.state != EngineState::Starting) {
            let name = pod.id.rsplit('/').next().unwrap_or_default().to_owned();
            view.targets.push(target(component, pod, name));
        }
    }
    Ok(view)
}

fn target(component: Component, pod: &Engine, name: String) -> (TargetId, String) {
    let model = if component == Component::ServingEngine { pod.model.clone() } else { String::new() };
    let id = TargetId { component, namespace: pod.namespace.clone(), model, name };
    (id, format!("{}/metrics", pod.url))
}

impl Lists {
    fn view(&self, now: Timestamp) -> Result<FleetView, String> {
        let mut view = FleetView::default();
        let namespace = &self.direct.namespace;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (handover, ready_since) = &mut *last;
        if let Some(path) = &self.direct.engines_file {
            match Handover::read(path) {
                Ok(fresh) => *handover = fresh,
                // The last good list stays: a file that is gone for a moment removes no engine.
                Err(error) if handover.generation == 0 => return Err(error.to_string()),
                Err(error) => tracing::debug!(error = %error, "the last good list of engines stays"),
            }
        }
        let mut engines: Vec<(String, String, String, EngineState)> = handover
            .engines
            .iter()
            .map(|engine| (engine.id.clone(), engine.url.clone(), engine.model.clone(), engine.state))
            .collect();
        for engine in &self.direct.engines {
            engines.push((address(&engine.url), engine.url.clone(), engine.model.clone(), EngineState::Ready));
        }
        ready_since
            .retain(|id, _| engines.iter().any(|(known, _, _, state)| known == id && *state == EngineState::Ready));
        for (name, url, model, state) in engines {
            if state == EngineState::Starting {
                continue;
            }
            let (namespace, model) = (namespace.clone(), model);
            if state == EngineState::Ready {
                let since = *ready_since.entry(name.clone()).or_insert(now);
                let (namespace, model, name) = (namespace.clone(), model.clone(), name.clone());
                view.ready.push(ReadyEngine { namespace, model, name, since });
            }
            let id = TargetId { component: Component::ServingEngine, namespace, model, name };
            view.targets.push((id, format!("{}/metrics", url.trim_end_matches('/'))));
        }
        for (component, urls) in
            [(Component::Router, &self.direct.routers), (Component::Autoscaler, &self.direct.autoscalers)]
        {
            for url in urls {
                let (namespace, model, name) = (namespace.clone(), String::new(), address(url));
                let id = TargetId { component, namespace, model, name };
                view.targets.push((id, format!("{}/metrics", url.trim_end_matches('/'))));
            }
        }
        Ok(view)
    }

    /// Where the hand-over file is read from.
    pub fn engines_file(&self) -> Option<&PathBuf> {
        self.direct.engines_file.as_ref()
    }
}

/// `host:port` of a URL: what Prometheus calls `instance`.
fn address(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}
