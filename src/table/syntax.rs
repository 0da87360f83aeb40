//! The text of an expression: parsed, and checked to be something that looks at one row only.
//!
//! polars translates the SQL, but it takes more than we promise: aggregates, windows, subqueries,
//! functions that make rows. So the text is parsed here first, with the parser that polars uses,
//! and only the kinds of expression and the functions listed below are allowed.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Schema};
use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
    UnaryOperator, Value, ValueWithSpan, Visit, Visitor, visit_expressions_mut,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::Error;
use super::error::nearest;

/// The functions that make one value from one row.
const FUNCTIONS: &[&str] = &[
    // conditions
    "coalesce",
    "greatest",
    "if",
    "ifnull",
    "least",
    "nullif",
    // text
    "bit_length",
    "char_length",
    "character_length",
    "concat",
    "concat_ws",
    "ends_with",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "octet_length",
    "regexp_like",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "upper",
    // dates and times
    "date",
    "date_part",
    "datetime",
    "strftime",
    "strptime",
    "time",
    "timestamp",
    // numbers
    "abs",
    "acos",
    "acosd",
    "asin",
    "asind",
    "atan",
    "atan2",
    "atan2d",
    "atand",
    "bit_and",
    "bit_not",
    "bit_or",
    "bit_xor",
    "cbrt",
    "ceil",
    "ceiling",
    "cos",
    "cosd",
    "cot",
    "cotd",
    "degrees",
    "div",
    "exp",
    "floor",
    "ln",
    "log",
    "log10",
    "log1p",
    "log2",
    "mod",
    "pi",
    "pow",
    "power",
    "radians",
    "round",
    "sign",
    "sin",
    "sind",
    "sqrt",
    "tan",
    "tand",
    "trunc",
    "truncate",
    // lists
    "array_contains",
    "array_get",
    "array_length",
    "array_lower",
    "array_mean",
    "array_sum",
    "array_to_string",
    "array_upper",
];

/// The levels an expression may have; each `AND` in a chain is one. The engine works on the levels
/// by recursion, so that some thousands would end the process.
const MAX_DEPTH: usize = 200;
/// The words and signs an expression may have, literals and commas not counted: keeps the tree
/// itself within the stack.
const MAX_WORDS: usize = 4_000;

/// An expression that may be translated.
pub(super) struct ParsedSql {
    /// The text as it was given, without surrounding space.
    pub(super) sql: String,
    /// The text for polars: the same, except for syntax that polars reads differently.
    pub(super) rewritten: String,
    /// The columns it reads, in the order they are named.
    pub(super) columns: Vec<String>,
    /// The regular expressions in it that are known before any row.
    pub(super) patterns: Vec<String>,
    /// The operands of `AND`, `OR` and `NOT` that are not evidently boolean; as text for
    /// polars.
    pub(super) conditions: Vec<String>,
    /// The tree, as it was given.
    pub(super) tree: Expr,
}

/// Parses and checks an expression.
pub(super) fn parse(sql: &str, schema: &Schema) -> Result<ParsedSql, Error> {
    let sql = sql.trim();
    let tree = tree(sql)?;
    let mut check = RowByRowCheck {
        sql,
        schema,
        depth: 0,
        columns: Vec::new(),
        patterns: Vec::new(),
        conditions: Vec::new(),
    };
    if let ControlFlow::Break(fault) = tree.visit(&mut check) {
        return Err(fault);
    }
    let RowByRowCheck {
        columns,
        patterns,
        conditions,
        ..
    } = check;
    Ok(ParsedSql {
        sql: sql.to_owned(),
        rewritten: rewritten(&tree),
        columns,
        patterns,
        conditions,
        tree,
    })
}

fn tree(sql: &str) -> Result<Expr, Error> {
    let fault = |reason: String| Error::Syntax {
        sql: sql.to_owned(),
        reason,
    };
    if sql.is_empty() {
        return Err(fault("it is empty".to_owned()));
    }
    let short = |fault: sqlparser::parser::ParserError| {
        let text = fault.to_string();
        let text =
            text.trim_start_matches("sql parser error: ")
                .replacen("Expected: ", "expected ", 1);
        text.replacen(", found: EOF", ", found the end", 1)
            .replacen(", found: ", ", found ", 1)
    };
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .map_err(|cause| fault(cause.to_string()))?;
    if tokens.iter().filter(|token| is_word(&token.token)).count() > MAX_WORDS {
        return Err(fault(format!("it is longer than {MAX_WORDS} words")));
    }
    let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(tokens);
    let tree = parser.parse_expr().map_err(|cause| fault(short(cause)))?;
    match parser.peek_token().token {
        Token::EOF => Ok(tree),
        Token::Word(_) if is_statement(&tree) => Err(fault("it is a statement".to_owned())),
        token => Err(fault(format!("`{token}` is too much"))),
    }
}

