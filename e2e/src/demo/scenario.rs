//! What is replayed against which engines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::{Args, Engine};
use crate::load::replay::{Arrival, RateReplay, RequestReplay, duration};
use crate::load::report::Objective;
use crate::load::trace::{self, Trace};

/// One recorded day a minute.
const RATE_PACE: f64 = 1440.0;
/// Recorded requests come this many times as fast: the emulated engines are as much faster than life.
const REQUEST_PACE: f64 = 20.0;

/// Everything the demo needs to know before it starts.
#[derive(Debug)]
pub struct Scenario {
    /// Engines to run.
    pub engine: Engine,
    /// What is sent when.
    pub arrivals: Vec<Arrival>,
    /// Length of the replay.
    pub duration: Duration,
    /// Recorded seconds in one second.
    pub pace: f64,
    /// Wall time of a day of the trace, if that is what the autoscaler plans by.
    pub day_length: Option<Duration>,
    /// What is replayed, in words.
    pub title: String,
    /// How many times faster than life the engines run.
    pub time_scale: f64,
    /// Objective in wall time.
    pub objective: Objective,
    /// Longest a request may take, wall time.
    pub request_deadline: Duration,
    /// Template of the configuration.
    pub template: &'static str,
}

/// What a fleet carries and how requests for it look.
struct Fleet {
    peak_requests_per_second: f64,
    mean_prompt_tokens: f64,
    mean_output_tokens: f64,
    tokens_per_second: f64,
    max_prompt_tokens: u32,
    max_output_tokens: u32,
}

/// Twelve engines with four places and 2.5 ms a step generate 19,200 tokens a second. A request of 64 tokens holds a
/// place for 0.17 s, so an engine carries 24 a second, and 190 at the peak need about ten of them with room to spare.
const EMULATED: Fleet = Fleet {
    peak_requests_per_second: 190.0,
    mean_prompt_tokens: 150.0,
    mean_output_tokens: 64.0,
    tokens_per_second: 14_000.0,
    max_prompt_tokens: 8000,
    max_output_tokens: 2000,
};

/// A core of a laptop generates about ten tokens a second with this model, two of them share the machine with the rest.
const LLAMA: Fleet = Fleet {
    peak_requests_per_second: 0.9,
    mean_prompt_tokens: 20.0,
    mean_output_tokens: 10.0,
    tokens_per_second: 8.0,
    max_prompt_tokens: 100,
    max_output_tokens: 24,
};

impl Scenario {
    /// Reads the trace and lays the arrivals out.
    ///
    /// # Errors
    /// If the trace cannot be read; the error names its line.
    pub fn new(args: &Args) -> anyhow::Result<Self> {
        let packed = root().join("e2e/demo/crane-11-sample.csv");
        // `TRACE=` from a Makefile means none.
        let path = args.trace.as_deref().filter(|path| !path.as_os_str().is_empty()).unwrap_or(&packed);
        let trace = trace::read(path)?;
        let fleet = match args.engine {
            Engine::Emulator => EMULATED,
            Engine::Llama => LLAMA,
        };
        let (mut arrivals, pace, note) = lay_out(&trace, &fleet, args.seed);
        let mut length = duration(&trace, pace);
        if let Some(seconds) = args.seconds {
            length = length.min(Duration::from_secs(seconds));
            arrivals.retain(|arrival| arrival.at <= length);
        }
        let is_daily = matches!(trace, Trace::Rates { .. }) && args.engine == Engine::Emulator;
        let day_length = is_daily.then(|| Duration::from_secs_f64(86_400.0 / pace));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let title = format!("{name}: {} requests in {} s, {note}", arrivals.len(), length.as_secs());
        Ok(match args.engine {
            Engine::Emulator => Self {
                engine: args.engine,
                arrivals,
                duration: length,
                pace,
                day_length,
                title,
                time_scale: 20.0,
                objective: Objective { ttft_seconds: 0.15, inter_token_seconds: 0.005 },
                request_deadline: Duration::from_secs(60),
                template: include_str!("../../demo/emulator.yaml"),
            },
            Engine::Llama => Self {
                engine: args.engine,
                arrivals,
                duration: length,
                pace,
                day_length,
                title,
                time_scale: 1.0,
                objective: Objective { ttft_seconds: 10.0, inter_token_seconds: 1.0 },
                request_deadline: Duration::from_secs(120),
                template: include_str!("../../demo/llama.yaml"),
            },
        })
    }
}

fn lay_out(trace: &Trace, fleet: &Fleet, seed: u64) -> (Vec<Arrival>, f64, String) {
    match trace {
        Trace::Rates { step_seconds, values } => {
            let replay = RateReplay {
                pace: RATE_PACE,
                peak_requests_per_second: fleet.peak_requests_per_second,
                mean_prompt_tokens: fleet.mean_prompt_tokens,
                mean_output_tokens: fleet.mean_output_tokens,
                seed,
            };
            let note = format!("a recorded day a minute, up to {} requests a second", fleet.peak_requests_per_second);
            (replay.arrivals(*step_seconds, values), RATE_PACE, note)
        }
        Trace::Requests(requests) => {
            let replay = RequestReplay {
                pace: REQUEST_PACE,
                carried_tokens_per_second: fleet.tokens_per_second,
                max_prompt_tokens: fleet.max_prompt_tokens,
                max_output_tokens: fleet.max_output_tokens,
                seed,
            };
            let kept = replay.kept_share(requests) * 100.0;
            (
                replay.arrivals(requests),
                REQUEST_PACE,
                format!("{REQUEST_PACE} times as fast as recorded, {kept:.0} % of the requests"),
            )
        }
    }
}

/// The checkout.
pub(super) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Python of the real engine's installation; installs it if it is not there.
///
/// # Errors
/// If it cannot be installed; the script's words are in the error.
pub fn llama_python() -> anyhow::Result<PathBuf> {
    let script = root().join("e2e/llama/install.sh");
    let output = std::process::Command::new(&script).output().with_context(|| format!("run {}", script.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{} failed: {}", script.display(), said.trim());
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("venv/bin/python"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn scenario(arguments: &[&str]) -> anyhow::Result<Scenario> {
        Scenario::new(&Args::parse_from([&["demo"], arguments].concat()))
    }

    #[test]
    fn the_packed_sample_is_three_days_in_three_minutes() {
        let scenario = scenario(&[]).unwrap();
        assert_eq!(scenario.duration, Duration::from_secs(180));
        assert!((10_000..16_000).contains(&scenario.arrivals.len()), "{}", scenario.title);
        let tokens: u64 = scenario.arrivals.iter().map(|arrival| u64::from(arrival.output_tokens)).sum();
        assert!(tokens / 180 < 8000, "a mean of {} chunks a second", tokens / 180);
    }

    #[test]
    fn the_busiest_seconds_stay_below_twenty_thousand_chunks_each() {
        let scenario = scenario(&[]).unwrap();
        let busiest = (0..180)
            .map(|second| {
                let inside = scenario.arrivals.iter().filter(|arrival| arrival.at.as_secs() == second);
                inside.map(|arrival| u64::from(arrival.output_tokens)).sum::<u64>()
            })
            .max();
        assert!(busiest < Some(20_000), "{busiest:?}");
    }

    #[test]
    fn an_empty_trace_variable_means_the_packed_one_and_a_bad_one_is_named() {
        assert!(scenario(&["--trace", ""]).unwrap().title.starts_with("crane-11-sample.csv"));
        let message = scenario(&["--trace", "/no/such.csv"]).unwrap_err().to_string();
        assert!(message.contains("/no/such.csv"), "{message}");
    }
}
