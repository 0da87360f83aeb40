//! Saved lines → outcomes → joined rows → output file.
//!
//! Works piece by piece in row order: a piece's rows and source columns come from its spool file, their outcomes from the results
//! of the batches that sent them. The output appears under its name only when every row is in it.
//!
//! **Memory:** one row group of the spool, the places of one piece's result lines (32 bytes each), and one row group of the output.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::batch::SpoolReader;
use crate::join::{AttemptResults, Joiner, RequestRow, Totals};
use crate::journal::Event;
use crate::outcome::answer::AnswerSchema;
use crate::output::{OutputSchema, OutputWriter, RowsBuilder};
use crate::provider::anthropic::result_line;

use super::progress::{Listener, Progress};
use super::{Error, Run, collect};

/// Rows handed to the writer at a time.
const ROWS: usize = 8_192;

/// What an export wrote.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The output.
    pub path: PathBuf,
    /// Rows by status, and tokens.
    pub totals: Totals,
    /// Rows not sent because an earlier row has their key: the job wanted that, so they do not count as failures.
    pub duplicates_left_out: u64,
}
