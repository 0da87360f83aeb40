//! Ended → result lines saved as received.
//!
//! ```text
//!   download ─┬─ every id has a line ────────────────────────────▶ saved
//!             ├─ as many lines as the counters report, an id absent ─▶ again, a few times; then saved: that row is `missing`
//!             ├─ fewer lines, or broken off ─▶ the new lines are kept beside the earlier ones; again later, for hours
//!             └─ not found ─▶ again later; past the 29 days, and for long: lost
//! ```
//!
//! The stream has no end mark: one that is cut off at a line's end looks complete. So the lines are
//! counted against the batch's counters and their ids against the ids that were sent. A batch with
//! fewer lines than its counters report is *not collected*, whatever has come so far: the provider
//! keeps its results for 29 days, and fetching them costs nothing. The lines of all downloads are
//! kept, also from one process to the next, and together they may be all.
//!
//! One batch whose results cannot be fetched does not keep others from being fetched: each has its
//! own time for the next try.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::durable::{self, Pending};
use crate::join::{LineCounts, ResultIndex, ResultsExcess, ResultsLimit};
use crate::journal::{Batch, BatchStateKind, Event, LossReason};
use crate::provider::retry::{Call, Verdict, judge};
use crate::provider::{ApiError, ApiErrorKind, BatchId, Delivery, Processing};

use super::context::{Context, between};
use super::downloads::DownloadFault;
use super::downloads::TRIES;
use super::note::StepNote;
use super::notice::Notice;
use super::provider_error::Action;
use super::provider_error::stopped;
use super::results_file::{ResultsWriter, WrittenResults};
use super::view::RETENTION;
use super::watch::NotFoundTracker;
use super::{Error, Run, lines};

/// This long after a batch was created, nothing of it is asked for any more.
const FORGOTTEN: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// Lines kept of several downloads, beside one for each request.
const MORE_LINES: usize = 10_000;

/// Saves the results of every batch that has ended and is not saved.
///
/// # Errors
/// [`Error::Provider`] when no call can work for now (credentials, money).
pub(crate) async fn save_what_has_ended(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
) -> Result<(), Error> {
    look_again(driver, run, not_found).await?;
    let ended: Vec<(u32, BatchId)> = run.ended().collect();
    for (batch, id) in ended {
        if driver.stop.is_set() {
            return Ok(());
        }
        if !not_found.downloads.is_due(batch, driver.clock.elapsed())
            || !save(driver, run, not_found, batch, &id).await?
        {
            continue;
        }
        not_found.downloads.is_over(batch);
        driver.observer.notice(Notice::Collected {
            batch,
            done: run.state().progress().ended,
            of: run.state().batch_count(),
        });
    }
    Ok(())
}

/// Fetches once more, in each process, results that were given up or saved with too few lines: they
/// are paid, and free to fetch. A failure leaves everything as it was.
async fn look_again(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
) -> Result<(), Error> {
    let now = driver.clock.now();
    let incomplete: Vec<u32> = run.state().incomplete().map(Batch::number).collect();
    for batch in incomplete {
        if !not_found.downloads.polls_again(batch) {
            continue;
        }
        let Some((id, since)) = run.state().known_batch(batch).known_since() else {
            continue;
        };
        if driver.is_leaving() || between(since, now) > FORGOTTEN {
            continue;
        }
        durable::act();
        let Some(Ok(remote)) = driver.unless_leaving(driver.api.retrieve(&id)).await else {
            continue;
        };
        if remote.processing_status != Processing::Ended || remote.archived_at.is_some() {
            continue;
        }
        driver.note(StepNote::ResultsStillThere { batch });
        if kind_of(run, batch) == BatchStateKind::Lost {
            run.record(
                driver.clock.now(),
                Event::Ended {
                    batch,
                    counts: remote.request_counts,
                    ended_at: remote.ended_at,
                },
            )?;
        } else {
            run.fetch_again(batch);
        }
    }
    Ok(())
}

