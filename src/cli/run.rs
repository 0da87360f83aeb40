//! `rowmill run`: plan, submit, watch, collect, export; goes on with an unfinished run of the same
//! job.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::cost::Money;
use rowmill::engine::drive::{Context, RunOutcome, StopSignal, Until};
use rowmill::engine::export::Export;
use rowmill::engine::finished::{self, Finished, OutputChange};
use rowmill::engine::new_run::NewRun;
use rowmill::engine::plan::PlanReport;
use rowmill::engine::retry::{self, RetryPolicy};
use rowmill::engine::upload::{self, Uploader};
use rowmill::engine::{BudgetContext, CompiledJob, Error, Run, export, leftovers};
use rowmill::job::JobFile;
use rowmill::journal::{self, Plan};
use rowmill::ledger::OnLimit;
use rowmill::provider::retry::SystemClock;
use rowmill::request::custom_id::Nonce;
use rowmill::template::prompt::uploads::Uploads;

use super::args::{Common, Run as Args};
use super::connect::{self, ApiOptions, Connection};
use super::estimate;
use super::explain::{self, Failure};
use super::format::{bytes, count, plural};
use super::plan::{PlanInputs, outline_table, select, today};
use super::screen::Screen;
use super::signals;
use super::summary;
use super::target::Target;
use super::words;

pub(crate) fn run(
    args: &Args,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    let start = Start {
        target: &args.target,
        simulate: args.simulate,
        processing: args.processing,
        select: &args.select,
        max_cost: args.budget.max_cost,
        calibrate: args.calibrate,
        again: args.again,
        catalog,
    };
    let (mut run, connection) = match start.begin(common, screen)? {
        Begun::Ready(ready) => *ready,
        Begun::Over(finished) => {
            let until = Until::Collected;
            return nothing_to_do(
                &finished,
                until,
                args.place.replace,
                common,
                catalog,
                screen,
            );
        }
    };
    if args.resubmit_doubtful {
        resubmit_doubtful(&mut run, screen);
    }
    if args.ignore_canary {
        run.ignore_canary();
    }
    if args.place.replace {
        run.replace_output();
    }
    let deadline = args.deadline.map(|deadline| Timestamp::now() + deadline);
    carry_on(
        &mut run,
        &connection,
        Until::Collected,
        deadline,
        &common.state,
        screen,
    )
}

/// Takes note of a person's own decision.
pub(crate) fn resubmit_doubtful(run: &mut Run, screen: &Screen) {
    if run.resubmit_doubtful() == 0 {
        screen.say("no batch is in doubt, so --resubmit-doubtful changes nothing");
    }
}

/// How a command that may start a run is told what to do.
pub(crate) struct Start<'a> {
    pub(crate) target: &'a Path,
    pub(crate) simulate: bool,
    pub(crate) processing: Duration,
    pub(crate) select: &'a super::args::Rows,
    pub(crate) max_cost: Option<Money>,
    pub(crate) calibrate: Option<u32>,
    /// Whether a finished run of the unchanged job is no reason not to send its rows.
    pub(crate) again: bool,
    pub(crate) catalog: &'a Arc<Catalog>,
}

/// What came of a start.
pub(crate) enum Begun {
    /// There is a run to work on, opened and locked, and the way to its provider.
    Ready(Box<(Run, Connection)>),
    /// The job has not changed since a run of it was finished.
    Over(Box<Finished>),
}

