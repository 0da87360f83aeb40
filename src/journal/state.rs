//! Events → where each batch stands and what is left.
//!
//! ```text
//!                      ┌─ refused ──┐
//!                      ▼            │
//!  added ─▶ Planned ─ intent ─▶ Intended ─ accepted ─────────▶ Accepted ─ ended ─▶ Ended ─ collected ─▶ Collected
//!              ▲                    │ doubt                    ▲  ↻ seen,           │                    ↻ again
//!              │                    ▼                          │    cancel_asked    │
//!              └───── absent ──── InDoubt ───── adopted ───────┘  └───── lost ──────┴──▶ OutputChange ─ ended ─▶ Ended
//!
//!  Refused ─ split ─▶ Split, and new batches of the same attempt, Planned       Planned, Refused ─ withdrawn ─▶ Withdrawn
//!
//!  gate behind a leading batch:   waiting ─ judged ─┬─ passed, timed_out ─▶ open
//!                                    ▲              └─ stopped ─▶ shut ─ overruled ─▶ open
//!                                    └─ rescued
//! ```
//!
//! What lies behind a gate is sent when it is open, and an intent before that cannot have happened.
//!
//! After `abandoned` nothing is sent; what was sent is still watched, collected and exported.
//!
//! A batch that is `Intended` when the journal is opened is as good as in doubt: the process ended
//! between intent and answer, and may or may not have sent it. A batch without requests is `Empty`
//! and goes nowhere. Pure: no clock, no file.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;

use super::{Checkpoint, CheckpointKind, Entry, Event, HeadFile, Verdict};
use crate::batch::SpooledBatch;
use crate::join::LineCounts;
use crate::outcome::Status;
use crate::provider::{BatchId, Counts, Processing};

/// Where a batch stands.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchState {
    /// It has no requests.
    Empty,
    /// Not sent.
    Planned,
    /// The create call was about to be made.
    Intended {
        /// When.
        at: Timestamp,
    },
    /// The last create call certainly had no effect.
    Refused {
        /// When.
        at: Timestamp,
        /// HTTP status, where there was an answer.
        status: Option<u16>,
        /// The provider's kind of error.
        kind: String,
        /// The provider's words.
        message: String,
        /// Until when the provider asks to wait.
        retry_at: Option<Timestamp>,
    },
    /// Nobody knows whether the create call had an effect.
    InDoubt {
        /// When the call was about to be made.
        intended_at: Timestamp,
        /// Since when there is a doubt.
        since: Timestamp,
        /// Why.
        reason: String,
    },
    /// The provider has it; see [`Batch::remote`].
    Accepted {
        /// When a cancel was asked for.
        cancel_asked: Option<Timestamp>,
        /// The last news.
        seen: Option<(Timestamp, Processing, Counts)>,
    },
    /// It is over, and its results wait to be fetched.
    Ended {
        /// Its counters.
        counts: Counts,
        /// When it ended, in the provider's time.
        ended_at: Option<Timestamp>,
    },
    /// Its results are on disk.
    Collected {
        /// Its counters.
        counts: Counts,
        /// The results, relative to the run directory.
        file: String,
        /// blake3 of the results, in hex.
        file_hash: String,
        /// What the lines were.
        lines: LineCounts,
    },
    /// Its results can never be fetched.
    OutputChange {
        /// Why.
        reason: String,
    },
    /// It was too large, and its requests go in other batches.
    Split {
        /// The numbers of those.
        into: Vec<u32>,
    },
    /// A person canceled the run before it was sent.
    Withdrawn,
}

impl BatchState {
    /// The word in manifests and messages.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            BatchState::Empty => "empty",
            BatchState::Planned => "planned",
            BatchState::Intended { .. } | BatchState::InDoubt { .. } => "in_doubt",
            BatchState::Refused { .. } => "refused",
            BatchState::Accepted { .. } => "in_flight",
            BatchState::Ended { .. } => "ended",
            BatchState::Collected { .. } => "collected",
            BatchState::OutputChange { .. } => "lost",
            BatchState::Split { .. } => "split",
            BatchState::Withdrawn => "withdrawn",
        }
    }

    /// The next thing to do for it.
    #[must_use]
    pub fn next(&self) -> Option<Step> {
        match self {
            BatchState::Planned | BatchState::Refused { .. } => Some(Step::Submit),
            BatchState::Intended { .. } | BatchState::InDoubt { .. } => Some(Step::Settle),
            BatchState::Accepted { .. } => Some(Step::Watch),
            BatchState::Ended { .. } => Some(Step::Collect),
            BatchState::Empty
            | BatchState::Collected { .. }
            | BatchState::OutputChange { .. }
            | BatchState::Split { .. }
            | BatchState::Withdrawn => None,
        }
    }
}

