//! The money of a run: reserved before a batch is sent, settled when its results are here.
//!
//! The ledger follows the journal. What a batch is worth there is told by where it stands:
//!
//! ```text
//!  Planned, Refused, Split, Withdrawn   Intended, InDoubt, Accepted, Ended   Collected, Lost
//!  nothing, or released                 reserved                             billed: what its result lines cost
//! ```
//!
//! The one step that comes before the journal is the reservation: it is made right before the
//! intent, so that no batch is ever sent without. Everything else is written after the journal, and
//! again whenever the run is opened: a process that ended between the two is made up for. What is
//! written is the same each time, since it follows from the run's own files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::Array as _;
use jiff::Timestamp;

use crate::batch::SpoolReader;
use crate::catalog::Catalog;
use crate::cost::{Bill, Money, Share};
use crate::estimate::{Asked, Bounds, Estimator, Known};
use crate::join::{AttemptResults, Joiner, RequestRow, ResultIndex};
use crate::journal::{BatchState, Step};
use crate::ledger::{
    self, BudgetSpec, Entry, EntryState, Ledger, Limits, OnLimit, Reservation, Shortage,
};
use crate::outcome::details::Wanted;
use crate::provider::Formats;
use crate::request::per_row::Tail;
use crate::template::prompt::media::MediaFacts;

use super::drive::Until;
use super::export::parser;
use super::pace::HeldByBudget;
use super::{Error, Run, results_file};

/// What a run can draw on.
#[derive(Debug, Clone)]
pub struct Means {
    /// What is known of models, and what they cost.
    pub catalog: Arc<Catalog>,
    /// The state directory, whose ledger counts.
    pub state: PathBuf,
    /// Most that the run may cost, where a person typed it; it takes the place of what was typed
    /// when the run was planned.
    pub max_cost: Option<Money>,
    /// The formats that runs are read by; other than the built-in ones for a provider of one's own.
    pub formats: Formats,
}

/// The run's part of the ledger.
#[derive(Debug)]
pub(crate) struct RunBudget {
    ledger: Ledger,
    entries: BTreeMap<u32, Entry>,
    budget: BudgetSpec,
    max_cost: Option<Money>,
    /// What batches cost that were not in the plan, as far as somebody asked.
    estimated: RefCell<BTreeMap<u32, Bounds>>,
}

/// A run that its budget does not allow to go on.
#[derive(Debug)]
pub struct OverBudget {
    /// Which limit stands in the way, and who has used it up.
    pub shortage: Shortage,
    /// Batches that are to be sent.
    pub batches: u64,
    /// Their requests.
    pub requests: u64,
    /// What all of them cost in the worst case.
    pub high: Money,
    /// What to reckon with.
    pub likely: Money,
    /// Whether the limit for the run was typed, and does not stand in the job file.
    pub typed: bool,
    /// Whether batches of the run were sent before.
    pub is_under_way: bool,
    /// The run.
    pub run: PathBuf,
}

impl RunBudget {
    /// Opens the ledger that counts for a run.
    pub(crate) fn open(
        folder: &Path,
        run: &str,
        means: &Means,
        budget: BudgetSpec,
        planned: Option<Money>,
    ) -> Result<RunBudget, Error> {
        let state = ledger::folder_of(folder, &means.state);
        crate::durable::create_private_dir(state).map_err(|source| Error::File {
            doing: "create the folder",
            path: state.to_path_buf(),
            source,
        })?;
        let ledger = Ledger::open(state)?;
        let entries = ledger
            .of_run(run)?
            .into_iter()
            .map(|entry| (entry.batch, entry))
            .collect();
        let max_cost = means.max_cost.or(planned);
        Ok(RunBudget {
            ledger,
            entries,
            budget,
            max_cost,
            estimated: RefCell::default(),
        })
    }

    fn limits(&self) -> Limits {
        self.budget.limits(self.max_cost)
    }
}

/// Model and limit of rows that do not choose, and what rows choose by themselves.
struct Choices<'a> {
    model: &'a str,
    max_tokens: u32,
    has_model: bool,
    has_max_tokens: bool,
}

