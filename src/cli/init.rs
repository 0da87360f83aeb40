//! `rowmill init`: looks at a data file, writes a commented job file and a template that run as they are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rowmill::profile::{Profile, Profiler, Suggestion, suggest};
use rowmill::source::{Paths, Source, SourceSpec};

use super::args::Init;
use super::explain::{self, Failure};
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
    let spec = SourceSpec { path: Paths::One(args.data.display().to_string()), limit: Some(ROWS), ..SourceSpec::default() };
    let profile = look(&spec)?;
    let suggestion = suggest(&profile);
    let data = relative(&args.data, &job);
    write(&job, &job_text(&name, &data, &template, &args.model, &suggestion, &profile))?;
    write(&template, &template_text(&suggestion, &profile))?;
    if screen.json {
        screen.json(&serde_json::json!({ "job": job, "template": template, "key": suggestion.key, "text": suggestion.text, "rows": profile.rows }));
        return Ok(explain::DONE);
    }
    screen.say(profile_table(&profile));
    screen.data(format!("{}\n{}", job.display(), template.display()));
    screen.say(format!(
        "next: edit the template, then\n  rowmill preview {0} -n 3\n  rowmill check {0}\n  rowmill run {0} --simulate",
        job.display()
    ));
    Ok(explain::DONE)
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
    let folder = job.parent().filter(|p| !p.as_os_str().is_empty());
    let beside = folder.is_none() || data.parent() == folder;
    let path = match (beside, folder) {
        (true, Some(_)) => PathBuf::from(data.file_name().unwrap_or_default()),
        (true, None) => data.to_path_buf(),
        _ => std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf()),
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

fn job_text(name: &str, data: &str, template: &Path, model: &str, suggestion: &Suggestion, profile: &Profile) -> String {
    let key = match suggestion.key.as_slice() {
        [] => "# No column is unique, so the row's number is the key. Better: columns that name a row for good.\n# columns = [\"id\"]\n".to_owned(),
        columns => format!("columns = {}\n", quoted(columns)),
    };
    let template = template.file_name().unwrap_or_default().to_string_lossy();
    let columns: Vec<String> = profile.columns.iter().map(|column| column.name.clone()).collect();
    format!(
        "# Made by `rowmill init` from {data}. Paths are relative to this file. docs/job-file.md explains every key.\n\
         [job]\n\
         name = {}\n\n\
         [source]\n\
         path = {}\n\
         # columns: {}\n\
         # where = \"length({}) > 0\"            # SQL: which rows to send\n\n\
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
        columns.join(", "),
        suggestion.text.as_deref().unwrap_or("text"),
        toml_text(model),
        toml_text(&template),
        toml_text(&format!("{name}_out.parquet")),
    )
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
    let mut chars = column.chars();
    let plain =
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain && !RESERVED.contains(&column.to_ascii_lowercase().as_str()) {
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
            column.distinct.to_string(),
            column.examples.first().cloned().unwrap_or_default(),
        ]
    });
    format!("{} rows\n{}", count(profile.rows), table(&["column", "type", "empty", "distinct", "for example"], rows))
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
}
