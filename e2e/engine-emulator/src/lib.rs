//! An LLM engine that behaves as vLLM does, without a GPU.
