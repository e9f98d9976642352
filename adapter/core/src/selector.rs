//! Kubernetes label selectors: the whole grammar of `labelSelector` in a URL.
//!
//! `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, joined by commas. As in Kubernetes, `!=` and `notin`
//! also match when the label is not there. `>` and `<` parse in Kubernetes and mean nothing for metrics: refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Longer selectors are refused: HPA's own are far below, and the URL comes from outside.
const MAX_BYTES: usize = 4096;
/// Kubernetes' limit for label values, and for the name part of a key.
const MAX_NAME_BYTES: usize = 63;
/// Limit of a key's prefix (a DNS subdomain).
const MAX_PREFIX_BYTES: usize = 253;

/// A parsed selector: all requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
}

/// Why a selector cannot be used; names the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("labelSelector `{selector}`: {problem}")]
pub struct SelectorError {
    selector: String,
    problem: String,
}

impl Selector {
    /// Parses the text of a `labelSelector` parameter; an empty text selects everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let shown: String = text.chars().take(100).collect();
        let refuse = |problem: String| SelectorError { selector: shown.clone(), problem };
        if text.len() > MAX_BYTES {
            return Err(refuse(format!("is longer than {MAX_BYTES} bytes")));
        }
        let mut parser = Parser { rest: text };
        let mut requirements = Vec::new();
        parser.skip_blank();
        if parser.rest.is_empty() {
            return Ok(Self { requirements });
        }
        loop {
            requirements.push(parser.requirement().map_err(&refuse)?);
            parser.skip_blank();
            if parser.rest.is_empty() {
                return Ok(Self { requirements });
            }
            if !parser.take(",") {
                return Err(refuse(format!("expected `,` before `{}`", parser.shown_rest())));
            }
        }
    }

    /// Whether the labels satisfy every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
            }
        })
    }
}

impl fmt::Display for Selector {
    /// As it would stand in an error message: `{model=a}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, Requirement { key, test }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let list = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values))?,
                Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values))?,
                Test::In(values) => write!(f, "{key} in ({})", list(values))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", list(values))?,
                Test::Exists => write!(f, "{key}")?,
                Test::Absent => write!(f, "!{key}")?,
            }
        }
        f.write_str("}")
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn requirement(&mut self) -> Result<Requirement, String> {
        self.skip_blank();
        if self.take("!") {
            self.skip_blank();
            return Ok(Requirement { key: self.key()?, test: Test::Absent });
        }
        let key = self.key()?;
        self.skip_blank();
        let test = if self.take("!=") {
            Test::NotIn(BTreeSet::from([self.value()?]))
        } else if self.take("==") || self.take("=") {
            Test::In(BTreeSet::from([self.value()?]))
        } else if self.rest.starts_with(['>', '<']) {
            return Err(format!(
                "`{key}`: `>` and `<` compare numbers, labels of metrics are texts; use =, !=, in or notin"
            ));
        } else if self.rest.is_empty() || self.rest.starts_with(',') {
            Test::Exists
        } else {
            match self.word() {
                "in" => Test::In(self.values(&key)?),
                "notin" => Test::NotIn(self.values(&key)?),
                other => return Err(format!("`{key}` is followed by `{other}`; expected =, ==, !=, in or notin")),
            }
        };
        Ok(Requirement { key, test })
    }

    fn values(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        self.skip_blank();
        if !self.take("(") {
            return Err(format!("`{key}`: `in` and `notin` take a list such as (a,b)"));
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            self.skip_blank();
            if self.take(")") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err(format!("the list of `{key}` does not end with `)`"));
            }
        }
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.word();
        let (prefix, name) = match key.rsplit_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, key),
        };
        let has_good_prefix = prefix.is_none_or(|prefix| {
            !prefix.is_empty() && prefix.len() <= MAX_PREFIX_BYTES && prefix.split('.').all(is_name)
        });
        if !is_name(name) || !has_good_prefix {
            let shown = if key.is_empty() { self.shown_rest() } else { key.to_owned() };
            return Err(format!("`{shown}` is not a label key"));
        }
        Ok(key.to_owned())
    }

    fn value(&mut self) -> Result<String, String> {
        self.skip_blank();
        let value = self.word();
        if !value.is_empty() && !is_name(value) {
            return Err(format!("`{value}` is not a label value: at most 63 letters, digits, `-`, `_`, `.`"));
        }
        Ok(value.to_owned())
    }

    /// Up to the next character with a meaning of its own.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| c.is_whitespace() || "=!,()<>".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn skip_blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn shown_rest(&self) -> String {
        self.rest.chars().take(20).collect()
    }
}

fn is_name(text: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MAX_NAME_BYTES
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests;
