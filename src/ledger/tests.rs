//! Limits, checksums, several processes.

use super::*;
use crate::cost::Cost;

fn usd(text: &str) -> Money {
    text.parse().expect("an amount")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

const NOON: &str = "2026-11-25T12:00:00Z";

fn batch<'a>(run: &'a str, batch: u32, amount: &str) -> Reservation<'a> {
    let job = run.split('-').next().unwrap_or(run);
    let (model, amount) = ("claude-haiku-4-5", usd(amount));
    Reservation {
        run,
        batch,
        job,
        model,
        simulated: false,
        requests: 10,
        amount,
        worst_case: amount.times(3),
    }
}

fn cost(amount: &str) -> BatchCost {
    let cost = Cost {
        input: usd(amount),
        ..Cost::ZERO
    };
    BatchCost {
        by_model: [("claude-haiku-4-5-20251001".to_owned(), cost)].into(),
        unknown: 0,
    }
}

fn limits(run: Option<&str>, day: Option<&str>, month: Option<&str>) -> BudgetLimits {
    BudgetLimits {
        run: run.map(usd),
        day: day.map(usd),
        month: month.map(usd),
    }
}

fn reserve(
    ledger: &Ledger,
    wanted: &Reservation<'_>,
    limits: &BudgetLimits,
    now: &str,
) -> Option<Shortage> {
    let known = ledger
        .of_run(wanted.run)
        .unwrap()
        .into_iter()
        .find(|entry| entry.batch == wanted.batch);
    ledger
        .reserve(wanted, known.as_ref(), limits, at(now))
        .expect("the ledger")
        .err()
}

fn entry(ledger: &Ledger, run: &str, batch: u32) -> LedgerEntry {
    ledger
        .of_run(run)
        .unwrap()
        .into_iter()
        .find(|entry| entry.batch == batch)
        .expect("an entry")
}

#[test]
fn a_batch_goes_from_reserved_to_billed_and_keeps_its_day() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(
        reserve(
            &ledger,
            &batch("a-1", 1, "0.5"),
            &BudgetLimits::default(),
            "2026-11-25T23:59:59Z"
        ),
        None
    );
    let before = entry(&ledger, "a-1", 1);
    assert_eq!(
        (before.state, before.held(), before.spent()),
        (EntryState::Reserved, usd("0.5"), Money::ZERO)
    );
    ledger
        .settle(&before, cost("0.25"), at("2026-11-26T01:00:00Z"))
        .unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let after = entry(&ledger, "a-1", 1);
    assert_eq!(
        (after.state, after.held(), after.spent()),
        (EntryState::Billed, Money::ZERO, usd("0.25"))
    );
    assert_eq!(
        (after.day.to_string().as_str(), after.reserved),
        ("2026-11-25", usd("0.5"))
    );
}

#[test]
fn a_billed_row_is_never_replaced_by_another_batch_of_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let wanted = batch("a-1", 1, "0.5");
    assert_eq!(
        reserve(&ledger, &wanted, &BudgetLimits::default(), NOON),
        None
    );
    let reserved = entry(&ledger, "a-1", 1);
    let is_conflict =
        |error: Option<Error>| matches!(error, Some(Error::Conflict { batch: 1, .. }));
    // Reserved by a copy of the run, which this one does not know of.
    assert!(is_conflict(
        ledger
            .reserve(&wanted, None, &BudgetLimits::default(), at(NOON))
            .err()
    ));
    assert!(is_conflict(ledger.admit(&wanted, None, at(NOON)).err()));
    let billed = ledger.settle(&reserved, cost("0.25"), at(NOON)).unwrap();
    for known in [None, Some(&reserved), Some(&billed)] {
        assert!(is_conflict(
            ledger
                .reserve(&wanted, known, &BudgetLimits::default(), at(NOON))
                .err()
        ));
    }
    assert!(is_conflict(ledger.release(&reserved, at(NOON)).err()));
    let another = LedgerEntry {
        reserved_at: at("2026-11-20T12:00:00Z"),
        ..reserved.clone()
    };
    assert!(is_conflict(
        ledger.settle(&another, cost("9"), at(NOON)).err()
    ));
    assert_eq!(entry(&ledger, "a-1", 1).spent(), usd("0.25"));
    // The same batch may be priced again.
    ledger.settle(&billed, cost("0.3"), at(NOON)).unwrap();
    assert_eq!(entry(&ledger, "a-1", 1).spent(), usd("0.3"));
}

