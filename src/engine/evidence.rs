//! What the other files of a run show that its journal does not have: the journal lost its end, or
//! all of it.
//!
//! | found | means |
//! |---|---|
//! | a reservation, or a bill, in the ledger for a batch that the journal calls planned | its create call may have been made |
//! | results of such a batch on disk | it was accepted, and has ended |
//! | a manifest that counts more accepted batches than the journal | the create calls of all that are planned may have been made |
//! | a ledger row, or results, of a batch that the journal does not know | it is in its spool file: rows sent again, or a part of a split batch |
//! | parts of a batch in the spool, and no ledger row of that batch | the ledger is lost too, and the parts may have been sent |
//!
//! None of this is ever read as "not sent". What may have been sent is put in doubt, as after a
//! create call without an answer, and looked for in the provider's list (`doubt.rs`, `resume.rs`).
//! A number that was used once is never used for another batch.
//!
//! A process that ended right between the reservation of a batch and its intent leaves the first of
//! these too, so that batch is looked for as well.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use crate::batch::{Envelope, SpoolReader, SpooledBatch, sent_ids, summary_of};
use crate::journal::{
    Batch, BatchState, BatchStateKind, DoubtReason, Error as JournalError, Event, HeadFile,
    JournalEntry, Manifest, Plan, RunDir, State, Verdict, VerdictReason,
};
use crate::ledger::{EntryState, LedgerEntry};
use crate::provider::Formats;

use super::Error;
use super::run::format_of;

/// Which batches may have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that another file shows to have been sent.
    DoubtSearch,
    /// All of them: the journal is lost.
    All,
}

/// What the files beside the journal know.
pub(crate) struct Evidence<'a> {
    dir: &'a RunDir,
    plan: &'a Plan,
    entries: &'a BTreeMap<u32, LedgerEntry>,
    formats: Formats,
    /// The batches with results on disk, each with its attempt.
    results: BTreeMap<u32, u32>,
    /// The batches with a spool file.
    spools: BTreeSet<u32>,
    manifest: Option<Manifest>,
}

/// What the journal lacks.
#[derive(Debug, Default)]
pub(crate) struct MissingEvents {
    /// The events to record, in order.
    pub(crate) events: Vec<(Timestamp, Event)>,
    /// The batches in doubt.
    pub(crate) doubts: Vec<u32>,
    /// Why.
    pub(crate) reasons: Vec<DoubtReason>,
}

