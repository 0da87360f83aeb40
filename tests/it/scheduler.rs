//! What a scheduler meets: signals, exit codes, errors as data, hints that help, and text that is
//! not ours.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Finished, JOB, Sim, Workdir};

fn piped(command: &mut Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

fn signal(child: &Child, signal: &str) {
    assert!(
        Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Waits until something is so, at most half a minute.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn manifest(work: &Workdir) -> serde_json::Value {
    let file = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("manifest.json"))
        .expect("a manifest");
    serde_json::from_str(&work.read(&file)).unwrap()
}

/// Whether this process, and so its children, were started to ignore SIGHUP.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}

#[test]
fn each_signal_leaves_the_batches_running_and_the_run_resumable() {
    for name in ["INT", "TERM", "HUP"] {
        if name == "HUP" && ignores_hangup() {
            // Under `nohup`, as rowmill does.
            continue;
        }
        let (work, sim) = (
            Workdir::new().with_rows(5),
            Sim::new("", Duration::from_secs(3_600)),
        );
        let child = piped(&mut work.command_at(&sim.url(), &["run", "job.toml"]));
        until("a batch is accepted", || !sim.ledger().batches.is_empty());
        signal(&child, name);
        let begun = Instant::now();
        let done = Finished::from(child.wait_with_output().unwrap()).expect(130);
        done.says("keep running at the provider")
            .says("rowmill run");
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}");
        assert_eq!(manifest(&work)["state"], "in_flight", "{name}");
        assert_eq!(sim.ledger().batches.len(), 1);
    }
}

#[cfg(unix)]
#[test]
fn the_first_process_of_a_container_hears_signals_too() {
    use crate::unmet_needs::{Need, can_run};
    let test = "the_first_process_of_a_container_hears_signals_too";
    if !can_run(test, Need::ProcessNamespace) {
        return;
    }
    let (work, sim) = (
        Workdir::new().with_rows(5),
        Sim::new("", Duration::from_secs(3_600)),
    );
    // The shell stays outside and hands the signal on to the process that is number 1 inside.
    let inner = work.command_at(&sim.url(), &["run", "job.toml"]);
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(work.folder());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let child = piped(&mut command);
    until("a batch is accepted", || !sim.ledger().batches.is_empty());
    let children =
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap_or_default();
    let first = children.split_whitespace().next().expect("a child");
    assert!(
        Command::new("kill")
            .args(["-TERM", first])
            .status()
            .unwrap()
            .success()
    );
    Finished::from(child.wait_with_output().unwrap())
        .expect(130)
        .says("keep running at the provider");
    assert_eq!(manifest(&work)["state"], "in_flight");
}

#[test]
fn a_signal_while_planning_leaves_nothing_half_written() {
    let work = Workdir::new().with_rows(1);
    let mut rows = fs::File::create(work.path("rows.csv")).unwrap();
    writeln!(rows, "id,body").unwrap();
    let body = "some words ".repeat(30);
    for n in 0..200_000 {
        writeln!(rows, "T-{n},{body}").unwrap();
    }
    drop(rows);
    let sim = Sim::start();
    let child = piped(&mut work.command_at(&sim.url(), &["run", "job.toml"]));
    until("planning has begun", || {
        work.files()
            .iter()
            .any(|file| file.contains(".planning/spool/"))
    });
    signal(&child, "TERM");
    let begun = Instant::now();
    Finished::from(child.wait_with_output().unwrap()).expect(130);
    assert!(begun.elapsed() < Duration::from_secs(20));
    let left: Vec<String> = work
        .files()
        .into_iter()
        .filter(|file| file.contains("plan") || file.contains("spool"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(sim.ledger().batches.is_empty());
}

#[test]
fn an_error_after_something_was_sent_is_never_one_of_the_job() {
    let (work, sim) = (Workdir::new().with_rows(5), Sim::start());
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(0);
    // The place of the output is taken by a folder: that is for a person to change, and the run has
    // been sent.
    fs::create_dir(work.path("out.parquet")).unwrap();
    let failed = work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "30s"]);
    assert!([2, 4].contains(&failed.code), "{}", failed.code);
    assert!(
        !failed.stderr.contains("nothing was sent")
            && failed.stderr.contains("what was sent is recorded in"),
        "{}",
        failed.stderr
    );
    fs::remove_dir(work.path("out.parquet")).unwrap();
    // The spool cannot be read: a fault of the file system.
    let spool = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("spool/00001.parquet"))
        .unwrap();
    let bytes = fs::read(work.path(&spool)).unwrap();
    fs::remove_file(work.path(&spool)).unwrap();
    fs::create_dir(work.path(&spool)).unwrap();
    let failed = work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "30s"]);
    assert_ne!(failed.code, 0);
    assert!(
        !failed.stderr.contains("nothing was sent"),
        "{}",
        failed.stderr
    );
    fs::remove_dir(work.path(&spool)).unwrap();
    fs::write(work.path(&spool), bytes).unwrap();
    work.rowmill_at(&sim.url(), &["collect", "job.toml", "--wait", "30s"])
        .expect(0);
}

