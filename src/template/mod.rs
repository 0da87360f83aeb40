//! Row → prompt.
//!
//! In come the job's prompt texts and, row by row, record batches; out goes the text of each
//! message. Templates are Jinja templates with a cell for each column name, and `row` for the row
//! as a whole (`row["Customer name"]`, `{% for name in row %}`, `row|json`). A column that is
//! itself named `row` is `row["row"]`.
//!
//! Promises:
//! * A cell is data. Its text is never expanded, whatever it holds, and nothing is escaped for
//!   HTML.
//! * Nothing is guessed: a name that is neither a column nor set by the template is an error before
//!   anything is sent, and so is an unknown filter. Only `x is defined` lets a column be absent.
//! * A null cell renders as nothing, everywhere, holds nothing, and `is none`. A comparison with it
//!   is false (`compare.rs`), and one that is false or true for every row because of types is an
//!   error before anything is sent (`types.rs`).
//! * Booleans are `true` and `false`, floats have their shortest form, decimals and dates are exact
//!   text, lists and maps print as compact JSON. (Joined by `~` or `join` a boolean is the engine's
//!   `True`; the filter `json` gives `true`.)
//! * Templates load others only from the job's folder, links followed, and only so much work is
//!   done for a row ([`FUEL`]).
//! * The same row and templates give the same bytes. Files are read when the job is compiled; only
//!   a template whose *name* depends on the row is read later.
//!
//! White space: a tag alone on its line leaves no line behind (`trim_blocks`, `lstrip_blocks`), and
//! the last line feed of a template is dropped, so that a prompt looks like its template.
//! `{%+ … +%}` keeps what is around a tag.
//!
//! To add a filter, see [`filters`]; to add a part of a prompt, see [`prompt`].

pub(crate) mod cell;
mod compare;
pub mod filters;
pub mod prompt;
pub(crate) mod row;
mod scan;
mod types;

pub use cell::can_be_shown;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use arrow::datatypes::{DataType, Schema};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, machinery};

use crate::durable;
use scan::Facts;
use types::Clash;

/// Work one template may do for one row: a step costs one, and so do 64 bytes of text. Long
/// documents fit, an endless loop does not.
pub const FUEL: u64 = 1_000_000;

/// The columns that templates read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// Any of them: a template uses the row as a whole, or loads a template whose name depends on
    /// the row.
    All,
    /// Only these.
    Named(BTreeSet<String>),
}

impl Columns {
    /// No column at all.
    #[must_use]
    pub fn none() -> Columns {
        Columns::Named(BTreeSet::new())
    }

    /// Whether no column is read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Columns::Named(names) if names.is_empty())
    }

    /// The columns that one or the other reads.
    #[must_use]
    pub fn union(self, other: Columns) -> Columns {
        match (self, other) {
            (Columns::Named(mut names), Columns::Named(more)) => {
                names.extend(more);
                Columns::Named(names)
            }
            _ => Columns::All,
        }
    }
}

