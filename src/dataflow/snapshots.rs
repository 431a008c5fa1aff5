//! Snapshots inside the dataflow: which frontier, who hands over what, and what is taken back.
//!
//! A snapshot is of a frontier `F` that no source has gone beyond. Each stateful operator, once its
//! input has reached `F`, brings its state to exactly `F`, hands over what changed since the
//! snapshot before and goes on; sources say from where to read again, sinks when all below `F`
//! survives a crash. No barrier travels with the data: the frontier is the barrier.
//!
//! What hangs on sources alone that ended before `F` was chosen is no part of a snapshot: it has
//! gone past every `F`. After a restore it is computed again from its start; what others have of
//! it already lies below `F` and is ignored.
//!
//! Called by the operators here; the job layer asks for snapshots and writes what is handed over.

mod choice;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use timely::scheduling::activate::SyncActivator;

pub use choice::{Answer, Others, Requested, Wanted};

use super::decisions::{Decision, Decisions, Journal};
use super::digest::Digests;
use super::metrics::{JobMetrics, lock};
use super::restored::{Amount, Restored, WrittenTable};
use crate::connectors::filesystem::steps::Steps;
use crate::connectors::{PartitionPosition, SinkMode};
use crate::error::{Error, Result};
use crate::limits::{DIGEST_INTERVAL_MS, SNAPSHOT_MESSAGES_BUSY};
use crate::plan::node::{NodeId, Operator, StreamPlan};
use crate::state::saved::Part;
use crate::time::{BEGINNING, CLOSED, EventTime, Resolution};

/// Takes what operators hand over; waits while it is busy. Who is gone takes nothing.
pub type Hand = Box<dyn Fn(Handed) + Send + Sync>;

/// What operators hand to the writer of snapshots.
#[derive(Debug)]
pub enum Handed {
    /// A worker's part of a node's state. A part of a log may come ahead of its snapshot.
    State {
        /// Whose.
        place: StatePlace,
        /// Of which worker.
        worker: usize,
        /// Of which snapshot; `None`: of the next, with more to come.
        frontier: Option<EventTime>,
        /// The state.
        part: Part,
    },
    /// Where a source is to be read from.
    Source {
        /// Its number.
        index: usize,
        /// The process that reads these partitions of it.
        process: usize,
        /// Of which snapshot.
        frontier: EventTime,
        /// One a partition that has begun.
        positions: Vec<PartitionPosition>,
    },
    /// What an output has given on a worker since it last told, below `to`.
    Digests {
        /// The output.
        output: usize,
        /// The worker.
        worker: usize,
        /// From there on: what a restored run begins with, or the frontier last told.
        since: EventTime,
        /// Up to there; the frontier of a snapshot, or of the end.
        to: EventTime,
        /// By interval.
        digests: Digests,
    },
    /// Everything below the frontier is in a sink and survives a crash.
    Sink {
        /// The output.
        output: usize,
        /// Of which snapshot.
        frontier: EventTime,
    },
}

/// Whose state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatePlace {
    /// An operator's.
    Node(NodeId),
    /// What an input of a recursion contains.
    Edge(NodeId, usize),
    /// That of an output: a view.
    Output(usize),
}

/// Where node `id` of `plan` has state.
pub fn places_of(plan: &StreamPlan, id: NodeId) -> Vec<StatePlace> {
    let node = plan.node(id);
    match &node.operator {
        Operator::Recursive(_) => {
            (0..node.inputs.len()).map(|input| StatePlace::Edge(id, input)).collect()
        }
        operator if operator.has_state() => vec![StatePlace::Node(id)],
        _ => Vec::new(),
    }
}

/// What node `id` of `plan` is made of: its inputs, or the nodes whose side outputs it gathers.
pub fn reads(plan: &StreamPlan, id: NodeId) -> &[NodeId] {
    let node = plan.node(id);
    match &node.operator {
        Operator::LateRows { of } => of,
        _ => &node.inputs,
    }
}

/// For each source of `plan`, by number, the nodes that it reaches.
pub fn readers(plan: &StreamPlan) -> Vec<BTreeSet<NodeId>> {
    let of = |scan: NodeId| {
        let mut found = BTreeSet::from([scan]);
        for id in (0..plan.nodes.len()).map(NodeId) {
            let is_side = matches!(plan.node(id).operator, Operator::DeadLetters);
            if is_side || reads(plan, id).iter().any(|input| found.contains(input)) {
                found.insert(id);
            }
        }
        found
    };
    plan.scan_ids().into_iter().map(of).collect()
}

