//! Failed rows → new batches with only those rows.
//!
//! After everything is collected, a row whose failure another attempt can fix is sent again, as
//! often as the job's `[retry]` allows or the user asks. The failed rows of all planned batches are
//! pooled, in row order, into as few batches as they fit. A new batch has a spool file without
//! source columns, its own number, and its own head where the answer gets more tokens.
//!
//! What is sent again has been paid for only where the class says so (see [`Class`]). Every
//! attempt's results are kept.
//!
//! An answer that was cut off is sent again only with more room than it had: at the maximum of its
//! model can write, or with the context window full, the same request would be paid again to be cut
//! off again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::Array as _;
use arrow::datatypes::{Schema, SchemaRef};
use jiff::Timestamp;

use crate::batch::{Packer, Placement, SpoolReader, SpoolRows, SpoolRowsBuilder, SpoolWriter};
use crate::catalog::Catalog;
use crate::estimate::{Bounds, SpooledEstimate};
use crate::join::JoinedRow;
use crate::journal::{Event, HeadFile};
use crate::outcome::answer::Answers;
use crate::outcome::class::{Class, MoreTokens, RetrySpec};
use crate::outcome::details::Wanted;
use crate::outcome::{Outcome, Status};
use crate::provider::BatchFormat;
use crate::request::per_row::FragmentTail;
use crate::request::{RequestHash, most_tokens, with_max_tokens};

use super::batch_join::{BatchJoin, request_row};
use super::{Error, Run};

/// Why a model stops whose context window is full: more room for the answer is no help.
const WINDOW_FULL: &str = "model_context_window_exceeded";
/// Most rows written to a spool at a time.
const STRETCH: usize = 1_024;
/// About the most bytes of requests written to a spool at a time.
const STRETCH_BYTES: usize = 8 << 20;

/// Which failures are sent again.
#[derive(Debug, Clone, Default)]
pub struct RetryPolicy {
    times: BTreeMap<Class, u32>,
    by_hand: BTreeSet<Class>,
    more_tokens: Option<MoreTokens>,
}

impl RetryPolicy {
    /// Nothing is sent again.
    #[must_use]
    pub fn none() -> RetryPolicy {
        RetryPolicy::default()
    }

    /// What the job allows.
    #[must_use]
    pub fn of_job(spec: &RetrySpec) -> RetryPolicy {
        let times = Class::ALL
            .into_iter()
            .map(|class| (class, spec.times(class)))
            .collect();
        RetryPolicy {
            times,
            by_hand: BTreeSet::new(),
            more_tokens: Some(spec.truncated.max_tokens),
        }
    }

    /// What the user requests: every row of these classes, once, however often it was sent before.
    #[must_use]
    pub fn by_hand(
        classes: impl IntoIterator<Item = Class>,
        more_tokens: MoreTokens,
    ) -> RetryPolicy {
        RetryPolicy {
            times: BTreeMap::new(),
            by_hand: classes.into_iter().collect(),
            more_tokens: Some(more_tokens),
        }
    }

    /// Whether a row is to be sent again.
    #[must_use]
    pub fn wants(&self, row: &JoinedRow<'_>) -> bool {
        if row.status == Status::Succeeded {
            return false;
        }
        // What counts is the last try: an older failure has been answered by the tries since.
        let Some(class) = row
            .attempts
            .last()
            .and_then(|attempt| Class::of(&attempt.outcome))
        else {
            return false;
        };
        let failures = row
            .attempts
            .iter()
            .filter(|attempt| Class::of(&attempt.outcome) == Some(class))
            .count();
        self.by_hand.contains(&class)
            || self
                .times
                .get(&class)
                .is_some_and(|&times| failures <= times as usize)
    }
}

/// What was planned to be sent again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RetriesPlanned {
    /// Rows.
    pub rows: u64,
    /// New batches.
    pub batches: u32,
}

