//! What `--help` shows below the flags of a command: how it is typed, and what for.

pub(crate) const INIT: &str = "\
Examples:
  rowmill init tickets.csv                      tickets.toml and tickets.j2, ready to run
  rowmill init data/ --out jobs/reviews.toml    a folder of Parquet files, the job elsewhere";

pub(crate) const CHECK: &str = "\
Examples:
  rowmill check tickets.toml                    every row is read and rendered; nothing is sent
  rowmill check tickets.toml -n 1000            the first thousand, where the table is large";

pub(crate) const PREVIEW: &str = "\
Examples:
  rowmill preview tickets.toml -n 3             the first three prompts
  rowmill preview tickets.toml --key T-0042     one row's
  rowmill preview tickets.toml --json           the exact requests, as a list";

pub(crate) const PLAN: &str = "\
Examples:
  rowmill plan tickets.toml                     what a run would send, and what it would cost
  rowmill plan tickets.toml --calibrate 200     counts the tokens of some rows first, which is free
  rowmill plan tickets.toml --sample 2000       renders 2,000 rows of a huge table, and says how far that may be off
  rowmill plan tickets.toml --out runs/monday   keeps it; `rowmill run runs/monday` sends it";

pub(crate) const RUN: &str = "\
Examples:
  rowmill run tickets.toml --simulate           the whole way, free, with made-up answers
  rowmill run tickets.toml --limit 20           a small paid trial first, written beside the output
  rowmill run tickets.toml                      all of it; after Ctrl-C the same command resumes it
  rowmill run tickets.toml --deadline 2h        leaves with exit code 5 where that is not enough
  rowmill run tickets.toml --again              all rows again, and paid again, though nothing has changed
A run that is finished stays finished: without --again, an unchanged job has nothing to do.";

pub(crate) const SUBMIT: &str = "\
Examples:
  rowmill submit tickets.toml                   sends everything and leaves (exit code 5)
  rowmill collect tickets.toml                  later: fetches what has ended, writes the output";

pub(crate) const COLLECT: &str = "\
Examples:
  rowmill collect tickets.toml                  looks once; exit code 5 while something is missing
  rowmill collect tickets.toml --wait 2h        waits for it";

pub(crate) const EXPORT: &str = "\
Examples:
  rowmill export tickets.toml                   after a change to [answer], the schema file or [output]
  rowmill export runs/monday --job other.toml   the same answers, another table
Answers are kept as they came, so options them again costs nothing. What was asked does not change.";

pub(crate) const STATUS: &str = "\
Examples:
  rowmill status                                all runs, newest first
  rowmill status tickets.toml                   the batches of the job's newest run
  rowmill status --json                         the same for a program";

pub(crate) const CANCEL: &str = "\
Examples:
  rowmill cancel tickets.toml                   then `rowmill collect`, for what was finished before
  rowmill cancel tickets.toml --abandon         so that `rowmill run` starts anew";

pub(crate) const RETRY: &str = "\
Examples:
  rowmill retry tickets.toml --class truncated --max-tokens 4x
  rowmill retry tickets.toml --class expired,server_error
The cost is shown first. Rows that succeeded are not sent again; the output is written again with all rows in it.";

pub(crate) const RESCUE: &str = "\
Example:
  rowmill rescue .rowmill/tickets/20260102-030405-abcd";

pub(crate) const MODELS: &str = "\
Examples:
  rowmill models                                all of them, with the day the table was made
  rowmill models claude-haiku-4-5               everything that is known of one
  rowmill models --refresh --out models.toml    what the provider lists otherwise; `--models models.toml` uses it";

pub(crate) const PRICES: &str = "\
Examples:
  rowmill prices                                all models, in a batch
  rowmill prices claude-haiku-5-5               one model, in a batch and outside
  rowmill prices --models mine.toml             with your own table laid over it (docs/models.md)";

pub(crate) const COST: &str = "\
Examples:
  rowmill cost                                  day by day
  rowmill cost --by job --since 2026-11-01      what each job has cost since then
  rowmill cost --by model --job tickets --json  one job, for a program";

pub(crate) const SIM: &str = "\
Examples:
  rowmill sim                                   prints the two variables to set in another terminal
  rowmill sim --processing 10m --faults faults.toml";

pub(crate) const COMPLETIONS: &str = "\
Example:
  rowmill completions bash > ~/.local/share/bash-completion/completions/rowmill";
