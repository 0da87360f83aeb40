//! The command line: parses arguments, calls the library, prints messages, returns an exit code.

mod args;
mod cancel;
mod catalog;
mod check;
mod collect;
mod connect;
mod cost;
mod estimate;
mod examples;
mod exit_code;
mod explain;
mod export;
mod format;
mod init;
mod layout;
mod log;
mod models;
mod outcome;
mod plan;
mod preview;
mod prices;
mod prune;
mod rescue;
mod retry;
mod run;
mod sanitize;
mod screen;
mod signals;
mod sim;
mod status;
mod submit;
mod summary;
mod target;
mod words;

use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};
use rowmill::engine::Error;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use args::{Cli, Command, Common};
use explain::Failure;
use log::{Level, Log, LogLayer};
use screen::Screen;

/// Runs the command, and returns its exit code.
pub(crate) fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    rowmill::border::install();
    let screen = Arc::new(Screen::new(&cli.common));
    log_events(&cli.common, screen.log());
    #[cfg(any(feature = "test-hooks", debug_assertions))]
    arm_crash_test();
    let log = Arc::clone(screen.log());
    // A terminal shows `^C` where the cursor is.
    let gap = if log.is_json() || !std::io::stderr().is_terminal() {
        ""
    } else {
        "\n"
    };
    let last = Arc::clone(&screen);
    signals::listen(
        move |text| {
            log.message(Level::Info, None, &format!("{gap}{text}"), Default::default);
        },
        move || last.stopped_at_once(),
    );
    let result = command(&cli, &screen);
    match result {
        Ok(code) => {
            screen.end();
            code
        }
        Err(Failure::Step(Error::NotStarted(why))) => {
            screen.finish();
            outcome::show_not_started(&why, cli.command.schedule(), &screen)
        }
        Err(failure) => {
            screen.finish();
            screen.failure(&failure)
        }
    }
}

/// Handles arguments that cannot be parsed, and requests for help.
fn usage_error(error: &clap::Error) -> u8 {
    let code = u8::try_from(error.exit_code()).unwrap_or(explain::CHANGE);
    // The arguments could not be parsed, so these are searched by name.
    let args: Vec<_> = std::env::args_os().collect();
    let json = args.iter().any(|arg| arg == "--json");
    let json_log = args.iter().any(|arg| arg == "--log-format=json")
        || args
            .windows(2)
            .any(|pair| pair[0] == "--log-format" && pair[1] == "json");
    screen::usage_error(error, code, json, json_log);
    code
}

fn command(cli: &Cli, screen: &Arc<Screen>) -> Result<u8, Failure> {
    let common = &cli.common;
    let catalog = &catalog::read(common.models.as_deref())?;
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
        Command::Prune(args) => prune::run(args, common, catalog, screen),
        Command::Models(args) => models::run(args, common, catalog, screen),
        Command::Prices(args) => prices::run(args, catalog, screen),
        Command::Cost(args) => cost::run(args, common, catalog, screen),
        Command::Sim(args) => sim::run(args, catalog, screen),
        Command::Completions { shell } => {
            // Through memory: a closed stdout must not panic.
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "rowmill", &mut text);
            screen.data(String::from_utf8_lossy(&text).trim_end());
            Ok(explain::DONE)
        }
    }
}

/// Log lines go to stderr: warnings always, calls to the provider with `-v`, everything with `-vv`;
/// `RUST_LOG` overrides.
fn log_events(common: &Common, log: &Arc<Log>) {
    let default = match common.verbose {
        0 if common.quiet => "error",
        0 => "warn",
        1 => "rowmill=debug",
        _ => "rowmill=trace,info",
    };
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    tracing_subscriber::registry()
        .with(LogLayer(Arc::clone(log)).with_filter(filter))
        .init();
}

/// For the tests: ends the process at the n-th durable write or network call.
#[cfg(any(feature = "test-hooks", debug_assertions))]
fn arm_crash_test() {
    if let Some(n) = std::env::var("ROWMILL_CRASH_AT")
        .ok()
        .and_then(|n| n.parse().ok())
    {
        rowmill::durable::crash_at(n);
    }
}
