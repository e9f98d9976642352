//! Sends arrivals at their time and collects what came back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::{ChatRequest, Client, Failure, Outcome};
use super::replay::Arrival;

/// Requests in flight beyond this fail at once: twelve engines serve tens, so thousands mean that nothing moves.
const MOST_IN_FLIGHT: usize = 4000;
/// Outcomes that wait for the collector.
const OUTCOME_QUEUE: usize = 1024;

/// What all requests of a replay share.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where they go.
    pub client: Client,
    /// Served name.
    pub model: String,
    /// Go on to the recorded length even if the model would end sooner.
    pub ignore_eos: bool,
}

/// One finished request.
#[derive(Debug)]
pub struct Finished {
    /// What was to be sent when.
    pub arrival: Arrival,
    /// What the client felt.
    pub outcome: Outcome,
}

/// Sends `arrivals`; the receiver gets every outcome and ends after the last one. `stop` ends sending, not waiting.
#[must_use]
pub fn start(load: Load, arrivals: Vec<Arrival>, stop: CancellationToken) -> mpsc::Receiver<Finished> {
    let (finished, receiver) = mpsc::channel(OUTCOME_QUEUE);
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(MOST_IN_FLIGHT));
        let load = Arc::new(load);
        let tasks = TaskTracker::new();
        let started = Instant::now();
        for (number, arrival) in arrivals.into_iter().enumerate() {
            tokio::select! {
                () = sleep_until(started + arrival.at) => {}
                () = stop.cancelled() => break,
            }
            let (load, finished) = (load.clone(), finished.clone());
            match places.clone().try_acquire_owned() {
                Ok(place) => {
                    tasks.spawn(async move {
                        let outcome = send(&load, number, arrival).await;
                        drop(place);
                        report(&finished, arrival, outcome).await;
                    });
                }
                Err(_) => report(&finished, arrival, refused()).await,
            }
        }
        tasks.close();
        tasks.wait().await;
    });
    receiver
}

async fn report(finished: &mpsc::Sender<Finished>, arrival: Arrival, outcome: Outcome) {
    // A receiver that is gone wants no outcomes any more.
    drop(finished.send(Finished { arrival, outcome }).await);
}

fn refused() -> Outcome {
    Outcome {
        ttft_seconds: None,
        inter_token_seconds: None,
        total_seconds: Duration::ZERO.as_secs_f64(),
        chunks: 0,
        failure: Some(Failure::TooMany),
    }
}

async fn send(load: &Load, number: usize, arrival: Arrival) -> Outcome {
    let prompt = prompt(number, arrival.prompt_tokens);
    let request = ChatRequest {
        model: &load.model,
        prompt: &prompt,
        max_tokens: arrival.output_tokens,
        ignore_eos: load.ignore_eos,
    };
    load.client.chat(&request).await
}

/// A prompt of about `tokens` tokens that no other request begins with, so that no prefix cache answers for it.
fn prompt(number: usize, tokens: u32) -> String {
    const WORDS: [&str; 8] = ["river", "stone", "light", "garden", "seven", "paper", "window", "music"];
    let mut text = format!("Request {number}:");
    for place in 0..tokens.saturating_sub(3) as usize {
        text.push(' ');
        text.push_str(WORDS[(place.wrapping_mul(7) ^ number) % WORDS.len()]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_about_the_tokens_asked_for_and_differ_from_the_start() {
        let words = |text: &str| text.split_whitespace().count();
        assert_eq!(words(&prompt(1, 100)), 99);
        assert_eq!(words(&prompt(1, 1)), 2);
        assert_ne!(prompt(1, 100)[..12], prompt(2, 100)[..12]);
    }

    #[tokio::test]
    async fn every_arrival_has_an_outcome_and_stopping_ends_the_rest() {
        let port = testkit::free_port().unwrap();
        let client = Client::new(&format!("http://127.0.0.1:{port}"), Duration::from_secs(10)).unwrap();
        let load = Load { client, model: "m".into(), ignore_eos: true };
        let arrival = |seconds| Arrival { at: Duration::from_secs(seconds), prompt_tokens: 3, output_tokens: 1 };
        let stop = CancellationToken::new();
        let mut outcomes = start(load, vec![arrival(0), arrival(0), arrival(3600)], stop.clone());
        for _ in 0..2 {
            assert!(matches!(outcomes.recv().await.unwrap().outcome.failure, Some(Failure::NoAnswer(_))));
        }
        stop.cancel();
        assert!(outcomes.recv().await.is_none());
    }
}
