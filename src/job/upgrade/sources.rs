//! Which tables go on where the snapshot says, and which are read again from their start; whether
//! what is to be read again is still there.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::compare::Comparison;
use super::{Before, Reading, TableReading};
use crate::connectors::http::is_http;
use crate::connectors::{Source, SourceSpec, registry};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::fingerprint::Fingerprints;
use crate::plan::node::{Scan, StreamPlan};
use crate::snapshot::{SavedPartition, SavedSource};
use crate::time::BEGINNING;

/// The tables of both plans, their positions in the new snapshot, and why it cannot be so.
pub struct Readings {
    /// For users, in the order of the plan.
    pub tables: Vec<TableReading>,
    /// For the snapshot.
    pub saved: Vec<SavedSource>,
    /// What is to be read again and is not there.
    pub refusal: Option<Error>,
}

/// How the tables of `plan` are read.
pub fn readings(
    before: &Before,
    plan: &StreamPlan,
    fingerprints: &Fingerprints,
    found: &Comparison,
) -> Readings {
    let mut readings = Readings { tables: Vec::new(), saved: Vec::new(), refusal: None };
    let changed = changed_tables(before, plan, fingerprints);
    for (index, (id, scan)) in plan.scan_ids().into_iter().zip(plan.scans()).enumerate() {
        let table = &scan.table.def.name;
        let is_needed = found.needed.get(id.0) == Some(&true);
        let old = before.manifest.sources.iter().find(|source| source.table == *table);
        let is_changed = changed.contains(table);
        let (reading, why) = match old {
            Some(_) if is_changed => (Reading::New, "it is declared otherwise"),
            Some(old) if is_needed || old.again => (Reading::Again, ""),
            Some(_) => (Reading::GoesOn, ""),
            None if is_changed => (Reading::New, "it is declared otherwise"),
            None if is_read(before, table) => (Reading::New, "it had ended"),
            None => (Reading::New, ""),
        };
        let mut own = TableReading {
            table: table.clone(),
            reading,
            why: why.to_string(),
            partitions: 0,
            bytes: None,
        };
        let split_bytes = plan.node(id).settings.split_bytes;
        if reading != Reading::GoesOn
            && let Err(error) = look(scan, split_bytes, old, &mut own)
        {
            readings.refusal.get_or_insert(error);
        }
        if let (Some(old), Reading::GoesOn | Reading::Again) = (old, reading) {
            let again = reading == Reading::Again;
            let from = |partition: &SavedPartition| match again {
                true => SavedPartition {
                    offset: 0,
                    floor: BEGINNING,
                    ended: false,
                    ..partition.clone()
                },
                false => partition.clone(),
            };
            readings.saved.push(SavedSource {
                table: table.clone(),
                fingerprint: fingerprints.sources.get(index).cloned().unwrap_or_default(),
                again,
                partitions: old.partitions.iter().map(from).collect(),
            });
        }
        readings.tables.push(own);
    }
    let tables: BTreeSet<&str> = plan.scans().map(|s| s.table.def.name.as_str()).collect();
    let gone = before.manifest.sources.iter().filter(|s| !tables.contains(s.table.as_str()));
    readings.tables.extend(gone.map(|source| TableReading {
        table: source.table.clone(),
        reading: Reading::Dropped,
        why: String::new(),
        partitions: 0,
        bytes: None,
    }));
    readings
}

/// Tables of both plans that are declared otherwise in the new one, so that positions and times of
/// one mean nothing to the other.
pub fn changed_tables(
    before: &Before,
    plan: &StreamPlan,
    fingerprints: &Fingerprints,
) -> BTreeSet<String> {
    let earlier = |table: &str| {
        let saved = before.manifest.sources.iter().find(|source| source.table == table);
        let saved = saved.map(|source| source.fingerprint.clone());
        saved.or_else(|| {
            let (_, old) = before.plan.as_ref()?;
            let index = old.scans().position(|scan| scan.table.def.name == table)?;
            Fingerprints::of(old).ok()?.sources.get(index).cloned()
        })
    };
    let names = plan.scans().map(|scan| scan.table.def.name.clone());
    let is_changed =
        |(name, now): &(String, &String)| earlier(name).is_some_and(|was| was != **now);
    names.zip(&fingerprints.sources).filter(is_changed).map(|(name, _)| name).collect()
}

fn is_read(before: &Before, table: &str) -> bool {
    let plan = before.plan.as_ref();
    plan.is_some_and(|(_, plan)| plan.scans().any(|scan| scan.table.def.name == table))
}

/// Counts what is there of a table; an error if something is gone that has been read before.
fn look(
    scan: &Scan,
    split_bytes: usize,
    old: Option<&SavedSource>,
    own: &mut TableReading,
) -> Result<()> {
    // What was sent to the run is in its journal.
    if is_http(&scan.table.def) {
        own.partitions = 1;
        return Ok(());
    }
    let spec = SourceSpec {
        table: Arc::clone(&scan.table.def),
        schema: Arc::clone(&scan.columns),
        split_bytes,
        process: 0,
        processes: 1,
    };
    let source: Arc<dyn Source> = registry::create_source(&spec)?;
    let names: BTreeSet<String> = source.partitions().into_iter().map(|p| p.name).collect();
    let read_before = old.filter(|_| own.reading == Reading::Again);
    for partition in read_before.iter().flat_map(|source| &source.partitions) {
        if !names.contains(&partition.name) {
            let message = format!(
                "table {} is to be read again, and '{}' of it is gone",
                own.table, partition.name
            );
            return Err(Error::new(ErrorKind::Conflict, message).with_hint(
                "put it back, or leave out what is to be rebuilt: the upgrade shows what that is",
            ));
        }
    }
    own.partitions = source.partition_count();
    own.bytes = (0..own.partitions).map(|index| source.partition_bytes(index)).sum();
    Ok(())
}
