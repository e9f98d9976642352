use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::load::client::{ChatRequest, Client};

/// A request of the tests lasts about a second; in a queue or behind a draining engine it may take ten times that.
const DEADLINE: Duration = Duration::from_secs(60);
/// Words of a prompt, about a token each.
const PROMPT_WORDS: usize = 100;
const MAX_TOKENS: u32 = 40;

/// People at work: each sends a streamed chat request, reads the answer to its end, and sends the next.
#[derive(Debug)]
pub struct Clients {
    stop: CancellationToken,
    tasks: JoinSet<Answers>,
}

/// What the clients got.
#[derive(Debug, Default)]
pub struct Answers {
    /// Requests that were answered in full.
    pub good: usize,
    /// What went wrong with the others, each with the seconds since the clients began.
    pub failures: Vec<String>,
}

impl Clients {
    /// Starts `count` clients of a model at `base_url`.
    ///
    /// # Errors
    /// If the URL is none.
    pub fn start(base_url: &str, model: &str, count: usize) -> Result<Self> {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (start, client) = (Instant::now(), Client::new(base_url, DEADLINE)?);
        for number in 0..count {
            tasks.spawn(work(client.clone(), model.to_owned(), number, start, stop.clone()));
        }
        Ok(Self { stop, tasks })
    }

    /// Lets each client finish its request, and says how all of them fared.
    pub async fn stop(mut self) -> Answers {
        self.stop.cancel();
        let mut all = Answers::default();
        while let Some(answers) = self.tasks.join_next().await {
            match answers {
                Ok(answers) => {
                    all.good += answers.good;
                    all.failures.extend(answers.failures);
                }
                Err(error) => all.failures.push(error.to_string()),
            }
        }
        all
    }
}

impl Answers {
    /// No request failed, and there were at least so many.
    ///
    /// # Errors
    /// With the failures.
    pub fn expect_no_failure(&self, at_least: usize) -> Result<()> {
        ensure!(
            self.failures.is_empty(),
            "{} of {} requests failed: {:#?}",
            self.failures.len(),
            self.failures.len() + self.good,
            self.failures.iter().take(10).collect::<Vec<_>>()
        );
        ensure!(self.good >= at_least, "only {} requests were answered", self.good);
        Ok(())
    }
}

async fn work(client: Client, model: String, number: usize, start: Instant, stop: CancellationToken) -> Answers {
    let mut answers = Answers::default();
    let mut sent = 0_usize;
    while !stop.is_cancelled() {
        sent += 1;
        // No two prompts share a prefix: engines compute each of them.
        let prompt = format!("client {number} request {sent} {}", "word ".repeat(PROMPT_WORDS));
        let request = ChatRequest { model: &model, prompt: &prompt, max_tokens: MAX_TOKENS, ignore_eos: true };
        let outcome = client.chat(&request).await;
        let Some(failure) = outcome.failure else {
            answers.good += 1;
            continue;
        };
        answers.failures.push(format!("after {:.1} s: {failure}", start.elapsed().as_secs_f64()));
        // A refused connection must not become a busy loop.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    answers
}
