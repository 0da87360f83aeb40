//! The dry run of a huge table by some of its rows: all are read, a drawn part is rendered, the
//! rest is extrapolated.
//!
//! The source is read twice: to see how long rows are and whether each has a key, and then for the
//! drawn rows, up to the last of them. Nothing is kept of the first read but the draw, so memory is
//! bounded as in a whole plan.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::DataType;

use crate::batch::{Packer, Placement};
use crate::estimate::sample::SampleSpec;
use crate::estimate::sample_plan::{RowSampler, SampleResults, SampledRows};
use crate::estimate::{Estimator, scale};
use crate::source::SourceRows;
use crate::template::TemplateColumns;

use super::Error;
use super::faults::{Causes, Faults};
use super::in_order::in_order;
use super::notice::Notice;
use super::plan::{Planner, warms_up};
use super::plan_report::{PlanReport, PlannedBatch};
use super::rebalance::batches_kept;
use super::render::RenderedRows;
use super::reuse::FileUses;
use super::row_warnings::RowWarnings;
use super::warm_up::WarmUpBatches;

/// What the first read shows of some rows.
struct ScannedRows {
    row_index: Vec<u64>,
    bytes: Vec<u64>,
    faults: Faults,
}

impl Planner<'_> {
    /// The dry run by a sample: [`PlanReport::sampled`] says how far it may be off. A table that
    /// has no more rows than are asked for is planned whole, and nothing is sampled.
    ///
    /// **What is exact**: rows read, rows of the run, rows without a key. Everything else is
    /// extrapolated; keys that several rows have are not searched for. In [`PlanReport::batches`]
    /// all requests have the mean size, and the estimate has one batch for all of them.
    ///
    /// # Errors
    /// As [`Planner::outline`], as far as the sample shows it.
    pub(crate) fn outline_by_sample(&self, spec: SampleSpec) -> Result<PlanReport, Error> {
        self.check_models()?;
        let (sampler, rows_read) = self.sample_rows(spec)?;
        if sampler.rows() <= spec.rows as u64 {
            return self.outline();
        }
        let estimator = self.estimator()?;
        let drawn = sampler.finish();
        let (found, row_warnings) = self.render_drawn(&drawn, &estimator)?;
        let mut outline = self.extrapolate(&found, &estimator, spec.seed, rows_read)?;
        // Rows that were not drawn may have more warnings; these are of the drawn ones.
        outline.warnings = row_warnings.warnings(
            self.compiled.requests.conditions(),
            &self.window(&estimator),
        );
        outline.set_aside = row_warnings.set_aside;
        Ok(outline)
    }

    /// Reads every row for the draw, and counts the rows of the source.
    fn sample_rows(&self, spec: SampleSpec) -> Result<(RowSampler, u64), Error> {
        let (mut sampler, mut faults) = (RowSampler::new(spec), Faults::default());
        let mut scan = self.compiled.source.scan(Some(&self.compiled.read))?;
        let rows = std::iter::from_fn(|| scan.next()).map(|rows| rows.map_err(Error::from));
        in_order(
            self.threads,
            rows,
            |rows: SourceRows| Ok(self.scan_rows(rows)),
            |scanned| {
                scanned
                    .row_index
                    .iter()
                    .zip(scanned.bytes)
                    .for_each(|(index, bytes)| sampler.note(*index, bytes));
                faults.absorb(scanned.faults);
                self.observer.notice(Notice::Planning {
                    rows: sampler.rows(),
                    of: self.compiled.source.rows_hint(),
                });
                Ok(())
            },
        )?;
        if faults.any() {
            return Err(Error::Rows(Box::new(faults)));
        }
        Ok((sampler, scan.counts().read))
    }

    fn scan_rows(&self, rows: SourceRows) -> ScannedRows {
        let mut faults = Faults::default();
        for (row, &index) in rows.row_index.iter().enumerate() {
            if let Err(fault) = self.compiled.keys.key(&rows.batch, row, index) {
                faults.key(index, &fault);
            }
        }
        let bytes = row_bytes(&rows.batch, &self.compiled.requests.columns());
        ScannedRows {
            row_index: rows.row_index,
            bytes,
            faults,
        }
    }

    fn render_drawn(
        &self,
        drawn: &SampledRows,
        estimator: &Estimator<'_>,
    ) -> Result<(SampleResults, RowWarnings), Error> {
        let renderer = self.renderer(estimator, &[]);
        let mut found = SampleResults::new(&drawn.strata, estimator);
        let (mut faults, mut row_warnings, mut placed) =
            (Faults::default(), RowWarnings::default(), 0);
        let mut left = &drawn.rows[..];
        let mut scan = self.compiled.source.scan(Some(&self.compiled.read))?;
        let rows = std::iter::from_fn(|| if left.is_empty() { None } else { scan.next() })
            .flat_map(|rows| {
                match rows
                    .map_err(Error::from)
                    .and_then(|rows| taken(&rows, &mut left))
                {
                    Ok(rows) => renderer.stretches(&rows).into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                }
            });
        in_order(
            self.threads,
            rows,
            |rows: SourceRows| Ok(renderer.render(rows)),
            |rendered: RenderedRows| {
                for (line, &index) in rendered.lines.iter().zip(&rendered.row_index) {
                    placed += drawn.rows[placed..].partition_point(|(drawn, _)| *drawn < index);
                    let stratum = drawn.rows[placed].1;
                    match &line.request {
                        Ok(request) => {
                            let bytes =
                                (request.custom_id.as_str().len() + request.part.len()) as u64;
                            match self.packer([]).offer(bytes) {
                                Placement::TooLarge => found.push_unsent(stratum, "too_large"),
                                _ => found.push(stratum, &request.estimate, bytes),
                            }
                        }
                        Err(unsent) => found.push_unsent(stratum, unsent.kind),
                    }
                }
                faults.absorb(rendered.faults);
                row_warnings.absorb(rendered.row_warnings);
                if faults.enough() {
                    Err(Error::Rows(Box::new(std::mem::take(&mut faults))))
                } else {
                    Ok(())
                }
            },
        )?;
        if faults.any() {
            Err(Error::Rows(Box::new(faults)))
        } else {
            Ok((found, row_warnings))
        }
    }

    fn extrapolate(
        &self,
        found: &SampleResults,
        estimator: &Estimator<'_>,
        seed: u64,
        rows_read: u64,
    ) -> Result<PlanReport, Error> {
        let whole = found.whole();
        let warm_up = self.warm_up_decision(estimator, &estimator.fit())?;
        let mut warm_up_batches = WarmUpBatches::of(self.file, &warm_up);
        warm_up_batches.settle(whole.requests);
        let sizes: Vec<u32> = warm_up_batches.sizes().collect();
        let batches = pack_evenly(
            self.packer(sizes.iter().copied()),
            sizes.len(),
            self.limits.max_requests,
            whole.requests,
            whole.bytes,
        );
        let checkpoints = warm_up_batches.checkpoints(
            &batches
                .iter()
                .map(|batch| batch.requests)
                .collect::<Vec<_>>(),
        );
        let estimate =
            estimator.estimate(&whole.statistics, estimator.fit(), warms_up(&checkpoints))?;
        let sampling = found.sampling(seed, estimator, &estimate, warms_up(&checkpoints))?;
        Ok(PlanReport {
            budget: Vec::new(),
            warnings: Vec::new(),
            set_aside: Causes::default(),
            cache: warm_up.decide(whole.requests, whole.requests > 1),
            incremental: None,
            uses: FileUses::default(),
            sampled: Some(sampling),
            checkpoints,
            estimate,
            statistics: whole.statistics,
            sample: Vec::new(),
            rows_read,
            rows: sampling.of,
            requests: whole.requests,
            unsent: whole.unsent,
            body_bytes: batches.iter().map(|batch| batch.body_bytes).sum(),
            batches,
            shared_bytes: self.compiled.requests.head().len() as u64,
        })
    }
}

