//! Wire types of the metrics APIs: external.metrics.k8s.io, discovery documents, Status.
