//! Values → Arrow arrays.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanBuilder, DictionaryArray, Float64Builder, Int32Builder, Int64Builder,
    ListArray, NullBufferBuilder, StringArray, StringBuilder, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Int32Type};
use serde_json::Value;

use super::shape::{Choices, ColumnShape, integer};
use crate::source::convert;

/// Builders for the columns of answers; see
/// [`AnswerSchema::builders`](super::AnswerSchema::builders).
///
/// **Shape**: one value to each column for every `append` or `append_null`, in that order.
#[derive(Debug)]
pub struct AnswerBuilders {
    /// Member names, where the answer is an object; else the answer is one column.
    names: Option<Vec<String>>,
    columns: Vec<Column>,
}

impl AnswerBuilders {
    pub(super) fn new(shape: &ColumnShape, capacity: usize) -> AnswerBuilders {
        match shape {
            ColumnShape::Object(members) => AnswerBuilders {
                names: Some(members.iter().map(|(name, _)| name.clone()).collect()),
                columns: members
                    .iter()
                    .map(|(_, shape)| Column::new(shape, capacity))
                    .collect(),
            },
            whole => AnswerBuilders {
                names: None,
                columns: vec![Column::new(whole, capacity)],
            },
        }
    }

    /// Appends an answer that [`AnswerSchema::parse`](super::AnswerSchema::parse) accepted. A value
    /// of another type becomes null.
    ///
    /// # Panics
    /// When a column passes 2 GiB of text; finish long before.
    pub fn append(&mut self, answer: &Value) {
        match &self.names {
            Some(names) => names
                .iter()
                .zip(&mut self.columns)
                .for_each(|(name, column)| column.append(answer.get(name))),
            None => self.columns[0].append(Some(answer)),
        }
    }

    /// Appends a row without an answer: null in all columns.
    pub fn append_null(&mut self) {
        self.columns
            .iter_mut()
            .for_each(|column| column.append(None));
    }

    /// The columns, in the order and of the types of
    /// [`AnswerSchema::fields`](super::AnswerSchema::fields); the builders are empty again.
    #[must_use]
    pub fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns.iter_mut().map(Column::finish).collect()
    }
}

#[derive(Debug)]
enum Column {
    Text(StringBuilder),
    Json(StringBuilder),
    Typed(StringBuilder, DataType),
    Choice {
        keys: Int32Builder,
        choices: Arc<Choices>,
        words: ArrayRef,
    },
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
    Object {
        members: Vec<(String, Column)>,
        nulls: NullBufferBuilder,
        data_type: DataType,
    },
    List {
        items: Box<Column>,
        offsets: Vec<i32>,
        len: i32,
        nulls: NullBufferBuilder,
        data_type: DataType,
    },
}

impl Column {
    fn new(shape: &ColumnShape, capacity: usize) -> Column {
        match shape {
            ColumnShape::Text => {
                Column::Text(StringBuilder::with_capacity(capacity, capacity * 16))
            }
            ColumnShape::Json | ColumnShape::Null => Column::Json(StringBuilder::new()),
            ColumnShape::Typed(data_type) => Column::Typed(
                StringBuilder::with_capacity(capacity, capacity * 8),
                data_type.clone(),
            ),
            ColumnShape::Choice(choices) => Column::Choice {
                keys: Int32Builder::with_capacity(capacity),
                choices: choices.clone(),
                words: Arc::new(StringArray::from_iter_values(&choices.words)),
            },
            ColumnShape::Integer => Column::Integer(Int64Builder::with_capacity(capacity)),
            ColumnShape::Number => Column::Number(Float64Builder::with_capacity(capacity)),
            ColumnShape::Boolean => Column::Boolean(BooleanBuilder::with_capacity(capacity)),
            ColumnShape::Object(members) => Column::Object {
                members: members
                    .iter()
                    .map(|(name, shape)| (name.clone(), Column::new(shape, capacity)))
                    .collect(),
                nulls: NullBufferBuilder::new(capacity),
                data_type: shape.data_type(),
            },
            ColumnShape::List(item) => Column::List {
                items: Box::new(Column::new(item, capacity)),
                offsets: vec![0],
                len: 0,
                nulls: NullBufferBuilder::new(capacity),
                data_type: shape.data_type(),
            },
        }
    }

    fn append(&mut self, value: Option<&Value>) {
        let value = value.filter(|v| !v.is_null());
        match self {
            Column::Text(builder) | Column::Typed(builder, _) => {
                builder.append_option(value.and_then(Value::as_str))
            }
            Column::Json(builder) => builder.append_option(value.map(Value::to_string)),
            Column::Choice { keys, choices, .. } => {
                keys.append_option(
                    value
                        .and_then(Value::as_str)
                        .and_then(|word| choices.places.get(word).copied()),
                );
            }
            Column::Integer(builder) => builder.append_option(value.and_then(integer)),
            Column::Number(builder) => builder.append_option(value.and_then(Value::as_f64)),
            Column::Boolean(builder) => builder.append_option(value.and_then(Value::as_bool)),
            Column::Object { members, nulls, .. } => {
                let object = value.and_then(Value::as_object);
                members
                    .iter_mut()
                    .for_each(|(name, column)| column.append(object.and_then(|o| o.get(name))));
                nulls.append(object.is_some());
            }
            Column::List {
                items,
                offsets,
                len,
                nulls,
                ..
            } => {
                let list = value.and_then(Value::as_array);
                for item in list.into_iter().flatten() {
                    items.append(Some(item));
                    *len += 1;
                }
                offsets.push(*len);
                nulls.append(list.is_some());
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Column::Text(builder) | Column::Json(builder) => Arc::new(builder.finish()),
            Column::Typed(builder, data_type) => {
                let texts: ArrayRef = Arc::new(builder.finish());
                convert::convert(&texts, data_type).expect("every text was seen to be of the type")
            }
            Column::Choice { keys, words, .. } => {
                // The same dictionary in every batch, used or not: readers see the whole enum.
                let array = DictionaryArray::<Int32Type>::new(keys.finish(), words.clone());
                Arc::new(array)
            }
            Column::Integer(builder) => Arc::new(builder.finish()),
            Column::Number(builder) => Arc::new(builder.finish()),
            Column::Boolean(builder) => Arc::new(builder.finish()),
            Column::Object {
                members,
                nulls,
                data_type,
            } => {
                let DataType::Struct(fields) = data_type else {
                    unreachable!("an object is a struct")
                };
                let columns = members
                    .iter_mut()
                    .map(|(_, column)| column.finish())
                    .collect();
                Arc::new(StructArray::new(fields.clone(), columns, nulls.finish()))
            }
            Column::List {
                items,
                offsets,
                len,
                nulls,
                data_type,
            } => {
                let DataType::List(field) = data_type else {
                    unreachable!("an array is a list")
                };
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
                *len = 0;
                let items = items.finish();
                debug_assert_eq!(items.len(), offsets[offsets.len() - 1] as usize);
                Arc::new(ListArray::new(
                    field.clone(),
                    offsets,
                    items,
                    nulls.finish(),
                ))
            }
        }
    }
}
