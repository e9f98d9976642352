//! From a request's body to work for the scheduler, refusing what vLLM refuses, in its words.

use serde_json::{Map, Value};

use crate::problem::{Problem, missing, wrong_type};
use crate::scheduler::NewRequest;
use crate::settings::Settings;
use crate::stats::FinishReason;
use crate::text;
use crate::tokens::{Chain, MESSAGE_END, MESSAGE_START, Token, mix, tokenize};

/// Which of the two endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Text,
}

/// A request that can be served.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) kind: Kind,
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// Usage in every chunk.
    pub(crate) continuous_usage: bool,
    pub(crate) work: NewRequest,
}

/// Reads the body of a chat or text completion.
pub(crate) fn read(
    kind: Kind,
    body: &[u8],
    settings: &Settings,
    arrived: std::time::Duration,
) -> Result<Generation, Problem> {
    let body: Value = serde_json::from_slice(body).map_err(|error| Problem::not_json(&error))?;
    let Value::Object(body) = body else {
        return Err(Problem::validation("body", "model_attributes_type", "Input should be a valid dictionary", &body));
    };
    let prompt = match kind {
        Kind::Chat => chat_prompt(&body, settings),
        Kind::Text => text_prompt(&body, settings),
    };
    let options = Options::read(&body)?;
    // The body's form is judged before the model's name, as in vLLM.
    let prompt = prompt.and_then(|prompt| served_model(&body, settings).map(|model| (prompt, model)));
    let (tokens, model) = prompt?;
    let (output_tokens, max_tokens, finish, chain, seed) = lengths(kind, &tokens, &options, settings)?;
    Ok(Generation {
        kind,
        model,
        stream: options.stream,
        include_usage: options.include_usage,
        continuous_usage: options.continuous_usage,
        work: NewRequest { arrived, prompt: chain, output_tokens, max_tokens, finish, seed },
    })
}

/// The name the model is asked for by, if it is one of its names.
pub(crate) fn served_model(body: &Map<String, Value>, settings: &Settings) -> Result<String, Problem> {
    match body.get("model") {
        None | Some(Value::Null) => Ok(settings.served_names[0].clone()),
        Some(Value::String(name)) if settings.served_names.contains(name) => Ok(name.clone()),
        Some(Value::String(name)) => Err(Problem::unknown_model(name, &settings.served_names)),
        Some(other) => Err(wrong_type("model", "string", other)),
    }
}

/// Tokens of the `prompt` of a text completion or of /tokenize.
pub(crate) fn text_prompt(body: &Map<String, Value>, settings: &Settings) -> Result<Vec<Token>, Problem> {
    let limit = settings.scheduler.max_model_len as usize;
    let mut tokens = Vec::new();
    let prompt = body.get("prompt").ok_or_else(|| missing("prompt", body))?;
    let one = match prompt {
        Value::Array(items) if items.len() == 1 && !items[0].is_number() => &items[0],
        other => other,
    };
    match one {
        Value::String(text) => tokenize(text, limit, &mut tokens),
        Value::Array(numbers) if !numbers.is_empty() && numbers.iter().all(Value::is_u64) => {
            // Numbers beyond any vocabulary are cut: they only have to differ.
            tokens.extend(numbers.iter().take(limit + 1).filter_map(Value::as_u64).map(|number| number as Token));
        }
        Value::Array(items) if items.len() > 1 => {
            return Err(Problem::bad_request("This engine answers one prompt a request, not several.", "prompt"));
        }
        other => return Err(wrong_type("prompt", "string", other)),
    }
    Ok(tokens)
}

