//! What may be tried again, and after how long: the one place that decides it.
//!
//! [`judge`] classifies one failed call as a [`Verdict`]; it is pure. [`with_retry`] drives a call
//! whose verdict is to wait. Rules are tried from the top; the first that fits holds.
//!
//! | what was returned | calls | verdict |
//! |---|---|---|
//! | anything that leaves open whether a batch was created ([`Delivery::Unknown`]: lost answer, 408, 409, 499, 5xx, a 529 that is not the API's own) | create | `Doubt`: look for it, never send again |
//! | 402; codes of spend limits; 400 or 429 whose message names a usage limit, spend limit or empty balance | all | `StopSpend` |
//! | codes of an organization or workspace that is switched off ([`WORKSPACE_CODES`]) | all | `StopAccount` |
//! | 401, 403; codes of keys whose owner left | all | `StopCredentials` |
//! | 413; 400 or 422 whose message says that the batch has too many requests or bytes | create | `Split` |
//! | 404 | retrieve, results, cancel | `Wait404` for [`WAIT_404`], then `Fail`: a batch that exists may not be found for a while |
//! | `x-should-retry: false` | all | `Fail` |
//! | 409 | cancel, delete | `Fail`: the batch is in the wrong state |
//! | lost connection or silence once the request was sent | message | `Fail`: it may have been answered, and be paid |
//! | our own fault (`body`), `certificate`, `unsupported` | all | `Fail` |
//! | `redirect` to another origin, or in a circle | retrieve, list, results | `Again`: harmless, and passes where a gateway restarts; never followed |
//! | `redirect` | all others | `Fail` |
//! | `unreadable` answer | all but create | `Again`, [`UNREADABLE_TRIES`] times |
//! | no connection, lost connection, silence, 408, 409, 429, 499, 5xx, 529, `x-should-retry: true` | all | `Again` for the call's patience, then `Fail` |
//! | anything else: 400, 404, 413, 422 … | all | `Fail` |
//!
//! A create that the API refuses with 529 in its own error envelope is [`Delivery::Refused`] and
//! tried again like any other call: the API has read the request and says that it did not act on
//! it. The same status without that envelope may come from something in between that gave up
//! waiting, and stays `Unknown`. So do 500, 503 and 504 with an envelope: the API documents them as
//! faults on its side or as its own time-out, and a fault can strike after the batch was created.
//!
//! [`Patience`], counted from the first try: create 15 minutes without a connection, an hour
//! against 529, 24 hours against 429 (the queue of the workspace empties as its batches end, and
//! none lives longer); message, count tokens and models two minutes, since the caller waits; all
//! others one hour. A user's own patience replaces all of these. The last try is made when it ends.
//!
//! How long to wait: exactly as long as the server asks for (`retry-after`), if that is a second or
//! more; a wait that would end after the patience does not begin, and the call fails. Otherwise
//! `min(0.5 · 2ⁿ, 60)` seconds less up to a quarter, n tries having failed before (five minutes
//! instead of 60 seconds for a create against 429, because each try sends the whole body). Less
//! than a second is no time to wait: a tiny `retry-after` would send a body of 250 MB ten times a
//! second.
//!
//! **Source**: statuses and codes from the vendor's error reference, base delay and jitter from its
//! own clients, both read 2026-11; the lasting 404 from anthropics/anthropic-sdk-python#1432.

mod clock;
mod repeat;
mod too_large;

use std::time::Duration;

use super::{ApiError, ApiErrorKind, Delivery};

pub use super::Call;
pub use clock::{Clock, SystemClock};
pub use repeat::{FailedTry, with_retry, with_retry_reporting};
pub use too_large::most_requests;

/// How long a batch that must exist may be "not found".
pub const WAIT_404: Duration = Duration::from_secs(60 * 60);
/// The shortest wait that a server can ask for.
const LEAST_RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a harmless call is made whose answer cannot be read.
pub const UNREADABLE_TRIES: u32 = 4;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Codes in `error.details.error_code` that mean: no money, and none until an administrator acts or
/// the month ends.
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
/// call works once an administrator changes a setting there. **Source**: error classes of the
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
    /// A spend limit is reached, or there is no money; nothing works until an administrator acts.
    StopSpend,
    /// The organization or its workspace is switched off for such calls; nothing will work until an
    /// administrator acts. The key is accepted.
    StopAccount,
    /// It will not get better by trying.
    Fail,
}

