//! The key is sent only to the configured origin; paths cannot leave their folders; an endless
//! template is stopped.

use crate::support::{JOB, KEY, Sim, Workdir};

#[test]
fn the_key_is_in_no_file_and_no_word() {
    let work = Workdir::new().with_rows(5);
    let simulator =
        Sim::with("[[calls]]\non = \"retrieve\"\nnth = [1]\ndo = \"status\"\nstatus = 500\n");
    let mut said = String::new();
    for args in [
        &["run", "job.toml", "-vv"][..],
        &["run", "job.toml", "--log-format", "json", "-vv"],
        &["status", "-vv"],
    ] {
        let finished = work.rowmill_at(&simulator.url(), args).expect(0);
        said.push_str(&finished.stdout);
        said.push_str(&finished.stderr);
    }
    assert!(
        said.contains("create batch"),
        "the calls are logged\n{said}"
    );
    assert!(!said.contains(KEY), "{said}");
    let files = work.files();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let bytes = std::fs::read(work.path(&file)).unwrap();
        assert!(
            !bytes
                .windows(KEY.len())
                .any(|window| window == KEY.as_bytes()),
            "{file}"
        );
    }
    let wrong = Sim::with(
        "[[calls]]\non = \"create\"\ndo = \"status\"\nstatus = 401\nerror_type = \
         \"authentication_error\"\n",
    );
    let refused = work
        .rowmill_at(&wrong.url(), &["run", "job.toml", "--no-reuse", "-vv"])
        .expect(12);
    assert!(!refused.stderr.contains(KEY), "{}", refused.stderr);
}

#[cfg(unix)]
#[test]
fn run_folders_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let work = Workdir::new().with_rows(5);
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    for file in work
        .files()
        .into_iter()
        .filter(|file| file.starts_with(".rowmill/test/"))
    {
        let path = work.path(&file);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{file}"
        );
        assert_eq!(
            std::fs::metadata(path.parent().unwrap())
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o700,
            "{file}"
        );
    }
}

#[test]
fn templates_load_nothing_from_outside_the_jobs_folder() {
    let work = Workdir::new().with_rows(1);
    work.write("secret.txt", "do not send me");
    work.write("jobs/rows.csv", "id,body\na,b\n");
    for name in ["../secret.txt", "/etc/hostname"] {
        work.write(
            "jobs/job.toml",
            JOB.replace("Text: {{ body }}", &format!("{{% include '{name}' %}}")),
        );
        let refused = work.rowmill(&["preview", "jobs/job.toml"]).expect(2);
        assert!(refused.stderr.contains("outside"), "{}", refused.stderr);
    }
}

#[test]
fn a_template_that_never_ends_is_ended() {
    let work = Workdir::new().with_rows(1);
    let endless =
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ body }}{% endfor %}{% endfor %}";
    work.write("job.toml", JOB.replace("Text: {{ body }}", endless));
    let refused = work.rowmill(&["preview", "job.toml"]).expect(2);
    assert!(refused.stderr.contains("row 1"), "{}", refused.stderr);
}
