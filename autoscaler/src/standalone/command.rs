//! The command template of an engine: one line or a list of arguments with `{port}`, `{index}` and `{gpus}` in it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// Placeholders a template may hold.
const PLACEHOLDERS: [&str; 3] = ["port", "index", "gpus"];

/// A command with placeholders, split into program and arguments.
///
/// In YAML it is a string, split as a shell would split it (quotes and backslashes, nothing is expanded), or a list of
/// arguments that is taken as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CommandTemplate {
    argv: Vec<String>,
}

/// What replaces the placeholders for one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// TCP port the engine must listen on.
    pub port: u16,
    /// Number of the engine among those of its model, from 0; the lowest free one is taken.
    pub index: u32,
    /// GPUs of the engine, as `CUDA_VISIBLE_DEVICES` writes them.
    pub gpus: Vec<String>,
}

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// Nothing to run.
    #[error("is empty; write the program and its arguments, for example: vllm serve MODEL --port {{port}}")]
    Empty,
    /// A quote was opened and never closed.
    #[error("has a {0} quote that is never closed; close it, or give the command as a list of arguments")]
    UnclosedQuote(char),
    /// A placeholder nobody fills.
    #[error(
        "has the unknown placeholder {{{0}}}; known are {{port}}, {{index}} and {{gpus}} (write {{{{{0}}}}} to mean the text itself)"
    )]
    UnknownPlaceholder(String),
    /// Without it all engines would listen on the same port.
    #[error("does not use {{port}}; every engine needs a port of its own, for example: --port {{port}}")]
    NoPort,
}

impl CommandTemplate {
    /// A template from arguments that are already split.
    pub fn from_argv(argv: Vec<String>) -> Result<Self, TemplateError> {
        if argv.first().is_none_or(|program| program.trim().is_empty()) {
            return Err(TemplateError::Empty);
        }
        let mut uses_port = false;
        for argument in &argv {
            substitute(argument, |name| {
                uses_port |= name == "port";
                PLACEHOLDERS.contains(&name).then(String::new)
            })
            .map_err(TemplateError::UnknownPlaceholder)?;
        }
        if uses_port { Ok(Self { argv }) } else { Err(TemplateError::NoPort) }
    }

    /// A template from one line.
    pub fn from_line(line: &str) -> Result<Self, TemplateError> {
        Self::from_argv(split(line)?)
    }

    /// The program as written, placeholders included.
    pub fn program(&self) -> &str {
        &self.argv[0]
    }

    /// Program and arguments for one engine.
    pub fn render(&self, placement: &Placement) -> Vec<String> {
        let fill = |name: &str| match name {
            "port" => Some(placement.port.to_string()),
            "index" => Some(placement.index.to_string()),
            "gpus" => Some(placement.gpus.join(",")),
            _ => None,
        };
        // Unknown names were refused on construction, so the fallback is never taken.
        self.argv.iter().map(|argument| substitute(argument, fill).unwrap_or_else(|_| argument.clone())).collect()
    }
}

/// Replaces each `{name}`; `{{name}}` stands for `{name}`, and braces around anything but a name (JSON) stay.
fn substitute(text: &str, mut fill: impl FnMut(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let tail = &rest[open..];
        if let Some((name, used)) = braced(tail, "{{", "}}") {
            out.push('{');
            out.push_str(name);
            out.push('}');
            rest = &tail[used..];
        } else if let Some((name, used)) = braced(tail, "{", "}") {
            out.push_str(&fill(name).ok_or_else(|| name.to_owned())?);
            rest = &tail[used..];
        } else {
            out.push('{');
            rest = &tail[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The name between `open` and `close` at the start of `text`, and how many bytes all of it takes.
fn braced<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, usize)> {
    let inner = text.strip_prefix(open)?;
    let end = inner.find(close)?;
    let name = &inner[..end];
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    is_name.then_some((name, open.len() + end + close.len()))
}

/// Splits a line into words as a shell does: blanks separate, quotes join, a backslash takes the next character.
fn split(line: &str) -> Result<Vec<String>, TemplateError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(c),
            (_, '\\') => {
                if let Some(next) = characters.next().filter(|next| *next != '\n') {
                    word.get_or_insert_default().push(next);
                }
            }
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match quote {
        Some(open) => Err(TemplateError::UnclosedQuote(open)),
        None => Ok(words),
    }
}

impl<'de> Deserialize<'de> for CommandTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = CommandTemplate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command line or a list of arguments")
            }

            fn visit_str<E: de::Error>(self, line: &str) -> Result<Self::Value, E> {
                CommandTemplate::from_line(line).map_err(|error| E::custom(format!("command {error}")))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut argv = Vec::new();
                while let Some(argument) = items.next_element::<String>()? {
                    argv.push(argument);
                }
                CommandTemplate::from_argv(argv)
                    .map_err(|error| <A::Error as de::Error>::custom(format!("command {error}")))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for CommandTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CommandTemplate".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Program and arguments of an engine, as one line or as a list; {port}, {index} and {gpus} are filled in for each engine, {port} must be used.",
            "oneOf": [
                { "type": "string", "minLength": 1 },
                { "type": "array", "minItems": 1, "items": { "type": "string" } }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement() -> Placement {
        Placement { port: 20003, index: 3, gpus: vec!["2".into(), "3".into()] }
    }

    #[test]
    fn a_line_is_split_like_in_a_shell_and_filled_in() {
        let template = CommandTemplate::from_line(
            r#"env NAME="a b" vllm serve 'my model' --port {port} --seed {index} --gpus={gpus} a\ b"#,
        )
        .unwrap();
        assert_eq!(
            template.render(&placement()),
            ["env", "NAME=a b", "vllm", "serve", "my model", "--port", "20003", "--seed", "3", "--gpus=2,3", "a b"]
        );
    }

    #[test]
    fn json_in_an_argument_keeps_its_braces() {
        let argv = vec!["e".into(), "--port={port}".into(), r#"{"a":{"b":1}}"#.into(), "{{port}}".into()];
        let template = CommandTemplate::from_argv(argv).unwrap();
        assert_eq!(template.render(&placement()), ["e", "--port=20003", r#"{"a":{"b":1}}"#, "{port}"]);
    }

    #[test]
    fn unusable_templates_are_refused_with_the_fix() {
        let refused = |line: &str| CommandTemplate::from_line(line).unwrap_err();
        assert_eq!(refused("  "), TemplateError::Empty);
        assert_eq!(refused("vllm serve 'x --port {port}"), TemplateError::UnclosedQuote('\''));
        assert_eq!(refused("vllm serve x --port 8000"), TemplateError::NoPort);
        let unknown = refused("vllm serve x --port {port} --name {name}");
        assert_eq!(unknown, TemplateError::UnknownPlaceholder("name".into()));
        assert!(unknown.to_string().contains("known are {port}, {index} and {gpus} (write {{name}} to mean"));
    }

    #[test]
    fn yaml_takes_a_line_or_a_list() {
        let line: CommandTemplate = serde_saphyr::from_str("engine --port {port}").unwrap();
        let list: CommandTemplate = serde_saphyr::from_str("[engine, --port, '{port}']").unwrap();
        assert_eq!(line, list);
        let error = serde_saphyr::from_str::<CommandTemplate>("{a: 1}").unwrap_err().to_string();
        assert!(error.contains("a command line or a list of arguments"), "{error}");
    }
}
