//! Parquet and Arrow IPC.

use super::*;

#[test]
fn passes_over_row_groups_and_still_counts_their_rows() {
    let folder = Folder::new()
        .with(
            "a.parquet",
            parquet_bytes(&hundred_rows(0), 10, EnabledStatistics::Page),
        )
        .with(
            "b.parquet",
            parquet_bytes(&hundred_rows(100), 10, EnabledStatistics::Chunk),
        )
        .with(
            "c.parquet",
            parquet_bytes(&hundred_rows(200), 10, EnabledStatistics::None),
        );
    for (predicate, expected) in [
        ("id = 142", vec![142]),
        ("id BETWEEN 95 AND 104", (95..105).collect()),
        ("id >= 298 OR text = 't005'", vec![5, 298, 299]),
        ("text > 't295'", (296..300).collect()),
        ("number < 1", vec![1]),
        ("number > 149", vec![299]),
        ("id > 40 AND text < 't043'", vec![41, 42]),
        ("id = 1000", vec![]),
        (
            "id < 30 AND number IS NULL",
            (0..30).filter(|id| id % 7 == 0 || *id >= 20).collect(),
        ),
    ] {
        let source = folder
            .open(&with("*.parquet", |s| {
                s.filter = Some(predicate.to_owned())
            }))
            .unwrap();
        assert_eq!(source.rows_hint(), Some(300));
        let (cells, positions) = rows_of(&source).unwrap();
        assert_eq!(positions, expected, "{predicate}");
        assert_eq!(
            cells
                .iter()
                .map(|row| row[0].parse().unwrap())
                .collect::<Vec<u64>>(),
            expected,
            "{predicate}"
        );
    }
}

#[test]
fn reads_only_the_row_groups_that_may_match() {
    let folder = Folder::new().with(
        "a.parquet",
        parquet_bytes(&hundred_rows(0), 10, EnabledStatistics::Chunk),
    );
    let input = Arc::new(Input::of_file(&folder.path().join("a.parquet"), None).unwrap());
    let schema = hundred_rows(0).schema();
    let groups = |column: &str, op: BoundOp, value: BoundValue| {
        let bound = Bound {
            column: column.to_owned(),
            op,
            value,
        };
        let pieces =
            parquet::ParquetRows::open(input.clone(), schema.clone(), &[bound], MAX_CELL_BYTES)
                .unwrap();
        let read = pieces.map(|piece| matches!(piece.unwrap(), scan::FileBatch::Rows(_)));
        read.enumerate()
            .filter(|(_, read)| *read)
            .map(|(group, _)| group)
            .collect::<Vec<_>>()
    };
    assert_eq!(groups("id", BoundOp::Eq, BoundValue::Int(35)), [3]);
    assert_eq!(groups("id", BoundOp::GtEq, BoundValue::Int(80)), [8, 9]);
    assert_eq!(
        groups("text", BoundOp::Lt, BoundValue::Text("t010".to_owned())),
        [0]
    );
    // Floats are bounded from above only; the third row group holds nothing but nulls.
    assert_eq!(
        groups("number", BoundOp::LtEq, BoundValue::Float(15.0)),
        [0, 1, 3]
    );
    assert_eq!(
        groups("number", BoundOp::Gt, BoundValue::Float(1e9)),
        [0, 1, 3, 4, 5, 6, 7, 8, 9]
    );
}

#[test]
fn finds_not_a_number_where_statistics_leave_it_out() {
    let values = batch(vec![(
        "x",
        Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0])),
    )]);
    let folder = Folder::new().with(
        "a.parquet",
        parquet_bytes(&values, 10, EnabledStatistics::Page),
    );
    let source = folder
        .open(&with("a.parquet", |s| s.filter = Some("x > 5".to_owned())))
        .unwrap();
    assert_eq!(rows_of(&source).unwrap().1, [1]);
}

