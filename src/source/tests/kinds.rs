//! Which files are read at all, and what is said of those that are odd.

use super::*;

#[cfg(unix)]
#[test]
fn refuses_pipes_devices_and_sockets() {
    let folder = Folder::new();
    let pipe = folder.path().join("a.csv");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("b.csv")).unwrap();
    std::os::unix::fs::symlink("/dev/urandom", folder.path().join("c.csv")).unwrap();
    for (name, kind) in [
        ("a.csv", "a named pipe"),
        ("b.csv", "a socket"),
        ("c.csv", "a device"),
        ("/dev/zero", "a device"),
    ] {
        let error = folder
            .open(&with(name, |s| s.format = Some(Format::Csv)))
            .unwrap_err();
        assert!(
            matches!(error, Error::NotAFile { kind: found, .. } if found == kind),
            "{name}: {error}"
        );
    }
    assert!(matches!(
        folder.open(&spec("*.csv")),
        Err(Error::NotAFile { .. })
    ));
}

#[test]
fn skips_empty_files_among_others_with_a_warning() {
    let rows = parquet_bytes(
        &batch(vec![("a", Arc::new(Int64Array::from(vec![1])))]),
        10,
        EnabledStatistics::None,
    );
    let folder = Folder::new()
        .with("c/1.csv", "")
        .with("c/2.csv", "a\n1\n")
        .with("c/3.csv", "\u{feff}\r\n")
        .with("c/4.csv.gz", {
            let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.finish().unwrap()
        })
        .with("c/5.csv", "a\n")
        .with("p/k=1/a.parquet", &rows)
        .with("p/k=2/a.parquet", "")
        .with("j/1.jsonl", "{\"a\":1}\n")
        .with("j/2.jsonl", "")
        .with("alone.csv", "")
        .with("e/1.csv", "")
        .with("e/2.csv", "");
    let source = folder.open(&spec("c")).unwrap();
    assert_eq!(cells(&source), [["1"]]);
    let [SourceWarning::EmptyFiles { paths, files: 5 }] = source.warnings() else {
        panic!("{:?}", source.warnings())
    };
    assert_eq!(
        paths
            .iter()
            .map(|path| path.file_name().unwrap())
            .collect::<Vec<_>>(),
        ["1.csv", "3.csv", "4.csv.gz"]
    );
    // A file that is empty now and not later is a file that changed.
    assert_eq!(source.files().len(), 5);
    for (path, expected) in [("p", vec![vec!["1", "1"]]), ("j/*.jsonl", vec![vec!["1"]])] {
        let source = folder.open(&spec(path)).unwrap();
        assert_eq!(cells(&source), expected, "{path}");
        assert!(
            matches!(source.warnings(), [SourceWarning::EmptyFiles { .. }]),
            "{path}"
        );
    }
    assert!(matches!(
        folder.open(&spec("alone.csv")),
        Err(Error::Empty { .. })
    ));
    assert!(matches!(folder.open(&spec("e")), Err(Error::Empty { .. })));
    assert!(folder.open(&spec("c/2.csv")).unwrap().warnings().is_empty());
}

#[test]
fn names_what_makes_a_column_of_json_text() {
    for (values, why) in [
        (&["1", "18446744073709551616"][..], TextReason::OutOfRange),
        (&["1.5", "1e400"], TextReason::OutOfRange),
        (&["null", "-9223372036854775809"], TextReason::OutOfRange),
        (&["0.5", "9007199254740993"], TextReason::WouldBeRounded),
        (&["9007199254740993", "0.5"], TextReason::WouldBeRounded),
        (&["1", "\"x\""], TextReason::MixedTypes),
        (&["[1]", "{\"b\":1}"], TextReason::MixedTypes),
        (&["{\"b\":1}", "{\"b\":1e999}"], TextReason::OutOfRange),
        (&["[{\"b\":1}]", "[{\"b\":[]}]"], TextReason::MixedTypes),
    ] {
        let text: String = values
            .iter()
            .map(|value| format!("\n{{\"a\":{value}}}\n"))
            .collect();
        let folder = Folder::new().with("a.jsonl", &text);
        let source = folder.open(&spec("a.jsonl")).unwrap();
        let [
            SourceWarning::ReadAsText {
                column,
                line: 4,
                reason: found,
                ..
            },
        ] = source.warnings()
        else {
            panic!("{values:?}: {:?}", source.warnings())
        };
        assert_eq!((column.as_str(), *found), ("a", why), "{values:?}");
        let typed = folder
            .open(&with("a.jsonl", |s| s.columns = map(&[("a", "string")])))
            .unwrap();
        assert!(typed.warnings().is_empty());
    }
    for text in [
        "{\"a\":1}\n{\"a\":1.5}\n",
        "{\"a\":\"x\"}\n",
        "{\"a\":{}}\n",
        "{\"a\":null}\n{\"b\":[1]}\n",
    ] {
        assert!(
            Folder::new()
                .with("a.jsonl", text)
                .open(&spec("a.jsonl"))
                .unwrap()
                .warnings()
                .is_empty(),
            "{text}"
        );
    }
}

#[test]
fn refuses_a_key_that_comes_twice_at_every_depth() {
    for value in [
        "{\"b\":1,\"b\":2}",
        "[1,{\"b\":[{\"x\":1,\"b\":{}},{\"b\":1,\"b\":2}]}]",
        "{\"c\":\"text\",\"d\":{\"e\":{\"b\":1,\"\\u0062\":2}}}",
    ] {
        for text in [
            format!("{{\"a\":1}}\n{{\"a\":{value}}}\n"),
            format!("{{\"z\":1}}\n{{\"a\":{value}}}\n"),
        ] {
            let error = read("a.jsonl", &text).unwrap_err().to_string();
            assert!(
                error.ends_with("line 2, byte 1: key `b` comes twice in one object of column `a`"),
                "{text}: {error}"
            );
        }
    }
}

#[test]
fn says_what_is_not_supported() {
    let folder = Folder::new()
        .with("a.xlsx", b"PK\x03\x04")
        .with("zip.csv", b"PK\x03\x04rest")
        .with("a.csv.bz2", "BZh")
        .with("a.orc", "ORC")
        .with("array.json", "[{\"a\": 1},\n {\"a\": 2}]\n")
        .with("lines.json", "{\"a\":1}\n{\"a\":2}\n");
    for (path, expected) in [
        ("a.xlsx", "is a spreadsheet, which is not supported"),
        (
            "zip.csv",
            "is a ZIP archive or a spreadsheet, which is not supported",
        ),
        ("a.csv.bz2", "is compressed with another format"),
        ("a.orc", "is an ORC file"),
        (
            "s3://me:secret@bucket/key/*.csv?sig=secret",
            "`s3://bucket/key/*.csv` is an address (`s3://`), which is not supported",
        ),
        ("https://example.org/a.csv", "is an address (`https://`)"),
        ("array.json", "is one JSON array"),
    ] {
        let said = words(&folder.open(&spec(path)).unwrap_err());
        assert!(
            said.contains(expected) && !said.contains("secret"),
            "{said}"
        );
    }
    // Lines of JSON are often called so.
    assert_eq!(
        cells(&folder.open(&spec("lines.json")).unwrap()),
        [["1"], ["2"]]
    );
}