/// New batches that are spooled, and not in the journal.
pub(super) struct PreparedRetries(Vec<Planned>);

/// Prepares new batches with the rows of `batches` that `policy` sends again. Nothing is recorded.
///
/// # Errors
/// [`Error::Batch`], [`Error::Join`] and [`Error::Journal`] when the run's files cannot be read or
/// written; [`Error::BatchTooSmall`].
pub(super) fn prepare_retries(
    run: &Run,
    batches: impl IntoIterator<Item = u32>,
    policy: &RetryPolicy,
) -> Result<PreparedRetries, Error> {
    let answer = Answers::compile(&run.options().answer)?;
    let mut pools = Pools::new(run, policy)?;
    for number in batches {
        pools.take(
            &BatchJoin {
                run,
                number,
                answer: answer.as_ref(),
                wanted: Wanted::default(),
            },
            policy,
        )?;
    }
    let prepared = PreparedRetries(pools.finish()?);
    check_sizes(run, &prepared)?;
    Ok(prepared)
}

impl PreparedRetries {
    /// The rows, and the batches that carry them.
    pub(super) fn counts(&self) -> RetriesPlanned {
        RetriesPlanned {
            rows: self.0.iter().map(|planned| planned.spooled.rows).sum(),
            batches: u32::try_from(self.0.len()).unwrap_or(u32::MAX),
        }
    }

    /// What they cost.
    pub(super) fn cost(&self, run: &Run) -> Result<Bounds, Error> {
        let mut sum = Bounds::default();
        for Planned { spooled, head, .. } in &self.0 {
            let head = match head {
                Some(head) => run.dir().read_head(head)?,
                None => run.head(),
            };
            sum.add(run.cost_of_new(spooled.number, &head)?);
        }
        Ok(sum)
    }

    /// Records them, so that they are sent.
    ///
    /// # Errors
    /// [`Error::Journal`]. Batches recorded before that stay, and are sent.
    pub(super) fn record(self, run: &mut Run, now: Timestamp) -> Result<(), Error> {
        for planned in self.0 {
            let Planned {
                attempt,
                spooled,
                head,
            } = planned;
            run.record(
                now,
                Event::Added {
                    batch: spooled.number,
                    attempt,
                    spooled,
                    head,
                },
            )?;
        }
        Ok(())
    }

    /// Removes them: a spool file that the journal does not name would count as evidence of a
    /// batch.
    pub(super) fn discard(&self, run: &Run) -> Result<(), Error> {
        for Planned { spooled, head, .. } in &self.0 {
            let head = head.iter().map(|head| run.dir().path().join(&head.file));
            for path in head.chain([run.spool_path(spooled.number)]) {
                std::fs::remove_file(&path).map_err(|source| Error::File {
                    doing: "remove",
                    path,
                    source,
                })?;
            }
        }
        Ok(())
    }
}

/// Checks that every new batch has enough requests for the provider; otherwise none is kept.
fn check_sizes(run: &Run, prepared: &PreparedRetries) -> Result<(), Error> {
    let rules = run.format().rules();
    let sizes = prepared.0.iter().map(|planned| planned.spooled.requests);
    let Some((at, requests)) = rules.too_small(sizes) else {
        return Ok(());
    };
    prepared.discard(run)?;
    Err(Error::BatchTooSmall {
        batch: prepared.0[at as usize - 1].spooled.number,
        requests,
        min: rules.min_requests,
    })
}

/// The numbers of all planned batches, as [`prepare_retries`] takes them.
#[must_use]
pub(super) fn all_planned(run: &Run) -> std::ops::RangeInclusive<u32> {
    1..=run.planned_batches()
}

/// A batch that is spooled and not yet in the journal.
struct Planned {
    attempt: u32,
    spooled: crate::batch::SpooledBatch,
    head: Option<HeadFile>,
}

