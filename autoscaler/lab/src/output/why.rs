//! Why a run cost and missed what it did: its worst moments in words.

use autoscaler_sim::fluid::Steps;

use crate::experiment::{Results, STEP_SECONDS};

/// Overloads told.
const MOST_EPISODES: usize = 5;
/// Overloads with less than this between them are one.
const JOINED_SECONDS: f64 = 120.0;

#[derive(Debug, Clone, Copy)]
struct Episode {
    from: usize,
    to: usize,
    missed: f64,
}

/// The largest overloads of a run and what it paid above the optimum, each a sentence.
pub(super) fn why(results: &Results, steps: &Steps) -> Vec<String> {
    let demand = &results.demand.replicas;
    let first = (results.scored.from_seconds / STEP_SECONDS) as usize;
    let mut found = episodes(demand, &steps.ready, first);
    let missed: f64 = found.iter().map(|episode| episode.missed).sum();
    found.sort_by(|a, b| b.missed.total_cmp(&a.missed));
    let mut sentences: Vec<String> = found
        .iter()
        .take(MOST_EPISODES)
        .map(|episode| sentence(episode, demand, steps, results.task.startup_seconds, missed))
        .collect();
    if found.is_empty() {
        sentences.push("No demand was ever above the Ready replicas.".into());
    } else if found.len() > MOST_EPISODES {
        let told: f64 = found.iter().take(MOST_EPISODES).map(|episode| episode.missed).sum();
        sentences.push(format!(
            "{} further overloads make up the remaining {:.0} % of what was missed.",
            found.len() - MOST_EPISODES,
            100.0 * (1.0 - told / missed)
        ));
    }
    sentences.extend(paid(results, steps, first));
    sentences
}

fn episodes(demand: &[f64], ready: &[f64], first: usize) -> Vec<Episode> {
    let joined = (JOINED_SECONDS / STEP_SECONDS) as usize;
    let mut found: Vec<Episode> = Vec::new();
    for (step, (demand, ready)) in demand.iter().zip(ready).enumerate().skip(first) {
        let missed = (demand - ready) * STEP_SECONDS;
        if missed <= 0.0 {
            continue;
        }
        match found.last_mut() {
            Some(last) if step - last.to <= joined => {
                last.to = step;
                last.missed += missed;
            }
            _ => found.push(Episode { from: step, to: step, missed }),
        }
    }
    found
}

fn sentence(episode: &Episode, demand: &[f64], steps: &Steps, startup_seconds: f64, all: f64) -> String {
    let startup = (startup_seconds / STEP_SECONDS).ceil() as usize;
    let before = demand[episode.from.saturating_sub(startup)];
    let peak = demand[episode.from..=episode.to].iter().copied().fold(0.0, f64::max);
    let (ready, billed) = (steps.ready[episode.from], steps.replicas[episode.from]);
    let starting = (f64::from(billed) - ready).max(0.0);
    format!(
        "{}: demand went from {before:.1} replicas one start-up time before to {peak:.1}; {ready:.0} were Ready and \
         {starting:.0} starting when it passed them, and it stayed above for {}. {:.0} % of all that was missed.",
        moment(episode.from),
        duration((episode.to - episode.from + 1) as f64 * STEP_SECONDS),
        100.0 * episode.missed / all
    )
}

fn paid(results: &Results, steps: &Steps, first: usize) -> Option<String> {
    let (mut billed, mut optimum, mut idle, mut short) = (0.0, 0.0, 0.0, 0.0);
    for (have, best) in steps.replicas.iter().zip(&results.optimum).skip(first) {
        let (have, best) = (f64::from(*have), f64::from(*best));
        billed += have;
        optimum += best;
        idle += (have - best).max(0.0);
        short += (best - have).max(0.0);
    }
    (optimum > 0.0).then(|| {
        format!(
            "Of its cost, {:.0} % was above what the optimum held at that moment, and it saved {:.0} % of the optimum's \
             cost by holding less; together that is {:.2} times the optimum.",
            100.0 * idle / billed.max(1.0),
            100.0 * short / optimum,
            billed / optimum
        )
    })
}

fn moment(step: usize) -> String {
    let seconds = step as f64 * STEP_SECONDS;
    let (day, rest) = ((seconds / 86_400.0).floor(), seconds % 86_400.0);
    format!("Day {} {:02}:{:02}", day + 1.0, (rest / 3600.0).floor(), ((rest % 3600.0) / 60.0).floor())
}

fn duration(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overloads_near_each_other_are_one() {
        let mut demand = vec![1.0; 200];
        demand[50] = 4.0;
        demand[55] = 3.0;
        demand[150] = 2.5;
        let found = episodes(&demand, &vec![2.0; 200], 0);
        assert_eq!(found.iter().map(|e| (e.from, e.to)).collect::<Vec<_>>(), [(50, 55), (150, 150)]);
        assert!((found[0].missed - 30.0).abs() < 1e-9);
        assert_eq!(moment(8640 + 366), "Day 2 01:01");
    }
}
