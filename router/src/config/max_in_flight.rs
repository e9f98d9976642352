//! The limit of requests in flight per engine: a number, or learned.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The word for a learned limit.
const AUTO: &str = "auto";

/// Most requests that this router sends to one engine at a time; the others wait in the router, where their order is
/// still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxInFlight {
    /// As many as the engine runs at once, learned from its metrics.
    Auto,
    /// This many.
    Fixed(NonZeroU32),
}

/// Neither a number nor `auto`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no limit of requests in flight: write a whole number above 0, or auto")]
pub struct MaxInFlightError(String);

impl FromStr for MaxInFlight {
    type Err = MaxInFlightError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Fixed).map_err(|_| MaxInFlightError(text.to_owned()))
    }
}

impl Serialize for MaxInFlight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::Fixed(number) => serializer.serialize_u32(number.get()),
        }
    }
}

impl<'de> Deserialize<'de> for MaxInFlight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = MaxInFlight;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number above 0, or auto")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<MaxInFlight, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<MaxInFlight, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MaxInFlight, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for MaxInFlight {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MaxInFlight".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": [{"type": "integer", "minimum": 1, "maximum": u32::MAX}, {"const": AUTO}]})
    }
}
