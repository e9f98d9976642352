//! A metrics API over real TLS, in front of a kube-apiserver that answers reviews only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter::cluster::trust;
use adapter::metrics::Metrics;
use adapter::serve::authorize::Authorizer;
use adapter::serve::documents::Documents;
use adapter::serve::identify::{Identifier, TrustConfig};
use adapter::serve::{Access, Api, Reviews};
use adapter::store::Store;
use adapter_core::series::{Series, Target};
use adapter_core::{Component, Observation, Rule};
use arc_swap::ArcSwap;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use serving::authority;
use serving::{ServeOptions, ServingCertificate, Stages};
use tokio::net::TcpListener;

/// A CA that signs client certificates.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key of a client.
    pub(crate) fn client(&self, common_name: &str, organisation: Option<&str>) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        if let Some(organisation) = organisation {
            params.distinguished_name.push(DnType::OrganizationName, organisation);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        format!("{certificate}{}", key.serialize_pem())
    }
}

/// The API with everything around it.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) api: Arc<Api>,
    pub(crate) proxy_ca: Ca,
    pub(crate) client_ca: Ca,
    pub(crate) trust: Arc<ArcSwap<TrustConfig>>,
    pub(crate) stages: Stages,
    serving_ca: String,
    /// Specs of the reviews that were asked for.
    pub(crate) reviews: Arc<Mutex<Vec<Value>>>,
}

pub(crate) const HPA: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// ConfigMap data as a kube-apiserver with `--requestheader-allowed-names=front-proxy-client` writes it.
pub(crate) fn trust_data(proxy_ca: &str, client_ca: &str) -> BTreeMap<String, String> {
    [
        ("client-ca-file", client_ca),
        ("requestheader-client-ca-file", proxy_ca),
        ("requestheader-allowed-names", r#"["front-proxy-client"]"#),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#),
        ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
        ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
        ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

impl Server {
    pub(crate) async fn start(rules: &[Rule]) -> Self {
        process::install_crypto_provider();
        let reviews = Arc::new(Mutex::new(Vec::new()));
        let kube = kube_client(reviews.clone()).await;
        let (proxy_ca, client_ca) = (Ca::new("front-proxy-ca"), Ca::new("kubernetes-ca"));
        let trusted = trust::parse(&trust_data(&proxy_ca.pem, &client_ca.pem)).unwrap();
        let trust = Arc::new(ArcSwap::from_pointee(trusted));
        let store = Arc::new(Store::default());
        store.replace_rules(rules);
        let mut registry = process::admin::registry("adapter", "0.0.0");
        let metrics = Metrics::register(&mut registry, store.clone());
        let access = Access::Kubernetes(Box::new(Reviews {
            identifier: Identifier::new(trust.clone(), kube.clone()),
            authorizer: Authorizer::new(kube),
        }));
        let api = Arc::new(Api { store, access, metrics, documents: Documents::default() });
        api.documents.replace(&rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>());
        let material = authority::make(None, &["localhost".to_owned()], process::clock::now()).unwrap();
        let certificate = ServingCertificate::default();
        certificate.replace(material.certificate.as_bytes(), material.key.as_bytes()).unwrap();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let stages = Stages::default();
        let options =
            ServeOptions { certificate: Some(certificate), stages: stages.clone(), ..ServeOptions::default() };
        let answering = api.clone();
        let handler = move |request| {
            let api = answering.clone();
            async move { api.handle(request).await }
        };
        tokio::spawn(serving::serve(listener, handler, options));
        Self { url, api, proxy_ca, client_ca, trust, stages, serving_ca: material.ca_bundle, reviews }
    }

    /// A client that trusts the server, with a certificate if there is one.
    pub(crate) fn client(&self, identity_pem: Option<&str>) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem_bundle(self.serving_ca.as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).tls_certs_only(ca);
        if let Some(pem) = identity_pem {
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }

    /// A client with the front proxy's certificate.
    pub(crate) fn front_proxy(&self) -> reqwest::Client {
        self.client(Some(&self.proxy_ca.client("front-proxy-client", None)))
    }

    /// Makes a rule's value for one model known, as if it had just been collected.
    pub(crate) fn observe(&self, rule: &str, namespace: &str, model: &str, value: f64) {
        let slot = self.api.store.slot(rule).unwrap();
        let at: jiff::Timestamp = process::clock::now();
        let labels = BTreeMap::from([("namespace".into(), namespace.into()), ("model".into(), model.into())]);
        let target = Target {
            component: Component::ServingEngine,
            namespace: namespace.into(),
            model: model.into(),
            name: "e".into(),
            sampled_at: Some(at),
        };
        slot.observe(&Observation {
            source: "test",
            at,
            series: &[Series { labels, value }],
            targets: &[target],
            engines: &[],
            scrape_interval: Duration::from_secs(5),
        });
    }
}

/// A client of an API server that knows TokenReview and SubjectAccessReview: HPA, alice and bob's token may list
/// metrics, everybody authenticated may discover.
async fn kube_client(reviews: Arc<Mutex<Vec<Value>>>) -> kube::Client {
    let routes = Router::new()
        .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(access_review))
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(token_review))
        .with_state(reviews);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap()
}

async fn access_review(State(reviews): State<Arc<Mutex<Vec<Value>>>>, Json(mut review): Json<Value>) -> Json<Value> {
    let spec = review["spec"].clone();
    let user = spec["user"].as_str().unwrap_or_default();
    let is_authenticated =
        spec["groups"].as_array().is_some_and(|groups| groups.contains(&json!("system:authenticated")));
    let may_list = [HPA, "alice", "bob"].contains(&user) && spec["resourceAttributes"]["verb"] == "list";
    let may_discover = is_authenticated && spec.get("nonResourceAttributes").is_some();
    reviews.lock().unwrap().push(spec);
    review["status"] = json!({"allowed": may_list || may_discover, "reason": ""});
    Json(review)
}

async fn token_review(Json(mut review): Json<Value>) -> Json<Value> {
    review["status"] = if review["spec"]["token"] == "good-token" {
        json!({"authenticated": true, "user": {"username": "bob", "groups": ["people"]}})
    } else {
        json!({"authenticated": false, "error": "unknown"})
    };
    Json(review)
}
