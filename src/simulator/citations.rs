//! Documents that the answer may cite, and citations of them.
//!
//! **Source**: the shapes are those of the provider's Python SDK, November 2026.

use serde_json::{Value, json};

/// Bytes of a document that are kept to be cited.
const MAX_KEPT: usize = 2_000;

/// A document of the prompt with citations switched on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CitableDocument {
    index: u64,
    title: Option<String>,
    source: DocumentText,
}

#[derive(Debug, Clone, PartialEq)]
enum DocumentText {
    /// Plain text; its beginning.
    Text(String),
    /// Blocks of text, the beginning of each.
    Blocks(Vec<String>),
    /// Pages that the simulator does not read.
    Pages,
}

impl CitableDocument {
    /// The document of a block, the `index`th of the prompt, if it may be cited.
    pub(super) fn of(block: &Value, index: u64) -> Option<CitableDocument> {
        if block["citations"]["enabled"] != Value::Bool(true) {
            return None;
        }
        let source = &block["source"];
        let source = match (source["type"].as_str()?, &source["content"]) {
            ("text", _) => {
                DocumentText::Text(beginning(source["data"].as_str().unwrap_or_default()))
            }
            ("content", Value::String(text)) => DocumentText::Blocks(vec![beginning(text)]),
            ("content", Value::Array(blocks)) => DocumentText::Blocks(
                blocks
                    .iter()
                    .filter_map(|block| block["text"].as_str())
                    .map(beginning)
                    .collect(),
            ),
            _ => DocumentText::Pages,
        };
        Some(CitableDocument {
            index,
            title: block["title"].as_str().map(str::to_owned),
            source,
        })
    }

    /// A citation of some place in the document.
    pub(super) fn citation(&self, rng: &mut fastrand::Rng) -> Value {
        let mut citation = match &self.source {
            DocumentText::Text(text) => {
                let (start, cited) = some_words(text, rng);
                json!({"type": "char_location", "cited_text": cited, "start_char_index": start,
                       "end_char_index": start + cited.chars().count()})
            }
            DocumentText::Blocks(blocks) => {
                let n = rng.usize(..blocks.len().max(1));
                json!({"type": "content_block_location", "cited_text": blocks.get(n), "start_block_index": n, "end_block_index": n + 1})
            }
            DocumentText::Pages => {
                json!({"type": "page_location", "cited_text": "", "start_page_number": 1, "end_page_number": 2})
            }
        };
        citation["document_index"] = json!(self.index);
        citation["document_title"] = json!(self.title);
        citation["file_id"] = Value::Null;
        citation
    }
}

fn beginning(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_KEPT)].to_owned()
}

/// Up to a dozen words of a text, and the character at which they begin.
fn some_words<'t>(text: &'t str, rng: &mut fastrand::Rng) -> (usize, &'t str) {
    let starts: Vec<usize> = text
        .split_whitespace()
        .map(|word| word.as_ptr() as usize - text.as_ptr() as usize)
        .collect();
    if starts.is_empty() {
        return (0, text);
    }
    let first = rng.usize(..starts.len());
    let end = starts.get(first + 12).map_or(text.len(), |end| *end);
    let cited = text[starts[first]..end].trim_end();
    (text[..starts[first]].chars().count(), cited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cites_what_stands_in_the_document() {
        let text = "Grün ist die Hoffnung. ".repeat(20);
        let block = json!({"type": "document", "title": "Book", "source": {"type": "text", "data": text}, "citations": {"enabled": true}});
        let document = CitableDocument::of(&block, 2).unwrap();
        for seed in 0..50 {
            let citation = document.citation(&mut fastrand::Rng::with_seed(seed));
            let at = |key: &str| usize::try_from(citation[key].as_u64().unwrap()).unwrap();
            let cited: String = text
                .chars()
                .skip(at("start_char_index"))
                .take(at("end_char_index") - at("start_char_index"))
                .collect();
            assert_eq!(citation["cited_text"], cited.as_str());
            assert_eq!(
                (&citation["document_index"], &citation["document_title"]),
                (&json!(2), &json!("Book"))
            );
        }
        let blocks = json!({"source": {"type": "content", "content": [{"type": "text", "text": "a"}]}, "citations": {"enabled": true}});
        let citation = CitableDocument::of(&blocks, 0)
            .unwrap()
            .citation(&mut fastrand::Rng::with_seed(1));
        assert_eq!(
            (&citation["cited_text"], &citation["end_block_index"]),
            (&json!("a"), &json!(1))
        );
        assert_eq!(
            CitableDocument::of(&json!({"source": {"type": "text", "data": "x"}}), 0),
            None
        );
    }
}
