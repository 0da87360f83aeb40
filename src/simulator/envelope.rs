//! The body of a create call: split while it arrives, with the checks that the API does at once.
//!
//! ```text
//!  {"requests":[ {"custom_id":"a","params":{…}} , {…} , … ]}
//!               └────────── one element ──────┘   handed on as bytes; the rest is never kept
//! ```
//!
//! [`Splitter`] is fed the body piece by piece and hands out whole elements;
//! [`BatchElement::parse`] checks one of them. What is inside `params` is only required to be a
//! JSON object here: the API looks at it after the batch was accepted.
//!
//! Memory: the longest single element.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use memchr::memchr2;
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::reply::ErrorReply;

/// Most requests in one batch.
pub(super) const MAX_REQUESTS: u64 = 100_000;
/// Most bytes in the body of a create call. Whether the API's 256 MB are decimal is not documented;
/// this is the smaller reading.
pub(super) const MAX_BYTES: u64 = 256_000_000;
/// Longest custom_id, in characters.
const MAX_CUSTOM_ID: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SplitState {
    Open,
    KeyOrClose,
    Key,
    Colon,
    List,
    ElementOrEnd,
    BatchElement,
    InElement,
    InScalar,
    CommaOrEnd,
    AfterList,
    After,
}

/// Takes the elements of `requests` out of a body that arrives in pieces.
pub(super) struct Splitter {
    place: SplitState,
    seen_requests: bool,
    /// The element or key that is not complete yet.
    held: Vec<u8>,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Splitter {
    pub(super) fn new() -> Splitter {
        Splitter {
            place: SplitState::Open,
            seen_requests: false,
            held: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
        }
    }

    /// Takes the next piece of the body, calling `element` for each one that it completes.
    pub(super) fn feed(
        &mut self,
        piece: &[u8],
        element: &mut dyn FnMut(&[u8]) -> Result<(), ErrorReply>,
    ) -> Result<(), ErrorReply> {
        let mut at = 0;
        while at < piece.len() {
            at += match self.place {
                SplitState::InElement => self.inside_element(&piece[at..], element)?,
                SplitState::InScalar => self.inside_scalar(&piece[at..], element)?,
                SplitState::Key => self.inside_key(&piece[at..])?,
                _ => self.between(piece[at])?,
            };
        }
        Ok(())
    }

    /// Says whether the body was whole.
    pub(super) fn finish(&self) -> Result<(), ErrorReply> {
        match self.place {
            SplitState::After if self.seen_requests => Ok(()),
            SplitState::After => Err(ErrorReply::invalid("requests: Field required")),
            _ => Err(not_json("it ends too early")),
        }
    }

    /// One byte outside of elements and keys; says how many bytes were used up.
    fn between(&mut self, byte: u8) -> Result<usize, ErrorReply> {
        // Not `is_ascii_whitespace`, which takes a form feed too.
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return Ok(1);
        }
        let mut used = 1;
        self.place = match (self.place, byte) {
            (SplitState::Open, b'{') => SplitState::KeyOrClose,
            // After the list, a comma stood before: another key has to follow.
            (SplitState::KeyOrClose, b'}') if !self.seen_requests => SplitState::After,
            (SplitState::KeyOrClose, b'"') => SplitState::Key,
            (SplitState::Colon, b':') => SplitState::List,
            (SplitState::List, b'[') => SplitState::ElementOrEnd,
            (SplitState::List, _) => {
                return Err(ErrorReply::invalid(
                    "requests: Input should be a valid list",
                ));
            }
            (SplitState::ElementOrEnd, b']') => SplitState::AfterList,
            (SplitState::ElementOrEnd | SplitState::BatchElement, b'{' | b'[' | b'"') => {
                used = 0;
                SplitState::InElement
            }
            (SplitState::ElementOrEnd | SplitState::BatchElement, b',' | b']' | b'}' | b':') => {
                return Err(not_json("a value is missing"));
            }
            (SplitState::ElementOrEnd | SplitState::BatchElement, _) => {
                used = 0;
                SplitState::InScalar
            }
            (SplitState::CommaOrEnd, b',') => SplitState::BatchElement,
            (SplitState::CommaOrEnd, b']') => SplitState::AfterList,
            (SplitState::AfterList, b',') => SplitState::KeyOrClose,
            (SplitState::AfterList, b'}') => SplitState::After,
            (SplitState::Open, _) => return Err(not_json("it is not an object")),
            _ => return Err(not_json("a character stands where none may")),
        };
        Ok(used)
    }

