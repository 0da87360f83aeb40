//! Tokens of a text, by its letters: there is no public tokenizer for current models, so this is an
//! estimate, with its sources and assumptions below.
//!
//! Every character falls into a [`CharacterClass`], and a character of a class costs a number of
//! thousandths of a token. A [`CharacterCounts`] counts the characters by class in one pass over
//! the bytes; a text inside JSON is counted as the model reads it, not as it is escaped. Counts add
//! up, so that the tokens of a whole table can be computed for any constants after one pass.
//!
//! **Source** of the constants: the provider's documentation equates a million tokens with 3.4
//! million characters of English on the first tokenizer and 2.5 million on the second (read August
//! 2026). `COSTS` spreads these over the kinds of characters that English consists of (79% letters,
//! 17.5% blanks, 3% marks, 0.5% digits). What it says of code, numbers and other scripts is an
//! assumption of this program, which no source backs; `benches/estimate.rs` prints how far off it
//! is for real tables, and a sample that the provider counts puts it right.

use serde::{Deserialize, Serialize};

use crate::catalog::Tokenizer;

/// Kinds of characters that differ in what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "named like the characters they stand for; see `class`"
)]
pub enum CharacterClass {
    Letter,
    Digit,
    Blank,
    Mark,
    Accented,
    Cyrillic,
    Arabic,
    Indic,
    Han,
    Hangul,
    Symbol,
    Emoji,
}

/// Classes there are.
pub const CLASSES: usize = 12;

impl CharacterClass {
    /// All of them, in the order of their counts in a [`CharacterCounts`].
    pub const ALL: [CharacterClass; CLASSES] = [
        CharacterClass::Letter,
        CharacterClass::Digit,
        CharacterClass::Blank,
        CharacterClass::Mark,
        CharacterClass::Accented,
        CharacterClass::Cyrillic,
        CharacterClass::Arabic,
        CharacterClass::Indic,
        CharacterClass::Han,
        CharacterClass::Hangul,
        CharacterClass::Symbol,
        CharacterClass::Emoji,
    ];
}

/// Thousandths of a token that a character of each class costs, on the first and on the second
/// tokenizer.
///
/// Source of the letters, blanks and marks: see the top of this file. All others: assumptions.
const COSTS: [(CharacterClass, u64, u64); CLASSES] = [
    (CharacterClass::Letter, 306, 419),
    (CharacterClass::Digit, 500, 650),
    (CharacterClass::Blank, 150, 205),
    (CharacterClass::Mark, 800, 1_000),
    (CharacterClass::Accented, 600, 800),
    (CharacterClass::Cyrillic, 450, 600),
    (CharacterClass::Arabic, 550, 700),
    (CharacterClass::Indic, 700, 900),
    (CharacterClass::Han, 1_000, 1_150),
    (CharacterClass::Hangul, 1_000, 1_150),
    (CharacterClass::Symbol, 1_000, 1_000),
    (CharacterClass::Emoji, 2_000, 2_300),
];

/// Thousandths of a token that a character of each class costs, in the order of
/// [`CharacterClass::ALL`].
#[must_use]
pub fn costs(tokenizer: Tokenizer) -> [u64; CLASSES] {
    COSTS.map(|(_, first, second)| match tokenizer {
        Tokenizer::First => first,
        Tokenizer::Second => second,
    })
}

/// Tokens of a text.
///
/// ```
/// # use rowmill::{catalog::Tokenizer, estimate::tokens::text_tokens};
/// let text = "The parcel arrived on time, but the box was open and one of the two cups was broken.";
/// assert_eq!(text_tokens(text, Tokenizer::First), 25);
/// assert_eq!(text_tokens(text, Tokenizer::Second), 33);
/// ```
#[must_use]
pub fn text_tokens(text: &str, tokenizer: Tokenizer) -> u64 {
    CharacterCounts::of(text).tokens(tokenizer)
}

/// Characters by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharacterCounts {
    /// Characters of each class, in the order of [`CharacterClass::ALL`].
    pub chars: [u64; CLASSES],
    /// Bytes of all of them: no tokenizer makes more tokens of a text than it has bytes.
    pub bytes: u64,
}

impl CharacterCounts {
    /// Of a text.
    #[must_use]
    pub fn of(text: &str) -> CharacterCounts {
        let mut characters = CharacterCounts::default();
        characters.add_text(text);
        characters
    }

    /// Adds a text.
    pub fn add_text(&mut self, text: &str) {
        self.add_bytes(text.as_bytes());
    }

    /// Adds the characters of another characters.
    pub fn add(&mut self, other: &CharacterCounts) {
        self.chars
            .iter_mut()
            .zip(other.chars)
            .for_each(|(sum, more)| *sum += more);
        self.bytes += other.bytes;
    }

