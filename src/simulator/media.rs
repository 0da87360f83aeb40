//! Pictures and documents in a request: whether the API would take them, and what they cost.
//!
//! A picture costs `ceil(w/28) * ceil(h/28)` tokens after it was made small enough for the model; a
//! page of a PDF costs its text and a picture of itself. Of what stands elsewhere (a URL) nothing
//! is fetched: it costs the most that one can.
//!
//! What was looked at is remembered by its bytes: a run sends the same document with every request.
//!
//! **Source**: the provider's documentation on vision and PDF support, read in August 2026. How
//! many tokens the text of a PDF page has is not looked at: 2,250, the middle of the published
//! range; its picture costs what a page of print does at the smaller size.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::files::{FileStore, StoredFile};
use super::reply::ErrorReply;
use super::tokens;
use crate::catalog::{Model, Tokenizer};
use crate::media::{self, ImageTier, MediaKind, MediaLimits};

/// Tokens of the text of a PDF page.
const PAGE_TEXT: u64 = 2_250;
/// Tokens of the picture of a PDF page.
const PAGE_PICTURE: u64 = 1_568;
/// Most bytes of a picture as base64. The provider says 10 MB; this is the larger reading, where
/// templates keep to the smaller one.
const MAX_BASE64: usize = 10 * 1024 * 1024;
const MAX_SIDE: u64 = media::MAX_IMAGE_SIDE as u64;
const MAX_SIDE_OF_MANY: u64 = media::MAX_SIDE_OF_MANY as u64;
/// Things that are remembered.
const MAX_KNOWN: usize = 10_000;

/// What is known of a picture or document by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MediaContent {
    Image { width: u64, height: u64 },
    Pdf { pages: u64 },
    Text,
    Other,
}

/// What one request holds.
#[derive(Default)]
pub(super) struct MediaCounts {
    images: usize,
    largest: (u64, String),
    pages: u64,
}

/// Looks at pictures and documents, and remembers them.
pub(super) struct MediaReader {
    files: std::sync::Arc<FileStore>,
    known: HashMap<[u8; 32], Result<MediaContent, &'static str>>,
    texts: HashMap<(String, bool), u64>,
}

impl MediaReader {
    pub(super) fn new(files: std::sync::Arc<FileStore>) -> MediaReader {
        MediaReader {
            files,
            known: HashMap::new(),
            texts: HashMap::new(),
        }
    }

    /// Checks a picture; gives its tokens.
    pub(super) fn image(
        &mut self,
        block: &Value,
        path: &str,
        model: &Model,
        counts_so_far: &mut MediaCounts,
    ) -> Result<u64, ErrorReply> {
        counts_so_far.images += 1;
        let source = source(block, &["base64", "url", "file"], path)?;
        match source.get("type").and_then(Value::as_str) {
            Some("base64") => {
                let declared = media_type(
                    source,
                    &["image/jpeg", "image/png", "image/gif", "image/webp"],
                    path,
                )?;
                let data = data(source, path)?;
                if data.len() > MAX_BASE64 {
                    let text = format!(
                        "{path}.image.source.base64: image exceeds 10 MB maximum: {} bytes > \
                         {MAX_BASE64} bytes",
                        data.len()
                    );
                    return Err(ErrorReply::invalid(text));
                }
                let (facts, found) = self.look(data, path)?;
                let MediaContent::Image { width, height } = facts else {
                    return Err(ErrorReply::invalid(format!(
                        "{path}.image.source.base64.data: Could not process image"
                    )));
                };
                if found != declared {
                    let text = format!(
                        "{path}.image.source.base64: The image was specified using the {declared} \
                         media type, but the image appears to be a {found} image"
                    );
                    return Err(ErrorReply::invalid(text));
                }
                counts_so_far.see(width.max(height), path)?;
                Ok(image_tokens(width, height, model))
            }
            Some("file") => match self.stored(source, path)?.facts {
                MediaContent::Image { width, height } => {
                    counts_so_far.see(width.max(height), path)?;
                    Ok(image_tokens(width, height, model))
                }
                _ => Err(ErrorReply::invalid(format!(
                    "{path}.image.source.file_id: the file is not an image"
                ))),
            },
            _ => Ok(image_tokens(u64::MAX >> 32, u64::MAX >> 32, model)),
        }
    }

