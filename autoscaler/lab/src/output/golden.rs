//! One small experiment as every output writes it. The policies are baselines, so that no change of the plan moves a number
//! here.

use autoscaler_sim::{Level, Stretch};
use serde_json::Value;

use super::*;
use crate::experiment::tests::{experiment, spikes};
use crate::experiment::{Experiment, Results, Tuning, run};
use crate::policies;
use crate::progress::Progress;

/// Four days of a base load with an hour's spike at noon, in hindsight, and the noon of the second day request by request.
fn results() -> Results {
    let experiment = Experiment {
        levels: vec![Level::Fluid, Level::Events],
        tuning: Tuning::Hindsight,
        window: Some(Stretch { from_seconds: 1.45 * 86_400.0, to_seconds: 1.6 * 86_400.0 }),
        keeps_steps: true,
        ..experiment()
    };
    let policies = policies::chosen(&["reactive".to_owned(), "opt".to_owned()], &[]).unwrap();
    run(&experiment, &spikes(4), &policies, &Progress::hidden()).unwrap()
}

/// Three digits of every number that is not whole.
fn round(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let short = number.as_f64().map(|number| format!("{number:.2e}").parse::<f64>());
            *value = short.and_then(Result::ok).into();
        }
        Value::Array(values) => values.iter_mut().for_each(round),
        Value::Object(fields) => fields.values_mut().for_each(round),
        _ => {}
    }
}

/// What stands between two marks, each time that both are there.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close)).map(|(inner, _)| inner)
}

/// The page without numbers: headings, ids, how many plots, and what its data name.
fn skeleton(page: &str) -> String {
    let (markup, rest) = page.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
    let data: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
    let (_, body) = markup.split_once("<body>").unwrap();
    let list = |title: &str, values: Vec<&str>| format!("{title}:\n  {}\n", values.join("\n  "));
    let keys = |value: &'static str, object: &Value| {
        let names = object.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ");
        format!("{value}: {names}\n")
    };
    let runs = data["runs"].as_array().unwrap();
    let runs_drawn = runs.iter().map(|run| {
        let has = |name: &str| if run[name].as_array().unwrap().is_empty() { "no" } else { "has" };
        let series = ["ready", "billed", "wait", "days", "frontier", "why"].map(|name| format!("{} {name}", has(name)));
        format!("  {}: {}\n", run["name"].as_str().unwrap(), series.join(", "))
    });
    [
        list("title", between(markup, "<title>", "</title>").collect()),
        list("headings", between(body, "<h1>", "</h1>").chain(between(body, "<h2>", "</h2>")).collect()),
        list("ids", between(body, " id=\"", "\"").collect()),
        format!("plots: {}, figures: {}\n", body.matches("class=\"plot\"").count(), body.matches("<figure>").count()),
        format!("scripts: {}, styles: {}\n", page.matches("<script").count(), markup.matches("<style>").count()),
        keys("data", &data),
        keys("data of a run", &runs[0]),
        format!("runs:\n{}", runs_drawn.collect::<String>()),
    ]
    .concat()
}

#[test]
fn an_experiment_is_written_as_before() {
    let results = results();
    // As wide as it needs to be, in a terminal too.
    let mut wide = comfy_table::Table::new();
    wide.force_no_tty();
    insta::assert_snapshot!("table", table::drawn(&results, wide));
    let lines: Vec<String> = json_lines(&results)
        .unwrap()
        .lines()
        .map(|line| {
            let mut line = serde_json::from_str(line).unwrap();
            round(&mut line);
            line.to_string()
        })
        .collect();
    insta::assert_snapshot!("json_lines", lines.join("\n"));
    insta::assert_snapshot!("html_skeleton", skeleton(&html(&results, &[]).unwrap()));
}
