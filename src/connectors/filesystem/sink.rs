//! The sink `filesystem`: parts in a directory, or in sub-directories by partition columns.
//!
//! A part appears whole or not at all. Where one part ends and the next begins follows from the
//! rows alone, never from batches or commits:
//!
//! * the event time crosses a multiple of the rollover interval: every open part ends;
//! * a part has reached the size limit after a group of rows counted from its start;
//! * a row needs a directory when too many have a part open: the one begun longest ago ends.
//!
//! A commit only finds out early that no row of the present interval can still come, and makes
//! ended parts visible. Parts are numbered after those that are in their directory. What a sink
//! does that must survive a crash is in [`super::durable`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{nullif, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use hashbrown::HashMap;

use super::columns::{DEFAULT_PARTITION, escape};
use super::commit::{directories_above, sync_directory};
use super::durable::{Durable, create_root, lock_root};
use super::listing::local_path;
use super::part::{Part, PartFormat, PartNames, write_error};
use crate::batch::UpdateBatch;
use crate::batch::changes::{ChangeKind, change_kinds};
use crate::connectors::options::Options;
use crate::connectors::{SinkMode, SinkWriter};
use crate::error::{Error, Result};
use crate::limits;
use crate::plan::props::ChangelogMode;
use crate::sql::catalog::TableDef;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// `sink.rolling-policy.file-size` unless set.
const FILE_BYTES_DEFAULT: u64 = 128 << 20;
/// `sink.rolling-policy.rollover-interval` unless set, in ms of event time.
const ROLLOVER_MS_DEFAULT: i64 = 30 * 60_000;

/// A sink that writes files.
pub struct FilesystemSink {
    pub(super) root: PathBuf,
    pub(super) format: PartFormat,
    rollover_ms: i64,
    partitioning: Option<Partitioning>,
    /// The columns that go into the file.
    file_columns: Vec<usize>,
    /// The number of the rollover interval that the open parts belong to.
    pub(super) interval: Option<i64>,
    /// Directories with a part open, by their path below the root.
    pub(super) slots: BTreeMap<String, Slot>,
    pub(super) slot_count: u64,
    /// The next number in directories that were written to lately.
    pub(super) numbers: BTreeMap<String, u64>,
    /// Ended parts that are still hidden.
    pub(super) closed: Vec<PartNames>,
    /// What a sink of a job with snapshots knows beside.
    pub(super) durable: Option<Durable>,
    /// Held while this sink may write; of one of several writers another one holds it.
    lock: Option<File>,
    pub(super) series: Option<Series>,
    changes: Changes,
    /// Of the rows that are written, what each changes: by place in the rows at hand.
    kinds: Vec<ChangeKind>,
    /// Which columns tell what is an update.
    key: Vec<usize>,
}

/// Which of several writers of a directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) number: usize,
    pub(super) count: usize,
}

/// What the layout of one of several writers ends with, before their number.
pub(super) const WRITER_OF: &str = ", one writer of ";

/// The directory of `table`.
pub(super) fn root_of(table: &TableDef) -> Result<PathBuf> {
    Ok(PathBuf::from(local_path(Options::of(table).required("path")?)?))
}

/// What becomes of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Changes {
    /// There are none.
    Refused,
    /// Their kinds are written.
    Written,
    /// Rows as they are now; a deletion is a row of which only these columns are not NULL.
    Upserted(Vec<usize>),
}

/// A directory with rows of the present interval.
pub(super) struct Slot {
    /// Directories begin in the order of their first rows.
    pub(super) begun: u64,
    pub(super) part: Option<Part>,
}

/// The partition columns.
struct Partitioning {
    names: Vec<String>,
    columns: Vec<usize>,
    converter: RowConverter,
    default_name: String,
}

impl FilesystemSink {
    /// The sink of `table`, of whose changes the columns `key` tell what is an update: makes its
    /// directory and removes what an earlier run left unfinished, unless it goes on from that.
    pub fn create(table: &TableDef, key: &[usize], mode: &SinkMode) -> Result<Self> {
        Self::of_series(table, key, mode, None)
    }