/// Those of the rows that were drawn; `left` are the drawn rows from the first of these on, and
/// then behind the last.
fn taken(rows: &SourceRows, left: &mut &[(u64, usize)]) -> Result<SourceRows, Error> {
    let end = rows
        .row_index
        .last()
        .map_or(0, |last| left.partition_point(|(index, _)| index <= last));
    let (drawn, behind) = left.split_at(end);
    *left = behind;
    let places: Vec<usize> = drawn
        .iter()
        .filter_map(|(index, _)| rows.row_index.binary_search(index).ok())
        .collect();
    let row_index = places.iter().map(|&place| rows.row_index[place]).collect();
    let places: UInt64Array = places.into_iter().map(|place| place as u64).collect();
    let batch = take_record_batch(&rows.batch, &places).map_err(|e| Error::Bug(e.to_string()))?;
    Ok(SourceRows { batch, row_index })
}

/// Batches of all requests, each of the mean size, so that their bytes add up to all of them.
fn pack_evenly(
    mut packer: Packer,
    warm_up_batches: usize,
    max_requests: u32,
    requests: u64,
    bytes: u64,
) -> Vec<PlannedBatch> {
    let (mut batches, mut open) = (Vec::new(), PlannedBatch::default());
    let own = |n: u64| scale(bytes, n + 1, requests) - scale(bytes, n, requests);
    for n in 0..requests {
        if packer.offer(own(n)) == Placement::Next {
            batches.push(std::mem::take(&mut open));
        }
        open = PlannedBatch {
            rows: open.rows + 1,
            requests: open.requests + 1,
            body_bytes: packer.bytes(),
        };
    }
    batches.extend((open.requests > 0).then_some(open));
    // The last ones are near-equal, as in a whole plan.
    let tail = batches
        .len()
        .saturating_sub(warm_up_batches)
        .min(batches_kept(max_requests) + 1);
    let kept = batches.len() - tail;
    let sizes: Vec<u32> = batches[kept..].iter().map(|batch| batch.requests).collect();
    let begun = requests - sizes.iter().map(|&size| u64::from(size)).sum::<u64>();
    let offered: Vec<u64> = (begun..requests).map(own).collect();
    if let Some(new) = packer.rebalanced(&sizes, &offered) {
        batches.truncate(kept);
        let mut left = &offered[..];
        for requests in new {
            let (batch, rest) = left.split_at(requests as usize);
            left = rest;
            let body_bytes = packer.body_bytes(requests, batch.iter().sum());
            batches.push(PlannedBatch {
                rows: requests.into(),
                requests,
                body_bytes,
            });
        }
    }
    batches
}

