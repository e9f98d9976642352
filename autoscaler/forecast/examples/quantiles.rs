//! Prints what the forecaster foresaw at each interval of a series, for a comparison with other forecasters.
//!
//! ```text
//! cargo run -p autoscaler-forecast --example quantiles -- SERIES.csv [SECONDS, default 240]
//! ```
//!
//! `SERIES.csv` has lines of `ts,value` at a fixed step of whole plan steps (10 s); it is scaled to a mean of eight replicas.
//! Each line of the output is an interval of so many seconds, or of one step where that is longer: when it begins, in seconds
//! from the start of the series, the largest value in it, and the quantiles .5, .8, .95 and .99 of that, as they were foreseen
//! before it began. The forecaster sees each value for as many plan steps as it lasts, as it would in life.

use std::io::Write;

use autoscaler_forecast::{Forecaster, Rhythm};

const MEAN_REPLICAS: f64 = 8.0;
const SEASON_SECONDS: f64 = 86_400.0;
const PLAN_STEP_SECONDS: f64 = 10.0;

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
    let plan_steps = (step_seconds / PLAN_STEP_SECONDS).round();
    if plan_steps < 1.0 || (plan_steps * PLAN_STEP_SECONDS - step_seconds).abs() > 1e-6 {
        return Err(format!("{path}: a value every {step_seconds} s; whole multiples of {PLAN_STEP_SECONDS} s").into());
    }
    let rhythm = Rhythm::new(SEASON_SECONDS, 1.0, PLAN_STEP_SECONDS)?;
    let steps = (interval_seconds / step_seconds).round().max(1.0) as usize;
    // A forecast is of the step that begins and the start-up time after it; here both together are the interval.
    let startup_steps = steps * plan_steps as usize - 1;
    let mut forecaster = Forecaster::new(rhythm, 0);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (number, interval) in points.chunks_exact(steps).enumerate() {
        let begin_seconds = (number * steps) as f64 * step_seconds;
        let values = interval.iter().map(|(_, value)| value * MEAN_REPLICAS / mean);
        let most = values.clone().fold(0.0, f64::max);
        let [p50, p80, p95, p99] = forecaster.forecast().quantiles;
        writeln!(out, "{begin_seconds},{most},{p50},{p80},{p95},{p99}")?;
        for value in values.flat_map(|value| std::iter::repeat_n(value, plan_steps as usize)) {
            forecaster.push(value);
            forecaster.look(startup_steps);
        }
    }
    Ok(())
}

fn number_pair((ts, value): (&str, &str)) -> Option<(f64, f64)> {
    Some((ts.trim().parse().ok()?, value.trim().parse().ok()?))
}
