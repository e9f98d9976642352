//! Taking over from an autoscaler before us, which may have been killed: adopt what is ours, end what is not.

use std::time::Duration;

use anyhow::{Context, bail};
use engines::handover::Handover;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use process::clock;
use tokio::time::{Instant, sleep};

use super::brain::Brain;
use super::demand_file::DemandFile;
use super::fleet::Life;
use super::launch::{Supervised, left_over_groups, signal_group};
use super::sleep::Call;
use super::state_dir::Stored;
use super::supervise::Supervisor;

/// Time from SIGTERM to SIGKILL for processes that nobody knows.
const LEFT_OVER_GRACE: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Adopts the processes of `stored`; whatever carries our mark beside them is ended before anything starts.
    ///
    /// # Errors
    /// If a process left over cannot be ended: it would hold a port or a GPU.
    pub(super) async fn take_over(&mut self, stored: &Stored) -> anyhow::Result<()> {
        let now = clock::now();
        self.remember(stored, now);
        // The list on disk may be newer than the state: a kill can fall between the two.
        if let Ok(list) = Handover::read(&self.state_dir.engines_file()) {
            self.fleet.generation = self.fleet.generation.max(list.generation) + 1;
        }
        self.adopt_engines(stored, now);
        for program in &mut self.programs {
            if let Some(process) = stored.programs.get(program.name) {
                program.adopt(process.clone(), now);
            }
        }
        self.end_left_overs().await?;
        self.hand_over();
        self.store().context("store what was adopted")
    }

    fn remember(&mut self, stored: &Stored, now: Timestamp) {
        for model in &self.config.models {
            let mut state = match stored.learned.get(&model.name).map(|text| autoscaler_plan::State::from_json(text)) {
                Some(Ok(state)) => state,
                Some(Err(error)) => {
                    tracing::warn!(model = model.name, %error, "what was learned is not understood; learning anew");
                    autoscaler_plan::State::default()
                }
                None => autoscaler_plan::State::default(),
            };
            let settings = &model.settings;
            let demand_file = match DemandFile::open(&self.state_dir.demand_file(&model.name), &settings.rhythm) {
                Ok((file, kept)) => {
                    tracing::debug!(model = model.name, steps = kept.replicas.len(), "demand of the days before read");
                    state.recall(kept);
                    Some(file)
                }
                Err(error) => {
                    tracing::warn!(model = model.name, %error, "the demand of the days before cannot be read");
                    None
                }
            };
            let wanted = self.fleet.active(&model.name).clamp(settings.min_replicas, settings.max_replicas);
            self.brains.insert(model.name.clone(), Brain { state, wanted, demand_file, ..Brain::default() });
        }
        tracing::debug!(models = self.brains.len(), %now, "memory restored");
    }

    fn adopt_engines(&mut self, stored: &Stored, now: Timestamp) {
        // One that had crashed, of a model that is gone, nobody would start again.
        let rules = &self.rules;
        self.fleet.members.retain(|member| member.has_process() || rules.contains_key(&member.model));
        let ids: Vec<String> = self.fleet.members.iter().map(|member| member.id.clone()).collect();
        for id in ids {
            let Some(found) = stored.processes.get(&id) else { continue };
            let Some(process) = Supervised::adopt(found.identity.clone()) else { continue };
            let is_current = self.engine_fingerprint(&id).is_some_and(|expected| expected == found.fingerprint);
            self.processes.insert(id.clone(), process);
            if is_current {
                let sleeps = self.fleet.member(&id).is_some_and(|member| member.life.sleeps());
                self.board.tell_engine(now, &id, if sleeps { "is adopted asleep" } else { "is adopted" }, false);
                // Both calls may be made twice.
                match self.fleet.member(&id).map(|member| &member.life) {
                    Some(Life::Dozing { .. }) => self.call(&id, Call::Sleep),
                    Some(Life::Waking { .. }) => self.call(&id, Call::Wake),
                    _ => {}
                }
            } else {
                self.board.tell_engine(now, &id, "is adopted to drain: its model or command has changed", false);
                self.fleet.retire(&id, now);
            }
            // Time passed while nobody looked: health counts from now.
            if let Some(member) = self.fleet.members.iter_mut().find(|member| member.id == id)
                && let Life::Ready { healthy, .. } | Life::Asleep { healthy, .. } = &mut member.life
            {
                *healthy = now;
            }
        }
        // Those without a process have ended while nobody looked; the first step finds out and restarts them.
        for member in self.fleet.members.iter().filter(|member| member.has_process()) {
            if !self.processes.contains_key(&member.id) {
                self.failed_starts.insert(member.id.clone(), "ended while no autoscaler ran".to_owned());
            }
        }
    }

    async fn end_left_overs(&self) -> anyhow::Result<()> {
        let mut known: Vec<_> = self.processes.values().map(|process| process.identity().clone()).collect();
        known.extend(self.programs.iter().filter_map(|program| program.stored()).map(|stored| stored.identity));
        let find = || left_over_groups(self.state_dir.path(), &known);
        let started = Instant::now();
        let found = find();
        if found.is_empty() {
            return Ok(());
        }
        tracing::warn!(process_groups = ?found, "ending processes that an autoscaler before this one left");
        for group in found {
            signal_group(group, Signal::SIGTERM);
        }
        loop {
            let left = find();
            if left.is_empty() {
                return Ok(());
            }
            if started.elapsed() > LEFT_OVER_GRACE * 2 {
                bail!(
                    "process groups {left:?} of an earlier autoscaler cannot be ended; end them, or choose another stateDir"
                );
            }
            if started.elapsed() > LEFT_OVER_GRACE {
                for group in &left {
                    signal_group(*group, Signal::SIGKILL);
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
