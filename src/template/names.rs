//! What a template names, found without rendering it: variables, columns, filters, tests, and the
//! templates it loads.
//!
//! The engine reports which variables a template leaves undeclared, but not what it reads through
//! `row["x"]`, nor which other templates it loads, and it overlooks a column in
//! `{% set x = x|trim %}`. So the engine's own syntax tree is walked here. The names found are a
//! *superset* of what the template can read: a name too many costs the reading of a column, a
//! name too few would leave a row without its text.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{CallArg, Expr, Macro, Spanned, Stmt};

/// A name and the line in which it is used, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NameUse {
    pub(super) name: String,
    pub(super) line: usize,
}

/// Another template that a template loads by a constant name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemplateReference {
    pub(super) name: String,
    pub(super) line: usize,
    /// Whether rendering continues where there is no such file.
    pub(super) optional: bool,
}

/// The names in one template.
#[derive(Debug, Clone, Default)]
pub(super) struct TemplateNames {
    /// Names that are read as a variable.
    pub(super) variables: Vec<NameUse>,
    /// Columns named through `row.x` or `row["x"]`.
    pub(super) row_columns: Vec<NameUse>,
    /// Whether `row` is used in a way that can reach any column.
    pub(super) row_dynamic: bool,
    /// Names the template gives a value itself.
    pub(super) assigned: BTreeSet<String>,
    /// Names it asks `is defined` of, so that they may be absent.
    pub(super) guarded: BTreeSet<String>,
    /// Templates it loads.
    pub(super) references: Vec<TemplateReference>,
    /// Whether it loads a template whose name is only known while rendering.
    pub(super) dynamic_reference: bool,
    pub(super) filters: Vec<NameUse>,
    pub(super) tests: Vec<NameUse>,
}

/// Finds the names in a parsed template.
pub(super) fn find(template: &Stmt<'_>) -> TemplateNames {
    let mut names = TemplateNames::default();
    names.statement(template);
    names
}

