//! CSV and JSON Lines.

use super::*;

#[test]
fn keeps_csv_cells_as_they_are_written() {
    let text = "id,a,b\n007,NA,nan\n1.10,1e5,2024-01-01\n,\"\",\"a\"\"b\"\n \"x\" \
        ,2\"3,\"line\nbreak, comma\"\n";
    let expected = [
        ["007", "NA", "nan"],
        ["1.10", "1e5", "2024-01-01"],
        ["-", "-", "a\"b"],
        [" \"x\" ", "2\"3", "line\nbreak, comma"],
    ];
    assert_eq!(read("a.csv", text).unwrap(), expected);
    assert_eq!(
        read_with("a.csv", text, |s| s.empty = EmptyCells::Text).unwrap()[2],
        ["", "", "a\"b"]
    );
}

#[test]
fn reads_every_way_of_writing_csv() {
    let expected = [["1", "ä"], ["2", "-"]];
    let utf16: Vec<u8> = [0xfeff]
        .into_iter()
        .chain("a,b\n1,ä\n2,".encode_utf16())
        .flat_map(u16::to_be_bytes)
        .collect();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all("a,b\n1,ä\n2,\n".as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    for (name, bytes) in [
        ("a.csv", "a,b\n1,ä\n2,\n".as_bytes().to_vec()),
        ("a.csv", "a,b\r\n1,ä\r\n2,".as_bytes().to_vec()),
        ("a.csv", "a,b\r1,ä\r2,\r".as_bytes().to_vec()),
        (
            "a.csv",
            "\u{feff}a,b\n\n\n1,ä\n\n2,\n\n".as_bytes().to_vec(),
        ),
        ("a.csv", utf16),
        ("a.tsv", "a\tb\n1\tä\n2\t\n".as_bytes().to_vec()),
        ("a.csv.gz", gzip),
        (
            "a.csv.zst",
            zstd::encode_all("a,b\n1,ä\n2,\n".as_bytes(), 1).unwrap(),
        ),
    ] {
        assert_eq!(read(name, &bytes).unwrap(), expected, "{name} {bytes:?}");
    }
    let latin1 = read_with("a.csv", b"a,b\n1,\xe4\n2,\n", |s| {
        s.encoding = Some("latin1".to_owned())
    });
    assert_eq!(latin1.unwrap(), expected);
    let semicolons = read_with("a.csv", "a;b\n1;'ä'\n2;\n", |s| {
        (s.delimiter, s.quote) = (Some(';'), Some("'".to_owned()))
    });
    assert_eq!(semicolons.unwrap(), expected);
    let unquoted = read_with("a.tsv", "a\tb\n1\t\"open\n2\t5\" pipe\n", |s| {
        s.quote = Some(String::new())
    });
    assert_eq!(unquoted.unwrap(), [["1", "\"open"], ["2", "5\" pipe"]]);
}

#[test]
fn names_columns_where_there_is_no_header() {
    let folder = Folder::new().with("a.csv", "1,2\n3,4\n");
    let source = folder
        .open(&with("a.csv", |s| s.header = Some(false)))
        .unwrap();
    assert_eq!(source.schema().field(1).name(), "column_2");
    assert_eq!(cells(&source), [["1", "2"], ["3", "4"]]);
}

#[test]
fn takes_a_header_without_rows_for_an_empty_table() {
    for text in ["a,b", "a,b\n", "a,b\r\n\r\n"] {
        let folder = Folder::new().with("a.csv", text);
        let source = folder.open(&spec("a.csv")).unwrap();
        assert_eq!(source.schema().fields().len(), 2);
        assert!(cells(&source).is_empty());
    }
}

#[test]
fn passes_over_blank_lines_in_a_table_of_one_column() {
    assert_eq!(
        read("a.csv", "a\n\n1\n\n\"\"\n2\n\n").unwrap(),
        [["1"], ["-"], ["2"]]
    );
}

#[test]
fn names_the_place_where_a_csv_file_is_wrong() {
    let typed = |text: &str| read_with("a.csv", text, |s| s.columns = map(&[("b", "int64")]));
    for (text, expected) in [
        ("a,b\n1\n", "line 2: 1 cell, expected 2"),
        ("a,b\r\n1,2\r\n\r\n1,2,3\r\n", "line 4: 3 cells, expected 2"),
        ("a,b\n\"x\ny\",2\n\n\n1\n", "line 6: 1 cell, expected 2"),
        ("a,b\r\n\"x\r\ny\",2\r\n1\r\n", "line 4: 1 cell, expected 2"),
        ("a,b\n1,\"2\n3,4\n", "line 2: a quoted cell is never closed"),
        (
            "a,b\r\n\r\n1,2\r\n\"3,4\r\n5,6",
            "line 4: a quoted cell is never closed",
        ),
        ("a,b\n1,\"", "line 2: a quoted cell is never closed"),
        ("a,b\n1,\"2\"\"", "line 2: a quoted cell is never closed"),
        ("\"a,b\n1,2\n", "line 1: a quoted cell is never closed"),
        ("a,b,a\n", "two columns named `a`: columns 1 and 3"),
        ("a,,b\n", "column 2 of "),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("\u{feff}", "is empty"),
    ] {
        let error = read("a.csv", text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text:?}: {error}");
    }
    for (text, expected) in [
        (
            "a,b\n1,2\n3,secret\n",
            "line 3 (row 2): column `b` is not int64",
        ),
        (
            "a,b\r\n\r\n\"\r\n\",\r\n3,secret\r\n",
            "line 5 (row 2): column `b` is not int64",
        ),
    ] {
        let error = typed(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text:?}: {error}");
        assert!(!words(&error).contains("secret"));
    }
}

#[test]
fn names_line_and_column_of_bytes_that_are_not_utf8() {
    let error = read("a.csv", b"a,b\n1,2\n3,\xe4x\n").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("line 3: column `b` is not UTF-8"),
        "{error}"
    );
    let error = read("a.csv", b"a,\xe4\n").unwrap_err();
    assert!(
        error.to_string().ends_with("line 1: column 2 is not UTF-8"),
        "{error}"
    );
    // Half a character at the end of a cell, and half at the start of the next.
    assert!(matches!(
        read("a.csv", b"a,b\n1,2\nx\xc3,\xa9\n"),
        Err(Error::NotUtf8 { line: 3, .. })
    ));
}

