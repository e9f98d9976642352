//! Pure performance model of an LLM engine: step time, KV capacity and capacity at an objective.
