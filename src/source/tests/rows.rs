//! The steps of a row: folders, derive, where, limit, types, and what is refused.

use super::*;

#[test]
fn derives_then_filters_then_limits() {
    let folder = Folder::new().with("a.csv", PEOPLE).with("b.csv", PEOPLE);
    let asked = with("*.csv", |s| {
        s.columns = map(&[("age", "int64")]);
        s.derive = map(&[
            ("older", "age + 1"),
            ("label", "name || '-' || CAST(older AS VARCHAR)"),
        ]);
        s.filter = Some("older > 18".to_owned());
        s.limit = Some(4);
    });
    let source = folder.open(&asked).unwrap();
    let names: Vec<&str> = source
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(names, ["id", "name", "age", "older", "label"]);
    let (cells, positions) = rows_of(&source).unwrap();
    assert_eq!(positions, [0, 3, 4, 5]);
    assert_eq!(cells[1], ["4", "Dee", "62", "63", "Dee-63"]);
    assert_eq!(cells[3], ["1", "Ann", "31", "32", "Ann-32"]);

    let mut scan = source
        .scan(Some(&["label".to_owned(), "id".to_owned()]))
        .unwrap();
    let rows = scan.next().unwrap().unwrap();
    assert_eq!(shown(&rows.batch)[0], ["1", "Ann-32"]);
    assert_eq!(scan.by_ref().count(), 1);
    assert_eq!(scan.counts(), ScanCounts { read: 10, kept: 4 });
    let nothing = folder
        .open(&SourceSpec {
            limit: Some(0),
            ..asked
        })
        .unwrap();
    assert_eq!(nothing.scan(None).unwrap().count(), 0);
}

#[test]
fn stops_reading_at_the_limit() {
    let text = format!("a\n{}\"never closed", "1\n".repeat(100_000));
    let folder = Folder::new().with("a.csv", text);
    let source = folder.open(&with("a.csv", |s| s.limit = Some(5))).unwrap();
    assert_eq!(rows_of(&source).unwrap().1, [0, 1, 2, 3, 4]);
}

#[test]
fn hands_out_no_empty_batches() {
    let rows: String = (0..50_000).map(|i| format!("{i}\n")).collect();
    let folder = Folder::new().with("a.csv", format!("a\n{rows}"));
    let source = folder
        .open(&with("a.csv", |s| {
            s.filter = Some("a = '49999'".to_owned())
        }))
        .unwrap();
    let mut scan = source.scan(None).unwrap();
    assert_eq!(scan.next().unwrap().unwrap().row_index, [49_999]);
    assert!(scan.next().is_none());
    assert_eq!(
        scan.counts(),
        ScanCounts {
            read: 50_000,
            kept: 1
        }
    );
}

