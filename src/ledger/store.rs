//! The ledger's file: opening, reserving, settling.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use super::rows::{self, SCHEMA, find_edits, put};
use super::{
    BudgetLimits, EntryState, Error, FILE, JobSpend, LedgerEntry, LimitScope, LimitUse,
    LimitedBatch, Reservation, Shortage, VERSION,
};
use crate::cost::{BatchCost, Money};
use crate::durable;

/// What marks the file as ours: "rowm" in ASCII.
const APPLICATION: i64 = 0x726f_776d;
/// How long another process is waited for. It holds the ledger for milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Jobs that a shortage lists at most.
const MAX_SPENDERS: i64 = 5;

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    db: Connection,
    path: PathBuf,
}

impl Ledger {
    /// Opens the ledger of a state directory, and creates it if there is none. The directory has to
    /// exist.
    ///
    /// # Errors
    /// [`Error`]: it is something else, newer, edited, or cannot be used.
    pub fn open(state: &Path) -> Result<Ledger, Error> {
        Ledger::open_file(&state.join(FILE), PATIENCE)
    }

    /// Opens a ledger by its file, and creates it if there is none. Another process that has locked
    /// it is waited for as long as `patience` says, now and for each change.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_file(path: &Path, patience: Duration) -> Result<Ledger, Error> {
        let path = path.to_path_buf();
        make_private(&path).map_err(|source| Error::Create {
            path: path.clone(),
            source,
        })?;
        let cannot = |source| error_of(source, &path);
        let mut db = Connection::open(&path).map_err(cannot)?;
        prepare(&mut db, &path, patience)?;
        let ledger = Ledger { db, path };
        ledger.check()?;
        Ok(ledger)
    }

    /// Opens a ledger by its file if it exists.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_if_there(path: &Path, patience: Duration) -> Result<Option<Ledger>, Error> {
        if path.is_file() {
            Ledger::open_file(path, patience).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All entries, in the order they were reserved.
    ///
    /// # Errors
    /// [`Error::Edited`] where one of them does not match its checksum; [`Error::Sqlite`].
    pub fn entries(&self) -> Result<Vec<LedgerEntry>, Error> {
        self.select("true", [])
    }

    /// The entries of batches that are in flight, or may be.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn reserved(&self) -> Result<Vec<LedgerEntry>, Error> {
        self.select("state = 'reserved'", [])
    }

    /// Records that the cost of a batch is unknown and stays so: all that was reserved stays
    /// reserved, for the day it was reserved on.
    ///
    /// # Errors
    /// As [`Ledger::reserve`].
    pub fn write_off(&self, entry: &LedgerEntry, now: Timestamp) -> Result<LedgerEntry, Error> {
        self.settle(
            entry,
            BatchCost {
                unknown: entry.requests,
                ..BatchCost::default()
            },
            now,
        )
    }

    /// The entries of a run.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn of_run(&self, run: &str) -> Result<Vec<LedgerEntry>, Error> {
        self.select("run = ?1", [run])
    }

    fn select(
        &self,
        condition: &str,
        values: impl rusqlite::Params,
    ) -> Result<Vec<LedgerEntry>, Error> {
        let found = rows::select_checked(&self.db, condition, values);
        let found = found.map_err(|e| error_of(e, &self.path))?;
        found.map_err(|edit| Error::Edited {
            path: self.path.clone(),
            edit,
        })
    }

    /// Reserves money for a batch, unless that would pass a limit: then nothing changes, and the
    /// shortage says which. What was reserved for the batch before does not count. `known` is the
    /// batch's row as the run knows it.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the row is another one; [`Error::Busy`] and [`Error::Sqlite`].
    /// Nothing is reserved then.
    pub fn reserve(
        &self,
        wanted: &Reservation<'_>,
        known: Option<&LedgerEntry>,
        limits: &BudgetLimits,
        now: Timestamp,
    ) -> Result<Result<LedgerEntry, Shortage>, Error> {
        let reserved = self.change(|db| {
            if let Some(other) = other_than(db, wanted, known)? {
                return Ok(Err(self.conflict(&other)));
            }
            if let Some(shortage) = find_shortage(db, wanted, limits, day_of(now))? {
                return Ok(Ok(Err(shortage)));
            }
            let entry = reserved(wanted, now);
            put(db, &entry).map(|()| Ok(Ok(entry)))
        });
        reserved.map_err(|e| error_of(e, &self.path))?
    }

    /// What would be short if something were reserved now.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn shortage(
        &self,
        wanted: &Reservation<'_>,
        limits: &BudgetLimits,
        now: Timestamp,
    ) -> Result<Option<Shortage>, Error> {
        find_shortage(&self.db, wanted, limits, day_of(now)).map_err(|e| error_of(e, &self.path))
    }

    /// What is spent and reserved of each limit that is set, without one batch of the run.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn uses(
        &self,
        of: &LimitedBatch<'_>,
        limits: &BudgetLimits,
        now: Timestamp,
    ) -> Result<Vec<LimitUse>, Error> {
        let scoped = scoped(of, limits, day_of(now)).into_iter();
        scoped
            .map(|scoped| scoped.used(&self.db))
            .collect::<rusqlite::Result<_>>()
            .map_err(|e| error_of(e, &self.path))
    }

    /// Reserves money for a batch that was sent already, whatever the limits say.
    ///
    /// # Errors
    /// As [`Ledger::reserve`].
    pub fn admit(
        &self,
        sent: &Reservation<'_>,
        known: Option<&LedgerEntry>,
        at: Timestamp,
    ) -> Result<LedgerEntry, Error> {
        let admitted = self.change(|db| match other_than(db, sent, known)? {
            Some(other) => Ok(Err(self.conflict(&other))),
            None => {
                let entry = reserved(sent, at);
                put(db, &entry).map(|()| Ok(entry))
            }
        });
        admitted.map_err(|e| error_of(e, &self.path))?
    }

    /// Records what a batch cost.
    ///
    /// # Errors
    /// As [`Ledger::reserve`].
    pub fn settle(
        &self,
        entry: &LedgerEntry,
        share: BatchCost,
        now: Timestamp,
    ) -> Result<LedgerEntry, Error> {
        self.put(LedgerEntry {
            state: EntryState::Billed,
            share,
            settled_at: Some(now),
            ..entry.clone()
        })
    }

    /// Releases what was reserved for a batch that was not created.
    ///
    /// # Errors
    /// As [`Ledger::reserve`].
    pub fn release(&self, entry: &LedgerEntry, now: Timestamp) -> Result<LedgerEntry, Error> {
        let (state, share) = (EntryState::Released, BatchCost::default());
        self.put(LedgerEntry {
            state,
            share,
            settled_at: Some(now),
            ..entry.clone()
        })
    }

    /// Writes a row in place of the one it was made from.
    fn put(&self, entry: LedgerEntry) -> Result<LedgerEntry, Error> {
        let written = self.change(|db| match row_of(db, &entry.run, entry.batch)? {
            Some(row) if row.is_another_than(&entry) => Ok(Err(self.conflict(&row))),
            _ => put(db, &entry).map(Ok),
        });
        written.map_err(|e| error_of(e, &self.path))??;
        Ok(entry)
    }

    fn conflict(&self, other: &LedgerEntry) -> Error {
        Error::Conflict {
            path: self.path.clone(),
            run: other.run.clone(),
            batch: other.batch,
            state: other.state,
        }
    }

    /// Adds billed rows, a thousand a day.
    #[cfg(test)]
    pub(super) fn fill(&self, rows: u32) {
        let first: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let filled = self.change(|db| {
            for n in 0..rows {
                let days = jiff::SignedDuration::from_hours(24 * i64::from(n / 1_000));
                let at = first.checked_add(days).expect("a time");
                let run = format!("run-{:06}", n / 10);
                let wanted = Reservation {
                    run: &run,
                    batch: n % 10 + 1,
                    job: "job",
                    model: "claude-haiku-4-5",
                    simulated: false,
                    requests: 10,
                    amount: Money::from_picodollars(7),
                    worst_case: Money::from_picodollars(9),
                };
                let cost = crate::cost::Cost {
                    input: Money::from_picodollars(5),
                    ..crate::cost::Cost::ZERO
                };
                let mut entry = reserved(&wanted, at);
                entry.state = EntryState::Billed;
                entry.settled_at = Some(at);
                entry.share.by_model = [("claude-haiku-4-5".to_owned(), cost)].into();
                put(db, &entry)?;
            }
            Ok(())
        });
        filled.expect("the rows are written");
    }

    /// Changes the ledger in one transaction that no other process can come between.
    fn change<T>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        // `new_unchecked` does not notice a transaction inside another; nothing in here begins one.
        let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        let done = change(&transaction)?;
        durable::act();
        transaction.commit()?;
        Ok(done)
    }

    fn check(&self) -> Result<(), Error> {
        // One transaction: the rows and their checksums are consistent, whichever process writes
        // meanwhile.
        let found = Transaction::new_unchecked(&self.db, TransactionBehavior::Deferred)
            .and_then(|transaction| find_edits(&transaction));
        match found.map_err(|e| error_of(e, &self.path))? {
            Some(edit) => Err(Error::Edited {
                path: self.path.clone(),
                edit,
            }),
            None => Ok(()),
        }
    }
}

