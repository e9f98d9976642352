use std::collections::BTreeMap;

use autoscaler_plan::EngineSample;
use engines::{Engine, EngineState};
use jiff::Timestamp;
use process::args::ProcessArgs;
use serde_json::{Value, json};

use super::objects::Object;
use super::round::View;
use super::*;
use crate::fake_api::FakeApi;

mod pools;
mod tiers;
mod variants;

const SCALE: &str = "/apis/apps/v1/namespaces/ns/deployments/llama-8b/scale";
const MISTRAL: &str = "/apis/apps/v1/namespaces/ns/deployments/mistral/scale";
const OBJECTS: &str = "/apis/autoscaling.vllm-prod-stack.io/v1alpha1/namespaces/ns/engineautoscalers";
const SCALED_OBJECTS: &str = "/apis/keda.sh/v1alpha1/namespaces/ns/scaledobjects";
const HPAS: &str = "/apis/autoscaling/v2/namespaces/ns/horizontalpodautoscalers";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

fn settings() -> ControllerSettings {
    ControllerConfig::default().settings(&ProcessArgs::default(), "host").expect("defaults are valid")
}

/// A cluster with one Deployment of one replica, and the controller that looks at it.
struct Stage {
    api: FakeApi,
    controller: Controller,
    readings: Readings,
    metrics: Metrics,
    leadership: watch::Receiver<Leadership>,
    _sender: watch::Sender<Leadership>,
    now: i64,
}

impl Stage {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: ControllerSettings) -> Self {
        let api = FakeApi::default();
        api.put(
            SCALE,
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "llama-8b"},
            "spec": {"replicas": 1}, "status": {"replicas": 1, "selector": "model=llama-8b"}}),
        );
        let second = Duration::from_secs(1);
        let freshness = Freshness { engine_period: 2 * second, router_period: second, scrape_timeout: 2 * second };
        let metrics = Metrics::default();
        let controller = Controller::new(api.client(), "ns".to_owned(), settings, metrics.clone(), freshness);
        let (sender, leadership) = watch::channel(Leadership::until(Instant::now() + Duration::from_secs(3600)));
        Self { api, controller, readings: Readings::default(), metrics, leadership, _sender: sender, now: 0 }
    }

    /// Puts an EngineAutoscaler into the cluster.
    fn object(&self, name: &str, spec: &Value) {
        let object = json!({"apiVersion": "autoscaling.vllm-prod-stack.io/v1alpha1", "kind": "EngineAutoscaler",
            "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 3,
                "creationTimestamp": "2026-11-23T00:00:00Z", "labels": {"model": "llama-8b"}},
            "spec": spec});
        self.api.put(&format!("{OBJECTS}/{name}"), object);
    }

    fn objects(&self, names: &[&str]) -> BTreeMap<String, Object> {
        let read = |name: &&str| {
            let value = self.api.get(&format!("{OBJECTS}/{name}")).expect("put before");
            let generation = value["metadata"]["generation"].as_i64();
            let content = serde_json::from_value(value).map_err(|error| error.to_string());
            ((*name).to_owned(), Object { name: (*name).to_owned(), uid: format!("uid-{name}"), generation, content })
        };
        names.iter().map(read).collect()
    }

    /// One round, two seconds after the last, with one engine that runs and queues as told.
    async fn round(&mut self, names: &[&str], running: f64, waiting: f64) {
        self.now += 2;
        let now = at(self.now);
        let sample = EngineSample {
            running: Some(running),
            waiting: Some(waiting),
            has_vllm_metrics: true,
            ..EngineSample::without_vllm_metrics(now)
        };
        self.readings.put_engine("ns/llama-8b-0", sample);
        self.round_unseen(names).await;
    }

    /// One round with the readings as they are.
    async fn round_unseen(&mut self, names: &[&str]) {
        let (objects, engines) = (self.objects(names), [ready_engine("llama-8b")]);
        let view = View { objects: &objects, engines: &engines, routers: &[], readings: &self.readings };
        self.controller.round(&view, &self.leadership, at(self.now)).await;
    }

    /// A Deployment without engines, called mistral, beside the first.
    fn second_deployment(&self, replicas: u32) {
        self.api.put(
            MISTRAL,
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "mistral"},
            "spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": "model=mistral"}}),
        );
    }

    fn both_replicas(&self) -> (Value, Value) {
        (self.replicas(), self.api.get(MISTRAL).expect("there")["spec"]["replicas"].clone())
    }

    fn replicas(&self) -> Value {
        self.api.get(SCALE).expect("there")["spec"]["replicas"].clone()
    }

    fn status(&self, name: &str) -> Value {
        self.api.get(&format!("{OBJECTS}/{name}")).expect("there")["status"].clone()
    }

    fn condition(&self, name: &str, type_: &str) -> (String, String, String) {
        let status = self.status(name);
        let found = status["conditions"].as_array().and_then(|list| list.iter().find(|one| one["type"] == type_));
        let text = |key: &str| found.and_then(|one| one[key].as_str()).unwrap_or("(absent)").to_owned();
        (text("status"), text("reason"), text("message"))
    }

    fn exposition(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        text
    }
}

