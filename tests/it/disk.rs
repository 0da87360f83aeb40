//! A full disk and folders that cannot be written: a clear error, nothing lost, and the same
//! command goes on once there is room.

#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rowmill::engine::Error;
use rowmill::{batch, join, journal, ledger, output};

use crate::crash::{check_ledger, check_output};
use crate::in_process::Bench;
use crate::support::{Finished, JOB, Sim, Workdir};
use crate::unmet_needs::{Need, can_run};

const ROWS: usize = 20;

fn work() -> Workdir {
    let work = Workdir::new().with_rows(ROWS);
    work.write(
        "job.toml",
        format!("{JOB}\n[batch]\nmax_requests = 7\nsettle_seconds = 1\n"),
    );
    work
}

/// Gives the same command until it ends well, which an open doubt delays.
fn until_done(work: &Workdir, sim: &Sim, args: &[&str]) {
    for _ in 0..5 {
        if work.rowmill_at(&sim.url(), args).code == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    work.rowmill_at(&sim.url(), args).expect(0);
}

/// No file may grow beyond some size: writes fail in their middle, in every file that is long
/// enough.
fn with_short_files(work: &Workdir, sim: &Sim, bytes: u32, args: &[&str]) -> Finished {
    let mut command = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_rowmill");
    command
        .arg("-c")
        .arg(format!(
            "trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"",
            bytes / 512
        ))
        .arg(binary)
        .args(args);
    let like = work.command_at(&sim.url(), &[]);
    command.current_dir(like.get_current_dir().expect("a folder"));
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Finished::from(command.output().expect("a shell"))
}

/// What a command may say when a write fails: that, and never that it is a bug.
fn is_clear(finished: &Finished) {
    assert!(
        [2, 4].contains(&finished.code),
        "exit code {}\n{}",
        finished.code,
        finished.stderr
    );
    let words = [
        "cannot write",
        "cannot save",
        "cannot use",
        "cannot be written",
        "cannot create",
        "cannot open",
    ];
    assert!(
        words.iter().any(|words| finished.stderr.contains(words)),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("bug"), "{}", finished.stderr);
}

#[test]
fn a_write_that_fails_anywhere_loses_nothing() {
    let mut failed = 0;
    for bytes in (512..8_192).step_by(512) {
        let (work, sim) = (work(), Sim::start());
        work.rowmill_at(&sim.url(), &["plan", "job.toml", "--out", "planned"])
            .expect(0);
        let finished = with_short_files(&work, &sim, bytes, &["run", "planned"]);
        if finished.code == 0 {
            break;
        }
        is_clear(&finished);
        failed += 1;
        until_done(&work, &sim, &["run", "planned"]);
        check_output(&work, &sim, ROWS);
        check_ledger(&sim, ROWS);
    }
    assert!(failed >= 3, "only {failed} sizes were too small");
}

#[test]
fn a_plan_that_does_not_fit_leaves_nothing_behind() {
    let (work, sim) = (work(), Sim::start());
    let before = work.files();
    let finished = with_short_files(&work, &sim, 1_024, &["run", "job.toml"]);
    is_clear(&finished);
    assert_eq!(finished.code, 2, "nothing was sent\n{}", finished.stderr);
    let mut after = work.files();
    after.retain(|file| !file.ends_with("/lock"));
    assert_eq!(after, before);
    assert!(sim.ledger().batches.is_empty());
}

/// A small disk of its own; gone at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, bytes: u32) -> Option<SmallDisk> {
        std::fs::create_dir_all(&at).ok()?;
        let is_there = run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"],
            &at,
        );
        is_there.then_some(SmallDisk(at))
    }

    fn grow(&self, bytes: u32) {
        assert!(run(
            "mount",
            &["-o", &format!("remount,size={bytes}")],
            &self.0
        ));
    }

    fn set(&self, how: &str) {
        assert!(run("mount", &["-o", &format!("remount,{how}")], &self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &[], &self.0);
    }
}

/// Whether the tests may mount something.
pub(crate) fn can_mount() -> bool {
    SmallDisk::mount(Workdir::new().path("disk"), 8_192).is_some()
}

fn run(program: &str, args: &[&str], last: &Path) -> bool {
    Command::new(program)
        .args(args)
        .arg(last)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Whether the file system is at fault, and not what is in the files.
fn is_of_the_disk(error: &Error) -> bool {
    matches!(
        error,
        Error::File { .. }
            | Error::Output(output::Error::Write { .. } | output::Error::Incomplete { .. })
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

#[test]
fn a_full_disk_is_reported_and_loses_nothing() {
    if !can_run("a_full_disk_is_reported_and_loses_nothing", Need::Mount) {
        return;
    }
    // Whether something had been sent when the disk was full.
    let mut had_sent = Vec::new();
    let has_finished = (8_192..200_000)
        .step_by(8_192)
        .chain((200_000..2_000_000).step_by(65_536))
        .any(|bytes| {
            let bench = Bench::new(work());
            let disk = SmallDisk::mount(bench.state(), bytes).expect("a disk");
            let job = bench.work.read("job.toml");
            let job = job.replace("out.parquet", ".rowmill/out.parquet");
            bench.work.write("job.toml", job);
            let error = match bench.run() {
                Ok(report) => return report.all_succeeded(),
                Err(error) => error,
            };
            assert!(is_of_the_disk(&error), "{bytes} bytes: {error:?}");
            had_sent.push(!bench.sent().is_empty());
            disk.grow(10_000_000);
            let is_done = |bench: &Bench| {
                let is_done = bench.run().is_ok_and(|report| report.all_succeeded());
                // What is uncertain is settled after a second.
                bench.clock.advance(Duration::from_secs(1));
                is_done
            };
            assert!((0..6).any(|_| is_done(&bench)), "{bytes} bytes");
            std::fs::copy(
                bench.state().join("out.parquet"),
                bench.work.path("out.parquet"),
            )
            .unwrap();
            bench.check_output(ROWS);
            bench.check_ledger(ROWS);
            false
        });
    assert!(has_finished, "no disk was large enough");
    assert!(
        had_sent.contains(&false) && had_sent.contains(&true),
        "{had_sent:?}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_reported_before_anything_is_sent() {
    let test = "a_folder_that_cannot_be_written_is_reported_before_anything_is_sent";
    if !can_run(test, Need::Mount) {
        return;
    }
    let (work, sim) = (work(), Sim::start());
    let disk = SmallDisk::mount(work.path("disk"), 1_000_000).expect("a disk");
    let job = work.read("job.toml");
    // The state.
    disk.set("ro");
    let args = ["run", "job.toml", "--state", "disk/state"];
    is_clear(
        &work
            .rowmill_at(&sim.url(), &args)
            .expect(2)
            .says("disk/state"),
    );
    // The output.
    work.write("job.toml", job.replace("out.parquet", "disk/out.parquet"));
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(2)
        .says("disk");
    assert!(sim.ledger().batches.is_empty());
    // The state, after everything was sent.
    work.write("job.toml", &job);
    disk.set("rw");
    work.rowmill_at(&sim.url(), &["submit", "job.toml", "--state", "disk/state"])
        .expect(0);
    disk.set("ro");
    is_clear(
        &work
            .rowmill_at(
                &sim.url(),
                &["collect", "job.toml", "--state", "disk/state"],
            )
            .says("disk/state"),
    );
    disk.set("rw");
    work.rowmill_at(
        &sim.url(),
        &["collect", "job.toml", "--state", "disk/state"],
    )
    .expect(0);
    check_output(&work, &sim, ROWS);
    check_ledger(&sim, ROWS);
}
