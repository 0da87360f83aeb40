//! All integration tests in one binary, one file per subject: each test binary links the table
//! engine again.
//!
//! A test that installs something or takes minutes is `#[ignore]`d, with the reason; one that needs
//! something that a machine may lack asks `unmet_needs` first, which counts it as skipped.
#![expect(
    clippy::print_stderr,
    reason = "the harness keeps it until a test fails"
)]

#[cfg(not(any(feature = "test-hooks", debug_assertions)))]
compile_error!("in a release build, the crash tests need `--features test-hooks`");

mod answers;
mod bad_input;
mod bill;
mod budget;
mod budget_rounds;
mod checkpoints;
mod codes;
mod columnar;
mod commands;
mod conformance;
mod crash;
mod disk;
mod endings;
mod estimate;
mod examples;
mod faults;
mod fetching;
mod files;
mod golden_answers;
mod golden_requests;
mod in_process;
mod incremental;
mod init;
mod job_state;
mod media;
mod messages;
mod model;
mod models;
mod month;
mod nightly_scale;
mod options;
mod outputs;
mod overlap;
mod prune;
mod readme;
mod rescue;
mod restored;
mod retries;
mod run;
mod scheduler;
mod schedulers;
mod sdk_types;
mod second_provider;
mod security;
mod sending;
mod states;
mod support;
mod templates;
mod unmet_needs;
mod usage;
mod waiting;
mod whole_runs;