    /// Adds what a model reads of a piece of JSON: its texts, without the names of members, and
    /// without what is no text, such as types, roles and the bytes of pictures. The piece is
    /// compact, as requests are, and begins and ends outside of a text.
    ///
    /// Returns the number of messages in it.
    pub fn add_json(&mut self, json: &[u8]) -> u64 {
        let mut messages = 0;
        let (mut name, mut kind): (&[u8], &[u8]) = (b"", b"");
        let mut at = 0;
        while let Some(quote) = memchr::memchr(b'"', &json[at..]) {
            let start = at + quote + 1;
            let end = end_of_text(json, start);
            let text = &json[start..end];
            if json.get(end + 1) == Some(&b':') {
                name = text;
                messages += u64::from(name == b"role");
            } else if name == b"type" {
                kind = text;
            } else if is_read(name, kind) {
                self.add_escaped(text);
            }
            at = (end + 1).min(json.len());
        }
        messages
    }

    fn add_escaped(&mut self, mut text: &[u8]) {
        while let Some(at) = memchr::memchr(b'\\', text) {
            self.add_bytes(&text[..at]);
            let escape = &text[at + 1..];
            let length = if escape.first() == Some(&b'u') { 5 } else { 1 };
            self.add_escape(&escape[..length.min(escape.len())]);
            text = &escape[length.min(escape.len())..];
        }
        self.add_bytes(text);
    }

