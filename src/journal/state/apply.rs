//! What an event does to the state, and which events cannot follow.
//!
//! An event that cannot follow those before it changes nothing: each check is made before the first
//! field is set.

use jiff::Timestamp;

use super::super::{
    CheckpointKind, Event, HeadFile, JournalEntry, LossReason, Verdict, VerdictReason,
};
use super::{
    Batch, BatchState, CheckpointState, ExportRecord, ImpossibleEvent, ProviderBatch, State,
};
use crate::batch::SpooledBatch;
use crate::join::LineCounts;
use crate::provider::BatchId;

impl State {
    /// Takes one more event in.
    ///
    /// # Errors
    /// When it cannot follow those before it; the state is then as it was.
    pub fn apply(&mut self, entry: &JournalEntry) -> Result<(), ImpossibleEvent> {
        let impossible = |reason| ImpossibleEvent {
            line: entry.line(),
            batch: entry.event.batch(),
            reason,
        };
        self.check_order(entry).map_err(impossible)?;
        self.apply_event(entry.at, &entry.event)
            .map_err(impossible)?;
        self.events = entry.seq;
        self.last_event_at = Some(entry.at);
        Ok(())
    }

    fn check_order(&self, entry: &JournalEntry) -> Result<(), String> {
        let expected = self.events + 1;
        if entry.seq != expected {
            return Err(format!("event {} follows event {}", entry.seq, self.events));
        }
        let sends = matches!(
            entry.event,
            Event::Added { .. } | Event::Intent { .. } | Event::Split { .. } | Event::Judged { .. }
        );
        match self.abandoned {
            Some(_) if sends => Err("the run was abandoned before".to_owned()),
            _ => Ok(()),
        }
    }

