//! Answers of earlier outputs, read in the order in which the rows of a run take them.
//!
//! Most often that is the order in which the file has them, and the file is read once from start to
//! end. Otherwise the rows that are taken are first put in order: they are split into parts by the
//! row that takes them, and each part is sorted in memory.
//!
//! An answer is made from the columns of the run, not from those of the answer: so it is parsed as
//! the job says now.

use std::collections::VecDeque;
use std::path::PathBuf;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Decimal128Array, Int64Array, RecordBatch, StringArray,
    UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use serde_json::value::RawValue;

use super::plan::{CopiedFile, ReusePlan, hash_of};
use super::{AnswerPlace, earlier};
use crate::engine::{Error, Run};
use crate::outcome::details::ToolCall;
use crate::outcome::{Details, Outcome, Status, Usage};
use crate::output;
use crate::source::{Scan, Source};

/// Fewest rows of a part that is sorted in memory.
const PART_ROWS: usize = 65_536;
/// Most parts: each is an open file.
const MOST_PARTS: usize = 256;

/// An answer that an earlier output has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReusedAnswer {
    /// What was returned.
    pub(crate) outcome: Outcome,
    /// The custom_id of the request.
    pub(crate) custom_id: String,
    /// The hash of the request.
    pub(crate) request_hash: String,
    /// The attempt that returned it, from 1.
    pub(crate) attempt: u32,
    /// The batch that returned it.
    pub(crate) batch_id: String,
    /// What all attempts cost, in 10⁻¹² US dollars; `None` where that is unknown.
    pub(crate) cost_pico_usd: Option<i64>,
}

/// Reads the answers that the rows of a run take.
pub(crate) struct AnswerReader {
    files: Vec<Option<AnswerFile>>,
}

/// One earlier output.
struct AnswerFile {
    path: PathBuf,
    rows: Rows,
    columns: Option<Columns>,
    /// The number of the first row of `columns`.
    first: u64,
    prefix: String,
}

enum Rows {
    /// As the file has them.
    AsTheyAre(Box<Scan>),
    /// As they are taken, whatever their numbers.
    AsTaken(VecDeque<RecordBatch>, Reordered),
}

