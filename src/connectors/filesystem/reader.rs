//! Reading one file in pieces of whole records.
//!
//! A [`FileReader`] is driven by a reader thread of [`super::source`], or by a worker when the next
//! piece lies in the page cache, so that reading it is copying. It keeps its exact place, so that
//! its handle can be closed and opened again at any time.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;

use super::range::{self, Range};
use crate::error::{Error, Result};
use crate::formats::{self, Compression, FormatSpec, ParquetReader, RecordCutter, TextDecoder};
use crate::limits;

/// A file of a source.
#[derive(Debug)]
pub struct FileInfo {
    /// The path as it was found.
    pub path: std::path::PathBuf,
    /// The path as text: the partition's name.
    pub name: String,
    /// The values of the columns that are one value for a file.
    pub values: Vec<ScalarValue>,
}

/// A piece of a file, as it travels in a split.
#[derive(Debug)]
pub struct Piece {
    /// The file.
    pub file: Arc<FileInfo>,
    /// Bytes of decompressed text, or the row number, before this piece.
    pub offset: i64,
    /// The records.
    pub content: Content,
}

/// The records of a [`Piece`].
#[derive(Debug)]
pub enum Content {
    /// Whole records as text.
    Text(Vec<u8>),
    /// Whole records as text that is still in the file.
    Range(Range),
    /// Rows that the reader thread has decoded.
    Rows(RecordBatch),
    /// The beginning of a record that is longer than the limit; the rest has been skipped.
    Oversized(Vec<u8>),
}

/// The encodings that differ in how they are read.
pub enum Encoding {
    /// Records in a stream of bytes.
    Text(Arc<dyn TextDecoder>),
    /// Columns.
    Parquet(Arc<FormatSpec>),
}

/// The place in one file.
pub struct FileReader {
    file: Arc<FileInfo>,
    sequence: u64,
    inner: Inner,
}

enum Inner {
    Text(TextReader),
    Parquet { spec: Arc<FormatSpec>, reader: Option<ParquetReader>, row: i64 },
}

/// A piece and its place in the sequence of its file.
pub struct NextPiece {
    /// The piece.
    pub piece: Piece,
    /// Consecutive number from 0.
    pub sequence: u64,
    /// Whether the file has ended.
    pub is_last: bool,
}

impl FileReader {
    /// A reader at `offset` of `file`, which is not opened yet.
    pub fn new(file: Arc<FileInfo>, encoding: &Encoding, offset: i64) -> Self {
        let inner = match encoding {
            Encoding::Text(decoder) => {
                let mut text = TextReader::new(decoder, Compression::from_path(&file.path));
                text.position = u64::try_from(offset).unwrap_or(0);
                Inner::Text(text)
            }
            Encoding::Parquet(spec) => {
                Inner::Parquet { spec: Arc::clone(spec), reader: None, row: offset }
            }
        };
        FileReader { file, sequence: 0, inner }
    }

    /// The next piece: of text about `bytes` bytes, of columns one batch.
    pub fn next(&mut self, bytes: usize) -> Result<NextPiece> {
        let (offset, content, is_last) = match &mut self.inner {
            Inner::Text(text) => text.next(&self.file.path, bytes)?,
            Inner::Parquet { spec, reader, row } => next_rows(&self.file.path, spec, reader, row)?,
        };
        let piece = Piece { file: Arc::clone(&self.file), offset, content };
        let sequence = self.sequence;
        self.sequence += 1;
        Ok(NextPiece { piece, sequence, is_last })
    }

    /// The next piece of about `bytes` bytes if it lies in the page cache and need not be looked
    /// through to find where it ends.
    pub fn next_cached(&mut self, bytes: usize) -> Option<NextPiece> {
        let Inner::Text(text) = &mut self.inner else { return None };
        let (offset, range) = text.next_range(bytes)?;
        let piece = Piece { file: Arc::clone(&self.file), offset, content: Content::Range(range) };
        let sequence = self.sequence;
        self.sequence += 1;
        Some(NextPiece { piece, sequence, is_last: false })
    }

    /// The number of the next piece.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Closes the handle; the next call of [`FileReader::next`] opens it again at its place.
    pub fn close(&mut self) {
        match &mut self.inner {
            Inner::Text(text) => text.input = None,
            Inner::Parquet { reader, .. } => *reader = None,
        }
    }

    /// Whether the next `bytes` bytes can be had without waiting for a disk.
    pub fn is_cached(&self, bytes: usize) -> bool {
        match &self.inner {
            Inner::Text(text) => match &text.input {
                Some(Input::File(file)) => range::is_cached(file, text.position, bytes),
                Some(Input::Stream(_)) | None => false,
            },
            Inner::Parquet { .. } => false,
        }
    }

    /// Whether the place can be found again without reading up to it.
    pub fn is_seekable(&self) -> bool {
        matches!(&self.inner, Inner::Text(text) if text.compression == Compression::None)
    }
}

