use std::collections::HashSet;
use std::io::{BufReader, Cursor};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde_json::json;

use super::*;
use crate::outcome::Usage;
use crate::outcome::answer::AnswerPlan;

// A wire format of the tests' own:
// `{"id":"a","status":"succeeded","text":"…","tokens":3,"model":"m"}`.

#[derive(serde::Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    id: Cow<'l, str>,
    #[serde(default = "succeeded")]
    status: Status,
    text: Option<String>,
    tokens: Option<u64>,
    input: Option<u64>,
    model: Option<String>,
}

fn succeeded() -> Status {
    Status::Succeeded
}

fn custom_id_of(line: &[u8]) -> Result<Cow<'_, str>, String> {
    // As a fast reader does, it looks at the head of the line only.
    let head = line.strip_prefix(b"{\"id\":\"").ok_or("no id")?;
    let end = head
        .iter()
        .position(|&b| b == b'"')
        .ok_or("no end of the id")?;
    std::str::from_utf8(&head[..end])
        .map(Cow::Borrowed)
        .map_err(|e| e.to_string())
}

fn parse(line: &[u8]) -> Result<(Cow<'_, str>, Outcome), String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    let outcome = Outcome {
        result: "succeeded".to_owned(),
        text: line.text,
        model: line.model,
        usage: line.tokens.map(|tokens| Usage {
            input_tokens: line.input,
            output_tokens: Some(tokens),
            ..Usage::default()
        }),
        ..Outcome::new(line.status)
    };
    Ok((line.id, outcome))
}

fn index(lines: impl AsRef<[u8]>, ids: &[&str]) -> (ResultIndex, LineCounts) {
    let (index, counts) = ResultIndex::build(
        Cursor::new(&lines),
        ids,
        custom_id_of,
        tempfile::tempfile().unwrap(),
    )
    .unwrap();
    assert_eq!(
        ResultIndex::count(Cursor::new(&lines), ids, custom_id_of).unwrap(),
        counts
    );
    (index, counts)
}

fn attempt(number: u32, lines: &str, ids: &[&str]) -> AttemptResults {
    AttemptResults {
        attempt: number,
        batch_id: format!("batch-{number}").into(),
        index: index(lines, ids).0,
    }
}

fn sent(custom_id: &str) -> RequestRow<'_> {
    RequestRow {
        custom_id: Some(custom_id),
        request_hash: Some("hash"),
        unsent: None,
        tag: None,
    }
}

/// The status and text of each row.
fn joined<'r>(attempts: Vec<AttemptResults>, ids: &[&'r str]) -> Vec<JoinedRow<'r>> {
    let mut joiner = Joiner::new(attempts, None, parse);
    ids.iter().map(|id| joiner.row(sent(id)).unwrap()).collect()
}

