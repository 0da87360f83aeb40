//! Pictures and documents as bytes: what they are, how large, and whether they are whole.
//!
//! The kind is told by the first bytes alone, never by a name. Nothing is decoded: a picture's size
//! stands in its header, and that its end is there is seen from its end mark, so that a cut-off
//! file costs a look and not a wasted row. Of a PDF the pages are counted, for the limit and for
//! the bill.
//!
//! **Source** of all limits: the provider's documentation on vision, PDF support and files, read
//! 2026-08-22.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use crate::border;

/// Most bytes of a picture once it is base64. Whether decimal or binary megabytes is not said, so
/// the smaller ones.
pub const MAX_IMAGE_BASE64_BYTES: usize = 10_000_000;
/// Most pixels a side of a picture.
pub const MAX_IMAGE_SIDE: u32 = 8_000;
/// With more pictures than this in a request each of them may be less large.
pub const MANY_IMAGES: usize = 20;
/// Most pixels a side where there are many pictures.
pub const MAX_SIDE_OF_MANY: u32 = 2_000;
/// Most bytes of an uploaded file.
pub const MAX_FILE_BYTES: usize = 500_000_000;
/// How far from its end a PDF's end mark may stand.
const PDF_TAIL: usize = 4_096;
/// How far from its beginning a PDF's header may stand.
const PDF_START: usize = 1_024;

/// What a picture or document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `image/png`.
    Png,
    /// `image/jpeg`.
    Jpeg,
    /// `image/gif`.
    Gif,
    /// `image/webp`.
    Webp,
    /// `application/pdf`.
    Pdf,
    /// `text/plain`, in UTF-8.
    Text,
}

impl Kind {
    /// The media type on the wire.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Kind::Png => "image/png",
            Kind::Jpeg => "image/jpeg",
            Kind::Gif => "image/gif",
            Kind::Webp => "image/webp",
            Kind::Pdf => "application/pdf",
            Kind::Text => "text/plain",
        }
    }

    /// What the name of such a file ends in.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Kind::Png => "png",
            Kind::Jpeg => "jpg",
            Kind::Gif => "gif",
            Kind::Webp => "webp",
            Kind::Pdf => "pdf",
            Kind::Text => "txt",
        }
    }
}

/// Whether a picture or a document is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Image,
    Document,
}

/// What was seen of a picture or document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    /// Width and height of a picture, in pixels.
    pub(crate) size: Option<(u32, u32)>,
    /// Pages of a PDF.
    pub(crate) pages: u32,
}

