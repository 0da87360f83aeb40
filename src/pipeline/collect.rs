//! Ended → result lines saved as they came.
//!
//! The stream has no end mark: one that is cut at a line's end looks whole. So the lines are counted against the batch's
//! counters and their ids against the ids that were sent, and a stream that falls short is fetched again. What still falls short
//! after that is saved as it is: the rows without a line are `missing`, counted, and never taken for answered.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::durable::{self, Pending};
use crate::join::{LineCounts, ResultIndex};
use crate::journal::Event;
use crate::provider::anthropic::result_line::custom_id_of;
use crate::provider::retry::{Call, with_retry};
use crate::provider::{ApiError, BatchId};

use super::drive::Driver;
use super::progress::Progress;
use super::submit::stopped;
use super::{Error, Run};

/// How often results that fall short are fetched before they are taken as they are.
const TRIES: u32 = 4;

/// Saves the results of every batch that is over and not saved.
pub(crate) async fn save_what_has_ended(driver: &Driver<'_>, run: &mut Run) -> Result<(), Error> {
    let ended: Vec<(u32, BatchId)> = run.ended().collect();
    for (batch, id) in ended {
        if driver.stop.is_set() || !save(driver, run, batch, &id).await? {
            return Ok(());
        }
        let (_, done) = run.progress();
        driver.listener.hear(Progress::Collected { batch, done, of: run.batches() });
    }
    Ok(())
}

/// Saves one batch's results; `false` if a person wants to leave.
async fn save(driver: &Driver<'_>, run: &mut Run, batch: u32, id: &BatchId) -> Result<bool, Error> {
    let path = run.results_path(batch);
    for attempt in 1..=TRIES {
        durable::act();
        let Some(fetched) = driver.stop.or(fetch(driver, run, batch, id, &path)).await else { return Ok(false) };
        let (pending, counts) = match fetched {
            Ok(fetched) => fetched,
            Err(Fetch::Api(error)) if attempt < TRIES => {
                let text = format!("the results of batch {batch} broke off ({error}); fetching them again");
                driver.listener.hear(Progress::Note(&text));
                driver.clock.sleep(Duration::from_millis(500) * attempt * attempt).await;
                continue;
            }
            Err(Fetch::Api(error)) => {
                return Err(stopped(run, format!("cannot fetch the results of batch {batch} ({id})"), error));
            }
            Err(Fetch::Step(error)) => return Err(error),
        };
        let expected = run.ended_counts(batch).map_or(0, |counts| counts.total());
        let falls_short = counts.missing > 0 || counts.torn > 0 || counts.lines < expected;
        if falls_short && attempt < TRIES {
            let text =
                format!("the results of batch {batch} have {} lines for {expected} requests; fetching them again", counts.lines);
            driver.listener.hear(Progress::Note(&text));
            driver.clock.sleep(Duration::from_millis(500) * attempt * attempt).await;
            continue;
        }
        pending.commit().map_err(|source| Error::File { doing: "save the results in", path: path.clone(), source })?;
        let file_hash = hash_of(&path)?;
        run.record(driver.clock.now(), Event::Collected { batch, file: run.relative(&path), file_hash, counts })?;
        if !counts.is_clean() {
            driver.listener.hear(Progress::Note(&unclean(batch, &counts)));
        }
        return Ok(true);
    }
    Err(Error::Bug("results were fetched more often than allowed".to_owned()))
}

/// What is out of order in saved results.
pub(crate) fn unclean(batch: u32, counts: &LineCounts) -> String {
    let LineCounts { duplicates, foreign, missing, torn, unreadable, .. } = counts;
    format!(
        "the results of batch {batch} are not as they should be: {missing} missing, {duplicates} repeated, {foreign} of other requests, \
         {torn} torn, {unreadable} unreadable; kept as they came"
    )
}

enum Fetch {
    /// The provider, or the way to it: may be better next time.
    Api(ApiError),
    /// Our own files.
    Step(Error),
}

/// Fetches the results into a file that has no name yet, and counts its lines.
async fn fetch(driver: &Driver<'_>, run: &Run, batch: u32, id: &BatchId, path: &Path) -> Result<(Pending, LineCounts), Fetch> {
    let ours = |source| Fetch::Step(Error::File { doing: "save the results in", path: path.to_path_buf(), source });
    let mut stream = with_retry(Call::Results, driver.clock, || driver.api.results(id)).await.map_err(Fetch::Api)?;
    let pending = Pending::create(path).map_err(ours)?;
    let mut encoder = zstd::Encoder::new(pending, 1).map_err(ours)?;
    while let Some(chunk) = stream.next().await {
        encoder.write_all(&chunk.map_err(Fetch::Api)?).map_err(ours)?;
    }
    let mut pending = encoder.finish().map_err(ours)?;
    let file = pending.reopen().map_err(ours)?;
    let counts = tokio::task::block_in_place(|| count_lines(run, batch, file)).map_err(Fetch::Step)?;
    Ok((pending, counts))
}

fn count_lines(run: &Run, batch: u32, file: File) -> Result<LineCounts, Error> {
    let ids = run.ids_of(batch)?;
    index(run, &ids, file).map(|(_, counts)| counts)
}

/// Finds the lines of a results file by id.
pub(crate) fn index(run: &Run, ids: &[String], file: File) -> Result<(ResultIndex, LineCounts), Error> {
    let folder = run.folder();
    let scratch = tempfile::tempfile_in(folder).map_err(|source| Error::File {
        doing: "use a temporary file in",
        path: folder.to_path_buf(),
        source,
    })?;
    let lines = zstd::Decoder::new(file).map_err(|source| Error::File {
        doing: "read results in",
        path: folder.to_path_buf(),
        source,
    })?;
    Ok(ResultIndex::build(BufReader::with_capacity(1 << 18, lines), ids, custom_id_of, scratch)?)
}

fn hash_of(path: &Path) -> Result<String, Error> {
    let cannot = |source| Error::File { doing: "read", path: path.to_path_buf(), source };
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut File::open(path).map_err(cannot)?, &mut hasher).map_err(cannot)?;
    Ok(hasher.finalize().to_hex().to_string())
}
