//! What ours must reach, and whether it does.

use autoscaler_sim::{Coverage, Discipline};

/// Of a spiky trace the peak is at least so many times the mean.
const SPIKY: f64 = 4.0;

/// What a quantile of the forecast covered.
type Share = fn(&Coverage) -> f64;

/// A table's place in the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Level fluid, baselines tuned in hindsight.
    Hindsight,
    /// Level fluid, tuned on the first half and scored on the second.
    Split,
    /// Level events, tuned in hindsight.
    Events,
    /// The same on two days.
    EventsOfTwoDays,
}

impl Column {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Hindsight => "fluid hindsight",
            Self::Split => "fluid split",
            Self::Events => "events",
            Self::EventsOfTwoDays => "events of two days",
        }
    }
}

/// One policy on one trace, medians over the seeds.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) trace: String,
    pub(super) lasts_several_days: bool,
    pub(super) is_recurring: bool,
    pub(super) peak_over_mean: f64,
    pub(super) policy: String,
    pub(super) is_own: bool,
    pub(super) is_clairvoyant: bool,
    pub(super) column: Column,
    pub(super) queue: Discipline,
    pub(super) attainment: f64,
    pub(super) times_opt: f64,
    pub(super) is_on_target: bool,
    pub(super) wasted_share: f64,
    pub(super) coverage: Option<Coverage>,
}

/// What the bars are judged by.
#[derive(Debug, Default)]
pub(super) struct Bars {
    pub(super) entries: Vec<Entry>,
    /// Ours on llm-d's ramp: attainment and mean replicas.
    pub(super) ramp: Option<(f64, f64)>,
}

/// `None` without values, and where one is not a positive number.
pub(super) fn geometric_mean(values: &[f64]) -> Option<f64> {
    let is_good = !values.is_empty() && values.iter().all(|value| value.is_finite() && *value > 0.0);
    is_good.then(|| (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp())
}

impl Bars {
    /// The bars as a table; empty when nothing was judged.
    pub(super) fn markdown(&self) -> String {
        let rows: Vec<String> = [self.of_the_ramp(), self.of_cost(), self.of_rivals(), self.of_care()].concat();
        if rows.is_empty() {
            return String::new();
        }
        format!("## Bars\n\n| what | bar | found | |\n|---|---|---|---|\n{}\n", rows.concat())
    }

    fn own(&self, column: Column, queue: Discipline, attainment: f64) -> Vec<&Entry> {
        let of = |entry: &&Entry| {
            entry.is_own
                && entry.lasts_several_days
                && (entry.column, entry.queue) == (column, queue)
                && (entry.attainment - attainment).abs() < 1e-9
        };
        self.entries.iter().filter(of).collect()
    }

    fn of_the_ramp(&self) -> Vec<String> {
        let Some((attainment, replicas)) = self.ramp else { return Vec::new() };
        let found = format!("{:.2} % at {replicas:.2}", attainment * 100.0);
        vec![row("llm-d's ramp", "99 % at ≤ 5.5 replicas", &found, attainment >= 0.99 && replicas <= 5.5)]
    }

    fn of_cost(&self) -> Vec<String> {
        let mut rows = Vec::new();
        let mut judge = |what: &str, entries: &[&Entry], mean_bar: f64, worst_bar: Option<f64>| {
            let times: Vec<f64> = entries.iter().map(|entry| entry.times_opt).collect();
            let Some(mean) = geometric_mean(&times) else { return };
            rows.push(row(
                &format!("{what}: geometric mean"),
                &format!("≤ {mean_bar} × OPT"),
                &format!("{mean:.3}"),
                mean <= mean_bar,
            ));
            if let Some(bar) = worst_bar {
                let worst = times.iter().copied().fold(0.0, f64::max);
                rows.push(row(
                    &format!("{what}: worst"),
                    &format!("≤ {bar} × OPT"),
                    &format!("{worst:.3}"),
                    worst <= bar,
                ));
            }
            let missed: Vec<&str> =
                entries.iter().filter(|entry| !entry.is_on_target).map(|entry| entry.trace.as_str()).collect();
            let found = if missed.is_empty() { "all".to_owned() } else { format!("not {}", missed.join(", ")) };
            rows.push(row(&format!("{what}: target kept"), "on all", &found, missed.is_empty()));
        };
        let (deadline, fifo) = (Discipline::Deadline, Discipline::Fifo);
        judge("overflow, 99 %", &self.own(Column::Hindsight, deadline, 0.99), 1.08, Some(1.3));
        judge("overflow, 99.9 %", &self.own(Column::Hindsight, deadline, 0.999), 1.5, None);
        judge("requests, 99 %, deadline", &self.own(Column::Events, deadline, 0.99), 1.15, None);
        judge("requests, 99 %, fifo", &self.own(Column::Events, fifo, 0.99), 1.5, None);
        rows
    }

    fn of_rivals(&self) -> Vec<String> {
        let mut rows = Vec::new();
        let mut judge = |what: &str,
                         column: Column,
                         attainment: f64,
                         bar: f64,
                         rival: &dyn Fn(&Entry) -> bool,
                         spiky: bool| {
            let mut ratios: Vec<(f64, &str)> = Vec::new();
            for own in self.own(column, Discipline::Deadline, attainment) {
                if spiky && !(own.is_recurring && own.peak_over_mean >= SPIKY) {
                    continue;
                }
                let best = self
                    .entries
                    .iter()
                    .filter(|entry| {
                        !entry.is_own
                            && !entry.is_clairvoyant
                            && entry.is_on_target
                            && rival(entry)
                            && (&entry.trace, entry.column, entry.queue) == (&own.trace, own.column, own.queue)
                            && (entry.attainment - own.attainment).abs() < 1e-9
                    })
                    .map(|entry| entry.times_opt)
                    .fold(f64::INFINITY, f64::min);
                if best.is_finite() {
                    ratios.push((own.times_opt / best, &own.trace));
                }
            }
            let Some((worst, trace)) = ratios.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)) else { return };
            let what = format!("{what}, {} %", attainment * 100.0);
            rows.push(row(&what, &format!("≤ {bar} on every trace"), &format!("{worst:.3} on {trace}"), worst <= bar));
        };
        for attainment in [0.99, 0.999] {
            judge("× best tuned on the first half", Column::Split, attainment, 1.0, &|_| true, false);
            judge("× best tuned in hindsight", Column::Hindsight, attainment, 1.05, &|_| true, false);
        }
        for (attainment, bar) in [(0.99, 0.65), (0.999, 0.5)] {
            let is_reactive = |entry: &Entry| entry.policy == "reactive";
            judge("recurring spikes, × reactive in hindsight", Column::Hindsight, attainment, bar, &is_reactive, true);
        }
        rows
    }

    fn of_care(&self) -> Vec<String> {
        let own: Vec<&Entry> = self.entries.iter().filter(|entry| entry.is_own && entry.lasts_several_days).collect();
        let Some(wasted) = own.iter().map(|entry| entry.wasted_share).max_by(f64::total_cmp) else { return Vec::new() };
        let mut rows = vec![row(
            "starts deleted before Ready, worst",
            "≤ 5 %",
            &format!("{:.2} %", wasted * 100.0),
            wasted <= 0.05,
        )];
        let off = |share: Share, claimed: f64| {
            let off =
                own.iter().filter_map(|entry| entry.coverage.as_ref()).map(|found| (share(found) - claimed).abs());
            off.max_by(f64::total_cmp)
        };
        let quantiles: [(Share, f64, f64); 4] =
            [(|c| c.p50, 0.5, 0.02), (|c| c.p80, 0.8, 0.02), (|c| c.p95, 0.95, 0.02), (|c| c.p99, 0.99, 0.005)];
        for (share, claimed, bar) in quantiles {
            let Some(off) = off(share, claimed) else { continue };
            rows.push(row(
                &format!("forecast's {} % quantile, worst", claimed * 100.0),
                &format!("± {} points", bar * 100.0),
                &format!("{:.2}", off * 100.0),
                off <= bar,
            ));
        }
        rows
    }
}