impl AnswerReader {
    /// Opens the copies that a run has.
    ///
    /// # Errors
    /// [`Error::EarlierOutputAltered`] where a copy is not what it was; [`Error::Source`].
    pub(crate) fn open(run: &Run, plan: &ReusePlan) -> Result<AnswerReader, Error> {
        let prefix = &run.job().output.prefix;
        let open = |(number, copy): (usize, &Option<CopiedFile>)| match copy {
            Some(copy) if copy.rows > 0 => AnswerFile::open(run, number, copy, prefix).map(Some),
            _ => Ok(None),
        };
        Ok(AnswerReader {
            files: plan
                .files
                .iter()
                .enumerate()
                .map(open)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The answer at a place. Places are asked for in the order of the run's rows.
    ///
    /// # Errors
    /// [`Error::Source`], and [`Error::Bug`] for a place that no row was planned to take.
    pub(crate) fn answer(&mut self, place: AnswerPlace) -> Result<ReusedAnswer, Error> {
        let file = self.files.get_mut(place.file).and_then(Option::as_mut);
        let file = file.ok_or_else(|| {
            Error::Bug(format!(
                "a row takes an answer of the output {}, which has none",
                place.file
            ))
        })?;
        file.answer(place.row.into())
    }
}

impl AnswerFile {
    fn open(
        run: &Run,
        number: usize,
        copy: &CopiedFile,
        prefix: &str,
    ) -> Result<AnswerFile, Error> {
        let path = check(run, copy)?;
        let source = earlier::open(&path, copy.format)?;
        let wanted = Columns::wanted(&source, prefix);
        let scan = source.scan(Some(&wanted))?;
        let rows = if copy.in_order {
            Rows::AsTheyAre(Box::new(scan))
        } else {
            Rows::AsTaken(
                VecDeque::new(),
                Reordered::new(run, number, scan, copy.rows)?,
            )
        };
        Ok(AnswerFile {
            path,
            rows,
            columns: None,
            first: 0,
            prefix: prefix.to_owned(),
        })
    }

    fn answer(&mut self, row: u64) -> Result<ReusedAnswer, Error> {
        loop {
            let is_in_order = matches!(self.rows, Rows::AsTheyAre(_));
            if let Some(columns) = &mut self.columns {
                let at = if is_in_order {
                    usize::try_from(row - self.first).unwrap_or(usize::MAX)
                } else {
                    columns.taken
                };
                if at < columns.len {
                    columns.taken = at + 1;
                    return Ok(columns.answer(at));
                }
            }
            let next = match &mut self.rows {
                Rows::AsTheyAre(scan) => match scan.next().transpose()? {
                    Some(rows) => {
                        self.first = rows.row_index.first().copied().unwrap_or(self.first);
                        Some(rows.batch)
                    }
                    None => None,
                },
                Rows::AsTaken(batches, reordered) => {
                    if batches.is_empty() {
                        batches.extend(reordered.next_part()?);
                    }
                    batches.pop_front()
                }
            };
            let Some(batch) = next else {
                return Err(Error::Bug(format!(
                    "row {row} of `{}` is not there",
                    self.path.display()
                )));
            };
            self.columns = Some(Columns::new(&batch, &self.prefix)?);
        }
    }
}

/// Checks that a copy is what it was, and gives its path.
///
/// # Errors
/// [`Error::EarlierOutputAltered`], [`Error::File`].
pub(super) fn check(run: &Run, copy: &CopiedFile) -> Result<PathBuf, Error> {
    let path = run.folder().join(&copy.file);
    if hash_of(&path)? == (copy.bytes, copy.hash.clone()) {
        Ok(path)
    } else {
        Err(Error::EarlierOutputAltered { path })
    }
}

/// The columns of the run in some rows of an output, as far as an answer is made from them.
struct Columns {
    len: usize,
    taken: usize,
    custom_id: Texts,
    request_hash: Texts,
    attempt: Counts,
    batch_id: Texts,
    cost: Option<Decimal128Array>,
    status: Texts,
    result: Texts,
    text: Texts,
    stop_reason: Texts,
    error_type: Texts,
    error: Texts,
    model: Texts,
    message_id: Texts,
    usage: UsageColumns,
    details: DetailColumns,
}

/// Those that say what the answer used.
struct UsageColumns {
    input_tokens: Counts,
    cache_creation_5m_input_tokens: Counts,
    cache_creation_1h_input_tokens: Counts,
    cache_read_input_tokens: Counts,
    output_tokens: Counts,
    thinking_tokens: Counts,
    service_tier: Texts,
    inference_geo: Texts,
    web_search_requests: Counts,
    web_fetch_requests: Counts,
    code_execution_requests: Counts,
}

/// Those that only some outputs have.
struct DetailColumns {
    thinking: Texts,
    citations: Texts,
    tool_calls: Texts,
    message: Texts,
    refusal_category: Texts,
    stop_sequence: Texts,
    request_id: Texts,
    error_code: Texts,
}

/// A column of texts; without a value where the output does not have it.
struct Texts(Option<StringArray>);
/// The same for numbers.
struct Counts(Option<Int64Array>);

impl Texts {
    fn get(&self, row: usize) -> Option<String> {
        let column = self.0.as_ref()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    }
}

impl Counts {
    fn get(&self, row: usize) -> Option<u64> {
        let column = self.0.as_ref()?;
        column
            .is_valid(row)
            .then(|| u64::try_from(column.value(row)).unwrap_or(0))
    }
}

/// Some rows of an output, whose columns are found by name.
struct NamedColumns<'a> {
    batch: &'a RecordBatch,
    prefix: &'a str,
}

impl NamedColumns<'_> {
    fn texts(&self, name: &str) -> Result<Texts, Error> {
        let column = self.column(name, &DataType::Utf8)?;
        Ok(Texts(column.map(|column| column.as_string().clone())))
    }

    fn counts(&self, name: &str) -> Result<Counts, Error> {
        let column = self.column(name, &DataType::Int64)?;
        let column = column.map(|column| column.as_primitive::<Int64Type>().clone());
        Ok(Counts(column))
    }

    fn column(&self, name: &str, data_type: &DataType) -> Result<Option<ArrayRef>, Error> {
        let name = format!("{}{name}", self.prefix);
        let Some(column) = self.batch.column_by_name(&name) else {
            return Ok(None);
        };
        let cells = empty_as_null(column, data_type);
        cast(&cells, data_type).map(Some).map_err(|error| {
            Error::Bug(format!("the column `{name}` of an earlier output: {error}"))
        })
    }
}

impl Columns {
    /// The columns to read: those of the run that the output has.
    fn wanted(source: &Source, prefix: &str) -> Vec<String> {
        let extra = output::EXTRA.iter().map(|extra| &extra.column);
        let names = output::COLUMNS.iter().chain(extra);
        names
            .map(|column| format!("{prefix}{}", column.name))
            .filter(|name| source.schema().index_of(name).is_ok())
            .collect()
    }