#[test]
fn gives_columns_the_types_of_the_job() {
    let text = "i,f,b,d,t,n,s\n7,1e3,true,2024-02-29,2024-02-29 12:00:00,1.50,007\n,,,,,,\n";
    let types = map(&[
        ("i", "int64"),
        ("f", "float64"),
        ("b", "bool"),
        ("d", "date"),
        ("t", "timestamp"),
        ("n", "decimal(9,2)"),
        ("s", "string"),
    ]);
    let rows = read_with("a.csv", text, |s| {
        (s.columns, s.empty) = (types, EmptyCells::Text)
    })
    .unwrap();
    assert_eq!(
        rows[0],
        [
            "7",
            "1000.0",
            "true",
            "2024-02-29",
            "2024-02-29T12:00:00",
            "1.50",
            "007"
        ]
    );
    assert_eq!(rows[1], ["-", "-", "-", "-", "-", "-", ""]);
}

#[test]
fn reads_csv_files_as_the_json_beside_them_says() {
    let mut cases = 0;
    for entry in fs::read_dir(test_data("csv")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        let json = fs::read_to_string(path.with_extension("json")).unwrap();
        let expected: Vec<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(&json).unwrap();
        let spec = with(path.to_str().unwrap(), |s| s.empty = EmptyCells::Text);
        let source = Source::open(&spec, Path::new("")).unwrap();
        let schema = source.schema();
        let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        let keys: Vec<&String> = expected[0].keys().collect();
        assert_eq!(names, keys, "{}", path.display());
        let values: Vec<Vec<&str>> = expected
            .iter()
            .map(|row| row.values().map(|cell| cell.as_str().unwrap()).collect())
            .collect();
        assert_eq!(cells(&source), values, "{}", path.display());
        cases += 1;
    }
    assert_eq!(cases, 10);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: prop::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn gives_back_every_cell_of_a_csv_file(
        rows in prop::collection::vec(prop::collection::vec("[ -~äß😀\"',;\t\r\n]{0,12}", 3), 0..20),
        always in any::<bool>(),
        crlf in any::<bool>(),
    ) {
        let style = if always { ::csv::QuoteStyle::Always } else { ::csv::QuoteStyle::Necessary };
        let terminator = if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') };
        let mut writer = ::csv::WriterBuilder::new().quote_style(style).terminator(terminator).from_writer(Vec::new());
        writer.write_record(["a", "b", "c"]).unwrap();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let read = read_with("a.csv", writer.into_inner().unwrap(), |s| s.empty = EmptyCells::Text).unwrap();
        prop_assert_eq!(read, rows);
    }
}

fn types_of(source: &Source) -> Vec<String> {
    source
        .schema()
        .fields()
        .iter()
        .map(|field| types::name(field.data_type()))
        .collect()
}

