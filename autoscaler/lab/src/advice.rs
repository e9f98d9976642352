//! Advice from history: which objective and bounds to choose, what that costs, and the values to paste.

use autoscaler_sim::{Discipline, Level};
use comfy_table::{ContentArrangement, Table, presets};

use crate::error::LabError;
use crate::experiment::{Experiment, Prepared, Row, Tuning, run_prepared};
use crate::policies::{Choice, Own};
use crate::progress::Progress;
use crate::saving::{Saving, saving};
use crate::trace::Trace;

/// Attainments that are tried beside the one that was asked for.
const ATTAINMENTS: [f64; 4] = [0.95, 0.99, 0.995, 0.999];
/// Room above the most replicas that history would have taken, for days that history did not have.
const ROOM_ABOVE_PEAK: f64 = 1.25;

/// One setting of ours on the history.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Attainment that was asked for, 0 to 1.
    pub attainment: f64,
    /// Fewest replicas.
    pub min_replicas: u32,
    /// The run of the first seed.
    pub row: Row,
    /// Most replicas ordered.
    pub peak_replicas: u32,
    /// Against the present way.
    pub saving: Option<Saving>,
}

/// Advice.
#[derive(Debug, Clone)]
pub struct Advice {
    /// The present way on the same history.
    pub present: Row,
    /// The settings tried, the one that was asked for first.
    pub tried: Vec<Tried>,
}

/// Tries `own` at several attainments and floors of replicas on the history, against `present` at its shipped settings.
///
/// # Errors
/// As [`crate::experiment::run`].
pub fn advise(
    experiment: &Experiment,
    trace: &Trace,
    prepared: &Prepared,
    own: Own,
    present: &Choice,
    progress: &Progress,
) -> Result<Advice, LabError> {
    let base = Experiment {
        levels: vec![Level::Fluid],
        queues: vec![experiment.queues.first().copied().unwrap_or(Discipline::Deadline)],
        tuning: Tuning::Defaults,
        keeps_steps: true,
        ..experiment.clone()
    };
    let first = |experiment: &Experiment, policy: Choice| -> Result<Row, LabError> {
        let results = run_prepared(experiment, trace, prepared, &[policy], progress)?;
        results.rows.into_iter().next().ok_or_else(|| LabError::Silent { trace: trace.name().to_owned() })
    };
    let present = first(&base, present.clone())?;
    let mut settings = vec![(base.attainment, base.min_replicas)];
    settings.extend(ATTAINMENTS.iter().map(|attainment| (*attainment, base.min_replicas)));
    // One more replica at all times is what people do first against bad nights.
    settings.push((base.attainment, base.min_replicas + 1));
    let mut tried: Vec<Tried> = Vec::new();
    for (attainment, min_replicas) in settings {
        let same = |t: &Tried| (t.attainment - attainment).abs() < 1e-9 && t.min_replicas == min_replicas;
        if tried.iter().any(same) {
            continue;
        }
        let experiment = Experiment { attainment, min_replicas, ..base.clone() };
        let row = first(&experiment, Choice::Own(own))?;
        let peak = row.steps.as_ref().and_then(|steps| steps.replicas.iter().max().copied()).unwrap_or(min_replicas);
        let saving = saving(&row.days, &present.days);
        tried.push(Tried { attainment, min_replicas, row, peak_replicas: peak, saving });
    }
    Ok(Advice { present, tried })
}

impl Advice {
    /// The table of what was tried, the saving in words, and the Helm values to paste.
    #[must_use]
    pub fn text(&self, ttft: &str, inter_token_latency: &str, max_replicas: Option<u32>) -> String {
        let mut text = self.table();
        let Some(asked) = self.tried.first() else { return text };
        text += &format!("\n{}\n", self.saving_in_words(asked));
        let (most, why) = match max_replicas {
            Some(most) => (most, "as given"),
            None => ((f64::from(asked.peak_replicas) * ROOM_ABOVE_PEAK).ceil() as u32, "a quarter more than the peak"),
        };
        text += &format!(
            "\nHelm values (under servingEngineSpec.modelSpec[] of the model):\n\n  objective:\n    ttft: {ttft}\n    \
             interTokenLatency: {inter_token_latency}\n    attainment: \"{}%\"\n  autoscaling:\n    kind: \
             EngineAutoscaler\n    minReplicas: {}\n    maxReplicas: {}  # {why}; {} at the peak of the history\n",
            shown(asked.attainment * 100.0),
            asked.min_replicas,
            most.max(asked.min_replicas).max(1),
            asked.peak_replicas,
        );
        text
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([
            "asked for",
            "min",
            "replicas",
            "peak",
            "overflow %",
            "attained %",
            "worst hour %",
            "saving",
        ]);
        let percent = |share: f64| format!("{:.3}", share * 100.0);
        let mut add = |name: String, min: String, row: &Row, peak: String, saving: Option<Saving>| {
            let outcome = &row.outcome;
            table.add_row([
                name,
                min,
                format!("{:.2}", outcome.mean_replicas),
                peak,
                percent(outcome.overflow),
                percent(outcome.attainment),
                percent(outcome.attainment_worst_hour),
                saving.map_or_else(|| "–".into(), |s| format!("{:.0} %", s.share * 100.0)),
            ]);
        };
        let peak = |row: &Row| {
            let most = row.steps.as_ref().and_then(|steps| steps.replicas.iter().max());
            most.map_or_else(|| "–".to_owned(), u32::to_string)
        };
        add(format!("now: {}", self.present.outcome.policy), "–".into(), &self.present, peak(&self.present), None);
        for tried in &self.tried {
            let name = format!("{} %", shown(tried.attainment * 100.0));
            add(name, tried.min_replicas.to_string(), &tried.row, tried.peak_replicas.to_string(), tried.saving);
        }
        format!("{table}\n")
    }

