//! The columns of the files of a source, by format.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use encoding_rs::Encoding;
use indexmap::IndexMap;

use super::bytes::Input;
use super::open::{cell_limit, row_limit};
use super::{
    Error, Format, ReadOptions, SourceSpec, SourceWarning, csv, infer, ipc, logical, parquet,
    schema,
};

/// The columns of the files of a source.
pub(super) struct FileColumns {
    pub(super) read_options: ReadOptions,
    pub(super) common: CommonColumns,
    pub(super) warnings: Vec<SourceWarning>,
}

impl FileColumns {
    fn new(read_options: ReadOptions, common: CommonColumns) -> FileColumns {
        FileColumns {
            read_options,
            common,
            warnings: Vec::new(),
        }
    }
}

/// The part of the columns that files of all formats have.
#[derive(Default)]
pub(super) struct CommonColumns {
    pub(super) fields: Vec<FieldRef>,
    /// The number of rows by file, where the file states it.
    pub(super) rows: Vec<Option<u64>>,
    /// The metadata on which all files agree.
    pub(super) metadata: HashMap<String, String>,
}

/// Reads the columns of all files.
pub(super) fn of_files(
    spec: &SourceSpec,
    format: Format,
    inputs: &[Arc<Input>],
) -> Result<FileColumns, Error> {
    let encoding = encoding(spec)?;
    match format {
        Format::Csv | Format::Tsv => {
            let dialect = csv::Dialect::new(spec, format, encoding)?;
            let common = csv_columns(spec, &dialect, inputs)?;
            Ok(FileColumns::new(ReadOptions::Csv(dialect), common))
        }
        Format::Jsonl => jsonl_columns(spec, encoding, inputs),
        Format::Parquet => {
            let describe =
                |input: &Input| parquet::describe(input).map(|(schema, rows)| (schema, Some(rows)));
            Ok(FileColumns::new(
                ReadOptions::Parquet,
                common_columns(inputs, describe)?,
            ))
        }
        Format::Ipc => {
            let describe = |input: &Input| {
                ipc::describe(input, spec.max_cell_bytes).map(|(schema, rows)| (schema, Some(rows)))
            };
            Ok(FileColumns::new(
                ReadOptions::Ipc,
                common_columns(inputs, describe)?,
            ))
        }
    }
}

fn csv_columns(
    spec: &SourceSpec,
    dialect: &csv::Dialect,
    inputs: &[Arc<Input>],
) -> Result<CommonColumns, Error> {
    let mut first: Option<csv::CsvHeader> = None;
    common_columns(inputs, |input: &Input| {
        let header = csv::header(input, dialect)?;
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
    })
}

fn jsonl_columns(
    spec: &SourceSpec,
    encoding: Option<&'static Encoding>,
    inputs: &[Arc<Input>],
) -> Result<FileColumns, Error> {
    let (columns, mut warnings) = infer::infer(inputs, encoding, cell_limit(spec))?;
    // A type that the job sets resolves the warning.
    warnings.retain(|warning| {
        !matches!(warning, SourceWarning::ReadAsText { column, .. } if spec.columns.contains_key(column))
    });
    schema::check_names(
        inputs[0].path(),
        columns.iter().map(|column| column.name.as_str()),
    )?;
    let as_text = columns
        .iter()
        .filter(|column| column.is_mixed)
        .map(|column| column.name.clone())
        .collect();
    let field = |column: &infer::JsonColumn| {
        Field::new(&column.name, column.data_type.clone(), true).into()
    };
    Ok(FileColumns {
        read_options: ReadOptions::Jsonl {
            encoding,
            as_text,
            max_line_bytes: row_limit(cell_limit(spec)),
        },
        common: CommonColumns {
            fields: columns.iter().map(field).collect(),
            rows: vec![None; inputs.len()],
            metadata: HashMap::new(),
        },
        warnings,
    })
}

/// Names by position are right for every file only if all files have the same header.
fn same_header(
    first_path: &Path,
    first: &csv::CsvHeader,
    path: &Path,
    other: &csv::CsvHeader,
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

/// Reads the columns of every file; all must have the columns of the first.
fn common_columns(
    inputs: &[Arc<Input>],
    mut describe: impl FnMut(&Input) -> Result<(SchemaRef, Option<u64>), Error>,
) -> Result<CommonColumns, Error> {
    let mut common = CommonColumns::default();
    for (i, input) in inputs.iter().enumerate() {
        let (schema, rows_of_file) = describe(input)?;
        schema::check_names(
            input.path(),
            schema.fields().iter().map(|field| field.name().as_str()),
        )?;
        common.rows.push(rows_of_file);
        let as_read = Schema::new(
            schema
                .fields()
                .iter()
                .map(logical::as_read)
                .collect::<Vec<_>>(),
        );
        if i == 0 {
            common.fields = as_read.fields().to_vec();
            let entries = schema
                .metadata()
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()));
            // Entries of rowmill itself are about the run that wrote the file.
            common.metadata = entries
                .filter(|(key, _)| !key.starts_with("rowmill"))
                .collect();
        } else {
            schema::agree(
                (inputs[0].path(), &mut common.fields),
                (input.path(), &as_read),
            )?;
            common
                .metadata
                .retain(|key, value| schema.metadata().get(key) == Some(&*value));
        }
    }
    Ok(common)
}

/// The fields of the files with the types that the job asks for.
pub(super) fn with_asked_types(
    read_options: &mut ReadOptions,
    fields: &[FieldRef],
    asked: &IndexMap<String, DataType>,
) -> Result<Vec<FieldRef>, Error> {
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let to = asked.get(field.name());
        // JSON is read as text first: the type is then applied to the number as it is written in
        // the file, not to a float of it.
        if let (ReadOptions::Jsonl { as_text, .. }, Some(_)) = (&mut *read_options, to) {
            as_text.insert(field.name().clone());
            let text = Field::new(field.name(), DataType::Utf8, true).into();
            columns.push(schema::with_type(&text, to)?);
        } else {
            columns.push(schema::with_type(field, to)?);
        }
    }
    Ok(columns)
}