impl<'a> Evidence<'a> {
    /// Reads what is there. `entries` is what the ledger has on the run.
    pub(crate) fn read(
        dir: &'a RunDir,
        plan: &'a Plan,
        entries: &'a BTreeMap<u32, LedgerEntry>,
        formats: &Formats,
    ) -> Result<Evidence<'a>, Error> {
        let results = names_in(&dir.results())?.into_iter().filter_map(|name| {
            let (batch, rest) = name.strip_suffix(".jsonl.zst")?.split_once('.')?;
            Some((
                batch.parse().ok()?,
                rest.trim_end_matches(".so-far").parse().ok()?,
            ))
        });
        let spools = names_in(&dir.spool())?
            .into_iter()
            .filter_map(|name| name.strip_suffix(".parquet")?.parse().ok());
        // A manifest that cannot be read is no evidence; it is written again.
        let manifest = Manifest::read(dir)
            .ok()
            .flatten()
            .filter(|manifest| manifest.run == plan.run);
        Ok(Evidence {
            dir,
            plan,
            entries,
            formats: formats.clone(),
            results: results.collect(),
            spools: spools.collect(),
            manifest,
        })
    }

    /// What stands around the requests of the run's batches.
    fn envelope(&self) -> Result<Envelope, Error> {
        Ok(format_of(self.plan, &self.formats)?.envelope())
    }

    /// What a journal lacks whose events result in `state`.
    ///
    /// # Errors
    /// [`Error::Journal`] where what is lacking cannot be rebuilt, so that the run is not to be
    /// worked on; [`Error::Batch`].
    pub(crate) fn lost_events(
        &self,
        state: &State,
        scope: Scope,
        now: Timestamp,
    ) -> Result<MissingEvents, Error> {
        let mut rebuilding = Rebuilding {
            evidence: self,
            state: state.clone(),
            lost: MissingEvents::default(),
            added: Vec::new(),
        };
        let known = u32::try_from(state.batches().len()).unwrap_or(u32::MAX);
        let named = self.results.keys().chain(self.sent_by_ledger()).copied();
        let last = match scope {
            Scope::DoubtSearch => named.max(),
            Scope::All => named.chain(self.spools.iter().copied()).max(),
        };
        // Batches first: a doubt can only be recorded of a batch that the state has.
        rebuilding.add_batches(known + 1, last.unwrap_or(0), now)?;
        let parts = rebuilding.add_forgotten_parts(now)?;
        let knows_more = scope == Scope::DoubtSearch && self.manifest_knows_more(state);
        let unsent: Vec<u32> = rebuilding
            .state
            .batches()
            .iter()
            .filter(|batch| is_unsent(batch))
            .map(Batch::number)
            .collect();
        for batch in unsent {
            let reason = match self.why_sent(batch) {
                Some(reason) => reason,
                None if parts.contains(&batch) => DoubtReason::PartOfSplitBatch,
                None if scope == Scope::All => DoubtReason::JournalLost,
                None if knows_more => DoubtReason::ManifestCountsMore,
                None => continue,
            };
            rebuilding.doubt(batch, scope, now, reason)?;
        }
        Ok(rebuilding.lost)
    }

    /// Batches that the ledger has a reservation or a bill for.
    fn sent_by_ledger(&self) -> impl Iterator<Item = &u32> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.state != EntryState::Released)
            .map(|(batch, _)| batch)
    }

    /// Why a batch that was not sent by the journal may have been.
    fn why_sent(&self, batch: u32) -> Option<DoubtReason> {
        let state = self.entries.get(&batch).map(|entry| entry.state);
        match (self.results.contains_key(&batch), state) {
            (true, _) => Some(DoubtReason::ResultsOnDisk),
            (_, Some(EntryState::Billed)) => Some(DoubtReason::Billed),
            (_, Some(EntryState::Reserved)) => Some(DoubtReason::Reserved),
            _ => None,
        }
    }

    /// Whether the manifest counts what the journal does not. It is written after the journal, and
    /// what it counts here never becomes less.
    fn manifest_knows_more(&self, state: &State) -> bool {
        let Some(manifest) = &self.manifest else {
            return false;
        };
        type Counts = BTreeMap<BatchStateKind, u64>;
        let sum = |counts: &Counts, kinds: &[BatchStateKind]| -> u64 {
            kinds.iter().filter_map(|kind| counts.get(kind)).sum()
        };
        let journal = state.batches_by_state();
        let all = |counts: &Counts| counts.values().sum::<u64>();
        let accepted = [
            BatchStateKind::InFlight,
            BatchStateKind::Ended,
            BatchStateKind::Collected,
            BatchStateKind::Lost,
        ];
        let more = |kinds: &[BatchStateKind]| sum(&manifest.batches, kinds) > sum(&journal, kinds);
        more(&accepted)
            || more(&[BatchStateKind::Split])
            || more(&[BatchStateKind::Withdrawn])
            || all(&manifest.batches) > all(&journal)
    }

    /// Since when it has been known that a batch may have been sent: no create call was made later.
    fn last_call(&self, batch: u32, now: Timestamp) -> Timestamp {
        let entry = self
            .entries
            .get(&batch)
            .filter(|entry| entry.state != EntryState::Released);
        let recorded = entry
            .map(|entry| entry.reserved_at)
            .or_else(|| self.manifest.as_ref().map(|manifest| manifest.updated_at));
        recorded.map_or(now, |at| at.min(now))
    }
}

/// A journal that is rebuilt.
struct Rebuilding<'a> {
    evidence: &'a Evidence<'a>,
    state: State,
    lost: MissingEvents,
    /// The rows of batches that were added, each with its attempt.
    added: Vec<(u32, HashSet<u64>)>,
}

