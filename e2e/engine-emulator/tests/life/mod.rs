//! The program's life: starting, failing on purpose, and fifty of them at once.

use std::io::Read as _;
use std::process::Command;

use crate::support::{Engine, eventually, read_answer};

const SHORT: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":3,"ignore_eos":true}"#;

#[test]
fn the_port_is_closed_until_the_start_up_is_over_and_a_link_named_vllm_starts_it() {
    let folder = tempfile::tempdir().expect("folder");
    let link = folder.path().join("vllm");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_engine-emulator"), &link).expect("link");
    let mut engine = Engine::launch(Command::new(&link), "--startup 40 --time-scale 20 --tensor-parallel-size 2");
    let mut refused = 0;
    eventually("it is ready", || {
        refused += u32::from(engine.try_connect().is_none());
        engine.try_connect()
    });
    assert!(refused > 10, "two seconds of start-up: refused {refused} times");
    assert_eq!(engine.chat(SHORT).status, 200);
    assert!(engine.is_running());
}

#[test]
fn fifty_engines_run_at_once_and_each_answers() {
    let program = || Command::new(env!("CARGO_BIN_EXE_engine-emulator"));
    let engines: Vec<Engine> = (0..50).map(|_| Engine::launch(program(), "--max-model-len 512")).collect();
    for engine in &engines {
        engine.wait_until_ready();
        let answer = engine.chat(SHORT);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[test]
fn injected_faults_are_errors_resets_hangs_and_a_crash() {
    let mut engine = Engine::start("--max-model-len 512 --step-ms 2");
    let set = |faults: &str| assert_eq!(engine.post("/emulator/faults", faults).status, 200);
    set(r#"{"errorRate": 1}"#);
    let failed = engine.chat(SHORT);
    assert_eq!((failed.status, failed.body.contains("injected fault")), (500, true));
    set(r#"{"resetRate": 1}"#);
    let long = SHORT.replace("\"max_tokens\":3", "\"max_tokens\":100,\"stream\":true");
    let mut text = Vec::new();
    let error = engine.open_chat(&long).read_to_end(&mut text).expect_err("reset in mid-stream");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(String::from_utf8_lossy(&text).contains("data: {"));
    set(r#"{"hangRate": 1}"#);
    let hanging = engine.open_chat(SHORT);
    set(r#"{"unhealthy": true}"#);
    assert_eq!(engine.get("/health").status, 503);
    hanging.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("timeout");
    assert!((&hanging).read(&mut [0]).is_err(), "no answer ever");
    let refused = engine.post("/emulator/faults", r#"{"errorRate": 7}"#);
    assert!(refused.status == 400 && refused.body.contains("errorRate = 7"), "{}", refused.body);
    let refused = engine.post("/emulator/faults", r#"{"erorRate": 1}"#);
    assert!(refused.status == 400 && refused.body.contains("erorRate"), "{}", refused.body);
    set(r#"{"crashAfter": 0}"#);
    drop(engine.open_chat(SHORT).read_to_end(&mut text));
    assert_eq!(engine.wait_for_exit(), Some(1));
}

#[test]
fn time_scale_shortens_what_clients_see() {
    let engine = Engine::start("--max-model-len 512 --step-ms 50 --time-scale 20");
    let body = SHORT.replace("\"max_tokens\":3", "\"max_tokens\":101");
    assert_eq!(read_answer(engine.open_chat(&body)).status, 200);
    let decode = engine.metric("vllm:request_decode_time_seconds_sum");
    assert!((decode - 0.25).abs() < 1e-6, "100 steps of 2.5 ms: {decode}");
}