fn is_word(token: &Token) -> bool {
    !matches!(
        token,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Comma | Token::Whitespace(_)
    )
}

/// `DROP TABLE x` parses as a column followed by too much.
fn is_statement(tree: &Expr) -> bool {
    const VERBS: &[&str] = &[
        "alter", "create", "delete", "drop", "from", "insert", "select", "update", "where", "with",
    ];
    matches!(tree, Expr::Identifier(name) if name.quote_style.is_none() && VERBS.contains(&name.value.to_lowercase().as_str()))
}

/// Walks the tree, outermost first, and stops at the first thing that may not be there.
struct RowByRowCheck<'a> {
    sql: &'a str,
    schema: &'a Schema,
    depth: usize,
    columns: Vec<String>,
    patterns: Vec<String>,
    conditions: Vec<String>,
}

impl Visitor for RowByRowCheck<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.not_by_row("it holds a query".to_owned())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return ControlFlow::Break(Error::TooDeep {
                sql: self.sql.to_owned(),
                limit: MAX_DEPTH,
            });
        }
        match expr {
            Expr::Identifier(name) => self.column(name),
            Expr::CompoundIdentifier(names) => self.nested(names),
            Expr::Function(function) => self.function(function),
            Expr::RLike { pattern, .. } => self.pattern(pattern),
            Expr::BinaryOp { left, op, right } => match op {
                BinaryOperator::And | BinaryOperator::Or => self.conditions([left, right]),
                BinaryOperator::PGRegexMatch | BinaryOperator::PGRegexNotMatch => {
                    self.pattern(right)
                }
                BinaryOperator::PGRegexIMatch | BinaryOperator::PGRegexNotIMatch => {
                    self.pattern(right)
                }
                _ => ControlFlow::Continue(()),
            },
            Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr,
            } => self.conditions([expr]),
            Expr::IsFalse(_) | Expr::IsNotFalse(_) | Expr::IsTrue(_) | Expr::IsNotTrue(_) => {
                ControlFlow::Continue(())
            }
            Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..) => ControlFlow::Continue(()),
            Expr::InList { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::UnaryOp { .. } => ControlFlow::Continue(()),
            Expr::Cast { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Case { .. } => ControlFlow::Continue(()),
            Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Nested(_) => ControlFlow::Continue(()),
            Expr::Value(_)
            | Expr::TypedString(_)
            | Expr::Interval(_)
            | Expr::CompoundFieldAccess { .. } => ControlFlow::Continue(()),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                self.not_by_row("it holds a query".to_owned())
            }
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => {
                self.not_by_row("`*` is not one column".to_owned())
            }
            other => self.not_by_row(format!("`{other}` is not understood")),
        }
    }
}

impl RowByRowCheck<'_> {
    fn column(&mut self, name: &Ident) -> ControlFlow<Error> {
        let column = &name.value;
        if self.schema.index_of(column).is_err() {
            let columns: Vec<String> = self
                .schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
            return ControlFlow::Break(Error::UnknownColumn {
                sql: self.sql.to_owned(),
                column: column.clone(),
                nearest: nearest(column, columns.iter().map(String::as_str)),
                columns,
                quoted: name.quote_style.is_some(),
            });
        }
        // polars reads such a name as a pattern of several column names.
        if column == "*" || (column.starts_with('^') && column.ends_with('$')) {
            return self.not_by_row(format!(
                "the name of column `{column}` is a pattern to the engine"
            ));
        }
        if !self.columns.contains(column) {
            self.columns.push(column.clone());
        }
        ControlFlow::Continue(())
    }

    /// `a.b` is the field `b` of the struct `a`; a column that is itself called `a.b` is written in
    /// double quotes.
    fn nested(&mut self, names: &[Ident]) -> ControlFlow<Error> {
        let is_struct = |name: &Ident| {
            matches!(
                self.schema
                    .field_with_name(&name.value)
                    .map(|field| field.data_type()),
                Ok(DataType::Struct(_))
            )
        };
        match names {
            [first, ..] if is_struct(first) => self.column(first),
            _ => {
                let whole = names
                    .iter()
                    .map(|name| name.value.as_str())
                    .collect::<Vec<_>>()
                    .join(".");
                if self.schema.index_of(&whole).is_ok() {
                    return self.not_by_row(format!(
                        "a name with a dot is written in double quotes: \"{whole}\""
                    ));
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
            return ControlFlow::Break(Error::UnknownFunction {
                sql: self.sql.to_owned(),
                function: name,
                nearest,
            });
        }
        if function.over.is_some() || function.filter.is_some() || !function.within_group.is_empty()
        {
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
        if let Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(pattern),
            ..
        }) = expr
        {
            self.patterns.push(pattern.clone());
        }
        ControlFlow::Continue(())
    }

    fn conditions<'b>(
        &mut self,
        operands: impl IntoIterator<Item = &'b Box<Expr>>,
    ) -> ControlFlow<Error> {
        self.conditions.extend(
            operands
                .into_iter()
                .filter(|operand| !is_condition(operand))
                .map(|operand| rewritten(operand)),
        );
        ControlFlow::Continue(())
    }

    fn not_by_row(&self, what: String) -> ControlFlow<Error> {
        ControlFlow::Break(Error::NotByRow {
            sql: self.sql.to_owned(),
            what,
        })
    }
}

