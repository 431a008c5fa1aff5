//! One part file of a filesystem sink: written under a hidden name, renamed when it is whole.
//!
//! Rows are encoded in groups counted from the start of the part, so that its bytes and the place
//! where it is full depend on the rows alone, not on the batches they came in.
//!
//! A durable part can be saved and opened again where it was saved. Text is cut to its length; the
//! rows of a file that cannot be cut, as Parquet, are kept in a spool until the part ends.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{concat_batches, filter, is_not_null};
use arrow::datatypes::{DataType, SchemaRef};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::commit::hidden_name;
use super::spool::{self, Spool};
use crate::batch::changes::ChangeKind;
use crate::error::{Error, Result};
use crate::formats::{self, ParquetFileWriter, RowEncoder};
use crate::limits;

/// Bytes of encoded text that are written to the file at once.
const WRITE_BYTES: usize = 256 << 10;

/// How the parts of a sink are encoded.
#[derive(Clone, Debug)]
pub struct PartFormat {
    /// `json`, `csv` or `parquet`: also the extension of the file.
    pub format: String,
    /// The format's options.
    pub options: IndexMap<String, String>,
    /// The columns of the file.
    pub schema: SchemaRef,
    /// A part is full when it holds so many bytes.
    pub bytes_max: u64,
    /// Whether parts can be saved.
    pub durable: bool,
    /// The writer whose parts they are, of a sink with several.
    pub series: Option<usize>,
}

/// A part that is being written.
pub struct Part {
    number: u64,
    names: PartNames,
    body: Body,
    bytes: u64,
    bytes_max: u64,
    /// Rows since the last look at the size.
    group_rows: usize,
    /// Whether rows came since it was saved.
    is_changed: bool,
}

/// What is known of a saved part beside its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPart {
    /// Its number in its directory.
    pub number: u64,
    /// The length of the file that it is opened from.
    length: u64,
    /// What counts for the size limit.
    bytes: u64,
    group_rows: usize,
}

enum Body {
    Text { file: File, encoder: Box<dyn RowEncoder>, out: Vec<u8> },
    Parquet { writer: Box<ParquetFileWriter>, group: Vec<RecordBatch>, schema: SchemaRef },
    Rows { spool: Spool, group: Vec<RecordBatch>, format: PartFormat },
}

/// The names of a part.
#[derive(Debug)]
pub struct PartNames {
    /// While it is written.
    pub hidden: PathBuf,
    /// When it is whole.
    pub visible: PathBuf,
    /// Of its rows, if they are kept beside it.
    pub rows: PathBuf,
}

/// What the names of the parts of `series` begin with.
fn prefix_of(series: Option<usize>) -> String {
    series.map_or_else(|| "part-".to_owned(), |writer| format!("part-{writer}-"))
}

impl PartNames {
    /// The names of part `number` of `series` in `directory`.
    pub fn new(directory: &Path, series: Option<usize>, number: u64, extension: &str) -> Self {
        let stem = format!("{}{number:05}", prefix_of(series));
        let visible = directory.join(format!("{stem}.{extension}"));
        PartNames {
            hidden: hidden_name(&visible),
            rows: directory.join(format!(".{stem}.rows.inprogress")),
            visible,
        }
    }

    /// The number in a name of either kind, of a part of `series`; `None` for other files.
    pub fn number_of(name: &str, series: Option<usize>) -> Option<u64> {
        let rest = name.strip_prefix('.').unwrap_or(name).strip_prefix(&prefix_of(series))?;
        let digits = rest.split_once('.').map_or(rest, |(digits, _)| digits);
        digits.parse().ok()
    }

    /// Whether `name` is that of a part of `series` being written; without a series, of any.
    pub fn is_hidden(name: &str, series: Option<usize>) -> bool {
        let is_own = series.is_none() || PartNames::number_of(name, series).is_some();
        is_own && name.starts_with(".part-") && name.ends_with(".inprogress")
    }
}

