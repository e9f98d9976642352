//! The clairvoyant optimum: what a fleet must cost when the future is known.
//!
//! A replica is billed from its order and serves from `startup_steps` later until it is released. So a replica that
//! serves at step `u` was ordered, and billed, at every step of `[u - startup, u]`: the fewest that may exist at step
//! `t` is the largest need of `[t, t + startup]`, and to hold exactly so many is feasible.

use crate::window::max_ahead;

/// Steps of the search for the price that meets an allowed share of misses: each halves the logarithm of the interval.
const PRICE_STEPS: u32 = 8;
/// Prices of a missed replica-step, in replica-steps, between which that search begins: 1 % of misses is met at 4 to 7,
/// 0.1 % at 16 to 27 on the traces of our survey. Beyond, the interval moves by its own width.
const PRICES: (f64, f64) = (1.0, 64.0);
/// The search ends there: a miss at this price is worth hours of a replica.
const HIGHEST_PRICE: f64 = 1e5;
/// And there: below, no order that serves a full replica for a start-up time pays.
const LOWEST_PRICE: f64 = 1e-2;

/// Whole replicas that each step needs: `ceil(margin · demand)`.
#[must_use]
pub fn need(demand: &[f64], margin: f64) -> Vec<u32> {
    // Demand is a sum of many shares: 7.0000000001 replicas are 7.
    demand.iter().map(|replicas| (margin * replicas - 1e-9).ceil().max(0.0) as u32).collect()
}

/// Replicas to hold at each step so that none is ever missing, at least cost: the largest need of the step and the
/// `startup_steps` that follow. What the first steps need is taken to have been ordered before the trace.
#[must_use]
pub fn schedule(need: &[u32], startup_steps: usize) -> Vec<u32> {
    max_ahead(need, startup_steps)
}

/// What the optimum costs when a share of the demand may be missed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WithMisses {
    /// Replicas billed, summed over the steps.
    pub replica_steps: f64,
    /// Share of the demand above the Ready replicas, 0 to 1.
    pub overflow: f64,
    /// Price of a missed replica-step that leads there, in replica-steps.
    pub price: f64,
}

/// Least cost when at most `allowed_share` of the demand may be above the Ready replicas.
///
/// At a given price of a miss each layer (the k-th replica) is planned exactly by [`schedule_at_price`]; the lowest
/// price that keeps the share is found by bisection, and between it and the next lower one cost is interpolated along
/// the hull. `None` when `demand` is empty, all zero, or not even the highest price keeps the share.
#[must_use]
pub fn with_misses(demand: &[f64], startup_steps: usize, allowed_share: f64) -> Option<WithMisses> {
    let total: f64 = demand.iter().sum();
    if total <= 0.0 {
        return None;
    }
    let at = |price: f64| {
        let (replica_steps, missed) = plan(demand, startup_steps, price, None);
        WithMisses { replica_steps, overflow: missed / total, price }
    };
    let width = PRICES.1 / PRICES.0;
    let mut keeps = at(PRICES.1);
    let mut breaks = at(PRICES.0);
    while keeps.overflow > allowed_share {
        if keeps.price > HIGHEST_PRICE {
            return None;
        }
        (breaks, keeps) = (keeps, at(keeps.price * width));
    }
    while breaks.overflow <= allowed_share {
        if breaks.price < LOWEST_PRICE {
            return Some(breaks);
        }
        (keeps, breaks) = (breaks, at(breaks.price / width));
    }
    for _ in 0..PRICE_STEPS {
        let middle = at((keeps.price * breaks.price).sqrt());
        if middle.overflow <= allowed_share { keeps = middle } else { breaks = middle }
    }
    let towards = (allowed_share - keeps.overflow) / (breaks.overflow - keeps.overflow);
    let replica_steps = keeps.replica_steps + towards * (breaks.replica_steps - keeps.replica_steps);
    Some(WithMisses { replica_steps, overflow: allowed_share, price: keeps.price })
}

/// Replicas to hold at each step when a missed replica-step costs as much as `price` billed ones.
#[must_use]
pub fn schedule_at_price(demand: &[f64], startup_steps: usize, price: f64) -> Vec<u32> {
    let mut replicas = vec![0; demand.len()];
    plan(demand, startup_steps, price, Some(&mut replicas));
    replicas
}

