//! What a run has decided about the records of its sources, from and to the store's journal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::dataflow::decisions::{Decision, Decisions, Journal as DecisionJournal};
use crate::dataflow::snapshots::Decided;
use crate::error::{Error, Result};
use crate::plan::node::StreamPlan;
use crate::snapshot::{Journal, JournalEntry};

/// The journal of one run.
pub struct Notes {
    journal: Journal,
    /// The tables of the sources, by number.
    tables: Vec<String>,
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl Notes {
    /// Of the run of `journal`.
    pub fn new(journal: Journal, plan: &StreamPlan) -> Self {
        let tables = plan.scans().map(|scan| scan.table.def.name.clone()).collect();
        Notes { journal, tables }
    }

    /// What is noted survives a loss of power.
    pub fn sync(&self) -> Result<()> {
        self.journal.sync()
    }
}

/// The decisions about the sources of `plan` among the entries of a journal.
pub fn decided(plan: &StreamPlan, entries: &[JournalEntry]) -> Decided {
    let tables: Vec<&str> = plan.scans().map(|scan| scan.table.def.name.as_str()).collect();
    let mut found: BTreeMap<(usize, String), Decisions> = BTreeMap::new();
    for entry in entries {
        let (table, partition, decision) = match entry {
            JournalEntry::Ingested { table, partition, offset, end, time } => {
                let decision = Decision::Ingested { offset: *offset, end: *end, time: *time };
                (table, partition, decision)
            }
            JournalEntry::Idle { table, partition, offset, floor } => {
                (table, partition, Decision::Floor { offset: *offset, floor: *floor })
            }
            _ => continue,
        };
        if let Some(source) = tables.iter().position(|known| known == table) {
            found.entry((source, partition.clone())).or_default().add(decision);
        }
    }
    found.into_iter().map(|(of, decisions)| (of, Arc::new(decisions))).collect()
}

impl DecisionJournal for Notes {
    fn note(&self, source: usize, partition: &str, decision: Decision) -> Result<()> {
        let table = self.tables.get(source).cloned();
        let table = table.ok_or_else(|| Error::internal("a decision of no source"))?;
        let partition = partition.to_string();
        let entry = match decision {
            Decision::Ingested { offset, end, time } => {
                JournalEntry::Ingested { table, partition, offset, end, time }
            }
            Decision::Floor { offset, floor } => {
                JournalEntry::Idle { table, partition, offset, floor }
            }
        };
        self.journal.append(&[entry])
    }
}