    fn add_escape(&mut self, escape: &[u8]) {
        let unit = || u32::from_str_radix(std::str::from_utf8(escape.get(1..)?).ok()?, 16).ok();
        match escape {
            [b'n' | b't' | b'r' | b'b' | b'f'] => self.add_bytes(b" "),
            [mark] => self.add_bytes(&[*mark]),
            _ => match unit().map(char::from_u32) {
                Some(Some(c)) => self.add_text(c.encode_utf8(&mut [0; 4])),
                // Half of a pair: the pair is one character beyond the first plane.
                _ => {
                    self.bytes += 2;
                    self.chars[CharacterClass::Emoji as usize] += u64::from(matches!(
                        escape.get(1..3),
                        Some([b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B'])
                    ));
                }
            },
        }
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for chunk in bytes.chunks(LANE_MAX) {
            let lanes = chunk
                .iter()
                .fold(0_u128, |lanes, &byte| lanes + LANE_OF[byte as usize]);
            for (chars, lane) in self.chars.iter_mut().zip(lanes.to_le_bytes()) {
                *chars += u64::from(lane);
            }
        }
    }

    /// Tokens by the constants of this file, rounded up.
    #[must_use]
    pub fn tokens(&self, tokenizer: Tokenizer) -> u64 {
        self.thousandths(&costs(tokenizer)).div_ceil(1_000)
    }

    /// Thousandths of tokens at some cost of a character of each class.
    #[must_use]
    pub fn thousandths(&self, costs: &[u64; CLASSES]) -> u64 {
        self.chars
            .iter()
            .zip(costs)
            .map(|(chars, cost)| chars * cost)
            .sum()
    }

    /// The class that most of the tokens come from.
    #[must_use]
    pub fn main_class(&self) -> CharacterClass {
        let costs = costs(Tokenizer::First);
        let place =
            (0..CLASSES).max_by_key(|&place| (self.chars[place] * costs[place], CLASSES - place));
        CharacterClass::ALL[place.unwrap_or(0)]
    }
}

/// Bytes that fit into a lane without running over.
const LANE_MAX: usize = 255;

/// What each byte adds to twelve counters of eight bits, priced in one number: adding that up is
/// one addition a byte. Bytes that continue a character add nothing.
static LANE_OF: [u128; 256] = {
    let mut lanes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if let Some(class) = class(byte as u8) {
            lanes[byte] = 1 << (8 * class as u32);
        }
        byte += 1;
    }
    lanes
};

/// The class of the character that begins with a byte; `None` for the bytes after its first. The
/// first byte distinguishes scripts well enough: those it mixes up (a few rare scripts with the
/// ones named) cost about the same.
const fn class(byte: u8) -> Option<CharacterClass> {
    Some(match byte {
        b'a'..=b'z' | b'A'..=b'Z' => CharacterClass::Letter,
        b'0'..=b'9' => CharacterClass::Digit,
        0..=b' ' | 0x7f => CharacterClass::Blank,
        0x21..0x7f => CharacterClass::Mark,
        0x80..=0xbf => return None,
        // Latin letters with accents, up to U+037F; then Greek, Cyrillic, Armenian; then Hebrew,
        // Arabic and their neighbours.
        0xc0..=0xcd => CharacterClass::Accented,
        0xce..=0xd5 => CharacterClass::Cyrillic,
        0xd6..=0xdf => CharacterClass::Arabic,
        // Devanagari to Tibetan, Thai among them; Georgian to Khmer, and Vietnamese letters.
        0xe0..=0xe1 => CharacterClass::Indic,
        // Dashes, quotes, arrows, signs.
        0xe2 => CharacterClass::Symbol,
        // Kana and Han, and the full-width forms.
        0xe3..=0xe9 | 0xee..=0xef => CharacterClass::Han,
        0xea..=0xed => CharacterClass::Hangul,
        0xf0..=0xff => CharacterClass::Emoji,
    })
}

/// Members of a request that hold no text of the prompt. The text of `data` is one only in a source
/// of the type `text`.
const NOT_READ: [&[u8]; 10] = [
    b"type",
    b"role",
    b"media_type",
    b"url",
    b"file_id",
    b"id",
    b"tool_use_id",
    b"ttl",
    b"model",
    b"custom_id",
];

fn is_read(name: &[u8], kind: &[u8]) -> bool {
    match name {
        b"data" => kind == b"text",
        name => !NOT_READ.contains(&name),
    }
}

/// Where the text that begins at `start` ends: at its closing quote, or with the bytes.
fn end_of_text(json: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'"', b'\\', json.get(at..).unwrap_or_default()) {
        if json[at + found] == b'"' {
            return at + found;
        }
        at += found + 2;
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use serde_json::json;

    use super::*;

    const ENGLISH: &str = "The committee met on the first Tuesday of the month, as it had done for \
        years. Nobody expected much of it; there was, after all, little to decide. And yet, by the \
        end of the evening, three of its members had left the room without a word, and the fourth \
        was writing a letter.";

    #[test]
    fn counts_english_as_the_documentation_does() {
        let chars = ENGLISH.len() as f64;
        for (tokenizer, documented) in [(Tokenizer::First, 3.4), (Tokenizer::Second, 2.5)] {
            let per_token = chars / text_tokens(ENGLISH, tokenizer) as f64;
            assert!(
                (per_token / documented - 1.0).abs() < 0.03,
                "{tokenizer:?}: {per_token:.2} characters a token"
            );
        }
    }

    #[test]
    fn distinguishes_scripts() {
        let cases = [
            ("word", CharacterClass::Letter),
            ("90210", CharacterClass::Digit),
            ("Größe", CharacterClass::Accented),
            ("мир", CharacterClass::Cyrillic),
            ("عربي", CharacterClass::Arabic),
            ("हिन्दी", CharacterClass::Indic),
            ("東京都", CharacterClass::Han),
            ("ひらがな", CharacterClass::Han),
            ("영화", CharacterClass::Hangul),
            ("—…→", CharacterClass::Symbol),
            ("🙂🙃", CharacterClass::Emoji),
            ("{}[]();", CharacterClass::Mark),
        ];
        for (text, class) in cases {
            let characters = CharacterCounts::of(text);
            assert!(
                characters.chars[class as usize] > 0,
                "{text}: {characters:?}"
            );
            assert_eq!(
                characters.chars.iter().sum::<u64>(),
                text.chars().count() as u64,
                "{text}"
            );
            assert_eq!(characters.bytes, text.len() as u64);
        }
        assert_eq!(
            CharacterCounts::of("영화가 정말 좋다").main_class(),
            CharacterClass::Hangul
        );
        assert_eq!(CharacterCounts::of("").main_class(), CharacterClass::Letter);
    }

    #[test]
    fn the_second_tokenizer_never_makes_fewer_tokens() {
        let all = [Tokenizer::First, Tokenizer::Second].map(costs);
        assert!(
            all[0]
                .iter()
                .zip(all[1])
                .all(|(first, second)| *first <= second)
        );
        assert_eq!(COSTS.map(|(class, ..)| class), CharacterClass::ALL);
    }

    #[test]
    fn reads_the_texts_of_a_request_and_nothing_else() {
        let fragment = json!([
            { "role": "user", "content": [
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "aGVsbG8gd29ybGQ=" } },
                { "type": "document", "title": "A title", "source": { "type": "text", "media_type": "text/plain", "data": "one\ntwo" } },
                { "type": "image", "source": { "type": "url", "url": "https://example.com/a.png" } },
                { "type": "text", "text": "He said \"no\".", "cache_control": { "type": "ephemeral", "ttl": "1h" } },
            ] },
            { "role": "assistant", "content": "Ünïcode: 東京 🙂 \u{1} end" },
        ]);
        let mut characters = CharacterCounts::default();
        assert_eq!(characters.add_json(fragment.to_string().as_bytes()), 2);
        let mut texts = CharacterCounts::default();
        [
            "A title",
            "one\ntwo",
            "He said \"no\".",
            "Ünïcode: 東京 🙂 \u{1} end",
        ]
        .iter()
        .for_each(|text| texts.add_text(text));
        assert_eq!(characters, texts);
    }

    #[test]
    fn counts_characters_beyond_the_first_plane_once_however_they_are_escaped() {
        let mut characters = CharacterCounts::default();
        characters.add_json(br#"{"text":"a\ud83d\ude42\u00e9\n"}"#);
        assert_eq!(characters, CharacterCounts::of("a🙂é\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(3), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn escapes_change_nothing(text in "(?s:.){0,300}") {
            let mut characters = CharacterCounts::default();
            characters.add_json(json!({ "role": "user", "content": text }).to_string().as_bytes());
            prop_assert_eq!(characters, CharacterCounts::of(&text));
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            CharacterCounts::default().add_json(&bytes);
        }
    }
}
