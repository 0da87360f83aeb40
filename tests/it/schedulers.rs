//! Starts as schedulers make them: another working directory, hardly any environment, a directory
//! that vanishes, signals, kill -9, and the whole command again. Each row is paid once.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Finished, JOB, KEY, Sim, Table, Workdir};

const HOUR: Duration = Duration::from_secs(3_600);
const ROWS: usize = 20;

/// A machine with a job in one folder, and a folder in which a scheduler starts its commands.
struct Machine {
    work: Workdir,
    sim: Sim,
    /// Hours that the provider's clock is ahead.
    ahead: Cell<i64>,
}

impl Machine {
    fn new(processing: Duration) -> Machine {
        let work = Workdir::new();
        let work = work.with_rows(ROWS);
        let job = format!("{JOB}\n[batch]\nmax_requests = 7\nsettle_seconds = 1\n");
        for folder in ["srv/triage", "home", "log"] {
            fs::create_dir_all(work.path(folder)).unwrap();
        }
        work.write("srv/triage/triage.toml", job);
        fs::rename(work.path("rows.csv"), work.path("srv/triage/rows.csv")).unwrap();
        let sim = Sim::new("", processing);
        let ahead = Cell::new(0);
        let machine = Machine { work, sim, ahead };
        machine.write_environment();
        machine
    }

    /// The file with the key, as `docs/scheduler.md` has it in `/etc/rowmill/env`.
    fn write_environment(&self) {
        let state = self.work.path("state");
        let lines = self
            .environment()
            .map(|(name, value)| format!("{name}={value}\n"));
        let state = format!("ROWMILL_STATE={}\n", state.display());
        self.work.write("env", lines.concat() + &state);
    }

    fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("ANTHROPIC_BASE_URL", self.sim.url()),
            ("ANTHROPIC_API_KEY", KEY.to_owned()),
        ]
    }

    fn path(&self, name: &str) -> String {
        self.work.path(name).display().to_string()
    }

    /// A line of the page, with the places of this machine.
    fn here(&self, line: &str) -> String {
        line.replace("/usr/local/bin/rowmill", env!("CARGO_BIN_EXE_rowmill"))
            .replace("/srv/triage", &self.path("srv/triage"))
            .replace("/etc/rowmill/env", &self.path("env"))
            .replace("/var/log/rowmill", &self.path("log"))
    }

    /// A program with the environment of a scheduler, which is next to nothing.
    fn bare(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.work.path("home"))
            .env("SHELL", "/bin/sh")
            .current_dir(self.work.path("home"));
        command
    }

    /// rowmill with a state in a place of its own, started in some folder.
    fn rowmill_in(&self, folder: &Path, args: &[&str]) -> Command {
        let mut command = self.bare(env!("CARGO_BIN_EXE_rowmill"));
        command.args(args).current_dir(folder);
        command.arg("--state").arg(self.work.path("state"));
        command.envs(self.environment());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Puts the provider's clock ahead until the batches accepted so far have ended.
    fn end_batches(&self) {
        let hours = self.ahead.get() + 2;
        self.ahead.set(hours);
        self.sim.set_ahead(hours * 3_600);
        self.sim.settle();
    }

    /// Waits until a process works on a run: its number stands in the run's lock.
    #[track_caller]
    fn until_it_works(&self, child: &Child) {
        let owner = format!("\"pid\":{}", child.id());
        let runs = self.work.path("state/test");
        until("it works on the run", || {
            let folders = fs::read_dir(&runs).into_iter().flatten().flatten();
            folders
                .filter_map(|run| fs::read_to_string(run.path().join("lock")).ok())
                .any(|lock| lock.contains(&owner))
        });
    }

    #[track_caller]
    fn is_paid_once_and_complete(&self) {
        let accepted = self.sim.accepted();
        assert_eq!(accepted.len(), ROWS);
        assert!(accepted.values().all(|&times| times == 1), "{accepted:?}");
        let table = Table::read(&self.work.path("srv/triage/out.parquet"));
        assert_eq!(table.rows(), ROWS);
        let status = table.column("_rm_status");
        assert!(status.iter().all(|status| status == "succeeded"));
        assert!(!self.work.path("home/.rowmill").exists());
    }
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The blocks of one language on the page.
fn blocks(language: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scheduler.md");
    let text = fs::read_to_string(page).unwrap();
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_line_for_cron_runs_the_job_each_night() {
    let [block] = &blocks("cron")[..] else {
        panic!("one block for cron");
    };
    let [line] = &block.lines().collect::<Vec<_>>()[..] else {
        panic!("one line");
    };
    // Five fields of time, then the command; cron reads `%` as a line end.
    let fields: Vec<&str> = line.splitn(6, ' ').collect();
    assert!(
        fields[..5]
            .iter()
            .all(|field| field.chars().all(|c| "0123456789*,-/".contains(c)))
    );
    assert!(!fields[5].contains('%'));
    let machine = Machine::new(Duration::ZERO);
    let command = machine.here(fields[5]);
    for night in 0..2 {
        let mut shell = machine.bare("/bin/sh");
        let done = shell.args(["-c", &command]).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "night {night}");
        assert!(
            done.stdout.is_empty() && done.stderr.is_empty(),
            "cron would send mail"
        );
    }
    let log = machine.work.read("log/triage.log");
    let output = machine
        .work
        .path("srv/triage/out.parquet")
        .display()
        .to_string();
    // Besides the outputs there is only the line that says that answers are simulated.
    let said = log.lines().filter(|line| !line.contains("SIMULATED"));
    assert_eq!(said.collect::<Vec<_>>(), [&output, &output]);
    machine.is_paid_once_and_complete();
}

#[test]
fn the_units_for_systemd_are_valid_and_run_the_job() {
    let machine = Machine::new(Duration::ZERO);
    let units = blocks("ini");
    let mut files = Vec::new();
    for unit in &units {
        let name = unit.lines().next().and_then(|line| line.rsplit('/').next());
        let path = machine.work.path(name.unwrap());
        // The user of the page does not exist here.
        let unit = machine.here(unit).replace("User=rowmill\n", "");
        fs::write(&path, unit).unwrap();
        files.push(path);
    }
    assert_eq!(files.len(), 2, "a service and a timer");
    verify(&files);
    let value = |key: &str| {
        let line = units[0].lines().find_map(|line| line.strip_prefix(key));
        machine.here(line.unwrap_or_else(|| panic!("{key} in\n{}", units[0])))
    };
    let command = value("ExecStart=");
    let words: Vec<&str> = command.split(' ').collect();
    let environment = fs::read_to_string(value("EnvironmentFile=")).unwrap();
    for _ in 0..2 {
        let mut service = machine.bare(words[0]);
        service.args(&words[1..]).current_dir("/");
        service.envs(environment.lines().filter_map(|line| line.split_once('=')));
        let done = Finished::from(service.output().unwrap()).expect(0);
        assert!(done.stdout.ends_with("out.parquet\n"), "{}", done.stdout);
    }
    machine.is_paid_once_and_complete();
}

/// Has systemd look at unit files, where there is one.
fn verify(files: &[PathBuf]) {
    let mut verify = Command::new("systemd-analyze");
    let Ok(done) = verify.arg("verify").arg("--man=no").args(files).output() else {
        return;
    };
    let said = String::from_utf8_lossy(&done.stderr);
    // Units of the machine itself may be incomplete in a container.
    let of_ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("triage."))
        .collect();
    assert!(of_ours.is_empty(), "{said}");
}

