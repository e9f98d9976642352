//! The lengths of day and minute: how long the pattern that repeats is, and how fast the rest goes.

use serde::{Deserialize, Serialize};

/// A season of less than this many plan steps repeats nothing that a plan could use.
const FEWEST_STEPS: f64 = 24.0;

/// Longest season in plan steps: a week at 10 s.
const MOST_STEPS: f64 = 60_480.0;

/// Time scales of forecast and plan.
///
/// What is naturally a part of the day (how far to look back, how fast a record fades) is a share of `season_seconds`;
/// what is naturally minutes (level windows, decays, holds) is multiplied by `tempo`. Life has a season of 24 h and a
/// tempo of 1; a replay at eighty times life has both divided by eighty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rhythm {
    season_seconds: f64,
    tempo: f64,
    step_seconds: f64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ignores_days: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ignores_misses: bool,
}

/// A rhythm that cannot be planned with.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RhythmError {
    /// The plan step is not a positive time.
    #[error("forecast.planStep = {0} s: must be above 0")]
    Step(f64),
    /// The tempo is not a positive number.
    #[error("forecast.tempo = {0}: must be above 0; 1 is life, 1/80 a replay at eighty times its pace")]
    Tempo(f64),
    /// The season is too short or too long for the plan step.
    #[error("forecast.season = {season} s: must be between {} and {} plan steps of {step} s", FEWEST_STEPS, MOST_STEPS)]
    Season {
        /// What was given.
        season: f64,
        /// The plan step.
        step: f64,
    },
}

impl RhythmError {
    /// The key that has to change.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Step(_) => "forecast.planStep",
            Self::Tempo(_) => "forecast.tempo",
            Self::Season { .. } => "forecast.season",
        }
    }
}

impl Rhythm {
    /// A day of life in plan steps of 10 s.
    pub const DAY: Self =
        Self { season_seconds: 86_400.0, tempo: 1.0, step_seconds: 10.0, ignores_days: false, ignores_misses: false };

    /// Checks and keeps the three lengths.
    ///
    /// # Errors
    /// If one of them is out of range; the message names it.
    pub fn new(season_seconds: f64, tempo: f64, step_seconds: f64) -> Result<Self, RhythmError> {
        if !(step_seconds.is_finite() && step_seconds > 0.0) {
            return Err(RhythmError::Step(step_seconds));
        }
        if !(tempo.is_finite() && tempo > 0.0) {
            return Err(RhythmError::Tempo(tempo));
        }
        let steps = season_seconds / step_seconds;
        if !(FEWEST_STEPS..=MOST_STEPS).contains(&steps) {
            return Err(RhythmError::Season { season: season_seconds, step: step_seconds });
        }
        Ok(Self { season_seconds, tempo, step_seconds, ..Self::DAY })
    }

    /// The same, with nothing laid onto the present from the same time of earlier seasons: what is lost then is what the
    /// season is worth.
    #[must_use]
    pub fn without_days(self) -> Self {
        Self { ignores_days: true, ..self }
    }

    /// The same, with a budget that never hears what was missed in truth: what is lost then is what its feedback is worth.
    #[must_use]
    pub fn without_feedback(self) -> Self {
        Self { ignores_misses: true, ..self }
    }

    /// Whether the budget hears what was missed in truth.
    #[must_use]
    pub fn feeds_back(&self) -> bool {
        !self.ignores_misses
    }

    /// Whether earlier seasons are compared with.
    #[must_use]
    pub fn compares_days(&self) -> bool {
        !self.ignores_days
    }

    /// Factor on what is naturally minutes: 1 is life.
    #[must_use]
    pub fn tempo(&self) -> f64 {
        self.tempo
    }

    /// Length of a plan step, in seconds.
    #[must_use]
    pub fn step_seconds(&self) -> f64 {
        self.step_seconds
    }

    /// Length of the season, in seconds.
    #[must_use]
    pub fn season_seconds(&self) -> f64 {
        self.season_seconds
    }

    /// The season in plan steps.
    #[must_use]
    pub fn season(&self) -> usize {
        (self.season_seconds / self.step_seconds).round() as usize
    }

    /// Plan steps in so many seasons, at least 1.
    #[must_use]
    pub fn seasons(&self, share: f64) -> usize {
        ((share * self.season_seconds / self.step_seconds).round() as usize).max(1)
    }

    /// Plan steps in so many minutes of life, rounded up.
    #[must_use]
    pub fn minutes(&self, minutes: f64) -> usize {
        self.steps(minutes * 60.0 * self.tempo)
    }

    /// Plan steps that cover so many seconds, at least 1.
    #[must_use]
    pub fn steps(&self, seconds: f64) -> usize {
        // A hair above a whole number is rounding, not another step.
        ((seconds / self.step_seconds - 1e-9).ceil().max(1.0)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_and_a_replay_have_the_lengths_that_are_documented() {
        let day = Rhythm::DAY;
        assert_eq!((day.season(), day.minutes(0.5), day.minutes(10.0)), (8640, 3, 60));
        let replay = Rhythm::new(60.0, 1.0 / 80.0, 0.25).expect("valid");
        assert_eq!((replay.season(), replay.seasons(1.0 / 24.0), replay.seasons(0.25)), (240, 10, 60));
        assert_eq!(
            (replay.minutes(10.0), replay.minutes(3.0), replay.minutes(2.0), replay.minutes(60.0)),
            (30, 9, 6, 180)
        );
    }

    #[test]
    fn a_bad_rhythm_is_refused_by_name() {
        let text = |season, tempo, step| Rhythm::new(season, tempo, step).expect_err("refused").to_string();
        assert!(text(86_400.0, 1.0, 0.0).starts_with("forecast.planStep = 0 s"));
        assert!(text(86_400.0, -1.0, 10.0).starts_with("forecast.tempo = -1"));
        assert!(text(60.0, 1.0, 10.0).starts_with("forecast.season = 60 s"));
        assert!(text(f64::NAN, 1.0, 10.0).starts_with("forecast.season"));
    }
}
