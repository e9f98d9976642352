//! The loop that owns everything: read → decide → fleet → carry out → hand over → report.

mod orders;
mod reads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use autoscaler_plan::Claim;
use engines::scrape::Scraper;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use process::clock;
use process::shutdown::Shutdown;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::board::Board;
use super::brain::{Brain, Readings};
use super::fleet::{CallFailure, Fleet, ModelRules, Seen};
use super::gpus;
use super::launch::Supervised;
use super::programs::{NAMESPACE, Program};
use super::sleep::{self, Call};
use super::state_dir::{StateDir, Stored, StoredProcess};
use super::validate::Validated;
use crate::decision_log::DecisionLog;
use crate::metrics::{Metrics, ModelLabels, ObjectLabels};
use crate::past::Source;
use orders::free_port;
use reads::Reading;

/// How often processes are looked at: the delay between an end and its consequence, at 20 reads of /proc a second each.
const STEP_PERIOD: Duration = Duration::from_millis(50);
/// How often what was learned is stored, demand kept, and logs are bounded, when nothing else happens.
const HOUSEKEEPING_PERIOD: Duration = Duration::from_secs(10);

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
    decision_log: Option<DecisionLog>,
    past: Option<Arc<Source>>,
    // Health told since the last step; ends that no process shows (a start that failed).
    fresh_health: BTreeMap<String, bool>,
    pub(super) failed_starts: BTreeMap<String, String>,
    being_read: BTreeSet<String>,
    handed_over: Option<u64>,
    must_store: bool,
    // Calls that put to sleep or wake, and what those that are over came to.
    sleep_client: reqwest::Client,
    pub(super) calls: JoinSet<(String, Result<(), CallFailure>)>,
    answers: BTreeMap<String, Result<(), CallFailure>>,
    gpus_short: usize,
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
        let log = config.config.decision_log.clone();
        let decision_log = log.enabled.then(|| DecisionLog::open(&state_dir.decisions(), log.max_megabytes));
        let decision_log = decision_log.transpose().context("open the decision log in the state folder")?;
        let past = config.config.prometheus.as_ref().map(|prometheus| Source::new(prometheus, false));
        let past = past.transpose()?.map(Arc::new);
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
            decision_log,
            past,
            fresh_health: BTreeMap::new(),
            failed_starts: BTreeMap::new(),
            being_read: BTreeSet::new(),
            handed_over: None,
            must_store: true,
            sleep_client: sleep::client().context("set up the HTTP client")?,
            calls: JoinSet::new(),
            answers: BTreeMap::new(),
            gpus_short: 0,
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
                Some(answer) = self.calls.join_next(), if !self.calls.is_empty() => {
                    let (id, outcome) = answer.context("a call to an engine panicked")?;
                    self.answers.insert(id, outcome);
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

    /// Decides for every model, and reports.
    fn control(&mut self, now: Timestamp) {
        let fleet = &self.fleet;
        self.readings.engines.retain(|id, _| fleet.member(id).is_some());
        self.readings.good.retain(|id, _| fleet.member(id).is_some());
        if !self.is_stopping {
            let before: BTreeMap<String, u32> =
                self.brains.iter().map(|(name, brain)| (name.clone(), brain.wanted)).collect();
            let claims: Vec<Claim> = self
                .config
                .models
                .iter()
                .filter_map(|model| {
                    let brain = self.brains.entry(model.name.clone()).or_default();
                    brain.decide(model, fleet, &self.readings, now)
                })
                .collect();
            let grants = gpus::share_out(self.config.gpus.len(), fleet, &claims);
            self.gpus_short = gpus::short(&claims, &grants);
            for (claim, grant) in claims.iter().zip(&grants) {
                self.brains.entry(claim.name.clone()).or_default().take(grant);
            }
            for model in &self.config.models {
                let Some(brain) = self.brains.get_mut(&model.name) else { continue };
                if let Some(past) = &self.past {
                    brain.read_the_past(past, model, now);
                }
                if let (Some(log), Some(record)) = (&self.decision_log, brain.record(now)) {
                    log.record(&model.name, record);
                }
                let Some(decision) = &brain.decision else { continue };
                let before = before.get(&model.name).copied().unwrap_or(0);
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
            routerless: (!self.readings.has_router).then(|| self.own_load()),
            router_ended: self.is_stopping && self.config.config.router.start && !router_runs,
            gpus: &self.config.gpus,
            gpus_short: self.gpus_short,
            answers: std::mem::take(&mut self.answers),
            is_stopping: self.is_stopping,
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

    /// Tells an engine to sleep or to wake; what comes of it is in the answers of a later step.
    pub(super) fn call(&mut self, id: &str, call: Call) {
        let Some((member, model)) = self.member_and_model(id) else { return };
        let (client, url, level, id) = (self.sleep_client.clone(), member.url(), member.sleep_level, id.to_owned());
        let longest_wake = model.sleep.map_or(sleep::LONGEST_WAKE, |terms| terms.longest_wake);
        self.calls.spawn(async move { (id, call.carry_out(&client, &url, level, longest_wake).await) });
    }

    /// Engines wanted now. On the way out the router finishes its streams first, then no engine is wanted.
    fn wanted(&self, router_runs: bool) -> BTreeMap<String, u32> {
        match self.is_stopping {
            true if router_runs => BTreeMap::new(),
            true => self.config.models.iter().map(|model| (model.name.clone(), 0)).collect(),
            false => self.brains.iter().map(|(name, brain)| (name.clone(), brain.wanted)).collect(),
        }
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
        self.brains.iter_mut().for_each(|(model, brain)| brain.keep_demand(model));
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
