//! Joined rows → record batches of the output.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Decimal128Builder, Int64Builder, RecordBatch, StringBuilder,
};
use arrow::datatypes::DataType;

use super::columns::{CellValue, Column};
use super::{Error, OutputSchema};
use crate::join::JoinedRow;
use crate::outcome::answer::{AnswerBuilders, Answers};
use crate::source::logical;

/// Text after which a batch is full. An Arrow text column ends at 2 GiB, and a batch is held in
/// memory as a whole.
const FULL_BYTES: usize = 64 << 20;

/// Builders for the columns that a run adds to its rows.
///
/// **Shape**: joined rows in, in input order; a batch of the output out, whenever the caller asks.
/// Memory: the texts of the rows since the last batch.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow::array::{RecordBatch, StringArray};
/// # use arrow::datatypes::{DataType, Field, Schema};
/// # use rowmill::join::{Joiner, RequestRow};
/// # use rowmill::output::{OutputSchema, OutputSpec, RowBuilders};
/// let input = Schema::new(vec![Field::new("id", DataType::Utf8, false)]);
/// let source = RecordBatch::try_new(Arc::new(input.clone()), vec![Arc::new(StringArray::from(vec!["a", "b", "c"]))])?;
/// let schema = OutputSchema::new(&input, &[], &OutputSpec::new("out.parquet"))?;
/// # fn parse(_: &[u8]) -> Result<(std::borrow::Cow<'_, str>, rowmill::outcome::Outcome), String> { Err("not reached".into()) }
/// # let mut joiner = Joiner::new(Vec::new(), None, parse);
/// let mut rows = RowBuilders::new(&schema, None, 3);
/// let (mut batches, mut from) = (Vec::new(), 0);
/// for row in 0..source.num_rows() {
///     let request = RequestRow { custom_id: Some("a"), request_hash: None, unsent: None, tag: None };
///     rows.append(&joiner.row(request)?);
///     if rows.is_full() || row + 1 == source.num_rows() {
///         batches.push(rows.finish(&source.slice(from, row + 1 - from))?);
///         from = row + 1;
///     }
/// }
/// assert_eq!(batches[0].num_columns(), 21);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RowBuilders {
    schema: OutputSchema,
    answers: Option<AnswerBuilders>,
    columns: Vec<(&'static Column, Builder)>,
    rows: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Builder {
    Text(StringBuilder),
    Count(Int64Builder),
    Money(Decimal128Builder),
    Flag(BooleanBuilder),
}

impl RowBuilders {
    /// Builders for batches of about `capacity` rows. `answer` has the fields that the output's
    /// schema was made with.
    ///
    /// # Panics
    /// When it is another one.
    #[must_use]
    pub fn new(schema: &OutputSchema, answer: Option<&Answers>, capacity: usize) -> RowBuilders {
        let answers = answer.map_or(0, |answer| answer.fields().len());
        assert_eq!(
            answers,
            schema.answers(),
            "the output's schema was made with other columns of the answer"
        );
        RowBuilders {
            schema: schema.clone(),
            answers: answer.map(|answer| answer.builders(capacity)),
            columns: schema
                .run_columns()
                .iter()
                .map(|column| (*column, Builder::new(&column.data_type(), capacity)))
                .collect(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Appends the next row.
    pub fn append(&mut self, row: &JoinedRow<'_>) {
        if let Some(answers) = &mut self.answers {
            match &row.answer {
                Some(answer) => answers.append(answer),
                None => answers.append_null(),
            }
        }
        // Arguments of tools fill columns as the text does that other answers are.
        let calls = row
            .outcome()
            .and_then(|outcome| outcome.details.as_ref())
            .map_or(&[][..], |details| &details.tool_calls);
        self.bytes += calls.iter().map(|call| call.input.len()).sum::<usize>();
        for (column, builder) in &mut self.columns {
            self.bytes += builder.append(column.value, row, self.schema.simulated());
        }
        self.rows += 1;
    }

    /// Rows appended since the last batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the rows appended hold so much text that they should become a batch now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    /// Makes a batch of the rows appended and their input columns; the builders are empty again.
    ///
    /// `source` holds exactly these rows, with the columns of the input that the output's schema
    /// was made for.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn finish(&mut self, source: &RecordBatch) -> Result<RecordBatch, Error> {
        let mismatch = |problem: String| Error::Mismatch { problem };
        if source.num_rows() != self.rows {
            return Err(mismatch(format!(
                "{} joined rows for {} input rows",
                self.rows,
                source.num_rows()
            )));
        }
        check_source(&self.schema, source)?;
        let mut columns: Vec<ArrayRef> = self
            .schema
            .input_columns()
            .iter()
            .map(|&i| source.column(i).clone())
            .collect();
        columns.extend(
            self.answers
                .as_mut()
                .map(AnswerBuilders::finish)
                .unwrap_or_default(),
        );
        columns.extend(self.columns.iter_mut().map(|(_, builder)| builder.finish()));
        (self.rows, self.bytes) = (0, 0);
        let fields = self.schema.schema().fields();
        let columns = columns
            .into_iter()
            .zip(fields)
            .map(|(column, field)| logical::stored_cells(&column, field))
            .collect::<Result<_, _>>();
        columns
            .and_then(|columns| RecordBatch::try_new(self.schema.schema().clone(), columns))
            .map_err(|e| mismatch(e.to_string()))
    }
}

impl Builder {
    fn new(data_type: &DataType, capacity: usize) -> Builder {
        match data_type {
            DataType::Boolean => Builder::Flag(BooleanBuilder::with_capacity(capacity)),
            DataType::Int64 => Builder::Count(Int64Builder::with_capacity(capacity)),
            DataType::Decimal128(..) => Builder::Money(
                Decimal128Builder::with_capacity(capacity).with_data_type(data_type.clone()),
            ),
            _ => Builder::Text(StringBuilder::with_capacity(capacity, capacity * 16)),
        }
    }

    /// Appends a value; gives back the bytes of text it took.
    fn append(&mut self, value: CellValue, row: &JoinedRow<'_>, simulated: bool) -> usize {
        match (self, value) {
            (Builder::Text(builder), CellValue::Word(of) | CellValue::Text(of)) => {
                let text = of(row);
                builder.append_option(text);
                return text.map_or(0, str::len);
            }
            (Builder::Text(builder), CellValue::Made(of)) => {
                let text = of(row);
                builder.append_option(text.as_deref());
                return text.map_or(0, |text| text.len());
            }
            (Builder::Count(builder), CellValue::Count(of)) => {
                builder
                    .append_option(of(row).map(|count| i64::try_from(count).unwrap_or(i64::MAX)));
            }
            (Builder::Money(builder), CellValue::Money(of)) => {
                builder.append_option(of(row).map(i128::from))
            }
            (Builder::Flag(builder), CellValue::Simulated) => builder.append_value(simulated),
            _ => unreachable!("the builder was made for the column's type"),
        }
        0
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Text(builder) => Arc::new(builder.finish()),
            Builder::Count(builder) => Arc::new(builder.finish()),
            Builder::Money(builder) => Arc::new(builder.finish()),
            Builder::Flag(builder) => Arc::new(builder.finish()),
        }
    }
}

fn check_source(schema: &OutputSchema, source: &RecordBatch) -> Result<(), Error> {
    let (expected, found) = (schema.source(), source.schema());
    if Arc::ptr_eq(expected, &found) {
        return Ok(());
    }
    for &i in schema.input_columns() {
        let name = expected.field(i).name();
        if found
            .fields()
            .get(i)
            .is_none_or(|field| field.name() != name)
        {
            return Err(Error::Mismatch {
                problem: format!("the input column `{name}` is not where it was"),
            });
        }
    }
    Ok(())
}
