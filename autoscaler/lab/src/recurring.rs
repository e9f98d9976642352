//! Whether a trace recurs from day to day: what a forecast of the day's course can gain depends on it.

use crate::trace::Trace;

const DAY_SECONDS: f64 = 86_400.0;
/// Step at which the load is compared with itself.
const STEP_SECONDS: f64 = 600.0;
/// Autocorrelation from which a load counts as recurring.
pub const LEAST_AUTOCORRELATION: f64 = 0.6;
/// Days of training that it takes.
pub const LEAST_TRAINING_DAYS: f64 = 3.0;

/// Correlation of a load with itself one day before, in steps of ten minutes, -1 to 1; `None` for a trace of less than
/// two days or a load that never changes.
#[must_use]
pub fn day_autocorrelation(trace: &Trace) -> Option<f64> {
    autocorrelation(&trace.counts(STEP_SECONDS), (DAY_SECONDS / STEP_SECONDS) as usize)
}

/// Whether the load recurs: trained for three days or more, and an autocorrelation at one day of at least 0.6.
#[must_use]
pub fn is_recurring(trace: &Trace, train_seconds: f64) -> bool {
    train_seconds >= LEAST_TRAINING_DAYS * DAY_SECONDS
        && day_autocorrelation(trace).is_some_and(|correlation| correlation >= LEAST_AUTOCORRELATION)
}

fn autocorrelation(values: &[f64], lag: usize) -> Option<f64> {
    if values.len() < 2 * lag {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let covariance: f64 = values.iter().zip(&values[lag..]).map(|(then, now)| (then - mean) * (now - mean)).sum();
    // Both as means, so that a long lag does not look like a weak one.
    let pairs = (values.len() - lag) as f64;
    (variance > 0.0).then(|| (covariance / pairs) / (variance / values.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_of_a_day_recurs_and_one_of_a_day_and_a_half_does_not() {
        let wave = |period: f64| -> Vec<f64> {
            (0..1440).map(|i| (f64::from(i) / period * std::f64::consts::TAU).sin()).collect()
        };
        assert!(autocorrelation(&wave(144.0), 144).unwrap() > 0.95);
        assert!(autocorrelation(&wave(216.0), 144).unwrap() < 0.0);
        assert_eq!(autocorrelation(&[1.0; 300], 144), None);
        assert_eq!(autocorrelation(&wave(144.0)[..200], 144), None);
    }
}
