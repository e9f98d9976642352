//! What every program shares: arguments, configuration file, logs, admin server, shutdown and task supervision.
