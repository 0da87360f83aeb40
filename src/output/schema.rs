//! The columns of the output, fixed before anything is sent.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::columns::{self, COLUMNS, Column};
use super::{Error, Format, KeptColumns, OutputSpec, cells, parquet};

/// Where a column of the output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The input.
    Input,
    /// The answer.
    Answer,
    /// The run: status, usage and so on.
    Run,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Input => "one of the input",
            Origin::Answer => "one of the answer",
            Origin::Run => "one that the run adds",
        })
    }
}

/// " and 19 more", for a message about several names.
pub(super) fn and_more(names: usize) -> String {
    if names > 1 { format!(" (and {} more)", names - 1) } else { String::new() }
}

/// The settings that end a clash.
pub(super) fn ways_out(first: Origin, second: Origin) -> String {
    let way = |origin| match origin {
        Origin::Input => "leave the one of the input out with `output.columns`",
        Origin::Answer => "rename the one of the answer with `output.answer_prefix`",
        Origin::Run => "rename the one of the run with `output.prefix`",
    };
    if first == second { "rename one of them".to_owned() } else { format!("{}, or {}", way(second), way(first)) }
}

/// The columns of an output: kept input columns, then the answer's, then the run's own.
#[derive(Debug, Clone)]
pub struct OutputSchema {
    format: Format,
    /// Where each kept input column stands in the input.
    input: Arc<[usize]>,
    /// The input's schema, to know its batches by.
    source: SchemaRef,
    answers: usize,
    /// The columns of the run, those that the job asks for behind the others.
    run: Arc<[&'static Column]>,
    simulated: bool,
    schema: SchemaRef,
}

impl OutputSchema {
    /// Fixes the columns for an input, the columns of its answers
    /// ([`Answers::fields`](crate::outcome::answer::Answers::fields); none where answers stay text), and what the job says.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`], [`Error::Clash`], [`Error::Unsupported`], and those of [`OutputSpec::check`].
    pub fn new(input: &Schema, answer: &[Field], spec: &OutputSpec) -> Result<OutputSchema, Error> {
        spec.check()?;
        let format = spec.format()?;
        let kept = kept(input, &spec.columns)?;
        let mut fields: Vec<(Origin, FieldRef)> = kept.iter().map(|&i| (Origin::Input, input.fields()[i].clone())).collect();
        let prefixed = |field: &Field| field.clone().with_name(format!("{}{}", spec.answer_prefix, field.name()));
        fields.extend(answer.iter().map(|field| (Origin::Answer, Arc::new(prefixed(field)))));
        let extra = columns::extra(&spec.extra).unwrap_or_default();
        let run: Arc<[&Column]> = COLUMNS.iter().chain(extra.into_iter().map(|extra| &extra.column)).collect();
        fields.extend(run.iter().map(|column| {
            let name = format!("{}{}", spec.prefix, column.name);
            (Origin::Run, Arc::new(Field::new(name, column.data_type(), column.nullable)))
        }));
        check_names(&fields)?;
        let fields: Vec<FieldRef> =
            fields.into_iter().map(|(origin, field)| in_file(format, origin, &field)).collect::<Result<_, _>>()?;
        Ok(OutputSchema {
            format,
            input: kept.into(),
            source: Arc::new(input.clone()),
            answers: answer.len(),
            run,
            simulated: spec.simulated,
            // The input's own metadata stays behind: it describes another set of columns (pandas keeps its index there).
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// The columns, as record batches for the output have them.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The format the columns were fixed for.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Where each kept input column stands in the input, ascending.
    #[must_use]
    pub fn input_columns(&self) -> &[usize] {
        &self.input
    }

    pub(super) fn source(&self) -> &SchemaRef {
        &self.source
    }

    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    /// Whether the answers are made up.
    pub(super) fn simulated(&self) -> bool {
        self.simulated
    }

    /// The columns of the run.
    pub(super) fn run_columns(&self) -> &[&'static Column] {
        &self.run
    }

    /// The name of each column of the run as the file has it, and whether its values repeat.
    pub(super) fn run_column_names(&self) -> impl Iterator<Item = (&str, bool)> {
        let from = self.schema.fields().len() - self.run.len();
        self.schema.fields()[from..].iter().zip(self.run.iter()).map(|(field, column)| (field.name().as_str(), column.repeats()))
    }
}

fn kept(input: &Schema, columns: &KeptColumns) -> Result<Vec<usize>, Error> {
    let KeptColumns::Named(names) = columns else { return Ok((0..input.fields().len()).collect()) };
    let known = |name: &String| input.fields().iter().any(|field| field.name() == name);
    if let Some(column) = names.iter().find(|name| !known(name)) {
        let distance = |field: &&FieldRef| strsim::damerau_levenshtein(column, field.name());
        let nearest = input.fields().iter().min_by_key(distance).map(|field| field.name().clone());
        return Err(Error::UnknownColumn { column: column.clone(), nearest });
    }
    Ok((0..input.fields().len()).filter(|&i| names.contains(input.field(i).name())).collect())
}

fn check_names(fields: &[(Origin, FieldRef)]) -> Result<(), Error> {
    let mut seen: HashMap<&str, Origin> = HashMap::new();
    let mut clashes: Vec<(Origin, Origin, &str)> = Vec::new();
    for (second, field) in fields {
        if let Some(first) = seen.insert(field.name(), *second) {
            clashes.push((first, *second, field.name()));
        }
    }
    let Some(&(first, second, _)) = clashes.first() else { return Ok(()) };
    let between = clashes.iter().filter(|clash| (clash.0, clash.1) == (first, second));
    Err(Error::Clash { names: between.map(|(.., name)| (*name).to_owned()).collect(), first, second })
}

/// The field as the format holds it.
fn in_file(format: Format, origin: Origin, field: &FieldRef) -> Result<FieldRef, Error> {
    let unsupported =
        |source| Error::Unsupported { column: field.name().clone(), data_type: field.data_type().clone(), format, source };
    let data_type = match origin {
        // Its dictionaries are the same in every batch, and so an IPC file can hold them.
        Origin::Answer if format == Format::Ipc => field.data_type().clone(),
        _ => file_type(format, field.data_type()),
    };
    if data_type != *field.data_type() && !can_cast_types(field.data_type(), &data_type) {
        return Err(unsupported(None));
    }
    let field =
        if data_type == *field.data_type() { field.clone() } else { Arc::new(field.as_ref().clone().with_data_type(data_type)) };
    match format {
        Format::Parquet => parquet::check(&field).map_err(|e| unsupported(Some(e)))?,
        Format::Csv | Format::Tsv | Format::Jsonl => cells::check(&field).map_err(|e| unsupported(Some(e)))?,
        Format::Ipc => {}
    }
    Ok(field)
}

/// The type a column has in a format, where it cannot stay what it is.
///
/// An IPC file holds one dictionary a column, while every batch of the input may bring another, so those of the input are unpacked there (a
/// growing dictionary is allowed by the format, but not read by all). Parquet remembers dictionaries, but not runs. As text, all that
/// counts are the values; and a time with a named zone is told in UTC, because the names are not known here.
fn file_type(format: Format, data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(file_type(format, field.data_type())));
    match data_type {
        DataType::Dictionary(_, values) if format != Format::Parquet => file_type(format, values),
        DataType::RunEndEncoded(_, values) if format != Format::Ipc => file_type(format, values.data_type()),
        DataType::Timestamp(unit, Some(zone)) if format.is_text() && !zone.starts_with(['+', '-']) => {
            DataType::Timestamp(*unit, Some("+00:00".into()))
        }
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::ListView(item) => DataType::ListView(inner(item)),
        DataType::LargeListView(item) => DataType::LargeListView(inner(item)),
        DataType::FixedSizeList(item, len) => DataType::FixedSizeList(inner(item), *len),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(members) => DataType::Struct(members.iter().map(inner).collect()),
        other => other.clone(),
    }
}
