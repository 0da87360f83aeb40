//! What the bytes of a picture or document show.
//!
//! The kind is detected from the first bytes alone. A picture's size stands in its header, and its
//! end mark shows that it is complete; a PDF's pages are counted, for the limit and for the bill.

use memchr::memmem;

use super::{
    MAX_IMAGE_BASE64_BYTES, MAX_IMAGE_SIDE, MediaClass, MediaFault, MediaKind, base64_bytes,
};
use crate::border;

/// How far from its end a PDF's end mark may stand.
const PDF_TAIL: usize = 4_096;
/// How far from its beginning a PDF's header may stand.
const PDF_START: usize = 1_024;

/// What the bytes of a picture or document show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detected {
    /// Its kind.
    pub kind: MediaKind,
    /// Width and height of a picture, in pixels.
    pub size: Option<(u32, u32)>,
    /// Pages of a PDF; 0 for everything else.
    pub pages: u32,
}

/// Detects of which kind bytes are, how large the picture or long the document is, and whether they
/// are complete.
///
/// # Errors
/// They are not of the class, or incomplete, or beyond a limit.
pub(crate) fn inspect(bytes: &[u8], class: MediaClass) -> Result<Detected, MediaFault> {
    if bytes.is_empty() {
        return Err(MediaFault::Empty);
    }
    match class {
        MediaClass::Image => image(bytes),
        MediaClass::Document if is_pdf(bytes) => Ok(Detected {
            kind: MediaKind::Pdf,
            size: None,
            pages: pdf_pages(bytes)?,
        }),
        MediaClass::Document => text(bytes),
    }
}

/// What bytes are, whichever class they belong to; `None` where they are neither a whole picture
/// nor a document that the API takes.
#[must_use]
pub fn detect(bytes: &[u8]) -> Option<Detected> {
    let class = match MediaKind::of_image(bytes) {
        Some(_) => MediaClass::Image,
        None => MediaClass::Document,
    };
    inspect(bytes, class).ok()
}

fn image(bytes: &[u8]) -> Result<Detected, MediaFault> {
    let Some(kind) = MediaKind::of_image(bytes) else {
        return Err(MediaFault::NotAnImage {
            is: what_it_looks_like(bytes),
        });
    };
    // The limit is published for the base64 that is sent, not for the file.
    let base64 = base64_bytes(bytes.len());
    if base64 > MAX_IMAGE_BASE64_BYTES {
        return Err(MediaFault::TooLarge {
            bytes: base64 as u64,
            most: MAX_IMAGE_BASE64_BYTES,
            base64: true,
        });
    }
    let (width, height) = image_size(bytes)?;
    if width > MAX_IMAGE_SIDE || height > MAX_IMAGE_SIDE {
        return Err(MediaFault::TooManyPixels { width, height });
    }
    if !is_whole(kind, bytes) {
        return Err(MediaFault::Broken("it ends before its end"));
    }
    Ok(Detected {
        kind,
        size: Some((width, height)),
        pages: 0,
    })
}

/// Width and height of a picture in pixels, from its header; no limit is applied.
pub(crate) fn image_size(bytes: &[u8]) -> Result<(u32, u32), MediaFault> {
    let size =
        imagesize::blob_size(bytes).map_err(|_| MediaFault::Broken("its header cannot be read"))?;
    let (Ok(width), Ok(height)) = (u32::try_from(size.width), u32::try_from(size.height)) else {
        return Err(MediaFault::Broken("its size is out of range"));
    };
    if width == 0 || height == 0 {
        return Err(MediaFault::Broken("it has no pixels"));
    }
    Ok((width, height))
}

