//! What may be tried again, and after how long: the one place that decides it.
//!
//! [`judge`] looks at one failed call and gives a [`Verdict`]; it is pure. [`with_retry`] drives a
//! call whose verdict is to wait. Rules are tried from the top; the first that fits holds.
//!
//! | what came back | calls | verdict |
//! |---|---|---|
//! | anything that leaves open whether a batch was created ([`Delivery::Unknown`]: lost answer, 408, 409, 499, 5xx, a 529 that is not the API's own) | create | `Doubt`: look for it, never send again |
//! | 402; codes of spend limits; 400 or 429 whose message tells of a usage limit, spend limit or empty balance | all | `StopSpend` |
//! | codes of an organization or workspace that is switched off ([`WORKSPACE_CODES`]) | all | `StopAccount` |
//! | 401, 403; codes of keys whose owner is gone | all | `StopCredentials` |
//! | 413; 400 or 422 whose message says that the batch has too many requests or bytes | create | `Split` |
//! | 404 | retrieve, results, cancel | `Wait404` for [`WAIT_404`], then `Fail`: a batch that exists may not be found for a while |
//! | `x-should-retry: false` | all | `Fail` |
//! | 409 | cancel, delete | `Fail`: the batch is in the wrong state |
//! | lost connection or silence once the request was on its way | message | `Fail`: it may have been answered, and be paid |
//! | our own fault (`body`), `certificate`, `unsupported` | all | `Fail` |
//! | `redirect` to another origin, or in a circle | retrieve, list, results | `Again`: harmless, and passes where a gateway restarts; never followed |
//! | `redirect` | all others | `Fail` |
//! | `unreadable` answer | all but create | `Again`, [`UNREADABLE_TRIES`] times |
//! | no connection, lost connection, silence, 408, 409, 429, 499, 5xx, 529, `x-should-retry: true` | all | `Again` for the call's patience, then `Fail` |
//! | anything else: 400, 404, 413, 422 … | all | `Fail` |
//!
//! A create that the API refuses with 529 in its own error envelope, with a request id, is
//! [`Delivery::Refused`] and tried again like any other call: the API has read the request and says
//! that it did not act on it. The same status without that envelope may come from something in
//! between that gave up waiting, and stays `Unknown`. So do 500, 503 and 504 with an envelope: the
//! API documents them as faults on its side or as its own time-out, and a fault can strike after
//! the batch was created.
//!
//! Patience, counted from the first try: create 15 minutes without a connection, an hour against
//! 529, 24 hours against 429 (the queue of the workspace empties as its batches end, and none lives
//! longer); message, count tokens and models two minutes, since somebody waits; all others one
//! hour.
//!
//! How long to wait: `min(0.5 · 2ⁿ, 60)` seconds less up to a quarter, n tries having failed before
//! (five minutes instead of 60 seconds for a create against 429, because each try sends the whole
//! body); longer where the server asks for it (`retry-after`), at most ten minutes. What the server
//! asks never shortens the wait: a tiny `retry-after` would send a body of 250 MB ten times a
//! second.
//!
//! **Source**: statuses and codes from the vendor's error reference, base delay and jitter from its
//! own clients, both read 2026-11; the lasting 404 from anthropics/anthropic-sdk-python#1432.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{ApiError, ApiErrorKind, Delivery};

pub use super::Call;

