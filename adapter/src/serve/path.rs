//! Paths and queries of the API, percent-decoded as kube-apiserver sends them (`*` arrives as `%2A`).

use adapter_api::external::{GROUP, VERSION};

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/livez`, `/readyz`, `/healthz`.
    Health,
    /// `/version`.
    Version,
    /// `/apis`.
    Groups,
    /// `/apis/external.metrics.k8s.io`.
    Group,
    /// `/apis/external.metrics.k8s.io/v1beta1`.
    Resources,
    /// `/apis/external.metrics.k8s.io/v1beta1/namespaces/NAMESPACE/METRIC`.
    Values {
        /// Namespace of the HPA that asks.
        namespace: String,
        /// Name of a rule.
        metric: String,
    },
    /// Anything else.
    Unknown,
}

impl Route {
    /// Reads a path.
    pub fn parse(path: &str) -> Self {
        if matches!(path, "/livez" | "/readyz" | "/healthz") {
            return Self::Health;
        }
        if path == "/version" {
            return Self::Version;
        }
        let Some(rest) = path.strip_prefix("/apis") else { return Self::Unknown };
        let parts: Vec<&str> = match rest.strip_prefix('/') {
            None if rest.is_empty() => return Self::Groups,
            None => return Self::Unknown,
            Some(rest) => rest.split('/').collect(),
        };
        match parts[..] {
            [GROUP] => Self::Group,
            [GROUP, VERSION] => Self::Resources,
            [GROUP, VERSION, "namespaces", namespace, metric] => {
                match (decoded(namespace, false), decoded(metric, false)) {
                    (Some(namespace), Some(metric)) if is_segment(&namespace) && is_segment(&metric) => {
                        Self::Values { namespace, metric }
                    }
                    _ => Self::Unknown,
                }
            }
            _ => Self::Unknown,
        }
    }

    /// A bounded name for metric labels.
    pub fn group(&self) -> &'static str {
        match self {
            Self::Values { .. } => GROUP,
            Self::Groups | Self::Group | Self::Resources => "discovery",
            Self::Health | Self::Version | Self::Unknown => "other",
        }
    }
}

fn is_segment(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && !text.contains('/')
}

/// The value of a query parameter; `Err` if it is there and cannot be decoded.
pub fn parameter(query: Option<&str>, name: &str) -> Result<Option<String>, String> {
    for pair in query.unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(key, true).as_deref() == Some(name) {
            let decoded = decoded(value, true);
            return decoded.map(Some).ok_or_else(|| format!("{name} is not percent-encoded UTF-8"));
        }
    }
    Ok(None)
}

/// Undoes percent-encoding; in queries `+` is a blank.
fn decoded(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus_is_blank => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let value = digit(rest.next())? * 16 + digit(rest.next())?;
                u8::try_from(value).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Undoes percent-encoding of a header name, as the front proxy escapes keys of `X-Remote-Extra-`.
pub(super) fn decoded_key(text: &str) -> Option<String> {
    decoded(text, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_table_is_exact() {
        let values =
            |namespace: &str, metric: &str| Route::Values { namespace: namespace.into(), metric: metric.into() };
        for (path, expected) in [
            ("/livez", Route::Health),
            ("/version", Route::Version),
            ("/apis", Route::Groups),
            ("/apis/", Route::Unknown),
            ("/apisx", Route::Unknown),
            ("/apis/external.metrics.k8s.io", Route::Group),
            ("/apis/external.metrics.k8s.io/", Route::Unknown),
            ("/apis/external.metrics.k8s.io/v1beta1", Route::Resources),
            ("/apis/external.metrics.k8s.io/v1beta1/", Route::Unknown),
            ("/apis/external.metrics.k8s.io/v1beta1/blah", Route::Unknown),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/m", values("ns", "m")),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/m%2Dn", values("ns", "m-n")),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/ns", Route::Unknown),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/", Route::Unknown),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces//m", Route::Unknown),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/a/b", Route::Unknown),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/a%2Fb", Route::Unknown),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/a%ZZ", Route::Unknown),
            ("/apis/external.metrics.k8s.io/v2/namespaces/ns/m", Route::Unknown),
            ("/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/m", Route::Unknown),
            ("/openapi/v2", Route::Unknown),
            ("/", Route::Unknown),
        ] {
            assert_eq!(Route::parse(path), expected, "{path}");
        }
    }

    #[test]
    fn parameters_are_decoded_as_go_encodes_them() {
        let query = Some("labelSelector=model%3Da%2Cnamespace+in+%28default%2Cx%29&limit=5");
        assert_eq!(parameter(query, "labelSelector").unwrap().unwrap(), "model=a,namespace in (default,x)");
        assert_eq!(parameter(query, "other").unwrap(), None);
        assert_eq!(parameter(None, "labelSelector").unwrap(), None);
        assert!(parameter(Some("labelSelector=%F"), "labelSelector").is_err());
    }
}
