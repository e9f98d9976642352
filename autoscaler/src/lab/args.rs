//! Flags that the commands of the laboratory share.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use autoscaler_api::Percent;
use autoscaler_lab::experiment::{EventDays, Experiment, Tuning};
use autoscaler_lab::trace::{Format, Lengths, Trace};
use autoscaler_sim::events::{Friction, Retries, Scrape, WarmUp};
use autoscaler_sim::{Discipline, EngineProfile, Level, StartupLaw, Stretch};
use clap::{Args, ValueEnum};
use engine_model::{Objective, preset, presets};
use process::duration::HumanDuration;

use super::fetch::{History, fetch};
use super::friction;

/// Where the load comes from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Load")]
pub struct TraceArgs {
    /// Trace: a file, or a folder of ServeGen client files
    #[arg(long, value_name = "PATH", conflicts_with_all = ["prometheus_url", "query"])]
    pub trace: Option<PathBuf>,
    /// How the trace is written [default: told by its first line]
    ///
    /// azure: `TIMESTAMP,ContextTokens,GeneratedTokens`. mooncake: JSON lines with `hash_ids`. servegen: a folder with
    /// chunk-N-trace.csv. series: `ts,value` or `t_s,rps`. prometheus: a saved answer of api/v1/query_range.
    #[arg(long, value_name = "FORMAT", value_parser = ["azure", "mooncake", "servegen", "series", "prometheus"])]
    pub format: Option<String>,
    /// Token lengths for traces without them: a file `prompt_tokens,output_tokens`, or an Azure trace [default: 64 pairs
    /// packed from Azure's conversation trace of 2023, mean 1155 + 211 tokens]
    #[arg(long, value_name = "FILE")]
    pub lengths: Option<PathBuf>,
    /// Ask this Prometheus for the load instead of reading a trace
    #[arg(long, value_name = "URL", requires = "query")]
    pub prometheus_url: Option<String>,
    /// PromQL of the request rate, e.g. `sum(rate(vllm:request_success_total{model_name="m"}[1m]))`
    #[arg(long, value_name = "PROMQL", requires = "prometheus_url")]
    pub query: Option<String>,
    /// How far back to ask the Prometheus
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, default_value = "14d")]
    pub history: HumanDuration,
    /// Step of the questions to the Prometheus
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, default_value = "1m")]
    pub history_step: HumanDuration,
}

impl TraceArgs {
    /// The load's history, when it comes from a Prometheus.
    pub(super) async fn fetch(&self) -> anyhow::Result<Option<History>> {
        let (Some(url), Some(query)) = (&self.prometheus_url, &self.query) else { return Ok(None) };
        Ok(Some(History { load: fetch(url, query, self.history, self.history_step).await?, replicas: None }))
    }

    pub(super) fn lengths(&self) -> anyhow::Result<Lengths> {
        self.lengths.as_ref().map_or_else(|| Ok(Lengths::conversation()), |path| Ok(Lengths::load(path)?))
    }

    /// The trace, read or as fetched.
    pub(super) fn load(&self, history: Option<&History>) -> anyhow::Result<Trace> {
        let lengths = self.lengths()?;
        if let Some(history) = history {
            return Ok(Trace::from_rates("prometheus", &history.load, &lengths)?);
        }
        let Some(path) = &self.trace else {
            bail!("no load: name a --trace, or a --prometheus-url with a --query");
        };
        let format = match &self.format {
            Some(name) => Format::from_str(name)?,
            None => Format::of(path)?.with_context(|| {
                format!("{}: the first line is of no known format; name one with --format", path.display())
            })?,
        };
        Ok(Trace::load(path, format, &lengths)?)
    }
}

/// Order of the router's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueueArg {
    /// First come, first served.
    Fifo,
    /// Requests past their time to first token yield to those that can still make it.
    Deadline,
}

/// How closely a run looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LevelArg {
    /// Demand against capacity in steps of ten seconds: a fortnight in moments.
    Fluid,
    /// Every request in every engine: a fortnight in a minute.
    Events,
}

/// Which days of what is scored are played at level events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventDaysArg {
    /// All of them.
    All,
    /// That of the middle and that of the largest peak: less work, and a harder look.
    Two,
}