    fn inside_key(&mut self, piece: &[u8]) -> Result<usize, ErrorReply> {
        let Some(end) = piece.iter().position(|b| *b == b'"') else {
            self.held.extend_from_slice(piece);
            return if self.held.len() > 1_000 {
                Err(not_json("a key is too long"))
            } else {
                Ok(piece.len())
            };
        };
        self.held.extend_from_slice(&piece[..end]);
        if self.held != b"requests" {
            let key: String = String::from_utf8_lossy(&self.held)
                .chars()
                .take(60)
                .collect();
            return Err(ErrorReply::invalid(format!(
                "{key}: Extra inputs are not permitted"
            )));
        }
        if self.seen_requests {
            return Err(not_json("`requests` is there twice"));
        }
        self.seen_requests = true;
        self.held.clear();
        self.place = SplitState::Colon;
        Ok(end + 1)
    }

    /// A number or word where an object belongs: its end is the next mark or space.
    fn inside_scalar(
        &mut self,
        piece: &[u8],
        element: &mut dyn FnMut(&[u8]) -> Result<(), ErrorReply>,
    ) -> Result<usize, ErrorReply> {
        let end = piece
            .iter()
            .position(|b| matches!(b, b',' | b']' | b'}') || b.is_ascii_whitespace());
        self.held
            .extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
        let Some(end) = end else {
            return Ok(piece.len());
        };
        self.hand_on(element)?;
        Ok(end)
    }

    fn inside_element(
        &mut self,
        piece: &[u8],
        element: &mut dyn FnMut(&[u8]) -> Result<(), ErrorReply>,
    ) -> Result<usize, ErrorReply> {
        let Some(end) = self.end_of_element(piece)? else {
            self.held.extend_from_slice(piece);
            return Ok(piece.len());
        };
        if self.held.is_empty() {
            element(&piece[..end])?;
            self.place = SplitState::CommaOrEnd;
        } else {
            self.held.extend_from_slice(&piece[..end]);
            self.hand_on(element)?;
        }
        Ok(end)
    }

    fn hand_on(
        &mut self,
        element: &mut dyn FnMut(&[u8]) -> Result<(), ErrorReply>,
    ) -> Result<(), ErrorReply> {
        element(&self.held)?;
        self.held.clear();
        self.place = SplitState::CommaOrEnd;
        Ok(())
    }

    /// Walks over an element; strings are jumped over, since most bytes of a request are text.
    fn end_of_element(&mut self, piece: &[u8]) -> Result<Option<usize>, ErrorReply> {
        let mut at = 0;
        while at < piece.len() {
            if self.escaped {
                self.escaped = false;
                at += 1;
            } else if self.in_string {
                let Some(jump) = memchr2(b'"', b'\\', &piece[at..]) else {
                    return Ok(None);
                };
                at += jump + 1;
                match piece[at - 1] {
                    b'"' => self.in_string = false,
                    _ => self.escaped = true,
                }
                if !self.in_string && self.depth == 0 {
                    return Ok(Some(at));
                }
            } else {
                match piece[at] {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth = self
                            .depth
                            .checked_sub(1)
                            .ok_or_else(|| not_json("brackets do not match"))?;
                    }
                    _ => {}
                }
                at += 1;
                if self.depth == 0 && !self.in_string {
                    return Ok(Some(at));
                }
            }
        }
        Ok(None)
    }
}

fn not_json(why: &str) -> ErrorReply {
    ErrorReply::invalid(format!("The request body is not valid JSON: {why}"))
}

/// One element of `requests`: what the API looks at when a batch is created.
#[derive(Debug)]
pub(super) struct BatchElement<'a> {
    pub(super) custom_id: Cow<'a, str>,
}

