//! `rowmill status`: where the runs stand.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rowmill::cost::Money;
use rowmill::engine::view::{MoneyView, RunView, view};
use rowmill::engine::{Error, in_one_line};
use rowmill::journal::{self, Manifest};
use rowmill::ledger::{self, Ledger, LedgerEntry};
use serde_json::{Value, json};

use super::args::{Common, Status};
use super::explain::{self, Failure};
use super::format::{count, duration, usd};
use super::layout::Column;
use super::screen::{Screen, shown, shown_to, table};
use super::target::run_of;

pub(crate) fn run(args: &Status, common: &Common, screen: &Screen) -> Result<u8, Failure> {
    match &args.target {
        Some(target) => one(&run_of(target, &common.state)?, &common.state, screen),
        None => all(&common.state, screen),
    }
}

/// What the ledger has on all runs. One that cannot be used keeps nobody from seeing where the runs
/// stand.
fn entries(state: &Path, screen: &Screen) -> Vec<LedgerEntry> {
    let entries = Ledger::open_if_there(state)
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

fn one(folder: &Path, state: &Path, screen: &Screen) -> Result<u8, Failure> {
    let (mut view, notes) = view(folder, Timestamp::now())?;
    view.add_money(&entries(ledger::folder_of(folder, state), screen));
    notes.iter().for_each(|note| screen.warn(note));
    if screen.json {
        screen.json(&view);
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
    screen.data(format!("state      {}", in_words(&manifest.state)));
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
            in_words(&batch.state),
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
    view.warnings
        .iter()
        .for_each(|warning| screen.warn(warning));
    if !manifest.next_action.starts_with("none") {
        screen.say(format!("next: {}", manifest.next_action));
    }
    Ok(explain::DONE)
}

fn all(state: &Path, screen: &Screen) -> Result<u8, Failure> {
    let runs = journal::all_runs(state)?;
    let entries = entries(state, screen);
    let views = runs
        .into_iter()
        .map(|run| match view(&run.path, Timestamp::now()) {
            Ok((mut view, notes)) => {
                notes
                    .iter()
                    .for_each(|note| screen.warn(format!("{}: {note}", view.manifest.run)));
                view.add_money(&entries);
                Ok(view)
            }
            Err(error) => Err((run.path, error)),
        });
    let views: Vec<Result<RunView, (PathBuf, Error)>> = views.collect();
    // A run that cannot be read may have batches in flight: whoever looks must not take it for
    // none.
    let code = if views.iter().any(Result::is_err) {
        explain::CHANGE
    } else {
        explain::DONE
    };
    if screen.json {
        let documents: Vec<Value> = views.iter().map(document).collect();
        screen.json(&documents);
        return Ok(code);
    }
    if views.is_empty() {
        screen.say(format!("there are no runs in `{}`", state.display()));
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
        in_words(&manifest.state),
        count(manifest.rows),
        format!("{} of {} saved", view.collected(), view.batches.len()),
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

/// How many rows the run has, and what became of them where that is known.
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

/// A state's word as it is read: `in_flight` is "in flight".
fn in_words(state: &str) -> String {
    state.replace('_', " ")
}
