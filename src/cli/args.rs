//! The arguments of the command line, as typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::civil::Date;
use rowmill::cost::{Money, MoneyError};
use rowmill::engine::{IfRunning, RowSelection};
use rowmill::outcome::class::{Class, MoreTokens};

use super::examples;

/// Run a prompt over every row of a table through Anthropic's Message Batches API.
#[derive(Debug, Parser)]
#[command(
    name = "rowmill",
    version,
    propagate_version = true,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Exit codes: 0 all rows succeeded, everything is sent (submit), or nothing to do, \
1 bug, 2 job, input or a file of the run needs a change (this command sent nothing), 3 some rows \
did not succeed, 4 stopped by provider or network (run it again), 5 not finished yet (run it \
again), 6 stopped by budget or canary, 7 a batch may or may not have been created (it was not sent \
again), 8 nothing has been sent yet (collect), 10 no such run, 11 locked, 12 credentials, 130 \
interrupted (submitted batches keep running at the provider). By command: docs/scheduler.md."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Print one JSON document on stdout, also for errors; messages go to stderr.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// The directory for runs, ledger and what jobs learned. Default: that of the run, or what
    /// `[state] path` of the job file names, or `.rowmill` next to the job file; `.rowmill` in the
    /// working directory if the command names neither a job file nor a run's folder.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ROWMILL_STATE",
        help_heading = "Global options"
    )]
    pub(crate) state: Option<PathBuf>,
    /// A file of models and prices that overrides the built-in table (docs/models.md).
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ROWMILL_MODELS",
        help_heading = "Global options"
    )]
    pub(crate) models: Option<PathBuf>,
    /// Print only the result on stdout (the run's id after `submit`, else the path of the output),
    /// and warnings and errors on stderr.
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub(crate) quiet: bool,
    /// Print more; twice logs every call to the provider.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global \
        options")]
    pub(crate) verbose: u8,
    /// The format of lines on stderr.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text, help_heading = "Global options")]
    pub(crate) log_format: LogFormat,
    /// When to use colour.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto, help_heading = "Global options")]
    pub(crate) color: Color,
}

/// The format of lines on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
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
    /// Inspect a data file and write a job file and a template for it.
    #[command(after_help = examples::INIT)]
    Init(Init),
    /// Check job, templates, keys, limits and schema offline, for every row.
    #[command(after_help = examples::CHECK)]
    Check(Check),
    /// Show the rendered prompts of some rows.
    #[command(after_help = examples::PREVIEW)]
    Preview(Preview),
    /// Dry run: show rows, batches, tokens and the estimated cost. Sends nothing.
    #[command(after_help = examples::PLAN)]
    Plan(Plan),
    /// Plan, submit, watch, collect and export; resume an unfinished run of the same job.
    #[command(after_help = examples::RUN)]
    Run(Run),
    /// Plan and send, then exit without waiting for results.
    #[command(after_help = examples::SUBMIT)]
    Submit(Submit),
    /// Fetch the results of ended batches, and write the output once all batches have ended.
    #[command(after_help = examples::COLLECT)]
    Collect(Collect),
    /// Parse the saved answers of a finished run again with the current job file, and write the
    /// output. Sends nothing.
    #[command(after_help = examples::EXPORT)]
    Export(Export),
    /// Show the state of runs and batches.
    #[command(after_help = examples::STATUS)]
    Status(Status),
    /// Cancel the batches in flight; finished answers are kept.
    #[command(after_help = examples::CANCEL)]
    Cancel(Cancel),
    /// Send failed rows of a run again, by class of failure.
    #[command(after_help = examples::RETRY)]
    Retry(Retry),
    /// Rebuild the lost journal of a run from its plan and the provider's list of batches.
    #[command(after_help = examples::RESCUE)]
    Rescue(Rescue),
    /// Remove old runs and trials; the ledger and what jobs learned are kept.
    #[command(after_help = examples::PRUNE)]
    Prune(Prune),
    /// List the models this version knows: limits, features, retirement, successors.
    #[command(after_help = examples::MODELS)]
    Models(Models),
    /// List the prices of models and of the provider's tools, with their date and sources.
    #[command(after_help = examples::PRICES)]
    Prices(Prices),
    /// Show what all jobs have spent, and what is reserved for batches in flight.
    #[command(after_help = examples::COST)]
    Cost(Cost),
    /// Start the simulator: a local, free server with the provider's endpoints.
    #[command(after_help = examples::SIM)]
    Sim(Sim),
    /// Print shell completions.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Which rows of the job's source are used.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Rows {
    /// Use only the first N rows (after `where`).
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Use only rows that match this SQL predicate, in addition to the job's own `where`.
    #[arg(long = "where", value_name = "SQL")]
    pub(crate) filter: Option<String>,
}