    fn apply_event(&mut self, at: Timestamp, event: &Event) -> Result<(), String> {
        match event {
            Event::Added {
                batch,
                attempt,
                spooled,
                head,
            } => self.add(*batch, *attempt, spooled, head.as_ref()),
            Event::Intent {
                batch,
                requests,
                bytes,
                body_hash,
                newest_listed,
            } => self.intend(at, *batch, (*requests, *bytes, body_hash), *newest_listed),
            Event::Refused {
                batch,
                status,
                kind: _,
                message: _,
                retry_at,
            } => {
                let refused = BatchState::Refused {
                    at,
                    status: *status,
                    retry_at: *retry_at,
                };
                self.refuse(*batch, refused)
            }
            Event::Accepted {
                batch,
                id,
                created_at,
            } => {
                self.standing(*batch, "accepted", is_intended)?;
                self.claim(at, *batch, id, *created_at)
            }
            Event::Doubt { batch, reason: _ } => self.doubt(at, *batch),
            Event::Adopted {
                batch,
                id,
                created_at,
                proof: _,
            } => {
                self.standing(*batch, "adopted", BatchState::is_in_doubt)?;
                self.claim(at, *batch, id, *created_at)
            }
            Event::Absent {
                batch,
                checked_until: _,
                by_person: _,
            } => {
                self.standing(*batch, "absent", BatchState::is_in_doubt)?
                    .state = BatchState::Planned;
                Ok(())
            }
            Event::Split { batch, into } => self.split(*batch, into),
            Event::Withdrawn { batch } => self.withdraw(*batch),
            Event::CancelAsked { batch } => {
                self.standing(*batch, "canceled", is_accepted)?;
                self.is_canceled = true;
                Ok(())
            }
            Event::Seen {
                batch,
                status: _,
                counts: _,
            } => self.standing(*batch, "seen", is_accepted).map(|_| ()),
            Event::Ended {
                batch,
                counts,
                ended_at: _,
            } => {
                // Results that counted as lost may be found after all.
                let batch = self.standing(*batch, "ended", |state| {
                    is_accepted(state) || matches!(state, BatchState::Lost { .. })
                })?;
                batch.state = BatchState::Ended { counts: *counts };
                batch.not_found.clear();
                Ok(())
            }
            Event::NotFound { batch } => {
                self.standing(*batch, "not found", is_accepted_or_ended)?
                    .not_found
                    .push(at);
                Ok(())
            }
            Event::Collected {
                batch,
                file,
                file_hash,
                counts,
            } => self.collect(*batch, file, file_hash, *counts),
            Event::Lost { batch, reason } => self.lose(*batch, reason),
            Event::Judged {
                batch,
                verdict,
                reason,
            } => self.judge(at, *batch, *verdict, reason),
            Event::Exported {
                path,
                rows,
                by_status,
                hash,
            } => {
                self.record_export(ExportRecord {
                    at,
                    since: at,
                    path: Some(path.clone()),
                    hash: hash.clone(),
                    rows: *rows,
                    by_status: by_status.clone(),
                });
                Ok(())
            }
            Event::HeldBack { rows, by_status } => {
                self.record_export(ExportRecord {
                    at,
                    since: at,
                    path: None,
                    hash: None,
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
        spooled: &SpooledBatch,
        head: Option<&HeadFile>,
    ) -> Result<(), String> {
        let next = self.batches.len() + 1;
        if batch as usize != next || spooled.number != batch {
            return Err(format!("the next new batch is {next}"));
        }
        if attempt < 2 {
            return Err("an added batch is at least the second try for its rows".to_owned());
        }
        self.batches
            .push(Batch::new(spooled.clone(), attempt, head.cloned()));
        self.is_export_current = false;
        // Sending rows again revokes the cancellation.
        self.is_canceled = false;
        Ok(())
    }

    /// A create call of a batch is about to be made.
    fn intend(
        &mut self,
        at: Timestamp,
        number: u32,
        body: (u32, u64, &String),
        newest_listed: Option<Timestamp>,
    ) -> Result<(), String> {
        // Batches are created one after the other, so those that are known are older than the one
        // to come.
        let newest_known = self
            .batches
            .iter()
            .filter_map(|batch| Some(batch.remote.as_ref()?.created_at))
            .max();
        self.check_checkpoints(number)?;
        let batch = self.standing(number, "sent", BatchState::is_sendable)?;
        let planned = (
            batch.spooled.requests,
            batch.spooled.body_bytes,
            &batch.spooled.body_hash,
        );
        if planned != body {
            return Err("its body is not the planned one".to_owned());
        }
        batch.intents += 1;
        // The first call counts: the batch it created may show itself only after the second call.
        batch.not_before = match batch.intents {
            1 => newest_listed.or(newest_known),
            _ => batch.not_before,
        };
        batch.state = BatchState::Intended { at };
        Ok(())
    }

    fn refuse(&mut self, number: u32, refused: BatchState) -> Result<(), String> {
        let batch = self.standing(number, "refused", is_intended)?;
        batch.refusals += 1;
        batch.state = refused;
        Ok(())
    }

    fn doubt(&mut self, at: Timestamp, number: u32) -> Result<(), String> {
        let batch = self.standing(number, "in doubt", is_intended)?;
        if let BatchState::Intended { at: intended_at } = batch.state {
            batch.state = BatchState::InDoubt {
                intended_at,
                since: at,
            };
        }
        Ok(())
    }

    /// The batch is the one the provider knows by an id. No two batches have one id, no batch has
    /// two.
    fn claim(
        &mut self,
        at: Timestamp,
        number: u32,
        id: &BatchId,
        created_at: Timestamp,
    ) -> Result<(), String> {
        if let Some(other) = self.ids.get(id) {
            return Err(format!("the id `{id}` is that of batch {other}"));
        }
        self.ids.insert(id.clone(), number);
        let batch = &mut self.batches[number as usize - 1];
        batch.remote = Some(ProviderBatch {
            id: id.clone(),
            created_at,
            known_since: at,
            sent_at: batch.intended_at().unwrap_or(at),
        });
        batch.state = BatchState::Accepted;
        Ok(())
    }

    /// The requests of a batch that is not sent go in new ones: the provider refused it as too large,
    /// or the budget has room for a part of it.
    fn split(&mut self, number: u32, into: &[SpooledBatch]) -> Result<(), String> {
        let next = self.batches.len() + 1;
        let is_numbered = (next..)
            .zip(into)
            .all(|(next, part)| part.number as usize == next);
        if into.len() < 2 || !is_numbered {
            return Err(format!(
                "it is split in {}, and the next new batch is {next}",
                into.len()
            ));
        }
        let batch = self.standing(number, "split", BatchState::is_sendable)?;
        let requests: u64 = into.iter().map(|part| u64::from(part.requests)).sum();
        if requests != u64::from(batch.spooled.requests) {
            return Err(format!(
                "its {} requests became {requests}",
                batch.spooled.requests
            ));
        }
        batch.state = BatchState::Split {
            into: into.iter().map(|part| part.number).collect(),
        };
        let (attempt, head) = (batch.attempt, batch.head.clone());
        self.batches.extend(
            into.iter()
                .map(|part| Batch::new(part.clone(), attempt, head.clone())),
        );
        self.is_export_current = false;
        Ok(())
    }

    fn withdraw(&mut self, number: u32) -> Result<(), String> {
        self.standing(number, "withdrawn", BatchState::is_sendable)?
            .state = BatchState::Withdrawn;
        (self.is_export_current, self.is_canceled) = (false, true);
        Ok(())
    }

    /// The results of a batch are on disk, for the first time or once more.
    fn collect(
        &mut self,
        number: u32,
        file: &str,
        file_hash: &str,
        lines: LineCounts,
    ) -> Result<(), String> {
        let batch = self.standing(number, "collected", |state| {
            matches!(
                state,
                BatchState::Ended { .. } | BatchState::Collected { .. }
            )
        })?;
        if let Some(counts) = batch.ended_counts() {
            batch.state = BatchState::Collected {
                counts,
                file: file.to_owned(),
                file_hash: file_hash.to_owned(),
                lines,
            };
        }
        self.is_export_current = false;
        Ok(())
    }

    fn lose(&mut self, number: u32, reason: &LossReason) -> Result<(), String> {
        self.standing(number, "lost", is_accepted_or_ended)?.state = BatchState::Lost {
            reason: reason.clone(),
        };
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
                batch.state.kind()
            ))
        }
    }

    /// Whether a batch may be about to be sent. A checkpoint that was rescued says nothing of the
    /// time before.
    fn check_checkpoints(&self, number: u32) -> Result<(), String> {
        let Some(batch) = self.batch(number) else {
            return Ok(());
        };
        let is_closed = |checkpoint: &&CheckpointState| {
            !checkpoint.is_open()
                && checkpoint.last_verdict() != Some(Verdict::Rescued)
                && checkpoint.lies_before(batch)
        };
        match self.checkpoints.iter().find(is_closed) {
            Some(checkpoint) => Err(format!(
                "it cannot be sent before batch {} is judged",
                checkpoint.checkpoint.batch
            )),
            None => Ok(()),
        }
    }

    fn judge(
        &mut self,
        at: Timestamp,
        batch: u32,
        verdict: Verdict,
        reason: &VerdictReason,
    ) -> Result<(), String> {
        let place = self
            .checkpoints
            .iter()
            .position(|checkpoint| checkpoint.checkpoint.batch == batch)
            .ok_or("nothing waits for it")?;
        if !self.can_be_judged(place, verdict) {
            return Err(format!("it cannot be judged `{}`", verdict.as_str()));
        }
        self.checkpoints[place].verdict = Some((at, verdict, reason.clone()));
        Ok(())
    }

    fn can_be_judged(&self, place: usize, verdict: Verdict) -> bool {
        let checkpoint = &self.checkpoints[place];
        match (checkpoint.last_verdict(), verdict) {
            (None, Verdict::Rescued) => true,
            (Some(Verdict::Stopped), Verdict::Overruled) => true,
            (None | Some(Verdict::Rescued), verdict) => {
                // Checkpoints are judged in order, each by the results of its own batch.
                let is_next = self.checkpoints[..place]
                    .iter()
                    .all(CheckpointState::is_open);
                let is_back = self.is_back(checkpoint);
                let can = match verdict {
                    Verdict::Passed | Verdict::Stopped => is_back,
                    Verdict::TimedOut => {
                        checkpoint.checkpoint.kind == CheckpointKind::Prime && !is_back
                    }
                    Verdict::Overruled | Verdict::Rescued => false,
                };
                is_next && can
            }
            _ => false,
        }
    }

    fn record_export(&mut self, mut export: ExportRecord) {
        if let Some(earlier) = self.export.as_ref().filter(|_| self.is_export_current) {
            export.since = earlier.since;
        }
        self.export = Some(export);
        self.is_export_current = true;
    }
}

fn is_intended(state: &BatchState) -> bool {
    matches!(state, BatchState::Intended { .. })
}

fn is_accepted(state: &BatchState) -> bool {
    matches!(state, BatchState::Accepted)
}

fn is_accepted_or_ended(state: &BatchState) -> bool {
    is_accepted(state) || matches!(state, BatchState::Ended { .. })
}
