//! Prints, for each group of the measured rows, the fitted parameters and how well levels held out of it are predicted.
//!
//! `cargo run -p engine-model --example silicon` (needs the shared folder beside the repository, or `SHARED`).
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::collections::BTreeMap;
use std::error::Error;

#[path = "../tests/silicon/mod.rs"]
mod silicon;

fn main() -> Result<(), Box<dyn Error>> {
    let path = silicon::path().ok_or("profiles/vllm-silicon.csv is not there: set SHARED to the shared folder")?;
    let groups = silicon::groups(&std::fs::read_to_string(path)?)?;
    println!("tp/dp/moe-tp/moe-ep; parameters in ms (standard error); errors are medians in %");
    println!(
        "{:<26} {:<5} {:<5} {:<8} {:<10} {:>4}  {:<15} {:<17} {:<20} {:<14} {:>9} {:>8}",
        "model", "gpu", "prec", "parallel", "version", "rows", "α", "β", "γ", "c", "in-sample", "held-out"
    );
    let mut models: BTreeMap<&str, [Vec<f64>; 2]> = BTreeMap::new();
    for group in &groups {
        print!(
            "{:<26} {:<5} {:<5} {:<8} {:<10} {:>4}  ",
            group.model,
            group.gpu,
            group.precision,
            group.parallelism,
            group.version,
            group.rows.len()
        );
        let lack = group.lack();
        let score = match group.score() {
            Ok(score) => score,
            Err(error) => {
                println!("{}", lack.unwrap_or(&error));
                continue;
            }
        };
        let (step, errors) = (score.fit.step, score.fit.standard_errors());
        let cell =
            |value: f64, error: f64, digits: usize| format!("{:.digits$} ({:.digits$})", value * 1e3, error * 1e3);
        let small = |value: f64, error: f64| format!("{:.1e} ({:.0e})", value * 1e3, error * 1e3);
        println!(
            "{:<15} {:<17} {:<20} {:<14} {:>9.1} {:>8.1}{}",
            cell(step.fixed_seconds, errors.fixed_seconds, 2),
            cell(step.per_token_seconds, errors.per_token_seconds, 4),
            small(step.per_context_token_seconds, errors.per_context_token_seconds),
            cell(step.per_root_sequence_seconds, errors.per_root_sequence_seconds, 2),
            100.0 * silicon::median(&score.in_sample),
            100.0 * silicon::median(&score.held_out),
            lack.map_or(String::new(), |lack| format!("  not judged: {lack}")),
        );
        if lack.is_none() {
            let [in_sample, held_out] = models.entry(&group.model).or_default();
            in_sample.extend(score.in_sample);
            held_out.extend(score.held_out);
        }
    }
    println!();
    for (model, [in_sample, held_out]) in models {
        println!(
            "{model}: {} rows, median error {:.2} % in sample, {:.2} % held out",
            held_out.len(),
            100.0 * silicon::median(&in_sample),
            100.0 * silicon::median(&held_out)
        );
    }
    Ok(())
}
