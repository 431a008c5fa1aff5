//! From a manifest to what the operators of a plan take back.

use std::collections::{BTreeMap, BTreeSet};

use super::states::{PlaceState, read};
use super::writer::place_of;
use crate::connectors::PartitionPosition;
use crate::dataflow::snapshots::{Restored, StatePlace, readers};
use crate::error::{Error, Result};
use crate::plan::node::{NodeId, StreamPlan};
use crate::snapshot::{Manifest, Store};
use crate::state::saved::Recovery;

/// The state's tables as the manifest lists them.
pub fn states_of(manifest: &Manifest) -> BTreeMap<StatePlace, PlaceState> {
    let of = |state: &crate::snapshot::SavedState| {
        let recovery = Recovery::named(&state.recovery);
        (place_of(state.node), PlaceState { recovery, asked_in: 0, tables: state.tables.clone() })
    };
    manifest.states.iter().map(of).collect()
}

/// Reads all that `manifest` names.
pub fn restored(store: &Store, manifest: &Manifest, plan: &StreamPlan) -> Result<Restored> {
    let mut states = BTreeMap::new();
    for state in &manifest.states {
        let mut tables = Vec::new();
        for table in &state.tables {
            if let Some(read) = read(store, table)? {
                tables.push((table.worker as usize, read));
            }
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
    Ok(Restored { frontier: manifest.frontier, states, sources, again, outputs, since })
}
