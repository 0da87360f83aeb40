//! `rowmill preview`: the prompts of some rows as a person reads them, or the exact requests with `--json`.

use rowmill::job::JobFile;
use rowmill::pipeline::faults::Faults;
use rowmill::pipeline::{Error, Prepared};
use rowmill::request::keys::RowKey;
use serde_json::{Value, json};

use super::args::Preview;
use super::explain::{self, Failure};
use super::layout::visible;
use super::plan::{select, today};
use super::screen::{Screen, count, width};

pub(crate) fn run(args: &Preview, screen: &Screen) -> Result<u8, Failure> {
    let mut file = JobFile::read(&args.job)?;
    select(&mut file, &args.select);
    let prepared = Prepared::new(&file, today())?;
    prepared.warnings.iter().for_each(|warning| screen.warn(warning));
    let mut shown = Vec::new();
    each(&prepared, args, |row| {
        if !screen.json {
            show(screen, &row, shown.is_empty());
        }
        // What was shown is only counted.
        shown.push(if screen.json { json!({ "row": row.index + 1, "key": row.key, "params": row.params }) } else { Value::Null });
    })?;
    match &args.key {
        _ if shown.is_empty() && args.rows == 0 => {}
        Some(key) if shown.is_empty() => {
            let hint = "several key columns are joined by a comma";
            return Err(Failure::words(explain::CHANGE, format!("no row has the key `{key}`"), hint));
        }
        None if shown.is_empty() => {
            let hint = "look at `source.path`, `source.where` and `source.limit`";
            return Err(Failure::words(explain::CHANGE, "there is no row to show", hint));
        }
        _ => {}
    }
    if screen.json {
        screen.json(&shown);
    }
    Ok(explain::DONE)
}

/// A row with its request.
struct Row {
    index: u64,
    /// The key's values, joined by a comma.
    key: String,
    /// The key in words.
    named: String,
    params: Value,
}

/// Hands on the rows that are asked for, in their order.
fn each(prepared: &Prepared, args: &Preview, mut take: impl FnMut(Row)) -> Result<(), Failure> {
    let mut left = if args.key.is_some() { args.rows.max(1) } else { args.rows };
    let mut text = Vec::new();
    for rows in prepared.source.scan(Some(&prepared.read)).map_err(Error::from)? {
        let rows = rows?;
        for (row, &index) in rows.row_index.iter().enumerate() {
            if left == 0 {
                return Ok(());
            }
            let key = prepared.keys.key(&rows.batch, row, index).ok();
            let plain = key.as_ref().map(RowKey::plain);
            if args.key.is_some() && plain != args.key {
                continue;
            }
            let named = key.as_ref().map_or_else(|| "no key".to_owned(), RowKey::describe);
            text.clear();
            if let Err(error) = prepared.requests.render(&rows.batch, row, &mut text) {
                return Err(Failure::Step(Error::Rows(Box::new(Faults::one(index, &named, error)))));
            }
            let params = serde_json::from_slice(&prepared.requests.params_json(&text)).unwrap_or(Value::Null);
            take(Row { index, key: plain.unwrap_or_default(), named, params });
            left -= 1;
        }
    }
    Ok(())
}

fn show(screen: &Screen, row: &Row, first: bool) {
    if first {
        screen.data(shared(screen, &row.params));
    }
    let number = format!("row {}", row.index + 1);
    let title = if row.named == number { number } else { format!("{number} · {}", visible(&row.named)) };
    screen.data(format!("{}\n{}", screen.paint(&format!("── {title}"), "1"), conversation(screen, &row.params)));
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
                text.push_str(&format!("{}: {}\n", screen.paint(name, "36"), cut(&line, width().saturating_sub(name.len() + 2))));
            }
        }
    }
    text
}

/// A long setting's beginning; a schema is not what a preview is read for.
fn cut(line: &str, room: usize) -> String {
    let characters = line.chars().count();
    let note = format!("… ({} characters; --json shows all)", count(characters as u64));
    if characters <= room {
        return visible(line);
    }
    let room = room.saturating_sub(note.chars().count()).max(20);
    visible(&line.chars().take(room).collect::<String>()) + &note
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
    let cached = block["cache_control"]["ttl"].as_str().map_or_else(String::new, |ttl| format!(" (marked for the cache, {ttl})"));
    let text = block["text"].as_str().map_or_else(|| block.to_string(), str::to_owned);
    labelled(screen, &format!("{role}{cached}"), &text)
}

fn labelled(screen: &Screen, label: &str, text: &str) -> String {
    let indented: Vec<String> = visible(text).lines().map(|line| format!("  {line}").trim_end().to_owned()).collect();
    format!("{}\n{}\n", screen.paint(&format!("{label}:"), "36"), indented.join("\n"))
}
