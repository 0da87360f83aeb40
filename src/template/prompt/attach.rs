//! Where a picture or document comes from: a cell, a file beside the job, or a name the provider
//! knows it by.
//!
//! ```text
//!  column ── bytes | base64 | path ──▶ bytes ── look at them ──▶ base64 in the request, or the id of the uploaded file
//!         ── url | file id ─────────────────────────────────────▶ as it is
//!         ── text (documents) ──────────────────────────────────▶ the text itself
//! ```

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::Value;

use super::super::cell::{Cell, cell, resolve};
use super::super::row::Table;
use super::super::{Columns, Error, Templates};
use super::media::{
    Kind, MAX_FILE_BYTES, MAX_IMAGE_BASE64_BYTES, MediaFacts, MediaFault, Wanted, base64_bytes,
    check_url, is_file_id, look,
};
use super::spec::{CellForm, DocumentSpec, ImageSpec};
use super::uploads::Uploads;
use super::{RowFault, Setting};
use crate::durable;

/// More characters than this are no path.
const MAX_PATH_CHARS: usize = 1_000;

/// A picture or document as it goes into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Media<'a> {
    pub(crate) is_image: bool,
    pub(crate) source: Source<'a>,
    pub(crate) title: Option<Cow<'a, str>>,
    pub(crate) context: Option<Cow<'a, str>>,
    pub(crate) citations: bool,
}

/// What stands for the picture or document itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    Bytes(&'static str, Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    Url(Cow<'a, str>),
    FileId(Cow<'a, str>),
}

impl Media<'_> {
    /// The same, kept.
    pub(super) fn into_owned(self) -> Media<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Media {
            is_image: self.is_image,
            source: match self.source {
                Source::Bytes(media_type, bytes) => {
                    Source::Bytes(media_type, Cow::Owned(bytes.into_owned()))
                }
                Source::Text(text) => Source::Text(owned(text)),
                Source::Url(url) => Source::Url(owned(url)),
                Source::FileId(id) => Source::FileId(owned(id)),
            },
            title: self.title.map(owned),
            context: self.context.map(owned),
            citations: self.citations,
        }
    }
}

/// A picture or document of the job.
pub(super) struct Attach {
    /// Its name in messages, such as `block 2 of message 1`.
    part: String,
    wanted: Wanted,
    origin: Origin,
    media_type: Option<String>,
    title: Option<String>,
    context: Option<String>,
    citations: bool,
    upload: bool,
    pub(super) optional: bool,
}

enum Origin {
    Column {
        name: String,
        from: CellForm,
        folder: Folder,
    },
    File {
        path: PathBuf,
        bytes: Arc<Vec<u8>>,
    },
    /// The name of a template.
    Text(String),
    Url(String),
    FileId(String),
}

/// Where paths in cells start.
struct Folder {
    shown: String,
    /// With every link followed; `None` where there is no such folder, so that no path can be read.
    real: Option<PathBuf>,
}

/// What all of them need of a row.
pub(super) struct Rendering<'a> {
    pub(super) templates: &'a Templates,
    pub(super) table: Option<&'a Arc<Table>>,
    pub(super) row: usize,
    pub(super) values: Option<Value>,
    pub(super) uploads: &'a Uploads,
}

impl Rendering<'_> {
    /// Renders a template for the row.
    pub(super) fn text(&mut self, name: &str) -> Result<String, RowFault> {
        let values = self.values.get_or_insert_with(|| match self.table {
            Some(table) => table.row(self.row),
            None => Value::from_pairs(std::iter::empty::<(&str, Value)>()),
        });
        let values = values.clone();
        let column = |name: &str| self.cell(name).map(|cells| cells.data_type().clone());
        Ok(self
            .templates
            .render(name, values)
            .map_err(|error| error.with_fields(column))?)
    }

    fn cell(&self, column: &str) -> Option<&ArrayRef> {
        self.table.and_then(|table| table.column(column))
    }
}

/// A picture or document is compiled in words of the place it stands in.
pub(super) struct Compiling<'a, 's> {
    pub(super) part: String,
    pub(super) templates: &'a mut Templates,
    pub(super) schema: &'a Schema,
    pub(super) setting: &'a Setting<'s>,
}

