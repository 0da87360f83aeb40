//! A batch that is too large for the provider → smaller ones that hold its requests: two, or as
//! many as the provider's own number asks for.
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
    let mut parts = numbers.iter().zip(sizes);
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
    let used: HashSet<u32> = run
        .state()
        .batches()
        .iter()
        .map(|batch| batch.spooled.requests)
        .collect();
    // A number that is no smaller than what was refused is about something else.
    let most = most.filter(|most| *most < requests).unwrap_or(requests - 1);
    near_equal(requests, requests.div_ceil(most).max(2), most, |size| {
        used.contains(&size)
    })
}
