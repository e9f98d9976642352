use super::*;

fn parse(text: &str) -> FileConfig {
    process::config::parse(text).expect(text)
}

#[test]
fn an_empty_file_with_one_engine_has_the_documented_defaults() {
    let settings = parse("engines: {static: ['http://127.0.0.1:8001']}").settings().expect("valid");
    assert_eq!(settings.listen.to_string(), "0.0.0.0:8000");
    assert_eq!(settings.tunables.max_body_bytes, 64 * 1024 * 1024);
    assert_eq!(settings.tunables.queue_deadline, Duration::from_secs(30));
    assert_eq!(settings.tunables.max_attempts, 3);
    assert_eq!(settings.tunables.max_in_flight_per_engine, None);
    assert_eq!(settings.tunables.queue_discipline, Discipline::Deadline);
}

#[test]
fn the_limit_per_engine_is_a_number_or_learned_and_reads_back_as_printed() {
    for text in ["maxInFlightPerEngine: auto", "maxInFlightPerEngine: 12", "queue: {discipline: deadline}"] {
        let file = parse(text);
        let printed = serde_saphyr::to_string(&file).expect("yaml");
        assert_eq!(parse(&printed), file, "{printed}");
    }
    let file = parse("engines: {file: x}\nmaxInFlightPerEngine: auto");
    assert_eq!(file.tunables().expect("valid").max_in_flight_per_engine, Some(MaxInFlight::Auto));
}

#[test]
fn every_key_of_the_readme_is_read() {
    let settings = parse(
        "listen: 127.0.0.1:9000\nworkers: 3\nengines: {kubernetes: {namespace: a, release: b}}\nmaxBodyBytes: 1000\n\
         maxInFlightPerEngine: 8\nqueue: {discipline: fifo, deadline: 5s, maxRequests: 7, maxBytes: 9}\nretry: {maxAttempts: 1}\n\
         upstream: {connectTimeout: 250ms, answerTimeout: 1h}\nmodels: {meta/llama: {objective: {ttft: 1500ms, interTokenLatency: 50ms}}, other: {}}\n\
         process: {adminAddress: '127.0.0.1:9101', logLevel: debug, logFormat: json}",
    )
    .settings()
    .expect("valid");
    assert_eq!(settings.workers.get(), 3);
    assert!(matches!(&settings.source, Source::Kubernetes(pods) if pods.release.as_deref() == Some("b")));
    let tunables = settings.tunables;
    assert_eq!((tunables.queue_max_requests, tunables.queue_max_bytes, tunables.max_attempts), (7, 9, 1));
    assert_eq!(tunables.queue_discipline, Discipline::Fifo);
    assert_eq!(tunables.max_in_flight_per_engine, NonZeroU32::new(8).map(MaxInFlight::Fixed));
    assert_eq!(tunables.connect_timeout, Duration::from_millis(250));
    let promised = ServedObjective { ttft_seconds: 1.5, inter_token_latency_seconds: Some(0.05) };
    assert_eq!(
        tunables.models,
        BTreeMap::from([("meta/llama".to_owned(), Some(promised)), ("other".to_owned(), None)])
    );
}

#[test]
fn bad_values_name_the_key_and_the_fix() {
    for (text, expected) in [
        ("{}", "--engine URL"),
        ("engines: {static: ['http://a:1'], file: x}", "a static list and a file"),
        ("engines: {static: ['a:1']}", "`a:1`"),
        ("engines: {static: ['http://a:1', 'http://a:1']}", "twice"),
        ("engines: {file: x}\nqueue: {deadline: 0s}", "`queue.deadline` must be greater than 0"),
        ("engines: {file: x}\nmaxBodyBytes: 0", "`maxBodyBytes`"),
        ("engines: {file: x}\nmodels: {m: {objective: {ttft: 0s}}}", "objective.ttft"),
        (
            "engines: {file: x}\nmodels: {m: {objective: {ttft: 1s, interTokenLatency: 0s}}}",
            "objective.interTokenLatency",
        ),
    ] {
        let message = parse(text).settings().expect_err(text).to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn misspelt_and_mistyped_keys_are_named() {
    for (text, expected) in [
        ("queue: {dedline: 5s}", "dedline"),
        ("queue: {deadline: 5}", "250ms"),
        ("retry: {maxAttempts: 0}", "maxAttempts"),
        ("maxInFlightPerEngine: 0", "a whole number above 0, or auto"),
        ("maxInFlightPerEngine: automatic", "a whole number above 0, or auto"),
        ("maxInFlightPerEngine: 1.5", "a whole number above 0, or auto"),
        ("queue: {discipline: lifo}", "fifo"),
        ("engine: {}", "engine"),
    ] {
        let message = process::config::parse::<FileConfig>(text).expect_err(text);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn flags_replace_the_source_of_the_file() {
    let mut file = parse("engines: {file: x}");
    file.engines.override_with(EnginesConfig { fixed: vec!["http://a:1".into()], ..EnginesConfig::default() });
    assert!(matches!(file.settings().expect("valid").source, Source::Fixed(_)));
    file.engines.override_with(EnginesConfig::default());
    assert!(!file.engines.fixed.is_empty());
}

#[test]
fn the_shipped_schema_is_fresh() {
    let shipped = include_str!("../../config.schema.json");
    let fresh = process::config::schema_json::<FileConfig>();
    assert!(shipped == fresh, "stale: run `cargo run -p router -- --print-config-schema > router/config.schema.json`");
}
