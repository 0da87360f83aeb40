//! Keys that come twice in one JSON object, at whatever depth: most readers keep the last of them
//! without a word.

use std::borrow::Cow;

/// The first key that comes twice in one object of a JSON value. The value is valid JSON.
///
/// It is looked through once, without recursion, so that no nesting is too deep; an object's keys
/// are compared when it ends.
pub(super) fn repeated_key(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    if !matches!(bytes.first(), Some(b'{' | b'[')) {
        return None;
    }
    let mut keys: Vec<Cow<'_, str>> = Vec::new();
    // Where the keys of each open object begin; nothing for an array.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = end_of_string(bytes, at);
                if is_key(&bytes[end..]) && matches!(open.last(), Some(Some(_))) {
                    keys.push(unescaped(&json[at..end]));
                }
                at = end;
                continue;
            }
            b'{' => open.push(Some(keys.len())),
            b'[' => open.push(None),
            b'}' | b']' => {
                if let Some(Some(first)) = open.pop() {
                    let of_object = &mut keys[first..];
                    of_object.sort_unstable();
                    if let Some(twice) = of_object.windows(2).find(|pair| pair[0] == pair[1]) {
                        return Some(twice[0].clone().into_owned());
                    }
                    keys.truncate(first);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Behind the string that begins here.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        match bytes[at + found] {
            b'"' => return at + found + 1,
            _ => at += found + 2,
        }
    }
    bytes.len()
}

fn is_key(rest: &[u8]) -> bool {
    rest.trim_ascii_start().first() == Some(&b':')
}

fn unescaped(string: &str) -> Cow<'_, str> {
    if string.contains('\\')
        && let Ok(text) = serde_json::from_str::<String>(string)
    {
        return text.into();
    }
    string[1..string.len() - 1].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_key_that_comes_twice_at_every_depth() {
        for (json, expected) in [
            (r#"{"a":1,"b":2}"#, None),
            (r#"{"a":1,"a":2}"#, Some("a")),
            (r#"{"a":{"b":1},"c":{"b":1}}"#, None),
            (r#"{"a":{"b":1 , "b" : 2}}"#, Some("b")),
            (r#"[{"a":1},{"a":2}]"#, None),
            (r#"[[{"x":[{"y":1,"z":{},"y":[]}]}]]"#, Some("y")),
            (r#"{"a":"a","b":"a"}"#, None),
            (r#"{"a\"b":1,"a\u0022b":2}"#, Some("a\"b")),
            (r#"{"a":"\"b\":1,\"b\":2"}"#, None),
            (r#"{"":1,"":2}"#, Some("")),
            (r#""{\"a\":1,\"a\":2}""#, None),
            ("12", None),
        ] {
            assert_eq!(repeated_key(json).as_deref(), expected, "{json}");
        }
        let deep = format!(
            "{}{{\"k\":1,\"k\":1}}{}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(repeated_key(&deep).as_deref(), Some("k"));
    }
}