#[test]
fn a_refusal_of_the_second_batch_does_not_say_that_nothing_was_sent() {
    let refusal = "[[calls]]\non = \"create\"\nnth = [2]\ndo = \"status\"\nstatus = \
        400\nerror_type = \"invalid_request_error\"\n";
    let (work, sim) = (Workdir::new().with_rows(6), Sim::with(refusal));
    work.write("job.toml", format!("{JOB}\n[batch]\nmax_requests = 3\n"));
    let failed = work.rowmill_at(&sim.url(), &["run", "job.toml"]);
    assert!(
        failed.code == 0 || failed.code == 4,
        "{}\n{}",
        failed.code,
        failed.stderr
    );
    assert!(
        !failed.stderr.contains("nothing was sent"),
        "{}",
        failed.stderr
    );
}

#[test]
fn an_error_is_one_json_document_too() {
    let work = Workdir::new().with_rows(3);
    work.write("rows.csv", "id,body\na,one\na,two\n");
    let failed = work
        .rowmill(&["run", "job.toml", "--simulate", "--json"])
        .expect(2);
    let json = failed.json();
    assert_eq!(json["error"]["message"], "row key is not unique");
    assert_eq!(json["error"]["exit_code"], 2);
    assert!(
        json["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("key.columns")
    );
    for args in [
        &["run", "nowhere.toml", "--json"][..],
        &["status", "nowhere", "--json"],
        &["run", "job.toml", "--json", "--no-such-flag"],
        &["run", "job.toml", "--json"],
    ] {
        let failed = work.rowmill(args);
        assert_eq!(
            failed.json()["error"]["exit_code"],
            failed.code,
            "{args:?}: {}",
            failed.stdout
        );
    }
    // What is missing stands in lines of its own on the screen, and in the message here.
    let missing = work.rowmill(&["run", "--json"]).expect(2).json();
    let message = missing["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("<TARGET>") && !message.contains("Usage"),
        "{message}"
    );
}

#[test]
fn hints_go_by_the_cause() {
    let errored = |kind: &str| {
        format!(
            "[[rows]]\noutcome = \"errored\"\nshare = 1.0\ntimes = 9\nerror_type = \
             \"{kind}\"\nmessage = \"prompt is too long\"\n"
        )
    };
    let (work, sim) = (
        Workdir::new().with_rows(2),
        Sim::with(&errored("invalid_request_error")),
    );
    let failed = work
        .rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(3)
        .says("prompt is too long")
        .says("(id = \"T-1\")");
    assert!(
        !failed.stderr.contains("rowmill retry"),
        "{}",
        failed.stderr
    );
    let refused = work
        .rowmill_at(
            &sim.url(),
            &["retry", "job.toml", "--class", "server_error"],
        )
        .expect(2);
    let refused = refused
        .says("nothing was sent again")
        .says("2 rows failed permanently")
        .says("prompt is too long");
    assert!(
        !refused.stderr.contains("rowmill retry"),
        "{}",
        refused.stderr
    );
    assert_eq!(sim.ledger().batches.len(), 1);

    let (work, sim) = (
        Workdir::new().with_rows(2),
        Sim::with(&errored("overloaded_error")),
    );
    work.write("job.toml", format!("{JOB}\n[retry]\nserver_error = 0\n"));
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(3)
        .says("--class server_error` sends 2 rows again");
    let refused = work
        .rowmill_at(
            &sim.url(),
            &["retry", "job.toml", "--class", "expired,invalid"],
        )
        .expect(2);
    refused
        .says("classes of failed rows: 2 server_error")
        .says("--class server_error`");
    work.rowmill_at(
        &sim.url(),
        &["retry", "job.toml", "--class", "server_error"],
    )
    .expect(3)
    .says("cost of that: expected $");
}

#[test]
fn rows_that_do_not_fit_the_jobs_own_rules_are_read_again_for_nothing() {
    let (work, sim) = (Workdir::new().with_rows(2), Sim::start());
    work.write(
        "job.toml",
        format!("{JOB}\n[answer.columns.code]\nregex = \"^CODE-([0-9]+)$\"\nrequired = true\n"),
    );
    let failed = work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(3);
    let export = failed.stderr.find("`rowmill export").expect("the free way");
    let retry = failed
        .stderr
        .find("--class invalid`")
        .expect("the paid way");
    assert!(
        export < retry && failed.stderr.contains("which is free"),
        "{}",
        failed.stderr
    );
}

#[test]
fn status_lists_a_run_that_it_cannot_read() {
    let work = Workdir::new().with_rows(3);
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    work.rowmill(&["run", "job.toml", "--simulate", "--again"])
        .expect(0);
    let journal = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("journal.jsonl"))
        .unwrap();
    fs::write(work.path(&journal), "nonsense\n").unwrap();
    let status = work
        .rowmill(&["status"])
        .expect(2)
        .says("cannot be read")
        .says("line 1 of the journal");
    assert!(
        status.stdout.contains("cannot be read") && status.stdout.contains("exported"),
        "{}",
        status.stdout
    );
    let json = work.rowmill(&["status", "--json"]).expect(2).json();
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert!(json.as_array().unwrap().iter().any(|run| {
        run["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("line 1"))
    }));
    // All of them.
    fs::remove_file(work.path(&journal)).unwrap();
    work.rowmill(&["status"])
        .expect(2)
        .says("`journal.jsonl`, which records what was sent, is missing");
    // A plan that is gone hides neither kind of run.
    let plan = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("plan.json"))
        .unwrap();
    fs::remove_file(work.path(&plan)).unwrap();
    if work.path(&plan).with_file_name("journal.jsonl").exists() {
        work.rowmill(&["run", "job.toml", "--simulate"])
            .expect(2)
            .says("`plan.json` is missing");
    }
}

