//! What filters and tests make of a type.
//!
//! To add a filter of the engine: an arm of [`TypeChecker::filter`]; a filter that is not listed
//! gives an unknown type.

use super::expressions::Argument;
use super::statements::TypeChecker;
use super::{Inferred, TypeClass, ValueType};

impl<'a> TypeChecker<'a> {
    /// What a filter makes.
    pub(super) fn filter(
        &mut self,
        name: &str,
        line: usize,
        input: Inferred,
        args: &[Argument<'a>],
    ) -> Inferred {
        let word = |at: usize| args.get(at).and_then(|arg| arg.2.as_deref());
        match name {
            "trim" | "lower" | "upper" | "title" | "capitalize" | "string" | "safe"
                if input.value_type == ValueType::Text =>
            {
                input
            }
            "default" | "d" => match args
                .iter()
                .find(|arg| !matches!(arg.0, Some("boolean" | "falsy")))
            {
                Some(other) => {
                    let is_itself = input.from.as_ref().is_some_and(|from| from.is_itself);
                    let mut either = input.or(other.1.0.clone());
                    // `default` replaces nulls only: a text that is there is still the condition.
                    either
                        .from
                        .iter_mut()
                        .for_each(|from| from.is_itself = is_itself && from.data_type.is_string());
                    either
                }
                None => input.or(Inferred::of(ValueType::Text)),
            },
            "bool" => {
                self.note_condition(&input, line);
                input.with_type(ValueType::Boolean)
            }
            "upper" | "lower" | "title" | "capitalize" | "trim" | "replace" | "join" | "string"
            | "truncate" | "truncate_words" | "oneline" | "slug" | "hash" | "base64" | "json"
            | "tojson" | "date" | "number" | "urlencode" | "indent" | "escape" | "e" | "format"
            | "pprint" | "safe" => input.with_type(ValueType::Text),
            "length" | "count" => Inferred::of(ValueType::Number),
            "int" | "float" => match args.first().map(|arg| arg.1.0.value_type.clone()) {
                None | Some(ValueType::Number) => input.with_type(ValueType::Number),
                Some(_) => Inferred::UNKNOWN,
            },
            "abs" | "round" if input.value_type == ValueType::Number => input,
            "first" | "last" | "min" | "max" => match input.value_type {
                ValueType::Text => input.with_type(ValueType::Text),
                ValueType::List(_) => input.item(),
                _ => Inferred::UNKNOWN,
            },
            "list" | "sort" | "unique" | "reverse"
                if matches!(input.value_type, ValueType::List(_)) =>
            {
                input
            }
            "split" | "lines" => {
                input.with_type(ValueType::List(vec![Inferred::of(ValueType::Text)]))
            }
            "attr" => match word(0) {
                Some(field) => input.field(field),
                None => Inferred::UNKNOWN,
            },
            "map" => match (
                word(0),
                args.iter()
                    .find(|arg| arg.0 == Some("attribute"))
                    .and_then(|arg| arg.2.as_deref()),
            ) {
                (_, Some(path)) => {
                    let item = path
                        .split('.')
                        .fold(input.item(), |item, part| item.field(part));
                    Inferred::of(ValueType::List(vec![item]))
                }
                (Some(filter), None) if args.len() == 1 => {
                    let item = self.filter(filter, line, input.item(), &[]);
                    Inferred::of(ValueType::List(vec![item]))
                }
                _ => Inferred::UNKNOWN,
            },
            "select" | "reject" => {
                if let Some(test) = word(0) {
                    self.test(test, &(input.item(), line), args.get(1).map(|arg| &arg.1));
                }
                if matches!(input.value_type, ValueType::List(_)) {
                    input
                } else {
                    Inferred::UNKNOWN
                }
            }
            "selectattr" | "rejectattr" => {
                if let (Some(path), Some(test)) = (word(0), word(1)) {
                    let item = path
                        .split('.')
                        .fold(input.item(), |item, part| item.field(part));
                    self.test(test, &(item, line), args.get(2).map(|arg| &arg.1));
                }
                if matches!(input.value_type, ValueType::List(_)) {
                    input
                } else {
                    Inferred::UNKNOWN
                }
            }
            _ => Inferred::UNKNOWN,
        }
    }

    pub(super) fn test(
        &mut self,
        name: &str,
        left: &(Inferred, usize),
        right: Option<&(Inferred, usize)>,
    ) {
        match (name, right) {
            (
                "eq" | "equalto" | "==" | "ne" | "!=" | "lt" | "lessthan" | "<" | "le" | "<="
                | "gt" | "greaterthan" | ">" | "ge" | ">=" | "sameas",
                Some(right),
            ) => self.compare(left, right),
            ("in", Some(right)) => self.contains(left, right),
            ("true" | "false", _)
                if left
                    .0
                    .class()
                    .is_some_and(|class| class != TypeClass::Boolean) =>
            {
                self.note_constant(left, &(Inferred::of(ValueType::Boolean), left.1));
            }
            _ => {}
        }
    }
}