impl Choices<'_> {
    /// What a row is sent with: its own choice stands at the end of its own part.
    fn of<'f>(&'f self, fragment: &'f [u8]) -> Result<(&'f str, u32), Error> {
        if !self.has_model && !self.has_max_tokens {
            return Ok((self.model, self.max_tokens));
        }
        let tail = Tail::of(fragment, self.has_model, self.has_max_tokens);
        let tail = tail.ok_or_else(|| {
            Error::Bug("a request does not end with what its row chose".to_owned())
        })?;
        Ok((
            tail.model.unwrap_or(self.model),
            tail.max_tokens.unwrap_or(self.max_tokens),
        ))
    }
}

/// The pictures and documents of a part of a request, as if nobody had looked at them: they cost
/// the most they can. Blocks of a conversation stand there as somebody wrote them, with blanks or
/// without; a name in a text has its quotation marks escaped.
fn media_of(part: &[u8]) -> MediaFacts {
    let count = |name: &[u8], value: &[u8]| {
        let behind = |at: usize| {
            part.get(at + name.len()..)
                .unwrap_or_default()
                .trim_ascii_start()
        };
        let has = |at: &usize| {
            behind(*at)
                .strip_prefix(b":")
                .is_some_and(|rest| rest.trim_ascii_start().starts_with(value))
        };
        memchr::memmem::find_iter(part, name).filter(has).count()
    };
    // A document whose text stands in the request is part of that text.
    let texts = count(b"\"media_type\"", b"\"text/plain\"");
    MediaFacts {
        unseen_images: count(b"\"type\"", b"\"image\""),
        unseen_documents: count(b"\"type\"", b"\"document\"").saturating_sub(texts),
        ..MediaFacts::default()
    }
}

impl Run {
    /// Takes the budget of the job file as it is now: a limit may be raised while a run is under
    /// way.
    pub fn set_budget(&mut self, budget: &BudgetSpec) {
        self.budget.budget = budget.clone();
    }

    /// What happens where the run does not fit into its budget.
    #[must_use]
    pub fn on_limit(&self) -> OnLimit {
        self.budget.budget.on_limit
    }

    /// What the run has spent, and what is reserved for its batches in flight.
    #[must_use]
    pub fn spent_and_reserved(&self) -> (Money, Money) {
        let entries = self.budget.entries.values();
        (
            entries.clone().map(Entry::spent).sum(),
            entries.map(Entry::held).sum(),
        )
    }

    /// What a batch is expected to cost: what the plan says, or for one that was not in the plan,
    /// what an estimate of its requests says.
    pub(crate) fn expected(&self, batch: u32) -> Result<Bounds, Error> {
        let planned = self
            .plan()
            .estimate
            .as_ref()
            .and_then(|estimate| estimate.pieces.get(batch as usize - 1));
        if let Some(planned) = planned {
            return Ok(*planned);
        }
        if let Some(known) = self.budget.estimated.borrow().get(&batch) {
            return Ok(*known);
        }
        let bounds = self.estimate(batch)?;
        self.budget.estimated.borrow_mut().insert(batch, bounds);
        Ok(bounds)
    }

    fn estimate(&self, batch: u32) -> Result<Bounds, Error> {
        let request = &self.job().request;
        let head = self.head_of(batch)?;
        let max_tokens = max_tokens_of(&head).unwrap_or(request.max_tokens.into());
        let choices = Choices {
            model: &request.model,
            max_tokens: u32::try_from(max_tokens).unwrap_or(u32::MAX),
            has_model: request.per_row.model.is_some(),
            has_max_tokens: request.per_row.max_tokens.is_some(),
        };
        let asked = Asked {
            model: &request.model,
            head: &head,
            media: &media_of(&head),
        };
        let estimator = Estimator::new(self.catalog(), &asked, Known::default())?;
        let mut gathered = estimator.gathered();
        for rows in SpoolReader::open(&self.spool_path(batch))? {
            let rows = rows?;
            let mut estimator = estimator.estimator().rows(&rows.columns);
            for row in (0..rows.len()).filter(|&row| rows.fragment.is_valid(row)) {
                let fragment = rows.fragment.value(row);
                let (model, most) = choices.of(fragment)?;
                gathered.push(&estimator.weigh(row, fragment, &media_of(fragment), model, most));
            }
        }
        gathered.close();
        let fit = self
            .plan()
            .estimate
            .as_ref()
            .map_or_else(|| estimator.fit(), |estimate| estimate.fit.clone());
        let pieces = estimator.estimate(&gathered, fit, false)?.pieces;
        Ok(pieces.first().copied().unwrap_or_default())
    }

