//! Makes a call again as long as the verdict is to wait.

use std::time::Duration;

use super::{Clock, Patience, Verdict};
use crate::provider::{ApiError, Call};

/// A try that failed and is made again.
#[derive(Debug, Clone, Copy)]
pub struct FailedTry<'a> {
    /// What was returned.
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
/// The last error; [`Patience::judge`] says what it means.
pub async fn with_retry<T, F, R>(
    call: Call,
    clock: &dyn Clock,
    patience: Patience,
    make: F,
) -> Result<T, ApiError>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, ApiError>>,
{
    with_retry_reporting(call, clock, patience, None, |_| {}, make).await
}

/// As [`with_retry`]; `on_failure` receives each failed try before the wait, and no wait begins
/// that would end later than `longest` after the first try.
///
/// # Errors
/// As [`with_retry`].
pub async fn with_retry_reporting<T, F, R>(
    call: Call,
    clock: &dyn Clock,
    patience: Patience,
    longest: Option<Duration>,
    on_failure: impl Fn(FailedTry<'_>),
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
        match patience.judge(call, &error, attempt, since, clock.jitter()) {
            Verdict::Again { after } | Verdict::Wait404 { after } => {
                if longest.is_some_and(|longest| since.saturating_add(after) > longest) {
                    return Err(error);
                }
                announce(&error, attempt, after);
                on_failure(FailedTry {
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
        Some(asked) if asked == after => {
            tracing::warn!(
                attempt,
                "{error}; trying again in {seconds} s, as the provider asks"
            );
        }
        _ => tracing::info!(attempt, "{error}; trying again in {seconds:.1} s"),
    }
}