impl<'a> Start<'a> {
    fn way(&self) -> OpenOptions<'a> {
        OpenOptions {
            processing: self.processing,
            simulate: self.simulate,
            max_cost: self.max_cost,
            catalog: self.catalog,
        }
    }

    /// The run to work on, or the one that has done everything already.
    pub(crate) fn begin(&self, common: &Common, screen: &Screen) -> Result<Begun, Failure> {
        match Target::find(self.target, &common.state)? {
            Target::Run(folder) => {
                let opened = open(&folder, &common.state, self.way(), screen)?;
                opened.0.check_not_abandoned()?;
                Ok(ready(opened))
            }
            Target::Job(mut file) => {
                select(&mut file, self.select);
                let job_folder = common.state.join(&file.job.head.name);
                let _alone = journal::Lock::of_job(
                    &job_folder,
                    &journal::Owner::this_process(Timestamp::now()),
                )?;
                match unfinished(&file, &common.state, self.simulate)? {
                    Some(folder) => {
                        screen.say(format!("resuming the unfinished run {}", folder.display()));
                        let mut opened = open(&folder, &common.state, self.way(), screen)?;
                        opened.0.set_budget(&file.job.budget);
                        match opened.0.check_unchanged(
                            &file,
                            &CompiledJob::new(&file, today(), self.catalog)?,
                        ) {
                            Ok(()) => Ok(ready(opened)),
                            Err(changed @ Error::Changed { .. }) if opened.0.has_sent_nothing() => {
                                // A folder that was put back from a copy does not know what was
                                // sent since.
                                look_for_unknown(&mut opened.0, &opened.1, screen)?;
                                if !opened.0.has_sent_nothing() {
                                    return Err(changed.into());
                                }
                                screen.say(
                                    "the job has changed since, and nothing of that run was \
                                    sent: it is planned again",
                                );
                                opened.0.abandon(
                                    Timestamp::now(),
                                    "the job was changed before anything was sent",
                                )?;
                                drop(opened);
                                self.start(&file, common, screen)
                            }
                            Err(error) => Err(error.into()),
                        }
                    }
                    None => self.start(&file, common, screen),
                }
            }
        }
    }

    /// Starts a run, unless a finished one has done the same.
    fn start(&self, file: &JobFile, common: &Common, screen: &Screen) -> Result<Begun, Failure> {
        let finished = if self.again {
            Vec::new()
        } else {
            self.finished(file, common)?
        };
        if finished.is_empty() {
            return Ok(ready(self.plan_and_open(file, None, common, screen)?));
        }
        let compiled = CompiledJob::new(file, today(), self.catalog)?;
        let alike = |finished: &Finished| finished.has_files_of(&compiled);
        let finished: Vec<Finished> = finished.into_iter().filter(alike).collect();
        if let Some(same) = finished
            .iter()
            .find(|finished| finished.has_source_of(&compiled))
        {
            return Ok(Begun::Over(Box::new(same.clone())));
        }
        let (run, connection) = self.plan_and_open(file, Some(compiled), common, screen)?;
        for finished in finished {
            if finished.has_rows_of(run.folder())? {
                let planned = run.folder().to_path_buf();
                drop(run);
                // Nobody else knows of it: the job is locked, and nothing was sent.
                std::fs::remove_dir_all(&planned).map_err(|source| Error::File {
                    doing: "remove",
                    path: planned,
                    source,
                })?;
                return Ok(Begun::Over(Box::new(finished)));
            }
        }
        Ok(ready((run, connection)))
    }

    /// Finished runs of the job as it is now.
    fn finished(&self, file: &JobFile, common: &Common) -> Result<Vec<Finished>, Failure> {
        let origin = if self.simulate {
            Plan::IN_PROCESS.to_owned()
        } else {
            connect::origin_of_environment()?
        };
        Ok(finished::of_job(
            &common.state,
            file,
            self.simulate,
            &origin,
        )?)
    }

    fn plan_and_open(
        &self,
        file: &JobFile,
        compiled: Option<CompiledJob>,
        common: &Common,
        screen: &Screen,
    ) -> Result<(Run, Connection), Failure> {
        let request = &file.job.request;
        let api_options = ApiOptions {
            api_version: request.api_version.as_deref(),
            betas: &request.betas,
        };
        // Credentials and addresses first: they are cheaper to find wrong than a table is to
        // render.
        let connection = if self.simulate {
            None
        } else {
            Some(Connection::real(&api_options)?)
        };
        let mut compiled =
            compiled.map_or_else(|| CompiledJob::new(file, today(), self.catalog), Ok)?;
        let simulated = connection.as_ref().is_none_or(Connection::is_simulated);
        let origin = connection
            .as_ref()
            .map_or_else(|| Plan::IN_PROCESS.to_owned(), Connection::origin);
        if !self.simulate {
            leftovers::check_no_run_is_gone(&common.state, &file.job.head.name, simulated)?;
        }
        compiled
            .warnings
            .iter()
            .for_each(|warning| screen.warn(words::engine::warning(warning)));
        let runs = common.state.join(&file.job.head.name);
        journal::remove_abandoned_plans(&runs)?;
        let id = run_id();
        let folder = runs.join(&id);
        let connect = |screen: &Screen| {
            Connection::simulator(
                &common.state,
                self.processing,
                &api_options,
                self.catalog,
                screen,
            )
        };
        let mut connection = connection.inspect(|_| {
            if simulated {
                screen.banner();
            }
        });
        if request.uploads() {
            let connection = match &mut connection {
                Some(connection) => connection,
                none => none.insert(connect(screen)?),
            };
            compiled = upload(compiled, file, connection, &common.state, screen)?;
        }
        // The sample is counted before the plan is written, and by the same provider.
        if connection.is_none() && self.calibrate.is_some() {
            connection = Some(connect(screen)?);
        }
        let inputs = PlanInputs::new(
            file,
            &compiled,
            &common.state,
            simulated,
            self.calibrate,
            screen,
        );
        let narrowed = self.select.narrows();
        let plan = NewPlan {
            folder: &folder,
            origin,
            simulated,
            narrowed,
            max_cost: self.max_cost,
        };
        let outline = plan_at(file, &compiled, plan, &inputs, connection.as_ref(), screen)?;
        let connection = connection.map_or_else(|| connect(screen), Ok)?;
        settle_given_up(&connection, self.way(), &common.state, screen);
        outline
            .warnings
            .iter()
            .map(words::engine::warning)
            .chain(
                outline
                    .cache
                    .warning
                    .iter()
                    .map(super::words::estimate::cache_warning),
            )
            .for_each(|warning| screen.warn(warning));
        screen.lines(outline_table(&outline, &file.job.source));
        match outline.no_requests(&file.job.source) {
            Some(why) => screen.say(format!(
                "no rows to send: {}",
                super::words::estimate::no_requests(why)
            )),
            None => screen.say(estimate::in_short(&outline.estimate)),
        }
        let (run, _) = Run::open(&folder, Timestamp::now(), &self.way().means(&common.state))?;
        screen.works_on(&run);
        Ok((run.planned_now(), connection))
    }
}

