//! A sample of rows → the provider's own count of them → a better estimate. Free, and nothing is
//! made at the provider.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::estimate::fit::CountedRow;
use crate::estimate::sample::SampledRow;
use crate::estimate::shared::PER_REQUEST;
use crate::provider::retry::{Call, Clock, Patience, with_retry};
use crate::provider::{ApiError, BatchApi};

use super::Error;
use super::notice::Notice;
use super::plan::Planner;
use super::plan_report::PlanReport;
use super::provider_error::{Action, Kept};

/// Calls at a time. The lowest limit is 2,000 a minute; a limit that is exceeded anyway is waited
/// for.
const AT_A_TIME: usize = 8;
/// A message of one token.
const ONE_TOKEN: &str = r#"{"role":"user","content":"."}]"#;

/// Has the sample of an outline counted, and estimates it again by that.
///
/// The shared part is counted by itself: a request with one short message, less the same message
/// without the shared part. Then every row of the sample is counted whole, and the rest of the
/// table fitted to that ([`crate::estimate::fit::Fit::counted`]).
///
/// # Errors
/// [`Error::Provider`] where the provider refuses, or cannot be reached; [`Error::NotUploaded`]
/// where requests name files it does not have.
pub(crate) async fn calibrate(
    api: &dyn BatchApi,
    clock: &dyn Clock,
    planner: &Planner<'_>,
    outline: &mut PlanReport,
) -> Result<(), Error> {
    let counter = Counter { api, clock };
    let files = planner.compiled.uploads.missing();
    if files > 0 {
        return Err(Error::NotUploaded { files });
    }
    let head = planner.compiled.requests.head();
    let has_model = !planner.compiled.requests.per_row().model;
    let shared = counter
        .shared(
            &planner.compiled.requests.closed_head(),
            &planner.file.job.request.model,
            has_model,
        )
        .await?;
    let of = outline.sample.len() as u64;
    planner.observer.notice(Notice::Counting { rows: 0, of });
    let mut counts =
        stream::iter(outline.sample.iter().map(|row| counter.row(head, row))).buffered(AT_A_TIME);
    let mut counted = Vec::with_capacity(outline.sample.len());
    while let Some(row) = counts.try_next().await? {
        counted.push(row);
        planner.observer.notice(Notice::Counting {
            rows: counted.len() as u64,
            of,
        });
    }
    drop(counts);
    planner.estimate_by_counts(outline, shared, &counted)
}

struct Counter<'a> {
    api: &'a dyn BatchApi,
    clock: &'a dyn Clock,
}

impl Counter<'_> {
    async fn count(&self, params: &[u8]) -> Result<u64, Error> {
        with_retry(Call::CountTokens, self.clock, Patience::default(), || {
            self.api.count_tokens(params)
        })
        .await
        .map_err(refused)
    }

    async fn row(&self, head: &[u8], row: &SampledRow) -> Result<CountedRow, Error> {
        Ok(row.counted(self.count(&[head, &row.fragment].concat()).await?))
    }

    /// Tokens of what all requests share.
    async fn shared(&self, head: &[u8], model: &str, has_model: bool) -> Result<u64, Error> {
        let comma = if head.ends_with(b"[") { "" } else { "," };
        let model = serde_json::Value::from(model);
        // Where rows choose their model, the head has none.
        let end = if has_model {
            "}".to_owned()
        } else {
            format!(",\"model\":{model}}}")
        };
        let with = self
            .count(&[head, comma.as_bytes(), ONE_TOKEN.as_bytes(), end.as_bytes()].concat())
            .await?;
        let without = self
            .count(format!("{{\"model\":{model},\"messages\":[{ONE_TOKEN}}}").as_bytes())
            .await?;
        Ok(with.saturating_sub(without) + PER_REQUEST)
    }
}

fn refused(source: ApiError) -> Error {
    Error::Provider {
        action: Action::CountTokens,
        source: Box::new(source),
        kept: Kept::Nothing,
    }
}
