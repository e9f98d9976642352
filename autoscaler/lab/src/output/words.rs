//! Numbers as people read them.

use autoscaler_sim::Level;
use autoscaler_sim::bootstrap::Interval;

/// A share as a percentage with the digits that tell it from 0 or 100.
pub(super) fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "–".into();
    }
    let rest = (share * 100.0).abs().min((100.0 - share * 100.0).abs());
    let digits = if rest >= 10.0 {
        1
    } else if rest >= 0.1 {
        2
    } else {
        3
    };
    format!("{:.digits$}", share * 100.0)
}

pub(super) fn times(ratio: f64) -> String {
    if ratio.is_finite() { format!("{ratio:.2}") } else { "–".into() }
}

pub(super) fn interval(interval: Option<Interval>, show: impl Fn(f64) -> String) -> String {
    interval.map_or_else(|| "–".into(), |i| format!("{}–{}", show(i.low), show(i.high)))
}

pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::Fluid => "fluid",
        Level::Events => "events",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_show_the_digits_that_matter() {
        for (share, text) in [(0.5, "50.0"), (0.99, "99.00"), (0.9993, "99.930"), (0.0004, "0.040"), (1.0, "100.000")] {
            assert_eq!(percent(share), text);
        }
        assert_eq!(percent(f64::NAN), "–");
    }
}