/// Why prompts cannot be made. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the prompt cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A template loads a file outside of the job's folder.
    #[error(
        "`{template}` line {line}: `{name}` lies outside of the job's folder, and templates load \
         only what is in it"
    )]
    Outside {
        /// The template.
        template: String,
        /// Where it says so.
        line: usize,
        /// What it asks for.
        name: String,
    },
    /// A template loads a file of the job's folder that is a link to one outside of it.
    #[error(
        "`{template}` line {line}: `{name}` is a link that leads out of the job's folder, and \
         templates load only what is in it"
    )]
    LinkOutside {
        /// The template.
        template: String,
        /// Where it says so.
        line: usize,
        /// What it asks for.
        name: String,
    },
    /// A template loads a file that cannot be read.
    #[error("`{template}` line {line}: cannot read `{name}` in the job's folder")]
    Load {
        /// The template.
        template: String,
        /// Where it says so.
        line: usize,
        /// What it asks for.
        name: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A template is not a template.
    #[error("`{template}` line {line}: {message}")]
    Syntax {
        /// The template.
        template: String,
        /// Where.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A template names a column that the source does not have.
    #[error("`{template}` line {line}: the input has no column `{name}`; it has {}", listed(.columns))]
    UnknownColumn {
        /// The template.
        template: String,
        /// Where it names it.
        line: usize,
        /// The name.
        name: String,
        /// The column that comes nearest.
        nearest: Option<String>,
        /// All columns of the source.
        columns: Vec<String>,
    },
    /// A part of the prompt is made of a column that the source does not have.
    #[error("{part} reads the column `{name}`, which the input does not have; it has {}", listed(.columns))]
    NoColumn {
        /// Which part.
        part: String,
        /// The name.
        name: String,
        /// The column that comes nearest.
        nearest: Option<String>,
        /// All columns of the source.
        columns: Vec<String>,
    },
    /// A template uses a filter that does not exist.
    #[error("`{template}` line {line}: there is no filter `{name}`")]
    UnknownFilter {
        /// The template.
        template: String,
        /// Where it uses it.
        line: usize,
        /// The name.
        name: String,
        /// The filter that comes nearest.
        nearest: Option<String>,
    },
    /// A template uses a test that does not exist.
    #[error("`{template}` line {line}: there is no test `{name}`")]
    UnknownTest {
        /// The template.
        template: String,
        /// Where it uses it.
        line: usize,
        /// The name.
        name: String,
    },
    /// A template compares with `none`, which no cell is equal to.
    #[error(
        "`{template}` line {line}: a null cell is not equal to `none`; write `is none` or `is not \
         none`"
    )]
    ComparesNone {
        /// The template.
        template: String,
        /// Where.
        line: usize,
    },
    /// A template compares a column with a constant of another type, which gives the same for every
    /// row.
    #[error(
        "`{template}` line {line}: the column `{column}` is {is} and is compared with {with}, \
         which is the same for every row; {way_out}"
    )]
    ComparesTypes {
        /// The template.
        template: String,
        /// Where.
        line: usize,
        /// The column.
        column: String,
        /// What the column holds.
        is: String,
        /// What it is compared with.
        with: String,
        /// What to write instead.
        way_out: String,
    },
    /// A column's points in time are shown in a zone that is not known here.
    #[error("the column `{column}` is in the time zone `{zone}`, which this machine does not know")]
    UnknownZone {
        /// The column.
        column: String,
        /// The zone.
        zone: String,
    },
    /// A part of the prompt cannot be rendered although it depends on no row.
    #[error("cannot render {part}, which is the same for all rows")]
    Shared {
        /// Which part.
        part: String,
        /// What went wrong.
        #[source]
        source: RenderError,
    },
    /// A system block names a column.
    #[error(
        "`{template}` line {line}: {part} names `{name}`, but system blocks are shared by all \
         requests of the run so that the prompt cache can hit; move the column to a message"
    )]
    SystemVariable {
        /// Which block.
        part: String,
        /// Its template.
        template: String,
        /// Where.
        line: usize,
        /// The column or variable.
        name: String,
    },
    /// A part of the prompt cannot be used as it is written.
    #[error("{part} {problem}")]
    Part {
        /// Which part.
        part: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A text column that a template uses as a condition, where the text `false` is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextCondition {
    /// The template.
    pub template: String,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: String,
}

/// Names of columns as words, the first forty of them.
pub(crate) fn listed(columns: &[String]) -> String {
    const MOST: usize = 40;
    if columns.is_empty() {
        return "none".to_owned();
    }
    let mut text = columns
        .iter()
        .take(MOST)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if columns.len() > MOST {
        text.push_str(&format!(" and {} more", columns.len() - MOST));
    }
    text
}

/// Why one row could not be rendered. Holds names and places of the template, never the row's
/// contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{template}`{}: {message}", .line.map(|line| format!(" line {line}")).unwrap_or_default())]
pub struct RenderError {
    /// The template.
    pub template: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The kind of error, such as `undefined value`.
    pub kind: String,
    /// What went wrong.
    pub message: String,
}

impl RenderError {
    fn new(root: &str, error: &minijinja::Error) -> RenderError {
        // An error inside an included template is the source of the error at its `include`.
        let mut error = error;
        while let Some(inner) = std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<minijinja::Error>())
        {
            error = inner;
        }
        let kind = error.kind().to_string();
        let detail = error.detail().map(about_nulls);
        let message = match (error.kind(), detail.as_deref()) {
            (ErrorKind::OutOfFuel, _) => {
                format!("the row needs more than {FUEL} steps; is there a loop without an end?")
            }
            // The engine's own words would carry the cell's contents.
            (ErrorKind::TemplateNotFound, _) => {
                "the row chooses a template that does not exist in the job's folder".to_owned()
            }
            (ErrorKind::InvalidOperation, Some(detail))
                if detail.starts_with("unable to calculate") =>
            {
                "a calculation overflows".to_owned()
            }
            (ErrorKind::UndefinedError | ErrorKind::InvalidOperation, Some(detail)) => {
                detail.to_owned()
            }
            (_, Some(detail)) => format!("{kind}: {detail}"),
            (_, None) => kind.clone(),
        };
        RenderError {
            template: error.name().unwrap_or(root).to_owned(),
            line: error.line(),
            kind,
            message,
        }
    }
}

