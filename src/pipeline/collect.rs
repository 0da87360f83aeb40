//! Ended → result lines saved as they came.
//!
//! The stream has no end mark: one that is cut at a line's end looks whole. So the lines are counted against the batch's
//! counters and their ids against the ids that were sent, and a stream that falls short is fetched again. What still falls short
//! after that is saved as it is: the rows without a line are `missing`, counted, and never taken for answered. Results that the provider
//! has thrown away, 29 days after the batch was made, are given up, and said to be lost.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use arrow::array::StringArray;
use futures_util::StreamExt as _;

use crate::durable::{self, Pending};
use crate::join::{Ceiling, Excess, LineCounts, ResultIndex};
use crate::journal::Event;
use crate::provider::anthropic::result_line::custom_id_of;
use crate::provider::retry::Call;
use crate::provider::{ApiError, BatchId, Delivery, ResultStream};

use super::downloads::Downloads;
use super::drive::{BRIEFLY, Driver, between};
use super::progress::Progress;
use super::submit::stopped;
use super::view::RETENTION;
use super::watch::Eyes;
use super::{Error, Run};

/// How often results that fall short are fetched before they are taken as they are.
const TRIES: u32 = 4;

/// Saves the results of every batch that is over and not saved. One that cannot be fetched does not stop the others: see [`Downloads`].
pub(crate) async fn save_what_has_ended(
    driver: &Driver<'_>,
    run: &mut Run,
    eyes: &mut Eyes,
    downloads: &mut Downloads,
) -> Result<(), Error> {
    let ended: Vec<(u32, BatchId)> = run.ended().collect();
    for (batch, id) in ended {
        if driver.stop.is_set() {
            return Ok(());
        }
        if !downloads.is_due(batch, driver.clock.now()) {
            continue;
        }
        let is_saved = match save(driver, run, eyes, batch, &id).await {
            Ok(is_saved) => is_saved,
            Err(error) => {
                downloads.fails(driver, batch, error)?;
                continue;
            }
        };
        downloads.is_over(batch);
        if is_saved {
            let (_, done) = run.progress();
            driver.listener.hear(Progress::Collected { batch, done, of: run.batches() });
        }
    }
    Ok(())
}

/// Saves one batch's results; `false` if they cannot be had for now, or never, or it is time to leave.
async fn save(driver: &Driver<'_>, run: &mut Run, eyes: &mut Eyes, batch: u32, id: &BatchId) -> Result<bool, Error> {
    let path = run.results_path(batch);
    for attempt in 1..=TRIES {
        durable::act();
        let Some(fetched) = driver.unless_leaving(fetch(driver, run, batch, id, &path)).await else { return Ok(false) };
        let why = match fetched {
            Ok((pending, counts)) => match shortfall(run, batch, &counts) {
                Some(why) if attempt < TRIES => why,
                _ => return keep(driver, run, batch, &path, pending, counts).map(|()| true),
            },
            Err(Fetch::Broken(error)) if attempt < TRIES => format!("broke off ({error})"),
            Err(Fetch::Broken(error) | Fetch::Refused(error)) => {
                return Err(stopped(run, format!("cannot fetch the results of batch {batch} ({id})"), error));
            }
            Err(Fetch::Missing(error)) => return missing(driver, run, eyes, batch, id, error).await.map(|()| false),
            Err(Fetch::Step(error)) => return Err(error),
        };
        driver.note(&format!("the results of batch {batch} {why}; fetching them again"));
        let pause = Duration::from_millis(500) * attempt * attempt;
        if driver.unless_leaving(driver.clock.sleep(pause)).await.is_none() {
            return Ok(false);
        }
    }
    Err(Error::Bug("results were fetched more often than allowed".to_owned()))
}

/// What is lacking in results that were fetched.
fn shortfall(run: &Run, batch: u32, counts: &LineCounts) -> Option<String> {
    let expected = run.ended_counts(batch).map_or(0, |counts| counts.total());
    let falls_short = counts.missing > 0 || counts.torn > 0 || counts.lines < expected;
    falls_short.then(|| format!("have {} lines for {expected} requests", counts.lines))
}

fn keep(driver: &Driver<'_>, run: &mut Run, batch: u32, path: &Path, pending: Pending, counts: LineCounts) -> Result<(), Error> {
    pending.commit().map_err(|source| Error::File { doing: "save the results in", path: path.to_path_buf(), source })?;
    let file_hash = hash_of(path)?;
    run.record(driver.clock.now(), Event::Collected { batch, file: run.relative(path), file_hash, counts })?;
    if !counts.is_clean() {
        driver.note(&unclean(batch, &counts));
    }
    Ok(())
}

/// The batch is over, and its results are not there: gone for good after their time, else to be had later.
async fn missing(
    driver: &Driver<'_>,
    run: &mut Run,
    eyes: &mut Eyes,
    batch: u32,
    id: &BatchId,
    error: ApiError,
) -> Result<(), Error> {
    let reason = match driver.unless_leaving(driver.api.retrieve(id)).await {
        None => return Ok(()),
        Some(Ok(remote)) => remote.archived_at.map(|at| format!("the provider keeps results for 29 days, and these until {at}")),
        Some(Err(_)) => {
            is_past_retention(driver, run, batch).then(|| "the provider keeps results for 29 days, which are over".to_owned())
        }
    };
    if let Some(reason) = reason {
        return lose(driver, run, batch, &reason);
    }
    if eyes.misses(driver, batch, id, "the results of ") {
        return Err(stopped(run, format!("cannot fetch the results of batch {batch} ({id})"), error));
    }
    Ok(())
}