/// What pictures and documents a request carries, for limits and for counting tokens.
///
/// One request holds what is shared ([`crate::request::Requests::shared_media`]) and what is the
/// row's own ([`crate::request::Rows::render_with`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaFacts {
    /// Width and height in pixels of each picture that was looked at.
    pub images: Vec<(u32, u32)>,
    /// Pictures named by URL or file id alone, whose size nobody here knows.
    pub unseen_images: usize,
    /// Pages of all PDFs that were looked at.
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
    /// among them. What cannot be looked at counts as not seen; whether the API takes it is not
    /// decided here.
    pub(crate) fn of_blocks(json: &str) -> MediaFacts {
        let mut facts = MediaFacts::default();
        let has = |word: &str| memmem::find(json.as_bytes(), word.as_bytes()).is_some();
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
                Some("image") => Wanted::Image,
                Some("document") => Wanted::Document,
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

    fn add_base64(&mut self, data: &str, wanted: Wanted) {
        self.base64_bytes += data.len() as u64;
        let seen = STANDARD
            .decode(data)
            .ok()
            .and_then(|bytes| look(&bytes, wanted).ok());
        match seen {
            Some(Seen {
                size: Some(size), ..
            }) => self.images.push(size),
            Some(Seen { pages, .. }) if pages > 0 => self.pdf_pages += pages,
            _ => self.add_unseen(wanted),
        }
    }

    fn add_unseen(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Image => self.unseen_images += 1,
            Wanted::Document => self.unseen_documents += 1,
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

/// What one request may hold; it depends on the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptLimits {
    /// Most pictures.
    pub images: usize,
    /// Most pages of all its PDFs.
    pub pdf_pages: u32,
    /// Whether the last message may be the beginning of the answer.
    pub prefill: bool,
    /// Whether messages may have the role `system`.
    pub system_messages: bool,
}

impl PromptLimits {
    /// The most that any model takes.
    pub const WIDEST: PromptLimits = PromptLimits {
        images: 600,
        pdf_pages: 600,
        prefill: true,
        system_messages: true,
    };

    /// The limits of a model with a context of so many tokens.
    #[must_use]
    pub fn of_context(context_tokens: u64, prefill: bool, system_messages: bool) -> PromptLimits {
        let small = context_tokens < 1_000_000;
        PromptLimits {
            images: if small { 100 } else { 600 },
            pdf_pages: if small { 100 } else { 600 },
            prefill,
            system_messages,
        }
    }

    /// Checks what all of a request's pictures and documents come to.
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

/// What is wrong with a picture or document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaFault {
    /// There is none.
    #[error("the cell is null; `optional = true` leaves the block out for such rows")]
    Null,
    /// The cell holds something else.
    #[error("the cell holds {is}, and {wanted} was expected")]
    Cell {
        /// What the cell holds.
        is: &'static str,
        /// What `from` says.
        wanted: &'static str,
    },
    /// Not a picture the API takes.
    #[error("it is no picture that the API takes, which are PNG, JPEG, GIF and WebP{}", looks_like(.is))]
    NotAnImage {
        /// What it looks like instead.
        is: Option<&'static str>,
    },
    /// Not a document the API takes.
    #[error("it is neither a PDF nor text in UTF-8{}", looks_like(.is))]
    NotADocument {
        /// What it looks like instead.
        is: Option<&'static str>,
    },
    /// It is not what it is said to be.
    #[error("it is said to be `{declared}` and is `{found}`")]
    OtherType {
        /// The type that was declared.
        declared: String,
        /// The type by its bytes.
        found: &'static str,
    },
    /// It is not whole.
    #[error("it is broken: {0}")]
    Broken(&'static str),
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// More bytes than the API takes.
    #[error("it has {bytes} bytes{}, and the API takes at most {most}", if *.base64 { " as base64" } else { "" })]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        most: usize,
        /// Whether both are counted as base64.
        base64: bool,
    },
    /// More pixels than the API takes.
    #[error("it is {width}x{height} pixels, and the API takes at most {MAX_IMAGE_SIDE} a side")]
    TooManyPixels {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
    },
    /// Large pictures, and many of them.
    #[error(
        "one of {images} pictures is {width}x{height} pixels, and in a request with more than \
         {MANY_IMAGES} the API takes at most {MAX_SIDE_OF_MANY} a side"
    )]
    TooLargeForMany {
        /// All pictures of the request.
        images: usize,
        /// Width.
        width: u32,
        /// Height.
        height: u32,
    },
    /// Too many pictures.
    #[error("the request has {images} pictures, and the model takes at most {most}")]
    TooManyImages {
        /// All pictures of the request.
        images: usize,
        /// The limit.
        most: usize,
    },
    /// A PDF that needs a password.
    #[error("the PDF is encrypted, and the API cannot open it")]
    Encrypted,
    /// Too many pages.
    #[error("the request has {pages} PDF pages, and the model takes at most {most}")]
    TooManyPages {
        /// Pages of all its PDFs.
        pages: u32,
        /// The limit.
        most: u32,
    },
    /// Not base64.
    #[error("the cell is not base64")]
    NotBase64,
    /// A path that leads out of the folder.
    #[error("`{path}` lies outside of `{folder}`, and paths in cells stay inside of it")]
    Outside {
        /// The path as written.
        path: String,
        /// The folder that paths start from.
        folder: String,
    },
    /// A file that cannot be read.
    #[error("`{path}` cannot be read in `{folder}`: {why}")]
    Unreadable {
        /// The path as written.
        path: String,
        /// The folder that paths start from.
        folder: String,
        /// What the file system said.
        why: String,
    },
    /// A text too long to be a path.
    #[error(
        "a text of {chars} characters is no path; base64 is read with `from = \"base64\"`, the \
         text of a document with `from = \"text\"`"
    )]
    NoPath {
        /// Its length.
        chars: usize,
    },
    /// A URL with a name or password in it.
    #[error(
        "the URL holds a user name or password, which would be sent to the provider and kept there"
    )]
    UrlCredentials,
    /// Not a URL the API fetches.
    #[error("the URL is not one that the API fetches: {0}")]
    Url(&'static str),
    /// Not a file id.
    #[error("`{0}` is no file id; they look like `file_011CNha8iCJcU1wXNR6q4V8w`")]
    FileId(String),
    /// It could not be kept for the upload.
    #[error("it cannot be copied for the upload: {0}")]
    Copy(String),
}

