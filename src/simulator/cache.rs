//! The simulated prompt cache: which part of a prompt is written, read, or paid in full.
//!
//! ```text
//!  tools … system … messages … end of the prompt
//!  ├── read ──┤── 1h write ──┤── 5m write ──┤── input_tokens ──┤
//!             A              B              C
//!  A: the longest beginning that an earlier request has written   B: the last 1h mark   C: the last mark
//! ```
//!
//! A [`Prefix`] is built block by block while a request is read: at each block, what the beginning
//! up to there hashes to and how many tokens it has. [`PromptCaches::charge`] compares it with what
//! earlier requests wrote. Writes happen at marks only; a read looks back at most 20 blocks from
//! each mark; an entry can be read once the answer of its writer has begun, so requests that run at
//! the same time all write.
//!
//! Source: the provider's documentation on prompt caching, read in August 2026.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reply::ErrorReply;

/// Blocks a read looks back from a mark.
const LOOK_BACK: usize = 20;
/// Marks that one request may carry.
const MAX_MARKS: usize = 4;
/// Entries that are kept; rows with their own text inside the mark would otherwise fill the memory.
const MAX_ENTRIES: usize = 200_000;

/// How long an entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ttl {
    /// Five minutes.
    #[serde(rename = "5m")]
    Minutes,
    /// One hour.
    #[serde(rename = "1h")]
    Hour,
}

impl Ttl {
    fn micros(self) -> i64 {
        match self {
            Ttl::Minutes => 300 * 1_000_000,
            Ttl::Hour => 3_600 * 1_000_000,
        }
    }

    /// Reads a `cache_control` value; `path` ends with a dot or is empty.
    pub(super) fn of(value: Option<&Value>, path: &str) -> Result<Option<Ttl>, ErrorReply> {
        let fields = match value {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(fields)) => fields,
            Some(_) => {
                return Err(ErrorReply::invalid(format!(
                    "{path}cache_control: Input should be a valid dictionary"
                )));
            }
        };
        if fields.get("type").and_then(Value::as_str) != Some("ephemeral") {
            return Err(ErrorReply::invalid(format!(
                "{path}cache_control.type: Input should be 'ephemeral'"
            )));
        }
        if let Some(extra) = fields
            .keys()
            .find(|key| !["type", "ttl"].contains(&key.as_str()))
        {
            return Err(ErrorReply::invalid(format!(
                "{path}cache_control.{extra}: Extra inputs are not permitted"
            )));
        }
        match fields.get("ttl").map(Value::as_str) {
            None | Some(Some("5m")) => Ok(Some(Ttl::Minutes)),
            Some(Some("1h")) => Ok(Some(Ttl::Hour)),
            Some(_) => Err(ErrorReply::invalid(format!(
                "{path}cache_control.ttl: Input should be '5m' or '1h'"
            ))),
        }
    }
}

/// The beginning of a prompt up to one block.
#[derive(Debug, Clone)]
struct Position {
    hash: [u8; 32],
    tokens: u64,
    mark: Option<Ttl>,
}

/// The beginnings of a prompt, block by block.
#[derive(Clone)]
pub(super) struct Prefix {
    hasher: blake3::Hasher,
    tokens: u64,
    least_tokens: u64,
    positions: Vec<Position>,
    marks: usize,
    after_minutes: bool,
}

impl Prefix {
    /// An empty prompt for a model that caches nothing shorter than `least_tokens`.
    pub(super) fn new(least_tokens: u64) -> Prefix {
        Prefix {
            hasher: blake3::Hasher::new(),
            tokens: 0,
            least_tokens,
            positions: Vec::new(),
            marks: 0,
            after_minutes: false,
        }
    }

    /// Tokens up to here.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens that belong to no block.
    pub(super) fn add_tokens(&mut self, tokens: u64) {
        self.tokens += tokens;
    }

    /// Things beside the blocks that make another cache of everything after them.
    pub(super) fn context(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.update(part);
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.hasher
            .update(&(bytes.len() as u64).to_le_bytes())
            .update(bytes);
    }

