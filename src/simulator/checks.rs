//! What holds for the body of a create call, whatever its bytes are.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::{BatchElement, Splitter};

/// The body as a JSON parser sees it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    requests: Vec<&'a RawValue>,
}

/// Checks the splitter: the first byte says how large the pieces are, the rest is the body.
///
/// # Panics
/// If other pieces give other elements, if the elements are not those that a JSON parser finds, or
/// if a body is refused that a JSON parser takes.
pub fn check_batch_body(bytes: &[u8]) {
    let Some((&step, body)) = bytes.split_first() else {
        return;
    };
    let (whole, is_whole) = split(body, body.len());
    let (parts, parts_are_whole) = split(body, usize::from(step));
    assert_eq!(
        (&parts, parts_are_whole),
        (&whole, is_whole),
        "in pieces of {step}"
    );
    match serde_json::from_slice::<Body<'_>>(body) {
        Ok(reference) => {
            let elements = reference.requests.iter().map(|raw| raw.get().as_bytes());
            if is_whole {
                assert!(
                    elements.eq(whole.iter().map(Vec::as_slice)),
                    "other elements"
                );
            } else {
                // A key may be spelled with escapes, which the splitter does not read.
                let refused = elements
                    .enumerate()
                    .any(|(n, element)| BatchElement::parse(element, n as u64).is_err());
                assert!(refused || body.contains(&b'\\'), "a good body is refused");
            }
        }
        Err(e) => assert!(!is_whole, "no JSON is accepted: {e}"),
    }
}

/// The elements that are handed out before anything is refused, and whether nothing is.
fn split(body: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
    let mut splitter = Splitter::new();
    let mut elements: Vec<Vec<u8>> = Vec::new();
    for piece in body.chunks(step.max(1)) {
        let mut keep = |bytes: &[u8]| {
            BatchElement::parse(bytes, elements.len() as u64)?;
            elements.push(bytes.to_vec());
            Ok(())
        };
        if splitter.feed(piece, &mut keep).is_err() {
            return (elements, false);
        }
    }
    let is_whole = splitter.finish().is_ok();
    (elements, is_whole)
}