/// How long a batch that must exist may be "not found".
pub const WAIT_404: Duration = Duration::from_secs(60 * 60);
/// Longest wait that a server is granted at once.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(10 * 60);
/// How often a harmless call is made whose answer cannot be read.
pub const UNREADABLE_TRIES: u32 = 4;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Codes in `error.details.error_code` that mean: no money, and none until somebody acts or the
/// month ends.
const SPEND_CODES: [&str; 4] = [
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "linked_organization_spend_limit_reached",
    "linked_organization_billing_unavailable",
];
/// Words in messages that mean the same where there is no code.
const SPEND_WORDS: [&str; 4] = [
    "usage limits",
    "usage limit",
    "spend limit",
    "credit balance",
];
/// Codes that concern the key and not the call.
const ACCOUNT_CODES: [&str; 1] = ["claude_code_key_creator_not_member"];
/// Codes that concern the organization or its workspace, and neither the call nor the key: the same
/// call works when somebody has changed a setting there. **Source**: error classes of the
/// provider's Python SDK 2.14.0, read 2026-11-30.
pub const WORKSPACE_CODES: [&str; 4] = [
    "organization_on_hold",
    "cmek_key_disabled",
    "cmek_key_network_blocked",
    "workspace_human_review_disabled",
];

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Make the same call again.
    Again {
        /// After this long.
        after: Duration,
    },
    /// The batch is known to exist and is not found: ask again.
    Wait404 {
        /// After this long.
        after: Duration,
    },
    /// Too large: send its requests in smaller batches.
    Split,
    /// A batch may have been created: look for it before its rows are sent again.
    Doubt,
    /// The key is not accepted; nothing will work with it.
    StopCredentials,
    /// A spend limit is reached, or there is no money; nothing will work until somebody acts.
    StopSpend,
    /// The organization or its workspace is switched off for such calls; nothing will work until
    /// somebody acts. The key is accepted.
    StopAccount,
    /// It will not get better by trying.
    Fail,
}

/// Decides about a failed call by the table above.
///
/// `attempt` counts the tries that failed before this one, `since` is the time since the first of
/// them began, and `jitter` is a random number from 0 to 1.
#[must_use]
pub fn judge(call: Call, error: &ApiError, attempt: u32, since: Duration, jitter: f64) -> Verdict {
    if call == Call::Create && error.delivery == Delivery::Unknown {
        return Verdict::Doubt;
    }
    if is_spend(error) {
        return Verdict::StopSpend;
    }
    if error
        .code
        .as_deref()
        .is_some_and(|code| WORKSPACE_CODES.contains(&code))
    {
        return Verdict::StopAccount;
    }
    if is_account(error) {
        return Verdict::StopCredentials;
    }
    match (error.status, call) {
        (Some(413), Call::Create) => return Verdict::Split,
        (Some(400 | 422), Call::Create) if most_requests(error).is_some() => return Verdict::Split,
        (Some(404), Call::Retrieve | Call::Results | Call::Cancel) => {
            return if since < WAIT_404 {
                Verdict::Wait404 {
                    after: delay(call, error, attempt, jitter),
                }
            } else {
                Verdict::Fail
            };
        }
        _ => {}
    }
    if passes(call, error, attempt) && since < patience(call, error) {
        return Verdict::Again {
            after: delay(call, error, attempt, jitter),
        };
    }
    Verdict::Fail
}

fn is_spend(error: &ApiError) -> bool {
    let told = |words: &[&str]| {
        words
            .iter()
            .any(|words| error.message.to_ascii_lowercase().contains(words))
    };
    match (error.status, error.code.as_deref()) {
        (Some(402), _) => true,
        (_, Some(code)) => SPEND_CODES.contains(&code),
        // A server that says when to come back speaks of a rate.
        (Some(400 | 429), None) => error.retry_after.is_none() && told(&SPEND_WORDS),
        _ => false,
    }
}

/// What a provider says of a batch that it finds too large, in another way than 413: how many
/// requests it takes, where it names a number. `None` where the message speaks of something else,
/// such as the length of a text.
#[must_use]
pub fn most_requests(error: &ApiError) -> Option<Option<u32>> {
    const BOUNDS: [&str; 12] = [
        "at most",
        "no more than",
        "more than",
        "too many",
        "maximum",
        "max",
        "up to",
        "limit",
        "exceed",
        "between",
        "fewer",
        "less than",
    ];
    const OF_BATCHES: [&str; 5] = ["requests", "items", "entries", "elements", "rows"];
    const LARGE: [&str; 4] = [
        "batch is too large",
        "batch too large",
        "body is too large",
        "body too large",
    ];
    let text = error.message.to_ascii_lowercase();
    if LARGE.iter().any(|words| text.contains(words)) {
        return Some(None);
    }
    // Of one request's own parts, such as `requests.3.params.messages`, no smaller batch has fewer.
    let is_inside = text
        .match_indices("requests.")
        .any(|(at, found)| text[at + found.len()..].starts_with(|c: char| c.is_ascii_digit()));
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != ',')
        .filter(|word| !word.is_empty())
        .collect();
    let is_of_batches = words.iter().any(|word| OF_BATCHES.contains(word));
    if is_inside || !is_of_batches || !BOUNDS.iter().any(|bound| text.contains(bound)) {
        return None;
    }
    // The number stands before its noun: "at most 1000 items", "up to 1,000 requests".
    let number = words
        .windows(2)
        .find(|pair| OF_BATCHES.contains(&pair[1]))
        .and_then(|pair| pair[0].replace(',', "").parse().ok());
    let last = words
        .iter()
        .rev()
        .find_map(|word| word.replace(',', "").parse::<u32>().ok());
    Some(number.or(last).filter(|&most| most > 0))
}

