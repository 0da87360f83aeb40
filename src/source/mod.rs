//! Rows in: CSV, TSV, Parquet, JSON Lines and Arrow IPC, from files, globs, folders and standard
//! input.
//!
//! What comes in is the `[source]` section of a job; what goes out is record batches with the
//! position of each row. The order is that of the files and their rows. On the way:
//!
//! ```text
//!   files ── read ──▶ derive ──▶ where ──▶ limit ──▶ batches of at most 8192 rows, about 16 MiB
//!            only the columns and row groups that are needed
//! ```
//!
//! The columns are those of the files, then those that folder names give (`country=DE/`), then the
//! derived ones. Promised are: the same rows in the same order on every scan, or an error (a file
//! that changed is noticed); memory for a few batches, whatever the size of a file; no value that
//! is not in the file (text of CSV stays as written, a cell that does not fit its type is an error,
//! no number is rounded); and an end only where the file ends: an unterminated quote, a cut stream
//! or a damaged row group is an error, not a shorter table.
//!
//! A format is a file of this room with an iterator of pieces, its variant in [`Format`] and its
//! arm in `Reading`.

mod bytes;
mod csv;
mod error;
mod files;
mod ipc;
mod jsonl;
pub(crate) mod logical;
mod note;
mod pages;
mod parquet;
mod prune;
mod repeats;
mod scan;
mod schema;
mod shape;
mod spec;
pub(crate) mod types;
mod unreadable;
mod unsupported;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Scalar, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use encoding_rs::Encoding;
use indexmap::IndexMap;

pub use bytes::SourceFile;
pub use error::{Error, Held};
pub use note::{Note, TextReason};
pub use scan::{MAX_BYTES, MAX_ROWS, Rows, Scan, ScanCounts};
pub use spec::{Compression, EmptyCells, Format, MAX_CELL_BYTES, Paths, SourceSpec, Texts};
pub use types::in_words;
pub use unsupported::{Unsupported, without_credentials};

use crate::table::{self, Expression};
use bytes::Input;
use files::Found;

/// A table that can be read again and again.
///
/// ```
/// use rowmill::source::{Source, SourceSpec};
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("a.csv"), "id,text\n007,hello\n008,\n")?;
/// let spec = SourceSpec { path: "a.csv".into(), ..SourceSpec::default() };
/// let source = Source::open(&spec, folder.path())?;
/// assert_eq!(source.schema().field(0).name(), "id");
/// for rows in source.scan(None)? {
///     assert_eq!(rows?.row_index, [0, 1]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Source {
    folder: std::path::PathBuf,
    notes: Arc<[Note]>,
    table: Arc<Table>,
}

/// What the scans of a source share.
#[derive(Debug)]
struct Table {
    reading: Reading,
    parts: Vec<Part>,
    files: Vec<SourceFile>,
    /// The columns of the files, with the types that the job gives them.
    columns: Vec<FieldRef>,
    /// The columns to which the job gives a type.
    retyped: HashSet<String>,
    /// The columns of the folders.
    keys: Vec<FieldRef>,
    derived: Vec<Derived>,
    filter: Option<Expression>,
    limit: Option<u64>,
    /// Most bytes of a cell in columnar files.
    max_cell_bytes: u64,
    schema: SchemaRef,
}

