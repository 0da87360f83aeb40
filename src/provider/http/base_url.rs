//! Which base URLs calls can be built on.

use std::net::IpAddr;

use reqwest::Url;

use crate::provider::Error;

/// Checks a base URL; a path in front of the API's own is kept.
pub(super) fn base(text: &str) -> Result<Url, Error> {
    let fail = |reason: String| Err(Error::BaseUrl { reason });
    let url = match Url::parse(text.trim()) {
        Ok(url) => url,
        Err(error) => return fail(format!("it is not a URL: {error}")),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return fail(format!(
            "it begins with `{}:` instead of `https:`",
            url.scheme()
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fail("it holds a user name or a password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return fail("it holds a `?` or a `#`".to_owned());
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(Error::PlainHttp {
            host: url.host_str().unwrap_or_default().to_owned(),
        });
    }
    Ok(url)
}

/// Whether a URL names this machine: 127.0.0.0/8, ::1 or `localhost`.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_base_urls_that_keep_the_key_safe() {
        for (text, kept) in [
            ("https://api.anthropic.com", "https://api.anthropic.com/"),
            (
                " https://gateway.example/anthropic/ ",
                "https://gateway.example/anthropic/",
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://127.255.3.4", "http://127.255.3.4/"),
            ("http://[::1]:9", "http://[::1]:9/"),
            ("http://localhost:1/x", "http://localhost:1/x"),
        ] {
            assert_eq!(base(text).unwrap().as_str(), kept);
        }
    }

    #[test]
    fn refuses_base_urls_that_would_give_the_key_away() {
        for (text, said) in [
            ("api.anthropic.com", "not a URL"),
            ("", "not a URL"),
            ("ftp://api.anthropic.com", "begins with `ftp:`"),
            ("https://user:hunter2@host", "user name or a password"),
            ("https://host/?key=hunter2", "holds a `?`"),
            ("https://host/#x", "holds a `?` or a `#`"),
            (
                "http://api.anthropic.com",
                "plain http to `api.anthropic.com`",
            ),
            ("http://128.0.0.1", "plain http to `128.0.0.1`"),
            ("http://localhost.example", "plain http"),
            ("http://127.0.0.1.example", "plain http"),
            ("http://[::2]", "plain http"),
            ("http://0.0.0.0", "plain http"),
        ] {
            let error = base(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.contains("hunter2"));
        }
    }
}
