//! A [`Source`] over any [`EventGenerator`]: a split is a range of rows, computed when decoded.
//!
//! Without a rate, splits are handed out as fast as they are asked for and no thread is started.
//! With a rate, one thread says every few milliseconds how many rows are due; which rows those are
//! does not depend on it. Called by the connectors of this folder.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arrow::datatypes::SchemaRef;

use super::{EventGenerator, Layout};
use crate::connectors::{
    Decoded, NextSplit, PartitionInfo, PartitionPosition, Source, SourceSpec, Split,
};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::BATCH_ROWS;
use crate::telemetry::clock;
use crate::telemetry::threads::spawn;

/// How often a rate is looked after.
const PACE_EVERY: Duration = Duration::from_millis(20);
/// Bytes that a row counts for when `source.split_bytes` asks for smaller splits.
const ROW_BYTES_NOMINAL: usize = 128;

type Wake = Arc<dyn Fn() + Send + Sync>;

/// How fast rows come in wall time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    rows_per_second: Option<f64>,
}

impl Pace {
    /// `rows_per_second` over all partitions of all processes; `None`: as fast as possible.
    pub fn new(rows_per_second: Option<f64>) -> Self {
        Pace { rows_per_second }
    }

    /// Rows of one of `parts` partitions due after `elapsed`; the first is due at once.
    fn due(self, elapsed: Duration, parts: u64) -> u64 {
        match self.rows_per_second {
            None => u64::MAX,
            Some(rate) => (elapsed.as_secs_f64() * rate / parts as f64) as u64 + 1,
        }
    }
}

/// A generator as a source.
pub struct GeneratorSource {
    inner: Arc<Inner>,
}

struct Inner {
    table: String,
    generator: Arc<dyn EventGenerator>,
    wanted: SchemaRef,
    layout: Layout,
    pace: Pace,
    split_rows: u64,
    /// The partitions of this process, as numbers of the layout.
    parts: Vec<u64>,
    progress: Mutex<Progress>,
}

struct Progress {
    cursors: Vec<Cursor>,
    /// Rows of each partition that may be handed out by now.
    due: u64,
    /// Partitions that have not ended.
    open: usize,
    wake: Option<Wake>,
}

#[derive(Clone, Default)]
struct Cursor {
    position: u64,
    /// Where it began: what is due is counted from there.
    origin: u64,
    sequence: u64,
    ended: bool,
}

/// The payload of a split.
struct Rows {
    position: u64,
    range: Range<u64>,
}

impl GeneratorSource {
    /// A source of the columns that `spec` wants of `generator`'s rows.
    pub fn new(
        generator: Arc<dyn EventGenerator>,
        spec: &SourceSpec,
        layout: Layout,
        pace: Pace,
    ) -> Result<Self> {
        let known = generator.schema();
        if let Some(field) =
            spec.schema.fields().iter().find(|f| known.field_with_name(f.name()).is_err())
        {
            return Err(super::no_such_column(field.name()));
        }
        let processes = spec.processes.max(1) as u64;
        let parts: Vec<u64> =
            (0..layout.parts()).filter(|part| part % processes == spec.process as u64).collect();
        let split_rows = (spec.split_bytes / ROW_BYTES_NOMINAL).clamp(1, BATCH_ROWS) as u64;
        let progress = Mutex::new(Progress {
            cursors: vec![Cursor::default(); parts.len()],
            due: if pace.rows_per_second.is_none() { u64::MAX } else { 0 },
            open: parts.len(),
            wake: None,
        });
        let wanted = Arc::clone(&spec.schema);
        let table = spec.table.name.clone();
        Ok(GeneratorSource {
            inner: Arc::new(Inner {
                table,
                generator,
                wanted,
                layout,
                pace,
                split_rows,
                parts,
                progress,
            }),
        })
    }
}

