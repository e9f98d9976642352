//! The stream of requests, a few minutes of it in memory.

use super::settings::Settings;
use crate::request::{Request, RequestSource};

/// Enough for the call not to matter, little enough for the memory not to.
const STRETCH_SECONDS: f64 = 300.0;

/// Requests of a source in order of arrival, within the stretch of a run.
pub(super) struct Arrivals<'a> {
    source: &'a dyn RequestSource,
    from_seconds: f64,
    to_seconds: f64,
    seed: u64,
    stretch_seconds: f64,
    /// Up to here the source has been read.
    read_seconds: f64,
    requests: Vec<Request>,
    next: usize,
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(source: &'a dyn RequestSource, settings: &Settings) -> Self {
        let grain = source.grain_seconds().max(f64::MIN_POSITIVE);
        let stretch_seconds = if grain > STRETCH_SECONDS { grain } else { (STRETCH_SECONDS / grain).floor() * grain };
        let mut arrivals = Self {
            source,
            from_seconds: settings.from_seconds,
            to_seconds: settings.to_seconds.min(source.duration_seconds()),
            seed: settings.seed,
            stretch_seconds,
            read_seconds: (settings.from_seconds / grain).floor() * grain,
            requests: Vec::new(),
            next: 0,
        };
        arrivals.read();
        arrivals
    }

    /// When the next request arrives; infinite at the end.
    pub(super) fn next_seconds(&self) -> f64 {
        self.requests.get(self.next).map_or(f64::INFINITY, |request| request.arrival_seconds)
    }

    /// Takes the next request.
    pub(super) fn pop(&mut self) -> Option<Request> {
        let request = self.requests.get(self.next).copied()?;
        self.next += 1;
        if self.next == self.requests.len() {
            self.read();
        }
        Some(request)
    }

    fn read(&mut self) {
        self.requests.clear();
        self.next = 0;
        while self.requests.is_empty() && self.read_seconds < self.to_seconds {
            let until = self.read_seconds + self.stretch_seconds;
            let (from, to) = (self.from_seconds, self.to_seconds);
            self.source.visit(self.read_seconds, until, self.seed, &mut |request| {
                if (from..to).contains(&request.arrival_seconds) {
                    self.requests.push(*request);
                }
            });
            self.read_seconds = until;
        }
    }
}