fn is_account(error: &ApiError) -> bool {
    matches!(error.status, Some(401 | 403))
        || error
            .code
            .as_deref()
            .is_some_and(|code| ACCOUNT_CODES.contains(&code))
}

/// Whether the fault may pass.
fn passes(call: Call, error: &ApiError, attempt: u32) -> bool {
    match error.kind {
        ApiErrorKind::Body | ApiErrorKind::Certificate | ApiErrorKind::Unsupported => return false,
        ApiErrorKind::Redirect => {
            return matches!(call, Call::Retrieve | Call::List | Call::Results);
        }
        ApiErrorKind::Unreadable => return attempt + 1 < UNREADABLE_TRIES,
        _ => {}
    }
    match (error.should_retry, error.status, call) {
        (Some(false), ..) | (_, Some(409), Call::Cancel | Call::Delete) => false,
        (Some(true), ..) => true,
        (None, Some(status), _) => matches!(status, 408 | 409 | 429 | 499 | 500..),
        (None, None, Call::Message) => error.delivery == Delivery::NotSent,
        (None, None, _) => true,
    }
}

fn patience(call: Call, error: &ApiError) -> Duration {
    match call {
        Call::Create if error.status == Some(429) => 24 * HOUR,
        Call::Create if error.status == Some(529) => HOUR,
        Call::Create => 15 * MINUTE,
        Call::Message | Call::CountTokens | Call::Models => 2 * MINUTE,
        Call::Retrieve
        | Call::List
        | Call::Results
        | Call::Cancel
        | Call::Delete
        | Call::Upload
        | Call::Files => HOUR,
    }
}

fn delay(call: Call, error: &ApiError, attempt: u32, jitter: f64) -> Duration {
    let longest: f64 = if call == Call::Create && error.status == Some(429) {
        300.0
    } else {
        60.0
    };
    let seconds = longest.min(0.5 * 2_f64.powi(attempt.min(20).cast_signed()));
    let own = Duration::from_secs_f64(seconds * (1.0 - 0.25 * jitter.clamp(0.0, 1.0)));
    own.max(asked(error))
}

/// How long the provider asks to wait, as far as it is granted.
#[must_use]
pub fn asked(error: &ApiError) -> Duration {
    error
        .retry_after
        .unwrap_or(Duration::ZERO)
        .min(MAX_RETRY_AFTER)
}

/// Time and chance, handed down so that tests have them in hand.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Timestamp;
    /// The time since some moment, for how long something has lasted: it only moves forward,
    /// whatever is done to the clock.
    fn elapsed(&self) -> Duration {
        self.now()
            .duration_since(Timestamp::UNIX_EPOCH)
            .try_into()
            .unwrap_or(Duration::ZERO)
    }
    /// Waits because there is nothing else to do until then.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
    /// Waits beside something else that may be done earlier: a limit on how long a call may take.
    ///
    /// A clock that a test moves skips a sleep at once; an alarm must ring only when the time has
    /// come by other sleeps, or a call of a millisecond would seem to take hours.
    fn alarm(&self, duration: Duration) -> BoxFuture<'_, ()> {
        self.sleep(duration)
    }
    /// A random number from 0 to 1.
    fn jitter(&self) -> f64;
}

/// The machine's clock and a random generator seeded by the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn elapsed(&self) -> Duration {
        static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGUN.elapsed()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        tokio::time::sleep(duration).boxed()
    }
    fn jitter(&self) -> f64 {
        fastrand::f64()
    }
}

/// A try that failed and is made again.
#[derive(Debug, Clone, Copy)]
pub struct FailedTry<'a> {
    /// What came back.
    pub error: &'a ApiError,
    /// How many tries failed before it.
    pub attempt: u32,
    /// Since the first try began.
    pub since: Duration,
    /// Until the next one.
    pub after: Duration,
}

