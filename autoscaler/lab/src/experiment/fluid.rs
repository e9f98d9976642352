//! Rows at level fluid: settings tried, one chosen for each policy and queue, all seeds run with it.

use std::sync::{Arc, PoisonError};

use autoscaler_sim::fluid::{BLOCK_SECONDS, Block, Run, Scenario, Steps};
use autoscaler_sim::{Discipline, Level, Stretch};

use super::frontier::{Point, cheapest, matched_cost};
use super::{Experiment, Ground, Row, Tuning, intervals, middle};
use crate::error::LabError;
use crate::parallel;
use crate::policies::{Choice, OwnSetup};
use crate::progress::Progress;

/// Sums are kept by the hour: of fewer hours the middle one would fall into one half.
const HALVED_HOURS: f64 = 12.0;

/// The setting of a policy that was chosen for one queue.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) setting: usize,
    pub(super) words: String,
    pub(super) is_on_target: bool,
    /// Over the time that rows are scored on.
    pub(super) frontier: Vec<Point>,
    /// The next cheaper setting, and the next dearer one, that nothing undercuts.
    pub(super) cheaper: Option<usize>,
    pub(super) dearer: Option<usize>,
}

/// Sums of one setting over the two halves of the scored time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tried {
    first: Block,
    second: Block,
}

impl Tried {
    fn plus(&self, other: &Self) -> Self {
        Self { first: self.first.plus(&other.first), second: self.second.plus(&other.second) }
    }

    /// What settings are chosen by.
    fn chosen_by(&self, tuning: Tuning) -> Block {
        match tuning {
            Tuning::Tuned => self.first,
            Tuning::Defaults | Tuning::Hindsight => self.first.plus(&self.second),
        }
    }

    /// What rows are scored on.
    fn scored(&self, tuning: Tuning) -> Block {
        match tuning {
            Tuning::Tuned => self.second,
            Tuning::Defaults | Tuning::Hindsight => self.first.plus(&self.second),
        }
    }
}

pub(super) fn rows(
    ground: &Ground<'_>,
    policies: &[Choice],
    progress: &Progress,
    notes: &mut Vec<String>,
) -> Result<Vec<Row>, LabError> {
    let mut rows = Vec::new();
    for &queue in &ground.experiment.queues {
        let chosen = choose(ground, policies, queue, Level::Fluid, progress, notes)?;
        let seeds = &ground.experiment.seeds;
        progress.stage("fluid", policies.len() * seeds.len());
        let runs = parallel::map(ground.experiment.threads, policies.len() * seeds.len(), |job| {
            let (policy, seed) = (job / seeds.len(), job % seeds.len());
            let row = row(ground, &policies[policy], &chosen[policy], queue, seed);
            progress.done(1);
            row
        });
        for row in runs {
            rows.push(row?);
        }
    }
    Ok(rows)
}

fn row(ground: &Ground<'_>, policy: &Choice, chosen: &Chosen, queue: Discipline, seed: usize) -> Result<Row, LabError> {
    let experiment = ground.experiment;
    let keep_steps = experiment.keeps_steps && seed == 0;
    let mut settings = ground.settings(queue, experiment.seeds[seed], ground.final_stretch());
    settings.keep_steps = keep_steps;
    let demand = &ground.demands[seed];
    let scenario = Scenario::new(demand, &ground.task, settings)?;
    let run = match own_run(ground, policy, queue, seed, keep_steps)? {
        // Ours is not tuned: the second half of its run is what a run scored on that half would be.
        Some(whole) if experiment.tuning == Tuning::Tuned => whole.later_part(share_of_middle(ground.scored)),
        Some(whole) => Run::clone(&whole),
        None => play(&scenario, ground, policy, queue, seed, chosen.setting),
    };
    let days = run.days();
    let (times_opt_interval, overflow_interval) = intervals(&days, experiment.seeds[seed]);
    let tuned = if policy.is_own() { Tuning::Defaults } else { experiment.tuning };
    Ok(Row {
        outcome: scenario.outcome(&run, policy.name(), tuned.name(), ground.name),
        setting: chosen.words.clone(),
        is_on_target: chosen.is_on_target,
        is_clairvoyant: policy.is_clairvoyant(),
        times_opt_interval,
        overflow_interval,
        matched_times_opt: (experiment.tuning == Tuning::Hindsight && !policy.is_own())
            .then(|| matched_cost(&chosen.frontier, 1.0 - experiment.attainment))
            .flatten(),
        frontier: chosen.frontier.clone(),
        days,
        hours: run.blocks.clone(),
        steps: keep_steps.then_some(run.steps),
    })
}