    fn saving_in_words(&self, asked: &Tried) -> String {
        let Some(saving) = asked.saving else {
            return "No saving can be stated: the history has no whole day to score.".to_owned();
        };
        let (now, then) = (&self.present.outcome, &asked.row.outcome);
        let verb = if saving.share >= 0.0 { "saves" } else { "costs" };
        let interval = saving.interval.map_or_else(
            || "no interval: fewer than five days scored".to_owned(),
            |i| format!("95 % interval {:.0} to {:.0} %", i.low * 100.0, i.high * 100.0),
        );
        format!(
            "Against {} ({:.2} replicas, {:.3} % of the demand missed) this {verb} {:.0} % of the engine time ({interval}) \
             and misses {:.3} %.",
            now.policy,
            now.mean_replicas,
            now.overflow * 100.0,
            saving.share.abs() * 100.0,
            then.overflow * 100.0,
        )
    }
}

/// A percentage without digits that say nothing.
fn shown(percent: f64) -> String {
    let text = format!("{percent:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use autoscaler_sim::{Policy, Signals};

    use super::*;
    use crate::experiment::prepare;
    use crate::policies::{self, OwnSetup};
    use crate::trace::Lengths;

    /// Two replicas at 95 %, one more for each further nine.
    struct Nines(u32);

    impl Policy for Nines {
        fn period_seconds(&self) -> f64 {
            10.0
        }

        fn decide(&mut self, _: &Signals<'_>) -> u32 {
            self.0
        }
    }

    fn nines(setup: &OwnSetup<'_>) -> Box<dyn Policy> {
        let nines = -(1.0 - setup.task.attainment).log10();
        Box::new(Nines((nines + 0.6) as u32 + 1))
    }

    fn advice() -> Advice {
        let experiment =
            Experiment { mean_replicas: Some(1.0), seeds: vec![1], ..crate::experiment::tests::experiment() };
        let rates = (0..144 * 7).map(|step| (f64::from(step) * 600.0, 1.0 + f64::from(step % 5) / 10.0));
        let trace = Trace::from_rates("history", &[rates.collect()], &Lengths::fixed(2000, 2000)).unwrap();
        let progress = Progress::hidden();
        let prepared = prepare(&experiment, &trace, &progress).unwrap();
        let own = Own { name: "nines", source: "for this test", build: nines };
        let orders = policies::Orders { changes: vec![(0.0, 6)] };
        advise(&experiment, &trace, &prepared, own, &Choice::AsRun(std::sync::Arc::new(orders)), &progress).unwrap()
    }

    #[test]
    fn advice_states_the_saving_of_what_was_asked_for_and_the_values_to_paste() {
        let advice = advice();
        let asked = &advice.tried[0];
        assert_eq!((asked.attainment, asked.min_replicas, asked.peak_replicas), (0.99, 1, 3));
        // Three replicas instead of six, every day.
        let saving = asked.saving.unwrap();
        assert!((saving.share - 0.5).abs() < 1e-9 && (saving.interval.unwrap().low - 0.5).abs() < 1e-9);
        let text = advice.text("3s", "100ms", None);
        for part in [
            "saves 50 % of the engine time (95 % interval 50 to 50 %)",
            "kind: EngineAutoscaler",
            "maxReplicas: 4",
            "attainment: \"99%\"",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn stricter_objectives_and_higher_floors_are_tried_too() {
        let tried: Vec<(f64, u32)> = advice().tried.iter().map(|t| (t.attainment, t.min_replicas)).collect();
        assert_eq!(tried, [(0.99, 1), (0.95, 1), (0.995, 1), (0.999, 1), (0.99, 2)]);
    }
}
