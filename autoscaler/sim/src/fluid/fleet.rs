//! The replicas of a run: ordered, starting, Ready, released.

use crate::{Faults, Replica, Starter};

/// What one decision did to a fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Replicas ordered.
    pub(super) starts: u32,
    /// Replicas released.
    pub(super) releases: u32,
    /// Those of them that never were Ready.
    pub(super) starts_wasted: u32,
}

/// Replicas that exist, oldest order first.
#[derive(Debug)]
pub(super) struct Fleet {
    replicas: Vec<Replica>,
    /// When each will be, or was, Ready; policies learn it only then.
    ready_at: Vec<f64>,
    ready: u32,
    next_ready: f64,
    next_id: u64,
    /// Orders that no machine was found for: the newest.
    without_machine: u32,
    starter: Starter,
}

impl Fleet {
    /// That many Ready replicas at second 0.
    pub(super) fn new(first: u32, starter: Starter) -> Self {
        let replica = |id| Replica { id, ordered_seconds: 0.0, ready_seconds: Some(0.0), load: None };
        Self {
            replicas: (0..u64::from(first)).map(replica).collect(),
            ready_at: vec![0.0; first as usize],
            ready: first,
            next_ready: f64::INFINITY,
            next_id: u64::from(first),
            without_machine: 0,
            starter,
        }
    }

    pub(super) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    pub(super) fn len(&self) -> u32 {
        self.replicas.len() as u32
    }

    /// Those that have a machine.
    pub(super) fn billed(&self) -> u32 {
        self.len() - self.without_machine
    }

    /// Those Ready at the start of the step.
    pub(super) fn ready(&self) -> u32 {
        self.ready
    }

    /// Marks those Ready whose start-up is over.
    pub(super) fn promote(&mut self, now: f64) {
        // Times are sums of steps: a hair late is on time.
        let due = now + 1e-6;
        if self.next_ready > due {
            return;
        }
        self.next_ready = f64::INFINITY;
        for (replica, at) in self.replicas.iter_mut().zip(&self.ready_at) {
            if replica.ready_seconds.is_some() {
                continue;
            }
            if *at <= due {
                replica.ready_seconds = Some(*at);
                self.ready += 1;
            } else {
                self.next_ready = self.next_ready.min(*at);
            }
        }
    }

    /// Ready replicas in the mean over the step from `now`: who becomes Ready within it serves for the rest of it.
    pub(super) fn ready_within(&self, now: f64, step_seconds: f64) -> f64 {
        let end = now + step_seconds;
        let mut ready = f64::from(self.ready);
        if self.next_ready < end {
            let starting =
                self.replicas.iter().zip(&self.ready_at).filter(|(replica, _)| replica.ready_seconds.is_none());
            ready += starting.map(|(_, at)| ((end - at) / step_seconds).max(0.0)).sum::<f64>();
        }
        ready
    }

    /// Orders or releases until there are `wanted`. Orders start when they are given a machine.
    pub(super) fn scale_to(&mut self, wanted: u32, now: f64) -> Change {
        let present = self.len();
        let mut change = Change::default();
        for _ in present..wanted {
            let id = self.next_id;
            self.replicas.push(Replica { id, ordered_seconds: now, ready_seconds: None, load: None });
            self.ready_at.push(f64::INFINITY);
            self.next_id += 1;
            self.without_machine += 1;
            change.starts += 1;
        }
        for _ in wanted..present {
            change.releases += 1;
            change.starts_wasted += u32::from(!self.release());
        }
        change
    }

    /// Starts orders, the oldest first, as far as the stock of machines goes; returns how many attempts will fail.
    pub(super) fn give_machines(&mut self, now: f64, faults: &Faults) -> u32 {
        let mut failures = 0;
        while self.without_machine > 0 && self.billed() < faults.stock(now) {
            let start = self.starter.order(now, faults);
            let oldest = self.replicas.len() - self.without_machine as usize;
            self.ready_at[oldest] = start.ready_seconds;
            self.next_ready = self.next_ready.min(start.ready_seconds);
            self.without_machine -= 1;
            failures += start.failures;
        }
        // Ready at once when the start-up takes no time at all.
        self.promote(now);
        failures
    }

