//! `rowmill retry`: sends failed rows again, by class, and writes the output again.

use std::sync::Arc;

use jiff::Timestamp;
use rowmill::catalog::Catalog;
use rowmill::engine::Run;
use rowmill::engine::drive::Until;
use rowmill::engine::failures::Failures;
use rowmill::engine::retry::{self, RetryPolicy};

use super::args::{Common, Retry};
use super::explain::{self, Failure};
use super::format::{count, plural, usd};
use super::run::{OpenOptions, carry_on, look_once, open, say_healing};
use super::screen::Screen;
use super::summary;
use super::target::run_of;

pub(crate) fn run(
    args: &Retry,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Screen,
) -> Result<u8, Failure> {
    let folder = run_of(&args.target, &common.state)?;
    let (mut run, connection) = open(
        &folder,
        &common.state,
        OpenOptions {
            max_cost: args.budget.max_cost,
            ..OpenOptions::as_it_is(catalog)
        },
        screen,
    )?;
    run.check_not_abandoned()?;
    let lacks_results = run.may_fetch_more(Timestamp::now());
    if lacks_results {
        // What can be fetched for nothing is not paid again.
        look_once(&mut run, &connection, screen)?;
    }
    if !run.state().is_collected() {
        let message = format!(
            "the run `{}` is not finished: which rows failed is not known yet",
            folder.display()
        );
        return Err(Failure::words(
            explain::CHANGE,
            message,
            format!("`rowmill run {}` finishes it", folder.display()),
        ));
    }
    if args.place.replace {
        run.replace_output();
    }
    let policy = RetryPolicy::by_hand(args.classes.iter().copied(), args.max_tokens);
    let pieces = retry::all_pieces(&run);
    let healing = retry::plan_retries(&mut run, pieces, &policy, Timestamp::now())?;
    let deadline = args.deadline.map(|deadline| Timestamp::now() + deadline);
    if healing.rows == 0 && lacks_results && !run.may_fetch_more(Timestamp::now()) {
        // The rows have their answers now, and nothing has to be paid for them.
        return carry_on(
            &mut run,
            &connection,
            Until::Collected,
            deadline,
            &common.state,
            screen,
        );
    }
    if healing.rows == 0 {
        return Err(nothing_fits(args, &run, &policy)?);
    }
    say_healing(&healing, screen);
    let cost = run.left_to_send()?;
    screen.say(format!(
        "cost of that: expected {}, worst case {}",
        usd(cost.expected),
        usd(cost.worst_case)
    ));
    carry_on(
        &mut run,
        &connection,
        Until::Collected,
        deadline,
        &common.state,
        screen,
    )
}

/// That no row failed in such a way, which rows did fail, and what can be done about them.
fn nothing_fits(args: &Retry, run: &Run, policy: &RetryPolicy) -> Result<Failure, Failure> {
    let failures = Failures::of_run(run, policy)?;
    let asked: Vec<&str> = args.classes.iter().map(|class| class.as_str()).collect();
    let mut message = format!(
        "no row of the run is of the class {}: nothing was sent again",
        asked.join(" or ")
    );
    let there: Vec<String> = failures
        .by_class
        .iter()
        .map(|(class, n)| format!("{} {class}", count(*n)))
        .collect();
    message += &match (there.as_slice(), failures.for_good) {
        ([], 0) if failures.without_room > 0 => {
            format!(
                "\n  {} cut off and cannot get more room",
                plural(failures.without_room, "row was", "rows were")
            )
        }
        ([], 0) => "\n  sending its rows again would help none of them".to_owned(),
        ([], n) => format!(
            "\n  {} for good: sending the same again cannot help",
            plural(n, "row failed", "rows failed")
        ),
        (there, _) => format!("\n  classes that there are: {}", there.join(", ")),
    };
    if let Some(first) = summary::first_failure(&failures) {
        message += &format!("\n  {first}");
    }
    Ok(Failure::words(
        explain::CHANGE,
        message,
        summary::ways_out(run, &failures).join("\n  "),
    ))
}
