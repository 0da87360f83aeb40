//! Where a batch ends: in row order, up to the limits, with sizes that differ.
//!
//! The number of requests is the only property that a provider shows of a batch whose id was lost,
//! so the batches of a run get pairwise different sizes as far as possible. In the last tenth of a
//! batch (of its requests or of its bytes) the packer ends the batch at a size that was used less
//! often than the next larger one:
//!
//! ```text
//! at most 10,000 requests:   10,000   9,999   9,998   ...   9,001   10,000   9,999   ...
//! ```
//!
//! The first batches of a run may have exact sizes ([`Packer::with_first_sizes`]); the others avoid
//! these sizes too.
//!
//! The same rule applies to batches that end at the byte limit. The last batch of a run holds the
//! remaining requests; where these are much fewer than in the batches before it, the last few
//! batches are split again, near-equally ([`Packer::rebalanced`]).

use std::collections::{HashMap, VecDeque};

use super::batch_sizes::near_equal;
use super::{Envelope, Limits};

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Into the open batch.
    Here,
    /// Into a new batch, as its first request; the batch before is closed.
    Next,
    /// Nowhere: the request alone exceeds the byte limit. The open batch is unchanged.
    TooLarge,
}

/// Assigns requests to batches, one after the other.
///
/// ```
/// use rowmill::batch::{Limits, Packer, Placement};
/// use rowmill::provider::anthropic::ENVELOPE;
///
/// let limits = Limits { max_requests: 2, max_bytes: 1_000 };
/// let mut packer = Packer::for_head(limits, &ENVELOPE, 40);
/// assert_eq!(packer.offer(120), Placement::Here);
/// assert_eq!(packer.offer(120), Placement::Here);
/// assert_eq!(packer.offer(120), Placement::Next);
/// assert_eq!(packer.offer(2_000), Placement::TooLarge);
/// assert_eq!(packer.requests(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct Packer {
    limits: Limits,
    envelope_bytes: u64,
    per_request_overhead: u64,
    separator_bytes: u64,
    requests: u32,
    bytes: u64,
    /// The number of closed batches by their number of requests.
    batches_by_size: HashMap<u32, u32>,
    /// The exact sizes of the open batch and of the batches after it, where they are set.
    first_sizes: VecDeque<u32>,
}

impl Packer {
    /// A packer whose first batch is open and empty.
    ///
    /// **Units**: `envelope_bytes` are the bytes of a body without requests,
    /// `per_request_overhead` the bytes of a request in addition to those offered; a
    /// separator of one byte between two requests is counted by the packer.
    #[must_use]
    pub fn new(limits: Limits, envelope_bytes: u64, per_request_overhead: u64) -> Packer {
        Packer {
            limits,
            envelope_bytes,
            per_request_overhead,
            separator_bytes: 1,
            requests: 0,
            bytes: envelope_bytes,
            batches_by_size: HashMap::new(),
            first_sizes: VecDeque::new(),
        }
    }

    /// A packer for bodies whose requests share a head of `head_bytes`; the bytes of custom_id and
    /// fragment are offered.
    #[must_use]
    pub fn for_head(limits: Limits, envelope: &Envelope, head_bytes: usize) -> Packer {
        Packer {
            separator_bytes: envelope.separator.len() as u64,
            ..Packer::new(limits, envelope.bytes(), envelope.request_bytes(head_bytes))
        }
    }

    /// Also avoids the sizes of existing batches, for example those of the run when some of its
    /// rows are sent again.
    #[must_use]
    pub fn avoiding(mut self, sizes: impl IntoIterator<Item = u32>) -> Packer {
        for size in sizes {
            self.count(size);
        }
        self
    }

    /// Gives the first batches these sizes, as far as the limits and the number of requests allow.
    #[must_use]
    pub fn with_first_sizes(mut self, sizes: impl IntoIterator<Item = u32>) -> Packer {
        self.first_sizes.extend(sizes);
        self
    }

    /// Places the next request, of `request_bytes` in addition to the overhead.
    pub fn offer(&mut self, request_bytes: u64) -> Placement {
        let total_bytes = self.per_request_overhead.saturating_add(request_bytes);
        if self.envelope_bytes.saturating_add(total_bytes) > self.limits.max_bytes {
            return Placement::TooLarge;
        }
        let placement = if self.is_closed_to(total_bytes) {
            self.open_next()
        } else {
            Placement::Here
        };
        self.bytes += total_bytes + u64::from(self.requests > 0) * self.separator_bytes;
        self.requests += 1;
        placement
    }

