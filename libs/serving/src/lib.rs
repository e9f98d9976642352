//! TLS accept loop with a hot-reloaded certificate and the client certificate as a request extension.