impl TemplateNames {
    fn statements(&mut self, body: &[Stmt<'_>]) {
        body.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emit) => self.expression(&emit.expr),
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => {}
            Stmt::ForLoop(each) => {
                self.assign(&each.target);
                self.expression(&each.iter);
                each.filter_expr
                    .iter()
                    .for_each(|expr| self.expression(expr));
                self.statements(&each.body);
                self.statements(&each.else_body);
            }
            Stmt::IfCond(choice) => {
                self.expression(&choice.expr);
                self.statements(&choice.true_body);
                self.statements(&choice.false_body);
            }
            Stmt::WithBlock(with) => {
                for (target, value) in &with.assignments {
                    self.assign(target);
                    self.expression(value);
                }
                self.statements(&with.body);
            }
            Stmt::Set(set) => {
                self.assign(&set.target);
                self.expression(&set.expr);
            }
            Stmt::SetBlock(set) => {
                self.assign(&set.target);
                set.filter.iter().for_each(|expr| self.expression(expr));
                self.statements(&set.body);
            }
            Stmt::AutoEscape(escape) => {
                self.expression(&escape.enabled);
                self.statements(&escape.body);
            }
            Stmt::FilterBlock(filter) => {
                self.expression(&filter.filter);
                self.statements(&filter.body);
            }
            Stmt::Block(block) => self.statements(&block.body),
            Stmt::Import(import) => {
                self.reference(&import.expr, false);
                self.assign(&import.name);
            }
            Stmt::FromImport(import) => {
                self.reference(&import.expr, false);
                for (name, alias) in &import.names {
                    self.assign(alias.as_ref().unwrap_or(name));
                }
            }
            Stmt::Extends(extends) => self.reference(&extends.name, false),
            Stmt::Include(include) => self.reference(&include.name, include.ignore_missing),
            Stmt::Macro(declared) => {
                self.assigned.insert(declared.name.to_owned());
                self.macro_body(declared);
            }
            Stmt::CallBlock(call) => {
                self.expression(&call.call.expr);
                self.arguments(&call.call.args);
                self.macro_body(&call.macro_decl);
            }
            Stmt::Do(call) => {
                self.expression(&call.call.expr);
                self.arguments(&call.call.args);
            }
        }
    }

    fn macro_body(&mut self, declared: &Spanned<Macro<'_>>) {
        declared.args.iter().for_each(|name| self.assign(name));
        self.expressions(&declared.defaults);
        self.statements(&declared.body);
    }

    /// The names that an assignment gives a value.
    fn assign(&mut self, target: &Expr<'_>) {
        match target {
            Expr::Var(var) => {
                self.assigned.insert(var.id.to_owned());
            }
            Expr::List(list) => list.items.iter().for_each(|item| self.assign(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.assign(item)),
            // `{% set namespace.x = … %}` reads the namespace.
            _ => self.expression(target),
        }
    }

    /// The constant names in the name of a template to load. A name that is put together while
    /// rendering has none: no part of it is a name.
    fn reference(&mut self, name: &Expr<'_>, optional: bool) {
        self.expression(name);
        if let Some(text) = name.as_const().as_ref().and_then(|name| name.as_str()) {
            self.references.push(TemplateReference {
                name: text.to_owned(),
                line: line_of(name),
                optional,
            });
            return;
        }
        match name {
            // The first that exists is loaded.
            Expr::List(list) => list
                .items
                .iter()
                .for_each(|item| self.reference(item, true)),
            Expr::Tuple(tuple) => tuple
                .items
                .iter()
                .for_each(|item| self.reference(item, true)),
            _ => {
                self.dynamic_reference = true;
                // Both of `"a" if x else "b"` are checked as well as they can be.
                if let Expr::IfExpr(choice) = name {
                    let either = [Some(&choice.true_expr), choice.false_expr.as_ref()];
                    for name in either.into_iter().flatten() {
                        self.reference(name, true);
                    }
                }
            }
        }
    }

    fn expressions(&mut self, all: &[Expr<'_>]) {
        all.iter().for_each(|expr| self.expression(expr));
    }

    fn arguments(&mut self, args: &[CallArg<'_>]) {
        for arg in args {
            match arg {
                CallArg::Pos(expr)
                | CallArg::Kwarg(_, expr)
                | CallArg::PosSplat(expr)
                | CallArg::KwargSplat(expr) => self.expression(expr),
            }
        }
    }

    fn expression(&mut self, expr: &Expr<'_>) {
        if let Some(column) = column_of_row(expr) {
            self.row_columns.push(used(column, expr));
            self.variables.push(used("row".to_owned(), expr));
            return;
        }
        match expr {
            Expr::Var(var) => {
                // A template may give the name `row` another meaning; to take it for the row only
                // reads too much.
                self.row_dynamic |= var.id == "row";
                self.variables.push(used(var.id.to_owned(), expr));
            }
            Expr::Const(_) => {}
            Expr::Slice(slice) => {
                self.expression(&slice.expr);
                for bound in [&slice.start, &slice.stop, &slice.step] {
                    bound.iter().for_each(|bound| self.expression(bound));
                }
            }
            Expr::UnaryOp(op) => self.expression(&op.expr),
            Expr::BinOp(op) => {
                self.expression(&op.left);
                self.expression(&op.right);
            }
            Expr::Compare(compare) => {
                self.expression(&compare.expr);
                compare.ops.iter().for_each(|op| self.expression(&op.expr));
            }
            Expr::IfExpr(choice) => {
                self.expression(&choice.test_expr);
                self.expression(&choice.true_expr);
                choice
                    .false_expr
                    .iter()
                    .for_each(|expr| self.expression(expr));
            }
            Expr::Filter(filter) => {
                filter.expr.iter().for_each(|expr| self.expression(expr));
                self.filters.push(used(filter.name.to_owned(), expr));
                self.arguments(&filter.args);
            }
            Expr::Test(test) => {
                self.expression(&test.expr);
                self.tests.push(used(test.name.to_owned(), expr));
                if matches!(test.name, "defined" | "undefined") {
                    self.guarded.extend(name_of(&test.expr));
                }
                self.arguments(&test.args);
            }
            Expr::GetAttr(attr) => self.expression(&attr.expr),
            Expr::GetItem(item) => {
                self.expression(&item.expr);
                self.expression(&item.subscript_expr);
            }
            Expr::Call(call) => {
                // A method of `row`, such as `row.items()`, is no column.
                match &call.expr {
                    Expr::GetAttr(method) => self.expression(&method.expr),
                    other => self.expression(other),
                }
                self.arguments(&call.args);
            }
            Expr::List(list) => self.expressions(&list.items),
            Expr::Tuple(tuple) => self.expressions(&tuple.items),
            Expr::Map(map) => {
                self.expressions(&map.keys);
                self.expressions(&map.values);
            }
        }
    }
}

/// The column of `row.x` and `row["x"]`.
fn column_of_row(expr: &Expr<'_>) -> Option<String> {
    let is_row = |expr: &Expr<'_>| matches!(expr, Expr::Var(var) if var.id == "row");
    match expr {
        Expr::GetAttr(attr) if is_row(&attr.expr) => Some(attr.name.to_owned()),
        Expr::GetItem(item) if is_row(&item.expr) => {
            item.subscript_expr.as_const()?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// The column or variable that an expression is, without anything behind it.
fn name_of(expr: &Expr<'_>) -> Option<String> {
    match expr {
        Expr::Var(var) => Some(var.id.to_owned()),
        _ => column_of_row(expr),
    }
}

fn used(name: String, expr: &Expr<'_>) -> NameUse {
    NameUse {
        name,
        line: line_of(expr),
    }
}

fn line_of(expr: &Expr<'_>) -> usize {
    expr.span().start_line.into()
}

#[cfg(test)]
mod tests {
    use minijinja::machinery::parse;
    use minijinja::syntax::SyntaxConfig;

    use super::*;

    fn names_in(source: &str) -> TemplateNames {
        let parsed = parse(source, "t", SyntaxConfig::default());
        find(&parsed.unwrap_or_else(|error| panic!("{source}: {error}")))
    }

    fn names(uses: &[NameUse]) -> Vec<&str> {
        uses.iter().map(|used| used.name.as_str()).collect()
    }

    #[test]
    fn finds_the_names_of_variables() {
        for (source, expected) in [
            (
                "{{ a }} {{- b -}} {%- if c %}{% endif %}",
                vec!["a", "b", "c"],
            ),
            ("{{ a.b.c }}", vec!["a"]),
            ("{{ a|upper|default(b) }}", vec!["a", "b"]),
            ("{{ a is string }}", vec!["a"]),
            ("{# {{ x }} #}{{ a }}", vec!["a"]),
            ("{% raw %}{{ x }}{% endraw %}{{ a }}", vec!["a"]),
            ("{%- raw -%}{% set x = 1 %}{%- endraw -%}{{ a }}", vec!["a"]),
            ("{{ \"}} {{ x }}\" ~ a }}", vec!["a"]),
            ("{{ {\"k\": {\"n\": a}} }}", vec!["a"]),
            ("{{ 'it\\'s' ~ a }}", vec!["a"]),
            ("{ a } {{ b }} {", vec!["b"]),
            ("{{ Größe }}{{ 名前.x }}", vec!["Größe", "名前"]),
            ("{{ a if b else c }}", vec!["b", "a", "c"]),
        ] {
            assert_eq!(names(&names_in(source).variables), expected, "{source}");
        }
    }

    #[test]
    fn resolves_constant_names_of_the_row() {
        for (source, columns, dynamic) in [
            ("{{ row.a }}", vec!["a"], false),
            ("{{ row[\"Customer name\"] }}", vec!["Customer name"], false),
            ("{{ row['a'].b }}", vec!["a"], false),
            ("{{ row[a] }}", vec![], true),
            ("{{ row[\"a\" ~ b] }}", vec![], true),
            ("{{ row[\"a\\n\"] }}", vec!["a\n"], false),
            ("{% for k in row %}{% endfor %}", vec![], true),
            ("{{ row|json }}", vec![], true),
            ("{{ row.items() }}", vec![], true),
            ("{{ x.row }}", vec![], false),
        ] {
            let found = names_in(source);
            assert_eq!(
                (names(&found.row_columns), found.row_dynamic),
                (columns, dynamic),
                "{source}"
            );
        }
    }

    #[test]
    fn finds_names_that_the_template_sets_itself() {
        for (source, expected) in [
            ("{% set a, b = c %}", vec!["a", "b"]),
            ("{% set a|upper %}x{% endset %}", vec!["a"]),
            ("{% for k, v in a %}{% endfor %}", vec!["k", "v"]),
            ("{% with a = b, c = d %}{% endwith %}", vec!["a", "c"]),
            ("{% macro m(a, b) %}{% endmacro %}", vec!["a", "b", "m"]),
            ("{% import \"f\" as g %}", vec!["g"]),
            ("{% from \"f\" import g as h %}", vec!["h"]),
            ("{% call(x) m() %}{% endcall %}", vec!["x"]),
        ] {
            assert_eq!(
                names_in(source).assigned.into_iter().collect::<Vec<_>>(),
                expected,
                "{source}"
            );
        }
    }

    #[test]
    fn finds_templates_that_are_loaded() {
        for (source, expected, dynamic) in [
            ("{% include \"a.j2\" %}", vec![("a.j2", false)], false),
            (
                "{% include 'a.j2' ignore missing %}",
                vec![("a.j2", true)],
                false,
            ),
            (
                "{% include [\"a\", \"b\"] %}",
                vec![("a", true), ("b", true)],
                false,
            ),
            ("{% extends \"a\" %}", vec![("a", false)], false),
            ("{% import \"a\" as b %}", vec![("a", false)], false),
            (
                "{% from \"a\" import b with context %}",
                vec![("a", false)],
                false,
            ),
            ("{% include x %}", vec![], true),
            ("{% include \"a\" ~ x %}", vec![], true),
            (
                "{% include \"a\" if x else \"b\" %}",
                vec![("a", true), ("b", true)],
                true,
            ),
            ("{% import \"a\" ~ x as b %}", vec![], true),
        ] {
            let found = names_in(source);
            let references: Vec<_> = found
                .references
                .iter()
                .map(|reference| (reference.name.as_str(), reference.optional))
                .collect();
            assert_eq!(
                (references, found.dynamic_reference),
                (expected, dynamic),
                "{source}"
            );
        }
    }

    #[test]
    fn finds_guards_and_lines() {
        let found =
            names_in("\n{% if a is defined and row.b is not undefined %}\n{{ c }}{% endif %}");
        assert_eq!(found.guarded.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            found.variables.last(),
            Some(&NameUse {
                name: "c".to_owned(),
                line: 3
            })
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            failure_persistence: None,
            ..proptest::test_runner::Config::default()
        })]

        #[test]
        fn sees_every_variable_that_the_engine_sees(
            parts in proptest::collection::vec((0..STATEMENTS.len(), 0..EXPRESSIONS.len(), 0..EXPRESSIONS.len()), 1..6),
        ) {
            let part = |&(statement, e, f): &(usize, usize, usize)| {
                STATEMENTS[statement].replace('E', EXPRESSIONS[e]).replace('F', EXPRESSIONS[f])
            };
            let source: String = parts.iter().map(part).collect();
            let found = names_in(&source);
            let mut env = minijinja::Environment::new();
            env.add_template("t", &source).unwrap_or_else(|e| panic!("{source}: {e}"));
            for name in env.get_template("t").unwrap().undeclared_variables(false) {
                proptest::prop_assert!(found.variables.iter().any(|used| used.name == name), "{name} \
                    in {source}");
            }
        }
    }

    const STATEMENTS: &[&str] = &[
        "{{ E }}",
        "{{- E -}} text { ",
        "{% set x = E %}",
        "{% set x, y = E, F %}",
        "{% set x|upper %}{{ E }}{% endset %}",
        "{% if E %}{{ F }}{% elif b %}{% else %}{% endif %}",
        "{%- for x in E if F -%}{{ loop.index }}{% else %}{{ x }}{% endfor %}",
        "{% with x = E, y = F %}{{ x }}{% endwith %}",
        "{% macro m(x, y=E) %}{{ F }}{% endmacro %}",
        "{% call(x) m(E) %}{{ F }}{% endcall %}",
        "{% filter upper %}{{ E }}{% endfilter %}",
        "{% autoescape false %}{{ E }}{% endautoescape %}",
        "{# {{ c }} #}",
        "{% raw %}{{ c }} {% {% endraw %}",
        "{% do f(E) %}",
        "{% include E %}",
        "{% import E as x %}",
    ];

    const EXPRESSIONS: &[&str] = &[
        "a",
        "b.c.d",
        "row[\"x\"]",
        "row.y",
        "\"}} %} {{ x\"",
        "'it\\'s'",
        "(a|upper|default(b))",
        "a ~ b",
        "{\"k\": a, \"l\": {\"m\": b}}",
        "f(a, k=b)",
        "(a if b else c)",
        "[a, b][0]",
        "a[b]",
        "a[1:b]",
        "not a",
        "a is none",
        "a is not divisibleby(b)",
        "a is in b",
        "-a + 3.5e1 // b",
        "(a, b)",
        "a in [1, b]",
        "1.0.a",
        "a == 3 and b != \"x\" or c < 4",
    ];
}
