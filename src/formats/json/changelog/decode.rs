//! Chunks of a changelog's lines into rows with the kind of their change.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, SchemaRef};
use memchr::memchr;

use super::super::super::column::{Column, type_name};
use super::super::super::{
    BYTE_ORDER_MARK, Chunk, DecodedRecords, FormatSpec, Origin, RecordCutter, TextDecoder,
    check_chunk_size, finished,
};
use super::super::decode::{LineCutter, reason};
use super::super::scan;
use super::super::value::ValueReader;
use super::cut::UpdateCutter;
use super::envelope::Record;
use super::rows::{Layout, RowReader};
use super::{ChangelogOptions, Dialect, MetadataForm, metadata_key};
use crate::error::{DeadLetter, Error, Result};

/// Decodes the records of a changelog.
pub struct ChangelogDecoder {
    table: String,
    schema: SchemaRef,
    options: ChangelogOptions,
    layout: Layout,
    keyed: bool,
    format: String,
}

impl ChangelogDecoder {
    /// A decoder for the wanted columns of `spec`.
    pub fn new(spec: FormatSpec) -> Result<Self> {
        let options = ChangelogOptions::read(&spec.format, &spec.options)?;
        let mut layout = Layout {
            names: BTreeMap::new(),
            order: Vec::new(),
            metadata: Vec::new(),
            ignore_parse_errors: options.json.ignore_parse_errors,
        };
        for (index, field) in spec.wanted.fields().iter().enumerate() {
            Column::new(field, 0, &spec.format)?;
            let name = field.name();
            if let Some(asked) = spec.metadata.get(name) {
                let key = metadata_key(&spec.format, asked).ok_or_else(|| {
                    Error::internal(format!("format '{}' has no metadata '{asked}'", spec.format))
                })?;
                let is_moment = matches!(key.form, MetadataForm::Moment { .. });
                let fits = matches!(field.data_type(), DataType::Timestamp(..) | DataType::Int64);
                if is_moment && !fits {
                    let given = type_name(field.data_type());
                    return Err(Error::config(format!(
                        "metadata column '{name}' has type {given}, but '{asked}' is a moment"
                    ))
                    .with_hint("declare it as TIMESTAMP_LTZ(3)"));
                }
                layout.metadata.push((index, key));
            } else if spec.stored.column_with_name(name).is_some() {
                layout.names.insert(name.as_bytes().to_vec(), index);
            } else {
                return Err(Error::internal(format!("no stored column '{name}'")));
            }
        }
        // Records are likely to have their members in the order of the declaration.
        for field in spec.stored.fields() {
            if let Some(&index) = layout.names.get(field.name().as_bytes()) {
                layout.order.push((field.name().as_bytes().to_vec(), index));
            }
        }
        let FormatSpec { table, wanted: schema, keyed, format, .. } = spec;
        Ok(ChangelogDecoder { table, schema, options, layout, keyed, format })
    }

    fn decode_lines<'a>(
        &'a self,
        chunk: &'a [u8],
        origin: Origin<'_>,
        first: bool,
    ) -> Result<(RowReader<'a>, Vec<(usize, DeadLetter)>)> {
        let new = |field| Column::new(field, 0, &self.format);
        let columns = self.schema.fields().iter().map(new).collect::<Result<Vec<_>>>()?;
        let values = ValueReader::new(chunk, self.options.json.style, false);
        let mut reader = RowReader::new(values, columns, &self.layout);
        let mut letters = Vec::new();
        let valid = std::str::from_utf8(chunk).is_ok();
        let mut at = 0;
        if first && chunk.starts_with(BYTE_ORDER_MARK) {
            at = BYTE_ORDER_MARK.len();
        }
        while at < chunk.len() {
            let rest = chunk.get(at..).unwrap_or_default();
            let end = memchr(b'\n', rest).map_or(chunk.len(), |length| at + length);
            let line = chunk.get(at..end).unwrap_or_default();
            let rows = reader.kinds.len();
            let reasons = if !valid && std::str::from_utf8(line).is_err() {
                vec!["invalid UTF-8".to_owned()]
            } else if scan::spaces(chunk, at) >= end {
                Vec::new()
            } else {
                let record =
                    Record { dialect: &self.options.dialect, keyed: self.keyed, start: at, end };
                match record.read(&mut reader) {
                    Ok(()) => std::mem::take(&mut reader.ignored),
                    Err(fault) => {
                        reader.roll_back(rows);
                        reader.ignored.clear();
                        vec![reason(*fault, at)]
                    }
                }
            };
            let dead = reasons.into_iter().map(|r| origin.dead_letter(at, r, line));
            letters.extend(dead.map(|letter| (rows, letter)));
            at = end + 1;
        }
        Ok((reader, letters))
    }
}

impl TextDecoder for ChangelogDecoder {
    fn decode(
        &self,
        chunk: Chunk,
        partition: &str,
        offset: i64,
        first: bool,
    ) -> Result<DecodedRecords> {
        check_chunk_size(&chunk)?;
        let origin = Origin { table: &self.table, partition, offset };
        let (reader, dead_letters) = self.decode_lines(&chunk, origin, first)?;
        let RowReader { columns, kinds, starts, values, .. } = reader;
        let side = values.side;
        let rows = finished(columns, kinds.len(), chunk, side, &self.schema)?;
        Ok(DecodedRecords { rows, starts, dead_letters, kinds: Some(kinds) })
    }

    fn cutter(&self) -> Box<dyn RecordCutter> {
        match self.options.dialect {
            Dialect::Records => Box::new(UpdateCutter),
            _ => Box::new(LineCutter),
        }
    }
}