/// The engine's words where a value is null: to it a null is an iterator, and of no use in a
/// calculation.
fn about_nulls(detail: &str) -> Cow<'_, str> {
    if !detail.starts_with("tried to use") || !detail.contains("iterator") {
        return Cow::Borrowed(detail);
    }
    let words = detail.replace("iterator", "null");
    Cow::Owned(format!(
        "{words}; `|default(0)` stands in for a null, and `{{% if … is not none %}}` asks for one"
    ))
}

impl RenderError {
    /// The same, with the fields that there are, where one was asked for that the column does not
    /// have.
    fn with_fields(mut self, column: impl Fn(&str) -> Option<DataType>) -> RenderError {
        let Some(path) = self
            .message
            .strip_suffix("` is undefined")
            .and_then(|text| text.strip_prefix('`'))
        else {
            return self;
        };
        let mut names = path.split('.').filter(|name| *name != "row");
        let Some((first, mut data_type)) =
            names.next().and_then(|name| Some((name, column(name)?)))
        else {
            return self;
        };
        let mut known = first.to_owned();
        for name in names {
            let DataType::Struct(fields) = &data_type else {
                return self;
            };
            match fields.find(name) {
                Some((_, field)) => data_type = field.data_type().clone(),
                None => {
                    let fields: Vec<String> =
                        fields.iter().map(|field| field.name().clone()).collect();
                    self.message = format!("{}; `{known}` has {}", self.message, listed(&fields));
                    return self;
                }
            }
            known = format!("{known}.{name}");
        }
        self
    }
}

/// All templates of a job, compiled.
pub(crate) struct Templates {
    env: Environment<'static>,
    folder: PathBuf,
    facts: BTreeMap<String, Facts>,
    /// Their texts, as they stand in their files.
    texts: BTreeMap<String, String>,
    /// Each file that was read, as it was named, with its blake3.
    files: Vec<(PathBuf, String)>,
}

impl Templates {
    /// Begins with no template; files are looked for in `folder`.
    pub(crate) fn new(folder: &Path) -> Templates {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_fuel(Some(FUEL));
        // Only names the undefined expression in errors; what else it collects of a row is dropped
        // in `RenderError`.
        env.set_debug(true);
        env.set_formatter(|out, _, value| filters::print(out, value));
        if let Ok(syntax) = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
        {
            env.set_syntax(syntax);
        }
        filters::add(&mut env);
        compare::add(&mut env);
        let (root, syntax) = (folder.to_path_buf(), env.syntax().clone());
        env.set_loader(move |name| match load_for_row(&root, name)? {
            Some(text) => compare::rewrite(&text, &syntax).map(Some),
            None => Ok(None),
        });
        Templates {
            env,
            folder: folder.to_path_buf(),
            facts: BTreeMap::new(),
            texts: BTreeMap::new(),
            files: Vec::new(),
        }
    }

    pub(crate) fn files(&self) -> &[(PathBuf, String)] {
        &self.files
    }

    /// Reads a file the job names, wherever it lies, and remembers its hash.
    pub(crate) fn read(&mut self, path: &Path) -> Result<String, Error> {
        self.read_file(path).map_err(|source| Error::Read {
            path: path.to_path_buf(),
            source,
        })
    }

