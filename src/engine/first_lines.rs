//! The first result lines of a batch → the custom_ids that show whose batch it is.
//!
//! A batch carries no label at the provider, so the ids in its results are the only proof that it
//! is one of a run. A few lines are enough; the rest of the download is not read.

use futures_util::StreamExt as _;

use crate::provider::{BatchFormat, BatchId};

use super::context::Context;

/// Result lines read for an id of the run. One would do if every line were one of its batch; more
/// cost little.
const LINES: usize = 32;
/// Bytes of results read for these lines.
const MAX_BYTES: usize = 64 << 20;

/// Reads the first result lines of a batch, as far as they can be read before the command is to
/// stop.
pub(crate) async fn first_lines(driver: &Context<'_>, id: &BatchId) -> FirstLines {
    let mut lines = FirstLines::new(driver.api.format());
    let Some(Ok(mut stream)) = driver.unless_leaving(driver.api.results(id)).await else {
        lines.is_broken = true;
        return lines;
    };
    while !lines.is_enough() {
        match driver.unless_leaving(stream.next()).await {
            Some(Some(Ok(chunk))) => lines.take(&chunk),
            Some(None) => {
                lines.end();
                break;
            }
            Some(Some(Err(_))) | None => {
                lines.is_broken = true;
                break;
            }
        }
    }
    lines
}

/// The ids of the first result lines.
#[derive(Debug)]
pub(crate) struct FirstLines {
    format: &'static dyn BatchFormat,
    pub(crate) ids: Vec<String>,
    /// A line whose end has not come yet.
    rest: Vec<u8>,
    bytes: usize,
    /// Whether the download broke off, so that later lines are not known.
    pub(crate) is_broken: bool,
}

impl FirstLines {
    fn new(format: &'static dyn BatchFormat) -> FirstLines {
        FirstLines {
            format,
            ids: Vec::new(),
            rest: Vec::new(),
            bytes: 0,
            is_broken: false,
        }
    }

    fn is_enough(&self) -> bool {
        self.ids.len() >= LINES || self.bytes >= MAX_BYTES
    }

    fn take(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len();
        let mut chunk = chunk;
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            self.rest.extend_from_slice(&chunk[..end]);
            self.end();
            chunk = &chunk[end + 1..];
            if self.ids.len() >= LINES {
                return;
            }
        }
        self.rest.extend_from_slice(chunk);
    }

    /// The ids; `None` where the lines cannot be read.
    pub(crate) fn into_ids(self) -> Option<Vec<String>> {
        (!self.is_broken && !self.ids.is_empty()).then_some(self.ids)
    }

    fn end(&mut self) {
        let line = std::mem::take(&mut self.rest);
        if let Ok(id) = self.format.custom_id(line.trim_ascii()) {
            self.ids.push(id.into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(chunks: &[&str]) -> Vec<String> {
        let mut lines = FirstLines::new(crate::provider::anthropic::FORMAT);
        chunks.iter().for_each(|chunk| lines.take(chunk.as_bytes()));
        lines.end();
        lines.ids
    }

    #[test]
    fn finds_the_first_ids_however_the_lines_are_cut() {
        assert_eq!(
            ids(&[
                "{\"custom_id\":\"a\",\"result\":{}}\r\n\n{\"cust",
                "om_id\":\"b\",\"result\":{}}"
            ]),
            ["a", "b"]
        );
        assert_eq!(
            ids(&["no json\n", "{\"custom_id\":\"a\",\"result\":{}}\n"]),
            ["a"]
        );
        assert_eq!(
            ids(&["{\"custom_id\":\"a\",\"resu"]),
            [] as [&str; 0],
            "half a line proves nothing"
        );
        assert_eq!(ids(&[""]), [] as [&str; 0]);
        let many = "{\"custom_id\":\"a\",\"result\":{}}\n".repeat(100);
        assert_eq!(ids(&[&many]).len(), LINES);
    }
}
