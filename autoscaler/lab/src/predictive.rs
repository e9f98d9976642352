//! Our own policy in the simulators: what they show is turned into the facts that the controller gathers in a cluster, and
//! decided by the same function.

use std::collections::BTreeMap;

use autoscaler_plan::{
    DEFAULT_CAPACITY_PRIOR, Decision, EngineFacts, EngineSample, Facts, LogRecord, Milestones, Objective, Observation,
    Phase, Queue, RateLimits, Rhythm, RouterEngineView, RouterFacts, RouterObservation, RouterReplica, RouterSample,
    Settings, State, SumCount, decide,
};
use autoscaler_sim::window::SlidingMax;
use autoscaler_sim::{Coverage, Discipline, Policy, Signals, Task};
use engine_model::{Preset, StepTime};
use jiff::{SignedDuration, Timestamp};

use crate::policies::{DecisionSink, Own, OwnSetup};

/// Our policy, with its one fixed default.
pub(crate) const PREDICTIVE: Own = Own {
    name: "predictive",
    source: "This project: autoscaler_plan::decide, as the controller and standalone run it. It gets the objective and nothing else.",
    build: |setup| Box::new(Predictive::new(setup)),
};

/// What single parts of it are worth.
pub(crate) const ABLATIONS: &[Own] = &[
    Own {
        name: "predictive-no-profile",
        source: "without a profile of the engine: what it carries is learned from nothing.",
        build: |setup| {
            let mut policy = Predictive::new(setup);
            policy.settings.engine_profile = None;
            policy.settings.capacity_prior = DEFAULT_CAPACITY_PRIOR;
            Box::new(policy)
        },
    },
    Own {
        name: "predictive-no-days",
        source: "without earlier days laid on the present.",
        build: |setup| Box::new(Predictive::with_rhythm(setup, Rhythm::without_days)),
    },
    Own {
        name: "predictive-quantile",
        source: "without layers and prices: the forecast's 99 % quantile of the largest demand within one start-up time, held for as long.",
        build: |setup| Box::new(PlainQuantile { policy: Predictive::new(setup), held: SlidingMax::new(0.0) }),
    },
    Own {
        name: "predictive-no-feedback",
        source: "with a budget that never hears what was missed in truth.",
        build: |setup| Box::new(Predictive::with_rhythm(setup, Rhythm::without_feedback)),
    },
    Own {
        name: "predictive-optimist",
        source: "with a profile that is a fifth too fast.",
        build: |setup| Box::new(Predictive::with_profile(setup, 0.8)),
    },
    Own {
        name: "predictive-pessimist",
        source: "with a profile that is a fifth too slow.",
        build: |setup| Box::new(Predictive::with_profile(setup, 1.2)),
    },
];

/// Control period of the controller, in seconds at tempo 1.
const CONTROL_PERIOD_SECONDS: f64 = 2.0;

/// `scaleDown.stabilizationSeconds` of an EngineAutoscaler, at tempo 1.
const STABILIZATION_SECONDS: f64 = 60.0;

/// Any moment that steps of every length divide.
const START_SECONDS: i64 = 1_700_006_400;

/// Counters of one engine since it became Ready.
#[derive(Debug, Clone)]
struct Counters {
    id: String,
    finished: f64,
    ttft: SumCount,
    inter_token_latency: SumCount,
    prompt_tokens: SumCount,
    output_tokens: SumCount,
}

struct Predictive {
    settings: Settings,
    state: State,
    period_seconds: f64,
    /// Of those that arrived last.
    mean_prompt_tokens: f64,
    kv_cache_tokens: f64,
    engines: BTreeMap<u64, Counters>,
    arrived_total: f64,
    arrived_prompt_tokens_total: f64,
    finished_total: f64,
    output_tokens_total: f64,
    decision: Option<Decision>,
    decisions: Option<DecisionSink>,
}

impl Predictive {
    /// Lives by another rhythm: one that leaves a part of the plan out.
    fn with_rhythm(setup: &OwnSetup<'_>, change: fn(Rhythm) -> Rhythm) -> Self {
        let mut policy = Self::new(setup);
        policy.settings.rhythm = change(policy.settings.rhythm);
        policy
    }

    /// Believes that the engine's steps take `factor` times what they take.
    fn with_profile(setup: &OwnSetup<'_>, factor: f64) -> Self {
        let mut policy = Self::new(setup);
        if let Some(profile) = &mut policy.settings.engine_profile {
            let StepTime { fixed_seconds, per_token_seconds, per_context_token_seconds, per_root_sequence_seconds } =
                profile.step;
            profile.step = StepTime {
                fixed_seconds: factor * fixed_seconds,
                per_token_seconds: factor * per_token_seconds,
                per_context_token_seconds: factor * per_context_token_seconds,
                per_root_sequence_seconds: factor * per_root_sequence_seconds,
            };
        }
        policy
    }

