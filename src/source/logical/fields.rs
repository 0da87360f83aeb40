//! Fields of files and of rows, with their logical kinds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::schema::types::Type;

use super::kind::{
    EXTENSION_METADATA, EXTENSION_NAME, KEY, LogicalKind, is_uuid_bytes, is_uuid_text, logical_kind,
};

/// The metadata by which the Parquet writer knows times of day that are in UTC.
const TIME_IN_UTC: &str = "adjusted_to_utc";

/// The fields of a Parquet file with the logical kinds of its own schema, nested ones too; `None`
/// where there are none.
pub(in crate::source) fn with_file_kinds(fields: &Fields, root: &Type) -> Option<Fields> {
    let changed: Fields = fields
        .iter()
        .zip(root.get_fields())
        .map(|(field, of_file)| with_file_kind(field, of_file))
        .collect();
    (fields.len() == root.get_fields().len() && changed != *fields).then_some(changed)
}

/// A field with the logical kind of its Parquet type. Where the two are not nested alike, as in
/// lists of the oldest form, it stays as it is.
fn with_file_kind(field: &FieldRef, of_file: &Type) -> FieldRef {
    let inner = |item: &FieldRef, of_file: &Type| with_file_kind(item, of_file);
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
    let mut changed = field.as_ref().clone().with_data_type(data_type);
    if let Some(kind) =
        LogicalKind::of_parquet(of_file).filter(|kind| kind.fits(changed.data_type()))
    {
        set_kind(&mut changed, &kind);
    }
    if let Some(LogicalType::Time(time)) = of_file.get_basic_info().logical_type_ref()
        && time.is_adjusted_to_u_t_c
    {
        changed
            .metadata_mut()
            .insert(TIME_IN_UTC.to_owned(), "true".to_owned());
    }
    Arc::new(changed)
}

fn is_date(of_file: &Type) -> bool {
    let info = of_file.get_basic_info();
    info.logical_type_ref() == Some(&LogicalType::Date)
        || info.converted_type() == ConvertedType::DATE
}

/// The Parquet type of the items of a list: inside the repeated group, or that group itself in
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
        // A list of structs with one member in an older file looks the same; the member's name
        // distinguishes them.
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

/// Sets the logical kind of a field, and the extension type by which other readers know it.
pub(super) fn set_kind(field: &mut Field, kind: &LogicalKind) {
    let text = serde_json::to_string(kind).expect("a kind holds texts and numbers only");
    field.metadata_mut().insert(KEY.to_owned(), text);
    if let Some((name, about)) = kind
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

/// A field of a file as it is in the rows of a source: with the kind of its Arrow extension type
/// too, and UUIDs as text.
pub(in crate::source) fn as_read(field: &FieldRef) -> FieldRef {
    let mut new = with_inner(field, &mut as_read);
    if logical_kind(&new).is_none()
        && let Some(kind) = LogicalKind::of_arrow(&new)
    {
        set_kind(&mut new, &kind);
    }
    if logical_kind(&new) == Some(LogicalKind::Uuid) && is_uuid_bytes(new.data_type()) {
        new.set_data_type(DataType::Utf8);
        new.metadata_mut().remove(EXTENSION_NAME);
        new.metadata_mut().remove(EXTENSION_METADATA);
    }
    Arc::new(new)
}

/// A field of the rows as it is in a file: UUIDs as 16 bytes.
pub(crate) fn stored(field: &FieldRef) -> FieldRef {
    let mut new = with_inner(field, &mut stored);
    if is_uuid_text(&new) {
        new.set_data_type(DataType::FixedSizeBinary(16));
        set_kind(&mut new, &LogicalKind::Uuid);
    }
    Arc::new(new)
}

/// A field without logical kinds, for files that do not agree on them.
pub(in crate::source) fn without_kinds(field: &FieldRef) -> FieldRef {
    let mut new = with_inner(field, &mut without_kinds);
    if new.metadata_mut().remove(KEY).is_some() {
        new.metadata_mut().remove(EXTENSION_NAME);
        new.metadata_mut().remove(EXTENSION_METADATA);
    }
    Arc::new(new)
}

/// Whether two fields of the same type have the same logical kinds, nested ones too.
pub(in crate::source) fn have_same_kinds(a: &Field, b: &Field) -> bool {
    let inner = match (a.data_type(), b.data_type()) {
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.iter().zip(b).all(|(a, b)| have_same_kinds(a, b))
        }
        (DataType::Map(a, _), DataType::Map(b, _)) => have_same_kinds(a, b),
        (a, b) => match (item(a), item(b)) {
            (Some(a), Some(b)) => have_same_kinds(a, b),
            _ => true,
        },
    };
    inner && a.metadata().get(KEY) == b.metadata().get(KEY)
}

/// The field with its members and items changed; a field without any is unchanged.
pub(in crate::source) fn with_inner(
    field: &Field,
    change: &mut dyn FnMut(&FieldRef) -> FieldRef,
) -> Field {
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
