//! Columns that are one value for a whole file: metadata (`file.path` ..) and the partition
//! columns that are spelled in its path (`dt=2021-01-01/`).
//!
//! Never reads a file; called when a file is found (values) and after each decode (arrays).

use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use indexmap::IndexMap;

use crate::connectors::options::{Options, choices};
use crate::error::{Error, Result};
use crate::formats;
use crate::sql::catalog::{ColumnKind, TableDef};
use crate::sql::types::type_name;

/// The metadata keys of the connector.
pub const METADATA_KEYS: &[&str] =
    &["file.path", "file.name", "file.size", "file.modification-time"];

/// The name of a partition directory for NULL and the empty text, unless an option says another.
pub const DEFAULT_PARTITION: &str = "__DEFAULT_PARTITION__";

/// How a row is put together from what the format decodes and what the file is.
#[derive(Debug)]
pub struct RowLayout {
    /// The rows handed out.
    schema: SchemaRef,
    /// The columns of the records: physical ones that are not partition columns.
    pub stored: SchemaRef,
    /// Those of `stored` that are wanted, and metadata of the format.
    pub wanted: SchemaRef,
    /// Which wanted columns are metadata of the format: its keys by column.
    pub metadata: IndexMap<String, String>,
    /// For each column of `schema` where it comes from.
    columns: Vec<ColumnFrom>,
    /// The columns that are one value for a file.
    constants: Vec<Constant>,
    default_partition: String,
}

#[derive(Debug)]
enum ColumnFrom {
    Record(usize),
    File(usize),
}

#[derive(Debug)]
struct Constant {
    name: String,
    data_type: DataType,
    from: ConstantFrom,
}

#[derive(Clone, Copy, Debug)]
enum ConstantFrom {
    Path,
    Name,
    Size,
    ModificationTime,
    Partition,
}

/// What the file system says about a file.
#[derive(Clone, Copy, Debug)]
pub struct FileFacts {
    /// Length in bytes.
    pub size: u64,
    /// Last change in milliseconds since the Unix epoch.
    pub modified_ms: i64,
}

impl RowLayout {
    /// The layout of rows of `schema`, a choice of the stored columns of `table`.
    pub fn new(table: &TableDef, schema: &SchemaRef) -> Result<Self> {
        let is_partition = |name: &str| table.partitioned_by.iter().any(|p| p == name);
        let physical = table
            .columns
            .iter()
            .filter(|c| matches!(c.kind, ColumnKind::Physical) && !is_partition(&c.name));
        let stored: Vec<Field> = physical.map(|c| c.field()).collect();
        let (mut wanted, mut columns, mut constants) = (Vec::new(), Vec::new(), Vec::new());
        let mut metadata = IndexMap::new();
        for field in schema.fields() {
            let column =
                table.columns.iter().find(|c| c.name == *field.name()).ok_or_else(|| {
                    Error::internal(format!(
                        "table '{}' has no column '{}'",
                        table.name,
                        field.name()
                    ))
                })?;
            let from = match &column.kind {
                ColumnKind::Metadata { key, .. } if is_of_format(table, key) => {
                    metadata.insert(column.name.clone(), key.clone());
                    columns.push(ColumnFrom::Record(wanted.len()));
                    wanted.push(Arc::clone(field));
                    continue;
                }
                ColumnKind::Metadata { key, .. } => metadata_key(table, key)?,
                _ if is_partition(&column.name) => ConstantFrom::Partition,
                _ => {
                    columns.push(ColumnFrom::Record(wanted.len()));
                    wanted.push(Arc::clone(field));
                    continue;
                }
            };
            columns.push(ColumnFrom::File(constants.len()));
            let (name, data_type) = (field.name().clone(), field.data_type().clone());
            constants.push(Constant { name, data_type, from });
        }
        let default_partition = Options::of(table).get("partition.default-name");
        Ok(RowLayout {
            schema: Arc::clone(schema),
            stored: Arc::new(Schema::new(stored)),
            wanted: Arc::new(Schema::new(wanted)),
            metadata,
            columns,
            constants,
            default_partition: default_partition.unwrap_or(DEFAULT_PARTITION).to_string(),
        })
    }

    /// The values of the file at `path` for the columns that are one value for a file.
    pub fn values(&self, path: &Path, facts: FileFacts) -> Result<Vec<ScalarValue>> {
        let of = |constant: &Constant| {
            let value = self.value(constant, path, facts);
            value.cast_to(&constant.data_type).map_err(|error| {
                let (path, column) = (path.display(), &constant.name);
                let reason = error.strip_backtrace();
                Error::config(format!("'{path}': no value for column '{column}': {reason}"))
            })
        };
        self.constants.iter().map(of).collect()
    }

