//! Batches whose time is over: their requests become result lines.
//!
//! One thread works them off, in the order in which they fall due, so that the simulated prompt
//! cache sees them in a sensible order and a look at a batch never has to wait. What happens to a
//! request depends on *when* it would have run: requests are spread evenly over the processing time
//! of their batch, in the order they were sent; what comes after a cancel is `canceled`, what comes
//! after the window is `expired`. For the prompt cache they run in waves of `concurrency`.
//!
//! The lines are shuffled by the seed before they get their name.
//!
//! Memory: one request, and 16 bytes for each line of the batch in hand.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::SimState;
use super::answer::{self, AnswerFault, AnswerSeed, SimMessage};
use super::cache::{CacheAccess, CacheScope, CachedTokens};
use super::faults::{RequestFault, RowOutcome};
use super::params::{CallContext, Endpoint, RequestReader};
use super::reply::{ErrorEnvelope, ErrorReply, opaque_id};
use super::store::{BatchRecord, later};
use crate::provider::Counts;

/// How often the thread reads the clock, which may be a simulated one. A call that needs the result
/// wakes it earlier.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long it waits after a failure before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long it takes until an answer begins, at most.
const FIRST_TOKEN: Duration = Duration::from_secs(2);

/// Works off batches until the server stops.
pub(super) fn work(sim: &SimState) {
    let mut reader = RequestReader::new(sim.catalog.clone(), sim.files.clone());
    while !sim.stopping() {
        let done = match sim.store.next_due((sim.clock)()) {
            Some(record) => BatchRun::new(sim, &record).run(&mut reader),
            None => Ok(false),
        };
        match done {
            Ok(true) => sim.worker.report(false),
            Ok(false) => sim.worker.wait(LOOK_EVERY),
            Err(cause) => {
                // The disk may be full: the batch stays in progress, and is retried.
                tracing::error!(%cause, "the simulator cannot process a batch");
                sim.worker.report(true);
                sim.worker.wait(RETRY_AFTER);
            }
        }
    }
}

/// How the worker and the calls wait for each other.
#[derive(Default)]
pub(super) struct WorkerSignals {
    /// Whether the worker was woken since it last waited: a wake between its look at the store and
    /// its wait is not lost.
    is_woken: Mutex<bool>,
    woken: Condvar,
    rounds: watch::Sender<Round>,
}

/// What the worker did last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Round {
    /// Whether it could not end a batch.
    pub(super) has_failed: bool,
}

impl WorkerSignals {
    /// Ends the worker's wait, or keeps its next one from beginning.
    pub(super) fn wake(&self) {
        *self.is_woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_one();
    }

    /// Reports every batch that ends from now on.
    pub(super) fn rounds(&self) -> watch::Receiver<Round> {
        self.rounds.subscribe()
    }

    fn report(&self, has_failed: bool) {
        self.rounds.send_replace(Round { has_failed });
    }

    fn wait(&self, time: Duration) {
        let is_woken = self.is_woken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut is_woken, _) = self
            .woken
            .wait_timeout_while(is_woken, time, |is_woken| !*is_woken)
            .unwrap_or_else(PoisonError::into_inner);
        *is_woken = false;
    }
}

/// Answers a single message.
pub(super) fn message(
    sim: &SimState,
    reader: &mut RequestReader,
    params: &str,
    context: CallContext<'_>,
) -> Result<Vec<u8>, ErrorReply> {
    let request = reader.read(params, context)?;
    let at = (sim.clock)().as_microsecond();
    let call = sim.messages.fetch_add(1, Ordering::Relaxed);
    let moment = CacheAccess {
        scope: CacheScope::Messages,
        at,
        answered: at,
        wave: (u64::MAX, call),
    };
    let mut caches = sim.caches.lock().unwrap_or_else(PoisonError::into_inner);
    let prefix = request.row.prefix.as_ref().unwrap_or(&request.head.prefix);
    let charge = caches.charge(prefix, moment);
    caches.save(&sim.cache_path(), at)?;
    drop(caches);
    let drawn = AnswerSeed::new(sim.seed, "", params);
    let message = answer::message(&request, &drawn, charge, "standard", None);
    serde_json::to_vec(&message).map_err(|e| ErrorReply::broken(&e))
}

struct BatchRun<'a> {
    sim: &'a SimState,
    record: &'a BatchRecord,
    context: CallContext<'a>,
    counts: Counts,
}

#[derive(Deserialize)]
struct RequestLine<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    params: &'a RawValue,
}

#[derive(Serialize)]
struct SimResultLine<'a> {
    custom_id: &'a str,
    result: ResultBody<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResultBody<'a> {
    Succeeded {
        message: Box<SimMessage<'a>>,
    },
    /// One with parts that were asked for.
    #[serde(rename = "succeeded")]
    Replaced {
        message: IndexMap<String, Box<RawValue>>,
    },
    Errored {
        error: ErrorEnvelope<'a>,
    },
    Canceled,
    Expired,
}