    /// Requests in the open batch.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Bytes of the open batch's body so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the body of a batch with `requests` requests, for which `offered` bytes were
    /// offered in total.
    #[must_use]
    pub fn body_bytes(&self, requests: u32, offered: u64) -> u64 {
        let requests = u64::from(requests);
        self.envelope_bytes
            + offered
            + requests * self.per_request_overhead
            + requests.saturating_sub(1) * self.separator_bytes
    }

    /// Better sizes for the last batches of a run, including the open one, where the open one has
    /// much fewer requests than one before it: near-equal, each within the limits, and as different
    /// from all other sizes as that allows.
    ///
    /// `sizes` are the present sizes of these batches, `bytes` the bytes that were offered for each
    /// of their requests. `None` where the sizes need no change.
    #[must_use]
    pub fn rebalanced(&self, sizes: &[u32], bytes: &[u64]) -> Option<Vec<u32>> {
        let (last, before) = sizes.split_last()?;
        let largest = before.iter().max()?;
        if u64::from(*last) * 10 >= u64::from(*largest) * 9 {
            return None;
        }
        // The closed ones among these batches are counted as used too, but give up their sizes.
        let own = |size: u32| {
            u32::try_from(before.iter().filter(|own| **own == size).count()).unwrap_or(u32::MAX)
        };
        let is_used = |size: u32| self.times_used(size) > own(size);
        let fits = |requests: &[u64]| {
            let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
            self.body_bytes(count, requests.iter().sum()) <= self.limits.max_bytes
        };
        let parts = u32::try_from(sizes.len()).ok()?;
        let equal = near_equal(sizes.iter().sum(), parts, self.limits.max_requests, is_used);
        let mut left = bytes;
        let all_fit = equal.iter().all(|size| {
            let (batch, rest) = left.split_at(*size as usize);
            left = rest;
            fits(batch)
        });
        if all_fit {
            return Some(equal).filter(|equal| equal != sizes);
        }
        // The byte limit decides: only the last two batches share their requests, as evenly as the
        // second of them has room for.
        let (first, rest) = (*before.last()?, before.split_last()?.1);
        let both = &bytes[bytes.len() - (first + last) as usize..];
        let could = |cut: &u32| fits(&both[*cut as usize..]);
        let differs = |cut: &u32| {
            *cut != both.len() as u32 - cut && !is_used(*cut) && !is_used(both.len() as u32 - cut)
        };
        let cuts = || ((first + last).div_ceil(2)..first).filter(could);
        let cut = cuts().take(64).find(differs).or_else(|| cuts().next())?;
        Some(
            rest.iter()
                .copied()
                .chain([cut, first + last - cut])
                .collect(),
        )
    }

    fn is_closed_to(&self, total_bytes: u64) -> bool {
        if self.requests == 0 {
            return false;
        }
        let most_requests = self
            .first_sizes
            .front()
            .map_or(self.limits.max_requests, |&size| {
                size.min(self.limits.max_requests)
            });
        let is_full = self.requests >= most_requests
            || self
                .bytes
                .saturating_add(total_bytes + self.separator_bytes)
                > self.limits.max_bytes;
        is_full
            || (self.first_sizes.is_empty()
                && self.is_near_its_end()
                && self.times_used(self.requests) < self.times_used(self.requests + 1))
    }

    fn is_near_its_end(&self) -> bool {
        let Limits {
            max_requests,
            max_bytes,
        } = self.limits;
        self.requests > max_requests - max_requests.div_ceil(10)
            || self.bytes > max_bytes - max_bytes / 10
    }

    fn open_next(&mut self) -> Placement {
        self.count(self.requests);
        self.first_sizes.pop_front();
        self.requests = 0;
        self.bytes = self.envelope_bytes;
        Placement::Next
    }

    fn count(&mut self, size: u32) {
        *self.batches_by_size.entry(size).or_default() += 1;
    }

    fn times_used(&self, size: u32) -> u32 {
        self.batches_by_size.get(&size).copied().unwrap_or(0)
    }
}
