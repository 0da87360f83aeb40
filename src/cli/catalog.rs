//! The table of models and prices: the built-in table, overridden by a file.

use std::path::Path;
use std::sync::Arc;

use rowmill::catalog::Catalog;
use rowmill::durable;

use super::explain::{self, Failure};

/// The hint for an invalid file.
const WAY_OUT: &str =
    "docs/models.md describes the format of the file; `rowmill prices` shows the current table";

/// Reads the table for this command.
pub(crate) fn read(file: Option<&Path>) -> Result<Arc<Catalog>, Failure> {
    let Some(file) = file else {
        return Ok(Arc::new(Catalog::builtin().clone()));
    };
    let cannot = |what: &str, error: &dyn std::error::Error| {
        Failure::words(
            explain::CHANGE,
            explain::with_causes(&format!("{what} `{}`", file.display()), Some(error)),
            WAY_OUT,
        )
    };
    let text = durable::read_text(file, durable::MAX_SETTINGS_BYTES);
    let text = text.map_err(|error| cannot("cannot read the model table", &error))?;
    let catalog = Catalog::builtin().with_overrides(&text);
    catalog
        .map(Arc::new)
        .map_err(|error| cannot("cannot use the model table", &error))
}