/// Whether the provider has thrown a batch's results away by its own rule.
pub(crate) fn is_past_retention(driver: &Driver<'_>, run: &Run, batch: u32) -> bool {
    run.created_at(batch).is_some_and(|created| between(created, driver.clock.now()) > RETENTION)
}

/// Gives a batch's results up. An empty file takes their place: the rows were sent and no line came back, so they are `missing`.
pub(crate) fn lose(driver: &Driver<'_>, run: &mut Run, batch: u32, reason: &str) -> Result<(), Error> {
    let path = run.results_path(batch);
    let cannot = |source| Error::File { doing: "save the results in", path: path.clone(), source };
    let pending = Pending::create(&path).map_err(cannot)?;
    let pending = zstd::Encoder::new(pending, 1).and_then(zstd::Encoder::finish).map_err(cannot)?;
    pending.commit().map_err(cannot)?;
    run.record(driver.clock.now(), Event::Lost { batch, reason: reason.to_owned() })?;
    driver.note(&format!("the results of batch {batch} are lost: {reason}; its rows are `missing` in the output"));
    Ok(())
}

/// What is out of order in saved results.
pub(crate) fn unclean(batch: u32, counts: &LineCounts) -> String {
    let LineCounts { duplicates, foreign, missing, torn, unreadable, too_long, .. } = counts;
    let too_long = if *too_long > 0 { format!(", {too_long} too long to be read") } else { String::new() };
    format!(
        "the results of batch {batch} are not as they should be: {missing} missing, {duplicates} repeated, {foreign} of other requests, \
         {torn} torn, {unreadable} unreadable{too_long}; kept as they came"
    )
}

enum Fetch {
    /// The provider refused, or could not be reached for long.
    Refused(ApiError),
    /// The provider does not find the results.
    Missing(ApiError),
    /// The stream broke off: may be better next time.
    Broken(ApiError),
    /// Our own files.
    Step(Error),
}

/// Fetches the results into a file that has no name yet, and counts its lines.
async fn fetch(driver: &Driver<'_>, run: &Run, batch: u32, id: &BatchId, path: &Path) -> Result<(Pending, LineCounts), Fetch> {
    let ours = |source| Fetch::Step(Error::File { doing: "save the results in", path: path.to_path_buf(), source });
    let mut stream = open(driver, id).await?;
    let pending = Pending::create(path).map_err(ours)?;
    let mut encoder = zstd::Encoder::new(pending, 1).map_err(ours)?;
    let mut ceiling = Ceiling::of(run.piece(batch).requests.into());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(Fetch::Broken)?;
        ceiling.take(&chunk).map_err(|excess| Fetch::Broken(no_results(&excess)))?;
        encoder.write_all(&chunk).map_err(ours)?;
    }
    let mut pending = encoder.finish().map_err(ours)?;
    let file = pending.reopen().map_err(ours)?;
    let counts = tokio::task::block_in_place(|| count_lines(run, batch, file)).map_err(Fetch::Step)?;
    Ok((pending, counts))
}

/// A stream that goes on beyond what results can be.
fn no_results(excess: &Excess) -> ApiError {
    ApiError::new(Call::Results.name(), ApiError::UNREADABLE, excess.to_string(), Delivery::Refused)
}

/// Opens the stream of results. That they are not found is not waited out here, since it may be for good.
async fn open(driver: &Driver<'_>, id: &BatchId) -> Result<ResultStream, Fetch> {
    // Not for long: other batches wait behind this one.
    let call = driver.retrying(Call::Results, Some(BRIEFLY), || async {
        match driver.api.results(id).await {
            Err(error) if matches!(error.status, Some(404 | 410)) => Ok(Err(error)),
            Err(error) => Err(error),
            Ok(stream) => Ok(Ok(stream)),
        }
    });
    call.await.map_err(Fetch::Refused)?.map_err(Fetch::Missing)
}

fn count_lines(run: &Run, batch: u32, file: File) -> Result<LineCounts, Error> {
    let ids = run.ids_of(batch)?;
    let lines = lines_of(run, file)?;
    Ok(ResultIndex::count(lines, ids.iter().flatten().flatten(), custom_id_of)?)
}

/// Finds the lines of a results file by id.
pub(crate) fn index(run: &Run, ids: &[StringArray], file: File) -> Result<(ResultIndex, LineCounts), Error> {
    let folder = run.folder();
    let scratch = tempfile::tempfile_in(folder).map_err(|source| Error::File {
        doing: "use a temporary file in",
        path: folder.to_path_buf(),
        source,
    })?;
    Ok(ResultIndex::build(lines_of(run, file)?, ids.iter().flatten().flatten(), custom_id_of, scratch)?)
}

fn lines_of(run: &Run, file: File) -> Result<impl BufRead, Error> {
    let lines = zstd::Decoder::new(file).map_err(|source| Error::File {
        doing: "read results in",
        path: run.folder().to_path_buf(),
        source,
    })?;
    Ok(BufReader::with_capacity(1 << 18, lines))
}

/// blake3 of a file, in hex.
pub(crate) fn hash_of(path: &Path) -> Result<String, Error> {
    let cannot = |source| Error::File { doing: "read", path: path.to_path_buf(), source };
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut File::open(path).map_err(cannot)?, &mut hasher).map_err(cannot)?;
    Ok(hasher.finalize().to_hex().to_string())
}