    /// Releases one as a Deployment does: not-Ready ones first, the newest of those. Returns whether it was Ready.
    fn release(&mut self) -> bool {
        let newest_starting = if self.ready < self.len() {
            self.replicas.iter().rposition(|replica| replica.ready_seconds.is_none())
        } else {
            None
        };
        match newest_starting {
            Some(index) => {
                self.replicas.remove(index);
                self.ready_at.remove(index);
                // Orders without a machine are the newest.
                self.without_machine = self.without_machine.saturating_sub(1);
                false
            }
            None => {
                self.replicas.pop();
                self.ready_at.pop();
                self.ready = self.ready.saturating_sub(1);
                true
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers, and what was handed through, are exact")]
mod tests {
    use super::*;
    use crate::StartupLaw;

    fn fleet(first: u32, startup_seconds: f64) -> Fleet {
        Fleet::new(first, Starter::new(StartupLaw::fixed(startup_seconds), 0).unwrap())
    }

    fn order(fleet: &mut Fleet, wanted: u32, now: f64) {
        fleet.scale_to(wanted, now);
        fleet.give_machines(now, &Faults::default());
    }

    #[test]
    fn an_order_serves_after_its_start_up_and_not_before() {
        let mut fleet = fleet(1, 25.0);
        order(&mut fleet, 3, 10.0);
        assert_eq!((fleet.len(), fleet.ready()), (3, 1));
        fleet.promote(30.0);
        assert_eq!(fleet.ready_within(20.0, 10.0), 1.0);
        assert_eq!(fleet.ready_within(30.0, 10.0), 2.0, "both for half of the step");
        fleet.promote(40.0);
        assert_eq!((fleet.ready(), fleet.ready_within(40.0, 10.0)), (3, 3.0));
        assert_eq!(fleet.replicas()[2].ready_seconds, Some(35.0));
    }

    #[test]
    fn replicas_that_start_are_released_first_and_the_newest_of_them() {
        let mut fleet = fleet(2, 60.0);
        order(&mut fleet, 3, 0.0);
        order(&mut fleet, 4, 10.0);
        let change = fleet.scale_to(3, 20.0);
        assert_eq!((change.releases, change.starts_wasted), (1, 1));
        assert_eq!(fleet.replicas()[2].ordered_seconds, 0.0);
        let change = fleet.scale_to(1, 20.0);
        assert_eq!((change.releases, change.starts_wasted), (2, 1));
        assert_eq!((fleet.len(), fleet.ready()), (1, 1));
    }

    #[test]
    fn orders_above_the_stock_wait_unbilled_until_there_are_machines() {
        let when = crate::Stretch { from_seconds: 0.0, to_seconds: 100.0 };
        let faults = Faults { stock_outs: vec![(when, 4)], ..Faults::default() };
        let mut fleet = fleet(2, 60.0);
        fleet.scale_to(9, 0.0);
        fleet.give_machines(0.0, &faults);
        assert_eq!((fleet.len(), fleet.billed(), fleet.ready()), (9, 4, 2));
        fleet.scale_to(8, 50.0);
        fleet.give_machines(50.0, &faults);
        assert_eq!((fleet.len(), fleet.billed()), (8, 4), "one that waits is released first");
        fleet.promote(100.0);
        fleet.give_machines(100.0, &faults);
        assert_eq!((fleet.billed(), fleet.ready()), (8, 4));
        fleet.promote(160.0);
        assert_eq!(fleet.ready(), 8);
    }

    #[test]
    fn a_start_that_takes_no_time_serves_at_once() {
        let mut fleet = fleet(1, 0.0);
        order(&mut fleet, 5, 10.0);
        assert_eq!((fleet.ready(), fleet.ready_within(10.0, 10.0)), (5, 5.0));
    }
}
