//! Entries as rows of the file, and their checksums.

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Edit, EntryState, LedgerEntry};
use crate::cost::Money;

/// The tables. `STRICT` keeps other programs from putting text where a number belongs.
pub(super) const SCHEMA: &str = "
CREATE TABLE batches (
    run         TEXT    NOT NULL,
    batch       INTEGER NOT NULL,
    job         TEXT    NOT NULL,
    model       TEXT    NOT NULL,
    simulated   INTEGER NOT NULL,
    requests    INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('reserved', 'billed', 'released')),
    reserved    INTEGER NOT NULL,  -- amounts are whole 10^-12 US dollars
    most        INTEGER NOT NULL,
    billed      INTEGER NOT NULL,
    share       TEXT    NOT NULL,  -- what was billed, by model and kind of token
    day         TEXT    NOT NULL,  -- of the reservation, in UTC
    reserved_at TEXT    NOT NULL,
    settled_at  TEXT,
    seal        TEXT    NOT NULL,
    PRIMARY KEY (run, batch)
) STRICT, WITHOUT ROWID;
CREATE INDEX batches_by_day ON batches (simulated, day);
CREATE TABLE seals (id INTEGER PRIMARY KEY CHECK (id = 1), entries INTEGER NOT NULL, seal TEXT NOT NULL) STRICT;
INSERT INTO seals VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
";

const COLUMNS: &str = "run, batch, job, model, simulated, requests, state, reserved, most, billed, \
    share, day, reserved_at, settled_at, seal";

/// A checksum: 256 bits of blake3. That of all rows is the sum of theirs without carry (XOR), so
/// that one row can be replaced in it without reading the others. The file calls it `seal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RowChecksum([u8; 32]);

impl RowChecksum {
    fn of(entry: &LedgerEntry) -> RowChecksum {
        let LedgerEntry {
            run,
            batch,
            job,
            model,
            simulated,
            requests,
            state,
            reserved,
            worst_case,
            share,
            day,
            reserved_at,
            settled_at,
        } = entry;
        // JSON separates the fields unambiguously.
        let fields = serde_json::json!([
            run,
            batch,
            job,
            model,
            simulated,
            requests,
            state,
            reserved,
            worst_case,
            share,
            day,
            reserved_at,
            settled_at
        ]);
        RowChecksum(blake3::derive_key(
            "rowmill ledger 2026-11-25 row",
            fields.to_string().as_bytes(),
        ))
    }

    fn with(self, other: RowChecksum) -> RowChecksum {
        let mut bytes = self.0;
        bytes
            .iter_mut()
            .zip(other.0)
            .for_each(|(byte, other)| *byte ^= other);
        RowChecksum(bytes)
    }

    fn read(text: &str) -> Option<RowChecksum> {
        blake3::Hash::from_hex(text)
            .ok()
            .map(|hash| RowChecksum(*hash.as_bytes()))
    }

