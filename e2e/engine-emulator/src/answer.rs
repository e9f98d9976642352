//! The JSON of answers: the shapes of vLLM 0.32, with the keys in its order.

use bytes::Bytes;

use crate::request::Kind;
use crate::stats::FinishReason;
use crate::text;

/// vLLM's version with a hash of its configuration.
pub(crate) const FINGERPRINT: &str = "vllm-0.32.0-01cd4669";
/// Ends a stream.
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// What an answer is made of, fixed before its first token.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: Kind,
    /// `chatcmpl-…` or `cmpl-…`, escaped for JSON.
    pub(crate) id: String,
    pub(crate) created_unix_seconds: i64,
    /// Quoted and escaped for JSON.
    pub(crate) model_json: String,
    pub(crate) include_usage: bool,
    pub(crate) continuous_usage: bool,
    pub(crate) prompt_tokens_details: bool,
    pub(crate) prompt_tokens: u32,
    pub(crate) block_size: u32,
    pub(crate) seed: u64,
    /// All that precedes the text in a chunk, written once.
    head: String,
}

/// What is known of a request that goes into an [`Answer`].
#[derive(Debug)]
pub(crate) struct AnswerContext {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) created_unix_seconds: i64,
    pub(crate) model: String,
    pub(crate) include_usage: bool,
    pub(crate) continuous_usage: bool,
    pub(crate) prompt_tokens_details: bool,
    pub(crate) prompt_tokens: u32,
    pub(crate) block_size: u32,
    pub(crate) seed: u64,
}