/// Plans every layer: replica-steps billed and replica-steps missed, and the layers held at each step if asked for.
fn plan(demand: &[f64], startup_steps: usize, price: f64, mut held: Option<&mut [u32]>) -> (f64, f64) {
    let largest = demand.iter().copied().fold(0.0, f64::max);
    let mut layer = Layer::with_capacity(demand.len());
    let (mut billed, mut missed) = (0.0, 0.0);
    for below in 0..largest.ceil() as u32 {
        let is_used = |t: &usize| demand[*t] > f64::from(below);
        let mut next = (0..demand.len()).find(is_used);
        while let Some(first) = next {
            // Over a gap longer than a start-up a replica is never kept: uses on its two sides are planned apart.
            let mut last = first;
            loop {
                next = (last + 1..demand.len()).find(is_used);
                match next {
                    Some(use_at) if use_at - last <= startup_steps + 1 => last = use_at,
                    _ => break,
                }
            }
            let from = first.saturating_sub(startup_steps);
            layer.plan(&demand[from..=last], f64::from(below), startup_steps, price);
            // At the very start a replica may be there already, as everywhere in this module.
            let (cost, unserved) = layer.replay(startup_steps, from == 0, |step| {
                if let Some(held) = held.as_deref_mut() {
                    held[from + step] += 1;
                }
            });
            billed += cost;
            missed += unserved;
        }
    }
    (billed, missed)
}

/// Backward dynamic programme over one layer, whose use of a step is `clip(demand - below, 0, 1)`:
///
/// ```text
/// off[t] = min(off[t+1] + price · use[t],  startup + price · use[t .. t+startup] + on[t+startup])
/// on[t]  = min(1 + on[t+1], off[t])
/// ```
struct Layer {
    /// Sum of the use before each step.
    used: Vec<f64>,
    orders: Vec<bool>,
    releases: Vec<bool>,
    off: Vec<f64>,
    on: Vec<f64>,
}

impl Layer {
    fn with_capacity(steps: usize) -> Self {
        Self {
            used: Vec::with_capacity(steps + 1),
            orders: Vec::with_capacity(steps),
            releases: Vec::with_capacity(steps),
            off: Vec::with_capacity(steps + 1),
            on: Vec::with_capacity(steps + 1),
        }
    }

    fn plan(&mut self, demand: &[f64], below: f64, startup_steps: usize, price: f64) {
        let steps = demand.len();
        self.used.clear();
        self.used.push(0.0);
        let mut sum = 0.0;
        self.used.extend(demand.iter().map(|d| {
            sum += (d - below).clamp(0.0, 1.0);
            sum
        }));
        for (values, length) in [(&mut self.off, steps + 1), (&mut self.on, steps + 1)] {
            values.clear();
            values.resize(length, 0.0);
        }
        for flags in [&mut self.orders, &mut self.releases] {
            flags.clear();
            flags.resize(steps, false);
        }
        for t in (0..steps).rev() {
            let stay = self.off[t + 1] + price * (self.used[t + 1] - self.used[t]);
            let serves = t + startup_steps;
            let order = if serves < steps {
                startup_steps as f64 + price * (self.used[serves] - self.used[t]) + self.on[serves]
            } else {
                f64::INFINITY
            };
            self.orders[t] = order < stay;
            self.off[t] = stay.min(order);
            let keep = 1.0 + self.on[t + 1];
            self.releases[t] = self.off[t] <= keep;
            self.on[t] = keep.min(self.off[t]);
        }
    }