impl Inner {
    fn part_name(&self, part: u64) -> String {
        format!("{}[{part}]", self.table)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // No code panics while it holds the lock; were it so, the numbers would still be sound.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_split(&self, partition: usize) -> NextSplit {
        let mut progress = self.progress();
        let due = progress.due;
        let exhausted = if progress.open == 0 { NextSplit::Ended } else { NextSplit::Pending };
        let (Some(cursor), Some(part)) =
            (progress.cursors.get_mut(partition), self.parts.get(partition))
        else {
            return exhausted;
        };
        if cursor.ended {
            return exhausted;
        }
        let total = self.layout.part_rows(*part);
        let rows_max = due.saturating_sub(cursor.position - cursor.origin).min(self.split_rows);
        let range = self.layout.run(*part, cursor.position, rows_max);
        let rows = range.end - range.start;
        let last = total == Some(cursor.position + rows);
        if rows == 0 && !last {
            return NextSplit::Pending;
        }
        let payload = Box::new(Rows { position: cursor.position, range });
        let split = Split { partition, sequence: cursor.sequence, last, payload };
        cursor.position += rows;
        cursor.sequence += 1;
        cursor.ended = last;
        if last {
            progress.open -= 1;
            if progress.open == 0 {
                // Others that were told to wait must learn that there is nothing to wait for.
                let wake = progress.wake.clone();
                drop(progress);
                if let Some(wake) = wake {
                    wake();
                }
            }
        }
        NextSplit::Split(split)
    }

    /// Says that the rows up to `due` may go; `None` once all partitions have ended.
    fn release(&self, due: u64) -> Option<()> {
        let mut progress = self.progress();
        if progress.open == 0 {
            return None;
        }
        if due > progress.due {
            progress.due = due;
            let wake = progress.wake.clone();
            drop(progress);
            if let Some(wake) = wake {
                wake();
            }
        }
        Some(())
    }
}

/// Releases rows at the source's pace until it has ended or nobody holds it any more.
fn keep_pace(source: &Weak<Inner>) {
    let start = clock::monotonic();
    loop {
        {
            let Some(inner) = source.upgrade() else { return };
            let due = inner.pace.due(start.elapsed(), inner.layout.parts());
            if inner.release(due).is_none() {
                return;
            }
        }
        std::thread::sleep(PACE_EVERY);
    }
}

impl Source for GeneratorSource {
    fn is_bounded(&self) -> bool {
        self.inner.generator.len().is_some()
    }

    fn start(&self, wake: Arc<dyn Fn() + Send + Sync>) -> Result<()> {
        self.inner.progress().wake = Some(wake);
        if self.inner.pace.rows_per_second.is_some() {
            let weak = Arc::downgrade(&self.inner);
            spawn(&format!("pace-{}", self.inner.table), move || keep_pace(&weak))?;
        }
        Ok(())
    }

    fn partitions(&self) -> Vec<PartitionInfo> {
        let name = |part: &u64| PartitionInfo { name: self.inner.part_name(*part) };
        self.inner.parts.iter().map(name).collect()
    }

    fn owns(&self, name: &str) -> bool {
        // One that there is no more is everybody's to complain about.
        let is_named = |part: &u64| self.inner.part_name(*part) == name;
        let part = (0..self.inner.layout.parts()).find(is_named);
        part.is_none_or(|part| self.inner.parts.contains(&part))
    }

    fn resume(&self, positions: &[PartitionPosition]) -> Result<()> {
        let names = self.partitions();
        let mut progress = self.inner.progress();
        for position in positions {
            let index = names.iter().position(|known| known.name == position.name);
            let cursor = index.and_then(|index| progress.cursors.get_mut(index));
            let (Some(cursor), Ok(offset)) = (cursor, u64::try_from(position.offset)) else {
                let message =
                    format!("table {} has no {} any more", self.inner.table, position.name);
                return Err(Error::new(ErrorKind::Conflict, message)
                    .with_hint("go on with the options that it had"));
            };
            let was_open = !cursor.ended;
            *cursor =
                Cursor { position: offset, origin: offset, sequence: 0, ended: position.ended };
            progress.open -= usize::from(was_open && position.ended);
        }
        Ok(())
    }

