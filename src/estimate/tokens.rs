//! Tokens of a text, by its letters: there is no public tokenizer for current models, so this is a guess that says what it rests on.
//!
//! **Source** of the constants: the provider's documentation equates a million tokens with 3.4 million characters of English on the
//! first tokenizer and 2.5 million on the second (read August 2026); that Chinese and Japanese cost about a token a character is an
//! assumption of this program.

use crate::catalog::Tokenizer;

/// Tokens of a text.
#[must_use]
pub fn text_tokens(text: &str, tokenizer: Tokenizer) -> u64 {
    let (narrow, wide) = text
        .chars()
        .fold((0_u64, 0_u64), |(narrow, wide), c| if c >= '\u{2e80}' { (narrow, wide + 1) } else { (narrow + 1, wide) });
    let per_ten = match tokenizer {
        Tokenizer::First => 34,
        Tokenizer::Second => 25,
    };
    (narrow * 10).div_ceil(per_ten) + wide
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_english_as_the_documentation_does() {
        let million = "a".repeat(1_000_000);
        assert_eq!(text_tokens(&million, Tokenizer::First).div_ceil(1_000), 295);
        assert_eq!(text_tokens(&million, Tokenizer::Second).div_ceil(1_000), 400);
        assert_eq!(text_tokens("", Tokenizer::Second), 0);
    }
}
