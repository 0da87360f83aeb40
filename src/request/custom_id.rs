//! Row key → custom_id: which row a result belongs to, and which run a batch belongs to.
//!
//! ```text
//!   k3v9x0aa-T-0042                              nonce of the run, readable key
//!   k3v9x0aa-9f86d081884c7d659a2feaa0c55ad015    nonce of the run, 128 bits of BLAKE3 of the typed key
//! ```
//!
//! The API takes 1 to 64 of `[a-zA-Z0-9_-]`. A key that fits is readable; any other is hashed. A
//! key that itself looks like a hash (32 hexadecimal digits in lower case) is hashed too, so that
//! no key can pass for the hash of another one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest custom_id. **Source**: batch API reference, read 2026-08-22: `^[a-zA-Z0-9_-]{1,64}$`.
pub const MAX_LEN: usize = 64;

const NONCE_LEN: usize = 8;
const NONCE_ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The mark of a run, 6 to 8 of `[a-z0-9]`: every custom_id of the run begins with it, so a batch
/// found at the provider can be proven to be the run's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce(String);

impl Nonce {
    /// Makes a nonce of 8 characters from a random number.
    #[must_use]
    pub fn new(random: u64) -> Nonce {
        let mut rest = random;
        let mut text = String::with_capacity(NONCE_LEN);
        for _ in 0..NONCE_LEN {
            text.push(char::from(NONCE_ALPHABET[(rest % 36) as usize]));
            rest /= 36;
        }
        Nonce(text)
    }

    /// The nonce as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> String {
        nonce.0
    }
}

impl TryFrom<String> for Nonce {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Nonce, NotAnId> {
        let fits = (6..=NONCE_LEN).contains(&text.len())
            && text.bytes().all(|b| NONCE_ALPHABET.contains(&b));
        if fits {
            Ok(Nonce(text))
        } else {
            Err(NotAnId {
                what: "a run's nonce",
            })
        }
    }
}

/// Text that is not the id it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is not {what}")]
pub struct NotAnId {
    what: &'static str,
}

/// The part of a custom_id that stands for the row's key: the same in every run of a job.
///
/// ```
/// use rowmill::request::custom_id::key_part;
///
/// assert_eq!(key_part("k3v9x0aa-T-0042"), "T-0042");
/// ```
#[must_use]
pub fn key_part(custom_id: &str) -> &str {
    custom_id.split_once('-').map_or(custom_id, |(_, key)| key)
}

/// The id of a request within its batch, unique over the whole run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CustomId(String);

impl CustomId {
    /// The id of a key that reads as `readable`, if it can be read as it is; else that of its hash.
    pub(crate) fn of_key(nonce: &Nonce, readable: Option<&str>, hash: u128) -> CustomId {
        match readable {
            Some(key) if fits(nonce, key) => CustomId(format!("{nonce}-{key}")),
            _ => CustomId::of_hash(nonce, hash),
        }
    }

    /// The id of a hash.
    pub(crate) fn of_hash(nonce: &Nonce, hash: u128) -> CustomId {
        CustomId(format!("{nonce}-{hash:032x}"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an id that came back from the provider is of the run with this nonce.
    #[must_use]
    pub fn is_of(text: &str, nonce: &Nonce) -> bool {
        text.strip_prefix(nonce.as_str())
            .is_some_and(|rest| rest.starts_with('-'))
    }
}

impl fmt::Display for CustomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<CustomId> for String {
    fn from(id: CustomId) -> String {
        id.0
    }
}

impl TryFrom<String> for CustomId {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<CustomId, NotAnId> {
        let fits = (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(in_alphabet);
        if fits {
            Ok(CustomId(text))
        } else {
            Err(NotAnId {
                what: "a custom_id: 1 to 64 of `[a-zA-Z0-9_-]`",
            })
        }
    }
}

/// Whether the API takes a character in a custom_id.
pub(crate) fn in_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn fits(nonce: &Nonce, key: &str) -> bool {
    !key.is_empty()
        && nonce.0.len() + 1 + key.len() <= MAX_LEN
        && key.bytes().all(in_alphabet)
        && !looks_like_a_hash(key)
}

fn looks_like_a_hash(key: &str) -> bool {
    key.len() == 32
        && key
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_nonces_of_eight_letters_and_digits() {
        for random in [0, 1, 35, 36, u64::MAX] {
            let nonce = Nonce::new(random);
            assert_eq!(nonce.as_str().len(), 8);
            assert_eq!(Nonce::try_from(nonce.to_string()), Ok(nonce));
        }
        assert_ne!(Nonce::new(1), Nonce::new(2));
        for wrong in ["", "abc", "abcdefghi", "abcdeF", "abc-def"] {
            assert!(Nonce::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keeps_keys_readable_where_they_fit() {
        let nonce = Nonce::new(0);
        let longest = "x".repeat(55);
        for (key, readable) in [
            ("T-0042", true),
            ("007", true),
            (longest.as_str(), true),
            ("x".repeat(56).as_str(), false),
            ("a b", false),
            ("ä", false),
            ("a.b", false),
            ("", false),
            ("0123456789abcdef0123456789abcdef", false),
            ("0123456789ABCDEF0123456789ABCDEF", true),
        ] {
            let id = CustomId::of_key(&nonce, Some(key), 7);
            assert_eq!(id.as_str() == format!("00000000-{key}"), readable, "{key}");
            assert_eq!(CustomId::try_from(id.to_string()), Ok(id.clone()), "{key}");
            assert!(CustomId::is_of(id.as_str(), &nonce));
        }
        assert!(!CustomId::is_of("00000000", &nonce));
        assert!(!CustomId::is_of("000000001-x", &nonce));
    }
}
