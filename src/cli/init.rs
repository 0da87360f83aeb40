//! `rowmill init`: reads the first rows of a data file, and writes a job file with comments and a
//! template that run without changes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Schema, SchemaRef};
use rowmill::output::{self, KeptColumns, OutputSchema, OutputSpec};
use rowmill::profile::{Distinct, Profile, Profiler, Suggestion, Uniqueness, suggest};
use rowmill::request::keys::{KeySpec, Keys};
use rowmill::source::{self, Paths, Source, SourceSpec, SourceWarning};

use super::args::Init;
use super::explain::{self, Failure};
use super::format::count;
use super::layout::Column;
use super::screen::{Screen, table};
use super::words;

/// The number of rows that are read: enough to tell a key from a category, few enough to be quick
/// on any table.
const ROWS: u64 = 200_000;

/// Texts that often stand for a missing value.
const NULLS: [&str; 10] = [
    "NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan", "\\N", "#N/A",
];

pub(crate) fn run(args: &Init, screen: &Screen) -> Result<u8, Failure> {
    let name = job_name(&args.data);
    let job = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
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
    let spec = SourceSpec {
        path: Paths::One(args.data.display().to_string()),
        limit: Some(ROWS),
        ..SourceSpec::default()
    };
    let inspection = Inspection::new(spec)?;
    let mut output = output_spec(&inspection.schema, &format!("{name}_out.parquet"));
    if !inspection.unreadable.is_empty() && output.columns == KeptColumns::All {
        output.columns = KeptColumns::Named(
            inspection
                .schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
        );
    }
    let suggestion = inspection.suggestion();
    let draft = Draft {
        name: &name,
        data: relative(&args.data, &job),
        template: &template,
        model: &args.model,
        output,
        suggestion: &suggestion,
        inspection: &inspection,
    };
    write(&job, &draft.job_text())?;
    write(&template, &template_text(&suggestion, &inspection))?;
    inspection
        .warnings()
        .iter()
        .for_each(|warning| screen.warn(warning));
    if screen.json {
        screen.json(&serde_json::json!({
            "job": job, "template": template, "key": suggestion.key, "text": suggestion.text, "rows": inspection.profile.rows,
            "warnings": inspection.warnings(),
        }));
        return Ok(explain::DONE);
    }
    screen.lines(profile_table(&inspection.profile));
    screen.data(format!("{}\n{}", job.display(), template.display()));
    screen.say(format!(
        "next: edit the template, then\n  rowmill preview {0} -n 3\n  rowmill check {0}\n  rowmill \
         run {0} --simulate",
        job.display()
    ));
    Ok(explain::DONE)
}

/// The first rows of the data file, and the settings with which they can be read.
struct Inspection {
    spec: SourceSpec,
    /// The columns that can be read.
    schema: SchemaRef,
    /// The errors of the other columns, which the job leaves out.
    unreadable: Vec<source::Error>,
    profile: Profile,
    source_warnings: Vec<SourceWarning>,
    /// Texts that may stand for a missing value, in the order of [`NULLS`].
    nulls: Vec<&'static str>,
    /// The error with the usual quotation mark, where the file is read with another setting.
    quoting_error: Option<source::Error>,
}

