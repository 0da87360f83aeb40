//! `rowmill preview`: the prompts of some rows as a person reads them, or the exact requests with
//! `--json`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rowmill::catalog::Catalog;
use rowmill::engine::faults::Faults;
use rowmill::engine::{CompiledJob, Error, in_one_line};
use rowmill::job::JobFile;
use rowmill::request::OnRowError;
use rowmill::request::keys::RowKey;
use rowmill::template::prompt::media::in_words;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::args::Preview;
use super::explain::{self, Failure};
use super::format::{bytes, count};
use super::layout::visible;
use super::plan::{select, today};
use super::screen::{Screen, width};
use super::words;

pub(crate) fn run(args: &Preview, catalog: &Arc<Catalog>, screen: &Screen) -> Result<u8, Failure> {
    let mut file = JobFile::read(&args.job)?;
    select(&mut file, &args.select);
    let compiled = CompiledJob::new(&file, today(), catalog)?;
    compiled
        .warnings
        .iter()
        .for_each(|warning| screen.warn(words::engine::warning(warning)));
    let mut shown = Vec::new();
    let mut rows = 0_u64;
    let skip = file.job.request.on_row_error == OnRowError::Skip;
    let own = compiled.requests.per_row().members();
    each(&compiled, args, skip, |row| {
        if screen.json {
            shown.push(row);
        } else {
            show(screen, &row, rows == 0, &own);
        }
        rows += 1;
    })?;
    match &args.key {
        _ if rows == 0 && args.rows == 0 => {}
        Some(key) if rows == 0 => {
            let hint = "several key columns are joined by a comma";
            return Err(Failure::words(
                explain::CHANGE,
                format!("no row has the key `{key}`"),
                hint,
            ));
        }
        None if rows == 0 => {
            let hint = "look at `source.path`, `source.where` and `source.limit`";
            return Err(Failure::words(
                explain::CHANGE,
                "there is no row to show",
                hint,
            ));
        }
        _ => {}
    }
    if screen.json {
        screen.json(&shown);
    }
    Ok(explain::DONE)
}

/// A row with its request, or why it has none.
#[derive(Serialize)]
struct Row {
    /// From 1.
    row: u64,
    /// The key's values, joined by a comma.
    key: String,
    /// The key in words.
    #[serde(skip)]
    named: String,
    /// Its label, which is not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// The request's `params`, byte for byte as they are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Box<RawValue>>,
    /// Why the row is not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsent: Option<String>,
}

/// Hands on the rows that are asked for, in their order.
fn each(
    compiled: &CompiledJob,
    args: &Preview,
    skip_bad_rows: bool,
    mut take: impl FnMut(Row),
) -> Result<(), Failure> {
    let mut left = if args.key.is_some() {
        args.rows.max(1)
    } else {
        args.rows
    };
    let mut text = Vec::new();
    for rows in compiled
        .source
        .scan(Some(&compiled.read))
        .map_err(Error::from)?
    {
        let rows = rows?;
        let requests = compiled.requests.rows(&rows.batch);
        for (row, &index) in rows.row_index.iter().enumerate() {
            if left == 0 {
                return Ok(());
            }
            let key = compiled.keys.key(&rows.batch, row, index).ok();
            let plain = key.as_ref().map(RowKey::plain);
            if args.key.is_some() && plain != args.key {
                continue;
            }
            let named = key
                .as_ref()
                .map_or_else(|| "no key".to_owned(), RowKey::describe);
            text.clear();
            let (params, unsent) = match requests.render(row, &mut text) {
                Ok(_) => (Some(exact(compiled.requests.params_json(&text))?), None),
                Err(error) if skip_bad_rows => (None, Some(in_one_line(&error))),
                Err(error) => {
                    return Err(Failure::Step(Error::Rows(Box::new(Faults::one(
                        index, &named, error,
                    )))));
                }
            };
            let tag = requests.tag(row).map(str::to_owned);
            take(Row {
                row: index + 1,
                key: plain.unwrap_or_default(),
                named,
                tag,
                params,
                unsent,
            });
            left -= 1;
        }
    }
    Ok(())
}

fn exact(params: Vec<u8>) -> Result<Box<RawValue>, Error> {
    let raw = String::from_utf8(params)
        .ok()
        .and_then(|text| RawValue::from_string(text).ok());
    raw.ok_or_else(|| Error::Bug("a request is not JSON".to_owned()))
}

fn show(screen: &Screen, row: &Row, first: bool, own: &[&str]) {
    let params = row.params.as_ref().map_or(Value::Null, |raw| {
        serde_json::from_str(raw.get()).unwrap_or_default()
    });
    if first {
        screen.data(settings(screen, &params, |name| !own.contains(&name)));
    }
    let number = format!("row {}", row.row);
    let title = if row.named == number {
        number
    } else {
        format!("{number} · {}", visible(&row.named))
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

/// The members of a request besides its messages: those that all requests have in common, or those
/// that the row chose.
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

/// A long setting's beginning; a schema is not what a preview is read for.
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

/// A picture or document as a person reads it: `[image png 640x427, 110 KB]`.
fn media_text(block: &Value) -> String {
    let word = |key: &str| block["source"][key].as_str().unwrap_or_default();
    let (what, text) = match word("type") {
        "base64" => {
            let file = STANDARD.decode(word("data")).unwrap_or_default();
            (
                format!("{}, {}", in_words(&file), bytes(file.len() as u64)),
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
        .chain((block["citations"]["enabled"] == true).then(|| ", to be cited".to_owned()))
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
