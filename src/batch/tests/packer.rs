//! Where batches end: sizes, limits, and that no request is lost.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::*;
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
fn gives_the_first_batches_exact_sizes() {
    let limits = Limits {
        max_requests: 30,
        max_bytes: u64::MAX,
    };
    let mut packer = Packer::new(limits, ENVELOPE_BYTES, OVERHEAD).with_first_sizes([1, 29]);
    let cuts: Vec<usize> = (0..100)
        .filter(|_| packer.offer(1) == Placement::Next)
        .collect();
    assert_eq!(
        cuts,
        [1, 30, 58, 88],
        "1, 29, 28 and 30: the size 29 is used"
    );
    let small = Limits {
        max_requests: 10,
        max_bytes: 100,
    };
    let mut packer = Packer::new(small, ENVELOPE_BYTES, OVERHEAD).with_first_sizes([3]);
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
