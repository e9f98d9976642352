//! Discovery from memory, with strong ETags: kube-apiserver asks each minute, and probes five times every 30 s.

use std::hash::Hasher;
use std::sync::Arc;

use adapter_api::discovery;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Body, answer};

/// The documents of the current rules; a reload swaps them.
#[derive(Debug, Default)]
pub struct Documents {
    current: ArcSwap<Set>,
}

#[derive(Debug, Default)]
struct Set {
    resources: Bytes,
    resources_tag: String,
    aggregated: Bytes,
    aggregated_tag: String,
}

impl Documents {
    /// Documents that list these names.
    pub fn replace(&self, names: &[&str]) {
        let (resources, aggregated) = (bytes(&discovery::resource_list(names)), bytes(&discovery::aggregated(names)));
        let (resources_tag, aggregated_tag) = (tag(&resources), tag(&aggregated));
        self.current.store(Arc::new(Set { resources, resources_tag, aggregated, aggregated_tag }));
    }

    /// `/apis`: aggregated for who asks for it, else the list of groups.
    pub fn groups(&self, headers: &HeaderMap) -> Response<Body> {
        if !takes_aggregated(headers) {
            return answer::json(StatusCode::OK, &discovery::group_list());
        }
        let set = self.current.load();
        let content_type = HeaderValue::from_static(discovery::AGGREGATED_CONTENT_TYPE);
        tagged(headers, content_type, &set.aggregated, &set.aggregated_tag)
    }

    /// `/apis/external.metrics.k8s.io`.
    pub fn group(&self) -> Response<Body> {
        answer::json(StatusCode::OK, &discovery::group())
    }

    /// `/apis/external.metrics.k8s.io/v1beta1`.
    pub fn resources(&self, headers: &HeaderMap) -> Response<Body> {
        let set = self.current.load();
        tagged(headers, HeaderValue::from_static("application/json"), &set.resources, &set.resources_tag)
    }
}

/// `/version`: enough for `kubectl version`-like tools, and no promise of Kubernetes' own.
pub fn version() -> Value {
    let mut parts = env!("CARGO_PKG_VERSION").split('.');
    json!({
        "major": parts.next().unwrap_or("0"),
        "minor": parts.next().unwrap_or("0"),
        "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "platform": "linux",
    })
}

fn bytes(document: &Value) -> Bytes {
    document.to_string().into()
}

/// Equal on all replicas: an aggregator that is balanced among them keeps its copy.
fn tag(document: &Bytes) -> String {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    hasher.write(document);
    format!("\"{:016X}\"", hasher.finish())
}

/// FNV-1a: fixed across processes, unlike the standard library's hasher.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn tagged(headers: &HeaderMap, content_type: HeaderValue, document: &Bytes, tag: &str) -> Response<Body> {
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_known = known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag);
    let mut response = if is_known {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    } else {
        answer::body(StatusCode::OK, content_type, document.clone())
    };
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn takes_aggregated(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let parts: Vec<&str> = range.split(';').map(str::trim).collect();
        ["application/json", "g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"]
            .iter()
            .all(|needed| parts.contains(needed))
    })
}
