//! What the replay came to: what clients felt, and what it cost in engines.

use std::time::Duration;

use comfy_table::{Table, presets};

use super::scenario::Scenario;
use super::stack::{DayState, State};
use crate::load::report::{Objective, Report};
use crate::load::run::Finished;

/// Collects while the demo runs.
#[derive(Debug)]
pub struct Summary {
    report: Report,
    objective: Objective,
    engine_seconds: f64,
    peak_engines: usize,
    last_look: Option<(Duration, usize)>,
    day_length: Option<Duration>,
    days: Vec<Report>,
    day_states: Vec<DayState>,
    elapsed: Duration,
    is_cut_short: bool,
}

impl Summary {
    /// Nothing yet.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            report: Report::default(),
            objective: scenario.objective,
            engine_seconds: 0.0,
            peak_engines: 0,
            last_look: None,
            day_length: scenario.day_length,
            days: Vec::new(),
            day_states: Vec::new(),
            elapsed: Duration::ZERO,
            is_cut_short: false,
        }
    }

    /// Takes one request in.
    pub fn add(&mut self, finished: &Finished) {
        self.report.add(&finished.outcome, self.objective);
        let Some(day_length) = self.day_length else { return };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a replay has few days")]
        let day = (finished.arrival.at.as_secs_f64() / day_length.as_secs_f64()) as usize;
        if self.days.len() <= day {
            self.days.resize_with(day + 1, Report::default);
        }
        self.days[day].add(&finished.outcome, self.objective);
    }

    /// What clients felt so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Takes in how many engines exist: each one costs from its start to its end, ready or not.
    pub fn watch(&mut self, state: &State, elapsed: Duration) {
        let count =
            state.models.iter().flat_map(|model| &model.engines).filter(|engine| engine.state != "crashed").count();
        if let Some((before, engines)) = self.last_look {
            #[expect(clippy::cast_precision_loss, reason = "a dozen engines")]
            let engines = engines as f64;
            self.engine_seconds += engines * elapsed.saturating_sub(before).as_secs_f64();
        }
        self.last_look = Some((elapsed, count));
        if let Some(model) = state.models.first() {
            self.day_states.clone_from(&model.days);
        }
        self.peak_engines = self.peak_engines.max(count);
    }

    /// The replay is over.
    pub fn finish(&mut self, elapsed: Duration, is_cut_short: bool) {
        self.elapsed = elapsed;
        self.is_cut_short = is_cut_short;
    }

    /// The closing table. Latencies and engine hours are engine time.
    #[must_use]
    pub fn render(&self, scenario: &Scenario) -> String {
        let scale = scenario.time_scale;
        let report = &self.report;
        let seconds =
            |q: f64| report.ttft_seconds(q).map_or_else(|| "–".to_owned(), |value| format!("{:.2} s", value * scale));
        let failures: Vec<String> = report.failures().iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
        let failed =
            if failures.is_empty() { "0".to_owned() } else { format!("{} ({})", report.failed(), failures.join(", ")) };
        let hours = self.engine_seconds * scale / 3600.0;
        #[expect(clippy::cast_precision_loss, reason = "a dozen engines")]
        let fixed_hours = self.peak_engines as f64 * self.elapsed.as_secs_f64() * scale / 3600.0;
        let saved = if fixed_hours > 0.0 { (1.0 - hours / fixed_hours) * 100.0 } else { 0.0 };
        let objective = format!(
            "first token within {:.0} s, {:.0} ms a token",
            self.objective.ttft_seconds * scale,
            self.objective.inter_token_seconds * scale * 1000.0
        );
        let share =
            report.share_within_objective().map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", share * 100.0));
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["", if self.is_cut_short { "until it was stopped" } else { "whole replay" }]);
        table.add_row(["requests", &report.requests().to_string()]);
        table.add_row(["failed", &failed]);
        table.add_row([
            "first token p50 / p95 / p99",
            &format!("{} / {} / {}", seconds(0.5), seconds(0.95), seconds(0.99)),
        ]);
        table.add_row([&format!("within the objective ({objective})"), &share]);
        table.add_row(["tokens streamed", &report.chunks().to_string()]);
        table.add_row(["engine hours", &format!("{hours:.2}")]);
        table.add_row([
            &format!("engine hours of a fleet fixed at the peak ({} engines)", self.peak_engines),
            &format!("{fixed_hours:.2}, so {saved:.0} % saved"),
        ]);
        let days = self.render_days(scale);
        let note = match scale > 1.0 {
            true => format!("Times are engine time: the engines ran {scale:.0} times as fast as life."),
            false => "Times are wall time.".to_owned(),
        };
        format!("\n{table}{days}\n{note}")
    }

    /// The days side by side: what clients felt, by the day a request was sent in, and what the autoscaler counted.
    fn render_days(&self, scale: f64) -> String {
        if self.days.len() < 2 {
            return String::new();
        }
        let share =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", share * 100.0));
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "day",
            "requests",
            "failed",
            "first token p50 / p95 / p99",
            "within the objective",
            "engine seconds",
            "× optimum",
            "demand missed",
        ]);
        for (place, report) in self.days.iter().enumerate() {
            let told = self.day_states.iter().find(|day| day.number == place as u64 + 1);
            let seconds = |q: f64| {
                report.ttft_seconds(q).map_or_else(|| "–".to_owned(), |value| format!("{:.2} s", value * scale))
            };
            table.add_row([
                (place + 1).to_string(),
                report.requests().to_string(),
                report.failed().to_string(),
                format!("{} / {} / {}", seconds(0.5), seconds(0.95), seconds(0.99)),
                share(report.share_within_objective()),
                told.map_or_else(|| "–".to_owned(), |day| format!("{:.0}", day.engine_seconds)),
                told.and_then(|day| day.times_opt).map_or_else(|| "–".to_owned(), |times| format!("{times:.2}")),
                share(told.and_then(|day| day.overflow)),
            ]);
        }
        format!(
            "\n{table}\n× optimum: engine seconds over those of a plan that knows the future and misses nothing, for the \
             demand that was measured."
        )
    }
}
