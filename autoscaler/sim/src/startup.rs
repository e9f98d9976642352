//! How long an order takes to become a Ready replica, and what can go wrong meanwhile.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use statrs::distribution::{ContinuousCDF, LogNormal};

/// Attempts after which a start is taken to succeed: keeps a run finite however long a burst of failures is.
const MOST_ATTEMPTS: u32 = 1000;

/// Why a setting of a simulation was refused: which one, and what it must be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} = {value}: must be {expected}")]
pub struct SettingError {
    /// Name of the setting.
    pub field: &'static str,
    /// The value that was given.
    pub value: f64,
    /// What would be accepted.
    pub expected: &'static str,
}

impl SettingError {
    pub(crate) fn check(ok: bool, field: &'static str, value: f64, expected: &'static str) -> Result<(), Self> {
        if ok { Ok(()) } else { Err(Self { field, value, expected }) }
    }
}

/// Time from order to Ready: fixed (`cv` 0) or lognormal, with a share of starts that fail and are tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StartupLaw {
    /// Mean seconds of one attempt. At least 0.
    pub mean_seconds: f64,
    /// Coefficient of variation, standard deviation over mean. At least 0.
    pub cv: f64,
    /// Share of attempts that fail, which is found out when the attempt ends. At least 0, below 1.
    pub failed_share: f64,
}

impl StartupLaw {
    /// Every start takes `seconds` and none fails.
    #[must_use]
    pub const fn fixed(seconds: f64) -> Self {
        Self { mean_seconds: seconds, cv: 0.0, failed_share: 0.0 }
    }

    /// Checks that every number is within its range.
    pub fn validate(&self) -> Result<(), SettingError> {
        let finite_from_zero = |value: f64| value.is_finite() && value >= 0.0;
        let (mean, cv, failed) = (self.mean_seconds, self.cv, self.failed_share);
        SettingError::check(finite_from_zero(mean), "startup", mean, "a number of seconds, at least 0")?;
        SettingError::check(finite_from_zero(cv) && cv <= 10.0, "startup cv", cv, "from 0 to 10")?;
        SettingError::check((0.0..1.0).contains(&failed), "startup fail", failed, "a share, at least 0 and below 1")
    }
}

/// A stretch of time, from and up to seconds since the start of the trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// First second that belongs to it.
    pub from_seconds: f64,
    /// First second that no longer does.
    pub to_seconds: f64,
}

impl Stretch {
    /// Whether the moment lies in it.
    #[must_use]
    pub fn contains(&self, seconds: f64) -> bool {
        self.from_seconds <= seconds && seconds < self.to_seconds
    }
}

/// What a stress test does to a fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// No more than the number have a machine, the zone is out of them: later orders wait, unbilled.
    pub stock_outs: Vec<(Stretch, u32)>,
    /// Share of the attempts that begin in the stretch and fail (0 to 1), instead of the law's.
    pub failing_starts: Vec<(Stretch, f64)>,
    /// Nothing is scraped: signals stay as they were.
    pub scrape_losses: Vec<Stretch>,
}

impl Faults {
    /// The most replicas that the zone can hold at that moment.
    #[must_use]
    pub fn stock(&self, now_seconds: f64) -> u32 {
        self.stock_outs
            .iter()
            .filter(|(when, _)| when.contains(now_seconds))
            .map(|(_, most)| *most)
            .min()
            .unwrap_or(u32::MAX)
    }

    /// Whether scrapes are lost at that moment.
    #[must_use]
    pub fn is_scrape_lost(&self, now_seconds: f64) -> bool {
        self.scrape_losses.iter().any(|when| when.contains(now_seconds))
    }

    fn failed_share(&self, now_seconds: f64, usual: f64) -> f64 {
        let burst = self.failing_starts.iter().find(|(when, _)| when.contains(now_seconds));
        burst.map_or(usual, |(_, share)| *share)
    }
}

/// One drawn start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Start {
    /// When the replica becomes Ready, in seconds since the start of the trace.
    pub ready_seconds: f64,
    /// Attempts that failed before.
    pub failures: u32,
}

