//! Statements: which name has which type where.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast::{self, Expr, Stmt};

use super::{Inferred, KnownNames, TypeFindings, ValueType};

/// Walks a template in the order of its rendering, and keeps the types of the names in reach.
pub(super) struct TypeChecker<'a> {
    known: &'a KnownNames<'a>,
    /// Whether a name that was not set here may have been set elsewhere.
    opaque: bool,
    /// The innermost scope is the last.
    scopes: Vec<BTreeMap<String, Inferred>>,
    pub(super) macros: BTreeMap<String, &'a ast::Macro<'a>>,
    pub(super) calls: usize,
    pub(super) depth: usize,
    pub(super) findings: TypeFindings,
}

impl<'a> TypeChecker<'a> {
    pub(super) fn new(known: &'a KnownNames<'a>) -> TypeChecker<'a> {
        TypeChecker {
            known,
            opaque: !known.is_root,
            scopes: vec![BTreeMap::new()],
            macros: BTreeMap::new(),
            calls: 0,
            depth: 0,
            findings: TypeFindings::default(),
        }
    }

    pub(super) fn column(&self, name: &str) -> Option<Inferred> {
        let field = self.known.schema.field_with_name(name).ok()?;
        Some(Inferred::cell(name.to_owned(), true, field.data_type()))
    }

    pub(super) fn lookup(&self, name: &str) -> Inferred {
        if let Some(found) = self.scopes.iter().rev().find_map(|scope| scope.get(name)) {
            return found.clone();
        }
        if self.opaque && self.known.assigned.contains(name) {
            return Inferred::UNKNOWN;
        }
        match name {
            "row" => Inferred::of(ValueType::Row),
            _ => self.column(name).unwrap_or(Inferred::UNKNOWN),
        }
    }

    fn set(&mut self, name: &str, inferred: Inferred) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), inferred);
        }
    }

    fn assign(&mut self, target: &Expr<'_>, inferred: &Inferred) {
        match target {
            Expr::Var(var) => self.set(var.id, inferred.clone()),
            Expr::List(list) => list
                .items
                .iter()
                .for_each(|item| self.assign(item, &Inferred::UNKNOWN)),
            Expr::Tuple(tuple) => tuple
                .items
                .iter()
                .for_each(|item| self.assign(item, &Inferred::UNKNOWN)),
            // A field of a namespace is looked up in it, and that is not known.
            _ => {}
        }
    }

    fn statements<'t: 'a>(&mut self, body: &'t [Stmt<'a>]) {
        body.iter().for_each(|statement| self.statement(statement));
    }

    /// A body with names of its own.
    fn scoped<'t: 'a>(&mut self, names: Vec<(&str, Inferred)>, body: &'t [Stmt<'a>]) {
        self.scopes.push(
            names
                .into_iter()
                .map(|(name, inferred)| (name.to_owned(), inferred))
                .collect(),
        );
        self.statements(body);
        self.scopes.pop();
    }

    pub(super) fn statement<'t: 'a>(&mut self, statement: &'t Stmt<'a>) {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emit) => {
                self.infer(&emit.expr);
            }
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => {}
            Stmt::ForLoop(each) => self.each(each),
            Stmt::IfCond(choice) => {
                self.condition(&choice.expr);
                // Both branches start from the same names; what they set is merged afterwards.
                let before = self.scopes.clone();
                self.statements(&choice.true_body);
                let after = std::mem::replace(&mut self.scopes, before);
                self.statements(&choice.false_body);
                self.merge(after);
            }
            Stmt::WithBlock(with) => {
                self.scopes.push(BTreeMap::new());
                for (target, value) in &with.assignments {
                    let inferred = self.infer(value);
                    self.assign(target, &inferred);
                }
                self.statements(&with.body);
                self.scopes.pop();
            }
            Stmt::Set(set) => {
                let inferred = self.infer(&set.expr);
                self.assign(&set.target, &inferred);
            }
            Stmt::SetBlock(set) => {
                self.scoped(Vec::new(), &set.body);
                self.assign(&set.target, &Inferred::of(ValueType::Text));
            }
            Stmt::AutoEscape(escape) => self.scoped(Vec::new(), &escape.body),
            Stmt::FilterBlock(filter) => {
                self.scoped(Vec::new(), &filter.body);
                self.infer(&filter.filter);
            }
            // A block may be rendered from a template that extends this one, with other names set.
            Stmt::Block(block) => {
                let opaque = std::mem::replace(&mut self.opaque, true);
                let scopes = std::mem::replace(&mut self.scopes, vec![BTreeMap::new()]);
                self.statements(&block.body);
                (self.opaque, self.scopes) = (opaque, scopes);
            }
            Stmt::Import(import) => self.assign(&import.name, &Inferred::UNKNOWN),
            Stmt::FromImport(from) => {
                for (name, alias) in &from.names {
                    self.assign(alias.as_ref().unwrap_or(name), &Inferred::UNKNOWN);
                }
            }
            Stmt::Extends(extends) => {
                self.infer(&extends.name);
            }
            Stmt::Include(include) => {
                self.infer(&include.name);
            }
            // Checked once for what it reads of the row, and again at each call for its arguments.
            Stmt::Macro(declared) => {
                self.macros.insert(declared.name.to_owned(), declared);
                self.set(declared.name, Inferred::UNKNOWN);
                self.body(declared, |_| Inferred::UNKNOWN);
            }
            Stmt::CallBlock(call) => {
                self.call(&call.call);
                self.body(&call.macro_decl, |_| Inferred::UNKNOWN);
            }
            Stmt::Do(call) => {
                self.call(&call.call);
            }
        }
    }

    fn each<'t: 'a>(&mut self, each: &'t ast::ForLoop<'a>) {
        let over = self.infer(&each.iter);
        self.scopes.push(BTreeMap::new());
        // Whatever the body sets is unknown at its start: a later round sees what an earlier one
        // set.
        let mut names = Vec::new();
        assigned_in(&each.body, &mut names);
        names
            .into_iter()
            .for_each(|name| self.set(name, Inferred::UNKNOWN));
        self.assign(&each.target, &over.item());
        self.set("loop", Inferred::of(ValueType::Loop));
        if let Some(filter) = &each.filter_expr {
            self.condition(filter);
        }
        self.statements(&each.body);
        self.scopes.pop();
        self.scoped(Vec::new(), &each.else_body);
    }

    /// The names after an `if`, where either branch may have run.
    fn merge(&mut self, other: Vec<BTreeMap<String, Inferred>>) {
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
                let unset = || match self.opaque && self.known.assigned.contains(name.as_str()) {
                    true => Inferred::UNKNOWN,
                    // A name that is not set at all is an error when it is used.
                    false => self.column(&name).unwrap_or(Inferred::of(ValueType::None)),
                };
                let either = a.unwrap_or_else(unset).or(b.unwrap_or_else(unset));
                self.scopes[depth].insert(name, either);
            }
        }
    }

    /// The body of a macro, which sees its arguments and the names of the row.
    pub(super) fn body<'t: 'a>(
        &mut self,
        declared: &'t ast::Macro<'a>,
        argument: impl Fn(&str) -> Inferred,
    ) {
        let mut scope = BTreeMap::from([("caller".to_owned(), Inferred::UNKNOWN)]);
        for target in &declared.args {
            if let Expr::Var(var) = target {
                scope.insert(var.id.to_owned(), argument(var.id));
            }
        }
        // It sees no local name of its caller, and names of the template in the state of the call.
        let opaque = std::mem::replace(&mut self.opaque, true);
        let scopes = std::mem::replace(&mut self.scopes, vec![scope]);
        declared.defaults.iter().for_each(|default| {
            self.infer(default);
        });
        self.statements(&declared.body);
        (self.opaque, self.scopes) = (opaque, scopes);
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
