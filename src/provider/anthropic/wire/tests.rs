//! Answers of the API and of gateways, whole, sparse and damaged.

use super::*;

fn batch(json: &str) -> Result<RemoteBatch, &'static str> {
    serde_json::from_str::<WireBatch>(json)
        .map_err(|_| "not the shape")?
        .batch()
}

#[test]
fn reads_a_whole_batch() {
    let batch = batch(
        r#"{"id":"msgbatch_1","type":"message_batch","processing_status":"ended",
            "request_counts":{"processing":0,"succeeded":2,"errored":1,"canceled":0,"expired":4,"held":9},
            "created_at":"2026-08-20T18:37:24.100435Z","expires_at":"2026-08-21T18:37:24.100435Z",
            "ended_at":"2026-08-20T19:00:00+00:00","cancel_initiated_at":null,"archived_at":null,
            "results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}"#,
    )
    .unwrap();
    assert_eq!(batch.processing_status, Processing::Ended);
    assert_eq!(batch.request_counts.total(), 7);
    assert_eq!(batch.created_at.to_string(), "2026-08-20T18:37:24.100435Z");
    assert_eq!(batch.ended_at.unwrap().to_string(), "2026-08-20T19:00:00Z");
}

#[test]
fn reads_what_there_is_of_a_batch() {
    let sparse = batch(
        r#"{"id":"b","expires_at":"2026-08-21T00:00:00Z","ended_at":"soon","request_counts":{"processing":null}}"#,
    );
    let sparse = sparse.unwrap();
    assert_eq!(sparse.created_at.to_string(), "2026-08-20T00:00:00Z");
    assert_eq!(
        (sparse.processing_status, sparse.ended_at),
        (Processing::Other(String::new()), None)
    );
    let new =
        batch(r#"{"id":"b","processing_status":"paused","created_at":"2026-08-21T00:00:00Z"}"#)
            .unwrap();
    assert_eq!(
        new.processing_status,
        Processing::Other("paused".to_owned())
    );
    assert_eq!(new.request_counts, Counts::default());
}

#[test]
fn says_what_is_missing_of_a_batch() {
    assert_eq!(
        batch(r#"{"id":"b"}"#).unwrap_err(),
        "it has no `created_at`"
    );
    assert_eq!(
        batch(r#"{"id":"","created_at":"2026-08-21T00:00:00Z"}"#).unwrap_err(),
        "it has no `id`"
    );
    assert_eq!(batch("{}").unwrap_err(), "not the shape");
}

#[test]
fn takes_no_id_that_could_name_something_else() {
    let long = "x".repeat(MAX_ID_CHARS + 1);
    let odd = [
        "a/b",
        "..",
        ".",
        "a\\b",
        "a b",
        "a\0",
        "a\n",
        "ü",
        "a?b",
        "a#b",
        "a%2f",
        "\u{202e}abc",
        "<b>",
        long.as_str(),
    ];
    for id in odd {
        let json = serde_json::json!({"id": id, "created_at": "2026-08-21T00:00:00Z"}).to_string();
        assert_eq!(
            batch(&json).unwrap_err(),
            "its `id` is none that a batch can have",
            "{id}"
        );
        let listed = serde_json::from_str::<WireBatch>(&json)
            .unwrap()
            .entry()
            .unwrap();
        assert_eq!(
            listed.id.0, "",
            "it is there, and cannot be called for: {id}"
        );
    }
    for id in [
        "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF",
        "batch:eu-1:abc",
        "YWJj+ZGVm==",
        "a.b~c;d,e",
    ] {
        let json = format!(r#"{{"id":"{id}","created_at":"2026-08-21T00:00:00Z"}}"#);
        assert_eq!(batch(&json).unwrap().id.0, id);
        assert_eq!(
            serde_json::from_str::<WireBatch>(&json)
                .unwrap()
                .entry()
                .unwrap()
                .id
                .0,
            id
        );
    }
}

#[test]
fn knows_the_envelope_of_the_api() {
    for (body, is_enveloped) in [
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#,
            true,
        ),
        (
            r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
            true,
        ),
        (
            r#"{"error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            false,
        ),
        (
            r#"{"type":"error","error":{"message":"Overloaded"}}"#,
            false,
        ),
        (r#"{"type":"error","message":"flat"}"#, false),
        (r#"{"type":"error","error":"overloaded_error"}"#, false),
        (r#"{"type":"error","error":{"type":"overloaded_er"#, false),
        ("<title>529</title>", false),
        ("", false),
    ] {
        assert_eq!(error(body.as_bytes()).is_enveloped, is_enveloped, "{body}");
    }
}

#[test]
fn reads_every_shape_of_error() {
    let read = |body: &str| {
        let error = error(body.as_bytes());
        (
            error.kind.unwrap_or_default(),
            error.code.unwrap_or_default(),
            error.message,
            error.request_id.unwrap_or_default(),
        )
    };
    #[rustfmt::skip]
    let table = [
        (r#"{"type":"error","error":{"type":"invalid_request_error","message":"m","details":{"error_code":"c"}},"request_id":"req_1"}"#,
         ["invalid_request_error", "c", "m", "req_1"]),
        (r#"{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
         ["request_too_large", "", "Request exceeds the maximum size", ""]),
        (r#"{"type":"error","error":{"type":"x","message":null,"details":null},"request_id":null}"#, ["x", "", "the answer \
            gives no reason", ""]),
        (r#"{"error":"no route"}"#, ["", "", "no route", ""]),
        (r#"{"detail":"Not Found"}"#, ["", "", "Not Found", ""]),
        (r#"{"type":"error","message":"flat"}"#, ["", "", "flat", ""]),
        ("<html><head><title>502 Bad Gateway</title></head><body>…</body></html>", ["", "", "502 \
            Bad Gateway", ""]),
        ("<HTML><TITLE></TITLE>x", ["", "", "<HTML><TITLE></TITLE>x", ""]),
        ("upstream connect error", ["", "", "upstream connect error", ""]),
        ("  \n", ["", "", "the answer is empty", ""]),
        ("[1]", ["", "", "[1]", ""]),
    ];
    for (body, [kind, code, message, request_id]) in table {
        assert_eq!(
            read(body),
            (
                kind.to_owned(),
                code.to_owned(),
                message.to_owned(),
                request_id.to_owned()
            ),
            "{body}"
        );
    }
    assert_eq!(error(b"\xff\xfe").message, "\u{fffd}\u{fffd}");
}

#[test]
fn counts_that_no_batch_has_are_unreadable() {
    let most = u64::MAX;
    for counts in [
        format!("\"succeeded\":{most}"),
        format!("\"succeeded\":{most},\"errored\":{most},\"expired\":1"),
    ] {
        let text = format!(
            "{{\"id\":\"b\",\"created_at\":\"2026-08-21T00:00:00Z\",\"request_counts\":{{{counts}}}}}"
        );
        let batch: WireBatch = serde_json::from_str(&text).unwrap();
        assert_eq!(
            batch.batch().unwrap_err(),
            "its `request_counts` are larger than those of any batch"
        );
    }
    let saturated = Counts {
        succeeded: most,
        errored: most,
        ..Counts::default()
    };
    assert_eq!(saturated.total(), most);
}

#[test]
fn counts_what_can_be_counted() {
    let counted =
        countable(br#"{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"max_tokens"}],"metadata":{}}"#);
    assert_eq!(
        counted.unwrap(),
        br#"{"messages":[{"role":"user","content":"max_tokens"}],"model":"m"}"#
    );
    // As the official client's type of the call has them, less the headers.
    let left_out = [
        "container",
        "diagnostics",
        "metadata",
        "fallback_credit_token",
        "fallbacks",
        "thread",
        "max_tokens",
    ];
    let left_out = left_out.iter().chain(&[
        "stream",
        "stop_sequences",
        "service_tier",
        "inference_geo",
        "temperature",
    ]);
    let taken = [
        "tools",
        "tool_choice",
        "thinking",
        "system",
        "output_config",
        "cache_control",
        "mcp_servers",
    ];
    let taken = taken.iter().chain(&[
        "compaction",
        "context_management",
        "speed",
        "billing_policy",
        "newer_than_this",
    ]);
    let all = left_out
        .chain(taken.clone())
        .map(|name| format!("\"{name}\":1"))
        .collect::<Vec<_>>()
        .join(",");
    let counted: Map<String, Value> =
        serde_json::from_slice(&countable(format!("{{{all}}}").as_bytes()).unwrap()).unwrap();
    let mut taken: Vec<&str> = taken.copied().collect();
    taken.sort_unstable();
    let mut counted: Vec<&str> = counted.keys().map(String::as_str).collect();
    counted.sort_unstable();
    assert_eq!(counted, taken);
    assert!(countable(b"[]").is_err());
}