fn statuses(rows: &[JoinedRow<'_>]) -> Vec<Status> {
    rows.iter().map(|row| row.status).collect()
}

fn text<'a>(row: &'a JoinedRow<'_>) -> Option<&'a str> {
    row.outcome()?.text.as_deref()
}

#[test]
fn keeps_row_order_when_results_arrive_shuffled() {
    let lines = "{\"id\":\"c\",\"text\":\"3\"}\n{\"id\":\"a\",\"text\":\"1\"}\n{\"id\":\"b\",\"text\":\"2\"}\n";
    let rows = joined(vec![attempt(1, lines, &["a", "b", "c"])], &["a", "b", "c"]);
    assert_eq!(
        rows.iter()
            .map(|row| text(row).unwrap())
            .collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
}

#[test]
fn counts_every_kind_of_line() {
    let a = "{\"id\":\"a\",\"text\":\"1\"}";
    for (lines, expected) in [
        (
            String::new(),
            LineCounts {
                missing: 2,
                ..LineCounts::default()
            },
        ),
        (
            format!("{a}\n"),
            LineCounts {
                lines: 1,
                missing: 1,
                ..LineCounts::default()
            },
        ),
        (
            format!("{a}\r\n\r\n  \n\n"),
            LineCounts {
                lines: 1,
                missing: 1,
                blank: 3,
                ..LineCounts::default()
            },
        ),
        (
            format!("{a}\n{a}\n{a}\n"),
            LineCounts {
                lines: 3,
                missing: 1,
                duplicates: 2,
                ..LineCounts::default()
            },
        ),
        (
            format!("{a}\n{{\"id\":\"x\"}}\n"),
            LineCounts {
                lines: 2,
                missing: 1,
                foreign: 1,
                ..LineCounts::default()
            },
        ),
        (
            format!("nonsense\n{a}\n"),
            LineCounts {
                lines: 2,
                missing: 1,
                unreadable: 1,
                ..LineCounts::default()
            },
        ),
        (
            format!("{a}\n{{\"id\":\"b\",\"te"),
            LineCounts {
                lines: 2,
                missing: 1,
                torn: 1,
                ..LineCounts::default()
            },
        ),
        (
            format!("{a}\n{{\"id\":\"b\"}}"),
            LineCounts {
                lines: 2,
                ..LineCounts::default()
            },
        ),
        (
            "\u{2028}".to_owned(),
            LineCounts {
                lines: 1,
                missing: 2,
                torn: 1,
                ..LineCounts::default()
            },
        ),
    ] {
        assert_eq!(index(&lines, &["a", "b"]).1, expected, "{lines}");
        assert_eq!(
            expected.is_clean(),
            lines == format!("{a}\n{{\"id\":\"b\"}}"),
            "{lines}"
        );
    }
}

#[test]
fn reads_lines_of_any_length_and_ending() {
    let long = "x".repeat(3 << 20);
    let lines = format!(
        "{{\"id\":\"a\",\"text\":\"{long}\"}}\r\n\n{{\"id\":\"b\",\"text\":\"}}{{\u{2028}\"}}"
    );
    // A small buffer, so that lines lie across its ends.
    let reader = BufReader::with_capacity(7, lines.as_bytes());
    let (index, counts) = ResultIndex::build(
        reader,
        ["a", "b"],
        custom_id_of,
        tempfile::tempfile().unwrap(),
    )
    .unwrap();
    assert!(counts.is_clean(), "{counts:?}");
    let attempts = vec![AttemptResults {
        attempt: 1,
        batch_id: "batch".into(),
        index,
    }];
    let rows = joined(attempts, &["a", "b", "a"]);
    assert_eq!(
        [text(&rows[0]), text(&rows[1]), text(&rows[2])],
        [Some(long.as_str()), Some("}{\u{2028}"), Some(long.as_str())]
    );
}

#[test]
fn takes_the_first_line_that_succeeded_where_there_are_several() {
    let expired = "{\"id\":\"a\",\"status\":\"expired\"}";
    let one = "{\"id\":\"a\",\"text\":\"1\"}";
    let two = "{\"id\":\"a\",\"text\":\"2\"}";
    for (lines, status, expected) in [
        ([one, two, expired], Status::Succeeded, Some("1")),
        ([expired, two, one], Status::Succeeded, Some("2")),
        (
            [expired, "{\"id\":\"a\",\"status\":\"canceled\"}", expired],
            Status::Expired,
            None,
        ),
        (
            ["{\"id\":\"a\",broken", one, expired],
            Status::Succeeded,
            Some("1"),
        ),
    ] {
        let rows = joined(vec![attempt(1, &lines.join("\n"), &["a"])], &["a"]);
        assert_eq!(
            (rows[0].status, text(&rows[0])),
            (status, expected),
            "{lines:?}"
        );
    }
}

#[test]
fn distinguishes_missing_unreadable_and_unsent_rows() {
    let lines = "{\"id\":\"b\",broken}\n{\"id\":\"d\"}\n";
    let mut joiner = Joiner::new(vec![attempt(1, lines, &["a", "b", "d"])], None, parse);
    let unsent = RequestRow {
        custom_id: Some("d"),
        request_hash: None,
        unsent: Some("not_rendered: row 4: undefined value"),
        tag: None,
    };
    for (request, status, kind, error) in [
        (
            sent("a"),
            Status::Missing,
            None,
            "the batch ended without a result line for it",
        ),
        (
            sent("b"),
            Status::Missing,
            None,
            "its result line cannot be read: key must be a string at line 1 column 11",
        ),
        (
            sent("c"),
            Status::Unsent,
            Some("not_sent"),
            "its batch was not sent",
        ),
        (
            unsent,
            Status::Unsent,
            Some("not_rendered"),
            "row 4: undefined value",
        ),
    ] {
        let row = joiner.row(request).unwrap();
        assert_eq!(
            (row.status, row.error_type(), row.error()),
            (status, kind, Some(error))
        );
        assert_eq!(row.attempt().is_some(), status == Status::Missing);
    }
    assert_eq!(
        [joiner.totals().rows, joiner.totals().count(Status::Unsent)],
        [4, 2]
    );
}

#[test]
fn takes_the_last_attempt_that_succeeded_else_the_last() {
    let line = |status: &str, text: &str| {
        format!("{{\"id\":\"a\",\"status\":\"{status}\",\"text\":\"{text}\"}}\n")
    };
    for (lines, chosen, status) in [
        (
            vec![line("truncated", "1"), line("succeeded", "2")],
            2,
            Status::Succeeded,
        ),
        (
            vec![line("succeeded", "1"), line("succeeded", "2")],
            2,
            Status::Succeeded,
        ),
        (
            vec![line("succeeded", "1"), line("expired", "2")],
            1,
            Status::Succeeded,
        ),
        (
            vec![line("truncated", "1"), line("expired", "2")],
            2,
            Status::Expired,
        ),
        (
            vec![line("truncated", "1"), String::new()],
            2,
            Status::Missing,
        ),
    ] {
        // Handed over last first: their numbers decide, not their order.
        let mut attempts: Vec<_> = (1..)
            .zip(&lines)
            .map(|(n, lines)| attempt(n, lines, &["a"]))
            .collect();
        attempts.reverse();
        let row = joined(attempts, &["a"]).remove(0);
        assert_eq!(
            (row.attempt().unwrap().attempt, row.status),
            (chosen, status),
            "{lines:?}"
        );
    }
}

#[test]
fn leaves_out_attempts_that_did_not_send_the_row() {
    let first = attempt(
        1,
        "{\"id\":\"a\",\"text\":\"1\"}\n{\"id\":\"b\",\"status\":\"expired\"}\n",
        &["a", "b"],
    );
    let second = attempt(
        2,
        "{\"id\":\"b\",\"text\":\"2\"}\n{\"id\":\"a\",\"text\":\"foreign\"}\n",
        &["b"],
    );
    let rows = joined(vec![first, second], &["a", "b"]);
    assert_eq!(
        rows.iter()
            .map(|row| row.attempts.len())
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!([text(&rows[0]), text(&rows[1])], [Some("1"), Some("2")]);
    assert_eq!(rows[1].attempt().unwrap().batch_id.as_ref(), "batch-2");
}

fn answers(schema: Value) -> Answers {
    Answers::compile(&AnswerPlan {
        schema: Some(schema),
        ..AnswerPlan::default()
    })
    .unwrap()
    .unwrap()
}

#[test]
fn checks_answers_against_the_schema() {
    let schema = answers(json!({ "type": "object", "properties": { "n": { "type": "integer" } } }));
    let lines = |texts: [&str; 3]| -> String {
        texts
            .iter()
            .zip(["a", "b", "c"])
            .map(|(text, id)| format!("{}\n", json!({ "id": id, "text": text })))
            .collect()
    };
    let ids = ["a", "b", "c"];
    let lines = [
        lines(["{\"n\":1}", "{\"n\":\"x\"}", "cut {"]),
        lines(["no", "{\"n\":2}", "still cut {"]),
    ];
    let attempts = (1..)
        .zip(&lines)
        .map(|(n, lines)| attempt(n, lines, &ids))
        .collect();
    let mut joiner = Joiner::new(attempts, Some(&schema), parse);
    let rows: Vec<_> = ids.iter().map(|id| joiner.row(sent(id)).unwrap()).collect();
    assert_eq!(
        statuses(&rows),
        [Status::Succeeded, Status::Succeeded, Status::Invalid]
    );
    assert_eq!(
        rows.iter()
            .map(|row| row.answer.clone())
            .collect::<Vec<_>>(),
        [Some(json!({"n": 1})), Some(json!({"n": 2})), None]
    );
    assert_eq!(
        rows[2].error(),
        Some("not JSON: expected value at line 1 column 1")
    );
    assert_eq!(text(&rows[2]), Some("still cut {"));
}

#[test]
fn calls_an_answer_without_text_invalid_only_where_there_is_a_schema() {
    let schema = answers(json!({}));
    let lines = "{\"id\":\"a\"}\n";
    let row = Joiner::new(vec![attempt(1, lines, &["a"])], Some(&schema), parse)
        .row(sent("a"))
        .unwrap();
    assert_eq!(
        (row.status, row.error()),
        (Status::Invalid, Some("the answer has no text"))
    );
    assert_eq!(
        joined(vec![attempt(1, lines, &["a"])], &["a"])[0].status,
        Status::Succeeded
    );
}

#[test]
fn adds_up_the_tokens_of_all_attempts_by_model() {
    let first = "{\"id\":\"a\",\"status\":\"truncated\",\"tokens\":100,\"model\":\"m\"}\n{\"id\":\"b\",\"tokens\":7,\"model\":\"n\"}\n";
    let attempts = vec![
        attempt(1, first, &["a", "b"]),
        attempt(2, "{\"id\":\"a\",\"tokens\":20,\"model\":\"m\"}\n", &["a"]),
    ];
    let mut joiner = Joiner::new(attempts, None, parse);
    let row = joiner.row(sent("a")).unwrap();
    assert_eq!(
        row.outcome().unwrap().usage.as_ref().unwrap().output_tokens,
        Some(20)
    );
    joiner.row(sent("b")).unwrap();
    let mut totals = joiner.totals().clone();
    let by_model: Vec<_> = totals
        .usages
        .iter()
        .map(|(key, u)| (key.model.as_deref().unwrap(), u.output_tokens))
        .collect();
    assert_eq!(by_model, [("m", Some(120)), ("n", Some(7))]);
    totals.merge(&joiner.totals().clone());
    assert_eq!(
        (
            totals.rows,
            totals.usages.len(),
            totals.usage().output_tokens,
            totals.usage().input_tokens
        ),
        (4, 2, Some(254), None)
    );
}

#[test]
fn a_line_that_is_too_long_is_its_rows_fault_alone() {
    let padding = "x".repeat(usize::try_from(MAX_LINE_BYTES).unwrap());
    let long = format!("{{\"id\":\"a\",\"text\":\"{padding}\"}}");
    let lines = format!(
        "{long}\n{{\"id\":\"b\",\"text\":\"2\"}}\n{{\"text\":\"{padding}\",\"id\":\"c\"}}\n"
    );
    let ids = ["a", "b", "c"];
    let (index, counts) = index(&lines, &ids);
    assert_eq!(
        counts,
        LineCounts {
            lines: 3,
            missing: 1,
            too_long: 2,
            ..LineCounts::default()
        }
    );
    assert!(!counts.is_clean());
    let rows = joined(
        vec![AttemptResults {
            attempt: 1,
            batch_id: "batch".into(),
            index,
        }],
        &ids,
    );
    assert_eq!(
        statuses(&rows),
        [Status::Missing, Status::Succeeded, Status::Missing]
    );
    let expected = format!(
        "its result line has {} bytes, and at most 67108864 are read; it is kept in the results as \
         received",
        long.len()
    );
    assert_eq!(rows[0].error(), Some(expected.as_str()));
    assert_eq!(
        rows[2].error(),
        Some("the batch ended without a result line for it")
    );
}

#[test]
fn counts_that_older_versions_wrote_are_still_read() {
    let old =
        r#"{"lines":3,"duplicates":0,"foreign":0,"missing":1,"torn":0,"blank":0,"unreadable":0}"#;
    let counts: LineCounts = serde_json::from_str(old).unwrap();
    assert_eq!((counts.lines, counts.too_long), (3, 0));
}

#[test]
fn a_row_costs_what_is_known_only_where_all_of_it_is_known() {
    let line = |text: &str, usage: &str| {
        format!("{{\"id\":\"a\",\"text\":\"{text}\",\"model\":\"claude-haiku-4-5\"{usage}}}\n")
    };
    let known = ",\"input\":1000,\"tokens\":100";
    for (attempts, cost, sum, unknown) in [
        (vec![line("1", known)], Some(750_000_000), "0.00075", 0),
        (
            vec![line("1", known), line("2", known)],
            Some(1_500_000_000),
            "0.0015",
            0,
        ),
        // Tokens of the answer alone are no price.
        (vec![line("1", ",\"tokens\":100")], None, "0", 1),
        (vec![line("1", "")], None, "0", 1),
        (vec![line("1", known), line("2", "")], None, "0.00075", 1),
        (vec![String::new(), line("2", known)], None, "0.00075", 1),
    ] {
        let attempts = (1..)
            .zip(&attempts)
            .map(|(n, lines)| attempt(n, lines, &["a"]))
            .collect();
        let mut joiner = Joiner::new(attempts, None, parse).priced_by(Catalog::builtin());
        let row = joiner.row(sent("a")).unwrap();
        assert_eq!(row.cost_pico_usd, cost);
        let bill = &joiner.totals().bill;
        assert_eq!(
            (bill.total().total().to_string().as_str(), bill.unknown()),
            (sum, unknown)
        );
    }
}

#[test]
fn counts_answers_that_say_nothing_by_the_attempt_that_counts() {
    let lines = "{\"id\":\"a\",\"text\":\" \"}\n{\"id\":\"b\",\"text\":\"2\"}\n{\"id\":\"c\"}\n\
                 {\"id\":\"d\",\"status\":\"refused\"}\n";
    let ids = ["a", "b", "c", "d"];
    let mut joiner = Joiner::new(vec![attempt(1, lines, &ids)], None, parse);
    ids.iter()
        .for_each(|id| drop(joiner.row(sent(id)).unwrap()));
    assert_eq!(
        (
            joiner.totals().empty,
            joiner.totals().count(Status::Succeeded)
        ),
        (2, 3)
    );
}

#[test]
fn fails_for_ids_that_stand_for_two_rows() {
    let error = ResultIndex::build(
        Cursor::new(""),
        ["a", "b", "a"],
        custom_id_of,
        tempfile::tempfile().unwrap(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "requests 1 and 3 of the batch have the same custom_id"
    );
}

#[test]
fn fails_for_a_line_that_turns_out_to_belong_to_another_row() {
    let mut joiner = Joiner::new(
        vec![attempt(1, "{\"id\":\"a\",\"id2\":1}\n", &["a"])],
        None,
        |line| parse(line).map(|(_, outcome)| (Cow::Borrowed("z"), outcome)),
    );
    assert!(matches!(
        joiner.row(sent("a")),
        Err(Error::WrongLine { .. })
    ));
}

#[test]
fn fails_when_the_results_break_off_while_they_are_read() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("corrupt frame"))
        }
    }
    let reader = BufReader::new(io::Read::chain("{\"id\":\"a\"}\n".as_bytes(), Broken));
    let error =
        ResultIndex::build(reader, ["a"], custom_id_of, tempfile::tempfile().unwrap()).unwrap_err();
    assert!(matches!(error, Error::Read { lines: 1, .. }), "{error}");
}

