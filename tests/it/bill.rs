//! What came back is counted to the last unit: per row, per batch, per model, per status, in the
//! file and in the manifest.

use std::time::Duration;

use rowmill::cost::Money;
use serde_json::Value;

use crate::in_process::Bench;
use crate::support::{JOB, Sim, Workdir};

/// What the rows of an output cost, by row.
pub(crate) fn costs(work: &Workdir) -> Vec<Option<Money>> {
    let amount = |text: String| {
        if text.is_empty() {
            None
        } else {
            Some(text.parse().expect("an amount"))
        }
    };
    work.parquet("out.parquet")
        .column("_rm_cost_usd")
        .into_iter()
        .map(amount)
        .collect()
}

/// What the rows of an output cost together.
pub(crate) fn sum(work: &Workdir) -> Money {
    costs(work).into_iter().flatten().sum()
}

pub(crate) fn manifest(work: &Workdir) -> Value {
    let file = work
        .files()
        .into_iter()
        .find(|file| file.ends_with("manifest.json"))
        .expect("a manifest");
    serde_json::from_str(&work.read(&file)).expect("JSON")
}

/// The amounts under a key, added up.
fn side(bill: &Value, key: &str) -> Money {
    let amounts = bill[key].as_object().expect("an object").values();
    amounts
        .map(|amount| {
            amount
                .as_str()
                .expect("a text")
                .parse::<Money>()
                .expect("an amount")
        })
        .sum()
}

/// What the simulator's own result lines cost on Haiku 4.5 in a batch, worked out here: 0.50,
/// 0.625, 1, 0.05 and 2.50 dollars a million.
fn expected(bench: &Bench, is_billed: impl Fn(&Value) -> bool) -> Money {
    let lines = bench.result_lines();
    let messages = lines
        .iter()
        .filter(|line| line["result"]["type"] == "succeeded")
        .map(|line| &line["result"]["message"]);
    let pico = messages
        .filter(|message| is_billed(message))
        .map(|message| {
            let usage = &message["usage"];
            let tokens = |value: &Value| value.as_i64().unwrap_or(0);
            tokens(&usage["input_tokens"]) * 500_000
                + tokens(&usage["cache_creation"]["ephemeral_5m_input_tokens"]) * 625_000
                + tokens(&usage["cache_creation"]["ephemeral_1h_input_tokens"]) * 1_000_000
                + tokens(&usage["cache_read_input_tokens"]) * 50_000
                + tokens(&usage["output_tokens"]) * 2_500_000
        });
    Money::from_picodollars(pico.sum())
}

