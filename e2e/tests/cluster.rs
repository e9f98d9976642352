//! The whole stack on a real cluster: installed by helm, loaded through the router, judged by what an operator sees.
//!
//! `e2e/cluster/cluster.sh test` starts a cluster and runs these; with `E2E_KUBECONFIG` they run on another one, whose nodes
//! have the images. All tests share one release. Those that only load a model of their own run at the same time; those
//! that take something away from everybody (Prometheus, pods) run alone (`stack::shared`, `stack::alone`).

#[path = "cluster/advise.rs"]
mod advise;
#[path = "cluster/dashboards.rs"]
mod dashboards;
#[path = "cluster/engine_autoscaler.rs"]
mod engine_autoscaler;
#[path = "cluster/hpa.rs"]
mod hpa;
#[path = "cluster/outage.rs"]
mod outage;
#[path = "cluster/rolling_restart.rs"]
mod rolling_restart;
#[path = "cluster/through_hpa.rs"]
mod through_hpa;