    fn next_split(&self, partition: usize) -> NextSplit {
        self.inner.next_split(partition)
    }

    fn partitions_complete(&self) -> bool {
        true
    }

    fn decode(&self, split: Split) -> Result<Decoded> {
        let payload: Box<dyn Any> = split.payload;
        let rows = payload
            .downcast::<Rows>()
            .map_err(|_| Error::internal("a split of another source came to a generator"))?;
        let offset = i64::try_from(rows.position).unwrap_or(i64::MAX);
        if rows.range.is_empty() {
            return Ok(Decoded { offset, end: Some(offset), ..Decoded::default() });
        }
        let batch = self.inner.generator.batch(rows.range, &self.inner.wanted)?;
        let bytes = batch.get_array_memory_size();
        let end = i64::try_from(batch.num_rows()).ok().and_then(|rows| offset.checked_add(rows));
        Ok(Decoded { rows: Some(batch), offset, end, bytes, ..Decoded::default() })
    }

    fn failure(&self) -> Option<Error> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use arrow::array::{Array, AsArray, RecordBatch};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Int64Type, TimeUnit};
    use indexmap::IndexMap;

    use super::super::{datagen, nexmark, taxi};
    use super::*;
    use crate::sql::catalog::{ColumnDef, ColumnKind, TableDef};

    fn spec(columns: &[(&str, DataType)], options: &[(&str, &str)]) -> SourceSpec {
        let column = |(name, data_type): &(&str, DataType)| ColumnDef {
            name: name.to_string(),
            data_type: data_type.clone(),
            nullable: true,
            kind: ColumnKind::Physical,
        };
        let table = Arc::new(TableDef {
            name: "t".into(),
            columns: columns.iter().map(column).collect(),
            watermark: None,
            primary_key: vec![],
            partitioned_by: vec![],
            options: options
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect::<IndexMap<_, _>>(),
            location: None,
            option_places: Default::default(),
        });
        let schema = table.stored_schema();
        SourceSpec { table, schema, split_bytes: 1 << 20, process: 0, processes: 1 }
    }

    fn timestamp() -> DataType {
        DataType::Timestamp(TimeUnit::Millisecond, None)
    }

    fn bids(more: &[(&str, &str)]) -> SourceSpec {
        let options = [&[("connector", "nexmark"), ("nexmark.table", "bid")], more].concat();
        spec(&[("auction", DataType::Int64), ("dateTime", timestamp())], &options)
    }

    fn start(source: &dyn Source, send: mpsc::SyncSender<()>) {
        // A full channel already says that there is something to do.
        let wake = move || {
            let _ = send.try_send(());
        };
        source.start(Arc::new(wake)).unwrap();
    }

    /// All rows of a source, partition by partition, and the number of splits.
    fn drain(source: &dyn Source) -> (Vec<RecordBatch>, usize) {
        let (send, woken) = mpsc::sync_channel(1024);
        start(source, send);
        let (mut batches, mut splits) = (vec![], 0);
        for partition in 0..source.partitions().len() {
            let mut sequence = 0;
            loop {
                match source.next_split(partition) {
                    NextSplit::Split(split) => {
                        assert_eq!(split.sequence, sequence);
                        sequence += 1;
                        splits += 1;
                        let last = split.last;
                        batches.extend(source.decode(split).unwrap().rows);
                        if last {
                            break;
                        }
                    }
                    NextSplit::Pending => woken.recv().unwrap(),
                    NextSplit::Ended => panic!("ended before its last split"),
                }
            }
        }
        for partition in 0..source.partitions().len() {
            assert!(matches!(source.next_split(partition), NextSplit::Ended));
        }
        (batches, splits)
    }

    fn sorted(batches: &[RecordBatch]) -> Vec<(i64, i64)> {
        let mut rows: Vec<(i64, i64)> = batches
            .iter()
            .flat_map(|b| {
                let first = b.column(0).as_primitive::<Int64Type>().values().to_vec();
                let second = b.column(1).as_any();
                let second =
                    second.downcast_ref::<arrow::array::TimestampMillisecondArray>().unwrap();
                first.into_iter().zip(second.values().to_vec()).collect::<Vec<_>>()
            })
            .collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn partitions_splits_processes_and_rates_do_not_change_the_rows() {
        let whole = sorted(&drain(&*nexmark::create(&bids(&[("events", "50000")])).unwrap()).0);
        assert_eq!(whole.len(), 46_000);
        let three = bids(&[("events", "50000"), ("partitions", "3")]);
        assert_eq!(sorted(&drain(&*nexmark::create(&three).unwrap()).0), whole);
        let paced = bids(&[("events", "50000"), ("partitions", "2"), ("rate", "1000000")]);
        assert_eq!(sorted(&drain(&*nexmark::create(&paced).unwrap()).0), whole);

        let mut small = three.clone();
        small.split_bytes = 100 * 128;
        let (batches, splits) = drain(&*nexmark::create(&small).unwrap());
        assert!(splits >= 460);
        assert_eq!(sorted(&batches), whole);

        let of_process = |process| {
            let spec = SourceSpec { process, processes: 2, ..three.clone() };
            drain(&*nexmark::create(&spec).unwrap()).0
        };
        assert_eq!(sorted(&[of_process(0), of_process(1)].concat()), whole);
    }

    #[test]
    fn an_empty_table_ends_at_once_and_an_unbounded_one_never() {
        let empty = nexmark::create(&bids(&[("events", "0"), ("partitions", "2")])).unwrap();
        assert!(empty.is_bounded());
        assert_eq!(drain(&*empty), (vec![], 2));
        let endless = nexmark::create(&bids(&[])).unwrap();
        assert!(!endless.is_bounded());
        let NextSplit::Split(split) = endless.next_split(0) else { panic!("no split") };
        assert!(!split.last);
    }

    #[test]
    fn wanted_columns_are_cast_and_may_be_none() {
        let options = [("connector", "taxi"), ("taxi.table", "rides"), ("rides", "100")];
        let mut spec =
            spec(&[("rideId", DataType::Utf8View), ("startLon", DataType::Float64)], &options);
        let (batches, _) = drain(&*taxi::create(&spec).unwrap());
        assert_eq!(batches[0].column(0).as_string_view().value(0), "5");
        assert_eq!(batches[0].column(1).data_type(), &DataType::Float64);
        spec.schema = Arc::new(arrow::datatypes::Schema::empty());
        let (batches, _) = drain(&*taxi::create(&spec).unwrap());
        assert!(batches[0].num_rows() > 100 && batches[0].num_columns() == 0);
    }

    #[test]
    fn mistakes_are_refused_with_what_is_known() {
        let message = |spec: &SourceSpec| {
            nexmark::create(spec).err().map(|e| e.to_string()).unwrap_or_default()
        };
        let unknown = message(&bids(&[("event", "5")]));
        assert!(unknown.contains("did you mean 'events'? known options: nexmark.table"));
        assert!(message(&bids(&[("events", "-5")])).contains("whole number"));
        assert!(message(&bids(&[("rate", "0")])).contains("greater than 0"));
        let table = [("connector", "nexmark"), ("nexmark.table", "bids")];
        assert!(message(&spec(&[], &table)).contains("one of: person, auction, bid"));
        let table = [("connector", "nexmark"), ("nexmark.table", "bid")];
        let unknown = message(&spec(&[("datetime", timestamp())], &table));
        assert!(unknown.contains("did you mean 'dateTime'? known columns: auction"), "{unknown}");
        let uncastable = spec(&[("dateTime", DataType::Boolean)], &table);
        assert!(
            message(&uncastable).contains("is generated as Timestamp(ms) and cannot be Boolean")
        );
    }

    #[test]
    fn datagen_follows_its_options() {
        let columns = [
            ("id", DataType::Int64),
            ("small", DataType::Int8),
            ("price", DataType::Decimal128(10, 2)),
            ("name", DataType::Utf8View),
            ("ts", timestamp()),
            ("ok", DataType::Boolean),
            ("f", DataType::Float64),
            ("day", DataType::Date32),
            ("b", DataType::BinaryView),
            ("any", DataType::Int64),
        ];
        let options = [
            ("connector", "datagen"),
            ("rows-per-second", "1000000"),
            ("number-of-rows", "20000"),
            ("fields.id.kind", "sequence"),
            ("fields.id.start", "5"),
            ("fields.id.end", "10004"),
            ("fields.small.min", "-3"),
            ("fields.small.max", "3"),
            ("fields.small.null-rate", "0.25"),
            ("fields.price.min", "0.50"),
            ("fields.price.max", "1"),
            ("fields.name.length", "20"),
            ("fields.f.min", "0"),
            ("fields.f.max", "1"),
            ("partitions", "2"),
        ];
        let spec = spec(&columns, &options);
        let (batches, _) = drain(&*datagen::create(&spec).unwrap());
        let rows = concat_batches(&spec.schema, &batches).unwrap();
        // The sequence ends first.
        assert_eq!(rows.num_rows(), 10_000);
        let mut ids = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(5..10_005));
        let small = rows.column(1).as_primitive::<arrow::datatypes::Int8Type>();
        assert!((2_300..2_700).contains(&small.null_count()));
        let seen: std::collections::BTreeSet<i8> = small.iter().flatten().collect();
        assert!(seen.into_iter().eq(-3..=3));
        let price = rows.column(2).as_primitive::<arrow::datatypes::Decimal128Type>();
        assert!(price.values().iter().all(|p| (50..=100).contains(p)));
        assert!(rows.column(3).as_string_view().iter().flatten().all(|s| s.len() == 20));
        // Which partition's rows come first is a matter of timing.
        let by_id = |rows: &RecordBatch| {
            let order = arrow::compute::sort_to_indices(rows.column(0), None, None).unwrap();
            arrow::compute::take_record_batch(rows, &order).unwrap()
        };
        let (again, _) = drain(&*datagen::create(&spec).unwrap());
        let again = concat_batches(&spec.schema, &again).unwrap();
        assert_eq!(by_id(&again), by_id(&rows));

        let wrong = |key: &'static str, value: &'static str| {
            let with = [&options[..1], &[(key, value)]].concat();
            let spec = super::tests::spec(&columns, &with);
            datagen::create(&spec).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(wrong("fields.smal.min", "0").contains("unknown option"));
        assert!(wrong("fields.small.min", "1000").contains("of the column's type"));
        assert!(wrong("fields.id.kind", "sequence").contains("but it is absent"));
        assert!(wrong("fields.ts.max-past", "soon").contains("duration"));
    }

    #[test]
    fn a_rate_holds_rows_back() {
        let pace = Pace::new(Some(100.0));
        assert_eq!(pace.due(Duration::ZERO, 2), 1);
        assert_eq!(pace.due(Duration::from_secs(2), 2), 101);
        let source = nexmark::create(&bids(&[("rate", "0.001")])).unwrap();
        assert!(matches!(source.next_split(0), NextSplit::Pending));
        let (send, woken) = mpsc::sync_channel(1024);
        start(&*source, send);
        woken.recv().unwrap();
        let NextSplit::Split(split) = source.next_split(0) else { panic!("no split") };
        assert_eq!(source.decode(split).unwrap().rows.unwrap().num_rows(), 1);
        assert!(matches!(source.next_split(0), NextSplit::Pending));
    }
}
