//! Operators → filters, in the text of a template.

use minijinja::Error;
use minijinja::machinery::{Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use super::operators::{Operator, SLICED};

/// Writes the comparisons of a template as filters. The template is one that the engine accepts.
///
/// # Errors
/// The engine's, where it does not accept it.
pub(in crate::template) fn rewrite(source: &str, syntax: &SyntaxConfig) -> Result<String, Error> {
    let tokens = tokenize(source, false, syntax.clone()).collect::<Result<Vec<_>, _>>()?;
    let mut out = Rewriter {
        source,
        at: 0,
        text: String::with_capacity(source.len() + 64),
    };
    // Tags do not nest, so each ends at the next end token. Text, comments and raw blocks are not
    // in the tokens of a tag and are copied as they are.
    let mut rest = &tokens[..];
    while let Some(start) = rest
        .iter()
        .position(|(t, _)| matches!(t, Token::VariableStart | Token::BlockStart))
    {
        let is_block = matches!(rest[start].0, Token::BlockStart);
        let body = &rest[start + 1..];
        let end = body
            .iter()
            .position(|(t, _)| matches!(t, Token::VariableEnd | Token::BlockEnd))
            .unwrap_or(body.len());
        out.list(if is_block {
            expressions(&body[..end])
        } else {
            &body[..end]
        });
        rest = &body[end..];
    }
    out.copy_to(source.len());
    Ok(out.text)
}

type Spanned<'s> = (Token<'s>, Span);

fn start(token: &Spanned<'_>) -> usize {
    token.1.start_offset as usize
}

fn end(token: &Spanned<'_>) -> usize {
    token.1.end_offset as usize
}

fn is_word(token: Option<&Spanned<'_>>, word: &str) -> bool {
    matches!(token, Some((Token::Ident(name), _)) if *name == word)
}

/// The part of a statement that holds expressions: without its first word, the names a loop sets,
/// and the words behind it.
fn expressions<'t, 's>(tag: &'t [Spanned<'s>]) -> &'t [Spanned<'s>] {
    let Some((Token::Ident(keyword), _)) = tag.first() else {
        return tag;
    };
    let body = &tag[1..];
    let ends = |words: &[&str]| {
        let from = body.len().checked_sub(words.len());
        from.filter(|&from| {
            from > 0
                && words
                    .iter()
                    .zip(&body[from..])
                    .all(|(word, token)| is_word(Some(token), word))
        })
    };
    match *keyword {
        // `in` after the names of a loop is not the operator, and `recursive` is no operand, unless
        // it is all there is: a column may have that name.
        "for" => {
            let from = body
                .iter()
                .position(|token| is_word(Some(token), "in"))
                .map_or(0, |at| at + 1);
            let to = ends(&["recursive"])
                .filter(|&to| to > from && is_operand_end(&body[to - 1]))
                .unwrap_or(body.len());
            &body[from..to]
        }
        // These words follow the expression without a separator.
        "include" | "import" => {
            let words = [
                &["ignore", "missing"][..],
                &["with", "context"],
                &["without", "context"],
            ];
            let to = words
                .into_iter()
                .filter_map(ends)
                .min()
                .unwrap_or(body.len());
            &body[..to]
        }
        _ => body,
    }
}

/// Whether an operand may end with a token.
fn is_operand_end(token: &Spanned<'_>) -> bool {
    match token.0 {
        Token::Ident(name) => !matches!(name, "and" | "or" | "not" | "if" | "else" | "in" | "is"),
        Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => {
            true
        }
        Token::ParenClose | Token::BracketClose | Token::BraceClose => true,
        _ => false,
    }
}

/// What a token is between operands.
enum TokenRole {
    Operand,
    /// An operator, and how many tokens it has.
    Operator(Operator, usize),
    /// Something that binds less than a comparison, which ends a chain of operands.
    Separator,
}

