//! From what the load asks for to what is done: schedules, limits, stabilisation and what missing data forbid, each with its reason.

use jiff::Timestamp;

use crate::capacity::Capacity;
use crate::decision::{Demand, Reason, reasons};
use crate::facts::{Facts, Phase, RouterFacts, Settings};
use crate::look::Look;
use crate::planner::Planned;
use crate::schedule;
use crate::startup::{Startup, seconds_between};
use crate::state::State;

/// Engines that start are waited for until they are late by half of what 95 % of starts take.
const HELD_STARTS: f64 = 1.5;

/// The replicas on their way from what the load asks for to what is done.
pub(super) struct Plan<'a> {
    pub(super) facts: &'a Facts,
    pub(super) look: &'a Look,
    pub(super) replicas: u32,
    pub(super) because: Vec<Reason>,
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

    pub(super) fn explain_demand(
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
            let by = match planned.price {
                Some(price) => format!("at a price of {price:.0} for a missing one"),
                None => "by what arrives now".to_owned(),
            };
            let message = format!(
                "demand of {:.2} replicas will peak at {median:.2} (median), {most:.2} (95 %) within the {:.1} s of a start: \
                 {} {by} (margin {:.2}, held {:.0} s)",
                demand.replicas, startup.p95_seconds, planned.replicas, planned.gain, planned.hold_seconds,
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

    /// Every guard rail in turn; a later one overrules an earlier one.
    pub(super) fn guard(&mut self, state: &mut State, startup: &Startup, now: Timestamp) {
        let (ordered, released) = state.changes.within_minute(now);
        self.keep_schedule(startup, now);
        self.keep_one_without_router();
        let most = self.limit_scale_up(ordered, startup, now);
        self.clamp();
        self.stabilise(state, most, now);
        self.await_starting(startup, now);
        self.hold_on_missing_data();
        self.limit_scale_down(released);
        self.pause();
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

    /// What the load asks for is ordered no faster than allowed; what has to be there whatever the load is, at once. Returns
    /// the most replicas that may be there now.
    fn limit_scale_up(&mut self, ordered: u32, startup: &Startup, now: Timestamp) -> u32 {
        let Settings { min_replicas, max_replicas, rate_limits, .. } = *self.settings();
        let Some(limit) = rate_limits.up_per_minute else { return u32::MAX };
        let scheduled = schedule::binding(&self.settings().floors, startup.p95_seconds, now);
        let one = u32::from(self.facts.router == RouterFacts::NotConfigured);
        let floor = scheduled.map_or(0, |floor| floor.min_replicas).max(min_replicas).max(one);
        let most = self.facts.replicas.saturating_add(limit.get().saturating_sub(ordered)).max(floor);
        if self.replicas.min(max_replicas) > most {
            let message = format!(
                "{} replicas are wanted, scaleUp.maxReplicasPerMinute is {limit}, and {ordered} were ordered in the last 60 s",
                self.replicas
            );
            self.bind(most, reasons::LIMITED_BY_SCALE_UP_RATE, f64::from(self.replicas), message);
        }
        most
    }

    /// Replicas are released no faster than allowed, but for those above the maximum.
    fn limit_scale_down(&mut self, released: u32) {
        let Settings { max_replicas, rate_limits, .. } = *self.settings();
        let Some(limit) = rate_limits.down_per_minute else { return };
        let least = self.facts.replicas.saturating_sub(limit.get().saturating_sub(released)).min(max_replicas);
        if self.replicas < least {
            let message = format!(
                "{} would do, scaleDown.maxReplicasPerMinute is {limit}, and {released} were released in the last 60 s",
                self.replicas
            );
            self.bind(least, reasons::LIMITED_BY_SCALE_DOWN_RATE, f64::from(self.replicas), message);
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

    /// Takes the most that was wanted within the window, so that a dip is not answered with a restart; above what is there
    /// no more than `allowed`.
    fn stabilise(&mut self, state: &mut State, allowed: u32, now: Timestamp) {
        let Settings { min_replicas, max_replicas, stabilization_seconds: window, .. } = *self.settings();
        state.recommendations.seed(self.facts.replicas.clamp(min_replicas, max_replicas), now);
        if !self.is_complete() && self.replicas < self.facts.replicas {
            // What is held for lack of data counts as wanted: when data return, one whole window passes before a step down.
            let held = self.facts.replicas.clamp(min_replicas, max_replicas);
            state.recommendations.add(held, now, window);
            return;
        }
        let (most, age) = state.recommendations.add(self.replicas, now, window);
        let most = most.min(allowed).clamp(min_replicas, max_replicas);
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

    pub(super) fn note_blind_spots(&mut self, capacity: &Capacity) {
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
