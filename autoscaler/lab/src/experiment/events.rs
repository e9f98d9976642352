//! Rows at level events: every request of what is scored, or of two days of it, by policies that learned in the fluid before.

mod optimum;

use autoscaler_sim::events::{self, EngineKind, EventRun, Settings};
use autoscaler_sim::fluid::Scenario;
use autoscaler_sim::{Demand, Discipline, Level, Outcome, Policy, Quantiles, Stretch};

use super::fluid::{Chosen, choose};
use super::frontier::{Point, cheapest};
use super::resumed::Resumed;
use super::{Experiment, Ground, Row, Tuning};
use crate::error::LabError;
use crate::parallel;
use crate::policies::{Choice, OwnSetup};
use crate::progress::Progress;
use optimum::{Optimum, optimum};

/// Engines are filled for so long before the score begins.
const LEAD_SECONDS: f64 = 900.0;

/// Sums over the windows of one policy and seed.
#[derive(Debug, Clone, Default)]
struct Sum {
    requests: f64,
    met: f64,
    attainment_worst_hour: f64,
    overflow: f64,
    demand: f64,
    engine_seconds: f64,
    seconds: f64,
    ttft: [f64; 3],
    starts: u64,
    starts_wasted: u64,
    reversals: f64,
    coverage: Option<autoscaler_sim::Coverage>,
}

impl Sum {
    fn attainment(&self) -> f64 {
        if self.requests > 0.0 { self.met / self.requests } else { 1.0 }
    }

    fn add(&mut self, run: &EventRun, demand: &Demand, window: Stretch) {
        let steps = demand.steps_in(window.from_seconds)..demand.steps_in(window.to_seconds);
        let work: f64 = demand.replicas.get(steps).map_or(0.0, |replicas| replicas.iter().sum());
        let (requests, seconds) = (run.requests as f64, window.to_seconds - window.from_seconds);
        self.requests += requests;
        self.met += run.met as f64;
        self.attainment_worst_hour = self.attainment_worst_hour.min(run.attainment_worst_hour);
        self.overflow += run.overflow(demand) * work;
        self.demand += work;
        self.engine_seconds += run.engine_seconds;
        self.seconds += seconds;
        let Quantiles { p50, p95, p99 } = run.ttft_seconds;
        for (sum, quantile) in self.ttft.iter_mut().zip([p50, p95, p99]) {
            *sum += quantile * requests;
        }
        self.starts += run.starts;
        self.starts_wasted += run.starts_wasted;
        self.reversals += run.reversals_per_day * seconds / 86_400.0;
    }
}

pub(super) fn rows(
    ground: &Ground<'_>,
    policies: &[Choice],
    windows: &[Stretch],
    progress: &Progress,
    notes: &mut Vec<String>,
) -> Result<Vec<Row>, LabError> {
    let mut rows = Vec::new();
    let seeds = ground.experiment.seeds.len();
    let threads = ground.experiment.threads;
    let queues = &ground.experiment.queues;
    progress.stage("optimum", seeds * queues.len());
    let optima = parallel::map(threads, seeds * queues.len(), |job| {
        let cost = optimum(ground, queues[job / seeds], job % seeds, windows);
        progress.done(1);
        cost
    });
    let optima = optima.into_iter().collect::<Result<Vec<Optimum>, LabError>>()?;
    if optima.iter().any(|optimum| !optimum.is_on_target) {
        notes.push(
            "at level events no number of replicas keeps the target; the optimum is that of the demand, without margin"
                .to_owned(),
        );
    }
    let mut chosen = Vec::new();
    for &queue in queues {
        chosen.extend(choose(ground, policies, queue, Level::Events, progress, notes)?);
    }
    // In order of queue and policy, as those chosen are.
    let jobs: Vec<(Discipline, &Choice)> =
        queues.iter().flat_map(|&queue| policies.iter().map(move |policy| (queue, policy))).collect();
    progress.stage("events", jobs.len() * seeds);
    let picks = parallel::map(threads, jobs.len(), |job| {
        let (queue, policy) = jobs[job];
        let pick = pick(ground, policy, &chosen[job], queue, windows);
        progress.done(1);
        pick
    });
    let mut first = Vec::new();
    for ((pick, chosen), (_, policy)) in picks.into_iter().zip(&mut chosen).zip(&jobs) {
        let pick = pick?;
        if pick.setting != chosen.setting {
            chosen.words = policy.settings().get(pick.setting).cloned().unwrap_or_default();
        }
        chosen.setting = pick.setting;
        first.push(pick.sum);
    }
    let sums = parallel::map(threads, jobs.len() * seeds, |place| {
        let (job, seed) = (place / seeds, place % seeds);
        if seed == 0 {
            return Ok(first[job].clone());
        }
        let (queue, policy) = jobs[job];
        let sum = play(ground, policy, chosen[job].setting, queue, seed, windows);
        progress.done(1);
        sum
    });
    for (place, sum) in sums.into_iter().enumerate() {
        let (job, seed) = (place / seeds, place % seeds);
        let (queue, policy) = jobs[job];
        let optimum = optima[job / policies.len() * seeds + seed].engine_seconds;
        rows.push(row(ground, policy, &chosen[job], queue, seed, &sum?, optimum));
    }
    Ok(rows)
}

