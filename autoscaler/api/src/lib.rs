//! The EngineAutoscaler custom resource.