#[test]
fn does_not_prune_a_column_whose_type_the_job_changed() {
    let folder = Folder::new().with(
        "a.parquet",
        parquet_bytes(&hundred_rows(0), 10, EnabledStatistics::Page),
    );
    let source = folder.open(&with("a.parquet", |s| {
        s.filter = Some("id < '2'".to_owned());
        s.columns = map(&[("id", "string")]);
    }));
    let (cells, _) = rows_of(&source.unwrap()).unwrap();
    assert_eq!(
        cells
            .iter()
            .map(|row| row[0].as_str())
            .collect::<Vec<_>>()
            .len(),
        12
    );
    assert_eq!(cells[0][0], "0");
}

#[test]
fn cuts_batches_by_rows_and_by_bytes() {
    let pictures = (0..300_u32)
        .map(|i| vec![i as u8; 150_000])
        .collect::<Vec<_>>();
    let one_picture = vec![vec![7_u8; 150_000]; 300];
    for pictures in [pictures, one_picture] {
        let rows = batch(vec![(
            "picture",
            Arc::new(BinaryArray::from_iter_values(pictures)),
        )]);
        let mut stream = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
        stream.write(&rows).unwrap();
        let folder = Folder::new()
            .with(
                "a.parquet",
                parquet_bytes(&rows, 1000, EnabledStatistics::None),
            )
            .with("a.arrow", stream.into_inner().unwrap());
        for name in ["a.parquet", "a.arrow"] {
            let source = folder.open(&spec(name)).unwrap();
            let mut read = 0;
            for rows in source.scan(None).unwrap() {
                let rows = rows.unwrap();
                assert!(
                    rows.batch.num_rows() <= 120,
                    "{name}: {} rows",
                    rows.batch.num_rows()
                );
                read += rows.batch.num_rows();
            }
            assert_eq!(read, 300);
        }
    }
}

#[test]
fn cuts_text_formats_by_bytes() {
    let row = "x".repeat(1 << 20);
    let csv = format!("a\n{}", format!("{row}\n").repeat(40));
    let jsonl = format!("{{\"a\":\"{row}\"}}\n").repeat(40);
    let folder = Folder::new().with("a.csv", csv).with("a.jsonl", jsonl);
    for name in ["a.csv", "a.jsonl"] {
        let source = folder.open(&spec(name)).unwrap();
        let sizes: Vec<usize> = source
            .scan(None)
            .unwrap()
            .map(|rows| rows.unwrap().batch.num_rows())
            .collect();
        assert_eq!(sizes.iter().sum::<usize>(), 40);
        assert!(sizes.iter().all(|rows| *rows <= 17), "{name}: {sizes:?}");
    }
}

#[test]
fn reads_what_the_parquet_crate_reads() {
    let mut files = 0;
    for entry in fs::read_dir(test_data("parquet")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "parquet")
        {
            continue;
        }
        let source = Source::open(&spec(path.to_str().unwrap()), Path::new(""));
        let source = source.unwrap();
        // Read with the stored types, since old timestamps are read in another unit than the
        // crate's own, and UUIDs are text here.
        let fields = source
            .schema()
            .fields()
            .iter()
            .map(super::super::logical::stored)
            .collect::<Vec<_>>();
        let stored: SchemaRef = Arc::new(Schema::new(fields));
        let with_types = ArrowReaderOptions::new().with_schema(stored.clone());
        let file = fs::File::open(&path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, with_types)
            .unwrap()
            .build()
            .unwrap();
        let whole = |schema: &SchemaRef, batches: Vec<RecordBatch>| {
            arrow::compute::concat_batches(schema, &batches).unwrap()
        };
        let expected = whole(&stored, reader.map(Result::unwrap).collect());
        let read = whole(
            source.schema(),
            source
                .scan(None)
                .unwrap()
                .map(|rows| rows.unwrap().batch)
                .collect(),
        );
        assert_eq!(source.rows_hint(), Some(read.num_rows() as u64));
        for (place, column) in read.columns().iter().enumerate() {
            let column =
                super::super::logical::stored_cells(column, &stored.fields()[place]).unwrap();
            assert_eq!(&column, expected.column(place), "{}", path.display());
        }
        files += 1;
    }
    assert_eq!(files, 39);
}

