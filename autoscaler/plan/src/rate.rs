//! How many replicas may be ordered and released in a minute, and how many were.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::startup::seconds_between;

/// A minute on the clock, whatever the tempo of the forecast: the limits are for what starts and ends engines, not for the load.
const MINUTE_SECONDS: f64 = 60.0;

/// Changes within one such slice are remembered as one, as of the last of them; bounds the stored state.
const SLICE_SECONDS: f64 = 2.0;

/// Most replicas that may be ordered and released within any 60 s, each way counted by itself; without one there is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimits {
    /// Replicas ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_per_minute: Option<NonZeroU32>,
    /// Replicas released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_per_minute: Option<NonZeroU32>,
}

impl RateLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What our decisions changed within the last minute. Empty while nothing is limited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Changes {
    /// Replicas decided on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided: Option<u32>,
    #[serde(default, skip_serializing_if = "Minute::is_empty")]
    ordered: Minute,
    #[serde(default, skip_serializing_if = "Minute::is_empty")]
    released: Minute,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What became of the last decision, made at `at`, is seen now: of the way from `before` to `replicas` the part that it
    /// asked for is ours. What a pool did not grant, an HPA has not done yet or somebody else did counts as no change.
    pub(crate) fn see(&mut self, before: u32, replicas: u32, at: Timestamp) {
        let Some(decided) = self.decided else { return };
        self.ordered.add(replicas.min(decided).saturating_sub(before), at);
        self.released.add(before.saturating_sub(replicas.max(decided)), at);
    }

    /// Replicas ordered and released within the last minute.
    pub(crate) fn within_minute(&mut self, now: Timestamp) -> (u32, u32) {
        (self.ordered.sum(now), self.released.sum(now))
    }

    /// Remembers what was decided, if anything is limited.
    pub(crate) fn decide(&mut self, replicas: u32, limits: RateLimits) {
        if limits.is_none() {
            *self = Self::default();
        } else {
            self.decided = Some(replicas);
        }
    }
}

/// Replicas by the time of their change, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Minute(VecDeque<(Timestamp, u32)>);

impl Minute {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, replicas: u32, at: Timestamp) {
        if replicas == 0 {
            return;
        }
        let slice = |at: Timestamp| (seconds_between(Timestamp::UNIX_EPOCH, at) / SLICE_SECONDS).floor();
        match self.0.back_mut() {
            Some(last) if slice(last.0) >= slice(at) => *last = (last.0.max(at), last.1.saturating_add(replicas)),
            Some(_) | None => self.0.push_back((at, replicas)),
        }
    }

    fn sum(&mut self, now: Timestamp) -> u32 {
        while self.0.front().is_some_and(|&(at, _)| seconds_between(at, now) >= MINUTE_SECONDS) {
            self.0.pop_front();
        }
        self.0.iter().fold(0, |sum, &(_, replicas)| sum.saturating_add(replicas))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000_000 + milliseconds).expect("in range")
    }

    fn changes(decided: u32) -> Changes {
        Changes { decided: Some(decided), ..Changes::default() }
    }

    #[test]
    fn a_change_counts_for_a_minute_and_each_way_by_itself() {
        let mut changes = changes(5);
        changes.see(2, 5, at(0));
        changes.decided = Some(4);
        changes.see(5, 4, at(10_000));
        assert_eq!(changes.within_minute(at(59_999)), (3, 1));
        assert_eq!(changes.within_minute(at(60_000)), (0, 1));
        assert_eq!(changes.within_minute(at(70_000)), (0, 0));
    }

    #[test]
    fn only_what_was_decided_counts() {
        let seen = |decided, before, replicas| {
            let mut changes = changes(decided);
            changes.see(before, replicas, at(0));
            changes.within_minute(at(0))
        };
        assert_eq!(seen(5, 2, 4), (2, 0), "a pool granted less");
        assert_eq!(seen(5, 2, 2), (0, 0), "an HPA has not followed yet");
        assert_eq!(seen(3, 2, 9), (1, 0), "somebody added more");
        assert_eq!(seen(4, 6, 1), (0, 2), "somebody took more");
        assert_eq!(seen(4, 3, 1), (0, 0), "somebody took what more was wanted of");
    }

    #[test]
    fn fast_decisions_keep_few_entries_and_forget_none_early() {
        let mut changes = changes(u32::MAX);
        for step in 0..3000_u32 {
            changes.see(step, step + 1, at(i64::from(step) * 100));
            let (ordered, _) = changes.within_minute(at(i64::from(step) * 100));
            let exact = (step + 1).min(600);
            assert!((exact..=exact + 20).contains(&ordered), "step {step}: counted {ordered}, there were {exact}");
            assert!(changes.ordered.0.len() <= 31);
        }
    }
}