    fn new(setup: &OwnSetup<'_>) -> Self {
        let task: &Task = setup.task;
        let rhythm = Rhythm::new(setup.season_seconds, setup.tempo, setup.step_seconds).unwrap_or(Rhythm::DAY);
        let period_seconds = (CONTROL_PERIOD_SECONDS * setup.tempo).clamp(0.25, setup.step_seconds.max(0.25));
        let profile =
            Preset { name: "trace", description: "the engine that is simulated", step: task.step, limits: task.limits };
        Self {
            settings: Settings {
                min_replicas: task.min_replicas,
                max_replicas: task.max_replicas,
                objective: Objective {
                    ttft_seconds: task.objective.ttft_seconds,
                    inter_token_latency_seconds: task.objective.inter_token_seconds,
                    attainment: task.attainment,
                },
                stabilization_seconds: STABILIZATION_SECONDS * setup.tempo,
                rate_limits: RateLimits::default(),
                startup_seconds: None,
                control_period_seconds: period_seconds,
                capacity_prior: f64::from(task.capacity.concurrency.max(1)),
                engine_profile: Some(profile),
                floors: Vec::new(),
                rhythm,
                queue: match setup.queue {
                    Discipline::Deadline => Queue::Deadline,
                    Discipline::Fifo => Queue::Fifo,
                },
                tier: None,
                paused: false,
            },
            state: State::default(),
            period_seconds,
            mean_prompt_tokens: task.workload.prompt_tokens,
            kv_cache_tokens: task.limits.kv_tokens as f64,
            engines: BTreeMap::new(),
            arrived_total: 0.0,
            arrived_prompt_tokens_total: 0.0,
            finished_total: 0.0,
            output_tokens_total: 0.0,
            decision: None,
            decisions: setup.decisions.cloned(),
        }
    }

    /// Spreads what the fleet finished since the last look over the engines that were Ready.
    fn count(&mut self, signals: &Signals<'_>) {
        let arrived = signals.arrived_total - self.arrived_total;
        if arrived > 0.0 {
            self.mean_prompt_tokens =
                (signals.arrived_prompt_tokens_total - self.arrived_prompt_tokens_total) / arrived;
        }
        self.arrived_total = signals.arrived_total;
        self.arrived_prompt_tokens_total = signals.arrived_prompt_tokens_total;
        let ready = f64::from(signals.ready.max(1));
        let finished = (signals.finished_total - self.finished_total).max(0.0) / ready;
        let tokens = (signals.output_tokens_total - self.output_tokens_total).max(0.0) / ready;
        (self.finished_total, self.output_tokens_total) = (signals.finished_total, signals.output_tokens_total);
        for replica in signals.fleet.iter().filter(|replica| replica.ready_seconds.is_some()) {
            let counters = self.engines.entry(replica.id).or_insert_with(|| Counters {
                id: format!("trace/engine-{}", replica.id),
                finished: 0.0,
                ttft: SumCount::default(),
                inter_token_latency: SumCount::default(),
                prompt_tokens: SumCount::default(),
                output_tokens: SumCount::default(),
            });
            counters.finished += finished;
            add(&mut counters.ttft, finished, signals.ttft_mean_seconds);
            match replica.load {
                Some(load) => {
                    counters.inter_token_latency = SumCount { sum: load.gaps_seconds_total, count: load.gaps_total };
                }
                None => add(&mut counters.inter_token_latency, tokens, signals.inter_token_latency_mean_seconds),
            }
            add(&mut counters.prompt_tokens, finished, self.mean_prompt_tokens);
            counters.output_tokens.count += finished;
            counters.output_tokens.sum += tokens;
        }
        self.engines.retain(|id, _| signals.fleet.iter().any(|replica| replica.id == *id));
    }

