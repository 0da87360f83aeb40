//! How CSV files are written: quotation marks, escapes, comments, names, decimals, limits.

use super::*;

#[test]
fn refuses_text_after_a_closing_quotation_mark() {
    let inches = "id,name\n1,\"Pipe 5\\\"\"\n2,Bolt\n3,Nut\n4,\"Rod 3\\\"\"\n5,End\n";
    let titles = "id\ttitle\n1\tplain\n2\t\"Heroes\" (song)\n3\t\"Weird Al\n4\tx\n5\tend\" of it\n";
    let cases: [(&str, &str, &str); 11] = [
        (
            "a.csv",
            inches,
            "line 5, byte 4: text follows the closing quotation mark of column `name` (the record \
             begins in line 2)",
        ),
        (
            "a.tsv",
            titles,
            "line 3, byte 11: text follows the closing quotation mark of column `title`",
        ),
        (
            "a.csv",
            "id,name,n\n1,\"Smith\" Jr,5\n2,\"a\"b\"c\",6\n",
            "line 2, byte 10: text follows",
        ),
        (
            "a.csv",
            "a,b\n\"x\" ,1\n",
            "line 2, byte 4: text follows the closing quotation mark of column `a`",
        ),
        (
            "a.csv",
            "\"a\"b,c\n",
            "line 1, byte 4: text follows the closing quotation mark of column 1",
        ),
        (
            "a.csv",
            "a,b\r\n1,2\r\n\"x\r\ny\"z,2\r\n",
            "line 4, byte 3: text follows the closing quotation mark of column `a`",
        ),
        (
            "a.csv",
            "a,b\r1,2\r\"x\ry\"z,2\r",
            "line 4, byte 3: text follows",
        ),
        ("a.csv", "a\n\n\n\"x\"é\n", "line 4, byte 4: text follows"),
        ("a.csv", "a,b\n1,\"é\"é\n", "line 2, byte 7: text follows"),
        ("a.csv", "a,b\n1,\"x\" \n", "line 2, byte 6: text follows"),
        (
            "a.csv",
            "\u{feff}a,b\n1,\"x\"\u{a0}\n",
            "line 2, byte 6: text follows",
        ),
    ];
    for (name, text, expected) in cases {
        let error = read(name, text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text:?}: {error}");
    }
    let suggests_escape = |text: &str| match read("a.csv", text).unwrap_err() {
        Error::AfterQuote { escape, .. } | Error::Quote { escape, .. } => escape,
        other => panic!("{other}"),
    };
    assert!(suggests_escape(inches));
    assert!(suggests_escape("a,b\n1,\"say \\\"no\\\" to\"\n"));
    assert!(suggests_escape("a,b\n1,\"5\\\"\"\n2,3\n"));
    assert!(!suggests_escape("a,b\n1,\"5\" x\"\n2,3\n"));
}

#[test]
fn finds_text_after_a_mark_at_every_place_of_the_buffer() {
    // The reader's buffer ends anywhere: before the mark, between the two marks, behind them.
    for length in (131_072 - 20)..(131_072 + 5) {
        let filler = "x".repeat(length);
        let good = format!("a\n\"{filler}\"\"\"\n\"y\"\r\n");
        assert_eq!(
            read("a.csv", &good).unwrap(),
            [[format!("{filler}\"")], ["y".to_owned()]]
        );
        let bad = format!("a\n\"{filler}\"z\n");
        let error = read("a.csv", &bad).unwrap_err();
        assert!(
            matches!(error, Error::AfterQuote { line: 2, byte, .. } if byte == length as u64 + 3),
            "{error}"
        );
    }
}