impl Compiling<'_, '_> {
    pub(super) fn image(&mut self, spec: &ImageSpec, optional: bool) -> Result<Attach, Error> {
        self.attach(&DocumentSpec::from(spec), Wanted::Image, optional)
    }

    pub(super) fn document(
        &mut self,
        spec: &DocumentSpec,
        optional: bool,
    ) -> Result<Attach, Error> {
        self.attach(spec, Wanted::Document, optional)
    }

    fn attach(
        &mut self,
        spec: &DocumentSpec,
        wanted: Wanted,
        optional: bool,
    ) -> Result<Attach, Error> {
        Ok(Attach {
            part: self.part.clone(),
            wanted,
            origin: self.origin(spec, wanted)?,
            media_type: self.template("media_type", spec.media_type.as_ref())?,
            title: self.template("title", spec.title.as_ref())?,
            context: self.template("context", spec.context.as_ref())?,
            citations: spec.citations,
            upload: spec.upload,
            optional,
        })
    }

    fn fails<T>(&self, problem: impl Into<String>) -> Result<T, Error> {
        Err(Error::Part {
            part: self.part.clone(),
            problem: problem.into(),
        })
    }

    fn origin(&mut self, spec: &DocumentSpec, wanted: Wanted) -> Result<Origin, Error> {
        if spec.column.is_none() && (spec.from != CellForm::Auto || spec.folder.is_some()) {
            return self.fails(
                "has `from` or `folder` without `column`; they say how the cells of \
                a column are read",
            );
        }
        match (
            &spec.column,
            &spec.file,
            &spec.text,
            &spec.url,
            &spec.file_id,
        ) {
            (Some(column), None, None, None, None) => self.column(column, spec, wanted),
            (None, Some(path), None, None, None) => self.file(path, wanted),
            (None, None, Some(text), None, None) => match self.template("text", Some(text))? {
                Some(name) => Ok(Origin::Text(name)),
                None => self.fails("has no text"),
            },
            (None, None, None, Some(_), None) | (None, None, None, None, Some(_))
                if spec.upload =>
            {
                self.fails(
                    "has `upload` with a `url` or `file_id`; only bytes that are here can \
                    be uploaded",
                )
            }
            (None, None, None, Some(url), None) => match check_url(url) {
                Ok(()) => Ok(Origin::Url(url.clone())),
                Err(fault) => self.fails(format!("cannot be used: {fault}")),
            },
            (None, None, None, None, Some(id)) if is_file_id(id) => Ok(Origin::FileId(id.clone())),
            (None, None, None, None, Some(id)) => {
                self.fails(format!("cannot be used: {}", MediaFault::FileId(shown(id))))
            }
            _ if wanted == Wanted::Image => self.fails(
                "needs exactly one of `column`, `file`, \
                `url` and `file_id`",
            ),
            _ => self.fails("needs exactly one of `column`, `file`, `text`, `url` and `file_id`"),
        }
    }

