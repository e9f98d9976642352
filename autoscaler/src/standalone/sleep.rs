//! Putting an engine to sleep and waking it, as vLLM's sleep mode has it: `POST /sleep`, `POST /wake_up`, `GET /is_sleeping`
//! (docs.vllm.ai, features/sleep_mode). They are there with `VLLM_SERVER_DEV_MODE=1`, and give memory back with
//! `--enable-sleep-mode`.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde::Deserialize;

use super::fleet::{CallFailure, SleepLevel};

/// Copying the weights of a large model into memory that has to be pinned first may take a minute.
const LONGEST_SLEEP_CALL: Duration = Duration::from_secs(120);

/// One look at whether an engine sleeps.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// Between two looks at whether an engine is awake: `/wake_up` answers when it is, so the first look mostly tells.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Longest time that a wake may take at level 1, which takes seconds. Level 2 loads the weights: as long as a start may take.
pub const LONGEST_WAKE: Duration = Duration::from_secs(60);

/// How engines of a model sleep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SleepTerms {
    /// Most that sleep at once, at least 1.
    pub engines: u32,
    /// How deep they sleep.
    pub level: SleepLevel,
    /// What a sleeping engine costs, in ready ones: from 0 to below 1.
    pub price: f64,
    /// Longest time that a wake may take.
    pub longest_wake: Duration,
}

/// What an engine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Sleep.
    Sleep,
    /// Wake up.
    Wake,
}

impl Call {
    /// Makes the call and returns when the engine sleeps, or takes requests.
    ///
    /// # Errors
    /// If it does not; a wake that takes longer than `longest_wake` has failed.
    pub async fn carry_out(
        self,
        client: &Client,
        url: &str,
        level: SleepLevel,
        longest_wake: Duration,
    ) -> Result<(), CallFailure> {
        let (longest, what) = match self {
            Self::Sleep => (LONGEST_SLEEP_CALL, "asleep"),
            Self::Wake => (longest_wake, "awake"),
        };
        let call = async {
            match self {
                Self::Sleep => put_to_sleep(client, url, level).await,
                Self::Wake => wake(client, url, level).await,
            }
        };
        let late = |_| Err(failure(format!("it is not {what} after {:.0} s", longest.as_secs_f64())));
        tokio::time::timeout(longest, call).await.unwrap_or_else(late)
    }
}

/// A client for these calls.
///
/// # Errors
/// If no TLS backend can be set up.
pub fn client() -> reqwest::Result<Client> {
    // Each call has a limit of its own: to sleep, to look, and the whole of a wake.
    Client::builder().connect_timeout(LONGEST_LOOK).no_proxy().build()
}

async fn put_to_sleep(client: &Client, url: &str, level: SleepLevel) -> Result<(), CallFailure> {
    post(client, &format!("{url}/sleep?level={}", level.number()), None).await?;
    match is_sleeping(client, url).await? {
        true => Ok(()),
        false => Err(failure("/sleep answers 200, and /is_sleeping false".to_owned())),
    }
}

async fn wake(client: &Client, url: &str, level: SleepLevel) -> Result<(), CallFailure> {
    if level == SleepLevel::Discarded {
        // The weights are gone: memory for them first, then their content, then memory for the KV cache.
        post(client, &format!("{url}/wake_up?tags=weights"), None).await?;
        post(client, &format!("{url}/collective_rpc"), Some(r#"{"method":"reload_weights"}"#)).await?;
        post(client, &format!("{url}/wake_up?tags=kv_cache"), None).await?;
        post(client, &format!("{url}/reset_prefix_cache"), None).await?;
    } else {
        post(client, &format!("{url}/wake_up"), None).await?;
    }
    while is_sleeping(client, url).await? || !is_healthy(client, url).await {
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    Ok(())
}

async fn post(client: &Client, url: &str, json: Option<&'static str>) -> Result<(), CallFailure> {
    let request = client.post(url);
    let request = match json {
        Some(json) => request.header("content-type", "application/json").body(json),
        None => request,
    };
    let answer = request.send().await.map_err(|error| failure(format!("POST {url}: {error}")))?;
    match answer.status() {
        StatusCode::OK => Ok(()),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(CallFailure {
            is_unsupported: true,
            what: format!(
                "{} is answered {}; start the engines with VLLM_SERVER_DEV_MODE=1 in `environment` and --enable-sleep-mode \
                 in `command`",
                answer.url().path(),
                answer.status().as_u16()
            ),
        }),
        status => {
            Err(failure(format!("POST {url} is answered {}; is it run with --enable-sleep-mode?", status.as_u16())))
        }
    }
}

async fn is_sleeping(client: &Client, url: &str) -> Result<bool, CallFailure> {
    #[derive(Deserialize)]
    struct Answer {
        is_sleeping: bool,
    }
    let asked = client.get(format!("{url}/is_sleeping")).timeout(LONGEST_LOOK).send().await;
    let answer = asked.and_then(reqwest::Response::error_for_status);
    let answer = answer.map_err(|error| failure(format!("GET /is_sleeping: {error}")))?;
    let answer: Answer = answer.json().await.map_err(|error| failure(format!("GET /is_sleeping: {error}")))?;
    Ok(answer.is_sleeping)
}

async fn is_healthy(client: &Client, url: &str) -> bool {
    let asked = client.get(format!("{url}/health")).timeout(LONGEST_LOOK).send().await;
    asked.is_ok_and(|answer| answer.status() == StatusCode::OK)
}

fn failure(what: String) -> CallFailure {
    CallFailure { is_unsupported: false, what }
}

#[cfg(test)]
mod tests;