fn ready(opened: (Run, Connection)) -> Begun {
    Begun::Ready(Box::new(opened))
}

/// Says that a finished run has done what was asked for, and gives its exit code. An output that is
/// gone, or that another run has replaced, is written again from what the run keeps, which is free;
/// so is one that `replace` puts in the place of a better one.
pub(crate) fn nothing_to_do(
    finished: &Finished,
    until: Until,
    replace: bool,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    let folder = finished.folder.display();
    screen.say(format!(
        "nothing to do: the job has not changed since the run {folder} was finished"
    ));
    let code = if until == Until::Sent || finished.failed == 0 {
        explain::DONE
    } else {
        explain::PARTLY
    };
    if finished.failed > 0 {
        let rows = plural(finished.failed, "row", "rows");
        screen.warn(format!(
            "{rows} of it did not succeed; `rowmill status {folder}` and the output say why"
        ));
    }
    let lost = finished.lost_output();
    if until != Until::Sent && (lost.is_some() || replace) {
        screen.say(match lost {
            None => {
                "its output is written again, in its own place, from the answers that the run \
                keeps"
            }
            Some(OutputChange::Gone) => {
                "its output is gone, and written again from the answers that the \
                run keeps"
            }
            Some(OutputChange::Replaced) => {
                "another run has replaced its output since; it is written again from the answers \
                 that the run keeps"
            }
        });
        let (mut run, notes) = Run::open(
            &finished.folder,
            Timestamp::now(),
            &OpenOptions::as_it_is(catalog).means(&common.state),
        )?;
        notes.iter().for_each(|note| screen.warn(note));
        if replace {
            run.replace_output();
        }
        return match export::export(
            &mut run,
            &RetryPolicy::none(),
            None,
            Timestamp::now(),
            screen,
        )? {
            Export::Done(done) => summary::show_nothing_to_do(&run, &done, screen),
            Export::Retriable(_) => Err(Error::Bug(
                "rows were to be sent again, and nobody asked for that".to_owned(),
            )
            .into()),
        };
    }
    let (view, _) = rowmill::engine::view::view(&finished.folder, Timestamp::now())?;
    if screen.json {
        let mut document = serde_json::to_value(&view.manifest).unwrap_or_default();
        document["nothing_to_do"] = true.into();
        if lost.is_some() {
            // What stands there holds other rows: nobody must read it as this run's.
            document["output"] = serde_json::Value::Null;
        }
        screen.json(&document);
    } else if until != Until::Sent {
        screen.data(summary::line_of(&finished.output));
    }
    if view.manifest.simulated && !screen.json {
        screen.banner();
    }
    screen.say("--again sends all rows again, and pays for them again");
    Ok(code)
}

