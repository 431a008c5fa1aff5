//! Chunks of CSV records into batches and dead letters.
//!
//! Called on worker threads by connectors, with whole records. Fields nobody wants are passed over
//! without being read; a record must still have the declared number of fields.

use arrow::datatypes::SchemaRef;
use memchr::memchr;

use super::split::{CsvCutter, RawField, SplitError, Splitter};
use super::{CsvOptions, Header};
use crate::error::{DeadLetter, Error, Result};
use crate::formats::column::{BLOCK_CHUNK, BLOCK_SIDE, Column, Data};
use crate::formats::json;
use crate::formats::scalar::{append_text, shorten};
use crate::formats::temporal::TimestampStyle;
use crate::formats::{
    BYTE_ORDER_MARK, Chunk, DecodedRecords, FormatSpec, Origin, RecordCutter, TextDecoder,
    check_chunk_size, finished,
};

/// The column of a field that nobody wants.
const SKIPPED: usize = usize::MAX;

/// Decodes CSV records.
pub struct CsvDecoder {
    table: String,
    stored: SchemaRef,
    schema: SchemaRef,
    options: CsvOptions,
    splitter: Splitter,
    /// By position in the record: the index of the wanted column, or [`SKIPPED`].
    targets: Vec<usize>,
}

impl CsvDecoder {
    /// A decoder for the wanted columns of `spec`.
    pub fn new(spec: FormatSpec) -> Result<Self> {
        let options = CsvOptions::read(&spec.options)?;
        let mut targets = vec![SKIPPED; spec.stored.fields().len()];
        for (index, field) in spec.wanted.fields().iter().enumerate() {
            Column::new(field, 0, "csv")?;
            let position = spec.stored.column_with_name(field.name()).map(|(p, _)| p);
            match position.and_then(|p| targets.get_mut(p)) {
                Some(target) => *target = index,
                None => {
                    return Err(Error::internal(format!("no stored column '{}'", field.name())));
                }
            }
        }
        let splitter = Splitter::new(&options);
        let FormatSpec { table, stored, wanted: schema, .. } = spec;
        Ok(CsvDecoder { table, stored, schema, options, splitter, targets })
    }

    fn columns(&self, chunk: &[u8]) -> Result<Vec<Column>> {
        let line = memchr(b'\n', chunk).map_or(chunk.len(), |end| end + 1);
        let rows = chunk.len() / line.max(8);
        let capacity = (rows + rows / 8 + 8).min(chunk.len() / 8 + 8);
        self.schema.fields().iter().map(|f| Column::new(f, capacity, "csv")).collect()
    }

    fn decode_records(
        &self,
        chunk: &[u8],
        origin: Origin<'_>,
        first: bool,
    ) -> Result<(Records<'_>, Vec<(usize, DeadLetter)>)> {
        let columns = self.columns(chunk)?;
        let (side, scratch) = (Vec::new(), Vec::new());
        let mut records =
            Records { decoder: self, columns, rows: 0, starts: Vec::new(), side, scratch };
        let mut dead_letters = Vec::new();
        let valid = std::str::from_utf8(chunk).is_ok();
        let mut at = if first { self.after_header(chunk) } else { 0 };
        while at < chunk.len() {
            if let Some(next) = self.after_blank(chunk, at) {
                at = next;
                continue;
            }
            let mut ignored = Vec::new();
            let (read, end) = records.read(chunk, at, &mut ignored);
            let record = chunk.get(at..end).unwrap_or_default();
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            let record = record.strip_suffix(b"\r").unwrap_or(record);
            let read = match read {
                Ok(()) if !valid && std::str::from_utf8(record).is_err() => {
                    Err("invalid UTF-8".to_owned())
                }
                other => other,
            };
            match read {
                Ok(()) => {
                    let letters = ignored.into_iter().map(|r| origin.dead_letter(at, r, record));
                    dead_letters.extend(letters.map(|letter| (records.rows, letter)));
                    records.rows += 1;
                    // The chunk's size was checked.
                    records.starts.push(at as u32);
                }
                Err(reason) => {
                    records.columns.iter_mut().for_each(|c| c.truncate(records.rows));
                    dead_letters.push((records.rows, origin.dead_letter(at, reason, record)));
                }
            }
            at = end;
        }
        Ok((records, dead_letters))
    }