    fn column(&self, column: &str, spec: &DocumentSpec, wanted: Wanted) -> Result<Origin, Error> {
        let Ok(field) = self.schema.field_with_name(column) else {
            return Err(super::super::no_column(&self.part, column, self.schema));
        };
        if wanted == Wanted::Image && spec.from == CellForm::Text {
            return self
                .fails("is a picture with `from = \"text\"`; only documents are made of text");
        }
        if spec.upload && matches!(spec.from, CellForm::Url | CellForm::FileId) {
            return self.fails(
                "has `upload` with cells that are URLs or file ids; only bytes that \
                are here can be uploaded",
            );
        }
        if !holds(field.data_type(), spec.from) {
            let wanted = spec.from.in_words();
            let problem = format!(
                "reads {wanted} from the column `{column}`, which is of the type {}",
                field.data_type()
            );
            return self.fails(problem);
        }
        let real = match &spec.folder {
            Some(folder) => self.setting.folder.join(folder),
            None => self.setting.table.to_path_buf(),
        };
        let real = if real.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            real
        };
        let folder = Folder {
            shown: real.display().to_string(),
            real: real.canonicalize().ok(),
        };
        Ok(Origin::Column {
            name: column.to_owned(),
            from: spec.from,
            folder,
        })
    }

    fn file(&mut self, path: &Path, wanted: Wanted) -> Result<Origin, Error> {
        let bytes = self.templates.read_bytes(path)?;
        match look(&bytes, wanted) {
            Ok(_) => Ok(Origin::File {
                path: self.setting.folder.join(path),
                bytes: Arc::new(bytes),
            }),
            Err(fault) => self.fails(format!("cannot be made of `{}`: {fault}", path.display())),
        }
    }

    /// Compiles a text that may name columns; gives the template's name.
    fn template(&mut self, key: &str, text: Option<&String>) -> Result<Option<String>, Error> {
        let Some(text) = text else { return Ok(None) };
        let name = format!("{key} of {}", self.part);
        self.templates.add_text(&name, text.clone())?;
        self.templates.check(&name, self.schema)?;
        Ok(Some(name))
    }
}

impl Attach {
    /// The columns it reads.
    pub(super) fn columns(&self, templates: &Templates, schema: &Schema) -> Columns {
        let mut columns = match &self.origin {
            Origin::Column { name, .. } => Columns::Named([name.clone()].into()),
            Origin::Text(name) => templates.columns(name, schema),
            _ => Columns::none(),
        };
        for name in [&self.media_type, &self.title, &self.context]
            .into_iter()
            .flatten()
        {
            columns = columns.union(templates.columns(name, schema));
        }
        columns
    }

    /// Whether answers cite it, which excludes a schema.
    pub(super) fn cites(&self) -> bool {
        self.citations
    }

    /// Whether it can carry bytes, so that rows weigh more than their text.
    pub(super) fn column(&self) -> Option<&str> {
        match &self.origin {
            Origin::Column { name, from, .. }
                if !matches!(from, CellForm::Url | CellForm::FileId) =>
            {
                Some(name)
            }
            _ => None,
        }
    }

    /// Hands on the pictures or documents of a row, in order: one, none where the cell is null and
    /// may be, several of a list.
    pub(super) fn each(
        &self,
        rendering: &mut Rendering<'_>,
        facts: &mut MediaFacts,
        take: &mut dyn FnMut(&Media<'_>),
    ) -> Result<(), RowFault> {
        let texts = Texts {
            media_type: self
                .media_type
                .as_ref()
                .map(|name| rendering.text(name))
                .transpose()?,
            title: self
                .title
                .as_ref()
                .map(|name| rendering.text(name))
                .transpose()?
                .filter(|title| !title.is_empty()),
            context: self
                .context
                .as_ref()
                .map(|name| rendering.text(name))
                .transpose()?
                .filter(|context| !context.is_empty()),
        };
        let uploads = rendering.uploads;
        let fault = |fault| RowFault::Media {
            part: self.part.clone(),
            fault,
        };
        let mut hand = Hand {
            attach: self,
            texts: &texts,
            uploads,
            facts,
            take,
        };
        match &self.origin {
            Origin::File { path, bytes } => hand.bytes(bytes, Some(path)).map_err(fault),
            Origin::Url(url) => hand.url(url).map_err(fault),
            Origin::FileId(id) => hand.file_id(id).map_err(fault),
            Origin::Text(name) => {
                let text = rendering.text(name)?;
                match text.trim().is_empty() {
                    true if self.optional => Ok(()),
                    _ => hand.text(&text).map_err(fault),
                }
            }
            Origin::Column { name, from, folder } => match rendering.cell(name) {
                Some(array) => hand
                    .cell(array, rendering.row, *from, folder)
                    .map_err(fault),
                None => hand.nothing().map_err(fault),
            },
        }
    }

    /// About the bytes of its file in a row, told without reading it.
    pub(super) fn weight(&self, table: &Table, row: usize) -> u64 {
        let Origin::Column { name, from, folder } = &self.origin else {
            return 0;
        };
        if self.upload {
            return 0;
        }
        table
            .column(name)
            .map_or(0, |array| weight(array, row, *from, folder))
    }

    pub(super) fn render_shared(
        &self,
        templates: &Templates,
        uploads: &Uploads,
    ) -> Result<(Media<'static>, MediaFacts), Error> {
        let mut rendering = Rendering {
            templates,
            table: None,
            row: 0,
            values: None,
            uploads,
        };
        let (mut facts, mut media) = (MediaFacts::default(), None);
        self.each(&mut rendering, &mut facts, &mut |one| {
            media = Some(one.clone().into_owned())
        })
        .map_err(|fault| match fault {
            RowFault::Render(source) => Error::Shared {
                part: self.part.clone(),
                source,
            },
            RowFault::Media { fault, .. } => Error::Part {
                part: self.part.clone(),
                problem: format!("cannot be used: {fault}"),
            },
            other => Error::Part {
                part: self.part.clone(),
                problem: other.to_string(),
            },
        })?;
        match media {
            Some(media) => Ok((media, facts)),
            None => Err(Error::Part {
                part: self.part.clone(),
                problem: "is empty for all rows".to_owned(),
            }),
        }
    }
}

/// The texts beside the file, rendered.
struct Texts {
    media_type: Option<String>,
    title: Option<String>,
    context: Option<String>,
}

/// Turns what a cell holds into a block, and hands it on.
struct Hand<'a, 'f> {
    attach: &'a Attach,
    texts: &'a Texts,
    uploads: &'a Uploads,
    facts: &'f mut MediaFacts,
    take: &'f mut dyn FnMut(&Media<'_>),
}