    fn new(batch: &RecordBatch, prefix: &str) -> Result<Columns, Error> {
        let columns = NamedColumns { batch, prefix };
        let (texts, counts) = (|name| columns.texts(name), |name| columns.counts(name));
        let cost = columns.column("cost_usd", &DataType::Decimal128(18, 12))?;
        Ok(Columns {
            len: batch.num_rows(),
            taken: 0,
            custom_id: texts("custom_id")?,
            request_hash: texts("request_hash")?,
            attempt: counts("attempt")?,
            batch_id: texts("batch_id")?,
            cost: cost.map(|cost| cost.as_primitive::<Decimal128Type>().clone()),
            status: texts("status")?,
            result: texts("result")?,
            text: texts("text")?,
            stop_reason: texts("stop_reason")?,
            error_type: texts("error_type")?,
            error: texts("error")?,
            model: texts("model")?,
            message_id: texts("message_id")?,
            usage: UsageColumns {
                input_tokens: counts("input_tokens")?,
                cache_creation_5m_input_tokens: counts("cache_creation_5m_input_tokens")?,
                cache_creation_1h_input_tokens: counts("cache_creation_1h_input_tokens")?,
                cache_read_input_tokens: counts("cache_read_input_tokens")?,
                output_tokens: counts("output_tokens")?,
                thinking_tokens: counts("thinking_tokens")?,
                service_tier: texts("service_tier")?,
                inference_geo: texts("inference_geo")?,
                web_search_requests: counts("web_search_requests")?,
                web_fetch_requests: counts("web_fetch_requests")?,
                code_execution_requests: counts("code_execution_requests")?,
            },
            details: DetailColumns {
                thinking: texts("thinking")?,
                citations: texts("citations")?,
                tool_calls: texts("tool_calls")?,
                message: texts("message")?,
                refusal_category: texts("refusal_category")?,
                stop_sequence: texts("stop_sequence")?,
                request_id: texts("request_id")?,
                error_code: texts("error_code")?,
            },
        })
    }

    fn answer(&self, row: usize) -> ReusedAnswer {
        let cost = self.cost.as_ref().filter(|cost| cost.is_valid(row));
        let attempt = self.attempt.get(row);
        ReusedAnswer {
            outcome: self.outcome(row),
            custom_id: self.custom_id.get(row).unwrap_or_default(),
            request_hash: self.request_hash.get(row).unwrap_or_default(),
            attempt: attempt
                .and_then(|attempt| u32::try_from(attempt).ok())
                .unwrap_or(1),
            batch_id: self.batch_id.get(row).unwrap_or_default(),
            cost_pico_usd: cost.and_then(|cost| i64::try_from(cost.value(row)).ok()),
        }
    }

