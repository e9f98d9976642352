//! How many requests an engine works on at once, learned from its own metrics.
//!
//! An engine takes more requests than it can run and lets them wait inside, first come first served: the router's queue
//! has no say over those. So the router finds out where the engine's own queue begins and keeps the rest back. That
//! point moves with the lengths of prompts and answers (the KV cache is the bound as often as `max_num_seqs` is), hence
//! it is probed all the time, the way TCP finds the width of a path: one more at a time, and twice as many more whenever
//! that changed nothing.

/// One look at an engine's metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineQueue {
    /// Requests in the running batch.
    pub running: u32,
    /// Requests that wait inside the engine.
    pub waiting: u32,
    /// Requests of this router that the engine held at that moment.
    pub own: u32,
}

/// What was learned of an engine's room so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Requests it runs at once; `None` until it was seen full.
    places: Option<u32>,
    /// The batch of the look before this one, if requests waited for it.
    full_before: Option<u32>,
    /// How many places more are tried next.
    step: u32,
}

impl Room {
    /// Takes a look at the engine in; looks should be some decoding steps apart.
    ///
    /// A request that has just come waits for the next step of an engine with room, too: it takes two looks in a row, with
    /// more than one in eight waiting each time, to call it full.
    #[must_use]
    pub fn after(self, seen: EngineQueue) -> Self {
        let is_full = seen.waiting >= 2.max(seen.running / 8);
        if is_full {
            return match self.full_before {
                Some(before) => {
                    let places = before.max(seen.running).max(1);
                    Self { places: Some(places), full_before: Some(seen.running), step: 1 }
                }
                None => Self { full_before: Some(seen.running), step: 1, ..self },
            };
        }
        let rested = Self { full_before: None, ..self };
        match self.places {
            // All places are taken and nobody waits: there may be more of them.
            Some(places) if seen.waiting == 0 && seen.running.max(seen.own) >= places => {
                let step = self.step.max(1);
                Self { places: Some(places.saturating_add(step)), step: step.saturating_mul(2), ..rested }
            }
            _ => rested,
        }
    }

    /// Most requests this router should have there, at least one: what others hold is taken off. `None`: no limit known.
    pub fn limit(self, seen: EngineQueue) -> Option<u32> {
        let others = seen.running.saturating_add(seen.waiting).saturating_sub(seen.own);
        self.places.map(|places| places.saturating_sub(others).max(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An engine with `places` that holds `own` requests of this router and `others` of other ones.
    fn look(places: u32, own: u32, others: u32) -> EngineQueue {
        let running = places.min(own + others);
        EngineQueue { running, waiting: own + others - running, own }
    }

    /// Sends as much of `wanted` as the limit lets through, look after look.
    fn settle(room: &mut Room, limit: &mut Option<u32>, places: u32, wanted: u32, looks: usize) -> Vec<u32> {
        let look_again = |_| {
            let own = limit.map_or(wanted, |limit| limit.min(wanted));
            let seen = look(places, own, 0);
            *room = room.after(seen);
            *limit = room.limit(seen);
            own
        };
        (0..looks).map(look_again).collect()
    }

    #[test]
    fn an_engine_that_was_never_full_has_no_limit() {
        let mut room = Room::default();
        for own in [0, 3, 8, 8, 2] {
            let seen = look(8, own, 0);
            room = room.after(seen);
            assert_eq!(room.limit(seen), None);
        }
    }

    #[test]
    fn under_lasting_load_all_places_are_used_and_hardly_anybody_waits_inside() {
        let sent = settle(&mut Room::default(), &mut None, 64, 500, 100);
        assert_eq!(sent[..2], [500, 500], "two looks until it is called full");
        assert!(sent[2..].iter().all(|sent| (64..=64 + 15).contains(sent)), "{sent:?}");
        let mean_over = sent[10..].iter().map(|sent| sent - 64).sum::<u32>() / 90;
        assert!(mean_over <= 6, "{mean_over}: {sent:?}");
    }

    #[test]
    fn an_engine_that_got_more_room_is_full_again_within_ten_looks() {
        let (mut room, mut limit) = (Room::default(), None);
        settle(&mut room, &mut limit, 8, 500, 20);
        let sent = settle(&mut room, &mut limit, 200, 500, 12);
        assert!(sent[0] < 20 && sent[9..].iter().all(|sent| *sent >= 200), "{sent:?}");
    }

    #[test]
    fn a_request_on_its_way_into_the_batch_is_no_queue() {
        let seen = EngineQueue { running: 3, waiting: 1, own: 4 };
        assert_eq!(Room::default().after(seen).after(seen).limit(seen), None);
        let burst = EngineQueue { running: 0, waiting: 5, own: 5 };
        let later = EngineQueue { running: 5, waiting: 0, own: 5 };
        assert_eq!(Room::default().after(burst).after(later).after(burst).limit(burst), None);
    }

    #[test]
    fn what_other_routers_hold_there_is_taken_off() {
        let seen = look(16, 20, 10);
        let room = Room::default().after(seen).after(seen);
        assert_eq!(room.limit(seen), Some(6));
        assert_eq!(room.limit(look(16, 0, 40)), Some(1), "never none: it could not notice that the others left");
    }

    proptest! {
        #[test]
        fn the_limit_never_leaves_places_empty_for_long(places in 1_u32..300, first in 1_u32..300) {
            let (mut room, mut limit) = (Room::default(), None);
            settle(&mut room, &mut limit, first, 2_000, 10);
            let sent = settle(&mut room, &mut limit, places, 2_000, 60);
            let longest = sent.split(|sent| *sent >= places).map(<[u32]>::len).max().unwrap_or(0);
            prop_assert!(longest <= 10, "{} looks with empty places: {:?}", longest, sent);
        }
    }
}