    /// Checks a document; gives its tokens.
    pub(super) fn document(
        &mut self,
        block: &Value,
        path: &str,
        model: &Model,
        counts_so_far: &mut MediaCounts,
    ) -> Result<u64, ErrorReply> {
        let source = source(block, &["base64", "text", "content", "url", "file"], path)?;
        let beside: u64 = ["title", "context"]
            .iter()
            .filter_map(|key| block.get(*key).and_then(Value::as_str))
            .map(|text| tokens::count(model.tokenizer, text))
            .sum();
        let own = match source.get("type").and_then(Value::as_str) {
            Some("text") => {
                media_type(source, &["text/plain"], path)?;
                let text = source
                    .get("data")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                if text.is_empty() {
                    return Err(ErrorReply::invalid(format!(
                        "{path}.document.source.text.data: document text must be non-empty"
                    )));
                }
                tokens::count(model.tokenizer, text)
            }
            Some("content") => tokens::count(model.tokenizer, &source["content"].to_string()),
            Some("base64") => {
                media_type(source, &["application/pdf"], path)?;
                match self.look(data(source, path)?, path)?.0 {
                    MediaContent::Pdf { pages } => counts_so_far.read(pages),
                    _ => {
                        return Err(ErrorReply::invalid(format!(
                            "{path}.document.source.base64.data: The PDF specified was not valid."
                        )));
                    }
                }
            }
            Some("file") => self.file(source, path, model, counts_so_far)?,
            _ => 3_000,
        };
        Ok(own + beside)
    }

    fn file(
        &mut self,
        source: &Value,
        path: &str,
        model: &Model,
        counts_so_far: &mut MediaCounts,
    ) -> Result<u64, ErrorReply> {
        let stored = self.stored(source, path)?;
        match stored.facts {
            MediaContent::Pdf { pages } => Ok(counts_so_far.read(pages)),
            MediaContent::Text => {
                let key = (stored.id.clone(), model.tokenizer == Tokenizer::First);
                if let Some(count) = self.texts.get(&key) {
                    return Ok(*count);
                }
                let count = tokens::count(
                    model.tokenizer,
                    &String::from_utf8_lossy(&self.files.bytes(&stored.id)?),
                );
                self.texts.insert(key, count);
                Ok(count)
            }
            _ => Err(ErrorReply::invalid(format!(
                "{path}.document.source.file_id: the file is neither a PDF nor text"
            ))),
        }
    }

    fn stored(&self, source: &Value, path: &str) -> Result<StoredFile, ErrorReply> {
        let id = source.get("file_id").and_then(Value::as_str);
        self.files.find(id.ok_or_else(|| {
            ErrorReply::invalid(format!("{path}.source.file.file_id: Field required"))
        })?)
    }

    /// What base64 holds, and its type by its first bytes.
    fn look(&mut self, data: &str, path: &str) -> Result<(MediaContent, &'static str), ErrorReply> {
        let hash = *blake3::hash(data.as_bytes()).as_bytes();
        let start = STANDARD
            .decode(&data[..data.len().min(64) / 4 * 4])
            .unwrap_or_default();
        let looked = match self.known.get(&hash) {
            Some(looked) => *looked,
            None => {
                let looked = STANDARD
                    .decode(data)
                    .map_err(|_| "Input should be valid base64")
                    .map(|bytes| look_at(&bytes));
                if self.known.len() >= MAX_KNOWN {
                    self.known.clear();
                }
                self.known.insert(hash, looked);
                looked
            }
        };
        let facts = looked
            .map_err(|what| ErrorReply::invalid(format!("{path}.source.base64.data: {what}")))?;
        let found = MediaKind::of_image(&start).map_or("other", MediaKind::media_type);
        Ok((facts, found))
    }
}

impl MediaCounts {
    fn see(&mut self, side: u64, path: &str) -> Result<(), ErrorReply> {
        if side > self.largest.0 {
            self.largest = (side, path.to_owned());
        }
        if side <= MAX_SIDE {
            return Ok(());
        }
        Err(too_large(path, MAX_SIDE))
    }

    fn read(&mut self, pages: u64) -> u64 {
        self.pages += pages;
        pages * (PAGE_TEXT + PAGE_PICTURE)
    }

    /// Checks all pictures and documents of the request together.
    pub(super) fn check(&self, model: &Model) -> Result<(), ErrorReply> {
        let limits = MediaLimits::of_context(model.context_tokens);
        let most = limits.images;
        if self.images > most {
            return Err(ErrorReply::invalid(format!(
                "messages: Too many images: {} > {most} maximum",
                self.images
            )));
        }
        if self.images > media::MANY_IMAGES && self.largest.0 > MAX_SIDE_OF_MANY {
            return Err(too_large(&self.largest.1, MAX_SIDE_OF_MANY));
        }
        let most = u64::from(limits.pdf_pages);
        if self.pages > most {
            return Err(ErrorReply::invalid(format!(
                "messages: A maximum of {most} PDF pages may be provided. Found {}.",
                self.pages
            )));
        }
        Ok(())
    }
}

