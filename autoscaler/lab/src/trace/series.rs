//! Traces that record only a rate: `ts,value` or `t_s,rps`, one line a step.

use std::io::BufRead;
use std::path::Path;

use autoscaler_sim::Request;

use super::error::TraceError;
use super::lengths::Lengths;
use super::lines::Lines;
use super::random::{exponential, stream};
use super::{MOST_SECONDS, MOST_SPAN};

/// Six years at a step of 10 s.
const MOST_STEPS: f64 = 2e7;
/// Longest cell in which requests are made at once, in seconds.
const LONGEST_CELL_SECONDS: f64 = 60.0;

/// A rate that is constant within each step; requests arrive as a Poisson process of that rate, their lengths are drawn
/// from [`Lengths`].
#[derive(Debug)]
pub(crate) struct Series {
    /// Time of the first value as it was given.
    origin_seconds: f64,
    step_seconds: f64,
    /// Steps are made in this many cells.
    cells_per_step: usize,
    /// Requests a second in each step, or any unit proportional to it.
    rates: Vec<f64>,
    lengths: Lengths,
}

impl Series {
    /// A series from values at increasing times in seconds.
    ///
    /// The step is the median distance of the times. A value holds for its step; steps without a value (a gap of the
    /// recording) are filled with a straight line between their neighbours.
    pub(crate) fn new(points: &[(f64, f64)], lengths: Lengths, path: &Path) -> Result<Self, TraceError> {
        let refuse = |problem: String, expected| TraceError::Content { path: path.to_owned(), problem, expected };
        let ([(first, _), .., (last, _)], Some(step_seconds)) = (points, median_gap(points)) else {
            return Err(refuse(format!("{} values", points.len()), "at least two values at different times"));
        };
        if last - first + step_seconds > MOST_SECONDS {
            return Err(refuse(format!("it spans {:.0} days", (last - first) / 86_400.0), MOST_SPAN));
        }
        if step_seconds < 0.1 {
            return Err(refuse(format!("steps of {step_seconds} s"), "times in seconds, at least 0.1 s apart"));
        }
        let steps = (last - first) / step_seconds;
        if steps > MOST_STEPS {
            return Err(refuse(format!("{steps:.1e} steps of {step_seconds} s"), "at most 20 million steps"));
        }
        let mut rates = Vec::new();
        for pair in points.windows(2) {
            let ((from, value), (to, next)) = (pair[0], pair[1]);
            let steps = ((to - from) / step_seconds).round().max(1.0);
            // A recorder's clock jitters: values nearer than half a step are one step each.
            let due = ((to - first) / step_seconds).round() as usize;
            for index in rates.len()..due {
                let from_start = index as f64 - ((from - first) / step_seconds).round();
                rates.push(value + (next - value) * (from_start / steps).clamp(0.0, 1.0));
            }
        }
        rates.extend(points.last().map(|(_, value)| *value));
        let cells_per_step = (step_seconds / LONGEST_CELL_SECONDS).ceil().max(1.0) as usize;
        Ok(Self { origin_seconds: *first, step_seconds, cells_per_step, rates, lengths })
    }

    /// Reads `ts,value` or `t_s,rps`.
    pub(crate) fn read(reader: impl BufRead, path: &Path, lengths: Lengths) -> Result<Self, TraceError> {
        Self::new(&read_points(reader, path)?, lengths, path)
    }

    pub(crate) fn origin_seconds(&self) -> f64 {
        self.origin_seconds
    }

    pub(crate) fn duration_seconds(&self) -> f64 {
        self.rates.len() as f64 * self.step_seconds
    }

    pub(crate) fn requests(&self) -> f64 {
        self.rates.iter().sum::<f64>() * self.step_seconds
    }

    pub(crate) fn grain_seconds(&self) -> f64 {
        self.step_seconds / self.cells_per_step as f64
    }

    /// Requests in each step of `step_seconds`, in the mean.
    pub(crate) fn counts(&self, step_seconds: f64) -> Vec<f64> {
        let steps = (self.duration_seconds() / step_seconds).ceil() as usize;
        let mut counts = vec![0.0; steps];
        for (index, rate) in self.rates.iter().enumerate() {
            let (mut from, to) = (index as f64 * self.step_seconds, (index + 1) as f64 * self.step_seconds);
            while from < to {
                let place = (from / step_seconds).floor();
                let end = ((place + 1.0) * step_seconds).min(to);
                if end <= from {
                    break;
                }
                if let Some(count) = counts.get_mut(place as usize) {
                    *count += rate * (end - from);
                }
                from = end;
            }
        }
        counts
    }