/// Saves one batch's results; `false` if they cannot be fetched now, or never, or the run is asked
/// to stop.
async fn save(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
    batch: u32,
    id: &BatchId,
) -> Result<bool, Error> {
    let path = run.results_path(batch);
    durable::act();
    let Some(fetched) = driver
        .unless_leaving(fetch(driver, run, batch, id, &path))
        .await
    else {
        return Ok(false);
    };
    let download = match fetched {
        Ok(download) => download,
        Err(FetchError::Step(error)) => return Err(error),
        Err(FetchError::Missing(error)) => {
            return missing(driver, run, not_found, batch, id, error)
                .await
                .map(|()| false);
        }
        Err(FetchError::Refused(error)) => {
            let verdict = judge(Call::Results, &error, 0, Duration::ZERO, 0.0);
            if matches!(
                verdict,
                Verdict::StopCredentials | Verdict::StopSpend | Verdict::StopAccount
            ) && !run.is_fetched_again(batch)
            {
                return Err(stopped(run, fetching(batch, id), error));
            }
            driver.note(StepNote::ResultsRefused {
                batch,
                error: error.clone(),
            });
            not_now(driver, run, not_found, batch, DownloadFault::Refused(error));
            return Ok(false);
        }
    };
    not_found.finds(id);
    take(driver, run, not_found, batch, &path, download)
}

fn fetching(batch: u32, id: &BatchId) -> Action {
    Action::FetchResults {
        batch,
        id: id.clone(),
        is_partial: false,
    }
}

/// Records that a try did not bring everything. What was fetched a second time is left as it was
/// after a few tries.
fn not_now(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
    batch: u32,
    next: DownloadFault,
) -> u32 {
    let tries = not_found.downloads.again(driver, batch, next);
    if run.is_fetched_again(batch) && (tries >= TRIES || not_found.downloads.is_hopeless(batch)) {
        run.leave_as_it_was(batch);
        not_found.downloads.is_over(batch);
        driver.note(StepNote::ResultsIncomplete { batch });
    }
    tries
}

/// Saves a download if it is all there is, alone or with earlier ones; else keeps its lines for the
/// next one.
fn take(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
    batch: u32,
    path: &Path,
    download: Download,
) -> Result<bool, Error> {
    let Download {
        mut results,
        broke_off,
    } = download;
    let counts = results.counts;
    let expected = run.state().known_batch(batch).expected_lines();
    let is_whole = broke_off.is_none() && counts.torn == 0 && counts.lines >= expected;
    if is_whole && counts.missing == 0 {
        return keep(driver, run, batch, path, results).map(|()| true);
    }
    let (mut merged, is_more) =
        tokio::task::block_in_place(|| with_earlier(run, batch, path, &mut results.pending))?;
    let together = merged.counts;
    if together.missing == 0 {
        return keep(driver, run, batch, path, merged).map(|()| true);
    }
    let in_hand = together.lines;
    let received = counts.lines - counts.torn;
    let error = broke_off
        .clone()
        .unwrap_or_else(|| short(in_hand, expected));
    let is_first = !run.is_fetched_again(batch);
    let tries = not_now(driver, run, not_found, batch, DownloadFault::Short(error));
    if is_whole && tries >= TRIES && is_first {
        // As many lines as the counters report, repeatedly, and an id without one: the provider has
        // no more. The download alone is kept as received, unless earlier ones add an id.
        if counts.missing != together.missing {
            merged.counts.lines = together.lines.max(counts.lines);
            results = merged;
        }
        return keep(driver, run, batch, path, results).map(|()| true);
    }
    if is_more {
        let so_far = run.lines_so_far_path(batch);
        // The lines go under another name until they are all.
        let cannot = cannot("save result lines in", &so_far);
        merged.pending.commit_as(&so_far).map_err(cannot)?;
    }
    driver.note(StepNote::DownloadShort {
        batch,
        error: broke_off,
        lines: received,
        expected,
        saved_lines: in_hand,
        is_slower: tries >= TRIES,
    });
    Ok(false)
}

/// The error of results that end before the last line.
fn short(lines: u64, expected: u64) -> ApiError {
    let words = format!(
        "the results end early: {lines} of {expected} lines are in hand and kept, the provider has \
         the others"
    );
    ApiError::new(
        Call::Results,
        ApiErrorKind::Connection,
        words,
        Delivery::Refused,
    )
}

/// New results, together with earlier ones, and whether they are more than before.
fn with_earlier(
    run: &Run,
    batch: u32,
    path: &Path,
    pending: &mut Pending,
) -> Result<(WrittenResults, bool), Error> {
    let new = pending
        .reopen()
        .map_err(cannot("save result lines in", path))?;
    let earlier = earlier_files(run, batch);
    let has_earlier = !earlier.is_empty();
    let (merged, added) = merge(run, batch, path, earlier.into_iter().chain([new]))?;
    let is_more = !has_earlier || added.last().is_some_and(|lines| *lines > 0);
    Ok((merged, is_more))
}