/// What is tried on the load.
#[derive(Debug, Clone, Args)]
pub struct ExperimentArgs {
    /// Where the load comes from.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Engine: model and GPUs, by the name of a shipped profile; `list` names them
    #[arg(long, value_name = "NAME", default_value = "qwen3-32b-h100-tp2", help_heading = "Engines")]
    pub engine_profile: String,
    /// Time from order to Ready; with a coefficient of variation and a share of failed starts: `240s,cv=.25,fail=.01`
    #[arg(long, value_name = "DURATION[,cv=X][,fail=Y]", allow_hyphen_values = true, default_value = "240s", value_parser = friction::startup, help_heading = "Engines")]
    pub startup: StartupLaw,
    /// Share of prompt tokens found in the prefix cache, 0 to 1, as far as capacity is concerned
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, default_value_t = 0.0, value_parser = share, help_heading = "Engines")]
    pub cached_share: f64,
    /// Simulate the engines' prefix caches at level events (for traces that record prefixes; slower)
    #[arg(long, help_heading = "Engines")]
    pub prefix_cache: bool,
    /// At level events: an engine is slower for so long after it has become Ready; `60s,slowdown=1.5` (2 when not said)
    #[arg(long, value_name = "DURATION[,slowdown=X]", allow_hyphen_values = true, value_parser = friction::warm_up, help_heading = "Engines")]
    pub warm_up: Option<WarmUp>,
    /// At level events: metrics are scraped every so often, are seen later and get lost; `15s,delay=5s,loss=.01`
    /// [default: live]
    #[arg(long, value_name = "DURATION[,delay=D][,loss=X]", allow_hyphen_values = true, value_parser = friction::scrape, help_heading = "Experiment")]
    pub scrape: Option<Scrape>,
    /// At level events: this share of the errors is tried again; `.5,backoff=1s,most=3` (those when not said)
    #[arg(long, value_name = "SHARE[,backoff=D][,most=N]", allow_negative_numbers = true, value_parser = friction::retries, help_heading = "Experiment")]
    pub retries: Option<Retries>,
    /// Fewest replicas
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 1, help_heading = "Engines")]
    pub min_replicas: u32,
    /// Most replicas [default: twice the largest demand]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Engines")]
    pub max_replicas: Option<u32>,
    /// Objective: time to first token, queueing included
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, default_value = "3s", help_heading = "Objective")]
    pub ttft: HumanDuration,
    /// Objective: mean time between the tokens of a request
    #[arg(
        long,
        value_name = "DURATION",
        allow_hyphen_values = true,
        default_value = "100ms",
        help_heading = "Objective"
    )]
    pub inter_token_latency: HumanDuration,
    /// Objective: share of requests that meet both. Bounds 1 - overflow at level fluid and attainment at level events
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true, default_value = "99%", help_heading = "Objective")]
    pub attainment: Percent,
    /// Time that policies learn before they are scored; traces under four days are scored from their begin
    #[arg(
        long,
        value_name = "DURATION",
        allow_hyphen_values = true,
        default_value = "3d",
        help_heading = "Experiment"
    )]
    pub train: HumanDuration,
    /// Order of the router's queue; several with commas
    #[arg(
        long,
        value_name = "QUEUE",
        value_enum,
        value_delimiter = ',',
        default_value = "deadline",
        help_heading = "Experiment"
    )]
    pub queue: Vec<QueueArg>,
    /// How closely to look; several with commas
    #[arg(
        long,
        value_name = "LEVEL",
        value_enum,
        value_delimiter = ',',
        default_value = "fluid",
        help_heading = "Experiment"
    )]
    pub level: Vec<LevelArg>,
    /// Number of seeds of arrivals and start-up times; tables show medians over them
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000), help_heading = "Experiment")]
    pub seeds: u64,
    /// Length of the pattern that our policies expect to repeat
    #[arg(
        long,
        value_name = "DURATION",
        allow_hyphen_values = true,
        default_value = "24h",
        help_heading = "Experiment"
    )]
    pub season: HumanDuration,
    /// Factor on our policies' minutes and seconds: 1 is life, 0.0125 a replay at eighty times its pace
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true, default_value_t = 1.0, value_parser = tempo, help_heading = "Experiment")]
    pub tempo: f64,
    /// Score only this stretch, as times since the start of the trace: `3d..5d`
    #[arg(long, value_name = "FROM..TO", allow_hyphen_values = true, value_parser = window, help_heading = "Experiment")]
    pub window: Option<Stretch>,
    /// Days that are played at level events, unless --window says which
    #[arg(long, value_name = "DAYS", value_enum, default_value = "all", help_heading = "Experiment")]
    pub event_days: EventDaysArg,
    /// Threads to work with [default: those of the machine]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Experiment")]
    pub threads: Option<NonZeroUsize>,
}

impl ExperimentArgs {
    /// The experiment that the flags describe.
    pub(super) fn experiment(&self, mean_replicas: Option<f64>, tuning: Tuning) -> anyhow::Result<Experiment> {
        let Some(profile) = preset(&self.engine_profile) else {
            bail!("`{}` is not an engine profile; use one of\n{}", self.engine_profile, profile_list());
        };
        let positive = |flag: &str, duration: HumanDuration| {
            let seconds = duration.as_secs_f64();
            if seconds > 0.0 { Ok(seconds) } else { bail!("{flag} must be longer than 0") }
        };
        let objective = Objective {
            ttft_seconds: positive("--ttft", self.ttft)?,
            inter_token_seconds: positive("--inter-token-latency", self.inter_token_latency)?,
        };
        if self.max_replicas.is_some_and(|most| most < self.min_replicas.max(1)) {
            bail!("--max-replicas must be at least 1 and at least --min-replicas");
        }
        let (step, limits, cached_share) = (profile.step, profile.limits, self.cached_share);
        let machine = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let engine = EngineProfile { step, limits, objective, cached_share };
        Ok(Experiment {
            mean_replicas,
            min_replicas: self.min_replicas,
            max_replicas: self.max_replicas,
            train_seconds: self.train.as_secs_f64(),
            queues: self.queues(),
            levels: self.levels(),
            tuning,
            seeds: (1..=self.seeds).collect(),
            season_seconds: positive("--season", self.season)?,
            tempo: self.tempo,
            window: self.window,
            event_days: match self.event_days {
                EventDaysArg::All => EventDays::All,
                EventDaysArg::Two => EventDays::Two,
            },
            friction: Friction {
                warm_up: self.warm_up.unwrap_or_default(),
                scrape: self.scrape.unwrap_or_default(),
                retries: self.retries,
            },
            prefix_cache: self.prefix_cache,
            threads: self.threads.unwrap_or_else(machine),
            ..Experiment::new(engine, self.startup, self.attainment.as_share())
        })
    }

