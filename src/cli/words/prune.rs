//! Sentences about runs and trial outputs that are removed, or kept.

use rowmill::engine::{KeptBecause, TrialKind};

use crate::cli::format::{plural, usd};

/// What became of a run or a trial output.
pub(crate) fn fate(kept: Option<&KeptBecause>, dry_run: bool) -> String {
    match kept {
        None if dry_run => "would be removed".to_owned(),
        None => "removed".to_owned(),
        Some(why) => format!("kept: {}", because(why)),
    }
}

fn because(why: &KeptBecause) -> String {
    let by = |owner: &Option<String>| {
        owner
            .clone()
            .unwrap_or_else(|| "another process".to_owned())
    };
    let batches = |n: &u64| plural(*n, "batch", "batches");
    match why {
        KeptBecause::TooRecent => "more recent".to_owned(),
        KeptBecause::NewestFinished => "newest finished run (--keep-last)".to_owned(),
        KeptBecause::InFlight { batches: n } => format!("{} in flight", batches(n)),
        KeptBecause::Uncertain { batches: n } => {
            format!("{} may or may not have been created", batches(n))
        }
        KeptBecause::NotCollected { batches: n } => {
            format!("results of {} not collected", batches(n))
        }
        KeptBecause::Unfinished => "not finished".to_owned(),
        KeptBecause::Reserved { amount } => {
            format!("{} reserved in the ledger", usd(*amount))
        }
        KeptBecause::Locked { owner } => format!("in use by {}", by(owner)),
        KeptBecause::JobLocked { owner } => format!("its job is in use by {}", by(owner)),
        KeptBecause::Unreadable { problem } => format!("cannot be read: {problem}"),
        KeptBecause::OfKeptRun => "its run is kept".to_owned(),
        _ => format!("{why:?}"),
    }
}

/// What an output beside the job's own is.
pub(crate) fn trial_kind(kind: TrialKind) -> &'static str {
    match kind {
        TrialKind::Trial => "trial",
        TrialKind::Simulated => "simulated",
    }
}
