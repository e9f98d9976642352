//! Helpers for tests and benchmarks: processes that end with the test, ports, waiting, fakes.
