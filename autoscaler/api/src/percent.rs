//! Shares as people write them: `99%`, `99.9%`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Pattern of a percentage that can be an attainment.
pub(crate) const PATTERN: &str = r"^[0-9]{1,2}(\.[0-9]+)?%$";

/// A share of requests, from 50 % up to less than 100 %.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(f64);

/// Why a text is not a usable percentage; says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a share of requests; write a percentage from 50% to 99.99%, such as \"99%\" or \"99.9%\"")]
pub struct ParsePercentError(String);

impl Percent {
    /// The share, in [0.5, 1).
    #[must_use]
    pub fn as_share(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = ParsePercentError;

    /// # Errors
    /// If the text has no `%`, or is below 50 % or above 99.99 %.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParsePercentError(text.to_owned());
        let number: f64 = text.strip_suffix('%').ok_or_else(refuse)?.trim().parse().map_err(|_| refuse())?;
        // All of the requests can be promised at no number of replicas; fewer than half is no objective.
        if (50.0..=99.99).contains(&number) { Ok(Self(number)) } else { Err(refuse()) }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "description": "A share of requests from 50% to 99.99%, such as 99% or 99.9%",
        })
    }
}
