//! How durations and errors are written in notices.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::provider::ApiError;

pub(super) fn seconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

pub(super) fn maybe_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.map(|d| d.as_secs_f64()).serialize(serializer)
}

/// The facts of an error that a log keeps.
pub(super) fn api_error<S: Serializer>(error: &ApiError, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Facts<'a> {
        call: &'a str,
        status: Option<u16>,
        kind: &'a str,
        message: &'a str,
        request_id: Option<&'a str>,
    }
    Facts {
        call: error.call.name(),
        status: error.status,
        kind: error.kind.as_str(),
        message: &error.message,
        request_id: error.request_id.as_deref(),
    }
    .serialize(serializer)
}

pub(super) fn maybe_api_error<S: Serializer>(
    error: &Option<ApiError>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => api_error(error, serializer),
        None => serializer.serialize_none(),
    }
}
