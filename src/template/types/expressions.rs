//! Expressions: the type of each, as far as it can be inferred.

use minijinja::machinery::ast::{self, BinOpKind, CallArg, CompareOpKind, Expr, UnaryOpKind};
use minijinja::value::ValueKind;

use super::statements::TypeChecker;
use super::{ColumnOrigin, Inferred, ValueType};

/// Macros are checked again for each call with the types of its arguments: this often in all,
const MOST_CALLS: usize = 200;
/// and this deep, because a macro may call itself.
const MOST_DEPTH: usize = 4;

/// An argument: its name, if it has one; what it is, and its line; and the text that it is, where
/// it is a constant.
pub(super) type Argument<'a> = (Option<&'a str>, (Inferred, usize), Option<String>);

impl<'a> TypeChecker<'a> {
    /// An expression that is used as a condition.
    pub(super) fn condition(&mut self, expr: &Expr<'a>) {
        match expr {
            Expr::UnaryOp(op) if matches!(op.op, UnaryOpKind::Not) => self.condition(&op.expr),
            Expr::BinOp(op) if matches!(op.op, BinOpKind::ScAnd | BinOpKind::ScOr) => {
                self.condition(&op.left);
                self.condition(&op.right);
            }
            _ => {
                let inferred = self.infer(expr);
                self.note_condition(&inferred, line_of(expr));
            }
        }
    }

