//! Row groups that can be skipped, by their statistics.

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::RowGroupMetaData;

use super::super::prune;
use crate::table::Bound;

/// For each row group, whether a bound excludes all its rows.
pub(super) fn excluded(metadata: &ArrowReaderMetadata, bounds: &[Bound]) -> Vec<bool> {
    let groups = metadata.metadata().row_groups();
    let mut skip = vec![false; groups.len()];
    for bound in bounds {
        for (skip, by_this) in skip.iter_mut().zip(excluded_by(bound, metadata, groups)) {
            *skip |= by_this;
        }
    }
    skip
}

fn excluded_by(
    bound: &Bound,
    metadata: &ArrowReaderMetadata,
    groups: &[RowGroupMetaData],
) -> Vec<bool> {
    let nothing = || vec![false; groups.len()];
    let Ok(statistics) =
        StatisticsConverter::try_new(&bound.column, metadata.schema(), metadata.parquet_schema())
    else {
        return nothing();
    };
    let Some(leaf) = statistics.parquet_column_index() else {
        return nothing();
    };
    let ends = (
        statistics.row_group_mins(groups),
        statistics.row_group_maxes(groups),
    );
    let (Ok(least), Ok(greatest)) = ends else {
        return nothing();
    };
    let by_group = |(i, group): (usize, &RowGroupMetaData)| {
        let Some(of_chunk) = group.column(leaf).statistics() else {
            return false;
        };
        // A comparison with null is never true, so a row group of nulls has no match.
        let all_null = of_chunk.null_count_opt() == u64::try_from(group.num_rows()).ok();
        // Writers disagree on the order by which they filled the deprecated fields.
        all_null
            || (!of_chunk.is_min_max_deprecated() && prune::excludes(bound, &least, &greatest, i))
    };
    groups.iter().enumerate().map(by_group).collect()
}
