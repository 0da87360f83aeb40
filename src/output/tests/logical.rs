//! What columns mean beside their Arrow types: from a Parquet file through the source into an
//! output.

use ::parquet::arrow::arrow_writer::ArrowWriterOptions;
use ::parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use ::parquet::basic::{
    ConvertedType, EdgeInterpolationAlgorithm, LogicalType, Repetition, TimeUnit as ParquetUnit,
    Type as Physical,
};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use arrow::array::{
    AsArray, BinaryArray, Date64Array, FixedSizeBinaryArray, ListArray, StringArray, StructArray,
    Time32SecondArray, Time64MicrosecondArray, TimestampSecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Fields};

use super::*;
use crate::source::{Source, SourceSpec};

const UUID: [u8; 16] = [
    0x12, 0x34, 0x56, 0x78, 0x90, 0xab, 0xcd, 0xef, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn leaf(name: &str, physical: Physical, length: i32, logical: LogicalType) -> TypePtr {
    let builder = Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_length(length);
    Arc::new(builder.with_logical_type(Some(logical)).build().unwrap())
}

fn bytes(values: &[&[u8]]) -> ArrayRef {
    Arc::new(BinaryArray::from_vec(values.to_vec()))
}

fn uuids() -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::try_from_iter([UUID, [0xff; 16]].into_iter()).unwrap())
}

/// A column as it is written: its cells, and its Parquet type where that is more than the crate
/// makes of the Arrow type.
fn columns() -> Vec<(&'static str, ArrayRef, Option<TypePtr>)> {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["{}", "[1]"]));
    let item: Arc<Field> = Arc::new(Field::new("element", DataType::FixedSizeBinary(16), true));
    let list: ArrayRef = Arc::new(ListArray::new(
        item,
        OffsetBuffer::from_lengths([2, 0]),
        uuids(),
        None,
    ));
    let group = |name: &str, fields: Vec<TypePtr>, logical| {
        let builder = Type::group_type_builder(name)
            .with_fields(fields)
            .with_logical_type(logical);
        Arc::new(
            builder
                .with_repetition(Repetition::OPTIONAL)
                .build()
                .unwrap(),
        )
    };
    let element = leaf(
        "element",
        Physical::FIXED_LEN_BYTE_ARRAY,
        16,
        LogicalType::Uuid,
    );
    let repeated = Type::group_type_builder("list")
        .with_fields(vec![element])
        .with_repetition(Repetition::REPEATED);
    let of_list = group(
        "uuids",
        vec![Arc::new(repeated.build().unwrap())],
        Some(LogicalType::List),
    );
    let members = |names: [&str; 2], data_type: DataType| {
        names
            .map(|name| Field::new(name, data_type.clone(), true))
            .to_vec()
    };
    let pair = |names, data_type, cells: ArrayRef| -> ArrayRef {
        Arc::new(StructArray::new(
            Fields::from(members(names, data_type)),
            vec![cells.clone(), cells],
            None,
        ))
    };
    let plain = |name: &str| {
        let builder = Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
            .with_repetition(Repetition::OPTIONAL);
        Arc::new(builder.build().unwrap())
    };
    let variant = group(
        "variant",
        vec![plain("metadata"), plain("value")],
        Some(LogicalType::variant(Some(1))),
    );
    let wkb = || bytes(&[b"\x01\x01", b"\x01\x02"]);
    let projected = Some("EPSG:3857".to_owned());
    vec![
        (
            "id",
            uuids(),
            Some(leaf(
                "id",
                Physical::FIXED_LEN_BYTE_ARRAY,
                16,
                LogicalType::Uuid,
            )),
        ),
        (
            "json",
            text.clone(),
            Some(leaf("json", Physical::BYTE_ARRAY, -1, LogicalType::Json)),
        ),
        (
            "enum",
            text.clone(),
            Some(leaf("enum", Physical::BYTE_ARRAY, -1, LogicalType::Enum)),
        ),
        (
            "bson",
            wkb(),
            Some(leaf("bson", Physical::BYTE_ARRAY, -1, LogicalType::Bson)),
        ),
        (
            "place",
            wkb(),
            Some(leaf(
                "place",
                Physical::BYTE_ARRAY,
                -1,
                LogicalType::geometry(projected.clone()),
            )),
        ),
        (
            "round",
            wkb(),
            Some(leaf(
                "round",
                Physical::BYTE_ARRAY,
                -1,
                LogicalType::geography(projected, Some(EdgeInterpolationAlgorithm::KARNEY)),
            )),
        ),
        (
            "utc_time",
            Arc::new(Time64MicrosecondArray::from(vec![1, 2])),
            Some(leaf(
                "utc_time",
                Physical::INT64,
                -1,
                LogicalType::time(true, ParquetUnit::MICROS),
            )),
        ),
        ("uuids", list, Some(of_list)),
        (
            "variant",
            pair(["metadata", "value"], DataType::Binary, wkb()),
            Some(variant),
        ),
        ("text", text, None),
        (
            "day",
            Arc::new(Date64Array::from(vec![86_400_000, -86_400_000])),
            None,
        ),
        (
            "at",
            Arc::new(TimestampSecondArray::from(vec![1, -1])),
            None,
        ),
        (
            "of_day",
            Arc::new(Time32SecondArray::from(vec![1, 2])),
            None,
        ),
        (
            "nested",
            pair(
                ["a", "b"],
                DataType::Date64,
                Arc::new(Date64Array::from(vec![86_400_000, -86_400_000])),
            ),
            None,
        ),
    ]
}