impl<'a> BatchElement<'a> {
    /// Reads and checks the `n`-th element, counted from 0.
    pub(super) fn parse(bytes: &'a [u8], n: u64) -> Result<BatchElement<'a>, ErrorReply> {
        if bytes.first() != Some(&b'{') {
            return Err(at(
                n,
                "",
                "Input should be a valid dictionary or object to extract fields from",
            ));
        }
        let fields: ElementFields<'_> = serde_json::from_slice(bytes).map_err(|e| {
            let place = if e.is_data() {
                format!("requests.{n}: ")
            } else {
                String::new()
            };
            ErrorReply::invalid(format!(
                "{place}The request body is not valid JSON: {}",
                without_position(&e)
            ))
        })?;
        if let Some(extra) = fields.extra {
            return Err(at(
                n,
                &format!(".{extra}"),
                "Extra inputs are not permitted",
            ));
        }
        let custom_id = fields
            .custom_id
            .ok_or_else(|| at(n, ".custom_id", "Field required"))?;
        let custom_id = check_custom_id(custom_id, n)?;
        match fields.params {
            None => Err(at(n, ".params", "Field required")),
            Some(raw) if !raw.get().starts_with('{') => {
                Err(at(n, ".params", "Input should be a valid dictionary"))
            }
            Some(_) => Ok(BatchElement { custom_id }),
        }
    }
}

fn check_custom_id(raw: &RawValue, n: u64) -> Result<Cow<'_, str>, ErrorReply> {
    let Ok(Text(id)) = serde_json::from_str::<Text<'_>>(raw.get()) else {
        return Err(at(n, ".custom_id", "Input should be a valid string"));
    };
    if id.is_empty() {
        return Err(at(
            n,
            ".custom_id",
            "String should have at least 1 character",
        ));
    }
    if id.chars().count() > MAX_CUSTOM_ID {
        return Err(at(
            n,
            ".custom_id",
            "String should have at most 64 characters",
        ));
    }
    if !id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    {
        return Err(at(
            n,
            ".custom_id",
            "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
        ));
    }
    Ok(id)
}

fn at(n: u64, path: &str, what: &str) -> ErrorReply {
    ErrorReply::invalid(format!("requests.{n}{path}: {what}"))
}

/// A parser's message without the line and column, which mean nothing inside one element.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct ElementFields<'a> {
    custom_id: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    extra: Option<String>,
}

