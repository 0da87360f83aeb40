use ::parquet::basic::{Compression as Codec, Encoding};
use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use arrow::array::{DictionaryArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int32Type};

use super::*;

fn ids(rows: i64) -> RecordBatch {
    table(vec![(
        "id",
        Arc::new(Int64Array::from_iter_values(0..rows)),
    )])
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn writes_every_column_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        &OutputSpec::new("a.jsonl"),
        &ids(1),
        &full_row(),
        1,
    );
    let expected = r#"{"id":0,"_rm_status":"truncated","_rm_result":"succeeded","_rm_text":"Half a sen","_rm_stop_reason":"max_tokens","_rm_error_type":"kind","_rm_error":"in words","_rm_model":"claude-haiku-4-5","_rm_input_tokens":1,"_rm_cache_creation_5m_input_tokens":2,"_rm_cache_creation_1h_input_tokens":3,"_rm_cache_read_input_tokens":4,"_rm_output_tokens":5,"_rm_thinking_tokens":6,"_rm_service_tier":"batch","_rm_cost_usd":"1.234500000000","_rm_attempt":1,"_rm_custom_id":"id-1","_rm_batch_id":"batch","_rm_message_id":"msg_1","_rm_request_hash":"hash"}
"#;
    assert_eq!(std::fs::read_to_string(path).unwrap(), expected);

    let path = write(
        folder.path(),
        &OutputSpec::new("b.jsonl"),
        &ids(1),
        &unsent_row(),
        1,
    );
    let expected = r#"{"id":0,"_rm_status":"unsent","_rm_result":null,"_rm_text":null,"_rm_stop_reason":null,"_rm_error_type":"too_large","_rm_error":"too large","_rm_model":null,"_rm_input_tokens":null,"_rm_cache_creation_5m_input_tokens":null,"_rm_cache_creation_1h_input_tokens":null,"_rm_cache_read_input_tokens":null,"_rm_output_tokens":null,"_rm_thinking_tokens":null,"_rm_service_tier":null,"_rm_cost_usd":null,"_rm_attempt":null,"_rm_custom_id":null,"_rm_batch_id":null,"_rm_message_id":null,"_rm_request_hash":null}
"#;
    assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
}

#[test]
fn splits_row_groups_and_describes_the_run_to_readers() {
    let folder = tempfile::tempdir().unwrap();
    let spec = OutputSpec {
        row_group_rows: 100,
        ..OutputSpec::new("a.parquet")
    };
    let path = write(folder.path(), &spec, &ids(250), &full_row(), 70);
    let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let groups: Vec<_> = reader
        .metadata()
        .row_groups()
        .iter()
        .map(|group| group.num_rows())
        .collect();
    assert_eq!(groups, [100, 100, 50]);
    let file = reader.metadata().file_metadata();
    assert!(file.created_by().unwrap().starts_with("rowmill "));
    let metadata = file.key_value_metadata().unwrap();
    let value = |key: &str| {
        metadata
            .iter()
            .find(|entry| entry.key == key)
            .and_then(|entry| entry.value.clone())
    };
    assert_eq!(
        (
            value("rowmill.run").as_deref(),
            value("rowmill.simulated").as_deref()
        ),
        (Some("r1"), Some("true"))
    );

    let dictionary = |name: &str| {
        let columns = reader.metadata().row_group(0).columns();
        let column = columns
            .iter()
            .find(|column| column.column_path().string() == name)
            .unwrap();
        assert_eq!(column.compression(), Codec::ZSTD(Default::default()));
        column
            .encodings()
            .any(|encoding| encoding == Encoding::RLE_DICTIONARY)
    };
    assert_eq!(
        ["_rm_status", "_rm_model", "_rm_batch_id", "id"].map(dictionary),
        [true; 4]
    );
    assert_eq!(
        [
            "_rm_text",
            "_rm_error",
            "_rm_custom_id",
            "_rm_message_id",
            "_rm_request_hash"
        ]
        .map(dictionary),
        [false; 5]
    );
    let read = read_parquet(&path);
    assert_eq!(read.column(0), ids(250).column(0));
    assert_eq!(
        read.schema()
            .metadata()
            .get("rowmill.run")
            .map(String::as_str),
        Some("r1")
    );
}

#[test]
fn compresses_as_configured() {
    for (compression, codec) in [
        (None, Codec::ZSTD(Default::default())),
        (Some(Compression::Snappy), Codec::SNAPPY),
        (Some(Compression::None), Codec::UNCOMPRESSED),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = write(
            folder.path(),
            &OutputSpec {
                compression,
                ..OutputSpec::new("a.parquet")
            },
            &ids(3),
            &full_row(),
            3,
        );
        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        assert_eq!(
            reader.metadata().row_group(0).column(0).compression(),
            codec
        );
    }
}

#[test]
fn writes_an_output_without_rows() {
    for name in ["a.parquet", "a.arrow", "a.csv", "a.tsv", "a.jsonl"] {
        let folder = tempfile::tempdir().unwrap();
        let path = write(
            folder.path(),
            &OutputSpec::new(name),
            &ids(0),
            &full_row(),
            1,
        );
        match name {
            "a.parquet" => assert_eq!(read_parquet(&path).num_columns(), 21),
            "a.arrow" => assert_eq!(read_ipc(&path).num_columns(), 21),
            "a.jsonl" => assert_eq!(std::fs::read_to_string(&path).unwrap(), ""),
            _ => assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1),
        }
    }
}

