//! Prometheus query client that keeps warnings, timeouts and absent, stale and zero apart.
