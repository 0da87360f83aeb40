//! Counts tokens the way the simulator bills them: a plain estimate from characters, the same
//! everywhere.
//!
//! `count_tokens` and the `usage` of an answer both come from here, so they agree to the token.

use crate::catalog::Tokenizer;

/// Tokens that every request costs beside its blocks.
pub(super) const PER_REQUEST: u64 = 4;
/// Tokens that every message costs beside its blocks.
pub(super) const PER_MESSAGE: u64 = 3;
/// Tokens of the hidden prompt that describes the tools to the model. Source: figures around 290 to
/// 590 by model in the provider's documentation of August 2026.
pub(super) const TOOL_PROMPT: u64 = 350;

/// Thousandths of a token a character costs.
struct Weights {
    latin: u64,
    other: u64,
    wide: u64,
}

/// Source: the provider's documentation equates a million tokens with 3.4 million characters on the
/// first tokenizer and 2.5 million on the second; Chinese and Japanese text costs about a token a
/// character on both.
fn weights(tokenizer: Tokenizer) -> Weights {
    match tokenizer {
        Tokenizer::First => Weights {
            latin: 294,
            other: 500,
            wide: 1_000,
        },
        Tokenizer::Second => Weights {
            latin: 400,
            other: 650,
            wide: 1_000,
        },
    }
}

impl Weights {
    fn of(&self, c: char) -> u64 {
        match u32::from(c) {
            0..0x250 => self.latin,
            0x2e80.. => self.wide,
            _ => self.other,
        }
    }
}

/// Tokens of a text; an empty text has none.
pub(super) fn count(tokenizer: Tokenizer, text: &str) -> u64 {
    let weights = weights(tokenizer);
    let thousandths = if text.is_ascii() {
        text.len() as u64 * weights.latin
    } else {
        text.chars().map(|c| weights.of(c)).sum()
    };
    thousandths.div_ceil(1_000)
}

/// The longest beginning of a text that has at most `budget` tokens.
pub(super) fn cut(tokenizer: Tokenizer, text: &str, budget: u64) -> &str {
    let weights = weights(tokenizer);
    let mut left = budget.saturating_mul(1_000);
    for (at, c) in text.char_indices() {
        match left.checked_sub(weights.of(c)) {
            Some(rest) => left = rest,
            None => return &text[..at],
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_script_and_tokenizer() {
        let cases = [
            (Tokenizer::First, "", 0),
            (Tokenizer::First, "a", 1),
            (Tokenizer::First, &*"x".repeat(3_400), 1_000),
            (Tokenizer::Second, &*"x".repeat(2_500), 1_000),
            (Tokenizer::First, "東京都", 3),
            (Tokenizer::Second, "東京都", 3),
            (Tokenizer::First, "мир", 2),
        ];
        for (tokenizer, text, tokens) in cases {
            assert_eq!(count(tokenizer, text), tokens, "{tokenizer:?} {:.20}", text);
        }
    }

    #[test]
    fn a_cut_text_fits_its_budget_and_one_more_character_does_not() {
        for text in [
            "plain words, plain words, plain words",
            "mixed 東京 и слова 🙂🙂 tail",
        ] {
            for budget in 0..12 {
                let head = cut(Tokenizer::Second, text, budget);
                assert!(count(Tokenizer::Second, head) <= budget);
                if let Some(c) = text[head.len()..].chars().next() {
                    assert!(count(Tokenizer::Second, &format!("{head}{c}")) > budget);
                }
            }
        }
    }
}
