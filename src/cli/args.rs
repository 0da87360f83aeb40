//! What was typed, nothing more.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::civil::Date;
use rowmill::cost::{Money, MoneyError};
use rowmill::engine::RowSelection;
use rowmill::outcome::class::{Class, MoreTokens};

use super::examples;

/// A table in, a table out, through Anthropic's Message Batches API.
#[derive(Debug, Parser)]
#[command(
    name = "rowmill",
    version,
    propagate_version = true,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Exit codes: 0 all rows succeeded or nothing to do, 1 bug, 2 job, input or a file \
of the run needs a change (this command sent nothing), 3 some rows did not succeed, 4 stopped by \
provider or network (run it again), 5 not finished yet, 6 stopped by budget or canary, 7 a batch \
may or may not have been created (it was not sent again), 10 no such run, 11 locked, 12 \
credentials, 130 interrupted (submitted batches keep running at the provider)."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Print data as JSON on stdout; words go to stderr.
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    /// Where runs are kept.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = ".rowmill",
        env = "ROWMILL_STATE",
        help_heading = "Everywhere"
    )]
    pub(crate) state: PathBuf,
    /// A table of models and prices that is laid over the built-in one (docs/models.md).
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ROWMILL_MODELS",
        help_heading = "Everywhere"
    )]
    pub(crate) models: Option<PathBuf>,
    /// Say less: only where the output is, warnings and errors.
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Everywhere"
    )]
    pub(crate) quiet: bool,
    /// Say more; twice for every call to the provider.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Everywhere")]
    pub(crate) verbose: u8,
    /// How log lines look on stderr.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text, help_heading = "Everywhere")]
    pub(crate) log_format: LogFormat,
    /// When to use colour.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto, help_heading = "Everywhere")]
    pub(crate) color: Color,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at a data file and write a job file and a template that run.
    #[command(after_help = examples::INIT)]
    Init(Init),
    /// Check everything that can be known offline: job, templates, ids, limits, schema.
    #[command(after_help = examples::CHECK)]
    Check(Check),
    /// Show the prompts of some rows as a person reads them.
    #[command(after_help = examples::PREVIEW)]
    Preview(Preview),
    /// The dry run: rows, batches, bytes. Sends nothing.
    #[command(after_help = examples::PLAN)]
    Plan(Plan),
    /// Plan, submit, watch, collect, export; resumes an unfinished run of the same job.
    #[command(after_help = examples::RUN)]
    Run(Run),
    /// Plan and send, then leave.
    #[command(after_help = examples::SUBMIT)]
    Submit(Submit),
    /// Fetch what has ended, and write the output once all of it is there.
    #[command(after_help = examples::COLLECT)]
    Collect(Collect),
    /// Write the output of a finished run again, with its answers read as the job file says now.
    /// Sends nothing.
    #[command(after_help = examples::EXPORT)]
    Export(Export),
    /// Where the runs stand.
    #[command(after_help = examples::STATUS)]
    Status(Status),
    /// Cancel the batches in flight; what has come back is kept.
    #[command(after_help = examples::CANCEL)]
    Cancel(Cancel),
    /// Send failed rows of a run again, by class.
    #[command(after_help = examples::RETRY)]
    Retry(Retry),
    /// Rebuild a run whose journal is lost, from its plan and the provider's list of batches.
    #[command(after_help = examples::RESCUE)]
    Rescue(Rescue),
    /// The models this version knows: what they can do, how long they live, what follows them.
    #[command(after_help = examples::MODELS)]
    Models(Models),
    /// What models and the provider's tools cost, as of which day, by which sources.
    #[command(after_help = examples::PRICES)]
    Prices(Prices),
    /// What all jobs have spent, and what is reserved for batches in flight.
    #[command(after_help = examples::COST)]
    Cost(Cost),
    /// Start the simulator: the same endpoints, local and free.
    #[command(after_help = examples::SIM)]
    Sim(Sim),
    /// Print completions for a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Which rows of the job's source are taken.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Rows {
    /// Take only the first N rows (after `where`).
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Take only rows for which this SQL predicate holds, beside the job's own `where`.
    #[arg(long = "where", value_name = "SQL")]
    pub(crate) filter: Option<String>,
}

/// Whether an output gives way to a better one.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Place {
    /// Put the output in its place even if more rows succeeded in the one that stands there.
    #[arg(long)]
    pub(crate) replace: bool,
}