#[test]
fn what_is_written_off_stays_reserved_for_its_day() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(
        reserve(
            &ledger,
            &batch("a-1", 1, "1"),
            &BudgetLimits::default(),
            NOON
        ),
        None
    );
    assert_eq!(ledger.reserved().unwrap().len(), 1);
    ledger
        .write_off(&entry(&ledger, "a-1", 1), at(NOON))
        .unwrap();
    assert!(ledger.reserved().unwrap().is_empty());
    let day = limits(None, Some("1"), None);
    let short = reserve(&ledger, &batch("b-1", 1, "0.5"), &day, NOON).expect("a shortage");
    assert_eq!((short.spent, short.reserved), (Money::ZERO, usd("1")));
    assert_eq!(
        reserve(
            &ledger,
            &batch("b-1", 1, "0.5"),
            &day,
            "2026-11-26T00:00:01Z"
        ),
        None
    );
}

#[test]
fn each_limit_counts_what_is_spent_and_what_is_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let none = BudgetLimits::default();
    // Yesterday, the month before, another run today, and this run: 1 + 2 + 4 + 8.
    for (run, day, amount) in [
        ("a-1", "2026-11-24T12:00:00Z", "1"),
        ("a-0", "2026-10-31T23:59:59Z", "2"),
        ("b-1", NOON, "4"),
        ("c-1", NOON, "8"),
    ] {
        assert_eq!(reserve(&ledger, &batch(run, 1, amount), &none, day), None);
    }
    // b's batch cost 3 in the end, and one of c's was not made.
    ledger
        .settle(&entry(&ledger, "b-1", 1), cost("3"), at(NOON))
        .unwrap();
    assert_eq!(reserve(&ledger, &batch("c-1", 2, "100"), &none, NOON), None);
    ledger.release(&entry(&ledger, "c-1", 2), at(NOON)).unwrap();
    let wanted = batch("c-1", 3, "1");
    for (limits, short) in [
        (limits(Some("9"), Some("12"), Some("13")), None),
        (
            limits(Some("8.999999999999"), None, None),
            Some((LimitScope::Run, "0", "8")),
        ),
        (
            limits(None, Some("11.999999999999"), None),
            Some((LimitScope::Day, "3", "8")),
        ),
        (
            limits(None, None, Some("12.999999999999")),
            Some((LimitScope::Month, "3", "9")),
        ),
    ] {
        let found = ledger.shortage(&wanted, &limits, at(NOON)).unwrap();
        let short = short.map(|(scope, spent, reserved)| (scope, usd(spent), usd(reserved)));
        assert_eq!(
            found.map(|found| (found.scope, found.spent, found.reserved)),
            short,
            "{limits:?}"
        );
    }
    let short = ledger
        .shortage(&wanted, &limits(None, Some("11"), None), at(NOON))
        .unwrap()
        .unwrap();
    let jobs: Vec<&str> = short
        .by
        .iter()
        .map(|spender| spender.job.as_str())
        .collect();
    assert_eq!((jobs, short.left()), (vec!["c", "b"], Money::ZERO));
    // A batch that is reserved again does not count against itself.
    assert_eq!(
        reserve(
            &ledger,
            &batch("c-1", 1, "9"),
            &limits(Some("9"), None, None),
            NOON
        ),
        None
    );
}

#[test]
fn simulated_runs_are_counted_apart() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let day = limits(None, Some("1"), None);
    let simulated = Reservation {
        simulated: true,
        ..batch("sim-1", 1, "1")
    };
    assert_eq!(reserve(&ledger, &simulated, &day, NOON), None);
    assert_eq!(reserve(&ledger, &batch("real-1", 1, "1"), &day, NOON), None);
    assert!(
        reserve(
            &ledger,
            &Reservation {
                batch: 2,
                ..simulated
            },
            &day,
            NOON
        )
        .is_some()
    );
    assert!(reserve(&ledger, &batch("real-1", 2, "0.1"), &day, NOON).is_some());
}

