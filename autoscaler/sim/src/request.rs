//! What clients send.

/// One request of a trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// Arrival at the router, in seconds since the start of the trace.
    pub arrival_seconds: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer, at least 1.
    pub output_tokens: u32,
    /// Requests of the same group share the first `shared_tokens` of their prompts; 0 is a group of its own.
    pub prefix_group: u64,
    /// Tokens of the prompt that are the group's.
    pub shared_tokens: u32,
}

/// Requests of any stretch of a trace, the same for the same seed, without holding all of them in memory.
pub trait RequestSource: Send + Sync {
    /// Length of the trace in seconds.
    fn duration_seconds(&self) -> f64;

    /// Requests with `from <= arrival < to` in order of arrival. The stretches of a trace fit together: `visit(0, 10)` and
    /// `visit(10, 20)` show what `visit(0, 20)` does, when the borders are multiples of [`RequestSource::grain_seconds`].
    fn visit(&self, from_seconds: f64, to_seconds: f64, seed: u64, each: &mut dyn FnMut(&Request));

    /// Borders of stretches are multiples of this.
    fn grain_seconds(&self) -> f64;
}
