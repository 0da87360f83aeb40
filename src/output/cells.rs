//! Cells as text, exact: what CSV writes into its cells and JSON Lines into its strings.
//!
//! Decimals keep all their digits, times are RFC 3339, bytes are base64. A time that lies outside
//! the calendar (some databases write infinity so) is written as the number it is stored as, rather
//! than lost.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteArray, MapArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{ByteArrayType, DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::writer::Cause;

/// How values are formatted: a value that cannot be is an error, not an error message in a cell.
const FORMAT: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

/// Checks that a column can be written as text.
pub(super) fn check(field: &FieldRef) -> Result<(), Cause> {
    let column = new_null_array(field.data_type(), 1);
    make_encoder(field, &column, &encoder_options())?;
    Ok(())
}

/// Encoders for what JSON has no exact form of.
pub(super) fn exact() -> Arc<dyn EncoderFactory> {
    Arc::new(Exact)
}

pub(super) fn encoder_options() -> EncoderOptions {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(exact())
}

/// The cells of one column as text.
pub(super) struct CellText<'a> {
    nulls: Option<NullBuffer>,
    cells: Cells<'a>,
}

enum Cells<'a> {
    Text(&'a dyn CellTexts),
    Formatted(Formatted<'a>),
    Base64(Box<dyn Bytes + 'a>),
    Json(NullableEncoder<'a>),
}

impl<'a> CellText<'a> {
    pub(super) fn new(
        field: &'a FieldRef,
        array: &'a ArrayRef,
        options: &'a EncoderOptions,
    ) -> Result<CellText<'a>, ArrowError> {
        let cells = match array.data_type() {
            DataType::Utf8 => Cells::Text(array.as_string::<i32>()),
            DataType::LargeUtf8 => Cells::Text(array.as_string::<i64>()),
            DataType::Utf8View => Cells::Text(array.as_string_view()),
            nested if nested.is_nested() => Cells::Json(make_encoder(field, array, options)?),
            _ => match bytes_of(array) {
                Some(bytes) => Cells::Base64(bytes),
                None => Cells::Formatted(Formatted::new(array)?),
            },
        };
        Ok(CellText {
            nulls: array.logical_nulls(),
            cells,
        })
    }

    /// The text of a cell, perhaps put together in `buffer`; `None` for a null.
    pub(super) fn text<'b>(
        &'b mut self,
        row: usize,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<&'b [u8]>, ArrowError> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(None);
        }
        buffer.clear();
        match &mut self.cells {
            Cells::Text(texts) => return Ok(Some(texts.text(row).as_bytes())),
            Cells::Formatted(formatted) => return Ok(Some(formatted.text(row)?.as_bytes())),
            Cells::Base64(bytes) => push_base64(bytes.bytes(row), buffer),
            Cells::Json(encoder) => encoder.encode(row, buffer),
        }
        Ok(Some(buffer))
    }
}

/// A column of text in one of Arrow's three layouts.
trait CellTexts {
    fn text(&self, row: usize) -> &str;
}

impl<T: ByteArrayType<Native = str>> CellTexts for GenericByteArray<T> {
    fn text(&self, row: usize) -> &str {
        self.value(row)
    }
}

impl CellTexts for arrow::array::StringViewArray {
    fn text(&self, row: usize) -> &str {
        self.value(row)
    }
}

/// A column of bytes in one of Arrow's four layouts.
trait Bytes {
    fn bytes(&self, row: usize) -> &[u8];
}

impl<T: ByteArrayType<Native = [u8]>> Bytes for &GenericByteArray<T> {
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row)
    }
}

impl Bytes for &arrow::array::BinaryViewArray {
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row)
    }
}

impl Bytes for &arrow::array::FixedSizeBinaryArray {
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row)
    }
}

fn bytes_of<'a>(array: &'a dyn Array) -> Option<Box<dyn Bytes + 'a>> {
    Some(match array.data_type() {
        DataType::Binary => Box::new(array.as_binary::<i32>()),
        DataType::LargeBinary => Box::new(array.as_binary::<i64>()),
        DataType::BinaryView => Box::new(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => Box::new(array.as_fixed_size_binary()),
        _ => return None,
    })
}

fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    out.resize(from + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD
        .encode_slice(bytes, &mut out[from..])
        .expect("base64 takes four bytes for each three");
    out.truncate(from + written);
}

/// Numbers, booleans and times.
struct Formatted<'a> {
    array: &'a dyn Array,
    formatter: ArrayFormatter<'a>,
    text: String,
}

impl<'a> Formatted<'a> {
    fn new(array: &'a dyn Array) -> Result<Formatted<'a>, ArrowError> {
        Ok(Formatted {
            array,
            formatter: ArrayFormatter::try_new(array, &FORMAT)?,
            text: String::new(),
        })
    }

    fn text(&mut self, row: usize) -> Result<&str, ArrowError> {
        self.text.clear();
        if let Err(e) = self.formatter.value(row).write(&mut self.text) {
            self.text.clear();
            self.outside_the_calendar(row).ok_or(e)?;
        }
        Ok(&self.text)
    }

    fn outside_the_calendar(&mut self, row: usize) -> Option<()> {
        let number = cast(&self.array.slice(row, 1), &DataType::Int64).ok()?;
        let number = number
            .as_primitive_opt::<arrow::datatypes::Int64Type>()
            .filter(|number| number.is_valid(0))?;
        write!(self.text, "{}", number.value(0)).ok()
    }
}

/// Makes the encoders that differ from arrow's own.
#[derive(Debug)]
struct Exact;

impl EncoderFactory for Exact {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Map(..) => Box::new(AnyKeys::new(field, array.as_map(), options)?),
            kind if kind.is_temporal() || kind.is_decimal() => {
                Box::new(QuotedText(Formatted::new(array)?))
            }
            _ => match bytes_of(array) {
                Some(bytes) => Box::new(Base64(bytes)),
                None => return Ok(None),
            },
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Base64<'a>(Box<dyn Bytes + 'a>);

impl Encoder for Base64<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        push_base64(self.0.bytes(row), out);
        out.push(b'"');
    }
}

struct QuotedText<'a>(Formatted<'a>);

impl Encoder for QuotedText<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        match self.0.text(row) {
            Ok(text) => {
                out.push(b'"');
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
            // Not reached: what has no form as a time has one as a number. An encoder cannot fail.
            Err(_) => out.extend_from_slice(b"null"),
        }
    }
}

/// Maps as objects, whatever their keys are; arrow's own encoder takes text keys only.
struct AnyKeys<'a> {
    offsets: OffsetBuffer<i32>,
    keys: NullableEncoder<'a>,
    values: NullableEncoder<'a>,
    key: Vec<u8>,
}

impl<'a> AnyKeys<'a> {
    fn new(
        field: &'a FieldRef,
        map: &'a MapArray,
        options: &'a EncoderOptions,
    ) -> Result<AnyKeys<'a>, ArrowError> {
        let keys = make_encoder(field, map.keys(), options)?;
        let values = make_encoder(field, map.values(), options)?;
        Ok(AnyKeys {
            offsets: map.offsets().clone(),
            keys,
            values,
            key: Vec::new(),
        })
    }

    fn push_key(&mut self, entry: usize, out: &mut Vec<u8>) {
        self.key.clear();
        match self.keys.is_null(entry) {
            true => self.key.extend_from_slice(b"null"),
            false => self.keys.encode(entry, &mut self.key),
        }
        if self.key.starts_with(b"\"") {
            out.extend_from_slice(&self.key);
        } else {
            let key = String::from_utf8_lossy(&self.key);
            out.extend_from_slice(serde_json::Value::from(key).to_string().as_bytes());
        }
    }
}

impl Encoder for AnyKeys<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        let entries = usize::try_from(self.offsets[row]).unwrap_or(0)
            ..usize::try_from(self.offsets[row + 1]).unwrap_or(0);
        for entry in entries.clone() {
            if entry > entries.start {
                out.push(b',');
            }
            self.push_key(entry, out);
            out.push(b':');
            match self.values.is_null(entry) {
                true => out.extend_from_slice(b"null"),
                false => self.values.encode(entry, out),
            }
        }
        out.push(b'}');
    }
}
