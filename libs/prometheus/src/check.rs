//! Whether a text is PromQL that answers an instant query with series.

use promql_parser::parser::value::ValueType;
use promql_parser::parser::{Expr, parse};

/// Why a text is not usable as a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromqlError {
    /// The parser does not understand it.
    #[error("not PromQL: {0}")]
    Syntax(String),
    /// It is a range or a text, which an instant query cannot use.
    #[error("the query gives a {0}; wrap it so that it gives one value per series, such as rate(x[1m])")]
    Type(&'static str),
    /// Implausibly long.
    #[error("the query has {0} bytes, more than the 16384 that are sent")]
    TooLong(usize),
}

/// Longer queries exceed what proxies between here and Prometheus accept.
const MAX_BYTES: usize = 16 * 1024;

/// Checks syntax and type of a query.
///
/// # Errors
/// What is wrong, in the parser's words, or the type that the query has.
///
/// ```
/// assert!(prometheus::check_promql("sum by (namespace) (rate(x[1m]))").is_ok());
/// assert!(prometheus::check_promql("sum(").is_err());
/// ```
pub fn check_promql(query: &str) -> Result<(), PromqlError> {
    if query.len() > MAX_BYTES {
        return Err(PromqlError::TooLong(query.len()));
    }
    let parsed: Expr = parse(query).map_err(|error| PromqlError::Syntax(error.trim().to_owned()))?;
    match parsed.value_type() {
        ValueType::Vector | ValueType::Scalar => Ok(()),
        ValueType::Matrix => Err(PromqlError::Type("range of samples")),
        ValueType::String => Err(PromqlError::Type("text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_that_give_values_pass() {
        for query in [
            "up",
            "sum by (a) (rate(b:c_total{d=~\"e|f\"}[1m]))",
            "1 + 1",
            "a or on (b) c * 0",
            "avg_over_time(x[5m:1m])",
        ] {
            assert_eq!(check_promql(query), Ok(()), "{query}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (query, expected) in [
            ("", "not PromQL"),
            ("sum(", "not PromQL"),
            ("rate(x)", "not PromQL"),
            ("sum by namespace (x)", "not PromQL"),
            ("x[5m]", "range of samples"),
            ("\"text\"", "text"),
        ] {
            let message = check_promql(query).unwrap_err().to_string();
            assert!(message.contains(expected), "{query}: {message}");
        }
        assert!(check_promql(&"a".repeat(20_000)).unwrap_err().to_string().contains("20000 bytes"));
    }
}
