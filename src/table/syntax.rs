//! The text of an expression: parsed, and checked to be something that looks at one row only.
//!
//! polars translates the SQL, but it takes more than we promise: aggregates, windows, subqueries, functions that make rows. So
//! the text is parsed here first, with the parser that polars uses, and only the kinds of expression and the functions listed
//! below may go on.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Schema};
use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Value, ValueWithSpan, Visit,
    Visitor, visit_expressions_mut,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::{Error, nearest};

/// The functions that make one value from one row.
const FUNCTIONS: &[&str] = &[
    // conditions
    "coalesce", "greatest", "if", "ifnull", "least", "nullif",
    // text
    "bit_length", "char_length", "character_length", "concat", "concat_ws", "ends_with", "left", "length", "lower", "lpad",
    "ltrim", "octet_length", "regexp_like", "replace", "reverse", "right", "rpad", "rtrim", "split_part", "starts_with", "strpos",
    "upper",
    // dates and times
    "date", "date_part", "datetime", "strftime", "strptime", "time", "timestamp",
    // numbers
    "abs", "acos", "acosd", "asin", "asind", "atan", "atan2", "atan2d", "atand", "bit_and", "bit_not", "bit_or", "bit_xor", "cbrt",
    "ceil", "ceiling", "cos", "cosd", "cot", "cotd", "degrees", "div", "exp", "floor", "ln", "log", "log10", "log1p", "log2", "mod",
    "pi", "pow", "power", "radians", "round", "sign", "sin", "sind", "sqrt", "tan", "tand", "trunc", "truncate",
    // lists
    "array_contains", "array_get", "array_length", "array_lower", "array_mean", "array_sum", "array_to_string", "array_upper",
];

/// An expression that may be translated.
pub(super) struct Parsed {
    /// The text as it was given, without surrounding space.
    pub(super) sql: String,
    /// The text for polars: the same, but for what polars understands differently.
    pub(super) rewritten: String,
    /// The columns it reads, in the order they are named.
    pub(super) columns: Vec<String>,
    /// The regular expressions in it that are known before any row.
    pub(super) patterns: Vec<String>,
    /// The tree, as it was given.
    pub(super) tree: Expr,
}

/// Parses and checks an expression.
pub(super) fn parse(sql: &str, schema: &Schema) -> Result<Parsed, Error> {
    let sql = sql.trim();
    let tree = tree(sql)?;
    let mut check = Check { sql, schema, columns: Vec::new(), patterns: Vec::new() };
    if let ControlFlow::Break(fault) = tree.visit(&mut check) {
        return Err(fault);
    }
    let Check { columns, patterns, .. } = check;
    Ok(Parsed { sql: sql.to_owned(), rewritten: rewritten(&tree), columns, patterns, tree })
}

fn tree(sql: &str) -> Result<Expr, Error> {
    let fault = |reason: String| Error::Syntax { sql: sql.to_owned(), reason };
    if sql.is_empty() {
        return Err(fault("it is empty".to_owned()));
    }
    let short = |fault: sqlparser::parser::ParserError| {
        let text = fault.to_string();
        text.trim_start_matches("sql parser error: ").trim_start_matches("Expected: ").to_owned()
    };
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(sql).map_err(|cause| fault(short(cause)))?;
    let tree = parser.parse_expr().map_err(|cause| fault(short(cause)))?;
    match parser.peek_token().token {
        Token::EOF => Ok(tree),
        Token::Word(_) if is_statement(&tree) => Err(fault("it is a statement".to_owned())),
        token => Err(fault(format!("`{token}` is too much"))),
    }
}

/// `DROP TABLE x` parses as a column followed by too much.
fn is_statement(tree: &Expr) -> bool {
    const VERBS: &[&str] = &["alter", "create", "delete", "drop", "from", "insert", "select", "update", "where", "with"];
    matches!(tree, Expr::Identifier(name) if name.quote_style.is_none() && VERBS.contains(&name.value.to_lowercase().as_str()))
}

/// Walks the tree, outermost first, and stops at the first thing that may not be there.
struct Check<'a> {
    sql: &'a str,
    schema: &'a Schema,
    columns: Vec<String>,
    patterns: Vec<String>,
}

