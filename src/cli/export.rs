//! `rowmill export`: writes the output of a run again, its answers read as the job file says now.

use std::sync::Arc;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::engine::export::{Export, export};
use rowmill::engine::export_options::ExportOptions;
use rowmill::engine::retry::RetryPolicy;
use rowmill::engine::{Error, Run};
use rowmill::job::JobFile;

use super::args::{Common, Export as Args};
use super::explain::{self, Failure};
use super::run::{OpenOptions, connect, look_once};
use super::screen::Screen;
use super::summary;
use super::target::{Target, run_of};
use super::words;

pub(crate) fn run(
    args: &Args,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    let folder = run_of(&args.target, &common.state)?;
    let job = match (&args.job, Target::find(&args.target, &common.state)?) {
        (Some(path), _) => Some(JobFile::read(path)?),
        (None, Target::Job(file)) => Some(*file),
        (None, Target::Run(_)) => None,
    };
    let (mut run, notes) = Run::open(
        &folder,
        Timestamp::now(),
        &OpenOptions::as_it_is(catalog).means(&common.state),
    )?;
    screen.works_on(&run);
    notes
        .iter()
        .for_each(|note| screen.warn(words::journal::run_note(note)));
    if !run.state().is_collected() {
        let message = format!(
            "the run `{}` is not finished: not all of its answers are there",
            folder.display()
        );
        let verb = if run.state().abandoned().is_some() {
            "collect"
        } else {
            "run"
        };
        return Err(Failure::words(
            explain::CHANGE,
            message,
            format!("`rowmill {verb} {}` finishes it", folder.display()),
        ));
    }
    if run.may_fetch_more(Timestamp::now()) {
        fetch_more(&mut run, common, catalog, screen);
    }
    if let Some(job) = &job {
        let options = ExportOptions::of_job(run.plan(), job)?;
        run.read_as(options);
    }
    if args.place.replace {
        run.replace_output();
    }
    // The job learned of the run when it was exported first.
    let done = match export(
        &mut run,
        &RetryPolicy::none(),
        None,
        Timestamp::now(),
        screen,
    ) {
        Err(error) if run.replace_results(&error) => {
            screen.warn(format!("{error}: fetching them again, which costs nothing"));
            fetch_more(&mut run, common, catalog, screen);
            export(
                &mut run,
                &RetryPolicy::none(),
                None,
                Timestamp::now(),
                screen,
            )
        }
        done => done,
    };
    match done? {
        Export::Done(done) => summary::show(&run, &done, screen),
        Export::Retriable(_) => Err(Error::Bug(
            "rows were to be sent again, and nobody asked for that".to_owned(),
        )
        .into()),
    }
}

/// Fetches results that are not all here, where the provider can be reached; what is here is
/// exported in any case.
fn fetch_more(run: &mut Run, common: &Common, catalog: &Arc<Catalog>, screen: &Screen) {
    let fetched = connect(run, &common.state, OpenOptions::as_it_is(catalog), screen)
        .and_then(|connection| Ok(look_once(run, &connection, screen)?));
    if fetched.is_err() {
        let folder = run.folder().display();
        screen.warn(format!(
            "results that the provider may still have could not be fetched; `rowmill collect \
             {folder}` tries again"
        ));
    }
}