#[test]
fn many_that_race_for_the_last_dollar_never_pass_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let limits = limits(None, Some("1"), None);
    let race = |racer: u32| {
        let ledger = Ledger::open(folder.path()).unwrap();
        let run = format!("job{racer}-1");
        let mut got = 0;
        for n in 1..=10 {
            if reserve(&ledger, &batch(&run, n, "0.1"), &limits, NOON).is_none() {
                got += 1;
            }
        }
        got
    };
    let got: u32 = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|racer| scope.spawn(move || race(racer)))
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(got, 10);
    let entries = Ledger::open(folder.path()).unwrap().entries().unwrap();
    assert_eq!(
        entries.iter().map(LedgerEntry::held).sum::<Money>(),
        usd("1")
    );
}

#[test]
fn an_unknown_cost_stays_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let lost = Reservation {
        requests: 4,
        ..batch("a-1", 1, "4")
    };
    assert_eq!(
        reserve(&ledger, &lost, &BudgetLimits::default(), NOON),
        None
    );
    // One of its four requests came back without a line.
    ledger
        .settle(
            &entry(&ledger, "a-1", 1),
            BatchCost {
                unknown: 1,
                ..cost("0.5")
            },
            at(NOON),
        )
        .unwrap();
    let short = reserve(
        &ledger,
        &batch("a-1", 2, "1"),
        &limits(Some("2"), None, None),
        NOON,
    )
    .expect("a shortage");
    assert_eq!((short.spent, short.reserved), (usd("0.5"), usd("1")));
    assert_eq!(
        reserve(
            &ledger,
            &batch("a-1", 2, "1"),
            &limits(Some("2.5"), None, None),
            NOON
        ),
        None
    );
}

#[test]
fn a_ledger_is_not_reported_as_edited_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let (written, looked) = (200, 50);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let ledger = Ledger::open(folder.path()).unwrap();
            (0..written).for_each(|n| {
                assert_eq!(
                    reserve(
                        &ledger,
                        &batch("a-1", n, "1"),
                        &BudgetLimits::default(),
                        NOON
                    ),
                    None
                )
            });
        });
        scope.spawn(|| {
            (0..looked).for_each(|_| drop(Ledger::open(folder.path()).expect("as it was written")))
        });
    });
}

#[test]
fn refuses_a_ledger_that_was_edited() {
    let ways = [
        (
            "UPDATE batches SET billed = billed - 1 WHERE run = 'a-1'",
            "batch 1 of run `a-1` does not match its checksum",
        ),
        (
            "UPDATE batches SET reserved = 0 WHERE run = 'b-1'",
            "batch 1 of run `b-1` does not match its checksum",
        ),
        (
            "UPDATE batches SET day = '2026-10-01' WHERE run = 'a-1'",
            "does not match its checksum",
        ),
        (
            "UPDATE batches SET state = 'released' WHERE run = 'b-1'",
            "does not match its checksum",
        ),
        (
            "UPDATE batches SET share = '{}' WHERE run = 'a-1'",
            "does not match its checksum",
        ),
        (
            "DELETE FROM batches WHERE run = 'b-1'",
            "it has 1 batches, and 2 were written",
        ),
        (
            "INSERT INTO batches SELECT 'c-1', batch, job, model, simulated, requests, state, \
          reserved, most, billed, share, day, reserved_at, settled_at, seal FROM batches WHERE run \
          = 'a-1'",
            "batch 1 of run `c-1` does not match its checksum",
        ),
        (
            "DELETE FROM batches WHERE run = 'b-1'; UPDATE seals SET entries = 1",
            "batches were removed or added",
        ),
    ];
    for (sql, expected) in ways {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        for run in ["a-1", "b-1"] {
            reserve(&ledger, &batch(run, 1, "1"), &BudgetLimits::default(), NOON);
        }
        ledger
            .settle(&entry(&ledger, "a-1", 1), cost("0.5"), at(NOON))
            .unwrap();
        drop(ledger);
        Ledger::open(folder.path()).expect("it is whole");
        rusqlite::Connection::open(folder.path().join(FILE))
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        let error = Ledger::open(folder.path()).expect_err(sql);
        assert!(
            matches!(error, Error::Edited { .. }) && error.to_string().contains(expected),
            "{sql}: {error}"
        );
    }
}

