//! Flags of `autoscaler standalone`.

use process::args::ProcessArgs;

/// Run engines, router and adapter on this host, without Kubernetes.
///
/// Starts engine processes from a command template, scales them with the same decisions as the controller, and hands
/// the router its list. A web page shows what happens.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct StandaloneArgs {
    /// Flags that every program has.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// On SIGTERM or SIGINT leave engines, router and adapter running; the next start adopts them
    #[arg(long, env = "STANDALONE_LEAVE_RUNNING")]
    pub leave_running: bool,
}

const EXAMPLES: &str = "\
Example of a configuration file:
  models:
  - name: llama-8b
    servedModelName: meta-llama/Llama-3.1-8B-Instruct
    command: vllm serve meta-llama/Llama-3.1-8B-Instruct --port {port}
    maxReplicas: 2
    objective: {ttft: 1s, interTokenLatency: 50ms, attainment: 99%}
  gpus: [0, 1]

The page is at http://127.0.0.1:8080, the OpenAI API at http://127.0.0.1:8000/v1.
Every setting: flag, then environment variable, then configuration file, then default.";
