//! Discovery documents: what kube-apiserver asks every minute and five times per availability probe.
//!
//! They list configured metric names, never series: thousands of entries slow every kubectl. They are never empty
//! either, because kubectl then prints "Got empty response for external.metrics.k8s.io/v1beta1".

use serde_json::{Value, json};

use crate::external::{GROUP, KIND, VERSION};

/// Content type of the aggregated form (API discovery v2).
pub const AGGREGATED_CONTENT_TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// More names than this are not listed. They still answer; HPA asks by name and never reads the list.
pub const MAX_LISTED_NAMES: usize = 100;

/// Stands in the list when there is no name to list.
const PLACEHOLDER: &str = "externalmetrics";

fn listed<'a>(names: &'a [&'a str]) -> Vec<&'a str> {
    if names.is_empty() { vec![PLACEHOLDER] } else { names.iter().copied().take(MAX_LISTED_NAMES).collect() }
}

/// `GET /apis/external.metrics.k8s.io/v1beta1`: an `APIResourceList`.
pub fn resource_list(names: &[&str]) -> Value {
    let resources: Vec<Value> = listed(names)
        .into_iter()
        .map(|name| json!({"name": name, "singularName": "", "namespaced": true, "kind": KIND, "verbs": ["get"]}))
        .collect();
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": resources,
    })
}

/// `GET /apis` for a client that takes the aggregated form: an `APIGroupDiscoveryList`.
pub fn aggregated(names: &[&str]) -> Value {
    let resources: Vec<Value> = listed(names)
        .into_iter()
        .map(|name| {
            json!({
                "resource": name,
                // Clients of Kubernetes 1.26 and 1.27 panic without a responseKind.
                "responseKind": {"group": GROUP, "version": VERSION, "kind": KIND},
                "scope": "Namespaced",
                "singularResource": "",
                "verbs": ["get"],
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [{
            "metadata": {"name": GROUP},
            "versions": [{"version": VERSION, "freshness": "Current", "resources": resources}],
        }],
    })
}

/// `GET /apis/external.metrics.k8s.io`: an `APIGroup`.
pub fn group() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [version],
        "preferredVersion": version,
    })
}

/// `GET /apis` for a client that takes only the legacy form: an `APIGroupList`.
pub fn group_list() -> Value {
    let mut group = group();
    if let Some(fields) = group.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_legacy_list_names_each_metric() {
        insta::assert_json_snapshot!(resource_list(&["vllm_num_requests_waiting"]));
    }

    #[test]
    fn the_aggregated_list_carries_scope_verbs_and_response_kind() {
        insta::assert_json_snapshot!(aggregated(&["vllm_num_requests_waiting"]));
    }

    #[test]
    fn the_group_and_the_list_of_groups_have_a_preferred_version() {
        insta::assert_json_snapshot!(group_list());
    }

    #[test]
    fn a_list_is_never_empty_and_never_long() {
        assert_eq!(resource_list(&[])["resources"][0]["name"], "externalmetrics");
        let names = vec!["m"; 5000];
        assert_eq!(resource_list(&names)["resources"].as_array().unwrap().len(), MAX_LISTED_NAMES);
    }
}
