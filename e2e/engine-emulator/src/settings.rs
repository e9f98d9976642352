//! What the engine runs with: arguments, profile and environment put together and checked.

use std::net::SocketAddr;
use std::time::Duration;

use engine_model::{Preset, StepTime, preset, presets};

use crate::args::Args;
use crate::faults::Faults;
use crate::metrics::ConfigInfo;
use crate::scheduler::SchedulerConfig;

/// Checked settings of one engine.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) address: SocketAddr,
    pub(crate) model: String,
    pub(crate) served_names: Vec<String>,
    pub(crate) api_keys: Vec<String>,
    pub(crate) scheduler: SchedulerConfig,
    pub(crate) block_size_given: bool,
    pub(crate) num_gpu_blocks_given: bool,
    pub(crate) gpu_memory_utilization: f64,
    pub(crate) kv_cache_dtype: String,
    pub(crate) kv_metrics: bool,
    pub(crate) load_tracking: bool,
    pub(crate) prompt_tokens_details: bool,
    pub(crate) request_id_headers: bool,
    pub(crate) dev_mode: bool,
    pub(crate) seed: u64,
    pub(crate) mean_output_tokens: f64,
    pub(crate) startup: Duration,
    pub(crate) wake_up: Duration,
    pub(crate) frontend: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) faults: Faults,
}

/// Settings that cannot work, with the flag to change.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No such profile.
    #[error("--profile {given}: no such profile; there are {known}")]
    Profile {
        /// What was given.
        given: String,
        /// The names there are.
        known: String,
    },
    /// One sequence of full length would not fit the KV cache.
    #[error(
        "--max-model-len {max_model_len}: needs more KV cache than the {kv_tokens} tokens there are; lower it, or raise \
         --num-gpu-blocks-override or --block-size"
    )]
    KvTooSmall {
        /// Tokens of the longest sequence.
        max_model_len: u32,
        /// Tokens that fit the cache.
        kv_tokens: u64,
    },
    /// The model can hold no prompt.
    #[error("--max-model-len {0}: must be at least 2, one token of prompt and one of answer")]
    TooShort(u32),
}

impl Settings {
    /// Puts `args` together; `dev_mode` is `VLLM_SERVER_DEV_MODE=1`.
    pub fn new(args: Args, dev_mode: bool) -> Result<Self, SettingsError> {
        let profile = preset(&args.profile).ok_or_else(|| SettingsError::Profile {
            given: args.profile.clone(),
            known: presets().iter().map(|preset| preset.name).collect::<Vec<_>>().join(", "),
        })?;
        let scheduler = scheduler_config(&args, profile);
        let kv_tokens = u64::from(scheduler.num_blocks.saturating_sub(1)) * u64::from(scheduler.block_size);
        if scheduler.max_model_len < 2 {
            return Err(SettingsError::TooShort(scheduler.max_model_len));
        }
        if kv_tokens < u64::from(scheduler.max_model_len) {
            return Err(SettingsError::KvTooSmall { max_model_len: scheduler.max_model_len, kv_tokens });
        }
        let served_names =
            if args.served_model_name.is_empty() { vec![args.model.clone()] } else { args.served_model_name };
        let scaled = |seconds: f64| Duration::from_secs_f64(seconds / args.time_scale);
        Ok(Self {
            address: SocketAddr::new(args.host, args.port),
            model: args.model,
            served_names,
            api_keys: args.api_key,
            scheduler,
            block_size_given: args.block_size.is_some(),
            num_gpu_blocks_given: args.num_gpu_blocks_override.is_some(),
            gpu_memory_utilization: args.gpu_memory_utilization,
            kv_cache_dtype: args.kv_cache_dtype,
            kv_metrics: args.kv_cache_metrics,
            load_tracking: args.enable_server_load_tracking,
            prompt_tokens_details: args.enable_prompt_tokens_details,
            request_id_headers: args.enable_request_id_headers,
            dev_mode,
            seed: args.seed,
            mean_output_tokens: args.output_tokens,
            startup: scaled(args.startup),
            wake_up: scaled(args.wake_up),
            frontend: scaled(args.frontend_ms / 1e3),
            shutdown_timeout: Duration::from_secs(u64::from(args.shutdown_timeout)),
            faults: Faults {
                error_rate: args.fault_error_rate,
                hang_rate: args.fault_hang_rate,
                reset_rate: args.fault_reset_rate,
                crash_after: args.fault_crash_after,
                slow: args.fault_slow,
                unhealthy: false,
            },
        })
    }

