//! What the adapter needs from the cluster it serves: whom to trust, and a certificate that is trusted.

pub mod certificate;
pub mod trust;
