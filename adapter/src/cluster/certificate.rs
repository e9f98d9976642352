//! The serving certificate: made by the adapter, kept in one Secret that the replicas share, and announced to
//! kube-apiserver in `caBundle`.
//!
//! Replicas need no leader: whoever finds the Secret empty or its content ending writes it with the resourceVersion it
//! has read. The loser of a race reads again and adopts what the winner wrote.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use process::readiness::Readiness;
use serving::ServingCertificate;
use serving::authority::{self, Material};

/// What `/readyz` waits for.
pub const READINESS: &str = "certificate";
/// Another replica's renewal is seen this much later; both CAs are trusted meanwhile.
const POLL: Duration = Duration::from_secs(30);
/// Until the first success: a Secret or APIService that Helm is just creating.
const FIRST_POLL: Duration = Duration::from_secs(1);
/// Of one request to kube-apiserver.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A self-managed certificate.
#[derive(Clone)]
pub struct SelfManaged {
    /// Client of the cluster.
    pub client: kube::Client,
    /// Namespace of the Secret and of the Service.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Name of the Service.
    pub service: String,
    /// APIServices whose `caBundle` receives the CA.
    pub api_services: Vec<String>,
}

/// Why the certificate could not be looked after; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{what}: {source}")]
    Api { what: String, source: kube::Error },
    #[error("{0}: no answer within {TIMEOUT:?}")]
    Timeout(String),
    #[error(transparent)]
    Authority(#[from] authority::AuthorityError),
    #[error("the Secret holds what cannot be served: {0}")]
    Unusable(#[from] serving::CertificateError),
    #[error("another replica was faster")]
    Lost,
}

impl SelfManaged {
    /// Looks after certificate and `caBundle`, for ever.
    pub async fn follow(self, certificate: ServingCertificate, readiness: Readiness) {
        let mut shown: Option<Material> = None;
        loop {
            let pause = match self.once(&certificate, &mut shown).await {
                Ok(true) => {
                    readiness.clear(READINESS);
                    POLL
                }
                // The certificate is served, an APIService is not there yet or not ours.
                Ok(false) => {
                    readiness.clear(READINESS);
                    Duration::from_secs(5)
                }
                Err(Trouble::Lost) => Duration::from_millis(100),
                Err(trouble) => {
                    tracing::warn!(error = %trouble, secret = self.secret, "the serving certificate cannot be looked after");
                    if shown.is_none() {
                        readiness.wait_for(READINESS, trouble.to_string());
                    }
                    if shown.is_none() { FIRST_POLL } else { POLL }
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One look: false if an APIService could not be given the CA.
    async fn once(&self, certificate: &ServingCertificate, shown: &mut Option<Material>) -> Result<bool, Trouble> {
        let material = self.material().await?;
        if shown.as_ref() != Some(&material) {
            certificate.replace(material.certificate.as_bytes(), material.key.as_bytes())?;
            tracing::info!(secret = self.secret, "serving the certificate of the Secret");
            *shown = Some(material.clone());
        }
        let mut all_announced = true;
        for name in &self.api_services {
            if let Err(trouble) = self.announce(name, &material.ca_bundle).await {
                // Helm may be about to create it, or somebody else owns the API: neither may stop serving.
                tracing::warn!(error = %trouble, api_service = name, "the CA could not be announced");
                all_announced = false;
            }
        }
        Ok(all_announced)
    }

    /// What the Secret holds, after making it good if it is not.
    async fn material(&self) -> Result<Material, Trouble> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let what = |verb: &str| format!("{verb} Secret {}/{}", self.namespace, self.secret);
        let found = bounded(what("get"), api.get_opt(&self.secret)).await?;
        let now = process::clock::now();
        let names = self.names();
        let existing = found.as_ref().and_then(read);
        if let Some(material) = &existing
            && authority::defect(material, &names, now).is_none()
        {
            return Ok(material.clone());
        }
        let material = authority::make(existing.as_ref(), &names, now)?;
        let written = match found {
            Some(mut secret) => {
                secret.data.get_or_insert_default().extend(data(&material));
                // With the resourceVersion that was read: of two replicas one wins.
                bounded(what("update"), api.replace(&self.secret, &PostParams::default(), &secret)).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.secret.clone()), ..ObjectMeta::default() };
                let secret = Secret { metadata, data: Some(data(&material)), ..Secret::default() };
                bounded(what("create"), api.create(&PostParams::default(), &secret)).await
            }
        };
        match written {
            Ok(_) => {
                tracing::info!(secret = self.secret, "made a serving certificate");
                Ok(material)
            }
            Err(Trouble::Api { source: kube::Error::Api(status), .. }) if status.code == 409 => Err(Trouble::Lost),
            Err(trouble) => Err(trouble),
        }
    }

    fn names(&self) -> Vec<String> {
        let (service, namespace) = (&self.service, &self.namespace);
        vec![
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc.cluster.local"),
            service.clone(),
            "localhost".to_owned(),
        ]
    }

    /// Puts the CA into an APIService that points to this Service; one that points elsewhere is not ours to touch.
    async fn announce(&self, name: &str, ca_bundle: &str) -> Result<(), Trouble> {
        let api: Api<APIService> = Api::all(self.client.clone());
        let found = bounded(format!("get APIService {name}"), api.get(name)).await?;
        let spec = found.spec.unwrap_or_default();
        let service = spec.service.unwrap_or_default();
        let is_ours = service.name.as_deref() == Some(self.service.as_str())
            && service.namespace.as_deref() == Some(self.namespace.as_str());
        if !is_ours {
            tracing::warn!(api_service = name, service = ?service.name, "the APIService points to another Service");
            return Ok(());
        }
        let bundle = ByteString(ca_bundle.as_bytes().to_vec());
        if spec.ca_bundle.as_ref() == Some(&bundle) {
            return Ok(());
        }
        let patch = Patch::Merge(serde_json::json!({"spec": {"caBundle": bundle, "insecureSkipTLSVerify": false}}));
        let parameters = PatchParams::default();
        bounded(format!("patch APIService {name}"), api.patch(name, &parameters, &patch)).await?;
        tracing::info!(api_service = name, "announced the CA");
        Ok(())
    }
}

async fn bounded<T>(what: String, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Trouble> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Trouble::Api { what, source }),
        Err(_) => Err(Trouble::Timeout(what)),
    }
}

