//! The wire form of an [`UpdateBatch`]: one Arrow IPC stream with two more columns.
//!
//! A message is self-describing: schema, then one record batch whose last columns are the times
//! and, if present, the diffs. String views are compacted first, so that a message carries the
//! bytes of its own rows only.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use timely::dataflow::channels::ContainerBytes;

use super::UpdateBatch;
use super::update_batch::rows_without_columns;
use crate::error::{Error, Result};

const TIME_COLUMN: &str = "$time";
const DIFF_COLUMN: &str = "$diff";

static FAULT: OnceLock<String> = OnceLock::new();

/// Records that data could not be exchanged; the worker loop stops the process's jobs for it.
pub fn report_fault(what: String) {
    tracing::error!("{what}");
    // The first fault is the cause; later ones follow from it.
    let _ = FAULT.set(what);
}

/// The first fault of an exchange in this process.
pub fn fault() -> Option<&'static str> {
    FAULT.get().map(String::as_str)
}

/// `array` without the bytes of rows that are not its own.
pub fn compact(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        _ => Arc::clone(array),
    }
}

/// `batch` without the bytes of other rows, where those are the greater part of what it keeps in
/// memory: a short part of a long text, or the few rows that passed a filter.
pub fn without_others(batch: UpdateBatch) -> Result<UpdateBatch> {
    let is_wasteful = |column: &ArrayRef| {
        let (held, used) = match column.data_type() {
            DataType::Utf8View => {
                let views = column.as_string_view();
                (buffers_bytes(views.data_buffers()), views.total_buffer_bytes_used())
            }
            DataType::BinaryView => {
                let views = column.as_binary_view();
                (buffers_bytes(views.data_buffers()), views.total_buffer_bytes_used())
            }
            _ => (0, 0),
        };
        held > 2 * used + column.len()
    };
    if !batch.rows().columns().iter().any(is_wasteful) {
        return Ok(batch);
    }
    let own = |column: &ArrayRef| match is_wasteful(column) {
        true => compact(column),
        false => Arc::clone(column),
    };
    let columns = batch.rows().columns().iter().map(own).collect();
    let rows = RecordBatch::try_new(batch.schema(), columns)?;
    Ok(batch.with_rows(rows))
}

fn buffers_bytes(buffers: &[Buffer]) -> usize {
    buffers.iter().map(Buffer::len).sum()
}

/// Encodes `batch` as an Arrow IPC stream.
pub fn encode(batch: &UpdateBatch) -> Result<Vec<u8>> {
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    let mut columns: Vec<ArrayRef> = batch.rows().columns().iter().map(compact).collect();
    fields.push(Arc::new(Field::new(TIME_COLUMN, DataType::Int64, false)));
    columns.push(Arc::new(Int64Array::new(batch.times().clone(), None)));
    if let Some(diffs) = batch.diffs() {
        fields.push(Arc::new(Field::new(DIFF_COLUMN, DataType::Int64, false)));
        columns.push(Arc::new(Int64Array::new(diffs.clone(), None)));
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, batch.schema().metadata().clone()));
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    writer.write(&rows)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

/// Decodes what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<UpdateBatch> {
    let mut reader = StreamReader::try_new(bytes, None)?;
    let rows = reader.next().ok_or_else(|| Error::internal("an IPC message without a batch"))??;
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    let mut columns = rows.columns().to_vec();
    let mut pop = |name: &str| -> Option<arrow::buffer::ScalarBuffer<i64>> {
        let field = fields.pop_if(|f| f.name() == name && f.data_type() == &DataType::Int64)?;
        debug_assert_eq!(field.name(), name);
        columns.pop().map(|c| c.as_primitive::<Int64Type>().values().clone())
    };
    let diffs = pop(DIFF_COLUMN);
    let times = pop(TIME_COLUMN).ok_or_else(|| Error::internal("an IPC batch without times"))?;
    let schema = Arc::new(Schema::new_with_metadata(fields, rows.schema().metadata().clone()));
    let rows = if columns.is_empty() {
        rows_without_columns(schema, times.len())?
    } else {
        RecordBatch::try_new(schema, columns)?
    };
    Ok(UpdateBatch::new(rows, times, diffs))
}

// timely asks for the length and then for the bytes: the encoding is kept in between.
impl ContainerBytes for UpdateBatch {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        let decoded = bytes
            .first_chunk::<8>()
            .map(|prefix| u64::from_le_bytes(*prefix) as usize)
            .and_then(|length| bytes.get(8..8 + length))
            .ok_or_else(|| Error::internal("an IPC message shorter than its length"))
            .and_then(decode);
        decoded.unwrap_or_else(|error| {
            report_fault(format!("a batch from another process: {error}"));
            UpdateBatch::default()
        })
    }

    fn length_in_bytes(&self) -> usize {
        8 + self.encoded().len().next_multiple_of(8)
    }

    fn into_bytes<W: std::io::Write>(&self, writer: &mut W) {
        let encoded = self.encoded();
        let padding = encoded.len().next_multiple_of(8) - encoded.len();
        let written = writer
            .write_all(&(encoded.len() as u64).to_le_bytes())
            .and_then(|()| writer.write_all(encoded))
            .and_then(|()| writer.write_all(&[0; 8][..padding]));
        if let Err(error) = written {
            report_fault(format!("a batch to another process: {error}"));
        }
    }
}