fn too_large(path: &str, most: u64) -> ErrorReply {
    let text = format!(
        "{path}.image.source: At least one of the image dimensions exceed max allowed size: {most} \
         pixels"
    );
    ErrorReply::invalid(text).code("image_dimensions_too_large")
}

/// Tokens of a picture after it was made to fit: longest side and tokens within the model's limits.
fn image_tokens(width: u64, height: u64, model: &Model) -> u64 {
    let tier = ImageTier::of(model);
    let (most_side, most_tokens) = (u64::from(tier.max_edge), tier.max_tokens);
    let patch = u64::from(media::IMAGE_PATCH_SIDE);
    let patches = |width: u64, height: u64| width.div_ceil(patch) * height.div_ceil(patch);
    let longest = width.max(height).max(1);
    let scaled = |side: u64, to: u64| {
        (u128::from(side) * u128::from(to) / u128::from(longest)).max(1) as u64
    };
    let fits = |to: &u64| patches(scaled(width, *to), scaled(height, *to)) <= most_tokens;
    let to = (1..=longest.min(most_side)).rev().find(fits).unwrap_or(1);
    patches(scaled(width, to), scaled(height, to))
}

/// What a file's bytes are.
pub(super) fn look_at(bytes: &[u8]) -> MediaContent {
    if MediaKind::of_image(bytes).is_some() {
        return media::image_size(bytes).map_or(MediaContent::Other, |(width, height)| {
            MediaContent::Image {
                width: width.into(),
                height: height.into(),
            }
        });
    }
    if media::is_pdf(bytes) {
        return media::pdf_pages(bytes).map_or(MediaContent::Other, |pages| MediaContent::Pdf {
            pages: pages.into(),
        });
    }
    if std::str::from_utf8(bytes).is_ok() {
        MediaContent::Text
    } else {
        MediaContent::Other
    }
}

fn source<'b>(block: &'b Value, kinds: &[&str], path: &str) -> Result<&'b Value, ErrorReply> {
    let source = block
        .get("source")
        .ok_or_else(|| ErrorReply::invalid(format!("{path}.source: Field required")))?;
    let kind = source.get("type").and_then(Value::as_str);
    if !kind.is_some_and(|kind| kinds.contains(&kind)) {
        return Err(ErrorReply::invalid(format!(
            "{path}.source.type: Input should be one of '{}'",
            kinds.join("', '")
        )));
    }
    if kind == Some("url") {
        let url = source
            .get("url")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(ErrorReply::invalid(format!(
                "{path}.source.url.url: Only HTTP and HTTPS URLs are supported"
            )));
        }
    }
    Ok(source)
}

fn media_type<'b>(source: &'b Value, types: &[&str], path: &str) -> Result<&'b str, ErrorReply> {
    match source.get("media_type").and_then(Value::as_str) {
        Some(found) if types.contains(&found) => Ok(found),
        _ => Err(ErrorReply::invalid(format!(
            "{path}.source.media_type: Input should be '{}'",
            types.join("' or '")
        ))),
    }
}

fn data<'b>(source: &'b Value, path: &str) -> Result<&'b str, ErrorReply> {
    let data = source
        .get("data")
        .and_then(Value::as_str)
        .filter(|data| !data.is_empty());
    data.ok_or_else(|| {
        ErrorReply::invalid(format!(
            "{path}.source.base64.data: Input should be valid base64"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    /// Figures by hand: patches of 28 pixels a side after the picture was made to fit.
    #[test]
    fn counts_the_tokens_of_pictures() {
        let model = |id: &str| Catalog::builtin().model(id).unwrap().1.clone();
        let (small, large) = (model("claude-haiku-4-5"), model("claude-sonnet-5-5"));
        for (width, height, on_small, on_large) in [
            (1, 1, 1, 1),
            (28, 29, 2, 2),
            (640, 427, 23 * 16, 23 * 16),
            (1_568, 784, 56 * 28, 56 * 28),
            // Longest side 2,576: 92 x 52 patches are exactly 4,784.
            (5_152, 2_912, 0, 92 * 52),
        ] {
            if on_small > 0 {
                assert_eq!(
                    image_tokens(width, height, &small),
                    on_small,
                    "{width}x{height}"
                );
            }
            assert_eq!(
                image_tokens(width, height, &large),
                on_large,
                "{width}x{height}"
            );
        }
        for (width, height) in [(8_000, 8_000), (8_000, 1), (3_000, 2_000)] {
            assert!(image_tokens(width, height, &small) <= 1_568);
            assert!(image_tokens(width, height, &large) <= 4_784);
        }
    }
}