/// Bytes of what the templates read of each row.
fn row_bytes(rows: &RecordBatch, columns: &TemplateColumns) -> Vec<u64> {
    let mut bytes = vec![0; rows.num_rows()];
    let schema = rows.schema();
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        let is_read = match columns {
            TemplateColumns::All => true,
            TemplateColumns::Named(names) => names.contains(field.name()),
        };
        if is_read {
            bytes
                .iter_mut()
                .enumerate()
                .for_each(|(row, bytes)| *bytes += cell_bytes(column, row));
        }
    }
    bytes
}

/// Bytes of the text in a cell; of a value that is neither text nor built from text, about what it
/// has in words.
fn cell_bytes(cells: &ArrayRef, row: usize) -> u64 {
    let all = |values: ArrayRef| {
        (0..values.len())
            .map(|value| cell_bytes(&values, value))
            .sum()
    };
    match cells.data_type() {
        _ if cells.is_null(row) => 0,
        DataType::Utf8 => cells
            .as_string::<i32>()
            .value_length(row)
            .unsigned_abs()
            .into(),
        DataType::LargeUtf8 => cells.as_string::<i64>().value_length(row).unsigned_abs(),
        DataType::Utf8View => cells.as_string_view().value(row).len() as u64,
        DataType::List(_) => all(cells.as_list::<i32>().value(row)),
        DataType::LargeList(_) => all(cells.as_list::<i64>().value(row)),
        DataType::Struct(_) => cells
            .as_struct()
            .columns()
            .iter()
            .map(|column| cell_bytes(column, row))
            .sum(),
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;
    use crate::batch::Limits;
    use crate::provider::anthropic::ENVELOPE;

    fn rows(texts: &[Option<&str>]) -> SourceRows {
        let text: ArrayRef = Arc::new(texts.iter().copied().collect::<StringArray>());
        let number: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
        let batch = RecordBatch::try_from_iter([("text", text), ("number", number)]).unwrap();
        SourceRows {
            batch,
            row_index: (0..texts.len() as u64).map(|row| row * 10).collect(),
        }
    }

    #[test]
    fn rows_are_as_long_as_what_templates_read_of_them() {
        let rows = rows(&[Some("four"), None, Some("영화")]);
        assert_eq!(row_bytes(&rows.batch, &TemplateColumns::All), [12, 8, 14]);
        assert_eq!(
            row_bytes(
                &rows.batch,
                &TemplateColumns::Named(["text".to_owned()].into())
            ),
            [4, 0, 6]
        );
    }

    #[test]
    fn takes_the_drawn_rows_and_leaves_those_behind() {
        let rows = rows(&[Some("a"), Some("b"), Some("c")]);
        let drawn = [(0, 0), (20, 1), (30, 0)];
        let mut left = &drawn[..];
        let taken = taken(&rows, &mut left).unwrap();
        assert_eq!((taken.row_index, left), (vec![0, 20], &drawn[2..]));
        assert_eq!(taken.batch.column(0).as_string::<i32>().value(1), "c");
    }

    #[test]
    fn deals_all_requests_and_bytes_to_batches_within_the_limits() {
        let limits = Limits {
            max_requests: 100,
            max_bytes: 2_000,
        };
        let alone = |bytes| {
            let mut packer = Packer::for_head(limits, &ENVELOPE, 10);
            packer.offer(bytes);
            packer.bytes()
        };
        let batches = pack_evenly(
            Packer::for_head(limits, &ENVELOPE, 10).with_first_sizes([1]),
            1,
            limits.max_requests,
            200,
            2_001,
        );
        assert_eq!(
            batches
                .iter()
                .map(|batch| u64::from(batch.requests))
                .sum::<u64>(),
            200
        );
        assert!(
            batches
                .iter()
                .all(|batch| batch.requests <= 100 && batch.body_bytes <= 2_000)
                && batches[0].requests == 1,
            "{batches:?}"
        );
        // Each further request of a batch also takes a comma.
        let envelopes = alone(0) * 200 + 200 - batches.len() as u64;
        let shared = (200 - batches.len() as u64) * ENVELOPE.bytes();
        assert_eq!(
            batches.iter().map(|batch| batch.body_bytes).sum::<u64>() + shared,
            envelopes + 2_001
        );
    }
}
