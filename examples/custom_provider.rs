//! A provider of one's own: batches in memory, each request answered at once with the text it asks.
//!
//! Its wire format is its own too. A batch is one JSON object a line, `{"id":…,"body":…}`, has two
//! requests or more, and names one model; a result is
//! `{"ref":…,"reply":…,"tokens":[input,output]}`. It keeps every batch, counts no tokens, and lists
//! no models.
//!
//! ```sh
//! cargo run --example custom_provider -- sample_data/tickets/triage.toml
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;
use rowmill::batch::{BatchBody, BatchRules, Envelope, Limits};
use rowmill::engine::{Engine, Error, RunOptions, RunReport, StateLocation, Target};
use rowmill::job::JobFile;
use rowmill::outcome::{Outcome, Status, Usage, details::Wanted};
use rowmill::provider::{
    ApiError, ApiErrorKind, BatchApi, BatchFormat, BatchId, Call, Counts, Delivery, LineError,
    Page, Processing, RemoteBatch, ResultLine, ResultStream,
};
use serde_json::{Value, json};

/// How batches and results are written.
#[derive(Debug)]
pub struct JsonLines;

impl BatchFormat for JsonLines {
    fn name(&self) -> &'static str {
        "json_lines"
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            prefix: "",
            before_id: r#"{"id":""#,
            after_id: r#"","body":"#,
            after_params: "}",
            separator: "\n",
            suffix: "\n",
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            max_requests: 1_000,
            max_bytes: 1_000_000,
        }
    }

    fn rules(&self) -> BatchRules {
        BatchRules {
            min_requests: 2,
            one_model: true,
        }
    }

    fn custom_id<'l>(&self, line: &'l [u8]) -> Result<Cow<'l, str>, LineError> {
        let line: Value = serde_json::from_slice(line).map_err(|error| LineError::NotJson {
            column: error.column(),
        })?;
        let id = line["ref"].as_str().ok_or(LineError::NoCustomId)?;
        Ok(Cow::Owned(id.to_owned()))
    }

    fn result<'l>(&self, line: &'l [u8], _: Wanted) -> Result<ResultLine<'l>, LineError> {
        let custom_id = self.custom_id(line)?;
        let line: Value = serde_json::from_slice(line).unwrap_or_default();
        let outcome = match line["reply"].as_str() {
            Some(reply) => Outcome {
                text: Some(reply.to_owned()),
                usage: Some(Usage {
                    input_tokens: line["tokens"][0].as_u64(),
                    output_tokens: line["tokens"][1].as_u64(),
                    ..Usage::default()
                }),
                ..Outcome::new(Status::Succeeded)
            },
            None => Outcome::new(Status::Errored),
        };
        Ok(ResultLine { custom_id, outcome })
    }

    fn begins_result(&self, beginning: &[u8]) -> bool {
        beginning.starts_with(b"{\"ref\":")
    }
}

/// The provider. The first batch is `batch-1`; what is kept of each is its result lines.
#[derive(Debug, Default)]
pub struct MemoryProvider {
    batches: Mutex<Vec<String>>,
}

impl MemoryProvider {
    fn answer(&self, body: &dyn BatchBody) -> Result<RemoteBatch, ApiError> {
        let refuse = |what: String| {
            let kind = ApiErrorKind::Provider("bad_batch".to_owned());
            ApiError::new(Call::Create, kind, what, Delivery::Refused)
        };
        let chunks = body
            .chunks()
            .and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chunks = chunks.map_err(|error| refuse(error.to_string()))?;
        let requests: Vec<Value> = serde_json::Deserializer::from_slice(&chunks.concat())
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| refuse(error.to_string()))?;
        if requests.len() < JsonLines.rules().min_requests as usize {
            return Err(refuse(format!("{} requests are too few", requests.len())));
        }
        let model = &requests[0]["body"]["model"];
        if requests
            .iter()
            .any(|request| request["body"]["model"] != *model)
        {
            return Err(refuse("requests name several models".to_owned()));
        }
        let result = |request: &Value| {
            let text = &request["body"]["messages"][0]["content"];
            let tokens = text.to_string().len() / 4;
            format!(
                "{}\n",
                json!({"ref": request["id"], "reply": text, "tokens": [tokens, tokens]})
            )
        };
        let mut batches = self.batches();
        // Results come in any order, here the last one first.
        batches.push(requests.iter().rev().map(result).collect());
        Ok(describe(batches.len(), &batches[batches.len() - 1]))
    }

    fn batches(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find<T>(
        &self,
        call: Call,
        id: &BatchId,
        read: impl Fn(usize, &str) -> T,
    ) -> Result<T, ApiError> {
        let batches = self.batches();
        let number =
            id.0.strip_prefix("batch-")
                .and_then(|text| text.parse::<usize>().ok());
        let found = number.and_then(|number| Some((number, batches.get(number.checked_sub(1)?)?)));
        let (number, results) = found.ok_or_else(|| {
            let kind = ApiErrorKind::Provider("no_such_batch".to_owned());
            ApiError::new(
                call,
                kind,
                format!("there is no batch {id}"),
                Delivery::Refused,
            )
        })?;
        Ok(read(number, results))
    }
}