impl Inspection {
    /// Reads the first rows, with other settings where the usual ones fail.
    fn new(mut spec: SourceSpec) -> Result<Inspection, Failure> {
        let here = Path::new(".");
        let mut opened = Source::open(&spec, here);
        if let Some(delimiter) = opened
            .as_ref()
            .ok()
            .and_then(|source| delimiter(&spec, source))
        {
            spec.delimiter = Some(delimiter);
            opened = Source::open(&spec, here);
        }
        if matches!(
            opened,
            Err(source::Error::ColumnUnnamed { .. } | source::Error::ColumnTwice { .. })
        ) {
            spec.names = repaired_names(&spec).unwrap_or_default();
        }
        let error = match Inspection::with(&spec) {
            Ok(inspection) => return Ok(inspection),
            Err(error) => error,
        };
        let tries = match &error {
            source::Error::AfterQuote { escape: true, .. }
            | source::Error::Quote { escape: true, .. } => {
                vec![
                    SourceSpec {
                        escape: Some('\\'),
                        ..spec.clone()
                    },
                    without_quotes(&spec),
                ]
            }
            source::Error::AfterQuote { .. } | source::Error::Quote { .. } => {
                vec![without_quotes(&spec)]
            }
            _ => Vec::new(),
        };
        // Settings count only if every row can be read with them.
        match tries.iter().find_map(|other| Inspection::with(other).ok()) {
            Some(inspection) => Ok(Inspection {
                quoting_error: Some(error),
                ..inspection
            }),
            None => Err(error.into()),
        }
    }

    fn with(spec: &SourceSpec) -> Result<Inspection, source::Error> {
        let source = Source::open(spec, Path::new("."))?;
        let (schema, unreadable) = readable(&source)?;
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let mut profiler = Profiler::new(&schema);
        let is_csv = Source::open(
            &SourceSpec {
                null: source::NullTexts::One("NA".to_owned()),
                ..spec.clone()
            },
            Path::new("."),
        )
        .is_ok();
        let mut is_there = [false; NULLS.len()];
        for rows in source.scan(Some(&names))? {
            let batch = rows?.batch;
            profiler.add(&batch);
            if is_csv {
                batch
                    .columns()
                    .iter()
                    .for_each(|column| find_nulls(column, &mut is_there));
            }
        }
        Ok(Inspection {
            spec: spec.clone(),
            schema,
            unreadable,
            profile: profiler.finish(),
            source_warnings: source.warnings().to_vec(),
            nulls: NULLS
                .into_iter()
                .zip(is_there)
                .filter(|(_, there)| *there)
                .map(|(text, _)| text)
                .collect(),
            quoting_error: None,
        })
    }

    /// The suggested columns, among those whose types can be used.
    fn suggestion(&self) -> Suggestion {
        let can_be_key = |name: &str| {
            let spec = KeySpec {
                columns: vec![name.to_owned()],
                ..KeySpec::default()
            };
            Keys::new(&spec, &self.schema).is_ok()
        };
        let mut profile = self.profile.clone();
        for column in &mut profile.columns {
            if !can_be_key(&column.name) {
                column.unique = Uniqueness::Unknown;
            }
        }
        let columns = &profile.columns;
        profile.unique_pairs.retain(|(one, other)| {
            can_be_key(&columns[*one].name) && can_be_key(&columns[*other].name)
        });
        suggest(&profile)
    }

    /// Whether a prompt can show a column as it is.
    fn can_be_shown(&self, column: &str) -> bool {
        self.schema
            .field_with_name(column)
            .is_ok_and(|field| rowmill::template::can_be_shown(field.data_type()))
    }

    fn warnings(&self) -> Vec<String> {
        let quoting = self
            .quoting_error
            .as_ref()
            .map(|error| words::source::unusual_quoting(error, self.spec.escape));
        let names = (!self.spec.names.is_empty()).then(words::source::renamed_columns);
        let unreadable = self.unreadable.iter().map(words::source::unreadable_column);
        self.source_warnings
            .iter()
            .map(words::source::warning)
            .chain(quoting)
            .chain(names)
            .chain(unreadable)
            .collect()
    }
}

