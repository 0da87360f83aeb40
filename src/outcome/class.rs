//! Failures by what can be done about them.
//!
//! | class | what happened | billed | sent again by itself |
//! |---|---|---|---|
//! | `expired` | the batch's window closed first | no | twice |
//! | `server_error` | the provider failed: `api_error`, `overloaded_error`, `timeout_error`, `rate_limit_error` | no | three times |
//! | `missing` | no result line arrived, or one that cannot be read | perhaps | if the job says so |
//! | `truncated` | the answer was cut off | yes | if the job says so, with more tokens |
//! | `invalid` | the answer does not fit the schema | yes | if the job says so |
//! | `canceled` | canceled before it was processed | no | never; by hand |
//!
//! Everything else is for good: a request the API refuses is refused again, and so is what a model
//! declines.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Outcome, Status};

/// Kinds of error that may be gone next time.
const SERVER_ERRORS: [&str; 4] = [
    "api_error",
    "overloaded_error",
    "timeout_error",
    "rate_limit_error",
];

/// A class of failures that another try can fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "the table in the head of the file says what each means"
)]
pub enum Class {
    Expired,
    ServerError,
    Missing,
    Truncated,
    Invalid,
    Canceled,
}

impl Class {
    /// All six.
    pub const ALL: [Class; 6] = [
        Class::Expired,
        Class::ServerError,
        Class::Missing,
        Class::Truncated,
        Class::Invalid,
        Class::Canceled,
    ];

    /// The class of an outcome; `None` if it succeeded or failed for good.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Option<Class> {
        Some(match outcome.status {
            Status::Expired => Class::Expired,
            Status::Missing => Class::Missing,
            Status::Truncated => Class::Truncated,
            Status::Invalid => Class::Invalid,
            Status::Canceled => Class::Canceled,
            Status::Errored if SERVER_ERRORS.contains(&outcome.error_type.as_deref()?) => {
                Class::ServerError
            }
            Status::Errored
            | Status::Succeeded
            | Status::Refused
            | Status::Paused
            | Status::Unsent => return None,
        })
    }

    /// The word in job files and commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Expired => "expired",
            Class::ServerError => "server_error",
            Class::Missing => "missing",
            Class::Truncated => "truncated",
            Class::Invalid => "invalid",
            Class::Canceled => "canceled",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(word: &str) -> Result<Class, String> {
        Class::ALL
            .into_iter()
            .find(|class| class.as_str() == word)
            .ok_or_else(|| {
                let known = Class::ALL.map(Class::as_str).join(", ");
                format!("no such class; there are {known}")
            })
    }
}

/// The section `[retry]` of a job: how often a row of each class is sent again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// Rows whose batch expired; they cost nothing.
    pub expired: u32,
    /// Rows that failed at the provider; they cost nothing.
    pub server_error: u32,
    /// Rows without a result line; it is unknown whether they were billed.
    pub missing: u32,
    /// Rows whose answer does not fit the schema; each try is billed.
    pub invalid: u32,
    /// Rows whose answer was truncated; each try is billed.
    pub truncated: TruncatedSpec,
}

impl Default for RetrySpec {
    fn default() -> RetrySpec {
        RetrySpec {
            expired: 2,
            server_error: 3,
            missing: 0,
            invalid: 0,
            truncated: TruncatedSpec::default(),
        }
    }
}

impl RetrySpec {
    /// How often a row of a class is sent again.
    #[must_use]
    pub fn times(&self, class: Class) -> u32 {
        match class {
            Class::Expired => self.expired,
            Class::ServerError => self.server_error,
            Class::Missing => self.missing,
            Class::Truncated => self.truncated.times,
            Class::Invalid => self.invalid,
            Class::Canceled => 0,
        }
    }
}

/// How rows are sent again whose answer was truncated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TruncatedSpec {
    /// How often.
    pub times: u32,
    /// With how many tokens.
    pub max_tokens: MoreTokens,
}

impl Default for TruncatedSpec {
    fn default() -> TruncatedSpec {
        TruncatedSpec {
            times: 0,
            max_tokens: MoreTokens::Factor(2),
        }
    }
}

