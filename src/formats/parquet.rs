//! Parquet files: reading wanted columns in batches, writing.
//!
//! Columns are found by name and converted to the declared types; a file that does not have a
//! column, or is cut off, is an error that names the file. Rows are numbered within the file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use indexmap::IndexMap;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::{FormatSpec, options};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// Reads one file.
pub struct ParquetReader {
    path: PathBuf,
    batches: ParquetRecordBatchReader,
    schema: SchemaRef,
    /// For each wanted column, its place in the batches of the file.
    places: Vec<usize>,
    row: i64,
}

fn broken(path: &Path, error: &ParquetError) -> Error {
    Error::new(ErrorKind::Io, format!("{}: {error}", path.display()))
        .with_hint("the file may be cut off or not be Parquet")
}

impl ParquetReader {
    /// Opens the file at `path` for the wanted columns of `spec`.
    pub fn open(path: &Path, spec: &FormatSpec) -> Result<Self> {
        super::validate_options("parquet", &spec.options)?;
        let file = File::open(path).map_err(|e| Error::io(path.display(), &e))?;
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| broken(path, &e))?;
        let present = Arc::clone(builder.schema());
        let mut roots = Vec::new();
        for field in spec.wanted.fields() {
            let Some((root, _)) = present.column_with_name(field.name()) else {
                let names: Vec<_> = present.fields().iter().map(|f| f.name().as_str()).collect();
                let message = format!("{}: no column '{}'", path.display(), field.name());
                return Err(Error::new(ErrorKind::NotFound, message)
                    .with_hint(format!("the columns of the file are {}", names.join(", "))));
            };
            roots.push(root);
        }
        // The file gives its columns in its own order, each once.
        let mut read = roots.clone();
        read.sort_unstable();
        read.dedup();
        let places = roots.iter().filter_map(|root| read.binary_search(root).ok()).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), read);
        let batches = builder
            .with_projection(mask)
            .with_batch_size(limits::BATCH_ROWS)
            .build()
            .map_err(|e| broken(path, &e))?;
        let schema = Arc::clone(&spec.wanted);
        Ok(ParquetReader { path: path.to_owned(), batches, schema, places, row: 0 })
    }

    /// The next batch in the wanted schema and the number of its first row; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "it ends for good after an error")]
    pub fn next(&mut self) -> Option<Result<(RecordBatch, i64)>> {
        let batch = match self.batches.next()? {
            Ok(batch) => batch,
            Err(error) => {
                let message = format!("{}: {error}", self.path.display());
                return Some(Err(Error::new(ErrorKind::Io, message)
                    .with_hint("the file may be cut off or damaged")));
            }
        };
        let first = self.row;
        self.row += i64::try_from(batch.num_rows()).unwrap_or(0);
        Some(self.convert(&batch).map(|rows| (rows, first)))
    }

    fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.places.len());
        // A value that does not fit its declared type is an error, never a NULL.
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        for (field, &place) in self.schema.fields().iter().zip(&self.places) {
            let column = batch.column(place);
            let column = cast_with_options(column, field.data_type(), &strict)
                .map_err(|e| self.misfit(field.name(), &e.to_string()))?;
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(self.misfit(field.name(), "NULL in a NOT NULL column"));
            }
            columns.push(column);
        }
        let count = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &count)?)
    }

    fn misfit(&self, column: &str, reason: &str) -> Error {
        let message = format!("{}: column '{column}': {reason}", self.path.display());
        Error::new(ErrorKind::Io, message)
    }
}

/// The value of `parquet.compression`; Snappy as in Flink if there is none.
pub(super) fn compression(given: &IndexMap<String, String>) -> Result<Compression> {
    let names = ["SNAPPY", "ZSTD", "GZIP", "LZ4", "UNCOMPRESSED"];
    Ok(match options::one_of(given, "parquet.compression", &names)? {
        Some(1) => Compression::ZSTD(ZstdLevel::default()),
        Some(2) => Compression::GZIP(Default::default()),
        Some(3) => Compression::LZ4_RAW,
        Some(4) => Compression::UNCOMPRESSED,
        _ => Compression::SNAPPY,
    })
}

/// Writes one file.
pub struct ParquetFileWriter {
    writer: ArrowWriter<File>,
}

impl ParquetFileWriter {
    /// A writer of rows of `schema` into `file`.
    pub fn new(file: File, schema: SchemaRef, options: &IndexMap<String, String>) -> Result<Self> {
        super::validate_options("parquet", options)?;
        let properties = WriterProperties::builder().set_compression(compression(options)?).build();
        let writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(unwritten)?;
        Ok(ParquetFileWriter { writer })
    }

    /// Writes `rows`.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows).map_err(unwritten)
    }

    /// Writes the footer; without it the file cannot be read. Gives the file back, to be synced.
    pub fn close(self) -> Result<File> {
        self.writer.into_inner().map_err(unwritten)
    }
}

fn unwritten(error: ParquetError) -> Error {
    Error::new(ErrorKind::Io, format!("a Parquet file could not be written: {error}"))
}
