//! The running program against what a real vLLM 0.32 printed (`tests/fixtures`).

mod life;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;

use serde_json::{Value, json};
use support::{Answer, Engine, eventually, read_answer, read_head, value, write_request};

const SERVER_A: &str = "--max-model-len 512 --max-num-seqs 4 --num-gpu-blocks-override 40 --block-size 32 \
    --load-format dummy --dtype bfloat16 --enforce-eager --enable-server-load-tracking --enable-prompt-tokens-details \
    --enable-request-id-headers --kv-cache-metrics --kv-cache-metrics-sample 1.0 --max-num-queued-reqs 12 \
    --shutdown-timeout 20 --step-ms 5";

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("fixture")
}

fn fixture_json(name: &str) -> Value {
    serde_json::from_str(&fixture(name)).expect("fixture is JSON")
}

/// Families in their order with type, and the samples of each.
type Shape = (Vec<(String, String)>, BTreeMap<String, BTreeSet<String>>);

/// Families in their order with type, and of each its samples: name and labels. Of the information metric only the
/// labels' names count.
fn shape(page: &str) -> Shape {
    let (mut families, mut samples) = (Vec::new(), BTreeMap::new());
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.push((name.to_owned(), kind.to_owned()));
            samples.insert(name.to_owned(), BTreeSet::new());
        } else if line.starts_with("vllm:") {
            let sample = line.rsplit_once(' ').expect("a value").0;
            let sample = if sample.starts_with("vllm:cache_config_info") {
                sample.split('"').step_by(2).collect::<String>()
            } else {
                sample.to_owned()
            };
            let family = &families.last().expect("TYPE before samples").0;
            samples.get_mut(family).expect("known").insert(sample);
        }
    }
    (families, samples)
}

fn assert_same_shape(ours: &str, captured: &str) {
    let ((our_families, our_samples), (families, samples)) = (shape(ours), shape(captured));
    assert_eq!(our_families, families, "families, types and their order");
    for (family, captured) in samples {
        assert_eq!(our_samples[&family], captured, "samples of {family}");
    }
}

#[test]
fn metrics_at_rest_have_the_captured_families_types_labels_and_buckets() {
    let plain = Engine::start("--max-model-len 512");
    let page = plain.get("/metrics");
    assert_eq!(page.header("content-type"), Some("text/plain; version=1.0.0; charset=utf-8"));
    assert_same_shape(&page.body, &fixture("metrics-rest-default-flags.prom"));
    let server_a = Engine::start(SERVER_A);
    let (ours, captured) = (server_a.metrics(), fixture("metrics-rest.prom"));
    assert_same_shape(&ours, &captured);
    for line in captured.lines().filter(|line| line.starts_with("vllm:") && !line.contains("_created{")) {
        let (sample, number) = line.rsplit_once(' ').expect("a value");
        if !sample.starts_with("vllm:cache_config_info") {
            assert!(ours.lines().any(|our| our == line), "{sample} is {number} at rest");
        }
    }
    for label in [r#"kv_cache_max_concurrency="2.5""#, r#"kv_cache_size_tokens="1280""#, r#"num_gpu_blocks="40""#] {
        assert!(captured.contains(label) && ours.contains(label), "{label}");
    }
}

fn long_chat(number: usize, stream: bool) -> String {
    let text = "You are a careful assistant that answers in plain words and never repeats the license text of the \
                software. ";
    json!({
        "model": "tiny", "messages": [{"role": "user", "content": format!("Request {number}: {}", text.repeat(6))}],
        "max_tokens": 300, "stream": stream, "ignore_eos": true
    })
    .to_string()
}

