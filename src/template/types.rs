//! What a template compares, by the types of the columns, found without rendering it.
//!
//! A comparison of a text with a number or with `true` gives the same for every row: every row
//! would get the wrong prompt, and be paid for. So each expression of the engine's own syntax tree
//! gets a type as far as it can be told: columns, fields of structs, items of lists, `{% set %}`,
//! loops, filters, macros by what they are called with. What cannot be told is [`Kind::Unknown`]
//! and passes: there are no false alarms.
//!
//! Text columns that are used as a condition are collected as well: the text `false` is true.
//! Whether it is there, the rows tell.
//!
//! To teach it a filter of the engine, see [`Checker::filter`].

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::{DataType, Fields, Schema};
use minijinja::machinery::ast::{self, BinOpKind, CallArg, CompareOpKind, Expr, Stmt, UnaryOpKind};
use minijinja::machinery::parse;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;

/// What is wrong with a comparison, or worth to be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Comparisons that give the same for every row.
    pub(super) clashes: Vec<Clash>,
    /// Text columns that are used as a condition: line and name, each column once.
    pub(super) conditions: Vec<(usize, String)>,
}

/// A comparison that gives the same for every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Clash {
    /// With `none`, which no cell is equal to.
    None { line: usize },
    /// Of a column with something of another type.
    Types {
        line: usize,
        column: String,
        is: String,
        with: String,
        way_out: String,
    },
}

impl Clash {
    pub(super) fn line(&self) -> usize {
        match self {
            Clash::None { line } | Clash::Types { line, .. } => *line,
        }
    }
}

/// How a template stands among those that are rendered together.
pub(super) struct Place<'a> {
    pub(super) schema: &'a Schema,
    /// Names that one of the templates sets.
    pub(super) assigned: &'a BTreeSet<&'a str>,
    /// Whether it is the one that is rendered, not one that is loaded: what it has not set yet has
    /// no value of another's.
    pub(super) is_root: bool,
}

/// Looks through the comparisons of a template, which the engine takes.
pub(super) fn check(
    source: &str,
    name: &str,
    syntax: &SyntaxConfig,
    place: &Place<'_>,
) -> Findings {
    let Ok(template) = parse(source, name, syntax.clone()) else {
        return Findings::default();
    };
    let mut checker = Checker {
        place,
        opaque: !place.is_root,
        scopes: vec![BTreeMap::new()],
        macros: BTreeMap::new(),
        calls: 0,
        depth: 0,
        findings: Findings::default(),
    };
    checker.statement(&template);
    checker.findings.clashes.sort_by_key(Clash::line);
    checker.findings
}

/// Macros are looked through again for what they are called with, so many times in all, and so
/// deep.
const MOST_CALLS: usize = 200;
const MOST_DEPTH: usize = 4;

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Unknown,
    None,
    Bool,
    Number,
    Text,
    /// A list of items of one of these types; of none, if it is empty.
    List(Vec<Typed>),
    Struct(Fields),
    Map(Box<Typed>),
    Row,
    Loop,
}

/// Kinds that the engine compares with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Bool,
    Number,
    Text,
    List,
    Object,
}

#[derive(Debug, Clone, PartialEq)]
struct Typed {
    kind: Kind,
    from: Option<From>,
}

/// The column that an expression is made of.
#[derive(Debug, Clone, PartialEq)]
struct From {
    /// Its name, with the way to a field in it.
    path: String,
    is_top: bool,
    data_type: DataType,
    /// Whether it is a text that stands for itself: as a condition, its letters decide.
    is_itself: bool,
}

impl Typed {
    const UNKNOWN: Typed = Typed {
        kind: Kind::Unknown,
        from: None,
    };

    fn of(kind: Kind) -> Typed {
        Typed { kind, from: None }
    }

    /// Of another kind, made of the same column.
    fn become_kind(&self, kind: Kind) -> Typed {
        Typed {
            kind,
            from: self.from.clone().map(|from| From {
                is_itself: false,
                ..from
            }),
        }
    }

    fn class(&self) -> Option<Class> {
        Some(match &self.kind {
            Kind::Bool => Class::Bool,
            Kind::Number => Class::Number,
            Kind::Text => Class::Text,
            Kind::List(_) => Class::List,
            Kind::Struct(_) | Kind::Map(_) | Kind::Row => Class::Object,
            Kind::Unknown | Kind::None | Kind::Loop => return None,
        })
    }

    /// What it is where it may be one or the other.
    fn or(self, other: Typed) -> Typed {
        match (&self.kind, &other.kind) {
            (Kind::None, _) => other,
            (_, Kind::None) => self,
            _ if self == other => self,
            (a, b) if a == b => {
                let from = self.from.or(other.from).map(|from| From {
                    is_itself: false,
                    ..from
                });
                Typed {
                    kind: self.kind,
                    from,
                }
            }
            _ => Typed::UNKNOWN,
        }
    }

    fn cell(path: String, is_top: bool, data_type: &DataType) -> Typed {
        let kind =
            match data_type {
                DataType::Dictionary(_, values) => return Typed::cell(path, is_top, values),
                DataType::RunEndEncoded(_, values) => {
                    return Typed::cell(path, is_top, values.data_type());
                }
                DataType::Boolean => Kind::Bool,
                DataType::List(item)
                | DataType::LargeList(item)
                | DataType::FixedSizeList(item, _)
                | DataType::ListView(item)
                | DataType::LargeListView(item) => Kind::List(vec![Typed::cell(
                    format!("{path}[…]"),
                    false,
                    item.data_type(),
                )]),
                DataType::Struct(fields) => Kind::Struct(fields.clone()),
                DataType::Map(entries, _) => match entries.data_type() {
                    DataType::Struct(fields) if fields.len() == 2 => Kind::Map(Box::new(
                        Typed::cell(format!("{path}[…]"), false, fields[1].data_type()),
                    )),
                    _ => Kind::Unknown,
                },
                _ if data_type.is_integer() || data_type.is_floating() => Kind::Number,
                DataType::Interval(_) => Kind::Unknown,
                _ if data_type.is_string() || data_type.is_temporal() || data_type.is_decimal() => {
                    Kind::Text
                }
                _ => Kind::Unknown,
            };
        let is_itself = data_type.is_string();
        Typed {
            kind,
            from: Some(From {
                path,
                is_top,
                data_type: data_type.clone(),
                is_itself,
            }),
        }
    }

