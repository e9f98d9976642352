//! The client: timeouts, a cap on answers, and errors that tell a slow source from a broken query.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::response::{self, Answer, RangeSeries, Series};

/// How a Prometheus is reached.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Base URL, with the path prefix if there is one.
    pub url: String,
    /// Limit of one query, from connect to the last byte.
    pub timeout: Duration,
    /// Headers of every query.
    pub headers: Vec<(String, String)>,
    /// CA certificates (PEM) for an https URL; the system's otherwise.
    pub ca_pem: Option<Vec<u8>>,
    /// File with a bearer token. It is read for each query, because bound tokens are replaced while we run.
    pub bearer_token_file: Option<PathBuf>,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The base URL is not one.
    #[error("prometheus url `{0}` is not a URL: write http://HOST:PORT")]
    Url(String),
    /// A header cannot be sent.
    #[error("header `{0}` for prometheus cannot be sent: names and values must be plain ASCII")]
    Header(String),
    /// The CA file holds no certificate.
    #[error("CA certificates for prometheus cannot be read")]
    Ca(#[source] reqwest::Error),
    /// No TLS backend.
    #[error("prepare the HTTP client for prometheus")]
    Client(#[source] reqwest::Error),
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No connection.
    #[error("connect to {url}: {message}")]
    Connect {
        /// Base URL.
        url: String,
        /// The chain of causes.
        message: String,
    },
    /// The bearer token cannot be read.
    #[error("read the bearer token {path}: {source}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No whole answer in time.
    #[error("no answer from {url} within {timeout:?}")]
    Timeout {
        /// Base URL.
        url: String,
        /// The limit.
        timeout: Duration,
    },
    /// The query itself is refused: asking again will not help.
    #[error("prometheus refuses the query ({kind}): {message}")]
    Refused {
        /// Error type of the Prometheus API.
        kind: String,
        /// What is wrong.
        message: String,
    },
    /// Another status than success.
    #[error("{url} answered {status}{detail}")]
    Status {
        /// Base URL.
        url: String,
        /// HTTP status code.
        status: u16,
        /// The API's own words, if it said any.
        detail: String,
    },
    /// The body is too large or not an answer.
    #[error("unusable answer from {url}: {message}")]
    Body {
        /// Base URL.
        url: String,
        /// What is wrong with it.
        message: String,
    },
}

impl QueryError {
    /// A bounded word for metric labels.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Token { .. } => "token",
            Self::Timeout { .. } => "timeout",
            Self::Refused { .. } => "refused",
            Self::Status { .. } => "status",
            Self::Body { .. } => "body",
        }
    }

    /// Whether asking again later may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// 50,000 series of 400 bytes; an answer beyond it is a query without aggregation.
const MAX_BODY_BYTES: usize = 20 * 1024 * 1024;

/// A client of one Prometheus. Clones share the connections.
#[derive(Clone)]
pub struct Client {
    inner: prometheus_http_query::Client,
    url: String,
    timeout: Duration,
    bearer_token_file: Option<PathBuf>,
}

impl std::fmt::Debug for Client {
    /// Without headers: they may hold a tenant or a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.url).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares a client; nothing is sent.
    ///
    /// # Errors
    /// If the options cannot be used; names the one.
    pub fn new(options: &Options) -> Result<Self, OptionsError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let (Ok(header), Ok(mut value)) =
                (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
            else {
                return Err(OptionsError::Header(name.clone()));
            };
            value.set_sensitive(true);
            headers.append(header, value);
        }
        let mut builder = reqwest::Client::builder()
            .timeout(options.timeout)
            .connect_timeout(options.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers);
        if let Some(pem) = &options.ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(OptionsError::Ca)?;
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(OptionsError::Client)?;
        let url = options.url.trim_end_matches('/').to_owned();
        let inner =
            prometheus_http_query::Client::from(client, &url).map_err(|_| OptionsError::Url(options.url.clone()))?;
        Ok(Self { inner, url, timeout: options.timeout, bearer_token_file: options.bearer_token_file.clone() })
    }

    /// One value per series now, by the server's clock.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn query(&self, promql: &str) -> Result<Answer<Series>, QueryError> {
        let milliseconds = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        let mut query = self.inner.query(promql).timeout(milliseconds);
        if let Some(value) = self.authorization()? {
            query = query.header(reqwest::header::AUTHORIZATION, value);
        }
        let bytes = self.body(query.post_raw().await).await?;
        response::instant(&bytes).map_err(|message| QueryError::Body { url: self.url.clone(), message })
    }

    /// Values over time, one per `step`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn query_range(
        &self,
        promql: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<Answer<RangeSeries>, QueryError> {
        let milliseconds = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        let range = self.inner.query_range(promql, start.as_second(), end.as_second(), step.as_secs_f64());
        let mut query = range.timeout(milliseconds);
        if let Some(value) = self.authorization()? {
            query = query.header(reqwest::header::AUTHORIZATION, value);
        }
        let bytes = self.body(query.post_raw().await).await?;
        response::range(&bytes).map_err(|message| QueryError::Body { url: self.url.clone(), message })
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, QueryError> {
        let Some(path) = &self.bearer_token_file else { return Ok(None) };
        let failed = |source| QueryError::Token { path: path.clone(), source };
        let token = std::fs::read_to_string(path).map_err(failed)?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| failed(std::io::Error::other("the content is not a token")))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn body(&self, sent: Result<reqwest::Response, prometheus_http_query::Error>) -> Result<Vec<u8>, QueryError> {
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(prometheus_http_query::Error::Client(error)) => return Err(self.failed(&error)),
            Err(error) => return Err(QueryError::Connect { url: self.url.clone(), message: error.to_string() }),
        };
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.transport(&error))? {
            if bytes.len() + chunk.len() > MAX_BODY_BYTES {
                let message = format!("more than {MAX_BODY_BYTES} bytes; aggregate in the query");
                return Err(QueryError::Body { url: self.url.clone(), message });
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(bytes);
        }
        let refused = response::refusal(&bytes);
        match refused {
            // 400 and 422 speak of the query; 503 with errorType timeout speaks of the server.
            Some(refused) if status.is_client_error() => {
                Err(QueryError::Refused { kind: refused.kind, message: refused.message })
            }
            other => {
                let detail =
                    other.map(|refused| format!(" ({}: {})", refused.kind, refused.message)).unwrap_or_default();
                Err(QueryError::Status { url: self.url.clone(), status: status.as_u16(), detail })
            }
        }
    }

    pub(crate) fn unusable(&self, message: String) -> QueryError {
        QueryError::Body { url: self.url.clone(), message }
    }

    fn failed(&self, error: &prometheus_http_query::error::ClientError) -> QueryError {
        match error.inner() {
            Some(source) => self.transport(source),
            None => QueryError::Connect { url: self.url.clone(), message: error.to_string() },
        }
    }

    fn transport(&self, error: &reqwest::Error) -> QueryError {
        if error.is_timeout() {
            return QueryError::Timeout { url: self.url.clone(), timeout: self.timeout };
        }
        // The innermost cause says it: "Connection refused", not "error sending request for url".
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        QueryError::Connect { url: self.url.clone(), message: cause.to_string() }
    }
}

#[cfg(test)]
mod tests;