/// How much a run may cost.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct MaxCost {
    /// Most that the run may cost, in US dollars, such as `12.50`; the lower of this and
    /// `budget.run_usd` holds.
    #[arg(long, value_name = "USD", value_parser = amount)]
    pub(crate) max_cost: Option<Money>,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The data file.
    pub(crate) data: PathBuf,
    /// Where the job file goes; the template goes beside it. Default: `<data file's name>.toml` in
    /// the working directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The model to ask.
    #[arg(long, value_name = "ID", default_value = "claude-haiku-4-5")]
    pub(crate) model: String,
    /// Replace files that are there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The job file.
    pub(crate) job: PathBuf,
    /// Render only the first N rows instead of all.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) rows: Option<u64>,
    #[command(flatten)]
    pub(crate) select: Rows,
}

/// Arguments of `preview`.
#[derive(Debug, Args)]
pub(crate) struct Preview {
    /// The job file.
    pub(crate) job: PathBuf,
    /// How many rows.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    pub(crate) rows: u64,
    /// The row with this key (several key columns: values joined by a comma).
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) select: Rows,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The job file.
    pub(crate) job: PathBuf,
    /// Keep the plan as a run in this folder, ready for `rowmill run FOLDER`.
    #[arg(long, value_name = "RUN")]
    pub(crate) out: Option<PathBuf>,
    /// Plan for the simulator.
    #[arg(long)]
    pub(crate) simulate: bool,
    /// Have the shared part and about N rows counted by the provider, which is free, and fit the
    /// estimate to them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) calibrate: Option<u32>,
    /// Render about N rows only, drawn by length, and extrapolate the rest, with a stated error: a
    /// quick answer on a huge table.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) sample: Option<u32>,
    /// What the draw of `--sample` depends on, besides the rows.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "sample")]
    pub(crate) seed: u64,
    /// Print the report as Markdown, for a pull request.
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    #[command(flatten)]
    pub(crate) select: Rows,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A job file, a run's folder, or a run's id.
    pub(crate) target: PathBuf,
    /// Use the built-in simulator: nothing is sent, nothing is paid, the answers are made up.
    #[arg(long)]
    pub(crate) simulate: bool,
    /// Have the shared part and about N rows counted by the provider first, which is free, and fit
    /// the estimate to them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) calibrate: Option<u32>,
    /// Leave after this long (such as `90s`, `2h`) with exit code 5; the batches keep running, the
    /// same command resumes the run.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) deadline: Option<std::time::Duration>,
    /// How long the built-in simulator works on a batch.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s", requires = "simulate")]
    pub(crate) processing: std::time::Duration,
    /// Send all rows again, and pay for them again, although a run of the unchanged job is
    /// finished.
    #[arg(long)]
    pub(crate) again: bool,
    /// Send what is in doubt again, without knowing whether it was created: if it was, it is paid
    /// twice.
    #[arg(long)]
    pub(crate) resubmit_doubtful: bool,
    #[command(flatten)]
    pub(crate) budget: MaxCost,
    /// Send the rest although what the first rows came to (priming request, canary) speaks against
    /// it.
    #[arg(long)]
    pub(crate) ignore_canary: bool,
    #[command(flatten)]
    pub(crate) select: Rows,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Arguments of `submit`.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// A job file, a run's folder, or a run's id.
    pub(crate) target: PathBuf,
    /// Use the built-in simulator.
    #[arg(long)]
    pub(crate) simulate: bool,
    /// How long the built-in simulator works on a batch.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s", requires = "simulate")]
    pub(crate) processing: std::time::Duration,
    /// Send all rows again, and pay for them again, although a run of the unchanged job is
    /// finished.
    #[arg(long)]
    pub(crate) again: bool,
    /// Send what is in doubt again, without knowing whether it was created: if it was, it is paid
    /// twice.
    #[arg(long)]
    pub(crate) resubmit_doubtful: bool,
    #[command(flatten)]
    pub(crate) budget: MaxCost,
    /// Send the rest although what the first rows came to (priming request, canary) speaks against
    /// it.
    #[arg(long)]
    pub(crate) ignore_canary: bool,
    #[command(flatten)]
    pub(crate) select: Rows,
}

/// Arguments of `collect`.
#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// A run's folder or id, or a job file (its newest run).
    pub(crate) target: PathBuf,
    /// Wait this long for what has not ended yet; without it, look once.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait: Option<std::time::Duration>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A run's folder or id, or a job file (its newest run, read as the file says now).
    pub(crate) target: PathBuf,
    /// Read the answers by this job file's `[answer]`, schema and `[output]`. Without it, a run is
    /// read as it was planned.
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// A run's folder or id, or a job file (its newest run). Default: all runs.
    pub(crate) target: Option<PathBuf>,
}