    fn outcome(&self, row: usize) -> Outcome {
        let word = self.status.get(row).unwrap_or_default();
        let status = Status::ALL
            .into_iter()
            .find(|status| status.as_str() == word)
            // Whether an answer fits the columns of the job is decided now.
            .map_or(Status::Missing, |status| match status {
                Status::Invalid => Status::Succeeded,
                status => status,
            });
        let details = self.details.get(row);
        Outcome {
            status,
            result: self.result.get(row).unwrap_or_default(),
            text: self.text.get(row),
            calls_tools: !details.tool_calls.is_empty(),
            stop_reason: self.stop_reason.get(row),
            error_type: self.error_type.get(row),
            error: (self.error.get(row)).filter(|_| status != Status::Succeeded),
            model: self.model.get(row),
            message_id: self.message_id.get(row),
            usage: self.usage.get(row),
            details: Some(Box::new(details)),
        }
    }
}

impl UsageColumns {
    fn get(&self, row: usize) -> Option<Usage> {
        let output_tokens = self.output_tokens.get(row)?;
        Some(Usage {
            input_tokens: self.input_tokens.get(row),
            cache_creation_5m_input_tokens: self.cache_creation_5m_input_tokens.get(row),
            cache_creation_1h_input_tokens: self.cache_creation_1h_input_tokens.get(row),
            cache_read_input_tokens: self.cache_read_input_tokens.get(row),
            output_tokens: Some(output_tokens),
            thinking_tokens: self.thinking_tokens.get(row),
            service_tier: self.service_tier.get(row),
            inference_geo: self.inference_geo.get(row),
            web_search_requests: self.web_search_requests.get(row),
            web_fetch_requests: self.web_fetch_requests.get(row),
            code_execution_requests: self.code_execution_requests.get(row),
            ..Usage::default()
        })
    }
}

impl DetailColumns {
    fn get(&self, row: usize) -> Details {
        Details {
            thinking: self.thinking.get(row),
            citations: self.citations.get(row),
            tool_calls: tool_calls(self.tool_calls.get(row).as_deref()),
            message: self.message.get(row),
            refusal_category: self.refusal_category.get(row),
            stop_sequence: self.stop_sequence.get(row),
            request_id: self.request_id.get(row),
            error_code: self.error_code.get(row),
        }
    }
}

/// Text cells that hold no number are null: a text format writes a null so.
fn empty_as_null(column: &ArrayRef, wanted: &DataType) -> ArrayRef {
    if *wanted == DataType::Utf8 || *column.data_type() != DataType::Utf8 {
        return column.clone();
    }
    let cells = column.as_string::<i32>().iter();
    std::sync::Arc::new(StringArray::from_iter(
        cells.map(|cell| cell.filter(|cell| !cell.is_empty())),
    ))
}

/// The calls of tools as the column has them.
fn tool_calls(json: Option<&str>) -> Vec<ToolCall> {
    #[derive(serde::Deserialize)]
    struct Call<'a> {
        id: Option<String>,
        name: String,
        #[serde(borrow)]
        input: &'a RawValue,
    }
    let calls = json.and_then(|json| serde_json::from_str::<Vec<Call<'_>>>(json).ok());
    calls
        .unwrap_or_default()
        .into_iter()
        .map(|call| ToolCall {
            id: call.id,
            name: call.name,
            input: call.input.get().to_owned(),
        })
        .collect()
}

/// Rows of a file in the order in which a run takes them.
///
/// ```text
///  file:    rows 0, 1, 2, …  ── split by the row of the run that takes them ──▶  part 0, part 1, …   (temporary files)
///  part:    sorted in memory when its turn comes
/// ```
struct Reordered {
    parts: VecDeque<Part>,
}

/// Some rows in temporary files, and the places at which the run takes them.
struct Part {
    file: std::fs::File,
    schema: arrow::datatypes::SchemaRef,
    /// For each row in the file, which of the part's rows it is.
    places: Vec<u32>,
}

impl Reordered {
    /// Splits the rows of a file. `number` is the file's in the plan.
    fn new(run: &Run, number: usize, scan: Scan, rows: u64) -> Result<Reordered, Error> {
        let wanted = wanted_rows(run, number, rows)?;
        let part_rows = wanted.len().div_ceil(MOST_PARTS).max(PART_ROWS);
        let parts = wanted.len().div_ceil(part_rows);
        // Row of the file → the places that take it, ascending by row.
        let mut by_row: Vec<(u32, u32)> = wanted.into_iter().zip(0..).collect();
        by_row.sort_unstable();
        let mut writers: Vec<PartWriter> = Vec::with_capacity(parts);
        let mut left = by_row.as_slice();
        for chunk in scan {
            let chunk = chunk?;
            let first = chunk.row_index.first().copied().unwrap_or(0);
            let end = first + chunk.row_index.len() as u64;
            let here = left.partition_point(|(row, _)| u64::from(*row) < end);
            let (now, rest) = left.split_at(here);
            left = rest;
            if writers.is_empty() {
                for _ in 0..parts {
                    writers.push(PartWriter::new(&chunk.batch)?);
                }
            }
            split(now, first, &chunk.batch, part_rows, &mut writers)?;
        }
        let parts = writers.into_iter().map(PartWriter::finish);
        Ok(Reordered {
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// The next rows, in order.
    fn next_part(&mut self) -> Result<Option<RecordBatch>, Error> {
        self.parts.pop_front().map(Part::read).transpose()
    }
}

/// The rows of an earlier output that the run takes, in the order of the run's rows.
fn wanted_rows(run: &Run, number: usize, rows: u64) -> Result<Vec<u32>, Error> {
    let mut wanted = Vec::with_capacity(usize::try_from(rows).unwrap_or(0));
    for batch in 1..=run.planned_batches() {
        for reasons in crate::batch::no_request_reasons(&run.spool_path(batch))? {
            let reasons = reasons?;
            wanted.extend(
                reasons
                    .iter()
                    .flatten()
                    .filter_map(AnswerPlace::parse)
                    .filter(|place| place.file == number)
                    .map(|place| place.row),
            );
        }
    }
    Ok(wanted)
}

/// Writes the rows of a batch to the parts that take them.
fn split(
    taken: &[(u32, u32)],
    first: u64,
    batch: &RecordBatch,
    part_rows: usize,
    writers: &mut [PartWriter],
) -> Result<(), Error> {
    let mut by_part: Vec<(usize, u32, u32)> = taken
        .iter()
        .map(|&(row, place)| {
            let at = u32::try_from(u64::from(row) - first).unwrap_or(u32::MAX);
            (place as usize / part_rows, at, place)
        })
        .collect();
    by_part.sort_unstable();
    for rows in by_part.chunk_by(|a, b| a.0 == b.0) {
        let at = UInt32Array::from_iter_values(rows.iter().map(|row| row.1));
        let rows_of_part = take_record_batch(batch, &at).map_err(arrow_bug)?;
        let place_in_part = |place: u32| (place as usize % part_rows) as u32;
        let places = rows.iter().map(|row| place_in_part(row.2));
        writers[rows[0].0].write(&rows_of_part, places)?;
    }
    Ok(())
}

struct PartWriter {
    writer: arrow::ipc::writer::StreamWriter<std::io::BufWriter<std::fs::File>>,
    schema: arrow::datatypes::SchemaRef,
    places: Vec<u32>,
}

impl PartWriter {
    fn new(batch: &RecordBatch) -> Result<PartWriter, Error> {
        let file = tempfile::tempfile().map_err(scratch)?;
        let writer = std::io::BufWriter::with_capacity(1 << 15, file);
        Ok(PartWriter {
            writer: arrow::ipc::writer::StreamWriter::try_new(writer, &batch.schema())
                .map_err(arrow_bug)?,
            schema: batch.schema(),
            places: Vec::new(),
        })
    }

    fn write(
        &mut self,
        rows: &RecordBatch,
        places: impl Iterator<Item = u32>,
    ) -> Result<(), Error> {
        self.places.extend(places);
        self.writer.write(rows).map_err(arrow_bug)
    }

    fn finish(self) -> Result<Part, Error> {
        let writer = self.writer.into_inner().map_err(arrow_bug)?;
        let file = writer
            .into_inner()
            .map_err(|error| scratch(error.into_error()))?;
        Ok(Part {
            file,
            schema: self.schema,
            places: self.places,
        })
    }
}

impl Part {
    fn read(mut self) -> Result<RecordBatch, Error> {
        use std::io::Seek as _;
        self.file.rewind().map_err(scratch)?;
        let file = std::io::BufReader::new(self.file);
        let reader = arrow::ipc::reader::StreamReader::try_new(file, None).map_err(arrow_bug)?;
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(arrow_bug)?;
        let rows = arrow::compute::concat_batches(&self.schema, &batches).map_err(arrow_bug)?;
        let mut order = vec![0_u32; self.places.len()];
        for (at, &place) in (0..).zip(&self.places) {
            order[place as usize] = at;
        }
        take_record_batch(&rows, &UInt32Array::from(order)).map_err(arrow_bug)
    }
}

fn arrow_bug(error: arrow::error::ArrowError) -> Error {
    if let arrow::error::ArrowError::IoError(_, source) = error {
        return scratch(source);
    }
    Error::Bug(format!(
        "rows of an earlier output cannot be put in order: {error}"
    ))
}

fn scratch(source: std::io::Error) -> Error {
    Error::Join(crate::join::Error::Scratch(source))
}
