//! What a template's text names, found without rendering it.
//!
//! The engine itself tells which variables a template leaves undeclared, but not what it reads
//! through `row["x"]`, nor which other templates it loads, and it overlooks a column in
//! `{% set x = x|trim %}`. So the tags are cut into tokens here, by the engine's own rules. The
//! names found are a *superset* of what the template can read: taking too many only costs a column
//! that is read in vain, taking too few would leave a row without its text. The text is known to be
//! valid; the engine has compiled it before.

use std::collections::BTreeSet;

use unicode_ident::{is_xid_continue, is_xid_start};

/// A name and the line it stands in, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) line: usize,
}

/// Another template that a template loads by a constant name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// Whether rendering goes on when it is not there.
    pub(crate) optional: bool,
}

/// Everything found in one template.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Names that may stand for a variable.
    pub(crate) names: Vec<Named>,
    /// Columns named through `row.x` or `row["x"]`.
    pub(crate) row_names: Vec<Named>,
    /// Whether `row` is used in a way that can reach any column.
    pub(crate) row_dynamic: bool,
    /// Names the template gives a value itself.
    pub(crate) assigned: BTreeSet<String>,
    /// Names it asks `is defined` of, so that they may be absent.
    pub(crate) guarded: BTreeSet<String>,
    /// Templates it loads.
    pub(crate) references: Vec<Reference>,
    /// Whether it loads a template whose name is only known while rendering.
    pub(crate) dynamic_reference: bool,
    pub(crate) filters: Vec<Named>,
    pub(crate) tests: Vec<Named>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'s> {
    Ident(&'s str),
    /// A string as written, without its quotes; `true` where it holds escapes.
    Text(&'s str, bool),
    Number,
    /// An operator of one or two characters.
    Op(&'s str),
}

type Line = usize;

/// Reads a template's tags.
pub(crate) fn scan(source: &str) -> Facts {
    let mut facts = Facts::default();
    let mut cursor = Cursor {
        source,
        at: 0,
        line: 1,
    };
    while let Some((is_block, tag)) = cursor.next_tag() {
        facts.read_tag(is_block, &tag);
    }
    facts
}

struct Cursor<'s> {
    source: &'s str,
    at: usize,
    line: Line,
}

impl<'s> Cursor<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn advance(&mut self, bytes: usize) {
        let end = (self.at + bytes).min(self.source.len());
        self.line += self.source.as_bytes()[self.at..end]
            .iter()
            .filter(|&&b| b == b'\n')
            .count();
        self.at = end;
    }

    /// The next `{{ }}` or `{% %}`, cut into tokens; comments and raw blocks are passed over.
    fn next_tag(&mut self) -> Option<(bool, Vec<(Token<'s>, Line)>)> {
        loop {
            let start = self.rest().find('{')?;
            self.advance(start);
            match self.rest().as_bytes().get(1) {
                Some(b'#') => {
                    let end = self
                        .rest()
                        .find("#}")
                        .map_or(self.rest().len(), |end| end + 2);
                    self.advance(end);
                }
                Some(b'%') => {
                    if let Some(len) = basic_tag(self.rest(), "raw") {
                        self.advance(len);
                        self.skip_raw();
                    } else {
                        self.advance(2);
                        return Some((true, self.tokens("%}")));
                    }
                }
                Some(b'{') => {
                    self.advance(2);
                    return Some((false, self.tokens("}}")));
                }
                _ => self.advance(1),
            }
        }
    }

    fn skip_raw(&mut self) {
        while let Some(start) = self.rest().find("{%") {
            self.advance(start);
            match basic_tag(self.rest(), "endraw") {
                Some(len) => return self.advance(len),
                None => self.advance(2),
            }
        }
        self.advance(self.rest().len());
    }

    fn tokens(&mut self, end: &str) -> Vec<(Token<'s>, Line)> {
        let mut tokens = Vec::new();
        let mut depth = 0i32;
        // A `-` or `+` at the start belongs to the tag's own marker.
        if self.rest().starts_with(['-', '+']) {
            self.advance(1);
        }
        loop {
            let rest = self.rest();
            let Some(first) = rest.chars().next() else {
                return tokens;
            };
            if first.is_whitespace() {
                self.advance(first.len_utf8());
                continue;
            }
            if depth == 0 {
                if rest.starts_with(end) {
                    self.advance(end.len());
                    return tokens;
                }
                if rest.starts_with(['-', '+']) && rest[1..].starts_with(end) {
                    self.advance(end.len() + 1);
                    return tokens;
                }
            }
            let line = self.line;
            let (token, len) = token(rest, first);
            match token {
                Token::Op("(" | "[" | "{") => depth += 1,
                Token::Op(")" | "]" | "}") => depth -= 1,
                _ => {}
            }
            tokens.push((token, line));
            self.advance(len);
        }
    }
}

