use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn object(spec: &Value) -> Result<EngineAutoscaler, String> {
    let value = json!({"apiVersion": "autoscaling.vllm-prod-stack.io/v1alpha1", "kind": "EngineAutoscaler",
        "metadata": {"name": "llama-8b"}, "spec": spec});
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn checked(spec: &Value) -> Result<Validated, String> {
    validate(&object(spec)?.spec, 2.0, 32.0).map_err(|error| error.to_string())
}

fn minimal() -> Value {
    json!({"scaleTargetRef": {"name": "llama-8b"}, "maxReplicas": 12})
}

fn with(key: &str, value: Value) -> Value {
    let mut spec = minimal();
    spec[key] = value;
    spec
}

#[test]
fn the_shipped_definition_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/vllm-prod-stack/crds/engineautoscalers.yaml");
    let shipped = std::fs::read_to_string(path).expect("the chart ships the definition");
    assert!(
        shipped == crd_yaml(),
        "stale; run: cargo run -p autoscaler -- crd print > charts/vllm-prod-stack/crds/engineautoscalers.yaml"
    );
}

#[test]
fn the_definition_holds_the_rules_and_the_columns() {
    let text = crd_yaml();
    for part in [
        "self.minReplicas <= self.maxReplicas",
        "duration(self.ttft) > duration('0s')",
        "- eas",
        ".status.desiredReplicas",
        ".status.readyReplicas",
        ".status.reason",
        "x-kubernetes-validations",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn a_short_object_gets_the_documented_defaults() {
    let validated = checked(&minimal()).expect("valid");
    assert_eq!(validated.target.to_string(), "Deployment llama-8b");
    assert_eq!((validated.target.group.as_str(), validated.target.version.as_str()), ("apps", "v1"));
    assert_eq!(validated.mode, Mode::Scale);
    let settings = validated.settings;
    assert_eq!((settings.min_replicas, settings.max_replicas), (1, 12));
    assert!((settings.objective.ttft_seconds - 1.0).abs() < 1e-9);
    assert!((settings.objective.inter_token_latency_seconds - 0.05).abs() < 1e-9);
    assert!((settings.objective.attainment - 0.99).abs() < 1e-9);
    assert!((settings.stabilization_seconds - 60.0).abs() < 1e-9);
}

#[test]
fn a_replay_of_short_days_plans_in_short_steps_but_no_shorter_than_the_control_period() {
    let step = |text| {
        let spec = with("forecast", json!({"season": "60s", "tempo": 0.0125, "planStep": text}));
        Duration::from_secs_f64(checked(&spec).expect("valid").settings.rhythm.step_seconds())
    };
    assert_eq!((step("2500ms"), step("250ms")), (Duration::from_millis(2500), Duration::from_secs(2)));
}

#[test]
fn bad_fields_are_named_with_the_fix() {
    let cases = [
        (with("minReplicas", json!(13)), "spec.minReplicas: 13 is above maxReplicas 12"),
        (with("maxReplicas", json!(0)), "spec.maxReplicas: 0 is not a fleet; write 1 or more"),
        (with("minReplicas", json!(-1)), "spec.minReplicas: replicas must not be negative"),
        (
            with("objective", json!({"ttft": "0s"})),
            "spec.objective.ttft: it must be longer than 0s; write a duration such as 1s",
        ),
        (with("objective", json!({"interTokenLatency": "0s"})), "spec.objective.interTokenLatency"),
        (with("objective", json!({"ttft": "1"})), "250ms, 1s, 5m"),
        (with("objective", json!({"attainment": "100%"})), "from 50% to 99.99%"),
        (with("objective", json!({"attainment": "0.99"})), "from 50% to 99.99%"),
        (with("startup", json!({"override": "0s"})), "spec.startup.override"),
        (
            with("forecast", json!({"season": "60s"})),
            "spec.forecast.season: forecast.season = 60 s: must be between 24 and 60480 plan steps of 10 s; write a season",
        ),
        (with("forecast", json!({"planStep": "2h"})), "spec.forecast.season: forecast.season = 86400 s"),
        (
            with("scaleUp", json!({"maxReplicasPerMinute": 0})),
            "spec.scaleUp.maxReplicasPerMinute: 0 lets nothing change; write 1 or more, or leave it out for no limit",
        ),
        (
            with("scaleDown", json!({"maxReplicasPerMinute": -1})),
            "spec.scaleDown.maxReplicasPerMinute: -1 lets nothing change; write 1 or more",
        ),
        (
            json!({"scaleTargetRef": {"name": "a"}, "maxReplicas": 2, "servedModelName": "m", "variant": {"price": 1.0},
                "scaleUp": {"maxReplicasPerMinute": 2}}),
            "spec.scaleUp.maxReplicasPerMinute: variants are ordered and let go by what the mix of them costs",
        ),
        (with("scaleTargetRef", json!({"name": "a/b"})), "spec.scaleTargetRef.name: `a/b` is not a name"),
        (
            with("pool", json!({"name": "h100", "gpusPerReplica": 0})),
            "spec.pool.gpusPerReplica: 0 is no number of GPUs; write 1 or more",
        ),
        (with("pool", json!({"name": ""})), "spec.pool.name: it is empty; write one of the pools"),
        (
            with("engineProfile", json!("gpt-9")),
            "spec.engineProfile: `gpt-9` is no shipped profile; there are qwen3-32b-h100-tp2, ",
        ),
        (
            with(
                "schedules",
                json!([{"cron": "0 8 * * *", "duration": "1h", "minReplicas": 2},
                {"cron": "8:00", "duration": "1h", "minReplicas": 2}]),
            ),
            "spec.schedules[1].cron: `8:00` has not five fields; write five fields such as `30 8 * * MON-FRI`",
        ),
        (
            with("schedules", json!([{"cron": "0 8 * * *", "duration": "1h", "minReplicas": -2}])),
            "spec.schedules[0].minReplicas: a floor of 0 holds nothing; write 1 or more",
        ),
        (
            with("tier", json!("Prefill")),
            "spec.servedModelName: it is empty, and the tiers of a model find each other by it",
        ),
        (with("tier", json!("prefill")), "unknown variant `prefill`, expected `Prefill` or `Decode`"),
        (
            json!({"scaleTargetRef": {"name": "a"}, "maxReplicas": 2, "servedModelName": "m", "tier": "Decode",
                "variant": {"price": 1.0}}),
            "spec.variant: a Decode tier is one target, and variants are several that share their requests; leave variant",
        ),
        (with("mode", json!("Manual")), "unknown variant `Manual`, expected one of `Scale`, `ThroughHPA`, `Advise`"),
    ];
    for (spec, expected) in cases {
        let error = checked(&spec).expect_err("bad");
        assert!(error.contains(expected), "{spec}\n→ {error}\nexpected {expected}");
    }
}

#[test]
fn a_percentage_reads_and_writes_as_people_do() {
    for text in ["99%", "99.9%", "50%"] {
        assert_eq!(text.parse::<Percent>().expect("a share").to_string(), text);
    }
    for text in ["99", "", "%", "49%", "100%", "NaN%", "-99%", "99.999%"] {
        assert!(text.parse::<Percent>().is_err(), "{text}");
    }
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mut status = EngineAutoscalerStatus::default();
    let at = |second| jiff::Timestamp::from_second(second).expect("in range");
    status.set_condition(conditions::READY, ConditionStatus::True, "Deciding", "", Some(1), at(0));
    status.set_condition(conditions::READY, ConditionStatus::True, "Deciding", "again", Some(2), at(100));
    let condition = status.condition(conditions::READY).expect("set");
    assert_eq!(
        (condition.last_transition_time.as_str(), condition.message.as_str()),
        ("1970-01-01T00:00:00Z", "again")
    );
    status.set_condition(conditions::READY, ConditionStatus::False, "Invalid", "", Some(3), at(200));
    assert_eq!(status.condition(conditions::READY).expect("set").last_transition_time, "1970-01-01T00:03:20Z");
    assert_eq!(status.conditions.len(), 1);
}

#[test]
fn the_rates_reach_the_settings_each_for_its_own_direction() {
    let mut spec = with("scaleUp", json!({"maxReplicasPerMinute": 4}));
    spec["scaleDown"] = json!({"maxReplicasPerMinute": 1});
    let settings = checked(&spec).expect("valid").settings;
    let limits = [settings.rate_limits.up_per_minute, settings.rate_limits.down_per_minute];
    assert_eq!(limits.map(|limit| limit.map(u32::from)), [Some(4), Some(1)]);
    assert!((settings.stabilization_seconds - 60.0).abs() < 1e-9);
    assert!(checked(&minimal()).expect("valid").settings.rate_limits.is_none());
}

#[test]
fn a_profile_and_the_floors_of_the_moment_reach_the_settings() {
    let mut spec = with("engineProfile", json!("gpt-oss-120b-h200"));
    spec["schedules"] = json!([{"cron": "0 8 * * *", "duration": "1h", "minReplicas": 2}]);
    let validated = checked(&spec).expect("valid");
    assert_eq!(validated.settings.engine_profile.map(|profile| profile.name), Some("gpt-oss-120b-h200"));
    let settings = validated.settings_at("2026-03-01T08:30:00Z".parse().expect("a time"));
    let floors: Vec<(String, u32)> =
        settings.floors.iter().map(|floor| (floor.from.to_string(), floor.min_replicas)).collect();
    assert_eq!(floors, [("2026-03-01T08:00:00Z".to_owned(), 2), ("2026-03-02T08:00:00Z".to_owned(), 2)]);
}
