//! Values that are read whatever stands in their place.
//!
//! `Option<T>` of a derived reader fails the whole line where a value has another type; these give
//! "nothing" or "invalid" instead.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A string, or nothing where another kind of value stands. Borrows where the string has no
/// escapes.
///
/// `Option<Cow<str>>` would always copy, and would fail the line for a value of another kind.
#[derive(Default)]
pub(super) struct OptionalText<'a>(pub(super) Option<Cow<'a, str>>);

/// What stands where something belongs that decides the price.
#[derive(Default)]
pub(super) enum Field<T> {
    /// Nothing, or null.
    #[default]
    Absent,
    /// What belongs there.
    Valid(T),
    /// Something else.
    Invalid,
}

impl<T> Field<T> {
    pub(super) fn is_invalid(&self) -> bool {
        matches!(self, Field::Invalid)
    }

    pub(super) fn value(self) -> Option<T> {
        match self {
            Field::Valid(value) => Some(value),
            Field::Absent | Field::Invalid => None,
        }
    }
}

/// A number of tokens.
pub(super) type Count = Field<u64>;

/// More tokens than a step of an answer can have: a thousand times the largest context window. A
/// larger number is no count, and sums of such would not fit into an amount of money.
const MAX_TOKENS: u64 = 1_000_000_000;

impl OptionalText<'_> {
    pub(super) fn owned(self) -> Option<String> {
        self.0.map(Cow::into_owned)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for OptionalText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(OptionalText)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<Cow<'a, str>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

/// Passes over every kind of value that is not asked for; null is as good as nothing.
macro_rules! ignore_rest {
    ($other:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("anything")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

macro_rules! ignore_numbers {
    ($other:expr) => {
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

macro_rules! ignore_texts {
    ($other:expr) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

macro_rules! ignore_lists {
    ($other:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($other)
        }
    };
}

macro_rules! ignore_objects {
    ($other:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($other)
        }
    };
}

pub(super) use {ignore_lists, ignore_numbers, ignore_objects, ignore_rest, ignore_texts};

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<Cow<'de, str>>;
    ignore_rest!(None);
    ignore_numbers!(None);
    ignore_lists!(None);
    ignore_objects!(None);
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Field<Cow<'de, str>>;
    ignore_rest!(Field::Invalid);
    ignore_numbers!(Field::Invalid);
    ignore_lists!(Field::Invalid);
    ignore_objects!(Field::Invalid);
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Valid(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field::Valid(Cow::Owned(text.to_owned())))
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;
    ignore_rest!(Field::Invalid);
    ignore_lists!(Field::Invalid);
    ignore_objects!(Field::Invalid);
    ignore_texts!(Field::Invalid);
    fn visit_u64<E>(self, count: u64) -> Result<Self::Value, E> {
        Ok(if count <= MAX_TOKENS {
            Field::Valid(count)
        } else {
            Field::Invalid
        })
    }
    fn visit_f64<E>(self, count: f64) -> Result<Self::Value, E> {
        // Gateways in other languages write 12.0.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let is_count = count.fract() == 0.0 && (0.0..=MAX_TOKENS as f64).contains(&count);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and in range"
        )]
        Ok(if is_count {
            Field::Valid(count as u64)
        } else {
            Field::Invalid
        })
    }
}