    fn facts(&self, signals: &Signals<'_>, now: Timestamp) -> Facts {
        let ready = f64::from(signals.ready.max(1));
        let mut views = BTreeMap::new();
        let mut in_engines = 0.0;
        let engines = signals.fleet.iter().map(|replica| {
            let created = at(replica.ordered_seconds);
            let counters = self.engines.get(&replica.id);
            let (Some(since), Some(counters)) = (replica.ready_seconds, counters) else {
                return EngineFacts {
                    id: format!("trace/engine-{}", replica.id),
                    phase: Phase::Starting { since: created },
                    milestones: Milestones::default(),
                    observation: Observation::Absent { reason: "starts".to_owned() },
                };
            };
            let (running, waiting) =
                replica.load.map_or((signals.running / ready, 0.0), |load| (load.running, load.waiting));
            in_engines += waiting;
            views.insert(
                counters.id.clone(),
                RouterEngineView { in_flight: running + waiting, ..RouterEngineView::default() },
            );
            let sample = EngineSample {
                has_vllm_metrics: true,
                running: Some(running),
                waiting: Some(waiting),
                kv_cache_usage: Some(replica.load.map_or(signals.kv_cache_usage, |load| load.kv_cache_usage)),
                finished_total: Some(counters.finished),
                ttft: Some(counters.ttft),
                inter_token_latency: Some(counters.inter_token_latency),
                prompt_tokens: Some(counters.prompt_tokens),
                output_tokens: Some(counters.output_tokens),
                kv_cache_tokens: Some(self.kv_cache_tokens),
                ..EngineSample::without_vllm_metrics(now)
            };
            let lost = || Observation::Stale { age_seconds: 60.0, reason: "the scrape was lost".to_owned() };
            EngineFacts {
                id: counters.id.clone(),
                phase: Phase::Ready { created, since: at(since) },
                milestones: Milestones::default(),
                observation: if signals.is_fresh { Observation::Seen(sample) } else { lost() },
            }
        });
        let engines = engines.collect();
        let queued = (signals.waiting - in_engines).max(0.0);
        let observation = if signals.is_fresh {
            RouterObservation::Seen(RouterSample {
                at: now,
                queue_depth: queued,
                received_total: signals.arrived_total,
                late_total: Some(signals.late_total),
                slow_total: None,
                unanswered_total: 0.0,
                arrivals_share: 1.0,
                engines: views,
            })
        } else {
            RouterObservation::Unreachable { reason: "the scrape was lost".to_owned() }
        };
        let router = RouterFacts::Replicas(vec![RouterReplica { id: "trace/router".to_owned(), observation }]);
        Facts { settings: self.settings.clone(), replicas: signals.replicas, engines, router, standby: None }
    }
}

impl Policy for Predictive {
    fn period_seconds(&self) -> f64 {
        self.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        if signals.is_fresh {
            self.count(signals);
        }
        self.settings.control_period_seconds = signals.period_seconds.max(self.period_seconds);
        let now = at(signals.now_seconds);
        let facts = self.facts(signals, now);
        let decision = decide(&facts, &mut self.state, now);
        if let Some(sink) = &self.decisions {
            sink.take(LogRecord::new(now, facts, decision.clone()));
        }
        self.decision.insert(decision).replicas
    }

    fn coverage(&self) -> Option<Coverage> {
        let (judged, covered) = self.state.forecast_coverage()?;
        let share = |covered: u64| covered as f64 / judged as f64;
        let [p50, p80, p95, p99] = covered.map(share);
        Some(Coverage { p50, p80, p95, p99 })
    }
}

/// Ours with a plain quantile of its forecast in the place of its plan.
struct PlainQuantile {
    policy: Predictive,
    /// The most that was wanted within the last start-up time.
    held: SlidingMax,
}

impl Policy for PlainQuantile {
    fn period_seconds(&self) -> f64 {
        self.policy.period_seconds
    }

    fn decide(&mut self, signals: &Signals<'_>) -> u32 {
        let replicas = self.policy.decide(signals);
        let Some(decision) = &self.policy.decision else { return replicas };
        let Some(planned) = &decision.plan else { return replicas };
        let [.., most] = planned.forecast.quantiles;
        let Settings { min_replicas, max_replicas, .. } = self.policy.settings;
        let wanted = (most.max(decision.demand.floor_replicas).ceil() as u32).clamp(min_replicas, max_replicas);
        self.held.reach_back(decision.startup.p95_seconds);
        self.held.push(signals.now_seconds, f64::from(wanted)) as u32
    }

    fn coverage(&self) -> Option<Coverage> {
        self.policy.coverage()
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod third_day;

fn add(total: &mut SumCount, count: f64, mean: f64) {
    total.count += count;
    total.sum += count * mean;
}

fn at(seconds: f64) -> Timestamp {
    let start = Timestamp::from_second(START_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH);
    let milliseconds = (seconds * 1e3).round() as i64;
    start.checked_add(SignedDuration::from_millis(milliseconds)).unwrap_or(start)
}