/// A name for what is often sent by mistake.
fn what_it_looks_like(bytes: &[u8]) -> Option<&'static str> {
    const STARTS: &[(&[u8], &str)] = &[
        (b"%PDF-", "a PDF, which is a document"),
        (b"BM", "a BMP"),
        (b"II*\0", "a TIFF"),
        (b"MM\0*", "a TIFF"),
        (b"<svg", "an SVG"),
        (b"<?xml", "an SVG or other XML"),
        (b"<!DOCTYPE", "a web page"),
        (b"<html", "a web page"),
        (b"PK\x03\x04", "a ZIP or Office file"),
        (b"\xd0\xcf\x11\xe0", "an old Office file"),
        (b"\x1f\x8b", "a gzip file"),
        (b"version https://git-lfs", "a Git LFS pointer"),
    ];
    let known = STARTS
        .iter()
        .find(|(start, _)| bytes.starts_with(start))
        .map(|(_, name)| *name);
    known.or_else(|| match bytes.get(4..12) {
        Some(b"ftypheic" | b"ftypheix" | b"ftypmif1") => Some("a HEIC"),
        Some(b"ftypavif") => Some("an AVIF"),
        _ => MediaKind::of_image(bytes).map(|_| "a picture"),
    })
}

/// Whether a picture is complete. A cut-off download has a good header, and the API would refuse
/// the request only after it was uploaded; finding the end mark costs no decoding.
fn is_whole(kind: MediaKind, bytes: &[u8]) -> bool {
    match kind {
        MediaKind::Png => png_end(bytes).is_some(),
        // A preview inside the header has an end mark too; only one behind the start of the scan
        // counts.
        MediaKind::Jpeg => jpeg_scan(bytes)
            .is_some_and(|scan| memmem::rfind(&bytes[scan..], b"\xff\xd9").is_some()),
        // Some writers pad a GIF with zeros behind its end mark.
        MediaKind::Gif => bytes.iter().rev().find(|&&byte| byte != 0) == Some(&b';'),
        MediaKind::Webp => bytes
            .get(4..8)
            .and_then(|size| size.try_into().ok())
            .is_some_and(|size| u32::from_le_bytes(size) as usize + 8 <= bytes.len()),
        MediaKind::Pdf | MediaKind::Text => true,
    }
}

/// Walks the chunks of a PNG, without looking into them, to the last.
fn png_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 8_usize;
    loop {
        let length = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
        let name = bytes.get(at + 4..at + 8)?;
        let end = at.checked_add(12)?.checked_add(length)?;
        if end > bytes.len() {
            return None;
        }
        if name == b"IEND" {
            return Some(end);
        }
        at = end;
    }
}

/// Where the picture itself begins in a JPEG: behind the header segments.
fn jpeg_scan(bytes: &[u8]) -> Option<usize> {
    let mut at = 2_usize;
    loop {
        let [0xff, marker] = *bytes.get(at..at + 2)? else {
            return None;
        };
        match marker {
            // Fill bytes, and marks that stand alone.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            0xda => return Some(at + 2),
            _ => {
                at = at.checked_add(
                    2 + u16::from_be_bytes(bytes.get(at + 2..at + 4)?.try_into().ok()?) as usize,
                )?
            }
        }
    }
}

/// Whether bytes begin as a PDF does. Readers accept other bytes before the header, as mail
/// gateways and scanners write them.
pub(crate) fn is_pdf(bytes: &[u8]) -> bool {
    memmem::find(&bytes[..bytes.len().min(PDF_START)], b"%PDF-").is_some()
}

/// The pages of a PDF; no limit is applied.
pub(crate) fn pdf_pages(bytes: &[u8]) -> Result<u32, MediaFault> {
    let tail = &bytes[bytes.len().saturating_sub(PDF_TAIL)..];
    if memmem::find(tail, b"%%EOF").is_none() {
        return Err(MediaFault::Broken("the PDF ends before its end mark"));
    }
    // A parser of a format this old and wide may panic on a damaged file; a row's file must not
    // end the run.
    let read = border::guard(|| lopdf::Document::load_metadata_mem(bytes));
    match read {
        Ok(Ok(found)) if found.encrypted => Err(MediaFault::Encrypted),
        Ok(Ok(found)) if found.page_count == 0 => Err(MediaFault::Broken("the PDF has no pages")),
        Ok(Ok(found)) => Ok(found.page_count),
        Ok(Err(lopdf::Error::InvalidPassword | lopdf::Error::Decryption(_))) => {
            Err(MediaFault::Encrypted)
        }
        Ok(Err(_)) | Err(_) => Err(MediaFault::Broken("the PDF cannot be read")),
    }
}

