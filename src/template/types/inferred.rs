//! The types of expressions, and how a type follows from another.

use std::fmt;

use arrow::datatypes::{DataType, Fields};

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ValueType {
    Unknown,
    None,
    Boolean,
    Number,
    Text,
    /// A list of items of one of these types; of none, if it is empty.
    List(Vec<Inferred>),
    Struct(Fields),
    Map(Box<Inferred>),
    Row,
    Loop,
}

/// Types that the engine compares by value with each other and never with another class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeClass {
    /// `true` and `false`.
    Boolean,
    /// Integers and floats.
    Number,
    /// Text, and what templates see as text: dates, times, decimals.
    Text,
    /// A list.
    List,
    /// A struct, a map or the row.
    Object,
}

impl fmt::Display for TypeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TypeClass::Boolean => "a boolean",
            TypeClass::Number => "a number",
            TypeClass::Text => "text",
            TypeClass::List => "a list",
            TypeClass::Object => "an object",
        })
    }
}

/// What is known of the value of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inferred {
    pub(super) value_type: ValueType,
    pub(super) from: Option<ColumnOrigin>,
}

/// The column that an expression is built from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ColumnOrigin {
    /// Its name, with the path to a field in it.
    pub(super) path: String,
    /// Whether it is a column of its own, not a field or an item.
    pub(super) is_top: bool,
    pub(super) data_type: DataType,
    /// Whether the expression is the text itself: as a condition, whether it is empty decides.
    pub(super) is_itself: bool,
}

impl Inferred {
    pub(super) const UNKNOWN: Inferred = Inferred {
        value_type: ValueType::Unknown,
        from: None,
    };

    pub(super) fn of(value_type: ValueType) -> Inferred {
        Inferred {
            value_type,
            from: None,
        }
    }

    /// Of another value_type, built from the same column.
    pub(super) fn with_type(&self, value_type: ValueType) -> Inferred {
        Inferred {
            value_type,
            from: self.from.clone().map(|from| ColumnOrigin {
                is_itself: false,
                ..from
            }),
        }
    }

    pub(super) fn class(&self) -> Option<TypeClass> {
        Some(match &self.value_type {
            ValueType::Boolean => TypeClass::Boolean,
            ValueType::Number => TypeClass::Number,
            ValueType::Text => TypeClass::Text,
            ValueType::List(_) => TypeClass::List,
            ValueType::Struct(_) | ValueType::Map(_) | ValueType::Row => TypeClass::Object,
            ValueType::Unknown | ValueType::None | ValueType::Loop => return None,
        })
    }

    /// What it is where it may be one or the other.
    pub(super) fn or(self, other: Inferred) -> Inferred {
        match (&self.value_type, &other.value_type) {
            (ValueType::None, _) => other,
            (_, ValueType::None) => self,
            _ if self == other => self,
            (a, b) if a == b => {
                let from = self.from.or(other.from).map(|from| ColumnOrigin {
                    is_itself: false,
                    ..from
                });
                Inferred {
                    value_type: self.value_type,
                    from,
                }
            }
            _ => Inferred::UNKNOWN,
        }
    }

    pub(super) fn cell(path: String, is_top: bool, data_type: &DataType) -> Inferred {
        let value_type = match data_type {
            DataType::Dictionary(_, values) => return Inferred::cell(path, is_top, values),
            DataType::RunEndEncoded(_, values) => {
                return Inferred::cell(path, is_top, values.data_type());
            }
            DataType::Boolean => ValueType::Boolean,
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => ValueType::List(vec![Inferred::cell(
                format!("{path}[…]"),
                false,
                item.data_type(),
            )]),
            DataType::Struct(fields) => ValueType::Struct(fields.clone()),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => ValueType::Map(Box::new(
                    Inferred::cell(format!("{path}[…]"), false, fields[1].data_type()),
                )),
                _ => ValueType::Unknown,
            },
            _ if data_type.is_integer() || data_type.is_floating() => ValueType::Number,
            DataType::Interval(_) => ValueType::Unknown,
            _ if data_type.is_string() || data_type.is_temporal() || data_type.is_decimal() => {
                ValueType::Text
            }
            _ => ValueType::Unknown,
        };
        let is_itself = data_type.is_string();
        Inferred {
            value_type,
            from: Some(ColumnOrigin {
                path,
                is_top,
                data_type: data_type.clone(),
                is_itself,
            }),
        }
    }

    pub(super) fn field(&self, name: &str) -> Inferred {
        let path = self
            .from
            .as_ref()
            .map_or_else(String::new, |from| format!("{}.{name}", from.path));
        match &self.value_type {
            ValueType::Struct(fields) => match fields.find(name) {
                Some((_, field)) => Inferred::cell(path, false, field.data_type()),
                None => Inferred::UNKNOWN,
            },
            ValueType::Map(value) => (**value).clone(),
            ValueType::Loop => match name {
                "index" | "index0" | "revindex" | "revindex0" | "length" | "depth" | "depth0" => {
                    Inferred::of(ValueType::Number)
                }
                "first" | "last" => Inferred::of(ValueType::Boolean),
                _ => Inferred::UNKNOWN,
            },
            _ => Inferred::UNKNOWN,
        }
    }

    /// An item of a list, or what a loop over it goes through.
    pub(super) fn item(&self) -> Inferred {
        match &self.value_type {
            ValueType::List(items) => items
                .iter()
                .cloned()
                .reduce(Inferred::or)
                .unwrap_or(Inferred::UNKNOWN),
            ValueType::Struct(_) | ValueType::Row | ValueType::Map(_) => {
                Inferred::of(ValueType::Text)
            }
            _ => Inferred::UNKNOWN,
        }
    }
}
