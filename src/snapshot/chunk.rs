//! Rows as bytes: a chunk is one Arrow IPC stream of one batch, its buffers lz4.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use crate::error::Result;
use crate::limits::SNAPSHOT_CHUNK_ROWS;

/// `rows` in pieces of the size of a chunk; none if there are no rows.
pub fn cut(rows: &RecordBatch) -> Vec<RecordBatch> {
    let starts = (0..rows.num_rows()).step_by(SNAPSHOT_CHUNK_ROWS);
    starts.map(|at| rows.slice(at, SNAPSHOT_CHUNK_ROWS.min(rows.num_rows() - at))).collect()
}

/// The stored form of `rows`.
pub fn encode(rows: &RecordBatch) -> Result<Vec<u8>> {
    let columns = rows.columns().iter().map(compact).collect::<Result<Vec<_>>>()?;
    let own = if columns.is_empty() {
        rows.clone()
    } else {
        RecordBatch::try_new(rows.schema(), columns)?
    };
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let guess = own.get_array_memory_size() / 2;
    let mut writer =
        StreamWriter::try_new_with_options(Vec::with_capacity(guess), &own.schema(), options)?;
    writer.write(&own)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

/// The rows that [`encode`] stored, or what is wrong with them.
///
/// Only bytes whose checksum is right come here: what does not decode was not written by this
/// version.
pub fn decode(bytes: &[u8]) -> Result<RecordBatch, String> {
    let mut reader = StreamReader::try_new(bytes, None).map_err(|error| error.to_string())?;
    match reader.next() {
        Some(Ok(rows)) => Ok(rows),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("no rows in the stream".to_owned()),
    }
}

/// `array` without the bytes of rows that are not its own.
///
/// A slice of views shares the bytes of the whole, which would be stored with each slice.
fn compact(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View => {
            let views = array.as_string_view();
            let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
            match holds_others(held, views.total_buffer_bytes_used()) {
                true => Arc::new(views.gc()),
                false => Arc::clone(array),
            }
        }
        DataType::BinaryView => {
            let views = array.as_binary_view();
            let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
            match holds_others(held, views.total_buffer_bytes_used()) {
                true => Arc::new(views.gc()),
                false => Arc::clone(array),
            }
        }
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let columns = parts.columns().iter().map(compact).collect::<Result<Vec<_>>>()?;
            let (nulls, len) = (parts.nulls().cloned(), parts.len());
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, len)?)
        }
        DataType::List(field) => {
            let lists = array.as_list::<i32>();
            let (offsets, values) = own_values(lists.offsets(), lists.values());
            let nulls = lists.nulls().cloned();
            Arc::new(ListArray::try_new(Arc::clone(field), offsets, compact(&values)?, nulls)?)
        }
        DataType::Map(field, is_sorted) => {
            let maps = array.as_map();
            let entries: ArrayRef = Arc::new(maps.entries().clone());
            let (offsets, entries) = own_values(maps.offsets(), &entries);
            let entries = compact(&entries)?.as_struct().clone();
            let nulls = maps.nulls().cloned();
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *is_sorted)?)
        }
        _ => Arc::clone(array),
    })
}

/// Whether it is worth a copy to be rid of bytes that are not used.
fn holds_others(held: usize, used: usize) -> bool {
    held > used + used / 8 + 64
}

/// The part of `values` that `offsets` names, and offsets into that part.
fn own_values(offsets: &OffsetBuffer<i32>, values: &ArrayRef) -> (OffsetBuffer<i32>, ArrayRef) {
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
        return (offsets.clone(), Arc::clone(values));
    };
    let own = values.slice(*first as usize, (last - first) as usize);
    (OffsetBuffer::from_lengths(offsets.lengths()), own)
}
