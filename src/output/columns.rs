//! The table of columns that every run adds to its rows.
//!
//! One entry a column. What it holds decides its type, its builder and how Parquet encodes it, so
//! an entry is all there is to add; the schema, the writers and the README's table follow. A column
//! that only some jobs ask for is an entry of [`EXTRA`].
//!
//! Types are those that readers take without a second thought (pyarrow, DuckDB, polars, pandas,
//! Spark):
//!
//! - Words are plain text, not an Arrow dictionary. Parquet stores them as a dictionary all the
//!   same, so nothing is gained in size; and a dictionary comes back as a categorical, which polars
//!   refuses to compare or join with text, and pandas groups by all its values, used or not.
//! - Counts are signed 64-bit integers: Spark and many databases know no unsigned ones.
//! - Money is a decimal, exact: a price of a few dollars per million tokens, times a cache factor
//!   and the batch factor, ends at the twelfth decimal place, and 18 digits are what readers hold
//!   in a plain integer.

use arrow::datatypes::DataType;

use crate::join::JoinedRow;
use crate::outcome::details::{ToolCall, Wanted};
use crate::outcome::{Details, Outcome, Usage};

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
    pub(super) value: CellValue,
}

/// A column that only some jobs ask for, with `output.extra`.
#[derive(Debug)]
pub struct ExtraColumn {
    /// The column.
    pub column: Column,
    /// What has to be read from each result line for it.
    wanted: Wanted,
}

