//! What the list says of one model, in the catalog's terms.

use jiff::civil::Date;
use serde_json::Value;

use crate::catalog::Lifecycle;
use crate::provider::ModelInfo;

/// The kinds of thinking that the catalog keeps account of.
pub(super) const THINKING: [&str; 3] = ["adaptive", "disabled", "enabled"];
/// The levels of effort, in their order.
const EFFORT: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// What the list says of a model, in the catalog's terms; `None` where it says nothing.
#[derive(Debug, Default)]
pub(super) struct ListedModel {
    pub(super) lifecycle: Option<Lifecycle>,
    pub(super) retires: Option<Date>,
    pub(super) context_tokens: Option<u64>,
    pub(super) max_output_tokens: Option<u64>,
    pub(super) structured_output: Option<bool>,
    pub(super) effort: Option<Vec<String>>,
    pub(super) thinking_refused: Option<Vec<String>>,
    pub(super) between_tools: Option<bool>,
}

impl ListedModel {
    pub(super) fn of(info: &ModelInfo) -> ListedModel {
        let at = |pointer: &str| info.more.get(pointer).filter(|value| !value.is_null());
        let capabilities = at("capabilities").cloned().unwrap_or_default();
        let can = |value: &Value| value.get("supported").and_then(Value::as_bool);
        let effort = capabilities
            .get("effort")
            .filter(|effort| effort.is_object());
        let levels = |effort: &Value| {
            EFFORT
                .into_iter()
                .filter(|level| can(&effort[*level]) == Some(true))
                .map(str::to_owned)
                .collect()
        };
        let types = capabilities
            .pointer("/thinking/types")
            .filter(|types| types.is_object());
        let refused = |types: &Value| {
            THINKING
                .into_iter()
                .filter(|kind| can(&types[*kind]) == Some(false))
                .map(str::to_owned)
                .collect()
        };
        ListedModel {
            lifecycle: at("lifecycle")
                .and_then(Value::as_str)
                .and_then(|word| match word {
                    "active" => Some(Lifecycle::Active),
                    "deprecated" => Some(Lifecycle::Deprecated),
                    "retired" => Some(Lifecycle::Retired),
                    _ => None,
                }),
            retires: at("retires_at")
                .and_then(Value::as_str)
                .and_then(|time| time.get(..10)?.parse().ok()),
            context_tokens: at("max_input_tokens").and_then(Value::as_u64),
            max_output_tokens: at("max_tokens").and_then(Value::as_u64),
            structured_output: capabilities.get("structured_outputs").and_then(can),
            effort: effort.map(levels),
            thinking_refused: types.map(refused),
            between_tools: types.and_then(|types| can(&types["between_tools"])),
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        self.lifecycle == Some(Lifecycle::Retired)
    }
}