impl Table {
    fn check_readable<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        for name in names {
            let field = self.columns.iter().find(|field| field.name() == name);
            if let Some(reason) = field.and_then(|field| unreadable::reason(field)) {
                let path = self
                    .parts
                    .first()
                    .map(|part| part.input.path().to_path_buf())
                    .unwrap_or_default();
                return Err(Error::Unreadable {
                    path,
                    column: name.to_owned(),
                    reason: reason.to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// How the files are read.
#[derive(Debug)]
enum Reading {
    Csv(csv::Dialect),
    Jsonl {
        encoding: Option<&'static Encoding>,
        /// Columns whose values do not agree in a type, or to which the job gives one.
        as_text: HashSet<String>,
        max_line_bytes: usize,
    },
    Parquet,
    Ipc,
}

/// One file.
#[derive(Debug)]
struct Part {
    input: Arc<Input>,
    /// Its rows, where the file tells.
    rows: Option<u64>,
    /// What its folders say, a value for each of the table's keys.
    keys: Vec<Scalar<ArrayRef>>,
}

/// A column by expression.
#[derive(Debug)]
struct Derived {
    name: String,
    expression: Expression,
}

impl Derived {
    fn failed(&self, source: table::Error) -> Error {
        Error::Expression {
            setting: format!("derive.{}", self.name),
            source: source.into(),
        }
    }
}

fn where_failed(source: table::Error) -> Error {
    Error::Expression {
        setting: "where".to_owned(),
        source: source.into(),
    }
}

impl Source {
    /// Finds the files, reads what they say of their columns, and checks the expressions. Relative
    /// paths start from `base`.
    ///
    /// JSON Lines are read once as a whole to know their types. Standard input is copied to a
    /// private temporary file, since a source is read more than once; so is a compressed Parquet or
    /// Arrow file, which is read from its end.
    ///
    /// # Errors
    /// Everything that can be known before rows are read: files that are missing, unreadable or do
    /// not agree, settings, types and expressions that cannot be.
    pub fn open(spec: &SourceSpec, base: &Path) -> Result<Source, Error> {
        Self::open_with(spec, base, &mut std::io::stdin())
    }

    /// As [`Source::open`], with something else as standard input.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_with(
        spec: &SourceSpec,
        base: &Path,
        stdin: &mut dyn Read,
    ) -> Result<Source, Error> {
        check_limits(spec)?;
        let mut found = files::find(&spec.path, base)?;
        let format = files::format_of(spec.format, &found)?;
        let inputs = found
            .iter()
            .map(|file| input(file, spec, stdin))
            .collect::<Result<Vec<_>, Error>>()?;
        let format = format.map_or_else(|| format_by_content(&inputs), Ok)?;
        refuse_unused(spec, format)?;
        let inputs = if format.is_text() {
            inputs
        } else {
            seekable(inputs)?
        };
        let mut inputs: Vec<Arc<Input>> = inputs.into_iter().map(Arc::new).collect();
        let files = inputs.iter().map(|input| input.file.clone()).collect();
        let mut notes = Vec::new();
        leave_out_empty(format, &mut found, &mut inputs, &mut notes)?;

        let Columns {
            mut reading,
            fields,
            rows,
            metadata,
            notes: of_columns,
        } = columns(spec, format, &inputs)?;
        notes.extend(of_columns);
        let keys = key_names(&found)?;
        if let Some(name) = keys
            .iter()
            .find(|key| fields.iter().any(|field| field.name() == *key))
        {
            return Err(Error::Clash {
                what: "folder key",
                name: name.clone(),
            });
        }
        let known = fields
            .iter()
            .map(|field| field.name().as_str())
            .chain(keys.iter().map(String::as_str));
        let asked = schema::asked_types(&spec.columns, known)?;
        let columns = retyped(&mut reading, &fields, &asked)?;
        let parts = parts(&inputs, &found, rows, &keys, &asked)?;
        let keys: Vec<FieldRef> = keys.iter().map(|key| key_field(key, &asked)).collect();

        let mut all: Vec<FieldRef> = columns.iter().chain(&keys).cloned().collect();
        let derived = derive(&spec.derive, &mut all)?;
        let schema = Arc::new(Schema::new_with_metadata(all, metadata));
        let filter = spec
            .filter
            .as_deref()
            .map(|sql| Expression::parse_predicate(sql, &schema))
            .transpose()
            .map_err(where_failed)?;
        let retyped = asked.into_keys().collect();
        let (limit, max_cell_bytes) = (spec.limit, spec.max_cell_bytes);
        let folder = files::folder_of(&spec.path, base);
        Ok(Source {
            folder,
            notes: notes.into(),
            table: Arc::new(Table {
                reading,
                parts,
                files,
                columns,
                retyped,
                keys,
                derived,
                filter,
                limit,
                max_cell_bytes,
                schema,
            }),
        })
    }

    /// The columns: of the files in their order, then of the folders, then derived. Its metadata is
    /// what Parquet and Arrow files say of themselves by keys of their own (`pandas`, `geo`), as
    /// far as all files say the same.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.table.schema
    }

    /// The files in the order in which they are read.
    #[must_use]
    pub fn files(&self) -> &[SourceFile] {
        &self.table.files
    }

    /// What a person should know of the source, and what stops nothing.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Where paths in cells start: the folder that the paths of the source have in common,
    /// whichever files there are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The rows before `where` and `limit`, where every file tells (Parquet and Arrow IPC do).
    #[must_use]
    pub fn rows_hint(&self) -> Option<u64> {
        self.table.parts.iter().map(|part| part.rows).sum()
    }

    /// Makes sure that the named columns can be read. Others may be of types that are not known:
    /// they stop nothing.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn check_readable(&self, names: &[String]) -> Result<(), Error> {
        self.table.check_readable(names.iter().map(String::as_str))
    }

    /// Begins a pass over the rows. `projection` names the columns to hand out, in any order; they
    /// come in the order of the schema.
    ///
    /// Only the columns that are handed out, or read by an expression, are decoded.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`] for a name that the schema does not have.
    pub fn scan(&self, projection: Option<&[String]>) -> Result<Scan, Error> {
        Scan::new(self.table.clone(), projection)
    }
}

fn input(file: &Found, spec: &SourceSpec, stdin: &mut dyn Read) -> Result<Input, Error> {
    if file.is_stdin() {
        Input::of_stream(&file.path, stdin, spec.compression)
    } else {
        Input::of_file(&file.path, spec.compression)
    }
}

fn seekable(inputs: Vec<Input>) -> Result<Vec<Input>, Error> {
    inputs.into_iter().map(Input::into_seekable).collect()
}

/// The format of standard input, where its first bytes leave no doubt; text could be anything.
fn format_by_content(inputs: &[Input]) -> Result<Format, Error> {
    let Some(input) = inputs.first() else {
        return Err(Error::NoPath);
    };
    let mut head = Vec::with_capacity(6);
    input
        .bytes()?
        .take(6)
        .read_to_end(&mut head)
        .map_err(|e| input.failed(e))?;
    match head.as_slice() {
        [b'P', b'A', b'R', b'1', ..] => Ok(Format::Parquet),
        b"ARROW1" => Ok(Format::Ipc),
        _ => Err(Error::StdinFormat),
    }
}

/// The largest value of `source.max_cell_bytes`: columns of text are addressed with 31 bits.
const MOST_CELL_BYTES: u64 = 1 << 30;

fn check_limits(spec: &SourceSpec) -> Result<(), Error> {
    if (1..=MOST_CELL_BYTES).contains(&spec.max_cell_bytes) {
        return Ok(());
    }
    let (setting, value) = ("max_cell_bytes", spec.max_cell_bytes.to_string());
    Err(Error::Setting {
        setting,
        value,
        expected: "from 1 to 1,073,741,824",
    })
}

/// Most bytes of a cell.
fn cell_limit(spec: &SourceSpec) -> usize {
    usize::try_from(spec.max_cell_bytes).unwrap_or(usize::MAX)
}

/// Most bytes of a row, as a line or record of text, by those of a cell.
fn row_limit(max_cell_bytes: usize) -> usize {
    max_cell_bytes.saturating_mul(4)
}

/// Leaves out files in which nothing is, as long as one stays; refuses text that is none.
fn leave_out_empty(
    format: Format,
    found: &mut Vec<Found>,
    inputs: &mut Vec<Arc<Input>>,
    notes: &mut Vec<Note>,
) -> Result<(), Error> {
    let mut is_empty = Vec::with_capacity(inputs.len());
    for input in inputs.iter() {
        if !format.is_text() {
            is_empty.push(input.file.bytes == 0);
            continue;
        }
        let head = input.head()?;
        if let Some(what) = Unsupported::of_head(&head) {
            return Err(Error::Unsupported {
                path: input.path().display().to_string(),
                what,
            });
        }
        // A byte order mark alone is no text either.
        let mark = Encoding::for_bom(&head).map_or(0, |(_, length)| length);
        is_empty.push(head.len() < 16 && head[mark..].trim_ascii().is_empty());
    }
    if !is_empty.contains(&true) || !is_empty.contains(&false) {
        return Ok(());
    }
    let files = inputs.len();
    let paths = inputs
        .iter()
        .zip(&is_empty)
        .filter(|(_, empty)| **empty)
        .map(|(input, _)| input.path().to_path_buf());
    notes.push(Note::EmptyFiles {
        paths: paths.collect(),
        files,
    });
    let mut stays = is_empty.iter().map(|empty| !empty);
    found.retain(|_| stays.next().unwrap_or(true));
    let mut stays = is_empty.iter().map(|empty| !empty);
    inputs.retain(|_| stays.next().unwrap_or(true));
    Ok(())
}

/// A setting that would be passed over silently is an error.
fn refuse_unused(spec: &SourceSpec, format: Format) -> Result<(), Error> {
    let is_csv = matches!(format, Format::Csv | Format::Tsv);
    let settings = [
        ("delimiter", spec.delimiter.is_some(), is_csv),
        ("quote", spec.quote.is_some(), is_csv),
        ("escape", spec.escape.is_some(), is_csv),
        ("names", !spec.names.is_empty(), is_csv),
        ("comment", spec.comment.is_some(), is_csv),
        ("skip_lines", spec.skip_lines > 0, is_csv),
        ("decimal", spec.decimal.is_some(), is_csv),
        ("null", !spec.null.as_slice().is_empty(), is_csv),
        ("header", spec.header.is_some(), is_csv),
        ("empty", spec.empty != EmptyCells::default(), is_csv),
        ("encoding", spec.encoding.is_some(), format.is_text()),
    ];
    match settings.iter().find(|(_, given, meant)| *given && !meant) {
        Some((setting, ..)) => Err(Error::SettingUnused { setting, format }),
        None => Ok(()),
    }
}

/// What the files say of themselves.
struct Columns {
    reading: Reading,
    fields: Vec<FieldRef>,
    /// By file.
    rows: Vec<Option<u64>>,
    notes: Vec<Note>,
    /// What all files say of themselves.
    metadata: Metadata,
}

/// What all files of a source have: their columns, the rows of each, and what they say of
/// themselves.
type Agreed = (Vec<FieldRef>, Vec<Option<u64>>, Metadata);

/// Keys and values of a file.
type Metadata = HashMap<String, String>;

fn columns(spec: &SourceSpec, format: Format, inputs: &[Arc<Input>]) -> Result<Columns, Error> {
    let encoding = encoding(spec)?;
    match format {
        Format::Csv | Format::Tsv => {
            let dialect = csv::Dialect::new(spec, format, encoding)?;
            let mut first: Option<csv::Header> = None;
            let describe = |input: &Input| {
                let header = csv::header(input, &dialect)?;
                match &first {
                    Some(first) if !spec.names.is_empty() => {
                        same_header(inputs[0].path(), first, input.path(), &header)?
                    }
                    _ => {}
                }
                let fields = header
                    .names
                    .iter()
                    .map(|name| Field::new(name, DataType::Utf8, true));
                let schema = Schema::new(fields.collect::<Vec<_>>());
                first.get_or_insert(header);
                Ok((Arc::new(schema), None))
            };
            let (fields, rows, metadata) = agreed(inputs, describe)?;
            Ok(Columns {
                reading: Reading::Csv(dialect),
                fields,
                rows,
                metadata,
                notes: Vec::new(),
            })
        }
        Format::Jsonl => {
            let (columns, mut notes) = shape::infer(inputs, encoding, cell_limit(spec))?;
            // A type by the job is an answer to the note.
            notes.retain(|note| !matches!(note, Note::ReadAsText { column, .. } if spec.columns.contains_key(column)));
            schema::check_names(
                inputs[0].path(),
                columns.iter().map(|column| column.name.as_str()),
            )?;
            let as_text = columns
                .iter()
                .filter(|column| column.is_mixed)
                .map(|column| column.name.clone())
                .collect();
            let field = |column: &shape::JsonColumn| {
                Field::new(&column.name, column.data_type.clone(), true).into()
            };
            let fields = columns.iter().map(field).collect();
            let reading = Reading::Jsonl {
                encoding,
                as_text,
                max_line_bytes: row_limit(cell_limit(spec)),
            };
            Ok(Columns {
                reading,
                fields,
                rows: vec![None; inputs.len()],
                metadata: Metadata::new(),
                notes,
            })
        }
        Format::Parquet => {
            let describe =
                |input: &Input| parquet::describe(input).map(|(schema, rows)| (schema, Some(rows)));
            let (fields, rows, metadata) = agreed(inputs, describe)?;
            Ok(Columns {
                reading: Reading::Parquet,
                fields,
                rows,
                metadata,
                notes: Vec::new(),
            })
        }
        Format::Ipc => {
            let describe = |input: &Input| {
                ipc::describe(input, spec.max_cell_bytes).map(|(schema, rows)| (schema, Some(rows)))
            };
            let (fields, rows, metadata) = agreed(inputs, describe)?;
            Ok(Columns {
                reading: Reading::Ipc,
                fields,
                rows,
                metadata,
                notes: Vec::new(),
            })
        }
    }
}

/// Names by place are right for every file only if every file has the same header.
fn same_header(
    first_path: &Path,
    first: &csv::Header,
    path: &Path,
    other: &csv::Header,
) -> Result<(), Error> {
    let (Some(a), Some(b)) = (&first.written, &other.written) else {
        return Ok(());
    };
    match a.iter().zip(b).position(|(a, b)| a != b) {
        Some(at) => Err(Error::HeadersDiffer {
            path: path.to_path_buf(),
            first: first_path.to_path_buf(),
            column: at + 1,
        }),
        None => Ok(()),
    }
}

fn encoding(spec: &SourceSpec) -> Result<Option<&'static Encoding>, Error> {
    let Some(label) = &spec.encoding else {
        return Ok(None);
    };
    match Encoding::for_label_no_replacement(label.as_bytes()) {
        Some(encoding) => Ok(Some(encoding)),
        None => Err(Error::UnknownEncoding {
            label: label.clone(),
        }),
    }
}

/// Looks into every file; all must have the columns of the first.
fn agreed(
    inputs: &[Arc<Input>],
    mut describe: impl FnMut(&Input) -> Result<(SchemaRef, Option<u64>), Error>,
) -> Result<Agreed, Error> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut metadata = Metadata::new();
    let mut rows = Vec::with_capacity(inputs.len());
    for (i, input) in inputs.iter().enumerate() {
        let (schema, rows_of_file) = describe(input)?;
        schema::check_names(
            input.path(),
            schema.fields().iter().map(|field| field.name().as_str()),
        )?;
        rows.push(rows_of_file);
        let shown = Schema::new(
            schema
                .fields()
                .iter()
                .map(logical::shown)
                .collect::<Vec<_>>(),
        );
        if i == 0 {
            fields = shown.fields().to_vec();
            let said = schema
                .metadata()
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()));
            // Those of an earlier run are not true of the next one.
            metadata = said
                .filter(|(key, _)| !key.starts_with("rowmill"))
                .collect();
        } else {
            schema::agree((inputs[0].path(), &mut fields), (input.path(), &shown))?;
            metadata.retain(|key, value| schema.metadata().get(key) == Some(&*value));
        }
    }
    Ok((fields, rows, metadata))
}