/// Uploads the files that the requests name, once all rows have been found good, and compiles the
/// job with their ids.
fn upload(
    compiled: CompiledJob,
    file: &JobFile,
    connection: &Connection,
    state: &Path,
    screen: &Screen,
) -> Result<CompiledJob, Failure> {
    let copies = state.join(&file.job.head.name).join(COPIES);
    // What a run that was killed left; nobody else works on the job.
    let _ = std::fs::remove_dir_all(&copies);
    rowmill::durable::create_private_dir(&copies).map_err(|source| Error::File {
        doing: "use",
        path: copies.clone(),
        source,
    })?;
    let uploads = Arc::new(Uploads::keeping_copies(&copies));
    let uploaded = upload_into(&uploads, compiled, file, connection, state, screen);
    let _ = std::fs::remove_dir_all(&copies);
    uploaded
}

fn upload_into(
    uploads: &Arc<Uploads>,
    compiled: CompiledJob,
    file: &JobFile,
    connection: &Connection,
    state: &Path,
    screen: &Screen,
) -> Result<CompiledJob, Failure> {
    let compiled = compiled.with_uploads(file, uploads)?;
    PlanInputs::default().outline(file, &compiled, None, screen)?;
    screen.finish();
    let pace = if connection.is_simulated() {
        Duration::ZERO
    } else {
        upload::pace()
    };
    let origin = connection.origin();
    let uploader = Uploader {
        api: &connection.api,
        clock: &SystemClock,
        origin: &origin,
        state,
        pace,
    };
    let done = connection.block_on(uploader.upload(uploads))?;
    if done.files > 0 {
        screen.say(format!(
            "uploaded {} ({})",
            plural(done.files, "file", "files"),
            bytes(done.bytes)
        ));
    }
    if done.known > 0 {
        screen.say(format!(
            "{} uploaded before",
            plural(done.known, "file was", "files were")
        ));
    }
    Ok(compiled.with_uploads(file, uploads)?)
}

/// The folder of a job where cells are copied to that are about to be uploaded.
const COPIES: &str = ".uploads";

/// A run that is about to be planned.
pub(crate) struct NewPlan<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) origin: String,
    pub(crate) simulated: bool,
    pub(crate) narrowed: bool,
    pub(crate) max_cost: Option<Money>,
}

/// Plans a job into a new run's folder.
pub(crate) fn plan_at(
    file: &JobFile,
    compiled: &CompiledJob,
    plan: NewPlan<'_>,
    inputs: &PlanInputs,
    connection: Option<&Connection>,
    screen: &Screen,
) -> Result<PlanReport, Failure> {
    let nonce = Nonce::new(fastrand::u64(..));
    let NewPlan {
        folder,
        origin,
        simulated,
        narrowed,
        max_cost,
    } = plan;
    let now = Timestamp::now();
    let new = NewRun {
        folder,
        file,
        compiled,
        nonce: &nonce,
        origin,
        simulated,
        narrowed,
        max_cost,
        now,
    };
    let planner = |scratch: PathBuf| inputs.planner(file, compiled, &nonce, scratch, screen);
    Ok(new.plan(planner, |planner, outline| {
        inputs.count(connection, planner, outline)
    })?)
}