#[test]
fn refuses_files_that_do_not_agree() {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let large: ArrayRef = Arc::new(arrow::array::LargeStringArray::from(vec!["y"]));
    let bytes = |columns| parquet_bytes(&batch(columns), 10, EnabledStatistics::None);
    let folder = Folder::new()
        .with(
            "a.parquet",
            bytes(vec![("id", ids.clone()), ("t", texts.clone())]),
        )
        .with(
            "turned.parquet",
            bytes(vec![("t", large), ("id", ids.clone())]),
        )
        .with(
            "type.parquet",
            bytes(vec![("id", texts.clone()), ("t", texts.clone())]),
        )
        .with("less.parquet", bytes(vec![("id", ids.clone())]))
        .with(
            "more.parquet",
            bytes(vec![
                ("id", ids.clone()),
                ("t", texts.clone()),
                ("u", texts),
            ]),
        )
        .with("a.csv", "id,t\n1,x\n")
        .with("turned.csv", "t,id\ny,1\n")
        .with("less.csv", "id\n1\n");
    let open = |other: &str, extension: &str| {
        let paths = Paths::Many(vec![
            format!("a.{extension}"),
            format!("{other}.{extension}"),
        ]);
        folder.open(&SourceSpec {
            path: paths,
            ..SourceSpec::default()
        })
    };
    assert_eq!(
        cells(&open("turned", "parquet").unwrap()),
        [["1", "x"], ["1", "y"]]
    );
    assert_eq!(
        cells(&open("turned", "csv").unwrap()),
        [["1", "x"], ["1", "y"]]
    );
    let said = |other: &str, extension: &str| words(&open(other, extension).unwrap_err());
    assert!(said("type", "parquet").starts_with("column `id` is string in "));
    assert!(said("less", "parquet").starts_with("column `t` is in "));
    assert!(said("more", "parquet").starts_with("column `u` is in "));
    assert!(said("less", "csv").starts_with("column `t` is in "));
}

#[test]
fn ends_in_an_error_for_hostile_files() {
    let mut files = 0;
    for entry in fs::read_dir(test_data("hostile")).unwrap() {
        let path = entry.unwrap().path();
        let read = Source::open(&spec(path.to_str().unwrap()), Path::new(""))
            .and_then(|source| rows_of(&source));
        let error = read.map(|_| path.clone()).unwrap_err();
        let expected = match path.file_name().unwrap().to_str().unwrap() {
            "quote_never_closed.csv" => matches!(error, Error::Quote { .. }),
            "not_utf8.csv" => matches!(error, Error::NotUtf8 { .. }),
            name if name.ends_with(".csv") => matches!(error, Error::CellCount { .. }),
            _ => matches!(error, Error::Corrupt { .. } | Error::RowCount { .. }),
        };
        assert!(expected, "{}: {error:?}", path.display());
        files += 1;
    }
    assert_eq!(files, 9);
}

#[test]
fn never_gives_another_number_of_rows_of_a_damaged_file() {
    let rows = hundred_rows(0);
    let mut file = FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    file.write(&rows).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    stream.write(&rows).unwrap();
    stream.finish().unwrap();
    for (name, bytes) in [
        (
            "a.parquet",
            parquet_bytes(&rows, 30, EnabledStatistics::Chunk),
        ),
        ("a.arrow", file.into_inner().unwrap()),
        ("b.arrow", stream.into_inner().unwrap()),
    ] {
        for length in (0..bytes.len()).step_by(7) {
            assert!(
                read(name, &bytes[..length]).is_err(),
                "{name} cut after {length} of {} bytes",
                bytes.len()
            );
        }
        let mut wrong = 0;
        for at in (0..bytes.len()).step_by(5) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x55;
            match read(name, &bytes) {
                Ok(rows) => assert_eq!(rows.len(), 100, "{name} damaged at byte {at}"),
                Err(_) => wrong += 1,
            }
        }
        assert!(wrong > 0, "{name}");
    }
}

