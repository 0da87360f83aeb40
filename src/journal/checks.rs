//! What holds for any bytes that are read as a journal; run by the tests and by a fuzzer.

use super::{Journal, Plan};

/// Most ends at which one journal is cut.
const CUTS: usize = 200;

/// Reads any bytes as a journal of a run of two batches, without a panic. Where they are a journal,
/// each beginning of them that holds the first line is one too, with the first of its events: that
/// is what a crash leaves, and it must never be taken for damage, nor for more than was written.
///
/// # Panics
/// Where that does not hold.
pub fn check_journal(bytes: &[u8]) {
    let plan = plan();
    let Ok(whole) = Journal::parse(bytes, &plan) else {
        return;
    };
    let header = memchr::memchr(b'\n', bytes).expect("a journal has a first line") + 1;
    let step = ((bytes.len() - header) / CUTS).max(1);
    let mut before = 0;
    for end in (header..=bytes.len()).step_by(step) {
        let cut = Journal::parse(&bytes[..end], &plan).expect("a beginning of a journal is one");
        let events = cut.entries.len();
        assert_eq!(cut.entries, whole.entries[..events]);
        assert!(before <= events, "a longer journal has fewer events");
        before = events;
    }
}

/// The first line of a journal of the run that [`check_journal`] reads.
#[must_use]
pub fn header() -> String {
    let Plan { run, nonce, .. } = plan();
    format!("{{\"journal\":1,\"run\":\"{run}\",\"nonce\":\"{nonce}\"}}\n")
}

/// A run of two batches. It is read from the text of a plan, as every plan of an earlier version
/// is.
fn plan() -> Plan {
    let batch = |number: u32, first_row: u64| {
        serde_json::json!({
            "piece": number, "rows": 3, "requests": 2, "body_bytes": 99, "first_row": first_row,
            "last_row": first_row + 2, "file_bytes": 10, "file_hash": "f", "body_hash": "b",
        })
    };
    let plan = serde_json::json!({
        "format": 1, "tool": "0.1.0", "created_at": "2026-11-23T03:15:00Z", "run": "a",
        "nonce": "k3v9q2", "simulated": false, "job_name": "job", "job": {},
        "job_path": "job.toml", "job_hash": "j", "templates": [], "sources": [],
        "source_schema": "", "origin": "here",
        "head": { "file": "head.bin", "bytes": 0, "hash": "h" },
        "pieces": [batch(1, 0), batch(2, 3)],
        "gates": [{ "batch": 1, "gate": "prime" }],
        "counts": { "rows": 6, "requests": 4, "unsent": {}, "filtered": 0 },
        "limits": { "max_requests": 100, "max_bytes": 1000 },
        "output": "out.parquet",
    });
    serde_json::from_value(plan).expect("a plan of this version")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as versions wrote them whose reasons were sentences.
    const OLD: &str = r#"{"v":1,"seq":1,"at":"2026-11-23T03:15:02.5Z","event":"intent","batch":1,"requests":2,"bytes":99,"body_hash":"b"}
{"v":1,"seq":2,"at":"2026-11-23T03:15:03Z","event":"doubt","batch":1,"reason":"the connection was closed"}
{"v":1,"seq":3,"at":"2026-11-23T03:15:09.1Z","event":"adopted","batch":1,"id":"msgbatch_1","created_at":"2026-11-23T03:15:02Z","proof":"its results hold `k3v9q2-1`"}
{"v":1,"seq":4,"at":"2026-11-23T03:20:00Z","event":"lost","batch":1,"reason":"the provider keeps results for 29 days"}
{"v":1,"seq":5,"at":"2026-11-23T03:20:01Z","event":"judged","batch":1,"verdict":"passed","reason":"nothing came back for it"}
{"v":1,"seq":6,"at":"2026-11-23T03:21:00Z","event":"abandoned","reason":"given up by a person"}
"#;

    #[test]
    fn reads_the_journals_of_earlier_versions_and_each_beginning_of_them() {
        let text = header() + OLD;
        let history = Journal::parse(text.as_bytes(), &plan()).unwrap();
        let reason = super::super::AbandonReason::Other("given up by a person".to_owned());
        assert_eq!(history.state.abandoned(), Some(&reason));
        assert_eq!(history.entries.len(), 6);
        // What was read is written back as it was.
        let written: Vec<String> = history
            .entries
            .iter()
            .map(|entry| serde_json::to_string(entry).unwrap())
            .collect();
        assert_eq!(written, OLD.lines().collect::<Vec<_>>());
        check_journal(text.as_bytes());
    }

    #[test]
    fn holds_for_damaged_journals() {
        let text = (header() + OLD).into_bytes();
        for place in (0..text.len()).step_by(7) {
            for byte in [b'\n', 0, b'"', b'9', 0xff] {
                let mut text = text.clone();
                text[place] = byte;
                check_journal(&text);
            }
            check_journal(&text[place..]);
        }
    }
}
