//! The cells of one column of one batch, as texts, as hashes and for display.

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The cells of one column of one batch.
pub(super) enum ColumnValues {
    /// Texts.
    Text(StringViewArray),
    /// Values of a fixed width, with their bytes.
    Fixed(ArrayRef, Rows),
    /// Values of another type, which are not profiled.
    Opaque,
}

/// Whether values of this type are profiled.
pub(super) fn are_profiled(data_type: &DataType) -> bool {
    is_text(data_type) || is_fixed(data_type)
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        other => matches!(
            other,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        ),
    }
}

fn is_fixed(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_fixed(values),
        DataType::Boolean => true,
        other => other.is_numeric() || other.is_temporal(),
    }
}

impl ColumnValues {
    pub(super) fn of(array: &ArrayRef) -> Self {
        if is_text(array.data_type()) {
            // The views share the text with the original.
            return cast(array, &DataType::Utf8View).map_or(Self::Opaque, |text| {
                Self::Text(text.as_string_view().clone())
            });
        }
        if !is_fixed(array.data_type()) {
            return Self::Opaque;
        }
        let rows = RowConverter::new(vec![SortField::new(array.data_type().clone())])
            .and_then(|converter| converter.convert_columns(std::slice::from_ref(array)));
        rows.map_or(Self::Opaque, |rows| Self::Fixed(array.clone(), rows))
    }

    pub(super) fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Text(texts) if texts.is_valid(row) => Some(texts.value(row)),
            _ => None,
        }
    }

    /// A number that only equal values share.
    pub(super) fn hash(&self, row: usize) -> Option<u128> {
        match self {
            Self::Text(texts) => texts
                .is_valid(row)
                .then(|| hash(texts.value(row).as_bytes())),
            Self::Fixed(array, rows) => {
                (!is_null(array, row)).then(|| hash(rows.row(row).as_ref()))
            }
            Self::Opaque => None,
        }
    }

    /// The cell as text for people.
    pub(super) fn shown(&self, row: usize) -> Option<String> {
        match self {
            Self::Text(_) => self.text(row).map(str::to_owned),
            Self::Fixed(array, _) if !is_null(array, row) => {
                let formatter =
                    ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default()).ok()?;
                formatter.value(row).try_to_string().ok()
            }
            _ => None,
        }
    }
}

/// Whether a cell is null. A dictionary may also have nulls among its values.
fn is_null(array: &ArrayRef, row: usize) -> bool {
    match array.data_type() {
        DataType::Dictionary(..) => array
            .logical_nulls()
            .is_some_and(|nulls| nulls.is_null(row)),
        _ => array.is_null(row),
    }
}

/// Up to 15 bytes are their own hash, with their number in the last byte; beyond, 128 bits of
/// blake3.
fn hash(bytes: &[u8]) -> u128 {
    let mut number = [0; 16];
    if bytes.len() < number.len() {
        number[..bytes.len()].copy_from_slice(bytes);
        number[15] = bytes.len() as u8;
    } else {
        number.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    }
    u128::from_le_bytes(number)
}

/// The hash of two values together.
pub(super) fn joined(one: u128, other: u128) -> u128 {
    let mut both = [0; 32];
    both[..16].copy_from_slice(&one.to_le_bytes());
    both[16..].copy_from_slice(&other.to_le_bytes());
    hash(&both)
}