/// The length of `{% word %}` with its white-space marks, if the text begins with it.
fn basic_tag(text: &str, word: &str) -> Option<usize> {
    let inner = text.strip_prefix("{%")?;
    let inner = inner
        .strip_prefix(['-', '+'])
        .unwrap_or(inner)
        .trim_ascii_start();
    let inner = inner.strip_prefix(word)?.trim_ascii_start();
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(text.len() - inner.strip_prefix("%}")?.len())
}

fn token(rest: &str, first: char) -> (Token<'_>, usize) {
    // As the engine has it, by Unicode: `Größe` is a name.
    if is_xid_start(first) || first == '_' {
        let len = rest
            .find(|c: char| !is_xid_continue(c) && c != '_')
            .unwrap_or(rest.len());
        return (Token::Ident(&rest[..len]), len);
    }
    if first.is_ascii_digit() {
        return (Token::Number, number_len(rest.as_bytes()));
    }
    if first == '"' || first == '\'' {
        return string(rest, first as u8);
    }
    let len = if ["==", "!=", ">=", "<=", "//", "**"]
        .iter()
        .any(|op| rest.starts_with(op))
    {
        2
    } else {
        first.len_utf8()
    };
    (Token::Op(&rest[..len]), len)
}

fn number_len(bytes: &[u8]) -> usize {
    let mut len = bytes
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .count();
    if bytes.get(len) == Some(&b'.') && bytes.get(len + 1).is_some_and(u8::is_ascii_digit) {
        len += 1;
        len += bytes[len..]
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
            .count();
    }
    len
}

fn string(rest: &str, quote: u8) -> (Token<'_>, usize) {
    let bytes = rest.as_bytes();
    let (mut at, mut escapes) = (1, false);
    while at < bytes.len() && bytes[at] != quote {
        if bytes[at] == b'\\' {
            escapes = true;
            at += 1;
        }
        at += 1;
    }
    let end = at.min(bytes.len());
    // An escape can end inside a character only where the text is cut off, which the engine has
    // refused.
    (
        Token::Text(rest.get(1..end).unwrap_or(""), escapes),
        end + 1,
    )
}

