//! The promises of this room's parsers, for any input.

use std::path::Path;

use super::bytes::Input;
use super::csv::{CsvRecord, CsvRecords, Dialect};
use super::{Error, Format, SourceSpec, pages, repeats};

/// Characters that a dialect may use; the first bytes of the input choose among them.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];
const QUOTES: [&str; 3] = ["\"", "'", ""];
const ESCAPES: [Option<char>; 3] = [None, Some('\\'), Some('"')];
const COMMENTS: [Option<char>; 3] = [None, Some('#'), Some('/')];

/// Cells small enough that a short input reaches the limits.
const MAX_CELL_BYTES: u64 = 64;

/// Checks the reader of CSV records. The first four bytes choose the dialect, the others are the
/// file.
///
/// # Panics
/// If records depend on the size of the buffer, if line numbers fall, if a cell exceeds the
/// limit, or if records that are written back are read differently.
pub fn check_csv(bytes: &[u8]) {
    let Some((&[delimiter, quote, escape, comment], file)) = bytes.split_first_chunk() else {
        return;
    };
    let pick = |byte: u8, choices: usize| usize::from(byte) % choices;
    let spec = SourceSpec {
        delimiter: Some(DELIMITERS[pick(delimiter, DELIMITERS.len())]),
        quote: Some(QUOTES[pick(quote, QUOTES.len())].to_owned()),
        escape: ESCAPES[pick(escape, ESCAPES.len())],
        comment: COMMENTS[pick(comment, COMMENTS.len())],
        max_cell_bytes: MAX_CELL_BYTES,
        ..SourceSpec::default()
    };
    // Some combinations are no dialect.
    let Ok(dialect) = Dialect::new(&spec, Format::Csv, None) else {
        return;
    };
    let (records, error) = read(file, &dialect, 1 << 10);
    for buffer_bytes in [1, 2, 3, 7] {
        let (other, other_error) = read(file, &dialect, buffer_bytes);
        assert_eq!(other, records, "a buffer of {buffer_bytes} bytes");
        assert_eq!(other_error, error, "a buffer of {buffer_bytes} bytes");
    }
    assert!(records.is_sorted_by_key(|record| record.line));
    for record in &records {
        assert!(!record.cells.is_empty());
        assert!(
            record
                .cells
                .iter()
                .all(|cell| cell.len() as u64 <= MAX_CELL_BYTES)
        );
    }
    check_written_back(&records);
}

/// A record with its cells as text.
#[derive(Debug, PartialEq)]
struct ReadRecord {
    line: u64,
    cells: Vec<String>,
}

/// The records up to the first error, and that error.
fn read(file: &[u8], dialect: &Dialect, buffer_bytes: usize) -> (Vec<ReadRecord>, Option<String>) {
    let mut records = Vec::new();
    let error = read_into(file, dialect, buffer_bytes, &mut records).err();
    (records, error.map(|error| error.to_string()))
}

fn read_into(
    mut file: &[u8],
    dialect: &Dialect,
    buffer_bytes: usize,
    records: &mut Vec<ReadRecord>,
) -> Result<(), Error> {
    let input = Input::of_stream(Path::new("-"), &mut file, None)?;
    let mut reader = CsvRecords::open_buffered(&input, dialect, buffer_bytes)?;
    let mut record = CsvRecord::default();
    while reader.next(&input, &mut record)? {
        let cells = record.texts().map_err(|cell| Error::NotUtf8 {
            path: input.path().to_path_buf(),
            line: record.line,
            column: reader.column(cell),
        })?;
        let cells: Vec<String> = cells.map(str::to_owned).collect();
        assert_eq!(cells.len(), record.cells);
        records.push(ReadRecord {
            line: record.line,
            cells,
        });
    }
    Ok(())
}

/// Writes the records in the usual dialect, every cell quoted, and reads them again.
fn check_written_back(records: &[ReadRecord]) {
    let written: String = records
        .iter()
        .map(|record| {
            let cells: Vec<String> = record
                .cells
                .iter()
                .map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")))
                .collect();
            cells.join(",") + "\n"
        })
        .collect();
    let dialect = Dialect::new(&SourceSpec::default(), Format::Csv, None)
        .expect("the default dialect is valid");
    let (again, error) = read(written.as_bytes(), &dialect, 1 << 10);
    assert_eq!(error, None);
    let cells = |records: &[ReadRecord]| -> Vec<Vec<String>> {
        records.iter().map(|record| record.cells.clone()).collect()
    };
    assert_eq!(cells(&again), cells(records));
}

/// Checks the readers of Parquet pages: of a page header, and of levels and dictionary indexes. The
/// first byte is the width of the indexes.
///
/// # Panics
/// If a truncated header is read as a header, or if a value is wider than its width.
pub fn check_parquet_page(bytes: &[u8]) {
    pages::check_page_header(bytes);
    if let Some((width, values)) = bytes.split_first() {
        pages::check_hybrid_values(*width, values);
    }
}

/// Checks the search for repeated keys in JSON against a parser that keeps the last value of a key.
///
/// # Panics
/// If the two disagree on whether a key is repeated.
pub fn check_repeated_keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let text = text.trim();
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else {
        return;
    };
    // Every key is written before a colon outside of strings, so a dropped key loses a colon.
    let written = count_colons(text);
    assert_eq!(
        repeats::repeated_key(text).is_some(),
        count_keys(&value) < written
    );
}

fn count_keys(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Object(object) => {
            object.len() + object.values().map(count_keys).sum::<usize>()
        }
        serde_json::Value::Array(items) => items.iter().map(count_keys).sum(),
        _ => 0,
    }
}

fn count_colons(json: &str) -> usize {
    let (mut colons, mut is_text, mut is_escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_text = !is_text,
            b':' if !is_text => colons += 1,
            _ => {}
        }
    }
    colons
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts in which the characters of the parsers are common.
    fn bytes_of(tokens: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(tokens), 0..60)
            .prop_map(|tokens| tokens.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn reads_csv_the_same_at_every_buffer_size(
            dialect in any::<[u8; 4]>(),
            file in bytes_of(&[
                ",", ";", "\t", "|", "\"", "'", "\\", "#", "/", "\n", "\r", "\r\n", "a", "ä", "\u{feff}",
                "a long cell that is as long as the limit of a cell with this text.",
            ]),
        ) {
            check_csv(&[&dialect[..], &file].concat());
        }

        #[test]
        fn reads_pages_of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            check_parquet_page(&bytes);
        }

        #[test]
        fn finds_repeated_keys_as_a_parser_does(json in json_text()) {
            check_repeated_keys(json.as_bytes());
        }
    }

    /// JSON whose objects may repeat keys, some of them with escapes.
    fn json_text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("1".to_owned()),
            Just("\"a\"".to_owned()),
            Just("\"\\\"b\\\":\"".to_owned()),
            Just("null".to_owned()),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = prop::sample::select(&["a", "b", "\\u0061", "a\\\"", ""][..]);
            let pairs = prop::collection::vec((key, inner.clone()), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4)
                    .prop_map(|items| format!("[{}]", items.join(" ,"))),
                pairs.prop_map(|pairs| {
                    let pairs: Vec<String> = pairs
                        .iter()
                        .map(|(key, value)| format!("\"{key}\" : {value}"))
                        .collect();
                    format!("{{{}}}", pairs.join(", "))
                }),
            ]
        })
    }
}
