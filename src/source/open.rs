//! Opening a source: finds the files, reads their columns, checks settings and expressions.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Scalar, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use encoding_rs::Encoding;
use indexmap::IndexMap;

use super::bytes::Input;
use super::columns::{self, FileColumns};
use super::files::{self, FoundFile};
use super::{
    DerivedColumn, EmptyCells, Error, Format, Source, SourceFile, SourceSpec, SourceTable,
    SourceWarning, TableFile, Unsupported, convert, error, schema, types,
};
use crate::table::Expression;

/// Opens a source; `stdin` is read where the job names standard input.
pub(super) fn open(spec: &SourceSpec, base: &Path, stdin: &mut dyn Read) -> Result<Source, Error> {
    check_limits(spec)?;
    let OpenFiles {
        found,
        inputs,
        format,
        source_files,
        mut warnings,
    } = OpenFiles::new(spec, base, stdin)?;
    let FileColumns {
        mut read_options,
        common,
        warnings: column_warnings,
    } = columns::of_files(spec, format, &inputs)?;
    warnings.extend(column_warnings);
    let partitions = partition_names(&found)?;
    check_partitions(&partitions, &common.fields)?;
    let known = common
        .fields
        .iter()
        .map(|field| field.name().as_str())
        .chain(partitions.iter().map(String::as_str));
    let asked = schema::asked_types(&spec.columns, known)?;
    let columns = columns::with_asked_types(&mut read_options, &common.fields, &asked)?;
    let table_files = table_files(&inputs, &found, common.rows, &partitions, &asked)?;
    let partitions: Vec<FieldRef> = partitions
        .iter()
        .map(|name| partition_field(name, &asked))
        .collect();

    let mut all: Vec<FieldRef> = columns.iter().chain(&partitions).cloned().collect();
    let derived = derive(&spec.derive, &mut all)?;
    let schema = Arc::new(Schema::new_with_metadata(all, common.metadata));
    let filter = spec
        .filter
        .as_deref()
        .map(|sql| Expression::parse_predicate(sql, &schema))
        .transpose()
        .map_err(super::where_failed)?;
    let retyped = asked.into_keys().collect();
    let (limit, max_cell_bytes) = (spec.limit, spec.max_cell_bytes);
    let folder = files::folder_of(&spec.path, base);
    Ok(Source {
        folder,
        warnings: warnings.into(),
        table: Arc::new(SourceTable {
            read_options,
            files: table_files,
            source_files,
            columns,
            retyped,
            partitions,
            derived,
            filter,
            limit,
            max_cell_bytes,
            schema,
        }),
    })
}

/// The files of a source, before their columns are read.
struct OpenFiles {
    /// The files with rows, and their bytes.
    found: Vec<FoundFile>,
    inputs: Vec<Arc<Input>>,
    format: Format,
    /// All files, including the empty ones.
    source_files: Vec<SourceFile>,
    warnings: Vec<SourceWarning>,
}

impl OpenFiles {
    fn new(spec: &SourceSpec, base: &Path, stdin: &mut dyn Read) -> Result<OpenFiles, Error> {
        let mut found = files::find(&spec.path, base, spec.on_missing)?;
        let format = files::format_of(spec.format, &found)?;
        let inputs = found
            .iter()
            .map(|file| input(file, spec, stdin))
            .collect::<Result<Vec<_>, Error>>()?;
        let format = format.map_or_else(|| format_by_content(&inputs), Ok)?;
        // Before anything is decompressed: a wrong setting is reported at once.
        reject_unused(spec, format)?;
        let inputs = if format.is_text() {
            inputs
        } else {
            seekable(inputs)?
        };
        let mut inputs: Vec<Arc<Input>> = inputs.into_iter().map(Arc::new).collect();
        // Empty files count as files of the source, so that one that changes later is noticed.
        let source_files = inputs.iter().map(|input| input.file.clone()).collect();
        let mut warnings = Vec::new();
        leave_out_empty(format, &mut found, &mut inputs, &mut warnings)?;
        Ok(OpenFiles {
            found,
            inputs,
            format,
            source_files,
            warnings,
        })
    }
}

/// Rejects a partition column with the name of a column of the files.
fn check_partitions(partitions: &[String], fields: &[FieldRef]) -> Result<(), Error> {
    let clash = partitions
        .iter()
        .find(|name| fields.iter().any(|field| field.name() == *name));
    match clash {
        Some(name) => Err(Error::Clash {
            what: "partition column",
            name: name.clone(),
        }),
        None => Ok(()),
    }
}

