//! `rowmill init`: looks at a data file, writes a commented job file and a template that run as they are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rowmill::profile::{Distinct, Profile, Profiler, Suggestion, suggest};
use rowmill::source::{Paths, Source, SourceSpec};

use super::args::Init;
use super::explain::{self, Failure};
use super::layout::Column;
use super::screen::{Screen, count, table};

/// So many rows are looked at: enough to tell a key from a category, few enough to be quick on any table.
const ROWS: u64 = 200_000;

pub(crate) fn run(args: &Init, screen: &Screen) -> Result<u8, Failure> {
    let name = job_name(&args.data);
    let job = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
    let template = job.with_extension("j2");
    for file in [&job, &template] {
        if file.exists() && !args.force {
            return Err(Failure::words(
                explain::CHANGE,
                format!("`{}` is there already", file.display()),
                "choose another name with --out, or replace it with --force",
            ));
        }
    }
    let mut spec = SourceSpec { path: Paths::One(args.data.display().to_string()), limit: Some(ROWS), ..SourceSpec::default() };
    spec.delimiter = delimiter(&spec)?;
    let profile = look(&spec)?;
    let suggestion = suggest(&profile);
    let data = relative(&args.data, &job);
    write(&job, &job_text(&name, &data, spec.delimiter, &template, &args.model, &suggestion, &profile))?;
    write(&template, &template_text(&suggestion, &profile))?;
    if screen.json {
        screen.json(&serde_json::json!({ "job": job, "template": template, "key": suggestion.key, "text": suggestion.text, "rows": profile.rows }));
        return Ok(explain::DONE);
    }
    screen.lines(profile_table(&profile));
    screen.data(format!("{}\n{}", job.display(), template.display()));
    screen.say(format!(
        "next: edit the template, then\n  rowmill preview {0} -n 3\n  rowmill check {0}\n  rowmill run {0} --simulate",
        job.display()
    ));
    Ok(explain::DONE)
}

/// What stands between the cells, where it is no comma: a header that reads as one column is taken apart at what is in it.
fn delimiter(spec: &SourceSpec) -> Result<Option<char>, Failure> {
    let source = Source::open(spec, Path::new("."))?;
    let [only] = source.schema().fields().as_ref() else { return Ok(None) };
    let parts = |mark: &char| {
        // Only text files take the setting; for all others it is an error.
        let spec = SourceSpec { delimiter: Some(*mark), ..spec.clone() };
        only.name().contains(*mark) && Source::open(&spec, Path::new(".")).is_ok()
    };
    Ok([';', '\t', '|'].into_iter().find(parts))
}

fn look(spec: &SourceSpec) -> Result<Profile, Failure> {
    let source = Source::open(spec, Path::new("."))?;
    let mut profiler = Profiler::new(source.schema());
    for rows in source.scan(None)? {
        profiler.add(&rows?.batch);
    }
    Ok(profiler.finish())
}

/// The data file's name without its endings, as a job may be called.
fn job_name(data: &Path) -> String {
    let name = data.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default();
    let plain: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect();
    if plain.trim_matches('_').is_empty() { "job".to_owned() } else { plain }
}

/// The data file as seen from the job file's folder.
fn relative(data: &Path, job: &Path) -> String {
    let path = match job.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        None => data.to_path_buf(),
        Some(folder) => match data.strip_prefix(folder) {
            Ok(below) => below.to_path_buf(),
            Err(_) => std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf()),
        },
    };
    path.display().to_string()
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = rowmill::durable::Pending::create_public(path).and_then(|mut file| {
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.commit()
    });
    written.map_err(|e| Failure::words(explain::CHANGE, format!("cannot write `{}`: {e}", path.display()), ""))
}

fn job_text(
    name: &str,
    data: &str,
    delimiter: Option<char>,
    template: &Path,
    model: &str,
    suggestion: &Suggestion,
    profile: &Profile,
) -> String {
    let key = match suggestion.key.as_slice() {
        [] => "# No column is unique, so the row's number is the key. Better: columns that name a row for good.\n# columns = [\"id\"]\n".to_owned(),
        columns => format!("columns = {}\n", quoted(columns)),
    };
    let template = template.file_name().unwrap_or_default().to_string_lossy();
    let columns = comment("columns: ", profile.columns.iter().map(|column| column.name.as_str()));
    let filter = toml_text(&filter(suggestion, profile));
    let delimiter = delimiter.map_or_else(String::new, |mark| format!("delimiter = {}\n", toml_text(&mark.to_string())));
    format!(
        "# Made by `rowmill init` from {data}. Paths are relative to this file. docs/job-file.md explains every key.\n\
         [job]\n\
         name = {}\n\n\
         [source]\n\
         path = {}\n\
         {delimiter}{columns}\
         # where = {filter}       # SQL: which rows to send\n\n\
         [key]\n\
         # What names a row: unique and never empty. Answers are joined by it.\n\
         {key}\n\
         [request]\n\
         model = {}\n\
         max_tokens = 300\n\
         # Shared by all rows, byte for byte. Mark a long one with cache = \"1h\".\n\
         system = \"You label rows of a table. Answer with the label alone, without any other word.\"\n\
         messages = [ {{ role = \"user\", template = {} }} ]\n\
         # schema = \"answer.schema.json\"       # structured output; becomes typed columns\n\n\
         [output]\n\
         path = {}\n",
        toml_text(name),
        toml_text(data),
        toml_text(model),
        toml_text(&template),
        toml_text(&format!("{name}_out.parquet")),
    )
}