impl Hand<'_, '_> {
    fn give(&mut self, source: Source<'_>) {
        let borrowed = |text: &'_ Option<String>| text.clone().map(Cow::Owned);
        (self.take)(&Media {
            is_image: self.attach.wanted == Wanted::Image,
            source,
            title: borrowed(&self.texts.title),
            context: borrowed(&self.texts.context),
            citations: self.attach.citations,
        });
    }

    fn nothing(&self) -> Result<(), MediaFault> {
        if self.attach.optional {
            Ok(())
        } else {
            Err(MediaFault::Null)
        }
    }

    fn cell(
        &mut self,
        array: &ArrayRef,
        row: usize,
        from: CellForm,
        folder: &Folder,
    ) -> Result<(), MediaFault> {
        let Some((array, row)) = resolve(array, row) else {
            return self.nothing();
        };
        if let Some(items) = items(array, row) {
            if items.is_empty() {
                return self.nothing();
            }
            return (0..items.len()).try_for_each(|item| self.cell(&items, item, from, folder));
        }
        if let (DataType::Struct(_), CellForm::Auto) = (array.data_type(), from) {
            return self.structure(array, row, folder);
        }
        match (cell(array, row), from) {
            (Cell::Bytes(bytes), CellForm::Auto | CellForm::Bytes) => self.bytes(bytes, None),
            (Cell::Text(""), _) => self.nothing(),
            (Cell::Text(text), CellForm::Auto) => match told_by(text) {
                CellForm::Base64 => self.base64(text),
                CellForm::Url => self.url(text),
                CellForm::FileId => self.file_id(text),
                _ => self.path(text, folder),
            },
            (Cell::Text(text), CellForm::Base64) => self.base64(text),
            (Cell::Text(text), CellForm::Path) => self.path(text, folder),
            (Cell::Text(text), CellForm::Url) => self.url(text),
            (Cell::Text(text), CellForm::FileId) => self.file_id(text),
            (Cell::Text(text), CellForm::Text) => self.text(text),
            (Cell::Bytes(_), _) => Err(MediaFault::Cell {
                is: "bytes",
                wanted: from.in_words(),
            }),
            (Cell::Text(_), _) => Err(MediaFault::Cell {
                is: "text",
                wanted: from.in_words(),
            }),
            _ => Err(MediaFault::Cell {
                is: "neither bytes nor text",
                wanted: from.in_words(),
            }),
        }
    }

