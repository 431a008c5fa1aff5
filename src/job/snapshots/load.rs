//! From a manifest to what the operators of a plan take back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow::array::RecordBatch;

use super::states::{PlaceState, bytes_of};
use super::writer::place_of;
use crate::connectors::PartitionPosition;
use crate::dataflow::restored::{Amount, Pieces, Restored, WrittenTable};
use crate::dataflow::snapshots::{StatePlace, readers};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::node::{NodeId, StreamPlan};
use crate::snapshot::{ChunkRef, Chunks, Damage, Manifest, SavedState, SavedTableRef, Store};
use crate::state::saved::{Recovery, log_input};

/// The state's tables as the manifest lists them.
pub fn states_of(manifest: &Manifest) -> BTreeMap<StatePlace, PlaceState> {
    let of = |state: &SavedState| {
        let recovery = Recovery::named(&state.recovery);
        (place_of(state.node), PlaceState { recovery, asked_in: 0, tables: state.tables.clone() })
    };
    manifest.states.iter().map(of).collect()
}

/// Reads a chunk of a snapshot.
pub type ReadChunk = Arc<dyn Fn(&ChunkRef) -> Result<RecordBatch> + Send + Sync>;

/// A table whose rows are among `chunks`, or are read chunk by chunk when they are needed; then
/// `unpacked` counts their bytes.
fn written(
    read_chunk: &ReadChunk,
    table: &SavedTableRef,
    chunks: &Chunks,
    unpacked: &Arc<AtomicU64>,
) -> WrittenTable {
    let shard = table.shard.as_ref().map(|s| s.iter().map(|&c| c as usize).collect());
    let (owner, name) = (table.worker as usize, table.name.clone());
    let known = table.chunks.iter().map(|chunk| chunks.get(&chunk.id).cloned());
    let pieces = match known.collect() {
        Some(rows) => Pieces::Read(rows),
        None => {
            let (read_chunk, chunks) = (Arc::clone(read_chunk), table.chunks.clone());
            let unpacked = Arc::clone(unpacked);
            let read = move |piece: usize| -> Result<RecordBatch> {
                let chunk = chunks.get(piece);
                let chunk = chunk.ok_or_else(|| Error::internal("a table has no such piece"))?;
                let rows = read_chunk(chunk)?;
                unpacked.fetch_add(bytes_of(&rows), Ordering::Relaxed);
                Ok(rows)
            };
            Pieces::Stored(table.chunks.len(), Box::new(read))
        }
    };
    WrittenTable::new(owner, name, shard, pieces)
}

/// Reads and verifies on `workers` threads what of `manifest` the operators do not read themselves,
/// and verifies the rest.
///
/// Each worker reads what it takes back alone: so it does where there are as many workers as wrote,
/// each its own. What may not fit into memory is never here as a whole.
pub fn verified(
    store: &Store,
    manifest: &Manifest,
    plan: &StreamPlan,
    workers: usize,
) -> Result<Chunks, Vec<Damage>> {
    let is_large = plan.has_budget();
    let of = |is_read: bool| {
        let mut part = manifest.clone();
        for state in &mut part.states {
            let mut tables = std::mem::take(&mut state.tables);
            tables.retain(|table| {
                let is_later = is_large || is_placed(manifest, state, table, workers);
                is_later != is_read
            });
            state.tables = tables;
        }
        part
    };
    let damages = store.verify(&of(false));
    if damages.is_empty() { store.load(&of(true), workers) } else { Err(damages) }
}

/// Reads on `threads` threads what the operators of `plan` take back of `manifest`.
pub fn read(
    store: &Arc<Store>,
    manifest: &Manifest,
    plan: &StreamPlan,
    threads: usize,
) -> Result<Restored> {
    let chunks = verified(store, manifest, plan, threads).map_err(|damages| {
        let what: Vec<String> = damages.iter().take(5).map(ToString::to_string).collect();
        Error::new(ErrorKind::Io, format!("the snapshot is damaged: {}", what.join("; ")))
            .with_hint("`floodmark snapshots verify` names all that is damaged")
    })?;
    restored(&of_store(store), &chunks, manifest, plan)
}

/// Reads from `store`.
pub fn of_store(store: &Arc<Store>) -> ReadChunk {
    let store = Arc::clone(store);
    Arc::new(move |chunk| store.read_chunk(chunk))
}

