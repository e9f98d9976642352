use super::*;

fn config(text: &str) -> Result<Config, String> {
    let file: ConfigFile = process::config::parse(text)?;
    Config::new(file, Some("ns".into())).map_err(|problem| problem.to_string())
}

const OPEN: &str = "server: {address: \"127.0.0.1:6443\", authentication: none}\n";

fn rejected(rule: &str) -> String {
    let config = config(&format!("{OPEN}rules:\n- {rule}\n- {{name: good, promql: up}}\n")).unwrap();
    assert!(config.rules.iter().any(|rule| rule.name == "good"), "a bad rule hides no other");
    assert_eq!(config.rejected.len(), 1, "{rule}");
    config.rejected[0].to_string()
}

#[test]
fn a_bad_rule_is_named_with_place_and_fix_and_hides_no_other() {
    for (rule, expected) in [
        ("{name: x, promql: \"sum(\"}", "rules[0] (x).promql: not PromQL"),
        ("{name: x, promql: \"up[5m]\"}", "gives a range of samples"),
        ("{name: X, promql: up}", "rules[0] (X).name: must be lower-case letters"),
        ("{name: status, promql: up}", "subresource of namespaces"),
        ("{name: x}", "has neither `promql` nor `measure`"),
        ("{name: x, promql: up, interval: 1ms}", "rules[0] (x).interval"),
        ("{name: x, promql: up, interval: 20s, maxAge: 10s}", "rules[0] (x).maxAge"),
        ("{name: x, measure: {metrics: [], component: router, aggregate: sum}}", "measure.metrics"),
        (
            "{name: x, measure: {metrics: [m], component: router, aggregate: sum, quantile: 0.5}}",
            "rateWindow: is needed",
        ),
        (
            "{name: x, measure: {metrics: [m], component: router, aggregate: sum, quantile: 5, rateWindow: 1m}}",
            "between 0 and 1",
        ),
        ("{name: good, promql: down}", "is there twice"),
    ] {
        let message = rejected(rule);
        assert!(message.contains(expected), "{rule}: {message}");
    }
}

#[test]
fn a_file_that_cannot_be_used_names_the_key_and_the_fix() {
    for (text, expected) in [
        ("server: {address: \"0.0.0.0:6443\", authentication: none}", "use 127.0.0.1:6443"),
        ("{}", "server.certificate: is missing"),
        (
            "server: {authentication: none, address: \"127.0.0.1:1\", certificate: {files: {certificate: a, key: b}}}",
            "plain HTTP",
        ),
        ("server: {certificates: {}}", "certificates"),
        (
            "sources: {backup: true}\nserver: {address: \"127.0.0.1:1\", authentication: none}",
            "prometheus.url: is missing",
        ),
        (
            "prometheus: {url: \"prom:9090\"}\nserver: {address: \"127.0.0.1:1\", authentication: none}",
            "must begin with http://",
        ),
        (
            "direct: {scrapeInterval: 10ms}\nserver: {address: \"127.0.0.1:1\", authentication: none}",
            "direct.scrapeInterval",
        ),
        ("direct: {scrapeInterval: 5}\nserver: {address: \"127.0.0.1:1\", authentication: none}", "250ms, 1s"),
        ("rules: [{name: a, missing: nothing}]", "nothing"),
        ("timing: {window: 8s}\nserver: {address: \"127.0.0.1:1\", authentication: none}", "timing.window"),
    ] {
        let message = config(text).unwrap_err();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn a_self_managed_certificate_needs_a_namespace_from_somewhere() {
    let file: ConfigFile =
        process::config::parse("server: {certificate: {selfManaged: {secret: a, service: b}}}").unwrap();
    assert!(Config::new(file.clone(), None).unwrap_err().to_string().contains("POD_NAMESPACE"));
    assert_eq!(Config::new(file, Some("here".into())).unwrap().own_namespace.as_deref(), Some("here"));
}

#[test]
fn an_own_rule_replaces_the_default_rule_of_its_name() {
    let text = format!("{OPEN}rules: [{{name: vllm_num_requests_waiting, promql: \"sum by (namespace) (x)\"}}]");
    let config = config(&text).unwrap();
    let rule = config.rules.iter().find(|rule| rule.name == "vllm_num_requests_waiting").unwrap();
    assert_eq!(rule.expression, Expression::Promql("sum by (namespace) (x)".into()));
    assert_eq!(config.rules.len(), 11);
}

#[test]
fn every_default_query_is_promql() {
    let config = config(OPEN).unwrap();
    for rule in &config.rules {
        assert_eq!(prometheus::check_promql(&rule.promql()), Ok(()), "{}", rule.name);
    }
    assert_eq!(prometheus::check_promql(&adapter_core::promql::targets()), Ok(()));
}