/// A part of the state that a job starts from.
#[derive(Debug)]
struct RestoredState {
    tables: Arc<Vec<WrittenTable>>,
    /// Workers that have taken their share.
    taken: usize,
}

/// What the run has decided so far, by source and partition.
pub type Decided = BTreeMap<(usize, String), Arc<Decisions>>;

/// Which run of which job.
#[derive(Clone, Debug, Default)]
pub struct RunOf {
    /// The job.
    pub job: String,
    /// The number of the run.
    pub run: u64,
    /// Wall time at which it began; with the number it names the run among those of all stores.
    pub begun_ms: i64,
    /// Told of the steps of durable sinks.
    pub steps: Steps,
    /// What it has decided before it was interrupted.
    pub decided: Decided,
    /// What digests are made of.
    pub digesting: Digesting,
    /// The data directory.
    pub dir: Option<PathBuf>,
    /// This process.
    pub process: usize,
    /// Number of processes; 0 is one.
    pub processes: usize,
    /// The other ones; of the first process.
    pub others: Option<Arc<dyn Others>>,
}

impl RunOf {
    /// What its sinks are told.
    pub fn sink_mode(&self) -> SinkMode {
        let RunOf { job, run, begun_ms, steps, .. } = self.clone();
        SinkMode { durable: true, job, run: format!("{run} of {begun_ms}"), steps }
    }
}

/// What digests are made of.
#[derive(Clone, Copy, Debug)]
pub struct Digesting {
    /// The length of an interval, in ms of event time.
    pub interval: EventTime,
    /// Updates from there on are left out, and outputs tell when they are there.
    pub until: EventTime,
    /// Whether outputs are computed for their digests alone.
    pub alone: bool,
}

impl Default for Digesting {
    fn default() -> Self {
        Digesting { interval: DIGEST_INTERVAL_MS, until: CLOSED, alone: false }
    }
}

/// The snapshots of one job in this process.
pub struct Snapshots {
    run: RunOf,
    /// The frontier of the snapshot that is being taken, or [`BEGINNING`].
    wanted: AtomicI64,
    /// The frontier of the last snapshot that was chosen, or [`BEGINNING`].
    last: AtomicI64,
    /// What each source of this process has let pass, by number.
    released: Mutex<Vec<EventTime>>,
    /// Whether they stay where they are until a snapshot has been chosen; changed with `released`
    /// locked.
    are_held: AtomicBool,
    /// One a source that others may read after this process.
    answers: Mutex<Vec<Answer>>,
    /// The operators that take part.
    sleepers: Mutex<Vec<SyncActivator>>,
    resolution: Resolution,
    /// Whether sources wait for each snapshot.
    is_stepwise: AtomicBool,
    /// For each source, by number, whether something waits for its end before all else.
    is_read_first: Vec<bool>,
    /// For each source, by number, the nodes that read it.
    readers: Vec<BTreeSet<NodeId>>,
    hand: Hand,
    restored: Option<Arc<Restored>>,
    /// The state of the snapshot that it starts from, until all workers have taken theirs.
    states: Mutex<BTreeMap<StatePlace, RestoredState>>,
    /// How long that took, since the snapshot was begun to be read.
    restored_in: OnceLock<Duration>,
    journal: Arc<dyn Journal>,
    failure: Mutex<Option<Error>>,
    /// Messages that the writer has not taken yet.
    waiting: AtomicUsize,
    /// The longest that a worker was kept from its work, in microseconds, since it was last asked.
    pause_us: AtomicU64,
    /// What the job counts.
    metrics: OnceLock<Arc<JobMetrics>>,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("run", &self.run).finish_non_exhaustive()
    }
}

