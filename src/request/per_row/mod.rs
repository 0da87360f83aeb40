//! What a row sets itself: its model, its `max_tokens`, its effort, its user and its tag.
//!
//! In come SQL expressions over the columns of the source, evaluated for a batch of rows at a
//! time; out goes a [`RowParams`] for each row, checked against the rules of its model. What rows
//! choose leaves the head and closes the fragment:
//!
//! ```text
//!  {"tools":[…],"system":[…],"messages":[   {row message}],"output_config":{…},"metadata":{…},"model":"…","max_tokens":…}
//!  └ head ───────────────────────────────┘ └ fragment ──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Model and limit come last, so that both can be found from the end of a fragment whatever the
//! row's own text is ([`FragmentTail`]): a row that was cut off is sent again with more tokens.
//!
//! To let rows choose another parameter: a key of [`PerRowSpec`], an entry in `PerRow::compile` and
//! its member in `PerRow::close`.

mod columns;
mod row_check;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::columns::{ExpressionColumn, expression, to_text, to_whole};
use self::row_check::{check, fault, not_worked_out};
use self::tail::{MAX_TOKENS, MODEL};
use super::rules::RequestFeatures;
use super::{Error, RequestSpec, encode};
use crate::catalog::Catalog;
use crate::table::Expression;
use crate::template::prompt::PromptLimits;

pub use tail::FragmentTail;

pub(super) use columns::PerRowValues;

/// The section `[request.per_row]`: for each parameter a column, or an SQL expression. Where it is
/// null, the job's own value holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerRowSpec {
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Most tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<String>,
    /// The level of effort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Whom the request is made for, without personal data: `metadata.user_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// A label of the row, for the output and the bill; it is not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

impl PerRowSpec {
    /// Whether rows choose nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == PerRowSpec::default()
    }
}

/// The compiled section.
#[derive(Debug, Default)]
pub(super) struct PerRow {
    model: Option<Expression>,
    max_tokens: Option<Expression>,
    effort: Option<Expression>,
    user_id: Option<Expression>,
    tag: Option<Expression>,
    /// The members of `output_config` that all rows have, where rows choose the effort:
    /// `"format":{…}`.
    config: Vec<u8>,
    /// The models, where the rules of a row's own have to be asked.
    catalog: Option<Catalog>,
}

/// Why a row's own choice cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`request.{key}` {why}; {fix}")]
pub struct RowParamError {
    /// The parameter, as the job names it.
    pub key: String,
    /// Why.
    pub why: String,
    /// What to do instead.
    pub fix: String,
}

/// What a row is sent with, besides its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowParams<'a> {
    /// The model, as the row or the job names it.
    pub model: &'a str,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// The level of effort, where one is named.
    pub effort: Option<&'a str>,
    /// Whom the request is made for.
    pub user_id: Option<&'a str>,
    /// The label, which is not sent.
    pub tag: Option<&'a str>,
}

impl PerRow {
    /// Compiles the section against the columns of the source.
    ///
    /// # Errors
    /// An expression that does not fit the columns, or makes values of another kind than the
    /// parameter has.
    pub(super) fn compile(
        spec: &RequestSpec,
        columns: &Schema,
        config: &Map<String, Value>,
        catalog: &Catalog,
    ) -> Result<PerRow, Error> {
        let metadata = spec.params.contains_key("metadata");
        let spec = &spec.per_row;
        if spec.user_id.is_some() && metadata {
            let why = "stands in `request.params.metadata` too".to_owned();
            return Err(Error::Param {
                key: "per_row.user_id".to_owned(),
                why,
                fix: "keep one of the two".to_owned(),
            });
        }
        let name = |key, sql: &Option<String>| {
            expression(key, sql.as_deref(), columns, "texts", |t| {
                *t == DataType::Utf8
            })
        };
        let number = |key, sql: &Option<String>| {
            expression(
                key,
                sql.as_deref(),
                columns,
                "numbers",
                DataType::is_numeric,
            )
        };
        let label = |key, sql: &Option<String>| {
            expression(
                key,
                sql.as_deref(),
                columns,
                "texts, numbers or dates",
                |t| !t.is_nested() && !t.is_binary(),
            )
        };
        let needs_rules =
            spec.model.is_some() || spec.max_tokens.is_some() || spec.effort.is_some();
        let rest = config.iter().filter(|(key, _)| *key != "effort");
        let rest: Map<String, Value> = rest
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let rest = if rest.is_empty() {
            String::new()
        } else {
            Value::Object(rest).to_string()
        };
        Ok(PerRow {
            model: name("model", &spec.model)?,
            max_tokens: number("max_tokens", &spec.max_tokens)?,
            effort: name("effort", &spec.effort)?,
            user_id: label("user_id", &spec.user_id)?,
            tag: label("tag", &spec.tag)?,
            config: rest
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'))
                .unwrap_or_default()
                .as_bytes()
                .to_vec(),
            catalog: needs_rules.then(|| catalog.clone()),
        })
    }

