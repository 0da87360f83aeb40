//! Reading result lines, compared with reading them into JSON values: rows and bytes of results per
//! second.
//!
//! A line has about 1,000 bytes, of which 400 are the answer's text; one in a hundred is an error.

#![allow(missing_docs)] // divan's macros make items without

mod text;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use rowmill::outcome::details::Wanted;
use rowmill::provider::anthropic::result_line;
use serde_json::Value;

const LINES: usize = 10_000;

fn main() {
    text::announce();
    divan::main();
}

/// Lines as the API writes them.
fn lines() -> Vec<Vec<u8>> {
    let texts = text::texts(LINES);
    let line = |(row, text): (usize, &String)| {
        if row % 100 == 99 {
            error(row)
        } else {
            answer(row, text)
        }
    };
    texts
        .iter()
        .enumerate()
        .map(|row| line(row).into_bytes())
        .collect()
}

fn answer(row: usize, text: &str) -> String {
    let text = serde_json::json!({ "category": "billing", "urgency": row % 5, "summary": text })
        .to_string();
    let text = serde_json::to_string(&text).expect("text is JSON");
    format!(
        r#"{{"custom_id":"k3x9q2-{row}","result":{{"type":"succeeded","message":{{"id":"msg_013Zva2CMHLNnXjNJJ{row:06}","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[{{"type":"text","text":{text}}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":211,"cache_creation_input_tokens":0,"cache_read_input_tokens":1840,"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"output_tokens":47,"service_tier":"batch","inference_geo":"global"}}}}}}}}"#
    )
}

fn error(row: usize) -> String {
    format!(
        r#"{{"custom_id":"k3x9q2-{row}","result":{{"type":"errored","error":{{"type":"error","request_id":"req_{row}","error":{{"type":"api_error","message":"Internal server error"}}}}}}}}"#
    )
}

fn counted(bencher: Bencher<'_, '_>, read: impl Fn(&[u8]) + Sync) {
    let lines = lines();
    let bytes: usize = lines.iter().map(Vec::len).sum();
    bencher
        .counter(BytesCount::new(bytes))
        .counter(ItemsCount::new(LINES))
        .bench_local(|| lines.iter().for_each(|line| read(line)));
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    counted(bencher, |line| {
        black_box(result_line::parse(line).expect("a result line"));
    });
}

/// With all extra columns of a job.
#[divan::bench]
fn parse_with_all_details(bencher: Bencher<'_, '_>) {
    let all = Wanted {
        thinking: true,
        citations: true,
        tool_calls: true,
        message: true,
        words: true,
    };
    counted(bencher, |line| {
        black_box(result_line::parse_with(line, all).expect("a result line"));
    });
}

/// The baseline: the same facts from a JSON value.
#[divan::bench]
fn parse_by_value(bencher: Bencher<'_, '_>) {
    counted(bencher, |line| {
        let line: Value = serde_json::from_slice(line).expect("JSON");
        let fact = |pointer: &str| {
            line.pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let count = |name: &str| line.pointer("/result/message/usage")?.get(name)?.as_u64();
        black_box((
            fact("/custom_id"),
            fact("/result/type"),
            fact("/result/error/error/type"),
            fact("/result/error/error/message"),
        ));
        black_box(
            ["id", "model", "content/0/text", "stop_reason"]
                .map(|name| fact(&format!("/result/message/{name}"))),
        );
        black_box(["input_tokens", "cache_read_input_tokens", "output_tokens"].map(count));
    });
}

#[divan::bench]
fn custom_id_of(bencher: Bencher<'_, '_>) {
    counted(bencher, |line| {
        black_box(result_line::custom_id_of(line).expect("a result line"));
    });
}
