//! History of a running system: the JSON answer of Prometheus' `api/v1/query_range`, saved to a file.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::error::{TraceError, shown};
use super::lengths::Lengths;
use super::series::Series;

const EXPECTED: &str = "the JSON answer of api/v1/query_range to a query of a rate, such as sum(rate(...[1m]))";

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    #[serde(default)]
    result: Vec<RangeSeries>,
}

#[derive(Deserialize)]
struct RangeSeries {
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// Points of all series of an answer, added up where their times agree.
pub(crate) fn read_points(reader: impl Read, path: &Path) -> Result<Vec<(f64, f64)>, TraceError> {
    let refuse = |problem: String| TraceError::Content { path: path.to_owned(), problem, expected: EXPECTED };
    let answer: Answer = serde_json::from_reader(reader).map_err(|error| refuse(shown_error(&error)))?;
    if answer.status != "success" {
        return Err(refuse(format!("the query failed: {}", shown(answer.error.as_deref().unwrap_or(&answer.status)))));
    }
    let data = answer.data.ok_or_else(|| refuse("no `data` in it".into()))?;
    if data.result_type != "matrix" {
        return Err(refuse(format!("resultType is `{}`, not `matrix`", shown(&data.result_type))));
    }
    let mut series = Vec::new();
    for raw in data.result {
        let mut points = Vec::with_capacity(raw.values.len());
        for (time, text) in raw.values {
            let value: f64 = text.parse().map_err(|_| refuse(format!("a value is `{}`", shown(&text))))?;
            points.push((time, value));
        }
        series.push(points);
    }
    added(&series, path)
}

/// The sum of several series at each of their times; values that are not numbers are absent.
pub(crate) fn added(series: &[Vec<(f64, f64)>], path: &Path) -> Result<Vec<(f64, f64)>, TraceError> {
    let refuse = |problem: String| TraceError::Content { path: path.to_owned(), problem, expected: EXPECTED };
    let mut sums: BTreeMap<i64, f64> = BTreeMap::new();
    for &(time, value) in series.iter().flatten() {
        if !(time.is_finite() && time.abs() < 1e11) {
            return Err(refuse(format!("a time is {time}")));
        }
        if value.is_nan() {
            continue;
        }
        if !(0.0..1e12).contains(&value) {
            return Err(refuse(format!("a value is {value}, which no rate is")));
        }
        *sums.entry((time * 1e3).round() as i64).or_default() += value;
    }
    Ok(sums.into_iter().map(|(milliseconds, value)| (milliseconds as f64 / 1e3, value)).collect())
}

/// Reads an answer as a series of request rates.
pub(crate) fn read(reader: impl Read, path: &Path, lengths: Lengths) -> Result<Series, TraceError> {
    Series::new(&read_points(reader, path)?, lengths, path)
}

/// What serde_json says, which names line and column.
fn shown_error(error: &serde_json::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> Result<Vec<(f64, f64)>, TraceError> {
        read_points(text.as_bytes(), Path::new("history.json"))
    }

    #[test]
    fn the_series_of_an_answer_are_added_up() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"pod":"a"},"values":[[1700000000,"1.5"],[1700000060,"2"]]},
            {"metric":{"pod":"b"},"values":[[1700000060,"3"],[1700000120,"NaN"],[1700000180,"4"]]}]}}"#;
        assert_eq!(points(text).unwrap(), [(1.7e9, 1.5), (1_700_000_060.0, 5.0), (1_700_000_180.0, 4.0)]);
    }

    #[test]
    fn what_is_not_a_range_answer_is_refused_with_the_reason() {
        let message = |text| points(text).unwrap_err().to_string();
        assert!(message(r#"{"status":"error","error":"parse error"}"#).contains("the query failed: parse error"));
        assert!(message(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#).contains("not `matrix`"));
        assert!(message("{").contains("line 1 column 1"));
        assert!(
            message(r#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[[1,"-2"]]}]}}"#)
                .contains("-2")
        );
    }
}
