//! Tokens of pictures and documents, by the formulas the provider publishes.
//!
//! **Source**: vision and PDF documentation, read August 2026: a picture costs `⌈w/28⌉ · ⌈h/28⌉`
//! tokens after it was made smaller to what the model takes; a PDF page costs 1,500 to 3,000 tokens
//! of text, and a picture. How large the picture of a page is, how long a document of unknown
//! length, and how long an uploaded text: assumptions.

use crate::catalog::Model;
use crate::media::{IMAGE_PATCH_SIDE, ImageTier, MediaFacts};

/// Tokens of a PDF page's text: the middle of what is documented, and the most.
const PAGE_TEXT: (u64, u64) = (2_250, 3_000);
/// Tokens of a PDF page's picture: a page of letter size on the smaller of the tiers.
const PAGE_IMAGE: u64 = 1_500;
/// Pages of a document of unknown length.
const UNSEEN_PAGES: u64 = 5;

/// Tokens of what a request carries besides text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Media {
    /// The expected number.
    pub(crate) expected: u64,
    /// The upper bound.
    pub(crate) worst_case: u64,
}

impl Media {
    /// Of the pictures and documents of a request.
    #[must_use]
    pub(crate) fn of(facts: &MediaFacts, model: &Model) -> Media {
        let ImageTier {
            max_edge: edge,
            max_tokens: cap,
        } = ImageTier::of(model);
        let seen: u64 = facts
            .images
            .iter()
            .map(|&(width, height)| picture(width, height, edge, cap))
            .sum();
        let unseen = facts.unseen_images as u64 * cap;
        let pages = u64::from(facts.pdf_pages);
        let documents = facts.unseen_documents as u64;
        let expected_page = PAGE_TEXT.0 + PAGE_IMAGE;
        // A document of unknown length may fill the prompt.
        let endless = if documents > 0 {
            model.context_tokens
        } else {
            0
        };
        Media {
            expected: seen
                + unseen
                + (pages + documents * UNSEEN_PAGES) * expected_page
                + facts.uploaded_text_bytes / 3,
            worst_case: seen
                + unseen
                + pages * (PAGE_TEXT.1 + cap)
                + endless
                + facts.uploaded_text_bytes,
        }
    }
}

/// Tokens of a picture of this size on a model with these limits for the longest edge and the
/// tokens.
fn picture(width: u32, height: u32, edge: u32, cap: u64) -> u64 {
    let patches = |width: f64, height: f64| {
        let along = |side: f64| (side / f64::from(IMAGE_PATCH_SIDE)).ceil().max(1.0);
        along(width) * along(height)
    };
    let (width, height) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let mut scale = (f64::from(edge) / width.max(height)).min(1.0);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let most = cap as f64;
    // Rounding up to whole patches may leave a little too many: a little smaller, then.
    while patches(width * scale, height * scale) > most {
        scale *= 0.995;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few thousand"
    )]
    let tokens = patches(width * scale, height * scale) as u64;
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn media(facts: &MediaFacts, model: &str) -> Media {
        Media::of(facts, Catalog::builtin().model(model).unwrap().1)
    }

    #[test]
    fn a_picture_costs_its_patches() {
        for (size, first, second) in [
            ((28, 28), 1, 1),
            ((29, 28), 2, 2),
            ((640, 427), 23 * 16, 23 * 16),
            ((1_000, 1_000), 36 * 36, 36 * 36),
            // Made smaller: 1,568 at the longest edge are 56 patches, 2,576 are 92.
            ((8_000, 800), 56 * 6, 92 * 10),
        ] {
            let facts = MediaFacts {
                images: vec![size],
                ..MediaFacts::default()
            };
            assert_eq!(
                media(&facts, "claude-haiku-4-5").expected,
                first,
                "{size:?}"
            );
            assert_eq!(
                media(&facts, "claude-sonnet-5-5").expected,
                second,
                "{size:?}"
            );
        }
    }

    #[test]
    fn no_picture_costs_more_than_its_tier() {
        let facts = MediaFacts {
            images: vec![(8_000, 8_000)],
            ..MediaFacts::default()
        };
        let (first, second) = (
            media(&facts, "claude-haiku-4-5"),
            media(&facts, "claude-sonnet-5-5"),
        );
        assert!(
            (1_400..=1_568).contains(&first.expected) && (4_500..=4_784).contains(&second.expected),
            "{first:?} {second:?}"
        );
    }

    #[test]
    fn pages_and_unread_media_have_a_range() {
        let pages = media(
            &MediaFacts {
                pdf_pages: 10,
                ..MediaFacts::default()
            },
            "claude-haiku-4-5",
        );
        assert!(
            (30_000..45_000).contains(&pages.expected) && pages.worst_case > pages.expected,
            "{pages:?}"
        );
        let unseen = media(
            &MediaFacts {
                unseen_documents: 1,
                ..MediaFacts::default()
            },
            "claude-haiku-4-5",
        );
        assert!(unseen.worst_case >= 200_000 && unseen.expected < 50_000);
        assert_eq!(
            media(&MediaFacts::default(), "claude-haiku-4-5"),
            Media::default()
        );
    }
}
