//! Entries as rows of the file, and the seals on them.

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Entry, EntryState};
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

/// A seal: 256 bits of blake3. The seal over all rows is the sum of theirs without carry, so that
/// one row can be replaced in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seal([u8; 32]);

impl Seal {
    fn of(entry: &Entry) -> Seal {
        let Entry {
            run,
            batch,
            job,
            model,
            simulated,
            requests,
            state,
            reserved,
            most,
            share,
            day,
            reserved_at,
            settled_at,
        } = entry;
        // JSON tells where one field ends and the next begins.
        let fields = serde_json::json!([
            run,
            batch,
            job,
            model,
            simulated,
            requests,
            state,
            reserved,
            most,
            share,
            day,
            reserved_at,
            settled_at
        ]);
        Seal(blake3::derive_key(
            "rowmill ledger 2026-11-25 row",
            fields.to_string().as_bytes(),
        ))
    }

    fn with(self, other: Seal) -> Seal {
        let mut bytes = self.0;
        bytes
            .iter_mut()
            .zip(other.0)
            .for_each(|(byte, other)| *byte ^= other);
        Seal(bytes)
    }

    fn read(text: &str) -> Option<Seal> {
        blake3::Hash::from_hex(text)
            .ok()
            .map(|hash| Seal(*hash.as_bytes()))
    }

    fn text(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// A row as it was read, with the seal that stands on it.
type Sealed = (Option<Entry>, String, String);

/// Reads a row; the entry is `None` where a field does not hold what it should.
fn read(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    let name = format!(
        "batch {} of run `{}`",
        row.get::<_, i64>("batch")?,
        row.get::<_, String>("run")?
    );
    let seal = row.get("seal")?;
    let entry = (|| {
        let text = |column: &str| row.get::<_, String>(column).ok();
        let number = |column: &str| row.get::<_, i64>(column).ok();
        let share = serde_json::from_str(&text("share")?).ok()?;
        let entry = Entry {
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
            most: Money::from_picodollars(number("most")?),
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
        // What is summed up must be what is sealed.
        (Money::from_picodollars(number("billed")?) == entry.share.total()).then_some(entry)
    })();
    Ok((entry, seal, name))
}

/// Reads the rows for which a condition holds, in the order they were reserved.
pub(super) fn select(
    db: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Entry>> {
    let mut query = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM batches WHERE {condition} ORDER BY reserved_at, run, batch"
    ))?;
    let rows = query.query_map(values, read)?;
    rows.filter_map(|row| row.map(|(entry, ..)| entry).transpose())
        .collect()
}

/// Writes an entry in place of the one of its batch, and seals both the row and the whole.
pub(super) fn put(db: &Connection, entry: &Entry) -> rusqlite::Result<()> {
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
    let seal = Seal::of(entry);
    let before = old.as_deref().and_then(Seal::read).unwrap_or_default();
    let whole = Seal::read(&whole)
        .unwrap_or_default()
        .with(before)
        .with(seal);
    let share = serde_json::to_string(&entry.share)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
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
            entry.most.picodollars(),
            entry.share.total().picodollars(),
            share,
            entry.day.to_string(),
            entry.reserved_at.to_string(),
            entry.settled_at.map(|at| at.to_string()),
            seal.text(),
        ],
    )?;
    db.execute(
        "UPDATE seals SET entries = ?1, seal = ?2",
        params![entries + i64::from(old.is_none()), whole.text()],
    )?;
    Ok(())
}

/// What does not hold together, if anything does not.
pub(super) fn find_edits(db: &Connection) -> rusqlite::Result<Option<String>> {
    let (entries, whole): (i64, String) =
        db.query_row("SELECT entries, seal FROM seals", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let mut query = db.prepare(&format!("SELECT {COLUMNS} FROM batches"))?;
    let (mut found, mut seal) = (0, Seal::default());
    for row in query.query_map([], read)? {
        let (entry, written, name) = row?;
        match entry.map(|entry| Seal::of(&entry)) {
            Some(own) if own.text() == written => seal = seal.with(own),
            _ => return Ok(Some(format!("{name} is not as it was written"))),
        }
        found += 1;
    }
    if found != entries {
        return Ok(Some(format!(
            "it holds {found} batches, and {entries} were written"
        )));
    }
    Ok((seal.text() != whole).then(|| "batches were taken out or put in".to_owned()))
}