/// Arguments of `cancel`.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// A run's folder or id, or a job file (its newest run).
    pub(crate) target: PathBuf,
    /// Give the run up for good: it is never gone on with, and the job starts anew. What it has
    /// sent is paid all the same.
    #[arg(long)]
    pub(crate) abandon: bool,
}

/// Arguments of `retry`.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// A run's folder or id, or a job file (its newest run).
    pub(crate) target: PathBuf,
    /// Which failures: expired, server_error, missing, truncated, invalid, canceled; may be given
    /// several times.
    #[arg(
        long = "class",
        value_name = "CLASS",
        required = true,
        value_delimiter = ','
    )]
    pub(crate) classes: Vec<Class>,
    #[command(flatten)]
    pub(crate) budget: MaxCost,
    /// For cut-off answers: how many tokens they get, as a factor of what they had (`2x`) or a
    /// number.
    #[arg(long, value_name = "N", default_value = "2x")]
    pub(crate) max_tokens: MoreTokens,
    /// Leave after this long with exit code 5.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) deadline: Option<std::time::Duration>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Arguments of `rescue`.
#[derive(Debug, Args)]
pub(crate) struct Rescue {
    /// A run's folder or id.
    pub(crate) target: PathBuf,
}

/// Arguments of `models`.
#[derive(Debug, Args)]
pub(crate) struct Models {
    /// A model id or alias. Default: all of them.
    pub(crate) model: Option<String>,
    /// Ask the provider for its own list, and write what differs to a table that `--models` lays
    /// over the built-in one.
    #[arg(long, conflicts_with = "model")]
    pub(crate) refresh: bool,
    /// Where that table goes.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "models.toml",
        requires = "refresh"
    )]
    pub(crate) out: PathBuf,
    /// Replace the file if it is there.
    #[arg(long, requires = "refresh")]
    pub(crate) force: bool,
}

/// Arguments of `prices`.
#[derive(Debug, Args)]
pub(crate) struct Prices {
    /// A model id or alias: batch and standard prices. Default: all models, in a batch.
    pub(crate) model: Option<String>,
    /// Standard prices, outside of batches.
    #[arg(long, conflicts_with = "model")]
    pub(crate) standard: bool,
}

/// Arguments of `cost`.
#[derive(Debug, Args)]
pub(crate) struct Cost {
    /// What belongs together.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = By::Day)]
    pub(crate) by: By,
    /// Only from this day on, in UTC, such as `2026-11-01`.
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub(crate) since: Option<Date>,
    /// Only this job.
    #[arg(long, value_name = "NAME")]
    pub(crate) job: Option<String>,
}

/// How the ledger is grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The day on which a batch was sent.
    Day,
    /// The job.
    Job,
    /// The model that answered.
    Model,
    /// The run.
    Run,
}

impl Rows {
    /// The rows that were asked for.
    pub(crate) fn selection(&self) -> RowSelection {
        RowSelection {
            limit: self.limit,
            filter: self.filter.clone(),
        }
    }
}

impl By {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            By::Day => "day",
            By::Job => "job",
            By::Model => "model",
            By::Run => "run",
        }
    }
}

/// Arguments of `sim`.
#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// Where to listen: an address of this machine's loopback.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8787")]
    pub(crate) listen: SocketAddr,
    /// Where its batches are kept. Default: a temporary folder that goes when it ends.
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// The seed of everything it draws.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How long it works on a batch.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    pub(crate) processing: std::time::Duration,
    /// Faults to play, as a TOML file (docs/simulator.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,
}

/// An amount of dollars, not less than nothing.
fn amount(text: &str) -> Result<Money, String> {
    let amount: Money = text.parse().map_err(|e: MoneyError| e.to_string())?;
    if amount.is_negative() {
        Err("it cannot be less than nothing".to_owned())
    } else {
        Ok(amount)
    }
}

/// A duration such as `90s`, `5m`, `2h 30m`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "write a time such as `90s`, `5m` or `2h 30m`".to_owned())?;
    std::time::Duration::try_from(span).map_err(|_| "a time cannot be negative".to_owned())
}

/// A day, such as `2026-11-25`.
fn day(text: &str) -> Result<Date, String> {
    text.parse()
        .map_err(|_| "write a day such as `2026-11-25`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn hangs_together() {
        Cli::command().debug_assert();
    }
}