#[test]
fn refuses_what_is_newer_or_something_else() {
    let newer = tempfile::tempdir().unwrap();
    drop(Ledger::open(newer.path()).unwrap());
    let db = rusqlite::Connection::open(newer.path().join(FILE)).unwrap();
    db.pragma_update(None, "user_version", 2).unwrap();
    drop(db);
    assert!(matches!(
        Ledger::open(newer.path()),
        Err(Error::Newer { found: 2, .. })
    ));

    let other = tempfile::tempdir().unwrap();
    rusqlite::Connection::open(other.path().join(FILE))
        .unwrap()
        .execute_batch("CREATE TABLE a (b)")
        .unwrap();
    assert!(matches!(
        Ledger::open(other.path()),
        Err(Error::NotOurs { .. })
    ));

    let text = tempfile::tempdir().unwrap();
    std::fs::write(
        text.path().join(FILE),
        "this is no database, but long enough to be taken for one ".repeat(20),
    )
    .unwrap();
    assert!(matches!(
        Ledger::open(text.path()),
        Err(Error::NotOurs { .. })
    ));
    assert!(matches!(
        Ledger::open(&text.path().join("nowhere")),
        Err(Error::Create { .. })
    ));
    assert!(
        Ledger::open_if_there(&text.path().join("nowhere"), PATIENCE)
            .unwrap()
            .is_none()
    );
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    reserve(
        &ledger,
        &batch("a-1", 1, "1"),
        &BudgetLimits::default(),
        NOON,
    );
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?}",
            file.path()
        );
    }
}

#[test]
fn an_edit_of_an_old_row_is_found_when_the_row_is_read() {
    let folder = tempfile::tempdir().unwrap();
    Ledger::open(folder.path()).unwrap().fill(40_000);
    let edit = |sql: &str| {
        let db = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
        assert_eq!(db.execute(sql, []).unwrap(), 1);
    };
    edit("UPDATE batches SET requests = 7 WHERE run = 'run-000000' AND batch = 1");
    let ledger = Ledger::open(folder.path()).unwrap();
    assert!(ledger.of_run("run-003999").unwrap().len() == 10);
    for found in [ledger.of_run("run-000000"), ledger.entries()] {
        let edited = matches!(
            found,
            Err(Error::Edited {
                edit: Edit::Row { batch: 1, .. },
                ..
            })
        );
        assert!(edited, "{found:?}");
    }
    // The month that budgets rely on, and rows that are gone, are found at once.
    edit("UPDATE batches SET requests = 10 WHERE run = 'run-000000' AND batch = 1");
    edit("UPDATE batches SET requests = 7 WHERE run = 'run-003999' AND batch = 1");
    assert!(matches!(
        Ledger::open(folder.path()),
        Err(Error::Edited { .. })
    ));
    edit("UPDATE batches SET requests = 10 WHERE run = 'run-003999' AND batch = 1");
    Ledger::open(folder.path()).unwrap();
    edit("DELETE FROM batches WHERE run = 'run-000000' AND batch = 1");
    let gone = Ledger::open(folder.path()).err();
    assert!(
        matches!(
            gone,
            Some(Error::Edited {
                edit: Edit::Count { .. },
                ..
            })
        ),
        "{gone:?}"
    );
}

#[test]
fn entries_are_in_the_order_they_were_reserved_also_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let times = [
        "2026-11-25T08:00:01Z",
        "2026-11-25T08:00:01.1Z",
        "2026-11-25T08:00:01.15Z",
        "2026-11-25T08:00:02Z",
    ];
    for (number, time) in (1..=4).zip(times) {
        let none = limits(None, None, None);
        assert!(reserve(&ledger, &batch("a-1", number, "1"), &none, time).is_none());
    }
    // The numbers of the batches would give the order, too, were the times not compared first.
    assert!(
        reserve(
            &ledger,
            &batch("a-1", 9, "1"),
            &limits(None, None, None),
            times[0]
        )
        .is_none()
    );
    let batches: Vec<u32> = ledger
        .entries()
        .unwrap()
        .iter()
        .map(|entry| entry.batch)
        .collect();
    assert_eq!(batches, [1, 9, 2, 3, 4]);
}

#[test]
#[ignore = "measures; run it by name"]
#[expect(clippy::print_stderr, reason = "it measures")]
fn opening_a_ledger_of_100_000_rows_is_quick() {
    let folder = tempfile::tempdir().unwrap();
    Ledger::open(folder.path()).unwrap().fill(100_000);
    for _ in 0..3 {
        let begun = std::time::Instant::now();
        Ledger::open(folder.path()).unwrap();
        let opened = begun.elapsed();
        let all = Ledger::open(folder.path()).unwrap().entries().unwrap();
        eprintln!(
            "{opened:?} to open, {:?} with all {}",
            begun.elapsed(),
            all.len()
        );
    }
}
