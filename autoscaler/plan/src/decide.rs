//! The decision: learn, look ahead, divide by capacity, then hold, stabilise and clamp.

mod learn;

use jiff::Timestamp;

use crate::capacity::{Capacity, CapacityPrior};
use crate::check::check_decision;
use crate::decision::{Credit, Decision, Demand, ForecastCoverage, Reason, reasons};
use crate::demand::Times;
use crate::facts::{Facts, Phase, RouterFacts, Settings};
use crate::look::Look;
use crate::planner::{Planned, Starts, missed};
use crate::schedule;
use crate::score::Period;
use crate::standby::StandbyTier;
use crate::startup::{Startup, seconds_between};
use crate::state::State;
use learn::{learn, wake};

/// A freshly Ready engine may still lack its first scrape for this many control periods.
const UNSCRAPED_PERIODS: f64 = 5.0;

/// Engines that start are waited for until they are late by half of what 95 % of starts take.
const HELD_STARTS: f64 = 1.5;

/// A hair above a whole number of replicas does not start another one.
const ROUNDING: f64 = 0.02;

/// What is held beyond the demand while no plan foresees anything, in square roots of the demand: square-root staffing
/// (Halfin and Whitt, "Heavy-traffic limits for queues with many exponential servers", 1981).
const UNFORESEEN: f64 = 0.4;

/// Decides how many replicas a target should have now, and says why.
///
/// `state` is what the previous call left; a fresh one never scales down before one stabilisation window has passed.
pub fn decide(facts: &Facts, state: &mut State, now: Timestamp) -> Decision {
    let facts = &settle_newcomers(facts, now);
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
    };
    state.demand.learn(facts, &look, times);
    state.demand.retain(facts);
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
    plan.keep_schedule(&startup, now);
    plan.keep_one_without_router();
    plan.clamp();
    plan.stabilise(state, now);
    plan.await_starting(&startup, now);
    plan.hold_on_missing_data();
    plan.pause();
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
fn settle_newcomers(facts: &Facts, now: Timestamp) -> Facts {
    let mut facts = facts.clone();
    let patience = UNSCRAPED_PERIODS * facts.settings.control_period_seconds;
    for engine in &mut facts.engines {
        if let Phase::Ready { created, since } = engine.phase
            && matches!(engine.observation, crate::facts::Observation::Absent { .. })
            && seconds_between(since, now) < patience
        {
            engine.phase = Phase::Starting { since: created };
        }
    }
    facts
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
    let [.., most] = planned.forecast.quantiles;
    let least = if demand.floor_replicas <= most { floor.min(1) } else { floor };
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

/// The replicas on their way from what the load asks for to what is done.
struct Plan<'a> {
    facts: &'a Facts,
    look: &'a Look,
    replicas: u32,
    because: Vec<Reason>,
}

