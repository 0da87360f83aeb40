//! The table of verdicts, patience, and calls that are made again.

use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::*;

const NOW: Duration = Duration::ZERO;

fn answered(status: u16) -> ApiError {
    let delivery = match status {
        408 | 409 | 499 | 500.. => Delivery::Unknown,
        _ => Delivery::Refused,
    };
    ApiError {
        status: Some(status),
        ..ApiError::new(
            Call::List,
            ApiErrorKind::Provider("some_error".to_owned()),
            "",
            delivery,
        )
    }
}

fn coded(status: u16, code: &str) -> ApiError {
    ApiError {
        code: Some(code.to_owned()),
        ..answered(status)
    }
}

fn lost(kind: ApiErrorKind, delivery: Delivery) -> ApiError {
    ApiError::new(Call::List, kind, "", delivery)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Again { .. } => "again",
        Verdict::Wait404 { .. } => "wait",
        Verdict::Split => "split",
        Verdict::Doubt => "doubt",
        Verdict::StopCredentials => "key",
        Verdict::StopSpend => "spend",
        Verdict::StopAccount => "account",
        Verdict::Fail => "fail",
    }
}

#[test]
fn judges_calls_about_files_as_a_list_of_batches() {
    for error in [
        answered(400),
        answered(401),
        answered(404),
        answered(413),
        answered(429),
        answered(529),
        lost(ApiErrorKind::Connection, Delivery::Unknown),
    ] {
        for call in [Call::Upload, Call::Files] {
            assert_eq!(
                word(judge(call, &error, 0, NOW, 0.0)),
                word(judge(Call::List, &error, 0, NOW, 0.0)),
                "{error}"
            );
        }
    }
}