    /// As [`Templates::read`], for a file that need not be text.
    pub(crate) fn read_bytes(&mut self, path: &Path) -> Result<Vec<u8>, Error> {
        let bytes = durable::read_bytes(
            &self.folder.join(path),
            prompt::media::MAX_FILE_BYTES as u64,
        )
        .map_err(|source| Error::Read {
            path: path.to_path_buf(),
            source,
        })?;
        self.remember(path, &bytes);
        Ok(bytes)
    }

    fn remember(&mut self, path: &Path, bytes: &[u8]) {
        if !self.files.iter().any(|(known, _)| known == path) {
            self.files
                .push((path.to_path_buf(), blake3::hash(bytes).to_hex().to_string()));
        }
    }

    fn read_file(&mut self, path: &Path) -> io::Result<String> {
        let mut text = durable::read_text(&self.folder.join(path), durable::MAX_TEXT_BYTES)?;
        self.remember(path, text.as_bytes());
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        Ok(text)
    }

    /// Compiles a template file of the job, and all it loads; gives its name.
    pub(crate) fn add_file(&mut self, path: &Path) -> Result<String, Error> {
        let name = path.to_string_lossy().into_owned();
        if !self.facts.contains_key(&name) {
            let text = self.read(path)?;
            self.add_text(&name, text)?;
        }
        Ok(name)
    }

    /// Compiles a template written in the job file, and all it loads.
    pub(crate) fn add_text(&mut self, name: &str, text: String) -> Result<(), Error> {
        let facts = scan::scan(&text);
        self.compile(name, &text)?;
        self.check_words(name, &facts)?;
        let references = facts.references.clone();
        self.facts.insert(name.to_owned(), facts);
        self.texts.insert(name.to_owned(), text);
        for reference in references {
            self.load(name, &reference)?;
        }
        Ok(())
    }

    fn compile(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let syntax = self.env.syntax();
        // What is wrong is said of the text as it stands in the file.
        let written = machinery::parse(text, name, syntax.clone())
            .and_then(|_| compare::rewrite(text, syntax));
        written
            .and_then(|text| self.env.add_template_owned(name.to_owned(), text))
            .map_err(|error| Error::Syntax {
                template: name.to_owned(),
                line: error.line().unwrap_or(1),
                message: error
                    .detail()
                    .map_or_else(|| error.kind().to_string(), str::to_owned),
            })
    }

    fn load(&mut self, template: &str, reference: &scan::Reference) -> Result<(), Error> {
        let (template, line, name) = (template.to_owned(), reference.line, reference.name.clone());
        if self.facts.contains_key(&name) {
            return Ok(());
        }
        if !stays_inside(&name) {
            return Err(Error::Outside {
                template,
                line,
                name,
            });
        }
        if leads_outside(&self.folder, &name) {
            return Err(Error::LinkOutside {
                template,
                line,
                name,
            });
        }
        match self.read_file(Path::new(&name)) {
            Ok(text) => self.add_text(&name, text),
            Err(source) if source.kind() == io::ErrorKind::NotFound && reference.optional => Ok(()),
            Err(source) => Err(Error::Load {
                template,
                line,
                name,
                source,
            }),
        }
    }

