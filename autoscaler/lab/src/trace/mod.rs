//! Traces: files in many formats, one kind of source out.
//!
//! A trace is read once; [`Trace::at`] then gives the requests at any factor on its rates, made as they are asked for, so
//! that a fortnight of 100 million requests takes no memory. The same seed gives the same requests, for any stretch.

mod azure;
mod error;
mod lengths;
mod lines;
mod mooncake;
mod pdf;
mod prometheus;
pub(crate) mod random;
mod recorded;
mod series;
mod servegen;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use autoscaler_sim::{Request, RequestSource};

pub use error::TraceError;
pub use lengths::Lengths;

use recorded::Recorded;
use series::Series;
use servegen::ServeGen;

/// Longest trace, in seconds: five years.
const MOST_SECONDS: f64 = 5.0 * 366.0 * 86_400.0;
const MOST_SPAN: &str = "at most five years";
/// Most requests of a trace at the factor it is used at.
const MOST_REQUESTS: f64 = 1e9;

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `TIMESTAMP,ContextTokens,GeneratedTokens`: the Azure LLM inference traces.
    Azure,
    /// JSON lines with `hash_ids`: the Mooncake traces.
    Mooncake,
    /// A folder of ServeGen client files.
    ServeGen,
    /// `ts,value` or `t_s,rps`.
    Series,
    /// A saved answer of Prometheus' `api/v1/query_range`.
    Prometheus,
}

impl Format {
    /// All, with the names that flags know them by.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("azure", Self::Azure),
        ("mooncake", Self::Mooncake),
        ("servegen", Self::ServeGen),
        ("series", Self::Series),
        ("prometheus", Self::Prometheus),
    ];
}

impl Format {
    /// The format that a file or folder seems to have, by its first line; `None` if by none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(path: &Path) -> Result<Option<Self>, TraceError> {
        if path.is_dir() {
            return Ok(servegen::is_folder(path).then_some(Self::ServeGen));
        }
        let mut lines = lines::Lines::new(lines::open(path)?, path);
        // What is not text is no trace.
        let Ok(Some(line)) = lines.next_line() else { return Ok(None) };
        Ok(match line.text {
            "TIMESTAMP,ContextTokens,GeneratedTokens" => Some(Self::Azure),
            "ts,value" | "t_s,rps" => Some(Self::Series),
            text if text.starts_with('{') && text.contains("\"input_length\"") => Some(Self::Mooncake),
            text if text.starts_with('{') && text.contains("\"status\"") => Some(Self::Prometheus),
            _ => None,
        })
    }
}

/// Points of a file of values over time, `(seconds, value)`: a series (`ts,value`) or a saved range answer of a Prometheus,
/// whose series are added up.
///
/// # Errors
/// If it cannot be read or is neither.
pub fn load_points(path: &Path) -> Result<Vec<(f64, f64)>, TraceError> {
    match Format::of(path)? {
        Some(Format::Prometheus) => prometheus::read_points(lines::open(path)?, path),
        _ => series::read_points(lines::open(path)?, path),
    }
}

/// A name that is not a format.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not a trace format; use azure, mooncake, servegen, series or prometheus")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, format)| *format);
        known.ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

#[derive(Debug)]
enum Content {
    Recorded(Recorded),
    Series(Series),
    ServeGen(ServeGen),
}

/// A trace that was read.
#[derive(Debug, Clone)]
pub struct Trace {
    name: String,
    content: Arc<Content>,
}

impl Trace {
    /// Reads a trace. `lengths` serve traces that record no token lengths.
    ///
    /// # Errors
    /// If it cannot be read, is too large, or is not of that format: file, line, column and what is expected.
    pub fn load(path: &Path, format: Format, lengths: &Lengths) -> Result<Self, TraceError> {
        let content = match format {
            Format::Azure => Content::Recorded(azure::read(lines::open(path)?, path)?),
            Format::Mooncake => Content::Recorded(mooncake::read(lines::open(path)?, path)?),
            Format::ServeGen => Content::ServeGen(ServeGen::load(path, lengths.clone())?),
            Format::Series => Content::Series(Series::read(lines::open(path)?, path, lengths.clone())?),
            Format::Prometheus => Content::Series(prometheus::read(lines::open(path)?, path, lengths.clone())?),
        };
        let name = path
            .file_stem()
            .or_else(|| path.file_name())
            .map_or_else(|| path.to_string_lossy(), |n| n.to_string_lossy());
        Ok(Self { name: name.into_owned(), content: Arc::new(content) })
    }