/// How long the answers of rows may be when they are sent again.
pub(super) struct Lengths {
    /// The job's limit and model, for rows that do not choose.
    max_tokens: u32,
    model: String,
    /// What rows choose by themselves.
    has_model: bool,
    has_max_tokens: bool,
    more_tokens: MoreTokens,
    betas: Vec<String>,
    catalog: Arc<Catalog>,
}

impl Lengths {
    /// By what a policy says of answers that were cut off.
    pub(super) fn of(run: &Run, policy: &RetryPolicy) -> Lengths {
        let more_tokens = policy.more_tokens.unwrap_or(MoreTokens::Factor(2));
        let request = &run.job().request;
        Lengths {
            max_tokens: request.max_tokens,
            model: request.model.clone(),
            has_model: request.per_row.model.is_some(),
            has_max_tokens: request.per_row.max_tokens.is_some(),
            more_tokens,
            betas: request.betas.clone(),
            catalog: Arc::clone(run.catalog()),
        }
    }

    /// Whether a row gets more room than it had, or was not cut off.
    pub(super) fn has_room(&self, row: &JoinedRow<'_>) -> bool {
        let cut = || {
            row.attempts
                .iter()
                .map(|attempt| &attempt.outcome)
                .filter(|outcome| outcome.status == Status::Truncated)
        };
        let is_cut = row
            .attempts
            .last()
            .is_some_and(|last| last.outcome.status == Status::Truncated);
        let (Some(first), Some(last), true) = (cut().next(), cut().next_back(), is_cut) else {
            return true;
        };
        if last.stop_reason.as_deref() == Some(WINDOW_FULL) {
            return false;
        }
        let model = last.model.as_deref().unwrap_or(&self.model);
        let cuts = u32::try_from(cut().count()).unwrap_or(u32::MAX);
        let used = |outcome: &Outcome| outcome.usage.as_ref()?.output_tokens?.try_into().ok();
        let (first, before) = if self.has_max_tokens {
            // What the row chose is not known, but what it used up: all of it.
            let (Some(first), Some(before)) = (used(first), used(last)) else {
                return true;
            };
            (first, before)
        } else {
            (
                self.max_tokens,
                self.grown(self.max_tokens, model, cuts - 1),
            )
        };
        self.grown(first, model, cuts) > before
    }

    /// The limit in the head and the fragment that a row is sent with after `cuts` of its answers
    /// were cut off.
    fn after<'f>(&self, fragment: &'f [u8], cuts: u32) -> Result<(u32, Cow<'f, [u8]>), Error> {
        if !self.has_model && !self.has_max_tokens {
            return Ok((
                self.grown(self.max_tokens, &self.model, cuts),
                Cow::Borrowed(fragment),
            ));
        }
        let tail = FragmentTail::of(fragment, self.has_model, self.has_max_tokens);
        let tail = tail.ok_or_else(|| {
            Error::Bug("a request does not end with what its row chose".to_owned())
        })?;
        let model = tail.model.unwrap_or(&self.model);
        match tail.max_tokens {
            None => Ok((
                self.grown(self.max_tokens, model, cuts),
                Cow::Borrowed(fragment),
            )),
            Some(first) => Ok((
                self.max_tokens,
                Cow::Owned(tail.with_max_tokens(self.grown(first, model, cuts))),
            )),
        }
    }

    /// Carries the estimate of a row over to the batch that it is sent again in.
    fn carry_estimate(&self, rows: &SpoolRows, row: usize, cuts: u32, out: &mut Vec<u8>) {
        if rows.estimate.is_null(row) {
            return;
        }
        let bytes = rows.estimate.value(row);
        match SpooledEstimate::parse(bytes).filter(|_| cuts > 0) {
            None => out.extend_from_slice(bytes),
            Some(estimate) => {
                let first = u32::try_from(estimate.max_tokens()).unwrap_or(u32::MAX);
                let model = estimate.model().unwrap_or(&self.model);
                estimate.with_more_tokens(self.grown(first, model, cuts).into(), out);
            }
        }
    }

    fn grown(&self, first: u32, model: &str, cuts: u32) -> u32 {
        let most = self.catalog.model(model).map_or(u32::MAX, |(_, model)| {
            u32::try_from(most_tokens(model, &self.betas)).unwrap_or(u32::MAX)
        });
        self.more_tokens.after(first, cuts).min(most)
    }
}