/// The next batch of a Parquet file; after the last one an empty piece says that it was.
fn next_rows(
    path: &Path,
    spec: &FormatSpec,
    reader: &mut Option<ParquetReader>,
    row: &mut i64,
) -> Result<(i64, Content, bool)> {
    let open = match reader {
        Some(open) => open,
        None => reader.insert(ParquetReader::open(path, spec)?),
    };
    loop {
        match open.next() {
            // Batches that were handed out before the file was closed and opened again.
            Some(Ok((_, first))) if first < *row => {}
            Some(Ok((rows, first))) => {
                *row = first.saturating_add(i64::try_from(rows.num_rows()).unwrap_or(i64::MAX));
                return Ok((first, Content::Rows(rows), false));
            }
            Some(Err(error)) => return Err(error),
            None => return Ok((*row, Content::Text(Vec::new()), true)),
        }
    }
}

/// An open file.
enum Input {
    /// As it lies on disk.
    File(Arc<File>),
    /// Decompressed.
    Stream(Box<dyn Read + Send>),
}

impl Input {
    /// Appends up to `count` bytes to `buffer`, fewer only at the end.
    fn read(&mut self, count: u64, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
        match self {
            Input::File(file) => file.as_ref().take(count).read_to_end(buffer),
            Input::Stream(stream) => stream.take(count).read_to_end(buffer),
        }
    }
}

/// The place in a stream of text.
struct TextReader {
    compression: Compression,
    input: Option<Input>,
    decoder: Arc<dyn TextDecoder>,
    cutter: Box<dyn RecordCutter>,
    /// Bytes taken from the stream.
    position: u64,
    /// The last of them: the beginning of a record whose end has not been seen.
    tail: Vec<u8>,
    /// Whether the bytes up to the next line end belong to a record that was too long.
    is_skipping: bool,
    record_bytes_max: usize,
}

impl TextReader {
    fn new(decoder: &Arc<dyn TextDecoder>, compression: Compression) -> Self {
        TextReader {
            compression,
            input: None,
            decoder: Arc::clone(decoder),
            cutter: decoder.cutter(),
            position: 0,
            tail: Vec::new(),
            is_skipping: false,
            record_bytes_max: limits::RECORD_BYTES_MAX,
        }
    }

    /// Whole records: those that end in the next `bytes` bytes, or the first one if it is longer.
    fn next(&mut self, path: &Path, bytes: usize) -> Result<(i64, Content, bool)> {
        if self.is_skipping && self.skip_line(path, bytes)? {
            return Ok((self.offset(0), Content::Text(Vec::new()), true));
        }
        // No buffer is longer than the limit of a record, so that whether a record is too long
        // does not depend on how the file is cut.
        let mut count = bytes.min(self.record_bytes_max - self.tail.len()).max(1);
        // The tail is short; only it is copied, the rest goes from the kernel into place.
        let mut buffer = Vec::with_capacity(self.tail.len() + count);
        buffer.append(&mut self.tail);
        loop {
            let is_end = self.read(path, count, &mut buffer)?;
            let offset = self.offset(buffer.len());
            if is_end {
                return Ok((offset, Content::Text(buffer), true));
            }
            if let Some(end) = self.cutter.cut(&buffer).filter(|&end| end > 0) {
                self.tail.extend_from_slice(buffer.get(end..).unwrap_or_default());
                buffer.truncate(end);
                return Ok((offset, Content::Text(buffer), false));
            }
            if buffer.len() >= self.record_bytes_max {
                buffer.truncate(limits::DEAD_LETTER_RECORD_BYTES_MAX);
                buffer.shrink_to_fit();
                self.is_skipping = true;
                return Ok((offset, Content::Oversized(buffer), false));
            }
            // Twice as much each time: a long record is looked through a few times only.
            count = buffer.len().min(self.record_bytes_max - buffer.len());
            buffer.reserve_exact(count);
        }
    }

    /// Whole records that end in the next `bytes` bytes, found without reading them.
    fn next_range(&mut self, bytes: usize) -> Option<(i64, Range)> {
        let Some(Input::File(file)) = &self.input else { return None };
        let offset = self.offset(self.tail.len());
        let start = u64::try_from(offset).ok()?;
        let bytes = bytes.min(self.record_bytes_max);
        if self.is_skipping || !range::is_cached(file, start, bytes) {
            return None;
        }
        let range = Range::find(file, start, bytes, self.cutter.as_mut())?;
        file.as_ref().seek(SeekFrom::Start(range.end())).ok()?;
        self.tail.clear();
        self.position = range.end();
        Some((offset, range))
    }

