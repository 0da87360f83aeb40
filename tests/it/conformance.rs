//! The conformance suite of `BatchApi`, run for every provider.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use rowmill::batch::BatchBody;
use rowmill::outcome::Status;
use rowmill::outcome::details::Wanted;
use rowmill::provider::anthropic::{Anthropic, Credential};
use rowmill::provider::files::FileApi as _;
use rowmill::provider::retry::{Call, Verdict, judge};
use rowmill::provider::{
    ApiError, ApiErrorKind, BatchApi, BatchFormat, BatchId, Delivery, LineError, Processing,
    RemoteBatch,
};

use crate::second_provider::custom_provider::MemoryProvider;
use crate::support::Sim;

const IDS: [&str; 3] = ["a-1", "b_2", "c-3"];

/// A body in memory.
struct Requests(Vec<(&'static str, String)>, &'static dyn BatchFormat);

impl Requests {
    fn written(&self) -> Vec<u8> {
        let (envelope, mut body) = (self.1.envelope(), Vec::new());
        for (index, (id, params)) in (0..).zip(&self.0) {
            envelope.push(index, id, b"", params.as_bytes(), &mut body);
        }
        envelope.close(self.requests(), &mut body);
        body
    }
}

impl BatchBody for Requests {
    fn requests(&self) -> u32 {
        self.0.len() as u32
    }

    fn bytes(&self) -> u64 {
        let own = self
            .0
            .iter()
            .map(|(id, params)| (id.len() + params.len()) as u64);
        self.1.envelope().body_bytes(self.requests(), 0, own.sum())
    }

    fn chunks(&self) -> io::Result<Box<dyn Iterator<Item = io::Result<Bytes>> + Send>> {
        Ok(Box::new(std::iter::once(Ok(self.written().into()))))
    }
}

/// The parameters of a short request.
fn params(text: &str) -> String {
    serde_json::json!({"model": "claude-haiku-4-5", "max_tokens": 20,
        "messages": [{"role": "user", "content": text}]})
    .to_string()
}

fn body(format: &'static dyn BatchFormat, ids: &[&'static str]) -> Arc<Requests> {
    let requests = ids.iter().map(|id| (*id, params(&format!("text of {id}"))));
    Arc::new(Requests(requests.collect(), format))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_ones_own_conforms() {
    conforms(&MemoryProvider::default()).await;
}

#[test]
fn anthropic_conforms_against_the_simulator() {
    let sim = Sim::start();
    let credential = Credential::ApiKey("sk-ant-simulated-key".into());
    let api = Anthropic::from_parts(&sim.url(), credential).expect("a client");
    assert!(api.file_store().is_some() && api.origin() == sim.url());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        conforms(&api).await;
        assert_eq!(api.file("file_none").await.unwrap_err().status, Some(404));
    });
}

/// Checks that hold for every provider.
async fn conforms(api: &dyn BatchApi) {
    let format = api.format();
    writes_bodies_of_the_announced_length(format);
    tells_lines_from_what_is_none(format);
    assert!(api.limits().max_requests >= format.rules().min_requests);
    assert!(!api.origin().is_empty());

    let first = creates(api, &IDS).await;
    answers_each_request_once(api, &first).await;
    let second = creates(api, &IDS[..2]).await;
    lists_the_newest_first(api, &first, &second).await;
    knows_no_batch_that_was_never_created(api).await;
    refuses_what_is_no_batch(api).await;
    has_the_calls_it_says(api, &second).await;
}

fn written(body: &dyn BatchBody) -> Vec<u8> {
    let chunks: Result<Vec<Bytes>, _> = body.chunks().expect("chunks").collect();
    chunks.expect("chunks").concat()
}

fn writes_bodies_of_the_announced_length(format: &'static dyn BatchFormat) {
    for count in 0..=IDS.len() {
        let body = body(format, &IDS[..count]);
        let bytes = written(&*body);
        assert_eq!(bytes.len() as u64, body.bytes(), "{count} requests");
        assert_eq!(bytes, written(&*body), "the same bytes each time");
    }
}

fn tells_lines_from_what_is_none(format: &'static dyn BatchFormat) {
    for cut in [&b""[..], b"{", b"<html>502</html>", b"{\"a\":"] {
        assert!(
            matches!(format.custom_id(cut), Err(LineError::NotJson { .. })),
            "{}",
            cut.escape_ascii()
        );
        assert!(format.result(cut, Wanted::default()).is_err());
        assert!(!format.is_whole(cut) && !format.begins_result(cut));
    }
    assert_eq!(format.custom_id(b"{}"), Err(LineError::NoCustomId));
    assert_eq!(
        format.result(b"{}", Wanted::default()),
        Err(LineError::NoCustomId)
    );
}

