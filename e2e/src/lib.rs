//! End-to-end harness, tests on a real control plane, demo.
pub mod cluster;
pub mod demo;
pub mod load;
