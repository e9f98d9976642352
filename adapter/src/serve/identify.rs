//! Who asks: front proxy, client certificate, bearer token, or nobody, in the order of Kubernetes' API servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use adapter_api::{Reason, Status};
use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, HeaderMap};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};
use rustls_pki_types::UnixTime;
use serving::{CaPool, Peer};
use tokio::time::Instant;

use super::path::decoded_key;
use crate::cache::Cache;

/// A caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// User name.
    pub user: String,
    /// User id, if the authenticator told it.
    pub uid: String,
    /// Groups, in the order they came.
    pub groups: Vec<String>,
    /// What the authenticator adds.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// How a front proxy says who asks: ConfigMap `extension-apiserver-authentication`.
#[derive(Clone, Debug, Default)]
pub struct TrustConfig {
    /// CA of client certificates.
    pub client_ca: Option<CaPool>,
    /// CA of the front proxy.
    pub proxy_ca: Option<CaPool>,
    /// Common names that the front proxy may have; empty for any.
    pub allowed_names: Vec<String>,
    /// Headers with the user's name, the first that is there counts.
    pub username_headers: Vec<String>,
    /// Headers with the user's id.
    pub uid_headers: Vec<String>,
    /// Headers with groups; may come several times.
    pub group_headers: Vec<String>,
    /// Prefixes of headers with extra values.
    pub extra_prefixes: Vec<String>,
}

/// Finds out who asks.
pub struct Identifier {
    trust: Arc<ArcSwap<TrustConfig>>,
    client: kube::Client,
    tokens: Cache<String, Option<Identity>>,
}

/// As in Kubernetes' delegated authentication.
const TOKEN_CACHE: Duration = Duration::from_secs(10);
/// Half of what kube-apiserver gives an availability probe.
const REVIEW_TIMEOUT: Duration = Duration::from_millis(2500);
/// Longer tokens are refused unread; Kubernetes' own are near 1 KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

const AUTHENTICATED: &str = "system:authenticated";

impl std::fmt::Debug for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identifier").finish_non_exhaustive()
    }
}

impl Identifier {
    /// Trusts what `trust` says, at any moment.
    pub fn new(trust: Arc<ArcSwap<TrustConfig>>, client: kube::Client) -> Self {
        Self { trust, client, tokens: Cache::new(TOKEN_CACHE) }
    }

    /// Who sent a request with these headers over a connection with this client certificate.
    ///
    /// # Errors
    /// If a bearer token is not good or cannot be reviewed.
    pub async fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<Identity, Status> {
        let trust = self.trust.load();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(
            u64::try_from(process::clock::now().as_second()).unwrap_or_default(),
        ));
        if let Some(identity) = by_certificate(&trust, peer, headers, now) {
            return Ok(identity);
        }
        if let Some(token) = bearer(headers) {
            return self.by_token(token).await;
        }
        Ok(Identity {
            user: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Identity::default()
        })
    }

    async fn by_token(&self, token: &str) -> Result<Identity, Status> {
        let refused = || Status::failure(Reason::Unauthorized, "the bearer token is not valid");
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused());
        }
        if let Some(known) = self.tokens.get(&token.to_owned(), Instant::now()) {
            return known.ok_or_else(refused);
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let sent = tokio::time::timeout(REVIEW_TIMEOUT, api.create(&PostParams::default(), &review)).await;
        let failed = |error: String| {
            tracing::warn!(error, "a token could not be reviewed");
            Status::failure(
                Reason::InternalError,
                "the bearer token could not be reviewed: kube-apiserver did not answer",
            )
        };
        let review = sent.map_err(|_| failed("timeout".to_owned()))?.map_err(|error| failed(error.to_string()))?;
        let status = review.status.unwrap_or_default();
        let identity = status.user.filter(|_| status.authenticated.unwrap_or(false)).map(|user| {
            authenticated(Identity {
                user: user.username.unwrap_or_default(),
                uid: user.uid.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
            })
        });
        self.tokens.insert(token.to_owned(), identity.clone(), Instant::now());
        identity.ok_or_else(refused)
    }
}

/// Identity by the connection's client certificate: the front proxy's word for somebody, or the holder itself.
///
/// Headers count only from a front proxy that proved to be one; from anybody else they are as good as absent.
pub fn by_certificate(trust: &TrustConfig, peer: &Peer, headers: &HeaderMap, now: UnixTime) -> Option<Identity> {
    let (common_name, organisations) = peer.subject()?;
    let is_proxy = trust.proxy_ca.as_ref().is_some_and(|ca| ca.verifies(peer, now))
        && (trust.allowed_names.is_empty() || trust.allowed_names.contains(&common_name));
    if is_proxy && let Some(identity) = by_headers(trust, headers) {
        return Some(identity);
    }
    let is_client = trust.client_ca.as_ref().is_some_and(|ca| ca.verifies(peer, now));
    is_client.then(|| authenticated(Identity { user: common_name, groups: organisations, ..Identity::default() }))
}

fn by_headers(trust: &TrustConfig, headers: &HeaderMap) -> Option<Identity> {
    let first = |names: &[String]| {
        names.iter().find_map(|name| headers.get(name.as_str())?.to_str().ok()).unwrap_or_default().to_owned()
    };
    let user = first(&trust.username_headers);
    if user.is_empty() {
        return None;
    }
    let mut groups = Vec::new();
    for name in &trust.group_headers {
        groups.extend(headers.get_all(name.as_str()).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned));
    }
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for prefix in &trust.extra_prefixes {
        let prefix = prefix.to_ascii_lowercase();
        for (name, value) in headers {
            let Some(key) = name.as_str().strip_prefix(&prefix) else { continue };
            // Header names arrive in lower case, keys are percent-encoded: Authentication.kubernetes.io%2fcredential-Id
            let (Some(key), Ok(value)) = (decoded_key(key), value.to_str()) else { continue };
            extra.entry(key.to_lowercase()).or_default().push(value.to_owned());
        }
    }
    Some(authenticated(Identity { user, uid: first(&trust.uid_headers), groups, extra }))
}

fn authenticated(mut identity: Identity) -> Identity {
    if !identity.groups.iter().any(|group| group == AUTHENTICATED) {
        identity.groups.push(AUTHENTICATED.to_owned());
    }
    identity
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;