    pub(crate) fn visit(&self, factor: f64, from: f64, to: f64, seed: u64, each: &mut dyn FnMut(&Request)) {
        let cell_seconds = self.grain_seconds();
        let first = (from.max(0.0) / cell_seconds).floor() as usize;
        for cell in first..self.rates.len() * self.cells_per_step {
            let start = cell as f64 * cell_seconds;
            if start >= to {
                break;
            }
            let Some(rate) = self.rates.get(cell / self.cells_per_step).map(|rate| rate * factor) else { break };
            if rate <= 0.0 {
                continue;
            }
            let mut random = stream(&[seed, cell as u64]);
            let end = (start + cell_seconds).min(to);
            let mut at = start;
            loop {
                at += exponential(&mut random) / rate;
                if at >= end {
                    break;
                }
                let (prompt_tokens, output_tokens) = self.lengths.draw(&mut random);
                if at >= from {
                    each(&Request {
                        arrival_seconds: at,
                        prompt_tokens,
                        output_tokens,
                        prefix_group: 0,
                        shared_tokens: 0,
                    });
                }
            }
        }
    }
}

/// Reads `ts,value` or `t_s,rps` as points at increasing times; steps without a value are left out.
pub(crate) fn read_points(reader: impl BufRead, path: &Path) -> Result<Vec<(f64, f64)>, TraceError> {
    let mut lines = Lines::new(reader, path);
    if let Some(line) = lines.next_line()?
        && !matches!(line.text, "ts,value" | "t_s,rps")
    {
        return Err(line.refuse("the header", line.text, "`ts,value` or `t_s,rps`"));
    }
    let mut points: Vec<(f64, f64)> = Vec::new();
    while let Some(line) = lines.next_line()? {
        let [time, value] = line.columns("a time in seconds and a value, with a comma between")?;
        let time = line.number("the time", time, "seconds since 1970 or since the start", |t: &f64| {
            // A time in milliseconds would make the trace a thousand times as long.
            t.is_finite() && t.abs() < 1e11
        })?;
        // An empty value or NaN is a step that was not recorded.
        if !value.is_empty() && !value.eq_ignore_ascii_case("nan") {
            let value = line.number("the value", value, "a rate, at least 0", |v: &f64| (0.0..1e12).contains(v))?;
            if points.last().is_some_and(|(before, _)| time <= *before) {
                return Err(line.refuse("the time", line.text, "a time after that of the line before"));
            }
            points.push((time, value));
        }
    }
    Ok(points)
}

fn median_gap(points: &[(f64, f64)]) -> Option<f64> {
    let mut gaps: Vec<f64> = points.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|gap| *gap > 0.0).collect();
    gaps.sort_by(f64::total_cmp);
    gaps.get(gaps.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Series, TraceError> {
        Series::read(text.as_bytes(), Path::new("s.csv"), Lengths::fixed(100, 10))
    }

    #[test]
    fn a_rate_becomes_that_many_requests_in_each_step() {
        let series = read_text("t_s,rps\n0,2\n600,0\n1200,5\n").unwrap();
        assert!((series.duration_seconds() - 1800.0).abs() < 1e-9);
        let mut counts = [0.0_f64; 3];
        series.visit(10.0, 0.0, 1800.0, 3, &mut |request| counts[(request.arrival_seconds / 600.0) as usize] += 1.0);
        assert!((counts[0] - 12_000.0).abs() < 500.0, "{counts:?}");
        assert!(counts[1] < 0.5);
        assert!((counts[2] - 30_000.0).abs() < 800.0, "{counts:?}");
        assert_eq!(series.counts(1200.0), [1200.0, 3000.0]);
    }

    #[test]
    fn stretches_fit_together() {
        let series = read_text("ts,value\n1633478400,1.5\n1633478460,0.5\n1633478520,3\n").unwrap();
        let visit = |from, to| {
            let mut all = Vec::new();
            series.visit(1.0, from, to, 9, &mut |request| all.push(*request));
            all
        };
        let mut parts = visit(0.0, 60.0);
        parts.extend(visit(60.0, 180.0));
        assert_eq!(parts, visit(0.0, 180.0));
        assert!(!parts.is_empty());
    }

    #[test]
    fn gaps_of_the_recording_are_filled_with_a_straight_line() {
        let series = read_text("ts,value\n0,10\n60,\n120,NaN\n180,40\n240,40\n300,40\n360,40\n").unwrap();
        assert_eq!(series.rates, [10.0, 20.0, 30.0, 40.0, 40.0, 40.0, 40.0]);
    }

    #[test]
    fn errors_name_the_line_and_the_fix() {
        let message = |text| read_text(text).unwrap_err().to_string();
        assert!(message("time,load\n1,2\n").contains("`ts,value` or `t_s,rps`"));
        assert!(message("ts,value\n60,1\n0,1\n").contains("line 3, the time"));
        assert!(message("ts,value\n0,-1\n").contains("line 2, the value: found `-1`, expected a rate, at least 0"));
        assert!(message("ts,value\n1633478400000,1\n").contains("seconds since 1970"));
        assert!(message("ts,value\n0,1\n").contains("at least two values"));
        assert!(message("ts,value\n0,1\n1e10,1\n").contains("days"));
    }
}
