//! How fast sources may read: in step with one another, and no further ahead than the dataflow.
//!
//! Both rules concern only what meets: a source never waits for another, or for an output, that
//! none of its rows can reach.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use timely::dataflow::operators::probe::Handle as Probe;

use super::metrics::lock;
use crate::plan::node::{NodeId, Operator, StreamPlan};
use crate::spill::Memory;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// `node` and every node that it reads, directly or not, and whose times meet its own: not the
/// tables that a lookup join reads before anything else.
pub fn upstream(plan: &StreamPlan, node: NodeId) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::new();
    let mut open = vec![node];
    while let Some(next) = open.pop() {
        if found.insert(next) {
            let node = plan.node(next);
            let table = match &node.operator {
                Operator::LookupJoin(join) => Some(join.table),
                _ => None,
            };
            let inputs = node.inputs.iter().enumerate();
            open.extend(inputs.filter(|(i, _)| table != Some(*i)).map(|(_, input)| input));
        }
    }
    found
}

/// The nodes of tables that a lookup join reads before anything else. Their sources are not held
/// back by any output: until they have ended nothing comes out.
pub fn read_whole(plan: &StreamPlan) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::new();
    let mut open: Vec<NodeId> = Vec::new();
    for node in &plan.nodes {
        if let Operator::LookupJoin(join) = &node.operator {
            open.extend(node.inputs.get(join.table));
        }
    }
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(&plan.node(next).inputs);
        }
    }
    found
}

/// Keeps the sources of a job together in event time (`max_drift`).
#[derive(Debug)]
pub struct Alignment {
    sources: Mutex<Vec<Reached>>,
    /// For each source those whose rows meet its own.
    peers: Vec<BTreeSet<usize>>,
}

/// Where a source is.
#[derive(Clone, Copy, Debug)]
struct Reached {
    frontier: EventTime,
    /// The greatest `f_p`.
    greatest: EventTime,
    is_silent: bool,
}

impl Alignment {
    /// For the scans of `plan`, in its order.
    pub fn new(plan: &StreamPlan) -> Self {
        let scans = plan.scan_ids();
        let mut peers = vec![BTreeSet::new(); scans.len()];
        for output in &plan.outputs {
            let read = upstream(plan, output.node);
            let met: Vec<usize> = (0..scans.len()).filter(|&i| read.contains(&scans[i])).collect();
            for &one in &met {
                peers[one].extend(met.iter().copied().filter(|&other| other != one));
            }
        }
        let start = Reached { frontier: BEGINNING, greatest: BEGINNING, is_silent: false };
        Alignment { sources: Mutex::new(vec![start; scans.len()]), peers }
    }

    /// Source `index` has reached `frontier`, and `greatest` in its fastest partition.
    pub fn report(&self, index: usize, frontier: EventTime, greatest: EventTime, is_silent: bool) {
        let mut sources = lock(&self.sources);
        let own = &mut sources[index];
        own.frontier = own.frontier.max(frontier);
        own.greatest = own.greatest.max(greatest);
        own.is_silent = is_silent;
    }

    /// Whether no other source meets source `index`.
    pub fn is_alone(&self, index: usize) -> bool {
        self.peers[index].is_empty()
    }

    /// The least frontier of the others that source `index` must not run away from.
    pub fn least_of_peers(&self, index: usize) -> EventTime {
        let sources = lock(&self.sources);
        let peers = self.peers[index].iter().map(|&peer| sources[peer]);
        peers.filter(|p| !p.is_silent).map(|p| p.frontier).min().unwrap_or(CLOSED)
    }

    /// Of the others that source `index` must not run away from, the one that is furthest behind.
    pub fn last_of_peers(&self, index: usize) -> Option<(usize, EventTime)> {
        let sources = lock(&self.sources);
        let peers = self.peers[index].iter().map(|&peer| (peer, sources[peer]));
        let read = peers.filter(|(_, p)| !p.is_silent).map(|(peer, p)| (peer, p.frontier));
        read.min_by_key(|(_, frontier)| *frontier)
    }

