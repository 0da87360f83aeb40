//! A job or run that another process works on: fail, skip, or wait until the lock is free.
//!
//! A lock is taken before anything else is done, so a start that finds it taken has done nothing,
//! and can be made again.

use std::path::PathBuf;
use std::time::Duration;

use crate::journal::{self, Owner};

use super::Error;
use super::context::between;
use super::not_started::NotStarted;
use super::notice::Notice;
use super::options::IfRunning;
use super::setup::Engine;

/// How long between two tries to take a lock. It is a call of the local file system.
const PAUSE: Duration = Duration::from_secs(1);
/// How long between two reports of the wait.
const REPORT: Duration = Duration::from_secs(60);

impl Engine {
    /// Makes a start that takes a lock. If another process has it, the start fails, is skipped, or
    /// is repeated for at most `longest`. Also returns how long it waited.
    ///
    /// # Errors
    /// Those of the start; [`Error::NotStarted`] where it is skipped; [`Error::StillRunning`] and
    /// [`Error::Interrupted`] at the end of a wait.
    pub(super) fn unless_running<T>(
        &self,
        policy: IfRunning,
        longest: Option<Duration>,
        start: impl Fn() -> Result<T, Error>,
    ) -> Result<(T, Duration), Error> {
        let begun = self.clock.now();
        let mut next_report = Duration::ZERO;
        loop {
            // What the start itself takes is no part of the wait.
            let waited = between(begun, self.clock.now());
            let error = match start() {
                Ok(started) => return Ok((started, waited)),
                Err(error) => error,
            };
            let Some((locked, owner)) = holder(&error) else {
                return Err(error);
            };
            match policy {
                IfRunning::Fail => return Err(error),
                IfRunning::Skip => {
                    let why = NotStarted::AlreadyRunning { locked, owner };
                    return Err(Error::NotStarted(Box::new(why)));
                }
                IfRunning::Wait if longest.is_some_and(|longest| longest <= waited) => {
                    return Err(Error::StillRunning {
                        locked,
                        owner,
                        waited,
                    });
                }
                IfRunning::Wait => {}
            }
            if waited >= next_report {
                next_report = waited + REPORT;
                self.observer.notice(Notice::WaitingForLock {
                    locked: &locked,
                    owner: owner.as_ref(),
                    waited,
                });
            }
            let pause = longest.map_or(PAUSE, |longest| PAUSE.min(longest - waited));
            self.sleep(pause)?;
        }
    }

    /// # Errors
    /// [`Error::Interrupted`] where the engine's signal is set, or its observer asks to stop.
    fn sleep(&self, pause: Duration) -> Result<(), Error> {
        // The machine's clock needs the runtime as soon as a sleep is made.
        let slept = self.block_on(async { self.stop.or(self.clock.sleep(pause)).await });
        match slept {
            Some(()) if !self.observer.is_stopping() => Ok(()),
            _ => Err(Error::Interrupted),
        }
    }
}

/// What is locked, and by whom, where that is what an error says.
fn holder(error: &Error) -> Option<(PathBuf, Option<Owner>)> {
    match error {
        Error::Journal(
            journal::Error::Locked { path, owner } | journal::Error::JobLocked { path, owner },
        ) => Some((path.clone(), owner.clone())),
        #[cfg(feature = "simulator")]
        Error::Simulator(crate::simulator::Error::Locked { folder }) => {
            Some((folder.clone(), None))
        }
        _ => None,
    }
}
