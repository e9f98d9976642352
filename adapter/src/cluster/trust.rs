//! ConfigMap `kube-system/extension-apiserver-authentication`: the CAs of callers and the headers of the front proxy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use process::readiness::Readiness;
use serving::CaPool;

use crate::serve::identify::TrustConfig;

/// kube-apiserver rewrites it when its CAs change, days apart; ten seconds is soon enough and one GET is cheap.
const POLL: Duration = Duration::from_secs(10);
/// A read that takes longer is given up and repeated.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Name of the ConfigMap.
const NAME: &str = "extension-apiserver-authentication";
/// What `/readyz` waits for.
pub const READINESS: &str = "authentication";

/// Keeps `trust` as the ConfigMap says, for ever; ready after the first time. On any failure the last one stays.
pub async fn follow(client: kube::Client, trust: Arc<ArcSwap<TrustConfig>>, readiness: Readiness) {
    let api: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    let mut seen = None;
    loop {
        let read = tokio::time::timeout(TIMEOUT, api.get(NAME)).await;
        let outcome = match read {
            Err(_) => Err("timeout".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(map)) if seen.as_ref() == map.data.as_ref() => Ok(()),
            Ok(Ok(map)) => parse(map.data.as_ref().unwrap_or(&BTreeMap::new())).map(|fresh| {
                trust.store(Arc::new(fresh));
                seen = map.data;
                readiness.clear(READINESS);
                tracing::info!("authentication follows ConfigMap kube-system/{NAME}");
            }),
        };
        if let Err(error) = outcome {
            tracing::warn!(error, "ConfigMap kube-system/{NAME} cannot be used, the last one stays");
            if seen.is_none() {
                readiness.wait_for(READINESS, format!("ConfigMap kube-system/{NAME}: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Reads the ConfigMap's data.
///
/// # Errors
/// Which key cannot be used.
pub fn parse(data: &BTreeMap<String, String>) -> Result<TrustConfig, String> {
    let pool = |key: &str| match data.get(key) {
        None => Ok(None),
        Some(pem) => CaPool::from_pem(pem.as_bytes()).map(Some).map_err(|error| format!("{key}: {error}")),
    };
    let list = |key: &str, default: &[&str]| match data.get(key) {
        None => Ok(default.iter().map(|&text| text.to_owned()).collect()),
        Some(text) => {
            serde_json::from_str::<Vec<String>>(text).map_err(|error| format!("{key}: not a JSON list: {error}"))
        }
    };
    Ok(TrustConfig {
        client_ca: pool("client-ca-file")?,
        proxy_ca: pool("requestheader-client-ca-file")?,
        allowed_names: list("requestheader-allowed-names", &[])?,
        username_headers: list("requestheader-username-headers", &["X-Remote-User"])?,
        uid_headers: list("requestheader-uid-headers", &["X-Remote-Uid"])?,
        group_headers: list("requestheader-group-headers", &["X-Remote-Group"])?,
        extra_prefixes: list("requestheader-extra-headers-prefix", &["X-Remote-Extra-"])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_used_is_named() {
        for (key, value) in [("client-ca-file", "x"), ("requestheader-allowed-names", "a,b")] {
            let data = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert!(parse(&data).unwrap_err().starts_with(key), "{key}");
        }
    }

    #[test]
    fn without_keys_nobody_is_trusted_and_the_headers_have_their_usual_names() {
        let trust = parse(&BTreeMap::new()).unwrap();
        assert!(trust.client_ca.is_none() && trust.proxy_ca.is_none());
        assert_eq!(trust.username_headers, ["X-Remote-User"]);
    }
}
