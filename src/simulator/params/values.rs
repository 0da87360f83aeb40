//! Names and values of parameters, by the table of `request/parameters.rs`.

use serde_json::Value;

use super::model_rules::ModelRules;
use super::reader::Fields;
use super::{CallContext, Endpoint};
use crate::request::parameters::{self, EXCLUSIVE, PARAMETERS, Parameter, ValueRule};
use crate::simulator::messages;
use crate::simulator::reply::ErrorReply;

/// The parameters without `messages`, as values; `null` means absent where the API says so.
pub(super) struct ParamValues(serde_json::Map<String, Value>);

impl ParamValues {
    pub(super) fn read(fields: &Fields<'_>) -> Result<ParamValues, ErrorReply> {
        let mut map = serde_json::Map::new();
        for (key, raw) in fields.iter().filter(|(key, _)| key != "messages") {
            let value = serde_json::from_str(raw.get())
                .map_err(|e| ErrorReply::invalid(format!("{key}: {e}")))?;
            map.insert(key.clone().into_owned(), value);
        }
        Ok(ParamValues(map))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let is_nullable = || parameters::parameter(key).is_some_and(|parameter| parameter.nullable);
        self.0
            .get(key)
            .filter(|value| !(value.is_null() && is_nullable()))
    }

    /// Refuses names that are not accepted here, by the table that `check` goes by. An unknown name
    /// that is no misspelling may be newer than the table.
    pub(super) fn check_names(&self, context: CallContext<'_>) -> Result<(), ErrorReply> {
        let extra = |key: &str| {
            let short: String = key.chars().take(60).collect();
            Err(ErrorReply::invalid(format!(
                "{short}: Extra inputs are not permitted"
            )))
        };
        for key in self.0.keys() {
            let Some(parameter) = parameters::parameter(key) else {
                if parameters::meant(key).is_some() {
                    return extra(key);
                }
                continue;
            };
            let is_refused = context.endpoint == Endpoint::Batch && parameter.owner.is_refused();
            if is_refused && parameter.message && self.get(key).is_some() {
                return Err(ErrorReply::invalid(format!(
                    "{key}: `{key}` is not supported in message batches"
                )));
            }
            let is_accepted = if context.endpoint == Endpoint::CountTokens {
                parameter.count
            } else {
                parameter.message
            };
            if !is_accepted
                || (self.get(key).is_some()
                    && !parameters::has_beta(parameter.betas, context.betas))
            {
                return extra(key);
            }
        }
        Ok(())
    }

    /// Checks the values by the table, then what must not stand together.
    pub(super) fn check_values(&self, rules: &ModelRules<'_>) -> Result<(), ErrorReply> {
        for parameter in PARAMETERS {
            if let Some(value) = self.get(parameter.name) {
                self.check_value(parameter, value, rules)?;
            }
        }
        let has = |name: &str| self.get(name).is_some();
        if let Some((name, other)) = EXCLUSIVE
            .iter()
            .find(|(name, other)| has(name) && has(other))
        {
            return Err(ErrorReply::invalid(format!(
                "{name}: cannot be combined with `{other}`"
            )));
        }
        let bills_a_profile = self
            .get("billing_policy")
            .is_some_and(parameters::bills_a_profile);
        if bills_a_profile && rules.context.endpoint == Endpoint::Batch {
            return Err(ErrorReply::invalid(
                "billing_policy.bill_to: `user_profile` is not supported in message batches",
            ));
        }
        Ok(())
    }

    fn check_value(
        &self,
        parameter: &Parameter,
        value: &Value,
        rules: &ModelRules<'_>,
    ) -> Result<(), ErrorReply> {
        let name = parameter.name;
        let bad = |what: &str| Err(ErrorReply::invalid(format!("{name}: {what}")));
        if parameter.old_version_only && rules.context.new_version {
            return bad("Extra inputs are not permitted");
        }
        match parameter.value {
            ValueRule::Number { min, max, .. } => match value.as_f64() {
                None => return bad("Input should be a valid number"),
                Some(number) if !(min..=max).contains(&number) => {
                    return bad(&format!("range: {min}..{max}"));
                }
                Some(_) => {}
            },
            ValueRule::OneOf(words) => {
                if !value.as_str().is_some_and(|word| words.contains(&word)) {
                    return bad(&format!("Input should be '{}'", words.join("' or '")));
                }
            }
            ValueRule::Texts => drop(self.texts(name)?),
            ValueRule::Members(known) => {
                if !value.is_object() {
                    return bad("Input should be a valid dictionary");
                }
                messages::only_keys(value, known, name)?;
            }
            ValueRule::NotStreamed => match value {
                Value::Bool(false) => {}
                Value::Bool(true) if rules.context.endpoint == Endpoint::Batch => {
                    return bad("`stream` is not supported in message batches");
                }
                Value::Bool(true) => return bad("the simulator does not stream"),
                _ => return bad("Input should be a valid boolean"),
            },
            ValueRule::Checked(problem) => {
                if let Some(why) = problem(value) {
                    return bad(why);
                }
            }
            // Checked where they are read: in `read_head`, in `model_rules.rs` and in `tools.rs`.
            ValueRule::Any | ValueRule::CacheMark | ValueRule::Thinking | ValueRule::ToolChoice => {
            }
        }
        // Under the older version, models without a sampling parameter still accept its default.
        let is_default = value
            .as_f64()
            .is_some_and(|number| parameter.is_default(number));
        if !(parameter.models)(rules.model) && !is_default {
            return bad(&format!("`{name}` is not supported on this model"));
        }
        Ok(())
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, ErrorReply> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let bad = || ErrorReply::invalid(format!("{key}: Input should be a valid list of strings"));
        let texts: Vec<String> = value
            .as_array()
            .ok_or_else(bad)?
            .iter()
            .map(|v| v.as_str().map(str::to_owned).ok_or_else(bad))
            .collect::<Result<_, _>>()?;
        match texts.iter().position(|text| text.trim().is_empty()) {
            Some(n) => Err(ErrorReply::invalid(format!(
                "{key}.{n}: each stop sequence must contain non-whitespace"
            ))),
            None => Ok(texts),
        }
    }

    /// The schema that answers are checked against, where there is one.
    pub(super) fn answer_schema(&self) -> Option<&Value> {
        self.get("output_config")?.get("format")?.get("schema")
    }
}
