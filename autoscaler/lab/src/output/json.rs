//! JSON lines: one run a line, the field names of [`autoscaler_sim::Outcome`].

use crate::experiment::Results;

/// One line for each run, in order of level, queue, policy and seed.
///
/// # Errors
/// None in practice: numbers that JSON does not have (infinite, NaN) are written as null.
pub fn json_lines(results: &Results) -> Result<String, serde_json::Error> {
    let mut lines = String::new();
    for row in &results.rows {
        lines.push_str(&serde_json::to_string(&row.outcome)?);
        lines.push('\n');
    }
    Ok(lines)
}
