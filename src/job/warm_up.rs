//! The sections `[cache]` and `[canary]`: which rows go first, and what has to be known before the
//! rest follows.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::estimate::warm_up::WarmUpMode;
use crate::journal::CanaryLimits;

/// The section `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSpec {
    /// Whether one request goes first and writes the shared prefix into the cache.
    pub prime: WarmUpMode,
    /// How long the rest waits for it. Most batches end within an hour, and an entry of the cache
    /// lives for one.
    #[serde(serialize_with = "to_text", deserialize_with = "from_text")]
    pub prime_wait: Duration,
}

impl Default for CacheSpec {
    fn default() -> CacheSpec {
        CacheSpec {
            prime: WarmUpMode::Auto,
            prime_wait: Duration::from_secs(60 * 60),
        }
    }
}

/// The section `[canary]`: some rows go first, and the rest follows if not too many of them went
/// wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanarySpec {
    /// How many rows go first.
    pub rows: u32,
    /// The largest share of rows, from 0 to 1, for which the provider reports an error.
    #[serde(default = "a_tenth")]
    pub max_error: f64,
    /// The largest share of answers that are cut off. One in twenty: a limit that cuts more is set
    /// too low.
    #[serde(default = "a_twentieth")]
    pub max_truncated: f64,
    /// The largest share of rows that the model declines.
    #[serde(default = "a_tenth")]
    pub max_refused: f64,
    /// The largest share of answers that do not fit the schema.
    #[serde(default = "a_tenth")]
    pub max_invalid: f64,
    /// The largest share of answers that say nothing: no text but white space, and no call of a
    /// tool. One in two: some jobs ask for no answer where there is nothing to say.
    // Left out at its default: jobs that were planned before this limit existed stay the same job.
    #[serde(default = "a_half", skip_serializing_if = "is_a_half")]
    pub max_empty: f64,
}

fn a_tenth() -> f64 {
    0.1
}

fn a_half() -> f64 {
    0.5
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::float_cmp,
    reason = "serde hands a reference, and the default is exact"
)]
fn is_a_half(share: &f64) -> bool {
    *share == a_half()
}

fn a_twentieth() -> f64 {
    0.05
}

impl CanarySpec {
    /// What may go wrong.
    #[must_use]
    pub fn limits(&self) -> CanaryLimits {
        let CanarySpec {
            max_error,
            max_truncated,
            max_refused,
            max_invalid,
            max_empty,
            rows: _,
        } = *self;
        CanaryLimits {
            max_error,
            max_truncated,
            max_refused,
            max_invalid,
            max_empty,
        }
    }

    /// The first key whose value makes no sense, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        if self.rows == 0 || self.rows > 100_000 {
            return Some((
                "canary.rows",
                "must be from 1 to 100,000, the most a batch may hold",
            ));
        }
        let shares = [
            ("canary.max_error", self.max_error),
            ("canary.max_truncated", self.max_truncated),
            ("canary.max_refused", self.max_refused),
            ("canary.max_invalid", self.max_invalid),
            ("canary.max_empty", self.max_empty),
        ];
        let (key, _) = shares
            .into_iter()
            .find(|(_, share)| !(0.0..=1.0).contains(share))?;
        Some((key, "is a share of the canary's rows: from 0 to 1"))
    }
}

fn to_text<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}s", time.as_secs()))
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span: Option<jiff::SignedDuration> = text.parse().ok();
    let time = span.and_then(|span| Duration::try_from(span).ok());
    time.ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is no time: write one such as \"90s\", \"20m\" or \"1h 30m\""
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(text: &str) -> Result<CacheSpec, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn reads_times_and_writes_them_so_that_they_can_be_read() {
        for (text, seconds) in [
            ("", 3_600),
            ("prime_wait = \"90s\"", 90),
            ("prime_wait = \"1h 30m\"", 5_400),
            ("prime_wait = \"0s\"", 0),
        ] {
            let spec = cache(text).unwrap();
            assert_eq!(spec.prime_wait.as_secs(), seconds);
            assert_eq!(
                serde_json::from_str::<CacheSpec>(&serde_json::to_string(&spec).unwrap()).unwrap(),
                spec
            );
        }
        assert!(
            cache("prime_wait = \"soon\"")
                .unwrap_err()
                .contains("`soon` is no time")
        );
        assert!(
            cache("prime_wait = \"-5m\"")
                .unwrap_err()
                .contains("is no time")
        );
        assert!(
            cache("prime = \"perhaps\"")
                .unwrap_err()
                .contains("unknown variant `perhaps`")
        );
    }

    #[test]
    fn refuses_shares_and_counts_that_make_no_sense() {
        for (text, key) in [
            ("rows = 0", Some("canary.rows")),
            ("rows = 200_000", Some("canary.rows")),
            ("rows = 20\nmax_error = 10.0", Some("canary.max_error")),
            (
                "rows = 20\nmax_truncated = -0.1",
                Some("canary.max_truncated"),
            ),
            ("rows = 20\nmax_invalid = nan", Some("canary.max_invalid")),
            ("rows = 20\nmax_empty = 2", Some("canary.max_empty")),
            ("rows = 20\nmax_error = 0.0\nmax_refused = 1.0", None),
        ] {
            let spec: CanarySpec = toml::from_str(text).unwrap();
            assert_eq!(spec.problem().map(|(key, _)| key), key, "{text}");
        }
        assert!(
            toml::from_str::<CanarySpec>("max_error = 0.1").is_err(),
            "rows is required"
        );
        let spec: CanarySpec = toml::from_str("rows = 20").unwrap();
        assert!(
            !serde_json::to_string(&spec).unwrap().contains("max_empty"),
            "an older version's job has the same hash"
        );
        assert_eq!(spec.limits().max_empty, 0.5);
    }
}
