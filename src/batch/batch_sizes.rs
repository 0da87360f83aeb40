//! Sizes of batches that are chosen before any request is packed: near-equal, and pairwise
//! different as far as possible.

use super::Limits;

/// The most batches whose sizes are calculated in advance.
const MAX_EVEN_BATCHES: u64 = 10_000;

/// The largest difference between two successive sizes that [`near_equal`] tries.
const MAX_STEP: u32 = 8;

impl Limits {
    /// The limits with a lower `max_requests`, so that `rows` requests fill as many batches as
    /// before, but near-equally: no batch has to be split again at the end.
    ///
    /// The limits stay as they are where one batch is enough, or where the sizes could not all
    /// differ.
    #[must_use]
    pub fn for_rows(self, rows: u64) -> Limits {
        let max_requests = u64::from(self.max_requests);
        if rows <= max_requests || rows / max_requests.max(1) >= MAX_EVEN_BATCHES {
            return self;
        }
        let batches = (rows / max_requests..)
            .find(|&batches| capacity(batches, max_requests) >= rows)
            .unwrap_or(1);
        // The smallest `max_requests` for which that number of batches is still enough.
        let (mut low, mut high) = (1, max_requests);
        while low < high {
            let middle = low + (high - low) / 2;
            if capacity(batches, middle) >= rows {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        // The sizes of batches this small would repeat. The packer's own rule serves better: it
        // makes the last batches differ afterwards.
        if high.div_ceil(10) < batches {
            return self;
        }
        Limits {
            max_requests: u32::try_from(high).unwrap_or(self.max_requests),
            ..self
        }
    }
}

/// The requests that the packer puts into this number of batches: sizes fall by one through the
/// last tenth of `max_requests`, then start over.
fn capacity(batches: u64, max_requests: u64) -> u64 {
    (0..batches)
        .map(|batch| max_requests - batch % max_requests.div_ceil(10))
        .sum()
}

/// Splits `requests` requests into `batches` batches of near-equal sizes, each at least 1 and at
/// most `max_requests`, and different from each other and from every size that `is_used` names, as
/// far as possible: sizes fall by one, or by a little more where that is needed for the last one
/// to be unused.
///
/// # Panics
/// When the requests do not fit: `batches` is 0 or more than the requests, or
/// `batches · max_requests` is less than the requests.
#[must_use]
pub fn near_equal(
    requests: u32,
    batches: u32,
    max_requests: u32,
    is_used: impl Fn(u32) -> bool,
) -> Vec<u32> {
    assert!(
        batches > 0
            && batches <= requests
            && u64::from(batches) * u64::from(max_requests) >= u64::from(requests),
        "the requests do not fit"
    );
    (1..=MAX_STEP)
        .find_map(|step| falling(requests, batches, max_requests, step, &is_used))
        .unwrap_or_else(|| {
            (0..batches)
                .map(|batch| requests / batches + u32::from(batch < requests % batches))
                .collect()
        })
}

/// Sizes that fall by about `step` from batch to batch; `None` where the last one would be used
/// already, or would not be smaller than the one before.
fn falling(
    requests: u32,
    batches: u32,
    max_requests: u32,
    step: u32,
    is_used: &impl Fn(u32) -> bool,
) -> Option<Vec<u32>> {
    let mut left = requests;
    let mut sizes = Vec::new();
    let mut previous = max_requests.saturating_add(1);
    for behind in (0..batches).rev() {
        // The mean of what is left, plus half of the fall to the last batch, so that the sizes
        // behind it have room to fall.
        let (all, of) = (u64::from(left), u64::from(behind) + 1);
        let ideal = (2 * all + u64::from(step) * u64::from(behind) * of).div_ceil(2 * of);
        let ideal = u32::try_from(ideal).unwrap_or(u32::MAX);
        // Not so small that the requests behind it would not fit, and one request for each batch
        // behind it.
        let least = left
            .saturating_sub(behind.saturating_mul(max_requests))
            .max(1);
        let largest = ideal.min(previous - 1).min(left - behind);
        let size = if behind == 0 {
            left
        } else {
            (least..=largest).rev().find(|size| !is_used(*size))?
        };
        if size >= previous || size < least || (behind == 0 && is_used(size)) {
            return None;
        }
        (left, previous) = (left - size, size);
        sizes.push(size);
    }
    Some(sizes)
}
