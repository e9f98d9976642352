//! Kubernetes quantities with milli precision in their canonical form.
//!
//! HPA reads every value as whole thousandths (`MilliValue`), rounding up what is finer. So values are rounded here, to
//! the nearest thousandth, and saturate at what an `i64` of thousandths can hold instead of wrapping around.

use std::fmt;

use serde::{Serialize, Serializer};

/// A number of thousandths, printed as a canonical decimal quantity (`1500m`, `30`, `2k`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    millis: i64,
}

/// Largest suffix last; the first is thousandths. `i64::MAX` thousandths is a little above nine peta.
const SUFFIXES: [&str; 7] = ["m", "", "k", "M", "G", "T", "P"];

/// A value that is no number (NaN) or has no end (infinite) cannot become a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is not a finite number")]
pub struct NotFinite;

impl Quantity {
    /// Rounds to the nearest thousandth, half away from zero, and saturates at ± `i64::MAX` thousandths.
    ///
    /// ```
    /// use adapter_api::Quantity;
    /// assert_eq!(Quantity::from_f64(1.5).unwrap().to_string(), "1500m");
    /// assert_eq!(Quantity::from_f64(2000.0).unwrap().to_string(), "2k");
    /// assert!(Quantity::from_f64(f64::NAN).is_err());
    /// ```
    pub fn from_f64(value: f64) -> Result<Self, NotFinite> {
        if !value.is_finite() {
            return Err(NotFinite);
        }
        // `as` saturates for floats; the lower bound is -MAX, because Kubernetes negates quantities.
        let millis = ((value * 1000.0).round() as i64).max(-i64::MAX);
        Ok(Self { millis })
    }

    /// The value in thousandths.
    pub fn millis(self) -> i64 {
        self.millis
    }

    /// Whether the value was too large and is the largest that can be said.
    pub fn is_saturated(self) -> bool {
        self.millis == i64::MAX || self.millis == -i64::MAX
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis == 0 {
            return f.write_str("0");
        }
        let mut mantissa = self.millis;
        let mut suffix = 0;
        while mantissa % 1000 == 0 && suffix + 1 < SUFFIXES.len() {
            mantissa /= 1000;
            suffix += 1;
        }
        write!(f, "{mantissa}{}", SUFFIXES[suffix])
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(value: f64) -> String {
        Quantity::from_f64(value).unwrap().to_string()
    }

    /// An independent reading of a quantity, in thousandths.
    fn read_millis(text: &str) -> i128 {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let suffix = &text[digits.len()..];
        let exponent = ["m", "", "k", "M", "G", "T", "P", "E"].iter().position(|known| *known == suffix).unwrap();
        digits.parse::<i128>().unwrap() * 1000_i128.pow(u32::try_from(exponent).unwrap())
    }

    #[test]
    fn values_print_in_the_canonical_form_of_kubernetes() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.5, "1500m"),
            (30.0, "30"),
            (2000.0, "2k"),
            (1_500_000.0, "1500k"),
            (1e6, "1M"),
            (1e15, "1P"),
            (0.0004, "0"),
            (0.0006, "1m"),
            (0.0005, "1m"),
            (-0.0006, "-1m"),
            (-2.5, "-2500m"),
            (0.95, "950m"),
        ] {
            assert_eq!(printed(value), expected, "{value}");
        }
    }

    #[test]
    fn too_large_values_saturate_and_say_so() {
        assert_eq!(printed(1e300), "9223372036854775807m");
        assert_eq!(printed(-1e300), "-9223372036854775807m");
        assert!(Quantity::from_f64(9.3e15).unwrap().is_saturated());
        assert!(!Quantity::from_f64(9.2e15).unwrap().is_saturated());
    }

    #[test]
    fn nan_and_infinity_never_become_a_number() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Quantity::from_f64(value), Err(NotFinite));
        }
    }

    proptest! {
        #[test]
        fn printing_loses_nothing_and_uses_the_largest_suffix(millis in any::<i64>()) {
            let millis = millis.max(-i64::MAX);
            let text = Quantity { millis }.to_string();
            prop_assert_eq!(read_millis(&text), i128::from(millis));
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let mantissa: i64 = digits.parse().unwrap();
            prop_assert!(mantissa == 0 || mantissa % 1000 != 0 || text.ends_with('P'), "{}", text);
        }

        #[test]
        fn rounding_is_never_off_by_more_than_half_a_thousandth(value in -1e9_f64..1e9) {
            let millis = Quantity::from_f64(value).unwrap().millis();
            prop_assert!((millis as f64 - value * 1000.0).abs() <= 0.5 + 1e-3, "{} became {}m", value, millis);
        }
    }
}
