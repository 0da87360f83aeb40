//! Parquet and Arrow files through complete runs.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::schema::types::{SchemaDescriptor, Type};

use crate::support::Workdir;

const JOB: &str = r#"
[job]
name = "columnar"
[source]
path = "in.parquet"
[key]
columns = ["id"]
[request]
model = "claude-haiku-4-5"
max_tokens = 50
messages = [{ role = "user", text = "{{ id }}: {{ text }}" }]
[output]
path = "out.parquet"
"#;

/// Two rows with a UUID, as other programs write them.
fn with_uuids() -> Vec<u8> {
    let ids = FixedSizeBinaryArray::try_from_iter([[0x12_u8; 16], [0xff; 16]].into_iter()).unwrap();
    let text = StringArray::from(vec!["a", "b"]);
    let rows =
        RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("text", Arc::new(text))])
            .unwrap();
    let leaf = |name: &str, physical, length, logical| {
        let builder = Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::REQUIRED)
            .with_length(length);
        Arc::new(builder.with_logical_type(Some(logical)).build().unwrap())
    };
    let fields = vec![
        leaf("id", Physical::FIXED_LEN_BYTE_ARRAY, 16, LogicalType::Uuid),
        leaf("text", Physical::BYTE_ARRAY, -1, LogicalType::String),
    ];
    let root = Type::group_type_builder("schema")
        .with_fields(fields)
        .build()
        .unwrap();
    parquet_of(&rows, root)
}

#[test]
fn a_uuid_is_read_by_people_and_joins_again() {
    let dir = Workdir::new();
    dir.write("in.parquet", with_uuids()).write("job.toml", JOB);
    let preview = dir.rowmill(&["preview", "job.toml"]);
    assert!(
        preview
            .stdout
            .contains("12121212-1212-1212-1212-121212121212: a"),
        "{}",
        preview.stdout
    );
    let run = dir.rowmill(&["run", "job.toml", "--simulate"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout
            .contains("\nffffffff-ffff-ffff-ffff-ffffffffffff  b "),
        "{}",
        run.stdout
    );
    let reader = SerializedFileReader::new(File::open(dir.output("out.parquet")).unwrap()).unwrap();
    let column = reader.metadata().file_metadata().schema_descr().column(0);
    assert_eq!(column.logical_type_ref(), Some(&LogicalType::Uuid));
    let table = dir.parquet("out.parquet");
    let ids = table.batch.column_by_name("_rm_custom_id").unwrap();
    let ids = arrow::util::display::array_value_to_string(ids, 1).unwrap();
    assert!(
        ids.ends_with("-ffffffff-ffff-ffff-ffff-ffffffffffff"),
        "{ids}"
    );
}

/// A Parquet file with types that the Arrow schema does not show.
fn parquet_of(rows: &RecordBatch, root: Type) -> Vec<u8> {
    let options = ArrowWriterOptions::new()
        .with_parquet_schema(SchemaDescriptor::new(Arc::new(root)))
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}

/// Two rows with a number of 77 digits, which is not supported, and text.
fn with_a_wide_decimal() -> Vec<u8> {
    let wide = FixedSizeBinaryArray::try_from_iter([[0_u8; 33], [1; 33]].into_iter()).unwrap();
    let text = StringArray::from(vec!["a", "b"]);
    let rows = RecordBatch::try_from_iter([
        ("wide", Arc::new(wide) as ArrayRef),
        ("text", Arc::new(text)),
    ])
    .unwrap();
    let message = "message rows \
        { REQUIRED FIXED_LEN_BYTE_ARRAY(33) wide (DECIMAL(77,38)); REQUIRED BYTE_ARRAY text (UTF8); }";
    let root = parquet::schema::parser::parse_message_type(message).unwrap();
    parquet_of(&rows, root)
}

#[test]
fn init_leaves_a_column_out_that_cannot_be_read() {
    let dir = Workdir::new();
    dir.write("in.parquet", with_a_wide_decimal());
    let init = dir
        .rowmill(&["init", "in.parquet", "--out", "job.toml"])
        .expect(0)
        .says("column `wide` cannot be read");
    assert!(
        init.stderr.contains("the job file leaves it out"),
        "{}",
        init.stderr
    );
    assert!(
        dir.read("job.toml").contains("columns = [\"text\"]"),
        "{}",
        dir.read("job.toml")
    );
    dir.rowmill(&["check", "job.toml"]).expect(0);
    dir.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
}

#[test]
fn a_damaged_file_is_an_error_without_a_trace_of_the_build() {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..50).map(|n| format!("text {n}")),
    ));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..50));
    let rows = RecordBatch::try_from_iter([("text", texts), ("n", numbers)]).unwrap();
    let mut writer = FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    let whole = writer.into_inner().unwrap();
    let dir = Workdir::new();
    let (mut failed, step) = (0, whole.len() / 24);
    for place in (8..whole.len()).step_by(step.max(1)) {
        let mut damaged = whole.clone();
        for byte in damaged.iter_mut().skip(place).take(8) {
            *byte = 0xff;
        }
        dir.write("in.arrow", &damaged);
        let init = dir.rowmill(&["init", "in.arrow", "--force"]);
        assert!(matches!(init.code, 0 | 2), "byte {place}: {}", init.stderr);
        for word in [
            "panicked",
            "RUST_BACKTRACE",
            "registry/src",
            "bug in rowmill",
        ] {
            assert!(!init.stderr.contains(word), "byte {place}: {}", init.stderr);
        }
        failed += u32::from(init.code == 2);
    }
    assert!(failed > 5, "{failed} damaged files were noticed");
}

#[test]
fn names_that_differ_in_letter_case_only_are_refused_or_told_of() {
    let dir = Workdir::new();
    let job = JOB.replace("in.parquet", "in.csv");
    dir.write("in.csv", "id,text,_RM_STATUS\na,x,old\n")
        .write("job.toml", &job);
    let check = dir.rowmill(&["check", "job.toml"]);
    assert_eq!(check.code, 2, "{}", check.stderr);
    assert!(
        check.stderr.contains("`_RM_STATUS` and `_rm_status`"),
        "{}",
        check.stderr
    );
    assert!(check.stderr.contains("`output.prefix`"), "{}", check.stderr);
    dir.write("in.csv", "id,text,Text\na,x,old\n");
    let check = dir.rowmill(&["check", "job.toml"]);
    assert_eq!(check.code, 0, "{}", check.stderr);
    assert!(
        check
            .stderr
            .contains("the input columns `text` and `Text` differ only in letter case"),
        "{}",
        check.stderr
    );
}

#[test]
fn an_expression_that_makes_gigabytes_is_refused_before_it_does() {
    let dir = Workdir::new();
    let job = JOB.replace(
        "in.parquet\"",
        "in.csv\"\nderive.x = \"rpad(text, 2000000000, 'x')\"",
    );
    dir.write("in.csv", "id,text\na,x\n")
        .write("job.toml", &job);
    let check = dir.rowmill(&["check", "job.toml"]);
    assert_eq!(check.code, 2, "{}", check.stderr);
    assert!(
        check
            .stderr
            .contains("can produce 2000000000 bytes from one row; the limit is 67108864"),
        "{}",
        check.stderr
    );
}