/// A file of these columns, with metadata of its own.
fn file(path: &Path) {
    let columns = columns();
    let batch = table(
        columns
            .iter()
            .map(|(name, cells, _)| (*name, cells.clone()))
            .collect(),
    );
    let converted = ArrowSchemaConverter::new()
        .convert(&batch.schema())
        .unwrap();
    let root = converted.root_schema();
    let fields = columns
        .iter()
        .zip(root.get_fields())
        .map(|((.., own), made)| own.clone().unwrap_or_else(|| made.clone()));
    let root = Type::group_type_builder("schema")
        .with_fields(fields.collect())
        .build()
        .unwrap();
    let options =
        ArrowWriterOptions::new().with_parquet_schema(SchemaDescriptor::new(Arc::new(root)));
    let mut writer =
        ArrowWriter::try_new_with_options(File::create(path).unwrap(), batch.schema(), options)
            .unwrap();
    writer.write(&batch).unwrap();
    for (key, value) in [
        ("pandas", "{}"),
        (
            "geo",
            r#"{"primary_column":"place","columns":{"place":{}}}"#,
        ),
        ("own", "x"),
        ("rowmill.run", "earlier"),
    ] {
        writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_owned()));
    }
    writer.close().unwrap();
}

fn read(folder: &Path, spec: &SourceSpec) -> RecordBatch {
    let source = Source::open(spec, folder).unwrap();
    let batches: Vec<_> = source
        .scan(None)
        .unwrap()
        .map(|rows| rows.unwrap().batch)
        .collect();
    concat_batches(source.schema(), &batches).unwrap()
}

/// The logical types of an output, by column path.
fn logical_types(path: &Path) -> Vec<(String, String)> {
    fn walk(of_file: &Type, above: &str, found: &mut Vec<(String, String)>) {
        let info = of_file.get_basic_info();
        let path = format!("{above}{}", of_file.name());
        let logical = info
            .logical_type_ref()
            .map_or_else(|| "-".to_owned(), |logical| format!("{logical:?}"));
        if of_file.is_primitive() || logical.contains("Variant") {
            let physical = if of_file.is_primitive() {
                format!("{} ", of_file.get_physical_type())
            } else {
                String::new()
            };
            found.push((path.clone(), format!("{physical}{logical}")));
        }
        if of_file.is_group() {
            of_file
                .get_fields()
                .iter()
                .for_each(|field| walk(field, &format!("{path}."), found));
        }
    }
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let mut found = Vec::new();
    let schema = reader.metadata().file_metadata().schema_descr();
    schema
        .root_schema()
        .get_fields()
        .iter()
        .for_each(|field| walk(field, "", &mut found));
    found.retain(|(path, _)| !path.starts_with("_rm_"));
    found
}

