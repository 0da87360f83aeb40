//! A table in, a table out, through a message batches API.
//!
//! ```text
//!  job.toml ─┐
//!  templates ┤                 one batch = one unit of work
//!  rows ─────┴─ plan ──▶ run directory ── submit ──▶ watch ──▶ collect ──▶ export ──▶ output.parquet
//!              render     spool/00001…     POST       poll     save raw     join
//!              ids, pack  journal         (journal before and after)        results/00001…
//! ```
//!
//! The rooms stand in the order a row walks through them; a room uses the rooms above it, never
//! those below.

pub mod batch;
pub mod border;
pub mod catalog;
pub mod cost;
pub mod durable;
pub mod engine;
pub mod estimate;
pub mod job;
pub mod join;
pub mod journal;
pub mod ledger;
pub mod media;
pub mod outcome;
pub mod output;
pub mod profile;
pub mod provider;
pub mod request;
pub mod simulator;
pub mod source;
pub mod table;
pub mod template;
