//! Encodings of rows: JSON, CSV and Parquet, changelogs in JSON, and the compressions of files.
//!
//! A format turns whole records into columns and columns into records. It knows nothing of files'
//! names, partitions' order or event time: connectors cut, read and place what is decoded here. A
//! record that cannot become a row becomes a [`DeadLetter`] and never stops its neighbours.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use indexmap::IndexMap;

use crate::batch::changes::ChangeKind;
use crate::error::{DeadLetter, Error, Result};
use crate::limits;

mod cells;
mod chunk;
mod column;
mod compression;
pub mod csv;
pub mod json;
mod options;
pub mod parquet;
mod scalar;
pub mod table;
mod temporal;

#[cfg(test)]
mod tests;

pub use chunk::{Chunk, ChunkPool};
pub use compression::{Compression, open_reader};
pub use json::changelog::metadata_keys;
pub use options::{FORMATS, is_changelog, known_options, validate_options};
pub use parquet::{ParquetFileWriter, ParquetReader};

/// What a decoder must know of a table.
#[derive(Clone, Debug)]
pub struct FormatSpec {
    /// One of [`FORMATS`].
    pub format: String,
    /// The table's options whose key starts with `<format>.`.
    pub options: IndexMap<String, String>,
    /// All physical columns in declared order (for CSV: the positions of the fields).
    pub stored: SchemaRef,
    /// The columns to produce, in this order: those of `stored` by name, and metadata.
    pub wanted: SchemaRef,
    /// For wanted columns that are metadata of the format: which.
    pub metadata: IndexMap<String, String>,
    /// Whether a key tells which row a change is about, so that the rest of what it takes back may
    /// be missing.
    pub keyed: bool,
    /// The table's name, for dead letters.
    pub table: String,
}

/// What became of the records of a chunk.
#[derive(Clone, Debug)]
pub struct DecodedRecords {
    /// The rows in record order, in the wanted schema.
    pub rows: RecordBatch,
    /// Where in the chunk the record of each row starts, in bytes.
    pub starts: Vec<u32>,
    /// The records that did not become rows, and those that lost a field to an ignored error, each
    /// with the number of rows before it.
    pub dead_letters: Vec<(usize, DeadLetter)>,
    /// What each row is of a changelog; absent if all are insertions.
    pub kinds: Option<Vec<ChangeKind>>,
}

/// Turns chunks of whole records into rows. Shared by all workers of a process.
pub trait TextDecoder: Send + Sync {
    /// Decodes `chunk`: whole records that start `offset` bytes into `partition`. The chunk is
    /// consumed, because string columns may point into it. `first` says that it is the start of
    /// the file (byte order mark, CSV header).
    fn decode(
        &self,
        chunk: Chunk,
        partition: &str,
        offset: i64,
        first: bool,
    ) -> Result<DecodedRecords>;

    /// A new cutter for one partition.
    fn cutter(&self) -> Box<dyn RecordCutter>;
}

/// Finds record borders in the bytes of one partition.
pub trait RecordCutter: Send {
    /// The end (exclusive) of the last whole record in `bytes`, which begin at a record border:
    /// where the previous call's end was, or the start of the file. `None` if no record ends here.
    fn cut(&mut self, bytes: &[u8]) -> Option<usize>;

    /// Whether every line end is the end of a record, so that a border is seen without the bytes
    /// before it.
    fn is_by_line(&self) -> bool {
        false
    }
}

/// Writes rows as text.
pub trait RowEncoder: Send {
    /// Writes what stands before the first row.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()>;

    /// Writes `rows`, in order.
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()>;

    /// Writes changes, in order; `kinds` has one entry a row.
    fn encode_changes(
        &mut self,
        rows: &RecordBatch,
        kinds: &[ChangeKind],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if kinds.iter().any(|kind| *kind != ChangeKind::Insert) {
            return Err(Error::internal("a format without changes was given some"));
        }
        self.encode(rows, out)
    }
}

/// The decoder of a text format.
pub fn text_decoder(spec: FormatSpec) -> Result<Arc<dyn TextDecoder>> {
    validate_options(&spec.format, &spec.options)?;
    match spec.format.as_str() {
        "json" => Ok(Arc::new(json::JsonDecoder::new(spec)?)),
        "csv" => Ok(Arc::new(csv::CsvDecoder::new(spec)?)),
        changelog if is_changelog(changelog) => {
            Ok(Arc::new(json::changelog::ChangelogDecoder::new(spec)?))
        }
        other => Err(options::unknown_format(other)),
    }
}

/// The encoder of a text format.
pub fn text_encoder(
    format: &str,
    options: &IndexMap<String, String>,
    schema: SchemaRef,
) -> Result<Box<dyn RowEncoder>> {
    validate_options(format, options)?;
    match format {
        "json" => Ok(Box::new(json::JsonEncoder::new(options, schema)?)),
        "csv" => Ok(Box::new(csv::CsvEncoder::new(options, schema)?)),
        changelog if is_changelog(changelog) => {
            Ok(Box::new(json::changelog::ChangelogEncoder::new(changelog, options, &schema)?))
        }
        other => Err(options::unknown_format(other)),
    }
}

/// Where the records of one chunk come from, to write their dead letters.
#[derive(Clone, Copy)]
struct Origin<'a> {
    table: &'a str,
    partition: &'a str,
    offset: i64,
}

impl Origin<'_> {
    /// A dead letter for `record`, which starts `at` bytes into the chunk.
    fn dead_letter(&self, at: usize, reason: String, record: &[u8]) -> DeadLetter {
        let kept = &record[..record.len().min(limits::DEAD_LETTER_RECORD_BYTES_MAX)];
        let mut record = String::from_utf8_lossy(kept).into_owned();
        // A replacement character is longer than the byte it stands for.
        let mut end = record.len().min(limits::DEAD_LETTER_RECORD_BYTES_MAX);
        while !record.is_char_boundary(end) {
            end -= 1;
        }
        record.truncate(end);
        DeadLetter {
            source: self.table.to_owned(),
            partition: self.partition.to_owned(),
            offset: self.offset.saturating_add(i64::try_from(at).unwrap_or(i64::MAX)),
            reason,
            record,
        }
    }
}

/// The columns of `rows` rows read from `chunk` as a batch of `schema`; `side` holds the strings
/// that had to be rewritten.
fn finished(
    columns: Vec<column::Column>,
    rows: usize,
    chunk: Chunk,
    side: Vec<u8>,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let blocks = [Buffer::from(Bytes::from_owner(chunk)), Buffer::from_vec(side)];
    let finish = |column: column::Column| column.finish(&blocks);
    let columns = columns.into_iter().map(finish).collect::<Result<Vec<_>>>()?;
    let count = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &count)?)
}

/// String views hold 32-bit offsets into their chunk.
fn check_chunk_size(chunk: &[u8]) -> Result<()> {
    if u32::try_from(chunk.len()).is_err() {
        let message = format!("a chunk of {} bytes is too large to decode", chunk.len());
        return Err(Error::new(crate::error::ErrorKind::Limit, message));
    }
    Ok(())
}

/// The byte order mark that some editors write at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
