//! Faults on purpose: what befalls a request is decided by a hash of its number, so that runs repeat.

use serde::{Deserialize, Serialize};

use crate::tokens::mix;

/// Which faults happen, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Faults {
    /// Share of requests answered 500.
    pub(crate) error_rate: f64,
    /// Share of requests that never get an answer.
    pub(crate) hang_rate: f64,
    /// Share of requests whose connection is reset after a few tokens.
    pub(crate) reset_rate: f64,
    /// The process ends with status 1 when it has taken up this many requests.
    pub(crate) crash_after: Option<u64>,
    /// Steps take this many times as long.
    pub(crate) slow: f64,
    /// /health answers 503.
    pub(crate) unhealthy: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self { error_rate: 0.0, hang_rate: 0.0, reset_rate: 0.0, crash_after: None, slow: 1.0, unhealthy: false }
    }
}

/// What befalls a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Served,
    Error,
    Hangs,
    /// The connection is reset once this many tokens were sent.
    Reset {
        after_tokens: u32,
    },
    /// The process ends.
    Crash,
}

impl Faults {
    /// The fate of the request with that number, the first being 1.
    pub(crate) fn fate(&self, seed: u64, number: u64) -> Fate {
        if self.crash_after.is_some_and(|most| number > most) {
            return Fate::Crash;
        }
        let hash = mix(seed ^ mix(number));
        let draw = (hash >> 11) as f64 / (1_u64 << 53) as f64;
        if draw < self.error_rate {
            Fate::Error
        } else if draw < self.error_rate + self.hang_rate {
            Fate::Hangs
        } else if draw < self.error_rate + self.hang_rate + self.reset_rate {
            // Below 8, so the cast loses nothing.
            Fate::Reset { after_tokens: 1 + (hash % 8) as u32 }
        } else {
            Fate::Served
        }
    }

    /// Why these cannot be set: the field, and what it must be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let shares = [("errorRate", self.error_rate), ("hangRate", self.hang_rate), ("resetRate", self.reset_rate)];
        for (field, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{field} = {share}: must be a share from 0 to 1"));
            }
        }
        if !(self.slow.is_finite() && self.slow > 0.0) {
            return Err(format!("slow = {}: must be a number above 0", self.slow));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_come_as_often_as_asked_for_and_repeat() {
        let faults = Faults { error_rate: 0.1, hang_rate: 0.2, reset_rate: 0.3, ..Faults::default() };
        let share = |is: fn(Fate) -> bool| (1..=10_000).filter(|number| is(faults.fate(1, *number))).count();
        assert!((900..1100).contains(&share(|fate| fate == Fate::Error)));
        assert!((1850..2150).contains(&share(|fate| fate == Fate::Hangs)));
        assert!((2850..3150).contains(&share(|fate| matches!(fate, Fate::Reset { .. }))));
        assert_eq!(faults.fate(1, 77), faults.fate(1, 77));
        assert_eq!(Faults::default().fate(1, 5), Fate::Served);
    }

    #[test]
    fn a_crash_waits_for_its_number_and_bad_shares_are_named() {
        let faults = Faults { crash_after: Some(2), ..Faults::default() };
        assert_eq!((faults.fate(0, 2), faults.fate(0, 3)), (Fate::Served, Fate::Crash));
        let error = Faults { hang_rate: 1.5, ..Faults::default() }.check().expect_err("above one");
        assert_eq!(error, "hangRate = 1.5: must be a share from 0 to 1");
    }
}
