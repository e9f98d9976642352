//! Errors as vLLM words them.

use serde_json::{Map, Value, json};

/// The answer to a request that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Problem {
    fn new(status: u16, message: &str, kind: &str, param: Option<&str>) -> Self {
        let error = json!({"message": message, "type": kind, "param": param, "code": status});
        Self { status, body: json!({ "error": error }).to_string() }
    }

    pub(crate) fn bad_request(message: &str, param: &str) -> Self {
        Self::new(400, message, "BadRequestError", Some(param))
    }

    pub(crate) fn unknown_model(name: &str, known: &[String]) -> Self {
        let known = known.join(", ");
        let message = format!("The model `{name}` does not exist. Valid aliases: {known}.");
        Self::new(404, &message, "NotFoundError", Some("model"))
    }

    pub(crate) fn max_tokens_too_large(asked: u64, longest: u32) -> Self {
        let message = format!(
            "max_tokens={asked} cannot be greater than max_model_len={longest}. Please request fewer output tokens. \
             (parameter=max_tokens, value={asked})"
        );
        Self::bad_request(&message, "max_tokens")
    }

    pub(crate) fn prompt_too_long(tokens: usize, longest: u32) -> Self {
        let message = format!(
            "This model's maximum context length is {longest} tokens. However, your prompt contains at least {tokens} \
             input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the \
             input prompt. (parameter=input_tokens, value={tokens})"
        );
        Self::bad_request(&message, "input_tokens")
    }

    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        let detail = format!("JSON decode error at line {} column {}", error.line(), error.column());
        Self::validation("body", "json_invalid", &detail, &Value::Object(Map::new()))
    }

    /// A body of the wrong form.
    pub(crate) fn validation(location: &str, kind: &str, message: &str, input: &Value) -> Self {
        let input = python(input);
        let text = format!(
            "1 validation error:\n  {{'type': '{kind}', 'loc': '{location}', 'msg': '{message}', 'input': {input}}}"
        );
        Self::new(400, &text, "Bad Request", Some(location))
    }

    /// The queue is full.
    pub(crate) fn overloaded() -> Self {
        Self::new(503, OVERLOADED, "Service Unavailable", None)
    }

    /// SIGTERM was received.
    pub(crate) fn shutting_down() -> Self {
        Self::internal("cannot schedule new futures after shutdown")
    }

    pub(crate) fn internal(message: &str) -> Self {
        Self::new(500, message, "InternalServerError", None)
    }

    pub(crate) fn too_large(most_bytes: usize) -> Self {
        Self::new(413, &format!("The body is larger than {most_bytes} bytes."), "Payload Too Large", None)
    }

    pub(crate) fn unauthorized() -> Self {
        Self { status: 401, body: r#"{"error":"Unauthorized"}"#.to_owned() }
    }

    pub(crate) fn not_found() -> Self {
        Self { status: 404, body: r#"{"detail":"Not Found"}"#.to_owned() }
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self { status: 405, body: r#"{"detail":"Method Not Allowed"}"#.to_owned() }
    }
}

const OVERLOADED: &str =
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.";

/// What a stream says when the queue turned out to be full after its headers were sent (with Python's spaces).
pub(crate) const OVERLOADED_EVENTS: &str = "data: {\"error\": {\"message\": \"The engine is currently busy and cannot \
accept new requests. Please try again later or on a different instance.\", \"type\": \"Service Unavailable\", \
\"param\": null, \"code\": 503}}\n\ndata: [DONE]\n\n";

/// A field of the wrong type; `expected` is pydantic's word for it.
pub(crate) fn wrong_type(field: &str, expected: &str, value: &Value) -> Problem {
    Problem::validation(
        &format!("body.{field}"),
        &format!("{}_type", if expected == "integer" { "int" } else { expected }),
        &format!("Input should be a valid {expected}"),
        value,
    )
}

/// A field that must be there.
pub(crate) fn missing(field: &str, body: &Map<String, Value>) -> Problem {
    Problem::validation(&format!("body.{field}"), "missing", "Field required", &Value::Object(body.clone()))
}

/// A value as Python prints it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'").replace('\n', r"\n")),
        Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("'{name}': {}", python(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_python_shows_them() {
        let value = json!({"a": [null, true, 1.5], "b": "it's"});
        assert_eq!(python(&value), r"{'a': [None, True, 1.5], 'b': 'it\'s'}");
    }
}