    /// A struct of `bytes` and `path`, as data sets of pictures have it: the bytes where there are
    /// some.
    fn structure(
        &mut self,
        array: &ArrayRef,
        row: usize,
        folder: &Folder,
    ) -> Result<(), MediaFault> {
        let fields = array.as_struct();
        let has = |name: &str| {
            fields
                .column_by_name(name)
                .filter(|field| resolve(field, row).is_some())
        };
        match has("bytes").or_else(|| has("path")) {
            Some(field) => self.cell(field, row, CellForm::Auto, folder),
            None => self.nothing(),
        }
    }

    fn bytes(&mut self, bytes: &[u8], path: Option<&Path>) -> Result<(), MediaFault> {
        let seen = look(bytes, self.attach.wanted)?;
        self.check_type(seen.kind)?;
        self.facts.images.extend(seen.size);
        self.facts.pdf_pages += seen.pages;
        if self.attach.upload {
            if bytes.len() > MAX_FILE_BYTES {
                return Err(MediaFault::TooLarge {
                    bytes: bytes.len() as u64,
                    most: MAX_FILE_BYTES,
                    base64: false,
                });
            }
            if seen.kind == Kind::Text {
                self.facts.uploaded_text_bytes += bytes.len() as u64;
            }
            let id = self.uploads.id(bytes, seen.kind, path)?;
            self.give(Source::FileId(Cow::Owned(id)));
            return Ok(());
        }
        match (seen.kind, std::str::from_utf8(bytes)) {
            (Kind::Text, Ok(text)) => self.give(Source::Text(Cow::Borrowed(
                text.trim_start_matches('\u{feff}'),
            ))),
            (kind, _) => {
                self.facts.base64_bytes += base64_bytes(bytes.len()) as u64;
                self.give(Source::Bytes(kind.media_type(), Cow::Borrowed(bytes)));
            }
        }
        Ok(())
    }

    fn check_type(&self, found: Kind) -> Result<(), MediaFault> {
        let declared = self
            .texts
            .media_type
            .as_deref()
            .map(str::trim)
            .unwrap_or_default();
        // A type may carry parameters, and `image/jpg` is often written for what is registered as
        // `image/jpeg`.
        let plain = declared
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let plain = if plain == "image/jpg" {
            "image/jpeg"
        } else {
            &plain
        };
        if plain.is_empty()
            || plain == found.media_type()
            || (found == Kind::Text && plain.starts_with("text/"))
        {
            return Ok(());
        }
        Err(MediaFault::OtherType {
            declared: shown(declared),
            found: found.media_type(),
        })
    }

    fn base64(&mut self, text: &str) -> Result<(), MediaFault> {
        let (declared, data) = data_url(text);
        let compact;
        let data = if data.bytes().any(|byte| byte.is_ascii_whitespace()) {
            compact = data.split_ascii_whitespace().collect::<String>();
            compact.as_str()
        } else {
            data
        };
        let bytes = STANDARD.decode(data).map_err(|_| MediaFault::NotBase64)?;
        if let Some(declared) = declared {
            let seen = look(&bytes, self.attach.wanted)?;
            let found = seen.kind.media_type();
            if declared != found
                && !(declared == "image/jpg" && found == "image/jpeg")
                && seen.kind != Kind::Text
            {
                return Err(MediaFault::OtherType {
                    declared: shown(declared),
                    found,
                });
            }
        }
        self.bytes(&bytes, None)
    }

    fn path(&mut self, text: &str, folder: &Folder) -> Result<(), MediaFault> {
        let path = folder.find(text)?;
        let most = match self.attach.wanted {
            Wanted::Image => MAX_IMAGE_BASE64_BYTES / 4 * 3,
            Wanted::Document => MAX_FILE_BYTES,
        };
        let bytes = read(&path, most).map_err(|why| match why {
            Unread::TooLarge(bytes) => MediaFault::TooLarge {
                bytes,
                most,
                base64: false,
            },
            Unread::Io(error) => folder.unreadable(text, &error),
        })?;
        self.bytes(&bytes, Some(&path))
    }