impl Answer {
    pub(crate) fn new(context: AnswerContext) -> Self {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (prefix, object, field) = match context.kind {
            Kind::Chat => ("chatcmpl-", "chat.completion.chunk", r#""delta":{"content":""#),
            Kind::Text => ("cmpl-", "text_completion", r#""text":""#),
        };
        let id = quoted(&format!("{prefix}{}", context.id));
        let (created, model_json) = (context.created_unix_seconds, quoted(&context.model));
        let head = format!(
            r#"data: {{"id":{id},"object":"{object}","created":{created},"model":{model_json},"choices":[{{"index":0,{field}"#
        );
        Self {
            kind: context.kind,
            id,
            created_unix_seconds: created,
            model_json,
            include_usage: context.include_usage,
            continuous_usage: context.continuous_usage,
            prompt_tokens_details: context.prompt_tokens_details,
            prompt_tokens: context.prompt_tokens,
            block_size: context.block_size,
            seed: context.seed,
            head,
        }
    }

    fn is_chat(&self) -> bool {
        self.kind == Kind::Chat
    }

    /// The event that opens a chat's stream: the role, and no text.
    pub(crate) fn push_opening(&self, events: &mut String) {
        if !self.is_chat() {
            return;
        }
        let Self { id, created_unix_seconds, model_json, .. } = self;
        events.push_str(&format!(
            r#"data: {{"id":{id},"object":"chat.completion.chunk","created":{created_unix_seconds},"model":{model_json},"choices":[{{"index":0,"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}]"#
        ));
        self.push_running_usage(0, events);
        events.push_str(",\"prompt_token_ids\":null,\"prompt_text\":null}\n\n");
    }

    /// The event of one token; `position` counts from 0.
    pub(crate) fn push_token(&self, position: u32, finished: Option<FinishReason>, events: &mut String) {
        self.push_text(text::word(self.seed, position), finished, position + 1, events);
    }

    /// An event that only says why the answer ends.
    pub(crate) fn push_end_without_token(&self, emitted: u32, reason: FinishReason, events: &mut String) {
        self.push_text("", Some(reason), emitted, events);
    }

    fn push_text(&self, word: &str, finished: Option<FinishReason>, emitted: u32, events: &mut String) {
        events.push_str(&self.head);
        // Words need no escaping.
        events.push_str(word);
        events.push_str(if self.is_chat() {
            "\"},\"logprobs\":null,\"finish_reason\":"
        } else {
            "\",\"logprobs\":null,\"finish_reason\":"
        });
        match finished {
            None => events.push_str("null"),
            Some(reason) => {
                events.push('"');
                events.push_str(reason.as_str());
                events.push('"');
            }
        }
        events.push_str(match (self.is_chat(), finished.is_some()) {
            (true, false) => ",\"token_ids\":null}]",
            (true, true) => ",\"stop_reason\":null,\"token_ids\":null}]",
            (false, _) => ",\"stop_reason\":null,\"prompt_token_ids\":null,\"token_ids\":null}]",
        });
        self.push_running_usage(emitted, events);
        if finished.is_some() && !self.include_usage {
            events.push_str(",\"system_fingerprint\":\"");
            events.push_str(FINGERPRINT);
            events.push('"');
        }
        events.push_str("}\n\n");
    }

    fn push_running_usage(&self, emitted: u32, events: &mut String) {
        if self.continuous_usage {
            let counts = self.counts(emitted);
            let details = if self.is_chat() { ",\"completion_tokens_details\":null" } else { "" };
            events.push_str(&format!(r#","usage":{{{counts}{details}}}"#));
        }
    }

    /// The events that close a stream.
    pub(crate) fn push_closing(&self, emitted: u32, cached: u32, events: &mut String) {
        if self.include_usage {
            let Self { id, created_unix_seconds, model_json, .. } = self;
            let object = if self.is_chat() { "chat.completion.chunk" } else { "text_completion" };
            let counts = self.counts(emitted);
            let details = match (self.prompt_tokens_details, self.created_cache_tokens(cached)) {
                (false, _) => String::new(),
                (true, None) => format!(r#","prompt_tokens_details":{{"cached_tokens":{cached}}}"#),
                (true, Some(created)) => {
                    format!(r#","prompt_tokens_details":{{"cached_tokens":{cached},"created_cache_tokens":{created}}}"#)
                }
            };
            events.push_str(&format!(
                r#"data: {{"id":{id},"object":"{object}","created":{created_unix_seconds},"model":{model_json},"choices":[],"usage":{{{counts}{details}}},"system_fingerprint":"{FINGERPRINT}"}}"#
            ));
            events.push_str("\n\n");
        }
        events.push_str(DONE);
    }

    /// The whole answer at once.
    pub(crate) fn whole(&self, emitted: u32, cached: u32, reason: FinishReason) -> Bytes {
        let Self { id, created_unix_seconds, model_json, .. } = self;
        let (reason, usage, text) = (reason.as_str(), self.usage(emitted, cached), text::answer(self.seed, emitted));
        let answer = if self.is_chat() {
            format!(
                r#"{{"id":{id},"object":"chat.completion","created":{created_unix_seconds},"model":{model_json},"choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null,"annotations":null,"audio":null,"function_call":null,"reasoning":null}},"logprobs":null,"finish_reason":"{reason}","stop_reason":null,"token_ids":null,"routed_experts":null}}],"service_tier":null,"system_fingerprint":"{FINGERPRINT}","usage":{usage},"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}}"#
            )
        } else {
            format!(
                r#"{{"id":{id},"object":"text_completion","created":{created_unix_seconds},"model":{model_json},"choices":[{{"index":0,"text":"{text}","logprobs":null,"finish_reason":"{reason}","stop_reason":null,"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null,"routed_experts":null}}],"service_tier":null,"system_fingerprint":"{FINGERPRINT}","usage":{usage},"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}}"#
            )
        };
        Bytes::from(answer)
    }

    fn usage(&self, emitted: u32, cached: u32) -> String {
        let details = if self.prompt_tokens_details {
            let created =
                self.created_cache_tokens(cached).map_or_else(|| "null".to_owned(), |created| created.to_string());
            format!(r#"{{"cached_tokens":{cached},"created_cache_tokens":{created},"multimodal_tokens":null}}"#)
        } else {
            "null".to_owned()
        };
        let counts = self.counts(emitted);
        format!(r#"{{{counts},"prompt_tokens_details":{details},"completion_tokens_details":null}}"#)
    }

    fn counts(&self, emitted: u32) -> String {
        let prompt = self.prompt_tokens;
        let total = prompt + emitted;
        format!(r#""prompt_tokens":{prompt},"total_tokens":{total},"completion_tokens":{emitted}"#)
    }

    /// Prompt tokens that this request put into the prefix cache; none if the prompt fills no block.
    fn created_cache_tokens(&self, cached: u32) -> Option<u32> {
        let full = self.prompt_tokens / self.block_size * self.block_size;
        (full > 0).then(|| full.saturating_sub(cached))
    }
}