    /// Past a line without a record at `at`: an empty one or a comment.
    fn after_blank(&self, chunk: &[u8], at: usize) -> Option<usize> {
        match chunk.get(at) {
            Some(b'\n') => Some(at + 1),
            Some(b'\r') if chunk.get(at + 1) == Some(&b'\n') => Some(at + 2),
            Some(_) if self.splitter.is_comment(chunk, at) => {
                let rest = chunk.get(at..).unwrap_or_default();
                Some(memchr(b'\n', rest).map_or(chunk.len(), |length| at + length + 1))
            }
            _ => None,
        }
    }

    /// Past the byte order mark and the header of a file.
    fn after_header(&self, chunk: &[u8]) -> usize {
        let mut start = if chunk.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        if self.options.header == Header::Absent {
            return start;
        }
        let begin = start;
        while let Some(next) = self.after_blank(chunk, start) {
            start = next;
        }
        let mut names = Vec::new();
        let mut at = start;
        while at < chunk.len() {
            let Ok(field) = self.splitter.field(chunk, at) else { break };
            let mut name = Vec::new();
            let text = chunk.get(field.start..field.end).unwrap_or_default();
            self.splitter.unescape(text, field.quoted, &mut name);
            names.push(name);
            at = field.next;
            if field.last {
                break;
            }
        }
        let declared = self.stored.fields().iter().map(|f| f.name().as_bytes());
        let named = declared.eq(names.iter().map(|n| n.trim_ascii()));
        if named || self.options.header == Header::Present { at } else { begin }
    }
}

/// The records of a chunk so far.
struct Records<'a> {
    decoder: &'a CsvDecoder,
    columns: Vec<Column>,
    rows: usize,
    starts: Vec<u32>,
    side: Vec<u8>,
    scratch: Vec<u8>,
}

impl Records<'_> {
    /// Reads the record at `at`: whether it became a row, and where the next one begins.
    fn read(
        &mut self,
        chunk: &[u8],
        mut at: usize,
        ignored: &mut Vec<String>,
    ) -> (Result<(), String>, usize) {
        let start = at;
        let mut fault = None;
        let mut position = 0;
        loop {
            let field = match self.decoder.splitter.field(chunk, at) {
                Ok(field) => field,
                Err(SplitError::AfterQuote(rest)) => {
                    fault.get_or_insert_with(|| {
                        format!("text after the closing quote of field {}", position + 1)
                    });
                    self.decoder.splitter.unquoted_field(chunk, rest, rest)
                }
                Err(SplitError::Unclosed) => {
                    // Only this line is given up: the records after it may be whole.
                    let rest = chunk.get(start..).unwrap_or_default();
                    let end = memchr(b'\n', rest).map_or(chunk.len(), |at| start + at + 1);
                    let reason = format!("the quote of field {} is not closed", position + 1);
                    return (Err(reason), end);
                }
            };
            let target = self.decoder.targets.get(position).copied().unwrap_or(SKIPPED);
            if fault.is_none()
                && let Some(column) = self.columns.get_mut(target)
                && let Err(reason) =
                    self.decoder.append(column, chunk, &field, &mut self.side, &mut self.scratch)
            {
                let reason = format!("{}: {reason}", column.field.name());
                if self.decoder.options.ignore_parse_errors && column.field.is_nullable() {
                    column.truncate(self.rows);
                    column.push_null();
                    ignored.push(format!("{reason}; read as NULL"));
                } else {
                    fault = Some(reason);
                }
            }
            position += 1;
            at = field.next;
            if field.last {
                break;
            }
            if at >= chunk.len() {
                // The delimiter was the chunk's last byte: one more, empty field follows.
                position += 1;
                let target = self.decoder.targets.get(position - 1).copied().unwrap_or(SKIPPED);
                if let Some(column) = self.columns.get_mut(target) {
                    if column.field.is_nullable() {
                        column.push_null();
                    } else {
                        fault = Some(format!("{}: NULL in a NOT NULL column", column.field.name()));
                    }
                }
                break;
            }
        }
        let declared = self.decoder.targets.len();
        if position != declared {
            let reason = format!("{position} fields, but the table has {declared} columns");
            return (Err(reason), at);
        }
        (fault.map_or(Ok(()), Err), at)
    }
}