fn looks_like(is: &Option<&'static str>) -> String {
    is.map(|is| format!("; it looks like {is}"))
        .unwrap_or_default()
}

/// Looks at bytes: of which kind they are, how large, and whether they are whole.
///
/// # Errors
/// They are not what is wanted, or not whole, or too large.
pub(crate) fn look(bytes: &[u8], wanted: Wanted) -> Result<Seen, MediaFault> {
    if bytes.is_empty() {
        return Err(MediaFault::Empty);
    }
    match wanted {
        Wanted::Image => picture(bytes),
        Wanted::Document if is_pdf(bytes) => pdf(bytes),
        Wanted::Document => text(bytes),
    }
}

/// A picture or document in a few words, such as `png, 640x427 pixels`; what it is not sure of it
/// leaves out.
#[must_use]
pub fn in_words(bytes: &[u8]) -> String {
    let wanted = if picture_kind(bytes).is_some() {
        Wanted::Image
    } else {
        Wanted::Document
    };
    match look(bytes, wanted) {
        Ok(Seen {
            kind,
            size: Some((width, height)),
            ..
        }) => format!("{} {width}x{height}", kind.extension()),
        Ok(Seen {
            kind: Kind::Pdf,
            pages: 1,
            ..
        }) => "pdf, 1 page".to_owned(),
        Ok(Seen {
            kind: Kind::Pdf,
            pages,
            ..
        }) => format!("pdf, {pages} pages"),
        Ok(Seen { kind, .. }) => kind.extension().to_owned(),
        Err(_) => "of an unknown kind".to_owned(),
    }
}

fn picture(bytes: &[u8]) -> Result<Seen, MediaFault> {
    let Some(kind) = picture_kind(bytes) else {
        return Err(MediaFault::NotAnImage {
            is: what_it_looks_like(bytes),
        });
    };
    let base64 = base64_bytes(bytes.len());
    if base64 > MAX_IMAGE_BASE64_BYTES {
        return Err(MediaFault::TooLarge {
            bytes: base64 as u64,
            most: MAX_IMAGE_BASE64_BYTES,
            base64: true,
        });
    }
    let size =
        imagesize::blob_size(bytes).map_err(|_| MediaFault::Broken("its header cannot be read"))?;
    let (Ok(width), Ok(height)) = (u32::try_from(size.width), u32::try_from(size.height)) else {
        return Err(MediaFault::Broken("its size is out of range"));
    };
    if width == 0 || height == 0 {
        return Err(MediaFault::Broken("it has no pixels"));
    }
    if width > MAX_IMAGE_SIDE || height > MAX_IMAGE_SIDE {
        return Err(MediaFault::TooManyPixels { width, height });
    }
    if !is_whole(kind, bytes) {
        return Err(MediaFault::Broken("it ends before its end"));
    }
    Ok(Seen {
        kind,
        size: Some((width, height)),
        pages: 0,
    })
}

fn picture_kind(bytes: &[u8]) -> Option<Kind> {
    const STARTS: &[(&[u8], Kind)] = &[
        (b"\x89PNG\r\n\x1a\n", Kind::Png),
        (b"\xff\xd8\xff", Kind::Jpeg),
        (b"GIF87a", Kind::Gif),
        (b"GIF89a", Kind::Gif),
    ];
    let known = STARTS
        .iter()
        .find(|(start, _)| bytes.starts_with(start))
        .map(|(_, kind)| *kind);
    known.or_else(|| {
        (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP")).then_some(Kind::Webp)
    })
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
        _ => picture_kind(bytes).map(|_| "a picture"),
    })
}