/// Draws starts, the same for the same seed and the same order of calls.
#[derive(Debug, Clone)]
pub struct Starter {
    law: StartupLaw,
    lognormal: Option<LogNormal>,
    random: Pcg64Mcg,
}

impl Starter {
    /// From a law and a seed.
    pub fn new(law: StartupLaw, seed: u64) -> Result<Self, SettingError> {
        law.validate()?;
        // Of the logarithm, so that mean and coefficient of variation come out as given.
        let variance = (law.cv * law.cv).ln_1p();
        let lognormal = (law.cv > 0.0 && law.mean_seconds > 0.0)
            .then(|| LogNormal::new(law.mean_seconds.ln() - variance / 2.0, variance.sqrt()).ok())
            .flatten();
        Ok(Self { law, lognormal, random: Pcg64Mcg::seed_from_u64(seed ^ 0x57A2_7E25) })
    }

    /// A start ordered now: failed attempts take their time and are followed by the next at once.
    pub fn order(&mut self, now_seconds: f64, faults: &Faults) -> Start {
        let mut start = Start { ready_seconds: now_seconds, failures: 0 };
        loop {
            let share = faults.failed_share(start.ready_seconds, self.law.failed_share);
            let fails = share > 0.0 && self.random.random::<f64>() < share && start.failures < MOST_ATTEMPTS;
            start.ready_seconds += self.attempt_seconds();
            if !fails {
                return start;
            }
            start.failures += 1;
        }
    }

    fn attempt_seconds(&mut self) -> f64 {
        let mean = self.law.mean_seconds;
        self.lognormal.map_or(mean, |law| law.inverse_cdf(self.random.random::<f64>().clamp(1e-12, 1.0 - 1e-12)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(law: StartupLaw, faults: &Faults, count: usize) -> Vec<Start> {
        let mut starter = Starter::new(law, 7).unwrap();
        (0..count).map(|_| starter.order(100.0, faults)).collect()
    }

    #[test]
    fn random_starts_have_the_mean_and_spread_that_were_asked_for() {
        let law = StartupLaw { mean_seconds: 240.0, cv: 0.25, failed_share: 0.0 };
        let took: Vec<f64> = starts(law, &Faults::default(), 20_000).iter().map(|s| s.ready_seconds - 100.0).collect();
        let mean = took.iter().sum::<f64>() / took.len() as f64;
        let variance = took.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / took.len() as f64;
        assert!((mean - 240.0).abs() < 2.0, "{mean}");
        assert!((variance.sqrt() / mean - 0.25).abs() < 0.01, "{}", variance.sqrt() / mean);
    }

    #[test]
    fn a_failed_start_costs_its_time_and_is_tried_again_at_once() {
        let law = StartupLaw { failed_share: 0.2, ..StartupLaw::fixed(60.0) };
        let all = starts(law, &Faults::default(), 20_000);
        assert!(all.iter().all(|s| (s.ready_seconds - 160.0 - 60.0 * f64::from(s.failures)).abs() < 1e-9));
        let failures: u32 = all.iter().map(|s| s.failures).sum();
        // Attempts before the first success are geometric: 0.2 / 0.8 in the mean.
        assert!((f64::from(failures) / 20_000.0 - 0.25).abs() < 0.01, "{failures}");
    }

    #[test]
    fn a_burst_of_failures_ends_with_its_stretch() {
        let burst = Stretch { from_seconds: 0.0, to_seconds: 300.0 };
        let faults = Faults { failing_starts: vec![(burst, 1.0)], ..Faults::default() };
        let start = starts(StartupLaw::fixed(60.0), &faults, 1)[0];
        // Attempts at 100, 160, 220 and 280 fail; that of 340 does not.
        assert_eq!((start.failures, start.ready_seconds), (4, 400.0));
    }

    #[test]
    fn a_law_out_of_range_is_refused_by_name() {
        let law = StartupLaw { failed_share: 1.0, ..StartupLaw::fixed(60.0) };
        assert_eq!(
            law.validate().unwrap_err().to_string(),
            "startup fail = 1: must be a share, at least 0 and below 1"
        );
        assert_eq!(StartupLaw::fixed(f64::NAN).validate().unwrap_err().field, "startup");
    }
}
