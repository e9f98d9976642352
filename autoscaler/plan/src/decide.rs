//! The decision: learn, look ahead, divide by capacity, then hold, stabilise and clamp.

mod learn;
mod rails;

use std::borrow::Cow;

use jiff::Timestamp;

use crate::capacity::{Capacity, CapacityPrior};
use crate::check::check_decision;
use crate::decision::{Credit, Decision, Demand, ForecastCoverage, Reason, reasons};
use crate::demand::Times;
use crate::facts::{EngineFacts, Facts, Observation, Phase, Settings};
use crate::look::Look;
use crate::planner::{Planned, ROUNDING, Starts, missed};
use crate::score::Period;
use crate::standby::StandbyTier;
use crate::startup::seconds_between;
use crate::state::State;
use crate::tiers::Tier;
use learn::{learn, wake};
use rails::Plan;

/// A freshly Ready engine may still lack its first scrape for this many control periods.
const UNSCRAPED_PERIODS: f64 = 5.0;

/// What is held beyond the demand while no plan foresees anything, in square roots of the demand: square-root staffing
/// (Halfin and Whitt, "Heavy-traffic limits for queues with many exponential servers", 1981).
const UNFORESEEN: f64 = 0.4;

/// Decides how many replicas a target should have now, and says why.
///
/// `state` is what the previous call left; a fresh one never scales down before one stabilisation window has passed.
pub fn decide(facts: &Facts, state: &mut State, now: Timestamp) -> Decision {
    let facts = &*settle_newcomers(facts, now);
    let settings = &facts.settings;
    let look = Look::at(facts, now);
    let (startup, elapsed_seconds) = learn(facts, &look, state, now);
    let tier = facts.standby.map(|standby| StandbyTier::new(standby, wake(settings, state), facts));
    let prior = CapacityPrior { requests: settings.capacity_prior, profile: settings.engine_profile.as_ref() };
    let present = look.in_service / f64::from(look.observed.ready.max(1));
    let capacity = state.capacity.at(&settings.objective, &prior, present);
    let times = Times {
        elapsed_seconds,
        startup_seconds: startup.p95_seconds,
        next_seconds: tier.map_or(startup.p95_seconds, |tier| tier.next_seconds(&startup)),
        service_seconds: capacity.service_seconds,
        present_service_seconds: capacity.present_service_seconds,
        capacity_requests: capacity.requests,
        ttft_seconds: settings.objective.ttft_seconds,
        serves_in_batches: settings.tier == Some(Tier::Prefill),
    };
    state.demand.learn(facts, &look, times);
    let mut demand = state.demand.at(&look, &capacity, times);
    let starts = Starts { startup: &startup, standby: tier.as_ref() };
    let missed = missed(&demand, &look, &capacity, settings);
    let planned = state.plan.advance(settings, &demand, missed, &look, starts, now);
    demand.forecast_per_second = planned.as_ref().and_then(|planned| arrivals_at(planned, &demand, &capacity));
    // What this control period costs and misses.
    let asleep = facts.standby.map_or(0.0, |standby| f64::from(standby.asleep) * standby.price);
    let billed = f64::from(facts.replicas + look.observed.draining) + asleep;
    let period = Period { billed, demand: demand.replicas, missed };
    let score = state.score.advance(settings, &startup, period, now);
    let forecast_coverage = state.forecast_coverage().map(|(judged, covered)| ForecastCoverage { judged, covered });
    let floor = floor(&demand);
    let wanted = wanted(floor, planned.as_ref(), &demand);

    let mut plan = Plan { facts, look: &look, replicas: wanted, because: Vec::new() };
    plan.explain_demand(floor, planned.as_ref(), &demand, &capacity, &startup);
    plan.because.extend(tier.and_then(|tier| tier.reason(&startup)));
    plan.guard(state, &startup, now);
    plan.note_blind_spots(&capacity);
    let replicas = plan.replicas;
    let because = plan.because;

    let mut decision = Decision {
        replicas,
        wanted,
        because,
        demand,
        plan: planned,
        capacity,
        startup,
        standby: tier,
        credit: credit(facts, &look, starts, now),
        allowed_missed_share: 1.0 - settings.objective.attainment,
        forecast_coverage,
        score,
        observed: look.observed,
    };
    hold_if_contradictory(facts, &mut decision);
    state.changes.decide(decision.replicas, settings.rate_limits);
    decision
}