    fn url(&mut self, url: &str) -> Result<(), MediaFault> {
        let url = url.trim();
        check_url(url)?;
        self.unseen();
        self.give(Source::Url(Cow::Borrowed(url)));
        Ok(())
    }

    fn file_id(&mut self, id: &str) -> Result<(), MediaFault> {
        let id = id.trim();
        if !is_file_id(id) {
            return Err(MediaFault::FileId(shown(id)));
        }
        self.unseen();
        self.give(Source::FileId(Cow::Borrowed(id)));
        Ok(())
    }

    fn unseen(&mut self) {
        match self.attach.wanted {
            Wanted::Image => self.facts.unseen_images += 1,
            Wanted::Document => self.facts.unseen_documents += 1,
        }
    }

    fn text(&mut self, text: &str) -> Result<(), MediaFault> {
        if text.trim().is_empty() {
            return Err(MediaFault::Empty);
        }
        if self.attach.upload {
            return self.bytes(text.as_bytes(), None);
        }
        self.check_type(Kind::Text)?;
        self.give(Source::Text(Cow::Borrowed(text)));
        Ok(())
    }
}

impl Folder {
    /// The file that a cell names: inside of the folder, with every link followed.
    fn find(&self, text: &str) -> Result<PathBuf, MediaFault> {
        let chars = text.chars().count();
        if chars > MAX_PATH_CHARS {
            return Err(MediaFault::NoPath { chars });
        }
        let outside = || MediaFault::Outside {
            path: shown(text),
            folder: self.shown.clone(),
        };
        if !Path::new(text).is_absolute() && !super::super::stays_inside(text) {
            return Err(outside());
        }
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let Some(folder) = &self.real else {
            return Err(self.unreadable(text, &missing));
        };
        let found = folder.join(text).canonicalize();
        match found {
            Ok(path) if path.starts_with(folder) => Ok(path),
            Ok(_) => Err(outside()),
            // What an absolute path names is nobody's business unless it is inside.
            Err(_) if Path::new(text).is_absolute() && !Path::new(text).starts_with(folder) => {
                Err(outside())
            }
            Err(error) => Err(self.unreadable(text, &error)),
        }
    }

    fn unreadable(&self, text: &str, error: &std::io::Error) -> MediaFault {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => error.to_string(),
        };
        MediaFault::Unreadable {
            path: shown(text),
            folder: self.shown.clone(),
            why,
        }
    }
}

enum Unread {
    TooLarge(u64),
    Io(std::io::Error),
}

/// Reads a file of at most so many bytes.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, Unread> {
    durable::read_bytes(path, most as u64).map_err(|error| match durable::Unreadable::of(&error) {
        Some(durable::Unreadable::TooLarge { bytes, .. }) => Unread::TooLarge(bytes),
        _ => Unread::Io(error),
    })
}

/// What a text is, where the job does not say.
fn told_by(text: &str) -> CellForm {
    let start = text.trim_start();
    let is = |prefix: &str| {
        start
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if is("data:") {
        CellForm::Base64
    } else if is("http://")
        || is("https://")
        || (text.len() < MAX_PATH_CHARS && text.contains("://"))
    {
        CellForm::Url
    } else if is_file_id(text.trim()) {
        CellForm::FileId
    } else {
        CellForm::Path
    }
}

/// Takes `data:image/png;base64,` off: the type it names, and what is behind.
fn data_url(text: &str) -> (Option<&str>, &str) {
    let text = text.trim();
    let parts = text
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(','));
    match parts {
        Some((head, data)) => (
            head.split(';')
                .next()
                .filter(|media_type| !media_type.is_empty()),
            data,
        ),
        None => (None, text),
    }
}

/// The items of a list cell.
pub(super) fn items(array: &ArrayRef, row: usize) -> Option<ArrayRef> {
    Some(match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        DataType::ListView(_) => array.as_list_view::<i32>().value(row),
        DataType::LargeListView(_) => array.as_list_view::<i64>().value(row),
        _ => return None,
    })
}

