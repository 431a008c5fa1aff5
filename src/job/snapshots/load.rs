//! From a manifest to what the operators of a plan take back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::states::{PlaceState, bytes_of};
use super::writer::place_of;
use crate::connectors::PartitionPosition;
use crate::dataflow::restored::{Amount, Pieces, Restored, WrittenTable};
use crate::dataflow::snapshots::{StatePlace, readers};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::node::{NodeId, StreamPlan};
use crate::snapshot::{Chunks, Manifest, SavedTableRef, Store};
use crate::state::saved::Recovery;

/// The state's tables as the manifest lists them.
pub fn states_of(manifest: &Manifest) -> BTreeMap<StatePlace, PlaceState> {
    let of = |state: &crate::snapshot::SavedState| {
        let recovery = Recovery::named(&state.recovery);
        (place_of(state.node), PlaceState { recovery, asked_in: 0, tables: state.tables.clone() })
    };
    manifest.states.iter().map(of).collect()
}

/// A table of the `chunks` of its snapshot, or that is read chunk by chunk when it is needed.
fn written(store: &Arc<Store>, table: &SavedTableRef, chunks: Option<&Chunks>) -> WrittenTable {
    let shard = table.shard.as_ref().map(|s| s.iter().map(|&c| c as usize).collect());
    let (owner, name) = (table.worker as usize, table.name.clone());
    let pieces = match chunks {
        Some(chunks) => {
            let own = table.chunks.iter().filter_map(|chunk| chunks.get(&chunk.id).cloned());
            Pieces::Read(own.collect())
        }
        None => {
            let (store, chunks) = (Arc::clone(store), table.chunks.clone());
            let read = move |piece: usize| match chunks.get(piece) {
                Some(chunk) => store.read_chunk(chunk),
                None => Err(Error::internal("a piece that a table does not have")),
            };
            Pieces::Stored(table.chunks.len(), Box::new(read))
        }
    };
    WrittenTable::new(owner, name, shard, pieces)
}

/// Whether the state of `plan` may be larger than memory: then what a snapshot names is read by
/// those who take it back.
pub fn is_large(plan: &StreamPlan) -> bool {
    plan.has_budget()
}

/// Reads on `threads` threads what the operators of `plan` take back of `manifest`.
pub fn read(
    store: &Arc<Store>,
    manifest: &Manifest,
    plan: &StreamPlan,
    threads: usize,
) -> Result<Restored> {
    if is_large(plan) {
        return restored(store, None, manifest, plan);
    }
    let chunks = store.load(manifest, threads).map_err(|damages| {
        let what: Vec<String> = damages.iter().take(5).map(ToString::to_string).collect();
        Error::new(ErrorKind::Io, format!("the snapshot is damaged: {}", what.join("; ")))
            .with_hint("`floodmark snapshots verify` names all that is damaged")
    })?;
    restored(store, Some(&chunks), manifest, plan)
}

/// What the operators of `plan` take back of `manifest`, whose rows are `chunks` if they have been
/// read.
pub fn restored(
    store: &Arc<Store>,
    chunks: Option<&Chunks>,
    manifest: &Manifest,
    plan: &StreamPlan,
) -> Result<Restored> {
    let mut states = BTreeMap::new();
    for state in &manifest.states {
        let mut tables = Vec::new();
        for table in &state.tables {
            tables.push(written(store, table, chunks));
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
    let bytes = chunks.map_or(0, |chunks| chunks.values().map(bytes_of).sum());
    let amount = Amount { rows, stored_bytes: manifest.bytes(), bytes };
    let counters = manifest.counters.clone();
    let outputs = match &manifest.outputs {
        Some(outputs) => outputs.iter().map(|output| *output as usize).collect(),
        None => {
            let readers = readers(plan);
            let reached: BTreeSet<NodeId> = sources
                .keys()
                .filter_map(|source| readers.get(*source))
                .flatten()
                .copied()
                .collect();
            let goes_on = |index: &usize| reached.contains(&plan.outputs[*index].node);
            (0..plan.outputs.len()).filter(goes_on).collect()
        }
    };
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
        begun,
    })
}
