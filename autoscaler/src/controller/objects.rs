//! The EngineAutoscalers of the namespace as last seen. One that cannot be read stays in the list with its error, so
//! that it is told so and stops nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;

use autoscaler_api::EngineAutoscaler;
use futures::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use process::readiness::Readiness;
use tokio::sync::watch;

/// One object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its uid: another object of the same name is another object.
    pub uid: String,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// It, or why it cannot be read.
    pub content: Result<EngineAutoscaler, String>,
}

/// All objects by name; `None` until the first full list has arrived.
pub type Objects = watch::Receiver<Option<Arc<BTreeMap<String, Object>>>>;

/// Keeps the list of objects. The future runs until its receivers are gone.
pub fn watch_objects(
    client: Client,
    namespace: &str,
    readiness: Readiness,
) -> (Objects, impl Future<Output = ()> + Send + use<>) {
    let (sender, receiver) = watch::channel(None);
    let api: Api<DeserializeGuard<EngineAutoscaler>> = Api::namespaced(client, namespace);
    readiness.wait_for("engineautoscalers", "not listed yet");
    let run = async move {
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut known = BTreeMap::new();
        let mut relisted = BTreeMap::new();
        while let Some(event) = events.next().await {
            let publish = match event {
                Ok(watcher::Event::Init) => {
                    relisted = BTreeMap::new();
                    false
                }
                Ok(watcher::Event::InitApply(object)) => {
                    insert(&mut relisted, object);
                    false
                }
                Ok(watcher::Event::InitDone) => {
                    known = std::mem::take(&mut relisted);
                    readiness.clear("engineautoscalers");
                    true
                }
                Ok(watcher::Event::Apply(object)) => {
                    insert(&mut known, object);
                    true
                }
                Ok(watcher::Event::Delete(object)) => {
                    known.remove(&object.name_any());
                    true
                }
                Err(error) => {
                    tracing::warn!(
                        error = %error,
                        "watch of EngineAutoscalers interrupted, the last list stays; is the definition installed (autoscaler crd apply)?"
                    );
                    false
                }
            };
            if publish {
                sender.send_replace(Some(Arc::new(known.clone())));
            }
            if sender.is_closed() {
                return;
            }
        }
    };
    (receiver, run)
}

fn insert(known: &mut BTreeMap<String, Object>, guarded: DeserializeGuard<EngineAutoscaler>) {
    let object = Object {
        name: guarded.name_any(),
        uid: guarded.uid().unwrap_or_default(),
        generation: kube::Resource::meta(&guarded).generation,
        content: guarded.0.map_err(|invalid| invalid.error),
    };
    known.insert(object.name.clone(), object);
}
