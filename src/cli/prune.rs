//! `rowmill prune`: removes old runs and trials.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rowmill::catalog::Catalog;
use rowmill::engine::{KeptBecause, PruneOptions, PruneReport, PrunedRunReport};

use super::args::{Common, Prune};
use super::connect::engine;
use super::explain::{self, Failure};
use super::format::{bytes, plural};
use super::layout::Column;
use super::screen::{Screen, table};
use super::{target, words};

pub(crate) fn run(
    args: &Prune,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let mut report = PruneReport {
        dry_run: args.dry_run,
        ..PruneReport::default()
    };
    for (state, targets) in by_state(args, common, screen)? {
        let engine = engine(&state, Duration::ZERO, catalog, screen)?;
        let options = PruneOptions {
            targets,
            older_than: args.older_than,
            keep_last: args.keep_last,
            trials: args.trials,
            dry_run: args.dry_run,
        };
        report.add(engine.prune(&options)?);
    }
    if screen.json {
        screen.json(&report);
    } else {
        say(&report, screen);
    }
    Ok(code(&report))
}

/// The targets by the state that they belong to, in the order in which they were named. An id says
/// nothing of its state, and is looked up in that of the first target.
fn by_state(
    args: &Prune,
    common: &Common,
    screen: &Screen,
) -> Result<Vec<(PathBuf, Vec<PathBuf>)>, Failure> {
    let first = args.targets.first().map(PathBuf::as_path);
    let mut states = vec![(target::state(common, first, screen)?, Vec::new())];
    for target in &args.targets {
        let state = if target.exists() {
            target::state_of(common, target)?
        } else {
            states[0].0.clone()
        };
        match states.iter_mut().find(|(known, _)| is_same(known, &state)) {
            Some((_, targets)) => targets.push(target.clone()),
            None => {
                target::warn_of_others(&state, screen);
                states.push((state, vec![target.clone()]));
            }
        }
    }
    Ok(states)
}

fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    real(a) == real(b)
}

/// A run that was named and is kept was asked for in vain; one that is only too young was not asked
/// for.
fn code(report: &PruneReport) -> u8 {
    let named = report.runs.iter().filter(|run| run.named);
    let kept = || named.clone().filter_map(|run| run.kept.as_ref());
    let is_locked = |kept: &KeptBecause| {
        matches!(
            kept,
            KeptBecause::Locked { .. } | KeptBecause::JobLocked { .. }
        )
    };
    if kept().any(is_locked) {
        explain::LOCKED
    } else if kept().all(|kept| *kept == KeptBecause::TooRecent) {
        explain::DONE
    } else {
        explain::CHANGE
    }
}

fn say(report: &PruneReport, screen: &Screen) {
    let is_shown = |kept: Option<&KeptBecause>| kept != Some(&KeptBecause::TooRecent);
    let runs = report
        .runs
        .iter()
        .filter(|run| run.named || is_shown(run.kept.as_ref()))
        .map(|run| line(run, report.dry_run));
    let runs: Vec<Vec<String>> = runs.collect();
    if !runs.is_empty() {
        let columns = [
            Column::Text("job"),
            Column::Id("run"),
            Column::Text("state"),
            Column::Text("last event"),
            Column::Number("size"),
            Column::Text(""),
        ];
        screen.data(table(&columns, runs));
    }
    let trials = report.trials.iter();
    let trials: Vec<Vec<String>> = trials
        .filter(|trial| is_shown(trial.kept.as_ref()))
        .map(|trial| {
            vec![
                trial.output.path.display().to_string(),
                bytes(trial.output.bytes),
                words::prune::fate(trial.kept.as_ref(), report.dry_run),
            ]
        })
        .collect();
    if !trials.is_empty() {
        let columns = [
            Column::Id("output"),
            Column::Number("size"),
            Column::Text(""),
        ];
        screen.data(table(&columns, trials));
    }
    screen.say(summary(report));
}

fn line(run: &PrunedRunReport, dry_run: bool) -> Vec<String> {
    let day = run
        .last_event_at
        .map(|at| at.strftime("%Y-%m-%d").to_string());
    vec![
        run.job.clone().unwrap_or_default(),
        run.run.clone(),
        run.state.map_or_else(String::new, words::journal::stage),
        day.unwrap_or_default(),
        bytes(run.bytes),
        words::prune::fate(run.kept.as_ref(), dry_run),
    ]
}

fn summary(report: &PruneReport) -> String {
    let runs = report.removed_runs().count() as u64;
    let trials = report.removed_trials().count() as u64;
    let kept = report.runs.len() as u64 - runs;
    let mut removed = plural(runs, "run", "runs");
    if trials > 0 {
        removed += &format!(" and {}", plural(trials, "trial output", "trial outputs"));
    }
    if report.unfinished_removals > 0 {
        let left = plural(report.unfinished_removals, "folder", "folders");
        removed += &format!(" and {left} of an interrupted prune");
    }
    let (verb, freed) = if report.dry_run {
        ("would remove", "would free")
    } else {
        ("removed", "freed")
    };
    let young = |run: &&PrunedRunReport| run.kept == Some(KeptBecause::TooRecent);
    let young = report.runs.iter().filter(young).count() as u64;
    let young = if young > 0 {
        format!(" ({young} more recent)")
    } else {
        String::new()
    };
    format!(
        "{verb} {removed}, {freed} {}; {} kept{young}",
        bytes(report.bytes_freed),
        plural(kept, "run", "runs")
    )
}
