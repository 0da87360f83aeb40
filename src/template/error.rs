//! Why the prompts of a job cannot be compiled.

use std::io;
use std::path::PathBuf;

use arrow::datatypes::Schema;

use super::types::ConstantComparison;
use super::{ComparedWith, ComparisonFix, OperandType, RenderError, listed, nearest};

/// Why the prompts of a job cannot be compiled. Lines count from 1.
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
        /// The line that loads it.
        line: usize,
        /// The name it loads.
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
        /// The line that loads it.
        line: usize,
        /// The name it loads.
        name: String,
    },
    /// A template loads a file that cannot be read.
    #[error("`{template}` line {line}: cannot read `{name}` in the job's folder")]
    Load {
        /// The template.
        template: String,
        /// The line that loads it.
        line: usize,
        /// The name it loads.
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
    /// A part of the prompt is built from a column that the source does not have.
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
        "`{template}` line {line}: a null cell is not equal to `none`, so the comparison is the \
         same for every row"
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
         which is the same for every row"
    )]
    ComparesTypes {
        /// The template.
        template: String,
        /// Where.
        line: usize,
        /// The column.
        column: String,
        /// What the column holds.
        is: OperandType,
        /// What it is compared with.
        with: ComparedWith,
        /// What to write instead.
        fix: ComparisonFix,
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
         requests of the run so that the prompt cache can hit"
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

pub(super) fn no_column(part: &str, name: &str, schema: &Schema) -> Error {
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

pub(super) fn unknown_column(template: &str, line: usize, name: String, schema: &Schema) -> Error {
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

/// A constant comparison as an error of its template.
pub(super) fn constant_comparison(template: String, found: ConstantComparison) -> Error {
    match found {
        ConstantComparison::None { line } => Error::ComparesNone { template, line },
        ConstantComparison::Types {
            line,
            column,
            is,
            with,
            fix,
        } => Error::ComparesTypes {
            template,
            line,
            column,
            is,
            with,
            fix,
        },
    }
}