/// How many tokens a cut-off answer gets next time: `"2x"` of what it had, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum MoreTokens {
    /// A multiple of its limit.
    Factor(u32),
    /// This number.
    Fixed(u32),
}

impl MoreTokens {
    /// The limit after `cuts` answers were cut off, the first of them at `first` tokens.
    #[must_use]
    pub fn after(self, first: u32, cuts: u32) -> u32 {
        match self {
            _ if cuts == 0 => first,
            MoreTokens::Factor(factor) => first.saturating_mul(factor.saturating_pow(cuts)),
            MoreTokens::Fixed(tokens) => tokens,
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a factor such as \"2x\", or a number of tokens"
)]
enum Written {
    Text(String),
    Tokens(u32),
}

impl TryFrom<Written> for MoreTokens {
    type Error = String;

    fn try_from(written: Written) -> Result<MoreTokens, String> {
        match written {
            Written::Tokens(tokens) if tokens > 0 => Ok(MoreTokens::Fixed(tokens)),
            Written::Tokens(_) => {
                Err("a limit of 0 tokens leaves no room for an answer".to_owned())
            }
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<MoreTokens> for Written {
    fn from(more: MoreTokens) -> Written {
        match more {
            MoreTokens::Factor(factor) => Written::Text(format!("{factor}x")),
            MoreTokens::Fixed(tokens) => Written::Tokens(tokens),
        }
    }
}

impl FromStr for MoreTokens {
    type Err = String;

    fn from_str(text: &str) -> Result<MoreTokens, String> {
        let number = |text: &str| text.replace('_', "").parse().ok();
        match text.strip_suffix('x') {
            Some(factor) => number(factor)
                .filter(|&factor| factor >= 2)
                .map(MoreTokens::Factor),
            None => number(text)
                .filter(|&tokens| tokens > 0)
                .map(MoreTokens::Fixed),
        }
        .ok_or_else(|| {
            "write a factor of at least 2 such as `2x`, or a number of tokens".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_section_as_people_write_it() {
        let spec: RetrySpec =
            toml::from_str("expired = 1\ntruncated = { times = 1, max_tokens = \"3x\" }").unwrap();
        assert_eq!((spec.expired, spec.server_error), (1, 3));
        assert_eq!(
            spec.truncated,
            TruncatedSpec {
                times: 1,
                max_tokens: MoreTokens::Factor(3)
            }
        );
        let fixed: RetrySpec =
            toml::from_str("truncated = { times = 2, max_tokens = 4000 }").unwrap();
        assert_eq!(fixed.truncated.max_tokens, MoreTokens::Fixed(4_000));
        for wrong in [
            "truncated = { max_tokens = \"1x\" }",
            "truncated = { max_tokens = 0 }",
            "truncated = { max_tokens = \"many\" }",
            "cut = 1",
        ] {
            assert!(toml::from_str::<RetrySpec>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn gives_more_tokens_each_time() {
        assert_eq!(
            [0, 1, 2].map(|cuts| MoreTokens::Factor(2).after(100, cuts)),
            [100, 200, 400]
        );
        assert_eq!(
            [0, 1, 2].map(|cuts| MoreTokens::Fixed(900).after(100, cuts)),
            [100, 900, 900]
        );
        assert_eq!(MoreTokens::Factor(10).after(u32::MAX, 40), u32::MAX);
    }

    #[test]
    fn retries_only_what_another_try_can_fix() {
        let outcome = |status, error_type: Option<&str>| Outcome {
            error_type: error_type.map(str::to_owned),
            ..Outcome::new(status)
        };
        for (status, error_type, class) in [
            (
                Status::Errored,
                Some("overloaded_error"),
                Some(Class::ServerError),
            ),
            (Status::Errored, Some("invalid_request_error"), None),
            (Status::Errored, Some("billing_error"), None),
            (Status::Errored, None, None),
            (Status::Expired, None, Some(Class::Expired)),
            (Status::Refused, None, None),
            (Status::Succeeded, None, None),
            (Status::Canceled, None, Some(Class::Canceled)),
        ] {
            assert_eq!(
                Class::of(&outcome(status, error_type)),
                class,
                "{status} {error_type:?}"
            );
        }
    }
}