/// The files with lines of earlier downloads, opened: those that were not all, and results that
/// were saved, unless they were altered.
fn earlier_files(run: &Run, batch: u32) -> Vec<File> {
    let saved = Some(run.results_path(batch)).filter(|_| !run.is_distrusted(batch));
    [Some(run.lines_so_far_path(batch)), saved]
        .into_iter()
        .flatten()
        .filter_map(|path| File::open(path).ok())
        .collect()
}

/// The lines of several files, each once, and how many each file adds.
fn merge(
    run: &Run,
    batch: u32,
    path: &Path,
    files: impl Iterator<Item = File>,
) -> Result<(WrittenResults, Vec<u64>), Error> {
    let inputs = files
        .map(|file| lines_of(run, file))
        .collect::<Result<Vec<_>, _>>()?;
    let most = run.spooled(batch).requests as usize * 2 + MORE_LINES;
    let mut writer = ResultsWriter::create(run, batch, path)?;
    let added = lines::merge(
        inputs,
        most,
        |line| run.format().is_whole(line),
        |line| writer.push(line),
    )?;
    Ok((writer.finish()?, added))
}

/// Gives saved results their name, and records them; the ledger follows by the index that was made
/// while they were written.
fn keep(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    path: &Path,
    results: WrittenResults,
) -> Result<(), Error> {
    let WrittenResults {
        pending,
        file_hash,
        index,
        counts,
    } = results;
    // The file first, then the event: an event without its file would be a loss, a file without its
    // event is written again.
    pending
        .commit()
        .map_err(cannot("save the results in", path))?;
    let now = driver.clock.now();
    let is_second = kind_of(run, batch) == BatchStateKind::Collected || run.is_billed(batch);
    run.hold_index(batch, index);
    run.record(
        now,
        Event::Collected {
            batch,
            file: run.relative(path),
            file_hash,
            counts,
        },
    )?;
    run.leave_as_it_was(batch);
    if is_second {
        run.settle_again(batch, now)?;
    }
    run.drop_index();
    // Best effort: the next download of the batch would find the same lines there.
    let _ = std::fs::remove_file(run.lines_so_far_path(batch));
    if !counts.is_clean() {
        driver.note(StepNote::ResultsIrregular {
            batch,
            lines: counts,
        });
    }
    Ok(())
}

fn kind_of(run: &Run, batch: u32) -> BatchStateKind {
    run.state().known_batch(batch).state.kind()
}

fn cannot(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File {
        doing,
        path,
        source,
    }
}

/// The batch has ended, and its results are not there: gone permanently after their time, else they
/// can be fetched later.
async fn missing(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
    batch: u32,
    id: &BatchId,
    error: ApiError,
) -> Result<(), Error> {
    let reason = match driver.unless_leaving(driver.api.retrieve(id)).await {
        None => return Ok(()),
        Some(Ok(remote)) => remote.archived_at.map(|at| LossReason::Archived { at }),
        Some(Err(_)) => None,
    };
    if run.is_fetched_again(batch) {
        not_now(driver, run, not_found, batch, DownloadFault::NotFound);
        return Ok(());
    }
    if let Some(reason) = reason {
        not_found.downloads.lost(batch);
        return lose(driver, run, batch, &reason);
    }
    let is_for_long = not_found.misses(driver, batch, id, true);
    if not_found.is_gone(driver, run, batch, is_for_long)? {
        not_found.downloads.lost(batch);
        return lose(driver, run, batch, &LossReason::ResultsNotFound);
    }
    if is_for_long {
        return Err(stopped(run, fetching(batch, id), error));
    }
    not_now(driver, run, not_found, batch, DownloadFault::NotFound);
    Ok(())
}

/// Whether the provider has thrown a batch's results away by its own rule, counted from when this
/// machine knew that it was accepted: the provider's clock may differ from ours.
pub(crate) fn is_past_retention(driver: &Context<'_>, run: &Run, batch: u32) -> bool {
    let known_since = run.state().known_batch(batch).known_since();
    known_since.is_some_and(|(_, since)| between(since, driver.clock.now()) > RETENTION)
}