impl Rebuilding<'_> {
    fn push(&mut self, at: Timestamp, event: Event) -> Result<(), Error> {
        let line = JournalEntry::new(self.state.events() + 1, at, event.clone());
        let journal = || self.evidence.dir.journal();
        self.state
            .apply(&line)
            .map_err(|source| JournalError::Impossible {
                path: journal(),
                source,
            })?;
        self.lost.events.push((at, event));
        Ok(())
    }

    /// Adds the batches that the journal does not know, from their spool files.
    fn add_batches(&mut self, first: u32, last: u32, now: Timestamp) -> Result<(), Error> {
        let mut batch = first;
        while batch <= last {
            let head = self.head_of(batch)?;
            let spooled = self.describe(batch, head.as_ref())?;
            if let Some((parent, others)) = self.parts(&spooled)? {
                let parts: Vec<u32> = (batch..=others).collect();
                self.split(parent, &parts, now)?;
                batch = others + 1;
                continue;
            }
            self.add(batch, spooled, head, now)?;
            batch += 1;
        }
        Ok(())
    }

    /// Splits batches whose parts only the spool knows, and returns the parts. The ledger has a row
    /// of every batch that it saw being sent, so one without a row was sent by another ledger, and
    /// so may its parts have been.
    fn add_forgotten_parts(&mut self, now: Timestamp) -> Result<BTreeSet<u32>, Error> {
        let mut added = BTreeSet::new();
        loop {
            let next = u32::try_from(self.state.batches().len())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            if !self.evidence.spools.contains(&next) {
                return Ok(added);
            }
            let first = self.describe(next, None)?;
            let Some((parent, last)) = self.parts(&first)? else {
                return Ok(added);
            };
            if self.evidence.entries.contains_key(&parent) {
                return Ok(added);
            }
            let parts: Vec<u32> = (next..=last).collect();
            self.split(parent, &parts, now)?;
            added.extend(parts);
        }
    }

    fn spool_of(&self, batch: u32) -> std::path::PathBuf {
        self.evidence.dir.spool_file(batch)
    }

    /// The head that a batch has for itself.
    fn head_of(&self, batch: u32) -> Result<Option<HeadFile>, Error> {
        let path = self
            .evidence
            .dir
            .path()
            .join(HeadFile::describe(Some(batch), b"").file);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(HeadFile::describe(Some(batch), &bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File {
                doing: "read",
                path,
                source,
            }),
        }
    }

    fn describe(&self, batch: u32, head: Option<&HeadFile>) -> Result<SpooledBatch, Error> {
        let path = self.spool_of(batch);
        if !path.is_file() {
            let what = format!(
                "batch {batch} was sent, by the ledger or its results, and neither the journal nor \
                 the spool knows it"
            );
            return Err(JournalError::Contradiction {
                path: self.evidence.dir.journal(),
                what,
            }
            .into());
        }
        let head: Arc<[u8]> = self
            .evidence
            .dir
            .read_head(head.unwrap_or(&self.evidence.plan.head))?;
        Ok(summary_of(&path, batch, self.evidence.envelope()?, head)?)
    }

    /// The batch that this one and those up to another are the parts of, if they are, and the last
    /// of them: it was too large for the provider, so it was not accepted. Parts that were not sent
    /// count too: without them the whole would be sent again.
    fn parts(&self, first: &SpooledBatch) -> Result<Option<(u32, u32)>, Error> {
        let may_be_split = |batch: &&Batch| {
            (is_unsent(batch) || matches!(batch.state, BatchState::Intended { .. }))
                && batch.spooled.requests > first.requests
                && !self.evidence.results.contains_key(&batch.number())
                && self
                    .evidence
                    .entries
                    .get(&batch.number())
                    .is_none_or(|entry| entry.state != EntryState::Billed)
        };
        let wholes: Vec<&Batch> = self.state.batches().iter().filter(may_be_split).collect();
        let most = wholes
            .iter()
            .map(|batch| batch.spooled.requests)
            .max()
            .unwrap_or(0);
        let mut requests = first.requests;
        for part in first.number + 1.. {
            if requests >= most || !self.evidence.spools.contains(&part) {
                break;
            }
            requests = requests.saturating_add(requests_in(&self.spool_of(part))?);
            for whole in wholes
                .iter()
                .filter(|batch| batch.spooled.requests == requests)
            {
                let mut ids = Vec::new();
                for part in first.number..=part {
                    ids.extend(ids_in(&self.spool_of(part))?);
                }
                if ids_in(&self.spool_of(whole.number()))?.eq(ids) {
                    return Ok(Some((whole.number(), part)));
                }
            }
        }
        Ok(None)
    }

    fn split(&mut self, parent: u32, parts: &[u32], now: Timestamp) -> Result<(), Error> {
        let head = self
            .state
            .batch(parent)
            .and_then(|batch| batch.head.clone());
        let head = self
            .evidence
            .dir
            .read_head(head.as_ref().unwrap_or(&self.evidence.plan.head))?;
        let envelope = self.evidence.envelope()?;
        let describe =
            |part: &u32| summary_of(&self.spool_of(*part), *part, envelope, Arc::clone(&head));
        let into = parts.iter().map(describe).collect::<Result<Vec<_>, _>>()?;
        if self.state.batch(parent).is_some_and(is_unsent) {
            self.intend(parent, now)?;
        }
        let message = "it was split before the run's journal was lost".to_owned();
        self.push(
            now,
            Event::Refused {
                batch: parent,
                status: Some(413),
                kind: "request_too_large".to_owned(),
                message,
                retry_at: None,
            },
        )?;
        self.push(
            now,
            Event::Split {
                batch: parent,
                into,
            },
        )
    }

    /// Adds a batch of rows that were sent before.
    fn add(
        &mut self,
        batch: u32,
        spooled: SpooledBatch,
        head: Option<HeadFile>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut rows = HashSet::new();
        for stretch in SpoolReader::open_without_fragments(&self.spool_of(batch))? {
            rows.extend(stretch?.row_index.values().iter().copied());
        }
        let earlier = self
            .added
            .iter()
            .filter(|(_, others)| !others.is_disjoint(&rows))
            .map(|(attempt, _)| *attempt)
            .max();
        let saved = self.evidence.results.get(&batch).copied();
        let attempt = saved.unwrap_or_else(|| earlier.unwrap_or(1) + 1).max(2);
        self.added.push((attempt, rows));
        self.push(
            now,
            Event::Added {
                batch,
                attempt,
                spooled,
                head,
            },
        )
    }

    /// Records the intent of a batch, and that the checkpoints before it are to be judged again.
    fn intend(&mut self, number: u32, now: Timestamp) -> Result<(), Error> {
        let Some(batch) = self.state.batch(number).cloned() else {
            return Ok(());
        };
        while let Some(checkpoint) = self
            .state
            .checkpoints()
            .iter()
            .find(|checkpoint| checkpoint.verdict.is_none())
            .cloned()
        {
            if self.state.checkpoint_before(&batch).is_none() {
                break;
            }
            let reason = VerdictReason::JournalLost;
            self.push(
                now,
                Event::Judged {
                    batch: checkpoint.checkpoint.batch,
                    verdict: Verdict::Rescued,
                    reason,
                },
            )?;
        }
        let SpooledBatch {
            requests,
            body_bytes: bytes,
            body_hash,
            ..
        } = batch.spooled;
        let at = self
            .evidence
            .entries
            .get(&number)
            .map_or(self.evidence.plan.created_at, |entry| entry.reserved_at);
        self.push(
            at.min(now),
            Event::Intent {
                batch: number,
                requests,
                bytes,
                body_hash,
                newest_listed: None,
            },
        )
    }

    fn doubt(
        &mut self,
        batch: u32,
        scope: Scope,
        now: Timestamp,
        reason: DoubtReason,
    ) -> Result<(), Error> {
        self.intend(batch, now)?;
        // A run may be rescued seconds after its last create call, with a ledger that is not the
        // one it was sent with.
        let since = if scope == Scope::All {
            now
        } else {
            self.evidence.last_call(batch, now)
        };
        self.push(
            since,
            Event::Doubt {
                batch,
                reason: reason.clone(),
            },
        )?;
        self.lost.doubts.push(batch);
        if !self.lost.reasons.contains(&reason) {
            self.lost.reasons.push(reason);
        }
        Ok(())
    }
}

fn is_unsent(batch: &Batch) -> bool {
    batch.spooled.requests > 0
        && matches!(
            batch.state,
            BatchState::Planned | BatchState::Refused { .. }
        )
}

fn requests_in(spool: &Path) -> Result<u32, Error> {
    Ok(u32::try_from(ids_in(spool)?.count()).unwrap_or(u32::MAX))
}

/// The ids that a spool file sends, as far as it can be read.
fn ids_in(spool: &Path) -> Result<impl Iterator<Item = String> + use<>, Error> {
    let ids = sent_ids(spool)?.map_while(Result::ok);
    Ok(ids.flat_map(|ids| ids.iter().flatten().map(str::to_owned).collect::<Vec<_>>()))
}

fn names_in(folder: &Path) -> Result<Vec<String>, Error> {
    let cannot = |source| Error::File {
        doing: "read",
        path: folder.to_path_buf(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(cannot)?,
    };
    entries
        .map(|entry| {
            Ok(entry
                .map_err(cannot)?
                .file_name()
                .to_string_lossy()
                .into_owned())
        })
        .collect()
}