/// The row of a batch.
fn row_of(db: &Connection, run: &str, batch: u32) -> rusqlite::Result<Option<LedgerEntry>> {
    Ok(rows::select(db, "run = ?1 AND batch = ?2", params![run, batch])?.pop())
}

/// The row that stands under a batch's number and is not the one that the run knows.
fn other_than(
    db: &Connection,
    wanted: &Reservation<'_>,
    known: Option<&LedgerEntry>,
) -> rusqlite::Result<Option<LedgerEntry>> {
    let row = row_of(db, wanted.run, wanted.batch)?;
    let is_known =
        |row: &LedgerEntry| known.is_some_and(|known| known.reserved_at == row.reserved_at);
    Ok(row.filter(|row| match row.state {
        EntryState::Released => false,
        EntryState::Reserved => !is_known(row),
        EntryState::Billed => true,
    }))
}

/// The day of a timestamp, in UTC.
pub(super) fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

fn reserved(wanted: &Reservation<'_>, at: Timestamp) -> LedgerEntry {
    LedgerEntry {
        run: wanted.run.to_owned(),
        batch: wanted.batch,
        job: wanted.job.to_owned(),
        model: wanted.model.to_owned(),
        simulated: wanted.simulated,
        requests: wanted.requests,
        state: EntryState::Reserved,
        reserved: wanted.amount,
        worst_case: wanted.worst_case,
        share: BatchCost::default(),
        day: day_of(at),
        reserved_at: at,
        settled_at: None,
    }
}