/// What is to be done for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Find out whether it was made. Nothing else may be sent for it before.
    Settle,
    /// Send it.
    Submit,
    /// Look whether it is over.
    Watch,
    /// Fetch its results.
    Collect,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was sent.
    Planned,
    /// Some batches are to be sent.
    Submitting,
    /// It is not known of some batch whether it was made.
    InDoubt,
    /// Everything is sent, some batches are not over.
    InFlight,
    /// Everything is over, some results are not fetched.
    Ended,
    /// What the first rows came to speaks against sending the rest; a person decides.
    Stopped,
    /// All results are here, the output is not written.
    Collected,
    /// The output was held back.
    HeldBack,
    /// The output is in its place.
    Exported,
    /// Given up.
    Abandoned,
}

impl Stage {
    /// The word in manifests and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Planned => "planned",
            Stage::Submitting => "submitting",
            Stage::InDoubt => "in_doubt",
            Stage::InFlight => "in_flight",
            Stage::Ended => "ended",
            Stage::Stopped => "stopped",
            Stage::Collected => "collected",
            Stage::HeldBack => "held_back",
            Stage::Exported => "exported",
            Stage::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A batch as the provider knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The provider's id.
    pub id: BatchId,
    /// When it was created, in the provider's time.
    pub created_at: Timestamp,
    /// Whether it was found after its create call had lost its answer.
    pub adopted: bool,
    /// Since when it has been known, in this machine's time.
    pub known_since: Timestamp,
    /// When its create call was about to be made, in this machine's time: it is not older.
    pub sent_at: Timestamp,
}

/// A batch of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// What it holds; its number is [`SpooledBatch::piece`].
    pub piece: SpooledBatch,
    /// Which try this is for its rows, counted from 1.
    pub attempt: u32,
    /// What its requests have in common, where that is not the plan's head.
    pub head: Option<HeadFile>,
    /// How many create calls were about to be made for it.
    pub intents: u32,
    /// How many of them certainly had no effect.
    pub refusals: u32,
    /// No batch that one of these calls made can be older than this, in the provider's time; `None`
    /// where that is not known.
    pub not_before: Option<Timestamp>,
    /// What the provider knows it as.
    pub remote: Option<Remote>,
    /// When it was not found, after the time for which its results are kept.
    pub not_found: Vec<Timestamp>,
    /// Where it stands.
    pub state: BatchState,
}

impl Batch {
    fn new(piece: SpooledBatch, attempt: u32, head: Option<HeadFile>) -> Batch {
        let state = if piece.requests == 0 {
            BatchState::Empty
        } else {
            BatchState::Planned
        };
        Batch {
            piece,
            attempt,
            head,
            intents: 0,
            refusals: 0,
            not_before: None,
            remote: None,
            not_found: Vec::new(),
            state,
        }
    }

    /// Its number, counted from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.piece.number
    }

    /// Whether its saved results end before the last line: fewer lines than its counters tell of,
    /// so the provider has more. Earlier versions saved such results as if they were all.
    #[must_use]
    pub fn falls_short(&self) -> bool {
        match &self.state {
            BatchState::Collected { counts, lines, .. } => {
                lines.missing > 0 && lines.lines.saturating_sub(lines.torn) < counts.total()
            }
            _ => false,
        }
    }
}

/// A gate, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointState {
    /// The gate.
    pub gate: Checkpoint,
    /// The first and the last row of its leading batch, by `row_index`.
    rows: (u64, u64),
    /// When it was judged last, how, and why.
    pub verdict: Option<(Timestamp, Verdict, String)>,
}

