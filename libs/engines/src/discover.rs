//! The one watcher of pods: engines, and by other labels the router's own pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use crate::{Engine, EngineState};

/// Label whose value names the part of the stack a pod belongs to.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Value of [`COMPONENT_LABEL`] on engines.
pub const ENGINE_COMPONENT: &str = "serving-engine";
/// Value of [`COMPONENT_LABEL`] on router pods.
pub const ROUTER_COMPONENT: &str = "router";
/// Label that names the Helm release.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
/// Label that holds `modelSpec[].name`.
pub const MODEL_LABEL: &str = "model";
/// Annotation that overrides the port.
pub const PORT_ANNOTATION: &str = "vllm-prod-stack.io/port";
/// Port of an engine that names none.
const DEFAULT_ENGINE_PORT: i32 = 8000;

/// Which pods to watch, and at which port they are asked.
#[derive(Clone, Debug)]
pub struct PodScope {
    /// One namespace, or all that the service account may list.
    pub namespace: Option<String>,
    /// Label selector in Kubernetes' text form.
    pub selector: String,
    /// Name of the container port that is used when there is no annotation.
    pub port_name: &'static str,
    /// Port when neither is there.
    pub default_port: i32,
}

impl PodScope {
    /// Engines, of one release or of all.
    #[must_use]
    pub fn engines(namespace: Option<String>, release: Option<&str>) -> Self {
        Self {
            namespace,
            selector: selector(ENGINE_COMPONENT, release),
            port_name: "http",
            default_port: DEFAULT_ENGINE_PORT,
        }
    }

    /// Admin ports of router pods, of one release or of all.
    #[must_use]
    pub fn routers(namespace: Option<String>, release: Option<&str>) -> Self {
        Self { namespace, selector: selector(ROUTER_COMPONENT, release), port_name: "admin", default_port: 9100 }
    }
}

fn selector(component: &str, release: Option<&str>) -> String {
    let base = format!("{COMPONENT_LABEL}={component}");
    release.map_or_else(|| base.clone(), |release| format!("{base},{INSTANCE_LABEL}={release}"))
}

/// The pods of a scope as last seen; `None` until the first full list has arrived.
pub type Pods = watch::Receiver<Option<Arc<Vec<Engine>>>>;

/// Keeps a list of the pods of `scope`. The future runs until its receivers are gone; an interrupted watch is resumed
/// with back-off while the last list stays, so a restarted API server removes no engine.
pub fn watch_pods(client: Client, scope: PodScope) -> (Pods, impl Future<Output = ()> + Send) {
    let (sender, receiver) = watch::channel(None);
    let run = async move {
        let api: Api<Pod> = match &scope.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let config = watcher::Config::default().labels(&scope.selector);
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut known = BTreeMap::new();
        let mut relisted = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => relisted = BTreeMap::new(),
                Ok(watcher::Event::InitApply(pod)) => insert(&mut relisted, &pod, &scope),
                Ok(watcher::Event::InitDone) => {
                    known = std::mem::take(&mut relisted);
                    publish(&sender, &known);
                }
                Ok(watcher::Event::Apply(pod)) => {
                    insert(&mut known, &pod, &scope);
                    publish(&sender, &known);
                }
                Ok(watcher::Event::Delete(pod)) => {
                    known.remove(&identity(&pod));
                    publish(&sender, &known);
                }
                Err(error) => {
                    tracing::warn!(selector = %scope.selector, error = %error, "pod watch interrupted, the last list stays");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            if sender.is_closed() {
                return;
            }
        }
    };
    (receiver, run)
}

fn insert(known: &mut BTreeMap<String, Engine>, pod: &Pod, scope: &PodScope) {
    match engine_of(pod, scope) {
        Some(engine) => known.insert(engine.id.clone(), engine),
        None => known.remove(&identity(pod)),
    };
}

fn publish(sender: &watch::Sender<Option<Arc<Vec<Engine>>>>, known: &BTreeMap<String, Engine>) {
    let list: Vec<Engine> = known.values().cloned().collect();
    sender.send_if_modified(|current| {
        let changed = current.as_deref() != Some(&list);
        if changed {
            *current = Some(Arc::new(list));
        }
        changed
    });
}

fn identity(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// What a pod is as an engine; `None` if it has ended.
///
/// A deletion timestamp means draining at once, although the pod stays Ready until its engine stops answering probes.
#[must_use]
pub fn engine_of(pod: &Pod, scope: &PodScope) -> Option<Engine> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    if matches!(phase, "Succeeded" | "Failed") {
        return None;
    }
    let holds_since = |name: &str| {
        let conditions = status.and_then(|status| status.conditions.as_ref())?;
        let condition = conditions.iter().find(|condition| condition.type_ == name && condition.status == "True")?;
        Some(condition.last_transition_time.as_ref().map(|time| time.0))
    };
    let ready_since = holds_since("Ready");
    let address = status.and_then(|status| status.pod_ip.as_deref()).unwrap_or_default();
    let state = if pod.metadata.deletion_timestamp.is_some() {
        EngineState::Draining
    } else if ready_since.is_some() && !address.is_empty() {
        EngineState::Ready
    } else {
        EngineState::Starting
    };
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    Some(Engine {
        id: identity(pod),
        namespace: pod.namespace().unwrap_or_default(),
        url: format!("http://{host}:{}", port_of(pod, scope)),
        model: pod.labels().get(MODEL_LABEL).cloned().unwrap_or_default(),
        state,
        created_at: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        ready_since: ready_since.flatten().filter(|_| state == EngineState::Ready),
        scheduled_at: holds_since("PodScheduled").flatten(),
        containers_started_at: containers_started_at(pod),
        labels: Arc::new(pod.labels().clone()),
    })
}

