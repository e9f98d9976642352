//! Measured rows of vLLM on real GPUs, grouped by what one set of parameters describes, and scored on whole batch levels
//! held out of the fit. Shared by a test and an example; reads `profiles/vllm-silicon.csv` of the shared folder (data of
//! ai-dynamo/aiconfigurator, Apache-2.0), which lies beside the repository or where the environment's `SHARED` says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use engine_model::{Batch, Fit, Limits, Observation, Workload, fit};

/// Levels of concurrency that a group needs before one of them is held out.
const LEAST_LEVELS: usize = 4;

/// Rows that a group needs.
const LEAST_ROWS: usize = 7;

/// One measured row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Requests in the engine.
    pub(crate) concurrency: f64,
    /// Prompt and answer of each.
    pub(crate) workload: Workload,
    /// Measured mean time between tokens.
    pub(crate) inter_token_seconds: f64,
    /// Measured mean time to first token.
    pub(crate) ttft_seconds: f64,
}

/// Rows of one model on one kind and number of GPUs, with one parallelism, precision and version of vLLM.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) model: String,
    pub(crate) gpu: String,
    pub(crate) precision: String,
    /// Tensor, attention-data, expert-tensor and expert parallelism.
    pub(crate) parallelism: String,
    pub(crate) version: String,
    pub(crate) rows: Vec<Row>,
}

/// The file, if it is there.
pub(crate) fn path() -> Option<PathBuf> {
    let shared = std::env::var_os("SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let path = shared.join("profiles/vllm-silicon.csv");
    path.exists().then_some(path)
}

/// Reads the rows. The error names line and column.
pub(crate) fn groups(text: &str) -> Result<Vec<Group>, String> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().ok_or("the file is empty")?.split(',').collect();
    let column = |name: &str| header.iter().position(|one| *one == name).ok_or_else(|| format!("no column {name}"));
    let names = ["model_path", "system", "precision", "tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size"];
    let keys = names.map(column).into_iter().collect::<Result<Vec<_>, _>>()?;
    let version = column("backend_version")?;
    let numbers = ["batch_size", "isl", "osl", "silicon_tpot_ms", "silicon_ttft_ms"];
    let numbers = numbers.map(column).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut groups: BTreeMap<Vec<String>, Group> = BTreeMap::new();
    for (line, text) in lines.enumerate().filter(|(_, text)| !text.is_empty()) {
        let cells: Vec<&str> = text.split(',').collect();
        let cell = |index: usize| {
            cells.get(index).copied().ok_or_else(|| format!("line {}: no column {}", line + 2, header[index]))
        };
        let number = |index: usize| {
            cell(index)?.parse::<f64>().map_err(|_| format!("line {}: {} is no number", line + 2, header[index]))
        };
        let mut key = keys.iter().map(|index| cell(*index).map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
        key.push(cell(version)?.to_owned());
        let values = numbers.iter().map(|index| number(*index)).collect::<Result<Vec<_>, _>>()?;
        let [concurrency, prompt_tokens, output_tokens, tpot, ttft] = values[..] else {
            return Err(format!("line {}: five numbers expected", line + 2));
        };
        let row = Row {
            concurrency,
            workload: Workload { prompt_tokens, output_tokens, cached_share: 0.0 },
            inter_token_seconds: tpot / 1e3,
            ttft_seconds: ttft / 1e3,
        };
        let group = groups.entry(key.clone()).or_insert_with(|| Group {
            model: key[0].rsplit('/').next().unwrap_or_default().to_owned(),
            gpu: key[1].trim_end_matches("_sxm").to_owned(),
            precision: if key[2].is_empty() { "bf16".to_owned() } else { key[2].clone() },
            parallelism: key[3..7]
                .iter()
                .map(|size| if size.is_empty() { "1" } else { size })
                .collect::<Vec<_>>()
                .join("/"),
            version: key[7].chars().take(10).collect(),
            rows: Vec::new(),
        });
        group.rows.push(row);
    }
    Ok(groups.into_values().collect())
}

/// How well a group is fitted.
pub(crate) struct Score {
    pub(crate) fit: Fit,
    /// Relative errors of the time between tokens of all rows, of the fit on all rows.
    pub(crate) in_sample: Vec<f64>,
    /// The same of each row, of the fit without any row of its level of concurrency.
    pub(crate) held_out: Vec<f64>,
}

impl Group {
    /// Why whole levels cannot be held out; `None` when they can.
    pub(crate) fn lack(&self) -> Option<&'static str> {
        let levels = |rows: &[&Row]| rows.iter().map(|row| row.concurrency as u64).collect::<BTreeSet<_>>().len();
        let all: Vec<&Row> = self.rows.iter().collect();
        if self.rows.len() < LEAST_ROWS {
            return Some("too few rows");
        }
        if levels(&all) < LEAST_LEVELS {
            return Some("too few levels");
        }
        let is_crossed = self.rows.iter().any(|one| {
            let shape: Vec<&Row> = self.rows.iter().filter(|row| row.workload == one.workload).collect();
            levels(&shape) > 1
        });
        (!is_crossed).then_some("each shape at one level only")
    }

    pub(crate) fn score(&self) -> Result<Score, String> {
        let fitted = |rows: &[Row]| fit(&observations(rows), None).map_err(|error| error.to_string());
        let fit = fitted(&self.rows)?;
        let mut held_out = Vec::new();
        for level in self.rows.iter().map(|row| row.concurrency as u64).collect::<BTreeSet<_>>() {
            let (held, kept): (Vec<Row>, Vec<Row>) = self.rows.iter().partition(|row| row.concurrency as u64 == level);
            let without = fitted(&kept)?;
            held_out.extend(held.iter().map(|row| error(&without, row)));
        }
        Ok(Score { fit, in_sample: self.rows.iter().map(|row| error(&fit, row)).collect(), held_out })
    }
}

fn observations(rows: &[Row]) -> Vec<Observation> {
    let limits = Limits { max_sequences: 1024, max_batched_tokens: 8192, kv_tokens: u64::MAX, usable_kv_share: 1.0 };
    rows.iter()
        .flat_map(|row| {
            [
                Observation::step(Batch::steady(row.concurrency, &row.workload), row.inter_token_seconds),
                Observation::first_token(row.concurrency, &row.workload, &limits, row.ttft_seconds),
            ]
        })
        .collect()
}

fn error(fit: &Fit, row: &Row) -> f64 {
    (fit.step.steady_step_seconds(row.concurrency, &row.workload) / row.inter_token_seconds - 1.0).abs()
}

/// The middle of some numbers.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}
