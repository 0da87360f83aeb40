//! The routes of uploaded files.

use std::sync::Arc;

use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, Path, Query, State};

use super::{Pairs, RouteResult, limit, value};
use crate::simulator::SimState;
use crate::simulator::files::MAX_FILE_BYTES;
use crate::simulator::reply::{ErrorReply, json};

/// Takes a file in; the form's parts may come in any order.
pub(super) async fn upload(
    State(sim): State<Arc<SimState>>,
    form: Result<Multipart, MultipartRejection>,
) -> RouteResult {
    let bad =
        |what: &str| ErrorReply::invalid(format!("The request body is not a valid form: {what}"));
    let mut form = form.map_err(|_| bad("its content type is not multipart/form-data"))?;
    let (mut file, mut life) = (None, None);
    while let Some(part) = form.next_field().await.map_err(|e| bad(&e.body_text()))? {
        match part.name() {
            Some("file") => {
                let name = part.file_name().unwrap_or_default().to_owned();
                let kind = part.content_type().map(str::to_owned);
                let bytes = part.bytes().await.map_err(|e| bad(&e.body_text()))?;
                if bytes.len() > MAX_FILE_BYTES {
                    return Err(ErrorReply::too_large());
                }
                file = Some((name, kind, bytes));
            }
            Some("expires_in_seconds") => {
                let text = part.text().await.map_err(|e| bad(&e.body_text()))?;
                let seconds = text.trim().parse().map_err(|_| {
                    ErrorReply::invalid("expires_in_seconds: Input should be a valid integer")
                })?;
                life = Some(seconds);
            }
            other => {
                let name: String = other.unwrap_or_default().chars().take(40).collect();
                return Err(ErrorReply::invalid(format!(
                    "{name}: Extra inputs are not permitted"
                )));
            }
        }
    }
    let (name, kind, bytes) = file.ok_or_else(|| ErrorReply::invalid("file: Field required"))?;
    let added =
        tokio::task::spawn_blocking(move || sim.files.add(&name, kind.as_deref(), &bytes, life))
            .await;
    Ok(json(&added.map_err(|e| ErrorReply::broken(&e))??))
}

pub(super) async fn list_files(
    State(sim): State<Arc<SimState>>,
    Query(pairs): Pairs,
) -> RouteResult {
    let named = |key: &str| key.trim_end_matches("[]") == "ids";
    let ids: Vec<String> = pairs
        .iter()
        .filter(|(key, _)| named(key))
        .flat_map(|(_, ids)| ids.split(',').map(str::to_owned))
        .collect();
    Ok(json(&sim.files.list(
        &ids,
        limit(&pairs)?,
        value(&pairs, "page").as_deref(),
    )?))
}

pub(super) async fn file(State(sim): State<Arc<SimState>>, Path(id): Path<String>) -> RouteResult {
    Ok(json(&sim.files.one(&id)?))
}

pub(super) async fn delete_file(
    State(sim): State<Arc<SimState>>,
    Path(id): Path<String>,
) -> RouteResult {
    Ok(json(&sim.files.delete(&id)?))
}
