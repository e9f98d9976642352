//! Predictive autoscaler for LLM engines: controller and standalone supervisor.
