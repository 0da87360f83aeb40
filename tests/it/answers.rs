//! Answers as typed columns, from the job to the output file, on the simulator.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int64Type};
use serde_json::Value;

use crate::support::{Sim, Table, Workdir};

/// A job over forty texts, with more lines for some of its sections.
fn job(request: &str, rest: &str) -> Workdir {
    let work = Workdir::new().with_rows(40);
    let job = format!(
        r#"[job]
name = "answers"

[source]
path = "rows.csv"

[key]
columns = ["id"]

[request]
max_tokens = 2000
{request}
{rest}"#
    );
    work.write("job.toml", job);
    work
}

fn data_type(table: &Table, column: &str) -> DataType {
    table
        .batch
        .column_by_name(column)
        .unwrap_or_else(|| panic!("no column {column}"))
        .data_type()
        .clone()
}

fn filled(table: &Table, column: &str) -> usize {
    table
        .batch
        .column_by_name(column)
        .map_or(0, |column| column.len() - column.logical_null_count())
}

fn struct_of(data_type: DataType) -> Vec<(String, DataType)> {
    let DataType::Struct(members) = data_type else {
        panic!("{data_type} is no struct")
    };
    members
        .iter()
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect()
}

fn words() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

const TEXT: &str =
    "model = \"claude-haiku-4-5\"\nmessages = [{ role = \"user\", text = \"Text: {{ body }}\" }]";

