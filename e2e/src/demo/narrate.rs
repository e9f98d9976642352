//! The terminal: addresses first, then a progress bar, and a line for everything worth one.

#![expect(clippy::print_stdout, reason = "the terminal is the interface of the demo")]

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::scenario::Scenario;
use super::stack::{Event, Stack, State};
use super::summary::Summary;

/// Longer lines wrap, and a wrapped line under a progress bar is a mess.
const LINE_CHARACTERS: usize = 150;
/// The metrics API is shown again this often.
const METRIC_PERIOD: Duration = Duration::from_secs(45);
/// Metric that is shown.
const METRIC: &str = "vllm_num_requests_running";

/// Tells what happens.
#[derive(Debug)]
pub struct Narrator {
    bar: ProgressBar,
    pace: f64,
    next_metric: Duration,
    failures_told: usize,
}

impl Narrator {
    /// Prints where to look.
    #[must_use]
    pub fn new(stack: &Stack, scenario: &Scenario) -> Self {
        println!("\n  Page         {}", stack.page_url());
        println!("  OpenAI API   {}/v1   (model `demo`)", stack.router_url());
        println!("  Metrics API  {}", stack.external_metric_url(METRIC));
        println!("  Replaying    {}\n", scenario.title);
        let bar = ProgressBar::new(scenario.duration.as_secs().max(1));
        let style = ProgressStyle::with_template("  {bar:30.cyan/blue} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        bar.set_message("starting the first engines");
        Self { bar, pace: scenario.pace, next_metric: Duration::from_secs(10), failures_told: 0 }
    }

    /// The first engine takes requests.
    pub fn started(&self, stack: &Stack) {
        self.say(&format!("the first engines are ready; watch {}", stack.page_url()));
    }

    /// Tells what is new.
    pub async fn narrate(&mut self, state: &State, summary: &Summary, elapsed: Duration, stack: &Stack) {
        for event in &state.events {
            self.tell(event, elapsed);
        }
        for failure in summary.report().examples().iter().skip(self.failures_told) {
            self.say(&format!("{}  FAILED  {failure}", self.clock(elapsed)));
        }
        self.failures_told = summary.report().examples().len();
        if elapsed >= self.next_metric {
            self.next_metric += METRIC_PERIOD;
            let value = match stack.external_metric(METRIC).await {
                Ok(value) => format!("= {value}"),
                Err(error) => format!("is not there: {error}"),
            };
            self.say(&format!("{}  metric  HPA would read {METRIC}{{model=demo}} {value}", self.clock(elapsed)));
        }
        let Some(now) = state.models.first().and_then(|model| model.now.as_ref()) else { return };
        let seconds = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1} s"));
        self.bar.set_position(elapsed.as_secs());
        self.bar.set_message(format!(
            "{} · {:.0} req/s · engines {}/{} · waiting {:.0} · first token p95 {} · failed {}",
            self.clock(elapsed),
            now.arrivals_per_second.unwrap_or(0.0),
            now.ready,
            now.wanted,
            now.queue,
            seconds(now.ttft_seconds[1]),
            summary.report().failed(),
        ));
        if self.bar.is_hidden() && elapsed.subsec_millis() < 250 && elapsed.as_secs().is_multiple_of(10) {
            println!("  {}", self.bar.message());
        }
    }

    fn tell(&self, event: &Event, elapsed: Duration) {
        if event.kind == "scale" {
            self.say(&format!("{}  scale   {}", self.clock(elapsed), event.message));
        } else if event.warning {
            self.say(&format!("{}  engine  {} {}", self.clock(elapsed), event.about, event.message));
        }
    }

    /// Recorded time: day and clock.
    fn clock(&self, elapsed: Duration) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "days and minutes of a trace")]
        let minutes = (elapsed.as_secs_f64() * self.pace / 60.0) as u64;
        format!("day {} {:02}:{:02}", minutes / 1440 + 1, minutes / 60 % 24, minutes % 60)
    }

    /// The replay is over.
    pub fn ending(&self) {
        self.bar.set_message("ending engines, router and adapter");
        self.bar.tick();
    }

    /// The last word.
    pub fn close(&self, text: &str) {
        self.bar.finish_and_clear();
        println!("{text}");
    }

    fn say(&self, line: &str) {
        let mut shown: String = line.chars().take(LINE_CHARACTERS).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        // A hidden bar (no terminal) would swallow the line.
        if self.bar.is_hidden() {
            println!("  {shown}");
        } else {
            self.bar.println(format!("  {shown}"));
        }
    }
}
