//! Checks of a job that need its prompt, its tools and its model together.

use serde_json::Value;

use super::options::place;
use super::per_row::JobParams;
use super::rules::ModelCase;
use super::tools::Tool;
use super::warnings::RequestWarning;
use super::{Error, RequestSpec, schema, tools};
use crate::catalog::{Catalog, Model};
use crate::template::prompt::PromptLimits;
use crate::template::prompt::{CacheTtl, Prompt, SharedBlock};

/// The limits that hold over all schemas of a request: those of strict tools, and of the answer.
pub(super) fn check_schemas(
    tools: &[Tool],
    answer: Option<&schema::AnswerSchema>,
) -> Result<(), Error> {
    let strict = tools
        .iter()
        .filter(|tool| tool.strict)
        .filter_map(|tool| tool.input_schema.as_ref());
    match schema::too_much(strict.chain(answer.map(schema::AnswerSchema::sent))) {
        None => Ok(()),
        Some(what) => {
            let why = format!("and the schema of the answer have {what}");
            let fix = "put more properties into `required`, give them one type each, or leave \
                `strict` out";
            Err(Error::Param {
                key: "tools".to_owned(),
                why,
                fix: fix.to_owned(),
            })
        }
    }
}

/// Refuses what the API does not accept beside a schema for the answer.
pub(super) fn check_prompt_with_schema(prompt: &Prompt) -> Result<(), Error> {
    let problem = if prompt.ends_with_prefill() {
        "cannot be used with a last message of the role `assistant`: the API does not take both"
    } else if prompt.cites() {
        "cannot be used with a document that has `citations`: the API does not take both"
    } else {
        return Ok(());
    };
    Err(Error::Value {
        key: "schema",
        problem: problem.to_owned(),
    })
}

/// What a request to a model may hold.
pub(super) fn limits_of(model: &Model) -> PromptLimits {
    PromptLimits::of_context(model.context_tokens, model.prefill, model.system_messages)
}

/// Checks the job against the rules of its model, and returns the warnings about it. A model that
/// is not in the catalog has no rules here; where rows choose their model, each row is checked by
/// its own, and the job's model is only for rows that choose none.
pub(super) fn check_model(
    spec: &RequestSpec,
    job: &JobParams,
    catalog: &Catalog,
) -> Result<Vec<RequestWarning>, Error> {
    let Some((_, model)) = catalog.model(&job.model) else {
        return Ok(Vec::new());
    };
    let effort = job.features.effort.as_deref();
    let case = ModelCase {
        id: &job.model,
        model,
        max_tokens: job.max_tokens.into(),
        effort,
        features: &job.features,
    };
    let Some(violation) = case.violation().filter(|_| spec.per_row.model.is_none()) else {
        return Ok(case.warnings());
    };
    let in_params = match violation.key {
        "effort" => spec.effort.is_none(),
        key => spec.params.contains_key(key),
    };
    Err(Error::Param {
        key: place(violation.key, in_params),
        why: violation.why,
        fix: violation.fix,
    })
}

/// A picture or document of this many bytes is worth an upload: 10,000 requests make 2 GB of it.
const WORTH_AN_UPLOAD: usize = 200_000;

pub(super) fn large_shared_media(block: &SharedBlock) -> Option<RequestWarning> {
    let bytes = block.carried_bytes();
    (bytes >= WORTH_AN_UPLOAD).then(|| RequestWarning::LargeSharedMedia {
        part: block.part.clone(),
        bytes,
    })
}

/// All cache marks, in the order in which the model reads them: tools, system blocks, messages, and
/// the automatic one at their end.
pub(super) fn marks(
    tools: &[Tool],
    shared: &[SharedBlock],
    automatic: Option<&Value>,
) -> Vec<(String, CacheTtl)> {
    let tools = tools
        .iter()
        .filter_map(|tool| Some((format!("tool `{}`", tool.name), tool.cache?)));
    let shared = shared
        .iter()
        .filter_map(|block| Some((block.part.clone(), block.cache?)));
    let automatic = automatic
        .and_then(tools::mark_of)
        .map(|ttl| ("`request.params.cache_control`".to_owned(), ttl));
    tools.chain(shared).chain(automatic).collect()
}

/// Checks that models which advise are in service, as the job's own model has to be.
pub(super) fn check_advisors(tools: &[Tool], catalog: &Catalog) -> Result<(), Error> {
    for id in tools.iter().filter_map(tools::advisor) {
        if catalog.model(id).is_some() {
            continue;
        }
        let (why, fix) = match (catalog.retired(id), catalog.nearest(id).first()) {
            (Some((_, gone)), _) => {
                let successor = gone.successor.as_deref().unwrap_or("another model");
                (
                    format!("has the advisor `{id}`, which is retired"),
                    format!("use `{successor}`"),
                )
            }
            (None, near) => {
                let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
                (
                    format!("has the unknown advisor `{id}`"),
                    format!("{near}a model table of your own adds newer ones"),
                )
            }
        };
        return Err(Error::Param {
            key: "tools".to_owned(),
            why,
            fix,
        });
    }
    Ok(())
}
