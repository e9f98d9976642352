//! Decoding of answers. The crate's own types refuse native histograms and drop warnings, so these read the JSON.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One series of an instant answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Labels without the metric's name.
    pub labels: BTreeMap<String, String>,
    /// May be NaN or infinite.
    pub value: f64,
}

/// One series of a range answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeSeries {
    /// Labels without the metric's name.
    pub labels: BTreeMap<String, String>,
    /// `(Unix time in seconds, value)`, ascending; steps without a sample are missing.
    pub points: Vec<(f64, f64)>,
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<S> {
    /// The series, possibly none.
    pub series: Vec<S>,
    /// What the server warns of; Thanos and Mimir say here that data are missing.
    pub warnings: Vec<String>,
    /// Series left out because they hold native histograms, which have no one value.
    pub histograms: usize,
}

#[derive(Deserialize)]
struct Body {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<RawSeries>),
    Matrix(Vec<RawSeries>),
    Scalar((f64, String)),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct RawSeries {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
    values: Option<Vec<(f64, String)>>,
}

/// What the server says is wrong with a query: its type and its text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// Whether the bytes are an error body of the Prometheus API.
pub(crate) fn refusal(bytes: &[u8]) -> Option<Refused> {
    let body: Body = serde_json::from_slice(bytes).ok()?;
    let message = body.error?;
    Some(Refused { kind: body.error_type.unwrap_or_else(|| "error".to_owned()), message })
}

/// Reads an instant answer.
pub(crate) fn instant(bytes: &[u8]) -> Result<Answer<Series>, String> {
    let (data, warnings) = success(bytes)?;
    let mut answer = Answer { series: Vec::new(), warnings, histograms: 0 };
    match data {
        Data::Scalar((_, text)) => answer.series.push(Series { labels: BTreeMap::new(), value: number(&text)? }),
        Data::Vector(list) => {
            for raw in list {
                match raw.value {
                    Some((_, text)) => answer.series.push(Series { labels: named(raw.metric), value: number(&text)? }),
                    None => answer.histograms += 1,
                }
            }
        }
        Data::Matrix(_) | Data::String(_) => return Err("the answer to an instant query is not a vector".to_owned()),
    }
    Ok(answer)
}

/// Reads a range answer.
pub(crate) fn range(bytes: &[u8]) -> Result<Answer<RangeSeries>, String> {
    let (data, warnings) = success(bytes)?;
    let Data::Matrix(list) = data else { return Err("the answer to a range query is not a matrix".to_owned()) };
    let mut answer = Answer { series: Vec::with_capacity(list.len()), warnings, histograms: 0 };
    for raw in list {
        let Some(values) = raw.values else {
            answer.histograms += 1;
            continue;
        };
        let points: Result<Vec<_>, String> = values.iter().map(|(at, text)| Ok((*at, number(text)?))).collect();
        answer.series.push(RangeSeries { labels: named(raw.metric), points: points? });
    }
    Ok(answer)
}

fn success(bytes: &[u8]) -> Result<(Data, Vec<String>), String> {
    let body: Body = serde_json::from_slice(bytes).map_err(|error| format!("not an answer of Prometheus: {error}"))?;
    match body.data {
        Some(data) if body.status == "success" => Ok((data, body.warnings)),
        Some(_) | None => Err(body.error.unwrap_or_else(|| format!("status `{}` without data", body.status))),
    }
}

fn named(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.remove("__name__");
    labels
}

/// Sample values are texts: `1.5`, `NaN`, `+Inf`.
fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a sample value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_nan_and_zero_are_three_things() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"x","model":"a"},"value":[1,"0"]},
            {"metric":{"model":"b"},"value":[1,"NaN"]},
            {"metric":{"model":"c"},"value":[1,"+Inf"]}]}}"#;
        let answer = instant(body).unwrap();
        assert_eq!(answer.series.len(), 3);
        assert_eq!(answer.series[0].labels, BTreeMap::from([("model".into(), "a".into())]));
        assert!(answer.series[0].value.abs() < f64::EPSILON);
        assert!(answer.series[1].value.is_nan() && answer.series[2].value.is_infinite());
        let empty = instant(br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#).unwrap();
        assert!(empty.series.is_empty());
    }

    #[test]
    fn warnings_and_native_histograms_are_told() {
        let body = br#"{"status":"success","warnings":["a store is missing"],"data":{"resultType":"vector","result":[
            {"metric":{},"histogram":[1,{"count":"5","sum":"1","buckets":[]}]}]}}"#;
        let answer = instant(body).unwrap();
        assert_eq!((answer.warnings.len(), answer.histograms, answer.series.len()), (1, 1, 0));
    }

    #[test]
    fn a_scalar_is_one_series_without_labels() {
        let answer = instant(br#"{"status":"success","data":{"resultType":"scalar","result":[1,"2.5"]}}"#).unwrap();
        assert!((answer.series[0].value - 2.5).abs() < f64::EPSILON && answer.series[0].labels.is_empty());
    }

    #[test]
    fn a_range_keeps_times_and_gaps() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"a":"b"},"values":[[10,"1"],[30.5,"NaN"]]}]}}"#;
        let answer = range(body).unwrap();
        assert_eq!(answer.series[0].points.len(), 2);
        assert!((answer.series[0].points[1].0 - 30.5).abs() < f64::EPSILON);
    }

    #[test]
    fn other_bodies_are_refused_with_a_reason() {
        for body in [
            "<html>503</html>",
            "{}",
            r#"{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"x"]}]}}"#,
        ] {
            assert!(instant(body.as_bytes()).is_err(), "{body}");
        }
        let refused = refusal(br#"{"status":"error","errorType":"bad_data","error":"parse error"}"#).unwrap();
        assert_eq!((refused.kind.as_str(), refused.message.as_str()), ("bad_data", "parse error"));
    }
}
