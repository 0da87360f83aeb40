//! All templates of a job: loaded, compiled, checked against the columns, rendered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use arrow::datatypes::Schema;
use minijinja::machinery::Token;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, machinery};

use super::error::{constant_comparison, unknown_column};
use super::job_folder::{leads_outside, load_for_row, stays_inside};
use super::names::{self, TemplateNames, TemplateReference};
use super::types::{self, KnownNames, TypeFindings};
use super::{Error, RenderError, TemplateColumns, TextCondition, compare, filters, nearest};
use crate::durable;
use crate::media::MAX_FILE_BYTES;

/// Work one template may do for one row, in steps of the engine; 64 bytes of text cost one step
/// too. Long documents fit (64 MB of text), an endless loop ends within a second.
pub const FUEL: u64 = 1_000_000;

/// All templates of a job, compiled.
pub(crate) struct Templates {
    pub(super) env: Environment<'static>,
    folder: PathBuf,
    names: BTreeMap<String, TemplateNames>,
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
        // Each rendering starts with all of it: a row that needs too much fails alone.
        env.set_fuel(Some(FUEL));
        // Only names the undefined expression in errors; what else it collects of a row is dropped
        // in `RenderError`.
        env.set_debug(true);
        env.set_formatter(|out, _, value| filters::print(out, value));
        env.set_syntax(syntax());
        // These replace filters and tests of the engine of the same name; no name is in both rooms.
        filters::add(&mut env);
        compare::add(&mut env);
        let (root, syntax) = (folder.to_path_buf(), env.syntax().clone());
        // Called only for names that are not known yet, which are those that depend on the row.
        env.set_loader(move |name| match load_for_row(&root, name)? {
            Some(text) => compare::rewrite(&text, &syntax).map(Some),
            None => Ok(None),
        });
        Templates {
            env,
            folder: folder.to_path_buf(),
            names: BTreeMap::new(),
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
        let bytes = durable::read_bytes(&self.folder.join(path), MAX_FILE_BYTES as u64).map_err(
            |source| Error::Read {
                path: path.to_path_buf(),
                source,
            },
        )?;
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
        if !self.names.contains_key(&name) {
            let text = self.read(path)?;
            self.add_text(&name, text)?;
        }
        Ok(name)
    }

    /// Compiles a template written in the job file, and all it loads.
    pub(crate) fn add_text(&mut self, name: &str, text: String) -> Result<(), Error> {
        let found = self.compile(name, &text)?;
        self.check_words(name, &found)?;
        let references = found.references.clone();
        // Known before what it loads is read: templates may load each other.
        self.names.insert(name.to_owned(), found);
        self.texts.insert(name.to_owned(), text);
        for reference in references {
            self.load(name, &reference)?;
        }
        Ok(())
    }

    /// Compiles a text; gives what it names.
    fn compile(&mut self, name: &str, text: &str) -> Result<TemplateNames, Error> {
        let fails = |error: minijinja::Error| Error::Syntax {
            template: name.to_owned(),
            line: error.line().unwrap_or(1),
            message: error
                .detail()
                .map_or_else(|| error.kind().to_string(), str::to_owned),
        };
        let syntax = self.env.syntax();
        // Parsed as it stands in its file, before comparisons are rewritten: an error, and every
        // name found, then has the line and the words that the author wrote.
        let parsed = machinery::parse(text, name, syntax.clone()).map_err(fails)?;
        let found = names::find(&parsed);
        let rewritten = compare::rewrite(text, syntax).map_err(fails)?;
        self.env
            .add_template_owned(name.to_owned(), rewritten)
            .map_err(fails)?;
        Ok(found)
    }

