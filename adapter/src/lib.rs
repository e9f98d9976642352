//! Kubernetes metrics API server for LLM engines: external metrics answered from memory.
