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

/// Parameters: Apache-2.0 measurements of ai-dynamo/aiconfigurator; "fit within" is the median error of `T(n)` over the
/// measured rows. Where `kv_tokens` is not published it is derived: (0.92 × GPU memory − weights) / bytes of KV for a token,
/// which are 262,144 for Qwen3-32B (64 layers × 8 heads × 128, bf16), 327,680 for Llama-3.1-70B (80 layers), 73,728 for
/// gpt-oss-120b (36 layers, heads of 64) and 253,952 for MiniMax-M2.5 (62 layers).
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
        name: "qwen3-32b-h100-tp8",
        description: "Qwen3-32B, bf16, 8 × H100 80 GB; fit within 1.9 %, KV size derived",
        step: StepTime::from_milliseconds(5.7, 0.0186, 1.1e-5, 0.55),
        limits: limits(1_990_000),
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
        name: "llama-3.1-70b-fp8-h100-tp8",
        description: "Llama-3.1-70B, fp8, 8 × H100 80 GB; fit within 1.9 %, KV size derived",
        step: StepTime::from_milliseconds(8.11, 0.0418, 0.0, 0.29),
        limits: limits(1_580_000),
    },
    Preset {
        name: "llama-3.1-70b-fp8-h200-tp2",
        description: "Llama-3.1-70B, fp8, 2 × H200 141 GB; fit within 2.3 %, KV size derived",
        step: StepTime::from_milliseconds(12.71, 0.1009, 2.6e-6, 0.0),
        limits: limits(570_000),
    },
    Preset {
        name: "llama-3.1-70b-fp8-h200-tp4",
        description: "Llama-3.1-70B, fp8, 4 × H200 141 GB; fit within 3.0 %, KV size derived",
        step: StepTime::from_milliseconds(9.05, 0.0632, 0.0, 0.0),
        limits: limits(1_360_000),
    },
    Preset {
        name: "llama-3.1-70b-fp8-h200-tp8",
        description: "Llama-3.1-70B, fp8, 8 × H200 141 GB; fit within 1.6 %, KV size derived",
        step: StepTime::from_milliseconds(7.15, 0.0347, 0.0, 0.26),
        limits: limits(2_950_000),
    },
    Preset {
        name: "llama-3.1-70b-fp8-b200",
        description: "Llama-3.1-70B, fp8, 1 × B200 180 GB; KV size derived",
        step: StepTime::from_milliseconds(15.46, 0.0634, 1.6e-5, 0.0),
        limits: limits(290_000),
    },
    Preset {
        name: "llama-3.1-70b-fp8-b200-tp2",
        description: "Llama-3.1-70B, fp8, 2 × B200 180 GB; fit within 1.1 %, KV size derived",
        step: StepTime::from_milliseconds(9.71, 0.0548, 0.0, 0.0),
        limits: limits(790_000),
    },
    Preset {
        name: "llama-3.1-70b-fp8-b200-tp4",
        description: "Llama-3.1-70B, fp8, 4 × B200 180 GB; fit within 2.5 %, KV size derived",
        step: StepTime::from_milliseconds(6.74, 0.03, 0.0, 0.38),
        limits: limits(1_800_000),
    },
    Preset {
        name: "gpt-oss-120b-h100-tp2",
        description: "gpt-oss-120b (mixture of experts), mxfp4, 2 × H100 80 GB; fit within 0.9 %, KV size derived",
        step: StepTime::from_milliseconds(2.37, 0.0227, 1.8e-6, 1.22),
        limits: limits(1_100_000),
    },
    Preset {
        name: "gpt-oss-120b-h100-tp4",
        description: "gpt-oss-120b (mixture of experts), mxfp4, 4 × H100 80 GB; fit within 1.1 %, KV size derived",
        step: StepTime::from_milliseconds(2.51, 0.0151, 0.0, 0.68),
        limits: limits(3_100_000),
    },
    Preset {
        name: "gpt-oss-120b-h200",
        description: "gpt-oss-120b (mixture of experts), mxfp4, 1 × H200 141 GB; fit within 1.6 %, KV size derived",
        step: StepTime::from_milliseconds(1.34, 0.0375, 0.0, 2.28),
        limits: limits(870_000),
    },
    Preset {
        name: "gpt-oss-120b-h200-tp2",
        description: "gpt-oss-120b (mixture of experts), mxfp4, 2 × H200 141 GB; fit within 1.7 %, KV size derived",
        step: StepTime::from_milliseconds(2.16, 0.0231, 0.0, 1.2),
        limits: limits(2_600_000),
    },
    Preset {
        name: "gpt-oss-120b-b200",
        description: "gpt-oss-120b (mixture of experts), mxfp4, 1 × B200 180 GB; fit within 1.5 %, KV size derived",
        step: StepTime::from_milliseconds(1.46, 0.0078, 0.0, 1.01),
        limits: limits(1_360_000),
    },
    Preset {
        name: "minimax-m2.5-h200-tp4",
        description: "MiniMax-M2.5 (mixture of experts), fp8, 4 × H200 141 GB; fit within 1.6 %, KV size derived",
        step: StepTime::from_milliseconds(8.86, 0.042, 0.0, 1.45),
        limits: limits(1_130_000),
    },
    Preset {
        name: "minimax-m2.5-h200-tp8",
        description: "MiniMax-M2.5 (mixture of experts), fp8, 8 × H200 141 GB; fit within 1.2 %, KV size derived",
        step: StepTime::from_milliseconds(5.34, 0.0186, 0.0, 1.22),
        limits: limits(3_180_000),
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
