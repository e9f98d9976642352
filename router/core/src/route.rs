//! The routing policy: least load among two engines drawn at random ("power of two choices").
//!
//! Two random engines instead of the least loaded of all: several routers, each seeing only its own requests, would
//! otherwise all send to the same engine at once.

use crate::fleet::{EngineKey, Model};

/// What the router knows of one engine at the moment of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests of this router that the engine holds now.
    pub in_flight: u32,
    /// The most it may hold: the configured cap or what its refusals taught, whichever is less.
    pub limit: Option<u32>,
    /// Taken out after failures, until a probe succeeds.
    pub ejected: bool,
}

/// The decision and its reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Send it there.
    Engine(Picked),
    /// No engine can take the request now.
    None(NoEngine),
}

/// The engine picked, and against which other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// Position in [`Model::engines`].
    pub at: usize,
    /// Its requests in flight at the time.
    pub in_flight: u32,
    /// Position and requests in flight of the engine it was compared with; `None` when it was the only one.
    pub against: Option<(usize, u32)>,
}

/// Why no engine can take a request: how many engines are out, for each reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoEngine {
    /// Engines at their limit.
    pub full: usize,
    /// Engines taken out after failures.
    pub ejected: usize,
    /// Engines this request has already tried.
    pub tried: usize,
}

impl NoEngine {
    /// The reason in words, for error bodies.
    pub fn describe(self) -> String {
        if self == Self::default() {
            return "no engine of it is ready".to_owned();
        }
        let parts = [(self.full, "full"), (self.ejected, "not answering"), (self.tried, "already tried")];
        let parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        format!("of its engines, {}", parts.join(", "))
    }
}

/// Picks an engine for a request to `model`. `load` reads an engine's load by its position in [`Model::engines`],
/// `tried` are the engines that failed this request, `random` is a fresh random word.
pub fn route(model: &Model, load: impl Fn(usize) -> Load, tried: &[EngineKey], random: u64) -> Choice {
    let eligible = |at: usize| {
        let now = load(at);
        let usable =
            !now.ejected && !tried.contains(&model.keys[at]) && now.limit.is_none_or(|max| now.in_flight < max);
        usable.then_some(now.in_flight)
    };
    let count = model.engines.len();
    if count > 2 {
        // The usual case: two engines drawn from all are usable, and the rest need not be looked at.
        let (first, second) = two_of(count, random);
        if let (Some(one), Some(other)) = (eligible(first), eligible(second)) {
            return Choice::Engine(lighter((first, one), (second, other)));
        }
    }
    let usable: Vec<(usize, u32)> = (0..count).filter_map(|at| eligible(at).map(|load| (at, load))).collect();
    match usable.as_slice() {
        [] => Choice::None(why_none(model, load, tried)),
        [(at, in_flight)] => Choice::Engine(Picked { at: *at, in_flight: *in_flight, against: None }),
        several => {
            let (first, second) = two_of(several.len(), random);
            Choice::Engine(lighter(several[first], several[second]))
        }
    }
}

/// Two different positions below `count` (at least 2), every pair equally likely but for a bias of 2⁻³².
fn two_of(count: usize, random: u64) -> (usize, usize) {
    let below = |word: u64, bound: usize| {
        let scaled = (word & 0xffff_ffff) * bound as u64;
        usize::try_from(scaled >> 32).unwrap_or(usize::MAX)
    };
    let first = below(random >> 32, count);
    let second = below(random, count - 1);
    (first, if second >= first { second + 1 } else { second })
}

/// The engine with less in flight; the pair comes in random order, so equal loads need no further draw.
fn lighter(one: (usize, u32), other: (usize, u32)) -> Picked {
    let (winner, loser) = if one.1 <= other.1 { (one, other) } else { (other, one) };
    Picked { at: winner.0, in_flight: winner.1, against: Some(loser) }
}