/// Names in a comment, over as many lines as they need.
fn comment<'a>(label: &str, names: impl Iterator<Item = &'a str>) -> String {
    const WIDTH: usize = 110;
    let mut text = String::new();
    let mut line = format!("# {label}");
    for (i, name) in names.enumerate() {
        let name = name.replace(char::is_control, " ");
        if i > 0 {
            line.push(',');
            if line.chars().count() + name.chars().count() + 1 > WIDTH {
                let _ = writeln!(text, "{line}");
                line = "#  ".to_owned();
            }
            if !line.ends_with(' ') {
                line.push(' ');
            }
        }
        line.push_str(&name);
    }
    let _ = writeln!(text, "{line}");
    text
}

/// A condition to begin with: the column, as SQL names it, has something in it.
fn filter(suggestion: &Suggestion, profile: &Profile) -> String {
    let first = || profile.columns.first().map_or("id", |column| column.name.as_str());
    let name = suggestion.text.as_deref().unwrap_or_else(first);
    let name = if is_plain(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) };
    if suggestion.text.is_some() { format!("length({name}) > 0") } else { format!("{name} IS NOT NULL") }
}

/// Whether a name can stand by itself in an expression.
fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn template_text(suggestion: &Suggestion, profile: &Profile) -> String {
    let mut text = String::from(
        "{#- One prompt for each row. Columns are variables: {{ name }}, or {{ row[\"any name\"] }}. A cell's text is never expanded. -#}\n\
         Which of these labels fits the row best?\n\n\
         - positive\n- negative\n- neutral\n- unclear\n\n",
    );
    let shown: Vec<&str> = match &suggestion.text {
        Some(column) => vec![column],
        None => profile
            .columns
            .iter()
            .map(|c| c.name.as_str())
            .filter(|c| !suggestion.key.iter().any(|key| key == c))
            .take(5)
            .collect(),
    };
    for column in shown {
        let _ = writeln!(text, "{}: {{{{ {} }}}}", column.replace(['{', '}'], ""), variable(column));
    }
    text
}

/// How a template names a column.
fn variable(column: &str) -> String {
    const RESERVED: [&str; 12] = ["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "row", "loop"];
    if is_plain(column) && !RESERVED.contains(&column.to_ascii_lowercase().as_str()) {
        column.to_owned()
    } else {
        format!("row[{}]", serde_json::Value::from(column))
    }
}

fn toml_text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn quoted(columns: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| toml_text(column)).collect();
    format!("[{}]", columns.join(", "))
}

fn profile_table(profile: &Profile) -> String {
    let rows = profile.columns.iter().map(|column| {
        vec![
            column.name.clone(),
            column.data_type.clone(),
            count(column.nulls),
            match column.distinct {
                Distinct::Exact(n) => count(n),
                Distinct::AtLeast(n) => format!("{} or more", count(n)),
                Distinct::Unknown => String::new(),
            },
            column.examples.first().cloned().unwrap_or_default(),
        ]
    });
    let columns = [
        Column::Text("column"),
        Column::Text("type"),
        Column::Number("empty"),
        Column::Number("distinct"),
        Column::Text("for example"),
    ];
    // Where the look ended at its limit, the table may go on.
    let rows_seen = if profile.rows == ROWS { format!("the first {}", count(ROWS)) } else { count(profile.rows) };
    format!("{rows_seen} rows\n{}", table(&columns, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_jobs_and_variables() {
        assert_eq!(job_name(Path::new("a/My data.csv.gz")), "My_data");
        assert_eq!(job_name(Path::new("日本.csv")), "job");
        assert_eq!(variable("body"), "body");
        assert_eq!(variable("Customer name"), "row[\"Customer name\"]");
        assert_eq!(variable("in"), "row[\"in\"]");
    }

    #[test]
    fn names_the_data_as_the_job_sees_it() {
        for (data, job, seen) in [
            ("rows.csv", "rows.toml", "rows.csv"),
            ("data/rows.csv", "rows.toml", "data/rows.csv"),
            ("jobs/data/rows.csv", "jobs/rows.toml", "data/rows.csv"),
            ("/data/rows.csv", "jobs/rows.toml", "/data/rows.csv"),
        ] {
            assert_eq!(relative(Path::new(data), Path::new(job)), seen);
        }
    }

    #[test]
    fn breaks_long_comments_and_leaves_no_line_break_in_a_name() {
        assert_eq!(comment("columns: ", ["a", "b\nc"].into_iter()), "# columns: a, b c\n");
        let names = ["a rather long name of a column"; 9];
        let text = comment("columns: ", names.into_iter());
        assert!(text.lines().all(|line| line.starts_with("# ") && line.chars().count() <= 112), "{text}");
        assert_eq!(text.matches("long").count(), 9);
    }
}
