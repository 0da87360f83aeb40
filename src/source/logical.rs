//! What a column means beside its Arrow type: UUID, JSON, ENUM, BSON, VARIANT, GEOMETRY and
//! GEOGRAPHY.
//!
//! ```text
//!  file (Parquet, Arrow IPC)            rows of a source                       output (Parquet, Arrow IPC)
//!  16 bytes, UUID              ──▶      text 12345678-90ab-…, marked    ──▶    16 bytes, UUID
//!  text, JSON or ENUM          ──▶      text, marked                    ──▶    text, JSON or ENUM
//!  bytes, GEOMETRY(EPSG:4326)  ──▶      bytes, marked                   ──▶    bytes, GEOMETRY(EPSG:4326)
//! ```
//!
//! The mark is metadata of the field ([`KEY`]), so it survives the spool and every step that keeps
//! fields. A UUID is text on the way, so that templates, keys, expressions and text formats read
//! what people read; [`uuid_bytes`] turns it back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, FixedSizeListArray,
    GenericListArray, MapArray, OffsetSizeTrait, StringBuilder, StructArray,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;
use parquet::basic::{ConvertedType, EdgeInterpolationAlgorithm, LogicalType, Repetition};
use parquet::schema::types::Type;
use serde::{Deserialize, Serialize};

/// The metadata of a field that holds its [`Mark`].
pub(crate) const KEY: &str = "rowmill:logical_type";
const EXTENSION_NAME: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";
/// Where the crate's writer looks for times of day that are in UTC.
const TIME_IN_UTC: &str = "adjusted_to_utc";

/// What the values of a column are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub(crate) enum Mark {
    Uuid,
    Json,
    Bson,
    Enum,
    Variant {
        version: Option<i8>,
    },
    Geometry {
        crs: Option<String>,
    },
    Geography {
        crs: Option<String>,
        edges: Option<String>,
    },
}

/// The mark of a field, if it has one.
pub(crate) fn mark(field: &Field) -> Option<Mark> {
    serde_json::from_str(field.metadata().get(KEY)?).ok()
}

/// Whether a field is a UUID that stands there as text.
pub(crate) fn is_uuid_text(field: &Field) -> bool {
    field.data_type().is_string() && mark(field) == Some(Mark::Uuid)
}

impl Mark {
    fn of_parquet(leaf: &Type) -> Option<Mark> {
        let info = leaf.get_basic_info();
        Some(match (info.logical_type_ref(), info.converted_type()) {
            (Some(LogicalType::Uuid), _) => Mark::Uuid,
            (Some(LogicalType::Json), _) | (None, ConvertedType::JSON) => Mark::Json,
            (Some(LogicalType::Bson), _) | (None, ConvertedType::BSON) => Mark::Bson,
            (Some(LogicalType::Enum), _) | (None, ConvertedType::ENUM) => Mark::Enum,
            (Some(LogicalType::Variant(of)), _) => Mark::Variant {
                version: of.specification_version,
            },
            (Some(LogicalType::Geometry(of)), _) => Mark::Geometry {
                crs: of.crs.clone(),
            },
            (Some(LogicalType::Geography(of)), _) => Mark::Geography {
                crs: of.crs.clone(),
                edges: of.algorithm.map(|edges| edges.to_string()),
            },
            _ => return None,
        })
    }

    /// By the extension type of an Arrow field; what Parquet says goes before it.
    fn of_arrow(field: &Field) -> Option<Mark> {
        let data_type = field.data_type();
        Some(match field.metadata().get(EXTENSION_NAME)?.as_str() {
            "arrow.uuid" if is_uuid_bytes(data_type) => Mark::Uuid,
            "arrow.json" if values_of(data_type).is_string() => Mark::Json,
            "arrow.parquet.variant" if matches!(data_type, DataType::Struct(_)) => {
                Mark::Variant { version: None }
            }
            "geoarrow.wkb" if values_of(data_type).is_binary() => {
                geometry(field.metadata().get(EXTENSION_METADATA))
            }
            _ => return None,
        })
    }