/// The first engine of a Deployment.
fn ready_engine(model: &str) -> Engine {
    Engine {
        id: format!("ns/{model}-0"),
        namespace: "ns".to_owned(),
        url: String::new(),
        model: model.to_owned(),
        state: EngineState::Ready,
        created_at: Some(at(-600)),
        ready_since: Some(at(-500)),
        scheduled_at: None,
        containers_started_at: None,
        labels: Arc::new([("model".to_owned(), model.to_owned())].into()),
    }
}

fn spec() -> Value {
    json!({"scaleTargetRef": {"name": "llama-8b"}, "maxReplicas": 6})
}

fn with(key: &str, value: Value) -> Value {
    let mut spec = spec();
    spec[key] = value;
    spec
}

#[tokio::test]
async fn a_queue_scales_the_target_and_the_status_tells_why() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    assert!(stage.replicas().as_u64() >= Some(3), "{}", stage.replicas());
    let status = stage.status("llama-8b");
    assert_eq!((&status["desiredReplicas"], &status["currentReplicas"]), (&stage.replicas(), &stage.replicas()));
    assert_eq!(
        (&status["readyReplicas"], &status["reason"], &status["observedGeneration"]),
        (&json!(1), &json!("Demand"), &json!(3))
    );
    assert!(
        status["lastDecision"]["because"][0]["message"].as_str().expect("text").contains("32.0 requests in service")
    );
    assert_eq!(stage.condition("llama-8b", "Ready").1, "Scaling");
    assert_eq!(stage.condition("llama-8b", "MetricsAvailable").0, "True");
    assert_eq!(stage.condition("llama-8b", "TargetOwned").0, "True");
    let events = stage.api.writes("/events");
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0]["note"].as_str().expect("a note").starts_with("Deployment llama-8b 1 → "), "{}", events[0]);
}

#[tokio::test]
async fn nothing_is_written_while_nothing_changes() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    for _ in 0..10 {
        stage.round(&["llama-8b"], 3.0, 0.0).await;
    }
    assert_eq!(stage.api.writes("/scale").len(), 0);
    assert_eq!(stage.api.writes("/status").len(), 1);
    assert_eq!(stage.api.writes("/events").len(), 0);
}

