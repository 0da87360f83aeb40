//! A row of a record batch as the engine's variables: column names at the top level, and `row` for
//! the row as a whole.
//!
//! Only what a template asks for becomes a value. A null cell is not the engine's own `none`, which
//! turns into the text `None` as soon as it is joined to something (`"a" ~ x`, `x|upper`), but
//! [`Null`], whose text is empty everywhere.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::DataType;
use minijinja::Value;
use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr};

use super::cell::{self, CellValue};

/// The columns of one record batch that templates can reach.
pub(crate) struct RenderTable {
    /// Sorted by name.
    columns: Vec<(Arc<str>, ArrayRef)>,
    /// The places in `columns`, in the order of the table.
    order: Vec<usize>,
}

impl RenderTable {
    /// Takes the named columns, or all. A name the batch does not have is left out; using it is
    /// then an error of the row.
    pub(crate) fn new(batch: &RecordBatch, used: Option<&[Arc<str>]>) -> Arc<RenderTable> {
        let schema = batch.schema_ref();
        let mut columns: Vec<(usize, Arc<str>)> = match used {
            Some(names) => names
                .iter()
                .filter_map(|name| Some((schema.index_of(name).ok()?, Arc::clone(name))))
                .collect(),
            None => schema
                .fields()
                .iter()
                .enumerate()
                .map(|(i, field)| (i, Arc::from(field.name().as_str())))
                .collect(),
        };
        // Of columns with the same name the first counts.
        columns.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
        columns.dedup_by(|later, first| later.1 == first.1);
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|&place| columns[place].0);
        let columns = columns
            .into_iter()
            .map(|(i, name)| (name, Arc::clone(batch.column(i))))
            .collect();
        Arc::new(RenderTable { columns, order })
    }

    /// The variables of a row.
    pub(crate) fn row(self: &Arc<RenderTable>, row: usize) -> Value {
        Value::from_object(RowVariables {
            table: Arc::clone(self),
            row,
        })
    }

    /// A column by its name.
    pub(crate) fn column(&self, name: &str) -> Option<&ArrayRef> {
        let place = self
            .columns
            .binary_search_by(|(column, _)| (**column).cmp(name))
            .ok()?;
        Some(&self.columns[place].1)
    }

    fn value(&self, name: &str, row: usize) -> Option<Value> {
        Some(value(self.column(name)?, row))
    }
}

/// The top level of a template: `subject`, `row`.
struct RowVariables {
    table: Arc<RenderTable>,
    row: usize,
}

impl Object for RowVariables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        // The engine asks here after loops, `{% set %}` and macro arguments, and before its own
        // globals: a column may be named `range`. Here `row` comes before a column of that name,
        // which is still `row["row"]`.
        if key == "row" {
            return Some(Value::from_object(WholeRow {
                table: Arc::clone(&self.table),
                row: self.row,
            }));
        }
        self.table.value(key, self.row)
    }
}

/// The row as a map from column name to cell, in the order of the table.
struct WholeRow {
    table: Arc<RenderTable>,
    row: usize,
}

impl Object for WholeRow {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.table.value(key, self.row)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let row = Arc::clone(self);
        let names = (0..row.table.order.len())
            .map(move |i| Value::from(&*row.table.columns[row.table.order[i]].0));
        Enumerator::Iter(Box::new(names))
    }
}

/// A cell as a value of the engine.
pub(crate) fn value(array: &ArrayRef, row: usize) -> Value {
    match cell::cell(array, row) {
        CellValue::Null => null(array.data_type()),
        CellValue::Bool(value) => Value::from(value),
        CellValue::Int(value) => Value::from(value),
        CellValue::UInt(value) => Value::from(value),
        CellValue::Float(value) => Value::from(value),
        CellValue::Text(text) => Value::from(text),
        CellValue::Bytes(bytes) => Value::from_bytes(bytes.to_vec()),
        CellValue::Date(date) => Value::from(date.to_string()),
        CellValue::Time(time) => Value::from(time.to_string()),
        CellValue::DateTime(at) => Value::from(at.to_string()),
        CellValue::Instant(at, zone) => Value::from(cell::instant_text(at, zone)),
        CellValue::Duration(duration) => Value::from(duration.to_string()),
        CellValue::Decimal(text) | CellValue::Other(text) => Value::from(text),
        CellValue::Nested => nested(array, row),
    }
}