impl CheckpointState {
    /// Whether what lies behind it may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.last_verdict().is_some_and(Verdict::is_open)
    }

    /// Whether a person is to decide.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.last_verdict() == Some(Verdict::Stopped)
    }

    fn last_verdict(&self) -> Option<Verdict> {
        self.verdict.as_ref().map(|(_, verdict, _)| *verdict)
    }

    /// Whether a batch sends rows that lie behind it.
    fn lies_before(&self, batch: &Batch) -> bool {
        batch.piece.requests > 0 && batch.piece.first_row > self.rows.1
    }

    /// Whether a batch is the leading one, or a part of it.
    fn is_led_by(&self, batch: &Batch) -> bool {
        let is_part = || {
            batch.piece.requests > 0 && (self.rows.0..=self.rows.1).contains(&batch.piece.first_row)
        };
        batch.number() == self.gate.batch || (batch.attempt == 1 && is_part())
    }
}

/// What was exported, or held back.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// When.
    pub at: Timestamp,
    /// The output; `None` where it was held back.
    pub path: Option<PathBuf>,
    /// Rows.
    pub rows: u64,
    /// Rows by what became of them.
    pub by_status: BTreeMap<Status, u64>,
}

/// A line that cannot follow the lines before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {reason}", batch.map(|batch| format!(" (batch {batch})")).unwrap_or_default())]
pub struct Impossible {
    /// The line, counted from 1.
    pub line: u64,
    /// The batch it is about.
    pub batch: Option<u32>,
    /// Why not.
    pub reason: String,
}

/// Where the run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    batches: Vec<Batch>,
    gates: Vec<CheckpointState>,
    ids: HashMap<BatchId, u32>,
    events: u64,
    export: Option<Export>,
    is_export_current: bool,
    /// Whether a person called the run back, and has not had rows sent again since.
    is_canceled: bool,
    abandoned: Option<String>,
}

impl State {
    /// A run of the planned batches, of which nothing has happened.
    #[must_use]
    pub fn new(pieces: &[SpooledBatch], gates: &[Checkpoint]) -> State {
        let piece = |gate: &Checkpoint| pieces.get((gate.batch as usize).wrapping_sub(1));
        let rows = |gate: &Checkpoint| {
            piece(gate).map_or((u64::MAX, u64::MAX), |piece| {
                (piece.first_row, piece.last_row)
            })
        };
        let gate = |gate: &Checkpoint| CheckpointState {
            gate: gate.clone(),
            rows: rows(gate),
            verdict: None,
        };
        State {
            batches: pieces
                .iter()
                .map(|piece| Batch::new(piece.clone(), 1, None))
                .collect(),
            gates: gates.iter().map(gate).collect(),
            ids: HashMap::new(),
            events: 0,
            export: None,
            is_export_current: false,
            is_canceled: false,
            abandoned: None,
        }
    }

    /// The state after some events.
    ///
    /// # Errors
    /// The first event that cannot follow those before it.
    pub fn from_events(
        pieces: &[SpooledBatch],
        gates: &[Checkpoint],
        entries: &[Entry],
    ) -> Result<State, Impossible> {
        let mut state = State::new(pieces, gates);
        entries.iter().try_for_each(|entry| state.apply(entry))?;
        Ok(state)
    }

