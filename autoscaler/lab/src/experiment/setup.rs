//! What is tried: engines, load, objective, and how closely to look.

use std::num::NonZeroUsize;

use autoscaler_sim::events::Friction;
use autoscaler_sim::{Discipline, EngineProfile, Faults, Level, StartupLaw, Stretch};

use super::EventDays;
use crate::policies::DecisionSink;

/// How the knobs of the policies to compare with are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    /// As they are shipped.
    Defaults,
    /// The cheapest setting that keeps the target on the first half of the scored time, scored on the second.
    Tuned,
    /// The cheapest setting that keeps the target on all of the scored time, scored on the same.
    Hindsight,
}

impl Tuning {
    /// As lines of output name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Defaults => "defaults",
            Self::Tuned => "tuned",
            Self::Hindsight => "hindsight",
        }
    }
}

/// What is tried.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Engine and objective.
    pub engine: EngineProfile,
    /// Time from order to Ready.
    pub startup: StartupLaw,
    /// Share of requests (events) or of demand (fluid) to serve within the objective, 0 to 1.
    pub attainment: f64,
    /// Mean demand to scale the trace to; `None` leaves it as recorded.
    pub mean_replicas: Option<f64>,
    /// Fewest replicas.
    pub min_replicas: u32,
    /// Most replicas; `None` for twice the largest demand.
    pub max_replicas: Option<u32>,
    /// Time that policies learn before they are scored, in seconds; traces under four days are scored from their begin.
    pub train_seconds: f64,
    /// Orders of the queue.
    pub queues: Vec<Discipline>,
    /// How closely to look.
    pub levels: Vec<Level>,
    /// How knobs are set.
    pub tuning: Tuning,
    /// Seeds of arrivals and start-up times.
    pub seeds: Vec<u64>,
    /// Season of our policies, in seconds.
    pub season_seconds: f64,
    /// Tempo of our policies.
    pub tempo: f64,
    /// The only time to score, instead of all after training.
    pub window: Option<Stretch>,
    /// Days to play at level events.
    pub event_days: EventDays,
    /// What goes wrong.
    pub faults: Faults,
    /// How engines, metrics and clients fall short of the ideal, at level events.
    pub friction: Friction,
    /// Whether engines keep a prefix cache, at level events; slower to simulate.
    pub prefix_cache: bool,
    /// Threads to work with.
    pub threads: NonZeroUsize,
    /// Whether to keep every step of the first seed's runs, for plots.
    pub keeps_steps: bool,
    /// Where our decisions are logged: those of the first level, queue and seed, and request by request of the first window.
    pub decisions: Option<DecisionSink>,
}

impl Experiment {
    /// Three days of training, then the rest as recorded, with one seed on one thread: fluid, by deadline, shipped settings,
    /// at least one replica, a season of a day, nothing that goes wrong.
    #[must_use]
    pub fn new(engine: EngineProfile, startup: StartupLaw, attainment: f64) -> Self {
        Self {
            engine,
            startup,
            attainment,
            mean_replicas: None,
            min_replicas: 1,
            max_replicas: None,
            train_seconds: 3.0 * 86_400.0,
            queues: vec![Discipline::Deadline],
            levels: vec![Level::Fluid],
            tuning: Tuning::Defaults,
            seeds: vec![1],
            season_seconds: 86_400.0,
            tempo: 1.0,
            window: None,
            event_days: EventDays::All,
            faults: Faults::default(),
            friction: Friction::default(),
            prefix_cache: false,
            threads: NonZeroUsize::MIN,
            keeps_steps: false,
            decisions: None,
        }
    }
}
