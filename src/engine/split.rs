//! A batch that is too large for the provider → smaller ones that hold its requests: two, or as
//! many as the provider's own number asks for. Also one that is too expensive for the budget: a
//! part that fits, and the rest.
//!
//! The new spool files hold the requests only: the rows, and what is kept of them for the output,
//! stay with the batch that was planned. The files are written before the journal has them, so
//! whatever ends the process in between, the batch is refused again and split again.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow::compute::is_not_null;
use arrow::datatypes::Schema;
use jiff::Timestamp;

use crate::batch::near_equal;
use crate::batch::{SpoolReader, SpoolRows, SpoolWriter, SpooledBatch};
use crate::journal::Event;

use super::{Error, Run};

/// Splits a refused batch of at least two requests, and returns the numbers of the new ones. `most`
/// is how many requests the provider takes in one, where it says so.
pub(crate) fn split(
    run: &mut Run,
    now: Timestamp,
    batch: u32,
    most: Option<u32>,
) -> Result<Vec<u32>, Error> {
    let sizes = sizes(run, run.spooled(batch).requests, most);
    split_into(run, now, batch, &sizes)
}

/// Splits a batch after about this many requests, and no more, and returns the numbers of the two
/// new ones.
pub(crate) fn split_after(
    run: &mut Run,
    now: Timestamp,
    batch: u32,
    most: u32,
) -> Result<Vec<u32>, Error> {
    let requests = run.spooled(batch).requests;
    let first = first_size(run, requests, most);
    split_into(run, now, batch, &[first, requests - first])
}

/// Splits a batch into new ones with these numbers of requests.
fn split_into(run: &mut Run, now: Timestamp, batch: u32, sizes: &[u32]) -> Result<Vec<u32>, Error> {
    let numbers: Vec<u32> = (run.state().batch_count() + 1..)
        .take(sizes.len())
        .collect();
    let head = run.head_of(batch)?;
    let no_columns = Arc::new(Schema::empty());
    let create = |number| {
        SpoolWriter::create(
            &run.spool_path(number),
            number,
            run.format().envelope(),
            Arc::clone(&head),
            &no_columns,
        )
    };
    let mut into: Vec<SpooledBatch> = Vec::with_capacity(sizes.len());
    let mut parts = numbers.iter().zip(sizes.iter().copied());
    let mut open = None;
    for rows in SpoolReader::open(&run.spool_path(batch))? {
        let mut rows = requests_of(&rows?, &run.spool_path(batch))?;
        while !rows.is_empty() {
            let (mut writer, left) = match open.take() {
                Some(open) => open,
                None => {
                    let (number, size) = parts.next().ok_or_else(|| {
                        Error::Bug("a batch has more requests than planned".to_owned())
                    })?;
                    (create(*number)?, size as usize)
                }
            };
            let taken = left.min(rows.len());
            writer.write(&rows.slice(0, taken))?;
            rows = rows.slice(taken, rows.len() - taken);
            match left - taken {
                0 => into.push(writer.finish()?),
                left => open = Some((writer, left)),
            }
        }
    }
    run.record(now, Event::Split { batch, into })?;
    Ok(numbers)
}

/// The rows that have a request, without what is kept for the output.
fn requests_of(rows: &SpoolRows, path: &Path) -> Result<SpoolRows, Error> {
    let failed = |source| crate::batch::Error::Column {
        path: path.to_path_buf(),
        doing: "read",
        source,
    };
    let rows = rows.without_columns();
    let keep = is_not_null(&rows.fragment).map_err(failed)?;
    if keep.true_count() == rows.len() {
        return Ok(rows);
    }
    Ok(rows.filter(&keep).map_err(failed)?)
}

/// How many requests go into each of the new batches: about the same number, each as different from
/// every size of the run as that allows.
fn sizes(run: &Run, requests: u32, most: Option<u32>) -> Vec<u32> {
    let used = used_sizes(run);
    // A number that is no smaller than what was refused is about something else.
    let most = most.filter(|most| *most < requests).unwrap_or(requests - 1);
    near_equal(requests, requests.div_ceil(most).max(2), most, |size| {
        used.contains(&size)
    })
}

/// How many requests go into the first of two new batches: as many as may, or a few less where that
/// makes the sizes different from every other of the run.
fn first_size(run: &Run, requests: u32, most: u32) -> u32 {
    let used = used_sizes(run);
    let is_new = |first: &u32| {
        let rest = requests - first;
        *first != rest && !used.contains(first) && !used.contains(&rest)
    };
    let fewest = most - most / 10;
    (fewest..=most).rev().find(is_new).unwrap_or(most)
}

/// The numbers of requests that batches of the run have.
fn used_sizes(run: &Run) -> HashSet<u32> {
    let batches = run.state().batches().iter();
    batches.map(|batch| batch.spooled.requests).collect()
}