    fn field(&self, name: &str) -> Typed {
        let path = self
            .from
            .as_ref()
            .map_or_else(String::new, |from| format!("{}.{name}", from.path));
        match &self.kind {
            Kind::Struct(fields) => match fields.find(name) {
                Some((_, field)) => Typed::cell(path, false, field.data_type()),
                None => Typed::UNKNOWN,
            },
            Kind::Map(value) => (**value).clone(),
            Kind::Loop => match name {
                "index" | "index0" | "revindex" | "revindex0" | "length" | "depth" | "depth0" => {
                    Typed::of(Kind::Number)
                }
                "first" | "last" => Typed::of(Kind::Bool),
                _ => Typed::UNKNOWN,
            },
            _ => Typed::UNKNOWN,
        }
    }

    /// An item of a list, or what a loop over it goes through.
    fn item(&self) -> Typed {
        match &self.kind {
            Kind::List(items) => items
                .iter()
                .cloned()
                .reduce(Typed::or)
                .unwrap_or(Typed::UNKNOWN),
            Kind::Struct(_) | Kind::Row | Kind::Map(_) => Typed::of(Kind::Text),
            _ => Typed::UNKNOWN,
        }
    }
}

/// An argument: its name, if it has one; what it is, and its line; and the text that it is, where
/// it is a constant.
type Argument<'a> = (Option<&'a str>, (Typed, usize), Option<String>);

struct Checker<'a> {
    place: &'a Place<'a>,
    /// Whether a name that was not set here may have been set elsewhere.
    opaque: bool,
    scopes: Vec<BTreeMap<String, Typed>>,
    macros: BTreeMap<String, &'a ast::Macro<'a>>,
    calls: usize,
    depth: usize,
    findings: Findings,
}

impl<'a> Checker<'a> {
    fn column(&self, name: &str) -> Option<Typed> {
        let field = self.place.schema.field_with_name(name).ok()?;
        Some(Typed::cell(name.to_owned(), true, field.data_type()))
    }

    fn lookup(&self, name: &str) -> Typed {
        if let Some(found) = self.scopes.iter().rev().find_map(|scope| scope.get(name)) {
            return found.clone();
        }
        if self.opaque && self.place.assigned.contains(name) {
            return Typed::UNKNOWN;
        }
        match name {
            "row" => Typed::of(Kind::Row),
            _ => self.column(name).unwrap_or(Typed::UNKNOWN),
        }
    }