impl CsvDecoder {
    /// Appends the value of `field` to `column`.
    #[inline]
    fn append(
        &self,
        column: &mut Column,
        chunk: &[u8],
        field: &RawField,
        side: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), String> {
        let raw = chunk.get(field.start..field.end).unwrap_or_default();
        let is_text = matches!(column.data, Data::Text(_) | Data::Bytes(_));
        let null = (raw.is_empty() && !(field.quoted && is_text))
            || (!field.quoted && self.options.null_literal.as_deref() == Some(raw));
        if null {
            if !column.field.is_nullable() {
                return Err("NULL in a NOT NULL column".into());
            }
            column.push_null();
            return Ok(());
        }
        if let Data::Text(views) = &mut column.data {
            if field.escaped {
                let start = side.len();
                self.splitter.unescape(raw, field.quoted, side);
                views.push(side.get(start..).unwrap_or_default(), BLOCK_SIDE, start);
            } else {
                views.push(raw, BLOCK_CHUNK, field.start);
            }
            return Ok(());
        }
        let text = if field.escaped {
            scratch.clear();
            self.splitter.unescape(raw, field.quoted, scratch);
            scratch.as_slice()
        } else {
            raw
        };
        match &column.data {
            Data::List { .. } | Data::Map { .. } | Data::Row { .. } => {
                self.append_nested(column, text, side)
            }
            _ => append_text(column, text, TimestampStyle::Either, side),
        }
    }

    /// Appends an array, map or row: JSON, or elements between array delimiters.
    fn append_nested(
        &self,
        column: &mut Column,
        text: &[u8],
        side: &mut Vec<u8>,
    ) -> Result<(), String> {
        if matches!(text.trim_ascii_start().first(), Some(b'[' | b'{')) {
            return json::append_nested(column, text, side);
        }
        let delimiter = &self.options.array_delimiter;
        let parts = split_on(text, delimiter);
        match &mut column.data {
            Data::List { offsets, child } => {
                for part in &parts {
                    append_element(child, part, side)?;
                }
                let end = i32::try_from(child.len()).map_err(|_| "too many elements")?;
                offsets.push(end);
                Ok(())
            }
            Data::Row { rows, children, .. } if parts.len() == children.len() => {
                for (child, part) in children.iter_mut().zip(&parts) {
                    append_element(child, part, side)?;
                }
                *rows += 1;
                Ok(())
            }
            _ => Err(format!("'{}' is not a nested value", shorten(text))),
        }
    }
}

/// Appends an element of an array or row; an empty one is NULL.
fn append_element(column: &mut Column, text: &[u8], side: &mut Vec<u8>) -> Result<(), String> {
    if text.is_empty() {
        if !column.field.is_nullable() {
            return Err("NULL in a NOT NULL element".into());
        }
        column.push_null();
        return Ok(());
    }
    if let Data::Text(views) = &mut column.data {
        // The text may be scratch space: it is copied.
        views.push(text, BLOCK_SIDE, side.len());
        side.extend_from_slice(text);
        return Ok(());
    }
    append_text(column, text, TimestampStyle::Either, side)
}

fn split_on<'a>(text: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut from = 0;
    for at in memchr::memmem::find_iter(text, delimiter) {
        parts.push(text.get(from..at).unwrap_or_default());
        from = at + delimiter.len();
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts
}

impl TextDecoder for CsvDecoder {
    fn decode(
        &self,
        chunk: Chunk,
        partition: &str,
        offset: i64,
        first: bool,
    ) -> Result<DecodedRecords> {
        check_chunk_size(&chunk)?;
        let origin = Origin { table: &self.table, partition, offset };
        let (records, dead_letters) = self.decode_records(&chunk, origin, first)?;
        let Records { columns, rows, starts, side, .. } = records;
        let rows = finished(columns, rows, chunk, side, &self.schema)?;
        Ok(DecodedRecords { rows, starts, dead_letters, kinds: None })
    }

    fn cutter(&self) -> Box<dyn RecordCutter> {
        Box::new(CsvCutter::new(self.splitter.clone()))
    }
}
