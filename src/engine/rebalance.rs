//! The last batches of a run → batches of about the same size.
//!
//! The number of rows is known when the table ends, and by then its batches are packed: 20,000 rows
//! as 10,000, 9,999 and 1. So the last few batches are kept in memory, as one entry a request, and
//! packed again where the last one is much smaller than those before it: 6,668, 6,667 and 6,665.
//! Their spool files are written again from one end to the other; every other file stays as it is.
//! A dry run does the same without files, so that it reports what a run would do.
//!
//! **Memory:** about 170 bytes a request of the batches that are kept: at most 50,000
//! requests, or two batches where they are larger.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::batch::{Envelope, Packer, SpoolReader, SpoolWriter, SpooledBatch};
use crate::estimate::rows::{BatchStatistics, RowEstimate};
use crate::journal::spool_name;

use super::Error;
use super::plan_report::PlannedBatch;

/// Closed batches that are kept besides the open one: with four to share among, the last
/// ones differ from the others by a quarter at most.
const MOST_BATCHES: u32 = 3;
/// Requests kept besides those of the last closed batch and the open one.
const MOST_REQUESTS: u32 = 40_000;

/// One request of a batch that may be packed again.
#[derive(Debug, Clone, Copy)]
struct TailRequest {
    /// As they were offered to the packer.
    bytes: u64,
    estimate: RowEstimate,
    /// Rows without a request right before it.
    unsent_before: u64,
}

/// One batch that may be packed again.
#[derive(Debug, Default)]
struct TailBatch {
    requests: Vec<TailRequest>,
    /// Rows without a request at its end.
    unsent_after: u64,
}

/// The last batches of a plan.
#[derive(Debug)]
pub(super) struct BatchTail {
    keep: usize,
    closed: VecDeque<TailBatch>,
    open: TailBatch,
}

/// How many closed batches are kept, of at most this many requests each.
pub(super) fn batches_kept(max_requests: u32) -> usize {
    (MOST_REQUESTS / max_requests.max(1)).clamp(1, MOST_BATCHES) as usize
}

impl BatchTail {
    pub(super) fn new(max_requests: u32) -> BatchTail {
        BatchTail {
            keep: batches_kept(max_requests),
            closed: VecDeque::new(),
            open: TailBatch::default(),
        }
    }

    /// Adds a row with a request to the open batch.
    pub(super) fn push(&mut self, bytes: u64, estimate: RowEstimate) {
        let unsent_before = std::mem::take(&mut self.open.unsent_after);
        self.open.requests.push(TailRequest {
            bytes,
            estimate,
            unsent_before,
        });
    }

    /// Adds a row without one.
    pub(super) fn push_unsent(&mut self) {
        self.open.unsent_after += 1;
    }

    /// Ends the open batch. One of a set size is final, and so is one that has enough others behind
    /// it.
    pub(super) fn close(&mut self, is_final: bool, statistics: &mut BatchStatistics) {
        self.closed.push_back(std::mem::take(&mut self.open));
        while self.closed.len() > if is_final { 0 } else { self.keep + 1 } {
            self.release(statistics);
        }
    }

    /// Makes every batch final.
    pub(super) fn finish(&mut self, statistics: &mut BatchStatistics) {
        while !self.closed.is_empty() {
            self.release(statistics);
        }
    }

    fn release(&mut self, statistics: &mut BatchStatistics) {
        let Some(batch) = self.closed.pop_front() else {
            return;
        };
        batch
            .requests
            .iter()
            .for_each(|request| statistics.push(&request.estimate));
        statistics.close();
    }

