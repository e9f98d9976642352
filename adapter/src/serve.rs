//! The API port: who asks, may they, and the answer from memory.

use std::sync::Arc;

use adapter_api::{Reason, Status};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use serving::Peer;
use tokio::time::Instant;

pub mod answer;
pub mod authorize;
pub mod documents;
pub mod identify;
pub mod path;

use self::answer::json;
use self::authorize::{Authorizer, Question};
use self::documents::Documents;
use self::identify::{Identifier, Identity};
use self::path::Route;
use crate::metrics::{GroupLabel, Metrics, RequestLabels};
use crate::store::Store;

/// The body of every answer.
pub type Body = Full<Bytes>;

/// Who asks and whether they may; with `authentication: none` everybody may.
#[derive(Debug)]
pub enum Access {
    /// Loopback, plain HTTP.
    Open,
    /// As a Kubernetes API server does it.
    Kubernetes(Box<Reviews>),
}

/// What kube-apiserver is asked about callers.
#[derive(Debug)]
pub struct Reviews {
    /// Who asks.
    pub identifier: Identifier,
    /// Whether they may.
    pub authorizer: Authorizer,
}

/// Everything that answering needs.
#[derive(Debug)]
pub struct Api {
    /// What is known of the rules.
    pub store: Arc<Store>,
    /// Who may ask.
    pub access: Access,
    /// What is counted.
    pub metrics: Metrics,
    /// Discovery documents of the current rules.
    pub documents: Documents,
}

impl Api {
    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body> {
        let started = Instant::now();
        let route = Route::parse(request.uri().path());
        let answer = self.routed(&request, &route).await;
        let group = route.group();
        let metric = match &route {
            Route::Values { metric, .. } if self.store.slot(metric).is_some() => metric.clone(),
            Route::Values { .. } => "other".to_owned(),
            _ => String::new(),
        };
        self.metrics.requests.get_or_create(&RequestLabels { group, metric, code: answer.status().as_u16() }).inc();
        self.metrics.request_duration.get_or_create(&GroupLabel { group }).observe(started.elapsed().as_secs_f64());
        answer
    }

    async fn routed<B>(&self, request: &Request<B>, route: &Route) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let text = format!("{} is not served; only GET and HEAD are", request.method());
            return answer::failure(&Status::failure(Reason::MethodNotAllowed, text));
        }
        // kubelet and load balancers probe without an identity, as on every Kubernetes API server.
        if matches!(route, Route::Health) {
            return answer::text(http::StatusCode::OK, "ok");
        }
        if let Err(status) = self.allow(request, route).await {
            return answer::failure(&status);
        }
        match route {
            Route::Health => answer::text(http::StatusCode::OK, "ok"),
            Route::Version => json(http::StatusCode::OK, &documents::version()),
            Route::Groups => self.documents.groups(request.headers()),
            Route::Group => self.documents.group(),
            Route::Resources => self.documents.resources(request.headers()),
            Route::Values { namespace, metric } => {
                let now = process::clock::now();
                answer::values(&self.store, namespace, metric, request.uri().query(), request.headers(), now)
            }
            Route::Unknown => {
                let text = format!("the adapter serves nothing at {}", request.uri().path());
                answer::failure(&Status::failure(Reason::NotFound, text))
            }
        }
    }

    async fn allow<B>(&self, request: &Request<B>, route: &Route) -> Result<(), Status> {
        let Access::Kubernetes(reviews) = &self.access else { return Ok(()) };
        let none = Peer::default();
        let peer = request.extensions().get::<Peer>().unwrap_or(&none);
        let identity: Identity = reviews.identifier.identify(peer, request.headers()).await?;
        let question = match route {
            Route::Values { namespace, metric } => Question::Values { namespace, metric },
            _ => Question::Path(request.uri().path()),
        };
        reviews.authorizer.allow(&identity, &question).await
    }
}
