//! Estimating tokens from characters: the speed, compared with a loop that only counts characters;
//! and the error, compared with the simulator's count, for every table of the shared data.
//!
//! The simulator is not the provider, so these errors only show how much the constants depend on
//! the kind of text.

#![allow(missing_docs)] // divan's macros make items without

mod text;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use rowmill::catalog::Tokenizer;
use rowmill::estimate::tokens::CharacterCounts;

const ROWS: usize = 8_192;

fn main() {
    text::announce();
    print_errors();
    divan::main();
}

fn bytes(texts: &[String]) -> BytesCount {
    BytesCount::new(texts.iter().map(String::len).sum::<usize>())
}

/// The work of the plan for every row: the row's own part of its request, which is JSON.
#[divan::bench]
fn tally_of_fragments(bencher: Bencher) {
    let fragments: Vec<String> = text::texts(ROWS)
        .iter()
        .map(|text| {
            format!(
                "{}]}}",
                serde_json::json!({ "role": "user", "content": text })
            )
        })
        .collect();
    bencher.counter(bytes(&fragments)).bench(|| {
        let mut tally = CharacterCounts::default();
        fragments.iter().for_each(|fragment| {
            tally.add_json(black_box(fragment.as_bytes()));
        });
        tally.tokens(Tokenizer::Second)
    });
}

#[divan::bench]
fn tally_of_texts(bencher: Bencher) {
    let texts = text::texts(ROWS);
    bencher.counter(bytes(&texts)).bench(|| {
        let mut tally = CharacterCounts::default();
        texts
            .iter()
            .for_each(|text| tally.add_text(black_box(text)));
        tally.tokens(Tokenizer::Second)
    });
}

/// The baseline: only counts characters.
#[divan::bench]
fn chars_of_texts(bencher: Bencher) {
    let texts = text::texts(ROWS);
    bencher.counter(bytes(&texts)).bench(|| {
        texts
            .iter()
            .map(|text| black_box(text).chars().count())
            .sum::<usize>()
    });
}

/// The error of the constants for each table, whole cells as text.
#[expect(
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "this is what the bench is for"
)]
fn print_errors() {
    let Some(folder) = text::bench_data() else {
        eprintln!("ROWMILL_BENCH_DATA names no folder: no errors to print");
        return;
    };
    let mut tables: Vec<_> = std::fs::read_dir(folder.join("sample"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    tables.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    tables.sort();
    eprintln!(
        "{:<28} {:>10} {:>10} {:>8}",
        "table", "letters", "simulator", "error"
    );
    for table in tables {
        let (mut tally, mut counted) = (CharacterCounts::default(), 0.0);
        let Ok(mut reader) = csv::Reader::from_path(&table) else {
            continue;
        };
        for cell in reader
            .records()
            .flatten()
            .flat_map(|record| record.iter().map(str::to_owned).collect::<Vec<_>>())
        {
            tally.add_text(&cell);
            counted += as_the_simulator_counts(&cell);
        }
        let guessed = tally.tokens(Tokenizer::First) as f64;
        let name = table.file_name().unwrap_or_default().to_string_lossy();
        eprintln!(
            "{name:<28} {guessed:>10.0} {counted:>10.0} {:>7.1} %",
            (guessed / counted - 1.0) * 100.0
        );
    }
}

/// A copy of the simulator's weights for the first tokenizer, whose code is private.
fn as_the_simulator_counts(text: &str) -> f64 {
    let weight = |c: char| match u32::from(c) {
        0..0x250 => 0.294,
        0x2e80.. => 1.0,
        _ => 0.5,
    };
    text.chars().map(weight).sum()
}