    /// As [`FilesystemSink::create`], of one of several writers; who has these holds the lock.
    pub(super) fn of_series(
        table: &TableDef,
        key: &[usize],
        mode: &SinkMode,
        series: Option<Series>,
    ) -> Result<Self> {
        let options = Options::of(table);
        let format = options.required("format")?;
        let root = root_of(table)?;
        let schema = table.sink_schema();
        let changes = Changes::of(table, &schema);
        let schema = changes.relaxed(schema);
        let partitioning = Partitioning::of(table, &schema)?;
        let is_partition = |name: &String| table.partitioned_by.contains(name);
        let in_file = schema.fields().iter().enumerate().filter(|(_, f)| !is_partition(f.name()));
        let (file_columns, fields): (Vec<usize>, Vec<Arc<Field>>) =
            in_file.map(|(index, field)| (index, Arc::clone(field))).unzip();
        create_root(&root)?;
        let mut sink = FilesystemSink {
            lock: if series.is_none() { Some(lock_root(&root)?) } else { None },
            series,
            root,
            format: PartFormat {
                format: format.to_string(),
                options: options.with_prefix(&format!("{format}.")),
                schema: Arc::new(Schema::new(fields)),
                bytes_max: file_bytes(&options)?,
                durable: mode.durable,
                series: series.map(|series| series.number),
            },
            rollover_ms: rollover_ms(&options)?,
            partitioning,
            file_columns,
            interval: None,
            slots: BTreeMap::new(),
            slot_count: 0,
            numbers: BTreeMap::new(),
            closed: Vec::new(),
            durable: None,
            changes,
            kinds: Vec::new(),
            key: key.to_vec(),
        };
        if mode.durable {
            sink.durable = Some(Durable::new(mode, &table.name, &sink));
        } else {
            sink.clear()?;
        }
        Ok(sink)
    }