/// Reads with `read` on `threads` threads what of `manifest` several workers take back.
pub fn shared_chunks(
    read: &ReadChunk,
    manifest: &Manifest,
    plan: &StreamPlan,
    (workers, threads): (usize, usize),
) -> Result<Chunks> {
    if plan.has_budget() {
        return Ok(Chunks::new());
    }
    let mut wanted: Vec<&ChunkRef> = Vec::new();
    for state in &manifest.states {
        let tables = state.tables.iter();
        let shared = tables.filter(|table| !is_placed(manifest, state, table, workers));
        wanted.extend(shared.flat_map(|table| &table.chunks));
    }
    let next = AtomicUsize::new(0);
    let read_some = || -> Result<Vec<(u64, RecordBatch)>> {
        let mut found = Vec::new();
        while let Some(chunk) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.push((chunk.id, read(chunk)?));
        }
        Ok(found)
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(read_some)).collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut chunks = Chunks::new();
    for some in found {
        chunks.extend(some.map_err(|_| Error::internal("a reader of chunks panicked"))??);
    }
    Ok(chunks)
}

/// Whether each of `workers` workers takes back of a table what it wrote, and reads that itself.
fn is_placed(
    manifest: &Manifest,
    state: &SavedState,
    table: &SavedTableRef,
    workers: usize,
) -> bool {
    manifest.workers as usize == workers
        && Recovery::named(&state.recovery) == Some(Recovery::Tables)
        && table.shard.is_some()
        && log_input(&table.name).is_none()
}

/// What the operators of `plan` take back of `manifest`, of which `chunks` have been read.
pub fn restored(
    read_chunk: &ReadChunk,
    chunks: &Chunks,
    manifest: &Manifest,
    plan: &StreamPlan,
) -> Result<Restored> {
    let unpacked = Arc::new(AtomicU64::new(0));
    let mut states = BTreeMap::new();
    for state in &manifest.states {
        let mut tables = Vec::new();
        for table in &state.tables {
            tables.push(written(read_chunk, table, chunks, &unpacked));
        }
        states.insert(place_of(state.node), tables);
    }
    let scans: Vec<&str> = plan.scans().map(|scan| scan.table.def.name.as_str()).collect();
    let (mut sources, mut again) = (BTreeMap::new(), BTreeSet::new());
    for source in &manifest.sources {
        let index = scans.iter().position(|table| *table == source.table).ok_or_else(|| {
            Error::internal(format!("a snapshot of a table {} that is not read", source.table))
        })?;
        let positions = source.partitions.iter().map(|p| PartitionPosition {
            name: p.name.clone(),
            offset: p.offset,
            floor: p.floor,
            ended: p.ended,
        });
        sources.insert(index, positions.collect());
        again.extend(source.again.then_some(index));
    }
    let (frontier, workers) = (manifest.frontier, manifest.workers as usize);
    let all = manifest.chunks().map(|(_, _, chunk)| chunk);
    let rows = all.map(|chunk| chunk.rows).sum();
    let bytes = chunks.values().map(bytes_of).sum();
    let amount = Amount { rows, stored_bytes: manifest.bytes(), bytes };
    let counters = manifest.counters.clone();
    let outputs = outputs_of(manifest, plan, sources.keys());
    let since = manifest.states.iter().filter_map(|state| match place_of(state.node) {
        StatePlace::Output(output) => state.since.map(|since| (output, since)),
        StatePlace::Node(_) | StatePlace::Edge(..) => None,
    });
    let since = since.collect();
    let begun = None;
    Ok(Restored {
        frontier,
        workers,
        states,
        sources,
        again,
        outputs,
        since,
        counters,
        amount,
        unpacked,
        begun,
    })
}

/// The outputs that go on at the frontier: those that `manifest` says, or hang on one of its
/// `sources`.
fn outputs_of<'a>(
    manifest: &Manifest,
    plan: &StreamPlan,
    sources: impl Iterator<Item = &'a usize>,
) -> BTreeSet<usize> {
    if let Some(outputs) = &manifest.outputs {
        return outputs.iter().map(|output| *output as usize).collect();
    }
    let readers = readers(plan);
    let reached: BTreeSet<NodeId> =
        sources.filter_map(|source| readers.get(*source)).flatten().copied().collect();
    let goes_on = |index: &usize| reached.contains(&plan.outputs[*index].node);
    (0..plan.outputs.len()).filter(goes_on).collect()
}