#[test]
fn judges_every_call_by_the_table() {
    use Delivery::{NotSent, Unknown};
    let should = |error: ApiError, yes| ApiError {
        should_retry: Some(yes),
        ..error
    };
    let answer = |status, message: &str| ApiError {
        message: message.to_owned(),
        ..answered(status)
    };
    #[rustfmt::skip]
    let table: Vec<(&str, ApiError, [&str; 9])> = vec![
        //                                                        create   retrieve list     results  cancel   delete   message  count    models
        ("400", answered(400),                                   ["fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("400 limit", answer(400, "You have reached your specified API usage limits."),
                                                                 ["spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend"]),
        ("400 balance", answer(400, "Your credit balance is too low"),
                                                                 ["spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend"]),
        ("400 hold", coded(400, "organization_on_hold"),         ["account"; 9]),
        ("400 cmek", coded(400, "cmek_key_disabled"),            ["account"; 9]),
        ("403 review", coded(403, "workspace_human_review_disabled"), ["account"; 9]),
        ("400 member", coded(400, "claude_code_key_creator_not_member"), ["key"; 9]),
        ("400 items", answer(400, "requests: List should have at most 1000 items after \
            validation, not 5000"),
                                                                 ["split", "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("422 requests", answer(422, "Too many requests in batch"),
                                                                 ["split", "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("400 id", answer(400, "requests.0.custom_id: String should have at most 64 characters"),
                                                                 ["fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("401", answered(401),                                   ["key",   "key",   "key",   "key",   "key",   "key",   "key",   "key",   "key"]),
        ("402", answered(402),                                   ["spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend"]),
        ("403", answered(403),                                   ["key",   "key",   "key",   "key",   "key",   "key",   "key",   "key",   "key"]),
        ("404", answered(404),                                   ["fail",  "wait",  "fail",  "wait",  "wait",  "fail",  "fail",  "fail",  "fail"]),
        ("404 no", should(answered(404), false),                 ["fail",  "wait",  "fail",  "wait",  "wait",  "fail",  "fail",  "fail",  "fail"]),
        ("408", answered(408),                                   ["doubt", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("409", answered(409),                                   ["doubt", "again", "again", "again", "fail",  "fail",  "again", "again", "again"]),
        ("413", answered(413),                                   ["split", "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("413 after decoding", coded(413, "request_body_too_large_after_decoding"),
                                                                 ["split", "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("422", answered(422),                                   ["fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("422 yes", should(answered(422), true),                 ["again", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("429", answered(429),                                   ["again", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("429 ramp", coded(429, "ramp_limit_exceeded"),          ["again", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("429 cap", coded(429, "enforced_spend_limit_reached"),  ["spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend"]),
        ("429 contract", coded(429, "contract_spend_limit_reached"),
                                                                 ["spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend"]),
        ("429 limit", answer(429, "the monthly Spend Limit of this organization is reached"),
                                                                 ["spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend"]),
        ("429 no", should(answered(429), false),                 ["fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("499", answered(499),                                   ["doubt", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("500", answered(500),                                   ["doubt", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("500 yes", should(answered(500), true),                 ["doubt", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("500 no", should(answered(500), false),                 ["doubt", "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("503", answered(503),                                   ["doubt", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("503 early", ApiError { delivery: NotSent, ..answered(503) },
                                                                 ["again", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("504", answered(504),                                   ["doubt", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("529", ApiError { delivery: Delivery::Refused, ..answered(529) },
                                                                 ["again", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("529 of a gateway", answered(529),                      ["doubt", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("no connection", lost(ApiErrorKind::Connection, NotSent),   ["again", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("connection lost", lost(ApiErrorKind::Connection, Unknown), ["doubt", "again", "again", "again", "again", "again", "fail",  "again", "again"]),
        ("no connect in time", lost(ApiErrorKind::Timeout, NotSent), ["again", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("silence", lost(ApiErrorKind::Timeout, Unknown),            ["doubt", "again", "again", "again", "again", "again", "fail",  "again", "again"]),
        ("unreadable", lost(ApiErrorKind::Unreadable, Unknown),      ["doubt", "again", "again", "again", "again", "again", "again", "again", "again"]),
        ("certificate", lost(ApiErrorKind::Certificate, NotSent),    ["fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("own fault", lost(ApiErrorKind::Body, NotSent),             ["fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("redirect", lost(ApiErrorKind::Redirect, Delivery::Refused),["fail",  "again", "again", "again", "fail",  "fail",  "fail",  "fail",  "fail"]),
        ("see other", lost(ApiErrorKind::Redirect, Unknown),         ["doubt", "again", "again", "again", "fail",  "fail",  "fail",  "fail",  "fail"]),
    ];
    for (name, error, expected) in &table {
        let verdicts = Call::ALL.map(|call| word(judge(call, error, 0, NOW, 0.0)));
        assert_eq!(&verdicts, expected, "{name}");
    }
}

#[test]
fn never_sends_a_create_again_that_may_have_arrived() {
    for status in (100..=599).map(Some).chain([None]) {
        for should_retry in [None, Some(true), Some(false)] {
            for code in [None, Some("enforced_spend_limit_reached"), Some("x")] {
                let error = ApiError {
                    status,
                    should_retry,
                    code: code.map(str::to_owned),
                    retry_after: Some(Duration::from_secs(1)),
                    ..lost(ApiErrorKind::Provider("x".to_owned()), Delivery::Unknown)
                };
                assert_eq!(
                    judge(Call::Create, &error, 0, NOW, 0.5),
                    Verdict::Doubt,
                    "{error:?}"
                );
            }
        }
    }
}

#[test]
fn loses_patience() {
    let waits = [
        (Call::Create, answered(429), 24 * HOUR),
        (
            Call::Create,
            ApiError {
                delivery: Delivery::Refused,
                ..answered(529)
            },
            HOUR,
        ),
        (
            Call::Create,
            lost(ApiErrorKind::Connection, Delivery::NotSent),
            15 * MINUTE,
        ),
        (Call::Retrieve, answered(503), HOUR),
        (
            Call::Results,
            lost(ApiErrorKind::Connection, Delivery::Unknown),
            HOUR,
        ),
        (Call::CountTokens, answered(529), 2 * MINUTE),
        (Call::Retrieve, answered(404), WAIT_404),
    ];
    for (call, error, patience) in waits {
        let just_before = patience - Duration::from_millis(1);
        assert!(matches!(
            judge(call, &error, 9, just_before, 0.0),
            Verdict::Again { .. } | Verdict::Wait404 { .. }
        ));
        assert_eq!(judge(call, &error, 9, patience, 0.0), Verdict::Fail);
    }
    let unreadable = lost(ApiErrorKind::Unreadable, Delivery::Unknown);
    assert_eq!(
        judge(Call::List, &unreadable, UNREADABLE_TRIES - 1, NOW, 0.0),
        Verdict::Fail
    );
}

#[test]
fn waits_longer_each_time_and_as_long_as_the_server_asks() {
    let after =
        |call, error: &ApiError, attempt, jitter| match judge(call, error, attempt, NOW, jitter) {
            Verdict::Again { after } => after.as_secs_f64(),
            other => panic!("{other:?}"),
        };
    for (attempt, jitter, expected) in [
        (0, 0.0, 0.5),
        (1, 0.0, 1.0),
        (2, 1.0, 1.5),
        (7, 0.0, 60.0),
        (u32::MAX, 0.0, 60.0),
        (9, 7.0, 45.0),
    ] {
        assert!(
            (after(Call::Retrieve, &answered(503), attempt, jitter) - expected).abs() < 1e-9,
            "{attempt} {jitter}"
        );
    }
    assert!((after(Call::Create, &answered(429), 30, 0.0) - 300.0).abs() < 1e-9);
    for (asked, expected) in [
        (7.0, 7.0),
        (0.0, 0.5),
        (599.0, 599.0),
        (86_400.0, 86_400.0),
        (0.000_001, 0.5),
        (0.3, 0.5),
    ] {
        let error = ApiError {
            retry_after: Some(Duration::from_secs_f64(asked)),
            ..answered(429)
        };
        assert!(
            (after(Call::Create, &error, 0, 0.0) - expected).abs() < 1e-9,
            "{asked}"
        );
    }
    // Neither longer nor shorter than asked, however often it failed before.
    let asking = |asked| ApiError {
        retry_after: Some(asked),
        ..answered(429)
    };
    let two = asking(Duration::from_secs(2));
    assert!((after(Call::Create, &two, 30, 0.5) - 2.0).abs() < 1e-9);
    // What asks for more than there is patience for is not waited for at all.
    for endless in [Duration::MAX, 24 * HOUR + Duration::from_secs(1)] {
        let verdict = judge(Call::Create, &asking(endless), 0, NOW, 0.0);
        assert_eq!(verdict, Verdict::Fail);
    }
    let an_hour = judge(
        Call::Retrieve,
        &asking(HOUR),
        1,
        Duration::from_secs(1),
        0.0,
    );
    assert_eq!(an_hour, Verdict::Fail);
}

#[test]
fn a_users_patience_holds_for_every_call_and_its_last_try_is_made_when_it_ends() {
    let patience = Patience::of(Duration::from_secs(10));
    let refused = ApiError {
        delivery: Delivery::Refused,
        ..answered(529)
    };
    for call in Call::ALL {
        for error in [&refused, &answered(429)] {
            let judged = |since| patience.judge(call, error, 7, Duration::from_secs(since), 0.0);
            let after = Duration::from_secs(3);
            assert_eq!(judged(7), Verdict::Again { after }, "{call:?}");
            assert_eq!(judged(10), Verdict::Fail, "{call:?}");
        }
    }
    let missing = patience.judge(
        Call::Retrieve,
        &answered(404),
        0,
        Duration::from_secs(10),
        0.0,
    );
    assert_eq!(missing, Verdict::Fail);
    // None at all: one try each. What is uncertain stays so.
    let none = Patience::of(Duration::ZERO);
    assert_eq!(
        none.judge(Call::List, &answered(503), 0, NOW, 0.0),
        Verdict::Fail
    );
    assert_eq!(
        none.judge(Call::Create, &answered(503), 0, NOW, 0.0),
        Verdict::Doubt
    );
}

#[test]
fn a_tiny_retry_after_never_shortens_the_own_wait() {
    let tiny = ApiError {
        retry_after: Some(Duration::from_micros(1)),
        ..answered(429)
    };
    let mut waited = Duration::ZERO;
    for attempt in 0..12 {
        let Verdict::Again { after } = judge(Call::Create, &tiny, attempt, waited, 1.0) else {
            panic!("{attempt}")
        };
        waited += after;
    }
    assert!(
        waited > Duration::from_secs(13 * 60),
        "twelve creates in {waited:?}"
    );
}

#[test]
fn reads_how_many_requests_a_batch_may_have_from_the_words_of_a_refusal() {
    for (message, expected) in [
        (
            "requests: List should have at most 1000 items after validation, not 5000",
            Some(Some(1_000)),
        ),
        ("Too many requests in batch", Some(None)),
        ("too many requests in batch (max 500)", Some(Some(500))),
        ("A batch may have up to 10,000 requests", Some(Some(10_000))),
        (
            "requests must NOT have more than 250 items",
            Some(Some(250)),
        ),
        (
            "the number of requests exceeds the limit of 100",
            Some(Some(100)),
        ),
        ("batch is too large", Some(None)),
        (
            "requests.3.params.messages.0.content: List should have at most 20 items",
            None,
        ),
        (
            "requests.0.custom_id: String should have at most 64 characters",
            None,
        ),
        ("max_tokens: must be at most 64000", None),
        ("custom_id must be unique over all requests", None),
        ("requests: field required", None),
        ("", None),
    ] {
        let error = ApiError {
            message: message.to_owned(),
            ..answered(400)
        };
        assert_eq!(most_requests(&error), expected, "{message}");
    }
}

/// A clock whose sleeps pass at once.
struct Fast(Mutex<Timestamp>);

impl Clock for Fast {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(duration).unwrap();
        std::future::ready(()).boxed()
    }
    fn jitter(&self) -> f64 {
        0.0
    }
}

#[tokio::test]
async fn drives_a_call_until_it_succeeds_or_patience_ends() {
    let clock = Fast(Mutex::new(Timestamp::UNIX_EPOCH));
    let mut left = 3;
    let answer = with_retry(Call::Retrieve, &clock, Patience::default(), || {
        left -= 1;
        let answer = if left == 0 {
            Ok("seen")
        } else {
            Err(answered(404))
        };
        async move { answer }
    });
    assert_eq!(answer.await.unwrap(), "seen");
    assert_eq!(clock.now().as_millisecond(), 1500);

    let clock = Fast(Mutex::new(Timestamp::UNIX_EPOCH));
    let error = with_retry(Call::Retrieve, &clock, Patience::default(), async || {
        Err::<(), _>(answered(404))
    })
    .await
    .unwrap_err();
    assert_eq!(error.status, Some(404));
    assert!(
        (3600..3720).contains(&clock.now().as_second()),
        "{}",
        clock.now()
    );
}

#[tokio::test]
async fn makes_a_create_in_doubt_once() {
    let clock = Fast(Mutex::new(Timestamp::UNIX_EPOCH));
    let mut made = 0;
    let answer = with_retry(Call::Create, &clock, Patience::default(), || {
        made += 1;
        async { Err::<(), _>(answered(500)) }
    });
    assert!(answer.await.is_err());
    assert_eq!(made, 1);
}
