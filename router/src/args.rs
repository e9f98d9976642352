//! Flags and environment.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use process::args::ProcessArgs;
use process::config::Duration as HumanDuration;

use crate::config::{EnginesConfig, FileConfig, KubernetesConfig, MaxInFlight, QueueDiscipline};

/// OpenAI-compatible reverse proxy over LLM engines.
///
/// Requests are forwarded byte for byte to the least loaded engine that serves their `model`, answers are streamed back
/// as they come. The data port answers /health, /version, /engines and /v1/models itself.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "router", version, after_help = EXAMPLES)]
pub struct Args {
    /// Address of the data port [default: 0.0.0.0:8000]
    #[arg(long, value_name = "ADDRESS", env = "ROUTER_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Threads that carry requests [default: one per core]
    #[arg(long, value_name = "NUMBER", env = "ROUTER_WORKERS")]
    pub workers: Option<NonZeroUsize>,
    /// Base URL of an engine, such as http://10.0.0.7:8000; may be repeated
    #[arg(
        long = "engine",
        value_name = "URL",
        env = "ROUTER_ENGINES",
        value_delimiter = ',',
        help_heading = "Engines"
    )]
    pub engines: Vec<String>,
    /// File with the list of engines, followed as it is replaced
    #[arg(long, value_name = "FILE", env = "ROUTER_ENGINES_FILE", help_heading = "Engines")]
    pub engines_file: Option<PathBuf>,
    /// Find engines as pods of the Kubernetes cluster
    #[arg(long, env = "ROUTER_KUBERNETES", help_heading = "Engines")]
    pub kubernetes: bool,
    /// Namespace of the engine pods [default: the router's own]
    #[arg(
        long,
        value_name = "NAME",
        env = "ROUTER_ENGINES_NAMESPACE",
        requires = "kubernetes",
        help_heading = "Engines"
    )]
    pub engines_namespace: Option<String>,
    /// Helm release of the engine pods (label app.kubernetes.io/instance) [default: any]
    #[arg(
        long,
        value_name = "NAME",
        env = "ROUTER_ENGINES_RELEASE",
        requires = "kubernetes",
        help_heading = "Engines"
    )]
    pub engines_release: Option<String>,
    /// Most requests that this router sends to one engine at a time; auto: learned from its metrics [default: no limit]
    #[arg(long, value_name = "NUMBER|auto", env = "ROUTER_MAX_IN_FLIGHT_PER_ENGINE", help_heading = "Limits")]
    pub max_in_flight_per_engine: Option<MaxInFlight>,
    /// Largest request body in bytes [default: 67108864]
    #[arg(long, value_name = "BYTES", env = "ROUTER_MAX_BODY_BYTES", help_heading = "Limits")]
    pub max_body_bytes: Option<u64>,
    /// Who is next in the queue [default: deadline]
    #[arg(long, value_name = "ORDER", env = "ROUTER_QUEUE_DISCIPLINE", help_heading = "Limits")]
    pub queue_discipline: Option<QueueDiscipline>,
    /// Longest wait for an engine [default: 30s]
    #[arg(long, value_name = "DURATION", env = "ROUTER_QUEUE_DEADLINE", help_heading = "Limits")]
    pub queue_deadline: Option<HumanDuration>,
    /// Engines a request is sent to before its failure is told [default: 3]
    #[arg(long, value_name = "NUMBER", env = "ROUTER_MAX_ATTEMPTS", help_heading = "Limits")]
    pub max_attempts: Option<NonZeroU32>,
    /// Ask this URL until it answers 200, print what it says and exit: a health check where there is no curl
    #[arg(long, value_name = "URL", help_heading = "Probe")]
    pub probe: Option<String>,
    /// Longest time that --probe asks, 1s or more [default: 5s]
    #[arg(long, value_name = "DURATION", requires = "probe", help_heading = "Probe")]
    pub probe_deadline: Option<HumanDuration>,
    #[command(flatten)]
    /// Flags that every program has.
    pub process: ProcessArgs,
}

const EXAMPLES: &str = "\
Examples:
  router --engine http://127.0.0.1:8001 --engine http://127.0.0.1:8002
  router --engines-file /run/engines.json --listen 127.0.0.1:8000
  router --kubernetes --engines-release vllm --config /etc/router/config.yaml
  router --probe http://127.0.0.1:9100/readyz

Every setting: flag, then environment variable, then configuration file, then default.
Queue, retries, limits and models in the file may be edited while the router runs.";

impl Args {
    /// Puts flags and environment over `file`.
    #[must_use]
    pub fn over(&self, mut file: FileConfig) -> FileConfig {
        file.engines.override_with(EnginesConfig {
            fixed: self.engines.clone(),
            file: self.engines_file.clone(),
            kubernetes: self.kubernetes.then(|| KubernetesConfig {
                namespace: self.engines_namespace.clone(),
                release: self.engines_release.clone(),
            }),
        });
        file.listen = self.listen.or(file.listen);
        file.workers = self.workers.or(file.workers);
        file.max_in_flight_per_engine = self.max_in_flight_per_engine.or(file.max_in_flight_per_engine);
        file.max_body_bytes = self.max_body_bytes.or(file.max_body_bytes);
        file.queue.discipline = self.queue_discipline.or(file.queue.discipline);
        file.queue.deadline = self.queue_deadline.or(file.queue.deadline);
        file.retry.max_attempts = self.max_attempts.or(file.retry.max_attempts);
        let process = &self.process;
        file.process.admin_address = process.admin_address.or(file.process.admin_address);
        file.process.log_level = process.log_level.clone().or(file.process.log_level);
        file.process.log_format = process.log_format.or(file.process.log_format);
        file
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_rest_stays() {
        let args =
            Args::parse_from(["router", "--engine", "http://a:1", "--engine", "http://b:1", "--queue-deadline", "5s"]);
        let file = process::config::parse("maxBodyBytes: 5\nqueue: {deadline: 1s, maxRequests: 2}").expect("valid");
        let merged = args.over(file);
        assert_eq!(merged.engines.fixed, ["http://a:1", "http://b:1"]);
        assert_eq!(merged.queue.deadline, Some(HumanDuration::from_secs(5)));
        assert_eq!((merged.max_body_bytes, merged.queue.max_requests), (Some(5), Some(2)));
    }

    #[test]
    fn a_bad_flag_value_names_the_flag_and_what_is_wanted() {
        let message = Args::try_parse_from(["router", "--queue-deadline", "5"]).expect_err("no unit").to_string();
        assert!(message.contains("--queue-deadline") && message.contains("250ms"), "{message}");
        let message =
            Args::try_parse_from(["router", "--max-in-flight-per-engine", "0"]).expect_err("zero").to_string();
        assert!(message.contains("above 0, or auto"), "{message}");
        let message = Args::try_parse_from(["router", "--queue-discipline", "lifo"]).expect_err("unknown").to_string();
        assert!(message.contains("deadline, fifo"), "{message}");
        let message = Args::try_parse_from(["router", "--engines-release", "x"]).expect_err("alone").to_string();
        assert!(message.contains("--kubernetes"), "{message}");
    }
}
