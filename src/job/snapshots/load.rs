//! From a manifest to what the operators of a plan take back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::states::{PlaceState, read};
use super::writer::place_of;
use crate::connectors::PartitionPosition;
use crate::dataflow::snapshots::{Restored, StatePlace, WrittenTable};
use crate::error::{Error, Result};
use crate::plan::node::StreamPlan;
use crate::snapshot::{Manifest, SavedTableRef, Store};
use crate::state::saved::{Recovery, SavedTable};

/// The state's tables as the manifest lists them.
pub fn states_of(manifest: &Manifest) -> BTreeMap<StatePlace, PlaceState> {
    let of = |state: &crate::snapshot::SavedState| {
        let recovery = Recovery::named(&state.recovery);
        (place_of(state.node), PlaceState { recovery, asked_in: 0, tables: state.tables.clone() })
    };
    manifest.states.iter().map(of).collect()
}

/// A table that is read chunk by chunk when it is needed.
fn stored(store: &Arc<Store>, table: &SavedTableRef) -> WrittenTable {
    let shard = table.shard.as_ref().map(|s| s.iter().map(|&c| c as usize).collect());
    let rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let empty = SavedTable { name: table.name.clone(), rows, shard };
    let (store, chunks) = (Arc::clone(store), table.chunks.clone());
    let read = move |piece: usize| match chunks.get(piece) {
        Some(chunk) => store.read_chunk(chunk),
        None => Err(Error::internal("a piece that a table does not have")),
    };
    WrittenTable::stored(table.worker as usize, empty, table.chunks.len(), Box::new(read))
}

/// Reads all that `manifest` names.
pub fn restored(store: &Arc<Store>, manifest: &Manifest, plan: &StreamPlan) -> Result<Restored> {
    // What may not fit into memory is read by those who take it back.
    let is_large = plan.has_budget();
    let mut states = BTreeMap::new();
    for state in &manifest.states {
        let mut tables = Vec::new();
        for table in &state.tables {
            if is_large {
                tables.push(stored(store, table));
            } else if let Some(read) = read(store, table)? {
                tables.push(WrittenTable::of(table.worker as usize, read));
            }
        }
        states.insert(place_of(state.node), tables);
    }
    let scans: Vec<&str> = plan.scans().map(|scan| scan.table.def.name.as_str()).collect();
    let mut sources = BTreeMap::new();
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
    }
    Ok(Restored { frontier: manifest.frontier, states, sources })
}
