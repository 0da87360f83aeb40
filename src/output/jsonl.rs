//! JSON Lines: one object a row, nulls spelled out, so that every line has every column.

use arrow::array::RecordBatch;
use arrow::json::writer::{LineDelimited, Writer, WriterBuilder};

use super::cells;
use super::writer::{Cause, FormatWriter};
use crate::durable::Pending;

/// A JSON Lines file that is being written.
pub(super) struct JsonlFile {
    writer: Writer<Pending, LineDelimited>,
}

impl JsonlFile {
    pub(super) fn create(file: Pending) -> JsonlFile {
        let builder = WriterBuilder::new()
            .with_explicit_nulls(true)
            .with_encoder_factory(cells::exact());
        JsonlFile {
            writer: builder.build(file),
        }
    }
}

impl FormatWriter for JsonlFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Cause> {
        Ok(self.writer.write(batch)?)
    }

    fn finish(mut self: Box<Self>) -> Result<Pending, Cause> {
        self.writer.finish()?;
        Ok(self.writer.into_inner())
    }
}
