//! Recorded traces, told apart by their content: request rates (`ts,value`), Azure's CSV, Mooncake's JSON lines.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Larger files are refused: the longest public traces of these formats have a tenth of this.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;
/// More requests are refused: months of a busy service.
const MAX_LINES: usize = 10_000_000;

/// What a file recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum Trace {
    /// A rate, or anything proportional to it, at even steps.
    Rates {
        /// Seconds from one value to the next.
        step_seconds: f64,
        /// The values.
        values: Vec<f64>,
    },
    /// Single requests, ordered by time.
    Requests(Vec<TraceRequest>),
}

/// One recorded request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceRequest {
    /// Seconds since the first request.
    pub at_seconds: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
}

/// Why a file is not a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("trace {path}: {source}; give the path of a CSV or JSON-lines file")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is too large to be one.
    #[error("trace {path}: larger than {MAX_FILE_BYTES} bytes; cut it to the part to replay")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line does not fit the format.
    #[error("trace {path}, line {line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what is expected.
        problem: String,
    },
}

/// Reads a trace.
///
/// # Errors
/// If the file cannot be read or a line does not fit; the error names file, line and what is expected there.
pub fn read(path: &Path) -> Result<Trace, TraceError> {
    let io = |source| TraceError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(io)?.len() > MAX_FILE_BYTES {
        return Err(TraceError::TooLarge { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    parse(&text).map_err(|(line, problem)| TraceError::Line { path: path.to_owned(), line, problem })
}

/// Line and problem.
type LineError = (usize, String);

/// Parses the text of a trace.
///
/// # Errors
/// The first line that does not fit, and why.
pub fn parse(text: &str) -> Result<Trace, LineError> {
    let first = text.lines().next().unwrap_or_default().trim().trim_start_matches('\u{feff}');
    if text.lines().count() > MAX_LINES {
        return Err((MAX_LINES, format!("more than {MAX_LINES} lines; cut the file to the part to replay")));
    }
    let trace = match first {
        "ts,value" | "t_s,rps" => rates(text)?,
        "TIMESTAMP,ContextTokens,GeneratedTokens" => azure(text)?,
        _ if first.starts_with('{') => mooncake(text)?,
        _ => {
            let shown: String = first.chars().take(60).collect();
            return Err((
                1,
                format!(
                    "`{shown}` begins no known trace; expected the header `ts,value` (rates), the header \
                     `TIMESTAMP,ContextTokens,GeneratedTokens` (Azure), or JSON lines with timestamp, input_length and output_length (Mooncake)"
                ),
            ));
        }
    };
    match &trace {
        Trace::Rates { values, .. } if values.iter().all(|value| *value <= 0.0) => {
            Err((2, "no value is above 0, so there is nothing to replay".to_owned()))
        }
        Trace::Requests(requests) if requests.is_empty() => Err((2, "no request follows the header".to_owned())),
        _ => Ok(trace),
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(place, line)| (place + 1, line.trim())).filter(|(_, line)| !line.is_empty())
}

fn rates(text: &str) -> Result<Trace, LineError> {
    let mut times: Vec<f64> = Vec::new();
    let mut values = Vec::new();
    for (number, line) in lines(text).skip(1) {
        let Some((time, value)) = line.split_once(',') else {
            return Err((number, format!("`{line}` is not `ts,value`, such as 1633651200,1.83")));
        };
        let parse = |text: &str, what: &str| {
            let parsed = text.trim().parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
            parsed.ok_or_else(|| (number, format!("`{text}` is not a {what}; write a number that is 0 or more")))
        };
        let (time, value) = (parse(time, "time in seconds")?, parse(value, "rate")?);
        if let [.., before, last] = times[..]
            && ((last - before) - (time - last)).abs() > 0.5
        {
            return Err((
                number,
                format!("time {time} is not {} s after the one before; times must be even", last - before),
            ));
        }
        times.push(time);
        values.push(value);
    }
    match times[..] {
        [first, second, ..] if second > first => Ok(Trace::Rates { step_seconds: second - first, values }),
        [_, _, ..] => Err((3, "times must grow from line to line".to_owned())),
        _ => Err((2, "at least two values are needed to know their step".to_owned())),
    }
}

fn azure(text: &str) -> Result<Trace, LineError> {
    let mut requests: Vec<TraceRequest> = Vec::new();
    let mut start = None;
    for (number, line) in lines(text).skip(1) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [time, prompt, output] = fields[..] else {
            return Err((
                number,
                format!("has {} fields; expected TIMESTAMP,ContextTokens,GeneratedTokens", fields.len()),
            ));
        };
        let at: jiff::civil::DateTime = time
            .trim_end_matches(['Z', 'z'])
            .trim_end_matches("+00:00")
            .parse()
            .map_err(|_| (number, format!("`{time}` is not a time such as 2023-11-16 18:15:46.68")))?;
        let start = *start.get_or_insert(at);
        let at_seconds = at.duration_since(start).as_secs_f64();
        requests.push(TraceRequest {
            at_seconds,
            prompt_tokens: tokens(prompt).map_err(|problem| (number, problem))?,
            output_tokens: tokens(output).map_err(|problem| (number, problem))?,
        });
        check_order(&requests, number)?;
    }
    Ok(Trace::Requests(requests))
}

fn mooncake(text: &str) -> Result<Trace, LineError> {
    #[derive(Deserialize)]
    struct Line {
        timestamp: f64,
        input_length: u32,
        output_length: u32,
    }
    let mut requests: Vec<TraceRequest> = Vec::new();
    let mut start = None;
    for (number, line) in lines(text) {
        let parsed: Line = serde_json::from_str(line).map_err(|error| {
            (number, format!("{error}; expected JSON with timestamp (ms), input_length and output_length"))
        })?;
        let start = *start.get_or_insert(parsed.timestamp);
        requests.push(TraceRequest {
            at_seconds: (parsed.timestamp - start) / 1000.0,
            prompt_tokens: parsed.input_length,
            output_tokens: parsed.output_length,
        });
        check_order(&requests, number)?;
    }
    Ok(Trace::Requests(requests))
}

fn tokens(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of tokens; write a whole number"))
}

fn check_order(requests: &[TraceRequest], line: usize) -> Result<(), LineError> {
    match requests {
        [.., before, last] if last.at_seconds < before.at_seconds => {
            Err((line, "is earlier than the line before; sort the file by time".to_owned()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_formats_are_told_by_their_content() {
        assert_eq!(
            parse("ts,value\n1633651200,1.5\n1633651260,2.5\n").unwrap(),
            Trace::Rates { step_seconds: 60.0, values: vec![1.5, 2.5] }
        );
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n";
        let Trace::Requests(requests) = parse(azure).unwrap() else { panic!("requests") };
        assert!((requests[1].at_seconds - 4.314_579).abs() < 1e-6);
        assert_eq!((requests[1].prompt_tokens, requests[1].output_tokens), (396, 109));
        let mooncake = "{\"timestamp\": 500, \"input_length\": 6758, \"output_length\": 500, \"hash_ids\": [0]}\n\
                        {\"timestamp\": 3500, \"input_length\": 10, \"output_length\": 5, \"hash_ids\": []}\n";
        let Trace::Requests(requests) = parse(mooncake).unwrap() else { panic!("requests") };
        assert!((requests[1].at_seconds - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_bad_line_is_named_with_what_belongs_there() {
        for (text, line, expected) in [
            ("", 1, "begins no known trace; expected the header `ts,value`"),
            ("time,rate\n", 1, "`time,rate` begins no known trace"),
            ("ts,value\n0,1\n60,x\n", 3, "`x` is not a rate; write a number"),
            ("ts,value\n0,1\n60,-2\n", 3, "`-2` is not a rate"),
            ("ts,value\n0,1\n60,1\n90,1\n", 4, "times must be even"),
            ("ts,value\n0,1\n", 2, "at least two values"),
            ("ts,value\n0,0\n60,0\n", 2, "nothing to replay"),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\n", 2, "no request follows"),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", 2, "`yesterday` is not a time such as 2023"),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1\n", 2, "has 2 fields"),
            ("{\"timestamp\": 1, \"input_length\": 3}\n", 1, "missing field `output_length`"),
            (
                "{\"timestamp\":9,\"input_length\":3,\"output_length\":1}\n{\"timestamp\":1,\"input_length\":3,\"output_length\":1}\n",
                2,
                "sort the file by time",
            ),
        ] {
            let (found, problem) = parse(text).unwrap_err();
            assert_eq!(found, line, "{text}: {problem}");
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = read(Path::new("/no/trace.csv")).unwrap_err().to_string();
        assert!(message.starts_with("trace /no/trace.csv: No such file"), "{message}");
    }

    #[test]
    fn the_public_traces_are_read_whole() {
        let Some(folder) = testkit::shared_folder("traces") else { return };
        let count = |name: &str| match read(&folder.join(name)).unwrap() {
            Trace::Rates { values, .. } => values.len(),
            Trace::Requests(requests) => requests.len(),
        };
        assert_eq!(count("crane-11.csv"), 23_040);
        assert_eq!(count("azure-llm-2023-conv.csv"), 19_366);
        assert_eq!(count("mooncake-conversation.jsonl"), 12_031);
    }
}