fn nested(array: &ArrayRef, row: usize) -> Value {
    let Some((array, row)) = cell::resolve(array, row) else {
        return null(array.data_type());
    };
    match array.data_type() {
        DataType::List(_) => list(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(array.as_fixed_size_list().value(row)),
        DataType::ListView(_) => list(array.as_list_view::<i32>().value(row)),
        DataType::LargeListView(_) => list(array.as_list_view::<i64>().value(row)),
        DataType::Map(..) => Value::from_object(MapCell {
            entries: array.as_map().value(row),
        }),
        _ => Value::from_object(StructCell {
            fields: array.as_struct().clone(),
            row,
        }),
    }
}

fn list(items: ArrayRef) -> Value {
    Value::from_object(ListCell { items })
}

/// A null cell: renders as nothing, is false, `is none`, and holds nothing.
///
/// It is iterated like an empty list, and a null struct like an object without fields, so that
/// `{% for tag in tags %}` and `tags|length` are right for a row without tags. Its fields are null
/// themselves, if the column has them.
#[derive(Clone, Default)]
pub(crate) struct Null {
    /// The type of the column, where its cells hold others.
    nested: Option<DataType>,
}

/// The null of a column.
fn null(data_type: &DataType) -> Value {
    match data_type {
        DataType::Dictionary(_, values) => null(values),
        DataType::RunEndEncoded(_, values) => null(values.data_type()),
        _ if data_type.is_nested() => Value::from_object(Null {
            nested: Some(data_type.clone()),
        }),
        _ => plain_null(),
    }
}

/// The null of a column whose cells hold no others.
pub(crate) fn plain_null() -> Value {
    static NULL: LazyLock<Value> = LazyLock::new(|| Value::from_object(Null::default()));
    NULL.clone()
}

impl Object for Null {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.nested {
            Some(DataType::Struct(_) | DataType::Map(..)) => ObjectRepr::Map,
            _ => ObjectRepr::Iterable,
        }
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<std::cmp::Ordering> {
        other
            .downcast_ref::<Null>()
            .map(|_| std::cmp::Ordering::Equal)
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.nested.as_ref()? {
            DataType::Struct(fields) => Some(null(fields.find(key.as_str()?)?.1.data_type())),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) => Some(null(fields.get(1)?.data_type())),
                _ => None,
            },
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => key.is_integer().then(|| null(item.data_type())),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Empty
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Whether a value is a null cell, or the engine's own `none`.
pub(crate) fn is_null(value: &Value) -> bool {
    value.is_none() || value.downcast_object_ref::<Null>().is_some()
}

/// Whether a value is a null cell of a column whose cells hold no others.
pub(crate) fn is_plain_null(value: &Value) -> bool {
    value
        .downcast_object_ref::<Null>()
        .is_some_and(|null| null.nested.is_none())
}

/// Whether a value is the row as a whole.
pub(crate) fn is_row(value: &Value) -> bool {
    value.downcast_object_ref::<WholeRow>().is_some()
}

struct ListCell {
    items: ArrayRef,
}

impl Object for ListCell {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let place = key.as_usize()?;
        (place < self.items.len()).then(|| value(&self.items, place))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }
}

struct StructCell {
    fields: StructArray,
    row: usize,
}

impl Object for StructCell {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        Some(value(self.fields.column_by_name(key)?, self.row))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let this = Arc::clone(self);
        let names = (0..this.fields.num_columns())
            .map(move |i| Value::from(this.fields.fields()[i].name().as_str()));
        Enumerator::Iter(Box::new(names))
    }
}

struct MapCell {
    /// Two columns: keys and values.
    entries: StructArray,
}

impl MapCell {
    fn key(&self, place: usize) -> Value {
        value(self.entries.column(0), place)
    }
}

impl Object for MapCell {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        // Of keys that are there twice the last counts, as in JSON.
        let place = (0..self.entries.len())
            .rev()
            .find(|&place| self.key(place) == *key)?;
        Some(value(self.entries.column(1), place))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let this = Arc::clone(self);
        Enumerator::Iter(Box::new(
            (0..this.entries.len()).map(move |place| this.key(place)),
        ))
    }
}

/// Debug output must not carry a row's contents into a log.
macro_rules! debug_by_name {
    ($($object:ident => $name:literal),*) => { $(impl fmt::Debug for $object {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str($name)
        }
    })* };
}

debug_by_name!(RowVariables => "row", WholeRow => "row", ListCell => "list", StructCell => "struct", MapCell => "map", Null => "null");