/// What a column holds, and the function that finds it in a joined row.
#[derive(Debug, Clone, Copy)]
pub(super) enum CellValue {
    /// One of few words: worth a dictionary.
    Word(for<'r> fn(&'r JoinedRow<'_>) -> Option<&'r str>),
    /// Text, or an id: nearly every row has its own.
    Text(for<'r> fn(&'r JoinedRow<'_>) -> Option<&'r str>),
    /// A number of things.
    Count(fn(&JoinedRow<'_>) -> Option<u64>),
    /// Text that is put together for the column.
    Made(fn(&JoinedRow<'_>) -> Option<String>),
    /// US dollars, counted in millionths of a millionth.
    Money(fn(&JoinedRow<'_>) -> Option<i64>),
    /// Whether the answers of the run come from the simulator: the same for all rows, so that a row
    /// says it wherever it is copied to.
    Simulated,
}

/// The name of the column that says whether a row is simulated. A simulated run has it unasked.
pub(super) const SIMULATED: &str = "simulated";

/// The columns, in the order they have in the output.
pub const COLUMNS: [Column; 20] = [
    Column {
        name: "status",
        meaning: "the row's status: `succeeded`, `truncated`, `refused`, `paused`, `invalid`, \
            `errored`, `expired`, `canceled`, `missing` or `unsent`",
        nullable: false,
        value: CellValue::Word(|row| Some(row.status.as_str())),
    },
    Column {
        name: "result",
        meaning: "the result type as the API reports it; null if there is no result line",
        nullable: true,
        value: CellValue::Word(|row| {
            Some(row.outcome()?.result.as_str()).filter(|word| !word.is_empty())
        }),
    },
    Column {
        name: "text",
        meaning: "the text of the answer, unchanged, also if it is truncated or does not match \
            the schema",
        nullable: true,
        value: CellValue::Text(|row| row.outcome()?.text.as_deref()),
    },
    Column {
        name: "stop_reason",
        meaning: "why the model stopped, as the API reports it",
        nullable: true,
        value: CellValue::Word(|row| row.outcome()?.stop_reason.as_deref()),
    },
    Column {
        name: "error_type",
        meaning: "the provider's error type, such as `invalid_request_error`, or why the row was \
            not sent, such as `too_large`",
        nullable: true,
        value: CellValue::Word(|row| row.error_type()),
    },
    Column {
        name: "error",
        meaning: "the error message: the provider's, why the answer does not match the schema, or \
            why the row was not sent",
        nullable: true,
        value: CellValue::Text(|row| row.error()),
    },
    Column {
        name: "model",
        meaning: "the model that answered",
        nullable: true,
        value: CellValue::Word(|row| row.outcome()?.model.as_deref()),
    },
    Column {
        name: "input_tokens",
        meaning: "input tokens neither written to nor read from a cache, so not the size of the \
            prompt; token columns hold what was billed: for an answer in several steps \
            (compaction, advisor) the sum of the steps",
        nullable: true,
        value: CellValue::Count(|row| usage(row)?.input_tokens),
    },
    Column {
        name: "cache_creation_5m_input_tokens",
        meaning: "input tokens written to the five-minute cache",
        nullable: true,
        value: CellValue::Count(|row| usage(row)?.cache_creation_5m_input_tokens),
    },
    Column {
        name: "cache_creation_1h_input_tokens",
        meaning: "input tokens written to the one-hour cache",
        nullable: true,
        value: CellValue::Count(|row| usage(row)?.cache_creation_1h_input_tokens),
    },
    Column {
        name: "cache_read_input_tokens",
        meaning: "input tokens read from a cache",
        nullable: true,
        value: CellValue::Count(|row| usage(row)?.cache_read_input_tokens),
    },
    Column {
        name: "output_tokens",
        meaning: "output tokens, including thinking",
        nullable: true,
        value: CellValue::Count(|row| usage(row)?.output_tokens),
    },
    Column {
        name: "thinking_tokens",
        meaning: "the part of the output tokens that was thinking",
        nullable: true,
        value: CellValue::Count(|row| usage(row)?.thinking_tokens),
    },
    Column {
        name: "service_tier",
        meaning: "the service tier that processed the request; it decides the price",
        nullable: true,
        value: CellValue::Word(|row| usage(row)?.service_tier.as_deref()),
    },
    Column {
        name: "cost_usd",
        meaning: "the cost of all attempts at the row in US dollars, exact; 0 if nothing was \
            billed, null if the cost of an attempt is unknown",
        nullable: true,
        value: CellValue::Money(|row| row.cost_pico_usd),
    },
    Column {
        name: "attempt",
        meaning: "the attempt that the row shows, from 1: the last successful one, otherwise the \
            last; the token columns are those of this attempt",
        nullable: true,
        value: CellValue::Count(|row| Some(row.attempt()?.attempt.into())),
    },
    Column {
        name: "custom_id",
        meaning: "the id of the request within its batch",
        nullable: true,
        value: CellValue::Text(|row| row.sent_as.as_deref().or(row.request.custom_id)),
    },
    Column {
        name: "batch_id",
        meaning: "the provider's id of the batch",
        nullable: true,
        value: CellValue::Word(|row| Some(&*row.attempt()?.batch_id)),
    },
    Column {
        name: "message_id",
        meaning: "the provider's id of the answer",
        nullable: true,
        value: CellValue::Text(|row| row.outcome()?.message_id.as_deref()),
    },
    Column {
        name: "request_hash",
        meaning: "a hash of the request; equal requests have equal hashes",
        nullable: true,
        value: CellValue::Text(|row| row.request.request_hash),
    },
];

/// The columns that a job can ask for, in the order they have behind the others.
pub const EXTRA: [ExtraColumn; 14] = [
    ExtraColumn {
        column: Column {
            name: "thinking",
            meaning: "the text of the thinking, if the API returns it (`thinking.display = \
                \"summarized\"`)",
            nullable: true,
            value: CellValue::Text(|row| details(row)?.thinking.as_deref()),
        },
        wanted: Wanted {
            thinking: true,
            ..NOTHING
        },
    },
    ExtraColumn {
        column: Column {
            name: "citations",
            meaning: "JSON: each part of the text that has citations, unchanged: `[{\"text\": …, \
                \"citations\": […]}]`",
            nullable: true,
            value: CellValue::Text(|row| details(row)?.citations.as_deref()),
        },
        wanted: Wanted {
            citations: true,
            ..NOTHING
        },
    },
    ExtraColumn {
        column: Column {
            name: "tool_calls",
            meaning: "JSON: all calls of the job's own tools, unchanged: `[{\"id\": …, \"name\": \
                …, \"input\": {…}}]`",
            nullable: true,
            value: CellValue::Made(tool_calls),
        },
        wanted: Wanted {
            tool_calls: true,
            ..NOTHING
        },
    },
    ExtraColumn {
        column: Column {
            name: "refusal_category",
            meaning: "the category of a refusal, such as `cyber`; the explanation is in \
                `_rm_error`",
            nullable: true,
            value: CellValue::Word(|row| details(row)?.refusal_category.as_deref()),
        },
        wanted: Wanted {
            words: true,
            ..NOTHING
        },
    },
    ExtraColumn {
        column: Column {
            name: "stop_sequence",
            meaning: "the stop sequence that ended the answer",
            nullable: true,
            value: CellValue::Word(|row| details(row)?.stop_sequence.as_deref()),
        },
        wanted: Wanted {
            words: true,
            ..NOTHING
        },
    },
    ExtraColumn {
        column: Column {
            name: "web_search_requests",
            meaning: "number of web searches that the provider made for the answer",
            nullable: true,
            value: CellValue::Count(|row| usage(row)?.web_search_requests),
        },
        wanted: NOTHING,
    },
    ExtraColumn {
        column: Column {
            name: "web_fetch_requests",
            meaning: "number of pages that the provider fetched for the answer",
            nullable: true,
            value: CellValue::Count(|row| usage(row)?.web_fetch_requests),
        },
        wanted: NOTHING,
    },
    ExtraColumn {
        column: Column {
            name: "code_execution_requests",
            meaning: "number of times that the provider ran code for the answer",
            nullable: true,
            value: CellValue::Count(|row| usage(row)?.code_execution_requests),
        },
        wanted: NOTHING,
    },
    ExtraColumn {
        column: Column {
            name: "inference_geo",
            meaning: "the region where the request ran, which can affect the price",
            nullable: true,
            value: CellValue::Word(|row| usage(row)?.inference_geo.as_deref()),
        },
        wanted: NOTHING,
    },
    ExtraColumn {
        column: Column {
            name: "error_code",
            meaning: "the provider's error code, more specific than the error type",
            nullable: true,
            value: CellValue::Word(|row| details(row)?.error_code.as_deref()),
        },
        wanted: Wanted {
            words: true,
            ..NOTHING
        },
    },
    ExtraColumn {
        column: Column {
            name: "request_id",
            meaning: "the provider's id of a failed request, for its support",
            nullable: true,
            value: CellValue::Text(|row| details(row)?.request_id.as_deref()),
        },
        wanted: Wanted {
            words: true,
            ..NOTHING
        },
    },
    ExtraColumn {
        column: Column {
            name: "message",
            meaning: "JSON: the whole message, unchanged",
            nullable: true,
            value: CellValue::Text(|row| details(row)?.message.as_deref()),
        },
        wanted: Wanted {
            message: true,
            ..NOTHING
        },
    },
    ExtraColumn {
        column: Column {
            name: "tag",
            meaning: "the row's label from `request.per_row.tag`; always present if the job sets \
                it",
            nullable: true,
            value: CellValue::Word(|row| row.request.tag),
        },
        wanted: NOTHING,
    },
    ExtraColumn {
        column: Column {
            name: SIMULATED,
            meaning: "whether the simulator invented the answer; a simulated run always has the \
                column, in every format",
            nullable: false,
            value: CellValue::Simulated,
        },
        wanted: NOTHING,
    },
];

const NOTHING: Wanted = Wanted {
    thinking: false,
    citations: false,
    tool_calls: false,
    message: false,
    words: false,
};

/// The extra columns of these names, in the order of the table.
///
/// # Errors
/// The first name for which there is no column.
pub(super) fn extra(names: &[String]) -> Result<Vec<&'static ExtraColumn>, &str> {
    match names
        .iter()
        .find(|name| !EXTRA.iter().any(|extra| extra.column.name == name.as_str()))
    {
        Some(unknown) => Err(unknown),
        None => Ok(EXTRA
            .iter()
            .filter(|extra| names.iter().any(|name| name == extra.column.name))
            .collect()),
    }
}

/// What has to be read from each result line for the extra columns of these names.
#[must_use]
pub fn wanted(names: &[String]) -> Wanted {
    extra(names)
        .unwrap_or_default()
        .into_iter()
        .fold(NOTHING, |wanted, extra| wanted.or(extra.wanted))
}

fn details<'r>(row: &'r JoinedRow<'_>) -> Option<&'r Details> {
    row.outcome()?.details.as_deref()
}

fn tool_calls(row: &JoinedRow<'_>) -> Option<String> {
    let calls = &details(row)?.tool_calls;
    if calls.is_empty() {
        return None;
    }
    let call = |call: &ToolCall| {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let id = call.id.as_deref().map_or_else(|| "null".to_owned(), text);
        format!(
            "{{\"id\":{id},\"name\":{},\"input\":{}}}",
            text(&call.name),
            call.input
        )
    };
    Some(format!(
        "[{}]",
        calls.iter().map(call).collect::<Vec<_>>().join(",")
    ))
}

fn usage<'r>(row: &'r JoinedRow<'_>) -> Option<&'r Usage> {
    row.outcome()
        .and_then(|outcome: &Outcome| outcome.usage.as_ref())
}

impl Column {
    /// The Arrow type.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self.value {
            CellValue::Word(_) | CellValue::Text(_) | CellValue::Made(_) => DataType::Utf8,
            CellValue::Count(_) => DataType::Int64,
            CellValue::Money(_) => DataType::Decimal128(MONEY.0, MONEY.1),
            CellValue::Simulated => DataType::Boolean,
        }
    }

    /// Whether few different values are expected, so that a dictionary pays.
    pub(super) fn repeats(&self) -> bool {
        !matches!(self.value, CellValue::Text(_) | CellValue::Made(_))
    }

    fn type_in_words(&self) -> String {
        match self.value {
            CellValue::Word(_) | CellValue::Text(_) | CellValue::Made(_) => "text".to_owned(),
            CellValue::Count(_) => "integer (64 bits)".to_owned(),
            CellValue::Money(_) => format!("decimal({}, {})", MONEY.0, MONEY.1),
            CellValue::Simulated => "boolean".to_owned(),
        }
    }
}

/// The table of columns in Markdown, with the default prefix.
#[must_use]
pub fn documentation() -> String {
    let line = |column: &Column| {
        let null = if column.nullable { "" } else { ", never null" };
        format!(
            "| `_rm_{}` | {}{null} | {} |\n",
            column.name,
            column.type_in_words(),
            column.meaning
        )
    };
    format!(
        "| column | type | description |\n|---|---|---|\n{}",
        COLUMNS.iter().map(line).collect::<String>()
    )
}

/// The table of the columns that a job can ask for, in Markdown.
#[must_use]
pub fn extra_documentation() -> String {
    let line = |ExtraColumn { column, .. }: &ExtraColumn| {
        format!(
            "| `\"{0}\"` | `_rm_{0}` | {1} | {2} |\n",
            column.name,
            column.type_in_words(),
            column.meaning
        )
    };
    format!(
        "| `output.extra` | column | type | description |\n|---|---|---|---|\n{}",
        EXTRA.iter().map(line).collect::<String>()
    )
}
