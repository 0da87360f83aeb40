//! What an answer says of itself in its headers.

use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::provider::redact::Secrets;

/// What an answer says of itself in its headers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::provider) struct AnswerFacts {
    pub(in crate::provider) request_id: Option<String>,
    pub(in crate::provider) retry_after: Option<Duration>,
    pub(in crate::provider) should_retry: Option<bool>,
}

pub(super) fn facts(headers: &HeaderMap, secrets: &Secrets) -> AnswerFacts {
    let word = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    AnswerFacts {
        request_id: word("request-id").map(|id| secrets.clean(id)),
        retry_after: retry_after(word("retry-after-ms"), word("retry-after"), word("date")),
        should_retry: match word("x-should-retry") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        },
    }
}

/// How long to wait: milliseconds, else seconds, else a date, which is measured against the other
/// side's own clock. More than can be counted is as long as can be, less than nothing says nothing.
fn retry_after(millis: Option<&str>, after: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let seconds = |seconds: f64| match Duration::try_from_secs_f64(seconds) {
        Ok(wait) => Some(wait),
        Err(_) => (seconds > 0.0).then_some(Duration::MAX),
    };
    if let Some(millis) = millis.and_then(|text| text.parse::<f64>().ok()) {
        return seconds(millis / 1000.0);
    }
    let after = after?;
    if let Ok(number) = after.parse::<f64>() {
        return seconds(number);
    }
    let wait = instant(after)?.duration_since(instant(date?)?);
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

/// A date as HTTP writes it (three ways, of which two are old), or as everything else does.
fn instant(text: &str) -> Option<jiff::Timestamp> {
    const OLD: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let modern = || Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp());
    let old = || {
        let time = OLD
            .iter()
            .find_map(|form| jiff::civil::DateTime::strptime(form, text).ok())?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    modern().or_else(old).or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_how_long_to_wait() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (millis, after, expected) in [
            (None, Some("2"), Some(2.0)),
            (None, Some("1.5"), Some(1.5)),
            (None, Some("0"), Some(0.0)),
            (Some("250"), Some("9"), Some(0.25)),
            (None, Some("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30.0)),
            (None, Some("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0.0)),
            (None, Some("-1"), None),
            (None, Some("soon"), None),
            (None, Some("NaN"), None),
            (None, Some("-0.5"), None),
            (Some("-3"), Some("9"), None),
            (None, Some("Sunday, 06-Nov-94 08:50:07 GMT"), Some(30.0)),
            (None, Some("Sun Nov  6 08:50:07 1994"), Some(30.0)),
            (None, Some("1994-11-06T08:50:07Z"), Some(30.0)),
            (None, None, None),
        ] {
            assert_eq!(
                retry_after(millis, after, date),
                expected.map(Duration::from_secs_f64),
                "{millis:?} {after:?}"
            );
        }
        assert_eq!(retry_after(None, date, None), None);
        for endless in ["1e300", "inf", "99999999999999999999999"] {
            assert_eq!(
                retry_after(None, Some(endless), None),
                Some(Duration::MAX),
                "{endless}"
            );
        }
    }
}
