//! Comparisons that give the same for every row, and what to write instead.

use std::fmt;

use arrow::datatypes::DataType;

use super::statements::TypeChecker;
use super::{ColumnOrigin, ConstantComparison, Inferred, TypeClass, ValueType};

/// The type of a column where it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperandType {
    /// The type of the column itself.
    Own(TypeClass),
    /// The type that the template gives it, as `n|string` does.
    AsWritten(TypeClass),
    /// A date: text to a template.
    Date,
    /// A time of day, a point in time or a duration: text to a template.
    Time,
    /// A decimal: text to a template, so that it keeps its digits.
    Decimal,
}

impl fmt::Display for OperandType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OperandType::Own(class) => class.fmt(f),
            OperandType::AsWritten(class) => write!(f, "{class}, as it is written here,"),
            OperandType::Date => f.write_str("a date, which is text to a template,"),
            OperandType::Time => f.write_str("a time, which is text to a template,"),
            OperandType::Decimal => {
                f.write_str("a decimal, which is text to a template so that it keeps its digits,")
            }
        }
    }
}

/// What a column is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComparedWith {
    /// A constant, or a value built from constants.
    Constant(TypeClass),
    /// Another column.
    Column {
        /// Its name, with the path to a field in it.
        column: String,
        /// Its type.
        is: OperandType,
    },
}

impl fmt::Display for ComparedWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ComparedWith::Constant(class) => class.fmt(f),
            ComparedWith::Column { column, is } => {
                write!(f, "the column `{column}`, which is {is}")
            }
        }
    }
}

/// How a comparison that gives the same for every row can be written instead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComparisonFix {
    /// Convert the text column to a number in the template, or read it as one from the source.
    ConvertOrSetInteger {
        /// The column.
        column: String,
    },
    /// Convert the value to a number in the template.
    Convert,
    /// Convert the column to a float in the template.
    ConvertToFloat,
    /// Convert the text on the other side to a number.
    ConvertOtherSide,
    /// Read the text column as booleans from the source, or compare it with text.
    SetBoolean {
        /// The column.
        column: String,
    },
    /// Compare with a date or time as text.
    CompareWithDateText,
    /// Compare with a text such as `"true"`.
    CompareWithText,
    /// Compare with a number such as `1`.
    CompareWithNumber,
    /// Write the number without quotes.
    UnquoteNumber,
    /// Write the boolean without quotes.
    UnquoteBoolean,
    /// Ask with `in` what the list holds, or compare one of its items.
    UseItems,
    /// Compare one of the object's fields.
    UseFields,
    /// Ask with `in` whether the value is one of them.
    UseIn,
    /// Compare with a value of this type.
    CompareWith(TypeClass),
}

impl ComparisonFix {
    fn new(
        from: &ColumnOrigin,
        is: TypeClass,
        with: TypeClass,
        with_column: bool,
    ) -> ComparisonFix {
        let column = || from.path.clone();
        // Only a text column of its own can be read with another type.
        let can_be_set = from.is_top && from.data_type.is_string();
        match (is, with) {
            (TypeClass::Text, TypeClass::Number) if can_be_set => {
                ComparisonFix::ConvertOrSetInteger { column: column() }
            }
            (TypeClass::Text, TypeClass::Number) if from.data_type.is_temporal() => {
                ComparisonFix::CompareWithDateText
            }
            (TypeClass::Text, TypeClass::Number) if from.data_type.is_numeric() => {
                ComparisonFix::ConvertToFloat
            }
            (TypeClass::Text, TypeClass::Number) => ComparisonFix::Convert,
            (TypeClass::Text, TypeClass::Boolean) if can_be_set => {
                ComparisonFix::SetBoolean { column: column() }
            }
            (TypeClass::Text, TypeClass::Boolean) => ComparisonFix::CompareWithText,
            (TypeClass::Number, TypeClass::Text) if with_column => ComparisonFix::ConvertOtherSide,
            (TypeClass::Number, TypeClass::Text) => ComparisonFix::UnquoteNumber,
            (TypeClass::Number, TypeClass::Boolean) => ComparisonFix::CompareWithNumber,
            (TypeClass::Boolean, TypeClass::Text) => ComparisonFix::UnquoteBoolean,
            (TypeClass::List, _) => ComparisonFix::UseItems,
            (TypeClass::Object, _) => ComparisonFix::UseFields,
            (_, TypeClass::List | TypeClass::Object) => ComparisonFix::UseIn,
            _ => ComparisonFix::CompareWith(is),
        }
    }
}