/// Creates the file if there is none: only its owner may read what is spent.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop),
    }
}

/// Makes sure that the file is a ledger this version knows; an empty one becomes a ledger.
fn prepare(db: &mut Connection, path: &Path, patience: Duration) -> Result<(), Error> {
    let cannot = |source| error_of(source, path);
    db.busy_timeout(patience).map_err(cannot)?;
    let (application, version) = db
        .transaction()
        .and_then(|transaction| marks(&transaction))
        .map_err(cannot)?;
    if (application, version) != (0, 0) {
        return match (application, version) {
            (APPLICATION, VERSION) => durably(db).map_err(cannot),
            (APPLICATION, found) if found > VERSION => Err(Error::Newer {
                path: path.to_path_buf(),
                found,
            }),
            _ => Err(Error::NotOurs {
                path: path.to_path_buf(),
            }),
        };
    }
    with_log(db, patience).map_err(cannot)?;
    durably(db).map_err(cannot)?;
    let transaction = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(cannot)?;
    let tables: i64 = transaction
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(cannot)?;
    match (tables, marks(&transaction).map_err(cannot)?) {
        // Another process created it meanwhile.
        (_, (APPLICATION, VERSION)) => return Ok(()),
        (0, _) => {}
        _ => {
            return Err(Error::NotOurs {
                path: path.to_path_buf(),
            });
        }
    }
    transaction.execute_batch(SCHEMA).map_err(cannot)?;
    transaction
        .pragma_update(None, "application_id", APPLICATION)
        .map_err(cannot)?;
    transaction
        .pragma_update(None, "user_version", VERSION)
        .map_err(cannot)?;
    durable::act();
    transaction.commit().map_err(cannot)
}

fn marks(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    let mark = |name: &str| db.pragma_query_value(None, name, |row| row.get(0));
    Ok((mark("application_id")?, mark("user_version")?))
}

/// Every commit is on the disk before it counts.
fn durably(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "synchronous", "FULL")
}

/// Sets write-ahead logging, by which readers and a writer do not wait for each other. Two
/// processes that set it at once do, and SQLite does not always wait by itself.
fn with_log(db: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let begun = Instant::now();
    loop {
        match db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error) if is_busy(&error) && begun.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(20))
            }
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn error_of(source: rusqlite::Error, path: &Path) -> Error {
    let path = path.to_path_buf();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::NotOurs { path },
        _ if is_busy(&source) => Error::Busy { path },
        _ => Error::Sqlite { path, source },
    }
}

