//! The router's queue as a fluid: work that waits, how long, and which requests are late.

use crate::{Discipline, Task};

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Served {
    /// Work done, in replica-seconds.
    pub(super) work: f64,
    /// Demand above the Ready replicas, in replica-seconds.
    pub(super) overflow: f64,
    /// Work that waits at the end, in replica-seconds.
    pub(super) backlog: f64,
    /// Requests that miss the objective of time to first token.
    pub(super) missed: f64,
    /// Share of the arrivals of the step that are late, 0 to 1.
    pub(super) late_share: f64,
    /// Mean wait of those that are in time, in seconds.
    pub(super) wait_seconds: f64,
    /// Mean wait of those that are late, in seconds.
    pub(super) late_wait_seconds: f64,
}

/// Work that waits, in replica-seconds.
#[derive(Debug)]
pub(super) struct Queue {
    discipline: Discipline,
    /// Wait that a request may have and still meet the objective.
    slack_seconds: f64,
    startup_seconds: f64,
    replica_seconds_per_request: f64,
    /// All of it.
    backlog: f64,
    /// That of requests which can still make it; under `Fifo` not used.
    in_time: f64,
    recent: RecentWork,
}

/// Work that arrived within the deadline of the queue: what waits cannot be more.
#[derive(Debug)]
struct RecentWork {
    /// A ring of the last steps; empty without a deadline.
    steps: Vec<f64>,
    newest: usize,
    sum: f64,
}

impl RecentWork {
    fn new(deadline_seconds: f64, step_seconds: f64) -> Self {
        let steps = (deadline_seconds / step_seconds).ceil();
        // A deadline of more steps than any trace has is none.
        let steps = if steps.is_finite() && steps < 1e6 { steps.max(1.0) as usize } else { 0 };
        Self { steps: vec![0.0; steps], newest: 0, sum: 0.0 }
    }

    /// Takes the work of a step in; returns the most that can wait.
    fn push(&mut self, work: f64) -> f64 {
        if self.steps.is_empty() {
            return f64::INFINITY;
        }
        self.newest = if self.newest + 1 < self.steps.len() { self.newest + 1 } else { 0 };
        self.sum += work - self.steps[self.newest];
        self.steps[self.newest] = work;
        self.sum.max(0.0)
    }
}

impl Queue {
    /// Requests that have waited for `deadline_seconds` end with an error.
    pub(super) fn new(
        discipline: Discipline,
        task: &Task,
        replica_seconds_per_request: f64,
        deadline_seconds: f64,
        step_seconds: f64,
    ) -> Self {
        Self {
            discipline,
            slack_seconds: (task.objective.ttft_seconds - task.capacity.ttft_seconds).max(0.0),
            startup_seconds: task.startup_seconds,
            replica_seconds_per_request,
            backlog: 0.0,
            in_time: 0.0,
            recent: RecentWork::new(deadline_seconds, step_seconds),
        }
    }

    /// Serves one step: `demand` replicas' worth of work arrives, `ready` replicas work.
    pub(super) fn serve(&mut self, demand: f64, arrivals: f64, ready: f64, step_seconds: f64) -> Served {
        let growth = (demand - ready) * step_seconds;
        let most = self.recent.push(demand * step_seconds);
        if growth <= 0.0 && self.backlog <= 0.0 {
            return Served { work: demand * step_seconds, ..Served::default() };
        }
        let (before, raw) = (self.backlog, self.backlog + growth);
        self.backlog = raw.clamp(0.0, most);
        let work = before + demand * step_seconds - raw.max(0.0);
        let bearable = self.slack_seconds * ready;
        let wait = self.wait_seconds((before + self.backlog) / 2.0, ready);
        let (missed, late_share, in_time_wait) = match self.discipline {
            // The wait of an arrival is what lies before it, which grows or shrinks evenly over the step.
            Discipline::Fifo => {
                let late = share_above(before, raw, bearable);
                (late * arrivals, late, wait.min(self.slack_seconds))
            }
            // Late ones wait behind: those in time see only each other, and what exceeds the slack has become late.
            Discipline::Deadline => {
                let held = (self.in_time + growth).max(0.0);
                let too_late = (held - bearable).max(0.0);
                self.in_time = held.min(bearable);
                let missed = too_late / self.replica_seconds_per_request;
                let late = if arrivals > 0.0 { (missed / arrivals).min(1.0) } else { 0.0 };
                (missed, late, self.wait_seconds(self.in_time, ready))
            }
        };
        Served {
            work,
            overflow: growth.max(0.0),
            backlog: self.backlog,
            missed,
            late_share,
            wait_seconds: in_time_wait,
            late_wait_seconds: wait.max(self.slack_seconds),
        }
    }

