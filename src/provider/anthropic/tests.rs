//! The client against servers on this machine: axum where an answer is whole, bare sockets where it
//! is not.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use futures_util::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::spec::secrets;
use super::*;
use crate::batch::BatchBody;
use crate::provider::upload::tests::Pieces;
use crate::provider::{
    ApiError, ApiErrorKind, BatchApi, BatchId, Call, Counts, Delivery, Processing, ResultStream,
    Timeouts,
};

const KEY: &str = "sk-ant-api03-THE-KEY-0123456789";

type Reply = (StatusCode, Vec<(&'static str, String)>, Vec<u8>);

/// What a server saw of one call.
#[derive(Debug, Clone)]
struct ReceivedCall {
    method: String,
    uri: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl ReceivedCall {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A server that gives the same replies in turn, the last one for ever, and remembers what it saw.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<ReceivedCall>>>,
}

#[derive(Clone)]
struct Shared {
    replies: Arc<Vec<Reply>>,
    seen: Arc<Mutex<Vec<ReceivedCall>>>,
}

impl Server {
    async fn start(replies: Vec<Reply>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared {
            replies: Arc::new(replies),
            seen: Arc::default(),
        };
        let seen = Arc::clone(&shared.seen);
        let router = Router::new().fallback(reply).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Server { address, seen }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn client(&self) -> Anthropic {
        Anthropic::new(spec(&self.url())).unwrap()
    }

    fn seen(&self) -> Vec<ReceivedCall> {
        self.seen.lock().unwrap().clone()
    }
}

async fn reply(State(shared): State<Shared>, request: Request) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    let turn = {
        let mut seen = shared.seen.lock().unwrap();
        seen.push(ReceivedCall {
            method: head.method.to_string(),
            uri: head.uri.to_string(),
            headers: head.headers,
            body,
        });
        seen.len() - 1
    };
    let (status, headers, body) = shared.replies[turn.min(shared.replies.len() - 1)].clone();
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(axum::body::Body::from(body)).unwrap()
}

fn spec(base_url: &str) -> AnthropicSpec {
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        call: Duration::from_secs(5),
    };
    AnthropicSpec {
        base_url: base_url.to_owned(),
        timeouts,
        ..AnthropicSpec::new(Credential::ApiKey(KEY.into()))
    }
}

fn ok(body: &Value) -> Reply {
    (
        StatusCode::OK,
        vec![("content-type", "application/json".to_owned())],
        body.to_string().into_bytes(),
    )
}

fn bare(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
    let headers = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    (
        StatusCode::from_u16(status).unwrap(),
        headers,
        body.as_bytes().to_vec(),
    )
}

fn a_batch(id: &str) -> Value {
    json!({"id": id, "type": "message_batch", "processing_status": "in_progress",
        "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": "2026-11-01T10:00:00.000001Z", "expires_at": "2026-11-02T10:00:00.000001Z", "ended_at": null,
        "cancel_initiated_at": null, "results_url": null})
}

fn id(text: &str) -> BatchId {
    BatchId(text.to_owned())
}

fn small_body() -> Arc<Pieces> {
    Pieces::honest(vec![r#"{"requests":["#.into(), "]}".into()])
}

/// A body of many pieces, larger than what the sockets of a connection can hold.
fn large_body() -> Arc<Pieces> {
    Pieces::honest(
        (0..160_u8)
            .map(|piece| Bytes::from(vec![piece; 256 * 1024]))
            .collect(),
    )
}

/// Runs a server that handles one connection by hand.
async fn by_hand<F, R>(handle: F) -> String
where
    F: FnOnce(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        handle(socket).await;
    });
    url
}

/// Reads up to the end of the head of a request.
async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn collect(mut stream: ResultStream) -> (Vec<u8>, Option<ApiError>) {
    let mut bytes = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => {
                assert!(stream.next().await.is_none());
                return (bytes, Some(error));
            }
        }
    }
    (bytes, None)
}

