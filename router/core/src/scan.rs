//! One pass over a JSON request body for the two top-level fields that routing needs.
//!
//! The body is forwarded as it came, so nothing here builds a tree or checks more than it must: strings are
//! skipped with `memchr`, nested values by counting brackets. On every body that `serde_json` accepts, the answer is the
//! one `serde_json` would give (last duplicate wins, escaped keys count); on others it is an error or a guess
//! that the engine, which parses the whole body, corrects.

use std::borrow::Cow;

use memchr::memchr2;

/// What routing needs to know of a request body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView<'a> {
    /// The top-level field `model`.
    pub model: ModelField<'a>,
    /// Whether the top-level field `stream` is `true`.
    pub stream: bool,
}

/// The top-level field `model` of a request body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelField<'a> {
    /// The field is missing or `null`.
    Absent,
    /// The field is a string; borrowed from the body unless it holds escapes.
    Name(Cow<'a, str>),
    /// The field is there but no string.
    NotAString,
}

/// Why a body could not be scanned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The body does not start with `{`.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// The body ends inside a value.
    #[error("the JSON body ends too early, at byte {0}")]
    Truncated(usize),
    /// Something else than JSON allows stands at this byte.
    #[error("the JSON body is malformed at byte {0}")]
    Malformed(usize),
}

/// Finds `model` and `stream` among the top-level fields of a JSON object.
///
/// # Errors
///
/// When the body is no JSON object, or so malformed that its top-level fields cannot be told apart.
pub fn scan(body: &[u8]) -> Result<RequestView<'_>, ScanError> {
    let mut cursor = Cursor { body, at: 0 };
    let mut view = RequestView { model: ModelField::Absent, stream: false };
    cursor.skip_space();
    if cursor.next() != Some(b'{') {
        return Err(ScanError::NotAnObject);
    }
    cursor.skip_space();
    if cursor.peek() == Some(b'}') {
        return Ok(view);
    }
    loop {
        cursor.skip_space();
        let key = cursor.string()?;
        cursor.skip_space();
        cursor.expect(b':')?;
        cursor.skip_space();
        match field(key) {
            Field::Model => view.model = cursor.model()?,
            Field::Stream => view.stream = cursor.value()? == b"true",
            Field::Other => {
                cursor.value()?;
            }
        }
        cursor.skip_space();
        match cursor.next() {
            Some(b',') => {}
            Some(b'}') => return Ok(view),
            Some(_) => return Err(ScanError::Malformed(cursor.at - 1)),
            None => return Err(ScanError::Truncated(cursor.at)),
        }
    }
}

enum Field {
    Model,
    Stream,
    Other,
}

/// Tells the two wanted keys; `key` is the raw text between the quotes.
fn field(key: &[u8]) -> Field {
    let decoded;
    let key = if key.contains(&b'\\') {
        match unescape(key) {
            Some(text) => {
                decoded = text;
                decoded.as_bytes()
            }
            None => return Field::Other,
        }
    } else {
        key
    };
    match key {
        b"model" => Field::Model,
        b"stream" => Field::Stream,
        _ => Field::Other,
    }
}

/// Decodes the raw text between the quotes of a JSON string. The slow path: clients hardly ever escape a name.
fn unescape(raw: &[u8]) -> Option<String> {
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok()
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Result<(), ScanError> {
        match self.next() {
            Some(byte) if byte == wanted => Ok(()),
            Some(_) => Err(ScanError::Malformed(self.at - 1)),
            None => Err(ScanError::Truncated(self.at)),
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Reads a string and returns the raw text between its quotes.
    fn string(&mut self) -> Result<&'a [u8], ScanError> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = self.body.get(self.at..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                return Err(ScanError::Truncated(self.body.len()));
            };
            let end = self.at + found;
            if self.body[end] == b'"' {
                self.at = end + 1;
                return Ok(&self.body[start..end]);
            }
            // A backslash and the byte it escapes; `\uXXXX` needs no more, its digits are no quotes.
            self.at = end + 2;
        }
    }

    /// Skips one value and returns its raw text.
    fn value(&mut self) -> Result<&'a [u8], ScanError> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                self.string()?;
            }
            Some(b'{' | b'[') => self.nested()?,
            Some(_) => {
                while !matches!(self.peek(), None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')) {
                    self.at += 1;
                }
                if self.at == start {
                    return Err(ScanError::Malformed(start));
                }
            }
            None => return Err(ScanError::Truncated(start)),
        }
        Ok(&self.body[start..self.at])
    }

    /// Skips an object or array by counting brackets; which kind closes which is the engine's to check.
    fn nested(&mut self) -> Result<(), ScanError> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth -= 1,
                Some(_) => {}
                None => return Err(ScanError::Truncated(self.at)),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn model(&mut self) -> Result<ModelField<'a>, ScanError> {
        let at = self.at;
        let raw = self.value()?;
        let Some(text) = raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
            return Ok(if raw == b"null" { ModelField::Absent } else { ModelField::NotAString });
        };
        if text.contains(&b'\\') {
            return unescape(text).map(|name| ModelField::Name(Cow::Owned(name))).ok_or(ScanError::Malformed(at));
        }
        match std::str::from_utf8(text) {
            Ok(name) => Ok(ModelField::Name(Cow::Borrowed(name))),
            Err(_) => Err(ScanError::Malformed(at)),
        }
    }
}

#[cfg(test)]
mod tests;