    /// The logical type in Parquet.
    pub(crate) fn in_parquet(&self) -> LogicalType {
        match self {
            Mark::Uuid => LogicalType::Uuid,
            Mark::Json => LogicalType::Json,
            Mark::Bson => LogicalType::Bson,
            Mark::Enum => LogicalType::Enum,
            Mark::Variant { version } => LogicalType::variant(*version),
            Mark::Geometry { crs } => LogicalType::geometry(crs.clone()),
            Mark::Geography { crs, edges } => {
                LogicalType::geography(crs.clone(), edges.as_deref().and_then(algorithm))
            }
        }
    }

    /// The name of the extension type that other Arrow readers know, and its metadata.
    fn extension(&self) -> Option<(&'static str, String)> {
        Some(match self {
            Mark::Uuid => ("arrow.uuid", String::new()),
            Mark::Json => ("arrow.json", String::new()),
            Mark::Variant { .. } => ("arrow.parquet.variant", String::new()),
            Mark::Geometry { crs } => ("geoarrow.wkb", wkb_metadata(crs.as_deref(), None)),
            Mark::Geography { crs, edges } => (
                "geoarrow.wkb",
                wkb_metadata(
                    crs.as_deref(),
                    Some(edges.as_deref().unwrap_or("SPHERICAL")),
                ),
            ),
            Mark::Bson | Mark::Enum => return None,
        })
    }

    /// Whether a column of this type can carry the mark in a Parquet file.
    pub(crate) fn fits(&self, data_type: &DataType) -> bool {
        let values = values_of(data_type);
        match self {
            Mark::Uuid => is_uuid_bytes(data_type),
            Mark::Json | Mark::Enum => values.is_string() || values.is_binary(),
            Mark::Bson | Mark::Geometry { .. } | Mark::Geography { .. } => values.is_binary(),
            Mark::Variant { .. } => matches!(data_type, DataType::Struct(_)),
        }
    }
}

fn algorithm(name: &str) -> Option<EdgeInterpolationAlgorithm> {
    use EdgeInterpolationAlgorithm as Edges;
    let known = [
        Edges::SPHERICAL,
        Edges::VINCENTY,
        Edges::THOMAS,
        Edges::ANDOYER,
        Edges::KARNEY,
    ];
    known
        .into_iter()
        .find(|known| known.to_string().eq_ignore_ascii_case(name))
}

/// The mark by the metadata of GeoArrow: no coordinate system there is `srid:0` in Parquet, none in
/// Parquet is `OGC:CRS84`.
fn geometry(metadata: Option<&String>) -> Mark {
    let metadata: serde_json::Value = metadata
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let crs = match metadata.get("crs") {
        None | Some(serde_json::Value::Null) => Some("srid:0".to_owned()),
        Some(serde_json::Value::String(text)) if text == "OGC:CRS84" => None,
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(object) => Some(object.to_string()),
    };
    match metadata.get("edges").and_then(serde_json::Value::as_str) {
        None | Some("planar") => Mark::Geometry { crs },
        Some(edges) => Mark::Geography {
            crs,
            edges: Some(edges.to_uppercase()).filter(|edges| edges != "SPHERICAL"),
        },
    }
}

fn wkb_metadata(crs: Option<&str>, edges: Option<&str>) -> String {
    let mut metadata = serde_json::Map::new();
    match crs {
        Some("srid:0") => {}
        Some(text) => {
            let object = serde_json::from_str::<serde_json::Value>(text)
                .ok()
                .filter(serde_json::Value::is_object);
            metadata.insert("crs".to_owned(), object.unwrap_or_else(|| text.into()));
        }
        None => drop(metadata.insert("crs".to_owned(), "OGC:CRS84".into())),
    }
    if let Some(edges) = edges {
        metadata.insert("edges".to_owned(), edges.to_lowercase().into());
    }
    serde_json::Value::from(metadata).to_string()
}

fn values_of(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        DataType::RunEndEncoded(_, values) => values.data_type(),
        other => other,
    }
}