/// Whether a picture goes on to its end mark.
fn is_whole(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Png => png_end(bytes).is_some(),
        // The mark may stand in a preview inside the header too; what counts is one behind the
        // beginning of the picture itself.
        Kind::Jpeg => jpeg_scan(bytes)
            .is_some_and(|scan| memmem::rfind(&bytes[scan..], b"\xff\xd9").is_some()),
        Kind::Gif => bytes.iter().rev().find(|&&byte| byte != 0) == Some(&b';'),
        Kind::Webp => bytes
            .get(4..8)
            .and_then(|size| size.try_into().ok())
            .is_some_and(|size| u32::from_le_bytes(size) as usize + 8 <= bytes.len()),
        Kind::Pdf | Kind::Text => true,
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

fn is_pdf(bytes: &[u8]) -> bool {
    memmem::find(&bytes[..bytes.len().min(PDF_START)], b"%PDF-").is_some()
}

fn pdf(bytes: &[u8]) -> Result<Seen, MediaFault> {
    let tail = &bytes[bytes.len().saturating_sub(PDF_TAIL)..];
    if memmem::find(tail, b"%%EOF").is_none() {
        return Err(MediaFault::Broken("the PDF ends before its end mark"));
    }
    // A parser of a format this old is not trusted with every file of the world.
    let read = border::guard(|| lopdf::Document::load_metadata_mem(bytes));
    let unreadable = MediaFault::Broken("the PDF cannot be read");
    match read {
        Ok(Ok(facts)) if facts.encrypted => Err(MediaFault::Encrypted),
        Ok(Ok(facts)) if facts.page_count == 0 => Err(MediaFault::Broken("the PDF has no pages")),
        Ok(Ok(facts)) => Ok(Seen {
            kind: Kind::Pdf,
            size: None,
            pages: facts.page_count,
        }),
        Ok(Err(lopdf::Error::InvalidPassword | lopdf::Error::Decryption(_))) => {
            Err(MediaFault::Encrypted)
        }
        Ok(Err(_)) | Err(_) => Err(unreadable),
    }
}

fn text(bytes: &[u8]) -> Result<Seen, MediaFault> {
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'));
    if !is_text || picture_kind(bytes).is_some() {
        return Err(MediaFault::NotADocument {
            is: what_it_looks_like(bytes),
        });
    }
    Ok(Seen {
        kind: Kind::Text,
        size: None,
        pages: 0,
    })
}

/// Length of so many bytes as base64.
pub(crate) fn base64_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Checks a URL that the API is to fetch.
///
/// # Errors
/// Not http or https, no host, a user name or password, white space in it.
pub(crate) fn check_url(url: &str) -> Result<(), MediaFault> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        return Err(MediaFault::Url(
            "it must begin with `https://` or `http://`",
        ));
    };
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(MediaFault::Url("it holds white space"));
    }
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(MediaFault::UrlCredentials);
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(MediaFault::Url("it names no host"));
    }
    Ok(())
}