fn token_role(tokens: &[Spanned<'_>], at: usize) -> TokenRole {
    let before = at.checked_sub(1).map(|before| &tokens[before]);
    let follows_operand = before.is_some_and(is_operand_end);
    match &tokens[at].0 {
        Token::Eq => TokenRole::Operator(Operator::Eq, 1),
        Token::Ne => TokenRole::Operator(Operator::Ne, 1),
        Token::Lt => TokenRole::Operator(Operator::Lt, 1),
        Token::Lte => TokenRole::Operator(Operator::Le, 1),
        Token::Gt => TokenRole::Operator(Operator::Gt, 1),
        Token::Gte => TokenRole::Operator(Operator::Ge, 1),
        Token::Comma | Token::Colon | Token::Assign => TokenRole::Separator,
        // `f(*list)`: the mark stands before an operand where `a * b` has one on either side.
        Token::Mul | Token::Pow if !follows_operand => TokenRole::Separator,
        Token::Ident(_) if matches!(before, Some((Token::Dot | Token::Pipe, _))) => {
            TokenRole::Operand
        }
        // The name of a test.
        Token::Ident(name)
            if is_word(before, "is")
                && at > 1
                && is_operand_end(&tokens[at - 2])
                && *name != "not" =>
        {
            TokenRole::Operand
        }
        Token::Ident("not") if is_word(before, "is") => TokenRole::Operand,
        Token::Ident(_)
            if is_word(before, "not") && at > 1 && is_word(tokens.get(at - 2), "is") =>
        {
            TokenRole::Operand
        }
        // Where no operand precedes, `in` and `not` are a name and a prefix: `x is in y`, `not x`.
        Token::Ident("in") if follows_operand => TokenRole::Operator(Operator::In, 1),
        Token::Ident("not") if follows_operand && is_word(tokens.get(at + 1), "in") => {
            TokenRole::Operator(Operator::NotIn, 2)
        }
        Token::Ident("and" | "or" | "not" | "if" | "else") => TokenRole::Separator,
        _ => TokenRole::Operand,
    }
}

/// Copies the source, with its comparisons rewritten.
struct Rewriter<'s> {
    source: &'s str,
    at: usize,
    text: String,
}

