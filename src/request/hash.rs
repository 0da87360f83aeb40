//! The hash of a request, over the exact bytes of its `params`.

use std::fmt;

/// 128 bits of BLAKE3 over the exact bytes of a request's `params`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestHash(pub u128);

impl RequestHash {
    /// The hash of a request that consists of a head and a fragment.
    #[must_use]
    pub fn of(head: &[u8], fragment: &[u8]) -> RequestHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(head);
        hasher.update(fragment);
        RequestHash::finish(&hasher)
    }

    pub(super) fn finish(hasher: &blake3::Hasher) -> RequestHash {
        let hash = hasher.finalize();
        let (first, _) = hash.as_bytes().split_at(16);
        RequestHash(
            first
                .iter()
                .fold(0, |sum, &byte| sum << 8 | u128::from(byte)),
        )
    }
}

impl fmt::Display for RequestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