#[test]
fn keeps_metadata_of_an_ipc_file_in_its_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        &OutputSpec::new("a.arrow"),
        &ids(10),
        &full_row(),
        3,
    );
    let read = read_ipc(&path);
    assert_eq!(
        read.schema()
            .metadata()
            .get("rowmill.run")
            .map(String::as_str),
        Some("r1")
    );
    assert_eq!(read.column(0), ids(10).column(0));
}

#[test]
fn writes_batches_with_dictionaries_of_their_own() {
    let words = |words: &[&str]| -> ArrayRef {
        Arc::new(
            words
                .iter()
                .copied()
                .map(Some)
                .collect::<DictionaryArray<Int32Type>>(),
        )
    };
    let batches = [
        table(vec![("w", words(&["a", "b"]))]),
        table(vec![("w", words(&["c", "a"]))]),
    ];
    for name in ["a.parquet", "a.arrow", "a.jsonl"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let spec = OutputSpec::new(name);
        let schema = OutputSchema::new(&batches[0].schema(), &[], &spec).unwrap();
        let mut writer = OutputWriter::create(&spec, &path, &schema, vec![]).unwrap();
        let mut rows = RowBuilders::new(&schema, None, 2);
        for batch in &batches {
            (0..2).for_each(|_| rows.append(&full_row()));
            writer.write(&rows.finish(batch).unwrap()).unwrap();
        }
        writer.finish().unwrap();
        let expected: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "a"]));
        let read = match name {
            "a.parquet" => read_parquet(&path).column(0).clone(),
            "a.arrow" => read_ipc(&path).column(0).clone(),
            _ => {
                let text = std::fs::read_to_string(&path).unwrap();
                let word = |line: &str| line[6..7].to_owned();
                Arc::new(StringArray::from_iter_values(text.lines().map(word)))
            }
        };
        assert_eq!(
            matches!(read.data_type(), DataType::Dictionary(..)),
            name == "a.parquet"
        );
        assert_eq!(
            &arrow::compute::cast(&read, &DataType::Utf8).unwrap(),
            &expected,
            "{name}"
        );
    }
}

#[test]
fn shows_nothing_until_it_is_complete() {
    for name in ["a.parquet", "a.arrow", "a.csv", "a.jsonl"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, "old").unwrap();
        let spec = OutputSpec::new(name);
        let schema = OutputSchema::new(&ids(0).schema(), &[], &spec).unwrap();
        let mut rows = RowBuilders::new(&schema, None, 1);
        let mut writer = OutputWriter::create(&spec, &path, &schema, vec![]).unwrap();
        rows.append(&full_row());
        writer.write(&rows.finish(&ids(1)).unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        drop(writer);
        assert_eq!(names_in(folder.path()), [name]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    }
}

#[test]
fn makes_the_folder_and_leaves_only_the_file_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        &OutputSpec::new("new/deeper/a.csv"),
        &ids(2),
        &full_row(),
        1,
    );
    assert_eq!(names_in(path.parent().unwrap()), ["a.csv"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let usual = folder.path().join("usual");
        std::fs::write(&usual, "").unwrap();
        assert_eq!(
            mode,
            std::fs::metadata(&usual).unwrap().permissions().mode() & 0o777
        );
    }
}

#[cfg(unix)]
#[test]
fn writes_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/real.csv"), "old").unwrap();
    std::os::unix::fs::symlink("data/real.csv", folder.path().join("link.csv")).unwrap();
    let path = write(
        folder.path(),
        &OutputSpec::new("link.csv"),
        &ids(1),
        &full_row(),
        1,
    );
    assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
    assert!(
        std::fs::read_to_string(folder.path().join("data/real.csv"))
            .unwrap()
            .starts_with("id,_rm_status")
    );
}

#[test]
fn looks_at_the_place_without_touching_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    std::fs::write(folder.path().join("old.csv"), "").unwrap();
    let before = names_in(folder.path());
    for name in ["a.csv", "old.csv", "not/yet/there/a.csv"] {
        check_writable(&folder.path().join(name)).unwrap();
    }
    check_writable(Path::new("a.csv")).unwrap();
    for (name, expected) in [
        ("", "is a folder"),
        ("x/", "is a folder"),
        ("..", "is a folder"),
        ("file/a.csv", "cannot write in the folder"),
    ] {
        let error = check_writable(&folder.path().join(name))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    assert_eq!(names_in(folder.path()), before);
    #[cfg(target_os = "linux")]
    for (path, expected) in [
        ("/dev/null", "is not an ordinary file"),
        ("/proc/no/a.csv", "cannot write in the folder `/proc`"),
    ] {
        let error = check_writable(Path::new(path)).unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
        let schema = OutputSchema::new(&ids(0).schema(), &[], &OutputSpec::new("a.csv")).unwrap();
        assert!(
            OutputWriter::create(&OutputSpec::new("a.csv"), Path::new(path), &schema, vec![])
                .is_err()
        );
    }
}