    /// The engine finds unknown filters and tests only while it renders; they are known to be wrong
    /// now.
    fn check_words(&self, template: &str, facts: &Facts) -> Result<(), Error> {
        let mut state = self.env.empty_state();
        for filter in &facts.filters {
            let unknown = state
                .apply_filter(&filter.name, &[])
                .is_err_and(|e| e.kind() == ErrorKind::UnknownFilter);
            if unknown {
                let ours = filters::FILTERS
                    .iter()
                    .map(|f| f.usage.split('(').next().unwrap_or(f.usage));
                let nearest = nearest(
                    &filter.name,
                    ours.chain(filters::ENGINE_FILTERS.iter().copied()),
                );
                return Err(Error::UnknownFilter {
                    template: template.to_owned(),
                    line: filter.line,
                    name: filter.name.clone(),
                    nearest,
                });
            }
        }
        for test in &facts.tests {
            if state
                .perform_test(&test.name, &[])
                .is_err_and(|e| e.kind() == ErrorKind::UnknownTest)
            {
                return Err(Error::UnknownTest {
                    template: template.to_owned(),
                    line: test.line,
                    name: test.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// The templates that rendering `root` can load, itself included.
    fn reach(&self, root: &str) -> Vec<(&str, &Facts)> {
        let mut names: Vec<&str> = vec![root];
        let mut found = Vec::new();
        while let Some(name) = names.pop() {
            let Some((name, facts)) = self.facts.get_key_value(name) else {
                continue;
            };
            if found.iter().all(|(known, _)| *known != name.as_str()) {
                found.push((name.as_str(), facts));
                names.extend(
                    facts
                        .references
                        .iter()
                        .map(|reference| reference.name.as_str()),
                );
            }
        }
        found
    }

    /// The columns of `schema` that a template and all it loads can read.
    pub(crate) fn columns(&self, root: &str, schema: &Schema) -> Columns {
        let mut named = BTreeSet::new();
        for (name, facts) in self.reach(root) {
            let undeclared = self.undeclared(name);
            let known = |name: &String| facts.names.iter().any(|named| named.name == *name);
            // The engine's own analysis is the check on ours: what it sees and we do not must not
            // cost a row its text.
            let overlooked = undeclared
                .iter()
                .any(|name| !known(name) && schema.column_with_name(name).is_some());
            if facts.row_dynamic || facts.dynamic_reference || overlooked {
                return Columns::All;
            }
            let names = facts
                .names
                .iter()
                .chain(&facts.row_names)
                .map(|named| &named.name);
            named.extend(
                names
                    .filter(|name| schema.column_with_name(name).is_some())
                    .cloned(),
            );
        }
        Columns::Named(named)
    }

    fn undeclared(&self, name: &str) -> BTreeSet<String> {
        match self.env.get_template(name) {
            Ok(template) => template.undeclared_variables(false).into_iter().collect(),
            Err(_) => BTreeSet::new(),
        }
    }

    /// Variables that rendering `root` without a row would miss: template, line, name.
    pub(crate) fn variables(&self, root: &str, schema: &Schema) -> Option<(String, usize, String)> {
        let reach = self.reach(root);
        let assigned = assigned(&reach);
        for (template, facts) in &reach {
            let is_column = |name: &str| schema.column_with_name(name).is_some();
            for name in self.undeclared(template) {
                let guarded = facts.guarded.contains(&name) && !is_column(&name);
                if !guarded && !assigned.contains(name.as_str()) && !self.is_global(&name) {
                    return Some(((*template).to_owned(), line_of(facts, &name), name));
                }
            }
        }
        None
    }

    fn is_global(&self, name: &str) -> bool {
        self.env.globals().any(|(global, _)| global == name)
    }

    /// Checks that a template, and all it loads, names only what a row has.
    ///
    /// # Errors
    /// The first name that is no column, and comparisons that cannot depend on the row.
    pub(crate) fn check(&self, root: &str, schema: &Schema) -> Result<(), Error> {
        let reach = self.reach(root);
        let assigned = assigned(&reach);
        for (template, facts) in &reach {
            let mut names: Vec<(usize, String)> = facts
                .row_names
                .iter()
                .map(|named| (named.line, named.name.clone()))
                .collect();
            let free = self.undeclared(template).into_iter();
            let free = free.filter(|name| {
                name != "row" && !assigned.contains(name.as_str()) && !self.is_global(name)
            });
            names.extend(free.map(|name| (line_of(facts, &name), name)));
            names.sort();
            for (line, name) in names {
                if schema.column_with_name(&name).is_none() && !facts.guarded.contains(&name) {
                    return Err(unknown_column(template, line, name, schema));
                }
            }
            if let Some(clash) = self
                .findings(template, *template == root, &assigned, schema)
                .clashes
                .into_iter()
                .next()
            {
                return Err(clash_error((*template).to_owned(), clash));
            }
        }
        Ok(())
    }

    /// The text columns that a template, or one it loads, uses as a condition.
    pub(crate) fn conditions(&self, root: &str, schema: &Schema) -> Vec<TextCondition> {
        let reach = self.reach(root);
        let assigned = assigned(&reach);
        let of = |template: &str| {
            self.findings(template, template == root, &assigned, schema)
                .conditions
        };
        let all = reach.iter().flat_map(|(template, _)| {
            let conditions = of(template).into_iter();
            conditions.map(|(line, column)| TextCondition {
                template: (*template).to_owned(),
                line,
                column,
            })
        });
        all.collect()
    }

    fn findings(
        &self,
        template: &str,
        is_root: bool,
        assigned: &BTreeSet<&str>,
        schema: &Schema,
    ) -> types::Findings {
        let place = types::Place {
            schema,
            assigned,
            is_root,
        };
        let text = self.texts.get(template).map_or("", String::as_str);
        types::check(text, template, self.env.syntax(), &place)
    }

    /// Renders a template.
    pub(crate) fn render(&self, name: &str, row: Value) -> Result<String, RenderError> {
        self.env
            .get_template(name)
            .and_then(|template| template.render(row))
            .map_err(|error| RenderError::new(name, &error))
    }
}

fn assigned<'f>(reach: &[(&str, &'f Facts)]) -> BTreeSet<&'f str> {
    // A template sees what the one that includes it has set, so all of them together count.
    reach
        .iter()
        .flat_map(|(_, facts)| facts.assigned.iter().map(String::as_str))
        .collect()
}

fn line_of(facts: &Facts, name: &str) -> usize {
    facts
        .names
        .iter()
        .find(|named| named.name == name)
        .map_or(1, |named| named.line)
}

fn no_column(part: &str, name: &str, schema: &Schema) -> Error {
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let nearest = nearest(name, columns.iter().map(String::as_str));
    Error::NoColumn {
        part: part.to_owned(),
        name: name.to_owned(),
        nearest,
        columns,
    }
}

fn unknown_column(template: &str, line: usize, name: String, schema: &Schema) -> Error {
    let columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let nearest = nearest(&name, columns.iter().map(String::as_str));
    Error::UnknownColumn {
        template: template.to_owned(),
        line,
        name,
        nearest,
        columns,
    }
}

/// The known name nearest to an unknown one, if it is near enough to be meant.
pub(crate) fn nearest<'n>(unknown: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let lower = unknown.to_lowercase();
    let (distance, name) = known
        .map(|name| {
            (
                strsim::damerau_levenshtein(&lower, &name.to_lowercase()),
                name,
            )
        })
        .min()?;
    (distance <= 1 + name.chars().count() / 3).then(|| name.to_owned())
}

