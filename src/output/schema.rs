//! The columns of the output, fixed before anything is sent.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::columns::{self, COLUMNS, Column};
use super::types::in_file;
use super::{Error, Format, KeptColumns, OutputSpec, OutputWarning};
use crate::source::logical;

/// Where a column of the output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnOrigin {
    /// The input.
    Input,
    /// The answer.
    Answer,
    /// The run: status, usage and so on.
    Run,
}

impl fmt::Display for ColumnOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ColumnOrigin::Input => "one of the input",
            ColumnOrigin::Answer => "one of the answer",
            ColumnOrigin::Run => "one that the run adds",
        })
    }
}

/// " and 19 more", for a message about several names.
pub(super) fn and_more(names: usize) -> String {
    if names > 1 {
        format!(" (and {} more)", names - 1)
    } else {
        String::new()
    }
}

/// The settings that end a clash.
pub(super) fn ways_out(first: ColumnOrigin, second: ColumnOrigin) -> String {
    let way = |origin| match origin {
        ColumnOrigin::Input => "leave the one of the input out with `output.columns`",
        ColumnOrigin::Answer => "rename the one of the answer with `output.answer_prefix`",
        ColumnOrigin::Run => "rename the one of the run with `output.prefix`",
    };
    if first == second {
        "rename one of them".to_owned()
    } else {
        format!("{}, or {}", way(second), way(first))
    }
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
    /// What the input's files say of themselves.
    metadata: Arc<[(String, String)]>,
}