/// The failed rows, by the token limit in their head: requests of a batch share one head.
struct Pools {
    first_max_tokens: u32,
    lengths: Lengths,
    base_head: Arc<[u8]>,
    attempt: u32,
    spools: BTreeMap<u32, RetryBatch>,
    closed: Vec<Planned>,
    next_batch: u32,
    folder: crate::journal::RunDir,
    limits: crate::batch::Limits,
    format: &'static dyn BatchFormat,
    sizes: Vec<u32>,
}

/// An open batch.
struct RetryBatch {
    batch: u32,
    writer: Option<SpoolWriter>,
    builder: SpoolRowsBuilder,
    packer: Packer,
    head: Arc<[u8]>,
}

fn no_columns() -> SchemaRef {
    Arc::new(Schema::empty())
}

impl Pools {
    fn new(run: &Run, policy: &RetryPolicy) -> Result<Pools, Error> {
        let attempt = run
            .state()
            .batches()
            .iter()
            .map(|batch| batch.attempt)
            .max()
            .unwrap_or(1)
            + 1;
        Ok(Pools {
            first_max_tokens: run.job().request.max_tokens,
            lengths: Lengths::of(run, policy),
            base_head: run.head(),
            attempt,
            spools: BTreeMap::new(),
            closed: Vec::new(),
            next_batch: run.state().batch_count() + 1,
            folder: run.dir().clone(),
            limits: run.plan().limits,
            format: run.format(),
            sizes: run
                .state()
                .batches()
                .iter()
                .map(|batch| batch.spooled.requests)
                .collect(),
        })
    }

