//! The forms in which a cell holds a picture or document.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

use super::folder::CellFolder;
use crate::media::{base64_bytes, is_file_id};
use crate::template::cell::{CellValue, cell, resolve};
use crate::template::prompt::AttachmentFault;
use crate::template::prompt::spec::CellForm;

/// More characters than this are no path.
pub(super) const MAX_PATH_CHARS: usize = 1_000;

/// The form of a text, where the job leaves it to each cell.
pub(super) fn form_of(text: &str) -> CellForm {
    let start = text.trim_start();
    let is = |prefix: &str| {
        start
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    // Base64 without `data:` is never guessed: a long path and short base64 look the same. A text
    // with another scheme counts as a URL, so that the error says so and names no missing file.
    if is("data:") {
        CellForm::Base64
    } else if is("http://")
        || is("https://")
        || (text.len() < MAX_PATH_CHARS && text.contains("://"))
    {
        CellForm::Url
    } else if is_file_id(text.trim()) {
        CellForm::FileId
    } else {
        CellForm::Path
    }
}

/// Splits `data:image/png;base64,…` into the type it names and the base64.
pub(super) fn data_url(text: &str) -> (Option<&str>, &str) {
    let text = text.trim();
    let parts = text
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(','));
    match parts {
        Some((head, data)) => (
            head.split(';')
                .next()
                .filter(|media_type| !media_type.is_empty()),
            data,
        ),
        None => (None, text),
    }
}

/// The items of a list cell.
pub(in crate::template::prompt) fn items(array: &ArrayRef, row: usize) -> Option<ArrayRef> {
    Some(match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        DataType::ListView(_) => array.as_list_view::<i32>().value(row),
        DataType::LargeListView(_) => array.as_list_view::<i64>().value(row),
        _ => return None,
    })
}

/// Whether cells of a type can have a form.
pub(super) fn can_hold(data_type: &DataType, from: CellForm) -> bool {
    let binary = matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
            | DataType::Null
    );
    let text = matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
    );
    match data_type {
        DataType::Dictionary(_, values) => can_hold(values, from),
        DataType::RunEndEncoded(_, field)
        | DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => can_hold(field.data_type(), from),
        DataType::Struct(fields) if from == CellForm::Auto => fields.iter().any(|field| {
            matches!(field.name().as_str(), "bytes" | "path") && can_hold(field.data_type(), from)
        }),
        _ => match from {
            CellForm::Auto => binary || text,
            CellForm::Bytes => binary,
            _ => text,
        },
    }
}

/// Estimates the bytes that a cell adds to a request: exact for bytes, from the file's size for
/// paths.
pub(super) fn weight(array: &ArrayRef, row: usize, from: CellForm, folder: &CellFolder) -> u64 {
    let Some((array, row)) = resolve(array, row) else {
        return 0;
    };
    if let Some(items) = items(array, row) {
        return (0..items.len())
            .map(|item| weight(&items, item, from, folder))
            .sum();
    }
    if let DataType::Struct(_) = array.data_type() {
        return array
            .as_struct()
            .columns()
            .iter()
            .map(|field| weight(field, row, from, folder))
            .sum();
    }
    match cell(array, row) {
        CellValue::Bytes(bytes) => base64_bytes(bytes.len()) as u64,
        CellValue::Text(text) => {
            let is_path = from == CellForm::Path
                || (from == CellForm::Auto && form_of(text) == CellForm::Path);
            let file = if is_path {
                folder
                    .find(text)
                    .and_then(|path| path.metadata().map_err(|_| AttachmentFault::Null))
                    .ok()
            } else {
                None
            };
            file.map_or(text.len() as u64, |file| {
                base64_bytes(file.len() as usize) as u64
            })
        }
        _ => 0,
    }
}

/// A cell's text as it may stand in a message: short, on one line.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let line: String = text
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().count() > MOST {
        line + "…"
    } else {
        line
    }
}
