//! Pure core of the router: request view, fleet snapshot, routing policy, SSE splitter.
