use super::*;

fn checked(text: &str) -> Result<Validated, String> {
    let config: StandaloneConfig = process::config::parse(text)?;
    validate(config, Path::new("/state")).map_err(|error| error.to_string())
}

const MODEL: &str = "models: [{name: m, command: 'engine --port {port}', maxReplicas: 3}]\n";

#[test]
fn a_short_file_is_enough() {
    let valid = checked(MODEL).unwrap();
    assert_eq!(valid.state_dir, Path::new("/state"));
    assert_eq!(valid.models[0].served_model_name, "m");
    assert_eq!(valid.models[0].rules.gpus_per_engine, 0);
    assert!((valid.models[0].settings.objective.attainment - 0.99).abs() < 1e-9);
}

#[test]
fn gpus_give_each_engine_one_unless_told_otherwise() {
    let valid = checked(&format!("{MODEL}gpus: [0, GPU-abc]\n")).unwrap();
    assert_eq!(valid.gpus, ["0", "GPU-abc"]);
    assert_eq!(valid.models[0].rules.gpus_per_engine, 1);
}

#[test]
fn the_rates_reach_the_settings_each_for_its_own_direction() {
    let text = MODEL.replace("}]", ", scaleUp: {maxReplicasPerMinute: 2}, scaleDown: {maxReplicasPerMinute: 1}}]");
    let limits = checked(&text).unwrap().models[0].settings.rate_limits;
    let limits = [limits.up_per_minute, limits.down_per_minute];
    assert_eq!(limits.map(|limit| limit.map(u32::from)), [Some(2), Some(1)]);
    assert!(checked(MODEL).unwrap().models[0].settings.rate_limits.is_none());
}

#[test]
fn what_cannot_work_is_refused_with_key_and_fix() {
    let model = |fields: &str| format!("models: [{{name: m, command: 'e {{port}}', maxReplicas: 3, {fields}}}]\n");
    for (text, expected) in [
        ("models: []\n".to_owned(), "models: is empty; add at least one model"),
        (model("minReplicas: 4"), "models[0].maxReplicas: must be from minReplicas (4), at least 1, to 256"),
        (
            model("minReplicas: 0") + "router: {start: false, adminAddress: null}\n",
            "models[0].minReplicas: must be at least 1 without a router",
        ),
        (model("sleep: {engines: 2, level: 3}"), "models[0].sleep.level: must be 1 (weights in main memory) or 2"),
        (model("sleep: {engines: 2, price: 1}"), "models[0].sleep.price: must be from 0 to below 1"),
        (model("priority: 1"), "models[0].priority: is among models that share GPUs; list them in gpus"),
        (model("gpusPerEngine: 2"), "models[0].gpusPerEngine: 2 is more than the 0 listed in gpus"),
        (
            model("objective: {attainment: '0.99'}"),
            "models[0].objective.attainment: `0.99` is not a share; write a percentage",
        ),
        (
            model("scaleUp: {maxReplicasPerMinute: 0}"),
            "models[0].scaleUp.maxReplicasPerMinute: must be at least 1, or left out for no limit",
        ),
        (model("scaleDown: {maxReplicasPerMinute: 0}"), "models[0].scaleDown.maxReplicasPerMinute: must be at least 1"),
        (model("objective: {ttft: 0s}"), "models[0].objective.ttft: must be above 0"),
        (model("engineProfile: gpt-9"), "models[0].engineProfile: `gpt-9` is no shipped profile; there are qwen3-32b-"),
        (
            model("schedules: [{cron: '0 8 * * *', duration: 1h, timeZone: Mars, minReplicas: 2}]"),
            "models[0].schedules[0].timeZone: `Mars` is not among the time zones of this system; write UTC or",
        ),
        (format!("{MODEL}prometheus: {{url: p}}\n"), "prometheus.url: `p` is not a URL; write http://HOST:PORT"),
        (model("servedModelName: ''"), "models[0].servedModelName: is empty"),
        (model("restart: {backoff: 5m}"), "models[0].restart.maxBackoff: must not be shorter"),
        (
            MODEL.replace("name: m", "name: meta-llama/Llama"),
            "models[0].name: `meta-llama/Llama` must be 1 to 63 lower-case",
        ),
        (format!("{MODEL}controlPeriod: 1ms\n"), "controlPeriod: must be between 100ms and 1m"),
        (format!("{MODEL}gpus: [0, 0]\n"), "gpus[1]: GPU 0 is there twice"),
        (format!("{MODEL}ports: {{first: 9, last: 10}}\n"), "ports: 2 ports do not hold maxReplicas of all models (3)"),
        (format!("{MODEL}adapter: {{address: '0.0.0.0:6443'}}\n"), "adapter.address: must be a loopback address"),
        (
            format!("{MODEL}page: {{address: '127.0.0.1:8000'}}\n"),
            "router.address: port 8000 is also that of page.address",
        ),
        (format!("{MODEL}page: {{timeScale: 0}}\n"), "page.timeScale: must be above 0"),
        (MODEL.replace("{port}", "8000"), "does not use {port}"),
        (MODEL.replace("maxReplicas", "maxReplica"), "maxReplica"),
    ] {
        let message = checked(&text).unwrap_err();
        assert!(message.contains(expected), "{text}\n{message}");
    }
}