/// The columns of a source that can be read, and why the others cannot. One column that nobody
/// needs stops no job.
fn readable(source: &Source) -> Result<(SchemaRef, Vec<source::Error>), source::Error> {
    let mut kept: Vec<usize> = (0..source.schema().fields().len()).collect();
    let mut unreadable = Vec::new();
    loop {
        let names: Vec<String> = kept
            .iter()
            .map(|&n| source.schema().field(n).name().clone())
            .collect();
        match source.scan(Some(&names)).map(drop) {
            Err(source::Error::Unreadable {
                path,
                column,
                reason,
            }) if kept.len() > 1 && names.contains(&column) => {
                kept.retain(|&n| *source.schema().field(n).name() != column);
                unreadable.push(source::Error::Unreadable {
                    path,
                    column,
                    reason,
                });
            }
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    let fields: Vec<_> = kept
        .iter()
        .map(|&n| source.schema().fields()[n].clone())
        .collect();
    Ok((
        Arc::new(Schema::new_with_metadata(
            fields,
            source.schema().metadata().clone(),
        )),
        unreadable,
    ))
}

fn without_quotes(spec: &SourceSpec) -> SourceSpec {
    SourceSpec {
        quote: Some(String::new()),
        ..spec.clone()
    }
}

/// The delimiter of a CSV file that does not use commas: the character that splits a header which
/// would otherwise read as one column.
fn delimiter(spec: &SourceSpec, source: &Source) -> Option<char> {
    let [only] = source.schema().fields().as_ref() else {
        return None;
    };
    let parts = |mark: &char| {
        if !only.name().contains(*mark) {
            return false;
        }
        // Only text files take the setting; for all others it is an error.
        let spec = SourceSpec {
            delimiter: Some(*mark),
            ..spec.clone()
        };
        let opened = Source::open(&spec, Path::new("."));
        opened.is_ok()
            || matches!(
                opened,
                Err(source::Error::ColumnUnnamed { .. } | source::Error::ColumnTwice { .. })
            )
    };
    [';', '\t', '|'].into_iter().find(parts)
}

/// Names for the columns of a CSV file of which some have none, or the same: those that can stay
/// do.
fn repaired_names(spec: &SourceSpec) -> Option<Vec<String>> {
    // The header read as a row, which only CSV can have.
    let spec = SourceSpec {
        header: Some(false),
        limit: Some(1),
        ..spec.clone()
    };
    let row = Source::open(&spec, Path::new("."))
        .ok()?
        .scan(None)
        .ok()?
        .next()?
        .ok()?
        .batch;
    let mut names: Vec<String> = Vec::with_capacity(row.num_columns());
    for (i, cell) in row.columns().iter().enumerate() {
        let written = cell
            .as_string_opt::<i32>()
            .filter(|cell| cell.is_valid(0))
            .map_or("", |cell| cell.value(0));
        let name = if written.is_empty() {
            format!("column_{}", i + 1)
        } else {
            written.to_owned()
        };
        let numbered = (2..).map(|n| format!("{name}_{n}"));
        let free = std::iter::once(name.clone())
            .chain(numbered)
            .find(|name| !names.contains(name))?;
        names.push(free);
    }
    Some(names)
}

fn find_nulls(column: &arrow::array::ArrayRef, is_there: &mut [bool; NULLS.len()]) {
    let Some(texts) = column.as_string_opt::<i32>() else {
        return;
    };
    // The longest of them has four bytes.
    for text in texts.iter().flatten().filter(|text| text.len() <= 4) {
        if let Some(at) = NULLS.iter().position(|null| *null == text) {
            is_there[at] = true;
        }
    }
}

/// The output of the job: a prefix that does not clash with a column, and only columns that the
/// format supports.
fn output_spec(schema: &Schema, path: &str) -> OutputSpec {
    let mut spec = OutputSpec::new(path);
    let mut left_out: Vec<String> = Vec::new();
    for n in 2.. {
        match OutputSchema::new(schema, &[], &spec).and_then(|output| output.check_case()) {
            Err(output::Error::Clash { .. } | output::Error::CaseClash { .. }) if n < 10 => {
                spec.prefix = format!("_rm{n}_")
            }
            Err(output::Error::Unsupported { column, .. }) if !left_out.contains(&column) => {
                left_out.push(column);
                let names = schema.fields().iter().map(|field| field.name().clone());
                spec.columns =
                    KeptColumns::Named(names.filter(|name| !left_out.contains(name)).collect());
            }
            // `check` reports other errors.
            _ => break,
        }
    }
    spec
}

/// The data file's name without its endings, as a job may be called.
fn job_name(data: &Path) -> String {
    let name = data.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default();
    let plain: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect();
    // A job's name has at most 100 characters.
    let plain: String = plain.chars().take(100).collect();
    if plain.trim_matches('_').is_empty() {
        "job".to_owned()
    } else {
        plain
    }
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
    written.map_err(|e| {
        Failure::words(
            explain::CHANGE,
            format!("cannot write `{}`: {e}", path.display()),
            "",
        )
    })
}

/// The contents of the job file.
struct Draft<'a> {
    name: &'a str,
    /// The data file as the job names it.
    data: String,
    template: &'a Path,
    model: &'a str,
    output: OutputSpec,
    suggestion: &'a Suggestion,
    inspection: &'a Inspection,
}

impl Draft<'_> {
    fn job_text(&self) -> String {
        let template = self
            .template
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let data = self.data.replace(char::is_control, " ");
        format!(
            "# Written by `rowmill init` from {data}. Paths are relative to this file. \
             docs/job-file.md explains every key.\n[job]\nname = {}\n\n[source]\npath = \
             {}\n{}\n[key]\n{}\n[request]\nmodel = {}\nmax_tokens = 300\n# The same for all rows. \
             To cache a long prompt, use {{ text = \"…\", cache = \"1h\" }}.\nsystem = \"You label \
             rows of a table. Answer with the label only.\"\nmessages = [ \
             {{ role = \"user\", template = {} }} ]\n# schema = \"answer.schema.json\"       # \
             structured output; becomes typed columns\n\n[output]\n{}",
            toml_text(self.name),
            toml_text(&self.data),
            self.source_lines(),
            self.key_lines(),
            toml_text(self.model),
            toml_text(&template),
            self.output_lines(),
        )
    }

    /// The settings of the file, its columns, and suggestions.
    fn source_lines(&self) -> String {
        let (spec, profile) = (&self.inspection.spec, &self.inspection.profile);
        let mark = |key: &str, mark: Option<char>| {
            mark.map(|mark| format!("{key} = {}\n", toml_text(&mark.to_string())))
        };
        let mut text: String = [
            mark("delimiter", spec.delimiter),
            spec.quote
                .as_deref()
                .map(|quote| format!("quote = {}\n", toml_text(quote))),
            mark("escape", spec.escape),
            (!spec.names.is_empty()).then(|| format!("names = {}\n", quoted(&spec.names))),
        ]
        .into_iter()
        .flatten()
        .collect();
        text += &comment(
            "columns: ",
            profile.columns.iter().map(|column| column.name.as_str()),
        );
        if !self.inspection.nulls.is_empty() {
            let nulls: Vec<String> = self
                .inspection
                .nulls
                .iter()
                .map(|text| (*text).to_owned())
                .collect();
            let _ = writeln!(
                text,
                "# null = {}       # texts in the file that may mean a missing value",
                quoted(&nulls)
            );
        }
        let filter = toml_text(&filter(self.suggestion, profile));
        if !filter.contains(char::is_control) {
            let _ = writeln!(
                text,
                "# where = {filter}       # SQL predicate: which rows to send"
            );
        }
        text
    }

    fn key_lines(&self) -> String {
        match self.suggestion.key.as_slice() {
            [] => "# No column is unique, so the key is the row number, which changes with the \
                   file. A column that identifies a row is better.\n# columns = [\"id\"]\n"
                .to_owned(),
            columns => {
                let so_far = match self.inspection.profile.rows {
                    ROWS => format!(" Checked in the first {} rows.", count(ROWS)),
                    _ => String::new(),
                };
                format!(
                    "# Identifies a row: unique and never empty. Answers are joined by \
                     it.{so_far}\ncolumns = {}\n",
                    quoted(columns)
                )
            }
        }
    }

    fn output_lines(&self) -> String {
        let mut text = format!(
            "path = {}\n",
            toml_text(&self.output.path.to_string_lossy())
        );
        if self.output.prefix != OutputSpec::new("").prefix {
            let _ = writeln!(text, "prefix = {}", toml_text(&self.output.prefix));
        }
        if let KeptColumns::Named(columns) = &self.output.columns {
            let _ = writeln!(text, "columns = {}", quoted(columns));
        }
        text
    }
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

/// A predicate to start with: the column is not empty.
fn filter(suggestion: &Suggestion, profile: &Profile) -> String {
    let first = || {
        profile
            .columns
            .first()
            .map_or("id", |column| column.name.as_str())
    };
    let name = suggestion.text.as_deref().unwrap_or_else(first);
    let name = if is_plain(name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    };
    if suggestion.text.is_some() {
        format!("length({name}) > 0")
    } else {
        format!("{name} IS NOT NULL")
    }
}

/// Whether a name can be used in an expression without quotes.
fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn template_text(suggestion: &Suggestion, inspection: &Inspection) -> String {
    let mut text = String::from(
        "{#- The prompt of one row. Columns are variables: {{ name }} or {{ row[\"any name\"] }}. The text of a cell is never expanded. -#}\n\
         Which of these labels fits this row best?\n\n\
         - positive\n- negative\n- neutral\n- unclear\n\n",
    );
    let shown: Vec<&str> = match &suggestion.text {
        Some(column) => vec![column],
        None => {
            let names = || {
                inspection
                    .profile
                    .columns
                    .iter()
                    .map(|column| column.name.as_str())
                    .filter(|name| inspection.can_be_shown(name))
            };
            let is_key = |name: &&str| suggestion.key.iter().any(|key| key == name);
            let values: Vec<&str> = names().filter(|name| !is_key(name)).take(5).collect();
            // Without other columns, show the key.
            if values.is_empty() {
                names().filter(is_key).collect()
            } else {
                values
            }
        }
    };
    if shown.is_empty() {
        text.push_str("{#- No column is text; {{ row[\"name\"] | base64 }} shows bytes. -#}\n");
    }
    for column in shown {
        let label = column.replace(|c: char| c.is_control() || matches!(c, '{' | '}'), " ");
        let _ = writeln!(text, "{}: {{{{ {} }}}}", label.trim(), variable(column));
    }
    text
}

/// How a template names a column.
fn variable(column: &str) -> String {
    // Words of the template language, of which some may be used as variables: `row["…"]` is right
    // for all of them.
    const RESERVED: [&str; 37] = [
        "and",
        "or",
        "not",
        "in",
        "is",
        "if",
        "elif",
        "else",
        "endif",
        "for",
        "endfor",
        "true",
        "false",
        "none",
        "row",
        "loop",
        "self",
        "super",
        "caller",
        "range",
        "dict",
        "namespace",
        "debug",
        "cycler",
        "joiner",
        "set",
        "block",
        "macro",
        "filter",
        "with",
        "do",
        "import",
        "from",
        "include",
        "extends",
        "call",
        "raw",
    ];
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
    // At the limit, the table may have more rows.
    let rows_seen = if profile.rows == ROWS {
        format!("the first {}", count(ROWS))
    } else {
        count(profile.rows)
    };
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
        assert_eq!(
            comment("columns: ", ["a", "b\nc"].into_iter()),
            "# columns: a, b c\n"
        );
        let names = ["a rather long name of a column"; 9];
        let text = comment("columns: ", names.into_iter());
        assert!(
            text.lines()
                .all(|line| line.starts_with("# ") && line.chars().count() <= 112),
            "{text}"
        );
        assert_eq!(text.matches("long").count(), 9);
    }
}
