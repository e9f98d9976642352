//! A policy that learns in one simulator and goes on in another.

use autoscaler_sim::{Coverage, Policy, Replica, Signals};

/// Numbers of replicas of the second simulator begin here, so that none is taken for one of the first.
const FIRST_ID: u64 = 1 << 32;

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    arrived: f64,
    prompt_tokens: f64,
    late: f64,
    finished: f64,
    output_tokens: f64,
}

/// Lets counters go on where they were when the simulator changed, as a restarted exporter's `increase` would have them.
pub(super) struct Resumed {
    inner: Box<dyn Policy>,
    /// Totals at the change.
    before: Totals,
    last: Totals,
    /// Answer to the last signals.
    wanted: u32,
    is_resumed: bool,
    fleet: Vec<Replica>,
}

impl Resumed {
    pub(super) fn new(inner: Box<dyn Policy>) -> Self {
        let zero = Totals::default();
        Self { inner, before: zero, last: zero, wanted: 0, is_resumed: false, fleet: Vec::new() }
    }

    /// From here on another simulator asks, whose counters begin at 0. Answers what was wanted last.
    pub(super) fn resume(&mut self) -> u32 {
        self.before = self.last;
        self.is_resumed = true;
        self.wanted
    }
}

impl Policy for Resumed {
    fn period_seconds(&self) -> f64 {
        self.inner.period_seconds()
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        self.last = Totals {
            arrived: self.before.arrived + signals.arrived_total,
            prompt_tokens: self.before.prompt_tokens + signals.arrived_prompt_tokens_total,
            late: self.before.late + signals.late_total,
            finished: self.before.finished + signals.finished_total,
            output_tokens: self.before.output_tokens + signals.output_tokens_total,
        };
        self.wanted = if self.is_resumed {
            self.fleet.clear();
            self.fleet.extend(signals.fleet.iter().map(|replica| Replica { id: replica.id + FIRST_ID, ..*replica }));
            self.inner.decide(&Signals {
                arrived_total: self.last.arrived,
                arrived_prompt_tokens_total: self.last.prompt_tokens,
                late_total: self.last.late,
                finished_total: self.last.finished,
                output_tokens_total: self.last.output_tokens,
                fleet: &self.fleet,
                ..signals.clone()
            })
        } else {
            self.inner.decide(signals)
        };
        self.wanted
    }

    fn coverage(&self) -> Option<Coverage> {
        self.inner.coverage()
    }
}
