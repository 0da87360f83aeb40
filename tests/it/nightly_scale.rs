//! Tables of the size that a nightly job has: ten million rows, and the same with a thousand rows
//! changed. Ignored by default; it writes about 2 GB.
//!
//! ```text
//! ROWMILL_NIGHTLY=/data/nightly cargo test --release --features test-hooks --test it nightly -- --ignored
//! ROWMILL_NIGHTLY_ROWS=100000   fewer rows
//! ```
//!
//! Row groups have 65,536 rows. A text repeats no other, and compresses as words do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::support::Table;

const GROUP: u64 = 65_536;
/// 2026-01-01, in microseconds.
const BEGIN: i64 = 1_767_225_600_000_000;
const DAY: i64 = 86_400_000_000;
const WORDS: [&str; 16] = [
    "invoice", "delivery", "late", "refund", "order", "broken", "screen", "account", "password",
    "reset", "charge", "twice", "thanks", "address", "change", "urgent",
];

/// A table as a nightly job finds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NightlyTable {
    /// Its rows.
    pub(crate) rows: u64,
    /// Rows with another text and time than on the night before, evenly spread.
    pub(crate) changed: u64,
}

impl NightlyTable {
    /// Writes the table: `id`, `text` of about 100 bytes, `updated_at`.
    pub(crate) fn write(self, path: &Path) {
        let schema = schema();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(usize::try_from(GROUP).expect("it fits")))
            .set_dictionary_enabled(false)
            .build();
        let file = File::create(path).expect("the file can be created");
        let mut writer =
            ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).expect("a writer");
        for first in (0..self.rows).step_by(usize::try_from(GROUP).expect("it fits")) {
            let last = (first + GROUP).min(self.rows);
            let group = self.group(&schema, first..last);
            writer.write(&group).expect("a row group");
        }
        writer.close().expect("the file is complete");
    }

    fn group(self, schema: &SchemaRef, rows: std::ops::Range<u64>) -> RecordBatch {
        let ids = StringArray::from_iter_values(rows.clone().map(|row| format!("R-{row:08}")));
        let texts = rows.clone().map(|row| text(row, self.is_changed(row)));
        let times = rows.map(|row| {
            let day = if self.is_changed(row) { 1 } else { 0 };
            BEGIN + i64::try_from(row).expect("it fits") + day * DAY
        });
        let times = TimestampMicrosecondArray::from_iter_values(times);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids),
            Arc::new(StringArray::from_iter_values(texts)),
            Arc::new(times),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns).expect("columns of the schema")
    }

    fn is_changed(self, row: u64) -> bool {
        self.changed > 0 && row.is_multiple_of(self.rows.div_ceil(self.changed))
    }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("text", DataType::Utf8, false),
        Field::new("updated_at", time, false),
    ]))
}

/// A text of about 100 bytes that follows from its row.
fn text(row: u64, is_changed: bool) -> String {
    let mut seed = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = format!("{row} {}", if is_changed { "again" } else { "first" });
    while text.len() < 96 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        text.push(' ');
        text.push_str(WORDS[usize::try_from(seed >> 60).expect("four bits")]);
    }
    text
}

/// Writes both nights into a folder.
pub(crate) fn write_nights(folder: &Path, rows: u64, changed: u64) -> [PathBuf; 2] {
    fs::create_dir_all(folder).expect("a folder");
    let nights = [("first.parquet", 0), ("second.parquet", changed)];
    nights.map(|(name, changed)| {
        let path = folder.join(name);
        NightlyTable { rows, changed }.write(&path);
        path
    })
}

#[test]
fn two_nights_differ_in_the_rows_that_changed() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = write_nights(folder.path(), 70_000, 100).map(|path| Table::read(&path));
    assert_eq!((first.rows(), second.rows()), (70_000, 70_000));
    assert_eq!(first.column("id"), second.column("id"));
    for name in ["text", "updated_at"] {
        let (first, second) = (first.column(name), second.column(name));
        let changed = first.iter().zip(&second).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 100, "{name}");
    }
    let texts = first.column("text");
    assert!(texts.iter().all(|text| (96..110).contains(&text.len())));
}

#[test]
#[ignore = "writes about 2 GB"]
fn nightly_tables_of_ten_million_rows() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let folder = std::env::var_os("ROWMILL_NIGHTLY").expect("a folder in ROWMILL_NIGHTLY");
    let rows = number("ROWMILL_NIGHTLY_ROWS", 10_000_000);
    let begun = std::time::Instant::now();
    for path in write_nights(
        Path::new(&folder),
        rows,
        number("ROWMILL_NIGHTLY_CHANGED", 1_000),
    ) {
        let bytes = fs::metadata(&path).unwrap().len();
        assert!(bytes > rows * 20, "{} has {bytes} bytes", path.display());
    }
    eprintln!("{rows} rows twice in {:?}", begun.elapsed());
}
