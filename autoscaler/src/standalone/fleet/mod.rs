//! The life of every engine, as a pure state machine: what is wanted and what was seen go in, orders come out.
//!
//! ```text
//!            order            /health 200             wanted fewer              router: applied, idle
//! (free) ───────▶ Starting ───────────────▶ Ready ──────────────▶ Draining ───────────────────────▶ Stopping ─▶ gone
//!                  ▲    │ ended, or too late  │ ended, or hangs     │ wanted again: back to Ready     SIGTERM, then
//!                  └─ Crashed ◀──────────────┘                     └ ended: gone                     SIGKILL in time
//!                    back-off
//!            router: applied, idle, room to sleep       /sleep answered             wanted again            awake
//! Draining ─────────────────────────────────────▶ Dozing ──────────────▶ Asleep ──────────────▶ Waking ──────────▶ Ready
//!                                                   └ refused: Stopping    └ ended: gone          └ fails: killed, Crashed
//! ```
//! An engine keeps id, index, port and GPUs from order to end, restarts included.

mod asleep;
mod step;
#[cfg(test)]
mod tests;
mod victims;

use std::collections::{BTreeMap, BTreeSet};

use engines::EngineState;
use engines::handover::{Handover, HandoverEngine, ServedObjective};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use asleep::{CallFailure, SleepLevel};
pub use step::{Order, RouterView, Seen};

/// All engines of this host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Grows with each change of the list that router and adapter see.
    pub generation: u64,
    /// Number of the next engine; never given twice.
    pub next_number: u64,
    /// The engines that exist.
    pub members: Vec<Member>,
    /// Models whose engines have no call to sleep. A new autoscaler asks again.
    #[serde(skip)]
    pub sleepless: BTreeSet<String>,
}

/// One engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// `<model>-<number>`; the name in router, metrics and logs.
    pub id: String,
    /// Name of its model.
    pub model: String,
    /// `{index}` of its command.
    pub index: u32,
    /// `{port}` of its command.
    pub port: u16,
    /// `{gpus}` of its command.
    pub gpus: Vec<String>,
    /// When it was first started.
    pub created: Timestamp,
    /// When its present process was started.
    pub launched: Timestamp,
    /// Restarts since it was first started.
    pub restarts: u32,
    /// Crashes in a row; a long good run sets it back.
    pub crashes_in_a_row: u32,
    /// Started with a configuration that no longer holds: it only drains.
    #[serde(default)]
    pub is_retired: bool,
    /// When it was last woken; `None` if its process has not slept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub woken: Option<Timestamp>,
    /// How deep it slept last: what its wake must do, whatever the configuration says by then.
    #[serde(default)]
    pub sleep_level: SleepLevel,
    /// Where it is in its life.
    pub life: Life,
}

/// Where an engine is in its life. Times are wall time, since they survive a restart of the autoscaler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum Life {
    /// Its process runs and `/health` does not answer 200 yet.
    Starting {
        /// Since when.
        since: Timestamp,
    },
    /// Takes requests.
    Ready {
        /// Since when.
        since: Timestamp,
        /// When `/health` last answered 200.
        healthy: Timestamp,
    },
    /// Out of routing, finishes what it has.
    Draining {
        /// Since when.
        since: Timestamp,
        /// Since when it had been ready, for a return.
        ready_since: Timestamp,
        /// First generation of the list that says so.
        generation: u64,
    },
    /// Has SIGTERM.
    Stopping {
        /// Since when.
        since: Timestamp,
    },
    /// Has nothing left to do and is told to sleep.
    Dozing {
        /// Since when.
        since: Timestamp,
    },
    /// Sleeps: process, port and GPUs are its own, the memory of the GPUs is given up.
    Asleep {
        /// Since when.
        since: Timestamp,
        /// When `/health` last answered 200.
        healthy: Timestamp,
    },
    /// Is being woken.
    Waking {
        /// Since when.
        since: Timestamp,
    },
    /// Its process has ended by itself and starts again later.
    Crashed {
        /// Since when.
        since: Timestamp,
        /// When it starts again.
        restart_at: Timestamp,
    },
}

impl Life {
    /// One word for pages and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Ready { .. } => "ready",
            Self::Draining { .. } => "draining",
            Self::Stopping { .. } => "stopping",
            Self::Dozing { .. } => "dozing",
            Self::Asleep { .. } => "asleep",
            Self::Waking { .. } => "waking",
            Self::Crashed { .. } => "crashed",
        }
    }

    /// Since when it is in this phase.
    pub fn since(&self) -> Timestamp {
        match self {
            Self::Starting { since }
            | Self::Ready { since, .. }
            | Self::Draining { since, .. }
            | Self::Stopping { since }
            | Self::Dozing { since }
            | Self::Asleep { since, .. }
            | Self::Waking { since }
            | Self::Crashed { since, .. } => *since,
        }
    }

    /// Whether it sleeps or falls asleep.
    pub fn sleeps(&self) -> bool {
        matches!(self, Self::Dozing { .. } | Self::Asleep { .. })
    }
}