impl Part {
    /// Creates the hidden file of part `number` in `directory`, which exists.
    pub fn create(directory: &Path, number: u64, format: &PartFormat) -> Result<Self> {
        let names = PartNames::new(directory, format.series, number, &format.format);
        let mut bytes = 0;
        let body = if format.format != "parquet" {
            let file = create_file(&names.hidden)?;
            let mut encoder = text_encoder(format)?;
            let mut out = Vec::new();
            encoder.begin(&mut out)?;
            bytes = out.len() as u64;
            Body::Text { file, encoder, out }
        } else if format.durable {
            let spool = Spool::create(&names.rows)?;
            Body::Rows { spool, group: Vec::new(), format: format.clone() }
        } else {
            let writer = Box::new(format.parquet_writer(&names.hidden)?);
            Body::Parquet { writer, group: Vec::new(), schema: Arc::clone(&format.schema) }
        };
        let bytes_max = format.bytes_max;
        Ok(Part { number, names, body, bytes, bytes_max, group_rows: 0, is_changed: true })
    }

    /// Opens a saved part of `directory` again, as it was then.
    pub fn reopen(directory: &Path, saved: &SavedPart, format: &PartFormat) -> Result<Self> {
        let &SavedPart { number, length, bytes, group_rows } = saved;
        let names = PartNames::new(directory, format.series, number, &format.format);
        let body = if format.format == "parquet" {
            let spool = Spool::reopen(&names.rows, length)?;
            Body::Rows { spool, group: Vec::new(), format: format.clone() }
        } else {
            let file = spool::reopen(&names.hidden, length)?;
            Body::Text { file, encoder: text_encoder(format)?, out: Vec::new() }
        };
        let bytes_max = format.bytes_max;
        Ok(Part { number, names, body, bytes, bytes_max, group_rows, is_changed: false })
    }

    /// Makes all rows so far safe on the disk.
    pub fn save(&mut self) -> Result<SavedPart> {
        let length = match &mut self.body {
            Body::Text { file, out, .. } => {
                file.write_all(out).map_err(|e| write_error(&self.names.hidden, &e))?;
                out.clear();
                if self.is_changed {
                    file.sync_data().map_err(|e| write_error(&self.names.hidden, &e))?;
                }
                self.bytes
            }
            Body::Rows { spool, group, format } => {
                spool_group(spool, group, &format.schema)?;
                if self.is_changed {
                    spool.sync()?;
                }
                spool.length()
            }
            Body::Parquet { .. } => {
                return Err(Error::internal("a part that is not durable cannot be saved"));
            }
        };
        self.is_changed = false;
        let &mut Part { number, bytes, group_rows, .. } = self;
        Ok(SavedPart { number, length, bytes, group_rows })
    }

    /// The file that it is opened from again.
    pub fn kept_file(&self) -> &Path {
        match self.body {
            Body::Rows { .. } => &self.names.rows,
            _ => &self.names.hidden,
        }
    }

    /// Writes rows until the part is full; how many were written, and whether it is full. `kinds`
    /// says what each row changes, for formats that write that.
    pub fn write(
        &mut self,
        rows: &RecordBatch,
        kinds: Option<&[ChangeKind]>,
    ) -> Result<(usize, bool)> {
        let group_max = match &self.body {
            Body::Text { .. } => limits::SINK_GROUP_ROWS,
            Body::Parquet { .. } | Body::Rows { .. } => limits::BATCH_ROWS,
        };
        self.is_changed = true;
        let mut written = 0;
        while written < rows.num_rows() {
            let left = rows.num_rows() - written;
            let mut count = (group_max - self.group_rows).min(left);
            // The two halves of an update stay together.
            let last = kinds.and_then(|kinds| kinds.get(written + count - 1));
            if count < left && last == Some(&ChangeKind::UpdateBefore) {
                count += 1;
            }
            let slice = rows.slice(written, count);
            let kinds = kinds.and_then(|kinds| kinds.get(written..written + count));
            written += count;
            self.group_rows += count;
            let is_whole = self.group_rows >= group_max;
            self.encode(slice, kinds, is_whole)?;
            if is_whole {
                self.group_rows = 0;
                if self.bytes >= self.bytes_max {
                    return Ok((written, true));
                }
            }
        }
        Ok((written, false))
    }

