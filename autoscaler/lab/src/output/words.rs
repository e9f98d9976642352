//! Numbers as people read them.

use autoscaler_sim::Level;
use autoscaler_sim::bootstrap::Interval;

use super::summary::Summary;

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

/// Length of a trace and of the training in it; in minutes where days would be a small fraction.
pub(super) fn span(seconds: f64, train_seconds: f64) -> String {
    if seconds < 6.0 * 3600.0 {
        return format!("{:.0} minutes, {:.0} of them training", seconds / 60.0, train_seconds / 60.0);
    }
    format!("{:.1} days, {:.1} of them training", seconds / 86_400.0, train_seconds / 86_400.0)
}

pub(super) fn times(ratio: f64) -> String {
    if ratio.is_finite() { format!("{ratio:.2}") } else { "–".into() }
}

pub(super) fn interval(interval: Option<Interval>, show: impl Fn(f64) -> String) -> String {
    interval.map_or_else(|| "–".into(), |i| format!("{}–{}", show(i.low), show(i.high)))
}

/// The two shares of a run, with ` !` at the one that the target bounds where it is missed: overflow, attainment.
pub(super) fn shares(summary: &Summary<'_>) -> [String; 2] {
    let mark = |bounded: Level| if summary.level == bounded && !summary.is_on_target { " !" } else { "" };
    [
        format!("{}{}", percent(summary.overflow), mark(Level::Fluid)),
        format!("{}{}", percent(summary.attainment), mark(Level::Events)),
    ]
}

/// What the marks of these rows mean; empty without any.
pub(super) fn legend(summaries: &[Summary<'_>]) -> String {
    let known = [
        (summaries.iter().any(|summary| summary.matched_times_opt.is_some()), "matched: cost at exactly the target"),
        (summaries.iter().any(|summary| !summary.is_on_target), "!: misses the target"),
        (summaries.iter().any(|summary| summary.row.is_clairvoyant), "*: knows the future"),
    ];
    let known: Vec<&str> = known.into_iter().filter(|(is_there, _)| *is_there).map(|(_, words)| words).collect();
    known.join("; ")
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
    fn a_short_trace_is_told_in_minutes() {
        assert_eq!(span(1800.0, 0.0), "30 minutes, 0 of them training");
        assert_eq!(span(5.0 * 86_400.0, 259_200.0), "5.0 days, 3.0 of them training");
    }

    #[test]
    fn percentages_show_the_digits_that_matter() {
        for (share, text) in [(0.5, "50.0"), (0.99, "99.00"), (0.9993, "99.930"), (0.0004, "0.040"), (1.0, "100.000")] {
            assert_eq!(percent(share), text);
        }
        assert_eq!(percent(f64::NAN), "–");
    }
}
