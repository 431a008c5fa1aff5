//! The tables of each part of a job's state as they lie in the store.
//!
//! New tables go on top of those before. Where state is the sum of its log the log is summed up
//! once it is longer than the last sum; where only recent input matters what is older is dropped.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;

use crate::dataflow::snapshots::StatePlace;
use crate::error::Result;
use crate::limits::SNAPSHOT_SUM_ROWS_MIN;
use crate::snapshot::{ChunkRef, SavedTableRef, Store, cut};
use crate::state::saved::{Part, Recovery, SavedTable, compact, log_input, log_schema};
use crate::time::EventTime;

/// The state of a job in the store.
#[derive(Default)]
pub struct States {
    places: BTreeMap<StatePlace, PlaceState>,
}

/// One part of it.
#[derive(Clone, Default)]
pub struct PlaceState {
    /// How it comes back.
    pub recovery: Option<Recovery>,
    /// In the order in which they apply; those of the snapshot in progress among them.
    pub tables: Vec<SavedTableRef>,
}

/// Writes a table in chunks.
fn write(
    store: &Store,
    job: &str,
    table: &SavedTable,
    worker: usize,
    snapshot: u64,
    whole: bool,
) -> Result<SavedTableRef> {
    let is_log = log_input(&table.name).is_some();
    let mut chunks = Vec::new();
    for rows in cut(&table.rows) {
        let mut chunk = store.write_chunk(job, &rows)?;
        if is_log && let Some((least, greatest)) = times_of(&rows) {
            (chunk.min_time, chunk.max_time) = (least, greatest);
        }
        chunks.push(chunk);
    }
    Ok(SavedTableRef {
        name: table.name.clone(),
        worker: u32::try_from(worker).unwrap_or(u32::MAX),
        snapshot,
        whole,
        shard: table.shard.as_ref().map(|s| s.iter().map(|&c| c as u64).collect()),
        chunks,
    })
}

/// The least and greatest time in the rows of a log.
fn times_of(rows: &RecordBatch) -> Option<(EventTime, EventTime)> {
    let column = rows.num_columns().checked_sub(2)?;
    let times = rows.column(column).as_primitive_opt::<Int64Type>()?.values();
    Some((*times.iter().min()?, *times.iter().max()?))
}

impl States {
    /// As of a snapshot.
    pub fn of(places: BTreeMap<StatePlace, PlaceState>) -> Self {
        States { places }
    }

    /// Writes a part that a worker has handed over for snapshot `snapshot`; the bytes written.
    pub fn add(
        &mut self,
        store: &Store,
        job: &str,
        (place, worker): (StatePlace, usize),
        snapshot: u64,
        part: &Part,
    ) -> Result<u64> {
        let state = self.places.entry(place).or_default();
        state.recovery = Some(part.recovery);
        if part.whole {
            // The first whole part of a snapshot replaces all that earlier snapshots wrote.
            state.tables.retain(|table| table.snapshot == snapshot);
        }
        let mut bytes = 0;
        for table in &part.tables {
            let written = write(store, job, table, worker, snapshot, part.whole)?;
            bytes += written.chunks.iter().map(|chunk| chunk.bytes).sum::<u64>();
            if !written.chunks.is_empty() {
                state.tables.push(written);
            }
        }
        Ok(bytes)
    }

    /// Sums up and drops what can be for the snapshot `snapshot` at `frontier`; the bytes written.
    pub fn tidy(
        &mut self,
        store: &Store,
        job: &str,
        snapshot: u64,
        frontier: EventTime,
    ) -> Result<u64> {
        let mut bytes = 0;
        for state in self.places.values_mut() {
            match state.recovery {
                Some(Recovery::Since(from)) => state.drop_before(from),
                Some(Recovery::Contents) => {
                    bytes += state.sum_up(store, job, snapshot, frontier)?;
                }
                Some(Recovery::History(from)) => {
                    bytes += state.sum_up(store, job, snapshot, from)?;
                }
                Some(Recovery::Log | Recovery::Tables) | None => {}
            }
        }
        Ok(bytes)
    }

    /// The parts, for a manifest; those that `holds` says nothing of are left out.
    pub fn kept(
        &mut self,
        holds: impl Fn(StatePlace) -> bool,
    ) -> &BTreeMap<StatePlace, PlaceState> {
        self.places.retain(|place, _| holds(*place));
        &self.places
    }
}

impl PlaceState {
    fn drop_before(&mut self, from: EventTime) {
        for table in &mut self.tables {
            table.chunks.retain(|chunk| chunk.max_time >= from);
        }
        self.tables.retain(|table| !table.chunks.is_empty());
    }

    /// Sums up what lies below `from`, log by log, where the log has outgrown its sum.
    fn sum_up(&mut self, store: &Store, job: &str, snapshot: u64, from: EventTime) -> Result<u64> {
        // Rows that have a place of their own may be summed over workers; others stay apart.
        let mut logs: BTreeMap<(String, Option<u32>), Vec<SavedTableRef>> = BTreeMap::new();
        for table in std::mem::take(&mut self.tables) {
            let worker = table.shard.is_none().then_some(table.worker);
            logs.entry((table.name.clone(), worker)).or_default().push(table);
        }
        let mut bytes = 0;
        for log in logs.into_values() {
            let rows = |t: &SavedTableRef| t.chunks.iter().map(|c| c.rows).sum::<u64>();
            let sum = log.first().filter(|t| t.whole).map_or(0, rows);
            let all: u64 = log.iter().map(rows).sum();
            if all - sum <= sum.max(SNAPSHOT_SUM_ROWS_MIN) {
                self.tables.extend(log);
                continue;
            }
            let Some(first) = log.first() else { continue };
            let chunks: Vec<&ChunkRef> = log.iter().flat_map(|t| &t.chunks).collect();
            let parts =
                chunks.iter().map(|chunk| store.read_chunk(chunk)).collect::<Result<Vec<_>>>()?;
            let Some(schema) = parts.first().map(log_schema) else { continue };
            let shard = first.shard.as_ref().map(|s| s.iter().map(|&c| c as usize).collect());
            let rows = compact(&schema, &parts, from)?;
            let table = SavedTable { name: first.name.clone(), rows, shard };
            let owner = first.worker as usize;
            let written = write(store, job, &table, owner, snapshot, true)?;
            bytes += written.chunks.iter().map(|chunk| chunk.bytes).sum::<u64>();
            if !written.chunks.is_empty() {
                self.tables.push(written);
            }
        }
        Ok(bytes)
    }
}

/// A table as it was written.
pub fn read(store: &Store, table: &SavedTableRef) -> Result<Option<SavedTable>> {
    let parts =
        table.chunks.iter().map(|chunk| store.read_chunk(chunk)).collect::<Result<Vec<_>>>()?;
    let Some(first) = parts.first() else { return Ok(None) };
    let rows = concat_batches(&first.schema(), &parts)?;
    let shard = table.shard.as_ref().map(|s| s.iter().map(|&c| c as usize).collect());
    Ok(Some(SavedTable { name: table.name.clone(), rows, shard }))
}
