//! What an engine is: discovery of engine pods and the one parser of engine metrics.
