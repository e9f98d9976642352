//! The command line: vLLM's flags as far as they are modelled, and the emulator's own.

use std::net::IpAddr;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

mod filter;
mod numbers;
use numbers::{positive, share, whole};

/// An LLM engine that behaves as vLLM 0.32 does, without a GPU: OpenAI API, continuous batching, KV blocks, /metrics.
///
/// Started as `engine-emulator serve MODEL [flags]`, as `engine-emulator MODEL [flags]`, or through a link named
/// `vllm` as `vllm serve MODEL [flags]`. Flags of vLLM that are not listed here are accepted and named in a warning.
#[derive(Debug, Clone, Parser)]
#[command(name = "engine-emulator", version, override_usage = USAGE, max_term_width = 120, after_help = AFTER_HELP)]
pub struct Args {
    /// Model to serve; a name, nothing is loaded. Also as first argument after `serve`.
    #[arg(long, value_name = "MODEL", default_value = "Qwen/Qwen3-32B", help_heading = VLLM)]
    pub model: String,
    /// Names that clients may use for the model; the first one is in /metrics [default: MODEL].
    #[arg(long, value_name = "NAME", num_args = 1.., help_heading = VLLM)]
    pub served_model_name: Vec<String>,
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0", help_heading = VLLM)]
    pub host: IpAddr,
    /// Port to listen on; not open before the engine is ready.
    #[arg(long, default_value_t = 8000, help_heading = VLLM)]
    pub port: u16,
    /// Require `Authorization: Bearer KEY` on /v1 paths.
    #[arg(long, value_name = "KEY", num_args = 1.., env = "VLLM_API_KEY", hide_env_values = true, help_heading = VLLM)]
    pub api_key: Vec<String>,
    /// Sequences in a step at most [default: the profile's].
    #[arg(long, value_parser = whole, help_heading = VLLM)]
    pub max_num_seqs: Option<u32>,
    /// Tokens in a step at most; longer prompts are computed in chunks [default: the profile's].
    #[arg(long, value_parser = whole, help_heading = VLLM)]
    pub max_num_batched_tokens: Option<u32>,
    /// Longest sequence in tokens, prompt and answer together; 32k is 32,000, 32K is 32,768.
    #[arg(long, value_parser = whole, default_value = "32768", help_heading = VLLM)]
    pub max_model_len: u32,
    /// Tokens in a KV block [default: 16].
    #[arg(long, value_parser = whole, help_heading = VLLM)]
    pub block_size: Option<u32>,
    /// KV blocks [default: what the profile's cache holds].
    #[arg(long, value_parser = whole, help_heading = VLLM)]
    pub num_gpu_blocks_override: Option<u32>,
    /// Share computed prompt prefixes between requests (the default).
    #[arg(long, overrides_with = "no_enable_prefix_caching", help_heading = VLLM)]
    pub enable_prefix_caching: bool,
    /// Compute every prompt whole.
    #[arg(long, overrides_with = "enable_prefix_caching", help_heading = VLLM)]
    pub no_enable_prefix_caching: bool,
    /// Requests that may wait; more are answered 503 [default: no bound].
    #[arg(long, value_parser = whole, help_heading = VLLM)]
    pub max_num_queued_reqs: Option<u32>,
    /// Seconds of wall time that requests in flight get to finish after SIGTERM; 0 cuts them off.
    #[arg(long, default_value_t = 0, help_heading = VLLM)]
    pub shutdown_timeout: u32,
    /// Count requests in flight at /load, which says 0 otherwise.
    #[arg(long, help_heading = VLLM)]
    pub enable_server_load_tracking: bool,
    /// Report cached prompt tokens in `usage`.
    #[arg(long, help_heading = VLLM)]
    pub enable_prompt_tokens_details: bool,
    /// Answer with an X-Request-Id header, the request's own or a new one.
    #[arg(long, help_heading = VLLM)]
    pub enable_request_id_headers: bool,
    /// Add histograms of the lives of KV blocks to /metrics.
    #[arg(long, help_heading = VLLM)]
    pub kv_cache_metrics: bool,
    /// Share of KV blocks to measure, 0 to 1.
    #[arg(long, value_parser = share, default_value = "0.01", help_heading = VLLM)]
    pub kv_cache_metrics_sample: f64,
    /// Seed of the answers' text and length.
    #[arg(long, default_value_t = 0, help_heading = VLLM)]
    pub seed: u64,
    /// Only shown in vllm:cache_config_info.
    #[arg(long, value_parser = share, default_value = "0.92", help_heading = VLLM)]
    pub gpu_memory_utilization: f64,
    /// Only shown in vllm:cache_config_info.
    #[arg(long, default_value = "auto", help_heading = VLLM)]
    pub kv_cache_dtype: String,