/// Gives up what cannot be fetched of a batch's results. Lines that arrived before are saved;
/// without any, an empty file takes their place: the rows were sent and no line was returned, so
/// they are `missing`.
pub(crate) fn lose(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    reason: &LossReason,
) -> Result<(), Error> {
    let path = run.results_path(batch);
    let lost = |rows| StepNote::ResultsLost {
        batch,
        reason: reason.clone(),
        rows,
    };
    let (results, _) = merge(run, batch, &path, earlier_files(run, batch).into_iter())?;
    let counts = results.counts;
    if counts.lines > 0 && kind_of(run, batch) == BatchStateKind::Ended {
        keep(driver, run, batch, &path, results)?;
        driver.note(lost(Some(counts.missing)));
        return Ok(());
    }
    results
        .pending
        .commit()
        .map_err(cannot("save the results in", &path))?;
    run.record(
        driver.clock.now(),
        Event::Lost {
            batch,
            reason: reason.clone(),
        },
    )?;
    driver.note(lost(None));
    Ok(())
}

enum FetchError {
    /// The provider refused, or could not be reached.
    Refused(ApiError),
    /// The provider does not find the results.
    Missing(ApiError),
    /// Our own files.
    Step(Error),
}

/// Results that were fetched, in a file that has no name yet.
struct Download {
    results: WrittenResults,
    /// Why there are no more lines, where the stream did not end by itself.
    broke_off: Option<ApiError>,
}

/// Fetches the results, and saves and indexes their lines as they arrive.
async fn fetch(
    driver: &Context<'_>,
    run: &Run,
    batch: u32,
    id: &BatchId,
    path: &Path,
) -> Result<Download, FetchError> {
    let mut stream = match driver.api.results(id).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.status, Some(404 | 410)) => {
            return Err(FetchError::Missing(error));
        }
        Err(error) => return Err(FetchError::Refused(error)),
    };
    let mut writer = ResultsWriter::create(run, batch, path).map_err(FetchError::Step)?;
    let mut broke_off = None;
    let mut limit = ResultsLimit::of(run.spooled(batch).requests.into());
    while let Some(chunk) = stream.next().await {
        let taken = chunk.and_then(|chunk| {
            limit
                .take(&chunk)
                .map(|()| chunk)
                .map_err(|excess| no_results(&excess))
        });
        match taken {
            Ok(chunk) => writer.push(&chunk).map_err(FetchError::Step)?,
            Err(error) => {
                // The lines so far are kept: another download may return the rest.
                broke_off = Some(error);
                break;
            }
        }
    }
    let results = writer.finish().map_err(FetchError::Step)?;
    Ok(Download { results, broke_off })
}

/// A stream that is longer than results can be.
fn no_results(excess: &ResultsExcess) -> ApiError {
    ApiError::new(
        Call::Results,
        ApiErrorKind::Unreadable,
        excess.to_string(),
        Delivery::Refused,
    )
}

fn count_lines(run: &Run, batch: u32, file: File) -> Result<LineCounts, Error> {
    let ids = run.ids_of(batch)?;
    let lines = lines_of(run, file)?;
    Ok(ResultIndex::count(
        lines,
        ids.iter().flatten().flatten(),
        |line| run.format().custom_id(line),
    )?)
}

/// What the lines of saved results are.
pub(crate) fn counts_of(run: &Run, batch: u32, path: &Path) -> Result<LineCounts, Error> {
    let file = File::open(path).map_err(|source| Error::File {
        doing: "read",
        path: path.to_path_buf(),
        source,
    })?;
    count_lines(run, batch, file)
}

fn lines_of(run: &Run, file: File) -> Result<impl BufRead + use<>, Error> {
    let lines = zstd::Decoder::new(file).map_err(|source| Error::File {
        doing: "read results in",
        path: run.folder().to_path_buf(),
        source,
    })?;
    Ok(BufReader::with_capacity(1 << 18, lines))
}

/// blake3 of a file, in hex.
pub(crate) fn hash_of(path: &Path) -> Result<String, Error> {
    let cannot = |source| Error::File {
        doing: "read",
        path: path.to_path_buf(),
        source,
    };
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut File::open(path).map_err(cannot)?, &mut hasher).map_err(cannot)?;
    Ok(hasher.finalize().to_hex().to_string())
}