#[test]
fn hands_out_rows_without_columns() {
    let folder = Folder::new()
        .with("a.csv", PEOPLE)
        .with("a.jsonl", "{\"a\":1}\n{\"a\":2}\n")
        .with(
            "a.parquet",
            parquet_bytes(&hundred_rows(0), 30, EnabledStatistics::None),
        );
    for (name, expected) in [("a.csv", 5), ("a.jsonl", 2), ("a.parquet", 100)] {
        let scan = folder.open(&spec(name)).unwrap().scan(Some(&[])).unwrap();
        assert_eq!(
            scan.map(|rows| rows.unwrap().batch.num_rows())
                .sum::<usize>(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn adds_the_keys_of_folders_as_columns() {
    let rows = |id: i64| {
        parquet_bytes(
            &batch(vec![("id", Arc::new(Int64Array::from(vec![id, id + 1])))]),
            10,
            EnabledStatistics::Page,
        )
    };
    let folder = Folder::new()
        .with("t/rating=1/land=D%C3%84/p.parquet", rows(10))
        .with(
            "t/rating=2/land=__HIVE_DEFAULT_PARTITION__/p.parquet",
            rows(20),
        )
        .with("t/rating=10/land=FR/p.parquet", rows(30))
        .with("t/rating=10/land=FR/_metadata", "x");
    let source = folder.open(&spec("t")).unwrap();
    let expected = [
        ["10", "1", "DÄ"],
        ["11", "1", "DÄ"],
        ["30", "10", "FR"],
        ["31", "10", "FR"],
        ["20", "2", "-"],
        ["21", "2", "-"],
    ];
    assert_eq!(cells(&source), expected);
    let asked = with("t", |s| {
        s.columns = map(&[("rating", "int64")]);
        s.filter = Some("rating > 1 AND land IS NULL".to_owned());
    });
    let source = folder.open(&asked).unwrap();
    assert_eq!(
        rows_of(&source).unwrap(),
        (
            vec![
                vec!["20".to_owned(), "2".to_owned(), "-".to_owned()],
                vec!["21".to_owned(), "2".to_owned(), "-".to_owned()]
            ],
            vec![4, 5]
        )
    );
    let source = folder
        .open(&with("t", |s| s.filter = Some("land = 'FR'".to_owned())))
        .unwrap();
    assert_eq!(rows_of(&source).unwrap().1, [2, 3]);
    let error = folder
        .open(&with("t", |s| s.columns = map(&[("land", "int64")])))
        .unwrap_err();
    assert!(matches!(error, Error::PartitionValue { .. }), "{error:?}");
}

#[test]
fn refuses_different_partition_columns_and_those_that_clash() {
    let folder = Folder::new()
        .with("t/k=1/a.csv", "a\n1\n")
        .with("t/j=1/a.csv", "a\n1\n")
        .with("u/a=1/a.csv", "a\n1\n");
    assert!(matches!(
        folder.open(&spec("t")),
        Err(Error::PartitionsDiffer { .. })
    ));
    assert!(matches!(
        folder.open(&spec("u")),
        Err(Error::Clash {
            what: "partition column",
            ..
        })
    ));
}

#[test]
fn filters_by_the_column_that_folders_spell() {
    let mut folder = Folder::new();
    for rating in 1..=10 {
        let rows = parquet_bytes(&hundred_rows(rating * 100), 10, EnabledStatistics::Chunk);
        folder = folder.with(&format!("rating={rating}/part-0.parquet"), rows);
    }
    let source = folder.open(&with(folder.path().to_str().unwrap(), |s| {
        s.filter = Some("rating = '10'".to_owned())
    }));
    let source = source.unwrap();
    assert_eq!(source.files().len(), 10);
    assert_eq!(source.rows_hint(), Some(1_000));
    let (rows, positions) = rows_of(&source).unwrap();
    assert_eq!(rows.len(), 100);
    assert!(
        rows.iter()
            .all(|row| row.last().is_some_and(|rating| rating == "10"))
    );
    assert_eq!(positions[99] - positions[0], 99);
}

#[test]
fn reads_standard_input_again_and_again() {
    let open = |change: &dyn Fn(&mut SourceSpec), mut bytes: &[u8]| {
        Source::open_with(&with("-", change), Path::new(""), &mut bytes)
    };
    let source = open(&|s| s.format = Some(Format::Csv), PEOPLE.as_bytes()).unwrap();
    assert_eq!(cells(&source).len(), 5);
    assert_eq!(cells(&source).len(), 5);
    assert_eq!(source.files()[0].path, Path::new("-"));
    let parquet = parquet_bytes(&hundred_rows(0), 30, EnabledStatistics::None);
    assert_eq!(cells(&open(&|_| (), &parquet).unwrap()).len(), 100);
    let packed = zstd::encode_all(&parquet[..], 1).unwrap();
    assert_eq!(cells(&open(&|_| (), &packed).unwrap()).len(), 100);
    assert!(matches!(
        open(&|_| (), PEOPLE.as_bytes()),
        Err(Error::StdinFormat)
    ));
}

#[test]
fn names_settings_that_cannot_be() {
    let folder = Folder::new()
        .with("a.csv", PEOPLE)
        .with("a.jsonl", "{\"a\":1}\n");
    let said = |path: &str, change: &dyn Fn(&mut SourceSpec)| {
        words(&folder.open(&with(path, change)).unwrap_err())
    };
    type Change = &'static dyn Fn(&mut SourceSpec);
    let cases: [(&str, Change, &str); 12] = [
        (
            "a.csv",
            &|s| s.delimiter = Some('é'),
            "`source.delimiter` cannot be `é`",
        ),
        (
            "a.csv",
            &|s| s.quote = Some("ab".to_owned()),
            "`source.quote` cannot be `ab`",
        ),
        (
            "a.csv",
            &|s| s.quote = Some(",".to_owned()),
            "`source.quote` cannot be `,`",
        ),
        (
            "a.csv",
            &|s| s.encoding = Some("utf-9".to_owned()),
            "no known encoding: `utf-9`",
        ),
        (
            "a.jsonl",
            &|s| s.delimiter = Some(';'),
            "`source.delimiter` does not apply to a jsonl source",
        ),
        (
            "a.csv",
            &|s| s.columns = map(&[("agee", "int64")]),
            "no column `agee`, which `source.columns` names; it has `id`",
        ),
        (
            "a.csv",
            &|s| s.columns = map(&[("age", "integer")]),
            "column `age` cannot have the type `integer`; types are `string`",
        ),
        (
            "a.csv",
            &|s| s.derive = map(&[("age", "1")]),
            "derived column `age` clashes",
        ),
        (
            "a.csv",
            &|s| s.derive = map(&[("x", "agee + 1")]),
            "`source.derive.x` cannot be evaluated",
        ),
        (
            "a.csv",
            &|s| s.filter = Some("agee = '1'".to_owned()),
            "`source.where` cannot be evaluated",
        ),
        (
            "a.csv",
            &|s| s.filter = Some("age".to_owned()),
            "`source.where` cannot be evaluated",
        ),
        (
            "a.csv",
            &|s| s.compression = Some(Compression::Gzip),
            "cannot be decompressed",
        ),
    ];
    for (path, change, expected) in cases {
        let said = said(path, change);
        assert!(said.contains(expected), "{said}");
    }
    let error = folder
        .open(&with("a.csv", |s| s.columns = map(&[("agee", "int64")])))
        .unwrap_err();
    assert!(matches!(error, Error::UnknownColumn { nearest: Some(name), .. } if name == "age"));
    let error = folder
        .open(&spec("a.csv"))
        .unwrap()
        .scan(Some(&["nam".to_owned()]))
        .unwrap_err();
    assert!(matches!(error, Error::UnknownColumn { nearest: Some(name), .. } if name == "name"));
}

#[test]
fn changes_types_of_parquet_columns_without_loss() {
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("x", Arc::new(Float64Array::from(vec![1.0, 1.5]))),
        ("b", Arc::new(BooleanArray::from(vec![true, false]))),
        ("n", Arc::new(Int32Array::from(vec![Some(1), None]))),
    ]);
    let bytes = parquet_bytes(&rows, 10, EnabledStatistics::Page);
    let types = map(&[("id", "string"), ("b", "string"), ("n", "decimal(9,2)")]);
    assert_eq!(
        read_with("a.parquet", &bytes, |s| s.columns = types).unwrap(),
        [["1", "1.0", "true", "1.00"], ["2", "1.5", "false", "-"]]
    );
    let error = read_with("a.parquet", &bytes, |s| s.columns = map(&[("x", "int64")])).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("row 2: column `x` is not int64"),
        "{error}"
    );
}

#[test]
fn reads_a_spec_from_a_job_file() {
    let spec: SourceSpec = toml::from_str(
        "path = ['a.csv', 'b.csv']\nwhere = \"a = '1'\"\nlimit = 3\ndelimiter = '\t'\nempty = \
         'text'\ncompression = 'gzip'\nformat = 'tsv'\n[columns]\nzip = 'string'\n[derive]\nb = \
         'a'\n",
    )
    .unwrap();
    assert_eq!(spec.path.as_slice(), ["a.csv", "b.csv"]);
    assert_eq!(
        (spec.limit, spec.delimiter, spec.format),
        (Some(3), Some('\t'), Some(Format::Tsv))
    );
    assert_eq!(
        toml::from_str::<SourceSpec>(&toml::to_string(&spec).unwrap()).unwrap(),
        spec
    );
    let error = toml::from_str::<SourceSpec>("path = 'a'\npaht = 'b'\n")
        .unwrap_err()
        .to_string();
    assert!(error.contains("unknown field `paht`"), "{error}");
}

#[test]
fn notices_a_file_that_changes_between_scans() {
    let folder = Folder::new().with("a.csv", PEOPLE);
    let source = folder.open(&spec("a.csv")).unwrap();
    let folder = folder.with("a.csv", "id,name,age\n1,Ann,31\n");
    assert!(matches!(rows_of(&source), Err(Error::Changed { .. })));
    drop(folder);
}

#[test]
fn may_be_scanned_in_another_thread() {
    fn send<T: Send + 'static>(_: &T) {}
    let folder = Folder::new().with("a.csv", PEOPLE);
    let scan = folder.open(&spec("a.csv")).unwrap().scan(None).unwrap();
    send(&scan);
    assert_eq!(
        scan.map(|rows| rows.unwrap().batch.column(0).as_string::<i32>().len())
            .sum::<usize>(),
        5
    );
}
