//! The replicas: ordered, starting, Ready, draining, gone; who of them takes a request, and what they cost.

use rand::{Rng, RngExt};

use super::clock::Tournament;
use super::engine::{Engine, Gauges, Job, Progress};
use super::settings::{EngineSettings, Routing, Settings};
use crate::policy::{Replica, ReplicaLoad};
use crate::startup::Starter;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Waits for hardware.
    OutOfStock,
    Starting {
        ready_seconds: f64,
    },
    Ready,
    /// Released: finishes what it has.
    Draining,
    Gone,
}

#[derive(Debug)]
struct Member<E> {
    replica: Replica,
    state: State,
    billed_from_seconds: f64,
    engine: E,
    in_flight: u32,
}

/// Counts since the run began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct FleetTotals {
    /// Engines ordered.
    pub(super) starts: u64,
    /// Engines released before they were Ready.
    pub(super) starts_wasted: u64,
    /// Seconds billed within the scored stretch.
    pub(super) engine_seconds: f64,
}

/// All replicas of a run. Places of those that are gone are used again.
#[derive(Debug)]
pub(super) struct Fleet<'a, E> {
    settings: &'a Settings,
    engine_settings: EngineSettings,
    starter: Starter,
    members: Vec<Member<E>>,
    /// Those not released, oldest first.
    shown: Vec<Replica>,
    /// Places of those that take requests.
    ready: Vec<u32>,
    /// Requests that those could still take.
    room: u32,
    next_startup_seconds: f64,
    events: Tournament,
    next_id: u64,
    /// Counters of engines that are gone.
    past: Gauges,
    totals: FleetTotals,
}

impl<'a, E: Engine> Fleet<'a, E> {
    pub(super) fn new(settings: &'a Settings, engine_settings: EngineSettings, starter: Starter) -> Self {
        let mut fleet = Self {
            settings,
            engine_settings,
            starter,
            members: Vec::new(),
            shown: Vec::new(),
            ready: Vec::new(),
            room: 0,
            next_startup_seconds: f64::INFINITY,
            events: Tournament::new(),
            next_id: 0,
            past: Gauges::default(),
            totals: FleetTotals::default(),
        };
        for _ in 0..settings.initial_replicas {
            fleet.add(settings.from_seconds, State::Starting { ready_seconds: settings.from_seconds });
        }
        fleet.start_up(settings.from_seconds);
        fleet
    }

    /// Replicas ordered and not released, oldest first.
    pub(super) fn replicas(&self) -> &[Replica] {
        &self.shown
    }

    /// Notes in [`Self::replicas`] what each engine's metrics show now.
    pub(super) fn look(&mut self, now: f64) {
        for member in self.members.iter().filter(|member| member.state == State::Ready) {
            if let Ok(index) = self.shown.binary_search_by_key(&member.replica.id, |replica| replica.id) {
                let Gauges { running, waiting, gaps, gaps_seconds, kv_share, .. } = member.engine.gauges(now);
                self.shown[index].load = Some(ReplicaLoad {
                    running: f64::from(running),
                    waiting: f64::from(waiting),
                    gaps_total: gaps,
                    gaps_seconds_total: gaps_seconds,
                    kv_cache_usage: kv_share,
                });
            }
        }
    }

    pub(super) fn ready(&self) -> u32 {
        self.ready.len() as u32
    }

    /// Requests in all engines, draining ones included.
    pub(super) fn in_flight(&self) -> u32 {
        self.members.iter().map(|member| member.in_flight).sum()
    }

    /// Which engine has something to report first, and when.
    pub(super) fn next_event(&self) -> (usize, f64) {
        self.events.first()
    }

    /// When the next replica becomes Ready.
    pub(super) fn next_startup_seconds(&self) -> f64 {
        self.next_startup_seconds
    }

    pub(super) fn totals(&self) -> FleetTotals {
        self.totals
    }

