//! The laboratory's commands as a user runs them: the shipped binary, files in and out.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Five days of a wave with a spike at noon, a value every ten minutes; and long requests, so that few of them fill
/// the replicas asked for.
fn write_load(path: &Path) {
    std::fs::write(path.with_file_name("long.csv"), "prompt_tokens,output_tokens\n2000,2000\n").expect("write");
    let mut text = String::from("ts,value\n");
    for step in 0..720 {
        let hour = f64::from(step % 144) / 6.0;
        let rate =
            2.0 + (hour / 24.0 * std::f64::consts::TAU).sin() + if (12.0..13.0).contains(&hour) { 5.0 } else { 0.0 };
        text += &format!("{},{rate:.3}\n", 1_700_000_000 + step * 600);
    }
    std::fs::write(path, text).expect("write");
}

fn autoscaler(arguments: &str, folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_autoscaler"))
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("run")
}

fn answer(arguments: &str, folder: &Path) -> String {
    let output = autoscaler(arguments, folder);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn refusal(arguments: &str, folder: &Path) -> String {
    let output = autoscaler(arguments, folder);
    assert!(!output.status.success(), "{arguments} was not refused");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn the_command_line_that_scripts_rely_on_answers_a_line_for_each_run() {
    let folder = tempfile::tempdir().unwrap();
    write_load(&folder.path().join("load.csv"));
    let text = answer(
        "simulate --trace load.csv --format series --lengths long.csv --engine-profile qwen3-32b-h100-tp2 --startup 240s,cv=.25,fail=.01 \
         --ttft 3s --inter-token-latency 100ms --attainment 99% --mean-replicas 1.5 --train 3d --queue fifo,deadline \
         --level fluid --policy reactive,static-peak,opt --hindsight --seeds 2 --output json",
        folder.path(),
    );
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3 * 2 * 2);
    for line in &lines {
        assert_eq!(line["trace"], "load");
        assert_eq!(line["level"], "fluid");
        assert_eq!(line["tuned"], "hindsight");
        assert_eq!(line["startup_seconds"], 240.0);
        assert!(line["ttft_seconds"]["p99"].is_number() && line["forecast_coverage"].is_null());
        assert!(line["times_opt"].as_f64().unwrap() > 0.5);
    }
    let peak: Vec<&Value> = lines.iter().filter(|line| line["policy"] == "static-peak").collect();
    assert!(peak.len() == 4 && peak.iter().all(|line| line["overflow"].as_f64().unwrap() <= 0.011));
}

/// Names of a line's fields, in any order, with those of its parts.
const FIELDS: &str = "policy tuned trace level queue seed startup_seconds requests attainment attainment_worst_hour overflow \
                      engine_seconds opt_engine_seconds times_opt mean_replicas ttft_seconds starts starts_wasted \
                      reversals_per_day forecast_coverage";

fn assert_fields(part: &Value, names: &str) {
    let found: BTreeSet<&str> = part.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(found, names.split_whitespace().collect::<BTreeSet<_>>());
}

/// Numbers of these fields, each within `from..=to`.
fn numbers(part: &Value, names: &str, from: f64, to: f64) -> Vec<f64> {
    let number = |name| {
        let number = part[name].as_f64().unwrap_or_else(|| panic!("{name} is no number: {part}"));
        assert!((from..=to).contains(&number), "{name} is not within {from} to {to}: {part}");
        number
    };
    names.split_whitespace().map(number).collect()
}

/// Three hours with a wave in each, whose hour is the season: long enough for a forecast that is judged.
#[test]
fn a_line_holds_exactly_the_promised_fields_at_both_levels_for_ours_and_a_baseline() {
    let folder = tempfile::tempdir().unwrap();
    write_load(&folder.path().join("load.csv"));
    let waves: String = (0..37)
        .map(|step| {
            let rate = 2.0 + (f64::from(step) / 6.0 * std::f64::consts::PI).sin();
            format!("{},{rate:.3}\n", 1_700_000_000 + step * 300)
        })
        .collect();
    std::fs::write(folder.path().join("waves.csv"), format!("ts,value\n{waves}")).unwrap();
    let text = answer(
        "simulate --trace waves.csv --lengths long.csv --mean-replicas 1.5 --season 1h --policy predictive,hpa-queue \
         --level fluid,events --seeds 2 --output json",
        folder.path(),
    );
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named = |line: &Value| {
        let words = ["level", "policy"].map(|name| line[name].as_str().unwrap().to_owned());
        (words.join(" "), line["seed"].as_u64().unwrap())
    };
    let order = ["fluid predictive", "fluid hpa-queue", "events predictive", "events hpa-queue"];
    let order: Vec<_> = order.iter().flat_map(|words| [((*words).to_owned(), 1), ((*words).to_owned(), 2)]).collect();
    assert_eq!(lines.iter().map(named).collect::<Vec<_>>(), order);
    for line in &lines {
        assert_fields(line, FIELDS);
        for (name, value) in [("tuned", "defaults"), ("trace", "waves"), ("queue", "deadline")] {
            assert_eq!(line[name], value, "{name}");
        }
        assert_eq!(line["startup_seconds"], 240.0);
        let shares = numbers(line, "attainment attainment_worst_hour overflow", 0.0, 1.0);
        assert!(shares[1] <= shares[0], "the worst hour is no better than all: {line}");
        let seconds = numbers(line, "engine_seconds opt_engine_seconds", 3.0 * 3600.0, 1e6);
        let times_opt = numbers(line, "times_opt", 0.5, 10.0)[0];
        assert!((times_opt - seconds[0] / seconds[1]).abs() < 1e-9, "{line}");
        numbers(line, "mean_replicas", 1.0, 100.0);
        numbers(line, "requests", 1.0, 1e6);
        numbers(line, "reversals_per_day", 0.0, 8640.0);
        let [starts, wasted] = ["starts", "starts_wasted"].map(|name| line[name].as_u64().expect("a count"));
        assert!(wasted <= starts && starts < 1000, "{line}");
        assert_fields(&line["ttft_seconds"], "p50 p95 p99");
        assert!(numbers(&line["ttft_seconds"], "p50 p95 p99", 1e-3, 60.0).is_sorted(), "{line}");
        let coverage = &line["forecast_coverage"];
        if line["policy"] == "predictive" {
            assert_fields(coverage, "p50 p80 p95 p99");
            assert!(numbers(coverage, "p50 p80 p95 p99", 0.0, 1.0).is_sorted(), "{line}");
        } else {
            assert!(coverage.is_null(), "{line}");
        }
    }
    // Both levels score the same arrivals.
    for (fluid, events) in lines[..4].iter().zip(&lines[4..]) {
        assert_eq!(fluid["requests"], events["requests"]);
    }
}

#[test]
fn every_policy_is_listed_with_its_source() {
    let list = answer("simulate --policy list", Path::new("."));
    for name in ["reactive", "hpa-queue", "keda-waiting", "knative", "llm-d-p90", "oracle-l", "opt"] {
        assert!(list.contains(name), "{name} is missing in\n{list}");
    }
}

#[test]
fn a_report_is_one_file_that_asks_no_network() {
    let folder = tempfile::tempdir().unwrap();
    write_load(&folder.path().join("load.csv"));
    answer(
        "simulate --trace load.csv --lengths long.csv --mean-replicas 1.5 --policy reactive --seeds 1 --output html --output-file out.html",
        folder.path(),
    );
    let page = std::fs::read_to_string(folder.path().join("out.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("reactive"));
    assert!(!page.contains("src=\"") && !page.contains("<link"));
}

#[test]
fn bad_flags_are_refused_with_what_would_be_accepted() {
    let folder = tempfile::tempdir().unwrap();
    write_load(&folder.path().join("load.csv"));
    let request = |at: u32| format!("{{\"timestamp\":{at},\"input_length\":9,\"output_length\":9,\"hash_ids\":[]}}\n");
    std::fs::write(folder.path().join("short.jsonl"), [0, 100, 200].map(request).concat()).unwrap();
    for (flags, expected) in [
        ("", "name a --trace"),
        ("--trace load.csv --engine-profile gpu", "qwen3-32b-h100-tp2"),
        ("--trace load.csv --startup 240", "write a number with a unit"),
        ("--trace load.csv --startup 240s,fail=2", "startup fail = 2"),
        ("--trace load.csv --attainment 100%", "99.9%"),
        ("--trace load.csv --policy hpa", "did you mean `hpa-"),
        ("--trace load.csv --mean-replicas many", "--mean-replicas"),
        ("--trace load.csv --window 5d..3d", "such as 3d..5d"),
        ("--trace load.csv --train 9d", "--train leaves nothing"),
        ("--trace load.csv --tuned --hindsight", "cannot be used with"),
        ("--trace load.csv --format azure", "line 1, the header"),
        ("--trace absent.csv --format series", "read absent.csv"),
        ("--trace . --format series", "this is a folder"),
        ("--prometheus-url http://127.0.0.1:9", "--query"),
        ("--trace load.csv --max-replicas 0", "--max-replicas"),
        ("--trace load.csv --ttft 0s", "--ttft must be longer than 0"),
        ("--trace load.csv --ttft -3s", "`-3s` is not a duration"),
        ("--trace load.csv --startup -240s", "`-240s` is not a duration"),
        ("--trace load.csv --mean-replicas -3", "`-3` is not a number of replicas"),
        ("--trace load.csv --seeds -1", "'-1' for '--seeds <N>'"),
        ("--trace load.csv --tempo -1", "`-1` is not a tempo"),
        ("--trace load.csv --format servegen", "this is a file; expected a folder with chunk-0-trace.csv"),
        ("--trace short.jsonl", "short is too short to be scored; a trace of at least 20 s is needed"),
        ("--trace short.jsonl --train 0s", "short is too short to be scored; a trace of at least 20 s is needed"),
    ] {
        let message = refusal(&format!("simulate {flags}"), folder.path());
        assert!(message.contains(expected), "{flags}: {message}");
    }
}

#[test]
fn what_a_spreadsheet_wrote_is_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let load = folder.path().join("load.csv");
    write_load(&load);
    let text = std::fs::read_to_string(&load).unwrap();
    std::fs::write(&load, format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    answer("simulate --trace load.csv --lengths long.csv --mean-replicas 1 --policy opt --seeds 1", folder.path());
}

#[test]
fn a_backtest_compares_with_what_was_ordered() {
    let folder = tempfile::tempdir().unwrap();
    write_load(&folder.path().join("load.csv"));
    std::fs::write(folder.path().join("ordered.csv"), "ts,value\n1700000000,3\n1700086400,3\n1700400000,3\n").unwrap();
    let text = answer(
        "backtest --trace load.csv --lengths long.csv --replicas ordered.csv --train 1d --policy opt --seeds 1 --output json",
        folder.path(),
    );
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["policy"].as_str().unwrap()).collect::<Vec<_>>(), ["as-run", "opt"]);
    assert_eq!(lines[0]["mean_replicas"], 3.0);
    assert!(lines[1]["engine_seconds"].as_f64().unwrap() < lines[0]["engine_seconds"].as_f64().unwrap());
    let message = refusal("backtest --trace load.csv", folder.path());
    assert!(message.contains("name --replicas"), "{message}");
    std::fs::write(folder.path().join("other.csv"), "ts,value\n1500000000,3\n1500086400,3\n").unwrap();
    let message = refusal("backtest --trace load.csv --replicas other.csv", folder.path());
    assert!(message.contains("another time"), "{message}");
}

#[test]
fn a_benchmark_plays_every_trace_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    write_load(&folder.path().join("load.csv"));
    std::fs::write(folder.path().join("README.md"), "not a trace\n").unwrap();
    let text = answer(
        "benchmark --traces . --lengths long.csv --mean-replicas 1 --policy reactive,opt --seeds 1 --attainments 99% \
         --finalists 1 --tables traces,ramp --output-folder results",
        folder.path(),
    );
    assert_eq!(text, "");
    let written = |name: &str| std::fs::read_to_string(folder.path().join("results").join(name)).unwrap();
    let text = written("tables.md");
    for heading in [
        "## llm-d's ramp",
        "## All traces",
        "## load",
        "tuned in hindsight",
        "tuned on the first half",
        "first come, first served",
        "every request, tuned in hindsight",
        "every request of two days",
    ] {
        assert!(text.contains(heading), "{heading} is missing in\n{text}");
    }
    let runs = written("runs.jsonl");
    let levels = ["fluid", "events"].map(|level| runs.lines().filter(|line| line.contains(level)).count());
    assert!(runs.lines().all(|line| line.starts_with('{')) && levels.iter().all(|count| *count >= 2), "{runs}");
    assert!(written("load.html").contains("<title>"));
    assert!(refusal("benchmark --traces . --tables traces,bars", folder.path()).contains("`bars` is not a table"));
    let empty = tempfile::tempdir().unwrap();
    assert!(refusal("benchmark --traces .", empty.path()).contains("has no trace in it"));
}

#[test]
fn a_simulated_decision_is_explained_from_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let load = folder.path().join("load.csv");
    write_load(&load);
    // Six hours of it are enough, and six megabytes of log.
    let hours: Vec<String> = std::fs::read_to_string(&load).unwrap().lines().take(37).map(str::to_owned).collect();
    std::fs::write(&load, hours.join("\n")).unwrap();
    answer(
        "simulate --trace load.csv --lengths long.csv --mean-replicas 1.5 --policy predictive --level fluid --seeds 1 \
         --output json --decision-log decisions.jsonl",
        folder.path(),
    );
    let text = answer("explain --log decisions.jsonl", folder.path());
    for words in ["replicas decided", "Because:", "forecast  Within the next start-up time", "score     "] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let early = refusal("explain --log decisions.jsonl --at 2020-01-01T00:00:00Z", folder.path());
    assert!(early.contains("name a later --at"), "{early}");
    assert!(refusal("explain", folder.path()).contains("--standalone"), "a name, a host or a log is needed");
}
