//! Whether a caller may: SubjectAccessReview, as kube-apiserver's own rules decide it.

use std::time::Duration;

use adapter_api::external::{GROUP, VERSION};
use adapter_api::{Reason, Status};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use tokio::time::Instant;

use super::identify::Identity;
use crate::cache::Cache;

/// What a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question<'a> {
    /// Values of a metric; kube-apiserver calls this `list`.
    Values {
        /// Namespace asked for.
        namespace: &'a str,
        /// Metric asked for.
        metric: &'a str,
    },
    /// A path that is no resource.
    Path(&'a str),
}

/// As in Kubernetes' delegated authorization.
const DECISION_CACHE: Duration = Duration::from_secs(10);
/// While kube-apiserver does not answer, who was allowed before stays allowed this long: it restarts within it.
const STALE_ALLOW: Duration = Duration::from_secs(60);
/// An HPA's worker waits for this answer.
const REVIEW_TIMEOUT: Duration = Duration::from_millis(2500);

/// What a decision was made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    identity: Identity,
    namespace: String,
    subject: String,
}

/// Asks kube-apiserver, and remembers.
pub struct Authorizer {
    client: kube::Client,
    decisions: Cache<Key, Result<(), String>>,
}

impl std::fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorizer").finish_non_exhaustive()
    }
}

impl Authorizer {
    /// Asks through this client.
    pub fn new(client: kube::Client) -> Self {
        Self { client, decisions: Cache::new(DECISION_CACHE) }
    }

    /// Whether the caller may.
    ///
    /// # Errors
    /// Forbidden, with kube-apiserver's reason; or it could not be asked.
    pub async fn allow(&self, identity: &Identity, question: &Question<'_>) -> Result<(), Status> {
        if identity.groups.iter().any(|group| group == "system:masters") {
            return Ok(());
        }
        let key = key(identity, question);
        if let Some(decision) = self.decisions.get(&key, Instant::now()) {
            return decision.map_err(forbidden);
        }
        match self.review(identity, question).await {
            Ok(decision) => {
                self.decisions.insert(key, decision.clone(), Instant::now());
                decision.map_err(forbidden)
            }
            Err(error) if self.was_allowed(&key) => {
                tracing::warn!(error, user = identity.user, "access could not be reviewed, the last decision stays");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(error, user = identity.user, "access could not be reviewed");
                let text = "access could not be reviewed: kube-apiserver did not answer";
                Err(Status::failure(Reason::InternalError, text))
            }
        }
    }

    fn was_allowed(&self, key: &Key) -> bool {
        self.decisions.get_within(key, STALE_ALLOW, Instant::now()).is_some_and(|known| known.is_ok())
    }

    async fn review(&self, identity: &Identity, question: &Question<'_>) -> Result<Result<(), String>, String> {
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = SubjectAccessReview { spec: spec(identity, question), ..SubjectAccessReview::default() };
        let sent = tokio::time::timeout(REVIEW_TIMEOUT, api.create(&PostParams::default(), &review)).await;
        let review = sent.map_err(|_| "timeout".to_owned())?.map_err(|error| error.to_string())?;
        let status = review.status.unwrap_or_default();
        if status.allowed {
            return Ok(Ok(()));
        }
        let reason = status.reason.filter(|reason| !reason.is_empty()).map(|r| format!(": {r}")).unwrap_or_default();
        let wanted = match question {
            Question::Values { namespace, metric } => {
                format!("cannot list resource \"{metric}\" in API group \"{GROUP}\" in the namespace \"{namespace}\"")
            }
            Question::Path(path) => format!("cannot get path \"{path}\""),
        };
        Ok(Err(format!("User \"{}\" {wanted}{reason}", identity.user)))
    }
}

fn forbidden(message: String) -> Status {
    Status::failure(Reason::Forbidden, message)
}

fn key(identity: &Identity, question: &Question<'_>) -> Key {
    let (namespace, subject) = match question {
        Question::Values { namespace, metric } => (*namespace, *metric),
        Question::Path(path) => ("", *path),
    };
    Key { identity: identity.clone(), namespace: namespace.to_owned(), subject: subject.to_owned() }
}

fn spec(identity: &Identity, question: &Question<'_>) -> SubjectAccessReviewSpec {
    let mut spec = SubjectAccessReviewSpec {
        user: Some(identity.user.clone()),
        uid: Some(identity.uid.clone()).filter(|uid| !uid.is_empty()),
        groups: Some(identity.groups.clone()),
        extra: Some(identity.extra.clone()).filter(|extra| !extra.is_empty()),
        ..SubjectAccessReviewSpec::default()
    };
    match question {
        Question::Values { namespace, metric } => {
            spec.resource_attributes = Some(ResourceAttributes {
                namespace: Some((*namespace).to_owned()),
                verb: Some("list".to_owned()),
                group: Some(GROUP.to_owned()),
                version: Some(VERSION.to_owned()),
                resource: Some((*metric).to_owned()),
                ..ResourceAttributes::default()
            });
        }
        Question::Path(path) => {
            let (path, verb) = (Some((*path).to_owned()), Some("get".to_owned()));
            spec.non_resource_attributes = Some(NonResourceAttributes { path, verb });
        }
    }
    spec
}
