//! `rowmill status`: where the runs stand.

use std::path::Path;

use jiff::Timestamp;
use rowmill::cost::Money;
use rowmill::journal::{self, Manifest};
use rowmill::ledger::{self, Entry, Ledger};
use rowmill::pipeline::view::{MoneyView, RunView, view};

use super::args::{Common, Status};
use super::explain::{self, Failure};
use super::layout::Column;
use super::screen::{Screen, count, duration, table, usd};
use super::target::run_of;

pub(crate) fn run(args: &Status, common: &Common, screen: &Screen) -> Result<u8, Failure> {
    match &args.target {
        Some(target) => one(&run_of(target, &common.state)?, &common.state, screen),
        None => all(&common.state, screen),
    }
}

/// What the ledger has on all runs. One that cannot be used keeps nobody from seeing where the runs stand.
fn entries(state: &Path, screen: &Screen) -> Vec<Entry> {
    let entries = Ledger::open_if_there(state).and_then(|ledger| ledger.map_or(Ok(Vec::new()), |ledger| ledger.entries()));
    entries.unwrap_or_else(|error| {
        screen.warn(error.to_string());
        Vec::new()
    })
}

/// What a run or a batch has cost, and what is reserved for it.
fn money(money: Option<&MoneyView>) -> String {
    match money {
        None => String::new(),
        Some(MoneyView { spent_usd, reserved_usd: Money::ZERO, .. }) => usd(*spent_usd),
        Some(MoneyView { spent_usd: Money::ZERO, reserved_usd, .. }) => format!("{} reserved", usd(*reserved_usd)),
        Some(MoneyView { spent_usd, reserved_usd, .. }) => format!("{} + {} reserved", usd(*spent_usd), usd(*reserved_usd)),
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
    screen.data(format!("job        {}", manifest.job));
    screen.data(format!("run        {}{}", manifest.run, if manifest.simulated { " (SIMULATED)" } else { "" }));
    screen.data(format!("state      {}", in_words(&manifest.state)));
    screen.data(format!("rows       {}", rows(manifest)));
    if let Some(money) = &view.money {
        let most = money.most_usd.map(|most| format!("; at the very most {}", usd(most))).unwrap_or_default();
        let (spent, reserved) = (usd(money.spent_usd), usd(money.reserved_usd));
        screen.data(format!("cost       {spent} spent, {reserved} reserved for batches in flight{most}"));
    }
    if let Some(output) = &manifest.output {
        screen.data(format!("output     {}", output.display()));
    }
    let batches = view.batches.iter().map(|batch| {
        vec![
            batch.batch.to_string(),
            count(batch.requests),
            in_words(&batch.state),
            batch.id.clone().unwrap_or_default(),
            batch.expires_in_seconds.map_or_else(String::new, |s| duration(std::time::Duration::from_secs(s))),
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
    view.warnings.iter().for_each(|warning| screen.warn(warning));
    if !manifest.next_action.starts_with("none") {
        screen.say(format!("next: {}", manifest.next_action));
    }
    Ok(explain::DONE)
}

fn all(state: &Path, screen: &Screen) -> Result<u8, Failure> {
    let folders = journal::all_runs(state)?;
    let entries = entries(state, screen);
    let mut views: Vec<RunView> =
        folders.iter().filter_map(|run| view(&run.path, Timestamp::now()).ok().map(|(view, _)| view)).collect();
    views.iter_mut().for_each(|view| view.add_money(&entries));
    if screen.json {
        screen.json(&views);
        return Ok(explain::DONE);
    }
    if views.is_empty() {
        screen.say(format!("there are no runs in `{}`", state.display()));
        return Ok(explain::DONE);
    }
    let rows = views.iter().map(|view| {
        let manifest = &view.manifest;
        vec![
            manifest.job.clone(),
            manifest.run.clone(),
            in_words(&manifest.state),
            count(manifest.rows),
            format!("{} of {} saved", view.collected(), view.batches.len()),
            money(view.money.as_ref()),
            if manifest.simulated { "simulated".to_owned() } else { String::new() },
        ]
    });
    let columns = [
        Column::Text("job"),
        Column::Id("run"),
        Column::Text("state"),
        Column::Number("rows"),
        Column::Text("batches"),
        Column::Number("cost"),
        Column::Text(""),
    ];
    screen.data(table(&columns, rows));
    Ok(explain::DONE)
}

/// How many rows the run has, and what became of them where that is known.
fn rows(manifest: &Manifest) -> String {
    let statuses: Vec<String> = manifest.by_status.iter().map(|(status, n)| format!("{} {status}", count(*n))).collect();
    if statuses.is_empty() { count(manifest.rows) } else { statuses.join(", ") }
}

/// A state's word as it is read: `in_flight` is "in flight".
fn in_words(state: &str) -> String {
    state.replace('_', " ")
}