#[test]
fn submit_and_a_sensor_as_airflow_starts_them_pay_each_row_once() {
    let machine = Machine::new(HOUR);
    let job = machine.path("srv/triage/triage.toml");
    // Each task has a temporary folder of its own.
    let task = |args: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let child = machine.rowmill_in(folder.path(), args).spawn().unwrap();
        (folder, child)
    };
    let submit = ["submit", &job, "-q", "--empty-exit-code", "99"];
    // The first try is killed while it sends; the task is tried again until it succeeds, as after
    // any other code. A batch whose response was lost is known once it has ended, and one that was
    // never created once the settling time has passed.
    let (_folder, mut child) = task(&submit);
    until("something is sent", || {
        !machine.sim.ledger().batches.is_empty()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    let run = loop {
        let (_folder, child) = task(&submit);
        let done = Finished::from(child.wait_with_output().unwrap());
        if done.code == 0 {
            break done.stdout.trim().to_owned();
        }
        assert_eq!(done.code, 7, "{}", done.stderr);
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", done.stderr);
        machine.end_batches();
    };
    let sensor = || {
        let (_folder, child) = task(&["collect", &job, "-q"]);
        Finished::from(child.wait_with_output().unwrap())
    };
    let first = sensor();
    assert!([0, 5].contains(&first.code), "{}", first.stderr);
    machine.end_batches();
    let done = sensor().expect(0);
    assert!(done.stdout.ends_with("out.parquet\n"), "{}", done.stdout);
    // The DAG is run again: there is nothing to do, and its tasks are skipped.
    let (_folder, child) = task(&submit);
    let again = Finished::from(child.wait_with_output().unwrap()).expect(99);
    assert_eq!(again.stdout.trim(), run);
    machine.is_paid_once_and_complete();
}

#[test]
fn pods_that_come_and_go_finish_the_run_that_is_on_the_volume() {
    let machine = Machine::new(HOUR);
    let job = machine.path("srv/triage/triage.toml");
    let args = [
        "run",
        &job,
        "-q",
        "--if-running",
        "wait",
        "--deadline",
        "20h",
    ];
    let pod = || {
        let folder = tempfile::tempdir().unwrap();
        let child = machine.rowmill_in(folder.path(), &args).spawn().unwrap();
        (folder, child)
    };
    for signal in ["-TERM", "-KILL", "-TERM"] {
        let (_folder, mut child) = pod();
        machine.until_it_works(&child);
        until("all is sent", || machine.sim.ledger().batches.len() == 3);
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
        let begun = Instant::now();
        let code = child.wait().unwrap().code();
        let wanted = if signal == "-TERM" { Some(130) } else { None };
        assert_eq!(code, wanted);
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "within the grace period"
        );
    }
    machine.end_batches();
    let (folder, child) = pod();
    Finished::from(child.wait_with_output().unwrap()).expect(0);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left in the pod"
    );
    machine.is_paid_once_and_complete();
}