#[tokio::test]
async fn a_target_that_an_hpa_scales_is_refused_and_the_hpa_is_named() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    stage.api.put(&format!("{HPAS}/by-hand"), json!({"metadata": {"name": "by-hand"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama-8b"}}}));
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    assert_eq!(stage.replicas(), 1);
    let (status, reason, message) = stage.condition("llama-8b", "TargetOwned");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ScaledByAnother"));
    assert!(message.contains("HorizontalPodAutoscaler by-hand"), "{message}");
    assert_eq!(stage.status("llama-8b")["reason"], "ScaledByAnother");
}

#[tokio::test]
async fn a_target_that_a_scaled_object_scales_is_refused_and_the_scaled_object_is_named() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    // KEDA's default kind is a Deployment.
    stage.api.put(
        &format!("{SCALED_OBJECTS}/by-keda"),
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "by-keda"}, "spec": {"scaleTargetRef": {"name": "llama-8b"}}}),
    );
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    assert_eq!(stage.replicas(), 1);
    let (status, reason, message) = stage.condition("llama-8b", "TargetOwned");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ScaledByAnother"));
    assert!(message.contains("ScaledObject by-keda") && message.contains("mode ThroughHPA or Advise"), "{message}");
    assert_eq!(stage.api.writes("/scale").len(), 0);
}

#[tokio::test]
async fn a_scaled_object_of_another_target_is_no_reason_to_refuse() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    for (name, target) in
        [("other-name", json!({"name": "mistral"})), ("other-kind", json!({"kind": "StatefulSet", "name": "llama-8b"}))]
    {
        stage.api.put(
            &format!("{SCALED_OBJECTS}/{name}"),
            json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": name}, "spec": {"scaleTargetRef": target}}),
        );
    }
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    assert!(stage.replicas().as_u64() >= Some(3));
}

#[tokio::test]
async fn when_it_is_not_known_who_else_scales_nothing_is_scaled() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    stage.api.refuse("GET", HPAS, 403);
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    assert_eq!(stage.replicas(), 1);
    assert_eq!(stage.condition("llama-8b", "TargetOwned").1, "OwnerUnknown");
}

#[tokio::test]
async fn of_two_objects_on_one_target_only_one_scales() {
    let mut stage = Stage::new();
    stage.object("a", &spec());
    stage.object("b", &spec());
    stage.round(&["a", "b"], 32.0, 64.0).await;
    assert_eq!(stage.condition("a", "TargetOwned").0, "True");
    let (status, _, message) = stage.condition("b", "TargetOwned");
    assert_eq!(status, "False");
    assert!(message.contains("EngineAutoscaler a"), "{message}");
    assert_eq!(stage.api.writes("/scale").len(), 1);
}

#[tokio::test]
async fn advise_and_through_hpa_decide_and_never_write_the_scale() {
    for (mode, reason) in [("Advise", "Advising"), ("ThroughHPA", "Publishing")] {
        let mut stage = Stage::new();
        stage.object("llama-8b", &with("mode", json!(mode)));
        stage.round(&["llama-8b"], 32.0, 64.0).await;
        assert_eq!(stage.api.writes("/scale").len(), 0, "{mode}");
        assert!(stage.status("llama-8b")["desiredReplicas"].as_u64() >= Some(3));
        assert_eq!(stage.condition("llama-8b", "Ready").1, reason);
        let text = stage.exposition();
        assert!(text.contains("engine_desired_replicas{namespace=\"ns\",model=\"llama-8b\"} "), "{text}");
    }
}

#[tokio::test]
async fn a_bad_object_is_told_so_and_stops_nobody_else() {
    let mut stage = Stage::new();
    stage.object("good", &spec());
    stage.object("limits", &with("minReplicas", json!(9)));
    stage.object("shape", &with("objective", json!({"ttft": 5})));
    stage.round(&["good", "limits", "shape"], 32.0, 64.0).await;
    assert!(stage.replicas().as_u64() >= Some(3));
    let (status, reason, message) = stage.condition("limits", "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "InvalidSpec"));
    assert!(message.contains("spec.minReplicas: 9 is above maxReplicas 6"), "{message}");
    let (_, reason, message) = stage.condition("shape", "Ready");
    assert_eq!(reason, "InvalidSpec");
    assert!(message.contains("cannot be read"), "{message}");
}

#[tokio::test]
async fn a_missing_target_is_named() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &with("scaleTargetRef", json!({"name": "lama-8b"})));
    stage.round(&["llama-8b"], 1.0, 0.0).await;
    let (_, reason, message) = stage.condition("llama-8b", "Ready");
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("TargetNotFound", "Deployment lama-8b does not exist; check spec.scaleTargetRef")
    );
}

