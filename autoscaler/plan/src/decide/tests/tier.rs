//! Prefill and decode on engines of their own behind a router that is not ours: what their metrics show, and what is made of it.

use super::*;
use crate::capacity::CapacitySource;
use crate::tiers::Tier;

const PROMPT_TOKENS: f64 = 1000.0;
const ANSWER_TOKENS: f64 = 200.0;
const LOOKS: usize = 600;

/// Uniform in 0 to 1, the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Times of arrivals at `rate` a second up to `end`.
    fn arrivals(&mut self, rate: f64, end: f64) -> Vec<f64> {
        let mut time = 0.0;
        std::iter::from_fn(|| {
            time -= self.next().max(1e-12).ln() / rate;
            Some(time).filter(|time| *time < end)
        })
        .collect()
    }
}

/// One engine's metrics, as it shows them at one moment.
#[derive(Clone, Default)]
struct Page {
    running: f64,
    waiting: f64,
    finished: f64,
    first: SumCount,
    between: SumCount,
    prompt: SumCount,
    output: SumCount,
}

impl Page {
    fn sample(&self, now: Timestamp) -> EngineSample {
        EngineSample {
            kv_cache_usage: None,
            running: Some(self.running),
            waiting: Some(self.waiting),
            finished_total: Some(self.finished),
            ttft: Some(self.first),
            inter_token_latency: Some(self.between),
            prompt_tokens: Some(self.prompt),
            output_tokens: Some(self.output),
            ..super::sample(now, 0.0, 0.0)
        }
    }

    fn finish(&mut self, output_tokens: f64) {
        self.finished += 1.0;
        self.prompt = self.prompt + SumCount { sum: PROMPT_TOKENS, count: 1.0 };
        self.output = self.output + SumCount { sum: output_tokens, count: 1.0 };
    }
}

/// A prefill engine takes up to eight prompts into a step of 0.02 s and 0.1 s for each of them. Every request ends with its
/// first token, so there is nothing between tokens.
fn prefill(arrivals: &[f64]) -> Vec<Page> {
    let (mut page, mut pages) = (Page::default(), Vec::new());
    let (mut next, mut batch, mut ends) = (0, 0, 0.0_f64);
    for look in 1..=LOOKS {
        let now = 2.0 * look as f64;
        while ends <= now {
            for arrived in &arrivals[next..next + batch] {
                page.first = page.first + SumCount { sum: ends - arrived, count: 1.0 };
                page.finish(1.0);
            }
            next += batch;
            let begins = ends.max(arrivals.get(next).copied().unwrap_or(f64::INFINITY));
            batch = arrivals[next..].iter().take_while(|arrived| **arrived <= begins).count().min(8);
            ends = begins + 0.02 + 0.1 * batch as f64;
        }
        // A batch that begins after this look was not seen.
        let there = arrivals[next..].iter().take_while(|arrived| **arrived <= now).count();
        page.running = there.min(batch) as f64;
        page.waiting = (there - there.min(batch)) as f64;
        pages.push(page.clone());
    }
    pages
}

/// A decode engine whose step takes 0.014 s and 0.0004 s for each request. What it calls time to first token is half a minute
/// of waiting for a cache: no fault of its own.
fn decode(arrivals: &[f64]) -> Vec<Page> {
    let (mut page, mut pages) = (Page::default(), Vec::new());
    let (mut next, mut left): (usize, Vec<f64>) = (0, Vec::new());
    let tick = 0.02;
    for look in 1..=LOOKS {
        for _ in 0..100 {
            let now = 2.0 * (look - 1) as f64 + tick;
            while arrivals.get(next).is_some_and(|arrived| *arrived <= now + 2.0) {
                left.push(ANSWER_TOKENS);
                page.first = page.first + SumCount { sum: 30.0, count: 1.0 };
                next += 1;
            }
            let step = 0.014 + 0.0004 * left.len() as f64;
            let tokens = tick / step;
            page.between = page.between + SumCount { sum: tick * left.len() as f64, count: tokens * left.len() as f64 };
            for left in &mut left {
                *left -= tokens;
            }
            let ended = left.iter().filter(|left| **left <= 0.0).count();
            left.retain(|left| *left > 0.0);
            (0..ended).for_each(|_| page.finish(ANSWER_TOKENS));
        }
        page.running = left.len() as f64;
        pages.push(page.clone());
    }
    pages
}

/// The last decision on what two engines show for twenty minutes, and the mean demand of the last ten; our own router is there
/// and is asked for nothing.
fn decided(tier: Option<Tier>, engines: &[Vec<Page>; 2]) -> (Decision, f64) {
    let mut state = State::default();
    let (mut last, mut replicas) = (None, 0.0);
    for (look, pages) in engines[0].iter().zip(&engines[1]).enumerate() {
        let now = at(look as i64 * 2000);
        let seen = |id: usize, page: &Page| ready(id, Observation::Seen(page.sample(now)));
        let mut facts = Facts { engines: vec![seen(0, pages.0), seen(1, pages.1)], ..fleet(now, &[(0.0, 0.0); 2]) };
        facts.settings = Settings { tier, capacity_prior: 32.0, ..facts.settings };
        let decision = decide(&facts, &mut state, now);
        if look >= LOOKS / 2 {
            replicas += decision.demand.replicas;
        }
        last = Some(decision);
    }
    (last.expect("looks"), replicas / (LOOKS / 2) as f64)
}

