//! What a row chooses by itself: its model, its `max_tokens`, its effort, its user and its tag.
//!
//! In come SQL expressions over the columns of the source, worked out for a batch of rows at a
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

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::Catalog;
use crate::table::Expression;
use crate::template::prompt::media::PromptLimits;

use super::rules::{ModelCase, RequestFeatures};
use super::{Error, RequestSpec, encode};

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
        Some(super::limits_of(model))
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

    /// Works the expressions out for a batch.
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

/// Asks the rules of a row's model; `own` says whether limit and effort are the row's own.
fn check(
    params: &RowParams<'_>,
    own: (bool, bool),
    catalog: &Catalog,
    features: &RequestFeatures,
) -> Result<(), RowParamError> {
    let Some((_, model)) = catalog.model(params.model) else {
        return Err(unknown_model(params.model, catalog));
    };
    if model.prices.is_none() {
        let why = format!("is `{}`, whose price is not known", params.model);
        return Err(fault(
            "per_row.model",
            why,
            "give it one in a model table of your own, or use another model",
        ));
    }
    let case = ModelCase {
        id: params.model,
        model,
        max_tokens: params.max_tokens.into(),
        effort: params.effort,
        features,
    };
    let Some(violation) = case.violation() else {
        return Ok(());
    };
    let is_rows = match violation.key {
        "max_tokens" => own.0,
        "effort" => own.1,
        _ => false,
    };
    let key = if is_rows {
        format!("per_row.{}", violation.key)
    } else {
        violation.key.to_owned()
    };
    // A value that no model has is a cell, and cells stay out of messages.
    let is_known = params.effort.is_none_or(|effort| {
        catalog
            .models
            .values()
            .any(|model| model.effort.iter().any(|l| l == effort))
    });
    let why = match violation.key {
        "effort" if is_rows && !is_known => "is none of the levels of effort".to_owned(),
        _ => violation.why,
    };
    Err(RowParamError {
        key,
        why,
        fix: violation.fix,
    })
}

/// What the job says, for rows that do not choose.
#[derive(Debug)]
pub(super) struct JobParams {
    pub(super) model: String,
    pub(super) max_tokens: u32,
    pub(super) features: RequestFeatures,
}

/// The expressions' values for a batch of rows.
#[derive(Debug)]
pub(super) struct PerRowValues {
    model: ExpressionColumn<StringArray>,
    max_tokens: ExpressionColumn<Int64Array>,
    effort: ExpressionColumn<StringArray>,
    user_id: ExpressionColumn<StringArray>,
    tag: ExpressionColumn<StringArray>,
}

impl PerRowValues {
    /// A row's tag; none where it cannot be worked out, which [`PerRow::choice`] tells of.
    pub(super) fn tag(&self, row: usize) -> Option<&str> {
        let (array, row) = self.tag.at(row).ok()??;
        Some(array.value(row)).filter(|tag| !tag.is_empty())
    }
}

/// An expression's values.
#[derive(Debug)]
enum ExpressionColumn<A> {
    /// There is no expression.
    Absent,
    /// A value a row.
    Whole(A),
    /// A value a row, each by itself: some row of the batch makes the expression fail, and the
    /// others shall not suffer for it.
    Single(Vec<Result<A, String>>),
}

impl<A: Array> ExpressionColumn<A> {
    fn of(
        expression: Option<&Expression>,
        batch: &RecordBatch,
        convert: fn(&ArrayRef) -> Result<A, String>,
    ) -> ExpressionColumn<A> {
        let Some(expression) = expression else {
            return ExpressionColumn::Absent;
        };
        let evaluate = |batch: &RecordBatch| {
            expression
                .evaluate(batch)
                .map_err(|e| e.to_string())
                .and_then(|values| convert(&values))
        };
        match evaluate(batch) {
            Ok(values) => ExpressionColumn::Whole(values),
            Err(_) => ExpressionColumn::Single(
                (0..batch.num_rows())
                    .map(|row| evaluate(&batch.slice(row, 1)))
                    .collect(),
            ),
        }
    }

