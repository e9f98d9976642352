//! Prefill and decode of one model: llama-8b is the one, mistral the other.

use super::*;
use crate::observe::read::RouterModel;
use crate::past::PrometheusConfig;

const BOTH: [&str; 2] = ["llama-8b", "mistral"];

fn stage(replicas: [u32; 2]) -> Stage {
    with_pools(replicas, "{}")
}

fn with_pools(replicas: [u32; 2], pools: &str) -> Stage {
    let config: ControllerConfig = process::config::parse(&format!("pools: {pools}\n")).expect("valid");
    let stage = Stage::with(config.settings(&ProcessArgs::default(), "host").expect("valid"));
    stage.second_deployment(replicas[1]);
    let mut scale = stage.api.get(SCALE).expect("there");
    scale["spec"]["replicas"] = json!(replicas[0]);
    stage.api.put(SCALE, scale);
    stage
}

fn tier(target: &str, tier: &str) -> Value {
    json!({"scaleTargetRef": {"name": target}, "servedModelName": "llama", "maxReplicas": 6, "tier": tier})
}

fn set(mut spec: Value, key: &str, value: Value) -> Value {
    spec[key] = value;
    spec
}

impl Stage {
    fn both(&self, prefill: &Value, decode: &Value) {
        self.object("llama-8b", prefill);
        self.object("mistral", decode);
    }

    /// One round in which each tier has one engine that runs and queues as told, or none, and a router of ours has received so
    /// many requests and holds so many.
    async fn tiers(&mut self, prefill: Option<(f64, f64)>, decode: Option<(f64, f64)>, router: Option<(f64, f64)>) {
        self.now += 2;
        let now = at(self.now);
        let mut engines = Vec::new();
        for (model, load) in BOTH.into_iter().zip([prefill, decode]) {
            let Some((running, waiting)) = load else { continue };
            let sample = EngineSample {
                running: Some(running),
                waiting: Some(waiting),
                has_vllm_metrics: true,
                ..EngineSample::without_vllm_metrics(now)
            };
            self.readings.put_engine(&format!("ns/{model}-0"), sample);
            engines.push(ready_engine(model));
        }
        let routers = router.map(|(received_total, queue_depth)| {
            let model = RouterModel { received_total, queue_depth, ..RouterModel::default() };
            self.readings.put_router("ns/router-0", now, [("llama".to_owned(), model)].into());
            ready_engine("router")
        });
        let (objects, routers) = (self.objects(&BOTH), routers.into_iter().collect::<Vec<_>>());
        let view = View { objects: &objects, engines: &engines, routers: &routers, readings: &self.readings };
        self.controller.round(&view, &self.leadership, now).await;
    }

    fn because(&self, name: &str) -> Vec<(String, String)> {
        let status = self.status(name);
        let reasons = status["lastDecision"]["because"].as_array().cloned().unwrap_or_default();
        let text = |reason: &Value, key: &str| reason[key].as_str().unwrap_or_default().to_owned();
        reasons.iter().map(|reason| (text(reason, "reason"), text(reason, "message"))).collect()
    }
}

#[tokio::test]
async fn both_tiers_are_ordered_in_one_round_each_by_what_reaches_its_own_engines() {
    let mut stage = stage([1, 1]);
    stage.both(&tier("llama-8b", "Prefill"), &tier("mistral", "Decode"));
    // Behind a router that is not ours: ours is there and was asked for nothing.
    stage.tiers(Some((32.0, 32.0)), Some((96.0, 0.0)), Some((0.0, 0.0))).await;
    assert_eq!(stage.both_replicas(), (json!(2), json!(3)));
    for name in BOTH {
        assert_eq!(stage.status(name)["reason"], "Demand", "{}", stage.status(name));
        assert!(!stage.because(name).iter().any(|(reason, _)| reason == "TierAlone"));
    }
}