#[test]
fn reads_marks_as_the_job_says_they_are_written() {
    type Change = &'static dyn Fn(&mut SourceSpec);
    let cases: [(&str, Change, &[&[&str]]); 12] = [
        (
            "id,name\n1,\"Pipe 5\\\"\"\n2,Bolt\n4,\"Rod 3\\\"\"\n",
            &|s| s.escape = Some('\\'),
            &[&["1", "Pipe 5\""], &["2", "Bolt"], &["4", "Rod 3\""]],
        ),
        // An escape before anything else is text, and so is one outside of quotation marks.
        (
            "a,b\n\"C:\\new\\\\x\",C:\\y\n\"\\\\\",\"a\"\"b\"\n",
            &|s| s.escape = Some('\\'),
            &[&["C:\\new\\x", "C:\\y"], &["\\", "a\"b"]],
        ),
        (
            "a,b\n\"x\"\"y\",1\n",
            &|s| s.escape = Some('"'),
            &[&["x\"y", "1"]],
        ),
        (
            "a,b\n'it^'s',1\n",
            &|s| (s.quote, s.escape) = (Some("'".to_owned()), Some('^')),
            &[&["it's", "1"]],
        ),
        (
            "a,b\n\"x\",\"y\" z\n",
            &|s| s.quote = Some(String::new()),
            &[&["\"x\"", "\"y\" z"]],
        ),
        (
            "a,b\nNA,\\N\n\"NA\",na\n",
            &|s| s.null = NullTexts::Many(vec!["NA".into(), "\\N".into()]),
            &[&["-", "-"], &["-", "na"]],
        ),
        (
            "a,b\n,x\n",
            &|s| (s.null, s.empty) = (NullTexts::One("x".into()), EmptyCells::Text),
            &[&["", "-"]],
        ),
        (
            "# by \"me\na,b\n#x,\"\n1,#2\n\"#3\",4\n# end",
            &|s| s.comment = Some('#'),
            &[&["1", "#2"], &["#3", "4"]],
        ),
        (
            "Report \"x\nof today\r\n\na,b\n1,2\n",
            &|s| s.skip_lines = 3,
            &[&["1", "2"]],
        ),
        (
            "x,,x\n1,2,3\n",
            &|s| s.names = vec!["a".into(), "b".into(), "c".into()],
            &[&["1", "2", "3"]],
        ),
        (
            "1,2\n",
            &|s| (s.names, s.header) = (vec!["a".into(), "b".into()], Some(false)),
            &[&["1", "2"]],
        ),
        (
            "a;b\n1,5;7\n-0,25;8\n",
            &|s| {
                (s.decimal, s.delimiter, s.columns) = (
                    Some(','),
                    Some(';'),
                    map(&[("a", "decimal(9,2)"), ("b", "float64")]),
                )
            },
            &[&["1.50", "7.0"], &["-0.25", "8.0"]],
        ),
    ];
    for (text, change, expected) in cases {
        assert_eq!(
            read_with("a.csv", text, change).unwrap_or_else(|e| panic!("{text:?}: {e}")),
            expected,
            "{text:?}"
        );
    }
}

#[test]
fn refuses_a_point_between_thousands_where_decimals_follow_a_comma() {
    for cell in ["1.234", "1.234,5", "1,2,3"] {
        let change = |s: &mut SourceSpec| {
            (s.decimal, s.delimiter, s.columns) = (Some(','), Some(';'), map(&[("a", "float64")]));
        };
        let error = read_with("a.csv", format!("a;b\n{cell};1\n"), change).unwrap_err();
        assert!(
            matches!(error, Error::Cell { row: 1, .. }),
            "{cell}: {error}"
        );
    }
}

#[test]
fn counts_skipped_lines_and_comments_in_the_lines_it_names() {
    let text = "x\r\ny\r\n#\r\na,b\r\n# c\r\n1\r\n";
    let error = read_with("a.csv", text, |s| {
        (s.skip_lines, s.comment) = (2, Some('#'))
    })
    .unwrap_err();
    assert!(matches!(error, Error::CellCount { line: 6, .. }), "{error}");
    let error = read_with("a.csv", "x\ry\ra,b\r1\r", |s| s.skip_lines = 2).unwrap_err();
    assert!(matches!(error, Error::CellCount { line: 4, .. }), "{error}");
    assert!(matches!(
        read_with("a.csv", "x\n", |s| s.skip_lines = 5),
        Err(Error::Empty { .. })
    ));
}

#[test]
fn refuses_marks_that_do_not_go_together() {
    type Change = &'static dyn Fn(&mut SourceSpec);
    let cases: [(&str, Change, &str); 12] = [
        (
            "a.csv",
            &|s| s.escape = Some('é'),
            "`source.escape` cannot be `é`",
        ),
        (
            "a.csv",
            &|s| s.escape = Some(','),
            "`source.escape` cannot be `,`",
        ),
        (
            "a.csv",
            &|s| (s.quote, s.escape) = (Some(String::new()), Some('\\')),
            "`source.escape` cannot be `\\`; it is for quotation",
        ),
        (
            "a.csv",
            &|s| s.comment = Some('"'),
            "`source.comment` cannot be `\"`",
        ),
        (
            "a.tsv",
            &|s| s.comment = Some('\t'),
            "`source.comment` cannot be",
        ),
        (
            "a.csv",
            &|s| (s.comment, s.escape) = (Some('#'), Some('#')),
            "`source.comment` cannot be `#`",
        ),
        (
            "a.csv",
            &|s| (s.null, s.empty) = (NullTexts::One(String::new()), EmptyCells::Text),
            "`source.null` cannot be ``",
        ),
        (
            "a.csv",
            &|s| s.decimal = Some(','),
            "`source.decimal` cannot be `,`; it is for columns",
        ),
        (
            "a.csv",
            &|s| s.decimal = Some('\''),
            "`source.decimal` cannot be `'`; it is `.` or `,`",
        ),
        (
            "a.csv",
            &|s| s.names = vec!["a".to_owned()],
            "has 3 columns, and `source.names` has 1",
        ),
        (
            "a.csv",
            &|s| s.names = vec!["a".to_owned(), "a".to_owned(), "b".to_owned()],
            "two columns named `a`",
        ),
        (
            "a.csv",
            &|s| s.max_cell_bytes = 0,
            "`source.max_cell_bytes` cannot be `0`; it is from 1",
        ),
    ];
    for (name, change, expected) in cases {
        let said = words(
            &read_with(
                name,
                "id,name,age\n1,2,3\n".replace(',', if name == "a.tsv" { "\t" } else { "," }),
                change,
            )
            .unwrap_err(),
        );
        assert!(said.contains(expected), "{said}");
    }
    let unused: [Change; 6] = [
        &|s| s.escape = Some('\\'),
        &|s| s.null = NullTexts::One("NA".to_owned()),
        &|s| s.names = vec!["a".to_owned()],
        &|s| s.comment = Some('#'),
        &|s| s.skip_lines = 1,
        &|s| s.decimal = Some('.'),
    ];
    for change in unused {
        assert!(matches!(
            read_with("a.jsonl", "{\"a\":1}\n", change),
            Err(Error::SettingUnused { .. })
        ));
    }
}

