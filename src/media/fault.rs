//! Why the API would not take a picture or document.

use super::limits::{MANY_IMAGES, MAX_IMAGE_SIDE, MAX_SIDE_OF_MANY};

/// Why the API would not take a picture or document, or those of a request together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaFault {
    /// Not a picture the API takes.
    #[error("it is not an image that the API accepts (PNG, JPEG, GIF or WebP){}", looks_like(.is))]
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
    #[error("it is declared as `{declared}` but is `{found}`")]
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
    #[error("it has {bytes} bytes{}, and the API accepts at most {most}", if *.base64 { " as base64" } else { "" })]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        most: usize,
        /// Whether both are counted as base64.
        base64: bool,
    },
    /// More pixels than the API takes.
    #[error("it is {width}x{height} pixels, and the API accepts at most {MAX_IMAGE_SIDE} a side")]
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
    #[error("the request has {images} pictures, and the model accepts at most {most}")]
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
    #[error("the request has {pages} PDF pages, and the model accepts at most {most}")]
    TooManyPages {
        /// Pages of all its PDFs.
        pages: u32,
        /// The limit.
        most: u32,
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
    #[error("`{0}` is not a file id; file ids look like `file_011CNha8iCJcU1wXNR6q4V8w`")]
    FileId(String),
}

fn looks_like(is: &Option<&'static str>) -> String {
    is.map(|is| format!("; it looks like {is}"))
        .unwrap_or_default()
}