#[test]
fn no_text_of_others_acts_on_the_screen() {
    let hostile = "a\u{1b}[31mb\u{7}\u{9b}2J\u{202e}c\u{2028}d";
    let is_clean = |done: &Finished| {
        let all = format!("{}{}", done.stdout, done.stderr);
        let acts = |c: char| {
            (c.is_control() && c != '\n' && c != '\t')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
        };
        assert!(!all.chars().any(acts), "{all:?}");
        assert!(!all.lines().any(|line| line.starts_with("forged")), "{all}");
    };
    let work = Workdir::new();
    let column = format!("{hostile}\nforged");
    work.write(
        "rows.csv",
        format!("id,body,\"{column}\"\nT-1,{hostile},x\n"),
    );
    work.write("job.toml", JOB);
    let name = format!("{hostile}.toml");
    work.write(
        &name,
        JOB.replace("claude-haiku-4-5", "claude\\u001b[31m\\nforged"),
    );
    for args in [
        &["check", "job.toml"][..],
        &["check", "job.toml", "--json"],
        &["plan", "job.toml"],
        &["preview", "job.toml"],
        &["preview", "job.toml", "--json"],
        &["run", "job.toml", "--simulate"],
        &["run", "job.toml", "--simulate", "--json"],
        &["status"],
        &["status", "job.toml"],
        &["init", "rows.csv"],
        &["check", &name],
        &["check", "no\u{1b}[31mwhere\nforged.toml"],
        &["status", "no\u{1b}[31mwhere\u{202e}"],
        &["run", "job.toml", "--max-cost", "\u{1b}[31m"],
        &["run", "job.toml", "--\u{1b}]0;title\u{7}"],
    ] {
        is_clean(&work.rowmill(args));
    }
    // The output's path is a line of its own, and stays one.
    work.write(
        "named.toml",
        JOB.replace("out.parquet", "o\\u001b[31m\\nforged.csv")
            .replace("name = \"", "name = \"n"),
    );
    for _ in 0..2 {
        let done = work.rowmill(&["run", "named.toml", "--simulate"]).expect(0);
        is_clean(&done);
        assert_eq!(done.stdout.lines().count(), 1, "{}", done.stdout);
    }
    work.write(
        "models.toml",
        "[models.\"claude-\\u001b[31mred\\nforged\"]\nlifecycle = 'active'\n",
    );
    for args in [
        &["prices"][..],
        &["models"],
        &["models", "claude-haiku-4-5"],
    ] {
        is_clean(&work.rowmill(&[args, &["--models", "models.toml"]].concat()));
    }
}

#[test]
fn warns_of_a_state_that_everybody_can_change() {
    use std::os::unix::fs::PermissionsExt as _;
    let work = Workdir::new().with_rows(2);
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    assert!(
        !work
            .rowmill(&["status"])
            .expect(0)
            .stderr
            .contains("every user")
    );
    fs::set_permissions(work.path(".rowmill"), fs::Permissions::from_mode(0o777)).unwrap();
    work.rowmill(&["status"])
        .expect(0)
        .says("every user of this machine can change the state directory");
}

#[test]
fn says_in_plain_words_that_a_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = Workdir::new()
        .rowmill(&["sim", "--listen", &address])
        .expect(2);
    failed
        .says(&format!(
            "cannot listen on {address}: another program is already listening there"
        ))
        .says("--listen");
}
