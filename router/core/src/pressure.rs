//! What a router knows of an engine that said it is full.
//!
//! An engine that refuses a request tells how many it can hold: as many as it had then. That number is a ceiling for a
//! while, so that one request goes there for each one that ends, instead of every waiting request asking again each time.
//! The ceiling rises as long as nothing is refused, since other routers may have left, and is forgotten in the end.

/// How long the ceiling stands still before it rises, in milliseconds: a few decoding steps.
const STEP_MS: u64 = 500;
/// How long after the last refusal the ceiling is forgotten, in milliseconds.
const FORGET_MS: u64 = 10_000;

/// The ceiling learned from an engine's refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    ceiling: u32,
    since_ms: u64,
    blocked_until_ms: u64,
}

impl Pressure {
    /// The engine refused a request while this router had `held` others there; `retry_after_ms` is its own wish.
    pub fn refused(before: Option<Self>, held: u32, retry_after_ms: Option<u64>, now_ms: u64) -> Self {
        // Refusals of one burst come one after the other, each with fewer requests still there: the least counts.
        let ceiling = match before.and_then(|before| before.ceiling_at(now_ms)) {
            Some(ceiling) => ceiling.min(held),
            None => held,
        };
        let earlier = before.map_or(0, |before| before.blocked_until_ms);
        let blocked_until_ms = earlier.max(retry_after_ms.map_or(0, |wait| now_ms + wait));
        Self { ceiling, since_ms: now_ms, blocked_until_ms }
    }

    /// How many requests this router may have there at `now_ms`; `None` when the refusals are forgotten.
    pub fn limit_at(&self, now_ms: u64) -> Option<u32> {
        if now_ms < self.blocked_until_ms { Some(0) } else { self.ceiling_at(now_ms) }
    }

    /// The ceiling alone, without the engine's wish to be left alone.
    fn ceiling_at(&self, now_ms: u64) -> Option<u32> {
        let age_ms = now_ms.saturating_sub(self.since_ms.max(self.blocked_until_ms.min(now_ms)));
        if age_ms >= FORGET_MS {
            return None;
        }
        let mut ceiling = self.ceiling;
        for _ in 0..age_ms / STEP_MS {
            ceiling = ceiling.saturating_add((ceiling / 4).max(1));
        }
        Some(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_refusals_ends_at_what_the_engine_holds() {
        let mut pressure = None;
        for held in [23, 22, 21, 20, 19, 18, 17, 16] {
            pressure = Some(Pressure::refused(pressure, held, None, 1_000));
        }
        assert_eq!(pressure.and_then(|pressure| pressure.limit_at(1_100)), Some(16));
    }

    #[test]
    fn the_ceiling_rises_and_is_forgotten() {
        let pressure = Pressure::refused(None, 8, None, 0);
        assert_eq!(pressure.limit_at(499), Some(8));
        assert_eq!(pressure.limit_at(500), Some(10));
        assert_eq!(pressure.limit_at(1_000), Some(12));
        assert_eq!(pressure.limit_at(10_000), None);
    }

    #[test]
    fn an_engine_filled_by_others_is_asked_again_after_a_step() {
        let pressure = Pressure::refused(None, 0, None, 0);
        assert_eq!(pressure.limit_at(499), Some(0));
        assert_eq!(pressure.limit_at(500), Some(1));
    }

    #[test]
    fn retry_after_is_honoured_before_anything_else() {
        let pressure = Pressure::refused(None, 8, Some(3_000), 0);
        assert_eq!(pressure.limit_at(2_999), Some(0));
        assert_eq!(pressure.limit_at(3_000), Some(8));
        assert_eq!(pressure.limit_at(3_500), Some(10));
        assert_eq!(pressure.limit_at(13_000), None);
        let again = Pressure::refused(Some(pressure), 4, None, 100);
        assert_eq!(again.limit_at(2_999), Some(0), "a later refusal does not shorten the wish");
    }
}
