//! Text files line by line, with bounds: no file and no line can fill the memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::{TraceError, shown};

/// Largest file that is read, in bytes.
pub(crate) const MOST_BYTES: u64 = 2_000_000_000;
/// Longest line: a Mooncake line of a million prompt tokens has 2,000 block ids of up to ten characters.
const LONGEST_LINE_BYTES: u64 = 1 << 20;

/// What spreadsheets write before the first character.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Opens a file that is not larger than [`MOST_BYTES`], behind its byte order mark if it has one.
pub(crate) fn open(path: &Path) -> Result<BufReader<File>, TraceError> {
    let unreadable = |source| TraceError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?;
    if size.is_dir() {
        return Err(TraceError::Content {
            path: path.to_owned(),
            problem: "this is a folder".into(),
            expected: "a file (only --format servegen reads a folder)",
        });
    }
    if size.len() > MOST_BYTES {
        return Err(TraceError::TooLarge { path: path.to_owned(), bytes: size.len(), most: MOST_BYTES });
    }
    let mut reader = BufReader::with_capacity(1 << 16, file);
    if reader.fill_buf().map_err(unreadable)?.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    Ok(reader)
}

/// The lines of a text, counted.
pub(crate) struct Lines<R> {
    reader: R,
    path: PathBuf,
    number: u64,
    bytes: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R, path: &Path) -> Self {
        Self { reader, path: path.to_owned(), number: 0, bytes: Vec::new() }
    }

    /// The next line that is not empty, without its line end; `None` at the end of the text.
    pub(crate) fn next_line(&mut self) -> Result<Option<Line<'_>>, TraceError> {
        loop {
            self.bytes.clear();
            let read = (&mut self.reader)
                .take(LONGEST_LINE_BYTES)
                .read_until(b'\n', &mut self.bytes)
                .map_err(|source| TraceError::Read { path: self.path.clone(), source })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !self.bytes.trim_ascii().is_empty() {
                break;
            }
        }
        let line = self.number;
        let refuse = |found: &str, expected| TraceError::Value {
            path: self.path.clone(),
            line,
            column: "the line",
            found: shown(found),
            expected,
        };
        let text =
            std::str::from_utf8(&self.bytes).map_err(|_| refuse("bytes that are not UTF-8", "a line of text"))?;
        if self.bytes.len() as u64 == LONGEST_LINE_BYTES && !text.ends_with('\n') {
            return Err(refuse(text, "a line of less than a mebibyte"));
        }
        Ok(Some(Line { text: text.trim(), number: line, path: &self.path }))
    }
}

/// One line of a text.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) text: &'a str,
    number: u64,
    path: &'a Path,
}

impl<'a> Line<'a> {
    /// The error for a value of this line.
    pub(crate) fn refuse(&self, column: &'static str, found: &str, expected: &'static str) -> TraceError {
        TraceError::Value { path: self.path.to_owned(), line: self.number, column, found: shown(found), expected }
    }

    /// The line's values, when there are exactly as many as columns.
    pub(crate) fn columns<const N: usize>(&self, expected: &'static str) -> Result<[&'a str; N], TraceError> {
        let mut columns = [""; N];
        let mut parts = self.text.split(',');
        for column in &mut columns {
            *column = parts.next().ok_or_else(|| self.refuse("the line", self.text, expected))?.trim();
        }
        if parts.next().is_some() {
            return Err(self.refuse("the line", self.text, expected));
        }
        Ok(columns)
    }

    /// A value of the line as a number that `accept` takes.
    pub(crate) fn number<T: FromStr>(
        &self,
        column: &'static str,
        text: &str,
        expected: &'static str,
        accept: impl FnOnce(&T) -> bool,
    ) -> Result<T, TraceError> {
        text.parse().ok().filter(accept).ok_or_else(|| self.refuse(column, text, expected))
    }
}