fn is_uuid_bytes(data_type: &DataType) -> bool {
    matches!(values_of(data_type), DataType::FixedSizeBinary(16))
}

/// The fields of a Parquet file with the marks that its own schema gives them, nested ones too;
/// `None` where nothing is to mark.
pub(super) fn marked(fields: &Fields, root: &Type) -> Option<Fields> {
    let marked: Fields = fields
        .iter()
        .zip(root.get_fields())
        .map(|(field, of_file)| by_parquet(field, of_file))
        .collect();
    (fields.len() == root.get_fields().len() && marked != *fields).then_some(marked)
}

/// A field with what its Parquet type says. Where the two are not built alike, as in lists of the
/// oldest kind, it stays as it is.
fn by_parquet(field: &FieldRef, of_file: &Type) -> FieldRef {
    let inner = |item: &FieldRef, of_file: &Type| by_parquet(item, of_file);
    let data_type = match field.data_type() {
        DataType::Struct(members)
            if of_file.is_group() && members.len() == of_file.get_fields().len() =>
        {
            DataType::Struct(
                members
                    .iter()
                    .zip(of_file.get_fields())
                    .map(|(member, of_file)| inner(member, of_file))
                    .collect(),
            )
        }
        DataType::Map(entries, sorted)
            if of_file.is_group() && !of_file.get_fields().is_empty() =>
        {
            DataType::Map(inner(entries, &of_file.get_fields()[0]), *sorted)
        }
        data_type => match (item(data_type), item_of_file(field, of_file)) {
            (Some(item), Some(of_file)) => with_item(data_type, inner(item, of_file)),
            // Date64 is Arrow's own; the file holds days.
            _ if *data_type == DataType::Date64 && is_date(of_file) => DataType::Date32,
            _ => data_type.clone(),
        },
    };
    let mut marked = field.as_ref().clone().with_data_type(data_type);
    if let Some(mark) = Mark::of_parquet(of_file).filter(|mark| mark.fits(marked.data_type())) {
        put(&mut marked, &mark);
    }
    if let Some(LogicalType::Time(time)) = of_file.get_basic_info().logical_type_ref()
        && time.is_adjusted_to_u_t_c
    {
        marked
            .metadata_mut()
            .insert(TIME_IN_UTC.to_owned(), "true".to_owned());
    }
    Arc::new(marked)
}

fn is_date(of_file: &Type) -> bool {
    let info = of_file.get_basic_info();
    info.logical_type_ref() == Some(&LogicalType::Date)
        || info.converted_type() == ConvertedType::DATE
}

/// The Parquet type of the items of a list: below the group that repeats, or that group itself in
/// older files.
fn item_of_file<'t>(list: &Field, of_file: &'t Type) -> Option<&'t Type> {
    let item = item(list.data_type())?;
    if of_file.get_basic_info().has_repetition()
        && of_file.get_basic_info().repetition() == Repetition::REPEATED
    {
        return Some(of_file).filter(|of_file| of_file.is_primitive());
    }
    let [repeated] = of_file.is_group().then(|| of_file.get_fields())? else {
        return None;
    };
    if repeated.is_primitive() {
        return Some(repeated);
    }
    match repeated.get_fields() {
        // A struct of one member looks the same; its name tells.
        [only] if !matches!(item.data_type(), DataType::Struct(members) if members.len() == 1 && members[0].name() == only.name()) => {
            Some(only)
        }
        _ => Some(repeated),
    }
}

/// The field of the items of a list.
pub(crate) fn item(list: &DataType) -> Option<&FieldRef> {
    match list {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => Some(item),
        _ => None,
    }
}

fn with_item(list: &DataType, item: FieldRef) -> DataType {
    match list {
        DataType::LargeList(_) => DataType::LargeList(item),
        DataType::FixedSizeList(_, length) => DataType::FixedSizeList(item, *length),
        DataType::ListView(_) => DataType::ListView(item),
        DataType::LargeListView(_) => DataType::LargeListView(item),
        _ => DataType::List(item),
    }
}