/// Whether an expression is true or false by its form.
fn is_condition(expr: &Expr) -> bool {
    use BinaryOperator as Op;
    match expr {
        Expr::Nested(inner) => is_condition(inner),
        Expr::BinaryOp { op, .. } => {
            matches!(
                op,
                Op::And
                    | Op::Or
                    | Op::Eq
                    | Op::NotEq
                    | Op::Lt
                    | Op::LtEq
                    | Op::Gt
                    | Op::GtEq
                    | Op::PGRegexMatch
            )
        }
        Expr::UnaryOp { op, .. } => *op == UnaryOperator::Not,
        Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::InList { .. } | Expr::Between { .. } => true,
        Expr::Like { .. } | Expr::ILike { .. } | Expr::RLike { .. } => true,
        Expr::Value(ValueWithSpan {
            value: Value::Boolean(_) | Value::Null,
            ..
        }) => true,
        _ => false,
    }
}

/// Writes the expression for polars, rewritten where polars reads it differently than SQL does.
pub(super) fn rewritten(tree: &Expr) -> String {
    let mut tree = tree.clone();
    let _ = visit_expressions_mut(&mut tree, |expr| {
        if let Some(new) = replacement(expr).and_then(|text| self::tree(&text).ok()) {
            *expr = new;
        }
        ControlFlow::<()>::Continue(())
    });
    tree.to_string()
}

fn is_text(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(_),
            ..
        })
    )
}

fn replacement(expr: &Expr) -> Option<String> {
    Some(match expr {
        // polars makes these null where `x` is null; SQL says true or false there.
        Expr::IsTrue(inner) => format!("(COALESCE({inner}, FALSE))"),
        Expr::IsNotTrue(inner) => format!("(NOT COALESCE({inner}, FALSE))"),
        Expr::IsFalse(inner) => format!("(NOT COALESCE({inner}, TRUE))"),
        Expr::IsNotFalse(inner) => format!("(COALESCE({inner}, TRUE))"),
        // polars reads text as a date where it is compared, but not in a list.
        Expr::InList {
            expr: inner,
            list,
            negated,
        } if matches!(**inner, Expr::Cast { .. }) && list.iter().all(is_text) => {
            let any = list
                .iter()
                .map(|text| format!("{inner} = {text}"))
                .collect::<Vec<_>>()
                .join(" OR ");
            format!("({}({any}))", if *negated { "NOT " } else { "" })
        }
        // The functions guess a format from the first row; the cast is ours, see `times.rs`.
        Expr::Function(function) => {
            let data_type = match function.name.to_string().to_lowercase().as_str() {
                "date" => "DATE",
                "timestamp" | "datetime" => "TIMESTAMP",
                "time" => "TIME",
                _ => return None,
            };
            let FunctionArguments::List(list) = &function.args else {
                return None;
            };
            let [only] = list.args.as_slice() else {
                return None;
            };
            format!("CAST({only} AS {data_type})")
        }
        // polars reads no exponent.
        Expr::Value(ValueWithSpan {
            value: Value::Number(text, _),
            ..
        }) if text.contains(['e', 'E']) => {
            let written = text
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())?
                .to_string();
            if written.contains('.') {
                written
            } else {
                written + ".0"
            }
        }
        _ => return None,
    })
}
