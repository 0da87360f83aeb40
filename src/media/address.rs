//! The addresses by which a request names media that it does not carry.

use super::MediaFault;

/// Checks a URL that the API is to fetch.
///
/// # Errors
/// Not http or https, no host, a user name or password, white space in it.
pub(crate) fn check_url(url: &str) -> Result<(), MediaFault> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        return Err(MediaFault::Url(
            "it must begin with `https://` or `http://`",
        ));
    };
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(MediaFault::Url("it holds white space"));
    }
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(MediaFault::UrlCredentials);
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(MediaFault::Url("it names no host"));
    }
    Ok(())
}

/// Whether a text has the form of a file id.
pub(crate) fn is_file_id(text: &str) -> bool {
    let rest = text.strip_prefix("file_");
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && rest.len() <= 100
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_urls_without_credentials() {
        for good in [
            "https://example.com/a.png",
            "http://example.com:8080/?q=a@b",
            "https://[::1]/x",
        ] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["https://me:secret@example.com/a", "https://me@example.com"] {
            assert_eq!(check_url(bad), Err(MediaFault::UrlCredentials), "{bad}");
        }
        for bad in [
            "ftp://example.com",
            "example.com/a",
            "https:///a",
            "https://a b",
            "file:///etc/passwd",
            "",
        ] {
            assert!(matches!(check_url(bad), Err(MediaFault::Url(_))), "{bad}");
        }
    }
}
