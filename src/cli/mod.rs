//! Words in, words out: reads what was typed, calls the library, says what happened, ends with an
//! exit code.

mod args;
mod cancel;
mod catalog;
mod check;
mod collect;
mod connect;
mod cost;
mod estimate;
mod examples;
mod explain;
mod export;
mod format;
mod init;
mod layout;
mod models;
mod outcome;
mod plan;
mod preview;
mod prices;
mod rescue;
mod retry;
mod run;
mod screen;
mod signals;
mod sim;
mod status;
mod submit;
mod summary;
mod target;
mod words;

use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command, Common, LogFormat};
use explain::Failure;
use screen::Screen;

/// Runs the command that was typed, and gives its exit code.
pub(crate) fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    rowmill::border::install();
    let screen = Arc::new(Screen::new(&cli.common));
    log(&cli.common);
    arm_crash_test();
    signals::listen(screen.voice());
    let result = command(&cli, &screen);
    screen.finish();
    match result {
        Ok(code) => code,
        Err(failure) => screen.failure(&failure),
    }
}

/// What was typed cannot be understood, or was a question for help.
fn usage_error(error: &clap::Error) -> u8 {
    let code = u8::try_from(error.exit_code()).unwrap_or(explain::CHANGE);
    screen::print_usage_error(error);
    if code != explain::DONE && std::env::args_os().any(|arg| arg == "--json") {
        let text = error.render().to_string();
        // The first paragraph: what is missing stands in lines of its own.
        let paragraph = text
            .trim_start_matches("error: ")
            .lines()
            .take_while(|line| !line.trim().is_empty());
        let message = paragraph.map(str::trim).collect::<Vec<_>>().join(" ");
        let document = screen::error_document(&message, Some("see `rowmill --help`"), code, None);
        screen::print_json(&document);
    }
    code
}

fn command(cli: &Cli, screen: &Arc<Screen>) -> Result<u8, Failure> {
    let common = &cli.common;
    let catalog = &catalog::read(common.models.as_deref())?;
    let reads_state = !matches!(
        cli.command,
        Command::Init(_)
            | Command::Check(_)
            | Command::Preview(_)
            | Command::Sim(_)
            | Command::Completions { .. }
    );
    if reads_state {
        target::warn_of_others(&common.state, screen);
    }
    match &cli.command {
        Command::Init(args) => init::run(args, screen),
        Command::Check(args) => check::run(args, common, catalog, screen),
        Command::Preview(args) => preview::run(args, common, catalog, screen),
        Command::Plan(args) => plan::run(args, common, catalog, screen),
        Command::Run(args) => run::run(args, common, catalog, screen),
        Command::Submit(args) => submit::run(args, common, catalog, screen),
        Command::Collect(args) => collect::run(args, common, catalog, screen),
        Command::Export(args) => export::run(args, common, catalog, screen),
        Command::Status(args) => status::run(args, common, catalog, screen),
        Command::Cancel(args) => cancel::run(args, common, catalog, screen),
        Command::Retry(args) => retry::run(args, common, catalog, screen),
        Command::Rescue(args) => rescue::run(args, common, catalog, screen),
        Command::Models(args) => models::run(args, common, catalog, screen),
        Command::Prices(args) => prices::run(args, catalog, screen),
        Command::Cost(args) => cost::run(args, common, catalog, screen),
        Command::Sim(args) => sim::run(args, catalog, screen),
        Command::Completions { shell } => {
            // By way of memory: a reader that goes away early is no reason to panic.
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "rowmill", &mut text);
            screen.data(String::from_utf8_lossy(&text).trim_end());
            Ok(explain::DONE)
        }
    }
}

/// Log lines go to stderr: warnings always, calls to the provider with `-v`, everything with `-vv`;
/// `RUST_LOG` overrides.
fn log(common: &Common) {
    let default = match common.verbose {
        0 if common.quiet => "error",
        0 => "warn",
        1 => "rowmill=debug",
        _ => "rowmill=trace,info",
    };
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| screen::LogLines)
        .with_ansi(false);
    match common.log_format {
        LogFormat::Text => builder.compact().init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// For the tests: ends the process at the n-th durable write or network act.
fn arm_crash_test() {
    if let Some(n) = std::env::var("ROWMILL_CRASH_AT")
        .ok()
        .and_then(|n| n.parse().ok())
    {
        rowmill::durable::crash_at(n);
    }
}