/// Gives a field its mark, and the extension type by which other readers know it.
fn put(field: &mut Field, mark: &Mark) {
    if let Ok(text) = serde_json::to_string(mark) {
        field.metadata_mut().insert(KEY.to_owned(), text);
    }
    if let Some((name, about)) = mark
        .extension()
        .filter(|_| !field.metadata().contains_key(EXTENSION_NAME))
    {
        field
            .metadata_mut()
            .insert(EXTENSION_NAME.to_owned(), name.to_owned());
        field
            .metadata_mut()
            .insert(EXTENSION_METADATA.to_owned(), about);
    }
}

/// A field of a file as the rows of a source have it: marked also by what Arrow says, and UUIDs as
/// text.
pub(super) fn shown(field: &FieldRef) -> FieldRef {
    let mut new = with_inner(field, &shown);
    if mark(&new).is_none()
        && let Some(mark) = Mark::of_arrow(&new)
    {
        put(&mut new, &mark);
    }
    if mark(&new) == Some(Mark::Uuid) && is_uuid_bytes(new.data_type()) {
        new.set_data_type(DataType::Utf8);
        new.metadata_mut().remove(EXTENSION_NAME);
        new.metadata_mut().remove(EXTENSION_METADATA);
    }
    Arc::new(new)
}

/// A field of the rows as a file holds it: UUIDs as 16 bytes.
pub(crate) fn stored(field: &FieldRef) -> FieldRef {
    let mut new = with_inner(field, &stored);
    if is_uuid_text(&new) {
        new.set_data_type(DataType::FixedSizeBinary(16));
        put(&mut new, &Mark::Uuid);
    }
    Arc::new(new)
}

/// A field without marks: the files do not agree on them.
pub(super) fn unmarked(field: &FieldRef) -> FieldRef {
    let mut new = with_inner(field, &unmarked);
    if new.metadata_mut().remove(KEY).is_some() {
        new.metadata_mut().remove(EXTENSION_NAME);
        new.metadata_mut().remove(EXTENSION_METADATA);
    }
    Arc::new(new)
}

/// Whether two fields of the same type bear the same marks, nested ones too.
pub(super) fn marked_alike(a: &Field, b: &Field) -> bool {
    let inner = match (a.data_type(), b.data_type()) {
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.iter().zip(b).all(|(a, b)| marked_alike(a, b))
        }
        (DataType::Map(a, _), DataType::Map(b, _)) => marked_alike(a, b),
        (a, b) => match (item(a), item(b)) {
            (Some(a), Some(b)) => marked_alike(a, b),
            _ => true,
        },
    };
    inner && a.metadata().get(KEY) == b.metadata().get(KEY)
}

/// A field whose members and items were changed.
fn with_inner(field: &Field, change: &dyn Fn(&FieldRef) -> FieldRef) -> Field {
    let data_type = match field.data_type() {
        DataType::Struct(members) => DataType::Struct(members.iter().map(change).collect()),
        DataType::Map(entries, sorted) => DataType::Map(change(entries), *sorted),
        list => match item(list) {
            Some(item) => with_item(list, change(item)),
            None => return field.clone(),
        },
    };
    field.clone().with_data_type(data_type)
}

/// The cells of a column of a file as the rows of a source have them; `field` is that of the file.
pub(super) fn shown_cells(cells: &ArrayRef, field: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let to = shown(field);
    if to.data_type() == field.data_type() {
        Ok(Arc::clone(cells))
    } else {
        changed(cells, &to, &uuid_text)
    }
}

/// The cells of a column of the rows as a file holds them, whose field is `to`.
pub(crate) fn stored_cells(cells: &ArrayRef, to: &FieldRef) -> Result<ArrayRef, ArrowError> {
    changed(cells, to, &uuid_bytes)
}

