//! Secrets are kept out of what comes from the other side.
//!
//! A message is cleaned as a whole ([`redact`]). A body that is streamed, such as the results of a
//! batch, is cleaned in transit ([`SecretFilter`]): a provider, or a gateway in front of it, that
//! repeats the key in a result line would otherwise put it into the saved results, the output and
//! whatever reads them. Everything else of a body stays as received, byte for byte.

use std::fmt::Write as _;

use bytes::Bytes;
use memchr::memmem::Finder;
use secrecy::{ExposeSecret as _, SecretString};

/// What stands in the place of a secret; whole as JSON text.
const REDACTED: &str = "[redacted]";
/// Longest message kept of what another side says.
const MAX_MESSAGE_CHARS: usize = 300;

/// What must not stand in any message.
pub(super) struct Secrets(pub(super) Vec<SecretString>);

impl Secrets {
    pub(super) fn clean(&self, text: &str) -> String {
        let cleaned = self.0.iter().fold(text.to_owned(), |text, secret| {
            redact(text, secret.expose_secret())
        });
        one_line(&cleaned)
    }
}

/// Cuts a text to one line of at most 300 characters, without control characters.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        let _ = write!(line, "{}{word}", if line.is_empty() { "" } else { " " });
        if line.len() > 4 * MAX_MESSAGE_CHARS {
            break;
        }
    }
    match line.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Replaces a secret, in capitals or not: a host name, for one, is made small before it stands in a
/// message.
fn redact(text: String, secret: &str) -> String {
    let (lower, secret) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let mut cleaned = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, found) in lower.match_indices(&secret) {
        cleaned.push_str(&text[copied..at]);
        cleaned.push_str(REDACTED);
        copied = at + found.len();
    }
    cleaned + &text[copied..]
}

/// Replaces secrets in a body that comes piece by piece, also where one lies across two pieces.
///
/// **Memory**: less than the longest secret is held back; a piece without any is passed on as it
/// is.
pub(super) struct SecretFilter(Vec<OneSecret>);

struct OneSecret {
    finder: Finder<'static>,
    /// The end of what arrived, which may be the beginning of the secret.
    held: Vec<u8>,
}

impl SecretFilter {
    pub(super) fn of(secrets: &Secrets) -> SecretFilter {
        let one = |secret: &[u8]| OneSecret {
            finder: Finder::new(secret).into_owned(),
            held: Vec::new(),
        };
        let secrets = secrets
            .0
            .iter()
            .map(|secret| secret.expose_secret().as_bytes());
        SecretFilter(
            secrets
                .filter(|secret| !secret.is_empty())
                .map(one)
                .collect(),
        )
    }

    /// What can be passed on of what has come so far.
    pub(super) fn pass(&mut self, piece: Bytes) -> Bytes {
        self.0
            .iter_mut()
            .fold(piece, |piece, secret| secret.pass(piece))
    }

    /// What was held back, at the end of the body.
    pub(super) fn rest(&mut self) -> Bytes {
        self.0.iter_mut().fold(Bytes::new(), |rest, secret| {
            let mut rest = secret.pass(rest).to_vec();
            rest.append(&mut secret.held);
            rest.into()
        })
    }
}

impl OneSecret {
    fn pass(&mut self, piece: Bytes) -> Bytes {
        let joined = if self.held.is_empty() {
            piece
        } else {
            let mut joined = std::mem::take(&mut self.held);
            joined.extend_from_slice(&piece);
            joined.into()
        };
        let secret = self.finder.needle();
        let mut matches = self.finder.find_iter(&joined);
        let Some(first) = matches.next() else {
            let kept = joined.len() - begun(&joined, secret);
            self.held.extend_from_slice(&joined[kept..]);
            return joined.slice(..kept);
        };
        let mut cleaned = Vec::with_capacity(joined.len());
        let mut copied = 0;
        for at in std::iter::once(first).chain(matches) {
            cleaned.extend_from_slice(&joined[copied..at]);
            cleaned.extend_from_slice(REDACTED.as_bytes());
            copied = at + secret.len();
        }
        let left = &joined[copied..];
        let kept = left.len() - begun(left, secret);
        cleaned.extend_from_slice(&left[..kept]);
        self.held.extend_from_slice(&left[kept..]);
        cleaned.into()
    }
}

/// How many bytes at the end of a body are the beginning of a secret.
fn begun(body: &[u8], secret: &[u8]) -> usize {
    let most = body.len().min(secret.len() - 1);
    (1..=most)
        .rev()
        .find(|&n| body[body.len() - n..] == secret[..n])
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(body: &str, piece: usize, secrets: &[&str]) -> String {
        let secrets = Secrets(
            secrets
                .iter()
                .map(|secret| SecretString::from(*secret))
                .collect(),
        );
        let mut filter = SecretFilter::of(&secrets);
        let mut out: Vec<u8> = Vec::new();
        for piece in body.as_bytes().chunks(piece) {
            out.extend_from_slice(&filter.pass(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&filter.rest());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replaces_a_secret_wherever_the_pieces_end() {
        let body = "{\"error\":\"the key sk-ant-sk-ant-abc is wrong\"} sk-ant-ab \
            sk-ant-abcsk-ant-abc sk-ant-a";
        let expected = "{\"error\":\"the key sk-ant-[redacted] is wrong\"} sk-ant-ab \
            [redacted][redacted] sk-ant-a";
        for piece in 1..body.len() + 1 {
            assert_eq!(
                filtered(body, piece, &["sk-ant-abc"]),
                expected,
                "pieces of {piece}"
            );
            assert_eq!(filtered(body, piece, &["no-such-secret"]), body);
            assert_eq!(filtered(body, piece, &[]), body);
        }
    }

    #[test]
    fn replaces_each_of_several_secrets() {
        for piece in 1..30 {
            let cleaned = filtered(
                "a first-secret, other-secret; first-secre",
                piece,
                &["first-secret", "other-secret"],
            );
            assert_eq!(cleaned, "a [redacted], [redacted]; first-secre");
        }
    }

    #[test]
    fn makes_one_line_of_any_text() {
        assert_eq!(one_line(" a\r\n\u{1b}[31mb\u{2028}c "), "a [31mb c");
        let long = one_line(&"ü".repeat(5000));
        assert_eq!(long.chars().count(), 301);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn redacts_before_it_cuts() {
        let secrets = Secrets(vec![SecretString::from("sk-ant-0123456789")]);
        let text = format!("{} sk-ant-0123456789 is wrong", "x".repeat(290));
        let clean = secrets.clean(&text);
        assert!(!clean.contains("sk-a"), "{clean}");
    }
}
