//! Prints what the forecaster foresaw at each interval of a series, for a comparison with other forecasters.
//!
//! ```text
//! cargo run -p autoscaler-forecast --example quantiles -- SERIES.csv [SECONDS, default 240]
//! ```
//!
//! `SERIES.csv` has lines of `ts,value` at a fixed step; it is scaled to a mean of eight replicas. Each line of the output
//! is an interval of so many seconds: its number from the start of the series, the largest value in it, and the quantiles
//! .5, .8, .95 and .99 that were foreseen before it began.

use std::io::Write;

use autoscaler_forecast::{Forecaster, Rhythm};

const MEAN_REPLICAS: f64 = 8.0;
const SEASON_SECONDS: f64 = 86_400.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which series? quantiles SERIES.csv [SECONDS]")?;
    let interval_seconds: f64 = arguments.next().map_or(Ok(240.0), |text| text.parse())?;
    let text = std::fs::read_to_string(&path)?;
    let points: Vec<(f64, f64)> =
        text.lines().filter_map(|line| line.split_once(',')).filter_map(number_pair).collect();
    let [(first, _), (second, _), ..] = points[..] else {
        return Err(format!("{path}: no two lines of ts,value").into());
    };
    let step_seconds = second - first;
    let mean = points.iter().map(|(_, value)| value).sum::<f64>() / points.len() as f64;
    let rhythm = Rhythm::new(SEASON_SECONDS, 1.0, step_seconds)?;
    let steps = (interval_seconds / step_seconds).round().max(1.0) as usize;
    let mut forecaster = Forecaster::new(rhythm, 0);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (number, interval) in points.chunks_exact(steps).enumerate() {
        let quantiles = forecaster.forecast().quantiles;
        let values = interval.iter().map(|(_, value)| value * MEAN_REPLICAS / mean);
        let most = values.clone().fold(0.0, f64::max);
        let [p50, p80, p95, p99] = quantiles;
        writeln!(out, "{number},{most},{p50},{p80},{p95},{p99}")?;
        for value in values {
            forecaster.push(value);
            forecaster.look(steps);
        }
    }
    Ok(())
}

fn number_pair((ts, value): (&str, &str)) -> Option<(f64, f64)> {
    Some((ts.trim().parse().ok()?, value.trim().parse().ok()?))
}
