//! The counter of the crash tests.
//!
//! The condition is the profile, not a feature alone: `cargo test` then needs no flags, and no
//! release build can be made to crash by a variable that was left in its environment.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// Acts left before the crash test ends the process; negative: never.
static ACTS_LEFT: AtomicI64 = AtomicI64::new(-1);

thread_local! {
    /// Acts left before this thread ends; 0: never.
    static THREAD_ACTS_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// What a thread panics with that [`crash_thread_at`] ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash;

/// Arms the crash test: the process aborts when it is about to do its `n`-th act, counted from 1.
///
/// Only the command line calls this, for `ROWMILL_CRASH_AT`, which exists for the tests.
pub fn crash_at(n: u32) {
    ACTS_LEFT.store(i64::from(n), Ordering::SeqCst);
}

/// Arms the crash test for the calling thread: it panics with [`Crash`] when it is about to do its
/// `n`-th act, counted from 1, and prints nothing. The `n` replaces that of an earlier call; 0
/// disarms.
///
/// Unwinding gives back locks and open files as the end of a process does. What it does beyond
/// that: destructors run, so temporary files are removed. Acts of other threads are not counted:
/// those of spool files while rows are planned.
pub fn crash_thread_at(n: u32) {
    THREAD_ACTS_LEFT.set(n);
}

pub(super) fn act() {
    let left = THREAD_ACTS_LEFT.get();
    THREAD_ACTS_LEFT.set(left.saturating_sub(1));
    if left == 1 {
        // Without the panic hook, which would print a message.
        std::panic::resume_unwind(Box::new(Crash));
    }
    if ACTS_LEFT.load(Ordering::Relaxed) < 0 {
        return;
    }
    if ACTS_LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn ends_a_thread_at_its_nth_act_and_only_once() {
        crash_thread_at(2);
        std::thread::spawn(act).join().unwrap();
        act();
        let panic = catch_unwind(act).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&Crash));
        act();
    }
}
