//! What one model accepts: limits, effort, thinking, structured output.

use serde_json::Value;

use super::values::ParamValues;
use super::{CallContext, Endpoint, ThinkingMode, schemas};
use crate::catalog::{Model, Thinking, Tokenizer};
use crate::request::betas::LONG_OUTPUT;
use crate::request::parameters::{
    self, LEAST_THINKING_BUDGET, OUTPUT_CONFIG, THINKING_DISPLAYS, THINKING_MEMBERS, THINKING_TYPES,
};
use crate::simulator::reply::ErrorReply;

/// What one model takes under the terms of one call.
pub(super) struct ModelRules<'a> {
    pub(super) id: &'a str,
    pub(super) model: &'a Model,
    pub(super) context: CallContext<'a>,
}

impl ModelRules<'_> {
    pub(super) fn max_tokens(&self, value: Option<&Value>) -> Result<u64, ErrorReply> {
        if self.context.endpoint == Endpoint::CountTokens {
            return Ok(u64::MAX);
        }
        let value = value.ok_or_else(|| ErrorReply::invalid("max_tokens: Field required"))?;
        let wanted = value
            .as_i64()
            .ok_or_else(|| ErrorReply::invalid("max_tokens: Input should be a valid integer"))?;
        let least = if self.context.endpoint == Endpoint::Batch {
            1
        } else {
            0
        };
        if wanted < least {
            return Err(ErrorReply::invalid(format!(
                "max_tokens: Input should be greater than or equal to {least}"
            )));
        }
        let wanted = wanted.unsigned_abs();
        let longer = self.model.max_batch_output_tokens.filter(|_| {
            self.context.has_beta(LONG_OUTPUT) && self.context.endpoint == Endpoint::Batch
        });
        let most = longer.unwrap_or(self.model.max_output_tokens);
        if wanted > most {
            let text = format!(
                "max_tokens: {wanted} > {most}, which is the maximum allowed number of output \
                 tokens for {}",
                self.id
            );
            return Err(ErrorReply::invalid(text));
        }
        Ok(wanted)
    }

    /// The API takes one sampling method at a time from models that sample.
    pub(super) fn sampling(&self, params: &ParamValues) -> Result<(), ErrorReply> {
        let has_both = params.get("temperature").is_some() && params.get("top_p").is_some();
        if has_both && self.model.sampling {
            let text = "`temperature` and `top_p` cannot both be specified for this model. Please \
                use only one.";
            return Err(ErrorReply::invalid(text));
        }
        Ok(())
    }

    pub(super) fn effort(&self, params: &ParamValues) -> Result<Option<String>, ErrorReply> {
        let Some(config) = params.get("output_config") else {
            return Ok(None);
        };
        let Value::Object(fields) = config else {
            return Err(ErrorReply::invalid(
                "output_config: Input should be a valid dictionary",
            ));
        };
        for (key, betas) in OUTPUT_CONFIG {
            if fields.contains_key(*key) && !parameters::has_beta(betas, self.context.betas) {
                return Err(ErrorReply::invalid(format!(
                    "output_config.{key}: Extra inputs are not permitted"
                )));
            }
        }
        if let Some(why) = fields
            .get("task_budget")
            .filter(|v| !v.is_null())
            .and_then(parameters::task_budget)
        {
            return Err(ErrorReply::invalid(format!(
                "output_config.task_budget: {why}"
            )));
        }
        let Some(effort) = fields.get("effort").filter(|v| !v.is_null()) else {
            return Ok(None);
        };
        if self.model.effort.is_empty() {
            return Err(ErrorReply::invalid(
                "output_config.effort: This model does not support the effort parameter.",
            ));
        }
        match effort.as_str() {
            Some(level) if self.model.effort.iter().any(|known| known == level) => {
                Ok(Some(level.to_owned()))
            }
            _ => Err(ErrorReply::invalid(format!(
                "output_config.effort: Input should be one of '{}'",
                self.model.effort.join("', '")
            ))),
        }
    }

    pub(super) fn thinking(
        &self,
        value: Option<&Value>,
        max_tokens: u64,
        effort: Option<&str>,
    ) -> Result<Option<ThinkingMode>, ErrorReply> {
        let shown_by_default = self.model.tokenizer == Tokenizer::First;
        let by_default = matches!(
            self.model.thinking,
            Thinking::AdaptiveDefault | Thinking::Always
        );
        let Some(value) = value else {
            return Ok(by_default.then_some(ThinkingMode {
                budget: None,
                shown: false,
            }));
        };
        let kind = value
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let display = value.get("display").and_then(Value::as_str);
        if display.is_some_and(|display| !THINKING_DISPLAYS.contains(&display)) {
            return Err(ErrorReply::invalid(format!(
                "thinking.{kind}.display: Input should be 'summarized' or 'omitted'"
            )));
        }
        for (key, kinds) in THINKING_MEMBERS {
            if value.get(*key).is_some() && !kinds.contains(&kind) {
                return Err(ErrorReply::invalid(format!(
                    "thinking.{kind}.{key}: Extra inputs are not permitted"
                )));
            }
        }
        let shown = display.map_or(shown_by_default, |display| display == "summarized");
        let refuse = |what: &str| Err(ErrorReply::invalid(format!("thinking.type: {what}")));
        let is_refused = self
            .model
            .thinking_refused
            .iter()
            .any(|refused| refused == kind);
        if is_refused || (kind == "between_tools" && !self.model.between_tools) {
            return refuse(&format!("`{kind}` is not supported on this model"));
        }
        match kind {
            "adaptive" => Ok(Some(ThinkingMode {
                budget: None,
                shown,
            })),
            "enabled" => self.budget(value, max_tokens, shown).map(Some),
            "disabled" | "between_tools" if self.is_too_eager(effort) => {
                refuse("thinking can only be disabled at effort high or below on this model")
            }
            "disabled" | "between_tools" => Ok(None),
            _ => refuse(&format!(
                "Input tag does not match any of the expected tags: '{}'",
                THINKING_TYPES.join("', '")
            )),
        }
    }

    /// Whether thinking cannot be off at this effort.
    fn is_too_eager(&self, effort: Option<&str>) -> bool {
        let levels = &self.model.thinking_off_effort;
        !levels.is_empty()
            && effort.is_some_and(|effort| !levels.iter().any(|level| level == effort))
    }

    fn budget(
        &self,
        value: &Value,
        max_tokens: u64,
        shown: bool,
    ) -> Result<ThinkingMode, ErrorReply> {
        let budget = value
            .get("budget_tokens")
            .ok_or_else(|| ErrorReply::invalid("thinking.enabled.budget_tokens: Field required"))?;
        match budget.as_u64() {
            Some(budget) if budget < LEAST_THINKING_BUDGET => Err(ErrorReply::invalid(format!(
                "thinking.enabled.budget_tokens: Input should be greater than or equal to \
                 {LEAST_THINKING_BUDGET}"
            ))),
            Some(budget) if budget >= max_tokens => Err(ErrorReply::invalid(
                "`max_tokens` must be greater than `thinking.budget_tokens`.",
            )),
            Some(budget) => Ok(ThinkingMode {
                budget: Some(budget),
                shown,
            }),
            None => Err(ErrorReply::invalid(
                "thinking.enabled.budget_tokens: Input should be a valid integer",
            )),
        }
    }

    pub(super) fn format(&self, params: &ParamValues) -> Result<Option<Value>, ErrorReply> {
        let new = params
            .get("output_config")
            .and_then(|config| config.get("format"))
            .filter(|v| !v.is_null());
        let (format, path) = match (new, params.get("output_format")) {
            (Some(format), _) => (format, "output_config.format"),
            (None, Some(format)) if !format.is_null() => (format, "output_format"),
            _ => return Ok(None),
        };
        if !self.model.structured_output {
            return Err(ErrorReply::invalid(format!(
                "{path}: structured output is not supported on this model"
            )));
        }
        if format.get("type").and_then(Value::as_str) != Some("json_schema") {
            return Err(ErrorReply::invalid(format!(
                "{path}.type: Input should be 'json_schema'"
            )));
        }
        let schema = format
            .get("schema")
            .ok_or_else(|| ErrorReply::invalid(format!("{path}.schema: Field required")))?;
        match schemas::problem(schema) {
            Some(problem) => Err(ErrorReply::invalid(format!("{path}.schema{problem}"))),
            None => Ok(Some(schema.clone())),
        }
    }
}
