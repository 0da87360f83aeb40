//! Parquet files by other writers in, every format out.

use arrow::array::Array;

use super::*;

fn files_by_other_writers() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parquet");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 30, "found {} files", files.len());
    files
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn passes_every_file_through_parquet_unchanged() {
    for file in files_by_other_writers() {
        let source = read_parquet(&file);
        let folder = tempfile::tempdir().unwrap();
        let written = read_parquet(&write(
            folder.path(),
            &OutputSpec::new("a.parquet"),
            &source,
            &full_row(),
            1000,
        ));
        let read = input_part(&written, source.num_columns());
        assert_eq!(
            read.schema().fields(),
            source.schema().fields(),
            "{}",
            name(&file)
        );
        assert_eq!(read.columns(), source.columns(), "{}", name(&file));
    }
}

#[test]
fn passes_every_file_through_ipc_unchanged() {
    for file in files_by_other_writers() {
        let source = read_parquet(&file);
        let folder = tempfile::tempdir().unwrap();
        let written = read_ipc(&write(
            folder.path(),
            &OutputSpec::new("a.arrow"),
            &source,
            &full_row(),
            1000,
        ));
        let read = input_part(&written, source.num_columns());
        for (i, field) in source.schema().fields().iter().enumerate() {
            let expected = match field.data_type() {
                arrow::datatypes::DataType::Dictionary(_, values) => {
                    arrow::compute::cast(source.column(i), values).unwrap()
                }
                _ => source.column(i).clone(),
            };
            assert_eq!(read.column(i), &expected, "{}: {field}", name(&file));
        }
    }
}

#[test]
fn prints_every_file_as_text() {
    for file in files_by_other_writers() {
        let source = read_parquet(&file);
        let folder = tempfile::tempdir().unwrap();
        let csv = write(
            folder.path(),
            &OutputSpec::new("a.csv"),
            &source,
            &full_row(),
            1000,
        );
        let mut reader = ::csv::Reader::from_path(csv).unwrap();
        let nulls = |i: usize| {
            source
                .column(i)
                .logical_nulls()
                .map_or(0, |nulls| nulls.null_count())
        };
        let mut empty = vec![0; source.num_columns()];
        let mut rows = 0;
        for record in reader.records() {
            let record = record.unwrap();
            rows += 1;
            empty
                .iter_mut()
                .enumerate()
                .for_each(|(i, empty)| *empty += usize::from(record[i].is_empty()));
        }
        assert_eq!(rows, source.num_rows(), "{}", name(&file));
        assert!(
            (0..empty.len()).all(|i| empty[i] >= nulls(i)),
            "{}",
            name(&file)
        );

        let lines = std::fs::read_to_string(write(
            folder.path(),
            &OutputSpec::new("a.jsonl"),
            &source,
            &full_row(),
            1000,
        ))
        .unwrap();
        let read: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(read.len(), source.num_rows(), "{}", name(&file));
        let members = source.num_columns() + COLUMNS.len();
        assert!(
            read.iter()
                .all(|row| row.as_object().unwrap().len() == members),
            "{}",
            name(&file)
        );
    }
}
