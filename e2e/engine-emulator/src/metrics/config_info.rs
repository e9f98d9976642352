//! `vllm:cache_config_info`: the cache's configuration as labels.

/// What of the configuration the emulator models; the other labels are vLLM's defaults.
#[derive(Debug)]
pub(crate) struct ConfigInfo {
    pub(crate) block_size: u32,
    pub(crate) block_size_given: bool,
    pub(crate) num_gpu_blocks: u32,
    pub(crate) num_gpu_blocks_given: bool,
    pub(crate) max_model_len: u32,
    pub(crate) prefix_caching: bool,
    pub(crate) gpu_memory_utilization: f64,
    pub(crate) kv_cache_dtype: String,
}

fn python(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

impl ConfigInfo {
    /// All labels, sorted by name.
    pub(crate) fn labels(&self) -> String {
        let tokens = u64::from(self.num_gpu_blocks) * u64::from(self.block_size);
        let concurrency = tokens as f64 / f64::from(self.max_model_len);
        let blocks = self.num_gpu_blocks.to_string();
        let own = [
            ("_block_size_resolved", "True".to_owned()),
            ("block_size", self.block_size.to_string()),
            ("cache_dtype", super::escape(&self.kv_cache_dtype)),
            ("effective_attention_block_size", self.block_size.to_string()),
            ("enable_prefix_caching", python(self.prefix_caching).to_owned()),
            ("engine", "0".to_owned()),
            ("gpu_memory_utilization", format!("{:?}", self.gpu_memory_utilization)),
            ("kv_cache_max_concurrency", format!("{concurrency:?}")),
            ("kv_cache_size_tokens", tokens.to_string()),
            ("num_gpu_blocks_override", if self.num_gpu_blocks_given { blocks.clone() } else { "None".to_owned() }),
            ("num_gpu_blocks", blocks),
            ("user_specified_block_size", python(self.block_size_given).to_owned()),
        ];
        let fixed = FIXED.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let mut labels: Vec<(&str, String)> = own.into_iter().chain(fixed).collect();
        labels.sort_unstable_by_key(|(name, _)| *name);
        let labels: Vec<String> = labels.into_iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        labels.join(",")
    }
}

const FIXED: [(&str, &str); 25] = [
    ("cache_hit_alignment_tokens", "None"),
    ("enable_mamba_shared_prefix_checkpoint", "False"),
    ("hash_block_size", "None"),
    ("is_attention_free", "False"),
    ("kv_cache_dtype_skip_layers", "[]"),
    ("kv_cache_layout", "None"),
    ("kv_cache_memory_bytes", "None"),
    ("kv_offloading_backend", "native"),
    ("kv_offloading_size", "None"),
    ("kv_sharing_fast_prefill", "False"),
    ("mamba_block_size", "None"),
    ("mamba_cache_dtype", "auto"),
    ("mamba_cache_mode", "none"),
    ("mamba_page_size_padded", "None"),
    ("mamba_ssm_cache_dtype", "auto"),
    ("num_cpu_blocks", "None"),
    ("prefix_cache_retention_interval", "0"),
    ("prefix_caching_hash_algo", "sha256"),
    ("prefix_match_unit", "None"),
    ("replayssm_buffer_len", "16"),
    ("skip_page_size_padded", "None"),
    ("sliding_window", "None"),
    ("swa_bounded_replay", "True"),
    ("use_kda_recoverssm", "False"),
    ("use_replayssm", "False"),
];
