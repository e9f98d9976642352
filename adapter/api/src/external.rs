//! `external.metrics.k8s.io/v1beta1`: the list of values that HPA adds up.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::Quantity;

/// API group of external metrics.
pub const GROUP: &str = "external.metrics.k8s.io";
/// The only version of the group.
pub const VERSION: &str = "v1beta1";
/// Kind of the answer.
pub const KIND: &str = "ExternalMetricValueList";

/// The body of an answer. HPA takes the sum of all items; it never sees an empty list from us, because HPA reads that
/// as an error without a reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalMetricValueList {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    /// The values, one per set of labels.
    pub items: Vec<ExternalMetricValue>,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalMetricValue {
    /// Name of the metric as it stands in the URL.
    pub metric_name: String,
    /// Labels that tell the items apart.
    pub metric_labels: BTreeMap<String, String>,
    /// When the value was sampled at its origin, whole seconds.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub timestamp: Timestamp,
    /// Length of the window that a rate or quantile covers, seconds.
    #[serde(rename = "window", skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<i64>,
    /// The value.
    pub value: Quantity,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Empty {}

impl ExternalMetricValueList {
    /// A list with the type names that clients check.
    pub fn new(items: Vec<ExternalMetricValue>) -> Self {
        Self { kind: KIND, api_version: "external.metrics.k8s.io/v1beta1", metadata: Empty {}, items }
    }
}

/// `metav1.Time` has whole seconds and `Z`.
fn rfc3339_seconds<S: Serializer>(timestamp: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&timestamp.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_body_that_hpa_decodes() {
        let list = ExternalMetricValueList::new(vec![ExternalMetricValue {
            metric_name: "vllm_requests_per_second".into(),
            metric_labels: BTreeMap::from([("model".into(), "a".into()), ("namespace".into(), "default".into())]),
            timestamp: "2026-11-22T14:41:43.987Z".parse().unwrap(),
            window_seconds: Some(60),
            value: Quantity::from_f64(2.5).unwrap(),
        }]);
        insta::assert_json_snapshot!(list, @r#"
        {
          "kind": "ExternalMetricValueList",
          "apiVersion": "external.metrics.k8s.io/v1beta1",
          "metadata": {},
          "items": [
            {
              "metricName": "vllm_requests_per_second",
              "metricLabels": {
                "model": "a",
                "namespace": "default"
              },
              "timestamp": "2026-11-22T14:41:43Z",
              "window": 60,
              "value": "2500m"
            }
          ]
        }
        "#);
    }
}
