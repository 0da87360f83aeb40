//! What a run will cost, before anything is sent.
//!
//! In come the requests as they are rendered, the prices, and what earlier runs of the job learned; out comes an [`Estimate`]: tokens
//! and money, for each batch and for all of them, as a range.
//!
//! * **low**: everything goes well: the shared part is read from the cache wherever that can be, answers are short.
//! * **likely**: what to reckon with.
//! * **high**: nothing goes well: no cache is read, answers are long. This is what is reserved of a budget while a batch is in flight.
//! * **most**: what a batch cannot pass: every answer as long as `max_tokens` lets it, no cache read, every byte of a prompt a token.

pub mod tokens;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::cost::Money;

/// What a run is expected to cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// The day of the prices.
    pub priced_at: Date,
    /// All batches together.
    pub total: Bounds,
    /// The batches in their order: batch 1 stands first.
    pub pieces: Vec<Bounds>,
}

/// What something is expected to cost: never more than [`Bounds::most`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// If everything goes well.
    pub low: Money,
    /// What to reckon with.
    pub likely: Money,
    /// If nothing goes well; reserved while it is in flight.
    pub high: Money,
    /// What it cannot pass.
    pub most: Money,
}