/// Replicas that are on their way.
fn credit(facts: &Facts, look: &Look, starts: Starts<'_>, now: Timestamp) -> Option<Credit> {
    let starting = look.observed.starting;
    let missing = facts.replicas.saturating_sub(look.observed.ready + starting);
    let left = facts.engines.iter().filter_map(|engine| match engine.phase {
        Phase::Starting { since } => {
            let wake = starts.standby.filter(|_| engine.milestones.woken.is_some()).map(|tier| &tier.wake);
            Some((wake.unwrap_or(starts.startup).p95_seconds - seconds_between(since, now)).max(0.0))
        }
        Phase::Ready { .. } | Phase::Draining => None,
    });
    let (first, last) = left.fold((f64::INFINITY, 0.0_f64), |(first, last), left| (first.min(left), last.max(left)));
    let first_ready_seconds = if starting > 0 { first } else { 0.0 };
    (starting + missing > 0).then_some(Credit { starting, missing, first_ready_seconds, last_ready_seconds: last })
}

/// An engine that has just become Ready and was not scraped yet counts as starting: it is no loss of data.
fn settle_newcomers(facts: &Facts, now: Timestamp) -> Cow<'_, Facts> {
    let patience = UNSCRAPED_PERIODS * facts.settings.control_period_seconds;
    let created = |engine: &EngineFacts| match (engine.phase, &engine.observation) {
        (Phase::Ready { created, since }, Observation::Absent { .. }) if seconds_between(since, now) < patience => {
            Some(created)
        }
        _ => None,
    };
    let mut settled = Cow::Borrowed(facts);
    for (place, engine) in facts.engines.iter().enumerate() {
        if let Some(since) = created(engine) {
            settled.to_mut().engines[place].phase = Phase::Starting { since };
        }
    }
    settled
}

/// Replicas for what is in service and waits now, whatever the forecast says.
fn floor(demand: &Demand) -> u32 {
    if demand.floor_replicas <= 0.0 {
        return 0;
    }
    // A float beyond u32 saturates, and the maximum clamps it.
    (demand.floor_replicas - ROUNDING).ceil().max(1.0) as u32
}

/// The plan, over the floor. A load that the forecast expected, up to its 99 % quantile, is the plan's to weigh: answering
/// each of its waves with a start that comes too late would cost more than it serves. It only may not be left without any.
fn wanted(floor: u32, planned: Option<&Planned>, demand: &Demand) -> u32 {
    let Some(planned) = planned else { return floor.max(staffed(demand)) };
    let least = if demand.floor_replicas <= planned.forecast.limit { floor.min(1) } else { floor };
    planned.replicas.max(least)
}

/// Replicas for what arrives, with room for what nobody foresees. What is in service says less: engines with little to do
/// are faster, so they hold fewer requests than their share of the work, until they are full and it is too late.
fn staffed(demand: &Demand) -> u32 {
    if demand.service_seconds.is_none() || demand.replicas <= ROUNDING {
        return 0;
    }
    (demand.replicas + UNFORESEEN * demand.replicas.sqrt() - ROUNDING).ceil() as u32
}

/// Arrivals a second that would fill the forecast median.
fn arrivals_at(planned: &Planned, demand: &Demand, capacity: &Capacity) -> Option<f64> {
    let [median, ..] = planned.forecast.quantiles;
    demand.service_seconds.filter(|seconds| *seconds > 0.0).map(|seconds| median * capacity.requests / seconds)
}

/// Nothing moves on a plan that contradicts itself.
fn hold_if_contradictory(facts: &Facts, decision: &mut Decision) {
    let Err(contradiction) = check_decision(facts, decision) else { return };
    let Settings { min_replicas, max_replicas, paused, .. } = facts.settings;
    decision.replicas = if paused { facts.replicas } else { facts.replicas.clamp(min_replicas, max_replicas) };
    let message = format!("the plan is refused: {contradiction}; {} replicas stay", decision.replicas);
    decision.because.insert(0, Reason::new(reasons::PLAN_REFUSED, f64::from(decision.wanted), message));
}

#[cfg(test)]
pub(crate) mod tests;