    fn encode(
        &mut self,
        rows: RecordBatch,
        kinds: Option<&[ChangeKind]>,
        ends_group: bool,
    ) -> Result<()> {
        match &mut self.body {
            Body::Text { file, encoder, out } => {
                let before = out.len();
                match kinds {
                    Some(kinds) => encoder.encode_changes(&rows, kinds, out)?,
                    None => encoder.encode(&rows, out)?,
                }
                self.bytes += (out.len() - before) as u64;
                if out.len() >= WRITE_BYTES {
                    file.write_all(out).map_err(|e| write_error(&self.names.hidden, &e))?;
                    out.clear();
                }
            }
            Body::Parquet { writer, group, schema } => {
                self.bytes += row_bytes(&rows)?;
                group.push(rows);
                if ends_group {
                    write_group(writer, group, schema)?;
                }
            }
            Body::Rows { spool, group, format } => {
                self.bytes += row_bytes(&rows)?;
                group.push(rows);
                if ends_group {
                    spool_group(spool, group, &format.schema)?;
                }
            }
        }
        Ok(())
    }

    /// Completes the file under its hidden name, safe on the disk.
    pub fn close(self) -> Result<PartNames> {
        let names = self.names;
        match self.body {
            Body::Text { mut file, out, .. } => {
                file.write_all(&out).map_err(|e| write_error(&names.hidden, &e))?;
                file.sync_all().map_err(|e| write_error(&names.hidden, &e))?;
            }
            Body::Parquet { mut writer, mut group, schema } => {
                write_group(&mut writer, &mut group, &schema)?;
                let file = writer.close()?;
                file.sync_all().map_err(|e| write_error(&names.hidden, &e))?;
            }
            Body::Rows { mut spool, mut group, format } => {
                spool_group(&mut spool, &mut group, &format.schema)?;
                let file = parquet_of(spool, &format, &names.hidden)?;
                file.sync_all().map_err(|e| write_error(&names.hidden, &e))?;
            }
        }
        Ok(names)
    }

    /// Removes the hidden file of a part that is not durable.
    pub fn discard(self) -> Result<()> {
        let hidden = self.names.hidden;
        drop(self.body);
        std::fs::remove_file(&hidden).map_err(|e| write_error(&hidden, &e))
    }
}

/// An error in writing `path`.
pub fn write_error(path: &Path, error: &std::io::Error) -> Error {
    Error::io(format!("cannot write '{}'", path.display()), error)
}

impl PartFormat {
    fn parquet_writer(&self, path: &Path) -> Result<ParquetFileWriter> {
        ParquetFileWriter::new(create_file(path)?, Arc::clone(&self.schema), &self.options)
    }
}

fn text_encoder(format: &PartFormat) -> Result<Box<dyn RowEncoder>> {
    formats::text_encoder(&format.format, &format.options, Arc::clone(&format.schema))
}

fn create_file(path: &Path) -> Result<File> {
    File::create(path).map_err(|e| write_error(path, &e))
}

/// Writes the rows of `group` as one batch.
fn write_group(
    writer: &mut ParquetFileWriter,
    group: &mut Vec<RecordBatch>,
    schema: &SchemaRef,
) -> Result<()> {
    if group.is_empty() {
        return Ok(());
    }
    let rows = concat_batches(schema, group.iter())?;
    group.clear();
    writer.write(&rows)
}

/// Appends the rows of `group` as one batch.
fn spool_group(spool: &mut Spool, group: &mut Vec<RecordBatch>, schema: &SchemaRef) -> Result<()> {
    if group.is_empty() {
        return Ok(());
    }
    let rows = concat_batches(schema, group.iter())?;
    group.clear();
    spool.append(&rows)
}