#[tokio::test]
async fn uploads_a_body_of_known_length_byte_for_byte() {
    let server = Server::start(vec![ok(&a_batch("msgbatch_1"))]).await;
    let body = large_body();
    let batch = server
        .client()
        .create(Arc::clone(&body) as Arc<dyn BatchBody>)
        .await
        .unwrap();
    assert_eq!(
        (batch.id, batch.processing_status),
        (id("msgbatch_1"), Processing::InProgress)
    );
    assert_eq!(
        batch.request_counts,
        Counts {
            processing: 2,
            ..Counts::default()
        }
    );
    let seen = &server.seen()[0];
    assert_eq!(
        (seen.method.as_str(), seen.uri.as_str()),
        ("POST", "/v1/messages/batches")
    );
    assert_eq!(
        seen.header("content-length"),
        Some(body.bytes().to_string().as_str())
    );
    assert_eq!(seen.header("transfer-encoding"), None);
    let sent: Vec<u8> = body
        .chunks()
        .unwrap()
        .flat_map(|piece| piece.unwrap())
        .collect();
    assert!(seen.body == sent);
}

#[tokio::test]
async fn sends_the_headers_the_api_wants() {
    let server = Server::start(vec![ok(&a_batch("b"))]).await;
    let client = Anthropic::new(AnthropicSpec {
        betas: vec!["output-300k-2026-03-24".to_owned(), "x".to_owned()],
        workspace_id: Some("wrkspc_1".to_owned()),
        custom_headers: custom_headers("X-Team: data \n\nanthropic-version:2023-06-01\r\n")
            .unwrap(),
        ..spec(&server.url())
    })
    .unwrap();
    client.create(small_body()).await.unwrap();
    client.retrieve(&id("b")).await.unwrap();
    client.cancel(&id("b")).await.unwrap();
    let [create, retrieve, cancel] = &server.seen()[..] else {
        panic!("three calls")
    };
    for call in [create, retrieve, cancel] {
        assert_eq!(call.header("x-api-key"), Some(KEY));
        assert_eq!(call.header("authorization"), None);
        assert_eq!(
            call.header("anthropic-version"),
            Some("2023-06-01"),
            "a custom header wins"
        );
        assert_eq!(call.header("anthropic-workspace-id"), Some("wrkspc_1"));
        assert_eq!(call.header("x-team"), Some("data"));
        assert_eq!(
            call.header("user-agent"),
            Some(concat!("rowmill/", env!("CARGO_PKG_VERSION")))
        );
        assert_eq!(call.header("accept-encoding"), Some("gzip"));
    }
    assert_eq!(
        create.header("anthropic-beta"),
        Some("output-300k-2026-03-24,x")
    );
    assert_eq!(create.header("content-type"), Some("application/json"));
    assert_eq!(
        (
            retrieve.header("anthropic-beta"),
            retrieve.header("content-length")
        ),
        (None, None)
    );
    assert_eq!(
        (
            cancel.header("anthropic-beta"),
            cancel.header("content-length")
        ),
        (None, Some("0"))
    );

    let token = AnthropicSpec {
        credential: Credential::AuthToken("tok-123".into()),
        ..spec(&server.url())
    };
    Anthropic::new(token)
        .unwrap()
        .retrieve(&id("b"))
        .await
        .unwrap();
    let seen = server.seen();
    assert_eq!(
        (seen[3].header("authorization"), seen[3].header("x-api-key")),
        (Some("Bearer tok-123"), None)
    );
    assert_eq!(seen[3].header("anthropic-version"), Some(API_VERSION));
}

#[tokio::test]
async fn looks_at_lists_cancels_and_deletes_batches() {
    let page = json!({"data": [a_batch("b2"), a_batch("b1")], "has_more": true, "first_id": "b2", "last_id": "b1"});
    let last = json!({"data": [], "has_more": null, "first_id": null, "last_id": null});
    let deleted = json!({"id": "b1", "type": "message_batch_deleted"});
    let server = Server::start(vec![
        ok(&a_batch("b")),
        ok(&page),
        ok(&last),
        ok(&a_batch("b")),
        ok(&deleted),
    ])
    .await;
    let client = server.client();
    let odd = id("a/b?c#%d ü");
    assert_eq!(client.retrieve(&odd).await.unwrap().id, id("b"));
    let page = client.list(1000, None).await.unwrap();
    assert_eq!(
        (page.data.len(), page.has_more, page.last_id.as_deref()),
        (2, true, Some("b1"))
    );
    let last = client.list(2, Some("b&1")).await.unwrap();
    assert_eq!(
        (last.data.len(), last.has_more, last.last_id),
        (0, false, None)
    );
    client.cancel(&id("b")).await.unwrap();
    client.delete(&id("b1")).await.unwrap();
    let seen: Vec<String> = server
        .seen()
        .iter()
        .map(|seen| format!("{} {}", seen.method, seen.uri))
        .collect();
    assert_eq!(
        seen,
        [
            "GET /v1/messages/batches/a%2Fb%3Fc%23%25d%20%C3%BC",
            "GET /v1/messages/batches?limit=1000",
            "GET /v1/messages/batches?limit=2&after_id=b%261",
            "POST /v1/messages/batches/b/cancel",
            "DELETE /v1/messages/batches/b1",
        ]
    );
}

