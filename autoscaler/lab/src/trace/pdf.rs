//! Token lengths of ServeGen clients: probabilities of lengths, one distribution for each stretch of some hours.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde::Deserialize;

use super::error::{TraceError, shown};
use super::lengths::MOST_TOKENS;

const EXPECTED: &str =
    "JSON of `{\"start seconds\": {\"input_tokens\": \"{tokens: probability, ...}\", \"output_tokens\": ...}}`";

#[derive(Deserialize)]
struct Stretch {
    input_tokens: String,
    output_tokens: String,
}

/// Lengths of one client, by the second at which each stretch starts, in order; prompt and answer independent.
#[derive(Debug, Clone)]
pub(crate) struct ClientLengths {
    stretches: Vec<(f64, Distribution, Distribution)>,
}

impl ClientLengths {
    /// Reads `chunk-N-dataset.json`; `None` when no stretch has lengths.
    pub(crate) fn read(reader: impl Read, path: &Path) -> Result<Option<Self>, TraceError> {
        let refuse = |problem: String| TraceError::Content { path: path.to_owned(), problem, expected: EXPECTED };
        let raw: BTreeMap<String, Stretch> =
            serde_json::from_reader(reader).map_err(|error| refuse(error.to_string()))?;
        let mut stretches = Vec::new();
        for (start, stretch) in raw {
            let seconds = start.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
            let seconds = seconds.ok_or_else(|| refuse(format!("the start `{}`", shown(&start))))?;
            let parse = |field: &str, text: &str| {
                Distribution::parse(text).map_err(|problem| refuse(format!("{field} of {seconds} s: {problem}")))
            };
            let input = parse("input_tokens", &stretch.input_tokens)?;
            let output = parse("output_tokens", &stretch.output_tokens)?;
            stretches.extend(input.zip(output).map(|(input, output)| (seconds, input, output)));
        }
        stretches.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(if stretches.is_empty() { None } else { Some(Self { stretches }) })
    }

    /// Lengths of a request that arrives at `seconds`: of the stretch it lies in, else of the first.
    pub(crate) fn draw(&self, seconds: f64, random: &mut Pcg64Mcg) -> (u32, u32) {
        let place = self.stretches.partition_point(|(start, _, _)| *start <= seconds).saturating_sub(1);
        self.stretches.get(place).map_or((1, 1), |(_, input, output)| (input.draw(random), output.draw(random).max(1)))
    }
}

/// Values with their cumulative weights.
#[derive(Debug, Clone)]
struct Distribution {
    values: Vec<(u32, f64)>,
    total: f64,
}

impl Distribution {
    /// Parses `{4: 7.2e-05, 5: 0.00016}`; `{}` has no values.
    fn parse(text: &str) -> Result<Option<Self>, String> {
        let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let inner = inner.ok_or_else(|| format!("`{}` has no braces around it", shown(text)))?;
        let mut values = Vec::new();
        let mut total = 0.0;
        for entry in inner.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (tokens, weight) = entry
                .split_once(':')
                .and_then(|(tokens, weight)| Some((tokens.trim().parse::<f64>().ok()?, weight.trim().parse().ok()?)))
                .filter(|(tokens, weight): &(f64, f64)| {
                    (0.0..=f64::from(MOST_TOKENS)).contains(tokens) && weight.is_finite() && *weight >= 0.0
                })
                .ok_or_else(|| format!("`{}` is not `tokens: probability`", shown(entry)))?;
            total += weight;
            values.push((tokens.round() as u32, total));
        }
        Ok(if total > 0.0 && total.is_finite() { Some(Self { values, total }) } else { None })
    }

    fn draw(&self, random: &mut Pcg64Mcg) -> u32 {
        let point = random.random::<f64>() * self.total;
        let place = self.values.partition_point(|(_, cumulative)| *cumulative <= point);
        self.values.get(place).or_else(|| self.values.last()).map_or(1, |(tokens, _)| *tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::random::stream;

    fn read(text: &str) -> Result<Option<ClientLengths>, TraceError> {
        ClientLengths::read(text.as_bytes(), Path::new("chunk-0-dataset.json"))
    }

    #[test]
    fn lengths_are_drawn_with_their_probabilities_from_the_stretch_of_the_request() {
        let text = r#"{"0": {"input_tokens": "{10: 0.25, 20: 0.75}", "output_tokens": "{5: 1.0}", "reason_ratio": "{}"},
            "21600": {"input_tokens": "{}", "output_tokens": "{}"},
            "43200": {"input_tokens": "{7: 1.0}", "output_tokens": "{0: 1.0}"}}"#;
        let lengths = read(text).unwrap().unwrap();
        let mut random = stream(&[1]);
        let tens = (0..10_000).filter(|_| lengths.draw(30_000.0, &mut random).0 == 10).count();
        assert!((2300..2700).contains(&tens), "{tens}");
        assert_eq!(lengths.draw(50_000.0, &mut random), (7, 1));
    }

    #[test]
    fn an_empty_file_has_no_lengths_and_a_bad_one_names_the_field() {
        assert!(read(r#"{"0": {"input_tokens": "{}", "output_tokens": "{}"}}"#).unwrap().is_none());
        let error = read(r#"{"0": {"input_tokens": "{4: x}", "output_tokens": "{}"}}"#).unwrap_err().to_string();
        assert!(error.contains("input_tokens of 0 s: `4: x` is not `tokens: probability`"), "{error}");
        assert!(read(r#"{"0": {"input_tokens": 4}}"#).unwrap_err().to_string().contains("line 1"));
    }
}
