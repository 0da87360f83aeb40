//! Money that the ledger reserves for runs that no command resumes: abandoned runs, and runs whose
//! folder is gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::cost::Money;
use crate::ledger::Ledger;

use super::Error;
use super::run_place::ledgers_of;

/// A run for which the ledger reserves money.
#[derive(Debug, Clone)]
pub(super) struct RunReservation {
    /// Its id.
    pub run: String,
    /// Its job.
    pub job: String,
    /// Whether it is a simulated one.
    pub simulated: bool,
    /// Its folder; `None` where the state directory has none.
    pub folder: Option<PathBuf>,
    /// What is reserved for its batches.
    pub reserved: Money,
    /// Whether its ledger is one that other states may use, so that its folder may lie in another.
    is_shared: bool,
}

/// The runs of a state directory for which its ledgers reserve money.
///
/// # Errors
/// [`Error::Ledger`].
pub(super) fn reservations(state: &Path, patience: Duration) -> Result<Vec<RunReservation>, Error> {
    let mut reserved = Vec::new();
    for (file, is_shared) in ledgers_of(state) {
        let ledger = Ledger::open_file(&file, patience)?;
        let entries = ledger.reserved()?.into_iter();
        reserved.extend(entries.map(|entry| (entry, is_shared)));
    }
    let mut reservations: BTreeMap<String, RunReservation> = BTreeMap::new();
    for (entry, is_shared) in reserved {
        let folder = Some(state.join(&entry.job).join(&entry.run)).filter(|folder| folder.is_dir());
        let (run, job, simulated) = (entry.run.clone(), entry.job.clone(), entry.simulated);
        let reservation = RunReservation {
            run,
            job,
            simulated,
            folder,
            reserved: Money::ZERO,
            is_shared,
        };
        reservations
            .entry(entry.run)
            .or_insert(reservation)
            .reserved += entry.reserved;
    }
    Ok(reservations.into_values().collect())
}

/// Refuses to start a job again of which a run may have sent batches and is gone: its rows could be
/// paid twice. A run that was kept in a folder the user chose is not looked for, nor is one of a
/// shared ledger, which may lie in another state.
///
/// # Errors
/// [`Error::RunGone`]; [`Error::Ledger`].
pub(super) fn check_no_run_is_gone(
    state: &Path,
    job: &str,
    simulated: bool,
    patience: Duration,
) -> Result<(), Error> {
    let is_gone = |reservation: &RunReservation| {
        reservation.job == job
            && reservation.simulated == simulated
            && reservation.folder.is_none()
            && !reservation.is_shared
            && is_run_id(&reservation.run)
    };
    match reservations(state, patience)?.into_iter().find(is_gone) {
        Some(RunReservation { run, reserved, .. }) => Err(Error::RunGone {
            run,
            state: state.to_path_buf(),
            reserved,
        }),
        None => Ok(()),
    }
}

/// Writes off what is reserved for a run whose folder is gone, by the user's decision: its cost
/// cannot be known. Returns the amount; `None` where the ledger holds nothing for such a run.
///
/// # Errors
/// [`Error::Ledger`].
pub(super) fn write_off(
    state: &Path,
    run: &str,
    now: Timestamp,
    patience: Duration,
) -> Result<Option<Money>, Error> {
    let mut sum = None;
    for (file, _) in ledgers_of(state) {
        let ledger = Ledger::open_file(&file, patience)?;
        for entry in ledger.reserved()?.iter().filter(|entry| entry.run == run) {
            ledger.write_off(entry, now)?;
            sum = Some(sum.unwrap_or(Money::ZERO) + entry.reserved);
        }
    }
    Ok(sum)
}

/// Whether it is an id that rowmill gave, such as `20261123-031500-abcd`.
pub(super) fn is_run_id(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let is_number =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts.as_slice(), [day, time, tail] if is_number(day, 8) && is_number(time, 6) && tail.len() == 4)
}
