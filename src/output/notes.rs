//! What an output says of itself: the entries that its writer put into the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use ::parquet::arrow::arrow_reader::ArrowReaderMetadata;
use arrow::ipc::reader::FileReader;

use super::Format;
use crate::border;

/// The entries of an output, such as `rowmill.run`; `None` where its format keeps none, or where it
/// cannot be read.
#[must_use]
pub fn notes(path: &Path, format: Format) -> Option<BTreeMap<String, String>> {
    let file = File::open(path).ok()?;
    border::guard(|| match format {
        Format::Parquet => of_parquet(&file),
        Format::Ipc => of_ipc(file),
        Format::Csv | Format::Tsv | Format::Jsonl => None,
    })
    .ok()?
}

fn of_parquet(file: &File) -> Option<BTreeMap<String, String>> {
    let metadata = ArrowReaderMetadata::load(file, Default::default()).ok()?;
    let entries = metadata.metadata().file_metadata().key_value_metadata()?;
    let entry = |entry: &::parquet::file::metadata::KeyValue| {
        Some((entry.key.clone(), entry.value.clone()?))
    };
    Some(entries.iter().filter_map(entry).collect())
}

fn of_ipc(file: File) -> Option<BTreeMap<String, String>> {
    let reader = FileReader::try_new(file, None).ok()?;
    let schema = reader.schema();
    let entries = schema.metadata().iter().chain(reader.custom_metadata());
    Some(
        entries
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}