fn both(engine: fn(&[f64]) -> Vec<Page>, rate: f64) -> [Vec<Page>; 2] {
    [1, 2].map(|seed| engine(&Chance(seed).arrivals(rate / 2.0, 2.0 * LOOKS as f64)))
}

#[test]
fn a_prefill_tier_is_sized_by_its_own_arrivals_and_the_time_to_first_token() {
    // Fifteen prompts a second of a tenth of a second each; ten at once are a second.
    let (decision, demand) = decided(Some(Tier::Prefill), &both(prefill, 15.0));
    let capacity = &decision.capacity;
    assert_eq!(capacity.source, CapacitySource::TimeToFirstToken);
    assert!(capacity.confidence > 0.5 && (8.0..12.0).contains(&capacity.requests), "{capacity:?}");
    let arrivals = decision.demand.arrivals_per_second.expect("seen");
    assert!((arrivals - 15.0).abs() < 4.0, "{arrivals}");
    assert!((1.3..1.9).contains(&demand), "{demand} {capacity:?}");
    assert!((2..=4).contains(&decision.replicas), "{decision:#?}");
}

#[test]
fn a_prefill_engine_with_room_for_all_shows_what_its_first_tokens_would_allow() {
    let (decision, demand) = decided(Some(Tier::Prefill), &both(prefill, 6.0));
    let capacity = &decision.capacity;
    assert_eq!(capacity.source, CapacitySource::TimeToFirstToken);
    assert!((7.0..13.0).contains(&capacity.requests), "{capacity:?}");
    assert!((0.5..0.9).contains(&demand), "{demand} {capacity:?}");
}

#[test]
fn an_overload_of_prefill_is_told_by_what_waits_in_its_engines() {
    // Thirty prompts a second for two engines that do twenty.
    let (decision, demand) = decided(Some(Tier::Prefill), &both(prefill, 30.0));
    assert!((2.7..3.8).contains(&demand), "{demand} {:?}", decision.capacity);
    assert!(decision.replicas >= 3, "{decision:#?}");
}

#[test]
fn a_decode_tier_is_sized_by_the_time_between_tokens_whatever_its_first_token_took() {
    // 90 at once take 0.05 s a token; 15 a second of 200 tokens are then 150 at once.
    let (decision, demand) = decided(Some(Tier::Decode), &both(decode, 15.0));
    let capacity = &decision.capacity;
    assert!(!capacity.objective_out_of_reach, "{capacity:?}");
    assert_eq!(capacity.source, CapacitySource::InterTokenLatency);
    assert!((75.0..105.0).contains(&capacity.requests), "{capacity:?}");
    assert!((1.5..1.85).contains(&demand), "{demand} {capacity:?}");
}

#[test]
fn a_router_that_is_not_asked_is_no_sign_that_nothing_arrives_at_a_tier() {
    let engines = both(decode, 15.0);
    let (as_if_routed, demand) = decided(None, &engines);
    assert!(demand < 0.1 && as_if_routed.demand.arrivals_per_second == Some(0.0), "{:?}", as_if_routed.demand);
    let (_, demand) = decided(Some(Tier::Decode), &engines);
    assert!(demand > 1.0, "{demand}");
}

#[test]
fn what_a_router_counts_as_late_is_not_held_against_a_tier() {
    let mut state = State::default();
    let mut late_after = |tier, second: i64| {
        let mut facts = fleet(at(second * 1000), &[(4.0, 0.0); 2]);
        facts.settings.tier = tier;
        let RouterFacts::Replicas(replicas) = &mut facts.router else { unreachable!() };
        let RouterObservation::Seen(sample) = &mut replicas[0].observation else { unreachable!() };
        sample.late_total = Some(second as f64);
        decide(&facts, &mut state, at(second * 1000)).demand.late_per_second
    };
    assert_eq!((late_after(None, 0), late_after(None, 2)), (None, Some(1.0)));
    assert_eq!((late_after(Some(Tier::Decode), 4), late_after(Some(Tier::Decode), 6)), (None, None));
}

#[test]
fn what_was_learned_of_another_tier_is_forgotten() {
    let mut state = State::default();
    let mut of = |tier, second: i64| {
        let mut facts = fleet(at(second * 1000), &[(4.0, 4.0); 2]);
        facts.settings.tier = tier;
        decide(&facts, &mut state, at(second * 1000)).capacity.source
    };
    of(None, 0);
    assert_eq!(of(None, 2), CapacitySource::Saturation);
    assert_eq!(of(Some(Tier::Prefill), 4), CapacitySource::Prior);
}