/// Whether cells of a type can hold what is to be read from them.
fn holds(data_type: &DataType, from: CellForm) -> bool {
    let binary = matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
            | DataType::Null
    );
    let text = matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
    );
    match data_type {
        DataType::Dictionary(_, values) => holds(values, from),
        DataType::RunEndEncoded(_, field)
        | DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => holds(field.data_type(), from),
        DataType::Struct(fields) if from == CellForm::Auto => fields.iter().any(|field| {
            matches!(field.name().as_str(), "bytes" | "path") && holds(field.data_type(), from)
        }),
        _ => match from {
            CellForm::Auto => binary || text,
            CellForm::Bytes => binary,
            _ => text,
        },
    }
}

/// About the bytes that a cell brings into a request.
fn weight(array: &ArrayRef, row: usize, from: CellForm, folder: &Folder) -> u64 {
    let Some((array, row)) = resolve(array, row) else {
        return 0;
    };
    if let Some(items) = items(array, row) {
        return (0..items.len())
            .map(|item| weight(&items, item, from, folder))
            .sum();
    }
    if let DataType::Struct(_) = array.data_type() {
        return array
            .as_struct()
            .columns()
            .iter()
            .map(|field| weight(field, row, from, folder))
            .sum();
    }
    match cell(array, row) {
        Cell::Bytes(bytes) => base64_bytes(bytes.len()) as u64,
        Cell::Text(text) => {
            let is_path = from == CellForm::Path
                || (from == CellForm::Auto && told_by(text) == CellForm::Path);
            let file = if is_path {
                folder
                    .find(text)
                    .and_then(|path| path.metadata().map_err(|_| MediaFault::Null))
                    .ok()
            } else {
                None
            };
            file.map_or(text.len() as u64, |file| {
                base64_bytes(file.len() as usize) as u64
            })
        }
        _ => 0,
    }
}

