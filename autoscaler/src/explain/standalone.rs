//! A standalone host: what its page tells, or what its state folder holds.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Deserialize;

use super::{log, percent, write_terms};
use crate::decision_log::file_of;
use crate::standalone::state_dir::decisions_of;

/// The page answers from memory: whoever takes longer is not there.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn explain_host(host: &str, model: Option<&str>, at: Option<Timestamp>) -> anyhow::Result<String> {
    if !(host.starts_with("http://") || host.starts_with("https://")) {
        return explain_folder(Path::new(host), model, at);
    }
    if at.is_some() {
        bail!("--at needs a log: the page tells the last decision only; name the state folder instead of its URL");
    }
    process::install_crypto_provider();
    let url = format!("{}/api/state", host.trim_end_matches('/'));
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().context("set up the HTTP client")?;
    let answer = client.get(&url).send().await.and_then(reqwest::Response::error_for_status);
    let answer = answer.with_context(|| format!("ask {url}: is it the address of the page, and does it run?"))?;
    let page: Page = answer.json().await.with_context(|| format!("{url} answers something else than our page"))?;
    explain_page(&page, model)
}

/// What the page tells, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    models: Vec<Model>,
}

#[derive(Debug, Deserialize)]
struct Model {
    name: String,
    min_replicas: u32,
    max_replicas: u32,
    objective_attainment: f64,
    because: Vec<Reason>,
    terms: Vec<Term>,
    #[serde(default)]
    asleep: u32,
    now: Option<Now>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    reason: String,
    message: String,
}

#[derive(Debug, Deserialize)]
struct Term {
    term: String,
    words: String,
}

#[derive(Debug, Deserialize)]
struct Now {
    wanted: u32,
    ready: u32,
    starting: u32,
}

/// Each model that is asked for, an empty line between.
pub(super) fn explain_page(page: &Page, model: Option<&str>) -> anyhow::Result<String> {
    let shown: Vec<String> =
        page.models.iter().filter(|other| model.is_none_or(|model| other.name == model)).map(explain_model).collect();
    if shown.is_empty() {
        let known: Vec<&str> = page.models.iter().map(|model| model.name.as_str()).collect();
        bail!("no model `{}` runs there; known are: {}", model.unwrap_or_default(), known.join(", "));
    }
    Ok(shown.join("\n"))
}

fn explain_model(model: &Model) -> String {
    let mut text = format!(
        "{} has between {} and {} engines; {} % of requests are to meet the objective.\n",
        model.name,
        model.min_replicas,
        model.max_replicas,
        percent(model.objective_attainment)
    );
    if model.because.is_empty() {
        return text + "No decision yet.\n";
    }
    if let Some(now) = &model.now {
        let asleep = if model.asleep > 0 { format!(", {} asleep", model.asleep) } else { String::new() };
        text += &format!("{} wanted, {} Ready, {} starting{asleep}.\n", now.wanted, now.ready, now.starting);
    }
    write_terms(
        &mut text,
        model.because.iter().map(|reason| (reason.reason.as_str(), reason.message.as_str())),
        model.terms.iter().map(|term| (term.term.as_str(), term.words.as_str())),
    );
    text
}

/// The logs of a state folder: one model's, or all.
fn explain_folder(state_dir: &Path, model: Option<&str>, at: Option<Timestamp>) -> anyhow::Result<String> {
    let folder = decisions_of(state_dir);
    let mut known = Vec::new();
    let entries = std::fs::read_dir(&folder).with_context(|| {
        format!("{}: no decisions are logged there; is it a state folder, and decisionLog enabled?", folder.display())
    })?;
    for entry in entries {
        let name = entry.with_context(|| format!("list {}", folder.display()))?.file_name();
        known.extend(name.to_string_lossy().strip_suffix(".jsonl").map(str::to_owned));
    }
    known.sort();
    let chosen: Vec<&String> = known.iter().filter(|name| model.is_none_or(|model| *name == model)).collect();
    if chosen.is_empty() {
        bail!(
            "{}: no decision of `{}`; known are: {}",
            folder.display(),
            model.unwrap_or("any model"),
            known.join(", ")
        );
    }
    let texts: Result<Vec<String>, anyhow::Error> =
        chosen.iter().map(|name| Ok(format!("{name}\n{}", log::explain_file(&file_of(&folder, name), at)?))).collect();
    Ok(texts?.join("\n"))
}
