//! `rowmill cost`: what all jobs of a state directory have spent, and what is reserved, by day,
//! job, model or run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rowmill::catalog::Catalog;
use rowmill::cost::Money;
use rowmill::ledger::{self, Ledger, LedgerEntry};
use serde::Serialize;
use serde_json::json;

use super::args::{By, Common, Cost};
use super::connect::engine;
use super::explain::{self, Failure};
use super::format::{count, plural, usd};
use super::layout::Column;
use super::screen::{Screen, shown_to, table};
use super::target;

/// How costs are grouped.
#[derive(Debug, Default, Clone, Serialize)]
struct CostGroup {
    batches: u64,
    requests: u64,
    spent_usd: Money,
    reserved_usd: Money,
    /// Requests whose cost is unknown; they are in no sum.
    unknown: u64,
}

/// Groups by their name, and all of them together.
#[derive(Debug, Default, Serialize)]
struct CostGroups {
    groups: BTreeMap<String, CostGroup>,
    total: CostGroup,
}

pub(crate) fn run(
    args: &Cost,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let state = target::state(common, None, screen)?;
    if args.rebuild {
        return rebuild(&state, catalog, screen);
    }
    let place = args.ledger.as_ref().unwrap_or(&state);
    let ledger = Ledger::open_if_there(&ledger::file_of(place), ledger::PATIENCE)?;
    let entries = ledger
        .as_ref()
        .map(Ledger::entries)
        .transpose()?
        .unwrap_or_default();
    let wanted = |entry: &&LedgerEntry| {
        args.since.is_none_or(|since| entry.day >= since)
            && args.job.as_ref().is_none_or(|job| entry.job == *job)
    };
    let (simulated, real): (Vec<&LedgerEntry>, Vec<&LedgerEntry>) = entries
        .iter()
        .filter(wanted)
        .partition(|entry| entry.simulated);
    let by = args.by;
    let (real, simulated) = (side(&real, by, catalog), side(&simulated, by, catalog));
    if screen.json {
        let path = ledger.as_ref().map(Ledger::path);
        screen.json(&json!({ "ledger": path, "by": by.as_str(), "since": args.since, "job": args.job, "real": real, "simulated": simulated }));
        return Ok(explain::DONE);
    }
    if real.groups.is_empty() && simulated.groups.is_empty() {
        screen.say(format!(
            "the ledger of `{}` has nothing to show",
            place.display()
        ));
        return Ok(explain::DONE);
    }
    if !real.groups.is_empty() {
        screen.data(side_table(&real, by.as_str()));
    }
    if !simulated.groups.is_empty() {
        let gap = if real.groups.is_empty() { "" } else { "\n" };
        screen.data(format!(
            "{gap}{}",
            side_table(&simulated, &format!("{}, SIMULATED", by.as_str()))
        ));
    }
    if by == By::Day {
        screen.say("days in UTC, by the time at which a batch was reserved");
    }
    let unknown = real.total.unknown + simulated.total.unknown;
    if unknown > 0 {
        screen.warn(format!(
            "the cost of {} is unknown and not included in the sums",
            plural(unknown, "request", "requests")
        ));
    }
    Ok(explain::DONE)
}

/// Enters all runs of the state into its ledger.
fn rebuild(state: &Path, catalog: &Arc<Catalog>, screen: &Arc<Screen>) -> Result<u8, Failure> {
    let rebuilt = engine(state, Duration::ZERO, catalog, screen)?.rebuild_ledger()?;
    screen.finish();
    if screen.json {
        screen.json(&rebuilt);
    }
    screen.say(format!(
        "the ledger of `{}` now has what {}",
        state.display(),
        plural(
            rebuilt.runs as u64,
            "run has spent and reserved",
            "runs have spent and reserved"
        )
    ));
    for (run, reason) in &rebuilt.unreadable {
        screen.warn(format!(
            "the run {} cannot be read, and is not in the ledger: {}",
            shown_to(&run.display().to_string(), 1_000),
            shown_to(reason, 1_000)
        ));
    }
    Ok(match rebuilt.unreadable.is_empty() {
        true => explain::DONE,
        false => explain::CHANGE,
    })
}

fn side(entries: &[&LedgerEntry], by: By, catalog: &Catalog) -> CostGroups {
    let mut side = CostGroups::default();
    for entry in entries {
        let whole = CostGroup {
            batches: 1,
            requests: entry.requests,
            spent_usd: entry.spent(),
            reserved_usd: entry.held(),
            unknown: entry.share.unknown,
        };
        side.total.add(&whole);
        match by {
            By::Day => side.group(entry.day.to_string(), &whole),
            By::Job => side.group(entry.job.clone(), &whole),
            By::Run => side.group(entry.run.clone(), &whole),
            By::Model => side.by_model(entry, &whole, catalog),
        }
    }
    side
}

impl CostGroups {
    fn group(&mut self, name: String, part: &CostGroup) {
        self.groups.entry(name).or_default().add(part);
    }

    /// What was spent by the model that answered, all else by the model that was asked.
    fn by_model(&mut self, entry: &LedgerEntry, whole: &CostGroup, catalog: &Catalog) {
        let own = |id: &str| {
            catalog
                .model(id)
                .map_or_else(|| id.to_owned(), |(id, _)| id.to_owned())
        };
        self.group(
            own(&entry.model),
            &CostGroup {
                spent_usd: Money::ZERO,
                ..whole.clone()
            },
        );
        for (model, cost) in &entry.share.by_model {
            self.group(
                own(model),
                &CostGroup {
                    spent_usd: cost.total(),
                    ..CostGroup::default()
                },
            );
        }
    }
}

impl CostGroup {
    fn add(&mut self, other: &CostGroup) {
        self.batches += other.batches;
        self.requests += other.requests;
        self.spent_usd += other.spent_usd;
        self.reserved_usd += other.reserved_usd;
        self.unknown += other.unknown;
    }
}

fn side_table(side: &CostGroups, name: &str) -> String {
    let columns = [
        Column::Id(name),
        Column::Number("batches"),
        Column::Number("requests"),
        Column::Number("spent"),
        Column::Number("reserved"),
    ];
    let row = |name: &str, group: &CostGroup| {
        vec![
            name.to_owned(),
            count(group.batches),
            count(group.requests),
            usd(group.spent_usd),
            if group.reserved_usd == Money::ZERO {
                String::new()
            } else {
                usd(group.reserved_usd)
            },
        ]
    };
    let mut rows: Vec<Vec<String>> = side
        .groups
        .iter()
        .map(|(name, group)| row(name, group))
        .collect();
    if side.groups.len() > 1 {
        rows.push(row("all", &side.total));
    }
    table(&columns, rows)
}