impl Facts {
    fn read_tag(&mut self, is_block: bool, tag: &[(Token<'_>, Line)]) {
        let keyword = match tag.first() {
            Some((Token::Ident(word), _)) if is_block => *word,
            _ => "",
        };
        let body = if keyword.is_empty() { tag } else { &tag[1..] };
        match keyword {
            "include" | "extends" | "import" | "from" => self.read_reference(keyword, body),
            "block" | "endblock" => return,
            "filter" => {
                if let Some((Token::Ident(name), line)) = body.first() {
                    self.filters.push(Named {
                        name: (*name).to_owned(),
                        line: *line,
                    });
                    return self.read_expression(&body[1..]);
                }
            }
            _ => self.read_assignments(keyword, body),
        }
        self.read_expression(body);
    }

    /// Constant names of other templates, up to the words that follow the name.
    fn read_reference(&mut self, keyword: &str, body: &[(Token<'_>, Line)]) {
        let end_words: &[&str] = match keyword {
            "from" => &["import"],
            "import" => &["as"],
            _ => &["ignore", "with", "without"],
        };
        let is_end =
            |token: &Token<'_>| matches!(token, Token::Ident(word) if end_words.contains(word));
        let end = body
            .iter()
            .position(|(token, _)| is_end(token))
            .unwrap_or(body.len());
        let (name, after) = body.split_at(end);
        // Where names are put together, no part of them is a name.
        let is_whole = |token: &Token<'_>| !matches!(token, Token::Op(op) if !["[", "]", "(", ")", ","].contains(op));
        if !name.iter().all(|(token, _)| is_whole(token)) {
            self.dynamic_reference = true;
            if matches!(keyword, "import" | "from") {
                self.assign_all(after);
            }
            return;
        }
        let ignores = after
            .iter()
            .any(|(token, _)| *token == Token::Ident("missing"));
        let is_list = name.len() > 1;
        for (token, line) in name {
            match token {
                Token::Text(text, false) => {
                    self.references.push(Reference {
                        name: (*text).to_owned(),
                        line: *line,
                        optional: ignores || is_list,
                    });
                }
                Token::Op("[" | "]" | "(" | ")" | ",") => {}
                _ => self.dynamic_reference = true,
            }
        }
        if keyword == "import" || keyword == "from" {
            self.assign_all(after);
        }
    }

    fn read_assignments(&mut self, keyword: &str, body: &[(Token<'_>, Line)]) {
        let until = |stop: fn(&Token<'_>) -> bool| {
            &body[..body.iter().position(|(t, _)| stop(t)).unwrap_or(body.len())]
        };
        match keyword {
            "set" => self.assign_all(until(|t| matches!(t, Token::Op("=" | "|")))),
            "for" => self.assign_all(until(|t| *t == Token::Ident("in"))),
            "macro" => self.assign_all(body),
            "call" if body.first().is_some_and(|(t, _)| *t == Token::Op("(")) => {
                self.assign_all(until(|t| *t == Token::Op(")")));
            }
            "with" => {
                self.assign_all(until(|t| *t == Token::Op("=")));
                for pair in body.windows(2) {
                    if pair[1].0 == Token::Op("=") {
                        self.assign_all(&pair[..1]);
                    }
                }
            }
            _ => {}
        }
    }

    fn assign_all(&mut self, tokens: &[(Token<'_>, Line)]) {
        for (token, _) in tokens {
            if let Token::Ident(name) = token {
                self.assigned.insert((*name).to_owned());
            }
        }
    }

    fn read_expression(&mut self, tokens: &[(Token<'_>, Line)]) {
        let at = |i: usize| tokens.get(i).map(|(token, _)| *token);
        for (i, (token, line)) in tokens.iter().enumerate() {
            let before = i.checked_sub(1).and_then(at);
            let Token::Ident(name) = *token else { continue };
            let named = || Named {
                name: name.to_owned(),
                line: *line,
            };
            match before {
                Some(Token::Op(".")) => continue,
                Some(Token::Op("|")) => {
                    self.filters.push(named());
                    continue;
                }
                Some(Token::Ident("is")) if name != "not" => {
                    self.tests.push(named());
                    continue;
                }
                Some(Token::Ident("not")) if i > 1 && at(i - 2) == Some(Token::Ident("is")) => {
                    self.tests.push(named());
                    continue;
                }
                _ => {}
            }
            if matches!(name, "none" | "None") {
                continue;
            }
            let (column, end) = if name == "row" {
                self.read_row(tokens, i)
            } else {
                (Some(name), i + 1)
            };
            self.names.push(named());
            if asks_defined(&at, end) {
                self.guarded.insert(column.unwrap_or(name).to_owned());
            }
        }
    }

    /// Reads `row.x` and `row["x"]`; gives the column, if it is constant, and where the expression
    /// ends.
    fn read_row<'s>(&mut self, tokens: &[(Token<'s>, Line)], i: usize) -> (Option<&'s str>, usize) {
        let at = |i: usize| tokens.get(i).map(|(token, _)| *token);
        let line = tokens[i].1;
        let (column, end) = match (at(i + 1), at(i + 2), at(i + 3)) {
            (Some(Token::Op(".")), Some(Token::Ident(name)), next)
                if next != Some(Token::Op("(")) =>
            {
                (Some(name), i + 3)
            }
            (Some(Token::Op("[")), Some(Token::Text(name, false)), Some(Token::Op("]"))) => {
                (Some(name), i + 4)
            }
            _ => (None, i + 1),
        };
        match column {
            Some(name) => self.row_names.push(Named {
                name: name.to_owned(),
                line,
            }),
            // A tag may give the name `row` another meaning; taking it for the row only reads too
            // much.
            None => self.row_dynamic = true,
        }
        (column, end)
    }
}

/// Whether `is defined`, `is not defined` and the like follow.
fn asks_defined<'s>(at: &impl Fn(usize) -> Option<Token<'s>>, end: usize) -> bool {
    let test = match (at(end), at(end + 1)) {
        (Some(Token::Ident("is")), Some(Token::Ident("not"))) => at(end + 2),
        (Some(Token::Ident("is")), test) => test,
        _ => None,
    };
    matches!(test, Some(Token::Ident("defined" | "undefined")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(facts: &[Named]) -> Vec<&str> {
        facts.iter().map(|named| named.name.as_str()).collect()
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
            ("{{ a is string }}", vec!["a", "is"]),
            ("{# {{ x }} #}{{ a }}", vec!["a"]),
            ("{% raw %}{{ x }}{% endraw %}{{ a }}", vec!["a"]),
            ("{%- raw -%}{% set x = 1 %}{%- endraw -%}{{ a }}", vec!["a"]),
            ("{{ \"}} {{ x }}\" ~ a }}", vec!["a"]),
            ("{{ {\"k\": {\"n\": a}} }}", vec!["a"]),
            ("{{ 'it\\'s' ~ a }}", vec!["a"]),
            ("{ a } {{ b }} {", vec!["b"]),
            ("{{ Größe }}{{ 名前.x }}", vec!["Größe", "名前"]),
            ("{{ a if b else c }}", vec!["a", "if", "b", "else", "c"]),
        ] {
            assert_eq!(names(&scan(source).names), expected, "{source}");
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
            ("{{ row[\"a\\n\"] }}", vec![], true),
            ("{% for k in row %}{% endfor %}", vec![], true),
            ("{{ row|json }}", vec![], true),
            ("{{ row.items() }}", vec![], true),
            ("{{ x.row }}", vec![], false),
        ] {
            let facts = scan(source);
            assert_eq!(
                (names(&facts.row_names), facts.row_dynamic),
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
            ("{% import \"f\" as g %}", vec!["as", "g"]),
            (
                "{% from \"f\" import g as h %}",
                vec!["as", "g", "h", "import"],
            ),
            ("{% call(x) m() %}{% endcall %}", vec!["x"]),
        ] {
            assert_eq!(
                scan(source).assigned.into_iter().collect::<Vec<_>>(),
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
            let facts = scan(source);
            let found: Vec<_> = facts
                .references
                .iter()
                .map(|r| (r.name.as_str(), r.optional))
                .collect();
            assert_eq!(
                (found, facts.dynamic_reference),
                (expected, dynamic),
                "{source}"
            );
        }
    }

    #[test]
    fn finds_guards_and_lines() {
        let facts = scan("\n{% if a is defined and row.b is not undefined %}\n{{ c }}{% endif %}");
        assert_eq!(facts.guarded.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            facts.names.last(),
            Some(&Named {
                name: "c".to_owned(),
                line: 3
            })
        );
    }

    #[test]
    fn ends_on_any_text() {
        for source in [
            "{{",
            "{%",
            "{#",
            "{{ 'a",
            "{{ \"\\",
            "{% raw %}",
            "{{ a",
            "{{ 'ä\\",
            "{{ ü }}",
            "{% raw",
        ] {
            scan(source);
        }
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
            let facts = scan(&source);
            let mut env = minijinja::Environment::new();
            env.add_template("t", &source).unwrap_or_else(|e| panic!("{source}: {e}"));
            for name in env.get_template("t").unwrap().undeclared_variables(false) {
                proptest::prop_assert!(facts.names.iter().any(|named| named.name == name), "{name} \
                    in {source}");
            }
        }

        #[test]
        fn ends_on_any_soup(source in r#"([{][{%#][-]?|[#%}][}]|[ab]|row| |\n|is|set|in|none|["'\\\[\]().|=,~<-]|ä|3){0,40}"#) {
            scan(&source);
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
