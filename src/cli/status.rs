//! `rowmill status`: where the runs stand.

use std::path::Path;

use jiff::Timestamp;
use rowmill::journal;
use rowmill::pipeline::view::{RunView, view};

use super::args::{Common, Status};
use super::explain::{self, Failure};
use super::screen::{Screen, count, duration, table};
use super::target::run_of;

pub(crate) fn run(args: &Status, common: &Common, screen: &Screen) -> Result<u8, Failure> {
    match &args.target {
        Some(target) => one(&run_of(target, &common.state)?, screen),
        None => all(&common.state, screen),
    }
}

fn one(folder: &Path, screen: &Screen) -> Result<u8, Failure> {
    let (view, notes) = view(folder, Timestamp::now())?;
    notes.iter().for_each(|note| screen.warn(note));
    if screen.json {
        screen.json(&view);
        return Ok(explain::DONE);
    }
    screen.data(format!(
        "{}  {}{}",
        view.manifest.run,
        view.manifest.state,
        if view.manifest.simulated { "  (SIMULATED)" } else { "" }
    ));
    let rows = view.batches.iter().map(|batch| {
        vec![
            batch.batch.to_string(),
            count(batch.requests),
            batch.state.clone(),
            batch.id.clone().unwrap_or_default(),
            batch.expires_in_seconds.map_or_else(String::new, |s| duration(std::time::Duration::from_secs(s))),
        ]
    });
    screen.data(table(&["batch", "requests", "state", "id", "expires in"], rows));
    view.warnings.iter().for_each(|warning| screen.warn(warning));
    screen.say(&view.manifest.next_action);
    Ok(explain::DONE)
}

fn all(state: &Path, screen: &Screen) -> Result<u8, Failure> {
    let folders = journal::all_runs(state)?;
    let views: Vec<RunView> =
        folders.iter().filter_map(|run| view(&run.path, Timestamp::now()).ok().map(|(view, _)| view)).collect();
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
            manifest.state.clone(),
            count(manifest.rows),
            format!("{} of {}", view.collected(), view.batches.len()),
            if manifest.simulated { "simulated".to_owned() } else { String::new() },
        ]
    });
    screen.data(table(&["job", "run", "state", "rows", "batches saved", ""], rows));
    Ok(explain::DONE)
}