/// A run's id: when it began, and a few letters so that two of one second differ.
fn run_id() -> String {
    let now = Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let tail: String = (0..4).map(|_| fastrand::lowercase()).collect();
    format!("{now}-{tail}")
}

/// The newest unfinished run of a job, of the same kind: a simulated run is never taken for a real
/// one, nor the other way round.
fn unfinished(file: &JobFile, state: &Path, simulated: bool) -> Result<Option<PathBuf>, Failure> {
    let run = journal::latest_unfinished(state, &file.job.head.name, simulated)
        .map_err(rowmill::engine::Error::from)?;
    Ok(run.map(|run| run.path))
}

/// How a run that is there already is opened.
#[derive(Clone, Copy)]
pub(crate) struct OpenOptions<'a> {
    /// How long the built-in simulator works on a batch.
    pub(crate) processing: Duration,
    /// Whether the run has to be a simulated one.
    pub(crate) simulate: bool,
    /// Most that the run may cost, where a person typed it.
    pub(crate) max_cost: Option<Money>,
    pub(crate) catalog: &'a Arc<Catalog>,
}

impl<'a> OpenOptions<'a> {
    /// What the run can draw on, with its runs in this state directory.
    pub(crate) fn means(&self, state: &Path) -> BudgetContext {
        BudgetContext {
            catalog: Arc::clone(self.catalog),
            state: state.to_path_buf(),
            max_cost: self.max_cost,
        }
    }

    /// The run as it is.
    pub(crate) fn as_it_is(catalog: &'a Arc<Catalog>) -> OpenOptions<'a> {
        OpenOptions {
            processing: Duration::ZERO,
            simulate: false,
            max_cost: None,
            catalog,
        }
    }
}

/// Opens a run and the way to its provider.
pub(crate) fn open(
    folder: &Path,
    state: &Path,
    way: OpenOptions<'_>,
    screen: &Screen,
) -> Result<(Run, Connection), Failure> {
    let (run, notes) = Run::open(folder, Timestamp::now(), &way.means(state))?;
    screen.works_on(&run);
    notes.iter().for_each(|note| screen.warn(note));
    let connection = connect(&run, state, way, screen)?;
    Ok((run, connection))
}

/// The way to an opened run's provider.
pub(crate) fn connect(
    run: &Run,
    state: &Path,
    way: OpenOptions<'_>,
    screen: &Screen,
) -> Result<Connection, Failure> {
    if run.unsent_batches() > 0 {
        // What was in service when the run was planned may be gone when its rest is sent.
        way.catalog
            .advice(&run.job().request.model, today())
            .iter()
            .for_each(|notice| screen.warn(notice.to_string()));
    }
    if way.simulate && !run.plan().is_in_process() {
        return Err(Failure::words(
            explain::CHANGE,
            format!(
                "the run `{}` is not one of the built-in simulator",
                run.folder().display()
            ),
            "go on with it without --simulate, or start another with the job file",
        ));
    }
    let (api_version, betas) = run.api_options();
    let api_options = ApiOptions {
        api_version: api_version.as_deref(),
        betas: &betas,
    };
    let connection = if run.plan().is_in_process() {
        Connection::simulator(state, way.processing, &api_options, way.catalog, screen)?
    } else {
        Connection::real(&api_options)?
    };
    run.check_origin(&connection.origin())?;
    Ok(connection)
}

/// Looks once at what is in flight, and fetches what has ended or was not fetched in full: this
/// costs nothing. Gives where the run stands.
pub(crate) fn look_once(
    run: &mut Run,
    connection: &Connection,
    screen: &Screen,
) -> Result<RunOutcome, Error> {
    look_for(run, connection, Until::LookedOnce, None, screen)
}

/// Looks at what is in flight until all of it is fetched, or until the deadline.
pub(crate) fn look_for(
    run: &mut Run,
    connection: &Connection,
    until: Until,
    deadline: Option<Timestamp>,
    screen: &Screen,
) -> Result<RunOutcome, Error> {
    let (_hand, stop) = StopSignal::new();
    let driver = driver(run, connection, stop, deadline, screen);
    let standing = connection.block_on(driver.drive(run, until));
    screen.finish();
    standing
}

/// Looks whether the provider has batches of a run that its journal does not know.
fn look_for_unknown(run: &mut Run, connection: &Connection, screen: &Screen) -> Result<(), Error> {
    let (_hand, stop) = StopSignal::new();
    let driver = driver(run, connection, stop, None, screen);
    connection.block_on(driver.look_for_unknown(run))
}

fn driver<'a>(
    run: &Run,
    connection: &'a Connection,
    stop: StopSignal,
    deadline: Option<Timestamp>,
    screen: &'a Screen,
) -> Context<'a> {
    let (max_queued_requests, settle) = (run.max_queued_requests(), run.settle());
    Context {
        api: &connection.api,
        clock: &SystemClock,
        listener: screen,
        stop,
        max_queued_requests,
        settle,
        deadline,
    }
}

