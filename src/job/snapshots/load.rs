//! From a manifest to what the operators of a plan take back.

use std::collections::BTreeMap;

use super::states::{PlaceState, bytes_of, pieces};
use super::writer::place_of;
use crate::connectors::PartitionPosition;
use crate::dataflow::snapshots::{Amount, Restored, StatePlace, WrittenTable};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::node::StreamPlan;
use crate::snapshot::{Chunks, Manifest, Store};
use crate::state::saved::Recovery;

/// The state's tables as the manifest lists them.
pub fn states_of(manifest: &Manifest) -> BTreeMap<StatePlace, PlaceState> {
    let of = |state: &crate::snapshot::SavedState| {
        let recovery = Recovery::named(&state.recovery);
        (place_of(state.node), PlaceState { recovery, asked_in: 0, tables: state.tables.clone() })
    };
    manifest.states.iter().map(of).collect()
}

/// Reads on `threads` threads what the operators of `plan` take back of `manifest`.
pub fn read(
    store: &Store,
    manifest: &Manifest,
    plan: &StreamPlan,
    threads: usize,
) -> Result<Restored> {
    let chunks = store.load(manifest, threads).map_err(|damages| {
        let what: Vec<String> = damages.iter().take(5).map(ToString::to_string).collect();
        Error::new(ErrorKind::Io, format!("the snapshot is damaged: {}", what.join("; ")))
            .with_hint("`floodmark snapshots verify` names all that is damaged")
    })?;
    restored(&chunks, manifest, plan)
}

/// What the operators of `plan` take back of `manifest`, whose rows are `chunks`.
pub fn restored(chunks: &Chunks, manifest: &Manifest, plan: &StreamPlan) -> Result<Restored> {
    let mut states = BTreeMap::new();
    for state in &manifest.states {
        let mut tables = Vec::new();
        for table in &state.tables {
            tables.extend(pieces(table, chunks).map(|piece| (table.worker as usize, piece)));
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
    let (frontier, workers) = (manifest.frontier, manifest.workers as usize);
    let tables = states.values().flatten();
    let rows = tables.clone().map(|(_, table): &WrittenTable| table.rows.num_rows() as u64).sum();
    let bytes = tables.map(|(_, table)| bytes_of(&table.rows)).sum();
    let amount = Amount { rows, stored_bytes: manifest.bytes(), bytes };
    Ok(Restored { frontier, workers, states, sources, amount, begun: None })
}
