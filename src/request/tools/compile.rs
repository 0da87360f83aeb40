//! The entries of `request.tools` → tools: files, short names, cache marks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::server_tools::{SERVER_TOOLS, SHORT_NAMES};
use super::{Tool, ToolSpec, wrong};
use crate::durable;
use crate::request::Error;
use crate::template;
use crate::template::prompt::CacheTtl;

/// Most strict tools in a request. **Source**: structured output documentation, read 2026-08-22.
const MAX_STRICT: usize = 20;

/// Compiles the entries of `request.tools`. Files that were read are added to `files`, as the job
/// names them, with their blake3 in hex.
///
/// `newest` says whether the model takes the newest versions of the provider's tools.
///
/// # Errors
/// Whatever of it the API would refuse.
pub(in crate::request) fn compile(
    specs: &[ToolSpec],
    newest: bool,
    folder: &Path,
    files: &mut Vec<(PathBuf, String)>,
) -> Result<Vec<Tool>, Error> {
    let mut tools = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let place = format!("entry {} of `request.tools`", i + 1);
        match spec {
            ToolSpec::File(path) => {
                tools.extend(from_file(path, &Map::new(), &place, folder, files)?)
            }
            ToolSpec::Table(table) => {
                tools.extend(from_table(table, newest, &place, folder, files)?)
            }
        }
    }
    check_all(&tools)?;
    Ok(tools)
}

/// Reads what stands in `request.params.tools`: definitions as they are sent.
///
/// # Errors
/// As [`compile`].
pub(in crate::request) fn from_params(value: &Value) -> Result<Vec<Tool>, Error> {
    let place = |i: usize| format!("entry {} of `request.params.tools`", i + 1);
    let Some(definitions) = value.as_array() else {
        return Err(wrong(
            "`request.params.tools`",
            "must be a list of definitions; `request.tools` takes names of files too",
        ));
    };
    let tools: Vec<Tool> = definitions
        .iter()
        .enumerate()
        .map(|(i, tool)| Tool::read(tool.clone(), &place(i)))
        .collect::<Result<_, _>>()?;
    check_all(&tools)?;
    Ok(tools)
}

fn from_table(
    table: &Map<String, Value>,
    newest: bool,
    place: &str,
    folder: &Path,
    files: &mut Vec<(PathBuf, String)>,
) -> Result<Vec<Tool>, Error> {
    let mut rest = table.clone();
    if let Some(file) = rest.shift_remove("file") {
        let path = file
            .as_str()
            .ok_or_else(|| wrong(place, "has a `file` that is not a text"))?;
        return from_file(Path::new(path), &rest, place, folder, files);
    }
    let mark = take_mark(&mut rest, place)?;
    let mut definition = match rest.shift_remove("server") {
        Some(name) => server_tool(&name, rest, newest, place)?,
        None => rest,
    };
    set_mark(&mut definition, mark, place)?;
    Ok(vec![Tool::read(Value::Object(definition), place)?])
}