#[test]
fn keeps_the_logical_types_and_the_metadata_of_a_parquet_source() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder.path().join("in.parquet"));
    let rows = read(
        folder.path(),
        &SourceSpec {
            path: "in.parquet".into(),
            ..SourceSpec::default()
        },
    );
    assert_eq!(
        rows.column(0).as_string::<i32>().value(0),
        "12345678-90ab-cdef-0000-000000000000"
    );
    let path = write(
        folder.path(),
        &OutputSpec::new("out.parquet"),
        &rows,
        &full_row(),
        2,
    );
    let geo = |kind: &str, rest: &str| {
        format!("BYTE_ARRAY {kind}({kind}Type {{ crs: Some(\"EPSG:3857\"){rest} }})")
    };
    let expected = [
        ("id", "FIXED_LEN_BYTE_ARRAY Uuid".to_owned()),
        ("json", "BYTE_ARRAY Json".to_owned()),
        ("enum", "BYTE_ARRAY Enum".to_owned()),
        ("bson", "BYTE_ARRAY Bson".to_owned()),
        ("place", geo("Geometry", "")),
        ("round", geo("Geography", ", algorithm: Some(KARNEY)")),
        (
            "utc_time",
            "INT64 Time(TimestampType { is_adjusted_to_u_t_c: true, unit: MICROS })".to_owned(),
        ),
        ("uuids.list.element", "FIXED_LEN_BYTE_ARRAY Uuid".to_owned()),
        (
            "variant",
            "Variant(VariantType { specification_version: Some(1) })".to_owned(),
        ),
        ("variant.metadata", "BYTE_ARRAY -".to_owned()),
        ("variant.value", "BYTE_ARRAY -".to_owned()),
        ("text", "BYTE_ARRAY String".to_owned()),
        ("day", "INT32 Date".to_owned()),
        (
            "at",
            "INT64 Timestamp(TimestampType { is_adjusted_to_u_t_c: false, unit: MILLIS })"
                .to_owned(),
        ),
        (
            "of_day",
            "INT32 Time(TimestampType { is_adjusted_to_u_t_c: false, unit: MILLIS })".to_owned(),
        ),
        ("nested.a", "INT32 Date".to_owned()),
        ("nested.b", "INT32 Date".to_owned()),
    ]
    .map(|(path, logical)| (path.to_owned(), logical));
    assert_eq!(logical_types(&path), expected);

    let written = read_parquet(&path);
    assert_eq!(written.column(0).as_fixed_size_binary().value(0), UUID);
    assert_eq!(
        written.column(0).as_fixed_size_binary().value(1),
        [0xff; 16]
    );
    let list = written.column(7).as_list::<i32>();
    assert_eq!(list.value(0).as_fixed_size_binary().value(0), UUID);
    let metadata = written.schema().metadata().clone();
    let value_of = |key: &str| metadata.get(key).map(String::as_str);
    assert_eq!(
        (value_of("pandas"), value_of("own"), value_of("rowmill.run"),),
        (Some("{}"), Some("x"), Some("r1"))
    );
    assert!(value_of("geo").is_some());
    // A second time through, nothing changes any more.
    let again = read(
        folder.path(),
        &SourceSpec {
            path: "out.parquet".into(),
            ..SourceSpec::default()
        },
    );
    let again = again
        .project(&(0..rows.num_columns()).collect::<Vec<_>>())
        .unwrap();
    let path = write(
        folder.path(),
        &OutputSpec::new("again.parquet"),
        &again,
        &full_row(),
        2,
    );
    assert_eq!(logical_types(&path), expected);
}