impl<'a> BatchRun<'a> {
    fn new(sim: &'a SimState, record: &'a BatchRecord) -> BatchRun<'a> {
        let new_version = super::is_new_version(&record.version);
        let context = CallContext {
            endpoint: Endpoint::Batch,
            new_version,
            betas: &record.betas,
        };
        BatchRun {
            sim,
            record,
            context,
            counts: Counts::default(),
        }
    }

    /// Makes the results; `false` when the server stops meanwhile.
    fn run(mut self, reader: &mut RequestReader) -> io::Result<bool> {
        let ordered = self
            .sim
            .store
            .requests_path(&self.record.id)
            .with_extension("ordered");
        let results = self.sim.store.results_path(&self.record.id);
        let Some(lines) = self.write_lines(&ordered, reader)? else {
            return Ok(false);
        };
        // The results get their name before the record says that the batch has ended: a server that
        // is killed in between writes them again, and no reader sees half of them.
        self.shuffle(&ordered, lines, &results)?;
        fs::remove_file(&ordered)?;
        self.sim.faults.save_rows()?;
        let now = (self.sim.clock)();
        self.sim
            .caches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .save(&self.sim.cache_path(), now.as_microsecond())?;
        // A batch cannot end before it is due, also where the clock was set back meanwhile.
        let ended_at = now.max(self.record.due());
        self.sim
            .store
            .end(self.record.ordinal, self.counts, ended_at)
            .map_err(|e| io::Error::other(e.message))?;
        Ok(true)
    }

    /// One result line for each request, in the order of the requests; where each begins and ends.
    fn write_lines(
        &mut self,
        path: &Path,
        reader: &mut RequestReader,
    ) -> io::Result<Option<Vec<(u64, u64)>>> {
        let mut requests = BufReader::with_capacity(
            1 << 18,
            File::open(self.sim.store.requests_path(&self.record.id))?,
        );
        let mut out = BufWriter::with_capacity(1 << 18, File::create(path)?);
        let mut lines = Vec::with_capacity(usize::try_from(self.record.requests).unwrap_or(0));
        let (mut line, mut result) = (Vec::new(), Vec::new());
        let mut begin = 0;
        for n in 0.. {
            if self.sim.stopping() {
                return Ok(None);
            }
            line.clear();
            if requests.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            result.clear();
            let request: RequestLine<'_> = serde_json::from_slice(&line)?;
            self.write_result(n, &request, reader, &mut result)?;
            result.push(b'\n');
            out.write_all(&result)?;
            lines.push((begin, begin + result.len() as u64));
            begin += result.len() as u64;
        }
        out.flush()?;
        Ok(Some(lines))
    }

    fn write_result(
        &mut self,
        n: u64,
        line: &RequestLine<'_>,
        reader: &mut RequestReader,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        if let Some(result) = self.result_by_time(n) {
            return write_line(&line.custom_id, result, out);
        }
        let rule = self.sim.faults.row(&line.custom_id, self.record.ordinal);
        let replaced = rule.filter(|fault| fault.outcome == RowOutcome::Replaced);
        let answer_fault = match rule.map(|fault| self.effect_of_fault(fault, &line.custom_id)) {
            Some(FaultEffect::Nothing) => None,
            Some(FaultEffect::Result(result)) => return write_line(&line.custom_id, result, out),
            Some(FaultEffect::Error(refusal)) => {
                return self.write_error(&line.custom_id, &refusal, out);
            }
            Some(FaultEffect::Answer(answer_fault)) => Some(answer_fault),
            None => None,
        };
        let params = line.params.get();
        let request = match reader.read(params, self.context) {
            Ok(request) => request,
            Err(refusal) => return self.write_error(&line.custom_id, &refusal, out),
        };
        let prefix = request.row.prefix.as_ref().unwrap_or(&request.head.prefix);
        let charge = self.charge(n, prefix);
        let drawn = AnswerSeed::new(self.sim.seed, &line.custom_id, params);
        let message = Box::new(answer::message(
            &request,
            &drawn,
            charge,
            "batch",
            answer_fault,
        ));
        self.counts.succeeded += 1;
        match replaced {
            None => write_line(&line.custom_id, ResultBody::Succeeded { message }, out),
            Some(fault) => write_line(
                &line.custom_id,
                ResultBody::Replaced {
                    message: replace(&message, fault)?,
                },
                out,
            ),
        }
    }

    fn write_error(
        &mut self,
        custom_id: &str,
        refusal: &ErrorReply,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.counts.errored += 1;
        let request_id = opaque_id("req_", &[self.record.id.as_bytes(), custom_id.as_bytes()]);
        write_line(
            custom_id,
            ResultBody::Errored {
                error: refusal.envelope(Some(&request_id)),
            },
            out,
        )
    }

    /// What the clock does to the `n`-th request.
    fn result_by_time<'f>(&mut self, n: u64) -> Option<ResultBody<'f>> {
        let begins = self.moment(n, self.record.requests);
        if self
            .record
            .cancel_initiated_at
            .is_some_and(|canceled| begins >= canceled)
        {
            self.counts.canceled += 1;
            return Some(ResultBody::Canceled);
        }
        let ends = self.moment(n + 1, self.record.requests);
        if ends > self.record.expires_at() {
            self.counts.expired += 1;
            return Some(ResultBody::Expired);
        }
        None
    }

    /// When `part` of `whole` of the processing time is over.
    fn moment(&self, part: u64, whole: u64) -> Timestamp {
        let share = part as f64 / whole.max(1) as f64;
        later(
            self.record.created_at,
            self.record.processing.mul_f64(share.min(1.0)),
        )
    }

    fn effect_of_fault(&mut self, fault: &RequestFault, custom_id: &str) -> FaultEffect {
        match fault.outcome {
            RowOutcome::Errored => {
                let kind = fault.error_type.as_deref().unwrap_or("api_error");
                let text = fault
                    .message
                    .clone()
                    .unwrap_or_else(|| format!("The simulator was asked to fail `{custom_id}`"));
                FaultEffect::Error(ErrorReply::new(500, kind, text))
            }
            RowOutcome::Expired => {
                self.counts.expired += 1;
                FaultEffect::Result(ResultBody::Expired)
            }
            RowOutcome::Canceled => {
                self.counts.canceled += 1;
                FaultEffect::Result(ResultBody::Canceled)
            }
            RowOutcome::Refused => FaultEffect::Answer(AnswerFault::Refused),
            RowOutcome::Truncated => FaultEffect::Answer(AnswerFault::Truncated),
            RowOutcome::Paused => FaultEffect::Answer(AnswerFault::Paused),
            RowOutcome::Empty => FaultEffect::Answer(AnswerFault::Empty),
            RowOutcome::Recased => FaultEffect::Answer(AnswerFault::Recased),
            RowOutcome::NotJson => FaultEffect::Answer(AnswerFault::NotJson),
            RowOutcome::Replaced => FaultEffect::Nothing,
        }
    }

    fn charge(&self, n: u64, prefix: &super::cache::Prefix) -> CachedTokens {
        let wave = n / self.sim.concurrency;
        let waves = self.record.requests.div_ceil(self.sim.concurrency);
        let (at, next) = (self.moment(wave, waves), self.moment(wave + 1, waves));
        let answered = next.min(later(at, FIRST_TOKEN)).as_microsecond();
        let wave = (self.record.ordinal, wave);
        let moment = CacheAccess {
            scope: CacheScope::Batches,
            at: at.as_microsecond(),
            answered,
            wave,
        };
        self.sim
            .caches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .charge(prefix, moment)
    }

    /// Copies the lines into another order.
    fn shuffle(
        &self,
        ordered: &Path,
        mut lines: Vec<(u64, u64)>,
        results: &Path,
    ) -> io::Result<()> {
        fastrand::Rng::with_seed(self.sim.seed ^ self.record.ordinal).shuffle(&mut lines);
        let partial = results.with_extension("partial");
        let mut out = BufWriter::with_capacity(1 << 18, File::create(&partial)?);
        let mut from = File::open(ordered)?;
        let mut line = Vec::new();
        for (begin, end) in lines {
            line.resize(usize::try_from(end - begin).unwrap_or(0), 0);
            from.seek(SeekFrom::Start(begin))?;
            from.read_exact(&mut line)?;
            out.write_all(&line)?;
        }
        out.flush()?;
        fs::rename(&partial, results)
    }
}

/// A message with the parts that a fault names in the place of its own.
fn replace(
    message: &SimMessage<'_>,
    fault: &RequestFault,
) -> io::Result<IndexMap<String, Box<RawValue>>> {
    let mut parts: IndexMap<String, Box<RawValue>> =
        serde_json::from_str(&serde_json::to_string(message)?)?;
    let mut put = |name: &str, part: Option<Box<RawValue>>| {
        part.and_then(|part| parts.insert(name.to_owned(), part))
    };
    put("usage", fault.usage.as_ref().map(|usage| usage.0.clone()));
    put(
        "content",
        fault.content.as_ref().map(|content| content.0.clone()),
    );
    put(
        "stop_reason",
        fault
            .stop_reason
            .as_ref()
            .map(serde_json::value::to_raw_value)
            .transpose()?,
    );
    Ok(parts)
}

enum FaultEffect {
    /// As it would be; parts of it are replaced afterwards.
    Nothing,
    Result(ResultBody<'static>),
    Error(ErrorReply),
    Answer(AnswerFault),
}

fn write_line(custom_id: &str, result: ResultBody<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    serde_json::to_writer(out, &SimResultLine { custom_id, result }).map_err(io::Error::from)
}