fn text(bytes: &[u8]) -> Result<Detected, MediaFault> {
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'));
    // The header of a picture may be valid UTF-8 by chance.
    if !is_text || MediaKind::of_image(bytes).is_some() {
        return Err(MediaFault::NotADocument {
            is: what_it_looks_like(bytes),
        });
    }
    Ok(Detected {
        kind: MediaKind::Text,
        size: None,
        pages: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{gif, jpeg, pdf_of, png, webp};
    use super::*;

    #[test]
    fn detects_kind_and_size_from_the_bytes() {
        for (bytes, kind) in [
            (png(640, 427), MediaKind::Png),
            (jpeg(640, 427), MediaKind::Jpeg),
            (gif(640, 427), MediaKind::Gif),
            (webp(640, 427), MediaKind::Webp),
        ] {
            assert_eq!(
                inspect(&bytes, MediaClass::Image),
                Ok(Detected {
                    kind,
                    size: Some((640, 427)),
                    pages: 0
                }),
                "{kind:?}"
            );
            let cut = &bytes[..bytes.len() - 3];
            assert!(
                matches!(inspect(cut, MediaClass::Image), Err(MediaFault::Broken(_))),
                "{kind:?} cut off"
            );
            assert!(matches!(
                inspect(&bytes, MediaClass::Document),
                Err(MediaFault::NotADocument {
                    is: Some("a picture")
                })
            ));
        }
        assert_eq!(
            inspect(&pdf_of(3), MediaClass::Document),
            Ok(Detected {
                kind: MediaKind::Pdf,
                size: None,
                pages: 3
            })
        );
        assert_eq!(
            inspect("naïve".as_bytes(), MediaClass::Document).map(|seen| seen.kind),
            Ok(MediaKind::Text)
        );
    }

    #[test]
    fn refuses_what_the_api_would() {
        let image = |bytes: &[u8]| inspect(bytes, MediaClass::Image).unwrap_err();
        assert_eq!(image(b""), MediaFault::Empty);
        assert_eq!(
            image(&png(8_001, 1)),
            MediaFault::TooManyPixels {
                width: 8_001,
                height: 1
            }
        );
        assert_eq!(image(&png(0, 1)), MediaFault::Broken("it has no pixels"));
        assert_eq!(
            image(&pdf_of(1)),
            MediaFault::NotAnImage {
                is: Some("a PDF, which is a document")
            }
        );
        assert_eq!(
            image(b"BM123456"),
            MediaFault::NotAnImage { is: Some("a BMP") }
        );
        let mut large = png(10, 10);
        large.resize(7_500_001, 0);
        assert!(matches!(
            image(&large),
            MediaFault::TooLarge {
                bytes: 10_000_004,
                base64: true,
                ..
            }
        ));
        let document = |bytes: &[u8]| inspect(bytes, MediaClass::Document).unwrap_err();
        assert_eq!(
            document(b"\xff\xfe a"),
            MediaFault::NotADocument { is: None }
        );
        assert_eq!(
            document(b"PK\x03\x04\xff"),
            MediaFault::NotADocument {
                is: Some("a ZIP or Office file")
            }
        );
        let whole = pdf_of(2);
        assert!(matches!(
            document(&whole[..whole.len() - 10]),
            MediaFault::Broken(_)
        ));
        assert!(matches!(
            document(b"%PDF-1.4 nothing %%EOF"),
            MediaFault::Broken(_)
        ));
    }
}
