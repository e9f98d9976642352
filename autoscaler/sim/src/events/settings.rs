//! How a run is set up, with every default and its reason.

use engine_model::{Limits, StepTime};

use crate::policy::Task;
use crate::score::Discipline;
use crate::startup::{Faults, SettingError, StartupLaw};

/// Share of `n*` that the router lets into one engine. `n*` is for requests that are all alike; where their lengths vary,
/// long ones stay longer, so that a full batch has more context, and takes longer for a step, than one of mean requests.
/// A cap of `n*` then misses the time between tokens for about half of the requests of an overloaded fleet, this one for
/// about one in twenty, and it costs a fortieth of the throughput.
const CAP_SHARE: f64 = 0.85;

/// One run: the stretch of the trace, the router, the engines, their start, and what goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Begin of the run, in seconds since the start of the trace.
    pub from_seconds: f64,
    /// End of the run: arrivals from here on are not simulated, those before it are seen to their end.
    pub to_seconds: f64,
    /// Arrivals, engine time and starts before this train the policy and are not scored.
    pub score_from_seconds: f64,
    /// Seed of arrivals, start-up times, routing, retries and lost scrapes: one stream for each of them.
    pub seed: u64,
    /// Order of the router's queue.
    pub discipline: Discipline,
    /// How the router picks an engine.
    pub routing: Routing,
    /// Requests that the router lets into one engine; the rest waits in the router, where its order is decided.
    pub engine_concurrency: u32,
    /// The router takes a request for one that can still make it while its TTFT objective leaves so many times the
    /// seconds to first token of an engine as full as the router lets it be, but not more than half of the objective
    /// (or once those seconds, if that is more). With 0 an overloaded router serves those that are just about to miss.
    pub ttft_reserve: f64,
    /// A request that has waited in the router for so long is answered with an error, which is a miss.
    pub router_deadline_seconds: f64,
    /// Which engine is simulated.
    pub engine: EngineKind,
    /// Replicas that are Ready at the begin.
    pub initial_replicas: u32,
    /// Time from order to Ready.
    pub startup: StartupLaw,
    /// How fresh engines, metrics and clients fall short of the ideal.
    pub friction: Friction,
    /// What goes wrong when.
    pub faults: Faults,
}

impl Settings {
    /// A run over `from_seconds..to_seconds`, all of it scored, without faults: a queue by deadline and power of two
    /// choices as our router has them, a router deadline of 30 s, .85 of the task's `n*` in each engine, three times its
    /// time to first token in reserve, start-up of exactly the task's mean, live metrics, and at the begin as many replicas as
    /// the task's minimum, at least one.
    #[must_use]
    pub fn new(task: &Task, from_seconds: f64, to_seconds: f64) -> Self {
        Self {
            from_seconds,
            to_seconds,
            score_from_seconds: from_seconds,
            seed: 1,
            discipline: Discipline::Deadline,
            routing: Routing::TwoChoices,
            engine_concurrency: (CAP_SHARE * f64::from(task.capacity.concurrency)).round().max(1.0) as u32,
            ttft_reserve: 3.0,
            router_deadline_seconds: 30.0,
            engine: EngineKind::Leaping,
            initial_replicas: task.min_replicas.max(1),
            startup: StartupLaw::fixed(task.startup_seconds),
            friction: Friction::default(),
            faults: Faults::default(),
        }
    }

    /// Checks every field and that the engine suits the task.
    ///
    /// # Errors
    /// The first field that is out of its range, with what it must be.
    pub fn validate(&self, task: &Task) -> Result<(), SettingError> {
        check_engine(&task.step, &task.limits)?;
        self.startup.validate()?;
        let finite = |field, value: f64, least: f64, expected| {
            SettingError::check(value.is_finite() && value >= least, field, value, expected)
        };
        finite("from_seconds", self.from_seconds, 0.0, "a time in the trace, at least 0")?;
        finite("to_seconds", self.to_seconds, self.from_seconds, "at least from_seconds")?;
        finite("score_from_seconds", self.score_from_seconds, self.from_seconds, "at least from_seconds")?;
        finite("ttft_reserve", self.ttft_reserve, 0.0, "a factor, at least 0")?;
        finite("router_deadline_seconds", self.router_deadline_seconds, 0.0, "a number of seconds, at least 0")?;
        let cap = f64::from(self.engine_concurrency);
        SettingError::check(cap >= 1.0, "engine_concurrency", cap, "at least 1 request")?;
        self.friction.validate()
    }
}

