//! The one place that reads the wall clock.

/// The wall-clock time now. Everything below the shell takes `now` as an argument instead.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock module the ban refers to")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