    /// What must not change while parts are open.
    pub(super) fn layout(&self) -> String {
        let PartFormat { format, options, schema, bytes_max, .. } = &self.format;
        let columns = schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type()));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let by = self.partitioning.as_ref().map_or(String::new(), |by| by.names.join(", "));
        let series = self.series.map(|s| format!("{WRITER_OF}{}", s.count)).unwrap_or_default();
        format!(
            "{format} {options:?} ({columns}) by ({by}), {bytes_max} bytes, {} ms{series}",
            self.rollover_ms
        )
    }

    /// Levels of directories below the root.
    pub(super) fn depth(&self) -> usize {
        self.partitioning.as_ref().map_or(0, |by| by.names.len())
    }

    /// Writes rows of one rollover interval; `kinds` has one entry a row, or none.
    fn write_rows(&mut self, rows: &RecordBatch, kinds: &[ChangeKind]) -> Result<()> {
        self.kinds.clear();
        self.kinds.extend_from_slice(kinds);
        let Some(mut partitioning) = self.partitioning.take() else {
            self.open_slot(String::new())?;
            let kinds = std::mem::take(&mut self.kinds);
            return self.append("", rows, kinds);
        };
        let result = self.write_partitioned(&mut partitioning, rows);
        self.partitioning = Some(partitioning);
        result
    }

    /// Deals `rows` out to the directories of their partitions.
    fn write_partitioned(&mut self, by: &mut Partitioning, rows: &RecordBatch) -> Result<()> {
        let columns: Vec<ArrayRef> =
            by.columns.iter().map(|&c| Arc::clone(rows.column(c))).collect();
        let keys = by.converter.convert_columns(&columns)?;
        self.part_updates(|row| keys.row(row).data());
        let mut groups: Vec<(String, Vec<u32>)> = Vec::new();
        let mut group_of: HashMap<&[u8], usize> = HashMap::new();
        let mut last: Option<(&[u8], usize)> = None;
        for (row, key) in (0u32..).zip(keys.iter()) {
            let key = key.data();
            let known = match last {
                Some((last_key, group)) if last_key == key => Some(group),
                _ => group_of.get(key).copied(),
            };
            let group = match known {
                Some(group) => group,
                None => {
                    let directory = by.directory(&columns, row as usize)?;
                    if self.needs_room(&directory) {
                        // The directory that must give way gets its rows up to here first.
                        self.append_groups(rows, &mut groups)?;
                        group_of.clear();
                        self.make_room()?;
                    }
                    self.open_slot(directory.clone())?;
                    groups.push((directory, Vec::new()));
                    group_of.insert(key, groups.len() - 1);
                    groups.len() - 1
                }
            };
            last = Some((key, group));
            if let Some((_, members)) = groups.get_mut(group) {
                members.push(row);
            }
        }
        self.append_groups(rows, &mut groups)
    }

    fn append_groups(
        &mut self,
        rows: &RecordBatch,
        groups: &mut Vec<(String, Vec<u32>)>,
    ) -> Result<()> {
        for (directory, members) in groups.drain(..) {
            let kind = |row: &u32| self.kinds.get(*row as usize).copied();
            let kinds = members.iter().filter_map(kind).collect();
            if members.len() == rows.num_rows() {
                self.append(&directory, rows, kinds)?;
            } else {
                let taken = take_record_batch(rows, &UInt32Array::from(members))?;
                self.append(&directory, &taken, kinds)?;
            }
        }
        Ok(())
    }

    /// An update that moves a row to another directory is a deletion there and an insertion here.
    fn part_updates<'k>(&mut self, directory: impl Fn(usize) -> &'k [u8]) {
        for row in 1..self.kinds.len() {
            let is_update = self.kinds[row - 1] == ChangeKind::UpdateBefore;
            if is_update && directory(row - 1) != directory(row) {
                self.kinds[row - 1] = ChangeKind::Delete;
                self.kinds[row] = ChangeKind::Insert;
            }
        }
    }

    /// Whether `directory` has no part open and as many others have as may.
    fn needs_room(&self, directory: &str) -> bool {
        !self.slots.contains_key(directory) && self.slots.len() >= limits::SINK_DIRECTORIES_OPEN_MAX
    }

    /// Ends the part of the directory that was begun longest ago.
    fn make_room(&mut self) -> Result<()> {
        let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.begun);
        let Some(directory) = oldest.map(|(directory, _)| directory.clone()) else { return Ok(()) };
        match self.slots.remove(&directory).and_then(|slot| slot.part) {
            Some(part) => self.close(part),
            None => Ok(()),
        }
    }

    fn open_slot(&mut self, directory: String) -> Result<()> {
        if !self.slots.contains_key(&directory) {
            let path = self.root.join(&directory);
            std::fs::create_dir_all(&path).map_err(|e| write_error(&path, &e))?;
            self.slot_count += 1;
            self.slots.insert(directory, Slot { begun: self.slot_count, part: None });
        }
        Ok(())
    }

    /// Appends `rows` to the parts of `directory`, which has a slot.
    fn append(
        &mut self,
        directory: &str,
        rows: &RecordBatch,
        kinds: Vec<ChangeKind>,
    ) -> Result<()> {
        let columns = self.file_columns.iter().map(|&c| Arc::clone(rows.column(c))).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let schema = Arc::clone(&self.format.schema);
        let mut rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let mut kinds = (self.changes == Changes::Written).then_some(kinds.as_slice());
        while rows.num_rows() > 0 {
            let part = self.slots.get_mut(directory).and_then(|slot| slot.part.take());
            let mut part = match part {
                Some(part) => part,
                None => {
                    let number = self.next_number(directory)?;
                    let path = self.root.join(directory);
                    if let Some(durable) = &mut self.durable {
                        durable.note_directory(&path);
                    }
                    Part::create(&path, number, &self.format)?
                }
            };
            let (written, is_full) = part.write(&rows, kinds)?;
            rows = rows.slice(written, rows.num_rows() - written);
            kinds = kinds.and_then(|kinds| kinds.get(written..));
            if is_full {
                self.close(part)?;
            } else if let Some(slot) = self.slots.get_mut(directory) {
                slot.part = Some(part);
            }
        }
        Ok(())
    }

    /// The number of the next part of `directory`: one more than the greatest there.
    fn next_number(&mut self, directory: &str) -> Result<u64> {
        let number = match self.numbers.remove(directory) {
            Some(number) => number,
            None => {
                let (path, series) = (self.root.join(directory), self.format.series);
                let numbers =
                    names_in(&path)?.into_iter().filter_map(|n| PartNames::number_of(&n, series));
                numbers.max().map_or(0, |greatest| greatest.saturating_add(1))
            }
        };
        if self.numbers.len() >= limits::SINK_DIRECTORIES_OPEN_MAX {
            self.numbers.clear();
        }
        self.numbers.insert(directory.to_string(), number.saturating_add(1));
        Ok(number)
    }

    fn close(&mut self, part: Part) -> Result<()> {
        self.closed.push(part.close()?);
        // With a frontier to name them by, parts that must survive can become visible, not before.
        if self.durable.is_none() && self.closed.len() >= limits::SINK_PARTS_CLOSED_MAX {
            self.publish()?;
        }
        Ok(())
    }

    /// Ends the parts of an interval of which no row can still come.
    pub(super) fn close_before(&mut self, frontier: EventTime) -> Result<()> {
        let end = self.interval.map_or(BEGINNING, |interval| {
            interval.saturating_add(1).saturating_mul(self.rollover_ms)
        });
        if self.interval.is_some() && frontier >= end { self.close_all() } else { Ok(()) }
    }

    fn close_all(&mut self) -> Result<()> {
        self.interval = None;
        for slot in std::mem::take(&mut self.slots).into_values() {
            if let Some(part) = slot.part {
                self.close(part)?;
            }
        }
        Ok(())
    }

    /// Makes ended parts visible, and durably so.
    fn publish(&mut self) -> Result<()> {
        let mut directories = BTreeSet::new();
        for part in self.closed.drain(..) {
            std::fs::rename(&part.hidden, &part.visible)
                .map_err(|e| write_error(&part.visible, &e))?;
            directories.extend(directories_above(&self.root, &part.visible));
        }
        directories.iter().try_for_each(|directory| sync_directory(directory))
    }
}