    /// Takes one more event in.
    ///
    /// # Errors
    /// When it cannot follow those before it; the state is then as it was.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Impossible> {
        let impossible = |reason| Impossible {
            line: entry.line(),
            batch: entry.event.batch(),
            reason,
        };
        self.check_order(entry).map_err(impossible)?;
        self.take(entry.at, &entry.event).map_err(impossible)?;
        self.events = entry.seq;
        Ok(())
    }

    fn check_order(&self, entry: &Entry) -> Result<(), String> {
        let expected = self.events + 1;
        if entry.seq != expected {
            return Err(format!("event {} follows event {}", entry.seq, self.events));
        }
        let sends = matches!(
            entry.event,
            Event::Added { .. } | Event::Intent { .. } | Event::Split { .. } | Event::Judged { .. }
        );
        match self.abandoned {
            Some(_) if sends => Err("the run was given up before".to_owned()),
            _ => Ok(()),
        }
    }

    fn take(&mut self, at: Timestamp, event: &Event) -> Result<(), String> {
        use BatchState as S;
        match event {
            Event::Added {
                batch,
                attempt,
                piece,
                head,
            } => {
                self.is_canceled = false;
                self.add(*batch, *attempt, piece, head.as_ref())
            }
            Event::Intent {
                batch,
                requests,
                bytes,
                body_hash,
                newest_listed,
            } => {
                // Batches are made one after the other, so those that are known are older than the
                // one to come.
                let newest_known = self
                    .batches
                    .iter()
                    .filter_map(|batch| Some(batch.remote.as_ref()?.created_at))
                    .max();
                self.check_gates(*batch)?;
                let batch = self.standing(*batch, "sent", |state| {
                    matches!(state, S::Planned | S::Refused { .. })
                })?;
                let planned = (
                    batch.piece.requests,
                    batch.piece.body_bytes,
                    &batch.piece.body_hash,
                );
                if planned != (*requests, *bytes, body_hash) {
                    return Err("its body is not the planned one".to_owned());
                }
                batch.intents += 1;
                // The first call counts: what it made may show itself as late as after the second.
                batch.not_before = match batch.intents {
                    1 => newest_listed.or(newest_known),
                    _ => batch.not_before,
                };
                batch.state = S::Intended { at };
                Ok(())
            }
            Event::Refused {
                batch,
                status,
                kind,
                message,
                retry_at,
            } => {
                let batch = self.standing(*batch, "refused", |state| {
                    matches!(state, S::Intended { .. })
                })?;
                batch.refusals += 1;
                let (kind, message) = (kind.clone(), message.clone());
                batch.state = S::Refused {
                    at,
                    status: *status,
                    kind,
                    message,
                    retry_at: *retry_at,
                };
                Ok(())
            }
            Event::Accepted {
                batch,
                id,
                created_at,
            } => {
                let sent_at = sent_at(
                    self.standing(*batch, "accepted", |state| {
                        matches!(state, S::Intended { .. })
                    })?,
                    at,
                );
                self.claim(
                    *batch,
                    Remote {
                        id: id.clone(),
                        created_at: *created_at,
                        adopted: false,
                        known_since: at,
                        sent_at,
                    },
                )
            }
            Event::Doubt { batch, reason } => {
                let batch = self.standing(*batch, "in doubt", |state| {
                    matches!(state, S::Intended { .. })
                })?;
                if let S::Intended { at: intended_at } = batch.state {
                    batch.state = S::InDoubt {
                        intended_at,
                        since: at,
                        reason: reason.clone(),
                    };
                }
                Ok(())
            }
            Event::Adopted {
                batch,
                id,
                created_at,
                proof: _,
            } => {
                let sent_at = sent_at(self.standing(*batch, "adopted", is_open)?, at);
                self.claim(
                    *batch,
                    Remote {
                        id: id.clone(),
                        created_at: *created_at,
                        adopted: true,
                        known_since: at,
                        sent_at,
                    },
                )
            }
            Event::Absent {
                batch,
                checked_until: _,
                by_person: _,
            } => {
                self.standing(*batch, "absent", is_open)?.state = S::Planned;
                Ok(())
            }
            Event::Split { batch, into } => self.split(*batch, into),
            Event::Withdrawn { batch } => {
                let batch = self.standing(*batch, "withdrawn", |state| {
                    matches!(state, S::Planned | S::Refused { .. })
                })?;
                batch.state = S::Withdrawn;
                (self.is_export_current, self.is_canceled) = (false, true);
                Ok(())
            }
            Event::CancelAsked { batch } => {
                let batch = self.standing(*batch, "canceled", |state| {
                    matches!(state, S::Accepted { .. })
                })?;
                if let S::Accepted { cancel_asked, .. } = &mut batch.state {
                    cancel_asked.get_or_insert(at);
                }
                self.is_canceled = true;
                Ok(())
            }
            Event::Seen {
                batch,
                status,
                counts,
            } => {
                let batch =
                    self.standing(*batch, "seen", |state| matches!(state, S::Accepted { .. }))?;
                if let S::Accepted { seen, .. } = &mut batch.state {
                    *seen = Some((at, status.clone(), *counts));
                }
                Ok(())
            }
            Event::Ended {
                batch,
                counts,
                ended_at,
            } => {
                // What was given up may be found again.
                let batch = self.standing(*batch, "ended", |state| {
                    matches!(state, S::Accepted { .. } | S::OutputChange { .. })
                })?;
                batch.state = S::Ended {
                    counts: *counts,
                    ended_at: *ended_at,
                };
                batch.not_found.clear();
                Ok(())
            }
            Event::NotFound { batch } => {
                let batch = self.standing(*batch, "not found", |state| {
                    matches!(state, S::Accepted { .. } | S::Ended { .. })
                })?;
                batch.not_found.push(at);
                Ok(())
            }
            Event::Collected {
                batch,
                file,
                file_hash,
                counts: lines,
            } => {
                let batch = self.standing(*batch, "collected", |state| {
                    matches!(state, S::Ended { .. } | S::Collected { .. })
                })?;
                if let S::Ended { counts, .. } | S::Collected { counts, .. } = batch.state {
                    batch.state = S::Collected {
                        counts,
                        file: file.clone(),
                        file_hash: file_hash.clone(),
                        lines: *lines,
                    };
                }
                self.is_export_current = false;
                Ok(())
            }
            Event::OutputChange { batch, reason } => {
                let batch = self.standing(*batch, "lost", |state| {
                    matches!(state, S::Accepted { .. } | S::Ended { .. })
                })?;
                batch.state = S::OutputChange {
                    reason: reason.clone(),
                };
                self.is_export_current = false;
                Ok(())
            }
            Event::Judged {
                batch,
                verdict,
                reason,
            } => self.judge(at, *batch, *verdict, reason),
            Event::Exported {
                path,
                rows,
                by_status,
            } => {
                self.exported(Export {
                    at,
                    path: Some(path.clone()),
                    rows: *rows,
                    by_status: by_status.clone(),
                });
                Ok(())
            }
            Event::HeldBack { rows, by_status } => {
                self.exported(Export {
                    at,
                    path: None,
                    rows: *rows,
                    by_status: by_status.clone(),
                });
                Ok(())
            }
            Event::Abandoned { reason } => {
                self.abandoned = Some(reason.clone());
                Ok(())
            }
        }
    }

    fn add(
        &mut self,
        batch: u32,
        attempt: u32,
        piece: &SpooledBatch,
        head: Option<&HeadFile>,
    ) -> Result<(), String> {
        let next = self.batches.len() + 1;
        if batch as usize != next || piece.number != batch {
            return Err(format!("the next new batch is {next}"));
        }
        if attempt < 2 {
            return Err("an added batch is at least the second try for its rows".to_owned());
        }
        self.batches
            .push(Batch::new(piece.clone(), attempt, head.cloned()));
        self.is_export_current = false;
        Ok(())
    }

    /// The requests of a refused batch go in new ones.
    fn split(&mut self, number: u32, into: &[SpooledBatch]) -> Result<(), String> {
        let next = self.batches.len() + 1;
        if into.len() < 2
            || (next..)
                .zip(into)
                .any(|(next, piece)| piece.number as usize != next)
        {
            return Err(format!(
                "it is split in {}, and the next new batch is {next}",
                into.len()
            ));
        }
        let batch = self.standing(number, "split", |state| {
            matches!(state, BatchState::Refused { .. })
        })?;
        let requests: u64 = into.iter().map(|piece| u64::from(piece.requests)).sum();
        if requests != u64::from(batch.piece.requests) {
            return Err(format!(
                "its {} requests became {requests}",
                batch.piece.requests
            ));
        }
        batch.state = BatchState::Split {
            into: into.iter().map(|piece| piece.number).collect(),
        };
        let (attempt, head) = (batch.attempt, batch.head.clone());
        self.batches.extend(
            into.iter()
                .map(|piece| Batch::new(piece.clone(), attempt, head.clone())),
        );
        self.is_export_current = false;
        Ok(())
    }

    /// The batch, if it stands where it can become what the event says.
    fn standing(
        &mut self,
        number: u32,
        becomes: &str,
        can: impl Fn(&BatchState) -> bool,
    ) -> Result<&mut Batch, String> {
        let batches = self.batches.len();
        let batch = (number as usize)
            .checked_sub(1)
            .and_then(|index| self.batches.get_mut(index));
        let batch = batch.ok_or_else(|| format!("the run has {batches} batches"))?;
        if can(&batch.state) {
            Ok(batch)
        } else {
            Err(format!(
                "it cannot be {becomes}, since it is {}",
                batch.state.as_str()
            ))
        }
    }

    /// The batch is the one the provider knows by an id. No two batches have one id, no batch has
    /// two.
    fn claim(&mut self, number: u32, remote: Remote) -> Result<(), String> {
        if let Some(other) = self.ids.get(&remote.id) {
            return Err(format!("the id `{}` is that of batch {other}", remote.id));
        }
        self.ids.insert(remote.id.clone(), number);
        let batch = &mut self.batches[number as usize - 1];
        batch.remote = Some(remote);
        batch.state = BatchState::Accepted {
            cancel_asked: None,
            seen: None,
        };
        Ok(())
    }

    /// Whether a batch may be about to be sent. A gate that was rescued says nothing of the time
    /// before.
    fn check_gates(&self, number: u32) -> Result<(), String> {
        let Some(batch) = self.batch(number) else {
            return Ok(());
        };
        let is_shut = |gate: &&CheckpointState| {
            !gate.is_open()
                && gate.last_verdict() != Some(Verdict::Rescued)
                && gate.lies_before(batch)
        };
        match self.gates.iter().find(is_shut) {
            Some(gate) => Err(format!(
                "it cannot be sent before batch {} is judged",
                gate.gate.batch
            )),
            None => Ok(()),
        }
    }

    fn judge(
        &mut self,
        at: Timestamp,
        batch: u32,
        verdict: Verdict,
        reason: &str,
    ) -> Result<(), String> {
        let place = self
            .gates
            .iter()
            .position(|gate| gate.gate.batch == batch)
            .ok_or("nothing waits for it")?;
        let gate = &self.gates[place];
        let can = match (gate.last_verdict(), verdict) {
            (None, Verdict::Rescued) => true,
            (Some(Verdict::Stopped), Verdict::Overruled) => true,
            (None | Some(Verdict::Rescued), verdict) => {
                let is_next = self.gates[..place].iter().all(CheckpointState::is_open);
                let is_back = self.is_back(gate);
                is_next
                    && match verdict {
                        Verdict::Passed | Verdict::Stopped => is_back,
                        Verdict::TimedOut => gate.gate.kind == CheckpointKind::Prime && !is_back,
                        Verdict::Overruled | Verdict::Rescued => false,
                    }
            }
            _ => false,
        };
        if !can {
            return Err(format!("it cannot be judged `{}`", verdict.as_str()));
        }
        self.gates[place].verdict = Some((at, verdict, reason.to_owned()));
        Ok(())
    }

    fn exported(&mut self, export: Export) {
        self.export = Some(export);
        self.is_export_current = true;
    }

    /// Events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The batches, by number.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// A batch by its number.
    #[must_use]
    pub fn batch(&self, number: u32) -> Option<&Batch> {
        self.batches.get((number as usize).checked_sub(1)?)
    }

    /// The batch of this run that the provider knows by this id.
    #[must_use]
    pub fn batch_of(&self, id: &BatchId) -> Option<u32> {
        self.ids.get(id).copied()
    }

    /// What is to be done next for each batch that is not finished; once the run was given up,
    /// nothing is sent.
    pub fn what_is_left(&self) -> impl Iterator<Item = (u32, Step)> {
        self.batches
            .iter()
            .filter_map(|batch| Some((batch.number(), self.next(batch)?)))
    }

    /// What is to be done next for a batch.
    fn next(&self, batch: &Batch) -> Option<Step> {
        batch
            .state
            .next()
            .filter(|step| *step != Step::Submit || self.abandoned.is_none())
    }

    /// The batches for which this is to be done next.
    pub fn left_to(&self, step: Step) -> impl Iterator<Item = &Batch> {
        self.batches
            .iter()
            .filter(move |batch| self.next(batch) == Some(step))
    }

    /// The gates, in order.
    #[must_use]
    pub fn gates(&self) -> &[CheckpointState] {
        &self.gates
    }

    /// Whether everything of a gate's leading batch is back that can come back.
    #[must_use]
    pub fn is_back(&self, gate: &CheckpointState) -> bool {
        self.batches
            .iter()
            .filter(|batch| gate.is_led_by(batch))
            .all(|batch| batch.state.next().is_none())
    }

    /// Since when the provider has had a gate's leading batch, or a part of it, in this machine's
    /// time.
    #[must_use]
    pub fn known_since(&self, gate: &CheckpointState) -> Option<Timestamp> {
        let parts = self.batches.iter().filter(|batch| gate.is_led_by(batch));
        parts
            .filter_map(|batch| Some(batch.remote.as_ref()?.known_since))
            .min()
    }

    /// The gate that a batch waits at.
    #[must_use]
    pub fn gate_before(&self, batch: &Batch) -> Option<&CheckpointState> {
        self.gates
            .iter()
            .find(|gate| !gate.is_open() && gate.lies_before(batch))
    }

    /// The first gate that is not open and has batches behind it that are to be sent.
    #[must_use]
    pub fn next_gate(&self) -> Option<&CheckpointState> {
        let waiting = self
            .left_to(Step::Submit)
            .filter_map(|batch| self.gate_before(batch));
        waiting.min_by_key(|gate| gate.gate.batch)
    }

    /// The batches that may be sent next: planned, and behind no gate that is not open.
    pub fn to_send(&self) -> impl Iterator<Item = &Batch> {
        self.left_to(Step::Submit)
            .filter(|batch| self.gate_before(batch).is_none())
    }

    /// Requests the provider is working on, or may be.
    #[must_use]
    pub fn requests_in_flight(&self) -> u64 {
        let in_flight = self
            .batches
            .iter()
            .filter(|batch| matches!(batch.state.next(), Some(Step::Settle | Step::Watch)));
        in_flight.map(|batch| u64::from(batch.piece.requests)).sum()
    }

    /// Whether all results that can be had are here.
    #[must_use]
    pub fn is_collected(&self) -> bool {
        self.batches.iter().all(|batch| self.next(batch).is_none())
    }

    /// Whether a person called the run back: then nothing is sent again by itself.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.is_canceled
    }

    /// Whether nothing more is sent until a person has decided.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.next_gate().is_some_and(CheckpointState::is_stopped) && self.to_send().next().is_none()
    }

    /// Whether nothing is left to do: the output is in its place and tells everything, or the run
    /// was given up.
    ///
    /// A run whose output was held back is *not* finished: planned anew, its rows would be paid
    /// again.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.stage(), Stage::Exported | Stage::Abandoned)
    }

    /// The last export, and whether everything that is here went into it.
    #[must_use]
    pub fn export(&self) -> Option<(&Export, bool)> {
        Some((self.export.as_ref()?, self.is_export_current))
    }

    /// Why the run was given up.
    #[must_use]
    pub fn abandoned(&self) -> Option<&str> {
        self.abandoned.as_deref()
    }

    /// Batches by the word for where they stand.
    #[must_use]
    pub fn batches_by_state(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for batch in &self.batches {
            *counts.entry(batch.state.as_str().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Where the run stands, by what is to be done first.
    #[must_use]
    pub fn stage(&self) -> Stage {
        let left = |step| self.left_to(step).next().is_some();
        if self.abandoned.is_some() {
            Stage::Abandoned
        } else if left(Step::Settle) {
            Stage::InDoubt
        } else if self.is_stopped() && !left(Step::Watch) && !left(Step::Collect) {
            Stage::Stopped
        } else if left(Step::Submit) {
            if self.events == 0 {
                Stage::Planned
            } else {
                Stage::Submitting
            }
        } else if left(Step::Watch) {
            Stage::InFlight
        } else if left(Step::Collect) {
            Stage::Ended
        } else {
            match &self.export {
                Some(export) if self.is_export_current && export.path.is_some() => Stage::Exported,
                Some(_) if self.is_export_current => Stage::HeldBack,
                _ => Stage::Collected,
            }
        }
    }
}

/// When the create call of a batch was about to be made.
fn sent_at(batch: &Batch, otherwise: Timestamp) -> Timestamp {
    match batch.state {
        BatchState::Intended { at } => at,
        BatchState::InDoubt { intended_at, .. } => intended_at,
        _ => otherwise,
    }
}

/// Whether it is open what became of the create call.
fn is_open(state: &BatchState) -> bool {
    matches!(
        state,
        BatchState::Intended { .. } | BatchState::InDoubt { .. }
    )
}

#[cfg(test)]
mod tests;