    pub(super) fn note_condition(&mut self, inferred: &Inferred, line: usize) {
        if let Some(from) = inferred
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

    pub(super) fn infer(&mut self, expr: &Expr<'a>) -> Inferred {
        match expr {
            Expr::Var(var) => self.lookup(var.id),
            Expr::Const(constant) => Inferred::of(match constant.value.kind() {
                ValueKind::None => ValueType::None,
                ValueKind::Bool => ValueType::Boolean,
                ValueKind::Number => ValueType::Number,
                ValueKind::String => ValueType::Text,
                _ => ValueType::Unknown,
            }),
            Expr::Slice(slice) => {
                let inferred = self.infer(&slice.expr);
                for bound in [&slice.start, &slice.stop, &slice.step]
                    .into_iter()
                    .flatten()
                {
                    self.infer(bound);
                }
                match &inferred.value_type {
                    ValueType::Text => inferred.with_type(ValueType::Text),
                    ValueType::List(_) => inferred,
                    _ => Inferred::UNKNOWN,
                }
            }
            Expr::UnaryOp(op) => match op.op {
                UnaryOpKind::Not => {
                    self.condition(&op.expr);
                    Inferred::of(ValueType::Boolean)
                }
                UnaryOpKind::Neg => {
                    let inferred = self.infer(&op.expr);
                    if inferred.value_type == ValueType::Number {
                        inferred
                    } else {
                        Inferred::UNKNOWN
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
                Inferred::of(ValueType::Boolean)
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
                    None => Inferred::of(ValueType::Text),
                };
                let args = self.arguments(&filter.args);
                self.filter(filter.name, line_of(expr), input, &args)
            }
            Expr::Test(test) => {
                let left = (self.infer(&test.expr), line_of(&test.expr));
                let args = self.arguments(&test.args);
                self.test(test.name, &left, args.first().map(|arg| &arg.1));
                Inferred::of(ValueType::Boolean)
            }
            Expr::GetAttr(attr) => {
                let of = self.infer(&attr.expr);
                match of.value_type {
                    ValueType::Row => self.column(attr.name).unwrap_or(Inferred::UNKNOWN),
                    _ => of.field(attr.name),
                }
            }
            Expr::GetItem(item) => {
                let of = self.infer(&item.expr);
                self.infer(&item.subscript_expr);
                let key = item.subscript_expr.as_const();
                match (&of.value_type, key.as_ref().and_then(|key| key.as_str())) {
                    (ValueType::Row, Some(name)) => self.column(name).unwrap_or(Inferred::UNKNOWN),
                    (ValueType::Struct(_), Some(name)) => of.field(name),
                    (ValueType::Map(value), _) => (**value).clone(),
                    (ValueType::List(_), None) => of.item(),
                    (ValueType::Text, None) => of.with_type(ValueType::Text),
                    _ => Inferred::UNKNOWN,
                }
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => Inferred::of(ValueType::List(self.all(&list.items))),
            Expr::Tuple(tuple) => Inferred::of(ValueType::List(self.all(&tuple.items))),
            Expr::Map(map) => {
                self.all(&map.keys);
                let values = self.all(&map.values);
                Inferred::of(ValueType::Map(Box::new(
                    values
                        .into_iter()
                        .reduce(Inferred::or)
                        .unwrap_or(Inferred::UNKNOWN),
                )))
            }
        }
    }

    fn all(&mut self, exprs: &[Expr<'a>]) -> Vec<Inferred> {
        exprs.iter().map(|expr| self.infer(expr)).collect()
    }

    /// The arguments of a call, with their names.
    pub(super) fn arguments(&mut self, args: &[CallArg<'a>]) -> Vec<Argument<'a>> {
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

    fn binary(&mut self, op: &ast::BinOp<'a>) -> Inferred {
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
                Inferred::of(ValueType::Boolean)
            }
            BinOpKind::In => {
                self.contains(&left, &right);
                Inferred::of(ValueType::Boolean)
            }
            BinOpKind::ScAnd | BinOpKind::ScOr => left.0.or(right.0),
            BinOpKind::Concat => Inferred {
                value_type: ValueType::Text,
                ..made_of(&left.0, &right.0)
            },
            BinOpKind::Add
                if left.0.value_type == ValueType::Text
                    && right.0.value_type == ValueType::Text =>
            {
                Inferred {
                    value_type: ValueType::Text,
                    ..made_of(&left.0, &right.0)
                }
            }
            _ if left.0.value_type == ValueType::Number
                && right.0.value_type == ValueType::Number =>
            {
                Inferred {
                    value_type: ValueType::Number,
                    ..made_of(&left.0, &right.0)
                }
            }
            _ => Inferred::UNKNOWN,
        }
    }

    pub(super) fn call(&mut self, call: &ast::Call<'a>) -> Inferred {
        let args = self.arguments(&call.args);
        let Expr::Var(var) = &call.expr else {
            if let Expr::GetAttr(attr) = &call.expr {
                self.infer(&attr.expr);
            }
            return Inferred::UNKNOWN;
        };
        if var.id == "range" {
            return Inferred::of(ValueType::List(vec![Inferred::of(ValueType::Number)]));
        }
        let Some(&declared) = self.macros.get(var.id) else {
            return Inferred::UNKNOWN;
        };
        if self.calls < MOST_CALLS && self.depth < MOST_DEPTH {
            (self.calls, self.depth) = (self.calls + 1, self.depth + 1);
            let by_place: Vec<&Inferred> = args
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
                    .unwrap_or(Inferred::UNKNOWN)
            });
            self.depth -= 1;
        }
        Inferred::of(ValueType::Text)
    }
}

/// Built from the column of the one or the other.
fn made_of(left: &Inferred, right: &Inferred) -> Inferred {
    let from = left
        .from
        .clone()
        .or_else(|| right.from.clone())
        .map(|from| ColumnOrigin {
            is_itself: false,
            ..from
        });
    Inferred {
        value_type: ValueType::Unknown,
        from,
    }
}

/// The line in which an expression begins.
pub(super) fn line_of(expr: &Expr<'_>) -> usize {
    match expr {
        // The engine gives these the place of the token before them.
        Expr::BinOp(op) => line_of(&op.left),
        Expr::Compare(compare) => line_of(&compare.expr),
        Expr::IfExpr(choice) => line_of(&choice.true_expr),
        _ => expr.span().start_line.into(),
    }
}