impl SinkWriter for FilesystemSink {
    fn write(&mut self, batch: &UpdateBatch) -> Result<()> {
        let (rows, times, kinds) = self.changes.rows(batch, &self.key)?;
        let mut from = 0;
        while let Some(&time) = times.get(from) {
            let interval = time.div_euclid(self.rollover_ms);
            if self.interval != Some(interval) {
                self.close_all()?;
                self.interval = Some(interval);
            }
            let rest = times.get(from..).unwrap_or_default();
            let count = rest.partition_point(|t| t.div_euclid(self.rollover_ms) <= interval);
            let kinds = kinds.get(from..from + count).unwrap_or_default();
            self.write_rows(&rows.slice(from, count), kinds)?;
            from += count;
        }
        Ok(())
    }

    fn commit(&mut self, frontier: EventTime) -> Result<()> {
        // Whether the end is one of the input or of the job alone, `finish` says.
        if self.durable.is_some() && frontier == CLOSED {
            return Ok(());
        }
        self.close_before(frontier)?;
        match self.durable {
            None => self.publish(),
            Some(_) if self.closed.len() >= limits::SINK_PARTS_CLOSED_MAX => self.save(frontier),
            Some(_) => Ok(()),
        }
    }

    fn finish(&mut self, complete: bool) -> Result<()> {
        if complete {
            self.close_all()?;
        }
        if self.durable.is_none() {
            for slot in std::mem::take(&mut self.slots).into_values() {
                slot.part.map_or(Ok(()), Part::discard)?;
            }
            self.publish()?;
        } else if complete {
            self.save(CLOSED)?;
        }
        // What is open and durable stays: the next start goes on from the last commit.
        self.lock = None;
        Ok(())
    }

    fn checkpoint(&mut self, frontier: EventTime) -> Result<()> {
        self.save(frontier)
    }

    fn recover(&mut self, restored: EventTime) -> Result<EventTime> {
        self.resume(restored)
    }
}

impl Partitioning {
    fn of(table: &TableDef, schema: &Schema) -> Result<Option<Self>> {
        if table.partitioned_by.is_empty() {
            return Ok(None);
        }
        let column = |name: &String| {
            schema.index_of(name).map_err(|_| {
                Options::of(table).error(format!(
                    "table '{}': partition column '{name}' is no column that is written",
                    table.name
                ))
            })
        };
        let columns = table.partitioned_by.iter().map(column).collect::<Result<Vec<_>>>()?;
        let types = columns.iter().map(|&c| SortField::new(schema.field(c).data_type().clone()));
        let default_name = Options::of(table).get("partition.default-name");
        Ok(Some(Partitioning {
            names: table.partitioned_by.clone(),
            converter: RowConverter::new(types.collect())?,
            columns,
            default_name: default_name.unwrap_or(DEFAULT_PARTITION).to_string(),
        }))
    }

    /// The path below the root for the values of `row`: `dt=2021-01-01/hm=00%3A30`.
    fn directory(&self, columns: &[ArrayRef], row: usize) -> Result<String> {
        let mut path = String::new();
        for (name, column) in self.names.iter().zip(columns) {
            let options = FormatOptions::default();
            let text = if column.is_null(row) {
                String::new()
            } else {
                ArrayFormatter::try_new(column, &options)?.value(row).try_to_string()?
            };
            let value = if text.is_empty() { self.default_name.clone() } else { escape(&text) };
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&format!("{}={value}", escape(name)));
        }
        Ok(path)
    }
}