/// The fields of the files with the types that the job gives them.
fn retyped(
    reading: &mut Reading,
    fields: &[FieldRef],
    asked: &IndexMap<String, DataType>,
) -> Result<Vec<FieldRef>, Error> {
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let to = asked.get(field.name());
        // JSON is read as text before it takes the type asked for: a number as it stands in the
        // file, not as a float of it.
        if let (Reading::Jsonl { as_text, .. }, Some(_)) = (&mut *reading, to) {
            as_text.insert(field.name().clone());
            let text = Field::new(field.name(), DataType::Utf8, true).into();
            columns.push(schema::with_type(&text, to)?);
        } else {
            columns.push(schema::with_type(field, to)?);
        }
    }
    Ok(columns)
}

/// The keys of the folders, which every file must have in the same order.
fn key_names(found: &[Found]) -> Result<Vec<String>, Error> {
    let names = |file: &Found| {
        file.keys
            .iter()
            .map(|(key, _)| key.clone())
            .collect::<Vec<_>>()
    };
    let Some(first) = found.first() else {
        return Ok(Vec::new());
    };
    let keys = names(first);
    if let Some(other) = found.iter().find(|file| names(file) != keys) {
        return Err(Error::FoldersDiffer {
            path: other.path.clone(),
            found: error::listed(names(other).iter().map(String::as_str)),
            first: first.path.clone(),
            expected: error::listed(keys.iter().map(String::as_str)),
        });
    }
    match keys
        .iter()
        .enumerate()
        .find(|(i, key)| keys[..*i].contains(key))
    {
        Some((_, name)) => Err(Error::Clash {
            what: "folder key",
            name: name.clone(),
        }),
        None => Ok(keys),
    }
}

