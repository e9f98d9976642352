//! The loop that owns everything: read → decide → fleet → carry out → hand over → report.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use engines::scrape::Scraper;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use process::clock;
use process::shutdown::Shutdown;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::board::Board;
use super::brain::{Brain, Readings};
use super::command::Placement;
use super::config::PortRange;
use super::fingerprint::fingerprint;
use super::fleet::{Fleet, Life, Member, ModelRules, Order, RouterView, Seen};
use super::launch::{Launch, Supervised};
use super::programs::{NAMESPACE, Program};
use super::readings::{EngineReading, RouterReading, read_engine, read_router};
use super::state_dir::{StateDir, Stored, StoredProcess};
use super::validate::{Model, Validated};
use crate::metrics::{Metrics, ModelLabels, ObjectLabels};

/// How often processes are looked at: the delay between an end and its consequence, at 20 reads of /proc a second each.
const STEP_PERIOD: Duration = Duration::from_millis(50);
/// How often what was learned is stored, and logs are bounded, when nothing else happens.
const HOUSEKEEPING_PERIOD: Duration = Duration::from_secs(10);

/// What one read brought.
enum Reading {
    Engine(EngineReading),
    Router(RouterReading),
}

/// Everything that runs on this host, and what is known of it.
pub struct Supervisor {
    pub(super) config: Validated,
    pub(super) rules: BTreeMap<String, ModelRules>,
    pub(super) state_dir: StateDir,
    pub(super) fleet: Fleet,
    pub(super) processes: BTreeMap<String, Supervised>,
    pub(super) programs: Vec<Program>,
    pub(super) brains: BTreeMap<String, Brain>,
    pub(super) readings: Readings,
    pub(super) board: Arc<Board>,
    pub(super) scraper: Scraper,
    pub(super) is_stopping: bool,
    pub(super) started: Timestamp,
    pub(super) metrics: Metrics,
    // Health told since the last step; ends that no process shows (a start that failed).
    fresh_health: BTreeMap<String, bool>,
    pub(super) failed_starts: BTreeMap<String, String>,
    being_read: BTreeSet<String>,
    handed_over: Option<u64>,
    must_store: bool,
}

impl Supervisor {
    /// A supervisor over what an autoscaler before us left; see [`super::adopt`].
    pub(super) fn new(
        config: Validated,
        state_dir: StateDir,
        stored: &Stored,
        programs: Vec<Program>,
        board: Arc<Board>,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        // A scrape that takes longer than this is as good as none: the next one is due.
        let timeout = config.control_period.clamp(Duration::from_millis(500), Duration::from_secs(2));
        let rules = config.models.iter().map(|model| (model.name.clone(), model.rules.clone())).collect();
        let has_router = config.config.router.admin_address.is_some();
        Ok(Self {
            rules,
            state_dir,
            fleet: stored.fleet.clone(),
            processes: BTreeMap::new(),
            programs,
            brains: BTreeMap::new(),
            readings: Readings { has_router, ..Readings::default() },
            board,
            scraper: Scraper::new(timeout).context("set up the HTTP client")?,
            is_stopping: false,
            started: clock::now(),
            metrics,
            fresh_health: BTreeMap::new(),
            failed_starts: BTreeMap::new(),
            being_read: BTreeSet::new(),
            handed_over: None,
            must_store: true,
            config,
        })
    }

    /// Runs until a signal: then ends everything it started, or with `leave_running` nothing.
    ///
    /// # Errors
    /// If the state folder can no longer be written at the end.
    pub async fn run(mut self, shutdown: Shutdown, leave_running: bool) -> anyhow::Result<()> {
        let mut step = interval(STEP_PERIOD);
        let mut control = interval(self.config.control_period);
        let mut housekeeping = interval(HOUSEKEEPING_PERIOD);
        for interval in [&mut step, &mut control, &mut housekeeping] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        let mut reads: JoinSet<Reading> = JoinSet::new();
        let mut is_round_open = false;
        loop {
            tokio::select! {
                _ = step.tick() => {}
                _ = control.tick() => {
                    // Whoever has not answered by now is decided without.
                    if is_round_open {
                        self.control(clock::now());
                    }
                    self.start_reads(&mut reads);
                    is_round_open = true;
                }
                Some(reading) = reads.join_next(), if !reads.is_empty() => {
                    self.take_reading(reading.context("a read panicked")?);
                    if reads.is_empty() && is_round_open {
                        self.control(clock::now());
                        is_round_open = false;
                    }
                }
                _ = housekeeping.tick() => self.keep_house(),
                () = shutdown.draining().cancelled(), if !self.is_stopping => {
                    if leave_running {
                        tracing::info!("leaving everything running");
                        return self.store().context("store what runs");
                    }
                    self.is_stopping = true;
                }
                () = shutdown.give_up().cancelled() => return self.kill_everything().await,
            }
            self.step(clock::now());
            if self.is_stopping && self.fleet.members.is_empty() && !self.programs.iter().any(Program::is_running) {
                tracing::info!("everything has ended");
                return self.store().context("store that nothing runs");
            }
        }
    }