    fn text(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// A row as it was read.
struct ReadRow {
    /// `None` where a field does not hold what it should.
    entry: Option<LedgerEntry>,
    checksum: String,
    run: String,
    batch: i64,
}

impl ReadRow {
    /// The entry, if it matches its checksum.
    fn checked(self) -> Result<LedgerEntry, Edit> {
        let (run, batch) = (self.run, self.batch);
        self.entry
            .filter(|entry| RowChecksum::of(entry).text() == self.checksum)
            .ok_or(Edit::Row { run, batch })
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<ReadRow> {
    let entry = (|| {
        let text = |column: &str| row.get::<_, String>(column).ok();
        let number = |column: &str| row.get::<_, i64>(column).ok();
        let share = serde_json::from_str(&text("share")?).ok()?;
        let entry = LedgerEntry {
            run: text("run")?,
            batch: number("batch")?.try_into().ok()?,
            job: text("job")?,
            model: text("model")?,
            simulated: number("simulated")? != 0,
            requests: number("requests")?.try_into().ok()?,
            state: match text("state")?.as_str() {
                "reserved" => EntryState::Reserved,
                "billed" => EntryState::Billed,
                "released" => EntryState::Released,
                _ => return None,
            },
            reserved: Money::from_picodollars(number("reserved")?),
            worst_case: Money::from_picodollars(number("most")?),
            share,
            day: text("day")?.parse::<Date>().ok()?,
            reserved_at: text("reserved_at")?.parse::<Timestamp>().ok()?,
            settled_at: row
                .get::<_, Option<String>>("settled_at")
                .ok()?
                .map(|at| at.parse())
                .transpose()
                .ok()?,
        };
        // Sums use the column `billed`, and the checksum covers `share`: both have to agree.
        (Money::from_picodollars(number("billed")?) == entry.share.total()).then_some(entry)
    })();
    Ok(ReadRow {
        entry,
        checksum: row.get("seal")?,
        run: row.get("run")?,
        batch: row.get("batch")?,
    })
}

/// By time of reservation. Without the `Z`, which sorts behind the point of a fraction of a second.
const ORDER: &str = "rtrim(reserved_at, 'Z'), run, batch";

/// Reads the rows for which a condition holds, in the order they were reserved.
pub(super) fn select(
    db: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<LedgerEntry>> {
    let mut query = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM batches WHERE {condition} ORDER BY {ORDER}"
    ))?;
    let rows = query.query_map(values, read)?;
    rows.filter_map(|row| row.map(|row| row.entry).transpose())
        .collect()
}

/// The same, where each row has to match its checksum.
pub(super) fn select_checked(
    db: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Result<Vec<LedgerEntry>, Edit>> {
    let mut query = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM batches WHERE {condition} ORDER BY {ORDER}"
    ))?;
    let rows = query.query_map(values, read)?;
    let checked = rows.map(|row| row.map(ReadRow::checked));
    checked.collect()
}

/// Writes an entry in place of the one of its batch, with the checksums of the row and of all rows.
pub(super) fn put(db: &Connection, entry: &LedgerEntry) -> rusqlite::Result<()> {
    let key = params![entry.run, entry.batch];
    let old: Option<String> = db
        .query_row(
            "SELECT seal FROM batches WHERE run = ?1 AND batch = ?2",
            key,
            |row| row.get(0),
        )
        .optional()?;
    let (entries, whole): (i64, String) =
        db.query_row("SELECT entries, seal FROM seals", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let share = serde_json::to_string(&entry.share)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let checksum = RowChecksum::of(entry);
    let before = old
        .as_deref()
        .and_then(RowChecksum::read)
        .unwrap_or_default();
    let whole = RowChecksum::read(&whole)
        .unwrap_or_default()
        .with(before)
        .with(checksum);
    db.execute(
        &format!(
            "INSERT OR REPLACE INTO batches ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
             ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
        ),
        params![
            entry.run,
            entry.batch,
            entry.job,
            entry.model,
            entry.simulated,
            i64::try_from(entry.requests).unwrap_or(i64::MAX),
            entry.state.as_str(),
            entry.reserved.picodollars(),
            entry.worst_case.picodollars(),
            entry.share.total().picodollars(),
            share,
            entry.day.to_string(),
            entry.reserved_at.to_string(),
            entry.settled_at.map(|at| at.to_string()),
            checksum.text(),
        ],
    )?;
    db.execute(
        "UPDATE seals SET entries = ?1, seal = ?2",
        params![entries + i64::from(old.is_none()), whole.text()],
    )?;
    Ok(())
}

/// Rows that budgets rely on: those in flight, and those of the last month there is. By both of
/// their dates, so that a row is not passed over because one of them was edited.
const CURRENT: &str = "state = 'reserved' OR max(day, reserved_at) >= (SELECT substr(max(day), 1, \
                       7) FROM batches)";

/// What does not match its checksum, if anything does not: a row that budgets rely on, or the rows
/// as a whole. What other rows hold is compared with their checksums when they are read, so that
/// opening a ledger of many years parses a month of it. The stored checksums are all added up.
pub(super) fn find_edits(db: &Connection) -> rusqlite::Result<Option<Edit>> {
    if let Err(edit) = select_checked(db, CURRENT, [])? {
        return Ok(Some(edit));
    }
    let (written, whole): (i64, String) =
        db.query_row("SELECT entries, seal FROM seals", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let mut query = db.prepare("SELECT seal, run, batch FROM batches")?;
    let mut rows = query.query([])?;
    let (mut found, mut checksum) = (0, RowChecksum::default());
    while let Some(row) = rows.next()? {
        let Some(own) = RowChecksum::read(row.get_ref(0)?.as_str()?) else {
            let (run, batch) = (row.get(1)?, row.get(2)?);
            return Ok(Some(Edit::Row { run, batch }));
        };
        (found, checksum) = (found + 1, checksum.with(own));
    }
    if found != written {
        return Ok(Some(Edit::Count { found, written }));
    }
    Ok((checksum.text() != whole).then_some(Edit::Rows))
}