impl Inferred {
    /// The type as it is named in an error: by the column's own type where that is what is
    /// compared.
    fn operand_type(&self, class: TypeClass) -> OperandType {
        let Some(from) = &self.from else {
            return OperandType::Own(class);
        };
        let own = Inferred::cell(String::new(), from.is_top, &from.data_type).class();
        match &from.data_type {
            _ if own != Some(class) => OperandType::AsWritten(class),
            DataType::Date32 | DataType::Date64 => OperandType::Date,
            other if other.is_temporal() => OperandType::Time,
            other if other.is_decimal() => OperandType::Decimal,
            _ => OperandType::Own(class),
        }
    }
}

impl TypeChecker<'_> {
    pub(super) fn compare(&mut self, left: &(Inferred, usize), right: &(Inferred, usize)) {
        if left.0.value_type == ValueType::None || right.0.value_type == ValueType::None {
            self.findings
                .constant
                .push(ConstantComparison::None { line: left.1 });
        } else if are_foreign(&left.0, &right.0) {
            self.note_constant(left, right);
        }
    }

    pub(super) fn contains(&mut self, item: &(Inferred, usize), container: &(Inferred, usize)) {
        match &container.0.value_type {
            ValueType::List(items)
                if !items.is_empty() && items.iter().all(|other| are_foreign(&item.0, other)) =>
            {
                self.note_constant(item, &(items[0].clone(), container.1));
            }
            ValueType::Struct(_) | ValueType::Row
                if are_foreign(&item.0, &Inferred::of(ValueType::Text)) =>
            {
                self.note_constant(item, &(Inferred::of(ValueType::Text), container.1));
            }
            _ => {}
        }
    }

    /// Notes a comparison, if a column takes part in it.
    pub(super) fn note_constant(&mut self, left: &(Inferred, usize), right: &(Inferred, usize)) {
        // Of two columns the text is the one that may have got the wrong type.
        let is_text = |side: &(Inferred, usize)| {
            side.0
                .from
                .as_ref()
                .is_some_and(|from| from.data_type.is_string())
        };
        let (subject, other) = match (&left.0.from, &right.0.from) {
            (None, None) => return,
            (None, Some(_)) => (right, left),
            (Some(_), Some(_)) if is_text(right) && !is_text(left) => (right, left),
            _ => (left, right),
        };
        let (Some(from), Some(class), Some(with)) =
            (&subject.0.from, subject.0.class(), other.0.class())
        else {
            return;
        };
        let found = ConstantComparison::Types {
            line: subject.1,
            column: from.path.clone(),
            is: subject.0.operand_type(class),
            with: match &other.0.from {
                Some(column) => ComparedWith::Column {
                    column: column.path.clone(),
                    is: other.0.operand_type(with),
                },
                None => ComparedWith::Constant(with),
            },
            fix: ComparisonFix::new(from, class, with, other.0.from.is_some()),
        };
        if !self.findings.constant.contains(&found) {
            self.findings.constant.push(found);
        }
    }
}

/// Whether a comparison of two types cannot depend on their values. The engine takes booleans for
/// the numbers 0 and 1.
fn are_foreign(left: &Inferred, right: &Inferred) -> bool {
    match (left.class(), right.class()) {
        (Some(TypeClass::Boolean), Some(TypeClass::Number))
        | (Some(TypeClass::Number), Some(TypeClass::Boolean)) => false,
        (Some(left), Some(right)) => left != right,
        _ => false,
    }
}
