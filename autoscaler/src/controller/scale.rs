//! The target's scale subresource, and who else writes it.

use std::collections::BTreeMap;

use autoscaler_api::Target;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

/// Most HPAs or ScaledObjects looked at in a namespace; a list is cut rather than memory filled.
const MOST_SCALERS: u32 = 5_000;

/// What `/scale` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// `spec.replicas`.
    pub replicas: u32,
    /// Selector of its pods.
    pub selector: String,
    /// Guards the next write.
    pub resource_version: Option<String>,
}

/// Why `/scale` could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// There is no such object.
    #[error("{target} does not exist; check spec.scaleTargetRef")]
    NotFound {
        /// What was asked for.
        target: String,
    },
    /// It says nothing about its pods.
    #[error("{target} tells no selector in /scale, so its engines cannot be found")]
    NoSelector {
        /// What was asked for.
        target: String,
    },
    /// Somebody else wrote it at the same time.
    #[error("{target} was changed meanwhile")]
    Conflict {
        /// What was asked for.
        target: String,
    },
    /// The API server did not answer.
    #[error("scale of {target}: no answer within {timeout:?}")]
    Timeout {
        /// What was asked for.
        target: String,
        /// The limit.
        timeout: std::time::Duration,
    },
    /// The API server refused.
    #[error("scale of {target}: {source}")]
    Api {
        /// What was asked for.
        target: String,
        /// Its error.
        source: kube::Error,
    },
}

impl ScaleError {
    /// A bounded word for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "TargetNotFound",
            Self::NoSelector { .. } => "TargetHasNoSelector",
            Self::Conflict { .. } => "TargetChanged",
            Self::Api { source: kube::Error::Api(status), .. } if status.code == 403 => "Forbidden",
            Self::Api { .. } | Self::Timeout { .. } => "TargetUnreadable",
        }
    }

    fn from_kube(target: &Target, source: kube::Error) -> Self {
        let target = target.to_string();
        match &source {
            kube::Error::Api(status) if status.code == 404 => Self::NotFound { target },
            kube::Error::Api(status) if status.code == 409 => Self::Conflict { target },
            _ => Self::Api { target, source },
        }
    }
}

fn api(client: &Client, namespace: &str, target: &Target) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(&target.group, &target.version, &target.kind);
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind))
}

/// Reads `/scale`.
///
/// # Errors
/// See [`ScaleError`].
pub async fn read(client: &Client, namespace: &str, target: &Target) -> Result<Scale, ScaleError> {
    let scale = api(client, namespace, target)
        .get_scale(&target.name)
        .await
        .map_err(|error| ScaleError::from_kube(target, error))?;
    let selector = scale.status.and_then(|status| status.selector).filter(|selector| !selector.is_empty());
    let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
    Ok(Scale {
        replicas: u32::try_from(replicas).unwrap_or(0),
        selector: selector.ok_or_else(|| ScaleError::NoSelector { target: target.to_string() })?,
        resource_version: scale.metadata.resource_version,
    })
}

/// Writes `spec.replicas`, unless the object changed since it was read.
///
/// # Errors
/// See [`ScaleError`].
pub async fn write(
    client: &Client,
    namespace: &str,
    target: &Target,
    seen: &Scale,
    replicas: u32,
) -> Result<(), ScaleError> {
    let patch = json!({"metadata": {"resourceVersion": seen.resource_version}, "spec": {"replicas": replicas}});
    api(client, namespace, target)
        .patch_scale(&target.name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map(drop)
        .map_err(|error| ScaleError::from_kube(target, error))
}

/// Who else scales which target of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherScalers {
    by_target: BTreeMap<(String, String), Vec<String>>,
    /// Why it is not known; nothing is scaled then.
    pub unknown: Option<String>,
}

impl OtherScalers {
    /// Nothing is known, and why.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        Self { by_target: BTreeMap::new(), unknown: Some(why.to_owned()) }
    }

    /// The scalers of a target, such as `HorizontalPodAutoscaler llama-8b`.
    #[must_use]
    pub fn of(&self, target: &Target) -> &[String] {
        self.by_target.get(&(target.kind.clone(), target.name.clone())).map_or(&[], Vec::as_slice)
    }

    /// Notes that `scaler` scales an object.
    pub fn add(&mut self, kind: &str, name: &str, scaler: String) {
        self.by_target.entry((kind.to_owned(), name.to_owned())).or_default().push(scaler);
    }

    /// Lists the HPAs and the ScaledObjects of a namespace.
    pub async fn list(client: &Client, namespace: &str) -> Self {
        let mut others = Self::default();
        let some = ListParams::default().limit(MOST_SCALERS);
        match Api::<HorizontalPodAutoscaler>::namespaced(client.clone(), namespace).list(&some).await {
            Ok(list) => {
                for hpa in list {
                    let Some(reference) = hpa.spec.as_ref().map(|spec| &spec.scale_target_ref) else { continue };
                    let (kind, name) = (reference.kind.clone(), reference.name.clone());
                    others.add(&kind, &name, format!("HorizontalPodAutoscaler {}", hpa.name_any()));
                }
            }
            Err(error) => others.unknown = Some(format!("list HorizontalPodAutoscalers: {error}")),
        }
        let keda = ApiResource::from_gvk(&GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject"));
        match Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &keda).list(&some).await {
            Ok(list) => {
                for object in list {
                    let reference = &object.data["spec"]["scaleTargetRef"];
                    let kind = reference["kind"].as_str().unwrap_or("Deployment");
                    let Some(name) = reference["name"].as_str() else { continue };
                    others.add(kind, name, format!("ScaledObject {}", object.name_any()));
                }
            }
            // No KEDA here.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => others.unknown = Some(format!("list ScaledObjects: {error}")),
        }
        others
    }
}