    /// Orders or releases until `wanted` replicas exist, and gives hardware to those that wait for it.
    pub(super) fn scale(&mut self, now: f64, wanted: u32) {
        for _ in self.shown.len()..wanted as usize {
            self.add(now, State::OutOfStock);
            self.totals.starts += 1;
        }
        for _ in wanted as usize..self.shown.len() {
            self.release_one(now);
        }
        self.give_hardware(now);
    }

    /// Makes those Ready whose start-up is over.
    pub(super) fn start_up(&mut self, now: f64) {
        let mut next = f64::INFINITY;
        for place in 0..self.members.len() {
            let member = &mut self.members[place];
            let State::Starting { ready_seconds } = member.state else { continue };
            if ready_seconds > now {
                next = next.min(ready_seconds);
                continue;
            }
            member.state = State::Ready;
            member.replica.ready_seconds = Some(now);
            member.engine = E::new(&self.engine_settings, now);
            let id = member.replica.id;
            self.ready.push(place as u32);
            self.room += self.settings.engine_concurrency;
            if let Ok(index) = self.shown.binary_search_by_key(&id, |replica| replica.id) {
                self.shown[index].ready_seconds = Some(now);
            }
        }
        self.next_startup_seconds = next;
    }

    /// An engine that can take a request, if there is one.
    pub(super) fn route(&self, rng: &mut impl Rng) -> Option<usize> {
        if self.room == 0 {
            return None;
        }
        let load = |place: u32| self.members[place as usize].in_flight;
        let cap = self.settings.engine_concurrency;
        let can_take = || self.ready.iter().copied().filter(|place| load(*place) < cap);
        if self.settings.routing == Routing::LeastLoad {
            return can_take().min_by_key(|place| load(*place)).map(|place| place as usize);
        }
        let count = self.ready.len();
        let mut one = self.ready[rng.random_range(0..count)];
        let mut other = self.ready[rng.random_range(0..count)];
        if load(one) >= cap || load(other) >= cap || (one == other && count > 1) {
            let count = can_take().count();
            let first = rng.random_range(0..count);
            let second = if count > 1 { (first + 1 + rng.random_range(0..count - 1)) % count } else { first };
            one = can_take().nth(first)?;
            other = can_take().nth(second)?;
        }
        Some(if load(other) < load(one) { other } else { one } as usize)
    }

    /// Gives a request to the engine that [`Self::route`] named.
    pub(super) fn submit(&mut self, place: usize, now: f64, job: Job) {
        let member = &mut self.members[place];
        member.in_flight += 1;
        self.room -= 1;
        let before = member.engine.next_event_seconds();
        member.engine.submit(now, job);
        let next = member.engine.next_event_seconds();
        if next.to_bits() != before.to_bits() {
            self.events.set(place, next);
        }
    }

    /// Goes on to the event that [`Self::next_event`] named.
    pub(super) fn advance(&mut self, place: usize, now: f64, progress: &mut Progress) {
        let member = &mut self.members[place];
        let finished_before = progress.finished.len();
        member.engine.advance(progress);
        self.events.set(place, member.engine.next_event_seconds());
        let finished = (progress.finished.len() - finished_before) as u32;
        member.in_flight -= finished;
        match member.state {
            State::Ready => self.room += finished,
            State::Draining if member.in_flight == 0 => self.delete(place, now),
            State::OutOfStock | State::Starting { .. } | State::Draining | State::Gone => {}
        }
    }

    /// Metrics of the Ready engines: sums, but the mean share of the KV cache.
    pub(super) fn gauges(&self, now: f64) -> Gauges {
        let mut all = Gauges::default();
        for place in &self.ready {
            add(&mut all, &self.members[*place as usize].engine.gauges(now));
        }
        all.kv_share /= f64::from(self.ready().max(1));
        all
    }

    /// Counters of all engines, those that are gone included.
    pub(super) fn counters(&self, now: f64) -> Gauges {
        let mut all = self.past;
        for member in self.members.iter().filter(|member| matches!(member.state, State::Ready | State::Draining)) {
            add(&mut all, &member.engine.gauges(now));
        }
        all
    }

