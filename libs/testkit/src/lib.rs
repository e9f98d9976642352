//! Helpers for tests and benchmarks of several programs.
//!
//! A program under test is the real binary in its own process group ([`Program`]); waiting is polling with a deadline
//! ([`eventually`]), never a bare sleep. Deliberately absent: stand-ins for parts that can run for real.

mod program;
mod waiting;

pub use program::{Program, binary};
pub use waiting::{eventually, free_port, http_client, wait_for_http};

use std::path::PathBuf;

/// The development data beside the checkout, or `None` with a line that says what is skipped.
#[must_use]
pub fn shared_folder(relative: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(relative);
    if root.exists() {
        return Some(root);
    }
    #[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
    {
        eprintln!("skipped: needs ../shared/{relative}, which is not here");
    }
    None
}
