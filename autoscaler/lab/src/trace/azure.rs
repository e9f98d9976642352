//! Azure LLM inference traces: `TIMESTAMP,ContextTokens,GeneratedTokens`, one request a line.

use std::io::BufRead;
use std::path::Path;

use autoscaler_sim::Request;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::error::TraceError;
use super::lengths::MOST_TOKENS;
use super::lines::Lines;
use super::recorded::Recorded;
use super::{MOST_SECONDS, MOST_SPAN};

const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

/// Reads the format of AzurePublicDataset: times in UTC, with or without an offset.
pub(crate) fn read(reader: impl BufRead, path: &Path) -> Result<Recorded, TraceError> {
    let mut lines = Lines::new(reader, path);
    if let Some(line) = lines.next_line()?
        && line.text != HEADER
    {
        return Err(line.refuse("the header", line.text, "`TIMESTAMP,ContextTokens,GeneratedTokens`"));
    }
    let mut requests = Vec::new();
    while let Some(line) = lines.next_line()? {
        let [time, prompt, output] = line.columns("`TIMESTAMP,ContextTokens,GeneratedTokens`")?;
        let arrival_seconds = seconds(time)
            .ok_or_else(|| line.refuse("TIMESTAMP", time, "a time such as 2023-11-16 18:15:46.6805900"))?;
        let tokens = |column, text| {
            line.number(column, text, "a whole number of tokens, at most 10,000,000", |&n: &u32| n <= MOST_TOKENS)
        };
        requests.push(Request {
            arrival_seconds,
            prompt_tokens: tokens("ContextTokens", prompt)?,
            output_tokens: tokens("GeneratedTokens", output)?.max(1),
            prefix_group: 0,
            shared_tokens: 0,
        });
    }
    from_first(requests, path)
}

/// Makes arrivals relative to the first of them.
pub(super) fn from_first(mut requests: Vec<Request>, path: &Path) -> Result<Recorded, TraceError> {
    let refuse = |problem: String, expected| TraceError::Content { path: path.to_owned(), problem, expected };
    let first = requests.iter().map(|request| request.arrival_seconds).fold(f64::INFINITY, f64::min);
    let last = requests.iter().map(|request| request.arrival_seconds).fold(f64::NEG_INFINITY, f64::max);
    if requests.is_empty() {
        return Err(refuse("no requests in it".into(), "one request a line"));
    }
    if last - first > MOST_SECONDS {
        return Err(refuse(format!("it spans {:.0} days", (last - first) / 86_400.0), MOST_SPAN));
    }
    for request in &mut requests {
        request.arrival_seconds -= first;
    }
    Ok(Recorded::new(requests))
}

/// Seconds since 1970.
fn seconds(text: &str) -> Option<f64> {
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => Offset::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok()?,
    };
    let nanoseconds = timestamp.as_nanosecond();
    Some((nanoseconds / 1_000_000_000) as f64 + (nanoseconds % 1_000_000_000) as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Recorded, TraceError> {
        read(text.as_bytes(), Path::new("azure.csv"))
    }

    #[test]
    fn both_ways_of_writing_times_are_read() {
        for (first, second) in [
            ("2023-11-16 18:15:46.6805900", "2023-11-16 18:15:50.9951690"),
            ("2024-05-10 00:00:00.009930+00:00", "2024-05-10 00:00:04.324509+00:00"),
        ] {
            let trace =
                read_text(&format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{first},374,44\n{second},396,0\n"))
                    .unwrap();
            let mut all = Vec::new();
            trace.visit(1.0, 0.0, 100.0, 0, &mut |request| all.push(*request));
            assert_eq!(all.len(), 2);
            assert!((all[1].arrival_seconds - 4.314_579).abs() < 1e-6);
            assert_eq!((all[0].prompt_tokens, all[0].output_tokens, all[1].output_tokens), (374, 44, 1));
        }
    }

    #[test]
    fn an_error_names_line_and_column() {
        let error = read_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16,374,44\nyesterday,1,1\n");
        assert!(error.unwrap_err().to_string().starts_with("azure.csv, line 3, TIMESTAMP: found `yesterday`"));
        let error = read_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,-1,44\n");
        assert!(error.unwrap_err().to_string().contains("line 2, ContextTokens: found `-1`"));
        assert!(read_text("ts,value\n1,2\n").unwrap_err().to_string().contains("line 1, the header"));
        assert!(read_text("").unwrap_err().to_string().contains("no requests"));
    }
}
