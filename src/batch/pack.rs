//! Where a batch ends: in row order, up to the limits, with sizes that differ.
//!
//! The number of requests is the one thing a provider shows of a batch whose id was lost, so the
//! batches of a run are given pairwise different numbers as far as that goes. In the last tenth of
//! a batch (of its requests or of its bytes) the packer stops at a number that was used less often
//! than the next one:
//!
//! ```text
//! at most 10,000 requests:   10,000   9,999   9,998   ...   9,001   10,000   9,999   ...
//! ```
//!
//! A run may be led by batches of exact sizes ([`Packer::led_by`]); the others keep clear of these
//! sizes too.
//!
//! The same rule serves batches that are cut by bytes. The last batch of a run has what is left;
//! where that is much less than what those before it have, the last few are cut again, near-equal
//! ([`Packer::rebalanced`]).

use std::collections::{HashMap, VecDeque};

use super::{Envelope, Limits};

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Into the open batch.
    Here,
    /// Into a new batch, of which it is the first; the one before is closed.
    Next,
    /// Nowhere: alone it is larger than a batch may be. The open batch stays as it was.
    TooLarge,
}

/// Deals requests to batches, one after the other.
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
    /// How many closed batches have this many requests.
    sizes: HashMap<u32, u32>,
    /// The sizes of the open batch and of those after it, where they are set.
    leading: VecDeque<u32>,
}

impl Packer {
    /// A packer whose first batch is open and empty.
    ///
    /// **Units**: `envelope_bytes` is what a body without requests takes, `per_request_overhead`
    /// what a request takes besides the bytes offered; a separator of one byte between two requests
    /// is counted here.
    #[must_use]
    pub fn new(limits: Limits, envelope_bytes: u64, per_request_overhead: u64) -> Packer {
        Packer {
            limits,
            envelope_bytes,
            per_request_overhead,
            separator_bytes: 1,
            requests: 0,
            bytes: envelope_bytes,
            sizes: HashMap::new(),
            leading: VecDeque::new(),
        }
    }

    /// A packer for bodies whose requests share a head of `head_bytes`; offered are the bytes of
    /// custom_id and fragment.
    #[must_use]
    pub fn for_head(limits: Limits, envelope: &Envelope, head_bytes: usize) -> Packer {
        Packer {
            separator_bytes: envelope.separator.len() as u64,
            ..Packer::new(limits, envelope.bytes(), envelope.request_bytes(head_bytes))
        }
    }

    /// Also keeps clear of the sizes of batches made earlier, for instance those of the run when
    /// some rows are sent again.
    #[must_use]
    pub fn avoiding(mut self, sizes: impl IntoIterator<Item = u32>) -> Packer {
        for size in sizes {
            self.count(size);
        }
        self
    }

    /// Gives the first batches these sizes, as far as they have room and there are requests.
    #[must_use]
    pub fn led_by(mut self, sizes: impl IntoIterator<Item = u32>) -> Packer {
        self.leading.extend(sizes);
        self
    }

    /// Places the next request, of `request_bytes` besides the overhead.
    pub fn offer(&mut self, request_bytes: u64) -> Placement {
        let item = self.per_request_overhead.saturating_add(request_bytes);
        if self.envelope_bytes.saturating_add(item) > self.limits.max_bytes {
            return Placement::TooLarge;
        }
        let placement = if self.is_closed_to(item) {
            self.open_next()
        } else {
            Placement::Here
        };
        self.bytes += item + u64::from(self.requests > 0) * self.separator_bytes;
        self.requests += 1;
        placement
    }

    /// Requests in the open batch.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Bytes of the open batch's body as it stands.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the body of a batch with `requests` requests, for which `offered` bytes were
    /// offered in all.
    #[must_use]
    pub fn body_bytes(&self, requests: u32, offered: u64) -> u64 {
        let requests = u64::from(requests);
        self.envelope_bytes
            + offered
            + requests * self.per_request_overhead
            + requests.saturating_sub(1) * self.separator_bytes
    }