    /// Where a row's value stands; `None` where it has none.
    fn at(&self, row: usize) -> Result<Option<(&A, usize)>, &str> {
        let (array, row) = match self {
            ExpressionColumn::Absent => return Ok(None),
            ExpressionColumn::Whole(array) => (array, row),
            ExpressionColumn::Single(rows) => (rows[row].as_ref().map_err(String::as_str)?, 0),
        };
        Ok(array.is_valid(row).then_some((array, row)))
    }
}

fn expression(
    key: &'static str,
    sql: Option<&str>,
    columns: &Schema,
    kind: &str,
    fits: impl Fn(&DataType) -> bool,
) -> Result<Option<Expression>, Error> {
    let Some(sql) = sql else { return Ok(None) };
    // The name of a column is an expression, also where it would have to stand in quotes.
    let quoted = columns
        .field_with_name(sql)
        .ok()
        .map(|field| format!("\"{}\"", field.name().replace('"', "\"\"")));
    let expression =
        Expression::parse(quoted.as_deref().unwrap_or(sql), columns).map_err(|source| {
            Error::Expression {
                key,
                source: Box::new(source),
            }
        })?;
    let made = expression.data_type();
    if fits(made) || *made == DataType::Null {
        return Ok(Some(expression));
    }
    let why = format!("makes values of the type {made} by `{sql}`");
    Err(Error::Param {
        key: format!("per_row.{key}"),
        why,
        fix: format!("it takes {kind}"),
    })
}

fn to_text(values: &ArrayRef) -> Result<StringArray, String> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(values, &DataType::Utf8, &options)
        .map(|texts| texts.as_string().clone())
        .map_err(|e| e.to_string())
}

/// Numbers as whole ones, rounded up: tokens are not counted in parts.
fn to_whole(values: &ArrayRef) -> Result<Int64Array, String> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast = |values: &ArrayRef, to: &DataType| {
        cast_with_options(values, to, &options).map_err(|e| e.to_string())
    };
    if values.data_type().is_integer() || *values.data_type() == DataType::Null {
        return Ok(cast(values, &DataType::Int64)?
            .as_primitive::<Int64Type>()
            .clone());
    }
    let floats = cast(values, &DataType::Float64)?;
    let ceiled: ArrayRef = std::sync::Arc::new(
        floats
            .as_primitive::<Float64Type>()
            .unary::<_, Float64Type>(f64::ceil),
    );
    Ok(cast(&ceiled, &DataType::Int64)?
        .as_primitive::<Int64Type>()
        .clone())
}

fn fault(key: &str, why: impl Into<String>, fix: impl Into<String>) -> RowParamError {
    RowParamError {
        key: key.to_owned(),
        why: why.into(),
        fix: fix.into(),
    }
}

fn not_worked_out(key: &str, problem: &str) -> RowParamError {
    fault(
        &format!("per_row.{key}"),
        format!("cannot be worked out: {problem}"),
        "mend the cell or the expression",
    )
}

/// A model that no one knows. What is no model's name by its looks is a cell of another column, and
/// is not repeated.
fn unknown_model(name: &str, catalog: &Catalog) -> RowParamError {
    let is_name = name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if let Some(advice) = catalog
        .advice(name, catalog.date)
        .filter(|_| catalog.retired(name).is_some())
    {
        return fault(
            "per_row.model",
            format!("is a model that is gone: {advice}"),
            "use another one",
        );
    }
    let why = if is_name {
        format!("is the unknown model `{name}`")
    } else {
        "is no name of a model".to_owned()
    };
    match catalog.nearest(name).first().filter(|_| is_name) {
        Some(near) => fault("per_row.model", why, format!("did you mean `{near}`?")),
        None => fault(
            "per_row.model",
            why,
            "docs/models.md lists the models that are known",
        ),
    }
}

const MODEL: &[u8] = b",\"model\":";
const MAX_TOKENS: &[u8] = b",\"max_tokens\":";

/// The end of a fragment whose row chose by itself.
///
/// Read backwards, because only there nothing of the row's own text can be taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentTail<'f> {
    /// The fragment up to here.
    before: &'f [u8],
    /// The row's model, where rows choose it.
    pub model: Option<&'f str>,
    /// The row's limit, where rows choose it.
    pub max_tokens: Option<u32>,
}

