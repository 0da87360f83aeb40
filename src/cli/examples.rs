//! The examples that `--help` shows below the options of a command.

pub(crate) const INIT: &str = "\
Examples:
  rowmill init tickets.csv                      tickets.toml and tickets.j2, ready to run
  rowmill init data/ --out jobs/reviews.toml    a folder of Parquet files, the job file elsewhere";

pub(crate) const CHECK: &str = "\
Examples:
  rowmill check tickets.toml                    reads and renders every row; sends nothing
  rowmill check tickets.toml -n 1000            only the first 1,000 rows of a large table";

pub(crate) const PREVIEW: &str = "\
Examples:
  rowmill preview tickets.toml -n 3             the first three prompts
  rowmill preview tickets.toml --key T-0042     the prompt of one row
  rowmill preview tickets.toml --json           the exact requests, as a JSON list";

pub(crate) const PLAN: &str = "\
Examples:
  rowmill plan tickets.toml                     what a run would send, and what it would cost
  rowmill plan tickets.toml --calibrate 200     counts the tokens of some rows first, which is free
  rowmill plan tickets.toml --sample 2000       estimates from 2,000 rows of a huge table, with a margin of error
  rowmill plan tickets.toml --out runs/monday   saves the plan; `rowmill run runs/monday` sends it";

pub(crate) const RUN: &str = "\
Examples:
  rowmill run tickets.toml --simulate           the complete run, free, with invented answers
  rowmill run tickets.toml --limit 20           a small paid trial, written next to the output
  rowmill run tickets.toml                      all rows; after Ctrl-C, the same command resumes the run
  rowmill run tickets.toml --deadline 2h        exits with code 5 if the run takes longer
  rowmill run tickets.toml --new                abandons an unfinished run, and starts a new one
  rowmill run tickets.toml --no-reuse           sends and pays for all rows again
Without --no-reuse, a job that has not changed since its finished run has nothing to do.";

pub(crate) const SUBMIT: &str = "\
Examples:
  rowmill submit tickets.toml                   sends everything and exits; code 5 if more waits to be sent
  rowmill collect tickets.toml                  later: fetches ended batches, writes the output
  run=$(rowmill submit -q tickets.toml)         the run's id, for `rowmill collect $run`";

pub(crate) const COLLECT: &str = "\
Examples:
  rowmill collect tickets.toml                  checks once; exit code 5 while batches are processing
  rowmill collect tickets.toml --wait 2h        waits up to two hours";

pub(crate) const EXPORT: &str = "\
Examples:
  rowmill export tickets.toml                   after a change of [answer], the schema file or [output]
  rowmill export runs/monday --job other.toml   the same answers, another output
Answers are saved unchanged, so parsing them again is free. Nothing is sent.";

pub(crate) const STATUS: &str = "\
Examples:
  rowmill status                                all runs, newest first
  rowmill status tickets.toml                   the batches of the job's newest run
  rowmill status --json                         the same as JSON";

pub(crate) const PRUNE: &str = "\
Examples:
  rowmill prune --older-than 90d --dry-run      what would be removed, and why other runs are kept
  rowmill prune --older-than 90d                runs without an event for 90 days, except the newest finished run of each job
  rowmill prune tickets.toml --trials           trials and simulated runs of the job, with their output files
  rowmill prune 20261123-031500-abcd            one run
A run with something in flight, uncertain, not collected or reserved is always kept.";

pub(crate) const CANCEL: &str = "\
Examples:
  rowmill cancel tickets.toml                   then `rowmill collect`, for answers that were finished before
  rowmill cancel tickets.toml --abandon         so that `rowmill run tickets.toml` starts a new run";

pub(crate) const RETRY: &str = "\
Examples:
  rowmill retry tickets.toml --class truncated --max-tokens 4x
  rowmill retry tickets.toml --class expired,server_error
The cost is shown first. Rows that succeeded are not sent again; the new output contains all rows.";

pub(crate) const RESCUE: &str = "\
Example:
  rowmill rescue .rowmill/tickets/20260102-030405-abcd";

pub(crate) const MODELS: &str = "\
Examples:
  rowmill models                                all models, with the date of the table
  rowmill models claude-haiku-4-5               all facts about one model
  rowmill models --refresh --out models.toml    writes differences to the provider's list; use them with `--models models.toml`";

pub(crate) const PRICES: &str = "\
Examples:
  rowmill prices                                batch prices of all models
  rowmill prices claude-haiku-5-5               batch and standard prices of one model
  rowmill prices --models mine.toml             with your own prices (docs/models.md)";

pub(crate) const COST: &str = "\
Examples:
  rowmill cost                                  by day
  rowmill cost --by job --since 2026-11-01      cost of each job since that day
  rowmill cost --by model --job tickets --json  one job, as JSON
  rowmill cost --state jobs/.rowmill            of jobs in another folder
  rowmill cost --rebuild                        after the ledger was lost: enters all runs again";

pub(crate) const SIM: &str = "\
Examples:
  rowmill sim                                   prints two variables to set in another terminal
  rowmill sim --processing 10m --faults faults.toml";

pub(crate) const COMPLETIONS: &str = "\
Example:
  rowmill completions bash > ~/.local/share/bash-completion/completions/rowmill";