/// Brings an array to the type of a field: the leaves where that is a UUID (or was one) by `leaf`,
/// all else by Arrow's casts.
fn changed(
    cells: &ArrayRef,
    to: &FieldRef,
    leaf: &dyn Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    if cells.data_type() == to.data_type() {
        return Ok(Arc::clone(cells));
    }
    if cells.data_type().is_nested() != to.data_type().is_nested() {
        return cast_with_options(
            cells,
            to.data_type(),
            &CastOptions {
                safe: false,
                ..CastOptions::default()
            },
        );
    }
    if mark(to) == Some(Mark::Uuid) {
        return leaf(cells);
    }
    Ok(match (cells.data_type(), to.data_type()) {
        (DataType::Struct(_), DataType::Struct(members)) => {
            let from = cells.as_struct();
            let columns = from
                .columns()
                .iter()
                .zip(members)
                .map(|(column, to)| changed(column, to, leaf));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new_with_length(
                members.clone(),
                columns,
                from.nulls().cloned(),
                from.len(),
            )?)
        }
        (DataType::List(_), DataType::List(item)) => list::<i32>(cells, item, leaf)?,
        (DataType::LargeList(_), DataType::LargeList(item)) => list::<i64>(cells, item, leaf)?,
        (DataType::FixedSizeList(..), DataType::FixedSizeList(item, length)) => {
            let from = cells.as_fixed_size_list();
            let values = changed(from.values(), item, leaf)?;
            let nulls = from.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new_with_length(
                Arc::clone(item),
                *length,
                values,
                nulls,
                from.len(),
            )?)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let from = cells.as_map();
            let pairs: ArrayRef = Arc::new(from.entries().clone());
            let pairs = changed(&pairs, entries, leaf)?.as_struct().clone();
            Arc::new(MapArray::try_new(
                Arc::clone(entries),
                from.offsets().clone(),
                pairs,
                from.nulls().cloned(),
                *sorted,
            )?)
        }
        // A value that does not fit must be an error, never a null.
        _ => cast_with_options(
            cells,
            to.data_type(),
            &CastOptions {
                safe: false,
                ..CastOptions::default()
            },
        )?,
    })
}

fn list<O: OffsetSizeTrait>(
    cells: &ArrayRef,
    item: &FieldRef,
    leaf: &dyn Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    let from = cells.as_list::<O>();
    let values = changed(from.values(), item, leaf)?;
    Ok(Arc::new(GenericListArray::try_new(
        Arc::clone(item),
        from.offsets().clone(),
        values,
        from.nulls().cloned(),
    )?))
}

