//! What the adapter promises, over real sockets.

mod contract;
mod faults;
mod identity;
mod schema;
mod support;
