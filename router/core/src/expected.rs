//! How long engines of a model take to a first token, once they have a request.

/// Share of a new sample in the mean (RFC 6298, section 2).
const MEAN_GAIN: f32 = 1.0 / 8.0;
/// Share of a new sample in the deviation (RFC 6298, section 2).
const DEVIATION_GAIN: f32 = 1.0 / 4.0;
/// Mean deviations above the mean: two of them are 1.6 standard deviations of a normal law, so that 19 of 20 are faster.
const DEVIATIONS: f32 = 2.0;

/// Moving mean and mean deviation of the time from sending a request to its first token, in milliseconds, kept as TCP
/// keeps its round-trip time (RFC 6298). Fits into one atomic word, so that requests of all threads can update it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FirstTokenTime {
    mean_ms: f32,
    deviation_ms: f32,
}

impl FirstTokenTime {
    /// Takes a measured time in, in milliseconds; one that is negative or no number changes nothing.
    #[must_use]
    pub fn with(self, sample_ms: f32) -> Self {
        if !sample_ms.is_finite() || sample_ms < 0.0 {
            return self;
        }
        if self == Self::default() {
            return Self { mean_ms: sample_ms, deviation_ms: sample_ms / 2.0 };
        }
        let off = (sample_ms - self.mean_ms).abs();
        Self {
            mean_ms: self.mean_ms + MEAN_GAIN * (sample_ms - self.mean_ms),
            deviation_ms: self.deviation_ms + DEVIATION_GAIN * (off - self.deviation_ms),
        }
    }

    /// What most requests stay below, in milliseconds; 0 as long as nothing was measured.
    pub fn expected_ms(self) -> f32 {
        self.mean_ms + DEVIATIONS * self.deviation_ms
    }

    /// Both numbers in one word; 0 is "nothing measured".
    pub fn to_word(self) -> u64 {
        u64::from(self.mean_ms.to_bits()) << 32 | u64::from(self.deviation_ms.to_bits())
    }

    /// What [`Self::to_word`] gave.
    pub fn from_word(word: u64) -> Self {
        let half = |bits: u64| f32::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap_or_default());
        Self { mean_ms: half(word >> 32), deviation_ms: half(word) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_samples_end_at_their_value_and_jitter_widens() {
        let steady = (0..60).fold(FirstTokenTime::default(), |time, _| time.with(80.0));
        assert!((steady.expected_ms() - 80.0).abs() < 1.0, "{steady:?}");
        let jumpy = (0_u8..60).fold(steady, |time, at| time.with(if at % 2 == 0 { 40.0 } else { 120.0 }));
        assert!((140.0..180.0).contains(&jumpy.expected_ms()), "{jumpy:?}");
    }

    #[test]
    fn nothing_measured_is_nothing_expected_and_nonsense_is_left_out() {
        let none = FirstTokenTime::default();
        assert!(none.expected_ms().abs() < f32::EPSILON && none.to_word() == 0);
        assert_eq!(none.with(f32::NAN).with(-1.0), none);
    }

    #[test]
    fn a_word_holds_both_numbers() {
        let time = FirstTokenTime::default().with(80.0).with(33.5);
        assert_eq!(FirstTokenTime::from_word(time.to_word()), time);
    }
}