    /// A trace of request rates: `(seconds, requests a second)` of one or more series that are added up, as a Prometheus
    /// answers a range query.
    ///
    /// # Errors
    /// If there are fewer than two points, or a value cannot be a rate.
    pub fn from_rates(name: &str, series: &[Vec<(f64, f64)>], lengths: &Lengths) -> Result<Self, TraceError> {
        let path = Path::new(name);
        let series = Series::new(&prometheus::added(series, path)?, lengths.clone(), path)?;
        Ok(Self { name: name.to_owned(), content: Arc::new(Content::Series(series)) })
    }

    /// Name of its file or folder, without the extension.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Time of its begin as its file gives it: seconds since 1970 for a history, 0 for traces that count from their begin.
    #[must_use]
    pub fn origin_seconds(&self) -> f64 {
        match self.content.as_ref() {
            Content::Series(series) => series.origin_seconds(),
            Content::Recorded(_) | Content::ServeGen(_) => 0.0,
        }
    }

    /// Length in seconds.
    #[must_use]
    pub fn duration_seconds(&self) -> f64 {
        match self.content.as_ref() {
            Content::Recorded(recorded) => recorded.duration_seconds(),
            Content::Series(series) => series.duration_seconds(),
            Content::ServeGen(servegen) => servegen.duration_seconds(),
        }
    }

    /// Requests as recorded, at a factor of 1; in the mean when they are drawn.
    #[must_use]
    pub fn requests(&self) -> f64 {
        match self.content.as_ref() {
            Content::Recorded(recorded) => recorded.requests(),
            Content::Series(series) => series.requests(),
            Content::ServeGen(servegen) => servegen.requests(),
        }
    }

    /// Requests of each step at a factor of 1, in the mean.
    #[must_use]
    pub fn counts(&self, step_seconds: f64) -> Vec<f64> {
        match self.content.as_ref() {
            Content::Recorded(recorded) => recorded.counts(step_seconds),
            Content::Series(series) => series.counts(step_seconds),
            Content::ServeGen(servegen) => servegen.counts(step_seconds),
        }
    }

    /// The trace with `factor` times its rates.
    ///
    /// # Errors
    /// If that makes more than a billion requests.
    pub fn at(&self, factor: f64) -> Result<ScaledTrace, TraceError> {
        let requests = self.requests() * factor;
        if requests <= MOST_REQUESTS {
            Ok(ScaledTrace { content: Arc::clone(&self.content), factor })
        } else {
            Err(TraceError::TooManyRequests { factor, requests, most: MOST_REQUESTS })
        }
    }
}

/// A trace at some factor on its rates.
#[derive(Debug, Clone)]
pub struct ScaledTrace {
    content: Arc<Content>,
    factor: f64,
}

impl ScaledTrace {
    /// Factor on the rates as recorded.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.factor
    }
}

impl RequestSource for ScaledTrace {
    fn duration_seconds(&self) -> f64 {
        match self.content.as_ref() {
            Content::Recorded(recorded) => recorded.duration_seconds(),
            Content::Series(series) => series.duration_seconds(),
            Content::ServeGen(servegen) => servegen.duration_seconds(),
        }
    }

    fn visit(&self, from_seconds: f64, to_seconds: f64, seed: u64, each: &mut dyn FnMut(&Request)) {
        match self.content.as_ref() {
            Content::Recorded(recorded) => recorded.visit(self.factor, from_seconds, to_seconds, seed, each),
            Content::Series(series) => series.visit(self.factor, from_seconds, to_seconds, seed, each),
            Content::ServeGen(servegen) => servegen.visit(self.factor, from_seconds, to_seconds, seed, each),
        }
    }

    fn grain_seconds(&self) -> f64 {
        match self.content.as_ref() {
            Content::Recorded(_) => recorded::GRAIN_SECONDS,
            Content::Series(series) => series.grain_seconds(),
            Content::ServeGen(servegen) => servegen.grain_seconds(),
        }
    }
}