/// Decides about a failed call by the table above.
///
/// `attempt` counts the tries that failed before this one, `since` is the time since the first of
/// them began, and `jitter` is a random number from 0 to 1.
///
/// ```
/// use std::time::Duration;
///
/// use rowmill::provider::retry::{Call, Verdict, judge};
/// use rowmill::provider::{ApiError, ApiErrorKind, Delivery};
///
/// let lost = ApiError::new(Call::Create, ApiErrorKind::Timeout, "no answer", Delivery::Unknown);
/// // A batch may have been created; only a look at a batch can be repeated.
/// let decide = |call| judge(call, &lost, 0, Duration::ZERO, 0.0);
/// assert_eq!(decide(Call::Create), Verdict::Doubt);
/// let after = Duration::from_millis(500);
/// assert_eq!(decide(Call::Retrieve), Verdict::Again { after });
/// ```
#[must_use]
pub fn judge(call: Call, error: &ApiError, attempt: u32, since: Duration, jitter: f64) -> Verdict {
    Patience::default().judge(call, error, attempt, since, jitter)
}

/// How long faults that may pass are tried again: as the table above says for each call, or for as
/// long as the user says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Patience(Option<Duration>);

impl Patience {
    /// The same patience for every call, counted from its first try; zero makes each call once.
    #[must_use]
    pub const fn of(longest: Duration) -> Patience {
        Patience(Some(longest))
    }

    /// Decides about a failed call as [`judge`](judge()) does, with this patience.
    #[must_use]
    pub fn judge(
        self,
        call: Call,
        error: &ApiError,
        attempt: u32,
        since: Duration,
        jitter: f64,
    ) -> Verdict {
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
        let wait_within = |longest| wait(call, error, attempt, jitter, since, longest);
        match (error.status, call) {
            (Some(413), Call::Create) => return Verdict::Split,
            (Some(400 | 422), Call::Create) if most_requests(error).is_some() => {
                return Verdict::Split;
            }
            (Some(404), Call::Retrieve | Call::Results | Call::Cancel) => {
                return wait_within(self.not_found())
                    .map_or(Verdict::Fail, |after| Verdict::Wait404 { after });
            }
            _ => {}
        }
        if !passes(call, error, attempt) {
            return Verdict::Fail;
        }
        wait_within(self.longest(call, error))
            .map_or(Verdict::Fail, |after| Verdict::Again { after })
    }

    /// How long a batch that must exist may be "not found".
    #[must_use]
    pub fn not_found(self) -> Duration {
        self.0.unwrap_or(WAIT_404)
    }

    /// The user's own patience, or the one given.
    #[must_use]
    pub fn or(self, default: Duration) -> Duration {
        self.0.unwrap_or(default)
    }

    fn longest(self, call: Call, error: &ApiError) -> Duration {
        self.or(default_patience(call, error))
    }
}

fn is_spend(error: &ApiError) -> bool {
    let says = |words: &[&str]| {
        words
            .iter()
            .any(|words| error.message.to_ascii_lowercase().contains(words))
    };
    match (error.status, error.code.as_deref()) {
        (Some(402), _) => true,
        (_, Some(code)) => SPEND_CODES.contains(&code),
        // A server that says when to come back speaks of a rate.
        (Some(400 | 429), None) => error.retry_after.is_none() && says(&SPEND_WORDS),
        _ => false,
    }
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

fn default_patience(call: Call, error: &ApiError) -> Duration {
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

/// How long to wait before the next try; `None` where the patience ends first.
fn wait(
    call: Call,
    error: &ApiError,
    attempt: u32,
    jitter: f64,
    since: Duration,
    longest: Duration,
) -> Option<Duration> {
    let left = longest.saturating_sub(since);
    if left.is_zero() {
        return None;
    }
    match asked(error) {
        Some(asked) => (asked <= left).then_some(asked),
        None => Some(own_delay(call, error, attempt, jitter).min(left)),
    }
}

fn own_delay(call: Call, error: &ApiError, attempt: u32, jitter: f64) -> Duration {
    let longest: f64 = if call == Call::Create && error.status == Some(429) {
        300.0
    } else {
        60.0
    };
    let seconds = longest.min(0.5 * 2_f64.powi(attempt.min(20).cast_signed()));
    Duration::from_secs_f64(seconds * (1.0 - 0.25 * jitter.clamp(0.0, 1.0)))
}

/// How long the provider asks to wait; `None` where it does not, or for less than a second.
#[must_use]
pub fn asked(error: &ApiError) -> Option<Duration> {
    error
        .retry_after
        .filter(|asked| *asked >= LEAST_RETRY_AFTER)
}

#[cfg(test)]
mod tests;
