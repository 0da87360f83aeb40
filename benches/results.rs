//! Reading result lines: `cargo bench --bench results`.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use rowmill::provider::anthropic::result_line;

const LINES: usize = 10_000;

fn main() {
    divan::main();
}

/// Lines as the API writes them, most of them answers, one in a hundred an error.
fn lines() -> Vec<Vec<u8>> {
    (0..LINES).map(|row| if row % 100 == 99 { error(row) } else { answer(row) }.into_bytes()).collect()
}

fn answer(row: usize) -> String {
    let text = r#"{\"category\":\"billing\",\"urgency\":3,\"summary\":\"The customer was charged twice for one order and asks for the second amount back.\"}"#;
    format!(
        r#"{{"custom_id":"k3x9q2-{row}","result":{{"type":"succeeded","message":{{"id":"msg_013Zva2CMHLNnXjNJJ{row:06}","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":211,"cache_creation_input_tokens":0,"cache_read_input_tokens":1840,"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"output_tokens":47,"service_tier":"batch","inference_geo":"global"}}}}}}}}"#
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
    bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(LINES)).bench(|| lines.iter().for_each(|line| read(line)));
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    counted(bencher, |line| {
        divan::black_box(result_line::parse(line).expect("a result line"));
    });
}

#[divan::bench]
fn custom_id_of(bencher: Bencher<'_, '_>) {
    counted(bencher, |line| {
        divan::black_box(result_line::custom_id_of(line).expect("a result line"));
    });
}
