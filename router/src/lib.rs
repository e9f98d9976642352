//! OpenAI-compatible reverse proxy over LLM engines.