#[test]
fn finds_the_types_of_json_lines_in_the_whole_file() {
    for (values, data_type, expected) in [
        (vec!["1", "null", "-2"], "int64", vec!["1", "-", "-2"]),
        (vec!["1", "1.5"], "float64", vec!["1.0", "1.5"]),
        (vec!["true", "false"], "bool", vec!["true", "false"]),
        (
            vec!["\"007\"", "\"a\\n\\u00e4\""],
            "string",
            vec!["007", "a\nä"],
        ),
        (vec!["null", "null"], "string", vec!["-", "-"]),
        (
            vec!["1.10", "\"x\"", "true", "null"],
            "string",
            vec!["1.10", "x", "true", "-"],
        ),
        (
            vec!["1", "{\"b\": 1.0}", "[1, 2]"],
            "string",
            vec!["1", "{\"b\": 1.0}", "[1, 2]"],
        ),
        (
            vec!["18446744073709551615", "1"],
            "string",
            vec!["18446744073709551615", "1"],
        ),
        (
            vec!["9007199254740993", "0.5"],
            "string",
            vec!["9007199254740993", "0.5"],
        ),
        (vec!["1e400", "0.5"], "string", vec!["1e400", "0.5"]),
        (vec!["{}", "{}"], "string", vec!["{}", "{}"]),
    ] {
        let text: String = values
            .iter()
            .map(|value| format!("{{\"a\":{value}}}\n"))
            .collect();
        let folder = Folder::new().with("a.jsonl", text);
        let source = folder.open(&spec("a.jsonl")).unwrap();
        assert_eq!(types_of(&source), [data_type], "{values:?}");
        assert_eq!(cells(&source).concat(), expected, "{values:?}");
    }
}

#[test]
fn keeps_nested_json_nested() {
    let text =
        "{\"a\":[1,2.5],\"b\":{\"x\":1}}\r\n\n   \n{\"b\":{\"y\":[\"z\"],\"x\":\"t\"},\"c\":[[]]}";
    let folder = Folder::new().with("a.ndjson", text);
    let source = folder.open(&spec("a.ndjson")).unwrap();
    assert!(source.schema().field(1).data_type().is_nested());
    let rows = cells(&source);
    assert_eq!(rows[0], ["[1.0, 2.5]", "{x: 1, y: -}", "-"]);
    assert_eq!(rows[1], ["-", "{x: t, y: [z]}", "[[]]"]);
    let deep = format!("{{\"a\":{}1{}}}\n", "[".repeat(100), "]".repeat(100));
    assert_eq!(
        read("a.jsonl", &deep).unwrap().concat(),
        [deep[5..deep.len() - 2].to_owned()]
    );
}

#[test]
fn reads_json_numbers_as_the_job_asks() {
    let text =
        "{\"n\":0.10,\"id\":12345678901234567890,\"s\":\"5\"}\n{\"n\":null,\"id\":1,\"s\":\"6\"}\n";
    let types = map(&[("n", "decimal(5,2)"), ("id", "uint64"), ("s", "int64")]);
    let rows = read_with("a.jsonl", text, |s| s.columns = types).unwrap();
    assert_eq!(
        rows,
        [["0.10", "12345678901234567890", "5"], ["-", "1", "6"]]
    );
    let rows = read_with("a.jsonl", text, |s| s.columns = map(&[("n", "string")])).unwrap();
    assert_eq!(rows[0][0], "0.10");
    let error = read_with("a.jsonl", "\n{\"n\":1}\n{\"n\":\"secret\"}\n", |s| {
        s.columns = map(&[("n", "int64")])
    })
    .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("line 3 (row 2): column `n` is not int64"),
        "{error}"
    );
}

#[test]
fn names_the_line_that_is_not_json() {
    for (text, expected) in [
        (
            "{\"a\":1}\n\n{\"a\":tru}\n",
            "line 3, byte 9: expected ident",
        ),
        (
            "{\"a\":1}\n{\"a\":1",
            "line 2, byte 6: EOF while parsing an object",
        ),
        ("[1]\n", "is one JSON array"),
        ("{}\n[1]\n", "line 2, byte 1: not a JSON object"),
        (
            "{\"a\":1}{\"a\":2}\n",
            "line 1, byte 8: trailing characters",
        ),
        (
            "{\"a\":1}\n{\"a\":1,\"a\":2}\n",
            "line 2, byte 1: key `a` comes twice",
        ),
        ("{\"a\":\"\\ud800\"}\n", "line 1"),
        (
            "{\n\"a\": 1\n}\n",
            "line 1, byte 1: EOF while parsing an object",
        ),
        ("\n \n", "has no columns"),
        ("", "has no columns"),
        ("{\"\":1}\n", "column 1 of "),
    ] {
        let error = read("a.jsonl", text).unwrap_err();
        assert!(
            words(&error).contains(expected),
            "{text:?}: {}",
            words(&error)
        );
    }
    assert!(matches!(
        read("a.jsonl", b"{\"a\":1}\n{\"a\":\"\xff\"}\n"),
        Err(Error::NotUtf8 { line: 2, .. })
    ));
}

#[test]
fn unites_the_columns_of_several_json_files() {
    let folder = Folder::new()
        .with("a.jsonl", "{\"a\":1}\n")
        .with("b.jsonl", "{\"b\":\"x\",\"a\":2}\n")
        .with("c.jsonl", "");
    assert_eq!(
        cells(&folder.open(&spec("*.jsonl")).unwrap()),
        [["1", "-"], ["2", "x"]]
    );
}