/// Whether a text has the form of a file id.
pub(crate) fn is_file_id(text: &str) -> bool {
    let rest = text.strip_prefix("file_");
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && rest.len() <= 100
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A PNG of that size, whose pixels nobody looks at.
    pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |name: &[u8], data: &[u8]| {
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(name);
            bytes.extend(data);
            bytes.extend([0; 4]);
        };
        let header = [
            &width.to_be_bytes()[..],
            &height.to_be_bytes(),
            &[8, 2, 0, 0, 0],
        ]
        .concat();
        chunk(b"IHDR", &header);
        chunk(b"IDAT", &[0; 20]);
        chunk(b"IEND", &[]);
        bytes
    }

    pub(crate) fn gif(width: u16, height: u16) -> Vec<u8> {
        [
            b"GIF89a",
            &width.to_le_bytes()[..],
            &height.to_le_bytes(),
            &[0, 0, 0, 0x2c, 0, 0, 0, 0],
            b";",
        ]
        .concat()
    }

    fn jpeg(width: u16, height: u16) -> Vec<u8> {
        let preview = [&b"\xff\xe1"[..], &[0, 8], b"\xff\xd8\xff\xd9xy"].concat();
        let frame = [
            &b"\xff\xc0"[..],
            &[0, 11, 8],
            &height.to_be_bytes(),
            &width.to_be_bytes(),
            &[1, 1, 0x11, 0],
        ]
        .concat();
        [
            &b"\xff\xd8"[..],
            &preview,
            &frame,
            b"\xff\xda\0\x08\x01\x01\0\0\x3f\0",
            b"pixels",
            b"\xff\xd9",
        ]
        .concat()
    }

    fn webp(width: u16, height: u16) -> Vec<u8> {
        let frame = [
            &[0x10, 0, 0, 0x9d, 0x01, 0x2a][..],
            &width.to_le_bytes(),
            &height.to_le_bytes(),
            &[0; 10],
        ]
        .concat();
        let size = (4 + 8 + frame.len()) as u32;
        [
            b"RIFF",
            &size.to_le_bytes()[..],
            b"WEBPVP8 ",
            &(frame.len() as u32).to_le_bytes(),
            &frame,
        ]
        .concat()
    }

    /// A PDF with so many pages.
    pub(crate) fn pdf_of(pages: usize) -> Vec<u8> {
        let mut objects = vec!["<</Type/Catalog/Pages 2 0 R>>".to_owned()];
        let kids: String = (0..pages)
            .map(|page| format!("{} 0 R ", page + 3))
            .collect();
        objects.push(format!("<</Type/Pages/Kids[{kids}]/Count {pages}>>"));
        objects
            .extend((0..pages).map(|_| "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>".to_owned()));
        let mut bytes = b"%PDF-1.4\n".to_vec();
        let mut offsets = Vec::new();
        for (i, object) in objects.iter().enumerate() {
            offsets.push(bytes.len());
            bytes.extend(format!("{} 0 obj\n{object}\nendobj\n", i + 1).bytes());
        }
        let xref = bytes.len();
        bytes.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
        bytes.extend(
            offsets
                .iter()
                .flat_map(|offset| format!("{offset:010} 00000 n \n").into_bytes()),
        );
        bytes.extend(
            format!(
                "trailer\n<</Size {}/Root 1 0 R>>\nstartxref\n{xref}\n%%EOF\n",
                objects.len() + 1
            )
            .bytes(),
        );
        bytes
    }

    #[test]
    fn tells_kind_and_size_by_the_bytes() {
        for (bytes, kind) in [
            (png(640, 427), Kind::Png),
            (jpeg(640, 427), Kind::Jpeg),
            (gif(640, 427), Kind::Gif),
            (webp(640, 427), Kind::Webp),
        ] {
            assert_eq!(
                look(&bytes, Wanted::Image),
                Ok(Seen {
                    kind,
                    size: Some((640, 427)),
                    pages: 0
                }),
                "{kind:?}"
            );
            let cut = &bytes[..bytes.len() - 3];
            assert!(
                matches!(look(cut, Wanted::Image), Err(MediaFault::Broken(_))),
                "{kind:?} cut off"
            );
            assert!(matches!(
                look(&bytes, Wanted::Document),
                Err(MediaFault::NotADocument {
                    is: Some("a picture")
                })
            ));
        }
        assert_eq!(
            look(&pdf_of(3), Wanted::Document),
            Ok(Seen {
                kind: Kind::Pdf,
                size: None,
                pages: 3
            })
        );
        assert_eq!(
            look("naïve".as_bytes(), Wanted::Document).map(|seen| seen.kind),
            Ok(Kind::Text)
        );
    }

    #[test]
    fn refuses_what_the_api_would() {
        let image = |bytes: &[u8]| look(bytes, Wanted::Image).unwrap_err();
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
        let document = |bytes: &[u8]| look(bytes, Wanted::Document).unwrap_err();
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

    #[test]
    fn counts_what_a_request_holds_against_the_model() {
        let small = PromptLimits::of_context(200_000, false, false);
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
            PromptLimits::of_context(1_000_000, true, true)
                .check(&facts(600, 10, 600), &none)
                .is_ok()
        );
    }

    #[test]
    fn takes_only_urls_without_credentials() {
        for good in [
            "https://example.com/a.png",
            "http://example.com:8080/?q=a@b",
            "https://[::1]/x",
        ] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["https://me:secret@example.com/a", "https://me@example.com"] {
            assert_eq!(check_url(bad), Err(MediaFault::UrlCredentials), "{bad}");
        }
        for bad in [
            "ftp://example.com",
            "example.com/a",
            "https:///a",
            "https://a b",
            "file:///etc/passwd",
            "",
        ] {
            assert!(matches!(check_url(bad), Err(MediaFault::Url(_))), "{bad}");
        }
    }

    #[test]
    fn pictures_and_documents_in_blocks_that_pass_through_are_seen() {
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
