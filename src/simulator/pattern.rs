//! Makes a text that matches a simple regular expression: literals, classes, groups, alternatives
//! and counts.

use std::iter::Peekable;
use std::str::Chars;

/// How often an open repetition is drawn beyond its least.
const EXTRA: u32 = 4;
/// Most repetitions that are drawn at all.
const MOST: u32 = 200;

enum PatternNode {
    One(Vec<(char, char)>),
    Row(Vec<PatternNode>),
    Either(Vec<PatternNode>),
    Times(Box<PatternNode>, u32, u32),
}

/// A text that matches, or `None` where the expression uses more than this room knows.
pub(super) fn generate(pattern: &str, rng: &mut fastrand::Rng) -> Option<String> {
    let mut chars = pattern.chars().peekable();
    let node = either(&mut chars, 0)?;
    if chars.next().is_some() {
        return None;
    }
    let mut text = String::new();
    write(&node, rng, &mut text);
    Some(text)
}

fn write(node: &PatternNode, rng: &mut fastrand::Rng, text: &mut String) {
    match node {
        PatternNode::One(ranges) => {
            let (from, to) = ranges[rng.usize(..ranges.len())];
            text.push(rng.char(from..=to));
        }
        PatternNode::Row(nodes) => nodes.iter().for_each(|node| write(node, rng, text)),
        PatternNode::Either(nodes) => write(&nodes[rng.usize(..nodes.len())], rng, text),
        PatternNode::Times(node, least, most) => {
            (0..rng.u32(*least..=*most)).for_each(|_| write(node, rng, text))
        }
    }
}

fn either(chars: &mut Peekable<Chars<'_>>, depth: u32) -> Option<PatternNode> {
    if depth > 20 {
        return None;
    }
    let mut branches = vec![row(chars, depth)?];
    while chars.next_if_eq(&'|').is_some() {
        branches.push(row(chars, depth)?);
    }
    Some(PatternNode::Either(branches))
}

fn row(chars: &mut Peekable<Chars<'_>>, depth: u32) -> Option<PatternNode> {
    let mut nodes = Vec::new();
    while let Some(c) = chars.peek().copied() {
        if matches!(c, '|' | ')') {
            break;
        }
        chars.next();
        let node = match c {
            '^' | '$' => continue,
            '(' => group(chars, depth)?,
            '[' => class(chars)?,
            '.' => PatternNode::One(vec![('a', 'z')]),
            '\\' => escape(chars.next()?)?,
            '*' | '+' | '?' | '{' => return None,
            c => PatternNode::One(vec![(c, c)]),
        };
        nodes.push(times(node, chars)?);
    }
    Some(PatternNode::Row(nodes))
}

fn group(chars: &mut Peekable<Chars<'_>>, depth: u32) -> Option<PatternNode> {
    if chars.next_if_eq(&'?').is_some() && chars.next() != Some(':') {
        return None;
    }
    let node = either(chars, depth + 1)?;
    (chars.next() == Some(')')).then_some(node)
}

fn escape(c: char) -> Option<PatternNode> {
    Some(PatternNode::One(match c {
        'd' => vec![('0', '9')],
        'w' => vec![('a', 'z'), ('0', '9')],
        's' => vec![(' ', ' ')],
        'n' => vec![('\n', '\n')],
        't' => vec![('\t', '\t')],
        c if c.is_alphanumeric() => return None,
        c => vec![(c, c)],
    }))
}

fn class(chars: &mut Peekable<Chars<'_>>) -> Option<PatternNode> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match chars.next()? {
            ']' => break,
            '\\' => match escape(chars.next()?)? {
                PatternNode::One(known) if known.len() == 1 && known[0].0 == known[0].1 => {
                    known[0].0
                }
                PatternNode::One(known) => {
                    ranges.extend(known);
                    continue;
                }
                _ => return None,
            },
            c => c,
        };
        let mut ahead = chars.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' && to != '\\' => {
                chars.nth(1);
                to
            }
            _ => from,
        };
        if to < from {
            return None;
        }
        ranges.push((from, to));
    }
    if negated {
        let inside = |c: char| ranges.iter().any(|(from, to)| (*from..=*to).contains(&c));
        ranges = (' '..='~')
            .filter(|c| !inside(*c))
            .map(|c| (c, c))
            .collect();
    }
    (!ranges.is_empty()).then_some(PatternNode::One(ranges))
}

fn times(node: PatternNode, chars: &mut Peekable<Chars<'_>>) -> Option<PatternNode> {
    let (least, most) = match chars.peek() {
        Some('?') => (0, 1),
        Some('*') => (0, EXTRA),
        Some('+') => (1, 1 + EXTRA),
        Some('{') => {
            let text: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
            let (least, most) = text.split_once(',').unwrap_or((&text, &text));
            let least: u32 = least.parse().ok()?;
            let most = if most.is_empty() {
                least + EXTRA
            } else {
                most.parse().ok()?
            };
            chars.next_if_eq(&'?');
            return (least <= most && most <= MOST)
                .then(|| PatternNode::Times(Box::new(node), least, most));
        }
        _ => return Some(node),
    };
    chars.next();
    chars.next_if_eq(&'?');
    Some(PatternNode::Times(Box::new(node), least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_texts_that_match() {
        let mut rng = fastrand::Rng::with_seed(7);
        for pattern in [
            r"^[A-Z]{3}-\d{4}$",
            r"^(red|green|blue)$",
            r"^[a-z0-9._%+-]+@[a-z]+\.(com|org)$",
            r"^\+?[1-9]\d{1,14}$",
            r"^[^x]{2,}$",
            r"^(?:a|b)+?c*$",
        ] {
            let schema = serde_json::json!({"type": "string", "pattern": pattern});
            let validator = jsonschema::validator_for(&schema).unwrap();
            for _ in 0..50 {
                let text = generate(pattern, &mut rng).unwrap();
                assert!(
                    validator.is_valid(&serde_json::json!(text)),
                    "{pattern}: {text}"
                );
            }
        }
    }

    #[test]
    fn gives_up_on_what_it_does_not_know() {
        for pattern in [r"(?=a)b", r"\bword", "a{2000}", "[z-a]", "(", "[", "*"] {
            assert_eq!(
                generate(pattern, &mut fastrand::Rng::with_seed(1)),
                None,
                "{pattern}"
            );
        }
    }
}