/// The definitions in a file; `settings` are those beside `file` in the job.
fn from_file(
    path: &Path,
    settings: &Map<String, Value>,
    place: &str,
    folder: &Path,
    files: &mut Vec<(PathBuf, String)>,
) -> Result<Vec<Tool>, Error> {
    let mut settings = settings.clone();
    let mark = take_mark(&mut settings, place)?;
    let strict = settings.shift_remove("strict");
    if strict.as_ref().is_some_and(|strict| !strict.is_boolean()) {
        return Err(wrong(
            place,
            "has a `strict` that is neither `true` nor `false`",
        ));
    }
    if let Some(unknown) = settings.keys().next() {
        return Err(wrong(
            place,
            &format!("has `{unknown}` beside `file`, where only `strict` and `cache` are known"),
        ));
    }
    let text =
        durable::read_text(&folder.join(path), durable::MAX_TEXT_BYTES).map_err(|source| {
            template::Error::Read {
                path: path.to_path_buf(),
                source,
            }
        })?;
    let parsed: Value =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|source| {
            Error::SchemaJson {
                path: path.to_path_buf(),
                source,
            }
        })?;
    files.push((
        path.to_path_buf(),
        blake3::hash(text.as_bytes()).to_hex().to_string(),
    ));
    let definitions = match parsed {
        Value::Array(definitions) => definitions,
        definition => vec![definition],
    };
    let count = definitions.len();
    if count == 0 {
        return Err(wrong(&format!("`{}`", path.display()), "has no tool in it"));
    }
    let mut tools = Vec::with_capacity(count);
    for (i, mut definition) in definitions.into_iter().enumerate() {
        let place = if count == 1 {
            format!("`{}`", path.display())
        } else {
            format!("tool {} of `{}`", i + 1, path.display())
        };
        if let Value::Object(definition) = &mut definition {
            if let Some(strict) = &strict {
                definition.insert("strict".to_owned(), strict.clone());
            }
            // A mark covers everything up to it, so one at the end is enough.
            set_mark(definition, mark.filter(|_| i + 1 == count), &place)?;
        }
        tools.push(Tool::read(definition, &place)?);
    }
    Ok(tools)
}

/// The definition of a tool of the provider's, by its short name.
fn server_tool(
    name: &Value,
    settings: Map<String, Value>,
    newest: bool,
    place: &str,
) -> Result<Map<String, Value>, Error> {
    let Some((known, basic)) = SHORT_NAMES.iter().find(|(known, _)| *name == **known) else {
        let names: Vec<String> = SHORT_NAMES
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let problem = format!(
            "has the server tool {name}, which is not known by its short name as {} are; for \
             another one write its `type` and `name`",
            names.join(", ")
        );
        return Err(wrong(place, &problem));
    };
    let tool = SERVER_TOOLS
        .iter()
        .find(|tool| tool.prefix.strip_suffix('_') == Some(*known));
    let day = tool
        .filter(|_| newest)
        .map_or(*basic, |tool| tool.newest().day);
    let kind = settings
        .get("type")
        .cloned()
        .unwrap_or_else(|| Value::from(format!("{known}_{day}")));
    let mut definition = Map::new();
    definition.insert("type".to_owned(), kind);
    definition.insert("name".to_owned(), Value::from(*known));
    definition.extend(
        settings
            .into_iter()
            .filter(|(key, _)| key != "type" && key != "name"),
    );
    Ok(definition)
}

/// Takes the job's word for a cache mark out of an entry.
fn take_mark(table: &mut Map<String, Value>, place: &str) -> Result<Option<CacheTtl>, Error> {
    let Some(word) = table.shift_remove("cache") else {
        return Ok(None);
    };
    match word.as_str() {
        Some("5m") => Ok(Some(CacheTtl::FiveMinutes)),
        Some("1h") => Ok(Some(CacheTtl::OneHour)),
        _ => Err(wrong(
            place,
            &format!("has `cache = {word}`; a mark is \"5m\" or \"1h\""),
        )),
    }
}

fn set_mark(
    definition: &mut Map<String, Value>,
    mark: Option<CacheTtl>,
    place: &str,
) -> Result<(), Error> {
    let Some(ttl) = mark else { return Ok(()) };
    let control = serde_json::json!({ "type": "ephemeral", "ttl": ttl.as_str() });
    match definition.insert("cache_control".to_owned(), control) {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(wrong(
            place,
            "has a `cache_control` of its own beside `cache` in the job; keep one of the two",
        )),
    }
}

fn check_all(tools: &[Tool]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    if let Some(tool) = tools.iter().find(|tool| !names.insert(tool.name.as_str())) {
        return Err(wrong(
            "`request.tools`",
            &format!(
                "has two tools with the name `{}`; names must differ",
                tool.name
            ),
        ));
    }
    let strict = tools.iter().filter(|tool| tool.strict).count();
    if strict > MAX_STRICT {
        return Err(wrong(
            "`request.tools`",
            &format!("has {strict} strict tools; the API takes {MAX_STRICT}"),
        ));
    }
    Ok(())
}
