//! What a snapshot in progress still waits for.

use std::collections::{BTreeMap, BTreeSet};

use crate::connectors::PartitionPosition;
use crate::connectors::registry;
use crate::dataflow::runtime::Place;
use crate::dataflow::snapshots::{StatePlace, Wanted, places_of};
use crate::plan::node::{NodeId, OutputTarget, StreamPlan};
use crate::snapshot::JournalEntry;
use crate::time::EventTime;

/// A snapshot that is being taken.
pub struct Pending {
    /// Its frontier.
    pub frontier: EventTime,
    /// The nodes that are part of it.
    pub live: BTreeSet<NodeId>,
    /// Wall time of its beginning.
    pub started_ms: i64,
    /// Parts of the state that have not been handed over, by worker.
    states: BTreeSet<(StatePlace, usize)>,
    /// By number and process.
    sources: BTreeSet<(usize, usize)>,
    sinks: BTreeSet<usize>,
    digests: BTreeSet<(usize, usize)>,
    /// What the outputs have given since the snapshot before.
    pub told: Vec<JournalEntry>,
    /// From where the sources are to be read, by number and process.
    positions: BTreeMap<(usize, usize), Vec<PartitionPosition>>,
}

impl Pending {
    /// Of `plan` on the workers of `place`, the first process, and of all the others.
    pub fn new(wanted: Wanted, plan: &StreamPlan, place: Place, now_ms: i64) -> Self {
        let Wanted { frontier, live } = wanted;
        let workers = place.workers * place.processes;
        let mut places: Vec<StatePlace> = Vec::new();
        for &id in &live {
            places.extend(places_of(plan, id));
        }
        let (mut sinks, mut digests) = (BTreeSet::new(), BTreeSet::new());
        for (index, output) in plan.outputs.iter().enumerate() {
            if !live.contains(&output.node) {
                continue;
            }
            let ends_anywhere = registry::ends_anywhere(&output.target);
            let of = if ends_anywhere { workers } else { place.workers };
            digests.extend((0..of).map(|worker| (index, worker)));
            match &output.target {
                _ if ends_anywhere => {}
                OutputTarget::Sink(_) => {
                    sinks.insert(index);
                }
                OutputTarget::View { .. } | OutputTarget::Print(_) => {
                    places.push(StatePlace::Output(index));
                }
            }
        }
        let of_worker = |of: StatePlace| {
            // What comes out comes to the first process.
            let is_output = matches!(of, StatePlace::Output(_));
            let workers = if is_output { place.workers } else { workers };
            (0..workers).map(move |worker| (of, worker))
        };
        let scans = plan.scan_ids().into_iter().enumerate();
        Pending {
            states: places.into_iter().flat_map(of_worker).collect(),
            sources: scans
                .filter(|(_, id)| live.contains(id))
                .flat_map(|(source, _)| (0..place.processes).map(move |process| (source, process)))
                .collect(),
            sinks,
            digests,
            told: Vec::new(),
            positions: BTreeMap::new(),
            started_ms: now_ms,
            frontier,
            live,
        }
    }

    /// A worker has handed over a part of the state.
    pub fn state(&mut self, place: StatePlace, worker: usize) {
        self.states.remove(&(place, worker));
    }

    /// A source has said from where to read its partitions of a process. One that had ended on one
    /// of its workers before the frontier was chosen is no part of the snapshot, and no longer
    /// knows.
    pub fn source(&mut self, index: usize, process: usize, positions: Vec<PartitionPosition>) {
        if self.sources.remove(&(index, process)) {
            self.positions.insert((index, process), positions);
        }
    }

    /// From where the sources are to be read, by number.
    pub fn positions(&self) -> BTreeMap<usize, Vec<PartitionPosition>> {
        let mut all: BTreeMap<usize, Vec<PartitionPosition>> = BTreeMap::new();
        for ((index, _), positions) in &self.positions {
            all.entry(*index).or_default().extend(positions.iter().cloned());
        }
        all
    }

    /// A sink holds everything. A bare query whose changes are printed as they come has one too,
    /// and no state.
    pub fn sink(&mut self, output: usize) {
        self.sinks.remove(&output);
        self.states.retain(|(place, _)| *place != StatePlace::Output(output));
    }

    /// An output has told what it has given on a worker.
    pub fn digests(&mut self, output: usize, worker: usize, entries: Vec<JournalEntry>) {
        self.digests.remove(&(output, worker));
        self.told.extend(entries);
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        let is_handed = self.states.is_empty() && self.sources.is_empty();
        is_handed && self.sinks.is_empty() && self.digests.is_empty()
    }

    /// Whether a part of the state belongs to it.
    pub fn holds(&self, place: StatePlace, plan: &StreamPlan) -> bool {
        match place {
            StatePlace::Node(id) | StatePlace::Edge(id, _) => self.live.contains(&id),
            StatePlace::Output(index) => {
                plan.outputs.get(index).is_some_and(|o| self.live.contains(&o.node))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::snapshots::readers;
    use crate::job::definition::{Definition, PlanFor};

    #[test]
    fn a_source_that_had_ended_before_it_was_chosen_is_no_part() {
        let text = "
            CREATE TABLE a (x BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '1');
            CREATE TABLE b (x BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '1');
            SELECT a.x FROM a JOIN b ON a.x = b.x;";
        let texts = [("job.sql".to_owned(), text.to_owned())];
        let plan = Definition::new(&texts, &[]).unwrap().plan(PlanFor::default()).unwrap();
        let wanted = Wanted { frontier: 5, live: readers(&plan)[1].clone() };
        let mut pending = Pending::new(wanted, &plan, Place::alone(1), 0);
        pending.source(0, 0, Vec::new());
        assert!(pending.positions().is_empty(), "it has forgotten where it was");
        pending.source(1, 0, Vec::new());
        assert_eq!(pending.positions().into_keys().collect::<Vec<_>>(), [1]);
    }
}