/// Tokens of the `messages` of a chat, with the marks of a chat template.
pub(crate) fn chat_prompt(body: &Map<String, Value>, settings: &Settings) -> Result<Vec<Token>, Problem> {
    let messages = match body.get("messages") {
        None => return Err(missing("messages", body)),
        Some(Value::Array(messages)) => messages,
        Some(other) => return Err(wrong_type("messages", "list", other)),
    };
    let limit = settings.scheduler.max_model_len as usize;
    let mut tokens = Vec::new();
    for message in messages {
        let role = message.get("role").and_then(Value::as_str);
        let role = role.ok_or_else(|| Problem::bad_request("Each message needs a role.", "messages"))?;
        tokens.push(MESSAGE_START);
        tokenize(role, limit, &mut tokens);
        tokenize("\n", limit, &mut tokens);
        match message.get("content") {
            Some(Value::String(text)) => tokenize(text, limit, &mut tokens),
            Some(Value::Array(parts)) => {
                for part in parts {
                    let text = part.get("text").and_then(Value::as_str);
                    let text = text.ok_or_else(|| {
                        Problem::bad_request("This model is not multimodal: content parts must be text.", "messages")
                    })?;
                    tokenize(text, limit, &mut tokens);
                }
            }
            _ => {}
        }
        tokens.push(MESSAGE_END);
        tokenize("\n", limit, &mut tokens);
    }
    tokens.push(MESSAGE_START);
    tokenize("assistant\n", limit, &mut tokens);
    Ok(tokens)
}

/// The options that the emulator models; all others are accepted and change nothing.
#[derive(Debug)]
struct Options {
    stream: bool,
    include_usage: bool,
    continuous_usage: bool,
    max_tokens: Option<u64>,
    min_tokens: u64,
    ignore_eos: bool,
    seed: u64,
    cache_salt: u64,
}

impl Options {
    fn read(body: &Map<String, Value>) -> Result<Self, Problem> {
        let stream_options = body.get("stream_options").and_then(Value::as_object);
        let option = |name: &str| stream_options.is_some_and(|options| options.get(name) == Some(&Value::Bool(true)));
        if count(body, "n")?.unwrap_or(1) != 1 {
            return Err(Problem::bad_request("This engine gives one answer a request: n must be 1.", "n"));
        }
        let completion = count(body, "max_completion_tokens")?;
        let hash = |text: &str| text.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        Ok(Self {
            stream: flag(body, "stream")?,
            include_usage: option("include_usage"),
            continuous_usage: option("include_usage") && option("continuous_usage_stats"),
            max_tokens: completion.or(count(body, "max_tokens")?),
            min_tokens: count(body, "min_tokens")?.unwrap_or(0),
            ignore_eos: flag(body, "ignore_eos")?,
            seed: body.get("seed").and_then(Value::as_i64).unwrap_or(0) as u64,
            cache_salt: body.get("cache_salt").and_then(Value::as_str).map_or(0, hash),
        })
    }
}

fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Problem> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => Err(wrong_type(name, "boolean", other)),
    }
}

fn count(body: &Map<String, Value>, name: &str) -> Result<Option<u64>, Problem> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => match number.as_u64() {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::bad_request(&format!("{name} must be a whole number from 0 on, got {number}."), name)),
        },
        Some(other) => Err(wrong_type(name, "integer", other)),
    }
}

type Lengths = (u32, u32, FinishReason, Chain, u64);

/// How many tokens will be generated and why it ends there.
fn lengths(kind: Kind, tokens: &[Token], options: &Options, settings: &Settings) -> Result<Lengths, Problem> {
    let longest = settings.scheduler.max_model_len;
    if let Some(asked) = options.max_tokens {
        if asked > u64::from(longest) {
            return Err(Problem::max_tokens_too_large(asked, longest));
        }
        if asked == 0 {
            return Err(Problem::bad_request("max_tokens must be at least 1, got 0.", "max_tokens"));
        }
    }
    if tokens.is_empty() {
        return Err(Problem::bad_request("The prompt is empty.", "prompt"));
    }
    if tokens.len() >= longest as usize {
        return Err(Problem::prompt_too_long(tokens.len(), longest));
    }
    let mut chain = Chain::new(settings.scheduler.block_size, options.cache_salt);
    tokens.iter().for_each(|token| chain.push(*token));
    let seed = mix(chain.fingerprint() ^ settings.seed.rotate_left(32) ^ options.seed);
    let room = u64::from(longest) - tokens.len() as u64;
    let default = if kind == Kind::Text { 16 } else { room };
    let most = options.max_tokens.unwrap_or(default).min(room);
    let natural = u64::from(text::natural_length(seed, settings.mean_output_tokens)).max(options.min_tokens);
    let (length, finish) = if !options.ignore_eos && natural <= most {
        (natural, FinishReason::Stop)
    } else {
        (most, FinishReason::Length)
    };
    // Both are at most the model's length, which is a u32.
    Ok((length as u32, most as u32, finish, chain, seed))
}