impl Snapshots {
    /// For the sources of `plan`, none of which has released anything yet.
    pub fn new(
        run: RunOf,
        plan: &StreamPlan,
        hand: Hand,
        mut restored: Option<Restored>,
        journal: Arc<dyn Journal>,
    ) -> Self {
        let states = restored.as_mut().map(|restored| std::mem::take(&mut restored.states));
        let states = states
            .into_iter()
            .flatten()
            .map(|(place, tables)| (place, RestoredState { tables: Arc::new(tables), taken: 0 }));
        let scans = plan.scan_ids();
        let readers = readers(plan);
        // Sources that go on from the snapshot have released all below it.
        let mut released = vec![BEGINNING; scans.len()];
        if let Some(restored) = &restored {
            for source in restored.sources.keys().filter(|s| !restored.again.contains(*s)) {
                if let Some(released) = released.get_mut(*source) {
                    *released = restored.frontier;
                }
            }
        }
        // Of a run that has ended and is computed again there are none to wait for.
        let is_over = restored.as_ref().is_some_and(|restored| restored.frontier == CLOSED);
        let first = super::flow::read_whole(plan);
        let interval = plan.nodes.iter().map(|node| node.settings.snapshot_interval).min();
        let ticks = plan.nodes.iter().map(|node| node.settings.time_resolution);
        Snapshots {
            run,
            wanted: AtomicI64::new(BEGINNING),
            last: AtomicI64::new(BEGINNING),
            sleepers: Mutex::default(),
            released: Mutex::new(released),
            are_held: AtomicBool::new(false),
            answers: Mutex::default(),
            resolution: ticks.max_by_key(|r| r.tick_ms()).unwrap_or_default(),
            is_stepwise: AtomicBool::new(interval == Some(0) && !is_over),
            is_read_first: scans.iter().map(|scan| first.contains(scan)).collect(),
            readers,
            hand,
            restored: restored.map(Arc::new),
            states: Mutex::new(states.collect()),
            restored_in: OnceLock::new(),
            journal,
            failure: Mutex::default(),
            waiting: AtomicUsize::new(0),
            pause_us: AtomicU64::new(0),
            metrics: OnceLock::new(),
        }
    }

    /// Whether the job runs in several processes.
    pub fn has_others(&self) -> bool {
        self.run.processes > 1
    }

    /// This process.
    pub fn process(&self) -> usize {
        self.run.process
    }

    /// What the job counts is part of its snapshots; `metrics` goes on from the restored one.
    pub fn count_by(&self, metrics: &Arc<JobMetrics>) {
        let restored = self.restored.as_ref().map(|r| (r.frontier, &r.counters));
        metrics.keep(self.resolution, restored);
        // Of two dataflows of one job, which there are not, the first would count.
        let _ = self.metrics.set(Arc::clone(metrics));
    }

    /// What has been counted in this process of all that lies before `frontier`, which is that of a
    /// complete snapshot, by name.
    pub fn counters(&self, frontier: EventTime) -> BTreeMap<String, u64> {
        self.metrics.get().map(|metrics| metrics.counters_before(frontier)).unwrap_or_default()
    }

    /// The same in all processes.
    pub fn counters_of_all(&self, frontier: EventTime) -> Result<BTreeMap<String, u64>> {
        let mut sum = self.counters(frontier);
        let others =
            self.run.others.as_ref().map(|others| others.counters(frontier)).transpose()?;
        for (name, count) in others.into_iter().flatten().flatten() {
            *sum.entry(name).or_default() += count;
        }
        Ok(sum)
    }

    /// There are no more snapshots.
    pub fn end(&self) {
        if let Some(metrics) = self.metrics.get() {
            metrics.keep_no_more();
        }
        self.is_stepwise.store(false, Ordering::Release);
        if let Some(others) = &self.run.others {
            others.end();
        }
    }

    /// Returns once the job's metrics tell of any failure in another process: a process fails
    /// before it lets a frontier pass that lacks something, so what has been passed here is whole
    /// if nothing has failed then.
    pub fn settle(&self) -> Result<()> {
        self.run.others.as_ref().map_or(Ok(()), |others| others.settle())
    }

    /// An error if the job has failed, as far as this process knows.
    pub fn sound(&self) -> Result<()> {
        self.metrics.get().and_then(|metrics| metrics.failure()).map_or(Ok(()), Err)
    }

    /// The frontier of the snapshot that is being taken, if it is above `saved`.
    #[inline]
    pub fn wanted(&self, saved: EventTime) -> Option<EventTime> {
        let wanted = self.wanted.load(Ordering::Acquire);
        (wanted > saved).then_some(wanted)
    }

