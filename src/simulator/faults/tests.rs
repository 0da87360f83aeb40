//! Faults fire by count, share and name.

use std::path::Path;

use super::*;

fn book(text: &str, folder: &Path) -> FaultCounter {
    FaultCounter::open(SimFaults::from_toml(text).unwrap(), 1, folder).unwrap()
}

#[test]
fn fires_by_count_and_counts_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[[calls]]\non = 'create'\nnth = [2, 4]\ndo = 'status'\nstatus = 500";
    let fired = |n: usize| -> Vec<bool> {
        let book = book(text, folder.path());
        (0..n)
            .map(|_| !book.call(ApiCall::Create).unwrap().is_empty())
            .collect()
    };
    assert_eq!(fired(3), [false, true, false]);
    assert_eq!(fired(2), [true, false]);
    assert!(
        book(text, folder.path())
            .call(ApiCall::Retrieve)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn fires_for_a_stretch() {
    let folder = tempfile::tempdir().unwrap();
    let book = book(
        "[[calls]]\non = 'any'\nfrom = 2\ntimes = 2\ndo = 'reset_before'",
        folder.path(),
    );
    let fired: Vec<bool> = (0..5)
        .map(|_| !book.call(ApiCall::List).unwrap().is_empty())
        .collect();
    assert_eq!(fired, [false, true, true, false, false]);
}

#[test]
fn meets_about_the_asked_share_of_rows_and_leaves_them_alone_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[[rows]]\noutcome = 'errored'\nshare = 0.1\n[[rows]]\noutcome = 'refused'\nids \
        = ['r7']";
    let met = |batch| -> Vec<String> {
        let book = book(text, folder.path());
        let met = (0..2_000)
            .map(|n| format!("r{n}"))
            .filter(|id| book.row(id, batch).is_some())
            .collect();
        book.save_rows().unwrap();
        met
    };
    let first = met(1);
    assert!((150..260).contains(&first.len()), "{}", first.len());
    assert_eq!(
        met(1),
        first,
        "a batch that is processed again has the same result"
    );
    assert_eq!(met(2), ["r7"], "only what lasts");
}

#[test]
fn the_documented_examples_are_read() {
    let page = include_str!("../../../docs/simulator.md");
    let examples: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        SimFaults::from_toml(example).unwrap();
    }
}

#[test]
fn a_faults_file_with_a_slip_says_where() {
    for text in [
        "[[calls]]\non = 'create'\ndo = 'explode'",
        "[[rows]]\noutcome = 'errored'\nchare = 1.0",
        "[[call]]",
    ] {
        assert!(SimFaults::from_toml(text).is_err(), "{text}");
    }
}