/// Creates a batch and waits until it has ended.
async fn creates(api: &dyn BatchApi, ids: &[&'static str]) -> RemoteBatch {
    let batch = api.create(body(api.format(), ids)).await.expect("created");
    assert!(!batch.id.0.is_empty());
    for _ in 0..500 {
        let seen = api.retrieve(&batch.id).await.expect("it is there");
        assert_eq!(seen.id, batch.id);
        assert_eq!(seen.request_counts.total(), ids.len() as u64, "{seen:?}");
        if seen.processing_status == Processing::Ended {
            assert_eq!(seen.request_counts.processing, 0);
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} does not end", batch.id);
}

async fn answers_each_request_once(api: &dyn BatchApi, batch: &RemoteBatch) {
    let format = api.format();
    let mut downloads = Vec::new();
    for _ in 0..2 {
        let stream = api.results(&batch.id).await.expect("results");
        let chunks: Vec<Bytes> = stream.try_collect().await.expect("all of them");
        let bytes = chunks.concat();
        let mut found = BTreeSet::new();
        for line in bytes
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            assert!(format.is_whole(line) && format.begins_result(line));
            let id = format.custom_id(line).expect("an id");
            let result = format.result(line, Wanted::default()).expect("a result");
            assert_eq!(result.custom_id, id, "both readers agree");
            assert_eq!(result.outcome.status, Status::Succeeded);
            let usage = result.outcome.usage.expect("a usage");
            assert!(usage.input_tokens > Some(0) && usage.output_tokens > Some(0));
            let text = result.outcome.text.expect("a text");
            assert!(found.insert((id.into_owned(), text)), "one line a request");
        }
        downloads.push(found);
    }
    let ids: Vec<&str> = downloads[0].iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, IDS);
    assert_eq!(downloads[0], downloads[1], "the same at every fetch");
}

async fn lists_the_newest_first(api: &dyn BatchApi, first: &RemoteBatch, second: &RemoteBatch) {
    let page = api.list(1, None).await.expect("a page");
    assert_eq!((page.data.len(), page.has_more), (1, true));
    assert_eq!(page.data[0].id, second.id);
    let rest = api
        .list(1000, page.last_id.as_deref())
        .await
        .expect("a page");
    let ids: Vec<&BatchId> = rest.data.iter().map(|batch| &batch.id).collect();
    assert_eq!((ids, rest.has_more), (vec![&first.id], false));
}

/// A refused batch is certainly not created, so it is not searched for, and is not tried again
/// forever.
fn assert_refused(call: Call, error: &ApiError) {
    assert_eq!((error.call, error.delivery), (call, Delivery::Refused));
    assert!(matches!(error.kind, ApiErrorKind::Provider(_)), "{error}");
    let late = Duration::from_secs(48 * 60 * 60);
    let verdict = judge(call, error, 100, late, 0.0);
    assert!(matches!(verdict, Verdict::Fail | Verdict::Split), "{error}");
}

async fn knows_no_batch_that_was_never_created(api: &dyn BatchApi) {
    let none = BatchId("batch-none".to_owned());
    assert_refused(Call::Retrieve, &api.retrieve(&none).await.unwrap_err());
    assert_refused(Call::Cancel, &api.cancel(&none).await.unwrap_err());
    let results = api.results(&none).await.err().expect("no results");
    assert_refused(Call::Results, &results);
}

async fn refuses_what_is_no_batch(api: &dyn BatchApi) {
    let before = api.list(1000, None).await.expect("a page").data.len();
    let too_few = &IDS[..api.format().rules().min_requests as usize - 1];
    let error = api.create(body(api.format(), too_few)).await.unwrap_err();
    assert_refused(Call::Create, &error);
    let after = api.list(1000, None).await.expect("a page").data.len();
    assert_eq!(after, before, "nothing was created");
}

async fn has_the_calls_it_says(api: &dyn BatchApi, batch: &RemoteBatch) {
    let params = params("Hello");
    let tried = [
        (Call::Message, api.message(params.as_bytes()).await.err()),
        (
            Call::CountTokens,
            api.count_tokens(params.as_bytes()).await.err(),
        ),
        (Call::Models, api.models().await.err()),
        (Call::Delete, api.delete(&batch.id).await.err()),
    ];
    for (call, error) in tried {
        match error {
            None => assert!(api.capabilities().has(call), "{call}"),
            Some(error) => {
                assert!(!api.capabilities().has(call), "{error}");
                assert_eq!(error.kind, ApiErrorKind::Unsupported, "{error}");
                assert_eq!((error.call, error.delivery), (call, Delivery::NotSent));
            }
        }
    }
    let is_there = api.retrieve(&batch.id).await.is_ok();
    assert_eq!(is_there, !api.capabilities().delete, "deleted is gone");
}