/// The first limit that would be passed.
fn find_shortage(
    db: &Connection,
    wanted: &Reservation<'_>,
    limits: &BudgetLimits,
    today: Date,
) -> rusqlite::Result<Option<Shortage>> {
    let of = LimitedBatch {
        run: wanted.run,
        batch: wanted.batch,
        simulated: wanted.simulated,
    };
    for scoped in scoped(&of, limits, today) {
        let used = scoped.used(db)?;
        if used.spent + used.reserved + wanted.amount > used.limit {
            return Ok(Some(Shortage {
                scope: used.scope,
                limit: used.limit,
                asked: wanted.amount,
                spent: used.spent,
                reserved: used.reserved,
                by: scoped.spenders(db)?,
            }));
        }
    }
    Ok(None)
}

/// A limit that is set, and which rows of the ledger count for it.
struct ScopedLimit<'a> {
    scope: LimitScope,
    limit: Money,
    of: &'a LimitedBatch<'a>,
    /// The condition on rows, whose `?4` is `value`.
    condition: &'static str,
    value: String,
}

/// The limits that are set.
fn scoped<'a>(
    of: &'a LimitedBatch<'a>,
    limits: &BudgetLimits,
    today: Date,
) -> Vec<ScopedLimit<'a>> {
    let month = today.strftime("%Y-%m").to_string();
    let all = [
        (LimitScope::Run, limits.run, "run = ?4", of.run.to_owned()),
        (LimitScope::Day, limits.day, "day = ?4", today.to_string()),
        (
            LimitScope::Month,
            limits.month,
            "substr(day, 1, 7) = ?4",
            month,
        ),
    ];
    let is_set = |(scope, limit, condition, value)| {
        let limit: Option<Money> = limit;
        Some(ScopedLimit {
            scope,
            limit: limit?,
            of,
            condition,
            value,
        })
    };
    all.into_iter().filter_map(is_set).collect()
}

impl ScopedLimit<'_> {
    fn used(&self, db: &Connection) -> rusqlite::Result<LimitUse> {
        let of = self.of;
        let values = params![of.simulated, of.run, of.batch, self.value];
        let (spent, reserved) = sums(db, &self.condition(), values)?;
        Ok(LimitUse {
            scope: self.scope,
            limit: self.limit,
            spent,
            reserved,
        })
    }

    fn spenders(&self, db: &Connection) -> rusqlite::Result<Vec<JobSpend>> {
        let of = self.of;
        let values = params![of.simulated, of.run, of.batch, self.value];
        spenders(db, &self.condition(), values)
    }

    fn condition(&self) -> String {
        let condition = self.condition;
        format!("simulated = ?1 AND NOT (run = ?2 AND batch = ?3) AND {condition}")
    }
}

const SPENT: &str = "coalesce(sum(CASE state WHEN 'billed' THEN billed END), 0)";
/// What is held back: all of what is in flight, and of a batch that is billed the part of the
/// requests whose cost is unknown.
const RESERVED: &str = "coalesce(sum(CASE state WHEN 'reserved' THEN reserved WHEN 'billed' THEN \
                        reserved / max(requests, 1) * coalesce(json_extract(share, '$.unknown'), \
                        0) END), 0)";

fn sums(
    db: &Connection,
    condition: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<(Money, Money)> {
    db.query_row(
        &format!("SELECT {SPENT}, {RESERVED} FROM batches WHERE {condition}"),
        values,
        |row| {
            Ok((
                Money::from_picodollars(row.get(0)?),
                Money::from_picodollars(row.get(1)?),
            ))
        },
    )
}

fn spenders(
    db: &Connection,
    condition: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Vec<JobSpend>> {
    let mut query = db.prepare(&format!(
        "SELECT job, {SPENT} AS spent, {RESERVED} AS reserved FROM batches WHERE {condition} GROUP \
         BY job HAVING spent + reserved > 0 ORDER BY spent + reserved DESC, job LIMIT \
         {MAX_SPENDERS}"
    ))?;
    let read = |row: &rusqlite::Row<'_>| {
        let amount = |column: usize| row.get(column).map(Money::from_picodollars);
        Ok(JobSpend {
            job: row.get(0)?,
            spent: amount(1)?,
            reserved: amount(2)?,
        })
    };
    query.query_map(values, read)?.collect()
}