    /// Packs the last batches again where the last one is too small. Returns the new ones, which
    /// replace as many.
    pub(super) fn rebalance(&mut self, packer: &Packer) -> Option<Vec<PlannedBatch>> {
        let sizes: Vec<u32> = self
            .closed
            .iter()
            .map(|batch| u32::try_from(batch.requests.len()).unwrap_or(u32::MAX))
            .collect();
        let bytes: Vec<u64> = self
            .closed
            .iter()
            .flat_map(|batch| &batch.requests)
            .map(|request| request.bytes)
            .collect();
        let new = packer.rebalanced(&sizes, &bytes)?;
        let mut rest = std::mem::take(&mut self.closed).into_iter();
        let mut requests = Vec::with_capacity(bytes.len());
        // What stands at the end of one stands before the first request of the next.
        let mut unsent = 0;
        for batch in &mut rest {
            let begun = requests.len();
            requests.extend(batch.requests);
            if let Some(first) = requests.get_mut(begun) {
                first.unsent_before += std::mem::take(&mut unsent);
            }
            unsent += batch.unsent_after;
        }
        let mut requests = requests.into_iter().peekable();
        let mut batches = Vec::with_capacity(new.len());
        for (at, size) in new.iter().enumerate() {
            let mut batch = TailBatch {
                requests: requests.by_ref().take(*size as usize).collect(),
                unsent_after: 0,
            };
            // Rows without a request go along with the batch before them.
            batch.unsent_after = match requests.peek_mut() {
                Some(next) if at + 1 < new.len() => std::mem::take(&mut next.unsent_before),
                _ => unsent,
            };
            let (mut bytes, mut rows) = (0, batch.unsent_after);
            for request in &batch.requests {
                bytes += request.bytes;
                rows += 1 + request.unsent_before;
            }
            batches.push(PlannedBatch {
                rows,
                requests: *size,
                body_bytes: packer.body_bytes(*size, bytes),
            });
            self.closed.push_back(batch);
        }
        Some(batches)
    }
}

