//! The pictures and documents of one request, summed up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::{Detected, MediaClass, inspect};

/// What pictures and documents a request carries, for limits and for counting tokens.
///
/// One request holds what is shared ([`crate::request::Requests::shared_media`]) and what is the
/// row's own (`render_with`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaFacts {
    /// Width and height in pixels of each picture whose bytes are here.
    pub images: Vec<(u32, u32)>,
    /// Pictures named by URL or file id alone, whose size is unknown.
    pub unseen_images: usize,
    /// Pages of all PDFs whose bytes are here.
    pub pdf_pages: u32,
    /// Documents named by URL or file id alone.
    pub unseen_documents: usize,
    /// Texts of text documents that stand elsewhere (uploaded), in bytes; those in the request
    /// itself are part of its text.
    pub uploaded_text_bytes: u64,
    /// Bytes of the request that are base64 and therefore no text.
    pub base64_bytes: u64,
}

impl MediaFacts {
    /// Pictures in all.
    #[must_use]
    pub fn image_count(&self) -> usize {
        self.images.len() + self.unseen_images
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == MediaFacts::default()
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.images.clear();
        *self = MediaFacts {
            images: std::mem::take(&mut self.images),
            ..MediaFacts::default()
        };
    }

    /// Those of a JSON list of blocks that passes through as it is, the blocks of tool results
    /// among them. What cannot be read counts as unseen; whether the API
    /// takes it is not decided here.
    pub(crate) fn of_blocks(json: &str) -> MediaFacts {
        let mut facts = MediaFacts::default();
        let has = |word: &str| memmem::find(json.as_bytes(), word.as_bytes()).is_some();
        // Most turns hold text alone; parsing them to find no media would double the work of a row.
        if (has("\"image\"") || has("\"document\""))
            && let Ok(serde_json::Value::Array(blocks)) = serde_json::from_str(json)
        {
            facts.add_blocks(&blocks);
        }
        facts
    }

    fn add_blocks(&mut self, blocks: &[serde_json::Value]) {
        for block in blocks {
            let wanted = match block["type"].as_str() {
                Some("image") => MediaClass::Image,
                Some("document") => MediaClass::Document,
                _ => {
                    self.add_blocks(block["content"].as_array().map_or(&[], Vec::as_slice));
                    continue;
                }
            };
            let source = &block["source"];
            match (source["type"].as_str(), source["data"].as_str()) {
                // It is part of the request's own text.
                (Some("text"), _) => {}
                (Some("content"), _) => {
                    self.add_blocks(source["content"].as_array().map_or(&[], Vec::as_slice))
                }
                (Some("base64"), Some(data)) => self.add_base64(data, wanted),
                _ => self.add_unseen(wanted),
            }
        }
    }

    fn add_base64(&mut self, data: &str, wanted: MediaClass) {
        self.base64_bytes += data.len() as u64;
        let seen = STANDARD
            .decode(data)
            .ok()
            .and_then(|bytes| inspect(&bytes, wanted).ok());
        match seen {
            Some(Detected {
                size: Some(size), ..
            }) => self.images.push(size),
            Some(Detected { pages, .. }) if pages > 0 => self.pdf_pages += pages,
            _ => self.add_unseen(wanted),
        }
    }

    fn add_unseen(&mut self, wanted: MediaClass) {
        match wanted {
            MediaClass::Image => self.unseen_images += 1,
            MediaClass::Document => self.unseen_documents += 1,
        }
    }

    pub(crate) fn add(&mut self, other: &MediaFacts) {
        self.images.extend(&other.images);
        self.unseen_images += other.unseen_images;
        self.pdf_pages += other.pdf_pages;
        self.unseen_documents += other.unseen_documents;
        self.uploaded_text_bytes += other.uploaded_text_bytes;
        self.base64_bytes += other.base64_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_documents_in_blocks_that_pass_through_are_counted() {
        // The header of a picture of 3 by 2 pixels, a whole one.
        let png = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAC0lEQVR4nGNgQAcAABIAAXfr6PkAAAAASUVORK5CYII=";
        let blocks = format!(
            r#"[{{"type": "text", "text": "\"image\""}},
            {{"source": {{"type":"base64","media_type":"image/png","data":"{png}"}}, "type" : "image"}},
            {{"type":"tool_result","tool_use_id":"t","content":[{{"type":"image","source":{{"type":"url","url":"https://a.example/b.png"}}}}]}},
            {{"type":"document","source":{{"type":"text","media_type":"text/plain","data":"words"}}}},
            {{"type":"document","source":{{"type":"content","content":[{{"type":"image","source":{{"type":"file","file_id":"f"}}}}]}}}},
            {{"type":"document","source":{{"type":"base64","media_type":"application/pdf","data":"bm8gcGRm"}}}}]"#
        );
        let facts = MediaFacts::of_blocks(&blocks);
        assert_eq!(
            (
                facts.images.as_slice(),
                facts.unseen_images,
                facts.unseen_documents
            ),
            (&[(3, 2)][..], 2, 1)
        );
        assert_eq!(facts.base64_bytes, png.len() as u64 + 8);
        assert!(MediaFacts::of_blocks(r#"[{"type":"text","text":"no image"}]"#).is_empty());
    }
}
