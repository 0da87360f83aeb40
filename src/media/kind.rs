//! The kinds of pictures and documents.

/// The kinds of pictures and documents that the API takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaKind {
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

impl MediaKind {
    /// The media type on the wire.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            MediaKind::Png => "image/png",
            MediaKind::Jpeg => "image/jpeg",
            MediaKind::Gif => "image/gif",
            MediaKind::Webp => "image/webp",
            MediaKind::Pdf => "application/pdf",
            MediaKind::Text => "text/plain",
        }
    }

    /// The kind of a picture, by its first bytes; `None` for everything else.
    pub(crate) fn of_image(bytes: &[u8]) -> Option<MediaKind> {
        const STARTS: &[(&[u8], MediaKind)] = &[
            (b"\x89PNG\r\n\x1a\n", MediaKind::Png),
            (b"\xff\xd8\xff", MediaKind::Jpeg),
            (b"GIF87a", MediaKind::Gif),
            (b"GIF89a", MediaKind::Gif),
        ];
        let known = STARTS
            .iter()
            .find(|(start, _)| bytes.starts_with(start))
            .map(|(_, kind)| *kind);
        known.or_else(|| {
            (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"))
                .then_some(MediaKind::Webp)
        })
    }

    /// The extension of a file of this kind, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            MediaKind::Png => "png",
            MediaKind::Jpeg => "jpg",
            MediaKind::Gif => "gif",
            MediaKind::Webp => "webp",
            MediaKind::Pdf => "pdf",
            MediaKind::Text => "txt",
        }
    }
}

/// The two classes of media: a block of a message is for one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaClass {
    Image,
    Document,
}

/// The length of `bytes` bytes as base64.
pub(crate) fn base64_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}