#[tokio::test]
async fn a_tier_at_its_maximum_holds_the_other_at_what_keeps_up_with_it() {
    let mut stage = stage([1, 1]);
    stage.both(&tier("llama-8b", "Prefill"), &set(tier("mistral", "Decode"), "maxReplicas", json!(1)));
    stage.tiers(Some((32.0, 96.0)), Some((64.0, 0.0)), None).await;
    assert_eq!(stage.both_replicas(), (json!(2), json!(1)));
    let (status, reason, message) = stage.condition("llama-8b", "Limited");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "LimitedByTier"));
    assert_eq!(
        message,
        "4 replicas are wanted; its Decode tier, mistral, can have 1 of the 2 that it wants, and 2 keep up with that"
    );
    assert_eq!(stage.status("llama-8b")["reason"], "LimitedByTier");
    assert_eq!(stage.condition("mistral", "Limited").1, "LimitedByMax");
}

#[tokio::test]
async fn what_a_pool_has_for_one_tier_limits_the_other() {
    let mut stage = with_pools([1, 1], "{h100: {gpus: 8}, l40s: {gpus: 1}}");
    let pooled = |target, name, pool| set(tier(target, name), "pool", json!({"name": pool}));
    stage.both(&pooled("llama-8b", "Prefill", "h100"), &pooled("mistral", "Decode", "l40s"));
    stage.tiers(Some((32.0, 96.0)), Some((64.0, 0.0)), None).await;
    assert_eq!(stage.both_replicas(), (json!(2), json!(1)));
    assert_eq!(
        (stage.status("llama-8b")["reason"].as_str(), stage.condition("mistral", "Limited").1.as_str()),
        (Some("LimitedByTier"), "LimitedByPool")
    );
}

#[tokio::test]
async fn on_one_pool_each_tier_has_a_replica_whatever_its_priority() {
    let mut stage = with_pools([1, 0], "{h100: {gpus: 4}}");
    let pooled = |target, name, priority| {
        let spec = set(tier(target, name), "pool", json!({"name": "h100", "priority": priority}));
        set(spec, "minReplicas", json!(0))
    };
    stage.both(&pooled("llama-8b", "Prefill", 9), &pooled("mistral", "Decode", 0));
    for _ in 0..3 {
        stage.tiers(Some((32.0, 200.0)), None, None).await;
    }
    assert_eq!(stage.both_replicas(), (json!(3), json!(1)));
}

#[tokio::test]
async fn a_request_that_a_router_holds_wakes_both_tiers_and_without_one_neither_sleeps() {
    let asleep = |target, name| set(tier(target, name), "minReplicas", json!(0));
    let mut stage = stage([0, 0]);
    stage.both(&asleep("llama-8b", "Prefill"), &asleep("mistral", "Decode"));
    stage.tiers(None, None, Some((7.0, 0.0))).await;
    assert_eq!(stage.both_replicas(), (json!(0), json!(0)));
    stage.tiers(None, None, Some((8.0, 1.0))).await;
    assert_eq!(stage.both_replicas(), (json!(1), json!(1)));
    // A router that was never asked for the model would hold nothing.
    let mut stage = self::stage([0, 0]);
    stage.both(&asleep("llama-8b", "Prefill"), &asleep("mistral", "Decode"));
    stage.tiers(None, None, Some((0.0, 0.0))).await;
    assert_eq!(stage.both_replicas(), (json!(1), json!(1)));
    assert_eq!(stage.status("mistral")["reason"], "ZeroNeedsRouter");
}

#[tokio::test]
async fn a_tier_whose_other_one_sleeps_and_must_not_wakes_it() {
    let prefill = set(tier("llama-8b", "Prefill"), "minReplicas", json!(0));
    for prefill in [prefill.clone(), set(prefill, "pool", json!({"name": "h100"}))] {
        let mut stage = with_pools([0, 1], "{h100: {gpus: 8}}");
        stage.both(&prefill, &tier("mistral", "Decode"));
        stage.tiers(None, Some((0.0, 0.0)), Some((7.0, 0.0))).await;
        assert_eq!(stage.both_replicas(), (json!(1), json!(1)));
        assert_eq!(stage.status("llama-8b")["reason"], "AwakeWithTier");
        assert_eq!(stage.because("llama-8b").iter().filter(|(reason, _)| reason == "AwakeWithTier").count(), 1);
    }
}