fn row(what: &str, bar: &str, found: &str, is_reached: bool) -> String {
    format!("| {what} | {bar} | {found} | {} |\n", if is_reached { "reached" } else { "**missed**" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(trace: &str, policy: &str, times_opt: f64, is_on_target: bool) -> Entry {
        Entry {
            trace: trace.to_owned(),
            lasts_several_days: true,
            is_recurring: true,
            peak_over_mean: 6.0,
            policy: policy.to_owned(),
            is_own: policy == "ours",
            is_clairvoyant: false,
            column: Column::Hindsight,
            queue: Discipline::Deadline,
            attainment: 0.99,
            times_opt,
            is_on_target,
            wasted_share: 0.0,
            coverage: None,
        }
    }

    #[test]
    fn ours_is_judged_by_its_mean_its_worst_trace_and_the_best_rival_that_keeps_the_target() {
        let entries = vec![
            entry("a", "ours", 1.0, true),
            entry("b", "ours", 1.21, false),
            entry("a", "reactive", 2.0, true),
            entry("b", "reactive", 1.1, true),
            entry("b", "cheap", 0.5, false),
        ];
        let text = Bars { entries, ramp: Some((0.995, 5.6)) }.markdown();
        for line in [
            "| llm-d's ramp | 99 % at ≤ 5.5 replicas | 99.50 % at 5.60 | **missed** |",
            "| overflow, 99 %: geometric mean | ≤ 1.08 × OPT | 1.100 | **missed** |",
            "| overflow, 99 %: worst | ≤ 1.3 × OPT | 1.210 | reached |",
            "| overflow, 99 %: target kept | on all | not b | **missed** |",
            "| × best tuned in hindsight, 99 % | ≤ 1.05 on every trace | 1.100 on b | **missed** |",
            "| starts deleted before Ready, worst | ≤ 5 % | 0.00 % | reached |",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("99.9 %"), "nothing was run at it:\n{text}");
        assert_eq!(Bars::default().markdown(), "");
    }

    #[test]
    fn a_geometric_mean_needs_positive_numbers() {
        assert!((geometric_mean(&[1.0, 4.0]).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[]), None);
        assert_eq!(geometric_mean(&[1.0, f64::INFINITY]), None);
    }
}
