//! Scaling a trace until its mean demand is what was asked for.

use autoscaler_sim::{Demand, EngineProfile};

use crate::error::LabError;
use crate::trace::{ScaledTrace, Trace};

/// Requests of the pass that measures what a request weighs: enough that the weight is known within a few per mille.
const MEASURED_REQUESTS: f64 = 5e5;
/// Mean demand may be off by so much; more is corrected once (requests of a client and window are rounded).
const TOLERANCE: f64 = 0.005;

/// A trace at its factor, and its demand with the first seed.
pub(crate) struct Scaled {
    pub(crate) source: ScaledTrace,
    pub(crate) demand: Demand,
}

/// Scales a trace so that the mean demand is `mean_replicas`, or leaves it as recorded.
///
/// One pass over about half a million requests measures the demand at some factor, and the demand is linear in it.
pub(crate) fn scale(
    trace: &Trace,
    mean_replicas: Option<f64>,
    engine: &EngineProfile,
    seed: u64,
    step_seconds: f64,
) -> Result<Scaled, LabError> {
    let at = |factor: f64| -> Result<Scaled, LabError> {
        let source = trace.at(factor)?;
        let demand = Demand::from_requests(&source, seed, step_seconds, engine)?;
        Ok(Scaled { source, demand })
    };
    let Some(wanted) = mean_replicas else { return at(1.0) };
    let silent = || LabError::Silent { trace: trace.name().to_owned() };
    let corrected = |measured: &Scaled| {
        let mean = measured.demand.mean_replicas();
        if mean > 0.0 { Ok(measured.source.factor() * wanted / mean) } else { Err(silent()) }
    };
    if trace.requests() <= 0.0 {
        return Err(silent());
    }
    let scaled = at(corrected(&at(MEASURED_REQUESTS / trace.requests())?)?)?;
    if (scaled.demand.mean_replicas() / wanted - 1.0).abs() <= TOLERANCE { Ok(scaled) } else { at(corrected(&scaled)?) }
}

#[cfg(test)]
mod tests {
    use engine_model::{Objective, preset};

    use super::*;
    use crate::trace::Lengths;

    #[test]
    fn the_mean_demand_is_what_was_asked_for() {
        let preset = preset("qwen3-32b-h100-tp2").unwrap();
        let objective = Objective { ttft_seconds: 3.0, inter_token_seconds: 0.1 };
        let engine = EngineProfile { step: preset.step, limits: preset.limits, objective, cached_share: 0.0 };
        let rates: Vec<(f64, f64)> = (0..120).map(|i| (f64::from(i) * 60.0, f64::from(i % 7))).collect();
        let trace = Trace::from_rates("x", &[rates], &Lengths::conversation()).unwrap();
        for wanted in [0.5, 8.0] {
            let scaled = scale(&trace, Some(wanted), &engine, 1, 10.0).unwrap();
            assert!((scaled.demand.mean_replicas() / wanted - 1.0).abs() < 0.02, "{}", scaled.demand.mean_replicas());
        }
        assert!((scale(&trace, None, &engine, 1, 10.0).unwrap().source.factor() - 1.0).abs() < 1e-12);
        let silent = Trace::from_rates("x", &[vec![(0.0, 0.0), (60.0, 0.0)]], &Lengths::conversation()).unwrap();
        assert!(matches!(scale(&silent, Some(8.0), &engine, 1, 10.0), Err(LabError::Silent { .. })));
    }
}