#[test]
fn refuses_other_headers_where_names_stand_by_place() {
    let folder = Folder::new()
        .with("a.csv", "x,x\n1,2\n")
        .with("b.csv", "x,y\n3,4\n");
    let named = |s: &mut SourceSpec| s.names = vec!["a".to_owned(), "b".to_owned()];
    let error = folder.open(&with("*.csv", named)).unwrap_err();
    assert!(error.to_string().contains("column 2 of"), "{error}");
    let folder = folder.with("b.csv", "x,x\n3,4\n");
    assert_eq!(
        cells(&folder.open(&with("*.csv", named)).unwrap()),
        [["1", "2"], ["3", "4"]]
    );
}

#[test]
fn refuses_cells_and_rows_beyond_their_limit() {
    fn limited(name: &str, text: &str) -> Result<Vec<Vec<String>>, Error> {
        read_with(name, text, |s| s.max_cell_bytes = 10)
    }
    let said = |name: &str, text: &str| limited(name, text).unwrap_err().to_string();
    assert_eq!(
        limited("a.csv", "a,b\n0123456789,1\n").unwrap()[0][0].len(),
        10
    );
    assert!(
        said("a.csv", "a,b\n1,2\n01234567890,1\n")
            .ends_with("line 3: column `a` has a cell of more than 10 bytes")
    );
    assert!(
        said("a.csv", "a,b\n1,\"012\n34567890\"\n")
            .ends_with("line 2: column `b` has a cell of more than 10 bytes")
    );
    assert!(
        said("a.csv", "0123456789ab\n")
            .ends_with("line 1: column 1 has a cell of more than 10 bytes")
    );
    let five = ["0123456789"; 5].join(",");
    assert!(
        said("a.csv", &format!("a,b,c,d,e\n{five}\n"))
            .ends_with("line 2: the row has more than 40 bytes")
    );
    assert!(
        said("a.jsonl", "{\"a\":1}\n{\"a\":\"0123456789\"}\n")
            .ends_with("line 2: column `a` has a cell of more than 10 bytes")
    );
    assert!(
        said("a.jsonl", &format!("{{\"a\":1{}}}\n", " ".repeat(50)))
            .ends_with("line 1: the row has more than 40 bytes")
    );
}

#[test]
fn refuses_more_columns_than_a_table_has() {
    let error = read("a.csv", format!("{}\n", ",".repeat(200_000))).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooManyColumns {
                line: 1,
                limit: 100_000,
                ..
            }
        ),
        "{error}"
    );
    let error = read("a.csv", format!("a,b\n{}\n", ",".repeat(200_000))).unwrap_err();
    assert!(
        matches!(
            error,
            Error::CellCount {
                line: 2,
                found: 200_001,
                expected: 2,
                ..
            }
        ),
        "{error}"
    );
}

proptest! {
    /// Whatever a writer with backslashes writes is read back, and no row is lost.
    #[test]
    fn reads_back_what_is_written_with_an_escape(
        rows in prop::collection::vec(prop::collection::vec("[ab\"\\\\,\n\ré]{0,6}", 2..=2), 1..20)
    ) {
        let quoted = |cell: &String| format!("\"{}\"", cell.replace('\\', "\\\\").replace('"', "\\\""));
        let text: String = rows.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n").collect();
        let read = read_with("a.csv", format!("a,b\n{text}"), |s| (s.escape, s.empty) = (Some('\\'), EmptyCells::Text));
        prop_assert_eq!(read.unwrap(), rows);
    }

    /// Any bytes: an error or rows of as many cells as the header, never a panic; and what is read
    /// is what the crate reads.
    #[test]
    fn agrees_with_another_reader_on_any_text(text in "[ab\",\n\r é]{0,40}") {
        let text = format!("h,i\n{text}");
        if let Ok(ours) = read_with("a.csv", &text, |s| s.empty = EmptyCells::Text) {
            let mut other = ::csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
            let theirs: Vec<Vec<String>> =
                other.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
            prop_assert_eq!(ours, theirs);
        }
    }
}
