//! Sources and sinks, one file each behind [`registry`].
//!
//! A connector knows an external system and nothing of dataflows: a [`Source`] hands out
//! [`Split`]s of its partitions and turns a split into rows; a [`SinkWriter`] takes closed rows in
//! order. Event time is assigned by the source operator in [`crate::dataflow`], not here.

pub mod blackhole;
pub mod changes;
pub mod filesystem;
pub mod generate;
pub mod http;
pub mod options;
pub mod print;
pub mod registry;

use std::any::Any;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::batch::UpdateBatch;
use crate::batch::changes::ChangeKind;
use crate::error::{DeadLetter, Error, Result};
use crate::sql::catalog::TableDef;
use crate::time::EventTime;

/// What a source must read.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// The table.
    pub table: Arc<TableDef>,
    /// The stored columns wanted, in this order; names are those of the table's stored schema. One
    /// that the table has as NOT NULL may be nullable here: then NULL is no fault.
    pub schema: SchemaRef,
    /// Bytes of one split (`source.split_bytes`).
    pub split_bytes: usize,
    /// The partitions of this process: those with `index % processes == process`.
    pub process: usize,
    /// Number of processes.
    pub processes: usize,
}

/// One unit of decoding: a consecutive piece of one partition.
#[derive(Debug)]
pub struct Split {
    /// Index of the partition in this source.
    pub partition: usize,
    /// Consecutive number within the partition, from 0.
    pub sequence: u64,
    /// Whether this is the partition's last split (an ended partition no longer holds the
    /// frontier).
    pub last: bool,
    /// The connector's own: bytes of a file, a range of a generator.
    pub payload: Box<dyn Any + Send>,
}

/// What became of a split.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The rows, in partition order, in the schema of [`SourceSpec::schema`].
    pub rows: Option<RecordBatch>,
    /// What each row is of a changelog; absent if all are insertions.
    pub kinds: Option<Vec<ChangeKind>>,
    /// The offset of the split's first record in its partition.
    pub offset: i64,
    /// The offset behind the split's last record, where reading can go on; `None` if it cannot.
    pub end: Option<i64>,
    /// Where the rows are, for a stage that refuses one of them.
    pub row_offsets: RowOffsets,
    /// Records that could not be decoded, each with the number of rows before it in the split.
    pub dead_letters: Vec<(usize, DeadLetter)>,
    /// Bytes of input that the split held.
    pub bytes: usize,
}

/// The offsets of a split's rows.
#[derive(Clone, Debug, Default)]
pub enum RowOffsets {
    /// Not known.
    #[default]
    Unknown,
    /// One after the other.
    Consecutive,
    /// So far behind the split's first record.
    Behind(Vec<u32>),
}

/// The answer of [`Source::next_split`].
#[derive(Debug)]
pub enum NextSplit {
    /// Work.
    Split(Split),
    /// Nothing now; the waker given to [`Source::start`] will be called when there is.
    Pending,
    /// Every partition has ended, for good.
    Ended,
}

/// A partition as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// A file path, or a generator's range.
    pub name: String,
}

/// From where a partition is to be read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPosition {
    /// Its name.
    pub name: String,
    /// The offset of the first record to read.
    pub offset: i64,
    /// `f_p` there.
    pub floor: EventTime,
    /// Whether there is nothing left to read.
    pub ended: bool,
}

/// The reading side of a connector, shared by all workers of a process.
///
/// Partitions are numbered from 0 and may be added while running (new files). All methods are
/// called from worker threads and must not block on I/O: reading happens on the source's own
/// threads.
pub trait Source: Send + Sync {
    /// Whether the source ends.
    fn is_bounded(&self) -> bool;

    /// Starts reading; `wake` is to be called (from any thread) whenever a `Pending` may have
    /// become work.
    fn start(&self, wake: Arc<dyn Fn() + Send + Sync>) -> Result<()>;

    /// Goes on from `positions`: partitions by name, each at the offset of its next record. Called
    /// once, before [`Source::start`]; partitions that are not named are read from their start.
    fn resume(&self, positions: &[PartitionPosition]) -> Result<()> {
        let _ = positions;
        Err(Error::internal("a source without positions was asked to go on from one"))
    }