    /// What is to be reserved for a batch, at this amount.
    fn reservation(&self, batch: u32, amount: Money, most: Money) -> Reservation<'_> {
        Reservation {
            run: &self.plan().run,
            batch,
            job: &self.plan().job_name,
            model: &self.job().request.model,
            simulated: self.is_simulated(),
            requests: self.piece(batch).requests.into(),
            amount,
            most,
        }
    }

    /// Reserves money for a batch that is about to be sent, or tells what is short.
    pub(crate) fn reserve(
        &mut self,
        batch: u32,
        now: Timestamp,
    ) -> Result<Option<Shortage>, Error> {
        let Bounds { high, most, .. } = self.expected(batch)?;
        let limits = self.budget.limits();
        let wanted = self.reservation(batch, high, most);
        match self
            .budget
            .ledger
            .reserve(&wanted, self.budget.entries.get(&batch), &limits, now)?
        {
            Ok(entry) => {
                self.budget.entries.insert(batch, entry);
                Ok(None)
            }
            Err(shortage) => Ok(Some(shortage)),
        }
    }

    /// Whether everything that is still to be sent fits into the budget together.
    ///
    /// # Errors
    /// [`Error::Budget`] if it does not.
    pub(crate) fn check_budget(&self, now: Timestamp) -> Result<(), Error> {
        let Some(first) = self.state().left_to(Step::Submit).next() else {
            return Ok(());
        };
        let Bounds { high, most, .. } = self.left_to_send()?;
        let wanted = self.reservation(first.number(), high, most);
        match self
            .budget
            .ledger
            .shortage(&wanted, &self.budget.limits(), now)?
        {
            Some(shortage) => Err(self.short(shortage)?),
            None => Ok(()),
        }
    }

    /// What is short for a batch now; nothing is reserved.
    pub(crate) fn shortage(&self, batch: u32, now: Timestamp) -> Result<Option<Shortage>, Error> {
        let Bounds { high, most, .. } = self.expected(batch)?;
        Ok(self.budget.ledger.shortage(
            &self.reservation(batch, high, most),
            &self.budget.limits(),
            now,
        )?)
    }

    /// What everything that is still to be sent costs.
    ///
    /// # Errors
    /// [`Error::Batch`] when a spool file cannot be read; [`Error::NoPrice`].
    pub fn left_to_send(&self) -> Result<Bounds, Error> {
        let mut sum = Bounds::default();
        for batch in self.state().left_to(Step::Submit) {
            let Bounds {
                low,
                likely,
                high,
                most,
            } = self.expected(batch.number())?;
            sum.low += low;
            sum.likely += likely;
            sum.high += high;
            sum.most += most;
        }
        Ok(sum)
    }

    /// The error that says what is short.
    pub(crate) fn short(&self, shortage: Shortage) -> Result<Error, Error> {
        let left = self.left_to_send()?;
        Ok(Error::Budget(Box::new(OverBudget {
            typed: self
                .budget
                .max_cost
                .is_some_and(|typed| typed == shortage.limit),
            shortage,
            batches: self.unsent_batches(),
            requests: self
                .state()
                .left_to(Step::Submit)
                .map(|batch| u64::from(batch.piece.requests))
                .sum(),
            high: left.high,
            likely: left.likely,
            is_under_way: self.has_remotes(),
            run: self.folder().to_path_buf(),
        })))
    }

    /// Brings the ledger in line with where every batch stands.
    pub(crate) fn follow_all(&mut self, now: Timestamp) -> Result<(), Error> {
        (1..=self.batches()).try_for_each(|batch| self.follow(batch, now))
    }

    /// Brings the ledger in line with where a batch stands.
    pub(crate) fn follow(&mut self, batch: u32, now: Timestamp) -> Result<(), Error> {
        let wanted = worth(self.standing_of(batch));
        let entry = self.budget.entries.get(&batch);
        match (entry.map(|entry| entry.state), wanted) {
            (None | Some(EntryState::Released), EntryState::Released) => Ok(()),
            (Some(EntryState::Reserved), EntryState::Released) => self.release(batch, now),
            // What was billed was paid, whatever a journal says that was rebuilt.
            (Some(EntryState::Billed), EntryState::Released) => Ok(()),
            // A bill that was written is worth more than a journal that was rebuilt.
            (Some(EntryState::Reserved | EntryState::Billed), EntryState::Reserved) => Ok(()),
            (None | Some(EntryState::Released), EntryState::Reserved) => self.admit(batch),
            (Some(EntryState::Billed), EntryState::Billed) => Ok(()),
            (Some(EntryState::Reserved), EntryState::Billed) => {
                self.settle_by_its_results(batch, now)
            }
            (None | Some(EntryState::Released), EntryState::Billed) => {
                self.admit(batch)?;
                self.settle_by_its_results(batch, now)
            }
        }
    }

    /// Writes down what the rows of an output cost, where prices have changed since the results
    /// came.
    pub(crate) fn settle_by(&mut self, bill: &Bill, now: Timestamp) -> Result<(), Error> {
        for (id, share) in &bill.by_batch {
            let batch = self
                .state()
                .batch_of(&crate::provider::BatchId(id.to_string()));
            let Some(entry) = batch.and_then(|batch| self.budget.entries.get(&batch)) else {
                continue;
            };
            if entry.state != EntryState::Billed || entry.share != *share {
                let entry = self.budget.ledger.settle(entry, share.clone(), now)?;
                self.budget.entries.insert(entry.batch, entry);
            }
        }
        Ok(())
    }

    fn release(&mut self, batch: u32, now: Timestamp) -> Result<(), Error> {
        let Some(entry) = self.budget.entries.get(&batch) else {
            return Ok(());
        };
        let entry = self.budget.ledger.release(entry, now)?;
        self.budget.entries.insert(batch, entry);
        Ok(())
    }

    /// Reserves for a batch that was sent without a reservation in this ledger.
    fn admit(&mut self, batch: u32) -> Result<(), Error> {
        let Bounds { high, most, .. } = self.expected(batch)?;
        // The day of the ledger is this machine's day, whatever the provider's clock says.
        let at = self.sent_at(batch);
        let sent = self.reservation(batch, high, most);
        let entry = self
            .budget
            .ledger
            .admit(&sent, self.budget.entries.get(&batch), at)?;
        self.budget.entries.insert(batch, entry);
        Ok(())
    }

    /// What the ledger has on the run's batches.
    pub(crate) fn entries(&self) -> &BTreeMap<u32, Entry> {
        &self.budget.entries
    }

    /// The state directory whose ledger counts.
    pub(crate) fn state_folder(&self) -> &Path {
        self.budget.ledger.path().parent().unwrap_or(Path::new("."))
    }

    /// Whether the ledger has a bill for a batch.
    pub(crate) fn is_billed(&self, batch: u32) -> bool {
        self.budget
            .entries
            .get(&batch)
            .is_some_and(|entry| entry.state == EntryState::Billed)
    }

    /// Writes down what a batch cost whose results were fetched once more.
    pub(crate) fn settle_again(&mut self, batch: u32, now: Timestamp) -> Result<(), Error> {
        self.settle_by_its_results(batch, now)
    }

    fn settle_by_its_results(&mut self, batch: u32, now: Timestamp) -> Result<(), Error> {
        // What is lost on this disk is told by the export; until then the batch stays reserved.
        let index = self.take_index(batch);
        let Some(share) = self.share_of(batch, index)? else {
            return Ok(());
        };
        let Some(entry) = self.budget.entries.get(&batch) else {
            return Ok(());
        };
        let entry = self.budget.ledger.settle(entry, share, now)?;
        self.budget.entries.insert(batch, entry);
        Ok(())
    }

    /// What the saved results of a batch cost, by the very rule by which its rows are priced.
    /// `None` if they are not there.
    fn share_of(&self, batch: u32, index: Option<ResultIndex>) -> Result<Option<Share>, Error> {
        let path = self.results_path(batch);
        let (Some(remote), true) = (
            self.state()
                .batch(batch)
                .and_then(|batch| batch.remote.as_ref()),
            path.is_file(),
        ) else {
            return Ok(None);
        };
        let ids = self.ids_of(batch)?;
        let index = match index {
            Some(index) => index,
            None => results_file::read_index(self, &ids, &path, None)?,
        };
        let attempt = AttemptResults {
            attempt: 1,
            batch_id: Arc::from(remote.id.0.as_str()),
            index,
        };
        let mut joiner = Joiner::new(
            vec![attempt],
            None,
            parser(self.format(), Wanted::default()),
        )
        .priced_by(self.catalog());
        for custom_id in ids.iter().flatten() {
            joiner.row(RequestRow {
                custom_id,
                ..RequestRow::default()
            })?;
        }
        Ok(Some(
            joiner
                .totals()
                .bill
                .by_batch
                .values()
                .next()
                .cloned()
                .unwrap_or_default(),
        ))
    }
}