#[test]
fn leaves_out_what_names_columns_that_the_output_has_not() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder.path().join("in.parquet"));
    let rows = read(
        folder.path(),
        &SourceSpec {
            path: "in.parquet".into(),
            ..SourceSpec::default()
        },
    );
    let spec = OutputSpec {
        columns: KeptColumns::Named(vec!["id".into()]),
        ..OutputSpec::new("out.parquet")
    };
    let written = read_parquet(&write(folder.path(), &spec, &rows, &full_row(), 2));
    assert_eq!(
        (
            written.schema().metadata().get("geo"),
            written.num_columns()
        ),
        (None, 21)
    );
    assert_eq!(
        written.schema().metadata().get("own").map(String::as_str),
        Some("x")
    );
}

#[test]
fn says_what_a_format_does_not_keep() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder.path().join("in.parquet"));
    let rows = read(
        folder.path(),
        &SourceSpec {
            path: "in.parquet".into(),
            ..SourceSpec::default()
        },
    );
    let losses = |schema: &Schema, name: &str| {
        OutputSchema::new(schema, &[], &OutputSpec::new(name))
            .unwrap()
            .losses()
    };
    assert_eq!(
        losses(&rows.schema(), "out.csv"),
        [OutputWarning::LostMetadata {
            format: Format::Csv,
            keys: vec!["geo".to_owned(), "own".to_owned()],
        }]
    );
    assert!(losses(&rows.schema(), "out.parquet").is_empty());
    let duration = DataType::Duration(arrow::datatypes::TimeUnit::Second);
    let nested = DataType::Struct(vec![Field::new("d", duration, true)].into());
    let found = losses(
        &Schema::new(vec![Field::new("took", nested, true)]),
        "out.parquet",
    );
    assert_eq!(
        found,
        [OutputWarning::PlainDuration {
            column: "took".to_owned()
        }]
    );
}

#[test]
fn gives_a_uuid_to_arrow_and_text_formats_as_they_know_it() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder.path().join("in.parquet"));
    let spec = SourceSpec {
        path: "in.parquet".into(),
        ..SourceSpec::default()
    };
    let rows = read(folder.path(), &spec).project(&[0, 7]).unwrap();
    let ipc = read_ipc(&write(
        folder.path(),
        &OutputSpec::new("out.arrow"),
        &rows,
        &full_row(),
        2,
    ));
    assert_eq!(
        ipc.schema().field(0).data_type(),
        &DataType::FixedSizeBinary(16)
    );
    assert_eq!(
        ipc.schema()
            .field(0)
            .metadata()
            .get("ARROW:extension:name")
            .map(String::as_str),
        Some("arrow.uuid")
    );
    let text = written_text("out.csv", &rows);
    let line = text.lines().nth(1).unwrap();
    assert!(
        line.starts_with(r#"12345678-90ab-cdef-0000-000000000000,"[""12345678-90ab-cdef"#),
        "{line}"
    );
    // As text by the job's wish, it is text for good; as bytes, it is what stands in the file.
    for (asked, expected) in [("string", "BYTE_ARRAY String"), ("binary", "BYTE_ARRAY -")] {
        let columns = [("id".to_owned(), asked.to_owned())].into_iter().collect();
        let rows = read(
            folder.path(),
            &SourceSpec {
                columns,
                ..spec.clone()
            },
        )
        .project(&[0])
        .unwrap();
        let path = write(
            folder.path(),
            &OutputSpec::new("out.parquet"),
            &rows,
            &full_row(),
            2,
        );
        assert_eq!(
            logical_types(&path),
            [("id".to_owned(), expected.to_owned())]
        );
        let first = arrow::util::display::array_value_to_string(rows.column(0), 0).unwrap();
        assert_eq!(
            first,
            if asked == "string" {
                "12345678-90ab-cdef-0000-000000000000"
            } else {
                "1234567890abcdef0000000000000000"
            }
        );
    }
}

