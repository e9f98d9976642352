//! The formula against measured vLLM: needs the shared folder beside the repository (or `SHARED`), skipped without.

use std::collections::BTreeMap;

#[expect(dead_code, reason = "the example prints what is only scored here")]
mod silicon;

#[test]
fn levels_held_out_of_the_fit_are_predicted_within_five_percent_for_each_model() {
    let Some(path) = silicon::path() else { return };
    let groups = silicon::groups(&std::fs::read_to_string(path).expect("readable")).expect("well formed");
    let mut errors: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut left_out = 0;
    for group in &groups {
        if group.lack().is_some() {
            left_out += group.rows.len();
            continue;
        }
        let score = group.score().unwrap_or_else(|error| panic!("{} on {}: {error}", group.model, group.gpu));
        errors.entry(&group.model).or_default().extend(score.held_out);
    }
    let rows: usize = groups.iter().map(|group| group.rows.len()).sum();
    assert_eq!(rows, 881, "the file has changed: judge it anew");
    assert!(left_out < rows / 8, "{left_out} of {rows} rows are in groups too small to hold a level out");
    assert_eq!(errors.len(), 4, "{:?}", errors.keys());
    for (model, errors) in errors {
        let median = silicon::median(&errors);
        assert!(median <= 0.05, "{model}: {median:.4} over {} rows", errors.len());
    }
}

/// Which parameters share the work depends on how computing and context are told apart; the step times must not.
#[test]
fn shipped_presets_are_within_five_percent_of_the_measurements() {
    let Some(path) = silicon::path() else { return };
    let groups = silicon::groups(&std::fs::read_to_string(path).expect("readable")).expect("well formed");
    for preset in engine_model::presets() {
        let name = preset.name;
        let (model, precision) = match name {
            _ if name.starts_with("qwen3-32b") => ("Qwen3-32B", "bf16"),
            _ if name.starts_with("llama-3.1-70b-fp8") => ("Llama-3.1-70B", "fp8"),
            _ if name.starts_with("gpt-oss-120b") => ("gpt-oss-120b", "fp4"),
            _ => ("MiniMax-M2.5", "fp8"),
        };
        let gpu = ["h100", "h200", "b200"].into_iter().find(|gpu| name.contains(gpu)).expect(name);
        let tensor = name.rsplit_once("-tp").map_or("1", |(_, tensor)| tensor);
        let parallelism =
            if model == "Qwen3-32B" { format!("{tensor}/1/1/1") } else { format!("{tensor}/1/{tensor}/1") };
        let group = groups
            .iter()
            .filter(|one| one.model == model && one.precision == precision && one.gpu == gpu)
            .filter(|one| one.parallelism == parallelism)
            .max_by_key(|one| one.rows.len())
            .unwrap_or_else(|| panic!("{name} was not measured"));
        let errors: Vec<f64> = group
            .rows
            .iter()
            .map(|row| preset.step.steady_step_seconds(row.concurrency, &row.workload) / row.inter_token_seconds - 1.0)
            .map(f64::abs)
            .collect();
        assert!(silicon::median(&errors) <= 0.05, "{name}: {:.3}", silicon::median(&errors));
    }
}
