//! The library without its features: `cargo test --no-default-features --test without_sql`.
//!
//! A job that needs an expression is refused while it is read; nothing else changes.

#![cfg(not(feature = "sql"))]

use rowmill::source::{self, Source, SourceSpec};
use rowmill::table;

fn source_with(filter: Option<&str>) -> Result<Source, source::Error> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rows.csv"), "id,body\n1,a\n").expect("a file");
    let spec = SourceSpec {
        path: "rows.csv".into(),
        filter: filter.map(str::to_owned),
        ..SourceSpec::default()
    };
    Source::open(&spec, folder.path())
}

#[test]
fn refuses_an_expression_by_its_type() {
    let refused = source_with(Some("id = '1'")).expect_err("there is no SQL here");
    let source::Error::Expression { source, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert!(
        matches!(&**source, table::Error::WithoutSql { sql } if sql == "id = '1'"),
        "{source:?}"
    );
    assert_eq!(
        source.to_string(),
        "`id = '1'` cannot be evaluated: this build has no SQL expressions (feature `sql`)"
    );
}

#[test]
fn reads_a_table_without_expressions() {
    let source = source_with(None).expect("a table");
    let names: Vec<_> = source
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(names, ["id", "body"]);
}