#[test]
fn filters_and_derives_by_the_text_of_a_uuid() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder.path().join("in.parquet"));
    let derive = [(
        "short".to_owned(),
        "LEFT(CAST(id AS VARCHAR), 8)".to_owned(),
    )]
    .into_iter()
    .collect();
    let filter = Some("id = '12345678-90ab-cdef-0000-000000000000'".to_owned());
    let rows = read(
        folder.path(),
        &SourceSpec {
            path: "in.parquet".into(),
            derive,
            filter,
            ..SourceSpec::default()
        },
    );
    let short = rows.column_by_name("short").unwrap().as_string::<i32>();
    assert_eq!((rows.num_rows(), short.value(0)), (1, "12345678"));
}

#[test]
fn keeps_what_several_files_agree_on() {
    let folder = tempfile::tempdir().unwrap();
    let parts = folder.path().join("parts");
    std::fs::create_dir(&parts).unwrap();
    file(&parts.join("a.parquet"));
    // The second file has the text of a UUID in a column without a mark, and other metadata.
    let spec = SourceSpec {
        path: "parts/a.parquet".into(),
        ..SourceSpec::default()
    };
    let rows = read(folder.path(), &spec).project(&[0, 9]).unwrap();
    let text = RecordBatch::try_from_iter([
        ("id", rows.column(0).clone()),
        ("text", rows.column(1).clone()),
    ])
    .unwrap();
    let marked = folder.path().join("marked");
    std::fs::create_dir(&marked).unwrap();
    write(
        &marked,
        &OutputSpec {
            columns: KeptColumns::All,
            ..OutputSpec::new("a.parquet")
        },
        &rows,
        &full_row(),
        2,
    );
    write(
        &marked,
        &OutputSpec::new("b.parquet"),
        &text,
        &full_row(),
        2,
    );
    let both = read(
        folder.path(),
        &SourceSpec {
            path: "marked/*.parquet".into(),
            ..SourceSpec::default()
        },
    );
    let both = both.project(&[0, 1]).unwrap();
    assert_eq!(both.num_rows(), 4);
    assert!(both.schema().metadata().get("own").is_none());
    let path = write(
        folder.path(),
        &OutputSpec::new("out.parquet"),
        &both,
        &full_row(),
        2,
    );
    assert_eq!(
        logical_types(&path)[0],
        ("id".to_owned(), "BYTE_ARRAY String".to_owned())
    );
}

#[test]
fn reads_marks_of_the_older_kind() {
    let leaf = |name: &str, converted| {
        let builder = Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
            .with_repetition(Repetition::OPTIONAL);
        Arc::new(builder.with_converted_type(converted).build().unwrap())
    };
    let fields = vec![
        leaf("j", ConvertedType::JSON),
        leaf("e", ConvertedType::ENUM),
    ];
    let root = Type::group_type_builder("schema")
        .with_fields(fields)
        .build()
        .unwrap();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["{}"]));
    let batch = table(vec![("j", text.clone()), ("e", text)]);
    let folder = tempfile::tempdir().unwrap();
    let options =
        ArrowWriterOptions::new().with_parquet_schema(SchemaDescriptor::new(Arc::new(root)));
    let path = File::create(folder.path().join("in.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new_with_options(path, batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let rows = read(
        folder.path(),
        &SourceSpec {
            path: "in.parquet".into(),
            ..SourceSpec::default()
        },
    );
    let path = write(
        folder.path(),
        &OutputSpec::new("out.parquet"),
        &rows,
        &full_row(),
        2,
    );
    let expected = [("j", "BYTE_ARRAY Json"), ("e", "BYTE_ARRAY Enum")];
    assert_eq!(
        logical_types(&path),
        expected.map(|(name, logical)| (name.to_owned(), logical.to_owned()))
    );
}
