//! The table of the design's section "Metrics that HPA sees".
#![expect(clippy::float_cmp, reason = "values pass through unchanged")]

use std::time::Duration;

use jiff::ToSpan;

use super::*;
use crate::defaults::{self, Timing};
use crate::select::{Item, Refusal, RefusalKind, select};
use crate::selector::Selector;

const EVERY: Duration = Duration::from_secs(5);

fn start() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn rule(name: &str) -> Rule {
    defaults::rules(&Timing::default()).into_iter().find(|rule| rule.name == name).unwrap()
}

fn value(model: &str, value: f64) -> Series {
    Series { labels: model_key("ns", model).labels(), value }
}

fn engine(name: &str, model: &str, sampled_at: Option<Timestamp>) -> Target {
    let (namespace, model, name) = ("ns".to_owned(), model.to_owned(), name.to_owned());
    Target { component: Component::ServingEngine, namespace, model, name, sampled_at }
}

fn other(component: Component, sampled_at: Option<Timestamp>) -> Target {
    Target { component, model: String::new(), ..engine("x", "", sampled_at) }
}

fn ready(name: &str, model: &str, since: Timestamp) -> ReadyEngine {
    ReadyEngine { namespace: "ns".into(), model: model.into(), name: name.into(), since }
}

/// What is observed at a moment.
#[derive(Default)]
struct Seen {
    series: Vec<Series>,
    targets: Vec<Target>,
    engines: Vec<ReadyEngine>,
}

impl Seen {
    fn by(&self, record: &Record, rule: &Rule, at: Timestamp) -> Record {
        record.observed(
            rule,
            &Observation {
                source: "prometheus",
                at,
                series: &self.series,
                targets: &self.targets,
                engines: &self.engines,
                scrape_interval: EVERY,
            },
        )
    }
}

fn asked(rule: &Rule, record: &Record, selector: &str, now: Timestamp) -> Result<Vec<Item>, Refusal> {
    select(rule, record, "ns", &Selector::parse(selector).unwrap(), now)
}

fn values(answer: Result<Vec<Item>, Refusal>) -> Vec<f64> {
    answer.unwrap().into_iter().map(|item| item.value).collect()
}

fn refused(answer: Result<Vec<Item>, Refusal>) -> (RefusalKind, String) {
    let refusal = answer.unwrap_err();
    (refusal.kind, refusal.message)
}

fn queue(series: Vec<Series>, targets: Vec<Target>, engines: Vec<ReadyEngine>) -> (Rule, Record) {
    let rule = rule("vllm_num_requests_waiting");
    let record = Seen { series, targets, engines }.by(&Record::default(), &rule, start());
    (rule, record)
}

#[test]
fn a_scraped_engine_answers_with_the_time_of_its_oldest_sample() {
    let older = start() - 4.seconds();
    let targets = vec![engine("a-1", "a", Some(start())), engine("a-2", "a", Some(older))];
    let (rule, record) = queue(vec![value("a", 7.0)], targets, vec![]);
    let items = asked(&rule, &record, "model=a", start()).unwrap();
    assert_eq!((items[0].value, items[0].sampled_at), (7.0, older));
}

#[test]
fn a_scraped_engine_without_a_sample_is_zero() {
    let (rule, record) = queue(vec![], vec![engine("a-1", "a", Some(start()))], vec![]);
    let items = asked(&rule, &record, "model=a", start()).unwrap();
    assert!(items[0].is_zero_by_policy && items[0].value.abs() < f64::EPSILON);
}

#[test]
fn a_quantile_without_traffic_is_zero() {
    let rule = rule("vllm_ttft_seconds_p95");
    let seen =
        Seen { series: vec![value("a", f64::NAN)], targets: vec![engine("a-1", "a", Some(start()))], engines: vec![] };
    let record = seen.by(&Record::default(), &rule, start());
    assert_eq!(values(asked(&rule, &record, "model=a", start())), [0.0]);
}

#[test]
fn no_scraped_engine_is_an_error_that_names_rule_selector_and_known_models() {
    let (rule, record) = queue(vec![], vec![engine("b-1", "b", Some(start()))], vec![]);
    let (kind, message) = refused(asked(&rule, &record, "model=a", start()));
    assert_eq!(kind, RefusalKind::NoMatch);
    assert_eq!(
        message,
        "rule vllm_num_requests_waiting: no scraped engine matches {model=a} in namespace ns (prometheus); models there: b"
    );
}

#[test]
fn an_engine_whose_scrape_fails_is_an_error() {
    let (rule, record) = queue(vec![], vec![engine("a-1", "a", None)], vec![]);
    let (kind, message) = refused(asked(&rule, &record, "model=a", start()));
    assert_eq!(kind, RefusalKind::Unknown);
    assert!(message.contains("the last scrape of a-1 failed"), "{message}");
}