/// Stops a run before its first batch if not all of them fit into the budget, unless the job wants
/// those that fit to be sent.
pub(crate) fn check_before_the_first(run: &Run, now: Timestamp) -> Result<(), Error> {
    if run.has_begun() || run.on_limit() == OnLimit::Partial {
        Ok(())
    } else {
        run.check_budget(now)
    }
}

/// Whether the budget holds everything that could be sent now, and no batch is in flight whose end
/// would make room.
///
/// # Errors
/// [`Error::Budget`] where that is the end of it: the job says so, or nothing of the run was sent.
/// Rows that were answered once are worth an output even if others cannot be sent again.
pub(crate) fn is_held(
    run: &Run,
    until: Until,
    held: &mut HeldByBudget,
    now: Timestamp,
) -> Result<bool, Error> {
    let is_under_way = run.doubts().next().is_some()
        || run.in_flight().next().is_some()
        || run.ended().next().is_some();
    if is_under_way && until != Until::Sent {
        return Ok(false);
    }
    let Some((batch, shortage)) = held
        .first()
        .map(|(batch, shortage)| (batch, shortage.clone()))
    else {
        return Ok(!until.sends(1)
            && run.on_limit() == OnLimit::Partial
            && has_no_room_for_the_rest(run, now)?);
    };
    // While a batch was in flight, others may have been settled: only what does not fit now is
    // held.
    if !is_under_way && has_room_for_one_of(run, held, now)? {
        held.clear();
        return Ok(false);
    }
    let is_first_try = run
        .state()
        .batch(batch)
        .is_some_and(|batch| batch.attempt == 1);
    let is_stuck = run
        .next_to_send(|attempt| until.sends(attempt), held)
        .is_none();
    if (is_first_try && run.on_limit() == OnLimit::Stop) || (is_stuck && !run.has_remotes()) {
        return Err(run.short(shortage)?);
    }
    Ok(is_stuck)
}