/// Whether an output replaces a better one.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Place {
    /// Replace the output even if more rows succeeded in the existing one.
    #[arg(long)]
    pub(crate) replace: bool,
}

/// What a scheduler decides about a start.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Schedule {
    /// What to do if another process works on the job or the run: exit with code 11, do nothing
    /// (code 0), or wait until it has finished.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = WhenRunning::Fail)]
    pub(crate) if_running: WhenRunning,
    /// Exit with this code instead of 0 if there was nothing to do: no rows, no files, nothing new,
    /// or skipped by `--if-running skip`.
    #[arg(long, value_name = "N")]
    pub(crate) empty_exit_code: Option<u8>,
}

/// What to do if another process works on the job or the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenRunning {
    /// Exit with code 11.
    #[default]
    Fail,
    /// Do nothing, and exit with code 0 (or `--empty-exit-code`).
    Skip,
    /// Wait until it has finished, within `--deadline` or `--wait`.
    Wait,
}

/// Whether a start resumes, and what it sends.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Fresh {
    /// Start a new run: abandon an unfinished run of the job instead of resuming it, and start even
    /// if nothing has changed since the last one.
    #[arg(long)]
    pub(crate) new: bool,
    /// Send all rows, also those whose answers an earlier output has. An unfinished run is resumed
    /// unless `--new` is given too.
    #[arg(long)]
    pub(crate) no_reuse: bool,
    /// The same as `--no-reuse`.
    #[arg(long)]
    pub(crate) again: bool,
}

/// How long outages are waited for.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Patience {
    /// How long to try again while the provider cannot be reached or answers with errors that may
    /// pass (such as `30s`, `10m`), then exit with code 4; the same command resumes. Default:
    /// `batch.patience_seconds`, else by the kind of call, from 15 minutes to 24 hours.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) patience: Option<std::time::Duration>,
}

/// Whether an output is taken from another state or job.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct TakeOver {
    /// Write the output although another state or another job has written it, or is about to; rows
    /// that the other one has sent are paid again.
    #[arg(long)]
    pub(crate) take_over: bool,
}

/// How much a run may cost.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct MaxCost {
    /// The most that the run may cost, in US dollars, such as `12.50`; the lower of this and
    /// `budget.run_usd` applies.
    #[arg(long, value_name = "USD", value_parser = amount)]
    pub(crate) max_cost: Option<Money>,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The data file.
    pub(crate) data: PathBuf,
    /// The job file to write; the template is written next to it. Default: `<data file's
    /// name>.toml` in the working directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The model to use.
    #[arg(long, value_name = "ID", default_value = "claude-haiku-4-5")]
    pub(crate) model: String,
    /// Overwrite existing files.
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
    /// The number of rows.
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
    /// Save the plan as a run in this folder; `rowmill run FOLDER` sends it.
    #[arg(long, value_name = "RUN")]
    pub(crate) out: Option<PathBuf>,
    /// Plan for the simulator.
    #[arg(long)]
    pub(crate) simulate: bool,
    /// Let the provider count the tokens of the shared part and about N rows, which is free, and
    /// calibrate the estimate with them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) calibrate: Option<u32>,
    /// Render only a sample of about N rows, stratified by length, and extrapolate the rest with a
    /// stated margin of error: a quick estimate for a huge table.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) sample: Option<u32>,
    /// The random seed of `--sample`.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "sample")]
    pub(crate) seed: u64,
    /// Plan to send all rows, also those whose answers an earlier output has.
    #[arg(long)]
    pub(crate) no_reuse: bool,
    /// Print the report as Markdown, for a pull request.
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    #[command(flatten)]
    pub(crate) budget: MaxCost,
    #[command(flatten)]
    pub(crate) select: Rows,
    #[command(flatten)]
    pub(crate) owner: TakeOver,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A job file, a run's folder, or a run's id.
    pub(crate) target: PathBuf,
    /// Use the built-in simulator: nothing is sent, nothing is billed, answers are invented.
    #[arg(long)]
    pub(crate) simulate: bool,
    /// Let the provider count the tokens of the shared part and about N rows first, which is free,
    /// and calibrate the estimate with them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) calibrate: Option<u32>,
    /// Exit after this long (such as `90s`, `2h`) with exit code 5; submitted batches keep running,
    /// and the same command resumes the run.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) deadline: Option<std::time::Duration>,
    /// The processing time of a batch in the built-in simulator.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s", requires = "simulate")]
    pub(crate) processing: std::time::Duration,
    #[command(flatten)]
    pub(crate) fresh: Fresh,
    /// Send batches again that may or may not have been created, without waiting until that is
    /// known: a batch that was created is billed twice.
    #[arg(long)]
    pub(crate) resubmit_doubtful: bool,
    #[command(flatten)]
    pub(crate) budget: MaxCost,
    /// Send the rest although the cache warm-up request or the canary failed.
    #[arg(long)]
    pub(crate) ignore_canary: bool,
    #[command(flatten)]
    pub(crate) select: Rows,
    #[command(flatten)]
    pub(crate) schedule: Schedule,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) patience: Patience,
    #[command(flatten)]
    pub(crate) owner: TakeOver,
}