#[tokio::test]
async fn sends_no_id_that_names_another_path() {
    let server = Server::start(vec![ok(&a_batch("b"))]).await;
    let client = server.client();
    for odd in ["", ".", ".."] {
        let error = client.delete(&id(odd)).await.unwrap_err();
        assert_eq!(
            (error.kind.as_str(), error.delivery),
            (ApiErrorKind::Body.as_str(), Delivery::NotSent)
        );
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn sends_a_message_and_counts_tokens() {
    let server = Server::start(vec![
        ok(&json!({"id": "msg_1"})),
        ok(&json!({"input_tokens": 12, "more": 1})),
    ])
    .await;
    let client = Anthropic::new(AnthropicSpec {
        betas: vec!["x".to_owned()],
        ..spec(&server.url())
    })
    .unwrap();
    let params = br#"{"model":"m","max_tokens":5,"messages":[]}"#;
    assert_eq!(
        client.message(params).await.unwrap(),
        json!({"id": "msg_1"})
    );
    assert_eq!(client.count_tokens(params).await.unwrap(), 12);
    let [message, count] = &server.seen()[..] else {
        panic!("two calls")
    };
    assert_eq!(
        (message.uri.as_str(), message.body.as_slice()),
        ("/v1/messages", params.as_slice())
    );
    assert_eq!(
        (count.uri.as_str(), count.body.as_slice()),
        (
            "/v1/messages/count_tokens",
            br#"{"messages":[],"model":"m"}"#.as_slice()
        )
    );
    assert_eq!(
        (
            message.header("anthropic-beta"),
            count.header("anthropic-beta")
        ),
        (Some("x"), Some("x"))
    );
}

#[tokio::test]
async fn reads_models_page_by_page_and_ends() {
    let page = |name: &str, last: &str| {
        ok(
            &json!({"data": [{"id": name, "type": "model", "display_name": null, "max_tokens": 7}], "has_more": true, "last_id": last}),
        )
    };
    let server = Server::start(vec![page("a", "1"), page("b", "2"), page("c", "2")]).await;
    let models = server.client().models().await.unwrap();
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(
        (
            models[0].display_name.as_str(),
            &models[0].more["max_tokens"]
        ),
        ("", &json!(7))
    );
    let uris: Vec<String> = server.seen().iter().map(|seen| seen.uri.clone()).collect();
    let all = "/v1/models?limit=1000&lifecycle%5B%5D=active&lifecycle%5B%5D=deprecated&lifecycle%5B%5D=retired";
    assert_eq!(
        uris,
        [
            all.to_owned(),
            format!("{all}&after_id=1"),
            format!("{all}&after_id=2")
        ]
    );
}

#[tokio::test]
async fn fetches_results_below_the_base_url_and_unpacks_gzip() {
    let text = b"{\"custom_id\":\"a\"}\n".repeat(1000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&text).unwrap();
    let gzip = gzip.finish().unwrap();
    let packed = |bytes: &[u8]| {
        (
            StatusCode::OK,
            vec![("content-encoding", "gzip".to_owned())],
            bytes.to_vec(),
        )
    };
    let server = Server::start(vec![packed(&gzip), packed(&gzip[..gzip.len() / 2])]).await;
    let client = Anthropic::new(spec(&format!("{}/gateway/anthropic/", server.url()))).unwrap();
    assert_eq!(client.origin(), server.url());
    let (bytes, error) = collect(client.results(&id("b")).await.unwrap()).await;
    assert!(error.is_none() && bytes == text);
    let seen = &server.seen()[0];
    assert_eq!(seen.uri, "/gateway/anthropic/v1/messages/batches/b/results");
    assert_eq!(seen.header("accept"), Some("application/binary"));

    let (_, error) = collect(client.results(&id("b")).await.unwrap()).await;
    assert_eq!(error.unwrap().kind, ApiErrorKind::Connection);
}

#[tokio::test]
async fn notices_results_that_break_off() {
    for (head_of_answer, body) in [
        ("content-length: 100\r\n", "{\"custom_id\":\"a\"}\n{\"cust"),
        ("content-length: 100\r\n", "{\"custom_id\":\"a\"}\n"),
        (
            "transfer-encoding: chunked\r\n",
            "12\r\n{\"custom_id\":\"a\"}\n\r\n",
        ),
    ] {
        let url = by_hand(move |mut socket| async move {
            head(&mut socket).await;
            let answer = format!("HTTP/1.1 200 OK\r\n{head_of_answer}\r\n{body}");
            socket.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let client = Anthropic::new(spec(&url)).unwrap();
        let (bytes, error) = collect(client.results(&id("b")).await.unwrap()).await;
        assert!(bytes.starts_with(b"{\"custom_id\":\"a\"}\n"));
        let error = error.unwrap();
        assert_eq!(
            (error.call, error.kind.as_str(), error.delivery),
            (
                Call::Results,
                ApiErrorKind::Connection.as_str(),
                Delivery::Unknown
            )
        );
    }
}

#[tokio::test]
async fn notices_results_that_stall() {
    let url = by_hand(|mut socket| async move {
        head(&mut socket).await;
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    let timeouts = Timeouts {
        idle: Duration::from_secs(2),
        ..Timeouts::default()
    };
    let client = Anthropic::new(AnthropicSpec {
        timeouts,
        ..spec(&url)
    })
    .unwrap();
    let (bytes, error) = collect(client.results(&id("b")).await.unwrap()).await;
    assert_eq!(
        (bytes.as_slice(), error.unwrap().kind.as_str()),
        (&b"half"[..], ApiErrorKind::Timeout.as_str())
    );
}

#[tokio::test]
async fn gives_up_a_small_call_that_takes_too_long() {
    let url = by_hand(|mut socket| async move {
        head(&mut socket).await;
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            .await
            .unwrap();
        while socket.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let timeouts = Timeouts {
        call: Duration::from_millis(300),
        ..Timeouts::default()
    };
    let client = Anthropic::new(AnthropicSpec {
        timeouts,
        ..spec(&url)
    })
    .unwrap();
    let error = client.retrieve(&id("b")).await.unwrap_err();
    assert_eq!(
        (error.kind.as_str(), error.message.as_str()),
        (ApiErrorKind::Timeout.as_str(), "no answer within 0.3 s")
    );
}

#[tokio::test]
async fn takes_no_web_page_for_results() {
    let server = Server::start(vec![bare(
        200,
        &[("content-type", "text/html; charset=utf-8")],
        "<html>sign in</html>",
    )])
    .await;
    let error = server.client().results(&id("b")).await.err().unwrap();
    assert_eq!(error.kind, ApiErrorKind::Unreadable);
}

#[tokio::test]
async fn reads_errors_of_every_shape() {
    let envelope = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow\ndown","details":{"error_code":"ramp_limit_exceeded"}},"request_id":"req_body"}"#;
    const OVERLOADED: &str =
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let torn = format!(
        "create batch: the provider answered 529 `overloaded_error`: {} (request id req_1)",
        &OVERLOADED[..60]
    );
    let page = format!(
        "<html><head><title>502 Bad Gateway</title></head>{}</html>",
        "x".repeat(100_000)
    );
    let long = "word ".repeat(1000);
    #[rustfmt::skip]
    let table = [
        (bare(429, &[("request-id", "req_head"), ("retry-after", "7"), ("x-should-retry", "true")], envelope),
         "create batch: the provider answered 429 `rate_limit_error`: slow down (request id \
          req_head)", Delivery::Refused),
        (bare(400, &[], envelope), "create batch: the provider answered 400 `rate_limit_error`: \
            slow down (request id req_body)", Delivery::Refused),
        (bare(413, &[], r#"{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#),
         "create batch: the provider answered 413 `request_too_large`: Request exceeds the maximum \
          size", Delivery::Refused),
        (bare(413, &[], ""), "create batch: the provider answered 413 `request_too_large`: the \
            answer is empty", Delivery::Refused),
        (bare(502, &[], &page), "create batch: the provider answered 502 `api_error`: 502 Bad \
            Gateway", Delivery::Unknown),
        (bare(529, &[], "{}"), "create batch: the provider answered 529 `overloaded_error`: the \
            answer gives no reason", Delivery::Unknown),
        (bare(529, &[("request-id", "req_1")], OVERLOADED), "create batch: the provider answered \
            529 `overloaded_error`: Overloaded (request id req_1)", Delivery::Refused),
        (bare(529, &[], OVERLOADED), "create batch: the provider answered 529 `overloaded_error`: \
            Overloaded", Delivery::Refused),
        (bare(529, &[("request-id", "req_1")], &OVERLOADED[..60]), torn.as_str(), Delivery::Unknown),
        (bare(500, &[("request-id", "req_1")], OVERLOADED), "create batch: the provider answered \
            500 `overloaded_error`: Overloaded (request id req_1)", Delivery::Unknown),
        (bare(503, &[("request-id", "req_1")], OVERLOADED), "create batch: the provider answered \
            503 `overloaded_error`: Overloaded (request id req_1)", Delivery::Unknown),
        (bare(408, &[], "x"), "create batch: the provider answered 408 `timeout_error`: x", Delivery::Unknown),
        (bare(409, &[], "x"), "create batch: the provider answered 409 `conflict_error`: x", Delivery::Unknown),
        (bare(418, &[], "x"), "create batch: the provider answered 418 `invalid_request_error`: x", Delivery::Refused),
    ];
    for (reply, said, delivery) in table {
        let server = Server::start(vec![reply]).await;
        let error = server.client().create(small_body()).await.unwrap_err();
        assert_eq!(error.to_string(), said);
        assert_eq!(error.delivery, delivery, "{said}");
    }
    let server = Server::start(vec![
        bare(
            429,
            &[("retry-after", "7"), ("x-should-retry", "false")],
            envelope,
        ),
        bare(400, &[], &long),
    ])
    .await;
    let error = server.client().create(small_body()).await.unwrap_err();
    assert_eq!(
        (error.retry_after, error.should_retry),
        (Some(Duration::from_secs(7)), Some(false))
    );
    assert_eq!(error.code.as_deref(), Some("ramp_limit_exceeded"));
    let error = server.client().create(small_body()).await.unwrap_err();
    assert!(error.message.chars().count() <= 301);
}

#[tokio::test]
async fn doubts_a_create_whose_good_answer_cannot_be_read() {
    let mut cut = a_batch("b").to_string();
    cut.truncate(40);
    let [slashes, control, long] =
        ["../x", "a\u{7}b", &"x".repeat(5_000_000)].map(|id| a_batch(id).to_string());
    for body in [
        "",
        "<html>",
        "{}",
        r#"{"id":5}"#,
        r#"{"id":"b"}"#,
        cut.as_str(),
        &slashes,
        &control,
        &long,
    ] {
        let server = Server::start(vec![bare(200, &[("request-id", "req_1")], body)]).await;
        let error = server.client().create(small_body()).await.unwrap_err();
        assert_eq!(
            (error.kind.as_str(), error.delivery),
            (ApiErrorKind::Unreadable.as_str(), Delivery::Unknown),
            "{body}"
        );
        assert_eq!(
            (error.status, error.request_id.as_deref()),
            (Some(200), Some("req_1"))
        );
    }
    let url = by_hand(|mut socket| async move {
        head(&mut socket).await;
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\"")
            .await
            .unwrap();
    })
    .await;
    let error = Anthropic::new(spec(&url))
        .unwrap()
        .create(small_body())
        .await
        .unwrap_err();
    assert_eq!(error.delivery, Delivery::Unknown);
}

#[tokio::test]
async fn knows_whether_a_lost_create_can_have_arrived() {
    // Nothing listens.
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Anthropic::new(spec(&format!("http://{closed}"))).unwrap();
    let error = client.create(small_body()).await.unwrap_err();
    assert_eq!(
        (error.kind.as_str(), error.delivery),
        (ApiErrorKind::Connection.as_str(), Delivery::NotSent)
    );

    // The connection breaks in the middle of the body.
    let url = by_hand(|mut socket| async move {
        head(&mut socket).await;
        socket.read_exact(&mut [0; 1000]).await.unwrap();
    })
    .await;
    let error = Anthropic::new(spec(&url))
        .unwrap()
        .create(large_body())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind.as_str(), error.delivery),
        (ApiErrorKind::Connection.as_str(), Delivery::NotSent)
    );

    // The body arrives, the answer does not.
    let url = by_hand(|mut socket| async move {
        head(&mut socket).await;
        socket
            .read_exact(&mut vec![0; usize::try_from(small_body().bytes()).unwrap()])
            .await
            .unwrap();
    })
    .await;
    let error = Anthropic::new(spec(&url))
        .unwrap()
        .create(small_body())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind.as_str(), error.delivery),
        (ApiErrorKind::Connection.as_str(), Delivery::Unknown)
    );
}

#[tokio::test]
async fn waits_for_a_slow_upload_as_long_as_it_moves() {
    // Longer than a loaded machine stands still, and shorter than the upload as a whole.
    let timeouts = Timeouts {
        idle: Duration::from_secs(4),
        ..Timeouts::default()
    };
    let body = large_body();
    let length = usize::try_from(body.bytes()).unwrap();
    let url = by_hand(move |mut socket| async move {
        head(&mut socket).await;
        let mut piece = vec![0; length / 16];
        for _ in 0..16 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            socket.read_exact(&mut piece).await.unwrap();
        }
        let body = a_batch("b").to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let client = Anthropic::new(AnthropicSpec {
        timeouts,
        ..spec(&url)
    })
    .unwrap();
    assert_eq!(client.create(body).await.unwrap().id, id("b"));

    // Taken in part, or in full and never answered.
    let timeouts = Timeouts {
        idle: Duration::from_millis(800),
        ..timeouts
    };
    for (taken, delivery) in [
        (1000, Delivery::NotSent),
        (
            usize::try_from(small_body().bytes()).unwrap(),
            Delivery::Unknown,
        ),
    ] {
        let url = by_hand(move |mut socket| async move {
            head(&mut socket).await;
            socket.read_exact(&mut vec![0; taken]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
        })
        .await;
        let client = Anthropic::new(AnthropicSpec {
            timeouts,
            ..spec(&url)
        })
        .unwrap();
        let body = if delivery == Delivery::NotSent {
            large_body()
        } else {
            small_body()
        };
        let error = client.create(body).await.unwrap_err();
        assert_eq!(
            (error.kind.as_str(), error.delivery),
            (ApiErrorKind::Timeout.as_str(), delivery)
        );
    }
}

#[tokio::test]
async fn takes_an_answer_that_comes_before_the_body_has_left() {
    for (status, delivery) in [(503, Delivery::NotSent), (429, Delivery::Refused)] {
        let (report, reported) = tokio::sync::oneshot::channel();
        let url = by_hand(move |mut socket| async move {
            head(&mut socket).await;
            socket.read_exact(&mut [0; 1000]).await.unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nbusy");
            socket.write_all(answer.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut rest = Vec::new();
            let _ = socket.read_to_end(&mut rest).await;
            let _ = report.send(1000 + rest.len() as u64);
        })
        .await;
        let body = large_body();
        let error = Anthropic::new(spec(&url))
            .unwrap()
            .create(Arc::clone(&body) as Arc<dyn BatchBody>)
            .await
            .unwrap_err();
        assert_eq!(
            (error.status, error.message.as_str(), error.delivery),
            (Some(status), "busy", delivery)
        );
        assert!(
            reported.await.unwrap() < body.bytes(),
            "the rest of the body stays here"
        );
    }
}

#[tokio::test]
async fn sends_no_whole_body_of_the_wrong_length() {
    let piece = || Ok(Bytes::from_static(b"0123456789"));
    for (pieces, said) in [
        (vec![piece()], "fewer bytes than announced (10 against 15)"),
        (
            vec![piece(), piece()],
            "more bytes than announced (20 against 15)",
        ),
        (vec![piece(), Err("the spool is gone")], "the spool is gone"),
    ] {
        let server = Server::start(vec![ok(&a_batch("b"))]).await;
        let error = server
            .client()
            .create(Arc::new(Pieces {
                pieces,
                announced: 15,
            }))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind.as_str(), error.delivery),
            (ApiErrorKind::Body.as_str(), Delivery::NotSent)
        );
        assert!(error.message.contains(said), "{error}");
    }
}

#[tokio::test]
async fn follows_redirects_within_the_origin_with_the_whole_body() {
    let to = |status, place| bare(status, &[("location", place)], "");
    let server = Server::start(vec![to(307, "/b"), to(308, "c?x=1"), ok(&a_batch("b"))]).await;
    server.client().create(small_body()).await.unwrap();
    let seen = server.seen();
    let uris: Vec<&str> = seen.iter().map(|seen| seen.uri.as_str()).collect();
    assert_eq!(uris, ["/v1/messages/batches", "/b", "/c?x=1"]);
    assert!(seen.iter().all(|seen| seen.method == "POST"
        && seen.body == br#"{"requests":[]}"#
        && seen.header("x-api-key").is_some()));

    let server = Server::start(vec![to(302, "/b"), ok(&a_batch("b"))]).await;
    server.client().retrieve(&id("b")).await.unwrap();

    let round = Server::start(vec![to(307, "/round")]).await;
    let error = round.client().retrieve(&id("b")).await.unwrap_err();
    assert_eq!(
        (error.kind.as_str(), round.seen().len()),
        (ApiErrorKind::Redirect.as_str(), 6)
    );
}

#[tokio::test]
async fn turns_no_create_into_another_method() {
    let server = Server::start(vec![bare(303, &[("location", "/done")], "")]).await;
    let error = server.client().create(small_body()).await.unwrap_err();
    assert_eq!(
        (error.kind.as_str(), error.delivery, server.seen().len()),
        (ApiErrorKind::Redirect.as_str(), Delivery::Unknown, 1)
    );
}

#[tokio::test]
async fn refuses_redirects_to_another_origin_and_keeps_the_key() {
    let other = Server::start(vec![ok(&a_batch("b"))]).await;
    for status in [301, 302, 303, 307, 308] {
        let place = format!("{}/v1/messages/batches/b", other.url());
        let server = Server::start(vec![bare(status, &[("location", &place)], "")]).await;
        let client = server.client();
        let error = client.results(&id("b")).await.err().unwrap();
        assert_eq!(
            (error.kind.as_str(), error.delivery),
            (ApiErrorKind::Redirect.as_str(), Delivery::Refused)
        );
        assert!(
            error.message.contains(&server.url()) && error.message.contains(&other.url()),
            "{error}"
        );
        let error = client.create(small_body()).await.unwrap_err();
        assert_eq!(
            (error.kind.as_str(), error.delivery),
            (ApiErrorKind::Redirect.as_str(), Delivery::Refused)
        );
    }
    assert!(other.seen().is_empty());
}

#[test]
fn refuses_what_cannot_be_sent_before_anything_is_sent() {
    let with = |change: fn(&mut AnthropicSpec)| {
        let mut spec = spec("https://api.example");
        change(&mut spec);
        Anthropic::new(spec).unwrap_err().to_string()
    };
    for (said, change) in [
        (
            "plain http to `api.example`",
            (|spec| spec.base_url = "http://api.example".to_owned()) as fn(&mut AnthropicSpec),
        ),
        ("it is empty", |spec| {
            spec.credential = Credential::ApiKey(" ".into())
        }),
        ("characters that no header", |spec| {
            spec.credential = Credential::AuthToken("hunter2\u{7f}".into())
        }),
        ("`a b` cannot be sent: its name", |spec| {
            spec.custom_headers = vec![("a b".into(), "hunter2".into())]
        }),
        ("`a` cannot be sent: its value", |spec| {
            spec.custom_headers = vec![("a".into(), "hunter2\0".into())]
        }),
        ("`Host` cannot be sent: it belongs", |spec| {
            spec.custom_headers = vec![("Host".into(), "hunter2".into())]
        }),
        ("`anthropic-beta` cannot be sent", |spec| {
            spec.betas = vec!["\n".into()]
        }),
        ("`anthropic-version` cannot be sent", |spec| {
            spec.api_version = "\n".into()
        }),
    ] {
        let error = with(change);
        assert!(error.contains(said), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn reads_custom_headers_line_by_line() {
    assert_eq!(custom_headers("").unwrap(), []);
    let headers = custom_headers("A: 1\r\n\n  b:x: y \n").unwrap();
    assert_eq!(
        headers,
        [
            ("A".to_owned(), "1".to_owned()),
            ("b".to_owned(), "x: y".to_owned())
        ]
    );
    for text in ["ok: 1\nhunter2", "ok: 1\n: hunter2"] {
        let error = custom_headers(text).unwrap_err().to_string();
        assert_eq!(error, "line 2 of the custom headers is not `Name: value`");
    }
}

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn shows_no_secret_in_errors_debug_output_or_logs() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // For the whole process: a log of one thread can miss what other threads were the first to
    // meet.
    tracing::subscriber::set_global_default(subscriber).expect("no other test takes the log");

    let custom = "gateway-secret-42";
    let echo = json!({"type": "error", "request_id": KEY, "error": {"type": KEY, "message": format!("bad key {KEY} \
        {custom}"),
        "details": {"error_code": KEY}}})
    .to_string();
    let replies = vec![
        bare(401, &[("request-id", KEY)], &echo),
        bare(500, &[], &format!("<title>{KEY}</title>")),
        bare(
            307,
            &[("location", &format!("http://{KEY}.example/{KEY}"))],
            "",
        ),
        bare(200, &[("content-type", KEY)], KEY),
    ];
    let count = replies.len();
    let server = Server::start(replies).await;
    let spec = AnthropicSpec {
        custom_headers: vec![("proxy-auth".into(), format!("Bearer {custom}"))],
        ..spec(&server.url())
    };
    let mut shown = format!("{spec:?} {:?}", Credential::AuthToken(KEY.into()));
    let client = Anthropic::new(spec).unwrap();
    shown += &format!("{client:?}");
    for _ in 0..count {
        let error = client.create(small_body()).await.unwrap_err();
        shown += &format!("\n{error} {error:?} {error:#?}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            shown += &format!("{cause} {cause:?}");
            source = cause.source();
        }
    }
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let credential = Credential::ApiKey(KEY.into());
    let error = Anthropic::from_parts(&format!("http://{closed}"), credential)
        .unwrap()
        .models()
        .await
        .unwrap_err();
    shown += &format!("{error} {error:?}");
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("create batch"), "the log is on");
    for text in [&shown, &log] {
        let text = text.to_lowercase();
        assert!(
            !text.contains(&KEY.to_lowercase()) && !text.contains(custom),
            "{text}"
        );
    }
    assert!(shown.contains("bad key [redacted] [redacted]"), "{shown}");
}

/// Runs in a process of its own, below, because proxies are read from the environment.
#[tokio::test]
#[ignore = "started by `asks_no_proxy_for_this_machine`"]
async fn child_with_a_proxy_in_its_environment() {
    let server = Server::start(vec![ok(&a_batch("b"))]).await;
    server.client().retrieve(&id("b")).await.unwrap();
    let client = Anthropic::new(spec("https://api.example")).unwrap();
    let error = client.retrieve(&id("b")).await.unwrap_err();
    assert!(
        error.message.contains("tunnel") || error.message.contains("onnect"),
        "{error}"
    );
}

#[test]
fn asks_no_proxy_for_this_machine() {
    // A proxy that receives only the call to another machine.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let (mut socket, _) = proxy.accept().unwrap();
        let mut line = [0; 11];
        std::io::Read::read_exact(&mut socket, &mut line).unwrap();
        socket.write_all(b"HTTP/1.1 502 No\r\n\r\n").unwrap();
        String::from_utf8(line.to_vec()).unwrap()
    });
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args([
        "--ignored",
        "--exact",
        "provider::anthropic::tests::child_with_a_proxy_in_its_environment",
    ]);
    for name in [
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        child.env(name, &url);
    }
    child.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = child.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert_eq!(heard.join().unwrap(), "CONNECT api");
}

#[test]
fn a_short_key_is_a_word_and_no_secret() {
    let of = |key: &str| secrets(&AnthropicSpec::new(Credential::ApiKey(key.into()))).len();
    assert_eq!(
        ["x", "test", "unused", "a-key-of-length"].map(of),
        [0, 0, 0, 1]
    );
}

#[tokio::test]
async fn a_key_in_the_results_is_replaced_in_transit() {
    let line = format!(
        r#"{{"custom_id":"a","result":{{"type":"errored","error":{{"error":{{"message":"{KEY} is wrong"}}}}}}}}"#
    );
    let body = line.clone().into_bytes();
    let app = Router::new().fallback(move || {
        let body = body.clone();
        async move { body }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client =
        Anthropic::from_parts(&format!("http://{address}"), Credential::ApiKey(KEY.into()))
            .unwrap();
    let mut stream = client.results(&BatchId("b".to_owned())).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        line.replace(KEY, "[redacted]")
    );
}
