//! Money that the ledger reserves for runs that no command resumes: abandoned runs, and runs whose
//! folder is gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::cost::Money;
use crate::ledger::Ledger;

use super::Error;

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
}

/// The runs of a state directory for which its ledger reserves money.
///
/// # Errors
/// [`Error::Ledger`].
pub(super) fn reservations(state: &Path) -> Result<Vec<RunReservation>, Error> {
    let Some(ledger) = Ledger::open_if_there(state)? else {
        return Ok(Vec::new());
    };
    let mut reservations: BTreeMap<String, RunReservation> = BTreeMap::new();
    for entry in ledger.reserved()? {
        let folder = Some(state.join(&entry.job).join(&entry.run)).filter(|folder| folder.is_dir());
        let (run, job, simulated) = (entry.run.clone(), entry.job.clone(), entry.simulated);
        let reservation = RunReservation {
            run,
            job,
            simulated,
            folder,
            reserved: Money::ZERO,
        };
        reservations
            .entry(entry.run)
            .or_insert(reservation)
            .reserved += entry.reserved;
    }
    Ok(reservations.into_values().collect())
}

/// Refuses to start a job again of which a run may have sent batches and is gone: its rows could be
/// paid twice. A run that was kept in a folder the user chose is not looked for.
///
/// # Errors
/// [`Error::RunGone`]; [`Error::Ledger`].
pub(super) fn check_no_run_is_gone(state: &Path, job: &str, simulated: bool) -> Result<(), Error> {
    let is_gone = |reservation: &RunReservation| {
        reservation.job == job
            && reservation.simulated == simulated
            && reservation.folder.is_none()
            && is_run_id(&reservation.run)
    };
    match reservations(state)?.into_iter().find(is_gone) {
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
pub(super) fn write_off(state: &Path, run: &str, now: Timestamp) -> Result<Option<Money>, Error> {
    let Some(ledger) = Ledger::open_if_there(state)? else {
        return Ok(None);
    };
    let mut sum = None;
    for entry in ledger.reserved()?.iter().filter(|entry| entry.run == run) {
        ledger.write_off(entry, now)?;
        sum = Some(sum.unwrap_or(Money::ZERO) + entry.reserved);
    }
    Ok(sum)
}

/// Whether it is an id that rowmill gave, such as `20261123-031500-abcd`.
fn is_run_id(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let is_number =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts.as_slice(), [day, time, tail] if is_number(day, 8) && is_number(time, 6) && tail.len() == 4)
}