fn has_room_for_one_of(run: &Run, held: &HeldByBudget, now: Timestamp) -> Result<bool, Error> {
    for batch in held.batches() {
        if run.shortage(batch, now)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether what an earlier command left unsent is still held by the budget, so that who fetches
/// need not wait for it.
fn has_no_room_for_the_rest(run: &Run, now: Timestamp) -> Result<bool, Error> {
    match run.first_unsent() {
        Some(batch) if run.has_remotes() => Ok(run.shortage(batch, now)?.is_some()),
        _ => Ok(false),
    }
}

/// Where a batch has to stand in the ledger.
fn worth(state: &BatchState) -> EntryState {
    match state {
        BatchState::Empty
        | BatchState::Planned
        | BatchState::Refused { .. }
        | BatchState::Split { .. }
        | BatchState::Withdrawn => EntryState::Released,
        BatchState::Intended { .. }
        | BatchState::InDoubt { .. }
        | BatchState::Accepted { .. }
        | BatchState::Ended { .. } => EntryState::Reserved,
        BatchState::Collected { .. } | BatchState::Lost { .. } => EntryState::Billed,
    }
}

/// The `max_tokens` of a head, which is the beginning of a JSON object.
fn max_tokens_of(head: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"max_tokens\":";
    let at = memchr::memmem::find(head, KEY)? + KEY.len();
    let digits: Vec<u8> = head[at..]
        .iter()
        .copied()
        .take_while(u8::is_ascii_digit)
        .collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Bounds;

    fn choices(has_model: bool, has_max_tokens: bool) -> Choices<'static> {
        Choices {
            model: "the job's",
            max_tokens: 100,
            has_model,
            has_max_tokens,
        }
    }

    #[test]
    fn what_a_row_chose_is_read_behind_a_schema_too() {
        let config = r#""output_config":{"effort":"low","format":{"type":"json_schema","schema":{"enum":["a"],"required":["b"]}}}"#;
        let fragment = |tail: &str| {
            format!(r#"{{"role":"user","content":"],\"max_tokens\":7}}"}}],{config}{tail}}}"#)
        };
        for (tail, (model, max_tokens), chosen) in [
            ("", (false, false), ("the job's", 100)),
            (
                r#","model":"other","max_tokens":9000"#,
                (true, true),
                ("other", 9_000),
            ),
            (r#","model":"other""#, (true, false), ("other", 100)),
            (r#","max_tokens":9000"#, (false, true), ("the job's", 9_000)),
        ] {
            assert_eq!(
                choices(model, max_tokens)
                    .of(fragment(tail).as_bytes())
                    .unwrap(),
                chosen
            );
        }
        assert!(matches!(
            choices(false, true).of(fragment("").as_bytes()),
            Err(Error::Bug(_))
        ));
    }

    #[test]
    fn pictures_of_a_conversation_are_counted_however_they_are_written() {
        let fragment = br#"{"role":"user","content":[{"source": {"type": "url", "url": "x"}, "type" : "image"},
            {"type":"image","source":{"type":"file","file_id":"f"}},{"type":"text","text":"{\"type\":\"image\"}"},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            {"type": "document", "source": {"type": "url", "url": "x"}}]}"#;
        let facts = media_of(fragment);
        assert_eq!((facts.unseen_images, facts.unseen_documents), (2, 1));
    }

    #[test]
    fn a_shared_document_costs_every_request_of_a_batch() {
        let likely = |block: &str| {
            let head = format!(
                r#"{{"model":"m","max_tokens":9,"system":[{{"type":"text","text":"Sort."}}],"messages":[{{"role":"user","content":[{block}"#
            );
            let media = media_of(head.as_bytes());
            let asked = Asked {
                model: "claude-haiku-4-5",
                head: head.as_bytes(),
                media: &media,
            };
            let estimator = Estimator::new(Catalog::builtin(), &asked, Known::default()).unwrap();
            let mut gathered = estimator.gathered();
            let none =
                arrow::array::RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
            let fragment = br#",{"type":"text","text":"a row"}]}]}"#;
            gathered.push(&estimator.estimator().rows(&none).weigh(
                0,
                fragment,
                &media_of(fragment),
                "claude-haiku-4-5",
                9,
            ));
            gathered.close();
            let Bounds {
                likely, high, most, ..
            } = estimator
                .estimate(&gathered, estimator.fit(), false)
                .unwrap()
                .total;
            assert!(likely < high && high <= most);
            likely
        };
        let text = likely(r#"{"type":"text","text":"Look."}"#);
        let uploaded = likely(r#"{"type":"document","source":{"type":"file","file_id":"file_1"}}"#);
        let picture = likely(
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGVsbG8="}}"#,
        );
        let note = likely(
            r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"Look."}}"#,
        );
        assert!(
            uploaded > picture && picture > text.times(10) && note < text.times(2),
            "{text} {note} {picture} {uploaded}"
        );
    }
}