impl OutputSchema {
    /// Fixes the columns for an input, the columns of its answers
    /// ([`Answers::fields`](crate::outcome::answer::Answers::fields); none where answers stay
    /// text), and what the job says.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`], [`Error::Clash`], [`Error::Unsupported`], and those of
    /// [`OutputSpec::check`].
    pub fn new(input: &Schema, answer: &[Field], spec: &OutputSpec) -> Result<OutputSchema, Error> {
        spec.check()?;
        let format = spec.format()?;
        let kept = kept(input, &spec.columns)?;
        let mut fields: Vec<(ColumnOrigin, FieldRef)> = kept
            .iter()
            .map(|&i| (ColumnOrigin::Input, input.fields()[i].clone()))
            .collect();
        let prefixed = |field: &Field| {
            field
                .clone()
                .with_name(format!("{}{}", spec.answer_prefix, field.name()))
        };
        fields.extend(
            answer
                .iter()
                .map(|field| (ColumnOrigin::Answer, Arc::new(prefixed(field)))),
        );
        let extra = columns::extra(&spec.extra).unwrap_or_default();
        let run: Arc<[&Column]> = COLUMNS
            .iter()
            .chain(extra.into_iter().map(|extra| &extra.column))
            .collect();
        fields.extend(run.iter().map(|column| {
            let name = format!("{}{}", spec.prefix, column.name);
            (
                ColumnOrigin::Run,
                Arc::new(Field::new(name, column.data_type(), column.nullable)),
            )
        }));
        check_names(&fields)?;
        let fields: Vec<FieldRef> = fields
            .into_iter()
            .map(|(origin, field)| in_file(format, origin, &field))
            .collect::<Result<_, _>>()?;
        let metadata = kept_metadata(input, &kept);
        Ok(OutputSchema {
            format,
            metadata: metadata.into(),
            input: kept.into(),
            source: Arc::new(input.clone()),
            answers: answer.len(),
            run,
            simulated: spec.simulated,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// Looks for names that differ in letter case only, which most readers take for one name
    /// (DuckDB, Spark, Hive, Snowflake, BigQuery).
    ///
    /// Gives a warning for each pair within the input, nested fields by their path: the table came
    /// with them.
    ///
    /// # Errors
    /// [`Error::CaseClash`] where one of the two is a column that the answer or the run adds.
    pub fn check_case(&self) -> Result<Vec<OutputWarning>, Error> {
        let mut seen: HashMap<String, (ColumnOrigin, String)> = HashMap::new();
        let (mut within_input, mut clashes) = (Vec::new(), Vec::new());
        for (place, field) in self.schema.fields().iter().enumerate() {
            let origin = self.origin(place);
            each_path(field, "", &mut |path| {
                let Some((first, earlier)) =
                    seen.insert(path.to_lowercase(), (origin, path.to_owned()))
                else {
                    return;
                };
                match (first, origin) {
                    _ if earlier == path => {}
                    (ColumnOrigin::Input, ColumnOrigin::Input) => {
                        within_input.push(OutputWarning::SameButForCase {
                            first: earlier,
                            second: path.to_owned(),
                        });
                    }
                    _ => clashes.push((first, origin, (earlier, path.to_owned()))),
                }
            });
        }
        let Some(&(first, second, _)) = clashes.first() else {
            return Ok(within_input);
        };
        let between = clashes
            .into_iter()
            .filter(|clash| (clash.0, clash.1) == (first, second));
        Err(Error::CaseClash {
            names: between.map(|(.., names)| names).collect(),
            first,
            second,
        })
    }

    /// What the format does not keep of the input.
    #[must_use]
    pub fn losses(&self) -> Vec<OutputWarning> {
        let mut losses = Vec::new();
        for field in &self.schema.fields()[..self.input.len()] {
            if self.format == Format::Parquet && holds_duration(field.data_type()) {
                losses.push(OutputWarning::PlainDuration {
                    column: field.name().clone(),
                });
            }
        }
        // What a writer notes for itself says nothing to the readers of a text.
        let of_writers = ["pandas", "org.apache.spark", "parquet.", "writer."];
        let own = |key: &&str| !of_writers.iter().any(|start| key.starts_with(start));
        let keys: Vec<_> = self
            .metadata
            .iter()
            .map(|(key, _)| key.as_str())
            .filter(own)
            .map(str::to_owned)
            .collect();
        if self.format.is_text() && !keys.is_empty() {
            losses.push(OutputWarning::LostMetadata {
                format: self.format,
                keys,
            });
        }
        losses
    }

    fn origin(&self, place: usize) -> ColumnOrigin {
        match place.checked_sub(self.input.len()) {
            None => ColumnOrigin::Input,
            Some(place) if place < self.answers => ColumnOrigin::Answer,
            Some(_) => ColumnOrigin::Run,
        }
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

    /// What an output says of itself: what its input said, then what the run says.
    pub(super) fn metadata(&self, of_run: Vec<(String, String)>) -> Vec<(String, String)> {
        self.metadata.iter().cloned().chain(of_run).collect()
    }

    pub(super) fn source(&self) -> &SchemaRef {
        &self.source
    }

    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    /// Whether the answers come from the simulator.
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
        self.schema.fields()[from..]
            .iter()
            .zip(self.run.iter())
            .map(|(field, column)| (field.name().as_str(), column.repeats()))
    }
}

fn kept(input: &Schema, columns: &KeptColumns) -> Result<Vec<usize>, Error> {
    let KeptColumns::Named(names) = columns else {
        return Ok((0..input.fields().len()).collect());
    };
    let known = |name: &String| input.fields().iter().any(|field| field.name() == name);
    if let Some(column) = names.iter().find(|name| !known(name)) {
        let distance = |field: &&FieldRef| strsim::damerau_levenshtein(column, field.name());
        let nearest = input
            .fields()
            .iter()
            .min_by_key(distance)
            .map(|field| field.name().clone());
        return Err(Error::UnknownColumn {
            column: column.clone(),
            nearest,
        });
    }
    Ok((0..input.fields().len())
        .filter(|&i| names.contains(input.field(i).name()))
        .collect())
}

fn holds_duration(data_type: &DataType) -> bool {
    match data_type {
        DataType::Duration(_) => true,
        DataType::Struct(members) => members
            .iter()
            .any(|member| holds_duration(member.data_type())),
        DataType::Map(entries, _) => holds_duration(entries.data_type()),
        list => logical::item(list).is_some_and(|item| holds_duration(item.data_type())),
    }
}

/// The metadata of the input that is still true of the output: `geo` names columns, all of which
/// must be there.
fn kept_metadata(input: &Schema, kept: &[usize]) -> Vec<(String, String)> {
    let is_kept = |name: &String| kept.iter().any(|&i| input.field(i).name() == name);
    let is_true = |key: &str, value: &str| {
        let geo: Option<serde_json::Value> = (key == "geo")
            .then(|| serde_json::from_str(value).ok())
            .flatten();
        let columns = geo.as_ref().and_then(|geo| geo.get("columns")?.as_object());
        columns.is_none_or(|columns| columns.keys().all(is_kept))
    };
    let all = input
        .metadata()
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()));
    let mut metadata: Vec<(String, String)> =
        all.filter(|(key, value)| is_true(key, value)).collect();
    metadata.sort_unstable();
    metadata
}

fn check_names(fields: &[(ColumnOrigin, FieldRef)]) -> Result<(), Error> {
    let mut seen: HashMap<&str, ColumnOrigin> = HashMap::new();
    let mut clashes: Vec<(ColumnOrigin, ColumnOrigin, &str)> = Vec::new();
    for (second, field) in fields {
        if let Some(first) = seen.insert(field.name(), *second) {
            clashes.push((first, *second, field.name()));
        }
    }
    let Some(&(first, second, _)) = clashes.first() else {
        return Ok(());
    };
    let between = clashes
        .iter()
        .filter(|clash| (clash.0, clash.1) == (first, second));
    Err(Error::Clash {
        names: between.map(|(.., name)| (*name).to_owned()).collect(),
        first,
        second,
    })
}

/// Calls with the name of a column and the paths of the fields within it: `address`,
/// `address.city`. Items of lists have the path of their list.
fn each_path(field: &Field, above: &str, call: &mut impl FnMut(&str)) {
    let path = format!("{above}{}", field.name());
    call(&path);
    each_member(field.data_type(), &path, call);
}

fn each_member(data_type: &DataType, path: &str, call: &mut impl FnMut(&str)) {
    match data_type {
        DataType::Struct(members) => members
            .iter()
            .for_each(|member| each_path(member, &format!("{path}."), call)),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::RunEndEncoded(_, item) => each_member(item.data_type(), path, call),
        DataType::Map(entries, _) => {
            // The names of key and value are no names that a reader asks for.
            if let DataType::Struct(pair) = entries.data_type() {
                pair.iter()
                    .for_each(|side| each_member(side.data_type(), path, call));
            }
        }
        DataType::Dictionary(_, values) => each_member(values, path, call),
        _ => {}
    }
}
