//! Parameters of known model and GPU pairs.

use crate::{Limits, StepTime};

/// A model on its GPUs: step time and what fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// Name by which flags and files choose it.
    pub name: &'static str,
    /// Model, precision, GPUs, and where the numbers come from.
    pub description: &'static str,
    /// Step time, fitted to published measurements of vLLM serving in aggregated mode.
    pub step: StepTime,
    /// Limits: vLLM's defaults for the GPU, and the KV cache that is left beside the weights.
    pub limits: Limits,
}

const fn limits(kv_tokens: u64) -> Limits {
    Limits { max_sequences: 256, max_batched_tokens: 8192, kv_tokens, usable_kv_share: 0.85 }
}

/// Where `kv_tokens` is not published it is derived: (0.92 × GPU memory − weights) / bytes of KV for a token.
const PRESETS: &[Preset] = &[
    Preset {
        name: "qwen3-32b-h100-tp2",
        description: "Qwen3-32B, bf16, 2 × H100 80 GB; fit within 2.6 %, KV size as published",
        step: StepTime::from_milliseconds(13.83, 0.0489, 6.3e-5, 0.0),
        limits: limits(350_000),
    },
    Preset {
        name: "qwen3-32b-h100-tp4",
        description: "Qwen3-32B, bf16, 4 × H100 80 GB; fit within 3.4 %, KV size derived",
        step: StepTime::from_milliseconds(9.53, 0.0297, 3.3e-5, 0.0),
        limits: limits(870_000),
    },
    Preset {
        name: "llama-3.1-70b-fp8-h100-tp2",
        description: "Llama-3.1-70B, fp8, 2 × H100 80 GB; fit within 1.1 %, KV size derived",
        step: StepTime::from_milliseconds(16.48, 0.0632, 5.5e-5, 0.0),
        limits: limits(230_000),
    },
    Preset {
        name: "llama-3.1-70b-fp8-h100-tp4",
        description: "Llama-3.1-70B, fp8, 4 × H100 80 GB; fit within 2.1 %, KV size derived",
        step: StepTime::from_milliseconds(11.08, 0.0448, 2.9e-5, 0.0),
        limits: limits(680_000),
    },
    Preset {
        name: "llama-3.1-70b-fp8-b200",
        description: "Llama-3.1-70B, fp8, 1 × B200 180 GB; KV size derived",
        step: StepTime::from_milliseconds(15.46, 0.0634, 1.6e-5, 0.0),
        limits: limits(290_000),
    },
    Preset {
        name: "gpt-oss-120b-h100-tp2",
        description: "gpt-oss-120b (mixture of experts), mxfp4, 2 × H100 80 GB; fit within 0.9 %, KV size derived",
        step: StepTime::from_milliseconds(2.37, 0.0227, 1.8e-6, 1.22),
        limits: limits(1_100_000),
    },
];

/// All presets, the first being what the emulator takes when told nothing.
#[must_use]
pub fn presets() -> &'static [Preset] {
    PRESETS
}

/// The preset of that name.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