/// Arguments of `submit`.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// A job file, a run's folder, or a run's id.
    pub(crate) target: PathBuf,
    /// Use the built-in simulator.
    #[arg(long)]
    pub(crate) simulate: bool,
    /// The processing time of a batch in the built-in simulator.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s", requires = "simulate")]
    pub(crate) processing: std::time::Duration,
    #[command(flatten)]
    pub(crate) fresh: Fresh,
    /// Send batches again that may or may not have been created, without waiting until that is
    /// known: a batch that was created is billed twice.
    #[arg(long)]
    pub(crate) resubmit_doubtful: bool,
    #[command(flatten)]
    pub(crate) budget: MaxCost,
    /// Send the rest although the cache warm-up request or the canary failed.
    #[arg(long)]
    pub(crate) ignore_canary: bool,
    #[command(flatten)]
    pub(crate) select: Rows,
    #[command(flatten)]
    pub(crate) schedule: Schedule,
    #[command(flatten)]
    pub(crate) patience: Patience,
    #[command(flatten)]
    pub(crate) owner: TakeOver,
}

/// Arguments of `collect`.
#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// A run's folder or id, or a job file (its newest run).
    pub(crate) target: PathBuf,
    /// Wait this long for batches that have not ended; without it, check once.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait: Option<std::time::Duration>,
    #[command(flatten)]
    pub(crate) schedule: Schedule,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A run's folder or id, or a job file (its newest run, parsed with the current job file).
    pub(crate) target: PathBuf,
    /// Use the `[answer]`, schema and `[output]` of this job file. Without it, a run is exported as
    /// it was planned.
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
    /// Abandon the run: it is never resumed, and `rowmill run JOB` starts a new one. What was sent is
    /// billed all the same.
    #[arg(long)]
    pub(crate) abandon: bool,
}

/// Arguments of `retry`.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// A run's folder or id, or a job file (its newest run).
    pub(crate) target: PathBuf,
    /// The class of failure: expired, server_error, missing, truncated, invalid or canceled; can be
    /// repeated.
    #[arg(
        long = "class",
        value_name = "CLASS",
        required = true,
        value_delimiter = ','
    )]
    pub(crate) classes: Vec<Class>,
    #[command(flatten)]
    pub(crate) budget: MaxCost,
    /// Do not ask before the rows are sent. Without a terminal there is no question.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// The token limit for truncated answers: a factor of the previous limit (`2x`) or a number.
    #[arg(long, value_name = "N", default_value = "2x")]
    pub(crate) max_tokens: MoreTokens,
    /// Exit after this long with exit code 5.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) deadline: Option<std::time::Duration>,
    #[command(flatten)]
    pub(crate) schedule: Schedule,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// Arguments of `rescue`.
#[derive(Debug, Args)]
pub(crate) struct Rescue {
    /// A run's folder or id.
    pub(crate) target: PathBuf,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// Arguments of `prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Runs by folder or id, or job files (all runs of the job). Default: all runs of the state
    /// directory.
    #[arg(value_name = "JOB|RUN")]
    pub(crate) targets: Vec<PathBuf>,
    /// Remove only runs whose last event is older than this (such as `90d`, `12w`). Required unless
    /// runs are named or `--trials` is set.
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub(crate) older_than: Option<std::time::Duration>,
    /// Keep the newest N finished runs of each job, whatever their age.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) keep_last: usize,
    /// Remove only trials (`--limit`, `--where`) and simulated runs, with their output files.
    #[arg(long)]
    pub(crate) trials: bool,
    /// Show what would be removed, and remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Arguments of `models`.
#[derive(Debug, Args)]
pub(crate) struct Models {
    /// A model id or alias. Default: all of them.
    pub(crate) model: Option<String>,
    /// Compare with the provider's list of models, and write the differences to a file for
    /// `--models`.
    #[arg(long, conflicts_with = "model")]
    pub(crate) refresh: bool,
    /// The file to write.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "models.toml",
        requires = "refresh"
    )]
    pub(crate) out: PathBuf,
    /// Overwrite an existing file.
    #[arg(long, requires = "refresh")]
    pub(crate) force: bool,
}

