//! Whether a text is the address of a server that can be named in logs and statuses.

/// Why a text is not such an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is none at all.
    #[error("`{0}` is not a URL; write http://HOST:PORT")]
    Syntax(String),
    /// It is one of another kind.
    #[error("`{0}` must begin with http:// or https://; write http://HOST:PORT")]
    Scheme(String),
    /// It holds a user or a password.
    #[error("the URL holds credentials, which every error would show; give a token by file, or a header, instead")]
    Credentials,
}

/// Checks an address.
///
/// # Errors
/// What is wrong and what to write instead.
///
/// ```
/// assert!(prometheus::check_url("http://prometheus:9090/path").is_ok());
/// assert!(prometheus::check_url("http://me:secret@prometheus:9090").is_err());
/// ```
pub fn check_url(text: &str) -> Result<(), UrlError> {
    let url = reqwest::Url::parse(text).map_err(|_| match text.contains('@') {
        true => UrlError::Credentials,
        false => UrlError::Syntax(text.to_owned()),
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlError::Scheme(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_web_url_without_a_secret_and_no_error_shows_one() {
        assert_eq!(check_url("https://p.example/prefix"), Ok(()));
        for (text, expected) in [
            ("p", "`p` is not a URL; write http://HOST:PORT"),
            ("localhost:9090", "`localhost:9090` must begin with http:// or https://; write http://HOST:PORT"),
            ("http://me:secret@p", "the URL holds credentials"),
            ("http://token@p", "the URL holds credentials"),
            ("http://me:secret@", "the URL holds credentials"),
        ] {
            let error = check_url(text).expect_err(text).to_string();
            assert!(error.starts_with(expected) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