/// Makes a call until it succeeds or the verdict is something else than to wait. `make` makes it
/// once more each time.
///
/// # Errors
/// The last error; [`judge`] says what it means.
pub async fn with_retry<T, F, R>(call: Call, clock: &dyn Clock, make: F) -> Result<T, ApiError>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, ApiError>>,
{
    with_retry_telling(call, clock, None, |_| {}, make).await
}

/// As [`with_retry`]; `tell` hears of each failed try before the wait, and no wait begins that
/// would end later than `longest` after the first try.
///
/// # Errors
/// As [`with_retry`].
pub async fn with_retry_telling<T, F, R>(
    call: Call,
    clock: &dyn Clock,
    longest: Option<Duration>,
    tell: impl Fn(FailedTry<'_>),
    mut make: F,
) -> Result<T, ApiError>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, ApiError>>,
{
    let begun = clock.now();
    for attempt in 0.. {
        let error = match make().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let since = clock
            .now()
            .duration_since(begun)
            .try_into()
            .unwrap_or(Duration::ZERO);
        match judge(call, &error, attempt, since, clock.jitter()) {
            Verdict::Again { after } | Verdict::Wait404 { after } => {
                if longest.is_some_and(|longest| since.saturating_add(after) > longest) {
                    return Err(error);
                }
                announce(&error, attempt, after);
                tell(FailedTry {
                    error: &error,
                    attempt,
                    since,
                    after,
                });
                clock.sleep(after).await;
            }
            Verdict::Split
            | Verdict::Doubt
            | Verdict::StopCredentials
            | Verdict::StopSpend
            | Verdict::StopAccount
            | Verdict::Fail => return Err(error),
        }
    }
    unreachable!("the loop counts further than anybody waits")
}

fn announce(error: &ApiError, attempt: u32, after: Duration) {
    let seconds = after.as_secs_f32();
    match error.retry_after {
        Some(asked) if asked > after => {
            tracing::warn!(
                attempt,
                "{error}; the provider asks for {} s, trying again in {seconds} s",
                asked.as_secs()
            );
        }
        _ => tracing::info!(attempt, "{error}; trying again in {seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

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
        let told = |status, message: &str| ApiError {
            message: message.to_owned(),
            ..answered(status)
        };
        #[rustfmt::skip]
        let table: Vec<(&str, ApiError, [&str; 9])> = vec![
            //                                                        create   retrieve list     results  cancel   delete   message  count    models
            ("400", answered(400),                                   ["fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
            ("400 limit", told(400, "You have reached your specified API usage limits."),
                                                                     ["spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend"]),
            ("400 balance", told(400, "Your credit balance is too low"),
                                                                     ["spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend", "spend"]),
            ("400 hold", coded(400, "organization_on_hold"),         ["account"; 9]),
            ("400 cmek", coded(400, "cmek_key_disabled"),            ["account"; 9]),
            ("403 review", coded(403, "workspace_human_review_disabled"), ["account"; 9]),
            ("400 member", coded(400, "claude_code_key_creator_not_member"), ["key"; 9]),
            ("400 items", told(400, "requests: List should have at most 1000 items after \
                validation, not 5000"),
                                                                     ["split", "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
            ("422 requests", told(422, "Too many requests in batch"),
                                                                     ["split", "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail",  "fail"]),
            ("400 id", told(400, "requests.0.custom_id: String should have at most 64 characters"),
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
            ("429 told", told(429, "the monthly Spend Limit of this organization is reached"),
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
        let after = |call, error: &ApiError, attempt, jitter| match judge(
            call, error, attempt, NOW, jitter,
        ) {
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
            (86_400.0, 600.0),
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
        let endless = ApiError {
            retry_after: Some(Duration::MAX),
            ..answered(429)
        };
        assert!((after(Call::Create, &endless, 0, 0.0) - 600.0).abs() < 1e-9);
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
        let answer = with_retry(Call::Retrieve, &clock, || {
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
        let error = with_retry(Call::Retrieve, &clock, async || Err::<(), _>(answered(404)))
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
        let answer = with_retry(Call::Create, &clock, || {
            made += 1;
            async { Err::<(), _>(answered(500)) }
        });
        assert!(answer.await.is_err());
        assert_eq!(made, 1);
    }
}
