//! An opened run: its folder, its plan, its journal, and what they say about each batch.
//!
//! Opening takes the run's lock, so that one process works on it at a time, and reads the journal into a state. From then on an
//! event is recorded on disk before the state takes it in.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::batch::SpooledBody;
use crate::batch::spool::PieceSummary;
use crate::job::JobFile;
use crate::journal::{BatchState, Event, Journal, Lock, Manifest, Plan, RunDir, State};
use crate::provider::{BatchId, Counts};
use crate::request::custom_id::Nonce;

use super::Error;
use super::plan::{Outline, Planner};
use super::prepare::Prepared;