impl<'f> FragmentTail<'f> {
    /// Reads the end of a fragment of a job whose rows choose model or limit (or neither).
    #[must_use]
    pub fn of(
        fragment: &'f [u8],
        has_model: bool,
        has_max_tokens: bool,
    ) -> Option<FragmentTail<'f>> {
        let mut before = fragment.strip_suffix(b"}")?;
        let mut max_tokens = None;
        if has_max_tokens {
            let digits = before
                .iter()
                .rev()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            let (rest, number) = before.split_at(before.len() - digits);
            before = rest.strip_suffix(MAX_TOKENS)?;
            max_tokens = Some(std::str::from_utf8(number).ok()?.parse().ok()?);
        }
        let mut model = None;
        if has_model {
            let closed = before.strip_suffix(b"\"")?;
            let open = memchr::memrchr(b'"', closed)?;
            before = closed[..open].strip_suffix(MODEL)?;
            model = Some(std::str::from_utf8(&closed[open + 1..]).ok()?);
        }
        Some(FragmentTail {
            before,
            model,
            max_tokens,
        })
    }

    /// The same fragment with another limit.
    #[must_use]
    pub fn with_max_tokens(&self, max_tokens: u32) -> Vec<u8> {
        let mut out = self.before.to_vec();
        if let Some(model) = self.model {
            out.extend_from_slice(MODEL);
            encode::text(&mut out, model);
        }
        out.extend_from_slice(MAX_TOKENS);
        out.extend_from_slice(max_tokens.to_string().as_bytes());
        out.push(b'}');
        out
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::request::{RequestHash, Requests, with_max_tokens};

    fn rows() -> RecordBatch {
        let text =
            |values: [Option<&str>; 3]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        RecordBatch::try_from_iter([
            (
                "body",
                text([Some("a\",\"max_tokens\":7}"), Some("bb"), Some("c")]),
            ),
            (
                "which model",
                text([Some("claude-haiku-5-5"), None, Some("claude-sonnet-4-6")]),
            ),
            ("effort", text([Some("max"), None, Some("max")])),
            ("number", text([Some("12"), Some("x"), Some("3")])),
            (
                "length",
                Arc::new(Int64Array::from(vec![Some(300), None, Some(0)])) as ArrayRef,
            ),
        ])
        .unwrap()
    }

    fn compile(per_row: &str) -> Result<Requests, Error> {
        let job = format!(
            "model = \"claude-opus-5-5\"\nmax_tokens = 2000\nmessages = \
             [{{ role = \"user\", text = \"{{{{ body }}}}\" }}]\n{per_row}"
        );
        Requests::compile(
            &toml::from_str(&job).unwrap(),
            Path::new("."),
            &rows().schema(),
            Catalog::builtin(),
        )
    }

    fn rendered(requests: &Requests) -> Vec<Result<String, String>> {
        let batch = rows();
        let rows = requests.rows(&batch);
        let row = |row| {
            let mut out = b"before".to_vec();
            let hash = rows.render(row, &mut out).map_err(|e| e.to_string());
            assert!(hash.is_ok() || out == b"before");
            let fragment = out[6..].to_vec();
            let params = requests.params_json(&fragment);
            assert!(
                hash.as_ref().is_err()
                    || RequestHash::of(requests.head(), &fragment) == *hash.as_ref().unwrap()
            );
            hash.map(|_| String::from_utf8(params).unwrap())
        };
        (0..3).map(row).collect()
    }

    #[test]
    fn rows_choose_and_leave_the_rest_to_the_job() {
        let requests = compile(
            "[per_row]\nmodel = \"which model\"\nmax_tokens = \"length / 7\"\nuser_id = \
                \"length\"\ntag = \"effort\"",
        )
        .unwrap();
        assert_eq!(
            std::str::from_utf8(requests.head()).unwrap(),
            r#"{"messages":["#
        );
        let sent = rendered(&requests);
        let first = r#"{"messages":[{"role":"user","content":"a\",\"max_tokens\":7}"}],"metadata":{"user_id":"300"},"model":"claude-haiku-5-5","max_tokens":43}"#;
        assert_eq!(sent[0].as_deref().unwrap(), first);
        let second = r#"{"messages":[{"role":"user","content":"bb"}],"model":"claude-opus-5-5","max_tokens":2000}"#;
        assert_eq!(sent[1].as_deref().unwrap(), second);
        let third = "`request.per_row.max_tokens` is 0; an answer has at least 1 token";
        assert_eq!(sent[2].as_ref().unwrap_err(), third);
        let batch = rows();
        let values = requests.rows(&batch);
        let params = values.row_params(0).unwrap();
        assert_eq!(
            (params.tag, params.user_id, params.effort),
            (Some("max"), Some("300"), None)
        );
        let columns = ["body", "effort", "length", "which model"].map(str::to_owned);
        assert_eq!(
            requests.columns(),
            crate::template::Columns::Named(columns.into())
        );
    }

    #[test]
    fn the_effort_takes_what_stands_beside_it_along() {
        let requests = compile(
            "effort = \"low\"\nparams = { output_config = { other = { a = 1 } } }\nper_row = \
             { effort = \"effort\", model = \"'claude-opus-5'\" }",
        );
        let requests = requests.unwrap();
        let sent: Vec<serde_json::Value> = rendered(&requests)
            .iter()
            .map(|sent| serde_json::from_str(sent.as_ref().unwrap()).unwrap())
            .collect();
        assert_eq!(
            sent[0]["output_config"],
            json!({"effort": "max", "other": {"a": 1}})
        );
        assert_eq!(
            sent[1]["output_config"],
            json!({"effort": "low", "other": {"a": 1}})
        );
        assert!(
            requests
                .head()
                .starts_with(br#"{"max_tokens":2000,"messages""#)
        );
    }

    #[test]
    fn a_row_is_at_fault_for_what_its_model_does_not_take() {
        let sent = rendered(
            &compile(
                "thinking = \"adaptive\"\nper_row = \
                { model = \"which model\", effort = \"effort\" }",
            )
            .unwrap(),
        );
        assert!(
            sent[0].is_ok() && sent[1].is_ok() && sent[2].is_ok(),
            "{sent:?}"
        );
        for (per_row, row, words) in [
            (
                "model = \"'claude-haiku-4-6'\"",
                0,
                "`request.per_row.model` is the unknown model `claude-haiku-4-6`; did you mean \
                 `claude-haiku-4-5`?",
            ),
            (
                "model = \"body\"",
                0,
                "`request.per_row.model` is no name of a model; docs/models.md",
            ),
            (
                "model = \"'claude-3-opus-20240229'\"",
                0,
                "is a model that is gone: model `claude-3-opus-20240229` was retired",
            ),
            (
                "model = \"'claude-haiku-4-5'\", effort = \"effort\"",
                0,
                "is \"max\", but `claude-haiku-4-5` has no levels of effort; leave it out",
            ),
            (
                "effort = \"body\"",
                1,
                "`request.per_row.effort` is none of the levels of effort; it takes \"low\"",
            ),
            (
                "max_tokens = \"length * 1000\"",
                0,
                "`request.per_row.max_tokens` is 300000, but `claude-opus-5-5` makes at most 128000",
            ),
            (
                "max_tokens = \"CAST(number AS INT)\"",
                1,
                "`request.per_row.max_tokens` cannot be worked out: ",
            ),
        ] {
            let found = rendered(&compile(&format!("per_row = {{ {per_row} }}")).unwrap());
            assert!(
                found[row].as_ref().unwrap_err().contains(words),
                "{per_row}\n  expected {words}\n  found    {found:?}"
            );
        }
        let found =
            rendered(&compile("per_row = { max_tokens = \"CAST(number AS INT)\" }").unwrap());
        assert!(
            found[0].is_ok() && found[2].is_ok(),
            "one bad cell is no fault of other rows: {found:?}"
        );
    }

    #[test]
    fn the_limits_are_those_of_a_rows_own_model() {
        // The job's model has no effort; a row that chooses another one has.
        let job = |model: &str, rest: &str| {
            let messages = if rest.contains("messages") {
                ""
            } else {
                "messages = [{ role = \"user\", text = \"{{ body }}\" }]\n"
            };
            let job = format!(
                "model = \"{model}\"\nmax_tokens = 2000\n{messages}{rest}\nper_row = \
                 {{ model = \"which model\" }}"
            );
            let spec = toml::from_str(&job).unwrap();
            rendered(
                &Requests::compile(&spec, Path::new("."), &rows().schema(), Catalog::builtin())
                    .unwrap(),
            )
        };
        let sent = job("claude-haiku-4-5", "effort = \"high\"");
        assert!(sent[0].is_ok() && sent[2].is_ok(), "{sent:?}");
        assert!(
            sent[1]
                .as_ref()
                .unwrap_err()
                .contains("`claude-haiku-4-5` has no levels of effort"),
            "{sent:?}"
        );
        // A version of a tool that the job's model takes and a row's does not.
        let old = "[per_row]\nmodel = \"CASE WHEN body = 'bb' THEN 'claude-haiku-4-5' END\"";
        let found =
            rendered(&compile(&format!("tools = [{{ server = \"web_search\" }}]\n{old}")).unwrap());
        assert!(found[0].is_ok() && found[2].is_ok(), "{found:?}");
        assert!(
            found[1]
                .as_ref()
                .unwrap_err()
                .contains("not for `claude-haiku-4-5`; write `{ server = \"web_search\""),
            "{found:?}"
        );
        // A message of the role `system`, by the job and in a conversation.
        let system = "messages = [{ role = \"user\", text = \"{{ body }}\" }, \
            { role = \"system\", text = \"Be brief.\" }]";
        let found = job("claude-opus-5", system);
        assert!(found[0].is_ok() && found[1].is_ok(), "{found:?}");
        assert!(
            found[2]
                .as_ref()
                .unwrap_err()
                .contains("`claude-sonnet-4-6` does not take"),
            "{found:?}"
        );
    }

    #[test]
    fn refuses_expressions_that_fit_no_row() {
        for (per_row, words) in [
            (
                "model = \"length\"",
                "`request.per_row.model` makes values of the type Int64 by `length`; it takes texts",
            ),
            (
                "max_tokens = \"body\"",
                "`request.per_row.max_tokens` makes values of the type Utf8 by `body`; it takes \
                 numbers",
            ),
            (
                "effort = \"efort\"",
                "`request.per_row.effort` does not fit the table",
            ),
        ] {
            let found = compile(&format!("per_row = {{ {per_row} }}"))
                .unwrap_err()
                .to_string();
            assert!(found.contains(words), "{found}");
        }
        let both = compile(
            "params = { metadata = { user_id = \"u\" } }\nper_row = { user_id = \"body\" }",
        )
        .unwrap_err();
        assert!(
            both.to_string()
                .contains("`request.per_row.user_id` stands in `request.params.metadata` too")
        );
    }

    #[test]
    fn finds_the_limit_wherever_it_stands() {
        let head = br#"{"model":"claude-haiku-4-5","max_tokens":10,"tools":[{"max_tokens":5}]"#;
        let longer = with_max_tokens(head, 20).unwrap();
        assert_eq!(
            longer,
            br#"{"model":"claude-haiku-4-5","max_tokens":20,"tools":[{"max_tokens":5}]"#
        );
        assert_eq!(
            with_max_tokens(br#"{"max_tokens":10,"system""#, 7).unwrap(),
            br#"{"max_tokens":7,"system""#
        );
        assert_eq!(with_max_tokens(br#"{"tools":[{"max_tokens":5}]"#, 7), None);
        assert_eq!(
            with_max_tokens(br#"{"model":"m","tools":[{"max_tokens":5}]"#, 7),
            None
        );
        let fragment = br#"{"role":"user","content":"x"}],"model":"m","max_tokens":12}"#;
        let tail = FragmentTail::of(fragment, true, true).unwrap();
        assert_eq!((tail.model, tail.max_tokens), (Some("m"), Some(12)));
        assert_eq!(
            tail.with_max_tokens(24),
            br#"{"role":"user","content":"x"}],"model":"m","max_tokens":24}"#
        );
        let tail = FragmentTail::of(br#"{"a":1}],"max_tokens":3}"#, false, true).unwrap();
        assert_eq!(tail.with_max_tokens(4), br#"{"a":1}],"max_tokens":4}"#);
        assert_eq!(FragmentTail::of(br#"{"a":1}]}"#, false, true), None);
    }
}