fn row(
    ground: &Ground<'_>,
    policy: &Choice,
    chosen: &Chosen,
    queue: Discipline,
    seed: usize,
    sum: &Sum,
    optimum: f64,
) -> Row {
    let experiment = ground.experiment;
    let tuned = if policy.is_own() { Tuning::Defaults } else { experiment.tuning };
    let [p50, p95, p99] = sum.ttft.map(|quantile| if sum.requests > 0.0 { quantile / sum.requests } else { 0.0 });
    Row {
        outcome: Outcome {
            policy: policy.name().to_owned(),
            tuned: tuned.name().to_owned(),
            trace: ground.name.to_owned(),
            level: Level::Events,
            queue,
            seed: experiment.seeds[seed],
            startup_seconds: experiment.startup.mean_seconds,
            requests: sum.requests,
            attainment: sum.attainment(),
            attainment_worst_hour: sum.attainment_worst_hour,
            overflow: if sum.demand > 0.0 { sum.overflow / sum.demand } else { 0.0 },
            engine_seconds: sum.engine_seconds,
            opt_engine_seconds: optimum,
            times_opt: sum.engine_seconds / optimum,
            mean_replicas: sum.engine_seconds / sum.seconds,
            ttft_seconds: Quantiles { p50, p95, p99 },
            starts: sum.starts,
            starts_wasted: sum.starts_wasted,
            reversals_per_day: sum.reversals / (sum.seconds / 86_400.0),
            forecast_coverage: sum.coverage,
        },
        setting: chosen.words.clone(),
        is_on_target: sum.attainment() >= experiment.attainment,
        is_clairvoyant: policy.is_clairvoyant(),
        times_opt_interval: None,
        overflow_interval: None,
        frontier: Vec::new(),
        matched_times_opt: None,
        days: Vec::new(),
        hours: Vec::new(),
        steps: None,
    }
}

/// A setting that was chosen request by request, with what it came to.
struct Pick {
    setting: usize,
    sum: Sum,
}

/// The setting that the fluid chose, with the first seed. In hindsight it is compared with a neighbour: the next cheaper one
/// when it keeps the target, else the next dearer.
fn pick(
    ground: &Ground<'_>,
    policy: &Choice,
    chosen: &Chosen,
    queue: Discipline,
    windows: &[Stretch],
) -> Result<Pick, LabError> {
    let attainment = ground.experiment.attainment;
    let pick = |setting: usize| -> Result<Pick, LabError> {
        Ok(Pick { setting, sum: play(ground, policy, setting, queue, 0, windows)? })
    };
    let first = pick(chosen.setting)?;
    let neighbour = if first.sum.attainment() >= attainment { chosen.cheaper } else { chosen.dearer };
    let Some(neighbour) = neighbour.filter(|_| ground.experiment.tuning == Tuning::Hindsight && !policy.is_own())
    else {
        return Ok(first);
    };
    let second = pick(neighbour)?;
    let points =
        [&first, &second].map(|pick| Point { cost: pick.sum.engine_seconds, miss: 1.0 - pick.sum.attainment() });
    let (place, _) = cheapest(&points, 1.0 - attainment).unwrap_or((0, false));
    Ok(if place == 0 { first } else { second })
}

