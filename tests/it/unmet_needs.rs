//! Requirements of tests that not every machine meets, and the number of tests skipped here.

#![cfg(unix)]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A requirement of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// To mount a file system of a few bytes.
    Mount,
    /// To start a process as the first one of a namespace, and to list its children.
    ProcessNamespace,
}

impl Need {
    const ALL: [Need; 2] = [Need::Mount, Need::ProcessNamespace];

    /// The tests that need it. A test that is not listed fails, so that the count is right.
    fn tests(self) -> &'static [&'static str] {
        match self {
            Need::Mount => &[
                "a_full_disk_is_reported_and_loses_nothing",
                "a_folder_that_cannot_be_written_is_reported_before_anything_is_sent",
            ],
            Need::ProcessNamespace => &["the_first_process_of_a_container_hears_signals_too"],
        }
    }

    fn what(self) -> &'static str {
        match self {
            Need::Mount => "a disk can be mounted (root on Linux)",
            Need::ProcessNamespace => "`unshare --pid` can be used (root on Linux)",
        }
    }

    fn is_met(self) -> bool {
        static MET: [OnceLock<bool>; 2] = [const { OnceLock::new() }; 2];
        *MET[self as usize].get_or_init(|| match self {
            Need::Mount => crate::disk::can_mount(),
            Need::ProcessNamespace => {
                let shell = "cat /proc/$$/task/$$/children";
                let lists_children = succeeds(Command::new("sh").args(["-c", shell]));
                let unshare = ["--pid", "--fork", "--kill-child", "true"];
                lists_children && succeeds(Command::new("unshare").args(unshare))
            }
        })
    }
}

/// Whether a test can run here.
pub(crate) fn can_run(test: &str, need: Need) -> bool {
    assert!(
        need.tests().contains(&test),
        "`{test}` is not listed under {need:?}"
    );
    need.is_met()
}

fn succeeds(command: &mut Command) -> bool {
    let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// Writes to stderr directly, because the harness captures the output of tests.
#[test]
fn tests_that_did_not_run_here_are_counted() {
    let unmet: Vec<Need> = Need::ALL
        .into_iter()
        .filter(|need| !need.is_met())
        .collect();
    let count: usize = unmet.iter().map(|need| need.tests().len()).sum();
    let mut text = format!("\nskipped: {count} tests that need what this machine lacks\n");
    for need in unmet {
        for test in need.tests() {
            text += &format!("skipped: {test}: runs where {}\n", need.what());
        }
    }
    std::io::stderr()
        .write_all(text.as_bytes())
        .expect("stderr");
}