#[test]
fn reads_arrow_files_and_streams_as_they_are() {
    let words: DictionaryArray<Int32Type> = ["x", "y", "x"].into_iter().collect();
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1)]),
        None,
        Some(vec![]),
    ]);
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("word", Arc::new(words)),
        ("list", Arc::new(lists)),
    ]);
    let compressed = IpcWriteOptions::default()
        .try_with_compression(Some(arrow::ipc::CompressionType::LZ4_FRAME))
        .unwrap();
    let mut file =
        FileWriter::try_new_with_options(Vec::new(), &rows.schema(), compressed).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    for _ in 0..2 {
        file.write(&rows).unwrap();
        stream.write(&rows).unwrap();
    }
    let folder = Folder::new()
        .with("a.feather", file.into_inner().unwrap())
        .with("a.arrows", stream.into_inner().unwrap());
    for name in ["a.feather", "a.arrows"] {
        let source = folder.open(&spec(name)).unwrap();
        assert_eq!(
            source.schema().field(1).data_type(),
            rows.schema().field(1).data_type()
        );
        assert_eq!(source.rows_hint(), Some(6));
        assert_eq!(
            cells(&source),
            [shown(&rows), shown(&rows)].concat(),
            "{name}"
        );
        let only: Vec<_> = source
            .scan(Some(&["list".to_owned()]))
            .unwrap()
            .map(|rows| rows.unwrap().batch)
            .collect();
        assert_eq!(only[0].num_columns(), 1);
        let none: usize = source
            .scan(Some(&[]))
            .unwrap()
            .map(|rows| rows.unwrap().batch.num_rows())
            .sum();
        assert_eq!(none, 6);
        assert_eq!(
            cells(
                &folder
                    .open(&with(name, |s| s.filter = Some("word = 'y'".to_owned())))
                    .unwrap()
            )
            .len(),
            2,
            "{name}"
        );
    }
}