    /// Bills what still exists, at the end of the run.
    pub(super) fn close(&mut self, now: f64) {
        for place in 0..self.members.len() {
            self.bill(place, now);
            self.members[place].billed_from_seconds = now;
        }
    }

    fn add(&mut self, now: f64, state: State) {
        let replica = Replica { id: self.next_id, ordered_seconds: now, ready_seconds: None, load: None };
        self.next_id += 1;
        self.shown.push(replica);
        let engine = E::new(&self.engine_settings, now);
        let member = Member { replica, state, billed_from_seconds: now, engine, in_flight: 0 };
        match self.members.iter().position(|member| member.state == State::Gone) {
            Some(place) => self.members[place] = member,
            None => self.members.push(member),
        }
    }

    fn give_hardware(&mut self, now: f64) {
        let stock = self.settings.faults.stock(now);
        let holds = |member: &&Member<E>| !matches!(member.state, State::OutOfStock | State::Gone);
        let mut held = self.members.iter().filter(holds).count() as u32;
        while held < stock {
            let waiting = self.members.iter_mut().filter(|member| member.state == State::OutOfStock);
            let Some(member) = waiting.min_by_key(|member| member.replica.id) else { return };
            let ready_seconds = self.starter.order(now, &self.settings.faults).ready_seconds;
            member.state = State::Starting { ready_seconds };
            member.billed_from_seconds = now;
            self.next_startup_seconds = self.next_startup_seconds.min(ready_seconds);
            held += 1;
        }
    }

    /// Releases the one that a ReplicaSet would: first those without a node, then those not Ready, then the one that
    /// became Ready last; the youngest among equals.
    fn release_one(&mut self, now: f64) {
        let rank = |member: &Member<E>| match member.state {
            State::OutOfStock => Some((2, 0.0)),
            State::Starting { .. } => Some((1, 0.0)),
            State::Ready => Some((0, member.replica.ready_seconds.unwrap_or(0.0))),
            State::Draining | State::Gone => None,
        };
        let candidates = (0..self.members.len()).filter_map(|place| {
            let member = &self.members[place];
            rank(member).map(|(class, since)| (class, since, member.replica.id, place))
        });
        let first = candidates
            .max_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)).then(one.2.cmp(&other.2)));
        let Some((class, _, id, place)) = first else { return };
        self.shown.retain(|replica| replica.id != id);
        if class > 0 {
            self.totals.starts_wasted += 1;
            self.delete(place, now);
            return;
        }
        self.ready.retain(|other| *other as usize != place);
        let member = &mut self.members[place];
        self.room -= self.settings.engine_concurrency - member.in_flight;
        member.state = State::Draining;
        if member.in_flight == 0 {
            self.delete(place, now);
        }
    }

    fn delete(&mut self, place: usize, now: f64) {
        self.bill(place, now);
        let member = &mut self.members[place];
        member.state = State::Gone;
        add(&mut self.past, &Gauges { running: 0, waiting: 0, kv_share: 0.0, ..member.engine.gauges(now) });
        self.events.set(place, f64::INFINITY);
    }

    fn bill(&mut self, place: usize, now: f64) {
        let member = &self.members[place];
        if matches!(member.state, State::OutOfStock | State::Gone) {
            return;
        }
        let from = member.billed_from_seconds.max(self.settings.score_from_seconds);
        self.totals.engine_seconds += (now.min(self.settings.to_seconds) - from).max(0.0);
    }
}

fn add(sum: &mut Gauges, one: &Gauges) {
    sum.running += one.running;
    sum.waiting += one.waiting;
    sum.waiting_prompt_tokens += one.waiting_prompt_tokens;
    sum.kv_share += one.kv_share;
    sum.output_tokens += one.output_tokens;
    sum.gaps += one.gaps;
    sum.gaps_seconds += one.gaps_seconds;
    sum.preemptions += one.preemptions;
    sum.prompt_tokens += one.prompt_tokens;
    sum.cached_prompt_tokens += one.cached_prompt_tokens;
}