impl<'de> Deserialize<'de> for ElementFields<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = ElementFields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = ElementFields {
                    custom_id: None,
                    params: None,
                    extra: None,
                };
                while let Some(Text(key)) = map.next_key()? {
                    let value: &RawValue = map.next_value()?;
                    match &*key {
                        "custom_id" => fields.custom_id = Some(value),
                        "params" => fields.params = Some(value),
                        _ => fields.extra = Some(key.chars().take(60).collect()),
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Finds out whether an id was there before in the same batch; 16 bytes are kept of each.
#[derive(Default)]
pub(super) struct SeenIds(HashSet<u128>);

impl SeenIds {
    /// Remembers an id.
    pub(super) fn add(&mut self, custom_id: &str, n: u64) -> Result<(), ErrorReply> {
        let mut short = [0; 16];
        short.copy_from_slice(&blake3::hash(custom_id.as_bytes()).as_bytes()[..16]);
        if self.0.insert(u128::from_le_bytes(short)) {
            return Ok(());
        }
        Err(at(
            n,
            ".custom_id",
            &format!("custom_id must be unique within a batch; `{custom_id}` is there twice"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs a body through in pieces of the given size: the elements, or the message.
    fn split(body: &[u8], step: usize) -> Result<Vec<String>, String> {
        let mut splitter = Splitter::new();
        let mut found = Vec::new();
        for piece in body.chunks(step.max(1)) {
            let mut keep = |bytes: &[u8]| {
                BatchElement::parse(bytes, found.len() as u64)?;
                found.push(String::from_utf8(bytes.to_vec()).unwrap());
                Ok(())
            };
            splitter.feed(piece, &mut keep).map_err(|e| e.message)?;
        }
        splitter.finish().map_err(|e| e.message)?;
        Ok(found)
    }

    #[test]
    fn refuses_what_the_api_refuses_with_the_place() {
        let ok = r#"{"custom_id":"a","params":{}}"#;
        let cases = [
            ("", "The request body is not valid JSON: it ends too early"),
            (
                "[]",
                "The request body is not valid JSON: it is not an object",
            ),
            ("{}", "requests: Field required"),
            (
                r#"{"requests":{}}"#,
                "requests: Input should be a valid list",
            ),
            (
                r#"{"name":"x","requests":[]}"#,
                "name: Extra inputs are not permitted",
            ),
            (
                &format!(r#"{{"requests":[{ok}],"betas":[]}}"#),
                "betas: Extra inputs are not permitted",
            ),
            (
                &format!(r#"{{"requests":[{ok}]"#),
                "The request body is not valid JSON: it ends too early",
            ),
            (
                &format!(r#"{{"requests":[{ok},]}}"#),
                "The request body is not valid JSON: a value is missing",
            ),
            (
                &format!(r#"{{"requests":[{ok} {ok}]}}"#),
                "The request body is not valid JSON: a character stands where none may",
            ),
            (
                &format!(r#"{{"requests":[{ok}]}} x"#),
                "The request body is not valid JSON: a character stands where none may",
            ),
            (
                r#"{"requests":[17]}"#,
                "requests.0: Input should be a valid dictionary or object to extract fields from",
            ),
            (
                r#"{"requests":["x"]}"#,
                "requests.0: Input should be a valid dictionary or object to extract fields from",
            ),
            (
                r#"{"requests":[{"params":{}}]}"#,
                "requests.0.custom_id: Field required",
            ),
            (
                r#"{"requests":[{"custom_id":"a"}]}"#,
                "requests.0.params: Field required",
            ),
            (
                r#"{"requests":[{"custom_id":"a","params":[]}]}"#,
                "requests.0.params: Input should be a valid dictionary",
            ),
            (
                r#"{"requests":[{"custom_id":7,"params":{}}]}"#,
                "requests.0.custom_id: Input should be a valid string",
            ),
            (
                r#"{"requests":[{"custom_id":"","params":{}}]}"#,
                "requests.0.custom_id: String should have at least 1 character",
            ),
            (
                r#"{"requests":[{"custom_id":"a.b","params":{}}]}"#,
                "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
            ),
            (
                &format!(
                    r#"{{"requests":[{ok},{{"custom_id":"{}","params":{{}}}}]}}"#,
                    "x".repeat(65)
                ),
                "requests.1.custom_id: String should have at most 64 characters",
            ),
            (
                r#"{"requests":[{"custom_id":"a","params":{},"method":"POST"}]}"#,
                "requests.0.method: Extra inputs are not permitted",
            ),
        ];
        for (body, message) in cases {
            for step in [1, 7, 100_000] {
                assert_eq!(
                    split(body.as_bytes(), step).unwrap_err(),
                    message,
                    "{body} in steps of {step}"
                );
            }
        }
    }

    #[test]
    fn refuses_json_that_is_broken_inside_an_element() {
        for bad in [
            r#"{"custom_id":"a","params":{"x":}}"#,
            r#"{"custom_id":"a","params":{"x":01}}"#,
            "{\"custom_id\":\"a\u{1}\"}",
        ] {
            let message = split(format!(r#"{{"requests":[{bad}]}}"#).as_bytes(), 64).unwrap_err();
            assert!(message.contains("not valid JSON"), "{message}");
        }
    }

    #[test]
    fn refuses_the_same_id_twice() {
        let mut seen = SeenIds::default();
        seen.add("a", 0).unwrap();
        seen.add("b", 1).unwrap();
        assert!(
            seen.add("a", 2)
                .unwrap_err()
                .message
                .starts_with("requests.2.custom_id: ")
        );
    }

    proptest! {
        #[test]
        fn hands_out_every_element_as_it_stood_however_the_body_is_cut(
            texts in prop::collection::vec(any::<String>(), 0..6), step in 1usize..40, pretty: bool
        ) {
            let elements: Vec<_> = texts.iter().enumerate().map(|(n, text)| {
                let element = serde_json::json!({"custom_id": format!("r{n}"), "params": {"m": [text, {"k\"\\": text}]}});
                if pretty { serde_json::to_string_pretty(&element).unwrap() } else { element.to_string() }
            }).collect();
            let body = format!(" {{ \"requests\" : [ {} ] }}\n", elements.join(" , "));
            prop_assert_eq!(split(body.as_bytes(), step).unwrap(), elements);
        }
    }
}
