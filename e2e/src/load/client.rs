//! A streaming client of the OpenAI API that times what a user feels and takes no broken answer for a good one.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Uri;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

/// A single event beyond this is no answer of an engine.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// So much of an error body is kept for the message.
const MAX_ERROR_BYTES: usize = 400;

/// Sends requests to one base URL. Clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: HyperClient<HttpConnector, Full<Bytes>>,
    chat: Uri,
    deadline: Duration,
}

/// One request.
#[derive(Debug, Clone)]
pub struct ChatRequest<'a> {
    /// Served name.
    pub model: &'a str,
    /// The user's message.
    pub prompt: &'a str,
    /// Tokens of the answer.
    pub max_tokens: u32,
    /// Go on to `max_tokens` even if the model would end sooner.
    pub ignore_eos: bool,
}

/// What one client felt.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Seconds from sending to the first token with text.
    pub ttft_seconds: Option<f64>,
    /// Mean seconds between tokens; `None` with fewer than two.
    pub inter_token_seconds: Option<f64>,
    /// Seconds from sending to the end.
    pub total_seconds: f64,
    /// Chunks with text.
    pub chunks: u32,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// How a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection, or it broke before an answer.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// Another status than 200.
    #[error("status {status}: {body}")]
    Status {
        /// The status.
        status: u16,
        /// Start of the body.
        body: String,
    },
    /// An error in the middle of a stream that began with 200.
    #[error("error in the stream: {0}")]
    InStream(String),
    /// The stream ended without `[DONE]`.
    #[error("stream cut off: {0}")]
    CutOff(String),
    /// It took longer than the deadline.
    #[error("not done within the deadline")]
    Deadline,
    /// More requests are in flight than the load generator allows itself.
    #[error("the load generator has too many requests in flight")]
    TooMany,
}

impl Failure {
    /// One word for counting.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::NoAnswer(_) => "no answer".into(),
            Self::Status { status, .. } => format!("status {status}"),
            Self::InStream(_) => "error in stream".into(),
            Self::CutOff(_) => "cut off".into(),
            Self::Deadline => "deadline".into(),
            Self::TooMany => "too many in flight".into(),
        }
    }
}

impl Client {
    /// A client of `base_url`, such as `http://127.0.0.1:8000`; `deadline` bounds a whole request.
    ///
    /// # Errors
    /// If the URL is none.
    pub fn new(base_url: &str, deadline: Duration) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let http = HyperClient::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { http, chat: format!("{base_url}/v1/chat/completions").parse()?, deadline })
    }

    /// Sends a streamed chat request and reads it to its end.
    pub async fn chat(&self, request: &ChatRequest<'_>) -> Outcome {
        let sent = Instant::now();
        let mut felt = Felt { sent, first: None, last: None, chunks: 0 };
        let failure = match timeout(self.deadline, self.stream(request, &mut felt)).await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some(Failure::Deadline),
        };
        felt.outcome(failure)
    }

    async fn stream(&self, request: &ChatRequest<'_>, felt: &mut Felt) -> Result<(), Failure> {
        let body = serde_json::json!({
            "model": request.model,
            "messages": [{ "role": "user", "content": request.prompt }],
            "max_tokens": request.max_tokens,
            "ignore_eos": request.ignore_eos,
            "stream": true,
        });
        let http_request = hyper::Request::post(self.chat.clone())
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .map_err(|error| Failure::NoAnswer(error.to_string()))?;
        let answer = self.http.request(http_request).await.map_err(|error| Failure::NoAnswer(chain(&error)))?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        let mut unread = BytesMut::new();
        if status != 200 {
            while let Some(Ok(frame)) = body.frame().await {
                unread.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                if unread.len() >= MAX_ERROR_BYTES {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&unread[..unread.len().min(MAX_ERROR_BYTES)]).into_owned();
            return Err(Failure::Status { status, body: text });
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::CutOff(chain(&error)))?;
            unread.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            while let Some(end) = find_event_end(&unread) {
                let event = unread.split_to(end);
                if felt.take_event(&event)? {
                    return Ok(());
                }
            }
            if unread.len() > MAX_EVENT_BYTES {
                return Err(Failure::InStream(format!("an event of more than {MAX_EVENT_BYTES} bytes")));
            }
        }
        Err(Failure::CutOff("ended without [DONE]".to_owned()))
    }
}