    /// Other sizes for the last batches of a run, the open one among them, where that has much
    /// fewer requests than one before it: near-equal, each within the limits and as different from
    /// all others as that allows. `bytes` are those that were offered for each of their requests.
    /// `None` where they stay as they are.
    #[must_use]
    pub fn rebalanced(&self, sizes: &[u32], bytes: &[u64]) -> Option<Vec<u32>> {
        let (last, before) = sizes.split_last()?;
        let largest = before.iter().max()?;
        if u64::from(*last) * 10 >= u64::from(*largest) * 9 {
            return None;
        }
        let own = |size: u32| {
            u32::try_from(before.iter().filter(|own| **own == size).count()).unwrap_or(u32::MAX)
        };
        let is_taken = |size: u32| self.times_used(size) > own(size);
        let fits = |requests: &[u64]| {
            let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
            self.body_bytes(count, requests.iter().sum()) <= self.limits.max_bytes
        };
        let parts = u32::try_from(sizes.len()).ok()?;
        let equal = near_equal(
            sizes.iter().sum(),
            parts,
            self.limits.max_requests,
            is_taken,
        );
        let mut left = bytes;
        let all_fit = equal.iter().all(|size| {
            let (batch, rest) = left.split_at(*size as usize);
            left = rest;
            fits(batch)
        });
        if all_fit {
            return Some(equal).filter(|equal| equal != sizes);
        }
        // Cut by bytes: the last two share what they have, as evenly as the second of them can
        // hold.
        let (first, rest) = (*before.last()?, before.split_last()?.1);
        let both = &bytes[bytes.len() - (first + last) as usize..];
        let could = |cut: &u32| fits(&both[*cut as usize..]);
        let differs = |cut: &u32| {
            *cut != both.len() as u32 - cut && !is_taken(*cut) && !is_taken(both.len() as u32 - cut)
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

    fn is_closed_to(&self, item: u64) -> bool {
        if self.requests == 0 {
            return false;
        }
        let most = self
            .leading
            .front()
            .map_or(self.limits.max_requests, |&size| {
                size.min(self.limits.max_requests)
            });
        let item = item + self.separator_bytes;
        let is_full =
            self.requests >= most || self.bytes.saturating_add(item) > self.limits.max_bytes;
        is_full
            || (self.leading.is_empty()
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
        self.leading.pop_front();
        self.requests = 0;
        self.bytes = self.envelope_bytes;
        Placement::Next
    }

    fn count(&mut self, size: u32) {
        *self.sizes.entry(size).or_default() += 1;
    }

    fn times_used(&self, size: u32) -> u32 {
        self.sizes.get(&size).copied().unwrap_or(0)
    }
}

/// The most batches whose sizes are worked out beforehand.
const MOST_EVEN: u64 = 10_000;

impl Limits {
    /// The same, with the fewest requests in a batch that `rows` rows need without one batch more:
    /// where it is known beforehand how many rows there are, all batches are near-equal, and none
    /// has to be cut again. As it is where the sizes could not all differ.
    #[must_use]
    pub fn for_rows(self, rows: u64) -> Limits {
        let most = u64::from(self.max_requests);
        if rows <= most || rows / most.max(1) >= MOST_EVEN {
            return self;
        }
        // How many requests the packer puts into that number of batches: sizes fall by one through
        // the last tenth, and begin again.
        let holds = |batches: u64, most: u64| {
            (0..batches)
                .map(|batch| most - batch % most.div_ceil(10))
                .sum::<u64>()
        };
        let fewest = (rows / most..)
            .find(|&batches| holds(batches, most) >= rows)
            .unwrap_or(1);
        let (mut least, mut enough) = (1, most);
        while least < enough {
            let middle = least + (enough - least) / 2;
            if holds(fewest, middle) >= rows {
                enough = middle
            } else {
                least = middle + 1
            }
        }
        // Batches so small that their sizes would repeat are cut as they come: the last ones are
        // made different afterwards.
        if enough.div_ceil(10) < fewest {
            return self;
        }
        Limits {
            max_requests: u32::try_from(enough).unwrap_or(self.max_requests),
            ..self
        }
    }
}

/// Cuts `requests` requests into `parts` batches of about the same size, each at least 1 and at
/// most `most`, and as different from each other and from what is `taken` as that allows: sizes
/// fall by one, and begin where the last one is free too.
///
/// # Panics
/// When they do not fit: `parts` is 0 or more than the requests, or `parts · most` is less than
/// them.
#[must_use]
pub fn near_equal(requests: u32, parts: u32, most: u32, taken: impl Fn(u32) -> bool) -> Vec<u32> {
    assert!(
        parts > 0 && parts <= requests && u64::from(parts) * u64::from(most) >= u64::from(requests),
        "they do not fit"
    );
    let falling = |spread: u32| -> Option<Vec<u32>> {
        let (mut left, mut sizes, mut above) = (requests, Vec::new(), most.saturating_add(1));
        for behind in (0..parts).rev() {
            // The middle of what is left, more by half the fall of those behind; none so small that
            // the rest does not fit.
            let (all, of) = (u64::from(left), u64::from(behind) + 1);
            let ideal = (2 * all + u64::from(spread) * u64::from(behind) * of).div_ceil(2 * of);
            let ideal = u32::try_from(ideal).unwrap_or(u32::MAX);
            let least = left.saturating_sub(behind.saturating_mul(most)).max(1);
            let largest = ideal.min(above - 1).min(left - behind);
            let size = if behind == 0 {
                left
            } else {
                (least..=largest).rev().find(|size| !taken(*size))?
            };
            if size >= above || size < least || (behind == 0 && taken(size)) {
                return None;
            }
            (left, above) = (left - size, size);
            sizes.push(size);
        }
        Some(sizes)
    };
    let plain = || {
        (0..parts)
            .map(|part| requests / parts + u32::from(part < requests % parts))
            .collect()
    };
    (1..=8).find_map(falling).unwrap_or_else(plain)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::provider::anthropic::ENVELOPE;

    const ENVELOPE_BYTES: u64 = 15;
    const OVERHEAD: u64 = 27;

    /// The sizes of requests, dealt to batches; too large ones are left out.
    fn deal(limits: Limits, requests: impl IntoIterator<Item = u64>) -> Vec<Vec<u64>> {
        let mut packer = Packer::new(limits, ENVELOPE_BYTES, OVERHEAD);
        let mut batches = vec![Vec::new()];
        for bytes in requests {
            match packer.offer(bytes) {
                Placement::Here => {}
                Placement::Next => batches.push(Vec::new()),
                Placement::TooLarge => continue,
            }
            batches.last_mut().unwrap().push(bytes);
        }
        let open = batches.last().unwrap();
        assert_eq!(
            (packer.requests() as usize, packer.bytes()),
            (open.len(), body_bytes(open))
        );
        batches
    }

    fn body_bytes(batch: &[u64]) -> u64 {
        let commas = (batch.len() as u64).saturating_sub(1);
        ENVELOPE_BYTES + commas + batch.iter().map(|bytes| bytes + OVERHEAD).sum::<u64>()
    }

    fn sizes(batches: &[Vec<u64>]) -> Vec<usize> {
        batches.iter().map(Vec::len).collect()
    }

    #[test]
    fn gives_each_batch_cut_by_count_another_size() {
        let limits = Limits {
            max_requests: 10_000,
            max_bytes: u64::MAX,
        };
        let batches = deal(limits, std::iter::repeat_n(1, 10_000 * 1_000));
        assert_eq!(sizes(&batches)[..3], [10_000, 9_999, 9_998]);
        assert_eq!(
            sizes(&batches[..1_000])
                .into_iter()
                .collect::<HashSet<_>>()
                .len(),
            1_000
        );
        assert_eq!(batches[999].len(), 9_001);
        assert_eq!(sizes(&batches[1_000..1_003]), [10_000, 9_999, 9_998]);
    }

    #[test]
    fn gives_each_batch_cut_by_bytes_another_size() {
        let limits = Limits {
            max_requests: 100_000,
            max_bytes: 100_000,
        };
        let batches = deal(limits, std::iter::repeat_n(100, 20_000));
        assert_eq!(sizes(&batches)[..3], [781, 780, 779]);
        assert_eq!(
            sizes(&batches[..25])
                .into_iter()
                .collect::<HashSet<_>>()
                .len(),
            25
        );
    }

    #[test]
    fn cuts_small_batches_as_different_as_a_tenth_allows() {
        for (max_requests, expected) in [
            (1, [1, 1, 1]),
            (2, [2, 2, 2]),
            (10, [10, 10, 10]),
            (20, [20, 19, 20]),
            (30, [30, 29, 28]),
        ] {
            let limits = Limits {
                max_requests,
                max_bytes: u64::MAX,
            };
            assert_eq!(
                sizes(&deal(limits, std::iter::repeat_n(1, 200)))[..3],
                expected,
                "at most {max_requests}"
            );
        }
    }

    #[test]
    fn keeps_clear_of_sizes_used_before() {
        let mut packer = Packer::new(
            Limits {
                max_requests: 30,
                max_bytes: u64::MAX,
            },
            ENVELOPE_BYTES,
            OVERHEAD,
        )
        .avoiding([30, 29]);
        let first_cut = (0..40).find(|_| packer.offer(1) == Placement::Next);
        assert_eq!(first_cut, Some(28));
    }

    #[test]
    fn lets_batches_of_exact_sizes_lead() {
        let limits = Limits {
            max_requests: 30,
            max_bytes: u64::MAX,
        };
        let mut packer = Packer::new(limits, ENVELOPE_BYTES, OVERHEAD).led_by([1, 29]);
        let cuts: Vec<usize> = (0..100)
            .filter(|_| packer.offer(1) == Placement::Next)
            .collect();
        assert_eq!(
            cuts,
            [1, 30, 58, 88],
            "1, 29, 28 and 30: the size 29 is taken"
        );
        let small = Limits {
            max_requests: 10,
            max_bytes: 100,
        };
        let mut packer = Packer::new(small, ENVELOPE_BYTES, OVERHEAD).led_by([3]);
        let cuts: Vec<usize> = (0..6)
            .filter(|_| packer.offer(10) == Placement::Next)
            .collect();
        assert_eq!(cuts, [2, 4], "no batch passes the limits");
    }

    #[test]
    fn leaves_the_open_batch_alone_when_a_request_fits_nowhere() {
        let mut packer = Packer::new(
            Limits {
                max_requests: 9,
                max_bytes: 100,
            },
            ENVELOPE_BYTES,
            OVERHEAD,
        );
        assert_eq!(packer.offer(58), Placement::Here);
        assert_eq!(packer.bytes(), 100);
        assert_eq!(packer.offer(59), Placement::TooLarge);
        assert_eq!(packer.offer(u64::MAX), Placement::TooLarge);
        assert_eq!((packer.requests(), packer.bytes()), (1, 100));
        assert_eq!(packer.offer(1), Placement::Next);
    }

    #[test]
    fn batches_of_a_known_number_of_rows_are_near_equal_from_the_first_on() {
        for (rows, max_requests, sizes) in [
            (20_000, 10_000, vec![6_668, 6_667, 6_665]),
            (10_000, 10_000, vec![10_000]),
            (15_000, 10_000, vec![7_501, 7_499]),
            (8, 7, vec![7, 1]),
            (0, 7, vec![]),
        ] {
            let limits = Limits {
                max_requests,
                max_bytes: u64::MAX,
            }
            .for_rows(rows);
            let mut packer = Packer::for_head(limits, &ENVELOPE, 10);
            let mut found = Vec::new();
            for _ in 0..rows {
                match packer.offer(1) {
                    Placement::Here if !found.is_empty() => *found.last_mut().unwrap() += 1,
                    _ => found.push(1),
                }
            }
            assert_eq!(found, sizes, "{rows} rows");
        }
    }

    #[test]
    fn cuts_into_near_equal_and_different_sizes() {
        let free = |_: u32| false;
        assert_eq!(near_equal(20_000, 3, 10_000, free), [6_668, 6_667, 6_665]);
        assert_eq!(near_equal(7, 2, 6, free), [4, 3]);
        assert_eq!(near_equal(8, 2, 7, free), [5, 3]);
        assert_eq!(near_equal(7, 2, 6, |size| size == 4), [5, 2]);
        assert_eq!(
            near_equal(10_000, 10, 1_000, free),
            [1_000; 10],
            "there is no room for a difference"
        );
        assert_eq!(near_equal(2, 2, 1, free), [1, 1]);
        assert_eq!(near_equal(1, 1, 1, free), [1]);
    }

    proptest! {
        #[test]
        fn a_known_number_of_rows_needs_no_more_batches_and_none_is_cut_again(rows in 1u64..30_000, max_requests in 50u32..3_000) {
            let whole = Limits { max_requests, max_bytes: u64::MAX };
            let deal = |limits: Limits| {
                let mut packer = Packer::for_head(limits, &ENVELOPE, 10);
                let mut sizes = vec![0_u32];
                for _ in 0..rows {
                    if packer.offer(1) == Placement::Next {
                        sizes.push(0);
                    }
                    *sizes.last_mut().unwrap() += 1;
                }
                (packer, sizes)
            };
            let even = whole.for_rows(rows);
            prop_assert!(even.max_requests <= max_requests);
            let ((_, before), (packer, sizes)) = (deal(whole), deal(even));
            prop_assert_eq!(sizes.len(), before.len());
            let tail = &sizes[sizes.len().saturating_sub(4)..];
            let bytes = vec![1; tail.iter().sum::<u32>() as usize];
            let is_few = sizes.len() < 20 && even.max_requests > 200;
            prop_assert!(!is_few || packer.rebalanced(tail, &bytes).is_none(), "{:?}", sizes);
        }

        #[test]
        fn near_equal_sizes_add_up_and_fit(requests in 1u32..5_000, parts in 1u32..40, room in 0u32..50, used in prop::collection::hash_set(1u32..3_000, 0..6)) {
            prop_assume!(parts <= requests);
            let most = requests.div_ceil(parts) + room;
            let sizes = near_equal(requests, parts, most, |size| used.contains(&size));
            prop_assert_eq!(sizes.iter().sum::<u32>(), requests);
            prop_assert_eq!(sizes.len(), parts as usize);
            prop_assert!(sizes.iter().all(|size| (1..=most).contains(size)));
            // With room for it, they differ.
            let is_roomy = room > 2 * parts + 8 && requests > 4 * parts * (parts + 8);
            let distinct = sizes.iter().collect::<HashSet<_>>().len() == sizes.len();
            prop_assert!(!is_roomy || !used.is_empty() || distinct, "{:?}", sizes);
            let (least, largest) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            prop_assert!(!is_roomy || !used.is_empty() || largest - least <= 2 * parts, "{:?}", sizes);
        }

        #[test]
        fn loses_nothing_and_stays_within_both_limits(
            max_requests in 1u32..50,
            max_bytes in 60u64..4_000,
            requests in prop::collection::vec(0u64..500, 0..400),
        ) {
            let batches = deal(Limits { max_requests, max_bytes }, requests.iter().copied());
            let fits = |bytes: &u64| ENVELOPE_BYTES + OVERHEAD + bytes <= max_bytes;
            prop_assert_eq!(batches.concat(), requests.into_iter().filter(fits).collect::<Vec<_>>());
            for batch in &batches {
                prop_assert!(batch.len() <= max_requests as usize);
                prop_assert!(batch.is_empty() || body_bytes(batch) <= max_bytes);
            }
            prop_assert!(batches.len() == 1 || batches.iter().all(|batch| !batch.is_empty()));
        }

        #[test]
        fn closes_no_batch_before_its_last_tenth(
            max_requests in 1u32..200,
            max_bytes in 2_000u64..40_000,
            requests in prop::collection::vec(0u64..300, 0..600),
        ) {
            let batches = deal(Limits { max_requests, max_bytes }, requests);
            for batch in batches.iter().rev().skip(1) {
                let by_count = batch.len() as u32 > max_requests - max_requests.div_ceil(10);
                let by_bytes = body_bytes(batch) + 300 + OVERHEAD + 1 > max_bytes - max_bytes / 10;
                prop_assert!(by_count || by_bytes);
            }
        }
    }
}
