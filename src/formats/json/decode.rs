//! Chunks of JSON lines into batches and dead letters.
//!
//! Called on worker threads by connectors, with whole lines. The plans that one chunk learned are
//! the next one's first guess; they change how fast a record is read, never what is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use memchr::{memchr, memrchr};

use super::super::column::Column;
use super::super::temporal::TimestampStyle;
use super::super::{
    BYTE_ORDER_MARK, Chunk, DecodedRecords, FormatSpec, Origin, RecordCutter, TextDecoder,
    check_chunk_size, finished,
};
use super::JsonOptions;
use super::record::{Plan, RecordReader, Wanted};
use super::scan;
use super::value::{Fault, ValueReader};
use crate::error::{DeadLetter, Error, Result};

/// Decodes JSON lines.
pub struct JsonDecoder {
    table: String,
    schema: SchemaRef,
    options: JsonOptions,
    wanted: Wanted,
    plans: Mutex<Vec<Arc<Plan>>>,
}

impl JsonDecoder {
    /// A decoder for the wanted columns of `spec`.
    pub fn new(spec: FormatSpec) -> Result<Self> {
        let options = JsonOptions::read(&spec.options, "json")?;
        let mut names = BTreeMap::new();
        for (index, field) in spec.wanted.fields().iter().enumerate() {
            if spec.stored.column_with_name(field.name()).is_none() {
                return Err(Error::internal(format!("no stored column '{}'", field.name())));
            }
            Column::new(field, 0, "json")?;
            names.insert(field.name().as_bytes().to_vec(), index);
        }
        let wanted = Wanted { names, ignore_parse_errors: options.ignore_parse_errors };
        let plans = Mutex::new(Vec::new());
        Ok(JsonDecoder { table: spec.table, schema: spec.wanted, options, wanted, plans })
    }

    /// The plans of the last chunk that learned one.
    fn plans(&self) -> Vec<Arc<Plan>> {
        self.plans.lock().map(|plans| plans.clone()).unwrap_or_default()
    }

    fn columns(&self, chunk: &[u8]) -> Result<Vec<Column>> {
        // Lines of a file are of similar length; a wrong guess costs a copy or some memory.
        let line = memchr(b'\n', chunk).map_or(chunk.len(), |end| end + 1);
        let rows = chunk.len() / line.max(16);
        let capacity = (rows + rows / 8 + 8).min(chunk.len() / 16 + 8);
        self.schema.fields().iter().map(|f| Column::new(f, capacity, "json")).collect()
    }

    fn decode_lines(
        &self,
        chunk: &[u8],
        origin: Origin<'_>,
        first: bool,
    ) -> Result<(Lines, Vec<(usize, DeadLetter)>)> {
        let style = self.options.style;
        let values = ValueReader::new(chunk, style, self.options.fail_on_missing_field);
        let columns = self.columns(chunk)?;
        let mut reader = RecordReader::new(values, columns, &self.wanted, self.plans());
        let mut dead_letters = Vec::new();
        let mut starts = Vec::new();
        let valid = std::str::from_utf8(chunk).is_ok();
        let mut at = 0;
        if first && chunk.starts_with(BYTE_ORDER_MARK) {
            at = BYTE_ORDER_MARK.len();
        }
        while at < chunk.len() {
            let rows = reader.rows;
            if valid && let Some(end) = reader.follow(at) {
                // The chunk's size was checked.
                starts.push(at as u32);
                at = end;
                continue;
            }
            let rest = chunk.get(at..).unwrap_or_default();
            let line_end = memchr(b'\n', rest).map_or(chunk.len(), |length| at + length);
            let line = chunk.get(at..line_end).unwrap_or_default();
            if !valid && std::str::from_utf8(line).is_err() {
                let letter = origin.dead_letter(at, "invalid UTF-8".into(), line);
                dead_letters.push((rows, letter));
            } else if scan::spaces(chunk, at) < line_end {
                let reasons = match reader.read(at, line_end) {
                    Ok((_, ignored)) => ignored,
                    Err(fault) => vec![reason(*fault, at)],
                };
                let letters = reasons.into_iter().map(|r| origin.dead_letter(at, r, line));
                dead_letters.extend(letters.map(|letter| (rows, letter)));
                if reader.rows > rows {
                    starts.push(at as u32);
                }
            }
            at = line_end + 1;
        }
        if reader.learned
            && let Ok(mut plans) = self.plans.lock()
        {
            plans.clone_from(&reader.plans);
        }
        let RecordReader { columns, rows, values, .. } = reader;
        let lines = Lines { columns, rows, starts, side: values.side };
        Ok((lines, dead_letters))
    }
}

/// What the lines of a chunk gave.
struct Lines {
    columns: Vec<Column>,
    rows: usize,
    starts: Vec<u32>,
    side: Vec<u8>,
}

pub(super) fn reason(fault: Fault, line: usize) -> String {
    match fault {
        Fault::Syntax { at, reason } => {
            format!("broken JSON: {reason} at byte {} of the record", at.saturating_sub(line))
        }
        Fault::Field(reason) => reason,
    }
}

/// Appends the JSON `text` to `column`; its strings are copied into `side`.
pub(super) fn append_copied(
    column: &mut Column,
    text: &[u8],
    side: &mut Vec<u8>,
) -> Result<(), String> {
    let mut values = ValueReader::new(text, TimestampStyle::Either, false);
    values.copies = true;
    std::mem::swap(&mut values.side, side);
    let start = scan::spaces(text, 0);
    let parsed = values.value(column, start);
    let end = parsed.as_ref().map_or(start, |end| scan::spaces(text, *end));
    std::mem::swap(&mut values.side, side);
    match parsed {
        Ok(_) if end == text.len() => Ok(()),
        Ok(_) => Err("more text after a nested value".into()),
        Err(fault) => Err(reason(*fault, 0)),
    }
}

impl TextDecoder for JsonDecoder {
    fn decode(
        &self,
        chunk: Chunk,
        partition: &str,
        offset: i64,
        first: bool,
    ) -> Result<DecodedRecords> {
        check_chunk_size(&chunk)?;
        let origin = Origin { table: &self.table, partition, offset };
        let (lines, dead_letters) = self.decode_lines(&chunk, origin, first)?;
        let rows = finished(lines.columns, lines.rows, chunk, lines.side, &self.schema)?;
        Ok(DecodedRecords { rows, starts: lines.starts, dead_letters, kinds: None })
    }

    fn cutter(&self) -> Box<dyn RecordCutter> {
        Box::new(LineCutter)
    }
}

/// A record ends where its line ends.
pub(super) struct LineCutter;

impl RecordCutter for LineCutter {
    fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        memrchr(b'\n', bytes).map(|at| at + 1)
    }

    fn is_by_line(&self) -> bool {
        true
    }
}
