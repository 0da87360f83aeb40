use std::path::Path;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, ListBuilder, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::media::MediaFault;
use crate::media::samples::{gif, pdf_of, png};
use crate::template::prompt::spec::{ContentSpec, ImageSpec, MessageSpec, SystemSpec};
use crate::template::prompt::{
    AttachmentFault, Prompt, PromptContext, PromptLimits, PromptPart, Role,
};

fn prompt(image: ImageSpec, rows: &RecordBatch) -> Result<Prompt, Error> {
    let content = Some(vec![ContentSpec {
        image: Some(image),
        ..ContentSpec::default()
    }]);
    let message = MessageSpec {
        role: Some(Role::User),
        content,
        ..MessageSpec::default()
    };
    Prompt::compile(
        &SystemSpec::default(),
        &[message],
        &PromptContext::in_folder(Path::new(".")),
        &rows.schema(),
    )
}

fn of_column(name: &str) -> ImageSpec {
    ImageSpec {
        column: Some(name.to_owned()),
        ..ImageSpec::default()
    }
}

/// The media types that a row brings, its facts, and the bytes it was said to weigh.
fn row(
    prompt: &Prompt,
    rows: &RecordBatch,
    row: usize,
) -> Result<(Vec<&'static str>, MediaFacts, u64), PromptFault> {
    let (table, mut facts, mut kinds) = (prompt.table(rows), MediaFacts::default(), Vec::new());
    let mut take = |part: PromptPart<'_>| match part {
        PromptPart::Media(MediaBlock {
            source: MediaSource::Bytes(kind, _),
            ..
        }) => kinds.push(*kind),
        PromptPart::Media(_) => kinds.push("named"),
        _ => {}
    };
    prompt.render(&table, row, &PromptLimits::WIDEST, &mut facts, &mut take)?;
    Ok((kinds, facts, prompt.media_weight(&table, row)))
}

#[test]
fn reads_bytes_lists_of_them_and_structs_of_bytes_and_path() {
    let (small, moving) = (png(20, 10), gif(4, 5));
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&small[..]), None]));
    let mut list = ListBuilder::new(BinaryBuilder::new());
    list.values().append_value(&small);
    list.values().append_value(&moving);
    list.append(true);
    list.append(false);
    let paths: ArrayRef = Arc::new(StringArray::from(vec![
        Some("no such file.png"),
        Some("https://example.com/a.png"),
    ]));
    let fields = vec![
        (
            Arc::new(Field::new("bytes", DataType::Binary, true)),
            Arc::clone(&bytes),
        ),
        (Arc::new(Field::new("path", DataType::Utf8, true)), paths),
    ];
    let columns: [(&str, ArrayRef); 3] = [
        ("bytes", bytes),
        ("list", Arc::new(list.finish())),
        ("struct", Arc::new(StructArray::from(fields))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let first = |name: &str| row(&prompt(of_column(name), &rows).unwrap(), &rows, 0).unwrap();

    let (kinds, facts, weight) = first("bytes");
    assert_eq!(
        (kinds, facts.images.clone(), weight),
        (vec!["image/png"], vec![(20, 10)], facts.base64_bytes)
    );
    let (kinds, facts, weight) = first("list");
    assert_eq!(
        (kinds, facts.images.clone(), weight),
        (
            vec!["image/png", "image/gif"],
            vec![(20, 10), (4, 5)],
            facts.base64_bytes
        )
    );
    assert_eq!(
        first("struct").0,
        ["image/png"],
        "the bytes count where there are some"
    );

    let second = |name: &str| row(&prompt(of_column(name), &rows).unwrap(), &rows, 1);
    for name in ["bytes", "list"] {
        assert!(
            matches!(
                second(name),
                Err(PromptFault::Media {
                    fault: AttachmentFault::Null,
                    ..
                })
            ),
            "{name}"
        );
    }
    let (kinds, facts, _) = second("struct").unwrap();
    assert_eq!(
        (kinds, facts.unseen_images),
        (vec!["named"], 1),
        "else the path"
    );
}

#[test]
fn refuses_columns_that_cannot_hold_it() {
    let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let rows = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
    let refused = |image: ImageSpec| prompt(image, &rows).err().unwrap().to_string();
    assert_eq!(
        refused(of_column("n")),
        "block 1 of message 1 reads bytes or text from the column `n`, which is of the type \
         Int64"
    );
    let bytes = ImageSpec {
        from: CellForm::Bytes,
        ..of_column("t")
    };
    assert_eq!(
        refused(bytes),
        "block 1 of message 1 reads bytes from the column `t`, which is of the type Utf8"
    );
    let folder = ImageSpec {
        file: Some("a.png".into()),
        folder: Some("b".into()),
        ..ImageSpec::default()
    };
    assert!(refused(folder).contains("has `from` or `folder` without `column`"));
}

#[test]
fn takes_base64_in_the_forms_it_is_written_in() {
    let whole = STANDARD.encode(png(3, 4));
    let lines: String = whole
        .as_bytes()
        .chunks(20)
        .map(|line| format!("{}\r\n", std::str::from_utf8(line).unwrap()))
        .collect();
    let pdf = STANDARD.encode(pdf_of(1));
    let cells = [
        whole.clone(),
        lines,
        format!("data:image/png;base64,{whole}"),
        format!("data:;base64,{whole}"),
        format!("data:image/jpeg;base64,{whole}"),
        whole[1..].to_owned(),
        pdf,
    ];
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(&cells));
    let rows = RecordBatch::try_from_iter([("t", texts)]).unwrap();
    let prompt = prompt(
        ImageSpec {
            from: CellForm::Base64,
            ..of_column("t")
        },
        &rows,
    )
    .unwrap();
    for good in 0..4 {
        assert_eq!(
            row(&prompt, &rows, good).unwrap().1.images,
            [(3, 4)],
            "cell {good}"
        );
    }
    let fault = |at: usize| match row(&prompt, &rows, at) {
        Err(PromptFault::Media { fault, .. }) => fault,
        other => panic!("cell {at}: {other:?}"),
    };
    assert_eq!(
        fault(4),
        AttachmentFault::Media(MediaFault::OtherType {
            declared: "image/jpeg".to_owned(),
            found: "image/png"
        })
    );
    assert_eq!(fault(5), AttachmentFault::NotBase64);
    assert!(matches!(
        fault(6),
        AttachmentFault::Media(MediaFault::NotAnImage { .. })
    ));
}
