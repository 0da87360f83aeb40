//! Which files templates may load: those in the job's folder, with links followed.

use std::io;
use std::path::{Component, Path};

use minijinja::ErrorKind;

use crate::durable;

/// Whether a name stays inside the job's folder, whatever folders exist.
pub(super) fn stays_inside(name: &str) -> bool {
    let mut depth = 0i32;
    for part in Path::new(name).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            Component::Prefix(_) | Component::RootDir => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    // On other systems these are separators or roots.
    !name.is_empty() && !name.contains('\\')
}

/// Whether a file of the job's folder is a link, or is reached through one, that leads out of it. A
/// file that is not there leads nowhere.
pub(super) fn leads_outside(folder: &Path, name: &str) -> bool {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    // Both are resolved: the job's folder may itself be reached through a link.
    match (folder.canonicalize(), folder.join(name).canonicalize()) {
        (Ok(folder), Ok(file)) => !file.starts_with(folder),
        _ => false,
    }
}

/// Loads a template whose name was only known while rendering.
pub(super) fn load_for_row(folder: &Path, name: &str) -> Result<Option<String>, minijinja::Error> {
    if !stays_inside(name) || leads_outside(folder, name) {
        return Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            "the row chooses a template outside of the job's folder",
        ));
    }
    match durable::read_text(&folder.join(name), durable::MAX_TEXT_BYTES) {
        Ok(text) => Ok(Some(text.trim_start_matches('\u{feff}').to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            "the template that the row chooses cannot be read",
        )
        .with_source(e)),
    }
}
