//! Rows as bytes: an Arrow IPC stream of one batch, its buffers lz4.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use crate::batch::ipc::compact;
use crate::error::{Error, Result};

/// The columns of `schema`, any of which may be NULL: whether one has NULLs differs from time to
/// time.
pub fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|f| Field::clone(f).with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// `rows` with the columns of `schema`, and no bytes of other rows.
pub fn own(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = rows.columns().iter().map(compact).collect();
    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &count)?)
}

/// The bytes of `rows`.
pub fn encode(rows: &RecordBatch) -> Result<Vec<u8>> {
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &rows.schema(), options)?;
    writer.write(rows)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

/// The rows of [`encode`].
pub fn decode(bytes: &[u8]) -> Result<RecordBatch> {
    let mut reader = StreamReader::try_new(bytes, None)?;
    let rows = reader.next().ok_or_else(|| Error::internal("a block without rows"))?;
    Ok(rows?)
}