impl Member {
    /// Base URL of its API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whether it counts towards the replicas of its model: it takes requests or is on its way to.
    pub fn is_active(&self) -> bool {
        matches!(self.life, Life::Starting { .. } | Life::Waking { .. } | Life::Ready { .. } | Life::Crashed { .. })
    }

    /// Whether it has a process.
    pub fn has_process(&self) -> bool {
        !matches!(self.life, Life::Crashed { .. })
    }
}

/// What the fleet must know of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRules {
    /// GPUs of each engine.
    pub gpus_per_engine: usize,
    /// Most engines that sleep at once.
    pub most_asleep: usize,
    /// How deep they sleep.
    pub sleep_level: SleepLevel,
    /// Time limits, seconds.
    pub limits: Limits,
    /// The name that clients say.
    pub served_model_name: String,
    /// What they are promised, for the router.
    pub objective: ServedObjective,
}

/// Time limits of a model's engines, all in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Start to first healthy answer.
    pub startup: f64,
    /// Drain to SIGTERM.
    pub drain: f64,
    /// SIGTERM to SIGKILL.
    pub stop: f64,
    /// First restart delay.
    pub backoff: f64,
    /// Longest restart delay, and the run that forgets earlier crashes.
    pub max_backoff: f64,
    /// `/health` failing until the engine counts as hung.
    pub health: f64,
}

/// Limits of engines whose model is no longer in the configuration: the defaults of the file.
const ORPHAN_LIMITS: Limits =
    Limits { startup: 1800.0, drain: 300.0, stop: 30.0, backoff: 1.0, max_backoff: 60.0, health: 60.0 };

impl Fleet {
    /// Takes an engine out for good: its model or command is no longer in the configuration.
    pub fn retire(&mut self, id: &str, now: Timestamp) {
        let generation = self.generation + 1;
        let Some(member) = self.members.iter_mut().find(|member| member.id == id) else { return };
        member.is_retired = true;
        match member.life {
            Life::Ready { since, .. } => {
                member.life = Life::Draining { since: now, ready_since: since, generation };
                self.generation = generation;
            }
            // Without requests in it, nothing has to be waited for.
            Life::Starting { .. } | Life::Dozing { .. } | Life::Asleep { .. } | Life::Waking { .. } => {
                member.life = Life::Draining { since: now, ready_since: now, generation: 0 }
            }
            Life::Crashed { .. } => self.members.retain(|member| member.id != id),
            Life::Draining { .. } | Life::Stopping { .. } => {}
        }
    }

    /// Engines of a model that are active.
    pub fn active(&self, model: &str) -> u32 {
        let count = self.members.iter().filter(|member| member.model == model && member.is_active()).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Engines of a model that exist, in any phase.
    pub fn engines_of(&self, model: &str) -> u32 {
        u32::try_from(self.members.iter().filter(|member| member.model == model).count()).unwrap_or(u32::MAX)
    }

    /// The engine with this id.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// GPUs that existing engines hold, those on their way out included.
    pub fn held_gpus(&self) -> BTreeSet<String> {
        self.members.iter().flat_map(|member| member.gpus.iter().cloned()).collect()
    }

    /// Ports that existing engines hold.
    pub fn held_ports(&self) -> BTreeSet<u16> {
        self.members.iter().map(|member| member.port).collect()
    }

    /// The list for router and adapter. An engine that ends stays listed as draining until it is gone.
    pub fn handover(&self, models: &BTreeMap<String, ModelRules>) -> Handover {
        let engines = self.members.iter().filter_map(|member| {
            let state = match member.life {
                Life::Ready { .. } => EngineState::Ready,
                Life::Draining { .. } | Life::Stopping { .. } => EngineState::Draining,
                Life::Starting { .. }
                | Life::Dozing { .. }
                | Life::Asleep { .. }
                | Life::Waking { .. }
                | Life::Crashed { .. } => return None,
            };
            Some(HandoverEngine { id: member.id.clone(), url: member.url(), model: member.model.clone(), state })
        });
        let mut objectives: BTreeMap<String, ServedObjective> = BTreeMap::new();
        for rules in models.values() {
            let objective = objectives.entry(rules.served_model_name.clone()).or_insert(rules.objective);
            *objective = objective.stricter(rules.objective);
        }
        Handover { generation: self.generation, engines: engines.collect(), objectives }
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