#[test]
fn picks_typed_columns_out_of_json() {
    let system = r#"system = """Sort the text. Answer as JSON in this form:
{"label": "<spam | ham>", "score": <number>, "seen": {"on": "<date>", "cost": <number>}}
""""#;
    let rest = r#"
[answer.columns]
label = "/label"
score = { pointer = "/score", type = "float64" }
seen_on = { pointer = "/seen/on", type = "date" }
cost = { pointer = "/seen/cost", type = "decimal(8,2)" }
note = { pointer = "/note", required = false }

[output]
path = "out.parquet"
"#;
    let work = job(&format!("{TEXT}\n{system}"), rest);
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    let table = work.parquet("out.parquet");
    assert!(
        table
            .column("label")
            .iter()
            .all(|label| label == "spam" || label == "ham")
    );
    let column = |name: &str| table.batch.column_by_name(name).unwrap();
    let scores = column("score").as_primitive::<Float64Type>();
    assert!(
        scores
            .iter()
            .all(|score| score.is_some_and(|score| (0.0..=1.0).contains(&score)))
    );
    assert_eq!(
        (data_type(&table, "seen_on"), data_type(&table, "cost")),
        (DataType::Date32, DataType::Decimal128(8, 2))
    );
    let costs = column("cost").as_primitive::<Decimal128Type>();
    for row in 0..table.rows() {
        let said: Value = serde_json::from_str(&table.column("_rm_text")[row]).unwrap();
        assert_eq!(
            column("seen_on")
                .as_primitive::<Date32Type>()
                .value_as_date(row)
                .unwrap()
                .to_string(),
            said["seen"]["on"]
        );
        assert!(
            (said["seen"]["cost"].as_f64().unwrap() * 100.0 - costs.value(row) as f64).abs() < 1e-6
        );
    }
    assert_eq!((filled(&table, "seen_on"), filled(&table, "note")), (40, 0));
}

#[test]
fn picks_typed_columns_out_of_plain_text() {
    let system = "system = \"\"\"Sort the text. Answer in this form:\nLabel: <spam | ham>\nScore: \
        <integer> of 100\n\"\"\"";
    let rest = r#"
[answer]
columns.label = { regex = '^Label: (\w+)$' }
columns.score = { regex = '(?m)^Score: (?<value>\d+)', type = "int64" }

[output]
path = "out.parquet"
"#;
    // Without `(?m)`, `^` and `$` match at the ends of the answer.
    let work = job(
        &format!("{TEXT}\n{system}"),
        &rest.replace("'^Label", "'(?m)^Label"),
    );
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    let table = work.parquet("out.parquet");
    assert_eq!(
        (filled(&table, "label"), data_type(&table, "score")),
        (40, DataType::Int64)
    );
    assert!(
        table
            .batch
            .column_by_name("score")
            .unwrap()
            .as_primitive::<Int64Type>()
            .iter()
            .all(|n| n.is_some_and(|n| n <= 100))
    );

    work.write(
        "job.toml",
        work.read("job.toml")
            .replace("'(?m)^Label", "'^Label")
            .replace("\"answers\"", "\"other\""),
    );
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(3);
    let table = work.parquet("out.parquet");
    assert!(
        table
            .column("_rm_status")
            .iter()
            .all(|status| status == "invalid")
    );
    assert!(table.column("_rm_error")[0].starts_with("`label`: nothing in the answer matches"));
    assert!(
        table.column("_rm_text")[0].starts_with("Label: "),
        "the text is kept"
    );
}

#[test]
fn parses_paid_answers_again() {
    let sim = Sim::start();
    let system = "system = \"\"\"Sort the text. Answer in this form:\nLabel: <spam | ham>\n\"\"\"";
    let rest = "\n[answer]\ncolumns.label = { regex = 'Etikett: (.*)' }\n\n[output]\npath = \
        \"out.parquet\"\n";
    let work = job(&format!("{TEXT}\n{system}"), rest);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(0);
    work.rowmill(&["export", "job.toml"])
        .expect(2)
        .says("is not finished: not all of its results are collected");
    sim.settle();
    work.rowmill_at(&sim.url(), &["collect", "job.toml"])
        .expect(3);
    assert!(
        work.parquet("out.parquet")
            .column("_rm_status")
            .iter()
            .all(|status| status == "invalid")
    );

    let written = work.read("job.toml");
    let corrected = written.replace("Etikett", "Label").replace(
        "out.parquet\"",
        "corrected.csv\"\nprefix = \"p_\"\ncolumns = [\"id\"]",
    );
    work.write(
        "corrected.toml",
        corrected.replace(
            "columns.label",
            "columns.note = { regex = 'Why', required = false }\ncolumns.label",
        ),
    );
    work.rowmill(&["export", "job.toml", "--job", "corrected.toml"])
        .expect(0);
    let table = work.read("corrected.csv");
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("id,note,label,p_status,"));
    assert!(
        lines.all(|line| line.contains(",,spam,succeeded,") || line.contains(",,ham,succeeded,")),
        "{table}"
    );

    // With a job file, its current settings apply; with a run, the settings of its plan.
    work.write("job.toml", written.replace("Etikett", "Label"));
    work.rowmill(&["export", "job.toml"]).expect(0);
    assert_eq!(filled(&work.parquet("out.parquet"), "label"), 40);
    let runs = std::fs::read_dir(work.path(".rowmill/answers")).unwrap();
    let run = runs
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .expect("a run");
    work.rowmill(&["export", run.to_str().unwrap()]).expect(3);
    assert_eq!(filled(&work.parquet("out.parquet"), "label"), 0);
    work.write("corrected.toml", corrected.replace("(.*)", "(.*"));
    work.rowmill(&["export", "job.toml", "--job", "corrected.toml"])
        .expect(2)
        .says("`answer.columns.label` is no regular expression");
    assert!(
        sim.accepted().values().all(|times| *times == 1),
        "nothing was sent again"
    );
}

const TOOLS: &str = r#"
[[request.tools]]
name = "record_fact"
description = "Records one fact of the text."
[request.tools.input_schema]
type = "object"
required = ["kind", "about"]
[request.tools.input_schema.properties]
kind = { enum = ["person", "place"] }
about = { type = "object", required = ["name"], properties = { name = { type = "string" }, year = { type = "integer" } } }

[[request.tools]]
name = "give_up"
input_schema = { type = "object", properties = { why = { type = "string" } } }
"#;

#[test]
fn makes_columns_of_tool_calls_by_the_schema_of_the_tool() {
    let rest = format!("{TOOLS}\n[output]\npath = \"out.parquet\"\nextra = [\"tool_calls\"]\n");
    let work = job(TEXT, &rest);
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    let table = work.parquet("out.parquet");
    let DataType::List(item) = data_type(&table, "record_fact") else {
        panic!("no list")
    };
    let about = DataType::Struct(
        vec![("name", DataType::Utf8), ("year", DataType::Int64)]
            .into_iter()
            .map(|(name, kind)| arrow::datatypes::Field::new(name, kind, true))
            .collect(),
    );
    assert_eq!(
        struct_of(item.data_type().clone()),
        [("kind".to_owned(), words()), ("about".to_owned(), about)]
    );
    let lists = ["record_fact", "give_up"].map(|name| {
        table
            .batch
            .column_by_name(name)
            .unwrap()
            .as_list::<i32>()
            .clone()
    });
    let mut several = 0;
    for (row, json) in table.column("_rm_tool_calls").iter().enumerate() {
        let calls: Vec<Value> = serde_json::from_str(json).unwrap();
        several += usize::from(calls.len() > 1);
        let in_columns: usize = lists
            .iter()
            .map(|list| {
                if list.is_valid(row) {
                    list.value(row).len()
                } else {
                    0
                }
            })
            .sum();
        assert_eq!(in_columns, calls.len(), "row {row}");
    }
    assert!(several > 0 && several < 40, "{several}");
}

#[test]
fn exports_a_run_whose_job_and_files_are_gone() {
    let sim = Sim::start();
    let tool = r#"{"name": "record", "input_schema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}}"#;
    let request = format!(
        "{TEXT}\ntools = [\"tool.json\"]\nparams = \
         {{ tool_choice = {{ type = \"auto\", disable_parallel_tool_use = true }} }}"
    );
    let rest = "\n[answer]\ntool_calls = \"columns\"\nrequire_tool_call = true\n\n[output]\npath = \
        \"out.parquet\"\nextra = [\"message\"]\n";
    let work = job(&request, rest);
    work.write("tool.json", tool);
    work.rowmill_at(&sim.url(), &["submit", "job.toml"])
        .expect(0);
    sim.settle();
    for file in ["job.toml", "tool.json", "rows.csv"] {
        std::fs::remove_file(work.path(file)).unwrap();
    }
    let runs = std::fs::read_dir(work.path(".rowmill/answers")).unwrap();
    let run = runs
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .expect("a run");
    work.rowmill_at(&sim.url(), &["collect", run.to_str().unwrap()])
        .expect(0);
    let table = work.parquet("out.parquet");
    assert_eq!(
        (data_type(&table, "n"), filled(&table, "n")),
        (DataType::Int64, 40)
    );
    let message: Value = serde_json::from_str(&table.column("_rm_message")[0]).unwrap();
    assert_eq!(
        message["content"][0]["input"]["n"].to_string(),
        table.column("n")[0]
    );
}

#[test]
fn sends_bounds_in_words_and_checks_the_answers_by_the_schema_as_written() {
    let schema = r#"{"type": "object", "required": ["grade", "kind"], "properties": {
        "grade": {"type": "integer", "minimum": 7, "maximum": 9, "description": "How good it is"},
        "kind": {"type": "string", "enum": ["Long", "Short"]}}}"#;
    let request = format!("{TEXT}\nschema = {{ file = \"form.json\", lower = true }}");
    let work = job(&request, "\n[output]\npath = \"out.parquet\"\n");
    work.write("form.json", schema);
    let checked = work.rowmill(&["check", "job.toml"]).expect(0);
    assert!(
        checked
            .stdout
            .contains("constraints are sent as text in the descriptions"),
        "{}",
        checked.stdout
    );
    let preview = work
        .rowmill(&["preview", "job.toml", "-n", "1", "--json"])
        .expect(0);
    let sent = &preview.json()[0]["params"]["output_config"]["format"]["schema"];
    assert_eq!(
        sent["properties"]["grade"]["description"],
        "How good it is\n\n{minimum: 7, maximum: 9}"
    );
    assert_eq!(sent["additionalProperties"], false);
    work.rowmill(&["run", "job.toml", "--simulate"]).expect(0);
    let table = work.parquet("out.parquet");
    let grades = table
        .batch
        .column_by_name("grade")
        .unwrap()
        .as_primitive::<Int64Type>()
        .clone();
    assert!(
        grades
            .iter()
            .all(|grade| grade.is_some_and(|grade| (7..=9).contains(&grade)))
    );
    assert_eq!(data_type(&table, "kind"), words());
}

#[test]
fn shows_thinking_citations_and_uses_of_tools_where_they_are_asked_for() {
    let request = r#"model = "claude-opus-4-6"
messages = [{ role = "user", text = "Text: {{ body }}" }]
params = { thinking = { type = "adaptive", display = "summarized" } }
tools = [{ server = "web_search", max_uses = 2 }, { server = "code_execution" }]"#;
    let extra = r#"extra = ["thinking", "web_search_requests", "web_fetch_requests", "code_execution_requests", "refusal_category"]"#;
    let work = job(
        request,
        &format!("\n[output]\npath = \"out.parquet\"\n{extra}\n"),
    );
    let sim = Sim::with("[[rows]]\noutcome = \"refused\"\nshare = 0.2\n");
    work.rowmill_at(&sim.url(), &["run", "job.toml"]).expect(3);
    let table = work.parquet("out.parquet");
    let refused = table
        .column("_rm_status")
        .iter()
        .filter(|status| *status == "refused")
        .count();
    assert!(refused > 0, "the simulator refuses some");
    assert_eq!(filled(&table, "_rm_refusal_category"), refused);
    assert_eq!(filled(&table, "_rm_thinking"), 40 - refused);
    let searches = table
        .batch
        .column_by_name("_rm_web_search_requests")
        .unwrap()
        .as_primitive::<Int64Type>();
    assert!(
        searches.iter().flatten().all(|n| n == 1 || n == 2)
            && filled(&table, "_rm_web_search_requests") == 40 - refused
    );
    let thought = table
        .batch
        .column_by_name("_rm_thinking_tokens")
        .unwrap()
        .as_primitive::<Int64Type>();
    assert!(thought.iter().flatten().any(|tokens| tokens > 0));
}

fn documentation() -> String {
    page("structured-output.md")
}

/// A page of the documentation.
pub(crate) fn page(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    std::fs::read_to_string(path).expect("the page")
}

/// The blocks of a page in one language.
pub(crate) fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    page.split(fence.as_str())
        .skip(1)
        .map(|block| block.split("```").next().expect("an end"))
        .collect()
}

#[test]
fn the_job_of_the_documentation_runs() {
    let page = documentation();
    let work = crate::readme::with_samples();
    work.write("moods.toml", blocks(&page, "toml")[0])
        .write("mood.schema.json", blocks(&page, "json")[0]);
    let mut ran = 0;
    for command in blocks(&page, "sh")[0].lines() {
        let args: Vec<&str> = command
            .strip_prefix("rowmill ")
            .expect("a command")
            .split(' ')
            .collect();
        work.rowmill(&args).expect(0);
        ran += 1;
    }
    assert_eq!(ran, 3);
    let table = work.parquet("moods.parquet");
    let types = ["mood", "strength", "first_word"].map(|name| data_type(&table, name));
    assert_eq!(types, [words(), DataType::Int64, DataType::Utf8]);
    assert!(
        matches!(data_type(&table, "words"), DataType::List(_))
            && struct_of(data_type(&table, "about")).len() == 2
    );
    assert!(
        table
            .column("strength")
            .iter()
            .all(|n| ("1".."6").contains(&n.as_str())),
        "{:?}",
        table.column("strength")
    );
}

#[test]
fn every_setting_of_the_documentation_is_one() {
    let page = documentation();
    let jobs = blocks(&page, "toml");
    let whole = jobs[0];
    for part in &jobs[1..] {
        let mut job: toml::Table = toml::from_str(whole).unwrap();
        for (section, keys) in
            toml::from_str::<toml::Table>(part).unwrap_or_else(|e| panic!("{e} in\n{part}"))
        {
            let merged = job
                .entry(section)
                .or_insert_with(|| toml::Table::new().into())
                .as_table_mut()
                .unwrap();
            merged.extend(keys.as_table().unwrap().clone());
        }
        let text = toml::to_string(&job).unwrap();
        rowmill::job::JobFile::parse(std::path::Path::new("a.toml"), text)
            .unwrap_or_else(|e| panic!("{e} in\n{part}"));
    }
    assert_eq!(jobs.len(), 5);
}

#[test]
fn the_documentation_lists_the_columns_there_are() {
    let page = documentation();
    let (before, rest) = page.split_once("a test compares -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /columns -->").unwrap();
    let table = rowmill::output::extra_documentation();
    let found = format!("{before}a test compares -->\n\n{table}\n<!-- /columns -->{after}");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/structured-output.md");
    assert_eq!(crate::golden_requests::difference(&path, &found), None);
}
