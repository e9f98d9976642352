//! One bounded GET of a metrics page or of `/v1/models`.

use std::time::Duration;

use futures::StreamExt;
use serde::Deserialize;

/// A vLLM page is 50 to 75 KB; a page beyond this is not one.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Why a target could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The connection failed.
    #[error("connect to {url} failed")]
    Connect {
        /// What was asked for.
        url: String,
        /// The chain of causes.
        source: reqwest::Error,
    },
    /// No whole answer in time.
    #[error("no answer from {url} within {timeout:?}")]
    Timeout {
        /// What was asked for.
        url: String,
        /// The limit.
        timeout: Duration,
    },
    /// Another status than 200.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer's status.
        status: u16,
    },
    /// The body is too large, cut off, or not what was asked for.
    #[error("unusable answer from {url}: {message}")]
    Body {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        message: String,
    },
}

impl ScrapeError {
    /// A bounded word for metric labels and condition reasons.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::Body { .. } => "body",
        }
    }
}

/// Reads pages with one connection pool, a timeout and a cap on the body. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Scraper {
    client: reqwest::Client,
    timeout: Duration,
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ListedModel>,
}

#[derive(Deserialize)]
struct ListedModel {
    id: String,
}

impl Scraper {
    /// `timeout` bounds a whole scrape, from connect to the last byte.
    ///
    /// # Errors
    /// If no TLS backend can be set up.
    pub fn new(timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self { client, timeout })
    }

    /// The text of `url`, at most 8 MiB.
    ///
    /// # Errors
    /// See [`ScrapeError`].
    pub async fn text(&self, url: &str) -> Result<String, ScrapeError> {
        let failed = |source: reqwest::Error| match source.is_timeout() {
            true => ScrapeError::Timeout { url: url.to_owned(), timeout: self.timeout },
            false => ScrapeError::Connect { url: url.to_owned(), source },
        };
        let answer = self.client.get(url).send().await.map_err(failed)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(ScrapeError::Status { url: url.to_owned(), status: answer.status().as_u16() });
        }
        let unusable = |message: String| ScrapeError::Body { url: url.to_owned(), message };
        let mut body = Vec::new();
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(failed)?;
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(unusable(format!("more than {MAX_BODY_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).map_err(|_| unusable("not UTF-8".into()))
    }

    /// The names an engine serves, from its `/v1/models`.
    ///
    /// # Errors
    /// See [`ScrapeError`].
    pub async fn served_models(&self, engine_url: &str) -> Result<Vec<String>, ScrapeError> {
        let url = format!("{engine_url}/v1/models");
        let text = self.text(&url).await?;
        let list: ModelList = serde_json::from_str(&text)
            .map_err(|error| ScrapeError::Body { url, message: format!("not an OpenAI model list: {error}") })?;
        Ok(list.data.into_iter().map(|model| model.id).collect())
    }
}
