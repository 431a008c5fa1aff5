//! Rows as CSV: by the options of a sink, and the form of results.
//!
//! A field is quoted only where it must be: it holds a delimiter, a quote or a line end, or would
//! otherwise be read as NULL. Arrays are written as elements between delimiters where those can be
//! read back, as JSON otherwise; in results nested values are always JSON.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use indexmap::IndexMap;

use super::{CsvOptions, Header};
use crate::error::{Error, Result};
use crate::formats::RowEncoder;
use crate::formats::cells::{Cells, Kind, resolve};
use crate::formats::json::JsonWriter;

/// Writes rows as CSV.
pub struct CsvEncoder {
    writer: CsvWriter,
    schema: SchemaRef,
    header: bool,
}

/// How fields are written.
struct CsvWriter {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    null_literal: Vec<u8>,
    comments: bool,
    array_delimiter: Option<Vec<u8>>,
    /// Whether a TIMESTAMP_LTZ ends with its zone.
    zone: bool,
    /// One field, before it is known whether it needs quotes.
    text: Vec<u8>,
}

impl CsvWriter {
    /// The form of results.
    fn plain() -> Self {
        CsvWriter {
            delimiter: b',',
            quote: Some(b'"'),
            escape: None,
            null_literal: Vec::new(),
            comments: false,
            array_delimiter: None,
            zone: false,
            text: Vec::new(),
        }
    }
}

impl CsvEncoder {
    /// An encoder for rows of `schema`; it writes a header only if the options ask for it.
    pub fn new(options: &IndexMap<String, String>, schema: SchemaRef) -> Result<Self> {
        let options = CsvOptions::read(options)?;
        let writer = CsvWriter {
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            null_literal: options.null_literal.unwrap_or_default(),
            comments: options.allow_comments,
            array_delimiter: Some(options.array_delimiter),
            zone: true,
            text: Vec::new(),
        };
        Ok(CsvEncoder { writer, schema, header: options.header == Header::Present })
    }
}

impl RowEncoder for CsvEncoder {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.header { self.writer.header(&self.schema, out) } else { Ok(()) }
    }

    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        self.writer.rows(rows, out)
    }
}

/// The header line of results.
pub fn header(schema: &SchemaRef) -> String {
    let mut out = Vec::new();
    // With a quote character every name can be written.
    let _ = CsvWriter::plain().header(schema, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends `rows` in the form of results: RFC 4180, nested values as JSON, an empty field for NULL.
pub fn write_rows(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    CsvWriter::plain().rows(rows, out)
}

impl CsvWriter {
    fn header(&mut self, schema: &SchemaRef, out: &mut Vec<u8>) -> Result<()> {
        for (index, field) in schema.fields().iter().enumerate() {
            if index > 0 {
                out.push(self.delimiter);
            }
            self.text.clear();
            self.text.extend_from_slice(field.name().as_bytes());
            self.field(false, out)?;
        }
        out.push(b'\n');
        Ok(())
    }

    fn rows(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let mut cells = resolve(rows)?;
        for cells in &mut cells {
            if let Kind::Timestamp { zoned, .. } = &mut cells.kind {
                *zoned &= self.zone;
            }
        }
        for row in 0..rows.num_rows() {
            for (index, cells) in cells.iter().enumerate() {
                if index > 0 {
                    out.push(self.delimiter);
                }
                self.cell(cells, row, index == 0, out)?;
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn cell(&mut self, cells: &Cells, row: usize, first: bool, out: &mut Vec<u8>) -> Result<()> {
        if cells.is_null(row) {
            out.extend_from_slice(&self.null_literal);
            return Ok(());
        }
        // Numbers have no character that needs quotes, unless the delimiter is an odd one.
        if cells.is_number() && self.delimiter == b',' && self.null_literal.is_empty() {
            cells.write_plain(row, b' ', out)?;
            return Ok(());
        }
        self.text.clear();
        let mut text = std::mem::take(&mut self.text);
        if !cells.write_plain(row, b' ', &mut text)? {
            self.nested(cells, row, &mut text)?;
        }
        self.text = text;
        let comment = first && self.comments && self.text.first() == Some(&b'#');
        self.field(comment, out)
    }

    /// Appends an array, map or row.
    fn nested(&self, cells: &Cells, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if let (Some(delimiter), Kind::List { offsets, item }) =
            (&self.array_delimiter, &cells.kind)
        {
            let start = out.len();
            if self.elements(delimiter, offsets, item, row, out)? {
                return Ok(());
            }
            out.truncate(start);
        }
        JsonWriter::default().value(cells, row, out)
    }

    /// Appends the elements of an array; false if they could not be told apart again.
    fn elements(
        &self,
        delimiter: &[u8],
        offsets: &[usize],
        item: &Cells,
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let at = |index: usize| offsets.get(index).copied().unwrap_or(0);
        let start = out.len();
        for element in at(row)..at(row + 1) {
            if element > at(row) {
                out.extend_from_slice(delimiter);
            }
            let from = out.len();
            if item.is_null(element) || !item.write_plain(element, b' ', out)? {
                return Ok(false);
            }
            let text = &out[from..];
            if text.is_empty() || memchr::memmem::find(text, delimiter).is_some() {
                return Ok(false);
            }
        }
        Ok(out.len() > start && !matches!(out[start..].trim_ascii_start(), [b'[' | b'{', ..] | []))
    }

    /// Appends `self.text` as a field.
    fn field(&self, force: bool, out: &mut Vec<u8>) -> Result<()> {
        let text = self.text.as_slice();
        let special = |b: &u8| {
            *b == self.delimiter
                || *b == b'\n'
                || *b == b'\r'
                || Some(*b) == self.quote
                || Some(*b) == self.escape
        };
        if !force && text != self.null_literal && !text.is_empty() && !text.iter().any(special) {
            out.extend_from_slice(text);
            return Ok(());
        }
        let Some(quote) = self.quote else { return self.unquoted(out) };
        out.push(quote);
        for &byte in text {
            if byte == quote {
                out.push(quote);
            } else if Some(byte) == self.escape {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(quote);
        Ok(())
    }

    /// Without quotes a field is as good as its characters; a line end cannot be written.
    fn unquoted(&self, out: &mut Vec<u8>) -> Result<()> {
        for &byte in &self.text {
            if byte == b'\n' || byte == b'\r' || byte == self.delimiter {
                match self.escape {
                    Some(escape) => out.push(escape),
                    None => {
                        return Err(Error::config(
                            "a CSV field holds a delimiter or line end and quotes are disabled",
                        )
                        .with_hint("remove 'csv.disable-quote-character'"));
                    }
                }
            } else if Some(byte) == self.escape {
                out.push(byte);
            }
            out.push(byte);
        }
        Ok(())
    }
}
