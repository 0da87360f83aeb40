//! What a provider's wire format says about the body of a create call.
//!
//! A body is `prefix`, the requests with `separator` between them, `suffix`; a request is
//! `before_id`, its custom_id, `after_id`, the head that all requests share, its own fragment,
//! `after_params`. The parts are plain bytes, so the exact length of a body is known before any of
//! it is written.
//!
//! This room knows no provider: the values stand in `provider/<name>/`.

/// The fixed parts of a create body.
///
/// ```
/// use rowmill::batch::Envelope;
///
/// const LINES: Envelope = Envelope {
///     prefix: "",
///     before_id: r#"{"id":""#,
///     after_id: r#"","body":"#,
///     after_params: "}",
///     separator: "\n",
///     suffix: "\n",
/// };
/// let mut body = Vec::new();
/// LINES.push(0, "a", b"{\"n\":", b"1}", &mut body);
/// LINES.push(1, "b", b"{\"n\":", b"2}", &mut body);
/// LINES.close(2, &mut body);
/// assert_eq!(body, b"{\"id\":\"a\",\"body\":{\"n\":1}}\n{\"id\":\"b\",\"body\":{\"n\":2}}\n");
/// assert_eq!(body.len() as u64, LINES.body_bytes(2, b"{\"n\":".len(), 2 * "a".len() as u64 + 4));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// Before the first request.
    pub prefix: &'static str,
    /// Before a request's custom_id. Custom_ids need no escapes in any format.
    pub before_id: &'static str,
    /// Between a request's custom_id and its parameters.
    pub after_id: &'static str,
    /// After a request's parameters.
    pub after_params: &'static str,
    /// Between two requests.
    pub separator: &'static str,
    /// After the last request.
    pub suffix: &'static str,
}

impl Envelope {
    /// Bytes of a body without requests.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        (self.prefix.len() + self.suffix.len()) as u64
    }

    /// Bytes of a request besides its custom_id and its fragment, when all requests share a head of
    /// `head_bytes`. The separator is not part of a request.
    #[must_use]
    pub const fn request_bytes(&self, head_bytes: usize) -> u64 {
        (self.before_id.len() + self.after_id.len() + head_bytes + self.after_params.len()) as u64
    }

    /// Exact bytes of a body with `requests` requests whose custom_ids and fragments have
    /// `own_bytes` in all.
    #[must_use]
    pub const fn body_bytes(&self, requests: u32, head_bytes: usize, own_bytes: u64) -> u64 {
        let requests = requests as u64;
        let separators = requests.saturating_sub(1) * self.separator.len() as u64;
        self.bytes() + requests * self.request_bytes(head_bytes) + separators + own_bytes
    }

    /// Writes the request with the number `index`, from 0, and what stands before it.
    pub fn push(
        &self,
        index: u32,
        custom_id: &str,
        head: &[u8],
        fragment: &[u8],
        out: &mut Vec<u8>,
    ) {
        let before = if index == 0 {
            self.prefix
        } else {
            self.separator
        };
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(self.before_id.as_bytes());
        out.extend_from_slice(custom_id.as_bytes());
        out.extend_from_slice(self.after_id.as_bytes());
        out.extend_from_slice(head);
        out.extend_from_slice(fragment);
        out.extend_from_slice(self.after_params.as_bytes());
    }

    /// Writes the end of a body with `requests` requests.
    pub fn close(&self, requests: u32, out: &mut Vec<u8>) {
        if requests == 0 {
            out.extend_from_slice(self.prefix.as_bytes());
        }
        out.extend_from_slice(self.suffix.as_bytes());
    }
}

/// What a provider demands of a batch besides its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRules {
    /// Fewest requests in one batch; a smaller one is refused by the provider.
    pub min_requests: u32,
    /// Whether all requests of a batch must name the same model.
    pub one_model: bool,
}

impl Default for BatchRules {
    /// No rules: one request is enough, and each may name its own model.
    fn default() -> BatchRules {
        BatchRules {
            min_requests: 1,
            one_model: false,
        }
    }
}

impl BatchRules {
    /// The first batch, from 1, that has requests but too few of them, and how many it has.
    pub fn too_small(&self, sizes: impl IntoIterator<Item = u32>) -> Option<(u32, u32)> {
        (1..)
            .zip(sizes)
            .find(|&(_, requests)| requests > 0 && requests < self.min_requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_batch_below_the_minimum_and_passes_over_empty_ones() {
        let rules = BatchRules {
            min_requests: 3,
            one_model: false,
        };
        assert_eq!(rules.too_small([3, 0, 2, 1]), Some((3, 2)));
        assert_eq!(rules.too_small([3, 0, 4]), None);
        assert_eq!(BatchRules::default().too_small([1, 0]), None);
    }
}
