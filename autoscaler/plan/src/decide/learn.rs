//! What a decision learns from its facts before it looks ahead.

use jiff::Timestamp;

use crate::capacity::Intervals;
use crate::facts::{EngineFacts, Facts, Phase, Settings};
use crate::look::Look;
use crate::startup::{STARTUP_PRIOR_SECONDS, Startup, WAKE_PRIOR_SECONDS, seconds_between};
use crate::state::State;

/// Capacity and start-up time learned long ago fade over this many start-up times, or this many control periods.
const MEMORY_STARTUPS: f64 = 20.0;
const MEMORY_PERIODS: f64 = 600.0;

/// An engine is warm after this share of a start-up time: its caches and compiled graphs are cold before, and its
/// latencies say nothing of its capacity.
const WARM_SHARE: f64 = 0.25;
const WARM_MOST_SECONDS: f64 = 60.0;

/// Takes what was seen into the memory.
pub(super) fn learn(facts: &Facts, look: &Look, state: &mut State, now: Timestamp) -> (Startup, f64) {
    let settings = &facts.settings;
    remember_order(facts.replicas, state);
    let elapsed = state.decided_at.map_or(0.0, |at| seconds_between(at, now).max(0.0));
    state.decided_at = Some(now);
    let is_woken = |engine: &&EngineFacts| engine.milestones.woken.is_some();
    for woken in state.wakes.learn(facts.engines.iter().filter(is_woken), now) {
        state.startup.take_order(woken);
    }
    state.startup.learn(facts.engines.iter().filter(|engine| !is_woken(engine)), now);
    let prior = || state.startup.believed_seconds(STARTUP_PRIOR_SECONDS, settings.rhythm.tempo());
    let believed = settings.startup_seconds.or_else(prior);
    let startup = state.startup.quantiles(believed);

    let memory = (MEMORY_STARTUPS * startup.p95_seconds).max(MEMORY_PERIODS * settings.control_period_seconds);
    state.capacity.serve(settings.tier);
    state.capacity.fade(elapsed, memory);
    let warm_after = (WARM_SHARE * startup.p50_seconds)
        .clamp(2.0 * settings.control_period_seconds, WARM_MOST_SECONDS.max(2.0 * settings.control_period_seconds));
    let mut before = std::mem::take(&mut state.intervals);
    for (place, load) in &look.loads {
        let EngineFacts { id, phase, .. } = &facts.engines[*place];
        let open = before.remove_entry(id);
        let is_warm = matches!(phase, Phase::Ready { since, .. } if seconds_between(*since, now) >= warm_after);
        if !is_warm {
            state.intervals.extend(open);
            continue;
        }
        let (id, mut intervals) = open.unwrap_or_else(|| (id.clone(), Intervals::default()));
        state.capacity.learn(&mut intervals, load, &settings.objective);
        state.intervals.insert(id, intervals);
    }
    (startup, elapsed)
}

/// How long waking a sleeping engine takes.
pub(super) fn wake(settings: &Settings, state: &State) -> Startup {
    state.wakes.quantiles(state.wakes.believed_seconds(WAKE_PRIOR_SECONDS, settings.rhythm.tempo()))
}

/// What became of the last decision is seen now: a limit beyond it, or somebody else, may have made another number of it.
fn remember_order(replicas: u32, state: &mut State) {
    if let (Some(before), Some(at)) = (state.told, state.decided_at) {
        state.changes.see(before, replicas, at);
        if replicas > before {
            state.startup.ordered(replicas - before, at);
        } else if replicas < before {
            state.startup.withdrawn(before - replicas, at);
        }
    }
    state.told = Some(replicas);
}