    /// Skips what is left of a record that was too long; whether the file ended in it.
    fn skip_line(&mut self, path: &Path, bytes: usize) -> Result<bool> {
        let count = bytes.min(self.record_bytes_max).max(1);
        let mut buffer = Vec::with_capacity(count);
        loop {
            buffer.clear();
            let is_end = self.read(path, count, &mut buffer)?;
            if let Some(end) = memchr::memchr(b'\n', &buffer) {
                self.tail = buffer.split_off(end + 1);
                self.cutter = self.decoder.cutter();
                self.is_skipping = false;
                return Ok(false);
            }
            if is_end {
                return Ok(true);
            }
        }
    }

    /// The offset of the first of the last `held` bytes taken from the stream.
    fn offset(&self, held: usize) -> i64 {
        let held = u64::try_from(held).unwrap_or(u64::MAX);
        i64::try_from(self.position.saturating_sub(held)).unwrap_or(i64::MAX)
    }

    /// Appends the next `count` bytes to `buffer`; whether the stream has ended.
    fn read(&mut self, path: &Path, count: usize, buffer: &mut Vec<u8>) -> Result<bool> {
        let input = match &mut self.input {
            Some(input) => input,
            None => self.input.insert(open(path, self.compression, self.position)?),
        };
        let wanted = u64::try_from(count).unwrap_or(u64::MAX);
        let got = input.read(wanted, buffer).map_err(|error| {
            Error::io(format!("cannot read '{}' at byte {}", path.display(), self.position), &error)
        })?;
        self.position += u64::try_from(got).unwrap_or(u64::MAX);
        Ok(got < count)
    }
}

/// Opens a stream `position` decompressed bytes after its start.
fn open(path: &Path, compression: Compression, position: u64) -> Result<Input> {
    let failed = |error| Error::io(format!("cannot read '{}'", path.display()), &error);
    if compression == Compression::None {
        let mut file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() < position {
            return Err(became_shorter(path));
        }
        file.seek(SeekFrom::Start(position)).map_err(failed)?;
        return Ok(Input::File(Arc::new(file)));
    }
    let mut reader = formats::open_reader(path, compression)?;
    let mut skipped = reader.by_ref().take(position);
    let count = std::io::copy(&mut skipped, &mut std::io::sink()).map_err(failed)?;
    if count < position {
        return Err(became_shorter(path));
    }
    Ok(Input::Stream(reader))
}

fn became_shorter(path: &Path) -> Error {
    Error::config(format!("'{}' is shorter than what was read of it", path.display()))
        .with_hint("files of a source must not change; add new ones instead")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::DecodedRecords;

    struct Lines;

    impl RecordCutter for Lines {
        fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
            memchr::memrchr(b'\n', bytes).map(|at| at + 1)
        }
    }

    impl TextDecoder for Lines {
        fn decode(&self, _: formats::Chunk, _: &str, _: i64, _: bool) -> Result<DecodedRecords> {
            Err(Error::internal("not asked for here"))
        }

        fn cutter(&self) -> Box<dyn RecordCutter> {
            Box::new(Lines)
        }
    }

    /// Each piece of `content` as (offset, text, whether it was too long), and the last as such.
    fn pieces(content: &[u8], bytes: usize, record_max: usize) -> Vec<(i64, Vec<u8>, bool)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.txt");
        std::fs::write(&path, content).unwrap();
        let decoder: Arc<dyn TextDecoder> = Arc::new(Lines);
        let mut reader = TextReader::new(&decoder, Compression::None);
        reader.record_bytes_max = record_max;
        let mut found = Vec::new();
        loop {
            let (offset, content, is_last) = reader.next(&path, bytes).unwrap();
            reader.input = None;
            found.push(match content {
                Content::Text(text) => (offset, text, false),
                Content::Oversized(text) => (offset, text, true),
                Content::Range(_) | Content::Rows(_) => unreachable!(),
            });
            if is_last {
                return found;
            }
        }
    }

    #[test]
    fn a_record_over_the_limit_is_one_letter_and_the_next_records_follow() {
        let content = b"a\nbbbbbbbbbbbbbbbbbbbb\ncc\nd";
        for bytes in 1..30 {
            let found = pieces(content, bytes, 8);
            let letters: Vec<_> = found.iter().filter(|p| p.2).collect();
            assert_eq!(letters.len(), 1, "{bytes}: {found:?}");
            assert_eq!(letters[0].0, 2);
            let text: Vec<u8> = found.iter().filter(|p| !p.2).flat_map(|p| p.1.clone()).collect();
            assert_eq!(text, b"a\ncc\nd", "{bytes}");
            for (offset, text, _) in &found {
                assert!(content[*offset as usize..].starts_with(text));
            }
        }
    }

    #[test]
    fn a_long_record_without_an_end_is_reported_once() {
        let found = pieces(&[b'x'; 100], 7, 16);
        assert_eq!(found.iter().filter(|p| p.2).count(), 1);
        assert!(found.last().unwrap().1.is_empty());
    }

    #[test]
    fn an_empty_file_is_one_piece_without_bytes() {
        assert_eq!(pieces(b"", 10, 100), [(0, Vec::new(), false)]);
    }
}