/// 16 bytes as the text that people know.
fn uuid_text(cells: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let cells = cast(cells, &DataType::FixedSizeBinary(16))?;
    let bytes = cells.as_fixed_size_binary();
    let mut texts = StringBuilder::with_capacity(bytes.len(), bytes.len() * 36);
    let mut text = [b'-'; 36];
    for row in 0..bytes.len() {
        if bytes.is_null(row) {
            texts.append_null();
            continue;
        }
        let mut at = 0;
        for (i, byte) in bytes.value(row).iter().enumerate() {
            at += usize::from(matches!(i, 4 | 6 | 8 | 10));
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        texts.append_value(std::str::from_utf8(&text).unwrap_or_default());
    }
    Ok(Arc::new(texts.finish()))
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The text of a UUID as 16 bytes.
fn uuid_bytes(cells: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let cells = cast(cells, &DataType::Utf8)?;
    let texts = cells.as_string::<i32>();
    let mut bytes = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
    for text in texts {
        match text {
            None => bytes.append_null(),
            Some(text) => match parsed(text) {
                Some(value) => bytes.append_value(value)?,
                None => {
                    return Err(ArrowError::CastError(
                        "a text of a UUID column is no UUID".to_owned(),
                    ));
                }
            },
        }
    }
    let bytes: FixedSizeBinaryArray = bytes.finish();
    Ok(Arc::new(bytes))
}

fn parsed(text: &str) -> Option<[u8; 16]> {
    let mut digits = text
        .bytes()
        .filter(|byte| *byte != b'-')
        .map(|byte| char::from(byte).to_digit(16));
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = u8::try_from(digits.next()?? * 16 + digits.next()??).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};
    use arrow::buffer::OffsetBuffer;

    use super::*;

    fn uuid_field(name: &str) -> FieldRef {
        let mut field = Field::new(name, DataType::FixedSizeBinary(16), true);
        put(&mut field, &Mark::Uuid);
        Arc::new(field)
    }

    fn uuids() -> ArrayRef {
        let mut bytes = FixedSizeBinaryBuilder::new(16);
        bytes
            .append_value([
                0x12, 0x34, 0x56, 0x78, 0x90, 0xab, 0xcd, 0xef, 0, 0, 0, 0, 0, 0, 0, 1,
            ])
            .unwrap();
        bytes.append_null();
        Arc::new(bytes.finish())
    }

    #[test]
    fn shows_uuids_as_text_at_any_depth_and_stores_them_as_bytes() {
        let members: Fields = vec![
            uuid_field("u"),
            Arc::new(Field::new("n", DataType::Int32, true)),
        ]
        .into();
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let pair: ArrayRef = Arc::new(StructArray::new(
            members.clone(),
            vec![uuids(), numbers],
            None,
        ));
        let item: FieldRef = Arc::new(Field::new("item", DataType::Struct(members), true));
        let list: ArrayRef = Arc::new(GenericListArray::<i32>::new(
            item.clone(),
            OffsetBuffer::from_lengths([1, 1]),
            pair,
            None,
        ));
        let field: FieldRef = Arc::new(Field::new("l", DataType::List(item), true));
        let text = shown_cells(&list, &field).unwrap();
        assert_eq!(text.data_type(), shown(&field).data_type());
        let shown_list = text.as_list::<i32>().values().as_struct().column(0).clone();
        let expected = StringArray::from(vec![Some("12345678-90ab-cdef-0000-000000000001"), None]);
        assert_eq!(shown_list.as_string::<i32>(), &expected);
        let stored_field = stored(&shown(&field));
        assert_eq!(stored_field, field);
        assert_eq!(&stored_cells(&text, &stored_field).unwrap(), &list);
    }

    #[test]
    fn knows_extension_types_of_arrow() {
        for (name, about, data_type, expected) in [
            ("arrow.uuid", "", DataType::FixedSizeBinary(16), Mark::Uuid),
            ("arrow.json", "", DataType::LargeUtf8, Mark::Json),
            (
                "geoarrow.wkb",
                "{}",
                DataType::Binary,
                Mark::Geometry {
                    crs: Some("srid:0".to_owned()),
                },
            ),
            (
                "geoarrow.wkb",
                r#"{"crs":"OGC:CRS84"}"#,
                DataType::Binary,
                Mark::Geometry { crs: None },
            ),
            (
                "geoarrow.wkb",
                r#"{"crs":"EPSG:3857","edges":"vincenty"}"#,
                DataType::Binary,
                Mark::Geography {
                    crs: Some("EPSG:3857".to_owned()),
                    edges: Some("VINCENTY".to_owned()),
                },
            ),
        ] {
            let mut field = Field::new("a", data_type, true);
            field
                .metadata_mut()
                .insert(EXTENSION_NAME.to_owned(), name.to_owned());
            field
                .metadata_mut()
                .insert(EXTENSION_METADATA.to_owned(), about.to_owned());
            assert_eq!(
                mark(&shown(&Arc::new(field))),
                Some(expected),
                "{name} {about}"
            );
        }
        let mut other = Field::new("a", DataType::FixedSizeBinary(8), true);
        other
            .metadata_mut()
            .insert(EXTENSION_NAME.to_owned(), "arrow.uuid".to_owned());
        assert_eq!(mark(&shown(&Arc::new(other))), None);
    }

    #[test]
    fn takes_no_text_for_a_uuid_that_is_none() {
        for text in [
            "",
            "12345678-90ab-cdef-0000-00000000000",
            "12345678-90ab-cdef-0000-0000000000011",
            "g2345678-90ab-cdef-0000-000000000001",
        ] {
            let cells: ArrayRef = Arc::new(StringArray::from(vec![text]));
            assert!(uuid_bytes(&cells).is_err(), "{text}");
        }
    }
}
