//! Ended → result lines saved as they came.
//!
//! ```text
//!   download ─┬─ every id has a line ────────────────────────────▶ saved
//!             ├─ as many lines as the counters tell, an id absent ─▶ again, a few times; then saved: that row is `missing`
//!             ├─ fewer lines, or broken off ─▶ what came is kept beside what came before; again later, for hours
//!             └─ not found ─▶ again later; past the 29 days, and for long: lost
//! ```
//!
//! The stream has no end mark: one that is cut at a line's end looks whole. So the lines are
//! counted against the batch's counters and their ids against the ids that were sent. A batch with
//! fewer lines than its counters tell of is *not collected*, whatever has come so far: the provider
//! keeps its results for 29 days, and fetching them costs nothing. The lines of all downloads are
//! kept, also from one process to the next, and together they may be all.
//!
//! One batch whose results cannot be had does not keep others from being fetched: each has its own
//! time for the next try.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::path::Path;
use std::time::Duration;

use arrow::array::StringArray;
use futures_util::StreamExt as _;

use crate::durable::{self, Pending};
use crate::join::{Ceiling, Excess, LineCounts, ResultIndex};
use crate::journal::{BatchState, Event};
use crate::provider::retry::{Call, Verdict, judge};
use crate::provider::{ApiError, ApiErrorKind, BatchId, Delivery, Processing};

use super::downloads::Next;
use super::drive::{Context, between};
use super::note::StepNote;
use super::notice::Notice;
use super::provider_error::Action;
use super::submit::stopped;
use super::view::RETENTION;
use super::watch::NotFoundTracker;
use super::{Error, Run, lines};

/// How often results that are complete but for an id are fetched before they are taken as they are,
/// and how often in quick succession those that end early.
pub(super) const TRIES: u32 = 4;
/// This long after a batch was created, nothing of it is asked for any more.
const FORGOTTEN: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// Lines kept of several downloads, beside one for each request.
const MORE_LINES: usize = 10_000;

/// Saves the results of every batch that is over and not saved.
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
        let (_, done) = run.progress();
        driver.observer.notice(Notice::Collected {
            batch,
            done,
            of: run.batches(),
        });
    }
    Ok(())
}

