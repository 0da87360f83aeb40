//! The wire format of the Message Batches API: envelope, limits, result lines.
//!
//! ```text
//! {"requests":[{"custom_id":"<id>","params":<head><fragment>},{"custom_id":…}]}
//! ```
//!
//! **Source**: the vendor's reference of 2026-11.

use std::borrow::Cow;

use super::result_line;
use crate::batch::{Envelope, Limits};
use crate::outcome::details::Wanted;
use crate::provider::{BatchFormat, LineError, ResultLine};

/// The name that plans keep.
pub const NAME: &str = "anthropic";
/// What stands around the requests of a batch.
pub const ENVELOPE: Envelope = Envelope {
    prefix: r#"{"requests":["#,
    before_id: r#"{"custom_id":""#,
    after_id: r#"","params":"#,
    after_params: "}",
    separator: ",",
    suffix: "]}",
};
/// 100,000 requests and 256 MB. Whether decimal or binary megabytes is not said, so the decimal
/// ones less a margin.
pub const LIMITS: Limits = Limits {
    max_requests: 100_000,
    max_bytes: 250_000_000,
};
/// The wire format.
pub const FORMAT: &dyn BatchFormat = &MessageBatches;

#[derive(Debug)]
struct MessageBatches;

impl BatchFormat for MessageBatches {
    fn name(&self) -> &'static str {
        NAME
    }

    fn envelope(&self) -> Envelope {
        ENVELOPE
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn custom_id<'l>(&self, line: &'l [u8]) -> Result<Cow<'l, str>, LineError> {
        result_line::custom_id_of(line)
    }

    fn result<'l>(&self, line: &'l [u8], wanted: Wanted) -> Result<ResultLine<'l>, LineError> {
        result_line::parse_with(line, wanted)
    }

    fn begins_result(&self, beginning: &[u8]) -> bool {
        memchr::memmem::find(beginning, b"\"custom_id\"").is_some()
    }
}
