//! `rowmill status`: shows the state of runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::cost::Money;
use rowmill::engine::{
    Engine, Error, MoneyView, RunView, TrialOutput, in_one_line, ledger_of, view,
};
use rowmill::journal::{self, Manifest};
use rowmill::ledger::{self, Ledger, LedgerEntry};
use serde_json::{Value, json};

use super::args::{Common, Status};
use super::connect::engine;
use super::explain::{self, Failure};
use super::format::{count, duration, usd};
use super::layout::Column;
use super::screen::{Screen, shown, shown_to, table};
use super::target;
use super::words;

pub(crate) fn run(
    args: &Status,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let state = target::state(common, args.target.as_deref(), screen)?;
    let engine = engine(&state, Duration::ZERO, catalog, screen)?;
    match &args.target {
        Some(target) => one(&engine, &engine.find_run(target)?, screen),
        None => all(&engine, screen),
    }
}

/// The trials of a job, or of all jobs.
fn trials(engine: &Engine, job: Option<&str>, screen: &Screen) -> Vec<TrialOutput> {
    engine.trials(job).unwrap_or_else(|error| {
        screen.warn(in_one_line(&error));
        Vec::new()
    })
}

/// The trials that exist, in text.
fn show_trials(trials: &[TrialOutput], screen: &Screen) {
    if trials.is_empty() {
        return;
    }
    let columns = [
        Column::Text("job"),
        Column::Id("run"),
        Column::Text("output"),
        Column::Number("rows"),
        Column::Id("written"),
        Column::Id("path"),
    ];
    let rows = trials.iter().map(|trial| {
        let run = match trial.folder {
            Some(_) => trial.run.clone(),
            None => format!("{} (removed)", trial.run),
        };
        vec![
            trial.job.clone(),
            run,
            words::prune::trial_kind(trial.kind).to_owned(),
            count(trial.rows),
            trial.written_at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
            trial.path.display().to_string(),
        ]
    });
    screen.data(format!("\n{}", table(&columns, rows)));
    screen.say("`rowmill prune --trials` removes trials and simulated outputs, with their runs");
}

/// What the ledgers have on runs; each is read once.
struct Ledgers<'a> {
    state: &'a Path,
    read: HashMap<PathBuf, Vec<LedgerEntry>>,
}

