//! What `check` and `preview` report about templates: comparisons, conditions, nulls and long rows.

use crate::support::Workdir;

/// A job over `rows.csv` with one message, and lines for its sections.
fn job(text: &str, source: &str, request: &str) -> String {
    format!(
        "[job]\nname = \"templates\"\n\n[source]\npath = \"rows.csv\"\n{source}\n\n[key]\ncolumns \
         = [\"id\"]\n\n[request]\nmodel = \"claude-haiku-4-5\"\nmax_tokens = 200\nmessages = \
         [{{ role = \"user\", text = '''{text}''' }}]\n{request}\n\n[output]\npath = \
         \"out.parquet\"\n"
    )
}

fn work(rows: &str, job: &str) -> Workdir {
    let work = Workdir::new();
    work.write("rows.csv", rows).write("job.toml", job);
    work
}

const SCORES: &str = "id,score,due,active\n1,9,2026-05-01,true\n2,,,false\n3,2,2024-05-01,0\n";

#[test]
fn a_row_without_a_score_is_not_high() {
    let text = "{% if score > 5 %}HIGH{% else %}low{% endif %} \
        {% if due < '2026-01-01' %}OLD{% else %}new{% endif %}";
    let work = work(
        SCORES,
        &job(
            text,
            "columns.score = \"int64\"\ncolumns.due = \"date\"",
            "",
        ),
    );
    let shown = work
        .rowmill(&["preview", "job.toml", "-n", "3"])
        .expect(0)
        .stdout;
    let said: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("  "))
        .map(str::trim)
        .collect();
    assert_eq!(said, ["HIGH new", "low new", "low OLD"], "{shown}");
}

#[test]
fn refuses_a_comparison_that_is_the_same_for_every_row_from_each_command() {
    let work = work(
        SCORES,
        &job(
            "{{ id }}\n{% if active|lower == true %}yes{% endif %}",
            "",
            "",
        ),
    );
    for command in [
        &["check"][..],
        &["preview"],
        &["plan"],
        &["run", "--simulate"],
    ] {
        let args: Vec<&str> = command[..1]
            .iter()
            .chain(&["job.toml"])
            .chain(&command[1..])
            .copied()
            .collect();
        let said = work.rowmill(&args).expect(2).stderr;
        assert!(
            said.contains("line 2: the column `active` is text and is compared with a boolean"),
            "{said}"
        );
        assert!(said.contains("columns.active = \"bool\""), "{said}");
    }
}

#[test]
fn warns_of_text_that_reads_as_booleans_where_it_is_a_condition() {
    let warned = |text: &str, source: &str, rows: &str| {
        let work = work(rows, &job(text, source, ""));
        work.rowmill(&["check", "job.toml"]).expect(0).stderr
    };
    for text in [
        "{% if active %}a{% else %}b{% endif %}",
        "{{ 'a' if not active else 'b' }}",
        "{{ 'a' if id and active else 'b' }}",
    ] {
        let said = warned(text, "", SCORES);
        assert!(
            said.contains("`active` is text and is used as a condition"),
            "{text}: {said}"
        );
        assert!(said.contains("columns.active = \"bool\""), "{text}: {said}");
    }
    let text = "{% if active %}a{% else %}b{% endif %}";
    assert_eq!(
        warned(
            text,
            "columns.active = \"bool\"",
            &SCORES.replace(",0\n", ",false\n")
        ),
        ""
    );
    assert_eq!(warned(text, "", &SCORES.replace(",0\n", ",maybe\n")), "");
    let work = work(SCORES, &job(text, "", ""));
    let plan = work
        .rowmill(&["plan", "job.toml", "--json"])
        .expect(0)
        .json();
    assert!(
        plan["warnings"][0]
            .as_str()
            .is_some_and(|warning| warning.contains("`active`")),
        "{plan}"
    );
    work.rowmill(&["run", "job.toml", "--simulate"])
        .says("`active` is text and is used as a condition");
}

#[test]
fn a_prompt_beyond_the_context_window_is_reported_and_set_aside_by_choice() {
    let rows = format!("id,t\n1,{}\n2,short\n", "lorem ipsum ".repeat(90_000));
    let sent = work(&rows, &job("{{ t }}", "", ""));
    let said = sent.rowmill(&["check", "job.toml"]).expect(0);
    assert!(
        said.stderr
            .contains("1 prompt is longer than the context window"),
        "{}",
        said.stderr
    );
    assert!(
        said.stderr.contains("row 1 (id = \"1\", about 3"),
        "{}",
        said.stderr
    );
    assert!(said.stdout.ends_with("OK, 1 warning\n"), "{}", said.stdout);
    let plan = sent
        .rowmill(&["plan", "job.toml", "--json"])
        .expect(0)
        .json();
    assert_eq!(plan["plan"]["requests"], 2);

    let aside = work(&rows, &job("{{ t }}", "", "on_too_large = \"unsent\""));
    let plan = aside
        .rowmill(&["plan", "job.toml", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (
            &plan["plan"]["requests"],
            &plan["plan"]["unsent"]["too_large"]
        ),
        (&1.into(), &1.into())
    );
    let said = aside.rowmill(&["check", "job.toml"]).expect(0).stdout;
    assert!(
        said.ends_with("OK, 1 row set aside and not sent, 1 warning\n"),
        "{said}"
    );
    aside.rowmill(&["run", "job.toml", "--simulate"]).expect(3);
}

#[test]
fn says_how_many_rows_are_set_aside_and_why_each() {
    let text = "{{ row.score|date('%Y') }}{% if id == '3' %}{{ 'a'|date('%Y') }}{% endif %}\n{% if id == '4' %}{{ 1 + active }}{% endif %}x";
    let rows =
        "id,score,active\n1,2026-01-01,a\n2,never,b\n3,2026-01-01,c\n4,2026-01-01,d\n5,no date,e\n";
    let strict = work(rows, &job(text, "", ""));
    let said = strict.rowmill(&["check", "job.toml"]).expect(2).stderr;
    assert!(
        said.contains("4 rows cannot be rendered: rows 2, 3, 4 and 5, for different reasons"),
        "{said}"
    );
    assert!(
        said.contains("3 rows, rows 2, 3 and 5: ") && said.contains("row 4: "),
        "{said}"
    );

    let skip = work(rows, &job(text, "", "on_row_error = \"skip\""));
    let said = skip.rowmill(&["check", "job.toml"]).expect(0).stdout;
    assert!(
        said.contains("3 rows, rows 2, 3 and 5: ") && said.contains("row 4: "),
        "{said}"
    );
    assert!(
        said.ends_with("OK, 4 rows set aside and not sent\n"),
        "{said}"
    );
}

#[test]
fn says_in_plain_terms_what_stands_where_something_else_is_expected() {
    for (messages, words) in [
        (
            "messages = { role = \"user\", text = \"a\" }",
            "`request.messages` must be a list, not a table",
        ),
        ("messages = [\"a\"]", "must be a table, not the text \"a\""),
        (
            "messages = [{ role = \"user\", text = [\"a\"] }]",
            "must be text in quotation marks, not a list",
        ),
        (
            "messages = [{ role = \"user\", text = \"a\" }]\nsystem = 5",
            "`request.system` must be a text, or a list of blocks, not 5",
        ),
    ] {
        let text =
            job("x", "", "").replace("messages = [{ role = \"user\", text = '''x''' }]", messages);
        let said = work(SCORES, &text)
            .rowmill(&["check", "job.toml"])
            .expect(2)
            .stderr;
        assert!(said.contains(words), "{words}: {said}");
    }
}