/// Writes the rows of `spool` to `path`, in the same groups as without it.
fn parquet_of(spool: Spool, format: &PartFormat, path: &Path) -> Result<File> {
    let mut writer = format.parquet_writer(path)?;
    let (mut group, mut group_rows) = (Vec::new(), 0);
    for batch in spool.into_batches(Arc::clone(&format.schema))? {
        let batch = batch?;
        group_rows += batch.num_rows();
        group.push(batch);
        // A batch of a spool ends where its group does.
        if group_rows >= limits::BATCH_ROWS {
            write_group(&mut writer, &mut group, &format.schema)?;
            group_rows = 0;
        }
    }
    write_group(&mut writer, &mut group, &format.schema)?;
    writer.close()
}

/// The bytes of the values of `rows`.
fn row_bytes(rows: &RecordBatch) -> Result<u64> {
    rows.columns().iter().map(value_bytes).sum()
}

/// The bytes of the values of `array`, whatever buffers they share with other arrays.
fn value_bytes(array: &ArrayRef) -> Result<u64> {
    let count = array.len() as u64;
    if array.data_type().is_nested() && array.null_count() > 0 {
        // What stands behind a NULL is no value and depends on where the array comes from.
        let valid = filter(array, &is_not_null(array)?)?;
        return Ok((count - valid.len() as u64) * 4 + value_bytes(&valid)?);
    }
    Ok(match array.data_type() {
        DataType::Utf8View => lengths(array.as_string_view().iter().map(|v| v.map(str::len))),
        DataType::BinaryView => lengths(array.as_binary_view().iter().map(|v| v.map(<[u8]>::len))),
        DataType::Struct(_) => {
            array.as_struct().columns().iter().map(value_bytes).sum::<Result<u64>>()?
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let first = list.value_offsets().first().copied().unwrap_or(0);
            let last = list.value_offsets().last().copied().unwrap_or(0);
            let (from, length) = (first.unsigned_abs(), last.abs_diff(first));
            count * 4 + value_bytes(&list.values().slice(from as usize, length as usize))?
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let first = map.value_offsets().first().copied().unwrap_or(0);
            let last = map.value_offsets().last().copied().unwrap_or(0);
            let (from, length) = (first.unsigned_abs() as usize, last.abs_diff(first) as usize);
            let entries = map.entries().columns().iter();
            let bytes =
                entries.map(|c| value_bytes(&c.slice(from, length))).sum::<Result<u64>>()?;
            count * 4 + bytes
        }
        other => count * other.primitive_width().unwrap_or(1) as u64,
    })
}

fn lengths(values: impl Iterator<Item = Option<usize>>) -> u64 {
    values.map(|length| 4 + length.unwrap_or(0) as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_number() {
        let names = PartNames::new(Path::new("/x"), None, 7, "json");
        assert_eq!(names.visible, Path::new("/x/part-00007.json"));
        for name in ["part-00007.json", ".part-00007.json.inprogress", "part-7.csv"] {
            assert_eq!(PartNames::number_of(name, None), Some(7), "{name}");
        }
        for name in ["_SUCCESS", "part-x.json", "party-1.json", "part-1-00007.json"] {
            assert_eq!(PartNames::number_of(name, None), None, "{name}");
        }
        let hidden = |names: &PartNames| names.hidden.file_name().unwrap().to_owned();
        assert!(PartNames::is_hidden(&hidden(&names).to_string_lossy(), None));
        assert!(!PartNames::is_hidden("part-00007.json", None));

        let own = PartNames::new(Path::new("/x"), Some(1), 7, "json");
        assert_eq!(own.visible, Path::new("/x/part-1-00007.json"));
        assert_eq!(PartNames::number_of("part-1-00007.json", Some(1)), Some(7));
        for name in ["part-00007.json", "part-11-00007.json", "part-2-00007.json"] {
            assert_eq!(PartNames::number_of(name, Some(1)), None, "{name}");
        }
        assert!(PartNames::is_hidden(&hidden(&own).to_string_lossy(), Some(1)));
        assert!(!PartNames::is_hidden(&hidden(&own).to_string_lossy(), Some(2)));
        assert!(!PartNames::is_hidden(&hidden(&names).to_string_lossy(), Some(1)));
    }
}
