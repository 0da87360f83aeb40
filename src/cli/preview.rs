//! `rowmill preview`: the prompts of some rows as a person reads them, or the exact request with `--json`.

use rowmill::job::JobFile;
use rowmill::pipeline::Prepared;
use serde_json::Value;

use super::args::Preview;
use super::explain::{self, Failure};
use super::plan::{select, today};
use super::screen::Screen;

pub(crate) fn run(args: &Preview, screen: &Screen) -> Result<u8, Failure> {
    let mut file = JobFile::read(&args.job)?;
    select(&mut file, &args.select);
    let prepared = Prepared::new(&file, today())?;
    prepared.warnings.iter().for_each(|warning| screen.warn(warning));
    let mut shown = 0;
    let wanted = if args.key.is_some() { args.rows.max(1) } else { args.rows };
    let mut text = Vec::new();
    for rows in prepared.source.scan(Some(&prepared.read)).map_err(rowmill::pipeline::Error::from)? {
        let rows = rows?;
        for (row, &index) in rows.row_index.iter().enumerate() {
            if shown == wanted {
                return Ok(explain::DONE);
            }
            let key = prepared.keys.key(&rows.batch, row, index);
            let named = key.as_ref().map_or_else(|_| "no key".to_owned(), rowmill::request::keys::RowKey::describe);
            if args.key.as_ref().is_some_and(|wanted| key.as_ref().map_or(true, |key| key.plain() != *wanted)) {
                continue;
            }
            text.clear();
            if let Err(error) = prepared.requests.render(&rows.batch, row, &mut text) {
                return Err(Failure::Step(rowmill::pipeline::Error::Rows(Box::new(rowmill::pipeline::faults::Faults::one(
                    index, &named, error,
                )))));
            }
            let params = prepared.requests.params_json(&text);
            show(screen, index, &named, &params, shown == 0);
            shown += 1;
        }
    }
    match &args.key {
        Some(key) if shown == 0 => Err(Failure::words(
            explain::CHANGE,
            format!("no row has the key `{key}`"),
            "several key columns are joined by a comma",
        )),
        _ => Ok(explain::DONE),
    }
}

fn show(screen: &Screen, index: u64, key: &str, params: &[u8], first: bool) {
    let value: Value = serde_json::from_slice(params).unwrap_or(Value::Null);
    if screen.json {
        screen.json(&value);
        return;
    }
    if first {
        screen.data(shared(screen, &value));
    }
    screen.data(format!("{}\n{}", screen.paint(&format!("── row {} · {key} ", index + 1), "1"), conversation(screen, &value)));
}

/// What all requests have in common.
fn shared(screen: &Screen, params: &Value) -> String {
    let mut text = String::new();
    for (name, value) in params.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("messages", _) => {}
            ("system", Value::Array(blocks)) => {
                for block in blocks {
                    text.push_str(&block_text(screen, "system", block));
                }
            }
            ("system", Value::String(prompt)) => text.push_str(&labelled(screen, "system", prompt)),
            (name, value) => {
                let line = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                text.push_str(&format!("{}: {line}\n", screen.paint(name, "36")));
            }
        }
    }
    text
}

fn conversation(screen: &Screen, params: &Value) -> String {
    let mut text = String::new();
    for message in params["messages"].as_array().into_iter().flatten() {
        let role = message["role"].as_str().unwrap_or("?");
        match &message["content"] {
            Value::Array(blocks) => blocks.iter().for_each(|block| text.push_str(&block_text(screen, role, block))),
            content => text.push_str(&labelled(screen, role, content.as_str().unwrap_or_default())),
        }
    }
    text
}

fn block_text(screen: &Screen, role: &str, block: &Value) -> String {
    let cached = block["cache_control"]["ttl"].as_str().map_or_else(String::new, |ttl| format!(" (cached for {ttl})"));
    let text = block["text"].as_str().map_or_else(|| block.to_string(), str::to_owned);
    labelled(screen, &format!("{role}{cached}"), &text)
}

fn labelled(screen: &Screen, label: &str, text: &str) -> String {
    let indented: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    format!("{}\n{}\n", screen.paint(&format!("{label}:"), "36"), indented.join("\n"))
}
