//! Checks what a row sets against the rules of its model.

use super::{RowParamError, RowParams};
use crate::catalog::Catalog;
use crate::request::rules::{ModelCase, RequestFeatures};

/// Asks the rules of a row's model; `own` says whether limit and effort are the row's own.
pub(super) fn check(
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

pub(super) fn fault(key: &str, why: impl Into<String>, fix: impl Into<String>) -> RowParamError {
    RowParamError {
        key: key.to_owned(),
        why: why.into(),
        fix: fix.into(),
    }
}

pub(super) fn not_worked_out(key: &str, problem: &str) -> RowParamError {
    fault(
        &format!("per_row.{key}"),
        format!("cannot be evaluated: {problem}"),
        "fix the cell or the expression",
    )
}

/// An unknown model. What does not look like a model's name is a cell of another column, and is not
/// repeated.
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
            format!("is a retired model: {advice}"),
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