    /// Model and GPU whose measured step time and KV cache are used; `list` shows them.
    #[arg(long, default_value = "qwen3-32b-h100-tp2", env = "ENGINE_EMULATOR_PROFILE", help_heading = OWN)]
    pub profile: String,
    /// Every modelled duration is divided by this, start-up included; clients and /metrics see wall time.
    #[arg(long, value_parser = positive, default_value = "1", env = "ENGINE_EMULATOR_TIME_SCALE", help_heading = OWN)]
    pub time_scale: f64,
    /// Seconds of engine time from start to ready.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0", env = "ENGINE_EMULATOR_STARTUP",
          help_heading = OWN)]
    pub startup: f64,
    /// Seconds of engine time that waking from sleep takes. Real ones take 0.1 to 6 s at level 1.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0", env = "ENGINE_EMULATOR_WAKE_UP",
          help_heading = OWN)]
    pub wake_up: f64,
    /// Every step takes this many milliseconds of engine time, whatever is in it; the next four refine it.
    #[arg(long, value_name = "MS", value_parser = positive, env = "ENGINE_EMULATOR_STEP_MS", help_heading = OWN)]
    pub step_ms: Option<f64>,
    /// Milliseconds that a step takes however little is in it (alpha).
    #[arg(long, value_name = "MS", value_parser = positive, help_heading = OWN)]
    pub step_fixed_ms: Option<f64>,
    /// Milliseconds for each token computed (beta).
    #[arg(long, value_name = "MS", value_parser = seconds, help_heading = OWN)]
    pub step_per_token_ms: Option<f64>,
    /// Milliseconds for each token attended to (gamma).
    #[arg(long, value_name = "MS", value_parser = seconds, help_heading = OWN)]
    pub step_per_context_token_ms: Option<f64>,
    /// Milliseconds for the square root of the number of sequences (c).
    #[arg(long, value_name = "MS", value_parser = seconds, help_heading = OWN)]
    pub step_per_root_sequence_ms: Option<f64>,
    /// Milliseconds of engine time between a request's arrival and its place in the queue.
    #[arg(long, value_name = "MS", value_parser = seconds, default_value = "5", help_heading = OWN)]
    pub frontend_ms: f64,
    /// Mean length of answers that the model ends by itself, in tokens.
    #[arg(long, value_name = "TOKENS", value_parser = positive, default_value = "256", help_heading = OWN)]
    pub output_tokens: f64,
    /// Share of requests answered 500.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0", help_heading = FAULTS)]
    pub fault_error_rate: f64,
    /// Share of requests that never get an answer.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0", help_heading = FAULTS)]
    pub fault_hang_rate: f64,
    /// Share of requests whose connection is reset after a few tokens.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0", help_heading = FAULTS)]
    pub fault_reset_rate: f64,
    /// Exit with status 1 when this many requests were taken up.
    #[arg(long, value_name = "REQUESTS", help_heading = FAULTS)]
    pub fault_crash_after: Option<u64>,
    /// Steps take this many times as long.
    #[arg(long, value_name = "FACTOR", value_parser = positive, default_value = "1", help_heading = FAULTS)]
    pub fault_slow: f64,
    /// Log level, or filter directives of `tracing`.
    #[arg(long, default_value = "info", env = "LOG_LEVEL", help_heading = OWN)]
    pub log_level: String,
}

const VLLM: &str = "vLLM's flags";
const OWN: &str = "The emulator's own flags";
const FAULTS: &str = "Faults (also at run time: POST /emulator/faults when VLLM_SERVER_DEV_MODE=1)";
const USAGE: &str = "engine-emulator [serve] MODEL [OPTIONS]";
const AFTER_HELP: &str = "\
Examples:
  engine-emulator serve meta-llama/Llama-3.1-8B --port 8001 --profile qwen3-32b-h100-tp2 --startup 30
      an engine on the measured step times of an H100 pair, ready after half a minute
  engine-emulator tiny --max-num-seqs 4 --step-ms 50 --time-scale 20 --startup 60
      four places, 50 ms a step, twenty times as fast as life: ready after 3 s, 2.5 ms a step
  VLLM_SERVER_DEV_MODE=1 vllm serve tiny --max-num-queued-reqs 12 --shutdown-timeout 20
      through a link named vllm; with /pause, /sleep and /emulator/faults";

fn seconds(text: &str) -> Result<f64, String> {
    numbers::at_least_zero(text)
}

/// Arguments that were understood, and those that were not.
#[derive(Debug)]
pub struct Parsed {
    /// What was understood.
    pub args: Args,
    /// Flags of vLLM that are not modelled, each once, as given.
    pub ignored: Vec<String>,
}

/// Reads a command line (without the program's name).
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Parsed, clap::Error> {
    let command = Args::command();
    let filtered = filter::filter(&command, arguments);
    let matches = command.try_get_matches_from(std::iter::once("engine-emulator".to_owned()).chain(filtered.known))?;
    Ok(Parsed { args: Args::from_arg_matches(&matches)?, ignored: filtered.ignored })
}

#[cfg(test)]
mod tests;