/// Looks once more, in each process, for what was given up or saved with fewer lines than there
/// are: it is paid, and free to fetch. Whatever comes of it, nothing is worse than before.
async fn look_again(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
) -> Result<(), Error> {
    let now = driver.clock.now();
    for batch in run.incomplete() {
        if !not_found.downloads.looks_again(batch) {
            continue;
        }
        let Some((id, since)) = run.known_since(batch) else {
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
        if matches!(run.standing_of(batch), BatchState::OutputChange { .. }) {
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

/// Saves one batch's results; `false` if they cannot be had for now, or never, or it is time to
/// leave.
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
        Err(Fetch::Step(error)) => return Err(error),
        Err(Fetch::Missing(error)) => {
            return missing(driver, run, not_found, batch, id, error)
                .await
                .map(|()| false);
        }
        Err(Fetch::Refused(error)) => {
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
            not_now(driver, run, not_found, batch, Next::Refused(error));
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

/// Takes note that a try did not bring everything. What was fetched a second time is left as it was
/// after a few tries.
fn not_now(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
    batch: u32,
    next: Next,
) -> u32 {
    let tries = not_found.downloads.again(driver, batch, next);
    if run.is_fetched_again(batch) && (tries >= TRIES || not_found.downloads.is_hopeless(batch)) {
        run.leave_as_it_was(batch);
        not_found.downloads.is_over(batch);
        driver.note(StepNote::ResultsIncomplete { batch });
    }
    tries
}

/// Saves a download if it is all there is, alone or with what came before it; else keeps its lines
/// for the next one.
fn take(
    driver: &Context<'_>,
    run: &mut Run,
    not_found: &mut NotFoundTracker,
    batch: u32,
    path: &Path,
    download: Download,
) -> Result<bool, Error> {
    let Download {
        mut pending,
        counts,
        broke_off,
    } = download;
    let expected = run.expected_lines(batch);
    let is_whole = broke_off.is_none() && counts.torn == 0 && counts.lines >= expected;
    if is_whole && counts.missing == 0 {
        return keep(driver, run, batch, path, pending, counts).map(|()| true);
    }
    let (merged, together, is_more) =
        tokio::task::block_in_place(|| with_earlier(run, batch, path, &mut pending))?;
    if together.missing == 0 {
        return keep(driver, run, batch, path, merged, together).map(|()| true);
    }
    let in_hand = together.lines;
    let error = broke_off
        .clone()
        .unwrap_or_else(|| short(in_hand, expected));
    let is_first = !run.is_fetched_again(batch);
    let tries = not_now(driver, run, not_found, batch, Next::Short(error));
    if is_whole && tries >= TRIES && is_first {
        // As many lines as the counters tell, time and again, and an id without one: that is how
        // they are.
        return if counts.missing == together.missing {
            keep(driver, run, batch, path, pending, counts).map(|()| true)
        } else {
            let together = LineCounts {
                lines: together.lines.max(counts.lines),
                ..together
            };
            keep(driver, run, batch, path, merged, together).map(|()| true)
        };
    }
    if is_more {
        let so_far = run.lines_so_far_path(batch);
        // The lines go under another name until they are all.
        let cannot = |source| Error::File {
            doing: "save result lines in",
            path: so_far.clone(),
            source,
        };
        merged.commit_as(&so_far).map_err(cannot)?;
    }
    driver.note(StepNote::DownloadShort {
        batch,
        error: broke_off,
        lines: counts.lines - counts.torn,
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

/// Results that came, together with those that came before: the file, what its lines are, and
/// whether they are more than before.
fn with_earlier(
    run: &Run,
    batch: u32,
    path: &Path,
    pending: &mut Pending,
) -> Result<(Pending, LineCounts, bool), Error> {
    let cannot = |source| Error::File {
        doing: "save result lines in",
        path: path.to_path_buf(),
        source,
    };
    let new = pending.reopen().map_err(cannot)?;
    let earlier = earlier_files(run, batch);
    let has_earlier = !earlier.is_empty();
    let (merged, added) = merge(run, batch, path, earlier.into_iter().chain([new]))?;
    let mut merged = merged;
    let counts = count_lines(run, batch, merged.reopen().map_err(cannot)?)?;
    Ok((
        merged,
        counts,
        !has_earlier || added.last().is_some_and(|lines| *lines > 0),
    ))
}

/// All lines that earlier downloads brought, as a file that has no name yet.
fn from_what_is_in_hand(
    run: &Run,
    batch: u32,
    path: &Path,
) -> Result<(Pending, LineCounts), Error> {
    let cannot = |source| Error::File {
        doing: "save result lines in",
        path: path.to_path_buf(),
        source,
    };
    let (mut merged, _) = merge(run, batch, path, earlier_files(run, batch).into_iter())?;
    let counts = count_lines(run, batch, merged.reopen().map_err(cannot)?)?;
    Ok((merged, counts))
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

fn merge(
    run: &Run,
    batch: u32,
    path: &Path,
    files: impl Iterator<Item = File>,
) -> Result<(Pending, Vec<u64>), Error> {
    let cannot = |source| Error::File {
        doing: "save result lines in",
        path: path.to_path_buf(),
        source,
    };
    let inputs = files
        .map(|file| lines_of(run, file))
        .collect::<Result<Vec<_>, _>>()?;
    let most = run.piece(batch).requests as usize * 2 + MORE_LINES;
    let mut encoder =
        zstd::Encoder::new(Pending::create(path).map_err(cannot)?, 1).map_err(cannot)?;
    let added = lines::merge(inputs, &mut encoder, most, |line| {
        run.format().is_whole(line)
    })
    .map_err(cannot)?;
    Ok((encoder.finish().map_err(cannot)?, added))
}

fn keep(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    path: &Path,
    pending: Pending,
    counts: LineCounts,
) -> Result<(), Error> {
    pending.commit().map_err(|source| Error::File {
        doing: "save the results in",
        path: path.to_path_buf(),
        source,
    })?;
    let file_hash = hash_of(path)?;
    let now = driver.clock.now();
    let is_second =
        matches!(run.standing_of(batch), BatchState::Collected { .. }) || run.is_billed(batch);
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

/// The batch is over, and its results are not there: gone for good after their time, else to be had
/// later.
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
        Some(Ok(remote)) => remote
            .archived_at
            .map(|at| format!("the provider keeps results for 29 days, and these until {at}")),
        Some(Err(_)) => None,
    };
    if run.is_fetched_again(batch) {
        not_now(driver, run, not_found, batch, Next::NotFound);
        return Ok(());
    }
    if let Some(reason) = reason {
        not_found.downloads.lost(batch);
        return lose(driver, run, batch, &reason);
    }
    let is_for_long = not_found.misses(driver, batch, id, true);
    if not_found.is_gone(driver, run, batch, is_for_long)? {
        not_found.downloads.lost(batch);
        return lose(
            driver,
            run,
            batch,
            "the provider keeps results for 29 days, which are over, and does not find these",
        );
    }
    if is_for_long {
        return Err(stopped(run, fetching(batch, id), error));
    }
    not_now(driver, run, not_found, batch, Next::NotFound);
    Ok(())
}

/// Whether the provider has thrown a batch's results away by its own rule, counted from when this
/// machine knew that it was accepted: the provider's clock may differ from ours.
pub(crate) fn is_past_retention(driver: &Context<'_>, run: &Run, batch: u32) -> bool {
    run.known_since(batch)
        .is_some_and(|(_, since)| between(since, driver.clock.now()) > RETENTION)
}

/// Gives up what cannot be had of a batch's results. Lines that came before are saved; without any,
/// an empty file takes their place: the rows were sent and no line came back, so they are
/// `missing`.
pub(crate) fn lose(
    driver: &Context<'_>,
    run: &mut Run,
    batch: u32,
    reason: &str,
) -> Result<(), Error> {
    let path = run.results_path(batch);
    let lost = |rows| StepNote::ResultsLost {
        batch,
        reason: reason.to_owned(),
        rows,
    };
    let (pending, counts) = from_what_is_in_hand(run, batch, &path)?;
    if counts.lines > 0 && matches!(run.standing_of(batch), BatchState::Ended { .. }) {
        keep(driver, run, batch, &path, pending, counts)?;
        driver.note(lost(Some(counts.missing)));
        return Ok(());
    }
    pending.commit().map_err(|source| Error::File {
        doing: "save the results in",
        path: path.clone(),
        source,
    })?;
    run.record(
        driver.clock.now(),
        Event::OutputChange {
            batch,
            reason: reason.to_owned(),
        },
    )?;
    driver.note(lost(None));
    Ok(())
}

/// What is out of order in saved results.
pub(crate) fn unclean(batch: u32, counts: &LineCounts) -> String {
    let LineCounts {
        duplicates,
        foreign,
        missing,
        torn,
        unreadable,
        too_long,
        ..
    } = counts;
    let too_long = if *too_long > 0 {
        format!(", {too_long} too long to be read")
    } else {
        String::new()
    };
    format!(
        "the results of batch {batch} are not as they should be: {missing} missing, {duplicates} \
         repeated, {foreign} of other requests, {torn} torn, {unreadable} unreadable{too_long}; \
         kept as they came"
    )
}

enum Fetch {
    /// The provider refused, or could not be reached.
    Refused(ApiError),
    /// The provider does not find the results.
    Missing(ApiError),
    /// Our own files.
    Step(Error),
}

/// Results that were fetched, in a file that has no name yet.
struct Download {
    pending: Pending,
    counts: LineCounts,
    /// Why there are no more lines, where the stream did not end by itself.
    broke_off: Option<ApiError>,
}

/// Fetches the results, and counts their lines.
async fn fetch(
    driver: &Context<'_>,
    run: &Run,
    batch: u32,
    id: &BatchId,
    path: &Path,
) -> Result<Download, Fetch> {
    let ours = |source| {
        Fetch::Step(Error::File {
            doing: "save the results in",
            path: path.to_path_buf(),
            source,
        })
    };
    let mut stream = match driver.api.results(id).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.status, Some(404 | 410)) => return Err(Fetch::Missing(error)),
        Err(error) => return Err(Fetch::Refused(error)),
    };
    let pending = Pending::create(path).map_err(ours)?;
    let mut encoder = zstd::Encoder::new(pending, 1).map_err(ours)?;
    let mut broke_off = None;
    let mut ceiling = Ceiling::of(run.piece(batch).requests.into());
    while let Some(chunk) = stream.next().await {
        let taken = chunk.and_then(|chunk| {
            ceiling
                .take(&chunk)
                .map(|()| chunk)
                .map_err(|excess| no_results(&excess))
        });
        match taken {
            Ok(chunk) => encoder.write_all(&chunk).map_err(ours)?,
            Err(error) => {
                broke_off = Some(error);
                break;
            }
        }
    }
    let mut pending = encoder.finish().map_err(ours)?;
    let file = pending.reopen().map_err(ours)?;
    let counted = tokio::task::block_in_place(|| {
        let counts = count_lines(run, batch, file)?;
        // What a gateway writes at the end of a stream that it cut is no result.
        let ends_in_noise = counts.unreadable > 0 && last_line_is_noise(run, &mut pending, path)?;
        Ok(LineCounts {
            torn: counts.torn + u64::from(ends_in_noise),
            ..counts
        })
    });
    let counts = counted.map_err(Fetch::Step)?;
    Ok(Download {
        pending,
        counts,
        broke_off,
    })
}

/// A stream that goes on beyond what results can be.
fn no_results(excess: &Excess) -> ApiError {
    ApiError::new(
        Call::Results,
        ApiErrorKind::Unreadable,
        excess.to_string(),
        Delivery::Refused,
    )
}

/// Whether the last line names no custom_id at all.
fn last_line_is_noise(run: &Run, pending: &mut Pending, path: &Path) -> Result<bool, Error> {
    /// So much of a line tells.
    const BEGINNING: usize = 1 << 16;
    let cannot = |source| Error::File {
        doing: "read results in",
        path: path.to_path_buf(),
        source,
    };
    let mut lines = lines_of(run, pending.reopen().map_err(cannot)?)?;
    let (mut last, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        let read = lines
            .by_ref()
            .take(BEGINNING as u64)
            .read_until(b'\n', &mut line)
            .map_err(cannot)?;
        if read == BEGINNING && !line.ends_with(b"\n") {
            lines.skip_until(b'\n').map_err(cannot)?;
        }
        if read == 0 {
            return Ok(!run.format().begins_result(&last));
        }
        if !line.trim_ascii().is_empty() {
            std::mem::swap(&mut last, &mut line);
        }
    }
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

/// Finds the lines of a results file by id.
pub(crate) fn index(
    run: &Run,
    ids: &[StringArray],
    file: File,
) -> Result<(ResultIndex, LineCounts), Error> {
    let folder = run.folder();
    let scratch = tempfile::tempfile_in(folder).map_err(|source| Error::File {
        doing: "use a temporary file in",
        path: folder.to_path_buf(),
        source,
    })?;
    Ok(ResultIndex::build(
        lines_of(run, file)?,
        ids.iter().flatten().flatten(),
        |line| run.format().custom_id(line),
        scratch,
    )?)
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