/// Writes the last spool files of a folder again, so that they hold these numbers of rows; `first`
/// is the number of the first of them.
pub(super) fn respool(
    folder: &Path,
    first: u32,
    rows: &[u64],
    envelope: Envelope,
    head: &Arc<[u8]>,
    columns: &SchemaRef,
) -> Result<Vec<SpooledBatch>, Error> {
    let numbers = || (first..).take(rows.len());
    let place = |number: u32| folder.join(spool_name(number));
    let beside = |number: u32| -> PathBuf { place(number).with_extension("rebalanced") };
    let create = |number: u32| {
        SpoolWriter::create(&beside(number), number, envelope, Arc::clone(head), columns)
    };
    let mut spooled = Vec::with_capacity(rows.len());
    let mut wanted = numbers().zip(rows);
    let mut open = None;
    for number in numbers() {
        for stretch in SpoolReader::open(&place(number))? {
            let mut stretch = stretch?;
            while !stretch.is_empty() {
                let (mut writer, left) = match open.take() {
                    Some(open) => open,
                    None => match wanted.next() {
                        Some((number, rows)) => (create(number)?, *rows),
                        None => {
                            return Err(Error::Bug(
                                "the last batches have more rows than were packed again".to_owned(),
                            ));
                        }
                    },
                };
                let taken = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(stretch.len());
                writer.write(&stretch.slice(0, taken))?;
                stretch = stretch.slice(taken, stretch.len() - taken);
                match left - taken as u64 {
                    0 => spooled.push(writer.finish()?),
                    left => open = Some((writer, left)),
                }
            }
        }
    }
    if spooled.len() != rows.len() {
        return Err(Error::Bug(
            "the last batches have fewer rows than were packed again".to_owned(),
        ));
    }
    for number in numbers() {
        let path = place(number);
        std::fs::rename(beside(number), &path).map_err(|source| Error::File {
            doing: "replace",
            path,
            source,
        })?;
    }
    Ok(spooled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{Limits, Placement};
    use crate::provider::anthropic::ENVELOPE;

    /// Rows, `None` where there is no request, through a packer and a tail: the rows and requests
    /// of each batch, and the messages by batch.
    fn pack(
        limits: Limits,
        first_sizes: &[u32],
        rows: &[Option<u64>],
    ) -> (Vec<PlannedBatch>, Vec<u64>) {
        let mut packer =
            Packer::for_head(limits, &ENVELOPE, 10).with_first_sizes(first_sizes.iter().copied());
        let (mut tail, mut statistics) = (
            BatchTail::new(limits.max_requests),
            BatchStatistics::default(),
        );
        let (mut batches, mut open) = (Vec::new(), PlannedBatch::default());
        for row in rows {
            match row.map(|bytes| (bytes, packer.offer(bytes))) {
                Some((bytes, placement)) if placement != Placement::TooLarge => {
                    if placement == Placement::Next {
                        batches.push(std::mem::take(&mut open));
                        tail.close(batches.len() <= first_sizes.len(), &mut statistics);
                    }
                    open.requests += 1;
                    tail.push(
                        bytes,
                        RowEstimate {
                            messages: 1,
                            ..RowEstimate::default()
                        },
                    );
                    open.body_bytes = packer.bytes();
                }
                _ => tail.push_unsent(),
            }
            open.rows += 1;
        }
        batches.push(open);
        tail.close(batches.len() <= first_sizes.len(), &mut statistics);
        if let Some(new) = tail.rebalance(&packer) {
            batches.truncate(batches.len() - new.len());
            batches.extend(new);
        }
        tail.finish(&mut statistics);
        let messages = statistics
            .batches
            .iter()
            .map(|batch| batch.values().map(|load| load.messages).sum())
            .collect();
        (batches, messages)
    }

    fn sizes(max_requests: u32, first_sizes: &[u32], requests: usize) -> Vec<u32> {
        let limits = Limits {
            max_requests,
            max_bytes: u64::MAX,
        };
        pack(limits, first_sizes, &vec![Some(1); requests])
            .0
            .iter()
            .map(|batch| batch.requests)
            .collect()
    }

    #[test]
    fn leaves_no_small_batch_at_the_end() {
        assert_eq!(sizes(10_000, &[], 20_000), [6_668, 6_667, 6_665]);
        assert_eq!(sizes(10_000, &[], 10_001), [5_001, 5_000]);
        assert_eq!(
            sizes(10_000, &[], 19_999),
            [10_000, 9_999],
            "what is near-equal stays"
        );
        assert_eq!(sizes(10_000, &[], 9_000), [9_000]);
        let hundred = sizes(10_000, &[], 100_000);
        assert_eq!(
            hundred[..7],
            [10_000, 9_999, 9_998, 9_997, 9_996, 9_995, 9_994]
        );
        assert_eq!(
            hundred[7..],
            [7_507, 7_506, 7_505, 7_503],
            "ten full batches leave 45 rows"
        );
        assert_eq!(sizes(100_000, &[], 200_000), [100_000, 50_001, 49_999]);
        assert_eq!(
            sizes(15, &[1, 10], 41),
            [1, 10, 13, 9, 8],
            "what leads keeps its size, and no other has it"
        );
        assert_eq!(sizes(15, &[12], 42), [12, 11, 10, 9]);
        assert_eq!(sizes(7, &[], 20), [7, 7, 6]);
        assert_eq!(sizes(1, &[], 3), [1, 1, 1]);
    }

    proptest! {
        #[test]
        fn keeps_limits_order_rows_and_weights(
            max_requests in 1u32..60,
            max_bytes in 400u64..6_000,
            first_sizes in prop::collection::vec(1u32..8, 0..3),
            rows in prop::collection::vec(prop::option::weighted(0.9, 0u64..300), 1..500),
        ) {
            let limits = Limits { max_requests, max_bytes };
            let (batches, messages) = pack(limits, &first_sizes, &rows);
            prop_assert_eq!(batches.iter().map(|batch| batch.rows).sum::<u64>(), rows.len() as u64);
            prop_assert_eq!(batches.len(), messages.len());
            let requests: Vec<u64> = rows.iter().copied().flatten().filter(|bytes| {
                Packer::for_head(limits, &ENVELOPE, 10).offer(*bytes) != Placement::TooLarge
            }).collect();
            prop_assert_eq!(batches.iter().map(|batch| u64::from(batch.requests)).sum::<u64>(), requests.len() as u64);
            let mut left = &requests[..];
            for (batch, messages_of) in batches.iter().zip(&messages) {
                prop_assert_eq!(u64::from(batch.requests), *messages_of);
                prop_assert!(batch.requests <= max_requests && batch.body_bytes <= max_bytes, "{:?}", batch);
                let (own, rest) = left.split_at(batch.requests as usize);
                left = rest;
                // The bytes are those of a packer that is offered these requests alone.
                let mut alone = Packer::for_head(Limits { max_requests: u32::MAX, max_bytes: u64::MAX }, &ENVELOPE, 10);
                own.iter().for_each(|bytes| { alone.offer(*bytes); });
                prop_assert!(own.is_empty() || alone.bytes() == batch.body_bytes);
            }
            prop_assert!(batches.iter().all(|batch| batch.requests > 0) || batches.len() == 1);
        }
    }
}
