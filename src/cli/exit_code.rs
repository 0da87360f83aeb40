//! The exit codes, and which of them an error ends with: the only place that decides it.
//!
//! That nothing was sent is concluded from the run's journal, never from the kind of an error.

use std::path::PathBuf;

use rowmill::engine::Error;
use rowmill::provider::retry::{Call, Verdict, judge};
use rowmill::{batch, join, journal, ledger, output, simulator};

/// All rows succeeded, everything that was to be sent is accepted, or there was nothing to do.
pub(crate) const DONE: u8 = 0;
/// A bug.
pub(crate) const BUG: u8 = 1;
/// Arguments, job, template, input or a file of the run need a change; this command sent nothing.
pub(crate) const CHANGE: u8 = 2;
/// Finished; some rows did not succeed.
pub(crate) const PARTLY: u8 = 3;
/// Stopped by provider or network.
pub(crate) const PROVIDER: u8 = 4;
/// Not finished yet.
pub(crate) const UNFINISHED: u8 = 5;
/// Stopped by a budget, the cache warm-up request or the canary.
pub(crate) const STOPPED: u8 = 6;
/// A batch may or may not have been created; it was not sent again.
pub(crate) const DOUBT: u8 = 7;
/// Nothing has been sent yet, so that there is nothing to collect.
pub(crate) const NOTHING_SENT: u8 = 8;
/// No such run.
pub(crate) const NO_RUN: u8 = 10;
/// Another process works on the run.
pub(crate) const LOCKED: u8 = 11;
/// Credentials.
pub(crate) const CREDENTIALS: u8 = 12;
/// Interrupted; submitted batches keep running at the provider.
pub(crate) const INTERRUPTED: u8 = 130;

/// What the journal of the command's run records about sending. Together with the error it decides
/// the exit code.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    /// The run's folder.
    pub(crate) run: Option<PathBuf>,
    /// Whether anything of the run was sent, or may have been.
    pub(crate) ever: bool,
    /// Whether this command sent something, or may have.
    pub(crate) now: bool,
}

/// Whether the file system is at fault, and not what is in the files.
pub(crate) fn is_of_the_disk(error: &Error) -> bool {
    matches!(
        error,
        Error::File { .. }
            | Error::Output(_)
            | Error::Join(join::Error::Scratch(_) | join::Error::Read { .. })
            | Error::Batch(batch::Error::Io { .. })
            | Error::Journal(journal::Error::Io { .. } | journal::Error::Broken { .. })
            | Error::Ledger(
                ledger::Error::Sqlite { .. }
                    | ledger::Error::Create { .. }
                    | ledger::Error::Busy { .. }
            )
    )
}

pub(crate) fn of_error(error: &Error, sent: &Sent) -> u8 {
    match of_call(error) {
        Some(CHANGE) if sent.now => return PROVIDER,
        Some(code) => return code,
        None => {}
    }
    match error {
        Error::Bug(_) => BUG,
        Error::Interrupted | Error::Declined { .. } => INTERRUPTED,
        Error::Provider { source, .. } => match judge(
            Call::Create,
            source,
            u32::MAX,
            std::time::Duration::MAX,
            0.0,
        ) {
            Verdict::StopCredentials => CREDENTIALS,
            _ => PROVIDER,
        },
        // Where nothing was sent, the job needs a change; else what was sent can still be fetched.
        Error::Refused(refused) if refused.nothing_was_sent => CHANGE,
        Error::Refused(_) => PROVIDER,
        Error::StoppedAtCheckpoint(_) | Error::Budget(_) => STOPPED,
        Error::Journal(journal::Error::Locked { .. } | journal::Error::JobLocked { .. }) => LOCKED,
        Error::StillRunning { .. } => UNFINISHED,
        Error::Journal(journal::Error::NoRun { .. }) => NO_RUN,
        // Another process has it, and the same command succeeds when that has finished.
        Error::Ledger(ledger::Error::Busy { .. }) => PROVIDER,
        // A person has to change something first, and it would not help to run the command again.
        error if needs_a_change(error) && !sent.now => CHANGE,
        _ if sent.ever => PROVIDER,
        _ => CHANGE,
    }
}

/// The exit code of a call that cannot be made as it was typed; `None` for all other errors.
fn of_call(error: &Error) -> Option<u8> {
    Some(match error {
        Error::NoRun { .. } | Error::JobHasNoRun { .. } | Error::Pruned { .. } => NO_RUN,
        Error::NoCredential { .. } => CREDENTIALS,
        Error::Simulator(simulator::Error::Locked { .. }) => LOCKED,
        Error::Simulator(simulator::Error::Folder { .. }) => CHANGE,
        Error::Simulator(_) | Error::Runtime(_) => BUG,
        Error::WithoutSimulator
        | Error::NotSimulated { .. }
        | Error::NotFinished { .. }
        | Error::NothingToRetry(_)
        | Error::NoProvider
        | Error::NoFileStore
        | Error::Connect(_)
        | Error::NoRow { .. }
        | Error::PruneWithoutAge { .. }
        | Error::SampleWith { .. } => CHANGE,
        _ => return None,
    })
}

/// Whether the job, its files, its input or a file of the run has to be changed by a person.
fn needs_a_change(error: &Error) -> bool {
    match error {
        Error::Batch(batch::Error::Altered { .. } | batch::Error::Missing { .. }) => true,
        Error::Journal(error) => !matches!(
            error,
            journal::Error::Io { .. } | journal::Error::Broken { .. }
        ),
        Error::Ledger(error) => {
            use ledger::Error::{Conflict, Edited, Newer, NotOurs};
            matches!(
                error,
                Newer { .. } | NotOurs { .. } | Edited { .. } | Conflict { .. }
            )
        }
        Error::Output(error) => !matches!(
            error,
            output::Error::Write { .. } | output::Error::Incomplete { .. }
        ),
        Error::Job(_)
        | Error::Source(_)
        | Error::Request(_)
        | Error::Keys(_)
        | Error::Answer(_)
        | Error::UnknownModel { .. }
        | Error::RetiredModel { .. }
        | Error::NoPrice(_)
        | Error::Rows(_)
        | Error::DuplicateKeys(_)
        | Error::NotUploaded { .. }
        | Error::Changed { .. }
        | Error::Abandoned { .. }
        | Error::RunGone { .. }
        | Error::SoundJournal { .. }
        | Error::StateAddress { .. }
        | Error::StateFile { .. }
        | Error::StateNotWritable { .. }
        | Error::OtherJobFile { .. }
        | Error::OldState(_)
        | Error::OutputTaken(_)
        | Error::StateRestored { .. }
        | Error::ClockBehind { .. }
        | Error::PlanOutdated { .. }
        | Error::LedgerLost { .. }
        | Error::AlteredResults { .. }
        | Error::MissingResults { .. }
        | Error::CannotContinue(_)
        | Error::Reuse { .. }
        | Error::EarlierOutputAltered { .. }
        | Error::OutputIsInput { .. }
        | Error::OtherOrigin { .. }
        | Error::OtherProvider { .. }
        | Error::UnknownProvider { .. }
        | Error::BatchTooSmall { .. }
        | Error::OneModelABatch => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_provider_needs_a_change_even_of_a_run_that_has_sent() {
        let error = Error::OtherProvider {
            planned: "anthropic".to_owned(),
            given: "other".to_owned(),
        };
        let sent = |now| Sent {
            run: None,
            ever: true,
            now,
        };
        assert_eq!(of_error(&error, &sent(false)), CHANGE);
        assert_eq!(of_error(&error, &sent(true)), PROVIDER);
    }
}
