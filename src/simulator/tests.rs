//! The simulator over HTTP, on loopback, with a clock that only the tests move.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{
    ApiCall, Error, RunningSimulator, SimClock, SimFaults, SimLedger, SimSleep, Simulator,
    SimulatorSpec,
};

const START: &str = "2026-11-22T10:00:00Z";

/// A simulator in a folder of its own, and a client of it.
struct TestServer {
    folder: tempfile::TempDir,
    now: Arc<AtomicI64>,
    http: reqwest::Client,
    running: Option<RunningSimulator>,
    spec: SimulatorSpec,
}

impl TestServer {
    async fn start(shape: impl FnOnce(&mut SimulatorSpec)) -> TestServer {
        TestServer::start_with(|spec, _| shape(spec)).await
    }

    /// As [`TestServer::start`], with the clock as well.
    async fn start_with(shape: impl FnOnce(&mut SimulatorSpec, &Arc<AtomicI64>)) -> TestServer {
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(
            START.parse::<Timestamp>().unwrap().as_microsecond(),
        ));
        let mut spec = SimulatorSpec::new(7, folder.path().to_owned(), clock(&now));
        shape(&mut spec, &now);
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let running = Simulator::start(spec.clone(), loopback()).await.unwrap();
        TestServer {
            folder,
            now,
            http,
            running: Some(running),
            spec,
        }
    }

    async fn with_faults(faults: &str) -> TestServer {
        let faults = SimFaults::from_toml(faults).unwrap();
        TestServer::start(|spec| spec.faults = faults).await
    }

    async fn restart(&mut self) {
        self.running.take().unwrap().stop().await;
        self.running = Some(
            Simulator::start(self.spec.clone(), loopback())
                .await
                .unwrap(),
        );
    }

    fn running(&self) -> &RunningSimulator {
        self.running.as_ref().unwrap()
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn pass(&self, time: Duration) {
        self.now
            .fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
        self.running().settle().await;
    }

    fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.running().base_url());
        self.http
            .request(method, url)
            .header("x-api-key", "k")
            .header("anthropic-version", "2026-10-21")
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.call(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Result<Response> {
        self.call(Method::POST, path).body(body).send().await
    }

    async fn create(&self, requests: &[Value]) -> Value {
        let answer = self
            .post(
                "/v1/messages/batches",
                json!({"requests": requests}).to_string(),
            )
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    /// A batch of plain rows; its path.
    async fn create_rows(&self, rows: usize) -> String {
        let requests: Vec<Value> = (0..rows)
            .map(|n| request(&format!("r{n}"), json!({})))
            .collect();
        format!(
            "/v1/messages/batches/{}",
            self.create(&requests).await["id"].as_str().unwrap()
        )
    }

    /// The results of a batch that ends without the clock being moved.
    async fn results(&self, batch: &str) -> Vec<Value> {
        self.running().settle().await;
        let text = self
            .call(Method::GET, &format!("{batch}/results"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn clock(now: &Arc<AtomicI64>) -> SimClock {
    let now = now.clone();
    Arc::new(move || Timestamp::from_microsecond(now.load(Ordering::SeqCst)).unwrap())
}

fn loopback() -> std::net::SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn request(id: &str, changes: Value) -> Value {
    let mut params = json!({
        "model": "claude-haiku-4-5", "max_tokens": 200,
        "messages": [{"role": "user", "content": format!("Row {id}: what is it about?")}]
    });
    params
        .as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    json!({"custom_id": id, "params": params})
}

/// A system prompt long enough to be cached by every model, marked.
fn shared(ttl: &str) -> Value {
    json!({"system": [
        {"type": "text", "text": "RetryPolicy of the house. ".repeat(1_000), "cache_control": {"type": "ephemeral", "ttl": ttl}}
    ]})
}

async fn error_of(answer: Response) -> (u16, String, String) {
    let status = answer.status().as_u16();
    assert!(answer.headers().contains_key("request-id"));
    let body: Value = answer.json().await.unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        status,
        text(&body["error"]["type"]),
        text(&body["error"]["message"]),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_lives_from_in_progress_to_deleted() {
    let bench = TestServer::start(|spec| spec.processing = Duration::from_secs(600)).await;
    let batch = bench.create_rows(50).await;
    let new = bench.get(&batch).await;
    assert_eq!(new["processing_status"], "in_progress");
    assert_eq!(
        new["request_counts"],
        json!({"processing": 50, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0})
    );
    assert_eq!(new["created_at"], "2026-11-22T10:00:00.000000Z");
    assert_eq!(new["expires_at"], "2026-11-23T10:00:00.000000Z");
    assert_eq!(
        (&new["ended_at"], &new["results_url"]),
        (&Value::Null, &Value::Null)
    );
    let early = bench
        .call(Method::GET, &format!("{batch}/results"))
        .send()
        .await
        .unwrap();
    assert_eq!(error_of(early).await.0, 400);
    let too_soon = bench.call(Method::DELETE, &batch).send().await.unwrap();
    assert_eq!(error_of(too_soon).await.0, 400);

    bench.pass(Duration::from_secs(600)).await;
    let ended = bench.get(&batch).await;
    assert_eq!(ended["processing_status"], "ended");
    assert_eq!(ended["request_counts"]["succeeded"], 50);
    assert_eq!(
        ended["results_url"],
        format!("{}{batch}/results", bench.running().base_url())
    );
    let answer = bench
        .call(Method::GET, &format!("{batch}/results"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-jsonl");
    let ids: Vec<String> = bench
        .results(&batch)
        .await
        .iter()
        .map(|l| l["custom_id"].as_str().unwrap().to_owned())
        .collect();
    let in_order: Vec<String> = (0..50).map(|n| format!("r{n}")).collect();
    assert_ne!(ids, in_order, "the order is another");
    assert_eq!(
        BTreeSet::from_iter(ids),
        BTreeSet::from_iter(in_order),
        "each exactly once"
    );

    let late = bench.post(&format!("{batch}/cancel"), "").await.unwrap();
    assert_eq!(error_of(late).await.0, 404);
    let deleted: Value = bench
        .call(Method::DELETE, &batch)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(deleted["type"], "message_batch_deleted");
    let gone = bench.call(Method::GET, &batch).send().await.unwrap();
    assert_eq!(error_of(gone).await.1, "not_found_error");
    assert!(
        bench.running().ledger().unwrap().batches[0].deleted,
        "the ledger does not forget"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_process_finds_the_batches_and_makes_the_same_results() {
    let mut bench = TestServer::start(|spec| spec.processing = Duration::from_secs(60)).await;
    let (first, second) = (bench.create_rows(20).await, bench.create_rows(20).await);
    bench.pass(Duration::from_secs(60)).await;
    let before = bench.results(&first).await;
    bench.restart().await;
    assert_eq!(bench.results(&first).await, before);
    let url = bench.get(&first).await["results_url"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(url.starts_with(&bench.running().base_url()), "{url}");
    let text = |lines: &[Value]| -> BTreeMap<String, String> {
        lines
            .iter()
            .map(|l| {
                (
                    l["custom_id"].to_string(),
                    l["result"]["message"]["content"].to_string(),
                )
            })
            .collect()
    };
    assert_eq!(
        text(&bench.results(&second).await),
        text(&before),
        "the answer depends on the request alone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_for_credentials_and_a_version_it_knows() {
    let bench = TestServer::start(|_| {}).await;
    let url = format!("{}/v1/models", bench.running().base_url());
    let send = |headers: &[(&'static str, &'static str)]| {
        let request = headers
            .iter()
            .fold(bench.http.get(&url), |request, (name, value)| {
                request.header(*name, *value)
            });
        async { request.send().await.unwrap() }
    };
    let version = ("anthropic-version", "2023-06-01");
    assert_eq!(
        error_of(send(&[version]).await).await,
        (
            401,
            "authentication_error".into(),
            "x-api-key header is required".into()
        )
    );
    assert_eq!(error_of(send(&[("x-api-key", "k")]).await).await.0, 400);
    assert_eq!(
        error_of(send(&[("x-api-key", "k"), ("anthropic-version", "1999-01-01")]).await)
            .await
            .0,
        400
    );
    assert_eq!(
        send(&[("authorization", "Bearer t"), version])
            .await
            .status(),
        200
    );
    let nowhere = bench.call(Method::GET, "/v1/nothing").send().await.unwrap();
    assert_eq!(error_of(nowhere).await.0, 404);
    let wrong = bench.call(Method::PUT, "/v1/models").send().await.unwrap();
    assert_eq!(error_of(wrong).await.0, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_newest_first_and_pages_both_ways() {
    let bench = TestServer::start(|_| {}).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(
            0,
            bench
                .create_rows(1)
                .await
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned(),
        );
    }
    let page = async |query: &str| {
        let page = bench.get(&format!("/v1/messages/batches?{query}")).await;
        let shown: Vec<String> = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["id"].as_str().unwrap().to_owned())
            .collect();
        (shown, page["has_more"].as_bool().unwrap())
    };
    assert_eq!(page("").await, (ids.clone(), false));
    assert_eq!(page("limit=2").await, (ids[..2].to_vec(), true));
    assert_eq!(
        page(&format!("limit=2&after_id={}", ids[1])).await,
        (ids[2..4].to_vec(), true)
    );
    assert_eq!(
        page(&format!("limit=2&after_id={}", ids[3])).await,
        (ids[4..].to_vec(), false)
    );
    assert_eq!(
        page(&format!("limit=2&before_id={}", ids[4])).await,
        (ids[2..4].to_vec(), true)
    );
    assert_eq!(
        page(&format!("limit=2&before_id={}", ids[2])).await,
        (ids[..2].to_vec(), false)
    );
    for bad in ["limit=0", "limit=1001", "limit=x", "after_id=nobody"] {
        let answer = bench
            .call(Method::GET, &format!("/v1/messages/batches?{bad}"))
            .send()
            .await
            .unwrap();
        assert_eq!(error_of(answer).await.0, 400, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_batch_ends_with_what_was_done() {
    let bench = TestServer::start(|spec| {
        spec.processing = Duration::from_secs(100);
        spec.canceling = Duration::from_secs(10);
    })
    .await;
    let batch = bench.create_rows(10).await;
    bench.pass(Duration::from_secs(35)).await;
    for _ in 0..2 {
        let canceling: Value = bench
            .post(&format!("{batch}/cancel"), "")
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(canceling["processing_status"], "canceling");
        assert_eq!(
            canceling["cancel_initiated_at"],
            "2026-11-22T10:00:35.000000Z"
        );
    }
    bench.pass(Duration::from_secs(10)).await;
    let ended = bench.get(&batch).await;
    assert_eq!(
        ended["request_counts"],
        json!({"processing": 0, "succeeded": 4, "errored": 0, "canceled": 6, "expired": 0})
    );
    assert_eq!(
        bench
            .results(&batch)
            .await
            .iter()
            .filter(|line| line["result"] == json!({"type": "canceled"}))
            .count(),
        6
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_a_day_expires_and_results_vanish_after_29() {
    let bench = TestServer::start(|spec| spec.processing = Duration::from_secs(48 * 3600)).await;
    let batch = bench.create_rows(10).await;
    bench.pass(Duration::from_secs(24 * 3600)).await;
    let ended = bench.get(&batch).await;
    assert_eq!(
        ended["request_counts"],
        json!({"processing": 0, "succeeded": 5, "errored": 0, "canceled": 0, "expired": 5})
    );
    bench.pass(Duration::from_secs(28 * 24 * 3600)).await;
    let archived = bench.get(&batch).await;
    assert_eq!(archived["archived_at"], "2026-12-21T10:00:00.000000Z");
    assert_eq!(archived["results_url"], Value::Null);
    let vanished = bench
        .call(Method::GET, &format!("{batch}/results"))
        .send()
        .await
        .unwrap();
    assert_eq!(error_of(vanished).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_is_learned_of_at_the_end_and_hurts_no_other() {
    let bench = TestServer::start(|_| {}).await;
    let requests = [
        request("good", json!({})),
        request("model", json!({"model": "claude-2"})),
        request("sampling", json!({"temperature": 0.5})),
    ];
    let batch = format!(
        "/v1/messages/batches/{}",
        bench.create(&requests).await["id"].as_str().unwrap()
    );
    let lines = bench.results(&batch).await;
    let line = |id: &str| lines.iter().find(|l| l["custom_id"] == id).unwrap()["result"].clone();
    assert_eq!(line("good")["message"]["usage"]["service_tier"], "batch");
    assert_eq!(
        line("good")["message"]["model"],
        "claude-haiku-4-5-20251001"
    );
    let model = line("model");
    assert_eq!(
        (&model["type"], &model["error"]["type"]),
        (&json!("errored"), &json!("error"))
    );
    assert_eq!(
        model["error"]["error"],
        json!({"type": "not_found_error", "message": "model: claude-2"})
    );
    assert_eq!(
        line("sampling")["error"]["error"]["type"],
        "invalid_request_error"
    );
    assert_eq!(bench.get(&batch).await["request_counts"]["errored"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_envelope_fails_the_whole_create_and_leaves_nothing() {
    let bench = TestServer::start(|_| {}).await;
    let twice = json!({"requests": [request("a", json!({})), request("a", json!({}))]}).to_string();
    let many: Vec<Value> = (0..100_001)
        .map(|n| json!({"custom_id": format!("{n}"), "params": {}}))
        .collect();
    let cases = [
        (twice, 400, "requests.1.custom_id: "),
        (
            json!({"requests": []}).to_string(),
            400,
            "requests: List should have at least 1 item",
        ),
        (
            json!({"requests": many}).to_string(),
            400,
            "requests: List should have at most 100000 items",
        ),
        (
            "{\"requests\":[".to_owned(),
            400,
            "The request body is not valid JSON",
        ),
    ];
    for (body, status, message) in cases {
        let found = error_of(bench.post("/v1/messages/batches", body).await.unwrap()).await;
        assert!(
            found.0 == status && found.2.starts_with(message),
            "{found:?}"
        );
    }
    assert_eq!(bench.running().ledger().unwrap().batches, []);
    assert_eq!(
        std::fs::read_dir(bench.folder().join("incoming"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_256_megabytes_are_too_large() {
    let bench = TestServer::start(|_| {}).await;
    let piece = bytes::Bytes::from(vec![b' '; 1 << 20]);
    let body =
        futures_util::stream::iter((0..250).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let answer = bench
        .post("/v1/messages/batches", reqwest::Body::wrap_stream(body))
        .await
        .unwrap();
    let (status, kind, _) = error_of(answer).await;
    assert_eq!((status, &*kind), (413, "request_too_large"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_and_the_month_have_limits() {
    let bench = TestServer::start(|spec| {
        spec.queue_limit = 15;
        spec.processing = Duration::from_secs(60);
        spec.faults.spend_cap_requests = Some(25);
    })
    .await;
    bench.create_rows(10).await;
    let rows: Vec<Value> = (0..10)
        .map(|n| request(&format!("s{n}"), json!({})))
        .collect();
    let body = json!({"requests": rows}).to_string();
    let full = bench
        .post("/v1/messages/batches", body.clone())
        .await
        .unwrap();
    assert_eq!(full.headers()["retry-after"], "60");
    assert_eq!(error_of(full).await.0, 429);
    bench.pass(Duration::from_secs(60)).await;
    assert_eq!(
        bench
            .post("/v1/messages/batches", body.clone())
            .await
            .unwrap()
            .status(),
        200
    );
    bench.pass(Duration::from_secs(60)).await;
    let spent = bench.post("/v1/messages/batches", body).await.unwrap();
    assert_eq!(
        (spent.status().as_u16(), spent.headers().get("retry-after")),
        (429, None)
    );
    let spent: Value = spent.json().await.unwrap();
    assert_eq!(
        spent["error"]["details"]["error_code"],
        "enforced_spend_limit_reached"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primed_batch_reads_what_the_first_one_wrote() {
    let bench = TestServer::start(|spec| spec.processing = Duration::from_secs(600)).await;
    let usage = async |prefix: &str, rows: usize, ttl: &str| {
        let requests: Vec<Value> = (0..rows)
            .map(|n| request(&format!("{prefix}{n}"), shared(ttl)))
            .collect();
        let batch = format!(
            "/v1/messages/batches/{}",
            bench.create(&requests).await["id"].as_str().unwrap()
        );
        bench.pass(Duration::from_secs(600)).await;
        let sum = |lines: &[Value], key: &str| -> u64 {
            lines
                .iter()
                .map(|l| l["result"]["message"]["usage"][key].as_u64().unwrap())
                .filter(|n| *n > 0)
                .count() as u64
        };
        let lines = bench.results(&batch).await;
        (
            sum(&lines, "cache_creation_input_tokens"),
            sum(&lines, "cache_read_input_tokens"),
        )
    };
    assert_eq!(
        usage("cold", 48, "5m").await,
        (48, 0),
        "all run at the same time"
    );
    assert_eq!(usage("later", 48, "5m").await, (48, 0), "ten minutes on");
    assert_eq!(usage("prime", 1, "1h").await, (1, 0));
    assert_eq!(usage("main", 100, "1h").await, (0, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_what_it_bills() {
    let bench = TestServer::start(|_| {}).await;
    let mut params = request("x", shared("1h"))["params"].clone();
    let message: Value = bench
        .post("/v1/messages", params.to_string())
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let again: Value = bench
        .post("/v1/messages", params.to_string())
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    params.as_object_mut().unwrap().remove("max_tokens");
    let count: Value = bench
        .post("/v1/messages/count_tokens", params.to_string())
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let total = |message: &Value| -> u64 {
        [
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
        ]
        .iter()
        .map(|key| message["usage"][key].as_u64().unwrap())
        .sum()
    };
    assert_eq!(count["input_tokens"], total(&message));
    assert_eq!(count["input_tokens"], total(&again));
    assert!(again["usage"]["cache_read_input_tokens"].as_u64().unwrap() > 0);
    assert_eq!(message["usage"]["service_tier"], "standard");
    // A synchronous write does not warm batches.
    let batch = bench.create(&[request("x", shared("1h"))]).await;
    let lines = bench
        .results(&format!(
            "/v1/messages/batches/{}",
            batch["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        lines[0]["result"]["message"]["usage"]["cache_read_input_tokens"],
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_knows_every_row_that_was_accepted() {
    let bench = TestServer::start(|_| {}).await;
    bench.create_rows(3).await;
    bench
        .create(&[request("r1", json!({})), request("z", json!({}))])
        .await;
    let ledger = SimLedger::read(bench.folder()).unwrap();
    assert_eq!(
        ledger
            .batches
            .iter()
            .map(|b| b.requests)
            .collect::<Vec<_>>(),
        [3, 2]
    );
    let ids = ["r2", "r0", "r1"].map(str::to_owned);
    assert_eq!(ledger.batches[0].ids_blake3, SimLedger::fingerprint(ids));
    assert_eq!(SimLedger::request_counts(bench.folder()).unwrap()["r1"], 2);
    let over_http = bench.get("/_sim/ledger").await;
    assert_eq!(over_http["batches"][1]["requests"], 2);
    assert_eq!(over_http["calls"]["create"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_leaves_a_batch_and_a_lost_request_does_not() {
    let rows = json!({"requests": [request("a", json!({}))]}).to_string();
    for (act, batches) in [
        ("reset_before", 0),
        ("reset_during", 0),
        ("reset_after", 1),
        ("hang_before", 0),
        ("hang_after", 1),
    ] {
        let bench = TestServer::with_faults(&format!(
            "[[calls]]\non = 'create'\nnth = [1]\ndo = '{act}'\nseconds = 0.05\nat_byte = 10"
        ))
        .await;
        let lost = bench.post("/v1/messages/batches", rows.clone()).await;
        assert!(lost.is_err(), "{act}: {lost:?}");
        assert_eq!(
            bench.running().ledger().unwrap().batches.len(),
            batches,
            "{act}"
        );
        assert_eq!(
            bench
                .post("/v1/messages/batches", rows.clone())
                .await
                .unwrap()
                .status(),
            200,
            "{act}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle_of_a_body_creates_nothing() {
    let bench = TestServer::start(|_| {}).await;
    let whole = json!({"requests": [request("a", json!({}))]}).to_string();
    // All of the JSON, but less than was announced: the body is not whole.
    let body = futures_util::stream::iter([
        Ok(bytes::Bytes::from(whole)),
        Err(std::io::Error::other("gone")),
    ]);
    assert!(
        bench
            .post("/v1/messages/batches", reqwest::Body::wrap_stream(body))
            .await
            .is_err()
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.running().ledger().unwrap().batches, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_with_the_status_and_the_headers_that_were_asked_for() {
    let bench = TestServer::with_faults(
        "[[calls]]\non = 'create'\nnth = [1]\ndo = 'status'\nstatus = 429\nretry_after = \
         '2'\nshould_retry = true\n[[calls]]\non = 'create'\nnth = [2]\ndo = 'status'\nstatus = \
         402\nerror_code = 'linked_organization_spend_limit_reached'\n[[calls]]\non = \
         'create'\nnth = [3]\ndo = 'status'\nstatus = 529\n[[calls]]\non = 'list'\ndo = \
         'redirect'\nurl = 'http://127.0.0.1:9'\n[[calls]]\non = 'retrieve'\nnth = [1]\ndo = \
         'truncated_json'\n[[calls]]\non = 'retrieve'\nnth = [2]\ndo = 'truncated_json'\nabrupt = \
         true\n[[calls]]\non = 'retrieve'\nnth = [3]\ndo = 'foreign_results_url'\nurl = \
         'https://api.example.com'\n[[calls]]\non = 'retrieve'\nnth = [4]\ndo = \
         'unknown_status'\n[[calls]]\non = 'results'\ndo = 'content_type'\nvalue = 'text/html'",
    )
    .await;
    let body = json!({"requests": [request("a", json!({}))]}).to_string();
    let limited = bench
        .post("/v1/messages/batches", body.clone())
        .await
        .unwrap();
    assert_eq!(
        (
            &limited.headers()["retry-after"],
            &limited.headers()["x-should-retry"]
        ),
        (&"2".parse().unwrap(), &"true".parse().unwrap())
    );
    assert_eq!(error_of(limited).await.1, "rate_limit_error");
    assert_eq!(
        error_of(
            bench
                .post("/v1/messages/batches", body.clone())
                .await
                .unwrap()
        )
        .await
        .1,
        "billing_error"
    );
    assert_eq!(
        error_of(bench.post("/v1/messages/batches", body).await.unwrap()).await,
        (529, "overloaded_error".into(), "Overloaded".into())
    );
    let batch = bench.create_rows(1).await;
    bench.running().settle().await;
    let moved = bench
        .call(Method::GET, "/v1/messages/batches")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (moved.status(), &moved.headers()["location"]),
        (
            StatusCode::TEMPORARY_REDIRECT,
            &"http://127.0.0.1:9/v1/messages/batches".parse().unwrap()
        )
    );
    let look = async || bench.call(Method::GET, &batch).send().await.unwrap();
    assert!(serde_json::from_str::<Value>(&look().await.text().await.unwrap()).is_err());
    assert!(look().await.text().await.is_err(), "broken in the middle");
    let foreign: Value = look().await.json().await.unwrap();
    assert!(
        foreign["results_url"]
            .as_str()
            .unwrap()
            .starts_with("https://api.example.com/v1/")
    );
    assert_eq!(
        look().await.json::<Value>().await.unwrap()["processing_status"],
        "finalizing"
    );
    let results = bench
        .call(Method::GET, &format!("{batch}/results"))
        .send()
        .await
        .unwrap();
    assert_eq!(results.headers()["content-type"], "text/html");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_results_stream_can_be_cut_cleanly_or_abruptly() {
    let bench = TestServer::with_faults(
        "[[calls]]\non = 'results'\nnth = [1]\ndo = 'cut'\nat_line = 3\n\
         [[calls]]\non = 'results'\nnth = [2]\ndo = 'cut'\nat_byte = 1000\nabrupt = true",
    )
    .await;
    let batch = bench.create_rows(10).await;
    assert_eq!(bench.results(&batch).await.len(), 3, "it looks complete");
    let abrupt = bench
        .call(Method::GET, &format!("{batch}/results"))
        .send()
        .await
        .unwrap();
    assert!(abrupt.text().await.is_err());
    assert_eq!(bench.results(&batch).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_batches_get_their_faults() {
    let bench = TestServer::with_faults(
        "[[rows]]\noutcome = 'errored'\nids = ['r1']\nerror_type = 'overloaded_error'\n\
         [[rows]]\noutcome = 'expired'\nids = ['r2']\n\
         [[rows]]\noutcome = 'refused'\nids = ['r3']\n\
         [[batches]]\nnth = [1]\nhidden_seconds = 5\n\
         [[batches]]\nnth = [2]\nextra_seconds = 60",
    )
    .await;
    let batch = bench.create_rows(5).await;
    let hidden = bench.call(Method::GET, &batch).send().await.unwrap();
    assert_eq!(error_of(hidden).await.0, 404);
    bench.pass(Duration::from_secs(5)).await;
    let lines = bench.results(&batch).await;
    let result = |id: &str| lines.iter().find(|l| l["custom_id"] == id).unwrap()["result"].clone();
    assert_eq!(result("r1")["error"]["error"]["type"], "overloaded_error");
    assert_eq!(result("r2"), json!({"type": "expired"}));
    assert_eq!(result("r3")["message"]["stop_reason"], "refusal");
    assert_eq!(
        bench.get(&batch).await["request_counts"],
        json!({"processing": 0, "succeeded": 3, "errored": 1, "canceled": 0, "expired": 1})
    );

    let again = bench.create_rows(5).await;
    bench.running().settle().await;
    assert_eq!(
        bench.get(&again).await["processing_status"],
        "in_progress",
        "slow"
    );
    bench.pass(Duration::from_secs(60)).await;
    assert_eq!(
        bench.get(&again).await["request_counts"]["succeeded"],
        5,
        "another try fixes what can be fixed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_can_be_late_in_the_list() {
    let bench = TestServer::with_faults("[[batches]]\nnth = [2]\nunlisted_seconds = 30").await;
    bench.create_rows(1).await;
    let late = bench.create_rows(1).await;
    let listed = async || {
        bench.get("/v1/messages/batches").await["data"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(listed().await, 1);
    assert_eq!(bench.get(&late).await["type"], "message_batch");
    bench.pass(Duration::from_secs(30)).await;
    assert_eq!(listed().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let bench = TestServer::with_faults(
        "[[calls]]\non = 'create'\ndo = 'status'\nstatus = 503\nearly = true",
    )
    .await;
    let body =
        futures_util::stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 16])));
    // On the same machine the reset of a connection that is given up may overtake the answer: both
    // are what a client must live with.
    if let Ok(answer) = bench
        .post("/v1/messages/batches", reqwest::Body::wrap_stream(body))
        .await
    {
        assert_eq!(answer.status(), 503);
    }
    assert_eq!(bench.running().ledger().unwrap().batches, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_at_once_though_a_call_hangs_and_gives_the_folder_back() {
    let mut bench = TestServer::with_faults(
        "[[calls]]\non = 'list'\nnth = [1]\ndo = 'hang_before'\nseconds = 500",
    )
    .await;
    let hanging = tokio::spawn(bench.call(Method::GET, "/v1/messages/batches").send());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    bench.restart().await;
    assert!(
        begin.elapsed() < Duration::from_secs(60),
        "the hanging call has 500 seconds"
    );
    assert!(hanging.await.unwrap().is_err());
    assert_eq!(bench.running().calls().get(&ApiCall::List), None);
}

/// Moves the clock by what is slept, at once.
fn manual_sleep(now: &Arc<AtomicI64>) -> SimSleep {
    let now = now.clone();
    Arc::new(move |time| {
        now.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_clock_that_only_the_test_moves_batches_end_at_the_next_call() {
    let faults = "[[calls]]\non = 'list'\ndo = 'delay'\nseconds = 500";
    let bench = TestServer::start_with(|spec, now| {
        spec.processing = Duration::from_secs(3_600);
        spec.faults = SimFaults::from_toml(faults).unwrap();
        *spec = spec.clone().with_manual_time(manual_sleep(now));
    })
    .await;
    let begin = Instant::now();
    let batch = bench.create_rows(20).await;
    for round in 0..3 {
        let status = bench.get(&batch).await["processing_status"].clone();
        assert_eq!(status, "in_progress", "round {round}");
    }
    let moved = i64::try_from(Duration::from_secs(3_600).as_micros()).unwrap();
    bench.now.fetch_add(moved, Ordering::SeqCst);
    let ended = bench.get(&batch).await;
    assert_eq!(ended["processing_status"], "ended");
    assert_eq!(ended["request_counts"]["succeeded"], 20);
    let before = bench.now.load(Ordering::SeqCst);
    bench.get("/v1/messages/batches").await;
    assert_eq!(bench.now.load(Ordering::SeqCst) - before, 500_000_000);
    assert!(
        begin.elapsed() < Duration::from_secs(60),
        "over an hour of simulated time has passed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_at_once_while_a_client_keeps_its_connection_open() {
    let mut bench = TestServer::start(|_| {}).await;
    bench.create_rows(3).await;
    for _ in 0..5 {
        // Leaves an idle connection in the client's pool.
        bench.get("/v1/messages/batches").await;
        let begin = Instant::now();
        bench.running.take().unwrap().stop().await;
        assert!(
            begin.elapsed() < super::running::STOP_TIMEOUT,
            "nothing was in progress"
        );
        let running = Simulator::start(bench.spec.clone(), loopback()).await;
        bench.running = Some(running.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_other_machines_and_a_folder_in_use() {
    let bench = TestServer::start(|_| {}).await;
    let elsewhere = Simulator::start(bench.spec.clone(), "0.0.0.0:0".parse().unwrap()).await;
    assert!(matches!(elsewhere, Err(Error::NotLoopback { .. })));
    let second = Simulator::start(bench.spec.clone(), loopback()).await;
    assert!(matches!(second, Err(Error::Locked { .. })));
}

/// The real clients against the simulator: `SDK_PYTHON` names a Python that has `anthropic`,
/// `SDK_NODE` a folder in which `@anthropic-ai/sdk` was installed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the official SDKs, which come from the network"]
async fn the_official_sdks_work_unchanged() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let python = std::process::Command::new(variable("SDK_PYTHON"));
    let node = std::process::Command::new("node");
    for (mut command, script, more) in [
        (python, "python_sdk.py", None),
        (node, "typescript_sdk.mjs", Some(variable("SDK_NODE"))),
    ] {
        let faults = std::fs::read_to_string(scripts.join("faults.toml")).unwrap();
        let bench = TestServer::start(|spec| {
            spec.clock = Arc::new(Timestamp::now);
            spec.processing = Duration::from_millis(1_200);
            spec.canceling = Duration::from_millis(300);
            spec.faults = SimFaults::from_toml(&faults).unwrap();
        })
        .await;
        command
            .arg(scripts.join(script))
            .arg(bench.running().base_url())
            .args(more);
        let status = tokio::task::spawn_blocking(move || command.status())
            .await
            .unwrap()
            .unwrap();
        assert!(status.success(), "{script}");
    }
}

/// 100,000 requests of 2 KB with a shared system prompt that is cached: 250 MB in, as much disk, no
/// memory to speak of.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute without optimisation; wants to run alone, since it looks at the memory \
    of the process"]
async fn a_full_batch_does_not_fill_the_memory() {
    let bench = TestServer::start(|_| {}).await;
    let (rows, begin) = (100_000, Instant::now());
    let pieces = (0..=rows).map(move |n| {
        let head = if n == 0 { "{\"requests\":[" } else { "," };
        let text = "The printer on the third floor is out of paper again. ".repeat(40);
        let marked = json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]);
        let row = json!({"custom_id": format!("row-{n}"), "params": {"model": "claude-haiku-4-5", "max_tokens": 100, "system": marked,
            "messages": [{"role": "user", "content": format!("{n}: {text}")}]}});
        Ok::<_, std::io::Error>(if n == rows { "]}".to_owned() } else { format!("{head}{row}") })
    });
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let long = Duration::from_secs(600);
    let answer = bench
        .call(Method::POST, "/v1/messages/batches")
        .timeout(long)
        .body(body)
        .send()
        .await
        .unwrap();
    let id = answer.json::<Value>().await.unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let uploaded = begin.elapsed();
    bench.running().settle().await;
    let processed = begin.elapsed() - uploaded;
    let mut results = bench
        .call(Method::GET, &format!("/v1/messages/batches/{id}/results"))
        .send()
        .await
        .unwrap();
    let mut lines = 0;
    while let Some(piece) = results.chunk().await.unwrap() {
        lines += piece.iter().filter(|b| **b == b'\n').count();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    tracing::info!(?uploaded, ?processed, peak);
    assert_eq!(lines, rows);
    let peak_kb: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak_kb < 120_000, "{peak}");
}