/// Rows, their times and, where that is written, what each changes.
type Written = (RecordBatch, Vec<EventTime>, Vec<ChangeKind>);

impl Changes {
    fn of(table: &TableDef, schema: &Schema) -> Self {
        match super::changelog_mode(table) {
            ChangelogMode::Append => Changes::Refused,
            ChangelogMode::Retract => Changes::Written,
            ChangelogMode::Upsert => {
                let rowtime = table.watermark.iter().map(|w| &w.column);
                let kept = table.primary_key.iter().chain(&table.partitioned_by).chain(rowtime);
                Changes::Upserted(kept.filter_map(|name| schema.index_of(name).ok()).collect())
            }
        }
    }

    /// `schema` with NULL where deletions write it.
    fn relaxed(&self, schema: SchemaRef) -> SchemaRef {
        let Changes::Upserted(kept) = self else { return schema };
        let relaxed = |(index, field): (usize, &Arc<Field>)| {
            let nullable = field.is_nullable() || !kept.contains(&index);
            field.as_ref().clone().with_nullable(nullable)
        };
        let fields: Vec<Field> = schema.fields().iter().enumerate().map(relaxed).collect();
        Arc::new(Schema::new(fields))
    }

    /// The rows to write for `batch`, each change of one row once.
    fn rows(&self, batch: &UpdateBatch, key: &[usize]) -> Result<Written> {
        let appends = |batch: &UpdateBatch| {
            let kinds = vec![ChangeKind::Insert; batch.len()];
            (batch.rows().clone(), batch.times().to_vec(), kinds)
        };
        let Some(diffs) = batch.diffs() else { return Ok(appends(batch)) };
        match self {
            Changes::Refused if diffs.iter().any(|diff| *diff < 0) => {
                Err(Error::config("a filesystem sink of rows cannot take back rows"))
            }
            Changes::Refused => {
                let copies = (0u32..).zip(diffs.iter());
                let copies = copies.flat_map(|(row, &diff)| (0..diff).map(move |_| row));
                Ok(appends(&batch.take(&UInt32Array::from_iter_values(copies))?))
            }
            Changes::Written => {
                let kinds = change_kinds(batch, key)?;
                Ok((batch.rows().clone(), batch.times().to_vec(), kinds))
            }
            Changes::Upserted(kept) => upserted(batch, key, kept),
        }
    }
}

/// The rows that take the place of those with their key, and what is left of deleted ones: the
/// columns `kept`.
fn upserted(batch: &UpdateBatch, key: &[usize], kept: &[usize]) -> Result<Written> {
    let kinds = change_kinds(batch, key)?;
    let stays = |kind: &ChangeKind| Some(*kind != ChangeKind::UpdateBefore);
    let batch = batch.filter(&kinds.iter().map(stays).collect::<BooleanArray>())?;
    let kinds: Vec<ChangeKind> =
        kinds.into_iter().filter(|kind| *kind != ChangeKind::UpdateBefore).collect();
    let is_deleted: BooleanArray =
        kinds.iter().map(|kind| Some(*kind == ChangeKind::Delete)).collect();
    let schema = batch.schema();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (index, column) in batch.rows().columns().iter().enumerate() {
        let field = schema.field(index).clone();
        if kept.contains(&index) || is_deleted.true_count() == 0 {
            fields.push(field);
            columns.push(Arc::clone(column));
        } else {
            fields.push(field.with_nullable(true));
            columns.push(nullif(column.as_ref(), &is_deleted)?);
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
    Ok((rows, batch.times().to_vec(), kinds))
}

/// `sink.rolling-policy.file-size`.
pub fn file_bytes(options: &Options<'_>) -> Result<u64> {
    Ok(options.bytes("sink.rolling-policy.file-size")?.unwrap_or(FILE_BYTES_DEFAULT))
}

/// `sink.rolling-policy.rollover-interval`.
pub fn rollover_ms(options: &Options<'_>) -> Result<i64> {
    let interval = options.positive_duration_ms("sink.rolling-policy.rollover-interval")?;
    Ok(interval.unwrap_or(ROLLOVER_MS_DEFAULT))
}

/// The names in `directory`; none if it does not exist.
pub(super) fn names_in(directory: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(write_error(directory, &e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| write_error(directory, &e))?.file_name();
        names.extend(name.to_str().map(str::to_string));
    }
    Ok(names)
}