#[test]
fn an_engine_that_is_ready_for_long_and_not_scraped_is_an_error() {
    for (seconds_ready, is_error) in [(14, false), (16, true)] {
        let engines =
            vec![ready("a-1", "a", start() - 600.seconds()), ready("a-2", "a", start() - seconds_ready.seconds())];
        let (rule, record) = queue(vec![value("a", 1.0)], vec![engine("a-1", "a", Some(start()))], engines);
        let answer = asked(&rule, &record, "model=a", start());
        assert_eq!(answer.is_err(), is_error, "{seconds_ready} s");
        if is_error {
            assert!(refused(answer).1.contains("engine a-2 takes requests and is not scraped"));
        }
    }
}

#[test]
fn the_grace_of_a_ready_engine_grows_with_the_scrape_interval() {
    assert_eq!(grace(Duration::from_secs(1)), Duration::from_secs(15));
    assert_eq!(grace(Duration::from_secs(5)), Duration::from_secs(15));
    assert_eq!(grace(Duration::from_secs(15)), Duration::from_secs(35));
}

#[test]
fn a_failed_source_leaves_the_last_good_value_until_max_age() {
    let (rule, record) = queue(vec![value("a", 7.0)], vec![engine("a-1", "a", Some(start()))], vec![]);
    let failure =
        Failure { source: "prometheus".into(), at: start() + 5.seconds(), message: "no answer within 3s".into() };
    let record = record.failed(failure);
    let young = asked(&rule, &record, "model=a", start() + 30.seconds()).unwrap();
    assert_eq!(young[0].value, 7.0);
    assert!(young[0].problem.as_ref().unwrap().contains("no answer within 3s"));
    let (kind, message) = refused(asked(&rule, &record, "model=a", start() + 31.seconds()));
    assert_eq!(kind, RefusalKind::TooOld);
    assert_eq!(
        message,
        "rule vllm_num_requests_waiting: the value for model a is 31 s old, the limit is 30 s; \
         the last collection from prometheus failed: no answer within 3s"
    );
}

#[test]
fn one_failed_scrape_leaves_the_last_good_value_and_later_becomes_an_error() {
    let (rule, record) = queue(vec![value("a", 7.0)], vec![engine("a-1", "a", Some(start()))], vec![]);
    let gone = Seen { targets: vec![engine("a-1", "a", None)], ..Seen::default() };
    let later = start() + 5.seconds();
    let record = gone.by(&record, &rule, later);
    assert_eq!(values(asked(&rule, &record, "model=a", later)), [7.0]);
    let much_later = start() + 40.seconds();
    let record = gone.by(&record, &rule, much_later);
    assert_eq!(refused(asked(&rule, &record, "model=a", much_later)).0, RefusalKind::Unknown);
}

#[test]
fn samples_older_than_max_age_do_not_answer_even_if_the_source_does() {
    let stale = start() - 31.seconds();
    let (rule, record) = queue(vec![value("a", 7.0)], vec![engine("a-1", "a", Some(stale))], vec![]);
    assert_eq!(refused(asked(&rule, &record, "model=a", start())).0, RefusalKind::Unknown);
}

#[test]
fn sums_give_one_item_per_model_and_quantiles_refuse_several() {
    let targets = || vec![engine("a-1", "a", Some(start())), engine("b-1", "b", Some(start()))];
    let series = || vec![value("a", 1.0), value("b", 2.0)];
    let (sum, record) = queue(series(), targets(), vec![]);
    assert_eq!(values(asked(&sum, &record, "", start())), [1.0, 2.0]);
    assert_eq!(values(asked(&sum, &record, "model in (a,b)", start())), [1.0, 2.0]);
    for name in ["vllm_ttft_seconds_p95", "vllm_kv_cache_usage_perc", "vllm_inter_token_latency_seconds_p95"] {
        let rule = rule(name);
        let record =
            Seen { series: series(), targets: targets(), engines: vec![] }.by(&Record::default(), &rule, start());
        let (kind, message) = refused(asked(&rule, &record, "", start()));
        assert_eq!(kind, RefusalKind::Ambiguous);
        assert!(message.contains("matches 2 values (model a, model b)"), "{message}");
        assert_eq!(values(asked(&rule, &record, "model=b", start())), [2.0]);
    }
}

#[test]
fn a_sum_with_one_unknown_model_is_an_error_not_a_part_of_the_truth() {
    let targets = vec![engine("a-1", "a", Some(start())), engine("b-1", "b", None)];
    let (rule, record) = queue(vec![value("a", 1.0)], targets, vec![]);
    assert!(refused(asked(&rule, &record, "", start())).1.contains("model b"));
}

#[test]
fn other_namespaces_are_never_seen() {
    let (rule, record) = queue(vec![value("a", 1.0)], vec![engine("a-1", "a", Some(start()))], vec![]);
    let all = Selector::default();
    let refusal = select(&rule, &record, "elsewhere", &all, start()).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NoMatch);
    assert!(!refusal.message.contains("models there"));
}

#[test]
fn nothing_collected_yet_says_what_failed() {
    let rule = rule("vllm_num_requests_waiting");
    let (kind, message) = refused(asked(&rule, &Record::default(), "", start()));
    assert_eq!(
        (kind, message.as_str()),
        (RefusalKind::NotCollected, "rule vllm_num_requests_waiting: no collection has succeeded yet")
    );
    let failure = Failure { source: "prometheus".into(), at: start(), message: "Connection refused".into() };
    let record = Record::default().failed(failure);
    assert!(refused(asked(&rule, &record, "", start())).1.ends_with("failed: Connection refused"));
}