    fn wait_seconds(&self, backlog: f64, ready: f64) -> f64 {
        if backlog <= 0.0 {
            0.0
        } else if ready > 0.0 {
            backlog / ready
        } else {
            // Nobody serves: a replica must start first.
            self.startup_seconds + backlog
        }
    }
}

/// Share of a straight path from `from` to `to` that lies above `level`.
fn share_above(from: f64, to: f64, level: f64) -> f64 {
    match (from > level, to > level) {
        (true, true) => 1.0,
        (false, false) => 0.0,
        (false, true) => (to - level) / (to - from),
        (true, false) => (from - level) / (from - to),
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers, and what was handed through, are exact")]
mod tests {
    use super::*;
    use crate::policy::tests::task;

    /// Slack of 2 s: an objective of 3 s, of which prefill takes 1 s.
    fn queue(discipline: Discipline) -> Queue {
        let mut task = task();
        task.objective.ttft_seconds = 3.0;
        task.capacity.ttft_seconds = 1.0;
        Queue::new(discipline, &task, 0.5, f64::INFINITY, 10.0)
    }

    #[test]
    fn first_come_first_served_makes_everybody_behind_an_overload_late() {
        let mut queue = queue(Discipline::Fifo);
        // One step at twice the capacity of 10, then as much as is served: the backlog stays, and so does the wait.
        let first = queue.serve(20.0, 400.0, 10.0, 10.0);
        assert_eq!((first.overflow, first.backlog), (100.0, 100.0));
        // The wait passes 2 s when 20 of the 100 replica-seconds are there.
        assert!((first.late_share - 0.8).abs() < 1e-9);
        let then = queue.serve(10.0, 200.0, 10.0, 10.0);
        assert_eq!((then.overflow, then.missed, then.late_wait_seconds), (0.0, 200.0, 10.0));
    }

    #[test]
    fn late_requests_that_yield_make_nobody_else_late() {
        let mut queue = queue(Discipline::Deadline);
        let first = queue.serve(20.0, 400.0, 10.0, 10.0);
        // 100 replica-seconds too much, of which 20 can wait within the slack; 0.5 a request.
        assert_eq!(first.missed, 160.0);
        let then = queue.serve(10.0, 200.0, 10.0, 10.0);
        assert_eq!((then.missed, then.wait_seconds, then.backlog), (0.0, 2.0, 100.0));
        let slack = queue.serve(0.0, 0.0, 10.0, 10.0);
        assert_eq!((slack.backlog, slack.missed, slack.work), (0.0, 0.0, 100.0));
    }

    #[test]
    fn without_replicas_everything_is_late_and_waits_for_a_start() {
        let mut queue = queue(Discipline::Fifo);
        let served = queue.serve(1.0, 20.0, 0.0, 10.0);
        assert_eq!((served.missed, served.work), (20.0, 0.0));
        assert!(served.late_wait_seconds > task().startup_seconds);
    }

    #[test]
    fn no_more_waits_than_arrived_within_the_deadline() {
        let mut queue = Queue::new(Discipline::Fifo, &task(), 0.5, 30.0, 10.0);
        let waits: Vec<f64> = (0..6).map(|_| queue.serve(4.0, 80.0, 1.0, 10.0).backlog).collect();
        assert_eq!(waits, [30.0, 60.0, 90.0, 120.0, 120.0, 120.0]);
        assert_eq!(queue.serve(0.0, 0.0, 1.0, 10.0).backlog, 80.0, "of two steps");
    }

    #[test]
    fn work_is_neither_lost_nor_made() {
        let mut queue = queue(Discipline::Deadline);
        let loads = [(12.0, 10.0), (3.0, 10.0), (0.0, 10.0), (40.0, 8.0), (2.0, 0.0), (9.0, 10.0), (0.0, 50.0)];
        let (mut came, mut done, mut left) = (0.0, 0.0, 0.0);
        for (demand, ready) in loads {
            let served = queue.serve(demand, demand * 20.0, ready, 10.0);
            came += demand * 10.0;
            done += served.work;
            left = served.backlog;
        }
        assert!((came - done - left).abs() < 1e-9);
    }
}