    /// A flag that is about single requests, if one is given.
    pub(super) fn single_request_flag(&self) -> Option<&'static str> {
        let given = [
            ("--warm-up", self.warm_up.is_some()),
            ("--scrape", self.scrape.is_some()),
            ("--retries", self.retries.is_some()),
            ("--prefix-cache", self.prefix_cache),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }

    /// Refuses flags that would change nothing.
    pub(super) fn check_level(&self) -> anyhow::Result<()> {
        match self.single_request_flag().filter(|_| !self.level.contains(&LevelArg::Events)) {
            Some(flag) => bail!("{flag} is about single requests; add --level events"),
            None => Ok(()),
        }
    }

    fn queues(&self) -> Vec<Discipline> {
        let mut queues: Vec<Discipline> = Vec::new();
        for queue in &self.queue {
            let queue = match queue {
                QueueArg::Fifo => Discipline::Fifo,
                QueueArg::Deadline => Discipline::Deadline,
            };
            if !queues.contains(&queue) {
                queues.push(queue);
            }
        }
        queues
    }

    fn levels(&self) -> Vec<Level> {
        let mut levels: Vec<Level> = Vec::new();
        for level in &self.level {
            let level = match level {
                LevelArg::Fluid => Level::Fluid,
                LevelArg::Events => Level::Events,
            };
            if !levels.contains(&level) {
                levels.push(level);
            }
        }
        levels
    }
}

/// The shipped engine profiles, one a line.
pub(super) fn profile_list() -> String {
    let lines = presets().iter().map(|preset| format!("  {:28} {}\n", preset.name, preset.description));
    lines.collect()
}

/// Parses `3d..5d`.
fn window(text: &str) -> Result<Stretch, String> {
    let refuse = || format!("`{text}` is not a window; write two times since the start of the trace, such as 3d..5d");
    let (from, to) = text.split_once("..").ok_or_else(refuse)?;
    let seconds = |text: &str| text.parse::<HumanDuration>().map(|time| time.as_secs_f64()).map_err(|_| refuse());
    let stretch = Stretch { from_seconds: seconds(from)?, to_seconds: seconds(to)? };
    if stretch.from_seconds < stretch.to_seconds { Ok(stretch) } else { Err(refuse()) }
}

fn share(text: &str) -> Result<f64, String> {
    let ok = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    ok.ok_or_else(|| format!("`{text}` is not a share; write a number from 0 to 1"))
}

fn tempo(text: &str) -> Result<f64, String> {
    let ok = text.parse().ok().filter(|tempo| (1e-4..=10.0).contains(tempo));
    ok.ok_or_else(|| format!("`{text}` is not a tempo; write a number from 0.0001 to 10"))
}

/// Parses a mean demand.
pub(super) fn mean_replicas(text: &str) -> Result<f64, String> {
    let ok = text.parse().ok().filter(|mean: &f64| *mean > 0.0 && *mean <= 1e5);
    ok.ok_or_else(|| format!("`{text}` is not a number of replicas; write a number above 0, such as 8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_and_bad_ones_refused_with_the_fix() {
        let stretch = window("3d..5d12h").unwrap();
        assert!((stretch.from_seconds - 259_200.0).abs() < 1e-9 && (stretch.to_seconds - 475_200.0).abs() < 1e-9);
        for text in ["3d", "5d..3d", "a..b", ".."] {
            assert!(window(text).unwrap_err().contains("such as 3d..5d"), "{text}");
        }
    }

    #[test]
    fn flags_about_single_requests_need_the_level_that_plays_them() {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            experiment: ExperimentArgs,
        }
        let check = |flags: &str| {
            let words = std::iter::once("lab").chain(flags.split(' '));
            <Flags as clap::Parser>::try_parse_from(words).unwrap().experiment.check_level()
        };
        for flag in ["--warm-up 60s", "--scrape 15s", "--retries .5", "--prefix-cache"] {
            let name = flag.split(' ').next().unwrap();
            let refusal = check(flag).unwrap_err().to_string();
            assert_eq!(refusal, format!("{name} is about single requests; add --level events"));
            check(&format!("{flag} --level events")).unwrap();
            check(&format!("{flag} --level fluid,events")).unwrap();
        }
        check("--level fluid").unwrap();
    }
}
