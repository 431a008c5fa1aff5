//! The rows of an open part whose final file cannot be cut off: a spool beside it.
//!
//! A spool is a sequence of frames, each a record batch as an Arrow IPC stream behind its length
//! and checksum. It only grows, so that a recovery cuts it to a committed length; the final file
//! is made from it when the part ends. Called by [`super::part`] alone.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::part::write_error;
use crate::batch::ipc::compact;
use crate::error::{Error, ErrorKind, Result};

/// The bytes before a frame: its length (8) and checksum (4).
const HEAD_BYTES: usize = 12;

/// A spool that is being written.
pub struct Spool {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Spool {
    /// An empty spool at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        let file = options.open(path).map_err(|e| write_error(path, &e))?;
        Ok(Spool { file, path: path.to_owned(), length: 0 })
    }

    /// The first `length` bytes of the spool at `path`.
    pub fn reopen(path: &Path, length: u64) -> Result<Self> {
        Ok(Spool { file: reopen(path, length)?, path: path.to_owned(), length })
    }

    /// Appends `rows`.
    pub fn append(&mut self, rows: &RecordBatch) -> Result<()> {
        let columns = rows.columns().iter().map(compacted).collect::<Result<Vec<_>>>()?;
        let rows = RecordBatch::try_new(rows.schema(), columns)?;
        let mut writer = StreamWriter::try_new(vec![0; HEAD_BYTES], rows.schema_ref())?;
        writer.write(&rows)?;
        writer.finish()?;
        let mut frame = writer.into_inner()?;
        if let Some((head, body)) = frame.split_at_mut_checked(HEAD_BYTES) {
            let (length, sum) = head.split_at_mut(HEAD_BYTES - 4);
            length.copy_from_slice(&(body.len() as u64).to_le_bytes());
            sum.copy_from_slice(&checksum(body).to_le_bytes());
        }
        self.file.write_all(&frame).map_err(|e| write_error(&self.path, &e))?;
        self.length += frame.len() as u64;
        Ok(())
    }

    /// Its bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Makes what was appended safe on the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| write_error(&self.path, &e))
    }

    /// Its batches from the first, in `schema`.
    pub fn into_batches(mut self, schema: SchemaRef) -> Result<SpoolReader> {
        self.file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(self.path.display(), &e))?;
        let file = BufReader::with_capacity(1 << 20, self.file);
        Ok(SpoolReader { file, path: self.path, left: self.length, schema })
    }
}

/// The batches of a spool.
pub struct SpoolReader {
    file: BufReader<File>,
    path: PathBuf,
    left: u64,
    schema: SchemaRef,
}

impl SpoolReader {
    fn frame(&mut self) -> Result<RecordBatch> {
        let mut head = [0; HEAD_BYTES];
        self.fill(&mut head)?;
        let [l0, l1, l2, l3, l4, l5, l6, l7, s0, s1, s2, s3] = head;
        let length = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        self.left = self.left.saturating_sub(HEAD_BYTES as u64);
        if length > self.left {
            return Err(self.damaged());
        }
        self.left -= length;
        let mut body = vec![0; usize::try_from(length).map_err(|_| self.damaged())?];
        self.fill(&mut body)?;
        if checksum(&body) != u32::from_le_bytes([s0, s1, s2, s3]) {
            return Err(self.damaged());
        }
        let batch = StreamReader::try_new(body.as_slice(), None)?.next();
        let batch = batch.ok_or_else(|| self.damaged())??;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())?)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged(),
            _ => Error::io(self.path.display(), &e),
        })
    }

    fn damaged(&self) -> Error {
        let message = format!("'{}' is damaged: its rows cannot be read", self.path.display());
        Error::new(ErrorKind::Io, message)
            .with_hint("put the file back as it was, or start the job as a new run")
    }
}

impl Iterator for SpoolReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.left > 0).then(|| self.frame())
    }
}

/// The file at `path`, cut to `length` and open for more; an error if it holds less.
pub fn reopen(path: &Path, length: u64) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(lost(path, "is missing", length));
        }
        Err(e) => return Err(write_error(path, &e)),
    };
    let found = file.metadata().map_err(|e| Error::io(path.display(), &e))?.len();
    if found < length {
        return Err(lost(path, &format!("has {found} bytes"), length));
    }
    file.set_len(length).map_err(|e| write_error(path, &e))?;
    file.seek(SeekFrom::End(0)).map_err(|e| write_error(path, &e))?;
    Ok(file)
}

fn lost(path: &Path, what: &str, length: u64) -> Error {
    let message = format!(
        "'{}' {what}, but the sink had made {length} bytes of it durable: rows would be lost",
        path.display()
    );
    Error::new(ErrorKind::Io, message).with_hint(
        "put the file back as it was; or remove the sink's files, its commit file included, and \
         start the job as a new run, which writes everything again",
    )
}

/// CRC-32 of `bytes`.
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// `array` without bytes of rows that are not its own, at any depth.
fn compacted(array: &ArrayRef) -> Result<ArrayRef> {
    if !array.data_type().is_nested() {
        return Ok(compact(array));
    }
    // A copy row by row leaves behind what a slice only hides.
    let rows = arrow::array::UInt32Array::from_iter_values((0u32..).take(array.len()));
    inner_compacted(&take(array, &rows, None)?)
}

fn inner_compacted(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = inner_compacted(list.values())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, nulls)?)
        }
        DataType::Map(field, is_sorted) => {
            let map = array.as_map();
            let entries = struct_compacted(map.entries())?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *is_sorted)?)
        }
        DataType::Struct(_) => Arc::new(struct_compacted(array.as_struct())?),
        _ => compact(array),
    })
}

fn struct_compacted(array: &StructArray) -> Result<StructArray> {
    let columns = array.columns().iter().map(inner_compacted).collect::<Result<Vec<_>>>()?;
    let (fields, nulls) = (array.fields().clone(), array.nulls().cloned());
    Ok(StructArray::try_new_with_length(fields, columns, nulls, array.len())?)
}