/// Arguments of `prices`.
#[derive(Debug, Args)]
pub(crate) struct Prices {
    /// A model id or alias: shows batch and standard prices. Default: batch prices of all models.
    pub(crate) model: Option<String>,
    /// Show standard prices, outside of batches.
    #[arg(long, conflicts_with = "model")]
    pub(crate) standard: bool,
}

/// Arguments of `cost`.
#[derive(Debug, Args)]
pub(crate) struct Cost {
    /// How to group costs.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = By::Day)]
    pub(crate) by: By,
    /// Only costs from this day on, in UTC, such as `2026-11-01`.
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub(crate) since: Option<Date>,
    /// Only this job.
    #[arg(long, value_name = "NAME")]
    pub(crate) job: Option<String>,
    /// The ledger to show: a directory, or a file that ends in `.sqlite`. Default: that of the
    /// state directory.
    #[arg(long, value_name = "PATH", conflicts_with = "rebuild")]
    pub(crate) ledger: Option<PathBuf>,
    /// Enter what all runs of the state directory have spent and reserved, where the ledger was
    /// lost. Sends nothing.
    #[arg(long)]
    pub(crate) rebuild: bool,
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
    /// The requested rows.
    pub(crate) fn selection(&self) -> RowSelection {
        RowSelection {
            limit: self.limit,
            filter: self.filter.clone(),
        }
    }
}

impl WhenRunning {
    /// The same as an option of the engine.
    pub(crate) fn option(self) -> IfRunning {
        match self {
            WhenRunning::Fail => IfRunning::Fail,
            WhenRunning::Skip => IfRunning::Skip,
            WhenRunning::Wait => IfRunning::Wait,
        }
    }
}

impl Schedule {
    /// The exit code of a command that had nothing to do.
    pub(crate) fn code_of_nothing(self) -> u8 {
        self.empty_exit_code.unwrap_or(super::explain::DONE)
    }
}

impl Command {
    /// What a scheduler decided about the start, for commands that have such options.
    pub(crate) fn schedule(&self) -> Schedule {
        match self {
            Command::Run(args) => args.schedule,
            Command::Submit(args) => args.schedule,
            Command::Collect(args) => args.schedule,
            Command::Retry(args) => args.schedule,
            _ => Schedule::default(),
        }
    }
}

impl By {
    /// Its name on the command line.
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
    /// The loopback address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8787")]
    pub(crate) listen: SocketAddr,
    /// The folder for its batches. Default: a temporary folder, deleted at the end.
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// The random seed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The processing time of a batch.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    pub(crate) processing: std::time::Duration,
    /// A TOML file of faults to inject (docs/simulator.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,
}

/// An amount of dollars that is not negative.
fn amount(text: &str) -> Result<Money, String> {
    let amount: Money = text.parse().map_err(|e: MoneyError| e.to_string())?;
    if amount.is_negative() {
        Err("an amount cannot be negative".to_owned())
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

/// An age such as `90d`, `12w`, `36h`; a day has 24 hours.
fn age(text: &str) -> Result<std::time::Duration, String> {
    let wrong = |_| "write a time such as `90d`, `12w` or `36h`".to_owned();
    let span: jiff::Span = text.parse().map_err(wrong)?;
    let age = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(wrong)?;
    std::time::Duration::try_from(age).map_err(|_| "a time cannot be negative".to_owned())
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
    fn reads_ages_in_days_and_weeks() {
        let hours = |n: u64| Ok(std::time::Duration::from_secs(n * 3_600));
        assert_eq!(age("90d"), hours(90 * 24));
        assert_eq!(age("2w 1d"), hours(15 * 24));
        assert_eq!(age("36h"), hours(36));
        for wrong in ["90", "1 month", "-1d", "soon"] {
            age(wrong).unwrap_err();
        }
    }

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