    /// Adds a block; marks are checked for their order.
    pub(super) fn block(
        &mut self,
        kind: &str,
        bytes: &[u8],
        tokens: u64,
        mark: Option<Ttl>,
        path: &str,
    ) -> Result<(), ErrorReply> {
        self.update(kind.as_bytes());
        self.update(bytes);
        self.tokens += tokens;
        let hash = if mark.is_some() || self.positions.len() < 10_000 {
            *self.hasher.finalize().as_bytes()
        } else {
            [0; 32]
        };
        self.positions.push(Position {
            hash,
            tokens: self.tokens,
            mark: None,
        });
        match mark {
            Some(ttl) => self.mark_last(ttl, path),
            None => Ok(()),
        }
    }

    /// Adds a block given as JSON; its own `cache_control` is its mark and not part of its bytes.
    pub(super) fn block_value(
        &mut self,
        kind: &str,
        block: &Value,
        path: &str,
        count: impl Fn(&str) -> u64,
    ) -> Result<(), ErrorReply> {
        let mark = Ttl::of(block.get("cache_control"), &format!("{path}."))?;
        let mut bare = block.clone();
        if let Value::Object(fields) = &mut bare {
            fields.shift_remove("cache_control");
        }
        let text = bare.to_string();
        self.block(kind, text.as_bytes(), count(&text), mark, path)
    }

    fn mark_last(&mut self, ttl: Ttl, path: &str) -> Result<(), ErrorReply> {
        if ttl == Ttl::Hour && self.after_minutes {
            return Err(ErrorReply::invalid(format!(
                "{path}.cache_control.ttl: a ttl='1h' cache_control block must not come after a \
                 ttl='5m' cache_control block. Note that blocks are processed in the following \
                 order: `tools`, `system`, `messages`."
            )));
        }
        self.after_minutes |= ttl == Ttl::Minutes;
        self.marks += 1;
        if let Some(last) = self.positions.last_mut() {
            last.mark = Some(ttl);
        }
        Ok(())
    }

    /// The mark that automatic caching sets on the last block.
    pub(super) fn mark_automatically(&mut self, ttl: Ttl) -> Result<(), ErrorReply> {
        match self.positions.last().and_then(|last| last.mark) {
            Some(other) if other == ttl => Ok(()),
            Some(_) => Err(ErrorReply::invalid(
                "cache_control: the last block already has a cache_control with another ttl",
            )),
            None => self.mark_last(ttl, ""),
        }
    }

    /// Refuses more marks than a request may carry.
    pub(super) fn check_marks(&self) -> Result<(), ErrorReply> {
        if self.marks <= MAX_MARKS {
            return Ok(());
        }
        Err(ErrorReply::invalid(format!(
            "A maximum of 4 blocks with cache_control may be provided. Found {}.",
            self.marks
        )))
    }
}

/// Which cache: they do not see each other's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CacheScope {
    /// Requests in batches.
    Batches,
    /// Single messages.
    Messages,
}

/// When and by whom a prompt is read or written.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheAccess {
    pub(super) scope: CacheScope,
    /// When the request starts, in microseconds.
    pub(super) at: i64,
    /// When its answer begins, from which on others can read what it wrote.
    pub(super) answered: i64,
    /// Requests with the same wave run at the same time.
    pub(super) wave: (u64, u64),
}

/// How the tokens of one prompt are billed, beside the remainder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CachedTokens {
    pub(super) read: u64,
    pub(super) written_5m: u64,
    pub(super) written_1h: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct CacheEntry {
    ttl: Ttl,
    readable: i64,
    expires: i64,
    wave: (u64, u64),
}

/// What has been written and can be read.
#[derive(Default)]
pub(super) struct PromptCaches {
    entries: HashMap<(CacheScope, [u8; 32]), CacheEntry>,
    changed: bool,
}