#[tokio::test]
async fn a_scale_changed_by_somebody_meanwhile_is_not_overwritten() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    stage.api.refuse("PATCH", SCALE, 409);
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    assert_eq!((stage.replicas(), stage.condition("llama-8b", "Ready").1.as_str()), (json!(1), "TargetChanged"));
    stage.api.refuse("PATCH", SCALE, 0);
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    assert!(stage.replicas().as_u64() >= Some(3));
}

#[tokio::test]
async fn who_does_not_lead_writes_nothing() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    let (sender, leadership) = watch::channel(Leadership::default());
    stage.leadership = leadership;
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    assert!(stage.api.writes("/scale").is_empty() && stage.api.writes("/status").is_empty());
    drop(sender);
}

#[tokio::test]
async fn a_new_leader_continues_from_the_status() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    let before = stage.replicas();
    assert!(stage.status("llama-8b")["memory"].as_str().expect("kept").len() < 4096);
    // Another replica takes over as the load is gone: what the last leader had averaged still counts.
    stage.controller.begin_term(true);
    stage.round(&["llama-8b"], 0.0, 0.0).await;
    assert_eq!(stage.replicas(), before);
    assert_eq!(stage.status("llama-8b")["lastDecision"]["inService"], 0.0);
    assert!(stage.status("llama-8b")["lastDecision"]["wanted"].as_u64() >= Some(3));
}

#[tokio::test]
async fn an_engine_that_falls_silent_is_held_and_named_in_the_status() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    let before = stage.replicas();
    stage.now += 300;
    stage.round_unseen(&["llama-8b"]).await;
    assert_eq!(stage.replicas(), before);
    assert_eq!(stage.condition("llama-8b", "MetricsAvailable").0, "False");
    assert!(stage.status("llama-8b")["message"].as_str().expect("text").contains("holding"));
}

#[tokio::test]
async fn a_paused_object_keeps_its_replicas() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &with("paused", json!(true)));
    stage.round(&["llama-8b"], 32.0, 64.0).await;
    assert_eq!((stage.replicas(), stage.status("llama-8b")["reason"].as_str()), (json!(1), Some("Paused")));
}

#[tokio::test]
async fn what_is_gone_is_not_published_any_more() {
    let mut stage = Stage::new();
    stage.object("llama-8b", &spec());
    stage.round(&["llama-8b"], 3.0, 0.0).await;
    assert!(stage.exposition().contains("autoscaler_replicas_ready{namespace=\"ns\",name=\"llama-8b\"} 1"));
    stage.round(&[], 3.0, 0.0).await;
    assert!(!stage.exposition().contains("engine_desired_replicas{"), "{}", stage.exposition());
}

#[tokio::test(start_paused = true)]
async fn two_hundred_objects_take_about_as_long_as_the_slowest_of_them() {
    let mut stage = Stage::new();
    let names: Vec<String> = (0..200).map(|number| format!("eas-{number:03}")).collect();
    for name in &names {
        let scale = stage.api.get(SCALE).expect("there");
        stage.api.put(&SCALE.replace("llama-8b", name), scale);
        stage.object(name, &with("scaleTargetRef", json!({"name": name})));
    }
    stage.api.delay("/scale", Duration::from_millis(10));
    stage.api.delay("/status", Duration::from_millis(10));
    stage.api.delay("/eas-007/scale", Duration::from_secs(2));
    stage.api.delay("/eas-042/status", Duration::from_secs(2));
    let listed: Vec<&str> = names.iter().map(String::as_str).collect();
    let began = Instant::now();
    stage.round(&listed, 3.0, 0.0).await;
    // One after another it would be 400 answers of 10 ms on top of these 4 s.
    assert!(began.elapsed() < Duration::from_millis(4500), "{:?}", began.elapsed());
    assert_eq!(stage.api.writes("/status").len(), 200);
    assert_eq!(stage.status("eas-199")["readyReplicas"], 1);
}
