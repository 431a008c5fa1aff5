//! What a job starts from: the tables of a snapshot, positions and counters.
//!
//! Tables have been read, or are read piece by piece by those who take them back. Made by the job
//! layer, taken by the operators.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use arrow::array::RecordBatch;

use super::snapshots::StatePlace;
use crate::connectors::PartitionPosition;
use crate::error::{Error, Result};
use crate::state::saved::SavedTable;
use crate::time::EventTime;

/// Reads a piece of a table by its number.
pub type ReadPiece = Box<dyn Fn(usize) -> Result<RecordBatch> + Send + Sync>;

/// The rows of a table, in pieces.
pub enum Pieces {
    /// They have been read.
    Read(Vec<RecordBatch>),
    /// How many there are; they are read when they are needed.
    Stored(usize, ReadPiece),
}

/// A table of state as it was written.
pub struct WrittenTable {
    /// The worker that wrote it.
    owner: usize,
    name: String,
    shard: Option<Vec<usize>>,
    pieces: Pieces,
}

impl WrittenTable {
    /// One that `owner` wrote, placed by its columns `shard`.
    pub fn new(owner: usize, name: String, shard: Option<Vec<usize>>, pieces: Pieces) -> Self {
        WrittenTable { owner, name, shard, pieces }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The worker that wrote it.
    pub fn owner(&self) -> usize {
        self.owner
    }

    /// Whether its rows have places of their own.
    pub fn is_sharded(&self) -> bool {
        self.shard.is_some()
    }

    fn len(&self) -> usize {
        match &self.pieces {
            Pieces::Read(pieces) => pieces.len(),
            Pieces::Stored(count, _) => *count,
        }
    }

    fn piece(&self, number: usize) -> Result<SavedTable> {
        let rows = match &self.pieces {
            Pieces::Read(pieces) => pieces.get(number).cloned(),
            Pieces::Stored(_, read) => Some(read(number)?),
        };
        let rows = rows.ok_or_else(|| Error::internal("a piece that a table does not have"))?;
        Ok(SavedTable { name: self.name.clone(), rows, shard: self.shard.clone() })
    }

    /// The rows of `worker` of `peers`, piece by piece. Where it `is_placed`, there are as many
    /// workers as wrote, and each wrote its own.
    pub fn rows_of(
        &self,
        worker: usize,
        peers: usize,
        is_placed: bool,
    ) -> impl Iterator<Item = Result<SavedTable>> + '_ {
        let is_placed = is_placed && self.shard.is_some();
        let count = if is_placed && self.owner != worker { 0 } else { self.len() };
        (0..count).map(move |number| -> Result<SavedTable> {
            let all = self.piece(number)?;
            if is_placed {
                return Ok(all);
            }
            let rows = all.rows_of(worker, peers, self.owner)?;
            Ok(SavedTable { rows, ..all })
        })
    }
}

impl fmt::Debug for WrittenTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of worker {} in {} pieces", self.name, self.owner, self.len())
    }
}

/// A snapshot that a job starts from.
#[derive(Debug, Default)]
pub struct Restored {
    /// Its frontier.
    pub frontier: EventTime,
    /// Workers of the run that took it.
    pub workers: usize,
    /// The tables of each part of the state, the oldest first.
    pub states: BTreeMap<StatePlace, Vec<WrittenTable>>,
    /// By the number of the source.
    pub sources: BTreeMap<usize, Vec<PartitionPosition>>,
    /// What had been counted, by name.
    pub counters: BTreeMap<String, u64>,
    /// Sources that are read again from where their partitions begin, for parts of the plan that
    /// the snapshot has nothing of. The others ignore what lies below the frontier.
    pub again: BTreeSet<usize>,
    /// The outputs that go on at the frontier; the others are given everything.
    pub outputs: BTreeSet<usize>,
    /// By output, of views: from when on their history is known.
    pub since: BTreeMap<usize, EventTime>,
    /// How much that is, as far as it has been read.
    pub amount: Amount,
    /// Bytes in memory of the rows read since.
    pub unpacked: Arc<AtomicU64>,
    /// When it was begun to read it.
    pub begun: Option<Instant>,
}

/// How much of state is taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Rows.
    pub rows: u64,
    /// Bytes as stored.
    pub stored_bytes: u64,
    /// Bytes of the same rows in memory, as columns.
    pub bytes: u64,
}
