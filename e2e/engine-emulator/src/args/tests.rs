use super::*;

fn read(line: &str) -> Parsed {
    parse(line.split_whitespace().map(str::to_owned)).expect("accepted")
}

fn refused(line: &str) -> String {
    parse(line.split_whitespace().map(str::to_owned)).expect_err("refused").to_string()
}

#[test]
fn a_captured_vllm_command_line_is_understood() {
    let parsed = read(
        "serve ./tiny --served-model-name tiny --load-format dummy --dtype bfloat16 --max-model-len 512 --enforce-eager \
         --host 127.0.0.1 --port 18001 --max-num-seqs 4 --num-gpu-blocks-override 40 --block-size 32 \
         --enable-server-load-tracking --kv-cache-metrics-sample 1.0 --max-num-queued-reqs 12 --shutdown-timeout 20 \
         --kv-events-config {\"enable_kv_cache_events\":true}",
    );
    let args = parsed.args;
    assert_eq!((args.model.as_str(), args.served_model_name, args.port), ("./tiny", vec!["tiny".to_owned()], 18001));
    assert_eq!((args.max_model_len, args.max_num_seqs, args.block_size), (512, Some(4), Some(32)));
    assert_eq!(parsed.ignored, ["--load-format", "--dtype", "--enforce-eager", "--kv-events-config"]);
}

#[test]
fn the_model_may_come_first_last_or_as_a_flag_and_serve_may_be_left_out() {
    for line in ["serve m --port 1", "m --port 1", "--port 1 m", "--model m --port 1", "--enforce-eager m --port=1"] {
        let parsed = read(line);
        assert_eq!((parsed.args.model.as_str(), parsed.args.port), ("m", 1), "{line}");
    }
    assert_eq!(read("--dtype auto m").args.model, "m");
}

#[test]
fn unknown_flags_are_named_once_and_take_their_values_with_them() {
    let parsed = read(
        "serve m --tensor_parallel_size 2 --lora-modules a=b c=d --lora-modules e=f -tp 4 --x={} --max_num_seqs 9",
    );
    assert_eq!(parsed.ignored, ["--tensor-parallel-size", "--lora-modules", "-tp", "--x"]);
    assert_eq!(parsed.args.max_num_seqs, Some(9));
}

#[test]
fn several_served_names_end_at_the_next_flag() {
    let args = read("serve m --served-model-name a b c --max-model-len 32K").args;
    assert_eq!(args.served_model_name, ["a", "b", "c"]);
    assert_eq!(args.max_model_len, 32_768);
    assert_eq!(read("serve m --max-model-len 32k").args.max_model_len, 32_000);
}

#[test]
fn a_bad_value_is_refused_with_the_flag_and_what_it_must_be() {
    let error = refused("serve m --time-scale 0");
    assert!(error.contains("--time-scale") && error.contains("a number above 0"), "{error}");
    let error = refused("serve m --max-num-seqs none");
    assert!(error.contains("--max-num-seqs") && error.contains("whole number"), "{error}");
    assert!(refused("serve m --fault-error-rate 2").contains("a share from 0 to 1"));
    assert!(refused("serve m --port").contains("--port"));
}
