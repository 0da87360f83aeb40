//! The amounts of `[budget]`, exactly as the file has them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Error, toml_message};
use crate::cost::{Money, MoneyError};
use crate::ledger::BudgetSpec;

/// The values of `[budget]`, with their places in the file.
#[derive(Default, Deserialize)]
struct BudgetSpans {
    #[serde(default)]
    budget: BTreeMap<String, toml::Spanned<toml::Value>>,
}

/// Reads the amounts of the budget from the text of the file: the TOML reader has rounded them to
/// what floating point can hold.
pub(super) fn read_exact_amounts(
    path: &Path,
    text: &str,
    budget: &mut BudgetSpec,
) -> Result<(), Error> {
    let written: BudgetSpans =
        toml::from_str(text).map_err(|e| toml_message::parse_error(path, text, &e))?;
    for (key, amount) in budget.amounts_mut() {
        let wrong = |problem| Error::Value {
            path: path.to_path_buf(),
            key: budget_key(key),
            problem,
        };
        if let Some(value) = written
            .budget
            .get(key)
            .filter(|value| value.get_ref().is_float())
        {
            let literal = text.get(value.span()).unwrap_or_default().replace('_', "");
            *amount = Some(
                literal
                    .parse()
                    .map_err(|e: MoneyError| wrong(format!("cannot be read: {e}")))?,
            );
        }
        if amount.is_some_and(Money::is_negative) {
            return Err(wrong("cannot be less than nothing".to_owned()));
        }
    }
    Ok(())
}

/// The key with its section, as errors name it.
fn budget_key(key: &str) -> &'static str {
    match key {
        "run_usd" => "budget.run_usd",
        "day_usd" => "budget.day_usd",
        _ => "budget.month_usd",
    }
}
