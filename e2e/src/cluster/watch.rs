//! One watch of the API, event by event.

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use serde_json::Value;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is there, as it was or in a new state.
    Present,
    /// It is gone.
    Gone,
}

/// Hands each event of the watch at `url` on until the API server ends it.
pub(super) async fn follow(client: &reqwest::Client, url: &str, mut see: impl FnMut(Change, Value)) -> Result<()> {
    let response = client.get(url).send().await?.error_for_status()?;
    let mut body = response.bytes_stream();
    let mut buffer = Vec::new();
    while let Some(chunk) = body.next().await {
        buffer.extend_from_slice(&chunk?);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let mut event: Value = serde_json::from_slice(&line).context("an event of the watch")?;
            match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => see(Change::Present, event["object"].take()),
                Some("DELETED") => see(Change::Gone, event["object"].take()),
                Some("ERROR") => bail!("watch of {url}: {}", event["object"]),
                _ => {}
            }
        }
    }
    Ok(())
}
