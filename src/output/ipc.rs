//! Arrow IPC: the file format with its footer, not compressed, so that readers can map it.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::FileWriter;

use super::OutputSchema;
use super::writer::{Cause, FormatWriter};
use crate::durable::Pending;

/// An Arrow IPC file that is being written.
pub(super) struct IpcFile {
    writer: FileWriter<Pending>,
    schema: SchemaRef,
}

impl IpcFile {
    pub(super) fn create(
        file: Pending,
        schema: &OutputSchema,
        metadata: Vec<(String, String)>,
    ) -> Result<IpcFile, Cause> {
        let metadata: BTreeMap<String, String> = schema.metadata(metadata).into_iter().collect();
        let schema = schema.schema().as_ref().clone().with_metadata(metadata);
        Ok(IpcFile {
            writer: FileWriter::try_new(file, &schema)?,
            schema: schema.into(),
        })
    }
}

impl FormatWriter for IpcFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Cause> {
        Ok(self
            .writer
            .write(&batch.clone().with_schema(self.schema.clone())?)?)
    }

    fn note(&mut self, key: &str, value: &str) {
        self.writer.write_metadata(key, value);
    }

    fn finish(self: Box<Self>) -> Result<Pending, Cause> {
        Ok(self.writer.into_inner()?)
    }
}
