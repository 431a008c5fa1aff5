//! Rows as JSON: one object a line for files and streams, values for HTTP.
//!
//! BIGINT and DECIMAL are numbers with all their digits, timestamps are text, BYTES are base64; a
//! float that is no number is the text `NaN`, `Infinity` or `-Infinity`, which decoding accepts.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use indexmap::IndexMap;

use super::super::RowEncoder;
use super::super::cells::{Cells, Kind, resolve};
use super::super::temporal::TimestampStyle;
use super::{JsonOptions, MapNullKey};
use crate::error::{Error, Result};

/// Writes rows as JSON lines.
pub struct JsonEncoder {
    writer: JsonWriter,
    names: Vec<Vec<u8>>,
}

/// How values are written.
pub(in super::super) struct JsonWriter {
    separator: u8,
    map_null_key: MapNullKey,
    ignore_null_fields: bool,
}

impl Default for JsonWriter {
    fn default() -> Self {
        JsonWriter {
            separator: b' ',
            map_null_key: MapNullKey::Literal("null".into()),
            ignore_null_fields: false,
        }
    }
}

impl JsonEncoder {
    /// An encoder for rows of `schema`.
    pub fn new(options: &IndexMap<String, String>, schema: SchemaRef) -> Result<Self> {
        let options = JsonOptions::read(options, "json")?;
        Ok(JsonEncoder { writer: JsonWriter::new(&options), names: quoted_names(&schema) })
    }
}

/// The names of a schema's columns as JSON strings.
pub(super) fn quoted_names(schema: &Schema) -> Vec<Vec<u8>> {
    let quoted = |name: &String| {
        let mut out = Vec::new();
        write_string(name, &mut out);
        out
    };
    schema.fields().iter().map(|f| quoted(f.name())).collect()
}

impl RowEncoder for JsonEncoder {
    fn begin(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let cells = resolve(rows)?;
        for row in 0..rows.num_rows() {
            self.writer.object(&self.names, &cells, row, out)?;
            out.push(b'\n');
        }
        Ok(())
    }
}

/// Appends `rows` as JSON objects, one a line.
pub fn write_rows(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    let names = quoted_names(rows.schema_ref());
    JsonEncoder { writer: JsonWriter::default(), names }.encode(rows, out)
}

/// `rows` as JSON objects.
///
/// Decimals keep what a double holds of them: use [`write_rows`] where every digit counts.
pub fn rows_to_values(rows: &RecordBatch) -> Result<Vec<serde_json::Value>> {
    let names = quoted_names(rows.schema_ref());
    let cells = resolve(rows)?;
    let writer = JsonWriter::default();
    let mut text = Vec::new();
    let values = (0..rows.num_rows()).map(|row| {
        text.clear();
        writer.object(&names, &cells, row, &mut text)?;
        serde_json::from_slice(&text).map_err(|e| Error::internal(format!("a row as JSON: {e}")))
    });
    values.collect()
}

impl JsonWriter {
    /// A writer by the options of a sink.
    pub(super) fn new(options: &JsonOptions) -> Self {
        JsonWriter {
            separator: if options.style == TimestampStyle::Iso8601 { b'T' } else { b' ' },
            map_null_key: options.map_null_key.clone(),
            ignore_null_fields: options.ignore_null_fields,
        }
    }

    /// Appends an object with a member per column.
    pub(super) fn object(
        &self,
        names: &[Vec<u8>],
        cells: &[Cells],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut separator = b'{';
        for (name, cells) in names.iter().zip(cells) {
            if self.ignore_null_fields && cells.is_null(row) {
                continue;
            }
            out.push(separator);
            out.extend_from_slice(name);
            out.push(b':');
            self.value(cells, row, out)?;
            separator = b',';
        }
        if separator == b'{' {
            out.push(b'{');
        }
        out.push(b'}');
        Ok(())
    }

    /// Appends one value.
    pub(in super::super) fn value(
        &self,
        cells: &Cells,
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if cells.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match &cells.kind {
            Kind::Boolean(_) | Kind::Integer(_) | Kind::Decimal(..) => {
                cells.write_plain(row, self.separator, out)?;
            }
            Kind::Float32(v) if v.value(row).is_finite() => {
                cells.write_plain(row, self.separator, out)?;
            }
            Kind::Float64(v) if v.value(row).is_finite() => {
                cells.write_plain(row, self.separator, out)?;
            }
            Kind::Text(v) => write_string(v.value(row), out),
            Kind::Other(_) => {
                let mut text = Vec::new();
                cells.write_plain(row, self.separator, &mut text)?;
                write_string(&String::from_utf8_lossy(&text), out);
            }
            Kind::List { offsets, item } => {
                let range = span(offsets, row);
                out.push(b'[');
                for (index, element) in range.enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.value(item, element, out)?;
                }
                out.push(b']');
            }
            Kind::Map { offsets, key, value } => {
                self.map(key, value, span(offsets, row), out)?;
            }
            Kind::Row { names, columns } => {
                let names: Vec<_> = names
                    .iter()
                    .map(|name| {
                        let mut quoted = Vec::new();
                        write_string(name, &mut quoted);
                        quoted
                    })
                    .collect();
                self.object(&names, columns, row, out)?;
            }
            // Their text needs no escapes.
            _ => {
                out.push(b'"');
                cells.write_plain(row, self.separator, out)?;
                out.push(b'"');
            }
        }
        Ok(())
    }

    fn map(
        &self,
        key: &Cells,
        value: &Cells,
        entries: std::ops::Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut separator = b'{';
        let mut text = Vec::new();
        for entry in entries {
            text.clear();
            if key.is_null(entry) {
                match &self.map_null_key {
                    MapNullKey::Fail => {
                        return Err(Error::config("JSON has no NULL keys for a MAP")
                            .with_hint("set 'json.map-null-key.mode' to 'DROP' or 'LITERAL'"));
                    }
                    MapNullKey::Drop => continue,
                    MapNullKey::Literal(literal) => text.extend_from_slice(literal.as_bytes()),
                }
            } else if !key.write_plain(entry, self.separator, &mut text)? {
                return Err(Error::config("JSON has no nested keys for a MAP"));
            }
            out.push(separator);
            write_string(&String::from_utf8_lossy(&text), out);
            out.push(b':');
            self.value(value, entry, out)?;
            separator = b',';
        }
        if separator == b'{' {
            out.push(b'{');
        }
        out.push(b'}');
        Ok(())
    }
}

fn span(offsets: &[usize], row: usize) -> std::ops::Range<usize> {
    let at = |index| offsets.get(index).copied().unwrap_or(0);
    at(row)..at(row + 1)
}

/// Appends `text` as a JSON string.
pub(in super::super) fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let end = super::scan::plain_end(bytes, at);
        out.extend_from_slice(&bytes[at..end]);
        let Some(&byte) = bytes.get(end) else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let digit = |nibble: u8| HEX[usize::from(nibble & 15)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte)]);
            }
        }
        at = end + 1;
    }
    out.push(b'"');
}