/// A Parquet file with a struct of a number and an old timestamp, given as nanoseconds of the day
/// and Julian day.
fn old_timestamps(times: &[(u64, u32)], dictionary: bool, spark: bool) -> Vec<u8> {
    use ::parquet::data_type::{Int96, Int96Type};
    use ::parquet::file::metadata::KeyValue;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    let times: Vec<Int96> = times
        .iter()
        .map(|(nanoseconds, day)| {
            let mut at = Int96::new();
            at.set_data(*nanoseconds as u32, (nanoseconds >> 32) as u32, *day);
            at
        })
        .collect();
    let numbers: Vec<i32> = (0..times.len() as i32).collect();
    let schema = parse_message_type(
        "message rows { REQUIRED GROUP both { REQUIRED INT32 n; REQUIRED INT96 at; } }",
    )
    .unwrap();
    let key = KeyValue::new("org.apache.spark.version".to_owned(), "3.5.0".to_owned());
    let properties = WriterProperties::builder().set_dictionary_enabled(dictionary);
    let properties = properties
        .set_key_value_metadata(spark.then(|| vec![key]))
        .build();
    let mut writer =
        SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<::parquet::data_type::Int32Type>()
        .write_batch(&numbers, None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int96Type>()
        .write_batch(&times, None, None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn reads_old_timestamps_far_beyond_what_nanoseconds_reach() {
    // Days of the Julian calendar: 31 December 9999 and 1 January 1.
    let folder = Folder::new().with(
        "a.parquet",
        old_timestamps(&[(0, 5_373_484), (1_000, 1_721_426)], true, false),
    );
    let (cells, _) = rows_of(&folder.open(&spec("a.parquet")).unwrap()).unwrap();
    assert!(cells[0][0].contains("9999-12-31T00:00:00"), "{cells:?}");
    assert!(
        cells[1][0].contains("0001-01-01T00:00:00.000001"),
        "{cells:?}"
    );
}

#[test]
fn keeps_the_nanoseconds_of_old_timestamps_or_says_that_it_cannot() {
    for dictionary in [true, false] {
        let fine = old_timestamps(
            &[(0, 2_440_588), (1_234_567_891, 2_460_000)],
            dictionary,
            false,
        );
        let folder = Folder::new().with("a.parquet", fine);
        let (cells, _) = rows_of(&folder.open(&spec("a.parquet")).unwrap()).unwrap();
        assert!(
            cells[1][0].contains("2023-02-24T00:00:01.234567891"),
            "{cells:?}"
        );

        let both = old_timestamps(&[(0, 5_373_484), (1, 2_460_000)], dictionary, false);
        let folder = Folder::new().with("a.parquet", both);
        let error = folder
            .open(&spec("a.parquet"))
            .unwrap()
            .scan(None)
            .unwrap_err();
        assert!(
            matches!(&error, Error::Unreadable { column, .. } if column == "both"),
            "{error}"
        );
        // Spark counts microseconds, so its files are not looked through.
        let folder = Folder::new().with(
            "a.parquet",
            old_timestamps(&[(1_000, 5_373_484)], dictionary, true),
        );
        let (cells, _) = rows_of(&folder.open(&spec("a.parquet")).unwrap()).unwrap();
        assert!(
            cells[0][0].contains("9999-12-31T00:00:00.000001"),
            "{cells:?}"
        );
    }
}

#[test]
fn puts_timestamps_of_several_units_together_in_the_finest() {
    let at =
        |column: ArrayRef| parquet_bytes(&batch(vec![("at", column)]), 10, EnabledStatistics::None);
    let micro: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1]));
    let nano: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1]));
    let far: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![
        253_402_300_799_000_000,
    ]));
    let folder = Folder::new()
        .with("a.parquet", at(micro))
        .with("b.parquet", at(nano))
        .with("far/c.parquet", at(far));
    let (cells, _) = rows_of(&folder.open(&spec("*.parquet")).unwrap()).unwrap();
    assert_eq!(
        cells,
        [
            ["1970-01-01T00:00:00.000001"],
            ["1970-01-01T00:00:00.000000001"]
        ]
    );
    let error = rows_of(&folder.open(&spec("**/*.parquet")).unwrap()).unwrap_err();
    assert!(
        matches!(&error, Error::Cell { column, row: 1, .. } if column == "at"),
        "{error}"
    );
}

/// A Parquet file of a decimal that no type of Arrow holds, with text beside it.
fn too_precise() -> Vec<u8> {
    use ::parquet::data_type::{ByteArray, ByteArrayType};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    let message = "message rows \
        { REQUIRED BYTE_ARRAY id (UTF8); REQUIRED BYTE_ARRAY amount (DECIMAL(77,38)); }";
    let schema = Arc::new(parse_message_type(message).unwrap());
    let mut writer =
        SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::default()))
            .unwrap();
    let mut group = writer.next_row_group().unwrap();
    for cells in [["a", "b"], ["1", "2"]] {
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&cells.map(ByteArray::from), None, None)
            .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn a_column_that_cannot_be_read_stops_only_who_needs_it() {
    let folder = Folder::new().with("a.parquet", too_precise());
    let source = folder.open(&spec("a.parquet")).unwrap();
    let rows = source
        .scan(Some(&["id".to_owned()]))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(shown(&rows.batch), [["a"], ["b"]]);
    for source in [
        source,
        folder
            .open(&with("a.parquet", |s| {
                s.columns = map(&[("amount", "string")])
            }))
            .unwrap(),
    ] {
        let error = source.scan(None).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "column `amount` cannot be read: it is a decimal(77,38), and decimals \
                have at most 76 digits"
            ),
            "{error}"
        );
        assert!(source.check_readable(&["amount".to_owned()]).is_err());
    }
}

