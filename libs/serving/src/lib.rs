//! The TLS end of a Kubernetes API server, small enough to read.
//!
//! ```text
//! authority ──makes──▶ certificate (PEM) ──▶ ServingCertificate (swapped live)
//!                                                 │
//! accept loop: handshake off the loop ──▶ h1/h2 ──▶ service(request + Peer)
//! CaPool: does a peer's chain lead to this CA?  (front proxy, client certificates)
//! ```
//!
//! A client certificate is asked for and never demanded. The handshake proves only that the peer has its key; which CA
//! a chain leads to is a question for each authenticator, as in Go's API servers: a wrong chain makes the caller
//! anonymous instead of breaking the connection.
//!
//! Used by `adapter`. Deliberately absent: who a peer is, and any HTTP route.

pub mod authority;
mod certificate;
mod listen;
mod peer;

pub use certificate::{CertificateError, ServingCertificate};
pub use listen::{Limits, ServeOptions, Stages, serve};
pub use peer::{CaPool, CaPoolError, Peer};
