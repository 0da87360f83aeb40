//! Sentences about faults of a provider, and about its list of models.

use std::fmt::Write as _;

use jiff::civil::Date;
use rowmill::provider::refresh::{NewModel, Refresh};

/// The comment at the head of a file of overrides.
pub(crate) fn overrides_comment(refresh: &Refresh, seen: Date) -> String {
    let mut text = format!(
        "What the provider's list of models said on {seen}, where it differs from the table of \
         rowmill {}.\nUse it with `--models FILE` or ROWMILL_MODELS; docs/models.md explains the \
         keys.\n",
        env!("CARGO_PKG_VERSION")
    );
    for NewModel { id, like } in &refresh.new {
        let like = like
            .as_ref()
            .map(|like| format!(" (`{like}` has them)"))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "`{id}`: the list has no prices; add `[models.{id}.prices]`{like}, or a plan with it \
             is refused. Its tokenizer and\nshortest cached prefix are those of its model line, \
             because the list does not have them either."
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use rowmill::catalog::Catalog;
    use rowmill::provider::ModelInfo;

    use super::*;

    #[test]
    fn says_what_has_to_be_added_for_a_new_model() {
        let info = ModelInfo {
            id: "claude-haiku-6".to_owned(),
            display_name: String::new(),
            more: serde_json::Map::new(),
        };
        let refresh = Refresh::of(Catalog::builtin(), &[info]);
        let text = overrides_comment(&refresh, date(2026, 12, 1));
        assert!(text.contains("said on 2026-12-01"), "{text}");
        assert!(
            text.contains("add `[models.claude-haiku-6.prices]` (`claude-haiku-5-5` has them)"),
            "{text}"
        );
    }
}