/// The run of a policy of ours over all that is scored, remembered; `None` for others, and where half of it would be wanted and is
/// too short to be told apart.
fn own_run(
    ground: &Ground<'_>,
    policy: &Choice,
    queue: Discipline,
    seed: usize,
    keep_steps: bool,
) -> Result<Option<Arc<Run>>, LabError> {
    let hours = (ground.scored.to_seconds - ground.scored.from_seconds) / BLOCK_SECONDS;
    let has_halves = ground.experiment.tuning != Tuning::Tuned || hours >= HALVED_HOURS;
    if !policy.is_own() || !has_halves {
        return Ok(None);
    }
    let Experiment { attainment, season_seconds, tempo, .. } = ground.experiment;
    let key = format!("{attainment} {season_seconds} {tempo} {}", key(ground, policy, queue, seed));
    if let Some(run) = ground.runs.lock().unwrap_or_else(PoisonError::into_inner).get(&key).filter(|_| !keep_steps) {
        return Ok(Some(Arc::clone(run)));
    }
    let mut settings = ground.settings(queue, ground.experiment.seeds[seed], ground.scored);
    settings.keep_steps = keep_steps;
    let scenario = Scenario::new(&ground.demands[seed], &ground.task, settings)?;
    let run = Arc::new(play(&scenario, ground, policy, queue, seed, 0));
    // Without the steps, which no later one asks for.
    let kept =
        if keep_steps { Arc::new(Run { steps: Steps::default(), ..Run::clone(&run) }) } else { Arc::clone(&run) };
    ground.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(key, kept);
    Ok(Some(run))
}

/// Where the first half ends, as a share of what is scored.
fn share_of_middle(scored: Stretch) -> f64 {
    (middle(scored) - scored.from_seconds) / (scored.to_seconds - scored.from_seconds)
}

/// All that a run depends on but the attainment, which only ours know.
fn key(ground: &Ground<'_>, policy: &Choice, queue: Discipline, seed: usize) -> String {
    let Experiment { engine, startup, min_replicas, max_replicas, faults, .. } = ground.experiment;
    let scored = ground.scored;
    format!(
        "{} {queue:?} {seed} {scored:?} {engine:?} {startup:?} {min_replicas} {max_replicas:?} {faults:?}",
        policy.name()
    )
}

fn play(
    scenario: &Scenario<'_>,
    ground: &Ground<'_>,
    policy: &Choice,
    queue: Discipline,
    seed: usize,
    setting: usize,
) -> Run {
    let is_first = seed == 0 && ground.experiment.queues.first() == Some(&queue);
    let decisions = ground.experiment.decisions.as_ref().filter(|_| is_first);
    let built = policy.build(&OwnSetup { decisions, ..ground.setup(queue) }, &ground.demands[seed], setting);
    // Settings are counted by the policy itself, so there is one.
    built.map_or_else(Run::default, |mut policy| scenario.run(policy.as_mut()))
}