/// When the last container started, if all run and none was restarted: a later start says nothing of the image.
fn containers_started_at(pod: &Pod) -> Option<Timestamp> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let started = |container: &ContainerStatus| {
        let running = container.state.as_ref()?.running.as_ref()?;
        running.started_at.as_ref().filter(|_| container.restart_count == 0).map(|time| time.0)
    };
    containers.iter().map(started).collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn port_of(pod: &Pod, scope: &PodScope) -> i32 {
    let annotated = pod.annotations().get(PORT_ANNOTATION).and_then(|text| text.parse().ok());
    let named = || {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        ports.find(|port| port.name.as_deref() == Some(scope.port_name)).map(|port| port.container_port)
    };
    // The annotation speaks of the engine's port; a router pod is asked at its admin port.
    annotated.filter(|_| scope.port_name == "http").or_else(named).unwrap_or(scope.default_port)
}

/// Age of `since` at `now` in seconds, never negative.
#[must_use]
pub fn seconds_since(since: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(since).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> Pod {
        serde_json::from_str(text).unwrap()
    }

    fn scope() -> PodScope {
        PodScope::engines(Some("ns".into()), Some("rel"))
    }

    const READY: &str = r#"{"metadata":{"name":"a","namespace":"ns","labels":{"model":"llama-8b"},
        "creationTimestamp":"2026-11-23T00:00:00Z"},
        "spec":{"containers":[{"name":"vllm","ports":[{"name":"metrics","containerPort":9},{"name":"http","containerPort":8123}]}]},
        "status":{"phase":"Running","podIP":"10.0.0.7",
          "conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-11-23T00:01:00Z"}]}}"#;

    #[test]
    fn a_ready_pod_is_an_engine_at_its_http_port() {
        let engine = engine_of(&pod(READY), &scope()).unwrap();
        assert_eq!((engine.id.as_str(), engine.url.as_str()), ("ns/a", "http://10.0.0.7:8123"));
        assert_eq!((engine.model.as_str(), engine.state), ("llama-8b", EngineState::Ready));
        assert_eq!(engine.ready_since, Some("2026-11-23T00:01:00Z".parse().unwrap()));
    }

    #[test]
    fn the_moments_of_a_start_are_known_until_a_container_restarts() {
        let text = READY.replace(
            r#""conditions":["#,
            r#""containerStatuses":[{"name":"vllm","image":"v","imageID":"v","ready":true,"restartCount":0,
                "state":{"running":{"startedAt":"2026-11-23T00:00:40Z"}}}],
               "conditions":[{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-11-23T00:00:10Z"},"#,
        );
        let engine = engine_of(&pod(&text), &scope()).unwrap();
        assert_eq!(engine.scheduled_at, Some("2026-11-23T00:00:10Z".parse().unwrap()));
        assert_eq!(engine.containers_started_at, Some("2026-11-23T00:00:40Z".parse().unwrap()));
        let restarted = engine_of(&pod(&text.replace("\"restartCount\":0", "\"restartCount\":1")), &scope()).unwrap();
        assert_eq!(restarted.containers_started_at, None);
        let plain = engine_of(&pod(READY), &scope()).unwrap();
        assert_eq!((plain.scheduled_at, plain.containers_started_at), (None, None));
    }

    #[test]
    fn a_deleted_pod_drains_at_once_although_it_is_still_ready() {
        let text = READY.replace("\"name\":\"a\"", "\"name\":\"a\",\"deletionTimestamp\":\"2026-11-23T00:02:00Z\"");
        let engine = engine_of(&pod(&text), &scope()).unwrap();
        assert_eq!((engine.state, engine.ready_since), (EngineState::Draining, None));
    }

    #[test]
    fn a_pod_without_readiness_or_address_is_starting() {
        for text in [READY.replace("\"True\"", "\"False\""), READY.replace("10.0.0.7", "")] {
            assert_eq!(engine_of(&pod(&text), &scope()).unwrap().state, EngineState::Starting);
        }
    }

    #[test]
    fn a_pod_that_has_ended_is_no_engine() {
        assert!(engine_of(&pod(&READY.replace("Running", "Failed")), &scope()).is_none());
    }

    #[test]
    fn the_annotation_overrides_the_port_of_engines_only() {
        let text = READY.replace("\"labels\"", "\"annotations\":{\"vllm-prod-stack.io/port\":\"9999\"},\"labels\"");
        assert_eq!(engine_of(&pod(&text), &scope()).unwrap().url, "http://10.0.0.7:9999");
        let routers = PodScope::routers(None, None);
        assert_eq!(engine_of(&pod(&text), &routers).unwrap().url, "http://10.0.0.7:9100");
    }

    #[test]
    fn an_ipv6_address_is_bracketed() {
        let engine = engine_of(&pod(&READY.replace("10.0.0.7", "fd00::7")), &scope()).unwrap();
        assert_eq!(engine.url, "http://[fd00::7]:8123");
    }
}