/// Settles what the ledger holds for runs that were given up, as far as their batches have ended.
/// What cannot be settled now is the next time.
fn settle_given_up(connection: &Connection, way: OpenOptions<'_>, state: &Path, screen: &Screen) {
    let Ok(holders) = leftovers::holders(state) else {
        return;
    };
    for folder in holders.into_iter().filter_map(|holder| holder.folder) {
        let is_given_up = journal::stage_of(&folder) == Some(journal::Stage::Abandoned);
        let Some((mut run, _)) = is_given_up
            .then(|| Run::open(&folder, Timestamp::now(), &way.means(state)).ok())
            .flatten()
        else {
            continue;
        };
        if run.check_origin(&connection.origin()).is_ok()
            && look_once(&mut run, connection, screen).is_ok()
        {
            let _ = run.write_manifest(Timestamp::now());
        }
    }
}

/// Drives an opened run as far as told, writes the output when everything is there, and says where
/// it stands.
pub(crate) fn carry_on(
    run: &mut Run,
    connection: &Connection,
    until: Until,
    deadline: Option<Timestamp>,
    state: &Path,
    screen: &Screen,
) -> Result<u8, Failure> {
    let job_folder = state.join(&run.plan().job_name);
    let (hand, stop) = StopSignal::new();
    signals::leave_orderly();
    connection.spawn(async move {
        signals::wanted().await;
        let _ = hand.send(true);
    });
    let driver = driver(run, connection, stop, deadline, screen);
    let job_wants = RetryPolicy::of_job(run.retry_spec());
    loop {
        let standing = connection.block_on(driver.drive(run, until));
        screen.finish();
        let standing = match standing {
            Ok(standing) => standing,
            Err(error) => {
                // What stopped the run is worth more than that its summary cannot be written
                // either.
                let _ = run.write_manifest(Timestamp::now());
                return Err(error.into());
            }
        };
        if run.state().abandoned().is_some() {
            run.write_manifest(Timestamp::now())?;
            return Ok(leave_given_up(run, standing, screen));
        }
        let is_over = matches!(standing, RunOutcome::Complete | RunOutcome::OverBudget);
        // Where nothing is to be sent, nothing is to be waited for either.
        let is_left_to_collect = until == Until::Sent && run.plan().counts.requests > 0;
        if !is_over || is_left_to_collect {
            run.write_manifest(Timestamp::now())?;
            return Ok(leave(run, standing, screen));
        }
        // What waits to be sent again is not planned a second time, and of a run that was called
        // back nothing is.
        let policy = if run.has_unsent_retries() || run.state().is_canceled() {
            RetryPolicy::none()
        } else {
            job_wants.clone()
        };
        let exported =
            match export::export(run, &policy, Some(&job_folder), Timestamp::now(), screen) {
                Err(error) if run.replace_results(&error) => {
                    screen.warn(format!("{error}: fetching them again, which costs nothing"));
                    continue;
                }
                exported => exported.inspect_err(|_| {
                    let _ = run.write_manifest(Timestamp::now());
                }),
            };
        match exported? {
            Export::Done(summary) => {
                screen.finish();
                let code = summary::show(run, &summary, screen)?;
                return Ok(if standing == RunOutcome::OverBudget {
                    tell_held(run, code, screen)
                } else {
                    code
                });
            }
            Export::Retriable(pieces) => {
                let healing = retry::plan_retries(
                    run,
                    pieces.into_iter().map(|(piece, _)| piece),
                    &policy,
                    Timestamp::now(),
                );
                let healing = healing?;
                screen.finish();
                say_healing(&healing, screen);
            }
        }
    }
}

