use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeBinaryBuilder, GenericListArray, Int32Array, StringArray,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::cells::uuid_bytes;
use super::fields::set_kind;
use super::kind::{EXTENSION_METADATA, EXTENSION_NAME};
use super::*;

fn uuid_field(name: &str) -> FieldRef {
    let mut field = Field::new(name, DataType::FixedSizeBinary(16), true);
    set_kind(&mut field, &LogicalKind::Uuid);
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
    let text = cells_as_read(&list, &field).unwrap();
    assert_eq!(text.data_type(), as_read(&field).data_type());
    let shown_list = text.as_list::<i32>().values().as_struct().column(0).clone();
    let expected = StringArray::from(vec![Some("12345678-90ab-cdef-0000-000000000001"), None]);
    assert_eq!(shown_list.as_string::<i32>(), &expected);
    let stored_field = stored(&as_read(&field));
    assert_eq!(stored_field, field);
    assert_eq!(&stored_cells(&text, &stored_field).unwrap(), &list);
}

#[test]
fn knows_extension_types_of_arrow() {
    for (name, about, data_type, expected) in [
        (
            "arrow.uuid",
            "",
            DataType::FixedSizeBinary(16),
            LogicalKind::Uuid,
        ),
        ("arrow.json", "", DataType::LargeUtf8, LogicalKind::Json),
        (
            "geoarrow.wkb",
            "{}",
            DataType::Binary,
            LogicalKind::Geometry {
                crs: Some("srid:0".to_owned()),
            },
        ),
        (
            "geoarrow.wkb",
            r#"{"crs":"OGC:CRS84"}"#,
            DataType::Binary,
            LogicalKind::Geometry { crs: None },
        ),
        (
            "geoarrow.wkb",
            r#"{"crs":"EPSG:3857","edges":"vincenty"}"#,
            DataType::Binary,
            LogicalKind::Geography {
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
            logical_kind(&as_read(&Arc::new(field))),
            Some(expected),
            "{name} {about}"
        );
    }
    let mut other = Field::new("a", DataType::FixedSizeBinary(8), true);
    other
        .metadata_mut()
        .insert(EXTENSION_NAME.to_owned(), "arrow.uuid".to_owned());
    assert_eq!(logical_kind(&as_read(&Arc::new(other))), None);
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
