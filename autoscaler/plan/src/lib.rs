//! Pure decisions of the autoscaler: facts in, replicas and reasons out.