fn clash_error(template: String, clash: Clash) -> Error {
    match clash {
        Clash::None { line } => Error::ComparesNone { template, line },
        Clash::Types {
            line,
            column,
            is,
            with,
            way_out,
        } => Error::ComparesTypes {
            template,
            line,
            column,
            is,
            with,
            way_out,
        },
    }
}

/// Whether a name stays inside the job's folder, whatever folders exist.
fn stays_inside(name: &str) -> bool {
    let mut depth = 0i32;
    for part in Path::new(name).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            Component::Prefix(_) | Component::RootDir => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    // On other systems these are separators or roots.
    !name.is_empty() && !name.contains('\\')
}

/// Whether a file of the job's folder is a link, or lies behind one, that leads out of it. A file
/// that is not there leads nowhere.
fn leads_outside(folder: &Path, name: &str) -> bool {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    match (folder.canonicalize(), folder.join(name).canonicalize()) {
        (Ok(folder), Ok(file)) => !file.starts_with(folder),
        _ => false,
    }
}

/// Loads a template whose name was only known while rendering.
fn load_for_row(folder: &Path, name: &str) -> Result<Option<String>, minijinja::Error> {
    if !stays_inside(name) || leads_outside(folder, name) {
        return Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            "the row chooses a template outside of the job's folder",
        ));
    }
    match durable::read_text(&folder.join(name), durable::MAX_TEXT_BYTES) {
        Ok(text) => Ok(Some(text.trim_start_matches('\u{feff}').to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            "the template that the row chooses cannot be read",
        )
        .with_source(e)),
    }
}

#[cfg(test)]
mod tests;
