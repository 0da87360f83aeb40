//! The model table, and its differences to a provider's list.

use std::time::Duration;

use rowmill::catalog::Catalog;

use crate::support::{Sim, Workdir};

/// A provider with a different list: a limit, a retirement date, a removed model, a new model.
fn provider() -> Sim {
    let other = r#"
        [models.claude-haiku-4-5]
        max_output_tokens = 32_000
        lifecycle = "deprecated"
        retires = "2027-02-01"

        [models.claude-opus-4-6]
        lifecycle = "retired"
        retires = "2026-11-20"

        [models.claude-haiku-6]
        context_tokens = 2_000_000
        max_output_tokens = 128_000
        min_cache_tokens = 512
        tokenizer = "second"
        thinking = "always"
        thinking_refused = ["disabled", "enabled"]
        structured_output = true
        lifecycle = "active"
    "#;
    Sim::of(
        "",
        Duration::ZERO,
        Catalog::builtin().with_overrides(other).expect("a table"),
    )
}

#[test]
fn lists_models_and_tells_all_of_one() {
    let work = Workdir::new();
    let all = work.rowmill(&["models"]).expect(0).stdout;
    for words in [
        "claude-haiku-4-5",
        "claude-sonnet-4-5",
        "2026-11-30",
        "deprecated",
        "retired",
    ] {
        assert!(all.contains(words), "`{words}` is not in\n{all}");
    }
    let one = work.rowmill(&["models", "claude-sonnet-4-5"]).expect(0);
    assert!(
        one.stdout.contains("deprecated, until 2026-11-30")
            && one.stdout.contains("prefixes of 1,024 tokens or more"),
        "{}",
        one.stdout
    );
    let json = work
        .rowmill(&["models", "claude-haiku-4-5", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (
            json["id"].as_str(),
            json["model"]["min_cache_tokens"].as_u64()
        ),
        (Some("claude-haiku-4-5-20251001"), Some(4_096))
    );
    work.rowmill(&["models", "claude-haiku-45"])
        .expect(2)
        .says("did you mean `claude-haiku-4-5`");
    let json = work.rowmill(&["models", "--json"]).expect(0).json();
    assert!(json["models"].as_object().unwrap().len() > 15 && json["retired"].is_object());
}

#[test]
fn finds_what_the_provider_lists_otherwise_and_lays_it_over_the_table() {
    let (work, sim) = (Workdir::new().with_rows(3), provider());
    let said = work
        .rowmill_at(&sim.url(), &["models", "--refresh"])
        .expect(0)
        .says("written to models.toml");
    for words in [
        "new        claude-haiku-6, assumed to be like claude-haiku-5-5",
        "max_output_tokens is 32000, was 64000",
        "lifecycle is deprecated, was",
        "retired    claude-opus-4-6 on 2026-11-20; its successor is claude-opus-",
    ] {
        assert!(
            said.stdout.contains(words),
            "`{words}` is not in\n{}",
            said.stdout
        );
    }
    // The written file applies everywhere.
    let one = work
        .rowmill(&["models", "claude-haiku-4-5", "--models", "models.toml"])
        .expect(0)
        .stdout;
    assert!(
        one.contains("deprecated, until 2027-02-01") && one.contains("at most 32,000 tokens"),
        "{one}"
    );
    let job = work.read("job.toml");
    work.write(
        "gone.toml",
        job.replace("claude-haiku-4-5", "claude-opus-4-6"),
    );
    let gone = "model `claude-opus-4-6` was retired on 2026-11-20; its successor is `claude-opus-";
    work.rowmill(&["check", "gone.toml"]).expect(0);
    work.rowmill(&["check", "gone.toml", "--models", "models.toml"])
        .expect(2)
        .says(gone);
    work.write(
        "new.toml",
        job.replace("claude-haiku-4-5", "claude-haiku-6"),
    );
    work.rowmill(&["plan", "new.toml", "--models", "models.toml"])
        .expect(2)
        .says("no price of the model `claude-haiku-6`");
    // An existing file is not overwritten; the file in use is updated.
    work.rowmill_at(&sim.url(), &["models", "--refresh"])
        .expect(2)
        .says("exists already");
    let again = work
        .rowmill_at(
            &sim.url(),
            &["models", "--refresh", "--models", "models.toml"],
        )
        .expect(0);
    again.says("agrees with the list");
}

#[test]
fn a_list_that_agrees_or_cannot_be_read_writes_nothing() {
    let (work, sim) = (Workdir::new(), Sim::start());
    work.rowmill_at(&sim.url(), &["models", "--refresh"])
        .expect(0)
        .says("agrees with the list");
    work.rowmill(&["models", "--refresh"])
        .expect(12)
        .says("there is no key");
    let broken = Sim::with("[[calls]]\non = 'models'\ndo = 'status'\nstatus = 401\n");
    work.rowmill_at(&broken.url(), &["models", "--refresh"])
        .expect(12)
        .says("cannot read the list of models");
    assert!(!work.path("models.toml").exists());
}