fn read(secret: &Secret) -> Option<Material> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(Material {
        ca_bundle: text("ca.crt")?,
        ca_key: text("ca.key")?,
        certificate: text("tls.crt")?,
        key: text("tls.key")?,
    })
}

fn data(material: &Material) -> BTreeMap<String, ByteString> {
    let parts = [
        ("ca.crt", &material.ca_bundle),
        ("ca.key", &material.ca_key),
        ("tls.crt", &material.certificate),
        ("tls.key", &material.key),
    ];
    parts.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec()))).into()
}

/// Serves certificate files, and reads them again when they change, for ever. Mounted Secrets are swapped symlinks, so
/// the files are compared by content. On any failure the last good pair stays.
pub async fn follow_files(
    certificate_path: &Path,
    key_path: &Path,
    certificate: ServingCertificate,
    readiness: Readiness,
) {
    let mut shown = None;
    loop {
        let read = (tokio::fs::read(certificate_path).await, tokio::fs::read(key_path).await);
        let outcome = match read {
            (Ok(chain), Ok(key)) if shown.as_ref() == Some(&(chain.clone(), key.clone())) => Ok(()),
            (Ok(chain), Ok(key)) => certificate.replace(&chain, &key).map_err(|error| error.to_string()).map(|()| {
                shown = Some((chain, key));
                readiness.clear(READINESS);
                tracing::info!(path = %certificate_path.display(), "serving the certificate of the files");
            }),
            (Err(error), _) => Err(format!("{}: {error}", certificate_path.display())),
            (_, Err(error)) => Err(format!("{}: {error}", key_path.display())),
        };
        if let Err(error) = outcome {
            tracing::warn!(error, "the certificate files cannot be used, the last good ones stay");
            if shown.is_none() {
                readiness.wait_for(READINESS, error);
            }
        }
        tokio::time::sleep(if shown.is_none() { FIRST_POLL } else { Duration::from_secs(10) }).await;
    }
}