/// Chooses a setting for each policy: the shipped one, or the cheapest that keeps the target at `level`.
pub(super) fn choose(
    ground: &Ground<'_>,
    policies: &[Choice],
    queue: Discipline,
    level: Level,
    progress: &Progress,
    notes: &mut Vec<String>,
) -> Result<Vec<Chosen>, LabError> {
    let settings: Vec<Vec<String>> = policies.iter().map(Choice::settings).collect();
    let shipped = |policy: usize| Chosen {
        setting: 0,
        words: settings[policy].first().cloned().unwrap_or_default(),
        is_on_target: true,
        frontier: Vec::new(),
        cheaper: None,
        dearer: None,
    };
    if ground.experiment.tuning == Tuning::Defaults {
        return Ok((0..policies.len()).map(shipped).collect());
    }
    // The first seed chooses: three times the work moves few choices by one setting.
    let jobs: Vec<usize> = (0..policies.len()).filter(|&policy| !policies[policy].is_own()).collect();
    progress.stage("tuning", jobs.len());
    let tried = parallel::map(ground.experiment.threads, jobs.len(), |job| {
        let policy = jobs[job];
        let tried = try_all(ground, &policies[policy], settings[policy].len(), queue, 0);
        progress.done(1);
        tried
    });
    let mut sums: Vec<Vec<Tried>> = settings.iter().map(|words| vec![Tried::default(); words.len()]).collect();
    for (policy, tried) in jobs.iter().zip(tried) {
        for (sum, tried) in sums[*policy].iter_mut().zip(tried?.iter()) {
            *sum = sum.plus(tried);
        }
    }
    let chosen = (0..policies.len()).map(|policy| {
        if policies[policy].is_own() {
            return shipped(policy);
        }
        let chosen = pick(&sums[policy], &settings[policy], level, ground.experiment);
        if !chosen.is_on_target {
            notes.push(format!(
                "{}: none of its {} settings keeps the target with queue {}; shown is the nearest, {}",
                policies[policy].name(),
                settings[policy].len(),
                queue.name(),
                chosen.words
            ));
        }
        chosen
    });
    Ok(chosen.collect())
}

/// Plays every setting of a baseline; what was tried before on the same ground is remembered, since baselines know
/// nothing of the attainment.
fn try_all(
    ground: &Ground<'_>,
    policy: &Choice,
    settings: usize,
    queue: Discipline,
    seed: usize,
) -> Result<Arc<Vec<Tried>>, LabError> {
    let scored = ground.scored;
    let key = key(ground, policy, queue, seed);
    if let Some(tried) = ground.remembered(&key) {
        return Ok(tried);
    }
    let number = ground.experiment.seeds[seed];
    let all = Scenario::new(&ground.demands[seed], &ground.task, ground.settings(queue, number, scored))?;
    let half = share_of_middle(scored);
    let tried = (0..settings).map(|setting| {
        let run = play(&all, ground, policy, queue, seed, setting);
        Tried { first: run.part(0.0, half), second: run.part(half, 1.0) }
    });
    Ok(ground.remember(key, tried.collect()))
}

fn pick(tried: &[Tried], words: &[String], level: Level, experiment: &Experiment) -> Chosen {
    let allowed = 1.0 - experiment.attainment;
    let point = |block: Block| Point {
        cost: block.times_opt(),
        miss: match level {
            Level::Fluid => block.overflow(),
            Level::Events => 1.0 - block.attainment(),
        },
    };
    let by: Vec<Point> = tried.iter().map(|tried| point(tried.chosen_by(experiment.tuning))).collect();
    let (setting, is_on_target) = cheapest(&by, allowed).unwrap_or((0, false));
    let mut order: Vec<usize> = (0..by.len()).collect();
    order.sort_by(|&a, &b| by[a].cost.total_cmp(&by[b].cost));
    // Neighbours worth a look: cheaper ones and dearer ones that nothing undercuts in misses.
    let undominated = |&other: &usize| by.iter().all(|p| p.cost >= by[other].cost || p.miss > by[other].miss);
    let cheaper = order.iter().copied().filter(|&o| by[o].cost < by[setting].cost).rfind(undominated);
    let dearer = order.iter().copied().filter(|&o| by[o].cost > by[setting].cost).find(undominated);
    Chosen {
        setting,
        words: words.get(setting).cloned().unwrap_or_default(),
        is_on_target,
        frontier: tried.iter().map(|tried| point(tried.scored(experiment.tuning))).collect(),
        cheaper,
        dearer,
    }
}
