//! llm-d's published ramp, request by request, each policy cold: it has 42 minutes and no past.

use autoscaler_sim::events::{EventRun, Settings, Stages, llmd_ramp, simulate};
use autoscaler_sim::{Demand, Discipline, EngineProfile, Policy, RequestSource, Signals, Task};
use engine_model::{Objective, Workload, preset};

use super::bars::Bars;
use super::{Benchmark, Report};
use crate::error::LabError;
use crate::experiment::STEP_SECONDS;
use crate::parallel;
use crate::policies::{Choice, OwnSetup};
use crate::progress::Progress;

/// As it was published: Qwen3-32B on two H100, 3 s and 100 ms, 3 to 8 replicas, some two minutes from order to Ready.
const ENGINE: &str = "qwen3-32b-h100-tp2";
const OBJECTIVE: Objective = Objective { ttft_seconds: 3.0, inter_token_seconds: 0.1 };
const WORKLOAD: Workload = Workload { prompt_tokens: 4000.0, output_tokens: 1000.0, cached_share: 0.0 };
const REPLICAS: std::ops::RangeInclusive<u32> = 3..=8;
const STARTUP_SECONDS: f64 = 120.0;
const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

pub(super) fn run(
    benchmark: &Benchmark,
    progress: &Progress,
    report: &mut Report,
    bars: &mut Bars,
) -> Result<(), LabError> {
    let Some(preset) = preset(ENGINE) else { return Ok(()) };
    let (step, limits) = (preset.step, preset.limits);
    let engine = EngineProfile { step, limits, objective: OBJECTIVE, cached_share: 0.0 };
    let task = Task::new(&engine, WORKLOAD, 0.99, STARTUP_SECONDS, REPLICAS);
    let ramp = llmd_ramp();
    let demand = Demand::from_requests(&ramp, 1, STEP_SECONDS, &engine)?;
    let constant = (5..=8).map(|replicas| (format!("constant {replicas}"), Fleet::Constant(replicas)));
    let chosen = benchmark.policies.iter().filter(|policy| !policy.is_clairvoyant());
    let fleets: Vec<(String, Fleet<'_>)> =
        chosen.map(|policy| (policy.name().to_owned(), Fleet::Policy(policy))).chain(constant).collect();
    progress.stage("llm-d's ramp", fleets.len());
    let queues = [Discipline::Deadline, Discipline::Fifo];
    let runs = parallel::map(benchmark.experiment.threads, fleets.len(), |place| {
        let runs = queues.map(|queue| median(&ramp, &task, &demand, &fleets[place].1, queue));
        progress.done(1);
        runs
    });
    let text = &mut report.markdown;
    *text += "## llm-d's ramp\n\n2, 4, 6, 8, 10, 4, 1 requests a second for six minutes each, 4000 + 1000 tokens, 3 to 8 \
              replicas, started cold (no policy has a past), start-up 120 s; medians of five seeds. Published for \
              llm-d-p90: 95.8 % at 5.93 replicas.\n\n\
              | policy | deadline: attained % | replicas | fifo: attained % | replicas |\n|---|---|---|---|---|\n";
    for ((name, fleet), runs) in fleets.iter().zip(runs) {
        let [deadline, fifo] = runs;
        let (deadline, fifo) = (deadline?, fifo?);
        if matches!(fleet, Fleet::Policy(policy) if policy.is_own()) {
            bars.ramp = Some(deadline);
        }
        let ((met, replicas), (met_fifo, replicas_fifo)) = (deadline, fifo);
        *text += &format!(
            "| {name} | {:.2} | {replicas:.2} | {:.2} | {replicas_fifo:.2} |\n",
            met * 100.0,
            met_fifo * 100.0
        );
    }
    *text += "\n";
    Ok(())
}

enum Fleet<'a> {
    Policy(&'a Choice),
    Constant(u32),
}

/// Attainment and mean replicas of the run of the median attainment.
fn median(
    ramp: &Stages,
    task: &Task,
    demand: &Demand,
    fleet: &Fleet<'_>,
    queue: Discipline,
) -> Result<(f64, f64), LabError> {
    let mut runs = Vec::new();
    for seed in SEEDS {
        let run = play(ramp, task, demand, fleet, queue, seed)?;
        runs.push((run.attainment, run.mean_replicas));
    }
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(runs[runs.len() / 2])
}

fn play(
    ramp: &Stages,
    task: &Task,
    demand: &Demand,
    fleet: &Fleet<'_>,
    queue: Discipline,
    seed: u64,
) -> Result<EventRun, LabError> {
    let setup =
        OwnSetup { task, queue, season_seconds: 86_400.0, tempo: 1.0, step_seconds: STEP_SECONDS, decisions: None };
    let (mut policy, first): (Box<dyn Policy>, u32) = match fleet {
        Fleet::Policy(choice) => {
            let constant = || -> Box<dyn Policy> { Box::new(Constant(task.min_replicas)) };
            (choice.build(&setup, demand, 0).unwrap_or_else(constant), task.min_replicas)
        }
        Fleet::Constant(replicas) => (Box::new(Constant(*replicas)), *replicas),
    };
    let settings = Settings {
        seed,
        discipline: queue,
        initial_replicas: first,
        ..Settings::new(task, 0.0, ramp.duration_seconds())
    };
    Ok(simulate(ramp, policy.as_mut(), task, &settings)?)
}

struct Constant(u32);

impl Policy for Constant {
    fn period_seconds(&self) -> f64 {
        STEP_SECONDS
    }

    fn decide(&mut self, _signals: &Signals<'_>) -> u32 {
        self.0
    }
}