    /// Asks every engine and the router, each at most once at a time.
    fn start_reads(&mut self, reads: &mut JoinSet<Reading>) {
        for member in self.fleet.members.iter().filter(|member| member.has_process()) {
            if self.being_read.insert(member.id.clone()) {
                let is_ready = !matches!(member.life, Life::Starting { .. });
                let read = read_engine(self.scraper.clone(), member.id.clone(), member.url(), is_ready, clock::now);
                reads.spawn(async move { Reading::Engine(read.await) });
            }
        }
        if let Some(admin_address) = self.config.config.router.admin_address
            && self.being_read.insert(String::new())
        {
            let read = read_router(self.scraper.clone(), format!("http://{admin_address}"), clock::now);
            reads.spawn(async move { Reading::Router(read.await) });
        }
    }

    fn take_reading(&mut self, reading: Reading) {
        match reading {
            Reading::Engine(reading) => {
                self.being_read.remove(&reading.id);
                self.fresh_health.insert(reading.id.clone(), reading.is_healthy);
                if reading.sample.is_ok() {
                    self.readings.good.insert(reading.id.clone(), reading.clone());
                }
                self.readings.engines.insert(reading.id.clone(), reading);
            }
            Reading::Router(reading) => {
                self.being_read.remove("");
                self.readings.router = Some(reading);
            }
        }
    }

    /// Decides for every model, and reports.
    fn control(&mut self, now: Timestamp) {
        let fleet = &self.fleet;
        self.readings.engines.retain(|id, _| fleet.member(id).is_some());
        self.readings.good.retain(|id, _| fleet.member(id).is_some());
        if !self.is_stopping {
            for model in &self.config.models {
                let brain = self.brains.entry(model.name.clone()).or_default();
                let before = brain.wanted;
                let decision = brain.decide(model, fleet, self.config.gpus.len(), &self.readings, now);
                let labels = ModelLabels { namespace: NAMESPACE.to_owned(), model: model.name.clone() };
                let object = ObjectLabels { namespace: NAMESPACE.to_owned(), name: model.name.clone() };
                let age_seconds = self.readings.oldest_seconds(now);
                self.metrics.record(&labels, &object, decision, fleet.active(&model.name), age_seconds);
                if decision.replicas != before {
                    self.board.tell_scaling(now, &model.name, before, decision);
                }
            }
        }
        self.report(now);
    }

    /// Looks at processes, advances the fleet, carries out its orders.
    fn step(&mut self, now: Timestamp) {
        let mut ended = std::mem::take(&mut self.failed_starts);
        for (id, process) in &mut self.processes {
            if let Some(how) = process.ended() {
                ended.insert(id.clone(), how);
            }
        }
        self.processes.retain(|id, _| !ended.contains_key(id));
        self.must_store |= !ended.is_empty();
        let router_runs = self.programs.iter().any(|program| program.name == "router" && program.is_running());
        let seen = Seen {
            wanted: self.wanted(router_runs),
            ended,
            health: std::mem::take(&mut self.fresh_health),
            load: self.load(),
            router: self.router_view(),
            routerless: !self.readings.has_router,
            router_ended: self.is_stopping && self.config.config.router.start && !router_runs,
            gpus: &self.config.gpus,
        };
        let ports = self.config.ports;
        let orders = self.fleet.step(now, &self.rules, &seen, |fleet| free_port(ports, fleet));
        self.must_store |= !orders.is_empty();
        for order in orders {
            self.carry_out(order, now);
        }
        self.hand_over();
        for program in &mut self.programs {
            self.must_store |= program.step(now, &self.state_dir, !self.is_stopping);
        }
        if self.must_store {
            match self.store() {
                Ok(()) => self.must_store = false,
                Err(error) => tracing::error!(%error, "state not stored; a restart would not know what runs"),
            }
        }
    }

    /// Engines wanted now. On the way out the router finishes its streams first, then no engine is wanted.
    fn wanted(&self, router_runs: bool) -> BTreeMap<String, u32> {
        match self.is_stopping {
            true if router_runs => BTreeMap::new(),
            true => self.config.models.iter().map(|model| (model.name.clone(), 0)).collect(),
            false => self.brains.iter().map(|(name, brain)| (name.clone(), brain.wanted)).collect(),
        }
    }

    fn router_view(&self) -> Option<RouterView> {
        self.readings.router.as_ref().and_then(|reading| reading.view.clone().ok())
    }

    /// Requests at each engine: what the router has there, else what the engine says itself.
    fn load(&self) -> BTreeMap<String, f64> {
        let mut load = BTreeMap::new();
        for (id, reading) in &self.readings.good {
            if let Ok(sample) = &reading.sample {
                load.insert(id.clone(), sample.running.unwrap_or(0.0) + sample.waiting.unwrap_or(0.0));
            }
        }
        for (id, in_flight) in self.router_view().unwrap_or_default().in_flight {
            #[expect(clippy::cast_precision_loss, reason = "requests in flight stay far below 2^53")]
            load.insert(id, in_flight as f64);
        }
        load
    }

