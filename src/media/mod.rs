//! Pictures and documents: their kinds, what their bytes show, and what a model takes of them.
//!
//! In come bytes, or the blocks of a message that pass through unread; out goes what they are
//! ([`MediaKind`], pixels, pages), what one request carries in all ([`MediaFacts`]), and whether
//! that is within the limits ([`MediaLimits`]). Nothing is decoded and nothing is fetched.
//!
//! ```text
//!  bytes ── kind.rs    which kind, by the first bytes, never by a name
//!        ── detect.rs  pixels from the header, pages of a PDF, whether the end is there
//!  facts.rs            sums for one request: the shared part and the row's own
//!  limits.rs           limits of files, of requests by model, and the figures that token counts use
//!  address.rs          URLs and file ids, by which media are named
//! ```
//!
//! Templates attach media, estimates count their tokens, the simulator checks what arrives: all of
//! them ask here, so that they agree on what a file is. To add a kind: a variant of [`MediaKind`]
//! with its first bytes, and its end mark in `detect.rs`.
//!
//! **Source** of all limits: the provider's documentation on vision, PDF support and files, read
//! 2026-08-22.

mod address;
mod detect;
mod facts;
mod fault;
mod kind;
mod limits;
#[cfg(test)]
pub(crate) mod samples;

pub(crate) use address::{check_url, is_file_id};
pub(crate) use detect::inspect;
pub use detect::{Detected, detect};
#[cfg(feature = "simulator")]
pub(crate) use detect::{image_size, is_pdf, pdf_pages};
pub use facts::MediaFacts;
pub use fault::MediaFault;
pub use kind::MediaKind;
pub(crate) use kind::{MediaClass, base64_bytes};
pub use limits::MediaLimits;
pub(crate) use limits::{
    IMAGE_PATCH_SIDE, ImageTier, MAX_FILE_BYTES, MAX_IMAGE_BASE64_BYTES, MAX_IMAGE_SIDE,
};
#[cfg(feature = "simulator")]
pub(crate) use limits::{MANY_IMAGES, MAX_SIDE_OF_MANY};