impl<'a> Ledgers<'a> {
    fn new(state: &'a Path) -> Ledgers<'a> {
        Ledgers {
            state,
            read: HashMap::new(),
        }
    }

    /// What the ledger of a run has. One that cannot be used does not keep the runs from being
    /// shown.
    fn of_run(&mut self, run: &Path, screen: &Screen) -> &[LedgerEntry] {
        let file = ledger_of(run, self.state).unwrap_or_else(|_| ledger::file_of(self.state));
        self.read
            .entry(file.clone())
            .or_insert_with(|| entries(&file, screen))
    }
}

fn entries(ledger: &Path, screen: &Screen) -> Vec<LedgerEntry> {
    let entries = Ledger::open_if_there(ledger, ledger::PATIENCE)
        .and_then(|ledger| ledger.map_or(Ok(Vec::new()), |ledger| ledger.entries()));
    entries.unwrap_or_else(|error| {
        screen.warn(error.to_string());
        Vec::new()
    })
}

/// What a run or a batch has cost, and what is reserved for it.
fn money(money: Option<&MoneyView>) -> String {
    match money {
        None => String::new(),
        Some(MoneyView {
            spent_usd,
            reserved_usd: Money::ZERO,
            ..
        }) => usd(*spent_usd),
        Some(MoneyView {
            spent_usd: Money::ZERO,
            reserved_usd,
            ..
        }) => format!("{} reserved", usd(*reserved_usd)),
        Some(MoneyView {
            spent_usd,
            reserved_usd,
            ..
        }) => format!("{} + {} reserved", usd(*spent_usd), usd(*reserved_usd)),
    }
}

fn one(engine: &Engine, folder: &Path, screen: &Screen) -> Result<u8, Failure> {
    let state = engine.state().path();
    let (mut view, notes) = view(folder, Timestamp::now())?;
    view.add_money(Ledgers::new(state).of_run(folder, screen));
    notes
        .iter()
        .for_each(|note| screen.warn(words::journal::run_note(note)));
    let trials = trials(engine, Some(&view.manifest.job), screen);
    if screen.json {
        let mut document = serde_json::to_value(&view).unwrap_or_default();
        document["trials"] = json!(trials);
        screen.json(&document);
        return Ok(explain::DONE);
    }
    let manifest = &view.manifest;
    screen.data(format!("job        {}", shown(&manifest.job)));
    screen.data(format!(
        "run        {}{}",
        shown(&manifest.run),
        if manifest.simulated {
            " (SIMULATED)"
        } else {
            ""
        }
    ));
    screen.data(format!(
        "state      {}",
        words::journal::stage(manifest.state)
    ));
    screen.data(format!("rows       {}", rows(manifest)));
    if let Some(money) = &view.money {
        let most = money
            .most_usd
            .map(|most| format!("; worst case {}", usd(most)))
            .unwrap_or_default();
        let (spent, reserved) = (usd(money.spent_usd), usd(money.reserved_usd));
        screen.data(format!(
            "cost       {spent} spent, {reserved} reserved for batches in flight{most}"
        ));
    }
    if let Some(output) = &manifest.output {
        screen.data(format!(
            "output     {}",
            shown_to(&output.display().to_string(), 1_000)
        ));
    }
    let batches = view.batches.iter().map(|batch| {
        vec![
            batch.batch.to_string(),
            count(batch.requests),
            words::journal::batch_state(batch.state),
            batch.id.clone().unwrap_or_default(),
            batch
                .expires_in_seconds
                .map_or_else(String::new, |s| duration(std::time::Duration::from_secs(s))),
            money(batch.money.as_ref()),
        ]
    });
    let columns = [
        Column::Number("batch"),
        Column::Number("requests"),
        Column::Id("state"),
        Column::Id("id"),
        Column::Text("expires"),
        Column::Number("cost"),
    ];
    screen.data(table(&columns, batches));
    show_trials(&trials, screen);
    view.warnings
        .iter()
        .for_each(|warning| screen.warn(words::journal::run_note(warning)));
    if let Some(action) = words::journal::next_action(&manifest.next_action) {
        screen.say(format!("next: {action}"));
    }
    Ok(explain::DONE)
}

fn all(engine: &Engine, screen: &Screen) -> Result<u8, Failure> {
    let state = engine.state().path();
    let runs = journal::all_runs(state)?;
    let mut ledgers = Ledgers::new(state);
    let views = runs
        .into_iter()
        .map(|run| match view(&run.path, Timestamp::now()) {
            Ok((mut view, notes)) => {
                notes
                    .iter()
                    .map(words::journal::run_note)
                    .for_each(|note| screen.warn(format!("{}: {note}", view.manifest.run)));
                view.add_money(ledgers.of_run(&run.path, screen));
                Ok(view)
            }
            Err(error) => Err((run.path, error)),
        });
    let views: Vec<Result<RunView, (PathBuf, Error)>> = views.collect();
    // A run that cannot be read may have batches in flight, so this is no success.
    let code = if views.iter().any(Result::is_err) {
        explain::CHANGE
    } else {
        explain::DONE
    };
    let trials = trials(engine, None, screen);
    if screen.json {
        let mut documents: Vec<Value> = views.iter().map(document).collect();
        add_trials(&mut documents, &trials);
        screen.json(&documents);
        return Ok(code);
    }
    if views.is_empty() {
        screen.say(format!("no runs in `{}`", state.display()));
        show_trials(&trials, screen);
        return Ok(code);
    }
    let columns = [
        Column::Text("job"),
        Column::Id("run"),
        Column::Text("state"),
        Column::Number("rows"),
        Column::Text("batches"),
        Column::Number("cost"),
        Column::Text(""),
    ];
    screen.data(table(&columns, views.iter().map(line)));
    show_trials(&trials, screen);
    for (folder, error) in views.iter().filter_map(|view| view.as_ref().err()) {
        let problem = shown_to(&in_one_line(error), 1_000);
        screen.warn(format!(
            "the run {} cannot be read: {problem}",
            shown_to(&folder.display().to_string(), 1_000)
        ));
    }
    Ok(code)
}

/// A run as a line of the table; one that cannot be read has its name and nothing else.
fn line(view: &Result<RunView, (PathBuf, Error)>) -> Vec<String> {
    let view = match view {
        Ok(view) => view,
        Err((folder, _)) => {
            let name = |path: Option<&Path>| {
                path.and_then(Path::file_name)
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default()
            };
            let mut cells = vec![
                name(folder.parent()),
                name(Some(folder)),
                "cannot be read".to_owned(),
            ];
            cells.resize(7, String::new());
            return cells;
        }
    };
    let manifest = &view.manifest;
    vec![
        manifest.job.clone(),
        manifest.run.clone(),
        words::journal::stage(manifest.state),
        count(manifest.rows),
        format!("{} of {} saved", view.collected(), view.whole_batches()),
        money(view.money.as_ref()),
        if manifest.simulated {
            "simulated".to_owned()
        } else {
            String::new()
        },
    ]
}

/// A run as data; one that cannot be read has its folder and its problem.
fn document(view: &Result<RunView, (PathBuf, Error)>) -> Value {
    match view {
        Ok(view) => serde_json::to_value(view)
            .unwrap_or_else(|error| json!({ "problem": error.to_string() })),
        Err((folder, error)) => json!({ "folder": folder, "problem": in_one_line(error) }),
    }
}

/// Adds each trial to the document of the run that wrote it; one whose run was removed is a
/// document of its own.
fn add_trials(documents: &mut Vec<Value>, trials: &[TrialOutput]) {
    for trial in trials {
        let own = |document: &&mut Value| document["manifest"]["run"] == *trial.run;
        match documents.iter_mut().find(own) {
            Some(document) => document["trial_output"] = json!(trial),
            None => documents.push(json!({ "folder": null, "trial_output": trial })),
        }
    }
}

/// How many rows the run has, by status where that is known.
fn rows(manifest: &Manifest) -> String {
    let statuses: Vec<String> = manifest
        .by_status
        .iter()
        .map(|(status, n)| format!("{} {status}", count(*n)))
        .collect();
    if statuses.is_empty() {
        count(manifest.rows)
    } else {
        statuses.join(", ")
    }
}