impl Plan<'_> {
    fn settings(&self) -> &Settings {
        &self.facts.settings
    }

    /// A reason that decides the number goes first, before those it overrules.
    fn bind(&mut self, replicas: u32, reason: &'static str, value: f64, message: String) {
        self.replicas = replicas;
        self.because.insert(0, Reason::new(reason, value, message));
    }

    fn note(&mut self, reason: &'static str, value: f64, message: String) {
        self.because.push(Reason::new(reason, value, message));
    }

    fn explain_demand(
        &mut self,
        floor: u32,
        planned: Option<&Planned>,
        demand: &Demand,
        capacity: &Capacity,
        startup: &Startup,
    ) {
        if floor == 0 {
            self.note(reasons::NO_TRAFFIC, 0.0, "no request is in service or waits".to_owned());
        } else {
            let message = format!(
                "{:.1} requests in service, {:.1} waiting, over {:.1} a replica (set by {}) need {floor} now",
                demand.in_service,
                demand.waiting,
                capacity.requests,
                capacity.source.as_words(),
            );
            self.note(reasons::DEMAND, f64::from(floor), message);
        }
        if planned.is_none() && self.replicas > floor {
            let message = format!(
                "demand of {:.2} replicas arrives; {} leave room for what nothing foresees yet",
                demand.replicas, self.replicas
            );
            self.bind(self.replicas, reasons::UNFORESEEN, f64::from(self.replicas), message);
        }
        if let Some(planned) = planned {
            let [median, _, most, _] = planned.forecast.quantiles;
            let message = format!(
                "demand of {:.2} replicas will peak at {median:.2} (median), {most:.2} (95 %) within the {:.1} s of a start: \
                 {} at a price of {:.0} for a missing one (margin {:.2}, held {:.0} s)",
                demand.replicas,
                startup.p95_seconds,
                planned.replicas,
                planned.price,
                planned.gain,
                planned.hold_seconds,
            );
            let reason = Reason::new(reasons::FORECAST, f64::from(planned.replicas), message);
            // The one that binds goes first.
            if planned.replicas == self.replicas && planned.replicas != floor {
                self.because.insert(0, reason);
            } else {
                self.because.push(reason);
            }
        }
        if demand.waiting >= 1.0 {
            let message = format!("{:.0} requests wait for a slot", demand.waiting);
            self.note(reasons::BACKLOG, demand.waiting, message);
        }
        let starting = self.look.observed.starting;
        if starting > 0 {
            let message =
                format!("{starting} engines start and are counted; 95 % of starts take {:.1} s", startup.p95_seconds);
            self.note(reasons::STARTING, f64::from(starting), message);
        }
    }

    /// Schedules are floors: what the load asks for beyond them is given as ever.
    fn keep_schedule(&mut self, startup: &Startup, now: Timestamp) {
        let Some(floor) = schedule::binding(&self.settings().floors, startup.p95_seconds, now).copied() else { return };
        if floor.min_replicas <= self.replicas {
            return;
        }
        let when = if now < floor.from {
            format!("from {:.0} on, and a start takes {:.1} s", floor.from, startup.p95_seconds)
        } else {
            format!("until {:.0}", floor.until)
        };
        let message = format!("a schedule asks for {} replicas {when}", floor.min_replicas);
        self.bind(floor.min_replicas, reasons::SCHEDULE, f64::from(floor.min_replicas), message);
    }

    fn keep_one_without_router(&mut self) {
        if self.settings().min_replicas == 0 && self.facts.router == RouterFacts::NotConfigured && self.replicas == 0 {
            self.bind(
                1,
                reasons::ZERO_NEEDS_ROUTER,
                1.0,
                "nothing would wake the model at zero without a router".to_owned(),
            );
        }
    }

    fn clamp(&mut self) {
        let Settings { min_replicas, max_replicas, .. } = *self.settings();
        if self.replicas > max_replicas {
            let message = format!("{} replicas are wanted, maxReplicas is {max_replicas}", self.replicas);
            self.bind(max_replicas, reasons::LIMITED_BY_MAX, f64::from(self.replicas), message);
        } else if self.replicas < min_replicas {
            if self.replicas > 0 {
                let message = format!("{} replicas are wanted, minReplicas is {min_replicas}", self.replicas);
                self.note(reasons::LIMITED_BY_MIN, f64::from(self.replicas), message);
            }
            self.replicas = min_replicas;
        }
    }

    /// Takes the most that was wanted within the window, so that a dip is not answered with a restart.
    fn stabilise(&mut self, state: &mut State, now: Timestamp) {
        let Settings { min_replicas, max_replicas, stabilization_seconds: window, .. } = *self.settings();
        state.recommendations.seed(self.facts.replicas.clamp(min_replicas, max_replicas), now);
        if !self.is_complete() && self.replicas < self.facts.replicas {
            // What is held for lack of data counts as wanted: when data return, one whole window passes before a step down.
            let held = self.facts.replicas.clamp(min_replicas, max_replicas);
            state.recommendations.add(held, now, window);
            return;
        }
        let (most, age) = state.recommendations.add(self.replicas, now, window);
        let most = most.clamp(min_replicas, max_replicas);
        if most > self.replicas {
            let message = format!(
                "{} would do now, but {most} were wanted {age:.1} s ago and the window is {window:.1} s",
                self.replicas
            );
            self.bind(most, reasons::STABILIZING, f64::from(most), message);
        }
    }

    fn is_complete(&self) -> bool {
        let observed = &self.look.observed;
        observed.unobserved == 0 && observed.routers_silent == 0 && !self.has_lost_all_engines()
    }

    /// Replicas are ordered, and neither a Ready nor a starting engine is there to show for it.
    fn has_lost_all_engines(&self) -> bool {
        self.facts.replicas > 0 && self.look.observed.ready == 0
    }

    fn hold_on_missing_data(&mut self) {
        let observed = self.look.observed;
        let Settings { min_replicas, max_replicas, .. } = *self.settings();
        let held = self.facts.replicas.clamp(min_replicas, max_replicas);
        let nothing_seen = self.look.engines_seen == 0 && self.look.routers_seen == 0;
        if nothing_seen && (observed.unobserved > 0 || observed.routers_silent > 0) {
            let message = format!(
                "none of {} Ready engines and {} routers answers: holding {held}",
                observed.ready, observed.routers_silent
            );
            self.bind(held, reasons::METRICS_SILENT, f64::from(observed.unobserved), message);
            return;
        }
        let replicas = self.replicas.max(held);
        let holds = self.replicas < held;
        let hold = if holds { format!(": holding {held}") } else { String::new() };
        let mut add = |count: u32, reason, what: String| {
            if count > 0 {
                let reason = Reason::new(reason, f64::from(count), format!("{what}{hold}"));
                if holds { self.because.insert(0, reason) } else { self.because.push(reason) }
            }
        };
        add(
            observed.routers_silent,
            reasons::ROUTER_UNOBSERVED,
            format!("{} router replicas do not answer, no scale-down until they do", observed.routers_silent),
        );
        add(
            observed.unobserved,
            reasons::ENGINES_UNOBSERVED,
            format!(
                "{} of {} Ready engines are not observed, no scale-down until they are",
                observed.unobserved, observed.ready
            ),
        );
        if self.has_lost_all_engines() && observed.starting == 0 {
            let message = format!("{} replicas are ordered and no engine exists{hold}", self.facts.replicas);
            self.because.insert(0, Reason::new(reasons::NO_ENGINES, f64::from(self.facts.replicas), message));
        }
        if !self.is_complete() {
            self.replicas = replicas;
        }
    }

    /// A Deployment that is scaled down deletes first what is not Ready yet, and all that start cost is lost. What is about
    /// to be Ready is waited for.
    fn await_starting(&mut self, startup: &Startup, now: Timestamp) {
        let held = self.facts.replicas.min(self.settings().max_replicas);
        let soon = HELD_STARTS * startup.p95_seconds;
        let starting =
            self.facts.engines.iter().filter(
                |engine| matches!(engine.phase, Phase::Starting { since } if seconds_between(since, now) <= soon),
            );
        let starting = starting.count();
        if self.replicas < held && starting > 0 {
            let message =
                format!("{} would do, but {starting} engines are about to be Ready: holding {held}", self.replicas);
            self.bind(held, reasons::AWAITING_STARTS, starting as f64, message);
        }
    }

    fn pause(&mut self) {
        if self.settings().paused {
            let message = format!("paused: {} replicas stay, {} would be taken", self.facts.replicas, self.replicas);
            let wanted = f64::from(self.replicas);
            self.bind(self.facts.replicas, reasons::PAUSED, wanted, message);
        }
    }

    fn note_blind_spots(&mut self, capacity: &Capacity) {
        let blind = self.look.router_view_only;
        if blind > 0 {
            let message = format!("{blind} engines have no vLLM metrics and are scaled by what the router sees");
            self.note(reasons::ROUTER_VIEW_ONLY, f64::from(blind), message);
        }
        if capacity.objective_out_of_reach {
            let message = "the latency objective is missed even at one request at a time: more replicas do not help, \
                           capacity is planned without it"
                .to_owned();
            self.note(reasons::OBJECTIVE_OUT_OF_REACH, capacity.requests, message);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
