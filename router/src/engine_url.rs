//! The address of an engine: parsed once, so that nothing behind it parses URLs per request.

use std::fmt;
use std::str::FromStr;

/// `http://host:port` of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EngineUrl {
    /// `host:port` as it was written: the `Host` header and the engine's name outside a cluster.
    pub authority: String,
    /// Host alone, an IPv6 address without its brackets.
    pub host: String,
    /// Port, 80 unless given.
    pub port: u16,
}

/// Why a text is no engine address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("engine `{text}` {problem}; write it as http://host:port")]
pub struct EngineUrlError {
    text: String,
    problem: &'static str,
}

impl FromStr for EngineUrl {
    type Err = EngineUrlError;

    /// # Errors
    /// If the text is no `http://host:port`, or holds a path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |problem| EngineUrlError { text: text.to_owned(), problem };
        if text.starts_with("https://") {
            return Err(refuse("uses TLS, which the router does not speak to engines yet"));
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(refuse("does not begin with http://"));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: http::uri::Authority = rest.parse().map_err(|_| refuse("is not a host and a port"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("holds credentials"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(refuse("has no host"));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().len() > host.len() => {
                return Err(refuse("has a port that is no number up to 65535"));
            }
            None => 80,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { authority: authority.as_str().to_owned(), host, port })
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, authority, host, port) in [
            ("http://10.0.0.7:8000", "10.0.0.7:8000", "10.0.0.7", 8000),
            ("http://engine/", "engine", "engine", 80),
            ("http://[fd00::7]:9", "[fd00::7]:9", "fd00::7", 9),
        ] {
            let url: EngineUrl = text.parse().expect(text);
            assert_eq!((url.authority.as_str(), url.host.as_str(), url.port), (authority, host, port));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_fix() {
        for (text, problem) in [
            ("10.0.0.7:8000", "does not begin with http://"),
            ("https://a", "TLS"),
            ("http://", "not a host"),
            ("http://a:1/v1", "not a host"),
            ("http://u:p@a:1", "credentials"),
            ("http://a:99999", "65535"),
        ] {
            let message = text.parse::<EngineUrl>().expect_err(text).to_string();
            assert!(message.contains(problem) && message.contains("http://host:port"), "{message}");
        }
    }
}