    /// Takes the rows of one planned batch that are to be sent again.
    fn take(&mut self, planned: &BatchJoin<'_>, policy: &RetryPolicy) -> Result<(), Error> {
        let mut joiner = planned.joiner()?;
        for rows in SpoolReader::open(&planned.run.spool_path(planned.number))? {
            let rows = rows?;
            for row in 0..rows.len() {
                let joined = joiner.row(request_row(&rows, row))?;
                if rows.fragment.is_valid(row) && policy.wants(&joined) {
                    if !self.lengths.has_room(&joined) {
                        continue;
                    }
                    let cuts = joined
                        .attempts
                        .iter()
                        .filter(|attempt| attempt.outcome.status == Status::Truncated)
                        .count();
                    self.push(&rows, row, u32::try_from(cuts).unwrap_or(u32::MAX))?;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, rows: &SpoolRows, row: usize, cuts: u32) -> Result<(), Error> {
        let (max_tokens, fragment) = self.lengths.after(rows.fragment.value(row), cuts)?;
        let mut pool = match self.spools.remove(&max_tokens) {
            Some(pool) => pool,
            None => self.open(max_tokens)?,
        };
        let id = rows.custom_id.value(row);
        if pool.packer.offer((id.len() + fragment.len()) as u64) != Placement::Here {
            self.close(max_tokens, pool)?;
            pool = self.open(max_tokens)?;
            pool.packer.offer((id.len() + fragment.len()) as u64);
        }
        let hash = RequestHash::of(&pool.head, &fragment).to_string();
        pool.builder
            .tag_next(rows.tag.is_valid(row).then(|| rows.tag.value(row)));
        self.lengths
            .carry_estimate(rows, row, cuts, pool.builder.estimate_next());
        pool.builder.push_request(
            rows.row_index.value(row),
            rows.key.value(row),
            id,
            &hash,
            &fragment,
        );
        if pool.builder.len() >= STRETCH || pool.builder.fragment_bytes() >= STRETCH_BYTES {
            self.write(&mut pool)?;
        }
        self.spools.insert(max_tokens, pool);
        Ok(())
    }

    fn open(&mut self, max_tokens: u32) -> Result<RetryBatch, Error> {
        let head = if max_tokens == self.first_max_tokens {
            Arc::clone(&self.base_head)
        } else {
            let head = with_max_tokens(&self.base_head, max_tokens);
            head.ok_or_else(|| Error::Bug("the run's head names no `max_tokens`".to_owned()))?
                .into()
        };
        let packer = Packer::for_head(self.limits, &self.format.envelope(), head.len())
            .avoiding(self.sizes.iter().copied());
        let batch = self.next_batch;
        self.next_batch += 1;
        Ok(RetryBatch {
            batch,
            writer: None,
            builder: SpoolRowsBuilder::default(),
            packer,
            head,
        })
    }

    fn write(&self, pool: &mut RetryBatch) -> Result<(), Error> {
        if pool.builder.is_empty() {
            return Ok(());
        }
        let path = self.folder.spool_file(pool.batch);
        let writer = match &mut pool.writer {
            Some(writer) => writer,
            None => pool.writer.insert(SpoolWriter::create(
                &path,
                pool.batch,
                self.format.envelope(),
                Arc::clone(&pool.head),
                &no_columns(),
            )?),
        };
        Ok(writer.write(&pool.builder.finish_without_columns())?)
    }

    fn close(&mut self, max_tokens: u32, mut pool: RetryBatch) -> Result<(), Error> {
        self.write(&mut pool)?;
        let Some(writer) = pool.writer else {
            return Ok(());
        };
        let spooled = writer.finish()?;
        self.sizes.push(spooled.requests);
        let head = if max_tokens == self.first_max_tokens {
            None
        } else {
            Some(self.folder.write_head(Some(pool.batch), &pool.head)?)
        };
        self.closed.push(Planned {
            attempt: self.attempt,
            spooled,
            head,
        });
        Ok(())
    }

    /// Closes all batches, in the order of their numbers: the journal takes no other.
    fn finish(mut self) -> Result<Vec<Planned>, Error> {
        for (max_tokens, pool) in std::mem::take(&mut self.spools) {
            self.close(max_tokens, pool)?;
        }
        self.closed.sort_by_key(|planned| planned.spooled.number);
        Ok(self.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::{Attempt, RequestRow};
    use crate::outcome::Usage;

    fn row(statuses: &[Status]) -> JoinedRow<'static> {
        let attempt = |(n, status): (usize, &Status)| Attempt {
            attempt: u32::try_from(n + 1).unwrap(),
            batch_id: "b".into(),
            outcome: Outcome {
                error_type: (*status == Status::Errored).then(|| "api_error".to_owned()),
                ..Outcome::new(*status)
            },
        };
        let attempts: Vec<_> = statuses.iter().enumerate().map(attempt).collect();
        let status = *statuses.last().unwrap();
        let chosen = attempts.len().checked_sub(1);
        JoinedRow {
            request: RequestRow::default(),
            sent_as: None,
            status,
            attempts,
            chosen,
            answer: None,
            cost_pico_usd: None,
        }
    }

    #[test]
    fn sends_each_class_again_as_often_as_the_job_says() {
        use Status::{Canceled, Errored, Expired, Refused, Succeeded, Truncated};
        let policy = RetryPolicy::of_job(&RetrySpec {
            expired: 1,
            server_error: 2,
            ..RetrySpec::default()
        });
        for (statuses, wanted) in [
            (&[Succeeded][..], false),
            (&[Expired], true),
            (&[Expired, Expired], false),
            (&[Errored, Errored], true),
            (&[Errored, Errored, Errored], false),
            (&[Expired, Errored], true),
            (&[Errored, Expired, Errored], true),
            (&[Refused], false),
            (&[Truncated], false),
            (&[Canceled], false),
        ] {
            assert_eq!(policy.wants(&row(statuses)), wanted, "{statuses:?}");
        }
        let by_hand =
            RetryPolicy::by_hand([Class::Truncated, Class::Canceled], MoreTokens::Factor(2));
        assert!(
            by_hand.wants(&row(&[Truncated, Truncated, Truncated]))
                && by_hand.wants(&row(&[Canceled]))
        );
        assert!(!by_hand.wants(&row(&[Expired])) && !by_hand.wants(&row(&[Truncated, Succeeded])));
        assert!(!RetryPolicy::none().wants(&row(&[Expired])));
    }
    fn cut_off(model: &str, at: &[u64], stop_reason: &str) -> JoinedRow<'static> {
        let mut row = row(&vec![Status::Truncated; at.len()]);
        for (attempt, &tokens) in row.attempts.iter_mut().zip(at) {
            attempt.outcome.model = Some(model.to_owned());
            attempt.outcome.stop_reason = Some(stop_reason.to_owned());
            attempt.outcome.usage = Some(Usage {
                output_tokens: Some(tokens),
                ..Usage::default()
            });
        }
        row
    }

    #[test]
    fn an_answer_is_sent_again_only_where_it_can_get_more_room() {
        let model = "claude-haiku-4-5";
        let most =
            u32::try_from(most_tokens(Catalog::builtin().model(model).unwrap().1, &[])).unwrap();
        let lengths = |max_tokens: u32, more_tokens: MoreTokens, has_max_tokens: bool| Lengths {
            max_tokens,
            model: model.to_owned(),
            has_model: false,
            has_max_tokens,
            more_tokens,
            betas: Vec::new(),
            catalog: Arc::new(Catalog::builtin().clone()),
        };
        let twice = MoreTokens::Factor(2);
        let all = u64::from(most);
        for (what, lengths, row, has_room) in [
            (
                "more",
                lengths(100, twice, false),
                cut_off(model, &[100], "max_tokens"),
                true,
            ),
            (
                "more again",
                lengths(100, twice, false),
                cut_off(model, &[100, 200], "max_tokens"),
                true,
            ),
            (
                "the rest of the room",
                lengths(most - 1, twice, false),
                cut_off(model, &[all - 1], "max_tokens"),
                true,
            ),
            (
                "at the cap",
                lengths(most, twice, false),
                cut_off(model, &[all], "max_tokens"),
                false,
            ),
            (
                "at the cap since",
                lengths(most - 1, twice, false),
                cut_off(model, &[all - 1, all], "max_tokens"),
                false,
            ),
            (
                "a fixed limit",
                lengths(100, MoreTokens::Fixed(900), false),
                cut_off(model, &[100], "max_tokens"),
                true,
            ),
            (
                "the same once more",
                lengths(100, MoreTokens::Fixed(900), false),
                cut_off(model, &[100, 900], "max_tokens"),
                false,
            ),
            (
                "a lower limit",
                lengths(100, MoreTokens::Fixed(50), false),
                cut_off(model, &[100], "max_tokens"),
                false,
            ),
            (
                "the row's own",
                lengths(100, twice, true),
                cut_off(model, &[500], "max_tokens"),
                true,
            ),
            (
                "the row's own, at the cap",
                lengths(100, twice, true),
                cut_off(model, &[all], "max_tokens"),
                false,
            ),
            (
                "a full window",
                lengths(100, twice, false),
                cut_off(model, &[70], WINDOW_FULL),
                false,
            ),
            (
                "not cut off",
                lengths(most, twice, false),
                row(&[Status::Truncated, Status::Expired]),
                true,
            ),
        ] {
            assert_eq!(lengths.has_room(&row), has_room, "{what}");
        }
    }
}