/// Twenty streams at once, as captured: the process is stopped while they are sent, so that they arrive together.
#[test]
fn twenty_streams_at_once_are_four_running_eight_waiting_and_eight_rejected_in_stream() {
    let engine = Engine::start(SERVER_A);
    assert_eq!(engine.post("/emulator/faults", r#"{"slow": 200}"#).status, 200);
    engine.signal("-STOP");
    let streams: Vec<TcpStream> = (0..20).map(|number| engine.open_chat(&long_chat(number, true))).collect();
    engine.signal("-CONT");
    let page = eventually("four run and eight wait", || {
        let page = engine.metrics();
        let running = value(&page, "vllm:num_requests_running");
        (running > 3.5 && value(&page, "vllm:num_requests_waiting{") < 8.5).then_some(page)
    });
    let captured = fixture("metrics-under-load.prom");
    assert_same_shape(&page, &captured);
    for sample in [
        "vllm:num_requests_running",
        "vllm:num_requests_waiting{",
        r#"vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"}"#,
        r#"vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="deferred"}"#,
        r#"vllm:admission_rejections_total{model_name="tiny",reason="max_num_queued_reqs"}"#,
    ] {
        assert!((value(&page, sample) - value(&captured, sample)).abs() < 1e-9, "{sample}");
    }
    assert!(value(&page, "vllm:kv_cache_usage_perc") > 0.1);
    assert_eq!(engine.get("/load").body, r#"{"server_load":12}"#);
    a_full_queue_refuses_with_a_status(&engine);

    assert_eq!(engine.post("/emulator/faults", r#"{"slow": 0.2}"#).status, 200);
    let answers: Vec<Answer> = streams.into_iter().map(read_answer).collect();
    let burst = fixture_json("overload-burst.json");
    let refused = burst[1]["body_if_short"].as_str().expect("text");
    assert_eq!(answers.iter().filter(|answer| answer.body == refused).count(), 8);
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body.ends_with("data: [DONE]\n\n")));
    let page = eventually("all is drained", || {
        let page = engine.metrics();
        (value(&page, "vllm:num_requests_running") + value(&page, "vllm:num_requests_waiting{") < 0.5).then_some(page)
    });
    assert_same_shape(&page, &fixture("metrics-after-load.prom"));
    after_load_the_counts_agree(&page);
}

/// With four more the queue is full before a request arrives: both kinds get the captured 503.
fn a_full_queue_refuses_with_a_status(engine: &Engine) {
    // The front end counts those as waiting that no finished step has taken up: the first four are seen to run only
    // when each has a token, the first of them two.
    eventually("the running have left the queue", || {
        (engine.metric("vllm:generation_tokens_total") > 4.5).then_some(())
    });
    let more: Vec<TcpStream> = (20..24).map(|number| engine.open_chat(&long_chat(number, true))).collect();
    eventually("the queue is full", || (engine.metric("vllm:num_requests_waiting{") > 11.5).then_some(()));
    let captured = fixture_json("overload-drain.json");
    for (name, stream) in [("reject_nonstream", false), ("reject_stream", true)] {
        let answer = engine.chat(&long_chat(30, stream));
        assert_eq!((answer.status, answer.body.as_str()), (503, captured[name]["body"].as_str().expect("text")));
        assert_same_headers(&answer, &captured[name]["headers"]);
    }
    assert_eq!(engine.get("/health").status, 200);
    drop(more);
    eventually("the four are gone", || (engine.metric("vllm:num_requests_waiting{") < 8.5).then_some(()));
}

fn after_load_the_counts_agree(page: &str) {
    let at = |sample: &str| value(page, sample);
    assert!((at(r#"vllm:request_success_total{engine="0",finished_reason="length""#) - 12.0).abs() < 0.1);
    for count in ["time_to_first_token_seconds", "e2e_request_latency_seconds", "request_num_preemptions"] {
        assert!((at(&format!("vllm:{count}_count")) - 12.0).abs() < 0.1, "{count}");
    }
    let tokens = at("vllm:generation_tokens_total");
    assert!((at("vllm:inter_token_latency_seconds_count") - (tokens - 12.0)).abs() < 0.1);
    assert!(at("vllm:num_preemptions_total") > 0.5, "40 blocks are too few for four such requests");
    assert!(at("vllm:kv_cache_usage_perc") < 1e-9);
    assert!(at("vllm:kv_block_lifetime_seconds_count") > 0.5);
    let computed = at(r#"vllm:prompt_tokens_by_source_total{engine="0",model_name="tiny",source="local_compute"}"#);
    assert!((at("vllm:iteration_tokens_total_sum") - tokens - computed).abs() < 0.1);
}

fn assert_same_headers(answer: &Answer, captured: &Value) {
    let names: BTreeSet<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    // The test's client asks for the connection to be closed, the capture's did not.
    let names: BTreeSet<&str> = names.into_iter().filter(|name| *name != "connection").collect();
    let known: BTreeSet<&str> = captured.as_array().expect("list").iter().filter_map(|pair| pair[0].as_str()).collect();
    assert_eq!(names, known);
    for name in ["server", "content-type", "vary"] {
        let known = captured.as_array().expect("list").iter().find(|pair| pair[0] == name);
        assert_eq!(answer.header(name), known.and_then(|pair| pair[1].as_str()), "{name}");
    }
}

/// Keys in their order, with null, text, number, truth, list told apart.
fn form(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "truth".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Array(items) => format!("[{}]", items.first().map(form).unwrap_or_default()),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}:{} ", form(value))).collect::<String>()
        }
    }
}

/// The forms of a stream's events, repeated ones once.
fn forms(body: &str) -> Vec<String> {
    let mut forms: Vec<String> = body
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .map(|event| serde_json::from_str(event).map_or_else(|_| event.to_owned(), |event: Value| form(&event)))
        .collect();
    forms.dedup();
    forms
}

#[test]
fn every_captured_exchange_is_answered_alike() {
    let engine = Engine::start(SERVER_A);
    for exchange in fixture_json("http-exchanges.json").as_array().expect("list") {
        let request = &exchange["request"];
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (method, path) = (text(&request["method"]), text(&request["path"]));
        let body = if request["body"].is_null() { String::new() } else { request["body"].to_string() };
        let headers: Vec<(String, String)> = request["headers"]
            .as_object()
            .expect("headers")
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = engine.exchange(&method, &path, &body, &headers);
        let captured = text(&exchange["body"]);
        assert_eq!(Some(u64::from(answer.status)), exchange["status"].as_u64(), "{method} {path}");
        assert_same_headers(&answer, &exchange["headers"]);
        if answer.status >= 400 {
            assert_eq!(answer.body, captured, "{method} {path}: errors are the same byte for byte");
        } else if captured.starts_with("data: ") {
            assert_eq!(forms(&answer.body), forms(&captured), "{method} {path} {body}");
            assert_eq!(answer.events().len(), captured.matches("data: ").count());
        } else if captured.starts_with('{') {
            let read = |body: &str| serde_json::from_str::<Value>(body).expect("JSON");
            assert_eq!(form(&read(&answer.body)), form(&read(&captured)), "{method} {path} {body}");
        } else {
            assert_eq!(answer.body, captured);
        }
        if let Some((_, id)) = headers.first() {
            assert_eq!(answer.header("x-request-id"), Some(*id));
            assert!(answer.body.contains(&format!(r#""id":"chatcmpl-{id}""#)));
        }
    }
}

#[test]
fn a_repeated_prompt_is_cached_but_for_its_last_block_and_answered_alike() {
    let engine = Engine::start(SERVER_A);
    let read = || serde_json::from_str::<Value>(&engine.chat(&long_chat(1, false)).body).expect("JSON");
    let (first, second) = (read(), read());
    assert_eq!(first["choices"], second["choices"]);
    let details = |answer: &Value| answer["usage"]["prompt_tokens_details"].clone();
    let created = details(&first)["created_cache_tokens"].as_u64().expect("number");
    assert_eq!(created, first["usage"]["prompt_tokens"].as_u64().expect("number") / 32 * 32);
    assert_eq!(details(&second)["cached_tokens"].as_u64(), Some(created));
    assert_eq!(details(&second)["created_cache_tokens"].as_u64(), Some(0));
}

#[test]
fn a_client_that_leaves_frees_its_place_at_once_and_is_counted_in_no_reason() {
    let engine = Engine::start(SERVER_A);
    for stream in [true, false] {
        let mut reader = BufReader::new(engine.open_chat(&long_chat(1, stream)));
        if stream {
            read_head(&mut reader);
            for _ in 0..10 {
                reader.read_line(&mut String::new()).expect("an event");
            }
        }
        let running = || engine.metric("vllm:num_requests_running");
        eventually("it runs", || (running() > 0.5).then_some(()));
        drop(reader);
        eventually("its place is free", || (running() < 0.5).then_some(()));
    }
    let page = engine.metrics();
    for reason in ["stop", "length", "abort", "error", "repetition"] {
        let sample = format!(r#"vllm:request_success_total{{engine="0",finished_reason="{reason}""#);
        assert!(value(&page, &sample) < 0.5, "{reason}");
    }
    assert!(value(&page, "vllm:e2e_request_latency_seconds_count") < 0.5);
    assert!(value(&page, "vllm:kv_cache_usage_perc") < 1e-9);
    assert!(value(&page, "vllm:generation_tokens_total") > 0.5);
}

#[test]
fn after_sigterm_streams_finish_new_requests_get_the_captured_500_and_health_stays_200() {
    let mut engine = Engine::start(SERVER_A);
    assert_eq!(engine.post("/emulator/faults", r#"{"slow": 5}"#).status, 200);
    let stream = engine.open_chat(&long_chat(1, true));
    eventually("it runs", || (engine.metric("vllm:num_requests_running") > 0.5).then_some(()));
    engine.signal("-TERM");
    let refused = eventually("new requests are refused", || {
        let answer = engine.chat(r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":1}"#);
        (answer.status == 500).then_some(answer.body)
    });
    let timeline = fixture_json("overload-drain.json")["drain_timeline"].to_string();
    let captured = serde_json::from_str::<Value>(&timeline).expect("JSON")[2][1].as_str().expect("text").to_owned();
    assert!(captured.contains(&format!("new request 500 b'{refused}'")), "{refused} in {captured}");
    assert_eq!(engine.get("/health").status, 200);
    let answer = read_answer(stream);
    assert_eq!((answer.events().len(), answer.body.ends_with("data: [DONE]\n\n")), (302, true));
    assert_eq!(engine.wait_for_exit(), Some(0));
}

#[test]
fn without_a_shutdown_timeout_sigterm_cuts_requests_off_at_once() {
    let mut engine = Engine::start("--max-model-len 512 --step-ms 50");
    let stream = engine.open_chat(&long_chat(1, true));
    eventually("it runs", || (engine.metric("vllm:num_requests_running") > 0.5).then_some(()));
    engine.signal("-TERM");
    assert_eq!(engine.wait_for_exit(), Some(0));
    let lines: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).collect();
    assert!(!lines.iter().any(|line| line.contains("[DONE]")));
}

#[test]
fn a_paused_or_sleeping_engine_lets_requests_hang_and_shows_no_queue() {
    let engine = Engine::start(SERVER_A);
    for exchange in fixture_json("dev-endpoints.json").as_array().expect("list") {
        let request = &exchange["request"];
        let path = request["path"].as_str().expect("path");
        let answer = engine.exchange(request["method"].as_str().expect("method"), path, "", &[]);
        assert_eq!((u64::from(answer.status), answer.body.as_str()), (200, exchange["body"].as_str().expect("body")));
    }
    let short = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":3}"#;
    for (close, open, asleep) in [("/pause", "/resume", 0.0), ("/sleep?level=1", "/wake_up", 1.0)] {
        assert_eq!(engine.post(close, "").status, 200);
        let stream = engine.open_chat(short);
        eventually("the request is in", || (engine.get("/load").body == r#"{"server_load":1}"#).then_some(()));
        let page = engine.metrics();
        assert!(value(&page, "vllm:num_requests_waiting{") + value(&page, "vllm:num_requests_running") < 0.5);
        let state = r#"vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="weights_offloaded"}"#;
        assert!((value(&page, state) - asleep).abs() < 1e-9);
        assert_eq!(engine.get("/health").status, 200);
        assert_eq!(engine.post(open, "").status, 200);
        assert_eq!(read_answer(stream).status, 200);
    }
}

#[test]
fn dev_endpoints_do_not_exist_without_dev_mode_and_keys_are_asked_for_when_set() {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_engine-emulator"));
    program.env("VLLM_API_KEY", "secret");
    let engine = Engine::launch(program, "--max-model-len 512");
    engine.wait_until_ready();
    let refused = engine.get("/v1/models");
    assert_eq!((refused.status, refused.body.as_str()), (401, r#"{"error":"Unauthorized"}"#));
    let allowed = engine.exchange("GET", "/v1/models", "", &[("Authorization", "Bearer secret")]);
    assert_eq!(allowed.status, 200);
    assert_eq!(engine.get("/health").status, 200);
    assert_eq!(engine.exchange("DELETE", "/health", "", &[]).status, 405);
    let mut stream = engine.connect();
    write_request(&mut stream, "POST", "/pause?mode=later", "", &[]);
    assert_eq!(read_answer(stream).status, 400);
}

#[test]
fn a_wake_takes_its_time_and_is_over_when_all_memory_is_back() {
    let engine = Engine::start("--max-model-len 512 --wake-up 6 --time-scale 20");
    let is_sleeping = |engine: &Engine| engine.get("/is_sleeping").body == r#"{"is_sleeping":true}"#;
    let timed = |path: &str, body: &str| {
        let began = process::clock::now();
        let answer = engine.post(path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        (answer.body, process::clock::now().duration_since(began).as_secs_f64())
    };
    timed("/sleep?level=1", "");
    assert!(is_sleeping(&engine));
    assert!(timed("/wake_up", "").1 >= 0.3);
    assert!(!is_sleeping(&engine));
    timed("/sleep?level=2", "");
    let state = r#"vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="discard_all"}"#;
    assert!(engine.metric(state) > 0.5);
    assert_eq!(timed("/wake_up?tags=weights", "").0, r#"{"status":"awake","tags":["weights"]}"#);
    assert!(timed("/collective_rpc", r#"{"method":"reload_weights"}"#).1 >= 0.3);
    assert!(is_sleeping(&engine) && engine.metric(state) > 0.5, "the KV cache is not back");
    timed("/wake_up?tags=kv_cache", "");
    assert!(!is_sleeping(&engine) && engine.metric(state) < 0.5);
}