#[test]
fn infinity_is_an_error_and_never_a_number() {
    let (rule, record) = queue(vec![value("a", f64::INFINITY)], vec![engine("a-1", "a", Some(start()))], vec![]);
    assert!(refused(asked(&rule, &record, "model=a", start())).1.contains("the value is inf"));
}

#[test]
fn a_negative_value_is_passed_on() {
    let (rule, record) = queue(vec![value("a", -2.0)], vec![engine("a-1", "a", Some(start()))], vec![]);
    assert_eq!(values(asked(&rule, &record, "model=a", start())), [-2.0]);
}

#[test]
fn the_routers_queue_needs_a_scraped_router() {
    let rule = rule("router_queue_depth");
    let engine_only = Seen { targets: vec![engine("a-1", "a", Some(start()))], ..Seen::default() };
    let record = engine_only.by(&Record::default(), &rule, start());
    assert!(refused(asked(&rule, &record, "model=a", start())).1.contains("no router was scraped"));
    let both = Seen {
        targets: vec![engine("a-1", "a", Some(start())), other(Component::Router, Some(start()))],
        ..Seen::default()
    };
    assert_eq!(values(asked(&rule, &both.by(&Record::default(), &rule, start()), "model=a", start())), [0.0]);
}

#[test]
fn the_autoscalers_wish_is_never_zero_by_absence() {
    let rule = rule("engine_desired_replicas");
    let scraped = || vec![other(Component::Autoscaler, Some(start()))];
    let silent = Seen { targets: scraped(), ..Seen::default() }.by(&Record::default(), &rule, start());
    assert!(refused(asked(&rule, &silent, "model=a", start())).1.contains("no autoscaler publishes it"));
    let wish = Seen { series: vec![value("a", 3.0)], targets: scraped(), ..Seen::default() };
    let record = wish.by(&Record::default(), &rule, start());
    assert_eq!(values(asked(&rule, &record, "model=a", start())), [3.0]);
}

#[test]
fn arrivals_that_become_completions_are_never_both_there() {
    let rule = rule("vllm_requests_per_second");
    let counted = |what: &str| {
        let mut series = value("a", 5.0);
        series.labels.insert("counts".into(), what.into());
        Seen { series: vec![series], targets: vec![engine("a-1", "a", Some(start()))], engines: vec![] }
    };
    let record = counted("arrivals").by(&Record::default(), &rule, start());
    let record = counted("completions").by(&record, &rule, start() + 5.seconds());
    let items = asked(&rule, &record, "model=a", start() + 5.seconds()).unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].labels["counts"], "completions");
}

fn own(missing: Missing, multiple: crate::rule::Multiple) -> Rule {
    let expression = crate::rule::Expression::Promql("x".into());
    Rule { name: "own".into(), expression, missing, multiple, ..rule("vllm_num_requests_waiting") }
}

#[test]
fn an_empty_result_of_an_own_query_follows_its_policy() {
    let nothing = Seen::default();
    for (missing, expected) in [(Missing::Error, None), (Missing::Zero, Some(0.0))] {
        let rule = own(missing, crate::rule::Multiple::Sum);
        let record = nothing.by(&Record::default(), &rule, start());
        assert_eq!(asked(&rule, &record, "", start()).ok().map(|items| items[0].value), expected);
    }
}

#[test]
fn an_own_query_without_a_namespace_label_says_how_to_add_it() {
    let rule = own(Missing::Error, crate::rule::Multiple::Sum);
    let series = vec![Series { labels: Labels::new(), value: 1.0 }];
    let record = Seen { series, ..Seen::default() }.by(&Record::default(), &rule, start());
    assert!(refused(asked(&rule, &record, "", start())).1.contains("add `by (namespace, ...)`"));
}

#[test]
fn several_values_are_combined_as_the_rule_says() {
    use crate::rule::Multiple;
    let seen = Seen { series: vec![value("a", 1.0), value("b", 4.0)], ..Seen::default() };
    for (multiple, expected) in [
        (Multiple::Sum, vec![1.0, 4.0]),
        (Multiple::Max, vec![4.0]),
        (Multiple::Min, vec![1.0]),
        (Multiple::Average, vec![2.5]),
    ] {
        let rule = own(Missing::Error, multiple);
        let record = seen.by(&Record::default(), &rule, start());
        assert_eq!(values(asked(&rule, &record, "", start())), expected);
    }
}

#[test]
fn a_series_that_an_own_query_no_longer_returns_is_gone() {
    let rule = own(Missing::Error, crate::rule::Multiple::Sum);
    let both = Seen { series: vec![value("a", 1.0), value("b", 4.0)], ..Seen::default() };
    let one = Seen { series: vec![value("a", 1.0)], ..Seen::default() };
    let record = one.by(&both.by(&Record::default(), &rule, start()), &rule, start() + 5.seconds());
    assert_eq!(values(asked(&rule, &record, "", start() + 5.seconds())), [1.0]);
}