impl Rewriter<'_> {
    fn copy_to(&mut self, to: usize) {
        if to > self.at {
            self.text.push_str(&self.source[self.at..to]);
            self.at = to;
        }
    }

    /// Writes expressions, and what stands between them.
    fn list(&mut self, tokens: &[Spanned<'_>]) {
        let mut at = 0;
        while at < tokens.len() {
            let (operands, operators, next) = chain(tokens, at);
            match operators.as_slice() {
                [] => {
                    if let Some(operand) = operands.first() {
                        self.operand(operand);
                    }
                }
                _ => self.comparison(&operands, &operators),
            }
            at = next;
            if let Some(separator) = tokens.get(at) {
                self.copy_to(end(separator));
                at += 1;
            }
        }
    }

    fn comparison(
        &mut self,
        operands: &[&[Spanned<'_>]],
        operators: &[(Operator, &[Spanned<'_>])],
    ) {
        // Both sides are there in every template that the engine accepts; anything else is left for
        // it to refuse.
        let is_whole = |operand: &&[Spanned<'_>]| !operand.is_empty();
        if operands.len() != operators.len() + 1 || !operands.iter().all(is_whole) {
            return;
        }
        self.copy_to(start(&operands[0][0]));
        let is_chain = operators.len() > 1;
        if is_chain {
            self.text.push('(');
        }
        let first = self.text.len();
        self.operand(operands[0]);
        // `a < b < c` means `a < b and b < c`, so the operand in the middle is written twice. The
        // engine evaluates it once, which gives the same: expressions change nothing.
        let mut left = self.text.split_off(first);
        for (i, (operator, tokens)) in operators.iter().enumerate() {
            if i > 0 {
                self.text.push_str(" and ");
            }
            self.text.push('(');
            self.text.push_str(&left);
            self.text.push(')');
            self.copy_to(start(&tokens[0]));
            self.text.push('|');
            self.text.push_str(operator.filter());
            self.text.push('(');
            // `not in` may be written on two lines: the line ends stay, or every error behind it
            // would name the wrong line.
            let lines = self.source[start(&tokens[0])..end(&tokens[tokens.len() - 1])]
                .matches('\n')
                .count();
            self.text.extend(std::iter::repeat_n('\n', lines));
            self.at = end(&tokens[tokens.len() - 1]);
            let right = &operands[i + 1];
            self.copy_to(start(&right[0]));
            let from = self.text.len();
            self.operand(right);
            left = self.text[from..].to_owned();
            self.text.push(')');
        }
        if is_chain {
            self.text.push(')');
        }
    }

    /// Writes an operand: its brackets hold expressions of their own.
    fn operand(&mut self, tokens: &[Spanned<'_>]) {
        let mut at = 0;
        // The start of what a bracket takes an item or a slice of: `SLICED` goes around all of it.
        let mut subject = self.text.len();
        while at < tokens.len() {
            let close = closing(tokens, at);
            self.copy_to(start(&tokens[at]));
            if !continues(tokens, at) {
                subject = self.text.len();
            } else if is_slice(&tokens[at..close.min(tokens.len())]) {
                self.text.insert(subject, '(');
                self.text.push('|');
                self.text.push_str(SLICED);
                self.text.push(')');
            }
            self.copy_to(end(&tokens[at]));
            if close > at {
                self.list(&tokens[at + 1..close]);
                if let Some(bracket) = tokens.get(close) {
                    self.copy_to(end(bracket));
                }
            }
            at = close + 1;
        }
    }
}

/// The operands and operators from a token on, up to what binds less than a comparison.
#[expect(clippy::type_complexity, reason = "two lists of slices and a place")]
fn chain<'t, 's>(
    tokens: &'t [Spanned<'s>],
    from: usize,
) -> (
    Vec<&'t [Spanned<'s>]>,
    Vec<(Operator, &'t [Spanned<'s>])>,
    usize,
) {
    let (mut operands, mut operators) = (Vec::new(), Vec::new());
    let (mut at, mut begin) = (from, from);
    while at < tokens.len() {
        // The tokens before the first belong to another expression: without the cut, the end of one
        // would count as an operand before this one.
        match token_role(&tokens[from..], at - from) {
            TokenRole::Separator => break,
            TokenRole::Operator(operator, len) => {
                operands.push(&tokens[begin..at]);
                operators.push((operator, &tokens[at..at + len]));
                at += len;
                begin = at;
            }
            TokenRole::Operand => at = closing(tokens, at) + 1,
        }
    }
    let to = at.min(tokens.len());
    if begin < to || !operators.is_empty() {
        operands.push(&tokens[begin..to]);
    }
    (operands, operators, to)
}

/// Whether a token belongs to the operand that ends before it: a field, a bracket behind something.
fn continues(tokens: &[Spanned<'_>], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| &tokens[before]) else {
        return false;
    };
    match tokens[at].0 {
        Token::Dot => true,
        Token::BracketOpen | Token::ParenOpen => is_operand_end(before),
        _ => matches!(before.0, Token::Dot),
    }
}

/// Whether a bracket and what is in it, without its end, is a slice.
fn is_slice(tokens: &[Spanned<'_>]) -> bool {
    if !matches!(tokens.first(), Some((Token::BracketOpen, _))) {
        return false;
    }
    let mut at = 1;
    while at < tokens.len() {
        if matches!(tokens[at].0, Token::Colon) {
            return true;
        }
        at = closing(tokens, at) + 1;
    }
    false
}

/// Where the bracket at a place is closed; the place itself, where there is none.
fn closing(tokens: &[Spanned<'_>], at: usize) -> usize {
    let mut depth = 0_usize;
    for (i, (token, _)) in tokens.iter().enumerate().skip(at) {
        match token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                depth = depth.saturating_sub(1)
            }
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, context};

    use super::super::operators::add;
    use super::*;

    fn rewritten(source: &str) -> String {
        rewrite(source, &SyntaxConfig::default()).unwrap()
    }

    #[test]
    fn writes_comparisons_as_filters_and_leaves_the_rest_and_its_lines() {
        for (source, expected) in [
            (
                "a < b {% raw %}{{ a < b }}{% endraw %}{# {{ a < b }} #}",
                "a < b {% raw %}{{ a < b }}{% endraw %}{# {{ a < b }} #}",
            ),
            (
                "{{ a }} {%- if a -%}x{% endif %}",
                "{{ a }} {%- if a -%}x{% endif %}",
            ),
            (
                "{{ a is not none and b is in [1] }}",
                "{{ a is not none and b is in [1] }}",
            ),
            ("{% if a > 5 %}", "{% if (a) |__RmGt( 5) %}"),
            ("{{ a\n  not\n in b -}}", "{{ (a)\n  |__RmNotIn(\n b) -}}"),
            (
                "{{ x.y|f(a==1)+1 != -2 or c }}",
                "{{ (x.y|f((a)|__RmEq(1))+1) |__RmNe( -2) or c }}",
            ),
            (
                "{% for x in y if x > 1 recursive %}",
                "{% for x in y if (x) |__RmGt( 1) recursive %}",
            ),
            ("{{ 'ä' == 'ö' }}", "{{ ('ä') |__RmEq( 'ö') }}"),
            (
                "{{ x ~ row['s'].t[:2] }}",
                "{{ x ~ (row['s'].t|__RmSliced)[:2] }}",
            ),
            (
                "{{ -f(a)[1:][::2] == [x[0], {'k': y[{'a':1}.a]}] }}",
                "{{ (-((f(a)|__RmSliced)[1:]|__RmSliced)[::2]) |__RmEq( [x[0], {'k': y[{'a':1}.a]}]) }}",
            ),
        ] {
            assert_eq!(rewritten(source), expected, "{source}");
        }
    }

    const ATOMS: &[&str] = &[
        "a",
        "b",
        "3",
        "'x'",
        "c",
        "d",
        "(a + 1)",
        "-b",
        "d[0]",
        "m.k",
        "a|abs",
        "c|length",
        "(a if b > 4 else c)",
        "f(a > 1, k=b < 2)",
        "[a == 3, b][0]",
        "{'k': a != 3}.k",
        "d|select('gt', 1)|list",
        "a is divisibleby 3",
        "(c is not none)",
        "d[a > 9:]",
        "c[:2]",
        "m['k']",
        "(c ~ c)[1:][::-1]",
        "a * 2",
    ];

    const FRAMES: &[&str] = &[
        "{{ E }}",
        "{{ not E }}",
        "{{ E and F or E }}",
        "{% if E %}1{% elif F %}2{% else %}3{% endif %}",
        "{{ 'y' if E else F }}",
        "{% set v = E %}{{ v }}{% set w, u = E, F %}{{ w }}{{ u }}",
        "{% for x in d if x != E recursive %}{{ x }}{% else %}-{% endfor %}",
        "{% with v = E, w = F %}{{ v }}{{ w }}{% endwith %}",
        "{% macro n(p, q=E) %}{{ p }}{{ q > 1 }}{% endmacro %}{{ n(F) }}{% call n(E) %}{% endcall %}",
        "{{ [E, F, (E)] }}{{ {'a': E, 'b': F} }}",
        "{% filter upper %}{{ E }}{% endfilter %}{% do f(E) %}",
        "{{- f(E, *d) -}} {{ f(*d, **m) }}",
    ];

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            cases: 500,
            rng_seed: proptest::test_runner::RngSeed::Fixed(7),
            failure_persistence: None,
            ..proptest::test_runner::Config::default()
        })]

        /// Where nothing is null, what is rewritten renders as the engine would have rendered it.
        #[test]
        fn says_what_the_engine_says_where_nothing_is_null(
            frame in 0..FRAMES.len(),
            atoms in proptest::collection::vec(0..ATOMS.len(), 6),
            operators in proptest::collection::vec(0..10_usize, 4),
        ) {
            let operator = |at: usize| ["==", "!=", "<", "<=", ">", ">=", "in", "not in", "~", "+"][operators[at]];
            let atom = |at: usize| ATOMS[atoms[at]];
            let e = format!("{} {} {}", atom(0), operator(0), atom(1));
            let f = format!("{} {} {} {} {}", atom(2), operator(1), atom(3), operator(2), atom(4));
            let source = FRAMES[frame].replace('E', &e).replace('F', &f);
            let render = |source: &str, ours: bool| {
                let mut env = Environment::new();
                env.set_undefined_behavior(UndefinedBehavior::Strict);
                env.add_function("f", |args: minijinja::value::Rest<Value>| format!("{}", args.len()));
                if ours {
                    add(&mut env);
                }
                env.add_template_owned("t", source.to_owned())?;
                let values = context! { a => 3, b => 5, c => "xyz", d => [3, 7], m => context! { k => 1 } };
                env.get_template("t")?.render(values)
            };
            let plain = render(&source, false);
            let ours = render(&rewritten(&source), true);
            match (plain, ours) {
                // What the engine does not take is not rewritten.
                (Err(plain), _) if plain.kind() == ErrorKind::SyntaxError => {}
                (Ok(plain), Ok(ours)) => proptest::prop_assert_eq!(plain, ours, "{}", source),
                (Err(plain), Err(ours)) => proptest::prop_assert_eq!(plain.line(), ours.line(), "{}", source),
                (plain, ours) => proptest::prop_assert!(false, "{source}: {plain:?}, {ours:?}"),
            }
        }
    }
}
