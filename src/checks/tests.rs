//! The bodies over the seeds in `tests/data/seeds/`, and over mutations of them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::*;

type Check = fn(&[u8]);

/// One folder of seeds each, of the same name.
const PARSERS: [(&str, Check); 8] = [
    ("answer_json", check_answer_json),
    ("batch_body", check_batch_body),
    ("csv", check_csv),
    ("job_file", check_job_file),
    ("journal", check_journal),
    ("parquet_page", check_parquet_page),
    ("repeated_keys", check_repeated_keys),
    ("result_line", check_result_line),
];

/// Short texts that matter to one of the parsers.
const TOKENS: [&str; 24] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\n",
    "\r\n",
    "```",
    "```json\n",
    "null",
    "1e999",
    "-0",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "é",
    "\u{0}",
    "\"custom_id\":\"a\"",
    "\"result\":",
    "\"usage\":{\"input_tokens\":-1}",
    "\"requests\":[",
];

/// One change to a text.
#[derive(Debug, Clone)]
enum Edit {
    Replace(Index, u8),
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize),
    Truncate(Index),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let range = |at: &Index, length: usize, total: usize| {
            let at = at.index(total + 1);
            at..total.min(at + length)
        };
        match self {
            Edit::Replace(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Edit::Replace(..) => {}
            Edit::Insert(at, token) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, token.bytes());
            }
            Edit::Remove(at, length) => {
                bytes.drain(range(at, *length, bytes.len()));
            }
            Edit::Repeat(at, length) => {
                let range = range(at, *length, bytes.len());
                let copy = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, copy);
            }
            Edit::Truncate(at) => bytes.truncate(at.index(bytes.len() + 1)),
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (any::<Index>(), prop::sample::select(&TOKENS[..]))
            .prop_map(|(at, token)| Edit::Insert(at, token)),
        (any::<Index>(), 1usize..20).prop_map(|(at, length)| Edit::Remove(at, length)),
        (any::<Index>(), 1usize..40).prop_map(|(at, length)| Edit::Repeat(at, length)),
        any::<Index>().prop_map(Edit::Truncate),
    ]
}

fn seeds(parser: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/seeds")
        .join(parser);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    // The order of a folder is that of the file system; the draws below go by position.
    files.sort();
    let seeds: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(seeds.len() >= 3, "too few seeds for {parser}");
    seeds
}

#[test]
fn parsers_keep_their_promises_over_seeds_and_mutations() {
    for (parser, check) in PARSERS {
        let seeds = seeds(parser);
        seeds.iter().for_each(|seed| check(seed));
        let config = Config {
            cases: 500,
            rng_seed: RngSeed::Fixed(1),
            failure_persistence: None,
            ..Config::default()
        };
        let mutated = (
            prop::sample::select(seeds),
            prop::collection::vec(edit(), 1..6),
        );
        let run = TestRunner::new(config).run(&mutated, |(mut bytes, edits)| {
            edits.iter().for_each(|edit| edit.apply(&mut bytes));
            check(&bytes);
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{parser}: {failure}"));
    }
}