impl Visitor for Check<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.not_by_row("it holds a query".to_owned())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        match expr {
            Expr::Identifier(name) => self.column(name),
            Expr::CompoundIdentifier(names) => self.nested(names),
            Expr::Function(function) => self.function(function),
            Expr::RLike { pattern, .. } => self.pattern(pattern),
            Expr::BinaryOp { right, op, .. } => {
                match op {
                    BinaryOperator::PGRegexMatch | BinaryOperator::PGRegexNotMatch => self.pattern(right),
                    BinaryOperator::PGRegexIMatch | BinaryOperator::PGRegexNotIMatch => self.pattern(right),
                    _ => ControlFlow::Continue(()),
                }
            }
            Expr::IsFalse(_) | Expr::IsNotFalse(_) | Expr::IsTrue(_) | Expr::IsNotTrue(_) => ControlFlow::Continue(()),
            Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => {
                ControlFlow::Continue(())
            }
            Expr::InList { .. } | Expr::Between { .. } | Expr::Like { .. } | Expr::ILike { .. } | Expr::UnaryOp { .. } => {
                ControlFlow::Continue(())
            }
            Expr::Cast { .. } | Expr::Extract { .. } | Expr::Ceil { .. } | Expr::Floor { .. } | Expr::Case { .. } => {
                ControlFlow::Continue(())
            }
            Expr::Position { .. } | Expr::Substring { .. } | Expr::Trim { .. } | Expr::Nested(_) => ControlFlow::Continue(()),
            Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) | Expr::CompoundFieldAccess { .. } => {
                ControlFlow::Continue(())
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => self.not_by_row("it holds a query".to_owned()),
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => self.not_by_row("`*` is not one column".to_owned()),
            other => self.not_by_row(format!("`{other}` is not understood")),
        }
    }
}

impl Check<'_> {
    fn column(&mut self, name: &Ident) -> ControlFlow<Error> {
        let column = &name.value;
        if self.schema.index_of(column).is_err() {
            let columns: Vec<String> = self.schema.fields().iter().map(|field| field.name().clone()).collect();
            return ControlFlow::Break(Error::UnknownColumn {
                sql: self.sql.to_owned(),
                column: column.clone(),
                nearest: nearest(column, columns.iter().map(String::as_str)),
                columns,
                quoted: name.quote_style.is_some(),
            });
        }
        // polars takes such a name for a pattern that stands for several columns.
        if column == "*" || (column.starts_with('^') && column.ends_with('$')) {
            return self.not_by_row(format!("the name of column `{column}` is a pattern to the engine"));
        }
        if !self.columns.contains(column) {
            self.columns.push(column.clone());
        }
        ControlFlow::Continue(())
    }

    /// `a.b` is the field `b` of the struct `a`; a column that is itself called `a.b` is written in double quotes.
    fn nested(&mut self, names: &[Ident]) -> ControlFlow<Error> {
        let is_struct = |name: &Ident| {
            matches!(self.schema.field_with_name(&name.value).map(|field| field.data_type()), Ok(DataType::Struct(_)))
        };
        match names {
            [first, ..] if is_struct(first) => self.column(first),
            _ => {
                let whole = names.iter().map(|name| name.value.as_str()).collect::<Vec<_>>().join(".");
                if self.schema.index_of(&whole).is_ok() {
                    return self.not_by_row(format!("a name with a dot is written in double quotes: \"{whole}\""));
                }
                self.column(&Ident::new(whole))
            }
        }
    }

    fn function(&mut self, function: &Function) -> ControlFlow<Error> {
        let name = function.name.to_string();
        let lower = name.to_lowercase();
        if !FUNCTIONS.contains(&lower.as_str()) {
            let nearest = nearest(&lower, FUNCTIONS.iter().copied());
            return ControlFlow::Break(Error::UnknownFunction { sql: self.sql.to_owned(), function: name, nearest });
        }
        if function.over.is_some() || function.filter.is_some() || !function.within_group.is_empty() {
            return self.not_by_row(format!("`{function}` looks at other rows"));
        }
        if lower == "regexp_like"
            && let FunctionArguments::List(list) = &function.args
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(pattern))) = list.args.get(1)
        {
            return self.pattern(pattern);
        }
        ControlFlow::Continue(())
    }

    fn pattern(&mut self, expr: &Expr) -> ControlFlow<Error> {
        if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(pattern), .. }) = expr {
            self.patterns.push(pattern.clone());
        }
        ControlFlow::Continue(())
    }

    fn not_by_row(&self, what: String) -> ControlFlow<Error> {
        ControlFlow::Break(Error::NotByRow { sql: self.sql.to_owned(), what })
    }
}

/// Writes the expression for polars, which makes `x IS NOT TRUE` null where `x` is null; SQL says it is true there.
fn rewritten(tree: &Expr) -> String {
    let mut tree = tree.clone();
    let _ = visit_expressions_mut(&mut tree, |expr| {
        let (inner, default, negated) = match expr {
            Expr::IsTrue(inner) => (inner, "FALSE", ""),
            Expr::IsNotTrue(inner) => (inner, "FALSE", "NOT "),
            Expr::IsFalse(inner) => (inner, "TRUE", "NOT "),
            Expr::IsNotFalse(inner) => (inner, "TRUE", ""),
            _ => return ControlFlow::<()>::Continue(()),
        };
        let text = format!("({negated}COALESCE({inner}, {default}))");
        if let Ok(new) = Parser::new(&GenericDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_expr()) {
            *expr = new;
        }
        ControlFlow::Continue(())
    });
    tree.to_string()
}