/// Position after the blank line that ends the first event.
fn find_event_end(unread: &[u8]) -> Option<usize> {
    let plain = unread.windows(2).position(|pair| pair == b"\n\n").map(|place| place + 2);
    let windows = unread.windows(4).position(|four| four == b"\r\n\r\n").map(|place| place + 4);
    match (plain, windows) {
        (Some(plain), Some(windows)) => Some(plain.min(windows)),
        (plain, windows) => plain.or(windows),
    }
}

struct Felt {
    sent: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
    chunks: u32,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Delta<'a>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
}

impl Felt {
    /// Takes one event in; true at `[DONE]`.
    fn take_event(&mut self, event: &[u8]) -> Result<bool, Failure> {
        let text = std::str::from_utf8(event).map_err(|_| Failure::InStream("an event is not UTF-8".to_owned()))?;
        for data in text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim) {
            if data == "[DONE]" {
                return Ok(true);
            }
            let chunk: Chunk<'_> = serde_json::from_str(data).map_err(|error| Failure::InStream(error.to_string()))?;
            if let Some(error) = chunk.error {
                let text: String = error.get().chars().take(MAX_ERROR_BYTES).collect();
                return Err(Failure::InStream(text));
            }
            // The first chunk carries the role and no text: it is not the first token.
            if chunk.choices.iter().any(|choice| choice.delta.content.as_ref().is_some_and(|text| !text.is_empty())) {
                let now = Instant::now();
                self.first.get_or_insert(now);
                self.last = Some(now);
                self.chunks += 1;
            }
        }
        Ok(false)
    }

    fn outcome(&self, failure: Option<Failure>) -> Outcome {
        let between = match (self.first, self.last) {
            (Some(first), Some(last)) if self.chunks > 1 => {
                Some(last.duration_since(first).as_secs_f64() / f64::from(self.chunks - 1))
            }
            _ => None,
        };
        Outcome {
            ttft_seconds: self.first.map(|first| first.duration_since(self.sent).as_secs_f64()),
            inter_token_seconds: between,
            total_seconds: self.sent.elapsed().as_secs_f64(),
            chunks: self.chunks,
            failure,
        }
    }
}

/// An error with its causes, which hyper keeps to itself otherwise.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with these bytes and closes it.
    async fn answering(answer: &'static str) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 65536];
            let _read = socket.read(&mut request).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
        });
        Client::new(&format!("http://{address}"), Duration::from_secs(10)).unwrap()
    }

    async fn outcome_of(answer: &'static str) -> Outcome {
        let request = ChatRequest { model: "m", prompt: "hi", max_tokens: 2, ignore_eos: true };
        answering(answer).await.chat(&request).await
    }

    #[tokio::test]
    async fn a_whole_stream_is_timed_from_its_first_text() {
        let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
            data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"a\\n\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\r\n\r\n\
            data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";
        let outcome = outcome_of(answer).await;
        assert_eq!((outcome.failure, outcome.chunks), (None, 2));
        assert!(outcome.ttft_seconds.is_some() && outcome.inter_token_seconds.is_some());
    }

    #[tokio::test]
    async fn an_error_in_the_stream_a_cut_and_a_status_are_failures() {
        let in_stream = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\ndata: {\"error\":{\"message\":\"full\",\"code\":503}}\n\ndata: [DONE]\n\n";
        assert!(matches!(outcome_of(in_stream).await.failure, Some(Failure::InStream(text)) if text.contains("full")));
        let cut =
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        assert!(matches!(outcome_of(cut).await.failure, Some(Failure::CutOff(_))));
        let refused = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
        let expected = Failure::Status { status: 503, body: "busy".into() };
        assert_eq!(outcome_of(refused).await.failure, Some(expected));
    }

    #[tokio::test]
    async fn a_closed_port_is_no_answer() {
        let port = testkit::free_port().unwrap();
        let client = Client::new(&format!("http://127.0.0.1:{port}"), Duration::from_secs(10)).unwrap();
        let request = ChatRequest { model: "m", prompt: "hi", max_tokens: 2, ignore_eos: true };
        assert!(matches!(client.chat(&request).await.failure, Some(Failure::NoAnswer(_))));
    }
}