    pub(crate) fn config_info(&self) -> ConfigInfo {
        ConfigInfo {
            block_size: self.scheduler.block_size,
            block_size_given: self.block_size_given,
            num_gpu_blocks: self.scheduler.num_blocks,
            num_gpu_blocks_given: self.num_gpu_blocks_given,
            max_model_len: self.scheduler.max_model_len,
            prefix_caching: self.scheduler.prefix_caching,
            gpu_memory_utilization: self.gpu_memory_utilization,
            kv_cache_dtype: self.kv_cache_dtype.clone(),
        }
    }
}

fn scheduler_config(args: &Args, profile: &Preset) -> SchedulerConfig {
    let block_size = args.block_size.unwrap_or(16);
    let profile_blocks = u32::try_from(profile.limits.kv_tokens / u64::from(block_size)).unwrap_or(u32::MAX);
    SchedulerConfig {
        max_num_seqs: args.max_num_seqs.unwrap_or(profile.limits.max_sequences),
        max_num_batched_tokens: args.max_num_batched_tokens.unwrap_or(profile.limits.max_batched_tokens),
        max_model_len: args.max_model_len,
        block_size,
        num_blocks: args.num_gpu_blocks_override.unwrap_or(profile_blocks),
        prefix_caching: !args.no_enable_prefix_caching,
        max_num_queued_reqs: args.max_num_queued_reqs,
        step: step_time(args, profile),
        time_scale: args.time_scale,
        kv_sample: args.kv_cache_metrics.then_some(args.kv_cache_metrics_sample),
    }
}

fn step_time(args: &Args, profile: &Preset) -> StepTime {
    let mut step =
        args.step_ms.map_or(profile.step, |milliseconds| StepTime::from_milliseconds(milliseconds, 0.0, 0.0, 0.0));
    let set = |parameter: &mut f64, milliseconds: Option<f64>| {
        if let Some(milliseconds) = milliseconds {
            *parameter = milliseconds / 1e3;
        }
    };
    set(&mut step.fixed_seconds, args.step_fixed_ms);
    set(&mut step.per_token_seconds, args.step_per_token_ms);
    set(&mut step.per_context_token_seconds, args.step_per_context_token_ms);
    set(&mut step.per_root_sequence_seconds, args.step_per_root_sequence_ms);
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(line: &str) -> Result<Settings, SettingsError> {
        let parsed = crate::args::parse(line.split_whitespace().map(str::to_owned)).expect("arguments");
        Settings::new(parsed.args, false)
    }

    #[test]
    fn a_cache_too_small_for_one_sequence_is_refused_with_the_flags_to_change() {
        let error = settings("m --num-gpu-blocks-override 40 --block-size 32").expect_err("1,248 tokens").to_string();
        assert!(error.contains("--max-model-len 32768") && error.contains("1248"), "{error}");
        assert!(settings("m --num-gpu-blocks-override 40 --block-size 32 --max-model-len 512").is_ok());
    }

    #[test]
    fn an_unknown_profile_is_refused_with_those_there_are() {
        let error = settings("m --profile a100").expect_err("unknown").to_string();
        assert!(error.contains("qwen3-32b-h100-tp2"), "{error}");
    }

    #[test]
    fn a_step_time_replaces_the_profiles_and_durations_are_scaled() {
        let settings = settings("m --step-ms 50 --step-per-token-ms 0.1 --time-scale 20 --startup 60").expect("fine");
        assert_eq!(settings.scheduler.step, StepTime::from_milliseconds(50.0, 0.1, 0.0, 0.0));
        assert_eq!(settings.startup, Duration::from_secs(3));
    }
}