fn describe(number: usize, results: &str) -> RemoteBatch {
    let now = Timestamp::now();
    RemoteBatch {
        id: BatchId(format!("batch-{number}")),
        processing_status: Processing::Ended,
        request_counts: Counts {
            succeeded: results.lines().count() as u64,
            ..Counts::default()
        },
        created_at: now,
        expires_at: None,
        ended_at: Some(now),
        cancel_initiated_at: None,
        archived_at: None,
        results_url: None,
    }
}

impl BatchApi for MemoryProvider {
    fn format(&self) -> &'static dyn BatchFormat {
        &JsonLines
    }

    fn origin(&self) -> String {
        "memory".to_owned()
    }

    fn create(&self, body: Arc<dyn BatchBody>) -> BoxFuture<'_, Result<RemoteBatch, ApiError>> {
        async move { self.answer(&*body) }.boxed()
    }

    fn retrieve<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<RemoteBatch, ApiError>> {
        ready(self.find(Call::Retrieve, id, describe)).boxed()
    }

    fn list<'a>(
        &'a self,
        limit: u32,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Page<RemoteBatch>, ApiError>> {
        let all = self.batches();
        let newest_first = all
            .iter()
            .enumerate()
            .rev()
            .map(|(at, lines)| describe(at + 1, lines));
        let mut left: Vec<RemoteBatch> = match after {
            Some(after) => newest_first
                .skip_while(|batch| batch.id.0 != after)
                .skip(1)
                .collect(),
            None => newest_first.collect(),
        };
        let has_more = left.len() > limit as usize;
        left.truncate(limit as usize);
        let last_id = left.last().map(|batch| batch.id.0.clone());
        ready(Ok(Page {
            data: left,
            has_more,
            last_id,
        }))
        .boxed()
    }

    fn results<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<ResultStream, ApiError>> {
        let lines = self.find(Call::Results, id, |_, lines| lines.to_owned());
        let stream = |lines: String| futures_util::stream::iter([Ok(lines.into())]);
        ready(lines.map(|lines| Box::pin(stream(lines)) as ResultStream)).boxed()
    }

    fn cancel<'a>(&'a self, id: &'a BatchId) -> BoxFuture<'a, Result<RemoteBatch, ApiError>> {
        ready(self.find(Call::Cancel, id, describe)).boxed()
    }
}

/// Takes a job to its output with this provider, with its runs kept in `state`.
pub fn run(job: &Path, state: &Path) -> Result<RunReport, Error> {
    let engine = Engine::new(state)?.with_provider(Arc::new(MemoryProvider::default()));
    engine.run(&Target::job(JobFile::read(job)?), &RunOptions::default())
}

#[allow(dead_code, reason = "the tests include this file and call `run`")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let job = std::env::args()
        .nth(1)
        .ok_or("usage: custom_provider JOB")?;
    // The state is beside the job, whichever directory the program is run in.
    let state = StateLocation::of_job(&JobFile::read(job.as_ref())?);
    let report = run(job.as_ref(), state.path())?;
    println!("{:?}: {:?}", report.outcome, report.output_path());
    Ok(())
}