    fn set(&mut self, name: &str, typed: Typed) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), typed);
        }
    }

    fn assign(&mut self, target: &Expr<'_>, typed: &Typed) {
        match target {
            Expr::Var(var) => self.set(var.id, typed.clone()),
            Expr::List(list) => list
                .items
                .iter()
                .for_each(|item| self.assign(item, &Typed::UNKNOWN)),
            Expr::Tuple(tuple) => tuple
                .items
                .iter()
                .for_each(|item| self.assign(item, &Typed::UNKNOWN)),
            // A field of a namespace is looked up in it, and that is not known.
            _ => {}
        }
    }

    // -- statements --

    fn statements<'t: 'a>(&mut self, body: &'t [Stmt<'a>]) {
        body.iter().for_each(|statement| self.statement(statement));
    }

    /// A body with names of its own.
    fn scoped<'t: 'a>(&mut self, names: Vec<(&str, Typed)>, body: &'t [Stmt<'a>]) {
        self.scopes.push(
            names
                .into_iter()
                .map(|(name, typed)| (name.to_owned(), typed))
                .collect(),
        );
        self.statements(body);
        self.scopes.pop();
    }

    fn statement<'t: 'a>(&mut self, statement: &'t Stmt<'a>) {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emit) => {
                self.infer(&emit.expr);
            }
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => {}
            Stmt::ForLoop(each) => self.each(each),
            Stmt::IfCond(choice) => {
                self.condition(&choice.expr);
                let before = self.scopes.clone();
                self.statements(&choice.true_body);
                let after = std::mem::replace(&mut self.scopes, before);
                self.statements(&choice.false_body);
                self.merge(after);
            }
            Stmt::WithBlock(with) => {
                self.scopes.push(BTreeMap::new());
                for (target, value) in &with.assignments {
                    let typed = self.infer(value);
                    self.assign(target, &typed);
                }
                self.statements(&with.body);
                self.scopes.pop();
            }
            Stmt::Set(set) => {
                let typed = self.infer(&set.expr);
                self.assign(&set.target, &typed);
            }
            Stmt::SetBlock(set) => {
                self.scoped(Vec::new(), &set.body);
                self.assign(&set.target, &Typed::of(Kind::Text));
            }
            Stmt::AutoEscape(escape) => self.scoped(Vec::new(), &escape.body),
            Stmt::FilterBlock(filter) => {
                self.scoped(Vec::new(), &filter.body);
                self.infer(&filter.filter);
            }
            Stmt::Block(block) => {
                let opaque = std::mem::replace(&mut self.opaque, true);
                let scopes = std::mem::replace(&mut self.scopes, vec![BTreeMap::new()]);
                self.statements(&block.body);
                (self.opaque, self.scopes) = (opaque, scopes);
            }
            Stmt::Import(import) => self.assign(&import.name, &Typed::UNKNOWN),
            Stmt::FromImport(from) => {
                for (name, alias) in &from.names {
                    self.assign(alias.as_ref().unwrap_or(name), &Typed::UNKNOWN);
                }
            }
            Stmt::Extends(extends) => {
                self.infer(&extends.name);
            }
            Stmt::Include(include) => {
                self.infer(&include.name);
            }
            Stmt::Macro(declared) => {
                self.macros.insert(declared.name.to_owned(), declared);
                self.set(declared.name, Typed::UNKNOWN);
                self.body(declared, |_| Typed::UNKNOWN);
            }
            Stmt::CallBlock(call) => {
                self.call(&call.call);
                self.body(&call.macro_decl, |_| Typed::UNKNOWN);
            }
            Stmt::Do(call) => {
                self.call(&call.call);
            }
        }
    }

    fn each<'t: 'a>(&mut self, each: &'t ast::ForLoop<'a>) {
        let over = self.infer(&each.iter);
        self.scopes.push(BTreeMap::new());
        // A later round sees what an earlier one has set.
        let mut names = Vec::new();
        assigned_in(&each.body, &mut names);
        names
            .into_iter()
            .for_each(|name| self.set(name, Typed::UNKNOWN));
        self.assign(&each.target, &over.item());
        self.set("loop", Typed::of(Kind::Loop));
        if let Some(filter) = &each.filter_expr {
            self.condition(filter);
        }
        self.statements(&each.body);
        self.scopes.pop();
        self.scoped(Vec::new(), &each.else_body);
    }

    /// The names after a branch, of which either may have been taken.
    fn merge(&mut self, other: Vec<BTreeMap<String, Typed>>) {
        for (depth, theirs) in other.into_iter().enumerate() {
            let Some(ours) = self.scopes.get(depth) else {
                continue;
            };
            let names: BTreeSet<String> = ours.keys().chain(theirs.keys()).cloned().collect();
            for name in names {
                let (a, b) = (
                    self.scopes[depth].get(&name).cloned(),
                    theirs.get(&name).cloned(),
                );
                let unset = || match self.opaque && self.place.assigned.contains(name.as_str()) {
                    true => Typed::UNKNOWN,
                    // A name that is not set at all is an error when it is used.
                    false => self.column(&name).unwrap_or(Typed::of(Kind::None)),
                };
                let either = a.unwrap_or_else(unset).or(b.unwrap_or_else(unset));
                self.scopes[depth].insert(name, either);
            }
        }
    }

    /// The body of a macro, which sees its arguments and the names of the row.
    fn body<'t: 'a>(&mut self, declared: &'t ast::Macro<'a>, argument: impl Fn(&str) -> Typed) {
        let mut scope = BTreeMap::from([("caller".to_owned(), Typed::UNKNOWN)]);
        for target in &declared.args {
            if let Expr::Var(var) = target {
                scope.insert(var.id.to_owned(), argument(var.id));
            }
        }
        let opaque = std::mem::replace(&mut self.opaque, true);
        let scopes = std::mem::replace(&mut self.scopes, vec![scope]);
        declared.defaults.iter().for_each(|default| {
            self.infer(default);
        });
        self.statements(&declared.body);
        (self.opaque, self.scopes) = (opaque, scopes);
    }

    // -- expressions --

    /// An expression of which only whether it is true counts.
    fn condition(&mut self, expr: &Expr<'a>) {
        match expr {
            Expr::UnaryOp(op) if matches!(op.op, UnaryOpKind::Not) => self.condition(&op.expr),
            Expr::BinOp(op) if matches!(op.op, BinOpKind::ScAnd | BinOpKind::ScOr) => {
                self.condition(&op.left);
                self.condition(&op.right);
            }
            _ => {
                let typed = self.infer(expr);
                self.note_condition(&typed, line_of(expr));
            }
        }
    }

    fn note_condition(&mut self, typed: &Typed, line: usize) {
        if let Some(from) = typed
            .from
            .as_ref()
            .filter(|from| from.is_itself && from.is_top)
            && self
                .findings
                .conditions
                .iter()
                .all(|(_, known)| *known != from.path)
        {
            self.findings.conditions.push((line, from.path.clone()));
        }
    }

    fn infer(&mut self, expr: &Expr<'a>) -> Typed {
        match expr {
            Expr::Var(var) => self.lookup(var.id),
            Expr::Const(constant) => Typed::of(match constant.value.kind() {
                ValueKind::None => Kind::None,
                ValueKind::Bool => Kind::Bool,
                ValueKind::Number => Kind::Number,
                ValueKind::String => Kind::Text,
                _ => Kind::Unknown,
            }),
            Expr::Slice(slice) => {
                let typed = self.infer(&slice.expr);
                for bound in [&slice.start, &slice.stop, &slice.step]
                    .into_iter()
                    .flatten()
                {
                    self.infer(bound);
                }
                match &typed.kind {
                    Kind::Text => typed.become_kind(Kind::Text),
                    Kind::List(_) => typed,
                    _ => Typed::UNKNOWN,
                }
            }
            Expr::UnaryOp(op) => match op.op {
                UnaryOpKind::Not => {
                    self.condition(&op.expr);
                    Typed::of(Kind::Bool)
                }
                UnaryOpKind::Neg => {
                    let typed = self.infer(&op.expr);
                    if typed.kind == Kind::Number {
                        typed
                    } else {
                        Typed::UNKNOWN
                    }
                }
            },
            Expr::BinOp(op) => self.binary(op),
            Expr::Compare(compare) => {
                let mut left = (self.infer(&compare.expr), line_of(&compare.expr));
                for op in &compare.ops {
                    let right = (self.infer(&op.expr), line_of(&op.expr));
                    match op.op {
                        CompareOpKind::In | CompareOpKind::NotIn => self.contains(&left, &right),
                        _ => self.compare(&left, &right),
                    }
                    left = right;
                }
                Typed::of(Kind::Bool)
            }
            Expr::IfExpr(choice) => {
                self.condition(&choice.test_expr);
                let yes = self.infer(&choice.true_expr);
                match &choice.false_expr {
                    Some(no) => {
                        let no = self.infer(no);
                        yes.or(no)
                    }
                    None => yes,
                }
            }
            Expr::Filter(filter) => {
                let input = match &filter.expr {
                    Some(expr) => self.infer(expr),
                    None => Typed::of(Kind::Text),
                };
                let args = self.arguments(&filter.args);
                self.filter(filter.name, line_of(expr), input, &args)
            }
            Expr::Test(test) => {
                let left = (self.infer(&test.expr), line_of(&test.expr));
                let args = self.arguments(&test.args);
                self.test(test.name, &left, args.first().map(|arg| &arg.1));
                Typed::of(Kind::Bool)
            }
            Expr::GetAttr(attr) => {
                let of = self.infer(&attr.expr);
                match of.kind {
                    Kind::Row => self.column(attr.name).unwrap_or(Typed::UNKNOWN),
                    _ => of.field(attr.name),
                }
            }
            Expr::GetItem(item) => {
                let of = self.infer(&item.expr);
                self.infer(&item.subscript_expr);
                let key = item.subscript_expr.as_const();
                match (&of.kind, key.as_ref().and_then(|key| key.as_str())) {
                    (Kind::Row, Some(name)) => self.column(name).unwrap_or(Typed::UNKNOWN),
                    (Kind::Struct(_), Some(name)) => of.field(name),
                    (Kind::Map(value), _) => (**value).clone(),
                    (Kind::List(_), None) => of.item(),
                    (Kind::Text, None) => of.become_kind(Kind::Text),
                    _ => Typed::UNKNOWN,
                }
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => Typed::of(Kind::List(self.all(&list.items))),
            Expr::Tuple(tuple) => Typed::of(Kind::List(self.all(&tuple.items))),
            Expr::Map(map) => {
                self.all(&map.keys);
                let values = self.all(&map.values);
                Typed::of(Kind::Map(Box::new(
                    values
                        .into_iter()
                        .reduce(Typed::or)
                        .unwrap_or(Typed::UNKNOWN),
                )))
            }
        }
    }

    fn all(&mut self, exprs: &[Expr<'a>]) -> Vec<Typed> {
        exprs.iter().map(|expr| self.infer(expr)).collect()
    }

    /// The arguments of a call, with their names.
    fn arguments(&mut self, args: &[CallArg<'a>]) -> Vec<Argument<'a>> {
        let mut found = Vec::new();
        for arg in args {
            let (name, expr) = match arg {
                CallArg::Pos(expr) => (None, expr),
                CallArg::Kwarg(name, expr) => (Some(*name), expr),
                CallArg::PosSplat(expr) | CallArg::KwargSplat(expr) => {
                    self.infer(expr);
                    continue;
                }
            };
            let word = expr
                .as_const()
                .and_then(|value| value.as_str().map(str::to_owned));
            found.push((name, (self.infer(expr), line_of(expr)), word));
        }
        found
    }

    fn binary(&mut self, op: &ast::BinOp<'a>) -> Typed {
        let left = (self.infer(&op.left), line_of(&op.left));
        let right = (self.infer(&op.right), line_of(&op.right));
        match op.op {
            BinOpKind::Eq
            | BinOpKind::Ne
            | BinOpKind::Lt
            | BinOpKind::Lte
            | BinOpKind::Gt
            | BinOpKind::Gte => {
                self.compare(&left, &right);
                Typed::of(Kind::Bool)
            }
            BinOpKind::In => {
                self.contains(&left, &right);
                Typed::of(Kind::Bool)
            }
            BinOpKind::ScAnd | BinOpKind::ScOr => left.0.or(right.0),
            BinOpKind::Concat => Typed {
                kind: Kind::Text,
                ..made_of(&left.0, &right.0)
            },
            BinOpKind::Add if left.0.kind == Kind::Text && right.0.kind == Kind::Text => Typed {
                kind: Kind::Text,
                ..made_of(&left.0, &right.0)
            },
            _ if left.0.kind == Kind::Number && right.0.kind == Kind::Number => Typed {
                kind: Kind::Number,
                ..made_of(&left.0, &right.0)
            },
            _ => Typed::UNKNOWN,
        }
    }

    fn call(&mut self, call: &ast::Call<'a>) -> Typed {
        let args = self.arguments(&call.args);
        let Expr::Var(var) = &call.expr else {
            if let Expr::GetAttr(attr) = &call.expr {
                self.infer(&attr.expr);
            }
            return Typed::UNKNOWN;
        };
        if var.id == "range" {
            return Typed::of(Kind::List(vec![Typed::of(Kind::Number)]));
        }
        let Some(&declared) = self.macros.get(var.id) else {
            return Typed::UNKNOWN;
        };
        if self.calls < MOST_CALLS && self.depth < MOST_DEPTH {
            (self.calls, self.depth) = (self.calls + 1, self.depth + 1);
            let by_place: Vec<&Typed> = args
                .iter()
                .filter(|arg| arg.0.is_none())
                .map(|arg| &arg.1.0)
                .collect();
            let is_plain = args.len() == call.args.len();
            let names: Vec<&str> = declared
                .args
                .iter()
                .map(|arg| if let Expr::Var(var) = arg { var.id } else { "" })
                .collect();
            self.body(declared, |name| {
                let named = args
                    .iter()
                    .find(|arg| arg.0 == Some(name))
                    .map(|arg| &arg.1.0);
                let placed = names
                    .iter()
                    .position(|known| *known == name)
                    .and_then(|at| by_place.get(at).copied());
                named
                    .or(placed)
                    .filter(|_| is_plain)
                    .cloned()
                    .unwrap_or(Typed::UNKNOWN)
            });
            self.depth -= 1;
        }
        Typed::of(Kind::Text)
    }

    /// What a filter makes.
    fn filter(&mut self, name: &str, line: usize, input: Typed, args: &[Argument<'a>]) -> Typed {
        let word = |at: usize| args.get(at).and_then(|arg| arg.2.as_deref());
        match name {
            "trim" | "lower" | "upper" | "title" | "capitalize" | "string" | "safe"
                if input.kind == Kind::Text =>
            {
                input
            }
            "default" | "d" => match args
                .iter()
                .find(|arg| !matches!(arg.0, Some("boolean" | "falsy")))
            {
                Some(other) => {
                    let is_itself = input.from.as_ref().is_some_and(|from| from.is_itself);
                    let mut either = input.or(other.1.0.clone());
                    // The text that stands in for a null takes nothing from the text that is there.
                    either
                        .from
                        .iter_mut()
                        .for_each(|from| from.is_itself = is_itself && from.data_type.is_string());
                    either
                }
                None => input.or(Typed::of(Kind::Text)),
            },
            "bool" => {
                self.note_condition(&input, line);
                input.become_kind(Kind::Bool)
            }
            "upper" | "lower" | "title" | "capitalize" | "trim" | "replace" | "join" | "string"
            | "truncate" | "truncate_words" | "oneline" | "slug" | "hash" | "base64" | "json"
            | "tojson" | "date" | "number" | "urlencode" | "indent" | "escape" | "e" | "format"
            | "pprint" | "safe" => input.become_kind(Kind::Text),
            "length" | "count" => Typed::of(Kind::Number),
            "int" | "float" => match args.first().map(|arg| arg.1.0.kind.clone()) {
                None | Some(Kind::Number) => input.become_kind(Kind::Number),
                Some(_) => Typed::UNKNOWN,
            },
            "abs" | "round" if input.kind == Kind::Number => input,
            "first" | "last" | "min" | "max" => match input.kind {
                Kind::Text => input.become_kind(Kind::Text),
                Kind::List(_) => input.item(),
                _ => Typed::UNKNOWN,
            },
            "list" | "sort" | "unique" | "reverse" if matches!(input.kind, Kind::List(_)) => input,
            "split" | "lines" => input.become_kind(Kind::List(vec![Typed::of(Kind::Text)])),
            "attr" => match word(0) {
                Some(field) => input.field(field),
                None => Typed::UNKNOWN,
            },
            "map" => match (
                word(0),
                args.iter()
                    .find(|arg| arg.0 == Some("attribute"))
                    .and_then(|arg| arg.2.as_deref()),
            ) {
                (_, Some(path)) => {
                    let item = path
                        .split('.')
                        .fold(input.item(), |item, part| item.field(part));
                    Typed::of(Kind::List(vec![item]))
                }
                (Some(filter), None) if args.len() == 1 => {
                    let item = self.filter(filter, line, input.item(), &[]);
                    Typed::of(Kind::List(vec![item]))
                }
                _ => Typed::UNKNOWN,
            },
            "select" | "reject" => {
                if let Some(test) = word(0) {
                    self.test(test, &(input.item(), line), args.get(1).map(|arg| &arg.1));
                }
                if matches!(input.kind, Kind::List(_)) {
                    input
                } else {
                    Typed::UNKNOWN
                }
            }
            "selectattr" | "rejectattr" => {
                if let (Some(path), Some(test)) = (word(0), word(1)) {
                    let item = path
                        .split('.')
                        .fold(input.item(), |item, part| item.field(part));
                    self.test(test, &(item, line), args.get(2).map(|arg| &arg.1));
                }
                if matches!(input.kind, Kind::List(_)) {
                    input
                } else {
                    Typed::UNKNOWN
                }
            }
            _ => Typed::UNKNOWN,
        }
    }

    fn test(&mut self, name: &str, left: &(Typed, usize), right: Option<&(Typed, usize)>) {
        match (name, right) {
            (
                "eq" | "equalto" | "==" | "ne" | "!=" | "lt" | "lessthan" | "<" | "le" | "<="
                | "gt" | "greaterthan" | ">" | "ge" | ">=" | "sameas",
                Some(right),
            ) => self.compare(left, right),
            ("in", Some(right)) => self.contains(left, right),
            ("true" | "false", _) if left.0.class().is_some_and(|class| class != Class::Bool) => {
                self.clash(left, &(Typed::of(Kind::Bool), left.1));
            }
            _ => {}
        }
    }

    // -- comparisons --

    fn compare(&mut self, left: &(Typed, usize), right: &(Typed, usize)) {
        if left.0.kind == Kind::None || right.0.kind == Kind::None {
            self.findings.clashes.push(Clash::None { line: left.1 });
        } else if are_foreign(&left.0, &right.0) {
            self.clash(left, right);
        }
    }

    fn contains(&mut self, item: &(Typed, usize), container: &(Typed, usize)) {
        match &container.0.kind {
            Kind::List(items)
                if !items.is_empty() && items.iter().all(|other| are_foreign(&item.0, other)) =>
            {
                self.clash(item, &(items[0].clone(), container.1));
            }
            Kind::Struct(_) | Kind::Row if are_foreign(&item.0, &Typed::of(Kind::Text)) => {
                self.clash(item, &(Typed::of(Kind::Text), container.1));
            }
            _ => {}
        }
    }

    /// Notes a comparison, if a column takes part in it.
    fn clash(&mut self, left: &(Typed, usize), right: &(Typed, usize)) {
        // Of two columns the text is the one that may have got the wrong type.
        let is_text = |side: &(Typed, usize)| {
            side.0
                .from
                .as_ref()
                .is_some_and(|from| from.data_type.is_string())
        };
        let (subject, other) = match (&left.0.from, &right.0.from) {
            (None, None) => return,
            (None, Some(_)) => (right, left),
            (Some(_), Some(_)) if is_text(right) && !is_text(left) => (right, left),
            _ => (left, right),
        };
        let (Some(from), Some(class), Some(with)) =
            (&subject.0.from, subject.0.class(), other.0.class())
        else {
            return;
        };
        let clash = Clash::Types {
            line: subject.1,
            column: from.path.clone(),
            is: subject.0.words(class),
            with: match &other.0.from {
                Some(column) => format!(
                    "the column `{}`, which is {}",
                    column.path,
                    other.0.words(with)
                ),
                None => words(with).to_owned(),
            },
            way_out: way_out(from, class, with, other.0.from.is_some()),
        };
        if !self.findings.clashes.contains(&clash) {
            self.findings.clashes.push(clash);
        }
    }
}

/// Made of the column of the one or the other.
fn made_of(left: &Typed, right: &Typed) -> Typed {
    let from = left
        .from
        .clone()
        .or_else(|| right.from.clone())
        .map(|from| From {
            is_itself: false,
            ..from
        });
    Typed {
        kind: Kind::Unknown,
        from,
    }
}

/// Whether a comparison of two types cannot depend on their values. The engine takes booleans for
/// the numbers 0 and 1.
fn are_foreign(left: &Typed, right: &Typed) -> bool {
    match (left.class(), right.class()) {
        (Some(Class::Bool), Some(Class::Number)) | (Some(Class::Number), Some(Class::Bool)) => {
            false
        }
        (Some(left), Some(right)) => left != right,
        _ => false,
    }
}

fn line_of(expr: &Expr<'_>) -> usize {
    match expr {
        // These begin where the token before them does.
        Expr::BinOp(op) => line_of(&op.left),
        Expr::Compare(compare) => line_of(&compare.expr),
        Expr::IfExpr(choice) => line_of(&choice.true_expr),
        _ => expr.span().start_line.into(),
    }
}

/// The names that statements set in the scope they stand in.
fn assigned_in<'b>(body: &'b [Stmt<'_>], names: &mut Vec<&'b str>) {
    fn target<'b>(expr: &'b Expr<'_>, names: &mut Vec<&'b str>) {
        match expr {
            Expr::Var(var) => names.push(var.id),
            Expr::List(list) => list.items.iter().for_each(|item| target(item, names)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| target(item, names)),
            _ => {}
        }
    }
    for statement in body {
        match statement {
            Stmt::Set(set) => target(&set.target, names),
            Stmt::SetBlock(set) => target(&set.target, names),
            Stmt::IfCond(choice) => {
                assigned_in(&choice.true_body, names);
                assigned_in(&choice.false_body, names);
            }
            _ => {}
        }
    }
}

fn words(class: Class) -> &'static str {
    match class {
        Class::Bool => "a boolean",
        Class::Number => "a number",
        Class::Text => "text",
        Class::List => "a list",
        Class::Object => "an object",
    }
}

impl Typed {
    /// What it is in words, by its column's type where that is what is compared.
    fn words(&self, class: Class) -> String {
        let Some(from) = &self.from else {
            return words(class).to_owned();
        };
        let own = Typed::cell(String::new(), from.is_top, &from.data_type).class();
        match &from.data_type {
            _ if own != Some(class) => format!("{}, as it is written here,", words(class)),
            DataType::Date32 | DataType::Date64 => {
                "a date, which is text to a template,".to_owned()
            }
            other if other.is_temporal() => "a time, which is text to a template,".to_owned(),
            other if other.is_decimal() => {
                "a decimal, which is text to a template so that it keeps its digits,".to_owned()
            }
            _ => words(class).to_owned(),
        }
    }
}

/// What to write instead.
fn way_out(from: &From, is: Class, with: Class, is_column: bool) -> String {
    let setting = |data_type: &str| {
        let key = match from
            .path
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        {
            true => from.path.clone(),
            false => format!("{:?}", from.path),
        };
        format!("`columns.{key} = \"{data_type}\"` under `[source]`")
    };
    let can_be_set = from.is_top && from.data_type.is_string();
    match (is, with) {
        (Class::Text, Class::Number) if can_be_set => {
            format!(
                "write `|int` or `|float` behind the column, or set {}",
                setting("int64")
            )
        }
        (Class::Text, Class::Number) if from.data_type.is_temporal() => {
            "compare it with text, such as `\"2026-01-31\"`".to_owned()
        }
        (Class::Text, Class::Number) if from.data_type.is_numeric() => {
            "write `|float` behind the column".to_owned()
        }
        (Class::Text, Class::Number) => "write `|int` or `|float` behind it".to_owned(),
        (Class::Text, Class::Bool) if can_be_set => {
            format!(
                "set {}, or compare it with text, such as `\"true\"`",
                setting("bool")
            )
        }
        (Class::Text, Class::Bool) => "compare it with text, such as `\"true\"`".to_owned(),
        (Class::Number, Class::Text) if is_column => {
            "write `|int` or `|float` behind the text".to_owned()
        }
        (Class::Number, Class::Text) => "write the number without quotes".to_owned(),
        (Class::Number, Class::Bool) => "compare it with a number, such as `1`".to_owned(),
        (Class::Bool, Class::Text) => "write `true` or `false` without quotes".to_owned(),
        (Class::List, _) => "ask with `in` what is in it, or compare one of its items".to_owned(),
        (Class::Object, _) => "compare one of its fields".to_owned(),
        (_, Class::List | Class::Object) => "ask with `in` whether it is one of them".to_owned(),
        _ => format!("compare it with {}", words(is)),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    fn schema() -> Schema {
        let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
        let list = |item: DataType| DataType::List(field("item", item).into());
        let meta = vec![
            field("score", DataType::Int64),
            field("name", DataType::Utf8),
            field("ok", DataType::Boolean),
            field(
                "deep",
                DataType::Struct(vec![field("n", DataType::Float64)].into()),
            ),
        ];
        Schema::new(vec![
            field("active", DataType::Utf8),
            field("zip", DataType::Utf8),
            field("Customer name", DataType::LargeUtf8),
            field("flag", DataType::Boolean),
            field("n", DataType::Int64),
            field("f", DataType::Float64),
            field("due", DataType::Date32),
            field("price", DataType::Decimal128(10, 2)),
            field("meta", DataType::Struct(meta.into())),
            field("tags", list(DataType::Utf8)),
            field("nums", list(DataType::Int64)),
            field(
                "people",
                list(DataType::Struct(vec![field("age", DataType::Int64)].into())),
            ),
            field("void", DataType::Null),
            field(
                "kind",
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            ),
        ])
    }

    fn findings(source: &str) -> Findings {
        let schema = schema();
        let facts = super::super::scan::scan(source);
        let assigned = facts.assigned.iter().map(String::as_str).collect();
        parse(source, "t", SyntaxConfig::default()).unwrap_or_else(|e| panic!("{source}: {e}"));
        check(
            source,
            "t",
            &SyntaxConfig::default(),
            &Place {
                schema: &schema,
                assigned: &assigned,
                is_root: true,
            },
        )
    }

    #[test]
    fn finds_comparisons_that_are_the_same_for_every_row_however_they_are_written() {
        for (source, column) in [
            ("{{ active == true }}", "active"),
            ("{{ true == active }}", "active"),
            ("{{ active != false }}", "active"),
            ("{{ flag == 'true' }}", "flag"),
            ("{{ flag in ['true', 'yes'] }}", "flag"),
            ("{{ active in [1, 2] }}", "active"),
            ("{{ active not in (1, 2) }}", "active"),
            ("{{ n in ['1', '2'] }}", "n"),
            ("{{ n == '1' }}", "n"),
            ("{{ f < 'a' }}", "f"),
            ("{{ zip > 100 }}", "zip"),
            ("{{ zip > -100 }}", "zip"),
            ("{{ 0 < zip < 9 }}", "zip"),
            ("{{ zip is eq(1) }}", "zip"),
            ("{{ zip is equalto 1 }}", "zip"),
            ("{{ zip is gt(1) and n }}", "zip"),
            ("{{ zip is not lessthan 3 }}", "zip"),
            ("{{ zip is in [1, 2] }}", "zip"),
            ("{{ active is true }}", "active"),
            ("{{ active is not false }}", "active"),
            ("{{ zip|upper == 1 }}", "zip"),
            ("{{ zip|trim|replace('a', 'b') >= 1 }}", "zip"),
            ("{{ (zip) == 1 }}", "zip"),
            ("{{ ((zip)) == (1) }}", "zip"),
            ("{{ zip == 1 + 2 }}", "zip"),
            ("{{ zip == n }}", "zip"),
            ("{{ n == zip }}", "zip"),
            ("{{ zip == flag }}", "zip"),
            ("{{ zip == meta.score }}", "zip"),
            ("{% set v = zip %}{{ v == 1 }}", "zip"),
            (
                "{% set v = zip|lower %}{% set w = v %}{% if w == 1 %}{% endif %}",
                "zip",
            ),
            ("{% set one = 1 %}{{ zip == one }}", "zip"),
            (
                "{% if n %}{% set v = zip %}{% else %}{% set v = zip %}{% endif %}{{ v == 1 }}",
                "zip",
            ),
            ("{% with v = zip %}{{ v > 3 }}{% endwith %}", "zip"),
            ("{{ due > 20260101 }}", "due"),
            ("{{ due == n }}", "due"),
            ("{{ price > 5 }}", "price"),
            ("{{ meta.score == '5' }}", "meta.score"),
            ("{{ meta['name'] == 5 }}", "meta.name"),
            ("{{ meta.ok == 'yes' }}", "meta.ok"),
            ("{{ row.meta.deep.n == 'x' }}", "meta.deep.n"),
            ("{{ row.zip == 1 }}", "zip"),
            ("{{ row['Customer name'] == 1 }}", "Customer name"),
            ("{{ kind == 1 }}", "kind"),
            ("{{ 'a' if zip == 1 else 'b' }}", "zip"),
            ("{% if n %}{% elif zip == 1 %}{% endif %}", "zip"),
            ("{% for t in tags %}{{ t == 1 }}{% endfor %}", "tags[…]"),
            ("{% for t in nums if t == '1' %}{% endfor %}", "nums[…]"),
            (
                "{% for p in people %}{{ p.age > '3' }}{% endfor %}",
                "people[…].age",
            ),
            (
                "{{ people|selectattr('age', 'gt', '3')|list }}",
                "people[…].age",
            ),
            ("{{ tags|select('eq', 1)|list }}", "tags[…]"),
            ("{{ tags[0] == 1 }}{{ tags|first == 1 }}", "tags[…]"),
            ("{{ 1 in tags }}", "tags[…]"),
            ("{{ n in tags }}", "tags[…]"),
            ("{{ tags == 'a' }}", "tags"),
            ("{{ meta == 'a' }}", "meta"),
            (
                "{% for i in range(3) %}{{ loop.index == zip }}{{ i == zip }}{% endfor %}",
                "zip",
            ),
            (
                "{% macro m(x) %}{{ x == true }}{% endmacro %}{{ m(active) }}",
                "active",
            ),
            (
                "{% macro m(x, y='a') %}{{ y == 1 }}{% endmacro %}{{ m(1, y=zip) }}",
                "zip",
            ),
            ("{% macro m() %}{{ zip == 1 }}{% endmacro %}", "zip"),
            ("{{ (zip if n else zip) == 1 }}", "zip"),
            ("{{ n|string == 5 }}", "n"),
            ("{{ zip|int == '5' }}", "zip"),
            ("{{ tags|length == '5' or zip == 1 }}", "zip"),
            (
                "{{ [zip == 1] }}{{ {'a': zip == 1}.a }}{{ f(zip == 1) }}",
                "zip",
            ),
            ("{{ not zip == 1 }}", "zip"),
            ("{% filter replace(zip == 1, 'a') %}{% endfilter %}", "zip"),
            ("{% block b %}{{ zip == 1 }}{% endblock %}", "zip"),
        ] {
            let found = findings(source);
            let [
                Clash::Types {
                    line: 1,
                    column: named,
                    ..
                },
                ..,
            ] = found.clashes.as_slice()
            else {
                panic!("{source}: {found:?}")
            };
            assert_eq!(named, column, "{source}");
        }
    }

    #[test]
    fn finds_comparisons_with_none_and_the_lines_of_all() {
        for source in [
            "{{ a == none }}",
            "{{ None != n }}",
            "{{ n is eq(none) }}",
            "{% set x = none %}{{ n == x }}",
            "{{ n > none }}",
        ] {
            assert_eq!(
                findings(source).clashes,
                [Clash::None { line: 1 }],
                "{source}"
            );
        }
        let lines = |source: &str| {
            findings(source)
                .clashes
                .iter()
                .map(Clash::line)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            lines(
                "a\n{% if n\n and\n zip == 1 %}\n{{ 1 ==\nzip }}{% endif %}{{ 3 }}\n{{ n == '1' }}"
            ),
            [4, 6, 7]
        );
    }

    #[test]
    fn raises_no_false_alarm() {
        for source in [
            "{{ n == 1 }}{{ n == 1.0 }}{{ f > 3 }}{{ n < f }}{{ n > -3 }}",
            "{{ flag == true }}{{ flag == 1 }}{{ flag in [true] }}{{ flag is true }}{{ n == true }}",
            "{{ active == 'true' }}{{ active == zip }}{{ active in ['a', 'b'] }}{{ active in 'abc' }}{{ 'a' in active }}",
            "{{ active in [1, 'a'] }}{{ active in [] }}{{ n in nums }}{{ 'a' in tags }}{{ n in [1, x] }}",
            "{{ due > '2026-01-01' }}{{ due < row.due }}{{ price == '5.00' }}{{ price|float > 5 }}",
            "{{ zip|int > 5 }}{{ zip|float|round(1) > 5.0 }}{{ zip|length > 5 }}{{ zip|int(0) == 0 }}",
            "{{ n is none }}{{ n is not none }}{{ n is defined }}{{ n is string }}{{ n is divisibleby 3 }}",
            "{{ void == 1 }}{{ void == 'a' }}{{ meta.other == 1 }}{{ unknown == 1 }}{{ row[zip] == 1 }}",
            "{% set v = zip %}{% set v = 3 %}{{ v == 1 }}",
            "{% set zip = zip|int %}{{ zip == 1 }}",
            "{% if n %}{% set v = zip %}{% else %}{% set v = 1 %}{% endif %}{{ v == 1 }}",
            "{% set v = 'a' %}{% for t in tags %}{{ v == 1 }}{% set v = 2 %}{% endfor %}",
            "{% for zip in nums %}{{ zip == 1 }}{% endfor %}{% for k, v in row|items %}{{ v == 1 }}{% endfor %}",
            "{% macro m(zip) %}{{ zip == 1 }}{% endmacro %}{{ m(3) }}",
            "{% macro m(x) %}{{ x == 1 }}{{ x == 'a' }}{% endmacro %}",
            "{% with zip = 1 %}{{ zip == 1 }}{% endwith %}",
            "{% set ns = namespace(v='a') %}{% set ns.v = 1 %}{{ ns.v == 1 }}",
            "{{ n|default('?') == '?' }}{{ zip|default(0) == 0 }}{{ (zip or 0) == 0 }}{{ (zip if n else 0) == 0 }}",
            "{{ (zip ~ n) == '1' }}{{ n|string == '5' }}{{ zip[0] == 'a' }}{{ zip[:2] == 'ab' }}",
            "{{ 'score' in meta }}{{ 'zip' in row }}{{ meta == row }}{{ tags == nums }}{{ tags == ['a'] }}",
            "{{ 1 == '1' }}{{ loop }}{{ people|map(attribute='age')|first > 3 }}{{ nums|max > 3 }}{{ nums|sum > 3 }}",
            "{% import 'x' as zip %}{{ zip == 1 }}",
        ] {
            assert_eq!(findings(source).clashes, [], "{source}");
        }
    }

    #[test]
    fn names_the_column_its_type_and_the_cure() {
        for (source, is, with, way_out) in [
            (
                "{{ active == true }}",
                "text",
                "a boolean",
                "set `columns.active = \"bool\"` under `[source]`, or compare it with text, such \
                 as `\"true\"`",
            ),
            (
                "{{ row['Customer name'] > 1 }}",
                "text",
                "a number",
                "write `|int` or `|float` behind the column, or set `columns.\"Customer name\" = \
                 \"int64\"` under `[source]`",
            ),
            (
                "{{ n == '1' }}",
                "a number",
                "text",
                "write the number without quotes",
            ),
            (
                "{{ flag == 'a' }}",
                "a boolean",
                "text",
                "write `true` or `false` without quotes",
            ),
            (
                "{{ zip == n }}",
                "text",
                "the column `n`, which is a number",
                "write `|int` or `|float` behind the column, or set `columns.zip = \"int64\"` \
                 under `[source]`",
            ),
            (
                "{{ due > 5 }}",
                "a date, which is text to a template,",
                "a number",
                "compare it with text, such as `\"2026-01-31\"`",
            ),
            (
                "{{ price > 5 }}",
                "a decimal, which is text to a template so that it keeps its digits,",
                "a number",
                "write `|float` behind the column",
            ),
            (
                "{{ n|string == 5 }}",
                "text, as it is written here,",
                "a number",
                "write `|float` behind the column",
            ),
        ] {
            let expected = Clash::Types {
                line: 1,
                column: findings(source)
                    .clashes
                    .first()
                    .map_or_else(String::new, |clash| match clash {
                        Clash::Types { column, .. } => column.clone(),
                        Clash::None { .. } => String::new(),
                    }),
                is: is.to_owned(),
                with: with.to_owned(),
                way_out: way_out.to_owned(),
            };
            assert_eq!(findings(source).clashes, [expected], "{source}");
        }
    }

    #[test]
    fn collects_text_columns_that_are_conditions() {
        for (source, columns) in [
            ("{% if active %}{% endif %}", vec!["active"]),
            (
                "{% if not active and n or zip %}{% endif %}",
                vec!["active", "zip"],
            ),
            ("{{ 'a' if active else 'b' }}", vec!["active"]),
            ("{% if n %}{% elif row.active %}{% endif %}", vec!["active"]),
            ("{{ not active }}", vec!["active"]),
            (
                "{% set v = active|lower|trim %}{% if v %}{% endif %}",
                vec!["active"],
            ),
            (
                "{% if active|default('false') %}{% endif %}{{ zip|bool }}",
                vec!["active", "zip"],
            ),
            ("{% for t in tags if active %}{% endfor %}", vec!["active"]),
            (
                "{% macro m(x) %}{% if x %}{% endif %}{% endmacro %}{{ m(active) }}",
                vec!["active"],
            ),
            (
                "{% if active == 'true' or flag or n or due or zip|length %}{% endif %}{{ zip or 'x' }}",
                vec![],
            ),
        ] {
            let found: Vec<String> = findings(source)
                .conditions
                .into_iter()
                .map(|(_, column)| column)
                .collect();
            assert_eq!(found, columns, "{source}");
        }
    }
}
