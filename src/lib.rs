//! Runs a prompt over every row of a table through a message batches API.
//!
//! rowmill reads a table, renders a request from each row, sends the requests in batches at half
//! price, and joins the answers to the rows: every input row exactly once, in input order, with
//! status, usage and cost. A job file describes source, request and output; [`engine::Engine`] runs
//! a job.
//!
//! ```
//! use rowmill::engine::{Engine, RunOptions, RunOutcome, Target};
//! use rowmill::job::JobFile;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! std::fs::write(folder.join("rows.csv"), "id,body\nT-1,It broke.\nT-2,Thank you!\n")?;
//! std::fs::write(
//!     folder.join("job.toml"),
//!     r#"
//!     [job]
//!     name = "mood"
//!     [source]
//!     path = "rows.csv"
//!     [key]
//!     columns = ["id"]
//!     [request]
//!     model = "claude-haiku-4-5"
//!     max_tokens = 100
//!     messages = [{ role = "user", text = "Is this a complaint? {{ body }}" }]
//!     [output]
//!     path = "mood.parquet"
//!     "#,
//! )?;
//! let engine = Engine::new(folder.join("state"))?;
//! let job = JobFile::read(&folder.join("job.toml"))?;
//! let options = RunOptions { simulate: true, ..RunOptions::default() };
//!
//! let report = engine.run(&Target::job(job), &options)?;
//! assert_eq!(report.outcome, RunOutcome::Complete);
//! assert!(report.output_path().is_some_and(|path| path.is_file()));
//! # Ok(())
//! # }
//! ```
//!
//! With a provider ([`Engine::with_provider`](engine::Engine::with_provider)) the same call sends
//! real batches. After a crash, a kill or a network failure, calling it again resumes the run, and
//! no row is paid for twice.
//!
//! # Rooms
//!
//! A row passes through the modules in this order. A module uses only modules before it; only
//! [`engine`] composes them.
//!
//! ```text
//!  job.toml ─┐
//!  templates ┤                 one batch = one unit of work
//!  rows ─────┴─ plan ──▶ run directory ── submit ──▶ watch ──▶ collect ──▶ export ──▶ output.parquet
//!              render     spool/00001…     POST       poll     save raw     join
//!              ids, pack  journal         (journal before and after)        results/00001…
//! ```
//!
//! | room | product |
//! |---|---|
//! | [`durable`], [`border`] | durable writes; panics of dependencies as errors |
//! | [`job`] | a job file → its sections, each for one room |
//! | [`source`], [`table`], [`profile`] | files → record batches, filtered and with derived columns; profiles of columns |
//! | [`template`], [`media`] | a row → its prompt; images and documents |
//! | [`request`] | a prompt → the request's JSON, its custom_id and hash |
//! | [`batch`] | requests → planned batches within all limits, spooled to disk |
//! | [`outcome`] | an answer → status, text, usage, typed columns |
//! | [`provider`] | calls of a batch API, retry rules, wire formats |
//! | [`journal`] | the run directory: plan, journal, manifest, lock |
//! | [`join`], [`output`] | outcomes → rows → a file that appears when it is complete |
//! | [`catalog`], [`cost`], [`estimate`], [`ledger`] | models and prices, bills, estimates, budgets |
//! | [`engine`] | the complete run: plan, submit, watch, collect, export, retry |
//! | [`simulator`] | a local server with the provider's endpoints, for samples and tests |
//!
//! # Features
//!
//! `cli` (the binary), `simulator` and `sql` (`where`, `derive` and column profiles) are on by
//! default. Set `default-features = false` to build the library without them.

pub mod batch;
pub mod border;
pub mod catalog;
#[cfg(any(test, fuzzing, feature = "fuzzing"))]
pub mod checks;
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
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod source;
pub mod table;
pub mod template;