/// How fresh engines, metrics and clients fall short of the ideal. By default they do not: engines are warm when they are
/// Ready, metrics are live, nobody comes back.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Friction {
    /// Slowness of an engine that has just become Ready.
    pub warm_up: WarmUp,
    /// How metrics reach the policy.
    pub scrape: Scrape,
    /// Clients that come back after an error.
    pub retries: Option<Retries>,
}

impl Friction {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of its range, with what it must be.
    pub fn validate(&self) -> Result<(), SettingError> {
        let finite = |field, value: f64, least: f64, expected| {
            SettingError::check(value.is_finite() && value >= least, field, value, expected)
        };
        finite("warm_up.seconds", self.warm_up.seconds, 0.0, "a number of seconds, at least 0")?;
        finite("warm_up.slowdown", self.warm_up.slowdown, 1.0, "a factor, at least 1")?;
        finite("scrape.period_seconds", self.scrape.period_seconds, 0.0, "a number of seconds, 0 for live metrics")?;
        finite("scrape.delay_seconds", self.scrape.delay_seconds, 0.0, "a number of seconds, at least 0")?;
        share("scrape.loss_share", self.scrape.loss_share)?;
        let Some(retries) = self.retries else { return Ok(()) };
        share("retries.share", retries.share)?;
        finite("retries.backoff_seconds", retries.backoff_seconds, 0.0, "a number of seconds, at least 0")
    }
}

/// How the router picks an engine among those that can take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// The one with the fewest requests in flight.
    LeastLoad,
    /// The less loaded of two drawn at random.
    TwoChoices,
}

/// Which engine is simulated. Both follow the same rules; without a prefix cache they agree step for step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Leaps over the steps between two events; no prefix cache.
    Leaping,
    /// Takes every step, block by block.
    Stepping {
        /// Whether blocks of equal prefixes are shared and kept.
        prefix_cache: bool,
    },
}

/// An engine that has just become Ready is slower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WarmUp {
    /// For so many seconds after Ready.
    pub seconds: f64,
    /// Its steps last so many times as long, at least 1.
    pub slowdown: f64,
}

impl Default for WarmUp {
    /// None.
    fn default() -> Self {
        Self { seconds: 0.0, slowdown: 1.0 }
    }
}

/// How metrics reach the policy; live by default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scrape {
    /// Seconds between two scrapes; 0 shows the state at the moment of the decision.
    pub period_seconds: f64,
    /// Seconds until a scrape can be queried.
    pub delay_seconds: f64,
    /// Share of scrapes that are lost, 0 to 1.
    pub loss_share: f64,
}

/// Clients that come back after an error, so that overload feeds itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    /// Share of the errors that are tried again, 0 to 1.
    pub share: f64,
    /// Seconds before the first retry; doubled for each further one, and spread by ± 50 %.
    pub backoff_seconds: f64,
    /// Retries of one request at most.
    pub most: u32,
}

/// Checks what an engine is made from.
pub(super) fn check_engine(step: &StepTime, limits: &Limits) -> Result<(), SettingError> {
    let valid = step.validate();
    valid.map_err(|error| SettingError { field: error.field, value: error.value, expected: error.expected })?;
    let (batched, sequences) = (limits.max_batched_tokens, limits.max_sequences);
    SettingError::check(
        batched > sequences && sequences >= 1,
        "limits.max_batched_tokens",
        f64::from(batched),
        "above limits.max_sequences, which is at least 1: each running sequence takes a token of every step",
    )
}

fn share(field: &'static str, value: f64) -> Result<(), SettingError> {
    SettingError::check((0.0..=1.0).contains(&value), field, value, "a share from 0 to 1")
}

/// What an engine is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct EngineSettings {
    pub(super) step: StepTime,
    pub(super) limits: Limits,
    /// Tokens in a KV block.
    pub(super) block_tokens: u32,
    pub(super) warm_up: WarmUp,
    pub(super) prefix_cache: bool,
}