    fn carry_out(&mut self, order: Order, now: Timestamp) {
        match order {
            Order::Start { id } => self.start_engine(&id, now),
            Order::Terminate { id, why } => {
                self.board.tell_engine(now, &id, &format!("gets SIGTERM: {why}"), false);
                self.signal(&id, Signal::SIGTERM);
            }
            Order::Kill { id, why } => {
                self.board.tell_engine(now, &id, &format!("gets SIGKILL: {why}"), true);
                self.signal(&id, Signal::SIGKILL);
            }
            Order::Log { id, what, warning } => self.board.tell_engine(now, &id, &what, warning),
        }
    }

    fn signal(&self, id: &str, signal: Signal) {
        if let Some(process) = self.processes.get(id) {
            process.signal(signal);
        }
    }

    fn start_engine(&mut self, id: &str, now: Timestamp) {
        let Some((member, model)) = self.member_and_model(id) else { return };
        let launch = self.launch(member, model);
        match launch.start() {
            Ok(process) => {
                let port = member.port;
                self.board.tell_engine(now, id, &format!("starts on port {port}"), false);
                self.processes.insert(id.to_owned(), process);
            }
            Err(error) => {
                self.failed_starts.insert(id.to_owned(), error.to_string());
            }
        }
    }

    fn member_and_model(&self, id: &str) -> Option<(&Member, &Model)> {
        let member = self.fleet.member(id)?;
        let model = self.config.models.iter().find(|model| model.name == member.model)?;
        Some((member, model))
    }

    fn launch(&self, member: &Member, model: &Model) -> Launch {
        let placement = Placement { port: member.port, index: member.index, gpus: member.gpus.clone() };
        let mut environment = model.environment.clone();
        if !member.gpus.is_empty() {
            environment.insert("CUDA_VISIBLE_DEVICES".to_owned(), member.gpus.join(","));
        }
        Launch {
            argv: model.command.render(&placement),
            environment,
            log: self.state_dir.log(&member.id),
            state_dir: self.state_dir.path().to_owned(),
        }
    }

    /// What an engine's process is, or would be, started with; `None` when its model is not configured any more.
    pub(super) fn engine_fingerprint(&self, id: &str) -> Option<String> {
        let (member, model) = self.member_and_model(id)?;
        let launch = self.launch(member, model);
        Some(fingerprint(launch.argv.iter().chain(launch.environment.iter().flat_map(|(key, value)| [key, value]))))
    }

    /// Renames `engines.json` into place when its content has changed.
    pub(super) fn hand_over(&mut self) {
        if self.handed_over == Some(self.fleet.generation) {
            return;
        }
        match self.fleet.handover(&self.rules).write(&self.state_dir.engines_file()) {
            Ok(()) => self.handed_over = Some(self.fleet.generation),
            Err(error) => tracing::error!(%error, "engines not handed over; the router keeps its last list"),
        }
    }

    pub(super) fn store(&self) -> std::io::Result<()> {
        let processes = self.processes.iter().map(|(id, process)| {
            let fingerprint = self.engine_fingerprint(id).unwrap_or_default();
            (id.clone(), StoredProcess { identity: process.identity().clone(), fingerprint })
        });
        let programs = self.programs.iter().filter_map(|program| Some((program.name.to_owned(), program.stored()?)));
        let learned = self.brains.iter().map(|(name, brain)| (name.clone(), brain.state.to_json()));
        let mut stored = Stored::default();
        stored.fleet = self.fleet.clone();
        stored.processes = processes.collect();
        stored.programs = programs.collect();
        stored.learned = learned.collect();
        self.state_dir.store(&mut stored)
    }

    fn keep_house(&mut self) {
        self.must_store = true;
        let is_living =
            |name: &str| self.fleet.member(name).is_some() || self.programs.iter().any(|program| program.name == name);
        if let Err(error) = self.state_dir.bound_logs(is_living) {
            tracing::warn!(%error, "logs not bounded");
        }
    }

    /// A second signal: nobody waits any more.
    async fn kill_everything(mut self) -> anyhow::Result<()> {
        tracing::warn!("killing everything that still runs");
        self.programs.iter().for_each(Program::kill);
        self.processes.values().for_each(|process| process.signal(Signal::SIGKILL));
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            self.processes.retain(|_, process| process.ended().is_none());
            for program in &mut self.programs {
                program.step(clock::now(), &self.state_dir, false);
            }
            if self.processes.is_empty() && !self.programs.iter().any(Program::is_running) {
                self.fleet.members.clear();
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.store().context("store that nothing runs")
    }
}

/// A port that no engine holds and nobody listens on. The search goes round the range, so that a port rests before it
/// is given again: a connection kept open to the engine before would reach the wrong one.
fn free_port(ports: PortRange, fleet: &Fleet) -> Option<u16> {
    let held = fleet.held_ports();
    let count = u64::from(ports.last - ports.first) + 1;
    (0..count).find_map(|step| {
        let offset = u16::try_from((fleet.next_number + step) % count).ok()?;
        let port = ports.first + offset;
        let is_free = !held.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        is_free.then_some(port)
    })
}