/// A Parquet file of one column, packed and written as instructed.
fn one_column(
    cells: ArrayRef,
    properties: ::parquet::file::properties::WriterPropertiesBuilder,
) -> Vec<u8> {
    let rows = batch(vec![("text", cells)]);
    let mut writer =
        ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties.build())).unwrap();
    writer.write(&rows).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn refuses_a_cell_beyond_the_limit_before_it_is_unpacked() {
    use ::parquet::basic::{Compression as Codec, Encoding};
    let large = "x".repeat(5_000);
    let cells: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        None,
        Some(&large),
        Some("b"),
    ]));
    let plain = || WriterProperties::builder().set_dictionary_enabled(false);
    for (properties, row) in [
        (plain().set_encoding(Encoding::PLAIN), Some(3)),
        (
            plain().set_compression(Codec::GZIP(Default::default())),
            Some(3),
        ),
        (
            plain().set_compression(Codec::BROTLI(Default::default())),
            Some(3),
        ),
        (
            plain().set_encoding(Encoding::DELTA_LENGTH_BYTE_ARRAY),
            Some(3),
        ),
        (plain().set_encoding(Encoding::DELTA_BYTE_ARRAY), Some(3)),
        (WriterProperties::builder(), Some(3)),
    ] {
        let folder = Folder::new().with("a.parquet", one_column(cells.clone(), properties));
        let source = folder
            .open(&with("a.parquet", |s| s.max_cell_bytes = 4_999))
            .unwrap();
        let error = rows_of(&source).unwrap_err();
        let expected = matches!(&error, Error::TooLarge { column, item: LargeItem::Cell, bytes: 5_000, row: at, .. }
            if column == "text" && *at == row);
        assert!(expected, "{error:?}");
        let source = folder
            .open(&with("a.parquet", |s| s.max_cell_bytes = 5_000))
            .unwrap();
        assert_eq!(rows_of(&source).unwrap().0.len(), 4);
    }
    let rows = batch(vec![("text", cells)]);
    let mut file = FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    file.write(&rows).unwrap();
    let folder = Folder::new().with("a.arrow", file.into_inner().unwrap());
    let error = rows_of(
        &folder
            .open(&with("a.arrow", |s| s.max_cell_bytes = 4_999))
            .unwrap(),
    )
    .unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                row: Some(3),
                bytes: 5_000,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn refuses_a_row_of_lists_that_a_few_bytes_make_large() {
    let list = |lengths: &[usize], word: &str| -> ArrayRef {
        let items: ArrayRef = Arc::new(StringArray::from(vec![word; lengths.iter().sum()]));
        let field = Arc::new(Field::new("item", DataType::Utf8, true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths.iter().copied());
        Arc::new(ListArray::new(field, offsets, items, None))
    };
    // A million texts of a kilobyte in one row; then as many, over a thousand rows.
    let word = "x".repeat(1_000);
    for (lengths, refused) in [(vec![1, 300_000, 1], true), (vec![300; 1_000], false)] {
        let bytes = one_column(list(&lengths, &word), WriterProperties::builder());
        assert!(bytes.len() < 20_000, "{}", bytes.len());
        let folder = Folder::new().with("a.parquet", bytes);
        let source = folder.open(&spec("a.parquet")).unwrap();
        let mut read = 0;
        let failed = source.scan(None).unwrap().find_map(|rows| match rows {
            Ok(rows) => {
                read += rows.batch.num_rows();
                assert!(rows.batch.num_rows() <= 100);
                None
            }
            Err(e) => Some(e),
        });
        match failed {
            None => assert!(!refused && read == 1_000),
            Some(error) => {
                assert!(
                    refused
                        && matches!(
                            error,
                            Error::TooLarge {
                                item: LargeItem::Row,
                                row: Some(2),
                                ..
                            }
                        ),
                    "{error:?}"
                )
            }
        }
    }
}

#[test]
fn reads_few_rows_at_a_time_where_a_dictionary_holds_large_texts() {
    let large = "y".repeat(2 << 20);
    let words = (0..2_000).map(|row| if row < 1_000 { "s" } else { large.as_str() });
    let keys: DictionaryArray<Int32Type> = words.collect();
    let properties = WriterProperties::builder().set_dictionary_page_size_limit(64 << 20);
    let folder = Folder::new().with("a.parquet", one_column(Arc::new(keys), properties));
    let source = folder
        .open(&with("a.parquet", |s| {
            s.columns = map(&[("text", "string")])
        }))
        .unwrap();
    let mut read = 0;
    for rows in source.scan(None).unwrap().take(12) {
        let rows = rows.unwrap().batch.num_rows();
        assert!(rows <= 128, "{rows} rows of 2 MiB each");
        read += rows;
    }
    assert!(read >= 12);
}

#[test]
fn refuses_an_arrow_batch_that_unpacks_to_too_much() {
    let cells: ArrayRef = Arc::new(StringArray::from(vec!["z".repeat(400_000)]));
    let rows = batch(vec![("text", cells)]);
    let options = || {
        let options = IpcWriteOptions::default();
        options
            .try_with_compression(Some(arrow::ipc::CompressionType::ZSTD))
            .unwrap()
    };
    let mut stream =
        StreamWriter::try_new_with_options(Vec::new(), &rows.schema(), options()).unwrap();
    stream.write(&rows).unwrap();
    let mut file = FileWriter::try_new_with_options(Vec::new(), &rows.schema(), options()).unwrap();
    file.write(&rows).unwrap();
    for bytes in [stream.into_inner().unwrap(), file.into_inner().unwrap()] {
        let folder = Folder::new().with("a.arrow", bytes);
        let error = folder
            .open(&with("a.arrow", |s| s.max_cell_bytes = 1_000))
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooLarge {
                    item: LargeItem::Batch,
                    row: Some(1),
                    ..
                }
            ),
            "{error:?}"
        );
        assert_eq!(
            rows_of(&folder.open(&spec("a.arrow")).unwrap())
                .unwrap()
                .0
                .len(),
            1
        );
    }
}

