//! What the API takes of pictures and documents, and the published figures for their tokens.
//!
//! **Source**: the provider's documentation on vision, PDF support and files, read 2026-08-22.

use super::{MediaClass, MediaFacts, MediaFault};
use crate::catalog::{Model, Tokenizer};

/// Most bytes of a picture once it is base64. The documentation says 10 MB and not whether decimal
/// or binary megabytes, so the smaller ones.
pub(crate) const MAX_IMAGE_BASE64_BYTES: usize = 10_000_000;
/// Most pixels a side of a picture.
pub(crate) const MAX_IMAGE_SIDE: u32 = 8_000;
/// With more pictures than this in a request, [`MAX_SIDE_OF_MANY`] holds for each of them.
pub(crate) const MANY_IMAGES: usize = 20;
/// Most pixels a side where there are many pictures.
pub(crate) const MAX_SIDE_OF_MANY: u32 = 2_000;
/// Most bytes of an uploaded file.
pub(crate) const MAX_FILE_BYTES: usize = 500_000_000;
/// Pixels of the side of a square that costs one token.
pub(crate) const IMAGE_PATCH_SIDE: u32 = 28;
/// From this context window on, a model takes more pictures and pages.
const LARGE_CONTEXT_TOKENS: u64 = 1_000_000;

impl MediaClass {
    /// Most bytes of a file, before it is base64.
    pub(crate) fn max_bytes(self) -> usize {
        match self {
            MediaClass::Image => MAX_IMAGE_BASE64_BYTES / 4 * 3,
            MediaClass::Document => MAX_FILE_BYTES,
        }
    }
}

/// The largest picture that a model reads as it is; a larger one is scaled down before its tokens
/// are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageTier {
    /// Pixels of the longest edge.
    pub(crate) max_edge: u32,
    /// Tokens of the whole picture.
    pub(crate) max_tokens: u64,
}

impl ImageTier {
    /// Of a model: the larger tier came with the second tokenizer.
    pub(crate) fn of(model: &Model) -> ImageTier {
        let (max_edge, max_tokens) = match model.tokenizer {
            Tokenizer::First => (1_568, 1_568),
            Tokenizer::Second => (2_576, 4_784),
        };
        ImageTier {
            max_edge,
            max_tokens,
        }
    }
}

/// How many pictures and pages one request may hold; it depends on the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaLimits {
    /// Most pictures.
    pub images: usize,
    /// Most pages of all its PDFs.
    pub pdf_pages: u32,
}

impl MediaLimits {
    /// The most that any model takes.
    pub const WIDEST: MediaLimits = MediaLimits {
        images: 600,
        pdf_pages: 600,
    };

    /// The limits of a model with a context window of `context_tokens`.
    #[must_use]
    pub fn of_context(context_tokens: u64) -> MediaLimits {
        if context_tokens >= LARGE_CONTEXT_TOKENS {
            return MediaLimits::WIDEST;
        }
        MediaLimits {
            images: 100,
            pdf_pages: 100,
        }
    }

    /// Checks all pictures and documents of a request together.
    ///
    /// # Errors
    /// More than the request may hold.
    pub(crate) fn check(&self, shared: &MediaFacts, own: &MediaFacts) -> Result<(), MediaFault> {
        let images = shared.image_count() + own.image_count();
        if images > self.images {
            return Err(MediaFault::TooManyImages {
                images,
                most: self.images,
            });
        }
        let large =
            |&&(width, height): &&(u32, u32)| width > MAX_SIDE_OF_MANY || height > MAX_SIDE_OF_MANY;
        if images > MANY_IMAGES
            && let Some(&(width, height)) = shared.images.iter().chain(&own.images).find(large)
        {
            return Err(MediaFault::TooLargeForMany {
                images,
                width,
                height,
            });
        }
        let pages = shared.pdf_pages + own.pdf_pages;
        if pages > self.pdf_pages {
            return Err(MediaFault::TooManyPages {
                pages,
                most: self.pdf_pages,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_what_a_request_holds_with_the_limits_of_the_model() {
        let small = MediaLimits::of_context(200_000);
        let facts = |images: usize, side: u32, pdf_pages: u32| MediaFacts {
            images: vec![(side, 10); images],
            pdf_pages,
            ..MediaFacts::default()
        };
        let none = MediaFacts::default();
        assert!(small.check(&facts(100, 2_000, 100), &none).is_ok());
        assert!(small.check(&facts(20, 8_000, 0), &none).is_ok());
        assert_eq!(
            small.check(&facts(60, 10, 0), &facts(41, 10, 0)),
            Err(MediaFault::TooManyImages {
                images: 101,
                most: 100
            })
        );
        assert_eq!(
            small.check(&facts(20, 10, 0), &facts(1, 2_001, 0)),
            Err(MediaFault::TooLargeForMany {
                images: 21,
                width: 2_001,
                height: 10
            })
        );
        assert_eq!(
            small.check(&facts(0, 0, 60), &facts(0, 0, 41)),
            Err(MediaFault::TooManyPages {
                pages: 101,
                most: 100
            })
        );
        assert!(
            MediaLimits::of_context(1_000_000)
                .check(&facts(600, 10, 600), &none)
                .is_ok()
        );
    }
}
