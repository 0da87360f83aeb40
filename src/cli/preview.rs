//! `rowmill preview`: the readable prompts of some rows, or the exact requests with `--json`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rowmill::catalog::Catalog;
use rowmill::engine::{PreviewOptions, PreviewRow};
use rowmill::job::JobFile;
use serde_json::Value;

use super::args::{Common, Preview};
use super::connect::engine;
use super::explain::{self, Failure};
use super::format::{bytes, count};
use super::layout::visible;
use super::screen::{Screen, width};
use super::target;
use super::words;

pub(crate) fn run(
    args: &Preview,
    common: &Common,
    catalog: &Arc<Catalog>,
    screen: &Arc<Screen>,
) -> Result<u8, Failure> {
    let file = JobFile::read(&args.job)?;
    let state = target::state_of_job(common, &file);
    let engine = engine(&state, Duration::ZERO, catalog, screen)?;
    let options = PreviewOptions {
        rows: args.select.selection(),
        count: args.rows,
        key: args.key.clone(),
    };
    let preview = engine.preview(&file, &options)?;
    for warning in &preview.warnings {
        screen.warn(words::engine::warning(warning));
    }
    if screen.json {
        screen.json(&preview.rows);
        return Ok(explain::DONE);
    }
    let own: Vec<&str> = preview.chosen_by_rows.iter().map(String::as_str).collect();
    for (place, row) in preview.rows.iter().enumerate() {
        show(screen, row, place == 0, &own);
    }
    Ok(explain::DONE)
}

fn show(screen: &Screen, row: &PreviewRow, first: bool, own: &[&str]) {
    let params = row.params.as_ref().map_or(Value::Null, |raw| {
        serde_json::from_str(raw.get()).unwrap_or_default()
    });
    if first {
        screen.data(settings(screen, &params, |name| !own.contains(&name)));
    }
    let number = format!("row {}", row.row);
    let title = if row.described_key == number {
        number
    } else {
        format!("{number} · {}", visible(&row.described_key))
    };
    let body = match &row.unsent {
        Some(reason) => format!("not sent: {}\n", visible(reason)),
        None => {
            settings(screen, &params, |name| own.contains(&name)) + &conversation(screen, &params)
        }
    };
    let body = match &row.tag {
        Some(tag) => format!(
            "{}: {}\n{body}",
            screen.paint("tag (not sent)", "36"),
            visible(tag)
        ),
        None => body,
    };
    screen.data(format!(
        "{}\n{body}",
        screen.paint(&format!("── {title}"), "1")
    ));
}

/// The members of a request besides its messages: those of all requests, or those of the row.
fn settings(screen: &Screen, params: &Value, is_wanted: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for (name, value) in params
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| is_wanted(name))
    {
        match (name.as_str(), value) {
            ("messages", _) => {}
            ("system", Value::Array(blocks)) => {
                for block in blocks {
                    text.push_str(&block_text(screen, "system", block));
                }
            }
            ("system", Value::String(prompt)) => text.push_str(&labelled(screen, "system", prompt)),
            (name, value) => {
                let line = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                text.push_str(&format!(
                    "{}: {}\n",
                    screen.paint(name, "36"),
                    cut(&line, width().saturating_sub(name.len() + 2))
                ));
            }
        }
    }
    text
}

/// The beginning of a long setting, such as a schema.
fn cut(line: &str, room: usize) -> String {
    let characters = line.chars().count();
    let note = format!(
        "… ({} characters; --json shows all)",
        count(characters as u64)
    );
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
            Value::Array(blocks) => blocks
                .iter()
                .for_each(|block| text.push_str(&block_text(screen, role, block))),
            content => text.push_str(&labelled(
                screen,
                role,
                content.as_str().unwrap_or_default(),
            )),
        }
    }
    text
}

fn block_text(screen: &Screen, role: &str, block: &Value) -> String {
    let cached = block["cache_control"]["ttl"]
        .as_str()
        .map_or_else(String::new, |ttl| format!(" (marked for the cache, {ttl})"));
    let text = match block["type"].as_str() {
        Some("image" | "document") => media_text(block),
        _ => block["text"]
            .as_str()
            .map_or_else(|| block.to_string(), str::to_owned),
    };
    labelled(screen, &format!("{role}{cached}"), &text)
}

/// An image or document in short form: `[image png 640x427, 110 KB]`.
fn media_text(block: &Value) -> String {
    let word = |key: &str| block["source"][key].as_str().unwrap_or_default();
    let (what, text) = match word("type") {
        "base64" => {
            let file = STANDARD.decode(word("data")).unwrap_or_default();
            (
                format!(
                    "{}, {}",
                    words::template::media_in_words(&file),
                    bytes(file.len() as u64)
                ),
                "",
            )
        }
        "text" => (
            format!("text, {}", bytes(word("data").len() as u64)),
            word("data"),
        ),
        "url" => (format!("at {}", word("url")), ""),
        "file" => (word("file_id").to_owned(), ""),
        _ => (block["source"].to_string(), ""),
    };
    let facts: Vec<String> = [("title", "titled"), ("context", "context")]
        .iter()
        .filter_map(|(key, name)| Some(format!(", {name} \"{}\"", block[*key].as_str()?)))
        .chain((block["citations"]["enabled"] == true).then(|| ", with citations".to_owned()))
        .collect();
    let head = format!(
        "[{} {what}{}]",
        block["type"].as_str().unwrap_or_default(),
        facts.concat()
    );
    if text.is_empty() {
        head
    } else {
        format!("{head}\n{text}")
    }
}

fn labelled(screen: &Screen, label: &str, text: &str) -> String {
    let indented: Vec<String> = visible(text)
        .lines()
        .map(|line| format!("  {line}").trim_end().to_owned())
        .collect();
    format!(
        "{}\n{}\n",
        screen.paint(&format!("{label}:"), "36"),
        indented.join("\n")
    )
}
