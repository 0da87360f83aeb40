//! How calls of the engine end, and what holds afterwards.

use std::collections::BTreeMap;

use rowmill::engine::{Error, RunOutcome, RunReport};
use rowmill::provider::ApiError;
use rowmill::provider::retry::{Call, Verdict, judge};
use serde_json::{Value, json};

use crate::in_process::Bench;
use crate::support::{Sim, Workdir};

/// How a call of the engine ended. Each has an exit code of its own at the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All rows succeeded: 0.
    Complete,
    /// Refused, and nothing was sent: 2.
    NothingSent,
    /// Finished; some rows did not succeed: 3.
    SomeFailed,
    /// Stopped by the provider: 4.
    Stopped,
    /// Not finished yet: 5.
    Unfinished,
    /// Stopped by the budget: 6.
    OverBudget,
    /// A batch may or may not have been created: 7.
    InDoubt,
    /// The provider does not accept the key: 12.
    Credentials,
    /// Interrupted: 130.
    Interrupted,
}

impl Ending {
    fn of(ended: &Result<RunReport, Error>) -> Ending {
        match ended {
            Ok(report) => match report.outcome {
                RunOutcome::Complete if report.all_succeeded() => Ending::Complete,
                RunOutcome::Complete => Ending::SomeFailed,
                RunOutcome::Unfinished => Ending::Unfinished,
                RunOutcome::InDoubt => Ending::InDoubt,
                RunOutcome::Interrupted => Ending::Interrupted,
                RunOutcome::OverBudget => Ending::OverBudget,
            },
            Err(Error::Budget(_)) => Ending::OverBudget,
            Err(Error::Refused(refused)) if refused.nothing_was_sent => Ending::NothingSent,
            Err(Error::Refused(_)) => Ending::Stopped,
            Err(Error::Provider { source, .. }) if is_of_the_key(source) => Ending::Credentials,
            Err(Error::Provider { .. }) => Ending::Stopped,
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn is_of_the_key(error: &ApiError) -> bool {
    let longest = std::time::Duration::MAX;
    judge(Call::Create, error, u32::MAX, longest, 0.0) == Verdict::StopCredentials
}

/// What a call of the engine ended with, and what was reported meanwhile.
pub(crate) struct Ended {
    pub(crate) report: Option<RunReport>,
    pub(crate) notices: Vec<Value>,
}

impl Ended {
    /// Panics unless something that was reported has a member of this name and value, at any depth.
    #[track_caller]
    pub(crate) fn has(self, name: &str, value: &str) -> Ended {
        assert!(
            self.count(name, value) > 0,
            "no {name} = {value} in\n{}",
            self.text()
        );
        self
    }

    /// Panics if something that was reported has it.
    #[track_caller]
    pub(crate) fn has_no(self, name: &str, value: &str) -> Ended {
        assert!(
            self.count(name, value) == 0,
            "{name} = {value} in\n{}",
            self.text()
        );
        self
    }

    /// How many reports have a member of this name and value.
    pub(crate) fn count(&self, name: &str, value: &str) -> usize {
        let has = |notice: &&Value| has_member(notice, name, value);
        self.notices.iter().filter(has).count()
    }

    /// Panics unless a note of this kind is about this batch.
    #[track_caller]
    pub(crate) fn has_note(self, kind: &str, batch: u32) -> Ended {
        assert!(
            self.notices
                .iter()
                .any(|notice| notice["note"] == kind && notice["batch"] == batch),
            "no note {kind} of batch {batch} in\n{}",
            self.text()
        );
        self
    }

    /// What the run waited for.
    pub(crate) fn wait_reasons(&self) -> Vec<Value> {
        let waits = self.notices.iter().filter(|n| n["notice"] == "waiting");
        waits
            .flat_map(|wait| wait["reasons"].as_array().cloned().unwrap_or_default())
            .collect()
    }

    /// Everything that was reported, for messages.
    pub(crate) fn text(&self) -> String {
        let shown = self.notices.iter().filter(|n| n["notice"] != "waiting");
        shown.map(|notice| format!("{notice}\n")).collect()
    }
}

fn has_member(value: &Value, name: &str, wanted: &str) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(member, value)| {
            let is_it = match value {
                Value::String(text) => text == wanted,
                other => format!("{other}") == wanted,
            };
            (member == name && is_it) || has_member(value, name, wanted)
        }),
        Value::Array(values) => values.iter().any(|value| has_member(value, name, wanted)),
        _ => false,
    }
}

impl Bench {
    /// Panics unless a call ended so. An error of the provider is among what was reported, as
    /// `{"notice": "error", ..}`.
    #[track_caller]
    pub(crate) fn expect(&self, ended: Result<RunReport, Error>, ending: Ending) -> Ended {
        match &ended {
            Err(Error::Provider { action, source, .. }) => {
                self.notices
                    .keep(json!({ "notice": "error", "action": action, "error": source }));
            }
            Err(Error::Refused(refused)) => self.notices.keep(json!({
                "notice": "error", "batch": refused.batch, "of": refused.of,
                "requests": refused.requests, "error": refused.source,
            })),
            _ => {}
        }
        let found = Ending::of(&ended);
        let ended = Ended {
            report: ended.ok(),
            notices: self.notices.take(),
        };
        assert_eq!(found, ending, "\n{}", ended.text());
        ended
    }

    /// The states of the rows in the output, counted.
    pub(crate) fn statuses(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for status in self.output().column("_rm_status") {
            *counts.entry(status).or_default() += 1;
        }
        counts
    }

    /// Compares what was written with the rows and with what the simulator answered.
    #[track_caller]
    pub(crate) fn check_output(&self, rows: usize) {
        crate::crash::check_rows(&self.work, &self.answers(), rows);
    }

    /// Every row was accepted once.
    #[track_caller]
    pub(crate) fn check_ledger(&self, rows: usize) {
        let once: BTreeMap<String, u64> = (1..=rows).map(|n| (format!("T-{n}"), 1)).collect();
        assert_eq!(self.accepted(), once);
    }
}

/// A command that is run once, and what it says: the words and the exit code of what a test in
/// process looks at as data.
pub(crate) struct Spoken {
    pub(crate) faults: &'static str,
    /// What follows in the job file.
    pub(crate) job: &'static str,
    pub(crate) args: &'static [&'static str],
    pub(crate) code: i32,
    pub(crate) says: &'static [&'static str],
}

impl Spoken {
    pub(crate) fn check(&self, work: &Workdir) {
        let sim = Sim::with(self.faults);
        let mut finished = work.rowmill_at(&sim.url(), self.args).expect(self.code);
        for words in self.says {
            finished = finished.says(words);
        }
    }
}

/// Checks every case on a thread of its own, since commands in real time mostly wait.
pub(crate) fn side_by_side<T: Sync>(cases: &[T], check: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        let check = &check;
        let threads: Vec<_> = cases
            .iter()
            .map(|case| scope.spawn(move || check(case)))
            .collect();
        for thread in threads {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}