/// Says where a run stands that was given up; its output is written on request alone.
fn leave_given_up(run: &Run, standing: RunOutcome, screen: &Screen) -> u8 {
    let folder = run.folder().display();
    if screen.json {
        screen.json(&summary::of_run(run));
    }
    screen.say(run.standing_in_words());
    match standing {
        RunOutcome::Complete => {
            screen.say(format!(
                "the run was given up; all that it sent is fetched, and `rowmill \
                export {folder}` writes it"
            ));
            explain::DONE
        }
        RunOutcome::Interrupted => explain::INTERRUPTED,
        RunOutcome::InDoubt => explain::DOUBT,
        RunOutcome::OverBudget | RunOutcome::Unfinished => {
            screen.say(format!(
                "the run was given up; `rowmill collect {folder}` fetches what it sent"
            ));
            explain::UNFINISHED
        }
    }
}

/// Says which rows are sent again.
pub(crate) fn say_healing(healing: &retry::RetriesPlanned, screen: &Screen) {
    let rows = if healing.rows == 1 {
        "row that failed is"
    } else {
        "rows that failed are"
    };
    screen.say(format!(
        "{} {rows} sent again in {}",
        count(healing.rows),
        batches(healing.batches.into())
    ));
}

/// Says what the budget held back, and gives the exit code for it.
fn tell_held(run: &Run, code: u8, screen: &Screen) -> u8 {
    screen.warn(format!(
        "the budget held back {}; `rowmill run {}` sends them when there is room",
        batches(run.unsent_batches()),
        run.folder().display()
    ));
    match run.on_limit() {
        OnLimit::Stop => explain::STOPPED,
        OnLimit::Partial => code.max(explain::PARTLY),
    }
}

fn leave(run: &Run, standing: RunOutcome, screen: &Screen) -> u8 {
    let folder = run.folder().display();
    if screen.json {
        screen.json(&summary::of_run(run));
    }
    screen.say(run.standing_in_words());
    match standing {
        RunOutcome::InDoubt => {
            let (them, were) = if run.doubts().count() == 1 {
                ("it", "it was")
            } else {
                ("they", "they were")
            };
            screen.warn(format!(
                "{} may or may not have been created; until that is known, {them} will not be sent \
                 again. `rowmill run {folder}` looks for {}, and sends what was not created; with \
                 --resubmit-doubtful what is not found now is sent again, and paid twice if {were} \
                 created",
                batches(run.doubts().count() as u64),
                if them == "it" { "it" } else { "them" },
            ));
            explain::DOUBT
        }
        RunOutcome::Interrupted => {
            screen.say(format!(
                "interrupted; submitted batches keep running at the provider. `rowmill run \
                 {folder}` resumes the run"
            ));
            explain::INTERRUPTED
        }
        RunOutcome::OverBudget => {
            let left = batches(run.unsent_batches());
            screen.say(format!(
                "the budget has no room for {left}: `rowmill run {folder}` (or \
                submit) resumes when it has"
            ));
            explain::UNFINISHED
        }
        RunOutcome::Unfinished if run.unsent_batches() > 0 => {
            let left = batches(run.unsent_batches());
            screen.say(format!(
                "{left} still to be sent: `rowmill run {folder}` (or submit) sends the rest"
            ));
            explain::UNFINISHED
        }
        RunOutcome::Complete | RunOutcome::Unfinished => {
            screen.say(format!(
                "`rowmill collect {folder}` fetches what has ended, `rowmill run \
                {folder}` waits for it"
            ));
            explain::UNFINISHED
        }
    }
}

/// `3 batches`, `1 batch`.
pub(crate) fn batches(n: u64) -> String {
    plural(n, "batch", "batches")
}