fn why_none(model: &Model, load: impl Fn(usize) -> Load, tried: &[EngineKey]) -> NoEngine {
    let mut why = NoEngine::default();
    for at in 0..model.engines.len() {
        if tried.contains(&model.keys[at]) {
            why.tried += 1;
        } else if load(at).ejected {
            why.ejected += 1;
        } else {
            why.full += 1;
        }
    }
    why
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn model(count: usize) -> Model {
        Model { name: "m".into(), engines: (0..count).collect(), keys: (0..count as u64).map(EngineKey).collect() }
    }

    fn free(in_flight: u32) -> Load {
        Load { in_flight, limit: None, ejected: false }
    }

    #[test]
    fn equal_engines_get_equal_shares() {
        for count in 1..=7 {
            let model = model(count);
            let mut rng = Pcg64Mcg::seed_from_u64(7);
            let mut shares = vec![0_u32; count];
            for _ in 0..7_000 {
                match route(&model, |_| free(3), &[], rng.random()) {
                    Choice::Engine(picked) => shares[picked.at] += 1,
                    Choice::None(why) => panic!("{why:?}"),
                }
            }
            let fair = 7_000 / u32::try_from(count).expect("small");
            for share in &shares {
                assert!(share.abs_diff(fair) < fair / 8 + 1, "{count}: {shares:?}");
            }
        }
    }

    #[test]
    fn queues_stay_level_when_every_choice_adds_to_its_engine() {
        let model = model(10);
        let mut rng = Pcg64Mcg::seed_from_u64(3);
        let mut loads = [0_u32; 10];
        for _ in 0..1_000 {
            if let Choice::Engine(picked) = route(&model, |at| free(loads[at]), &[], rng.random()) {
                loads[picked.at] += 1;
            }
        }
        let (least, most) = (loads.iter().min(), loads.iter().max());
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 4), "{loads:?}");
    }

    #[test]
    fn of_two_engines_the_lighter_always_wins() {
        let model = model(2);
        for random in [0, 1, 7, u64::MAX, 0x1234_5678_9abc_def0] {
            let choice = route(&model, |at| free(if at == 0 { 5 } else { 4 }), &[], random);
            assert_eq!(choice, Choice::Engine(Picked { at: 1, in_flight: 4, against: Some((0, 5)) }));
        }
    }

    #[test]
    fn reasons_are_counted_when_no_engine_is_left() {
        let loads = [
            Load { in_flight: 4, limit: Some(4), ejected: false },
            Load { in_flight: 0, limit: None, ejected: true },
            free(0),
        ];
        let choice = route(&model(3), |at| loads[at], &[EngineKey(2)], 9);
        let why = NoEngine { full: 1, ejected: 1, tried: 1 };
        assert_eq!(choice, Choice::None(why));
        assert_eq!(why.describe(), "of its engines, 1 full, 1 not answering, 1 already tried");
        assert_eq!(route(&model(0), |_| free(0), &[], 9), Choice::None(NoEngine::default()));
        assert_eq!(NoEngine::default().describe(), "no engine of it is ready");
    }

    fn load() -> impl Strategy<Value = Load> {
        (0_u32..6, prop::option::of(0_u32..6), prop::bool::weighted(0.3)).prop_map(|(in_flight, limit, ejected)| Load {
            in_flight,
            limit,
            ejected,
        })
    }

    proptest! {
        #[test]
        fn never_picks_an_engine_that_is_full_ejected_or_tried_and_always_finds_one_that_is_not(
            loads in prop::collection::vec((load(), prop::bool::weighted(0.3)), 0..12),
            random in any::<u64>(),
        ) {
            let model = model(loads.len());
            let tried: Vec<EngineKey> = (0..loads.len()).filter(|at| loads[*at].1).map(|at| model.keys[at]).collect();
            let usable = |at: usize| {
                let (load, tried) = loads[at];
                !tried && !load.ejected && load.limit.is_none_or(|limit| load.in_flight < limit)
            };
            match route(&model, |at| loads[at].0, &tried, random) {
                Choice::Engine(picked) => {
                    prop_assert!(usable(picked.at));
                    if let Some((other, in_flight)) = picked.against {
                        prop_assert!(other != picked.at && usable(other) && picked.in_flight <= in_flight);
                    }
                },
                Choice::None(why) => {
                    prop_assert!((0..loads.len()).all(|at| !usable(at)));
                    prop_assert_eq!(why.full + why.ejected + why.tried, loads.len());
                },
            }
        }
    }
}