    /// What a silent source may let pass: all that its peers have reached; when none of them
    /// reads any more, all that they have seen.
    pub fn reached_by_peers(&self, index: usize) -> EventTime {
        let sources = lock(&self.sources);
        let peers = || self.peers[index].iter().map(|&peer| sources[peer]);
        let reading = peers().filter(|p| !p.is_silent && p.frontier != CLOSED);
        reading
            .map(|p| p.frontier)
            .min()
            .or_else(|| peers().map(|p| p.greatest).max())
            .unwrap_or(BEGINNING)
    }
}

/// Flow control of one source on one worker: rows sent and not yet finished by the dataflow.
pub struct Budget {
    /// Watch the outputs that the source reaches.
    probes: Vec<Probe<EventTime>>,
    rows_max: usize,
    memory: Option<Arc<Memory>>,
    sent: RefCell<Sent>,
}

#[derive(Default)]
struct Sent {
    /// By the time of the capability: what may still be on its way.
    moving: VecDeque<(EventTime, usize)>,
    moving_rows: usize,
    /// By the latest time in the batch: what operators may still hold.
    held: BTreeMap<EventTime, usize>,
    held_rows: usize,
    /// How many there might be when that was last looked at.
    rows_max: usize,
}

/// What a source may read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayRead {
    /// Any partition.
    All,
    /// Only partitions that hold the source's frontier: nothing else can move time on.
    Holding,
    /// Nothing.
    Nothing,
}

impl Budget {
    /// At most `rows_max` rows ahead of `probes`, which watch the outputs.
    pub fn new(probes: Vec<Probe<EventTime>>, rows_max: usize) -> Self {
        Budget { probes, rows_max, memory: None, sent: RefCell::default() }
    }

    /// The same; less where they would take too much of `memory`.
    pub fn with_memory(self, memory: Option<Arc<Memory>>) -> Self {
        Budget { memory, ..self }
    }

    fn rows_max(&self) -> usize {
        match &self.memory {
            Some(memory) => self.rows_max.min(memory.rows_in_flight()),
            None => self.rows_max,
        }
    }

    /// `rows` were sent at `time`; none of them is later than `latest`.
    pub fn sent(&self, time: EventTime, latest: EventTime, rows: usize) {
        let mut sent = self.sent.borrow_mut();
        sent.moving.push_back((time, rows));
        sent.moving_rows += rows;
        *sent.held.entry(latest).or_default() += rows;
        sent.held_rows += rows;
    }

    /// Rows on their way as far as is known, and how many may be.
    pub fn in_flight(&self) -> (usize, usize) {
        let sent = self.sent.borrow();
        (sent.held_rows, sent.rows_max)
    }

    fn is_past(&self, time: EventTime) -> bool {
        self.probes.iter().all(|probe| !probe.less_equal(&time))
    }

    /// What a source whose capability is at `held_back` may read.
    ///
    /// Rows that the frontier has not passed are held somewhere, and reading partitions that are
    /// ahead would add to them for ever. When the outputs have caught up with the source there is
    /// nothing to wait for: only more input can move time on.
    pub fn may_read(&self, held_back: EventTime) -> MayRead {
        let mut sent = self.sent.borrow_mut();
        while let Some(&(_, rows)) = sent.moving.front().filter(|(t, _)| self.is_past(*t)) {
            sent.moving.pop_front();
            sent.moving_rows -= rows;
        }
        while let Some(first) = sent.held.first_entry().filter(|e| self.is_past(*e.key())) {
            let rows = first.remove();
            sent.held_rows -= rows;
        }
        let rows_max = self.rows_max();
        sent.rows_max = rows_max;
        if sent.held_rows < rows_max {
            return MayRead::All;
        }
        let has_caught_up = || self.probes.iter().all(|probe| !probe.less_than(&held_back));
        if sent.moving_rows < rows_max || has_caught_up() {
            return MayRead::Holding;
        }
        MayRead::Nothing
    }
}
