//! The table of columns that every run adds to its rows.
//!
//! One entry a column. What it holds decides its type, its builder and how Parquet encodes it, so an entry is all there is to add;
//! the schema, the writers and the README's table follow.
//!
//! Types are those that readers take without a second thought (pyarrow, DuckDB, polars, pandas, Spark):
//!
//! - Words are plain text, not an Arrow dictionary. Parquet stores them as a dictionary all the same, so nothing is gained in size; and
//!   a dictionary comes back as a categorical, which polars refuses to compare or join with text, and pandas groups by all its
//!   values, used or not.
//! - Counts are signed 64-bit integers: Spark and many databases know no unsigned ones.
//! - Money is a decimal, exact: a price of a few dollars per million tokens, times a cache factor and the batch factor, ends at the twelfth
//!   decimal place, and 18 digits are what readers hold in a plain integer.

use arrow::datatypes::DataType;

use crate::join::JoinedRow;
use crate::outcome::{Outcome, Usage};

/// Digits, and digits behind the point, of an amount of money.
const MONEY: (u8, i8) = (18, 12);

/// One of the columns that a run adds.
#[derive(Debug)]
pub struct Column {
    /// The name, to which the job's prefix is put.
    pub name: &'static str,
    /// What the column says, in one line.
    pub meaning: &'static str,
    /// Whether a row may have no value.
    pub nullable: bool,
    /// What it holds, and where that comes from.
    pub(super) value: Value,
}

/// What a column holds, and the function that finds it in a joined row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    /// One of few words: worth a dictionary.
    Word(for<'r> fn(&'r JoinedRow<'_>) -> Option<&'r str>),
    /// Text, or an id: nearly every row has its own.
    Text(for<'r> fn(&'r JoinedRow<'_>) -> Option<&'r str>),
    /// A number of things.
    Count(fn(&JoinedRow<'_>) -> Option<u64>),
    /// US dollars, counted in millionths of a millionth.
    Money(fn(&JoinedRow<'_>) -> Option<i64>),
}

/// The columns, in the order they have in the output.
pub const COLUMNS: [Column; 20] = [
    Column {
        name: "status",
        meaning: "what became of the row: `succeeded`, `truncated`, `refused`, `paused`, `invalid`, `errored`, `expired`, `canceled`, \
                  `missing` or `unsent`",
        nullable: false,
        value: Value::Word(|row| Some(row.status.as_str())),
    },
    Column {
        name: "result",
        meaning: "the API's own word for it; null where no result line came",
        nullable: true,
        value: Value::Word(|row| Some(row.outcome()?.result.as_str()).filter(|word| !word.is_empty())),
    },
    Column {
        name: "text",
        meaning: "the answer's text, as it came, also where it is cut off or does not fit the schema",
        nullable: true,
        value: Value::Text(|row| row.outcome()?.text.as_deref()),
    },
    Column {
        name: "stop_reason",
        meaning: "why the model stopped, in the API's word",
        nullable: true,
        value: Value::Word(|row| row.outcome()?.stop_reason.as_deref()),
    },
    Column {
        name: "error_type",
        meaning: "the provider's kind of error, such as `invalid_request_error`, or why the row was not sent, such as `too_large`",
        nullable: true,
        value: Value::Word(|row| row.error_type()),
    },
    Column {
        name: "error",
        meaning: "what went wrong, in words: the provider's, why the answer does not fit the schema, or why the row was not sent",
        nullable: true,
        value: Value::Text(|row| row.error()),
    },
    Column {
        name: "model",
        meaning: "the model that answered",
        nullable: true,
        value: Value::Word(|row| row.outcome()?.model.as_deref()),
    },
    Column {
        name: "input_tokens",
        meaning: "input tokens neither written to nor read from a cache: not the size of the prompt",
        nullable: true,
        value: Value::Count(|row| usage(row)?.input_tokens),
    },
    Column {
        name: "cache_creation_5m_input_tokens",
        meaning: "input tokens written to the five-minute cache",
        nullable: true,
        value: Value::Count(|row| usage(row)?.cache_creation_5m_input_tokens),
    },
    Column {
        name: "cache_creation_1h_input_tokens",
        meaning: "input tokens written to the one-hour cache",
        nullable: true,
        value: Value::Count(|row| usage(row)?.cache_creation_1h_input_tokens),
    },
    Column {
        name: "cache_read_input_tokens",
        meaning: "input tokens read from a cache",
        nullable: true,
        value: Value::Count(|row| usage(row)?.cache_read_input_tokens),
    },
    Column {
        name: "output_tokens",
        meaning: "output tokens, thinking included",
        nullable: true,
        value: Value::Count(|row| usage(row)?.output_tokens),
    },
    Column {
        name: "thinking_tokens",
        meaning: "the part of the output tokens that was thinking",
        nullable: true,
        value: Value::Count(|row| usage(row)?.thinking_tokens),
    },
    Column {
        name: "service_tier",
        meaning: "the tier that served the request, which decides the price",
        nullable: true,
        value: Value::Word(|row| usage(row)?.service_tier.as_deref()),
    },
    Column {
        name: "cost_usd",
        meaning: "what all attempts at the row cost, in US dollars; null where the price is not known",
        nullable: true,
        value: Value::Money(|row| row.cost_pico_usd),
    },
    Column {
        name: "attempt",
        meaning: "which attempt the row shows, from 1: the last that succeeded, else the last; tokens are those of this attempt",
        nullable: true,
        value: Value::Count(|row| Some(row.attempt()?.attempt.into())),
    },
    Column {
        name: "custom_id",
        meaning: "the id of the request in its batch",
        nullable: true,
        value: Value::Text(|row| row.request.custom_id),
    },
    Column {
        name: "batch_id",
        meaning: "the provider's id of the batch",
        nullable: true,
        value: Value::Word(|row| Some(&*row.attempt()?.batch_id)),
    },
    Column {
        name: "message_id",
        meaning: "the provider's id of the answer",
        nullable: true,
        value: Value::Text(|row| row.outcome()?.message_id.as_deref()),
    },
    Column {
        name: "request_hash",
        meaning: "hash of the request: the same hash, the same request",
        nullable: true,
        value: Value::Text(|row| row.request.request_hash),
    },
];

fn usage<'r>(row: &'r JoinedRow<'_>) -> Option<&'r Usage> {
    row.outcome().and_then(|outcome: &Outcome| outcome.usage.as_ref())
}

impl Column {
    /// The Arrow type.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self.value {
            Value::Word(_) | Value::Text(_) => DataType::Utf8,
            Value::Count(_) => DataType::Int64,
            Value::Money(_) => DataType::Decimal128(MONEY.0, MONEY.1),
        }
    }

    /// Whether few different values are expected, so that a dictionary pays.
    pub(super) fn repeats(&self) -> bool {
        !matches!(self.value, Value::Text(_))
    }

    fn type_in_words(&self) -> String {
        match self.value {
            Value::Word(_) | Value::Text(_) => "text".to_owned(),
            Value::Count(_) => "integer (64 bits)".to_owned(),
            Value::Money(_) => format!("decimal({}, {})", MONEY.0, MONEY.1),
        }
    }
}

/// The table of columns in Markdown, with the default prefix.
#[must_use]
pub fn documentation() -> String {
    let mut table = "| column | type | what it says |\n|---|---|---|\n".to_owned();
    for column in &COLUMNS {
        let null = if column.nullable { "" } else { ", never null" };
        table += &format!("| `_rm_{}` | {}{null} | {} |\n", column.name, column.type_in_words(), column.meaning);
    }
    table
}