    /// Whether rows choose their model.
    pub(super) fn has_model(&self) -> bool {
        self.model.is_some()
    }

    /// What a request to a row's model may hold, where rows choose it.
    pub(super) fn limits(&self, model: &str) -> Option<PromptLimits> {
        self.model.as_ref()?;
        let (_, model) = self.catalog.as_ref()?.model(model)?;
        Some(super::job_checks::limits_of(model))
    }

    /// Whether rows choose the length of their answer.
    pub(super) fn has_max_tokens(&self) -> bool {
        self.max_tokens.is_some()
    }

    /// Whether rows choose their effort.
    pub(super) fn has_effort(&self) -> bool {
        self.effort.is_some()
    }

    /// Whether rows say whom they are for.
    pub(super) fn has_user_id(&self) -> bool {
        self.user_id.is_some()
    }

    /// Whether rows have tags.
    pub(super) fn has_tag(&self) -> bool {
        self.tag.is_some()
    }

    /// The columns that the expressions read.
    pub(super) fn columns(&self) -> BTreeSet<String> {
        let all = [
            &self.model,
            &self.max_tokens,
            &self.effort,
            &self.user_id,
            &self.tag,
        ];
        all.into_iter()
            .flatten()
            .flat_map(|expression| expression.columns().iter().cloned())
            .collect()
    }

    /// Evaluates the expressions for a batch.
    pub(super) fn values(&self, batch: &RecordBatch) -> PerRowValues {
        PerRowValues {
            model: ExpressionColumn::of(self.model.as_ref(), batch, to_text),
            max_tokens: ExpressionColumn::of(self.max_tokens.as_ref(), batch, to_whole),
            effort: ExpressionColumn::of(self.effort.as_ref(), batch, to_text),
            user_id: ExpressionColumn::of(self.user_id.as_ref(), batch, to_text),
            tag: ExpressionColumn::of(self.tag.as_ref(), batch, to_text),
        }
    }

    /// What a row is sent with, checked against what its model takes.
    pub(super) fn row_params<'a>(
        &self,
        values: &'a PerRowValues,
        row: usize,
        job: &'a JobParams,
    ) -> Result<RowParams<'a>, RowParamError> {
        let text = |key, column: &'a ExpressionColumn<StringArray>| {
            let cell = column
                .at(row)
                .map_err(|problem| not_worked_out(key, problem))?;
            Ok::<_, RowParamError>(
                cell.map(|(array, row)| array.value(row))
                    .filter(|text| !text.is_empty()),
            )
        };
        let wanted = values
            .max_tokens
            .at(row)
            .map_err(|problem| not_worked_out("max_tokens", problem))?;
        let max_tokens = match wanted.map(|(array, row)| array.value(row)) {
            None => job.max_tokens,
            Some(wanted) => match u32::try_from(wanted) {
                Ok(wanted @ 1..) => wanted,
                _ => {
                    return Err(fault(
                        "per_row.max_tokens",
                        format!("is {wanted}"),
                        "an answer has at least 1 token",
                    ));
                }
            },
        };
        let effort = text("effort", &values.effort)?;
        let params = RowParams {
            model: text("model", &values.model)?.unwrap_or(&job.model),
            max_tokens,
            effort: effort.or(job.features.effort.as_deref()),
            user_id: text("user_id", &values.user_id)?,
            tag: text("tag", &values.tag)?,
        };
        // Without a model, limit or effort of its own, a row is what the job is, which was checked
        // when the job was compiled.
        match &self.catalog {
            Some(catalog) => check(
                &params,
                (wanted.is_some(), effort.is_some()),
                catalog,
                &job.features,
            )
            .map(|()| params),
            None => Ok(params),
        }
    }

    /// Appends what closes a fragment: the end of the messages, then the row's own parameters.
    pub(super) fn close(&self, params: &RowParams<'_>, out: &mut Vec<u8>) {
        out.push(b']');
        if self.has_effort() && (params.effort.is_some() || !self.config.is_empty()) {
            out.extend_from_slice(b",\"output_config\":{");
            if let Some(effort) = params.effort {
                out.extend_from_slice(b"\"effort\":");
                encode::text(out, effort);
            }
            if params.effort.is_some() && !self.config.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(&self.config);
            out.push(b'}');
        }
        if let Some(user_id) = params.user_id {
            out.extend_from_slice(b",\"metadata\":{\"user_id\":");
            encode::text(out, user_id);
            out.push(b'}');
        }
        if self.has_model() {
            out.extend_from_slice(MODEL);
            encode::text(out, params.model);
        }
        if self.has_max_tokens() {
            out.extend_from_slice(MAX_TOKENS);
            out.extend_from_slice(params.max_tokens.to_string().as_bytes());
        }
        out.push(b'}');
    }
}

/// What the job says, for rows that do not choose.
#[derive(Debug)]
pub(super) struct JobParams {
    pub(super) model: String,
    pub(super) max_tokens: u32,
    pub(super) features: RequestFeatures,
}