#[tokio::test]
async fn a_tier_without_the_other_is_decided_on_alone_and_says_so() {
    let mut stage = stage([1, 1]);
    stage.both(&tier("llama-8b", "Prefill"), &set(tier("mistral", "Decode"), "servedModelName", json!("other")));
    stage.tiers(Some((32.0, 64.0)), Some((1.0, 0.0)), None).await;
    assert_eq!(stage.both_replicas(), (json!(3), json!(1)));
    let (reason, message) = stage.because("llama-8b").pop().expect("a reason");
    assert_eq!(reason, "TierAlone");
    assert_eq!(message, "no EngineAutoscaler is the Decode tier of this servedModelName: it is decided on alone");
    assert_eq!(stage.status("llama-8b")["reason"], "Demand");
}

#[tokio::test]
async fn a_tier_whose_other_one_cannot_be_read_names_it() {
    let mut stage = stage([1, 1]);
    stage.both(&tier("llama-8b", "Prefill"), &tier("mistral", "Decode"));
    stage.api.refuse("GET", MISTRAL, 500);
    stage.tiers(Some((32.0, 64.0)), Some((1.0, 0.0)), None).await;
    assert_eq!(stage.replicas(), json!(3));
    let (_, message) = stage.because("llama-8b").pop().expect("a reason");
    assert_eq!(message, "its Decode tier, mistral, cannot be decided on now: it is decided on alone");
}

#[tokio::test]
async fn a_tier_that_is_there_already_has_no_name_or_is_a_variant_is_refused_with_the_field_and_the_fix() {
    let mut stage = stage([1, 1]);
    stage.both(&tier("llama-8b", "Prefill"), &tier("mistral", "Prefill"));
    stage.tiers(Some((32.0, 64.0)), Some((32.0, 64.0)), None).await;
    assert_eq!(stage.both_replicas(), (json!(3), json!(1)));
    let (_, reason, message) = stage.condition("mistral", "Ready");
    assert_eq!(reason, "InvalidSpec");
    assert_eq!(
        message,
        "spec.tier: EngineAutoscaler llama-8b is the Prefill tier of llama already; delete one of the two, or give it \
         another servedModelName"
    );
    let mut stage = self::stage([1, 1]);
    let mut nameless = tier("llama-8b", "Prefill");
    nameless.as_object_mut().expect("an object").remove("servedModelName");
    stage.both(&nameless, &set(tier("mistral", "Decode"), "variant", json!({"price": 1.0})));
    stage.tiers(Some((32.0, 64.0)), Some((32.0, 64.0)), None).await;
    let (_, _, message) = stage.condition("llama-8b", "Ready");
    assert!(message.contains("spec.servedModelName: it is empty, and the tiers of a model"), "{message}");
    let (_, _, message) = stage.condition("mistral", "Ready");
    assert!(message.contains("spec.variant: a Decode tier is one target"), "{message}");
}

#[tokio::test]
async fn an_object_that_only_advises_on_the_target_of_a_tier_takes_no_place() {
    let mut stage = stage([1, 1]);
    stage.both(&tier("llama-8b", "Prefill"), &set(tier("llama-8b", "Prefill"), "mode", json!("Advise")));
    stage.tiers(Some((32.0, 64.0)), None, None).await;
    assert_eq!(stage.condition("mistral", "Ready").1, "Advising");
    assert_eq!(stage.replicas(), json!(3));
}

#[tokio::test]
async fn what_routers_of_ours_received_is_not_read_as_the_past_of_a_tier() {
    for (arrivals, told) in [(None, "(absent)"), (Some("sum(rate(gateway_requests_total[$window]))"), "Reading")] {
        let mut stage = stage([1, 1]);
        let config =
            PrometheusConfig { arrivals: arrivals.map(str::to_owned), ..PrometheusConfig::at("http://127.0.0.1:9") };
        let second = Duration::from_secs(1);
        let freshness = Freshness { engine_period: 2 * second, router_period: second, scrape_timeout: 2 * second };
        let past = Arc::new(Source::new(&config, true).expect("valid"));
        stage.controller =
            Controller::new(stage.api.client(), "ns".to_owned(), settings(), stage.metrics.clone(), freshness)
                .with_past(Some(past));
        stage.both(&tier("llama-8b", "Prefill"), &tier("mistral", "Decode"));
        stage.tiers(Some((1.0, 0.0)), Some((1.0, 0.0)), None).await;
        assert_eq!(stage.condition("llama-8b", "HistoryRead").1, told);
    }
}
