//! JSON in which a name stands twice in one object.
//!
//! Readers of JSON take the last of two members of one name, or the first, without a word: an
//! answer like that has no unambiguous value. So it does not fit, however deep the object lies.
//! Everything else is read as `serde_json` reads it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// Names compared one by one; an object with more has them hashed.
const FEW: usize = 16;
/// Longest name in a message.
const NAME_CHARS: usize = 40;

/// Reads JSON in which no name stands twice.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn parse(json: &str) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = UniqueValue
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| {
        if error.is_data() {
            error.to_string()
        } else {
            format!("not JSON: {error}")
        }
    })
}

/// Says which name stands twice in an object of some JSON, if one does.
pub(super) fn repeated_name(json: &str) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    // The caller reports what is no JSON at all.
    UniqueNames
        .deserialize(&mut deserializer)
        .err()
        .filter(serde_json::Error::is_data)
        .map(|error| error.to_string())
}

fn twice<E: serde::de::Error>(name: &str) -> E {
    let short: String = name.chars().take(NAME_CHARS).collect();
    E::custom(format_args!(
        "an object names `{short}` twice, so its value is ambiguous"
    ))
}

#[derive(Clone, Copy)]
struct UniqueValue;

impl<'de> DeserializeSeed<'de> for UniqueValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            match members.entry(name) {
                Entry::Occupied(known) => return Err(twice(known.key())),
                Entry::Vacant(place) => {
                    place.insert(map.next_value_seed(self)?);
                }
            }
        }
        Ok(Value::Object(members))
    }
}

/// Looks at the names of all objects and keeps no value.
#[derive(Clone, Copy)]
struct UniqueNames;

impl<'de> DeserializeSeed<'de> for UniqueNames {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A name, borrowed where it has no escapes.
#[derive(PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for UniqueNames {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut few, mut many): (Vec<Name<'de>>, HashSet<Name<'de>>) =
            (Vec::new(), HashSet::new());
        while let Some(name) = map.next_key::<Name<'de>>()? {
            if few.contains(&name) || many.contains(&name) {
                return Err(twice(&name.0));
            }
            map.next_value_seed(self)?;
            if few.len() < FEW {
                few.push(name);
            } else {
                many.insert(name);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_name_that_stands_twice_at_any_depth() {
        let many: Vec<String> = (0..40).map(|n| format!("\"n{n}\":{n}")).collect();
        let many = format!("{{{},\"n33\":1}}", many.join(","));
        for (json, name) in [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"a":{"x":1,"y":2,"x":3}}"#, "x"),
            (r#"[{"b":[{"x":1},{"y":1,"\u0079":2}]}]"#, "y"),
            (many.as_str(), "n33"),
        ] {
            let said = format!("an object names `{name}` twice");
            assert!(
                repeated_name(json).is_some_and(|why| why.contains(&said)),
                "{json}"
            );
            assert!(parse(json).unwrap_err().contains(&said), "{json}");
        }
    }

    #[test]
    fn reads_everything_else_as_before() {
        for json in [
            r#"{"a":{"x":1},"b":{"x":[{"x":2},{"x":-3.5e3}]},"c":null,"d":true,"e":"a\u00fc\n","f":18446744073709551615}"#,
            "[]",
            "7",
            " \"x\" ",
        ] {
            assert_eq!(repeated_name(json), None, "{json}");
            assert_eq!(
                parse(json).unwrap(),
                serde_json::from_str::<Value>(json).unwrap(),
                "{json}"
            );
        }
        for broken in ["", "{", "{\"a\":1,}", "{} {}", "[1"] {
            assert_eq!(
                repeated_name(broken).filter(|_| broken != "{} {}"),
                None,
                "{broken}"
            );
            let same = serde_json::from_str::<Value>(broken).unwrap_err();
            assert_eq!(parse(broken).unwrap_err(), format!("not JSON: {same}"));
        }
    }
}
