//! Some rows of a job → their requests, byte for byte as a run sends them.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::job::JobFile;
use crate::request::OnRowError;
use crate::request::keys::RowKey;

use super::compile::CompiledJob;
use super::faults::Faults;
use super::notice::Notice;
use super::options::PreviewOptions;
use super::setup::Engine;
use super::{Error, Warning, in_one_line};

/// The requests of some rows.
#[derive(Debug, Serialize)]
pub struct PreviewReport {
    /// The rows, in source order.
    pub rows: Vec<PreviewRow>,
    /// Parameters that rows choose by themselves.
    pub chosen_by_rows: Vec<String>,
    /// What was found while the job was compiled.
    pub warnings: Vec<Warning>,
}

/// A row with its request, or why it has none.
#[derive(Debug, Serialize)]
pub struct PreviewRow {
    /// The row's number in the source, from 1.
    pub row: u64,
    /// The key's values, joined by a comma.
    pub key: String,
    /// The key as messages show it.
    #[serde(skip)]
    pub described_key: String,
    /// Its label, which is not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The request's `params`, byte for byte as they are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
    /// Why the row is not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent: Option<String>,
}

impl Engine {
    /// Renders the requests of some rows. Sends nothing.
    ///
    /// **Memory**: the requests that are shown.
    ///
    /// # Errors
    /// [`Error::NoRow`] where no row is selected; [`Error::Rows`] where one cannot be rendered and
    /// the job does not skip such rows; whatever compiling the job refuses.
    pub fn preview(
        &self,
        file: &JobFile,
        options: &PreviewOptions,
    ) -> Result<PreviewReport, Error> {
        let mut file = file.clone();
        options.rows.apply(&mut file.job);
        let compiled = self.compile(&file)?;
        let skips = file.job.request.on_row_error == OnRowError::Skip;
        let is_wanted = options.count > 0 || options.key.is_some();
        let found = match rows(&compiled, options, skips) {
            Ok(rows) if rows.is_empty() && is_wanted => Err(Error::NoRow {
                key: options.key.clone(),
            }),
            found => found,
        };
        let rows = found.inspect_err(|_| {
            // There is no report that has them, and one of them may be the cause.
            for warning in &compiled.warnings {
                self.observer.notice(Notice::Warning(warning));
            }
        })?;
        let chosen = compiled.requests.per_row().members();
        Ok(PreviewReport {
            rows,
            chosen_by_rows: chosen.iter().map(|&name| name.to_owned()).collect(),
            warnings: compiled.warnings,
        })
    }
}

/// The rows that are asked for, in their order.
fn rows(
    compiled: &CompiledJob,
    options: &PreviewOptions,
    skips_bad_rows: bool,
) -> Result<Vec<PreviewRow>, Error> {
    let wanted = match options.key {
        Some(_) => options.count.max(1),
        None => options.count,
    };
    let mut shown = Vec::new();
    let mut text = Vec::new();
    for rows in compiled.source.scan(Some(&compiled.read))? {
        let rows = rows?;
        let requests = compiled.requests.rows(&rows.batch);
        for (row, &index) in rows.row_index.iter().enumerate() {
            if shown.len() as u64 == wanted {
                return Ok(shown);
            }
            let key = compiled.keys.key(&rows.batch, row, index).ok();
            let plain = key.as_ref().map(RowKey::plain);
            if options.key.is_some() && plain != options.key {
                continue;
            }
            let described_key = key
                .as_ref()
                .map_or_else(|| "no key".to_owned(), RowKey::describe);
            text.clear();
            let (params, unsent) = match requests.render(row, &mut text) {
                Ok(_) => (Some(exact(compiled.requests.params_json(&text))?), None),
                Err(error) if skips_bad_rows => (None, Some(in_one_line(&error))),
                Err(error) => {
                    let faults = Faults::one(index, &described_key, error);
                    return Err(Error::Rows(Box::new(faults)));
                }
            };
            shown.push(PreviewRow {
                row: index + 1,
                key: plain.unwrap_or_default(),
                described_key,
                tag: requests.tag(row).map(str::to_owned),
                params,
                unsent,
            });
        }
    }
    Ok(shown)
}

fn exact(params: Vec<u8>) -> Result<Box<RawValue>, Error> {
    let raw = String::from_utf8(params)
        .ok()
        .and_then(|text| RawValue::from_string(text).ok());
    raw.ok_or_else(|| Error::Bug("a request is not JSON".to_owned()))
}