    fn load(&mut self, template: &str, reference: &TemplateReference) -> Result<(), Error> {
        let (template, line, name) = (template.to_owned(), reference.line, reference.name.clone());
        if self.names.contains_key(&name) {
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
    fn check_words(&self, template: &str, found: &TemplateNames) -> Result<(), Error> {
        let mut state = self.env.empty_state();
        for filter in &found.filters {
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
        for test in &found.tests {
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
    fn reach(&self, root: &str) -> Vec<(&str, &TemplateNames)> {
        let mut open: Vec<&str> = vec![root];
        let mut reached = Vec::new();
        while let Some(name) = open.pop() {
            let Some((name, found)) = self.names.get_key_value(name) else {
                continue;
            };
            if reached.iter().all(|(known, _)| *known != name.as_str()) {
                reached.push((name.as_str(), found));
                open.extend(
                    found
                        .references
                        .iter()
                        .map(|reference| reference.name.as_str()),
                );
            }
        }
        reached
    }

    /// The columns of `schema` that a template and all it loads can read.
    pub(crate) fn columns(&self, root: &str, schema: &Schema) -> TemplateColumns {
        let mut named = BTreeSet::new();
        for (name, found) in self.reach(root) {
            let undeclared = self.undeclared(name);
            let known = |name: &String| found.variables.iter().any(|named| named.name == *name);
            // The engine's own analysis checks ours: a column that only it sees must not cost a row
            // its text.
            let overlooked = undeclared
                .iter()
                .any(|name| !known(name) && schema.column_with_name(name).is_some());
            if found.row_dynamic || found.dynamic_reference || overlooked {
                return TemplateColumns::All;
            }
            let names = found
                .variables
                .iter()
                .chain(&found.row_columns)
                .map(|named| &named.name);
            named.extend(
                names
                    .filter(|name| schema.column_with_name(name).is_some())
                    .cloned(),
            );
        }
        TemplateColumns::Named(named)
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
        for (template, found) in &reach {
            let is_column = |name: &str| schema.column_with_name(name).is_some();
            for name in self.undeclared(template) {
                let guarded = found.guarded.contains(&name) && !is_column(&name);
                if !guarded && !assigned.contains(name.as_str()) && !self.is_global(&name) {
                    return Some(((*template).to_owned(), line_of(found, &name), name));
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
        for (template, found) in &reach {
            let mut names: Vec<(usize, String)> = found
                .row_columns
                .iter()
                .map(|named| (named.line, named.name.clone()))
                .collect();
            let free = self.undeclared(template).into_iter();
            let free = free.filter(|name| {
                name != "row" && !assigned.contains(name.as_str()) && !self.is_global(name)
            });
            names.extend(free.map(|name| (line_of(found, &name), name)));
            names.sort();
            for (line, name) in names {
                if schema.column_with_name(&name).is_none() && !found.guarded.contains(&name) {
                    return Err(unknown_column(template, line, name, schema));
                }
            }
            if let Some(found) = self
                .findings(template, *template == root, &assigned, schema)
                .constant
                .into_iter()
                .next()
            {
                return Err(constant_comparison((*template).to_owned(), found));
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
    ) -> TypeFindings {
        let known = KnownNames {
            schema,
            assigned,
            is_root,
        };
        let text = self.texts.get(template).map_or("", String::as_str);
        types::check(text, template, self.env.syntax(), &known)
    }

    /// Renders a template.
    pub(crate) fn render(&self, name: &str, row: Value) -> Result<String, RenderError> {
        self.env
            .get_template(name)
            .and_then(|template| template.render(row))
            .map_err(|error| RenderError::new(name, &error))
    }
}

/// The syntax of all templates: a tag alone on its line leaves no line behind.
fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the delimiters are the defaults, which are distinct")
}

/// Whether a text has no tag, comment or raw block, so that it renders as itself for every row; a
/// line feed at its end is dropped.
#[must_use]
pub fn is_plain_text(text: &str) -> bool {
    let mut rendered = String::new();
    for token in machinery::tokenize(text, false, syntax()) {
        match token {
            Ok((Token::TemplateData(data), _)) => rendered.push_str(data),
            _ => return false,
        }
    }
    // Comments and raw blocks leave no token; they show in what is missing.
    let text = text.strip_suffix('\n').unwrap_or(text);
    rendered == text.strip_suffix('\r').unwrap_or(text)
}

fn assigned<'f>(reach: &[(&str, &'f TemplateNames)]) -> BTreeSet<&'f str> {
    // A template sees what the one that includes it has set, so all of them together count.
    reach
        .iter()
        .flat_map(|(_, found)| found.assigned.iter().map(String::as_str))
        .collect()
}

fn line_of(found: &TemplateNames, name: &str) -> usize {
    found
        .variables
        .iter()
        .find(|named| named.name == name)
        .map_or(1, |named| named.line)
}