fn input(file: &FoundFile, spec: &SourceSpec, stdin: &mut dyn Read) -> Result<Input, Error> {
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
const LARGEST_MAX_CELL_BYTES: u64 = 1 << 30;

fn check_limits(spec: &SourceSpec) -> Result<(), Error> {
    if (1..=LARGEST_MAX_CELL_BYTES).contains(&spec.max_cell_bytes) {
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
pub(super) fn cell_limit(spec: &SourceSpec) -> usize {
    usize::try_from(spec.max_cell_bytes).unwrap_or(usize::MAX)
}

/// Most bytes of a row, as a line or record of text, by those of a cell.
pub(super) fn row_limit(max_cell_bytes: usize) -> usize {
    max_cell_bytes.saturating_mul(4)
}

/// Leaves out empty files, as long as one file stays; rejects files that are not text where the
/// format is.
fn leave_out_empty(
    format: Format,
    found: &mut Vec<FoundFile>,
    inputs: &mut Vec<Arc<Input>>,
    warnings: &mut Vec<SourceWarning>,
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
        // A byte order mark alone makes a file no less empty.
        let bom_bytes = Encoding::for_bom(&head).map_or(0, |(_, length)| length);
        is_empty.push(head.len() < 16 && head[bom_bytes..].trim_ascii().is_empty());
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
    warnings.push(SourceWarning::EmptyFiles {
        paths: paths.collect(),
        files,
    });
    let mut stays = is_empty.iter().map(|empty| !empty);
    found.retain(|_| stays.next().unwrap_or(true));
    let mut stays = is_empty.iter().map(|empty| !empty);
    inputs.retain(|_| stays.next().unwrap_or(true));
    Ok(())
}

/// A setting that would be ignored silently is an error.
fn reject_unused(spec: &SourceSpec, format: Format) -> Result<(), Error> {
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

/// The partition columns, which every file must have in the same order.
fn partition_names(found: &[FoundFile]) -> Result<Vec<String>, Error> {
    let names = |file: &FoundFile| {
        file.partitions
            .iter()
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
    };
    let Some(first) = found.first() else {
        return Ok(Vec::new());
    };
    let partitions = names(first);
    if let Some(other) = found.iter().find(|file| names(file) != partitions) {
        return Err(Error::PartitionsDiffer {
            path: other.path.clone(),
            found: error::listed(names(other).iter().map(String::as_str)),
            first: first.path.clone(),
            expected: error::listed(partitions.iter().map(String::as_str)),
        });
    }
    match partitions
        .iter()
        .enumerate()
        .find(|(i, name)| partitions[..*i].contains(name))
    {
        Some((_, name)) => Err(Error::Clash {
            what: "partition column",
            name: name.clone(),
        }),
        None => Ok(partitions),
    }
}

fn partition_field(name: &str, asked: &IndexMap<String, DataType>) -> FieldRef {
    Field::new(
        name,
        asked.get(name).cloned().unwrap_or(DataType::Utf8),
        true,
    )
    .into()
}

fn table_files(
    inputs: &[Arc<Input>],
    found: &[FoundFile],
    rows: Vec<Option<u64>>,
    partitions: &[String],
    asked: &IndexMap<String, DataType>,
) -> Result<Vec<TableFile>, Error> {
    let mut files = Vec::with_capacity(inputs.len());
    for ((input, file), rows) in inputs.iter().zip(found).zip(rows) {
        let values = partitions
            .iter()
            .zip(&file.partitions)
            .map(|(name, (_, value))| {
                let text: ArrayRef = Arc::new(StringArray::from(vec![value.as_deref()]));
                let field = partition_field(name, asked);
                let value = convert::convert(&text, field.data_type()).map_err(|_| {
                    Error::PartitionValue {
                        path: file.path.clone(),
                        name: name.clone(),
                        expected: types::name(field.data_type()),
                    }
                })?;
                Ok(Scalar::new(value))
            });
        files.push(TableFile {
            input: input.clone(),
            rows,
            partition_values: values.collect::<Result<Vec<_>, Error>>()?,
        });
    }
    Ok(files)
}

/// Parses the derived columns; each may read those before it.
fn derive(
    expressions: &IndexMap<String, String>,
    fields: &mut Vec<FieldRef>,
) -> Result<Vec<DerivedColumn>, Error> {
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
        derived.push(DerivedColumn {
            name: name.clone(),
            expression,
        });
    }
    Ok(derived)
}
