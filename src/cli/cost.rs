//! `rowmill cost`: what all jobs of a state directory have spent, and what is reserved, by day,
//! job, model or run.

use std::collections::BTreeMap;

use rowmill::catalog::Catalog;
use rowmill::cost::Money;
use rowmill::ledger::{Ledger, LedgerEntry};
use serde::Serialize;
use serde_json::json;

use super::args::{By, Common, Cost};
use super::explain::{self, Failure};
use super::format::{count, plural, usd};
use super::layout::Column;
use super::screen::{Screen, table};

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
    catalog: &Catalog,
    screen: &Screen,
) -> Result<u8, Failure> {
    let ledger = Ledger::open_if_there(&common.state)?;
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
            common.state.display()
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