#[test]
fn every_side_of_the_bill_adds_up_to_what_the_rows_cost() {
    let bench = Bench::new(Workdir::new().with_rows(20));
    let work = &bench.work;
    work.write("job.toml", format!("{JOB}\n[batch]\nmax_requests = 7\n"));
    assert!(bench.run().unwrap().all_succeeded());
    let total = sum(work);
    assert_eq!(total, expected(&bench, |_| true));
    assert!(total > Money::ZERO && costs(work).iter().all(Option::is_some));
    let manifest = manifest(work);
    assert_eq!(manifest["cost_usd"], total.to_string());
    let bill = &manifest["bill"];
    for key in ["by_kind", "by_model", "by_status", "by_batch"] {
        assert_eq!(side(bill, key), total, "{key} of {bill}");
    }
    assert_eq!(bill["by_batch"].as_object().unwrap().len(), 3);
    assert_eq!(
        bill["by_model"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["claude-haiku-4-5-20251001"]
    );
    assert_eq!(
        bill["priced_at"],
        rowmill::catalog::Catalog::builtin().date.to_string()
    );
    let metadata = work.parquet_metadata("out.parquet");
    assert_eq!(metadata["rowmill.cost_usd"], total.to_string());
    assert_eq!(
        metadata["rowmill.priced_at"],
        bill["priced_at"].as_str().unwrap()
    );
}

#[test]
fn the_screen_says_what_a_run_cost_and_how_much_of_it_is_unknown() {
    let work = Workdir::new().with_rows(5);
    let said = work
        .rowmill_at(&Sim::start().url(), &["run", "job.toml"])
        .expect(0)
        .says("cost       $0.00")
        .says(" input, $");
    assert!(!said.stderr.contains("empty"), "{}", said.stderr);
    let unreadable = "[[rows]]\noutcome = 'replaced'\nshare = 1.0\nusage = '{\"x\":1}'\n";
    let (work, sim) = (Workdir::new().with_rows(1), Sim::with(unreadable));
    work.rowmill_at(&sim.url(), &["run", "job.toml"])
        .expect(0)
        .says("the cost of 1 request is unknown");
}

#[test]
fn all_attempts_are_paid_and_what_failed_at_the_provider_is_not() {
    // Who meets which fault is drawn by the custom_id, which is another in each run: so many rows
    // that some meet each.
    const ROWS: usize = 200;
    let faults = "[[rows]]\noutcome = 'errored'\nshare = 0.3\n[[rows]]\noutcome = \
                  'truncated'\nshare = 0.3\n[[rows]]\noutcome = 'expired'\nshare = \
                  0.2\n[[rows]]\noutcome = 'refused'\nshare = 0.2\n";
    let bench = Bench::with(Workdir::new().with_rows(ROWS), faults, Duration::ZERO);
    let work = &bench.work;
    work.write(
        "job.toml",
        format!("{JOB}\n[retry]\ntruncated = {{ times = 1, max_tokens = '2x' }}\n"),
    );
    assert!(!bench.run().unwrap().all_succeeded());
    let out = bench.output();
    let (statuses, attempts, costs) = (
        out.column("_rm_status"),
        out.column("_rm_attempt"),
        costs(work),
    );
    let refused: Vec<usize> = (0..ROWS)
        .filter(|&row| statuses[row] == "refused")
        .collect();
    let at_once = refused.iter().filter(|&&row| attempts[row] == "1");
    assert!(
        at_once.clone().count() > 0 && at_once.clone().all(|&row| costs[row] == Some(Money::ZERO)),
        "{refused:?}"
    );
    let after_a_paid_one = refused
        .iter()
        .filter(|&&row| costs[row] > Some(Money::ZERO));
    assert!(
        after_a_paid_one.clone().count() > 0,
        "a first attempt that was cut off is paid"
    );
    assert!(after_a_paid_one.clone().all(|&row| attempts[row] != "1"));
    // The simulator counts tokens of what it refuses before any output, as the API does; they are
    // not billed.
    assert_eq!(
        sum(work),
        expected(&bench, |message| message["stop_reason"] != "refusal")
    );
    assert_eq!(manifest(work)["cost_usd"], sum(work).to_string());
}

/// As many lines as the counters say: a line of another batch stands in the place of the row's own.
const ANOTHERS_LINE: &str = "[[calls]]\non = 'results'\ndo = 'missing_line'\nat_line = \
                             3\n[[calls]]\non = 'results'\ndo = 'foreign_line'\nat_line = 4\n";

#[test]
fn a_row_without_a_line_has_no_known_cost() {
    let bench = Bench::with(Workdir::new().with_rows(5), ANOTHERS_LINE, Duration::ZERO);
    let report = bench.run().unwrap();
    assert!(!report.all_succeeded());
    let statuses = bench.output().column("_rm_status");
    let missing = statuses.iter().position(|status| status == "missing");
    let costs = costs(&bench.work);
    assert_eq!(costs[missing.unwrap()], None);
    assert_eq!(costs.iter().flatten().count(), 4);
    assert_eq!(report.manifest.bill.unwrap().unknown, 1);
}

#[test]
fn prices_of_ones_own_are_taken_from_the_file_that_is_named() {
    let (work, sim) = (Workdir::new().with_rows(3), Sim::start());
    work.write(
        "prices.toml",
        "date = 2027-01-05\n[models.claude-haiku-4-5.prices]\ninput = '0'\noutput = '20'\n",
    );
    work.rowmill_at(&sim.url(), &["run", "job.toml", "--models", "prices.toml"])
        .expect(0);
    let tokens: i64 = work
        .parquet("out.parquet")
        .column("_rm_output_tokens")
        .iter()
        .map(|n| n.parse::<i64>().unwrap())
        .sum();
    assert_eq!(sum(&work), Money::from_picodollars(tokens * 10_000_000));
    assert_eq!(manifest(&work)["bill"]["priced_at"], "2027-01-05");
}

#[test]
fn a_model_without_a_price_stops_before_anything_is_sent() {
    const MODEL: &str = "[models.house-model]\ncontext_tokens = 200_000\nmax_output_tokens = \
                         64_000\nmin_cache_tokens = 512\ntokenizer = 'second'\nthinking = \
                         'adaptive_optional'\nlifecycle = 'active'\n";
    let (work, sim) = (Workdir::new().with_rows(3), Sim::start());
    work.write(
        "job.toml",
        JOB.replace("claude-haiku-4-5", "house-model")
            .replace("200", "2000"),
    );
    work.write("prices.toml", MODEL);
    for command in ["check", "plan", "run", "submit"] {
        let said = work
            .rowmill_at(
                &sim.url(),
                &[command, "job.toml", "--models", "prices.toml"],
            )
            .expect(2);
        said.says(
            "error: the catalog has no price of the model `house-model`\nhint: give it \
            prices in a file",
        );
    }
    assert_eq!(sim.ledger().batches.len(), 0);
    let five = "input = '1'\noutput = '1'\ncache_write_5m = '1'\ncache_write_1h = '1'\ncache_read \
        = '1'\nbatch_factor = '0.5'\n";
    work.write(
        "prices.toml",
        format!("{MODEL}[models.house-model.prices]\n{five}"),
    );
    work.rowmill_at(&sim.url(), &["plan", "job.toml", "--models", "prices.toml"])
        .expect(0);
}

#[test]
fn a_price_file_that_cannot_be_used_names_file_model_and_key() {
    let work = Workdir::new().with_rows(3);
    for (text, said) in [
        (
            "[models.claude-haiku-4-5.prices]\ninput = '-1'\n",
            "`-1` is not a decimal such as `0.125`\n  in `prices.input`",
        ),
        (
            "[models.claude-haiku-4-5.prices]\ninptu = '1'\n",
            "unknown field `inptu`",
        ),
        (
            "[models.'claude-2.1'.prices]\ninput = '1'\n",
            "missing field `output`\n  in `prices`",
        ),
        (
            "[models.claude-haiku-4-5.prices]\ninput = 1.5\n",
            "in `prices.input`",
        ),
        (
            "[server_tools]\nweb_serach = '1'\n",
            "`server_tools` cannot be read\n  caused by: unknown field `web_serach`",
        ),
        ("[models.claude-haiku-4-5.prices\n", "line 1"),
    ] {
        work.write("prices.toml", text);
        let said_all = work
            .rowmill(&["plan", "job.toml", "--models", "prices.toml"])
            .expect(2);
        assert!(
            said_all.stderr.contains(said),
            "{said}\nis not in\n{}",
            said_all.stderr
        );
        said_all.says("cannot use the model table `prices.toml`");
    }
    work.rowmill(&["plan", "job.toml", "--models", "nowhere.toml"])
        .expect(2)
        .says("cannot read the model table `nowhere.toml`");
    let from_environment = work
        .command(&["plan", "job.toml"])
        .env("ROWMILL_MODELS", "prices.toml")
        .output()
        .unwrap();
    assert_eq!(from_environment.status.code(), Some(2));
}

#[test]
fn the_price_table_is_shown_with_its_day_and_what_was_overridden() {
    let work = Workdir::new();
    let shown = work.rowmill(&["prices"]).expect(0).stdout;
    let catalog = rowmill::catalog::Catalog::builtin();
    for words in [
        "claude-haiku-4-5-20251001    0.50    2.50     0.625      1.00   0.05",
        "  prompts above 100,000      0.25    1.25    0.3125      0.50  0.025      x 1.1",
        "claude-opus-4-1-20250805",
        "web search      $10.00 per 1,000, in a batch too",
        &catalog.date.to_string(),
        &catalog.sources[0],
    ] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    work.write(
        "mine.toml",
        "date = 2027-01-05\n[models.claude-haiku-4-5.prices]\ninput = '0.8'\n",
    );
    let shown = work
        .rowmill(&["prices", "claude-haiku-4-5", "--models", "mine.toml"])
        .expect(0)
        .stdout;
    for words in [
        "claude-haiku-4-5-20251001 *, batch      0.40",
        "*, standard",
        "0.80",
        "2027-01-05",
        "* your own",
    ] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    let json = work.rowmill(&["prices", "--json"]).expect(0).json();
    let priced = catalog
        .models
        .values()
        .filter(|model| model.prices.is_some())
        .count()
        + catalog
            .retired
            .values()
            .filter(|model| model.prices.is_some())
            .count();
    assert_eq!(
        json["prices"].as_array().unwrap().len(),
        priced + 1,
        "one band"
    );
    assert_eq!(json["without_price"], serde_json::json!([]));
    work.rowmill(&["prices", "claude-haiku-45"])
        .expect(2)
        .says("did you mean");
}
