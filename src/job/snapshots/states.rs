//! The tables of each part of a job's state as they lie in the store.
//!
//! New tables go on top of those before. Where state is the sum of its log the log is summed up
//! once it is longer than the last sum; where only recent input matters what is older is dropped.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
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
    /// The last snapshot of the run before, if the job started from one.
    restored: Option<u64>,
}

/// One part of it.
#[derive(Clone, Default)]
pub struct PlaceState {
    /// How it comes back.
    pub recovery: Option<Recovery>,
    /// The snapshot for which a worker has last said so.
    pub asked_in: u64,
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

/// Bytes of rows in memory, of their own alone.
pub fn bytes_of(rows: &RecordBatch) -> u64 {
    let own = rows.columns().iter().map(|column| column.to_data().get_slice_memory_size());
    own.map(|bytes| bytes.unwrap_or(0) as u64).sum()
}

impl States {
    /// As of a snapshot.
    pub fn of(places: BTreeMap<StatePlace, PlaceState>) -> Self {
        let tables = places.values().flat_map(|place| &place.tables);
        let restored = tables.map(|table| table.snapshot).max();
        States { places, restored }
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
        // Workers need not agree on from when on input matters: what any of them needs is kept.
        state.recovery = Some(match state.recovery {
            Some(before) if state.asked_in == snapshot => before.with(part.recovery),
            _ => part.recovery,
        });
        state.asked_in = snapshot;
        if part.whole {
            // It replaces what this worker wrote, for this snapshot too. What the run before wrote,
            // maybe on another number of workers, goes with the first whole part: the others are
            // whole as well.
            let restored = self.restored;
            let is_of_before = |table: &SavedTableRef| restored >= Some(table.snapshot);
            state.tables.retain(|table| !is_of_before(table) && table.worker as usize != worker);
        }
        let mut bytes = 0;
        for table in &part.tables {
            let written = write(store, job, table, worker, snapshot, part.whole)?;
            bytes += written.chunks.iter().map(|chunk| chunk.bytes).sum::<u64>();
            state.push(written);
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
    /// Adds a table, or the next piece of one.
    fn push(&mut self, written: SavedTableRef) {
        if written.chunks.is_empty() {
            return;
        }
        let is_own = |table: &&mut SavedTableRef| table.worker == written.worker;
        let last = self.tables.iter_mut().rev().find(is_own);
        let is_same = |table: &&mut SavedTableRef| {
            (table.snapshot, table.whole) == (written.snapshot, written.whole)
                && (&table.name, &table.shard) == (&written.name, &written.shard)
        };
        match last.filter(is_same) {
            Some(table) => table.chunks.extend(written.chunks),
            None => self.tables.push(written),
        }
    }

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::plan::node::NodeId;

    #[test]
    fn a_whole_part_replaces_its_own_worker_and_the_run_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let place = StatePlace::Node(NodeId(1));
        let part = |whole: bool| {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
            let rows = RecordBatch::try_from_iter([("x", column)]).unwrap();
            let table = SavedTable { name: "groups".to_owned(), rows, shard: Some(vec![0]) };
            Part { recovery: Recovery::Tables, whole, tables: vec![table], changed: None }
        };
        let held = |states: &mut States| -> Vec<(u64, u32)> {
            states.kept(|_| true)[&place].tables.iter().map(|t| (t.snapshot, t.worker)).collect()
        };
        let mut states = States::default();
        let add = |states: &mut States, worker: usize, snapshot: u64, whole: bool| {
            states.add(&store, "j", (place, worker), snapshot, &part(whole)).unwrap();
        };
        for (worker, snapshot, whole) in
            [(0, 1, true), (1, 1, true), (2, 1, true), (1, 2, false), (0, 2, true), (2, 2, false)]
        {
            add(&mut states, worker, snapshot, whole);
        }
        assert_eq!(held(&mut states), [(1, 1), (1, 2), (2, 1), (2, 0), (2, 2)]);

        let mut next = States::of(states.kept(|_| true).clone());
        add(&mut next, 0, 3, true);
        add(&mut next, 1, 3, true);
        assert_eq!(held(&mut next), [(3, 0), (3, 1)]);
        add(&mut next, 0, 4, false);
        add(&mut next, 0, 4, true);
        add(&mut next, 0, 4, false);
        assert_eq!(held(&mut next), [(3, 1), (4, 0), (4, 0)], "changes ahead of a whole part go");

        // Pieces of a table are one table, those of another save or worker are not.
        for (worker, snapshot) in [(0, 5), (1, 5), (0, 5), (0, 6)] {
            add(&mut next, worker, snapshot, false);
        }
        let pieces = |states: &mut States| -> Vec<usize> {
            states.kept(|_| true)[&place].tables.iter().map(|t| t.chunks.len()).collect()
        };
        let tables = [(3, 1), (4, 0), (4, 0), (5, 0), (5, 1), (6, 0)];
        assert_eq!(held(&mut next), tables);
        assert_eq!(pieces(&mut next), [1, 1, 1, 2, 1, 1]);
    }
}
