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

    /// Whether a file of this kind may be declared as a media type. Parameters are left out, any
    /// `text/…` is text, and `image/jpg` is often written for `image/jpeg`.
    pub(crate) fn is_declared_by(self, media_type: &str) -> bool {
        let plain = media_type.split(';').next().unwrap_or_default().trim();
        match self {
            MediaKind::Text => plain
                .get(..5)
                .is_some_and(|start| start.eq_ignore_ascii_case("text/")),
            MediaKind::Jpeg if plain.eq_ignore_ascii_case("image/jpg") => true,
            _ => plain.eq_ignore_ascii_case(self.media_type()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_type_matches_the_kind_however_it_is_written() {
        for (declared, kind, matches) in [
            ("image/png", MediaKind::Png, true),
            ("IMAGE/PNG; q=1", MediaKind::Png, true),
            ("image/jpg", MediaKind::Jpeg, true),
            ("image/jpg", MediaKind::Png, false),
            ("text/markdown", MediaKind::Text, true),
            ("application/pdf", MediaKind::Text, false),
            ("text/plain", MediaKind::Pdf, false),
            ("", MediaKind::Pdf, false),
        ] {
            assert_eq!(
                kind.is_declared_by(declared),
                matches,
                "{declared} {kind:?}"
            );
        }
    }
}