    fn value(&self, constant: &Constant, path: &Path, facts: FileFacts) -> ScalarValue {
        let text = |text: String| ScalarValue::Utf8View(Some(text));
        match constant.from {
            ConstantFrom::Path => text(path.to_string_lossy().into_owned()),
            ConstantFrom::Name => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                text(name.to_string_lossy().into_owned())
            }
            ConstantFrom::Size => {
                ScalarValue::Int64(Some(i64::try_from(facts.size).unwrap_or(i64::MAX)))
            }
            ConstantFrom::ModificationTime => {
                ScalarValue::TimestampMillisecond(Some(facts.modified_ms), Some("UTC".into()))
            }
            ConstantFrom::Partition => {
                let value = partition_value(path, &constant.name);
                ScalarValue::Utf8View(value.filter(|v| *v != self.default_partition))
            }
        }
    }

    /// `rows` of [`RowLayout::wanted`] with the values of their file as columns.
    pub fn complete(&self, rows: RecordBatch, values: &[ScalarValue]) -> Result<RecordBatch> {
        if self.constants.is_empty() {
            return Ok(rows);
        }
        let count = rows.num_rows();
        let array = |from: &ColumnFrom| match from {
            ColumnFrom::Record(index) => Ok(Arc::clone(rows.column(*index))),
            ColumnFrom::File(index) => match values.get(*index) {
                Some(value) => Ok(value.to_array_of_size(count)?),
                None => Err(Error::internal("a file has fewer values than its table asks for")),
            },
        };
        let columns = self.columns.iter().map(array).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// Refuses metadata columns that the connector does not have, or whose type does not fit.
pub fn validate_metadata(table: &TableDef) -> Result<()> {
    for column in &table.columns {
        let ColumnKind::Metadata { key, .. } = &column.kind else { continue };
        if is_of_format(table, key) {
            continue;
        }
        let given = match metadata_key(table, key)? {
            ConstantFrom::Size => DataType::Int64,
            ConstantFrom::ModificationTime => {
                DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
            }
            _ => DataType::Utf8View,
        };
        if !arrow::compute::can_cast_types(&given, &column.data_type) {
            return Err(Options::of(table).error(format!(
                "table '{}': metadata column '{}' cannot have the type {}",
                table.name,
                column.name,
                type_name(&column.data_type)
            )));
        }
    }
    Ok(())
}

/// Whether `key` is metadata of the table's format rather than of its files.
fn is_of_format(table: &TableDef, key: &str) -> bool {
    let format = Options::of(table).get("format").unwrap_or_default();
    formats::metadata_keys(format).contains(&key.strip_prefix("value.").unwrap_or(key))
}

fn metadata_key(table: &TableDef, key: &str) -> Result<ConstantFrom> {
    match key {
        "file.path" => Ok(ConstantFrom::Path),
        "file.name" => Ok(ConstantFrom::Name),
        "file.size" => Ok(ConstantFrom::Size),
        "file.modification-time" => Ok(ConstantFrom::ModificationTime),
        _ => {
            let options = Options::of(table);
            let format = options.get("format").unwrap_or_default();
            let known = [METADATA_KEYS, &formats::metadata_keys(format)].concat();
            let message =
                format!("table '{}': files in '{format}' have no metadata '{key}'", table.name);
            Err(options.error(message).with_hint(choices(key, &known)))
        }
    }
}

/// The value of partition column `name` in a path: that of its last directory `name=value`.
fn partition_value(path: &Path, name: &str) -> Option<String> {
    let directories = path.parent()?.iter().rev();
    directories
        .filter_map(|segment| segment.to_str()?.split_once('='))
        .find(|(key, _)| unescape(key) == name)
        .map(|(_, value)| unescape(value))
}

/// A name or value as part of a path: characters that a path cannot carry become `%XX`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let is_special = matches!(
            c,
            '"' | '#' | '%' | '\'' | '*' | '/' | ':' | '=' | '?' | '\\' | '{' | '[' | ']' | '^'
        );
        if is_special || c.is_ascii_control() {
            out.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// The text that [`escape`] was given; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(code.unwrap_or(byte));
        rest = if code.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_survives_its_path(value in "[^\u{0}]{0,20}") {
            let path = format!("/x/k={}/part-00000.json", escape(&value));
            prop_assert_eq!(partition_value(Path::new(&path), "k"), Some(value));
        }
    }

    #[test]
    fn hours_are_escaped_as_flink_escapes_them() {
        assert_eq!(escape("00:30"), "00%3A30");
        assert_eq!(unescape("100%"), "100%");
        assert_eq!(unescape("%é"), "%é");
    }
}