    /// Walks the plan forward: replica-steps billed, replica-steps of use missed.
    fn replay(&self, startup_steps: usize, mut is_on: bool, mut hold: impl FnMut(usize)) -> (f64, f64) {
        let steps = self.orders.len();
        let (mut billed, mut missed, mut t) = (0.0, 0.0, 0);
        while t < steps {
            is_on = is_on && !self.releases[t];
            let next = if !is_on && self.orders[t] && startup_steps > 0 { t + startup_steps } else { t + 1 };
            let is_held = is_on || self.orders[t];
            if is_held {
                (t..next).for_each(&mut hold);
                billed += (next - t) as f64;
            }
            let serves = is_on || (self.orders[t] && startup_steps == 0);
            if !serves {
                missed += self.used[next] - self.used[t];
            }
            is_on = is_held;
            t = next;
        }
        (billed, missed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::window::min_behind;

    fn billed(schedule: &[u32]) -> u32 {
        schedule.iter().sum()
    }

    /// Cost of the optimum by layers: busy time, the shorter of gap and start-up between, one start-up before the first.
    fn by_layers(need: &[u32], startup: usize) -> usize {
        let tallest = need.iter().copied().max().unwrap_or(0);
        (1..=tallest)
            .map(|layer| {
                let busy: Vec<usize> = (0..need.len()).filter(|t| need[*t] >= layer).collect();
                let gaps: usize = busy.windows(2).map(|pair| (pair[1] - pair[0] - 1).min(startup)).sum();
                busy.len() + gaps + startup
            })
            .sum()
    }

    fn least_by_enumeration(need: &[u32], startup: usize, most: u32) -> u32 {
        let base = most + 1;
        (0..base.pow(need.len() as u32))
            .filter_map(|code| {
                let schedule: Vec<u32> = (0..need.len() as u32).map(|t| code / base.pow(t) % base).collect();
                let ready = min_behind(&schedule, startup);
                ready.iter().zip(need).all(|(ready, need)| ready >= need).then(|| billed(&schedule))
            })
            .min()
            .unwrap_or(u32::MAX)
    }

    proptest! {
        #[test]
        fn the_optimum_is_the_layer_formula(need in prop::collection::vec(0u32..6, 1..80), startup in 0usize..9) {
            // The formula bills the first start too: let the trace begin with a start-up of silence.
            let padded: Vec<u32> = std::iter::repeat_n(0, startup).chain(need).collect();
            prop_assert_eq!(billed(&schedule(&padded, startup)) as usize, by_layers(&padded, startup));
        }

        #[test]
        fn no_schedule_that_misses_nothing_is_cheaper(need in prop::collection::vec(0u32..3, 1..7), startup in 0usize..4) {
            let best = schedule(&need, startup);
            let ready = min_behind(&best, startup);
            prop_assert!(ready.iter().zip(&need).all(|(ready, need)| ready >= need));
            prop_assert_eq!(billed(&best), least_by_enumeration(&need, startup, 2));
        }

        #[test]
        fn misses_at_a_price_never_cost_more_than_none(
            demand in prop::collection::vec(0.0..5.0f64, 1..60), startup in 0usize..6, price in 0.5..50.0f64,
        ) {
            let held = schedule_at_price(&demand, startup, price);
            let ready = min_behind(&held, startup);
            let missed: f64 = demand.iter().zip(&ready).map(|(d, r)| (d - f64::from(*r)).max(0.0)).sum();
            let total = f64::from(billed(&held)) + price * missed;
            let without = f64::from(billed(&schedule(&need(&demand, 1.0), startup)));
            prop_assert!(total <= without + 1e-6, "{} > {}", total, without);
        }

        #[test]
        fn a_high_price_leads_to_the_optimum_without_misses(
            need_of in prop::collection::vec(0u32..5, 1..60), startup in 0usize..6,
        ) {
            let demand: Vec<f64> = need_of.iter().map(|n| f64::from(*n)).collect();
            let held = schedule_at_price(&demand, startup, 1e6);
            prop_assert_eq!(billed(&held), billed(&schedule(&need_of, startup)));
        }

        #[test]
        fn more_misses_allowed_never_cost_more(demand in prop::collection::vec(0.0..5.0f64, 30..80), startup in 0usize..6) {
            let costs: Vec<f64> = [0.001, 0.01, 0.05, 0.2]
                .iter()
                .filter_map(|share| with_misses(&demand, startup, *share))
                .map(|found| found.replica_steps)
                .collect();
            prop_assert_eq!(costs.len(), 4);
            prop_assert!(costs.windows(2).all(|pair| pair[1] <= pair[0] + 1e-6), "{:?}", costs);
        }
    }

    #[test]
    fn need_rounds_up_but_not_for_rounding_errors() {
        assert_eq!(need(&[0.0, 0.1, 2.0, 2.000_000_000_1, 2.1], 1.0), [0, 1, 2, 2, 3]);
        assert_eq!(need(&[2.0], 1.1), [3]);
    }

    #[test]
    fn nothing_to_serve_has_no_optimum_with_misses() {
        assert_eq!(with_misses(&[], 3, 0.01), None);
        assert_eq!(with_misses(&[0.0, 0.0], 3, 0.01), None);
    }
}
