//! Reader of the Prometheus text format, classic and OpenMetrics, that allocates only for escaped label values.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>. Foreign bytes: a line that cannot be read is
//! counted and skipped, so that one odd family never hides the others.

use std::borrow::Cow;

/// One line of a metrics page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Name of the series, with `_total`, `_sum`, `_bucket` and the like.
    pub name: &'a str,
    /// Labels in the order of the page.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// May be NaN or infinite, as written.
    pub value: f64,
}

impl Sample<'_> {
    /// The value of a label, if the sample has it.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_ref())
    }
}

/// A whole metrics page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition<'a> {
    /// All samples that could be read, in order.
    pub samples: Vec<Sample<'a>>,
    /// Names with a `# TYPE` line: a family may be declared before it has a sample.
    pub families: Vec<&'a str>,
    /// Lines that could not be read.
    pub malformed_lines: usize,
}

impl<'a> Exposition<'a> {
    /// Samples of one series name.
    pub fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Sample<'a>> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }
}

/// Reads a metrics page.
#[must_use]
pub fn parse(text: &str) -> Exposition<'_> {
    let mut page = Exposition::default();
    for line in text.lines() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_ascii_whitespace();
            if words.next() == Some("TYPE") {
                page.families.extend(words.next());
            }
        } else if !line.is_empty() {
            match parse_sample(line) {
                Some(sample) => page.samples.push(sample),
                None => page.malformed_lines += 1,
            }
        }
    }
    page
}

fn parse_sample(line: &str) -> Option<Sample<'_>> {
    let name_end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let name = &line[..name_end];
    if name.is_empty() {
        return None;
    }
    let (labels, rest) = match line[name_end..].strip_prefix('{') {
        Some(inner) => parse_labels(inner)?,
        None => (Vec::new(), &line[name_end..]),
    };
    let value = rest.split_ascii_whitespace().next()?;
    Some(Sample { name, labels, value: value.parse().ok()? })
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Reads `a="b",c="d"}` and returns what follows the brace.
fn parse_labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, after) = rest.split_once('=')?;
        let quoted = after.trim_start().strip_prefix('"')?;
        let end = closing_quote(quoted)?;
        labels.push((key.trim(), unescape(&quoted[..end])));
        rest = &quoted[end + 1..];
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            (other, false) => plain.push(other),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_keep_escaped_quotes_braces_and_newlines() {
        let page = parse("a{b=\"x\\\"y\\\\z\\n}\",c=\"\"} 1.5\nplain 2 1700000000\n");
        assert_eq!(page.samples[0].label("b"), Some("x\"y\\z\n}"));
        assert_eq!(page.samples[0].label("c"), Some(""));
        assert!((page.samples[1].value - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn nan_and_infinity_are_values_not_errors() {
        let page = parse("a NaN\nb +Inf\nc -Inf\n");
        assert!(page.samples[0].value.is_nan() && page.samples[1].value.is_infinite());
        assert_eq!(page.malformed_lines, 0);
    }

    #[test]
    fn a_broken_line_is_counted_and_hides_nothing() {
        let page = parse("a{b=\"x 1\nb 1\nc{x} 3\nd one\n# EOF\n");
        assert_eq!(page.samples.len(), 1);
        assert_eq!(page.malformed_lines, 3);
    }

    #[test]
    fn a_family_without_samples_is_known_by_its_type_line() {
        let page = parse("# HELP g text\n# TYPE g gauge\n");
        assert_eq!(page.families, ["g"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC*") {
            let page = parse(&text);
            prop_assert!(page.malformed_lines <= text.lines().count());
        }

        #[test]
        fn any_label_value_survives_the_round_trip(value in "[^\r\n]*", number in -1e9_f64..1e9) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("m{{l=\"{escaped}\"}} {number}");
            let page = parse(&line);
            prop_assert_eq!(page.samples[0].label("l"), Some(value.as_str()));
        }
    }
}