impl PromptCaches {
    /// Reads the entries an earlier server left; none if there are none.
    pub(super) fn load(path: &Path) -> io::Result<PromptCaches> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(PromptCaches::default()),
            Err(e) => return Err(e),
        };
        let saved: Vec<(CacheScope, String, CacheEntry)> = serde_json::from_slice(&text)?;
        let read = |(scope, hash, entry): (CacheScope, String, CacheEntry)| {
            blake3::Hash::from_hex(hash)
                .ok()
                .map(|hash| ((scope, *hash.as_bytes()), entry))
        };
        Ok(PromptCaches {
            entries: saved.into_iter().filter_map(read).collect(),
            changed: false,
        })
    }

    /// Writes the entries that live at `now`, if there is anything new.
    pub(super) fn save(&mut self, path: &Path, now: i64) -> io::Result<()> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        self.entries.retain(|_, entry| entry.expires > now);
        let mut saved: Vec<_> = self
            .entries
            .iter()
            .map(|((scope, hash), entry)| {
                (
                    *scope,
                    blake3::Hash::from_bytes(*hash).to_hex().to_string(),
                    *entry,
                )
            })
            .collect();
        saved.sort_by(|a, b| a.1.cmp(&b.1));
        super::store::replace(path, &serde_json::to_vec(&saved)?)
    }

    /// Bills one prompt, and remembers what it wrote and read.
    pub(super) fn charge(&mut self, prefix: &Prefix, moment: CacheAccess) -> CachedTokens {
        let mut charge = CachedTokens::default();
        if prefix.marks == 0 {
            return charge;
        }
        charge.read = self.read(prefix, moment);
        let mut done = charge.read;
        for position in &prefix.positions {
            let Some(ttl) = position.mark else { continue };
            if position.tokens < prefix.least_tokens || position.tokens <= done {
                continue;
            }
            match ttl {
                Ttl::Minutes => charge.written_5m += position.tokens - done,
                Ttl::Hour => charge.written_1h += position.tokens - done,
            }
            done = position.tokens;
            self.write((moment.scope, position.hash), ttl, moment);
        }
        charge
    }

    /// The tokens of the longest beginning that can be read; reading refreshes it.
    fn read(&mut self, prefix: &Prefix, moment: CacheAccess) -> u64 {
        for (n, _) in prefix
            .positions
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, p)| p.mark.is_some())
        {
            for position in prefix.positions[n.saturating_sub(LOOK_BACK)..=n]
                .iter()
                .rev()
            {
                if let Some(entry) = self.entries.get_mut(&(moment.scope, position.hash))
                    && entry.readable <= moment.at
                    && entry.expires > moment.at
                    && entry.wave != moment.wave
                {
                    entry.expires = entry.expires.max(moment.at + entry.ttl.micros());
                    self.changed = true;
                    return position.tokens;
                }
            }
        }
        0
    }

    fn write(&mut self, key: (CacheScope, [u8; 32]), ttl: Ttl, moment: CacheAccess) {
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.retain(|_, entry| entry.expires > moment.at);
            if self.entries.len() >= MAX_ENTRIES {
                return;
            }
        }
        self.changed = true;
        let fresh = CacheEntry {
            ttl,
            readable: moment.answered,
            expires: moment.at + ttl.micros(),
            wave: moment.wave,
        };
        let entry = self.entries.entry(key).or_insert(fresh);
        if entry.expires <= moment.at {
            *entry = fresh;
        }
        entry.expires = entry.expires.max(fresh.expires);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    /// A prompt of blocks: text, tokens, mark.
    fn prompt(blocks: &[(&str, u64, Option<Ttl>)]) -> Prefix {
        let mut prefix = Prefix::new(100);
        for (text, tokens, mark) in blocks {
            prefix
                .block("system", text.as_bytes(), *tokens, *mark, "system")
                .unwrap();
        }
        prefix
    }

    fn at(minute: i64, wave: u64) -> CacheAccess {
        CacheAccess {
            scope: CacheScope::Batches,
            at: minute * MINUTE,
            answered: minute * MINUTE,
            wave: (1, wave),
        }
    }

    #[test]
    fn requests_of_one_wave_all_write_and_the_next_wave_reads() {
        let mut caches = PromptCaches::default();
        let row = |text| prompt(&[("shared", 1_000, Some(Ttl::Minutes)), (text, 50, None)]);
        let write = CachedTokens {
            written_5m: 1_000,
            ..CachedTokens::default()
        };
        let read = CachedTokens {
            read: 1_000,
            ..CachedTokens::default()
        };
        assert_eq!(caches.charge(&row("a"), at(0, 0)), write);
        assert_eq!(caches.charge(&row("b"), at(0, 0)), write);
        assert_eq!(caches.charge(&row("c"), at(0, 1)), read);
    }

    #[test]
    fn an_entry_dies_after_its_time_and_a_read_gives_it_new_life() {
        let mut caches = PromptCaches::default();
        let row = prompt(&[("shared", 1_000, Some(Ttl::Minutes))]);
        caches.charge(&row, at(0, 0));
        assert_eq!(caches.charge(&row, at(4, 1)).read, 1_000);
        assert_eq!(caches.charge(&row, at(8, 2)).read, 1_000);
        assert_eq!(caches.charge(&row, at(13, 3)).read, 0);
    }

    #[test]
    fn bills_the_read_part_then_the_hour_then_the_minutes() {
        let mut caches = PromptCaches::default();
        let (a, b, c) = (
            ("a", 200, Some(Ttl::Hour)),
            ("b", 300, Some(Ttl::Hour)),
            ("c", 400, Some(Ttl::Minutes)),
        );
        caches.charge(&prompt(&[a]), at(0, 0));
        let charge = caches.charge(&prompt(&[a, b, c, ("row", 10, None)]), at(30, 1));
        assert_eq!(
            charge,
            CachedTokens {
                read: 200,
                written_1h: 300,
                written_5m: 400
            }
        );
    }

    #[test]
    fn caches_nothing_below_the_models_minimum() {
        let mut caches = PromptCaches::default();
        let row = prompt(&[("short", 99, Some(Ttl::Hour))]);
        for wave in 0..2 {
            assert_eq!(caches.charge(&row, at(0, wave)), CachedTokens::default());
        }
    }

    #[test]
    fn one_other_byte_or_another_scope_does_not_read() {
        let mut caches = PromptCaches::default();
        caches.charge(&prompt(&[("shared", 500, Some(Ttl::Hour))]), at(0, 0));
        assert_eq!(
            caches
                .charge(&prompt(&[("Shared", 500, Some(Ttl::Hour))]), at(1, 1))
                .read,
            0
        );
        let elsewhere = CacheAccess {
            scope: CacheScope::Messages,
            ..at(1, 2)
        };
        assert_eq!(
            caches
                .charge(&prompt(&[("shared", 500, Some(Ttl::Hour))]), elsewhere)
                .read,
            0
        );
    }

    #[test]
    fn looks_back_twenty_blocks_and_no_further() {
        for (between, found) in [(20, 500), (21, 0)] {
            let mut caches = PromptCaches::default();
            caches.charge(&prompt(&[("shared", 500, Some(Ttl::Hour))]), at(0, 0));
            let mut blocks = vec![("shared", 500, None)];
            blocks.extend((1..between).map(|_| ("x", 1, None)));
            blocks.push(("end", 1, Some(Ttl::Hour)));
            assert_eq!(
                caches.charge(&prompt(&blocks), at(1, 1)).read,
                found,
                "{between} blocks on"
            );
        }
    }

    #[test]
    fn survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.json");
        let row = prompt(&[("shared", 500, Some(Ttl::Hour))]);
        let mut caches = PromptCaches::load(&path).unwrap();
        caches.charge(&row, at(0, 0));
        caches.save(&path, MINUTE).unwrap();
        assert_eq!(
            PromptCaches::load(&path)
                .unwrap()
                .charge(&row, at(2, 0))
                .read,
            0,
            "the writer's own wave"
        );
        assert_eq!(
            PromptCaches::load(&path)
                .unwrap()
                .charge(&row, at(2, 1))
                .read,
            500
        );
    }

    #[test]
    fn refuses_an_hour_after_minutes_and_a_fifth_mark() {
        let mut prefix = prompt(&[("a", 1, Some(Ttl::Minutes))]);
        let late = prefix
            .block("system", b"b", 1, Some(Ttl::Hour), "system.1")
            .unwrap_err()
            .message;
        assert!(
            late.starts_with("system.1.cache_control.ttl: a ttl='1h'"),
            "{late}"
        );
        let many = prompt(&[("a", 1, Some(Ttl::Hour)); 5])
            .check_marks()
            .unwrap_err()
            .message;
        assert!(many.ends_with("Found 5."), "{many}");
    }
}
