//! A small API server in memory for tests: objects by path, resourceVersions that guard writes, merge patches, and a
//! log of what was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// The server. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeApi {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, Value>,
    writes: Vec<(String, String, Value)>,
    version: u64,
    /// Paths that are answered with this status, and for which methods.
    refused: BTreeMap<(String, String), u16>,
    /// Ends of paths that are answered late.
    late: BTreeMap<String, Duration>,
}

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
        });
        Client::new(service, "ns")
    }

    /// Puts an object at its path.
    pub(crate) fn put(&self, path: &str, object: Value) {
        let mut inner = self.lock();
        inner.store(path, object);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(path).cloned()
    }

    /// Answers a method on a path with an error from now on; status 0 ends that.
    pub(crate) fn refuse(&self, method: &str, path: &str, status: u16) {
        let key = (method.to_owned(), path.to_owned());
        let mut inner = self.lock();
        match status {
            0 => drop(inner.refused.remove(&key)),
            status => drop(inner.refused.insert(key, status)),
        }
    }

    /// Answers everything on paths that end like this after a while.
    pub(crate) fn delay(&self, end: &str, by: Duration) {
        self.lock().late.insert(end.to_owned(), by);
    }

    /// Bodies of the writes to paths that end like this, in order.
    pub(crate) fn writes(&self, end: &str) -> Vec<Value> {
        self.lock().writes.iter().filter(|(_, path, _)| path.ends_with(end)).map(|(_, _, body)| body.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let late = {
            let inner = self.lock();
            let delays = inner.late.iter().filter(|(end, _)| parts.uri.path().ends_with(end.as_str()));
            delays.map(|(_, by)| *by).max().unwrap_or_default()
        };
        tokio::time::sleep(late).await;
        let (status, answer) = self.lock().handle(&parts.method, parts.uri.path(), body);
        let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
    }
}

impl Inner {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn handle(&mut self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        if *method != Method::GET {
            self.writes.push((method.to_string(), path.to_owned(), body.clone()));
        }
        if let Some(&status) = self.refused.get(&(method.to_string(), path.to_owned())) {
            return failure(status, "refused by the test");
        }
        // The status of an object is a part of it.
        let object = path.strip_suffix("/status").unwrap_or(path);
        match *method {
            Method::GET => self.read(path),
            Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap_or("generated").to_owned();
                let path = format!("{path}/{name}");
                match self.objects.contains_key(&path) {
                    true => failure(409, "already exists"),
                    false => (201, self.store(&path, body)),
                }
            }
            _ => {
                let Some(stored) = self.objects.get(object).cloned() else { return failure(404, "not found") };
                let wanted = &body["metadata"]["resourceVersion"];
                if !wanted.is_null() && *wanted != stored["metadata"]["resourceVersion"] {
                    return failure(409, "the object has been modified");
                }
                let changed = if *method == Method::PUT { body } else { merge(stored, body) };
                (200, self.store(object, changed))
            }
        }
    }

    fn read(&self, path: &str) -> (u16, Value) {
        if let Some(object) = self.objects.get(path) {
            return (200, object.clone());
        }
        let kinds = [
            ("horizontalpodautoscalers", "HorizontalPodAutoscalerList"),
            ("engineautoscalers", "EngineAutoscalerList"),
            ("scaledobjects", "ScaledObjectList"),
        ];
        let Some((_, kind)) = kinds.iter().find(|(plural, _)| path.ends_with(plural)) else {
            return failure(404, "not found");
        };
        let prefix = format!("{path}/");
        let items: Vec<&Value> =
            self.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, object)| object).collect();
        // A cluster without a single ScaledObject is one without KEDA.
        if *kind == "ScaledObjectList" && items.is_empty() {
            return failure(404, "not found");
        }
        (200, json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}))
    }
}

fn failure(code: u16, message: &str) -> (u16, Value) {
    // kube tells these apart by their reason.
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code});
    (code, status)
}

/// RFC 7386.
fn merge(target: Value, patch: Value) -> Value {
    match (target, patch) {
        (Value::Object(mut target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(&key);
                } else {
                    let old = target.remove(&key).unwrap_or(Value::Null);
                    target.insert(key, merge(old, value));
                }
            }
            Value::Object(target)
        }
        (_, Value::Object(patch)) => merge(json!({}), Value::Object(patch)),
        (_, patch) => patch,
    }
}
