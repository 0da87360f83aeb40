//! A batch that is too large for the provider → two that hold its requests.
//!
//! The new spool files hold the requests only: the rows, and what is kept of them for the output, stay with the batch that was planned.
//! The files are written before the journal tells of them, so whatever ends the process in between, the batch is refused again and
//! split again.

use std::path::Path;
use std::sync::Arc;

use arrow::compute::is_not_null;
use arrow::datatypes::Schema;
use jiff::Timestamp;

use crate::batch::{PieceSummary, SpoolReader, SpoolRows, SpoolWriter};
use crate::journal::Event;

use super::{Error, Run};

/// Splits a refused batch of at least two requests, and gives the numbers of the two new ones.
pub(crate) fn split_in_two(run: &mut Run, now: Timestamp, batch: u32) -> Result<[u32; 2], Error> {
    let numbers = [run.batches() + 1, run.batches() + 2];
    let head = run.head_of(batch)?;
    let no_columns = Arc::new(Schema::empty());
    let create = |number| SpoolWriter::create(&run.spool_path(number), number, Arc::clone(&head), &no_columns);
    let mut halves = [create(numbers[0])?, create(numbers[1])?];
    let mut left = cut(run, run.piece(batch).requests) as usize;
    for rows in SpoolReader::open(&run.spool_path(batch))? {
        let rows = requests_of(&rows?, &run.spool_path(batch))?;
        let first = left.min(rows.len());
        left -= first;
        let parts = [rows.slice(0, first), rows.slice(first, rows.len() - first)];
        for (half, part) in halves.iter_mut().zip(&parts) {
            if !part.is_empty() {
                half.write(part)?;
            }
        }
    }
    let [first, second] = halves;
    let into: Vec<PieceSummary> = vec![first.finish()?, second.finish()?];
    run.record(now, Event::Split { batch, into })?;
    Ok(numbers)
}

/// The rows that have a request, without what is kept for the output.
fn requests_of(rows: &SpoolRows, path: &Path) -> Result<SpoolRows, Error> {
    let failed = |source| crate::batch::Error::Column { path: path.to_path_buf(), doing: "read", source };
    let rows = rows.without_columns();
    let keep = is_not_null(&rows.fragment).map_err(failed)?;
    if keep.true_count() == rows.len() {
        return Ok(rows);
    }
    Ok(rows.filter(&keep).map_err(failed)?)
}

/// How many requests go into the first of the two: about half, so that no batch of the run has as many as either. The number is the
/// mark by which a batch whose id was lost is found.
fn cut(run: &Run, requests: u32) -> u32 {
    let used: Vec<u32> = run.state().batches().iter().map(|batch| batch.piece.requests).collect();
    let half = requests / 2;
    let is_free = |cut: &u32| *cut != requests - *cut && !used.contains(cut) && !used.contains(&(requests - *cut));
    (1..=half).rev().find(is_free).unwrap_or(half)
}
