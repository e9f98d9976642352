//! The list.

use super::{
    Baseline, additive_headroom, aibrix_apa, aibrix_kpa, autopilot, chiron, clairvoyant, crane, cron_hpa, dynamo,
    headroom_conformal, hpa_kv, hpa_queue, hpa_running, keda_waiting, knative, law_a, llm_d_p90, phpa, reactive,
    sageserve, static_peak, token_aware, wva_v1, wva_v2,
};
use super::{Demand, Knob, Policy, Task};

type Make = fn(&Task, &Demand, &[f64]) -> Box<dyn Policy>;

const fn baseline(name: &'static str, source: &'static str, knobs: &'static [Knob], make: Make) -> Baseline {
    Baseline { name, source, is_clairvoyant: false, knobs, make }
}

pub(super) const ALL: &[Baseline] = &[
    Baseline {
        is_clairvoyant: true,
        ..baseline("static-peak", "a fixed fleet for the peak of the trace", static_peak::KNOBS, static_peak::build)
    },
    baseline("reactive", "demand with headroom, held at its maximum; ships nowhere", reactive::KNOBS, reactive::build),
    baseline(
        "additive-headroom",
        "demand and a fixed number of spare replicas; ships nowhere",
        additive_headroom::KNOBS,
        additive_headroom::build,
    ),
    baseline(
        "headroom-conformal",
        "headroom as a quantile of the last day's need; ships nowhere",
        headroom_conformal::KNOBS,
        headroom_conformal::build,
    ),
    baseline(
        "law-a",
        "reactive above a floor from the same time of the last seven days; ships nowhere",
        law_a::KNOBS,
        law_a::build,
    ),
    baseline(
        "cron-hpa",
        "floor of each hour learned from last week, and an HPA on the queue (Kubernetes, KEDA cron)",
        cron_hpa::KNOBS,
        cron_hpa::build,
    ),
    baseline("hpa-queue", "Kubernetes HPA on waiting and running requests", hpa_queue::KNOBS, hpa_queue::build),
    baseline("hpa-running", "Kubernetes HPA on running requests per pod", hpa_running::KNOBS, hpa_running::build),
    baseline("hpa-kv", "Kubernetes HPA on KV cache usage (llm-d's KEDA script)", hpa_kv::KNOBS, hpa_kv::build),
    baseline(
        "keda-waiting",
        "production-stack's KEDA trigger on waiting requests, query as shipped",
        keda_waiting::KNOBS,
        keda_waiting::as_shipped,
    ),
    baseline(
        "keda-waiting-sum",
        "production-stack's KEDA trigger on waiting requests, query summed",
        keda_waiting::KNOBS,
        keda_waiting::summed,
    ),
    baseline("knative", "Knative serving's pod autoscaler on concurrency", knative::KNOBS, knative::build),
    baseline("aibrix-apa", "AIBrix podautoscaler, APA", aibrix_apa::KNOBS, aibrix_apa::build),
    baseline(
        "aibrix-kpa",
        "AIBrix podautoscaler, KPA on KV cache usage as shipped (not multiplied by the pods)",
        aibrix_kpa::KNOBS,
        aibrix_kpa::as_shipped,
    ),
    baseline(
        "aibrix-kpa-fixed",
        "AIBrix podautoscaler, KPA on KV cache usage, corrected",
        aibrix_kpa::KNOBS,
        aibrix_kpa::corrected,
    ),
    baseline("wva-v1", "llm-d workload-variant-autoscaler, saturation V1", wva_v1::KNOBS, wva_v1::build),
    baseline("wva-v2", "llm-d workload-variant-autoscaler, tokens V2", wva_v2::KNOBS, wva_v2::build),
    baseline("llm-d-p90", "llm-d's P90 latency law under KEDA, July 2026", llm_d_p90::KNOBS, llm_d_p90::build),
    baseline(
        "token-aware",
        "llm-d's token-aware KEDA trigger, after TokenScale",
        token_aware::KNOBS,
        token_aware::build,
    ),
    baseline("dynamo-load", "NVIDIA Dynamo planner, load loop", dynamo::LOAD_KNOBS, dynamo::load),
    baseline(
        "dynamo-throughput",
        "NVIDIA Dynamo planner, throughput loop (constant or Kalman predictor)",
        dynamo::THROUGHPUT_KNOBS,
        dynamo::throughput,
    ),
    baseline(
        "dynamo-both",
        "NVIDIA Dynamo planner, load loop above the throughput loop",
        dynamo::BOTH_KNOBS,
        dynamo::both,
    ),
    baseline("phpa", "jthomperoo's predictive HPA, linear or Holt-Winters", phpa::KNOBS, phpa::build),
    baseline("crane", "gocrane's effective HPA, maximum of past days over the next hour", crane::KNOBS, crane::build),
    baseline("autopilot", "Google Autopilot, horizontal (EuroSys 2020)", autopilot::KNOBS, autopilot::build),
    baseline("chiron", "Chiron's interactive back-pressure (arXiv 2501.08090)", chiron::KNOBS, chiron::build),
    baseline("sageserve", "SageServe's LT-UA (arXiv 2502.14517)", sageserve::KNOBS, sageserve::build),
    Baseline {
        is_clairvoyant: true,
        ..baseline("oracle-l", "sees one start-up time ahead", clairvoyant::ORACLE_KNOBS, clairvoyant::oracle)
    },
    Baseline {
        is_clairvoyant: true,
        ..baseline("opt", "sees everything; the optimum", clairvoyant::OPTIMUM_KNOBS, clairvoyant::optimum)
    },
];