proptest! {
    #![proptest_config(Config { cases: 100, rng_seed: RngSeed::Fixed(11), failure_persistence: None, ..Config::default() })]

    /// Rows in = rows out against a plain model: any lines, in any order, repeated or left out.
    #[test]
    fn agrees_with_a_plain_model(rows in 0_usize..40, lines in prop::collection::vec((0_usize..50, any::<bool>(), "[a-z]{0,9}"), 0..80)) {
        let ids: Vec<String> = (0..rows).map(|i| format!("id-{i}")).collect();
        let file: String = lines
            .iter()
            .map(|(id, ok, text)| {
                let status = if *ok { Status::Succeeded } else { Status::Errored };
                format!("{{\"id\":\"id-{id}\",\"status\":\"{status}\",\"text\":\"{text}\"}}\n")
            })
            .collect();
        let (index, counts) = ResultIndex::build(Cursor::new(file), &ids, custom_id_of, tempfile::tempfile().unwrap()).unwrap();
        let of_row = |row: usize| lines.iter().filter(move |(id, ..)| *id == row);
        let seen: HashSet<_> = lines.iter().map(|(id, ..)| *id).filter(|id| *id < rows).collect();
        let foreign = lines.iter().filter(|(id, ..)| *id >= rows).count();
        let expected = LineCounts {
            lines: lines.len() as u64,
            foreign: foreign as u64,
            missing: (rows - seen.len()) as u64,
            duplicates: (lines.len() - foreign - seen.len()) as u64,
            ..LineCounts::default()
        };
        prop_assert_eq!(counts, expected);

        let mut joiner = Joiner::new(vec![AttemptResults { attempt: 1, batch_id: "b".into(), index }], None, parse);
        for (row, id) in ids.iter().enumerate() {
            let joined = joiner.row(sent(id)).unwrap();
            let line = of_row(row).find(|(_, ok, _)| *ok).or_else(|| of_row(row).next());
            prop_assert_eq!(text(&joined), line.map(|(.., text)| text.as_str()));
            prop_assert_eq!(joined.status == Status::Missing, line.is_none());
        }
        prop_assert_eq!(joiner.totals().rows, rows as u64);
    }
}