fn key_field(key: &str, asked: &IndexMap<String, DataType>) -> FieldRef {
    Field::new(key, asked.get(key).cloned().unwrap_or(DataType::Utf8), true).into()
}

fn parts(
    inputs: &[Arc<Input>],
    found: &[Found],
    rows: Vec<Option<u64>>,
    keys: &[String],
    asked: &IndexMap<String, DataType>,
) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::with_capacity(inputs.len());
    for ((input, file), rows) in inputs.iter().zip(found).zip(rows) {
        let values = keys.iter().zip(&file.keys).map(|(key, (_, value))| {
            let text: ArrayRef = Arc::new(StringArray::from(vec![value.as_deref()]));
            let field = key_field(key, asked);
            let value = types::convert(&text, field.data_type()).map_err(|_| Error::KeyValue {
                path: file.path.clone(),
                key: key.clone(),
                expected: types::name(field.data_type()),
            })?;
            Ok(Scalar::new(value))
        });
        parts.push(Part {
            input: input.clone(),
            rows,
            keys: values.collect::<Result<Vec<_>, Error>>()?,
        });
    }
    Ok(parts)
}

/// Parses the derived columns; each may read those before it.
fn derive(
    expressions: &IndexMap<String, String>,
    fields: &mut Vec<FieldRef>,
) -> Result<Vec<Derived>, Error> {
    let mut derived = Vec::with_capacity(expressions.len());
    for (name, sql) in expressions {
        if fields.iter().any(|field| field.name() == name) {
            return Err(Error::Clash {
                what: "derived column",
                name: name.clone(),
            });
        }
        let expression =
            Expression::parse(sql, &Schema::new(fields.clone())).map_err(|source| {
                Error::Expression {
                    setting: format!("derive.{name}"),
                    source: source.into(),
                }
            })?;
        fields.push(Field::new(name, expression.data_type().clone(), true).into());
        derived.push(Derived {
            name: name.clone(),
            expression,
        });
    }
    Ok(derived)
}