    /// Whether this process goes on with partition `name` of a snapshot; asked before
    /// [`Source::resume`]. Of all processes, however many there are, exactly one does.
    fn owns(&self, name: &str) -> bool {
        let _ = name;
        true
    }

    /// The partitions so far. A partition is listed before its first split is handed out.
    fn partitions(&self) -> Vec<PartitionInfo>;

    /// The number of partitions so far; cheaper than [`Source::partitions`].
    fn partition_count(&self) -> usize {
        self.partitions().len()
    }

    /// The name of a partition; empty if there is none such.
    fn partition_name(&self, partition: usize) -> String {
        self.partitions().into_iter().nth(partition).map(|p| p.name).unwrap_or_default()
    }

    /// The bytes of a partition as it lies there now; `None` if that is not known. Does I/O: not to
    /// be called while the source is read.
    fn partition_bytes(&self, partition: usize) -> Option<u64> {
        let _ = partition;
        None
    }

    /// The partition that `partition` goes on from, if its records are changes: none of them takes
    /// effect before the end of that one, and not within so many ms after it.
    fn follows(&self, partition: usize) -> Option<(usize, i64)> {
        let _ = partition;
        None
    }

    /// The next split of `partition`, in sequence. Each split is handed out once, to whoever asks
    /// first.
    fn next_split(&self, partition: usize) -> NextSplit;

    /// Whether no partition will be added any more.
    fn partitions_complete(&self) -> bool;

    /// Turns a split into rows. CPU work only; called on a worker thread.
    fn decode(&self, split: Split) -> Result<Decoded>;

    /// How long a partition may be silent before it holds back others no more, in ms, where the job
    /// does not say; `None`: for ever.
    fn idle_timeout_ms(&self) -> Option<i64> {
        None
    }

    /// The records of a split of `partition` that ends before the offset `end` have got their event
    /// times, and these are noted; none is above `latest`.
    fn timed(&self, partition: usize, end: i64, latest: EventTime) {
        let _ = (partition, end, latest);
    }

    /// The first error that ended reading (a file that vanished); the job fails with it.
    fn failure(&self) -> Option<Error>;
}

/// What a sink is part of; by default a job without snapshots.
#[derive(Clone, Debug, Default)]
pub struct SinkMode {
    /// Whether the job has snapshots, so that what a sink has written must survive a crash.
    pub durable: bool,
    /// The name of the job.
    pub job: String,
    /// Which run of the job: the same when it goes on after a crash or a stop, another when it is
    /// started from the beginning, that its output is told from that of older runs.
    pub run: String,
    /// Told of each step between which a crash leaves different things behind.
    pub steps: filesystem::steps::Steps,
}

/// The writing side of a connector. Called from one I/O thread of its own, in order of closed time.
pub trait SinkWriter: Send {
    /// Writes closed updates, ordered by [`crate::batch::consolidate::order_changes`] for the key
    /// that the sink was made with; no later batch has an earlier time.
    fn write(&mut self, batch: &UpdateBatch) -> Result<()>;

    /// Everything below `frontier` has been written: make it visible as the connector's policy
    /// says.
    fn commit(&mut self, frontier: EventTime) -> Result<()>;

    /// The input has ended or the job stops: `complete` says whether all of it was written.
    fn finish(&mut self, complete: bool) -> Result<()>;

    /// Makes everything below `frontier` survive a crash, together with `frontier` itself. All
    /// updates below it have been written, and none at or after it.
    fn checkpoint(&mut self, frontier: EventTime) -> Result<()> {
        let _ = frontier;
        Ok(())
    }

    /// Goes on from what an earlier run made durable; the frontier below which everything is in
    /// the sink already: [`BEGINNING`](crate::time::BEGINNING) if nothing is,
    /// [`CLOSED`](crate::time::CLOSED) if it was finished. Called once, before the first write, and
    /// only for jobs with snapshots. `restored` is the frontier that the job's state was restored
    /// to, `BEGINNING` for a new run; a sink without a memory of its own goes on from there.
    fn recover(&mut self, restored: EventTime) -> Result<EventTime> {
        Ok(restored)
    }
}
