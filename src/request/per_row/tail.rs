//! The end of a fragment, where the model and the limit of a row are found again.

use crate::request::encode;

pub(super) const MODEL: &[u8] = b",\"model\":";

pub(super) const MAX_TOKENS: &[u8] = b",\"max_tokens\":";

/// The end of a fragment whose row chose by itself.
///
/// Read backwards: from the front, text of the row could look like a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentTail<'f> {
    /// The fragment up to here.
    before: &'f [u8],
    /// The row's model, where rows choose it.
    pub model: Option<&'f str>,
    /// The row's limit, where rows choose it.
    pub max_tokens: Option<u32>,
}

impl<'f> FragmentTail<'f> {
    /// Reads the end of a fragment of a job whose rows choose model or limit (or neither).
    #[must_use]
    pub fn of(
        fragment: &'f [u8],
        has_model: bool,
        has_max_tokens: bool,
    ) -> Option<FragmentTail<'f>> {
        let mut before = fragment.strip_suffix(b"}")?;
        let mut max_tokens = None;
        if has_max_tokens {
            let digits = before
                .iter()
                .rev()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            let (rest, number) = before.split_at(before.len() - digits);
            before = rest.strip_suffix(MAX_TOKENS)?;
            max_tokens = Some(std::str::from_utf8(number).ok()?.parse().ok()?);
        }
        let mut model = None;
        if has_model {
            let closed = before.strip_suffix(b"\"")?;
            let open = memchr::memrchr(b'"', closed)?;
            before = closed[..open].strip_suffix(MODEL)?;
            model = Some(std::str::from_utf8(&closed[open + 1..]).ok()?);
        }
        Some(FragmentTail {
            before,
            model,
            max_tokens,
        })
    }

    /// The same fragment with another limit.
    #[must_use]
    pub fn with_max_tokens(&self, max_tokens: u32) -> Vec<u8> {
        let mut out = self.before.to_vec();
        if let Some(model) = self.model {
            out.extend_from_slice(MODEL);
            encode::text(&mut out, model);
        }
        out.extend_from_slice(MAX_TOKENS);
        out.extend_from_slice(max_tokens.to_string().as_bytes());
        out.push(b'}');
        out
    }
}