/// The fields of a table with times at every depth, in this unit and zone.
fn times(unit: TimeUnit, zone: &str) -> Schema {
    let time = |name: &str| Field::new(name, DataType::Timestamp(unit, Some(zone.into())), true);
    let in_struct =
        DataType::Struct(vec![Field::new("n", DataType::Int64, true), time("t")].into());
    Schema::new(vec![
        time("time"),
        Field::new_list("times", time("item"), true),
        Field::new("in_struct", in_struct, true),
        Field::new(
            "local",
            DataType::Timestamp(TimeUnit::Millisecond, None),
            true,
        ),
    ])
}

#[test]
fn keeps_the_zone_of_timestamps_that_the_file_holds_in_another_unit() {
    use ::parquet::arrow::arrow_writer::ArrowWriterOptions;
    use ::parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema};
    use ::parquet::file::metadata::KeyValue;

    // As pyarrow writes `timestamp[s, Europe/Berlin]`: milliseconds in the file, seconds in the
    // schema beside it.
    let in_file = Arc::new(times(TimeUnit::Millisecond, "UTC"));
    let written = encode_arrow_schema(&times(TimeUnit::Second, "Europe/Berlin"));
    let columns = in_file
        .fields()
        .iter()
        .map(|field| arrow::array::new_null_array(field.data_type(), 1));
    let mut columns: Vec<ArrayRef> = columns.collect();
    columns[0] = Arc::new(
        arrow::array::TimestampMillisecondArray::from(vec![1_700_000_000_000]).with_timezone("UTC"),
    );
    let rows = RecordBatch::try_new(Arc::clone(&in_file), columns).unwrap();
    let entry = KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), written);
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(vec![entry]))
        .build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, in_file, options).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();

    let folder = Folder::new().with("a.parquet", &bytes);
    let source = folder.open(&spec("a.parquet")).unwrap();
    let expected = times(TimeUnit::Millisecond, "Europe/Berlin");
    let read = source.scan(None).unwrap().next().unwrap().unwrap().batch;
    for (found, expected) in read.schema().fields().iter().zip(expected.fields()) {
        assert_eq!(found.data_type(), expected.data_type(), "{}", found.name());
    }
    let instants = read
        .column(0)
        .as_primitive::<arrow::datatypes::TimestampMillisecondType>();
    assert_eq!(instants.values(), &[1_700_000_000_000]);
}