    /// Hands something to the writer; waits while it is busy. A writer that is gone takes nothing:
    /// then there are no more snapshots.
    pub fn hand(&self, handed: Handed) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        (self.hand)(handed);
    }

    /// The writer has taken a message.
    pub fn took(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether what may wait should: the writer has enough to do.
    pub fn is_busy(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= SNAPSHOT_MESSAGES_BUSY
    }

    /// A worker has been kept from its work by a snapshot since `begun`.
    pub fn paused(&self, begun: Instant) {
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.pause_us.fetch_max(micros, Ordering::Relaxed);
    }

    /// The longest pause of a worker since this was last asked.
    pub fn take_pause(&self) -> Duration {
        Duration::from_micros(self.pause_us.swap(0, Ordering::Relaxed))
    }

    /// The job must stop: its snapshots cannot be written.
    pub fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
    }

    /// Why the job must stop.
    pub fn failure(&self) -> Option<Error> {
        lock(&self.failure).clone()
    }

    /// What a sink is told of them.
    pub fn sink_mode(&self) -> SinkMode {
        self.run.sink_mode()
    }

    /// The data directory, if there is one to write to.
    pub fn dir(&self) -> Option<&Path> {
        self.run.dir.as_deref()
    }

    /// The number of the run.
    pub fn run(&self) -> u64 {
        self.run.run
    }

    /// What digests are made of.
    pub fn digesting(&self) -> Digesting {
        self.run.digesting
    }

    /// The frontier below which sink `index` is not given anything again.
    pub fn sink_reached(&self, index: usize) -> EventTime {
        if self.is_ended() { CLOSED } else { self.output_began(index) }
    }

    /// Notes what source `source` has decided about `partition`.
    pub fn note(&self, source: usize, partition: &str, decision: Decision) -> Result<()> {
        self.journal.note(source, partition, decision)
    }

    /// What the run has decided about a partition before it was interrupted.
    pub fn decided(
        &self,
        source: usize,
        partition: impl FnOnce() -> String,
    ) -> Option<&Arc<Decisions>> {
        if self.run.decided.is_empty() {
            return None;
        }
        self.run.decided.get(&(source, partition()))
    }

    /// What the job starts from.
    pub fn restored(&self) -> Option<&Arc<Restored>> {
        self.restored.as_ref()
    }

    /// Whether the run had come to its end before: it is computed again, for its views alone.
    pub fn is_ended(&self) -> bool {
        self.restored.as_ref().is_some_and(|restored| restored.frontier == CLOSED)
    }

    /// The frontier that output `index` goes on from: that of the snapshot, unless it is given
    /// everything: it is new, or all that it hangs on had ended, which is no part of a snapshot and
    /// is computed again from its start.
    pub fn output_began(&self, index: usize) -> EventTime {
        let restored = self.restored.as_ref();
        let restored = restored.filter(|restored| restored.outputs.contains(&index));
        restored.map_or(BEGINNING, |restored| restored.frontier)
    }

    /// From when on the history of output `index` is known.
    pub fn known_since(&self, index: usize) -> EventTime {
        let since = self.restored.as_ref().and_then(|restored| restored.since.get(&index));
        since.copied().unwrap_or(BEGINNING)
    }

    /// Whether source `index` is read again for parts that the snapshot has nothing of.
    pub fn is_read_again(&self, index: usize) -> bool {
        self.restored.as_ref().is_some_and(|restored| restored.again.contains(&index))
    }

    /// The frontier that a part of the state starts from, if the snapshot holds it.
    pub fn restored_frontier(&self, place: StatePlace) -> Option<EventTime> {
        let is_there = lock(&self.states).contains_key(&place);
        self.restored.as_ref().filter(|_| is_there).map(|restored| restored.frontier)
    }

    /// What a part of the state starts from: the frontier, and its tables.
    pub fn restored_state(&self, place: StatePlace) -> Option<(EventTime, Arc<Vec<WrittenTable>>)> {
        let restored = self.restored.as_ref()?;
        let tables = Arc::clone(&lock(&self.states).get(&place)?.tables);
        Some((restored.frontier, tables))
    }

    /// One of `workers` workers has taken its share of a part of the state: what nobody needs any
    /// more goes.
    pub fn took_state(&self, place: StatePlace, workers: usize) {
        let mut states = lock(&self.states);
        if let Some(state) = states.get_mut(&place) {
            state.taken += 1;
            if state.taken >= workers {
                state.tables = Arc::default();
            }
        }
        let begun = self.restored.as_ref().and_then(|restored| restored.begun);
        if let Some(begun) = begun.filter(|_| states.values().all(|s| s.taken >= workers)) {
            let _ = self.restored_in.set(begun.elapsed());
        }
    }

    /// How much has been taken back, and how long it took, once all workers have their state.
    pub fn restoration(&self) -> Option<(Amount, Duration)> {
        let amount = self.restored.as_ref().map(|restored| {
            let unpacked = restored.unpacked.load(Ordering::Relaxed);
            Amount { bytes: restored.amount.bytes + unpacked, ..restored.amount }
        });
        amount.zip(self.restored_in.get().copied())
    }
}