fn play(
    ground: &Ground<'_>,
    policy: &Choice,
    setting: usize,
    queue: Discipline,
    seed: usize,
    windows: &[Stretch],
) -> Result<Sum, LabError> {
    let mut sum = Sum { attainment_worst_hour: 1.0, ..Sum::default() };
    let Experiment { decisions, queues, levels, .. } = ground.experiment;
    // One run is logged: that of the fluid, if there is one.
    let is_logged = seed == 0 && queues.first() == Some(&queue) && !levels.contains(&Level::Fluid);
    for (place, &window) in windows.iter().enumerate() {
        // Each window begins at the beginning again: a log holds one.
        let decisions = decisions.as_ref().filter(|_| is_logged && place == 0);
        let setup = OwnSetup { decisions, ..ground.setup(queue) };
        let Some(built) = policy.build(&setup, &ground.demands[seed], setting) else { continue };
        let mut resumed = Resumed::new(built);
        let begin = (window.from_seconds - LEAD_SECONDS).max(0.0);
        let first = warm(ground, &mut resumed, queue, seed, begin)?;
        let run = simulate(ground, &mut resumed, queue, seed, window, first)?;
        sum.add(&run, &ground.demands[seed], window);
        sum.coverage = resumed.coverage().or(sum.coverage);
    }
    Ok(sum)
}

/// Lets the policy act in the fluid up to `begin`: answers the replicas it has then.
fn warm(
    ground: &Ground<'_>,
    policy: &mut Resumed,
    queue: Discipline,
    seed: usize,
    begin: f64,
) -> Result<u32, LabError> {
    let whole = &ground.demands[seed];
    let steps = whole.steps_in(begin).min(whole.replicas.len());
    if steps == 0 {
        return Ok(whole.mean_replicas().ceil() as u32);
    }
    let demand = Demand {
        step_seconds: whole.step_seconds,
        replicas: whole.replicas[..steps].to_vec(),
        arrivals: whole.arrivals[..steps].to_vec(),
        prompt_tokens: whole.prompt_tokens[..steps].to_vec(),
        output_tokens: whole.output_tokens[..steps].to_vec(),
        service_seconds: whole.service_seconds[..steps].to_vec(),
    };
    let stretch = Stretch { from_seconds: 0.0, to_seconds: begin };
    let mut settings = ground.settings(queue, ground.experiment.seeds[seed], stretch);
    settings.first_replicas = Some(whole.mean_replicas().ceil() as u32);
    Scenario::new(&demand, &ground.task, settings)?.run(policy);
    Ok(policy.resume())
}

fn simulate(
    ground: &Ground<'_>,
    policy: &mut dyn Policy,
    queue: Discipline,
    seed: usize,
    window: Stretch,
    first: u32,
) -> Result<EventRun, LabError> {
    let (least, most) = (ground.task.min_replicas, ground.task.max_replicas);
    let settings = Settings {
        seed: ground.experiment.seeds[seed],
        score_from_seconds: window.from_seconds,
        discipline: queue,
        initial_replicas: first.clamp(least, most),
        startup: ground.experiment.startup,
        friction: ground.experiment.friction,
        faults: ground.experiment.faults.clone(),
        engine: if ground.experiment.prefix_cache {
            EngineKind::Stepping { prefix_cache: true }
        } else {
            EngineKind::Leaping
        },
        ..Settings::new(&ground.task, (window.from_seconds - LEAD_SECONDS).max(0.0), window.to_seconds)
    };
    Ok(events::simulate(ground.source, policy, &ground.task, &settings)?)
}