/// A cell's text as it may stand in a message: short, on one line.
fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let line: String = text
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().count() > MOST {
        line + "…"
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, BinaryBuilder, ListBuilder, RecordBatch, StringArray, StructArray,
    };
    use arrow::datatypes::Field;

    use super::super::media::PromptLimits;
    use super::super::media::tests::{gif, pdf_of, png};
    use super::super::spec::{ContentSpec, MessageSpec, SystemSpec};
    use super::super::{Part, Prompt, Role};
    use super::*;

    fn prompt(image: ImageSpec, rows: &RecordBatch) -> Result<Prompt, Error> {
        let content = Some(vec![ContentSpec {
            image: Some(image),
            ..ContentSpec::default()
        }]);
        let message = MessageSpec {
            role: Some(Role::User),
            content,
            ..MessageSpec::default()
        };
        Prompt::compile(
            &SystemSpec::default(),
            &[message],
            &Setting::in_folder(Path::new(".")),
            &rows.schema(),
        )
    }

    fn of_column(name: &str) -> ImageSpec {
        ImageSpec {
            column: Some(name.to_owned()),
            ..ImageSpec::default()
        }
    }

    /// The media types that a row brings, its facts, and the bytes it was said to weigh.
    fn row(
        prompt: &Prompt,
        rows: &RecordBatch,
        row: usize,
    ) -> Result<(Vec<&'static str>, MediaFacts, u64), RowFault> {
        let (table, mut facts, mut kinds) = (prompt.table(rows), MediaFacts::default(), Vec::new());
        let mut take = |part: Part<'_>| match part {
            Part::Media(Media {
                source: Source::Bytes(kind, _),
                ..
            }) => kinds.push(*kind),
            Part::Media(_) => kinds.push("named"),
            _ => {}
        };
        prompt.render(&table, row, &PromptLimits::WIDEST, &mut facts, &mut take)?;
        Ok((kinds, facts, prompt.media_weight(&table, row)))
    }

    #[test]
    fn reads_bytes_lists_of_them_and_structs_of_bytes_and_path() {
        let (small, moving) = (png(20, 10), gif(4, 5));
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&small[..]), None]));
        let mut list = ListBuilder::new(BinaryBuilder::new());
        list.values().append_value(&small);
        list.values().append_value(&moving);
        list.append(true);
        list.append(false);
        let paths: ArrayRef = Arc::new(StringArray::from(vec![
            Some("no such file.png"),
            Some("https://example.com/a.png"),
        ]));
        let fields = vec![
            (
                Arc::new(Field::new("bytes", DataType::Binary, true)),
                Arc::clone(&bytes),
            ),
            (Arc::new(Field::new("path", DataType::Utf8, true)), paths),
        ];
        let columns: [(&str, ArrayRef); 3] = [
            ("bytes", bytes),
            ("list", Arc::new(list.finish())),
            ("struct", Arc::new(StructArray::from(fields))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let first = |name: &str| row(&prompt(of_column(name), &rows).unwrap(), &rows, 0).unwrap();

        let (kinds, facts, weight) = first("bytes");
        assert_eq!(
            (kinds, facts.images.clone(), weight),
            (vec!["image/png"], vec![(20, 10)], facts.base64_bytes)
        );
        let (kinds, facts, weight) = first("list");
        assert_eq!(
            (kinds, facts.images.clone(), weight),
            (
                vec!["image/png", "image/gif"],
                vec![(20, 10), (4, 5)],
                facts.base64_bytes
            )
        );
        assert_eq!(
            first("struct").0,
            ["image/png"],
            "the bytes count where there are some"
        );

        let second = |name: &str| row(&prompt(of_column(name), &rows).unwrap(), &rows, 1);
        for name in ["bytes", "list"] {
            assert!(
                matches!(
                    second(name),
                    Err(RowFault::Media {
                        fault: MediaFault::Null,
                        ..
                    })
                ),
                "{name}"
            );
        }
        let (kinds, facts, _) = second("struct").unwrap();
        assert_eq!(
            (kinds, facts.unseen_images),
            (vec!["named"], 1),
            "else the path"
        );
    }

    #[test]
    fn refuses_columns_that_cannot_hold_it() {
        let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let rows = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
        let refused = |image: ImageSpec| prompt(image, &rows).err().unwrap().to_string();
        assert_eq!(
            refused(of_column("n")),
            "block 1 of message 1 reads bytes or text from the column `n`, which is of the type \
             Int64"
        );
        let bytes = ImageSpec {
            from: CellForm::Bytes,
            ..of_column("t")
        };
        assert_eq!(
            refused(bytes),
            "block 1 of message 1 reads bytes from the column `t`, which is of the type Utf8"
        );
        let folder = ImageSpec {
            file: Some("a.png".into()),
            folder: Some("b".into()),
            ..ImageSpec::default()
        };
        assert!(refused(folder).contains("has `from` or `folder` without `column`"));
    }

    #[test]
    fn takes_base64_in_the_forms_it_is_written_in() {
        let whole = STANDARD.encode(png(3, 4));
        let lines: String = whole
            .as_bytes()
            .chunks(20)
            .map(|line| format!("{}\r\n", std::str::from_utf8(line).unwrap()))
            .collect();
        let pdf = STANDARD.encode(pdf_of(1));
        let cells = [
            whole.clone(),
            lines,
            format!("data:image/png;base64,{whole}"),
            format!("data:;base64,{whole}"),
            format!("data:image/jpeg;base64,{whole}"),
            whole[1..].to_owned(),
            pdf,
        ];
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(&cells));
        let rows = RecordBatch::try_from_iter([("t", texts)]).unwrap();
        let prompt = prompt(
            ImageSpec {
                from: CellForm::Base64,
                ..of_column("t")
            },
            &rows,
        )
        .unwrap();
        for good in 0..4 {
            assert_eq!(
                row(&prompt, &rows, good).unwrap().1.images,
                [(3, 4)],
                "cell {good}"
            );
        }
        let fault = |at: usize| match row(&prompt, &rows, at) {
            Err(RowFault::Media { fault, .. }) => fault,
            other => panic!("cell {at}: {other:?}"),
        };
        assert_eq!(
            fault(4),
            MediaFault::OtherType {
                declared: "image/jpeg".to_owned(),
                found: "image/png"
            }
        );
        assert_eq!(fault(5), MediaFault::NotBase64);
        assert!(matches!(fault(6), MediaFault::NotAnImage { .. }));
    }
}
