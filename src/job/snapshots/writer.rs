//! The thread that takes a job's snapshots.
//!
//! It asks for one at each interval, writes what is handed over as it comes, and commits a manifest
//! when nothing is missing. What comes for the next snapshot while one is being taken waits here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::load::states_of;
use super::pending::Pending;
use super::states::{States, bytes_of};
use super::{Shared, SnapshotSpec};
use crate::connectors::PartitionPosition;
use crate::dataflow::digest::{Digest, Digests};
use crate::dataflow::snapshots::{Handed, Requested, Snapshots, StatePlace};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::explain::output_name;
use crate::plan::fingerprint::Fingerprints;
use crate::plan::node::{NodeId, OutputTarget, PlanOutput, Scan, StreamPlan};
use crate::plan::props::ChangelogMode;
use crate::snapshot::{
    FORMAT, JournalEntry, Manifest, SavedPartition, SavedSink, SavedSource, SavedState,
};
use crate::sql::settings::{OnSnapshotFailure, Settings};
use crate::state::saved::{Part, Recovery};
use crate::telemetry::clock::{monotonic, wall_ms};
use crate::time::{BEGINNING, CLOSED, EventTime};

/// How long the thread sleeps at least where snapshots follow one another closely.
const SLEEP_LEAST: Duration = Duration::from_millis(2);

/// How long it sleeps at most.
const SLEEP_MOST: Duration = Duration::from_secs(10);

/// What wakes the thread.
pub enum ToWriter {
    /// An operator has something to hand over.
    Handed(Handed),
    /// Somebody has asked for something.
    Look,
}

/// What stays the same during a run.
pub struct Run {
    /// What is snapshotted.
    pub spec: SnapshotSpec,
    /// Of the plan.
    pub fingerprint: String,
    /// Of its parts.
    pub fingerprints: Fingerprints,
    /// The number of the run.
    pub run: u64,
    /// Wall time at which it began.
    pub begun_ms: i64,
}

/// What was handed over of a part of the state.
#[derive(Default)]
struct Tally {
    rows: u64,
    bytes: u64,
    /// Rows that have changed: those of a whole part need not.
    changed: u64,
}

impl Tally {
    fn add(&mut self, part: &Part) {
        let rows: u64 = part.tables.iter().map(|table| table.rows.num_rows() as u64).sum();
        self.rows += rows;
        self.changed += part.changed.map_or(rows, |changed| changed as u64);
        self.bytes += part.tables.iter().map(|table| bytes_of(&table.rows)).sum::<u64>();
    }

    fn changed_bytes(&self) -> u64 {
        let share = u128::from(self.bytes) * u128::from(self.changed.min(self.rows));
        u64::try_from(share / u128::from(self.rows.max(1))).unwrap_or(u64::MAX)
    }
}

/// The thread's own.
pub struct Writer {
    run: Run,
    plan: Arc<StreamPlan>,
    settings: Arc<Settings>,
    snapshots: Arc<Snapshots>,
    shared: Arc<Shared>,
    states: States,
    pending: Option<Pending>,
    /// What came for the next snapshot.
    next: Vec<Handed>,
    new_bytes: u64,
    /// By place what was handed over for the snapshot in progress.
    tallies: BTreeMap<StatePlace, Tally>,
    snapshot: u64,
    /// Places that have handed over all for the snapshot in progress.
    handed: BTreeSet<(StatePlace, usize)>,
    due: Instant,
    /// Requests that the snapshot in progress answers.
    answers: u64,
    broken: Option<Error>,
}

impl Writer {
    /// The writer of a run that goes on from `manifest`.
    pub fn new(
        run: Run,
        plan: Arc<StreamPlan>,
        manifest: Option<&Manifest>,
        snapshots: Arc<Snapshots>,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let settings = plan.nodes.first().map(|n| Arc::clone(&n.settings)).unwrap_or_default();
        let states = match manifest {
            Some(manifest) => States::of(states_of(manifest)),
            None => States::default(),
        };
        Ok(Writer {
            snapshot: run.spec.store.next_id(&run.spec.job)?,
            due: monotonic() + interval(&settings),
            run,
            plan,
            settings,
            snapshots,
            shared,
            states,
            pending: None,
            next: Vec::new(),
            new_bytes: 0,
            tallies: BTreeMap::new(),
            handed: BTreeSet::new(),
            answers: 0,
            broken: None,
        })
    }

    /// Runs until the job is over.
    pub fn run(mut self, receiver: &Receiver<ToWriter>) {
        loop {
            match receiver.recv_timeout(self.sleep()) {
                Ok(ToWriter::Handed(handed)) => {
                    self.snapshots.took();
                    self.receive(handed);
                }
                Ok(ToWriter::Look) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            if self.shared.is_over.load(Ordering::Acquire) {
                // What is on its way belongs to a snapshot that nobody waits for any more, but
                // for the last digests.
                while let Ok(message) = receiver.try_recv() {
                    if let ToWriter::Handed(handed @ Handed::Digests { .. }) = message {
                        self.receive(handed);
                    }
                }
                return self.end();
            }
            self.look();
        }
    }

    /// Until when nothing is due.
    fn sleep(&self) -> Duration {
        match self.pending.is_none() && self.broken.is_none() {
            true => self.due.saturating_duration_since(monotonic()).clamp(SLEEP_LEAST, SLEEP_MOST),
            false => SLEEP_MOST,
        }
    }

    /// Begins a snapshot if one is due.
    fn look(&mut self) {
        if self.pending.is_some() {
            return;
        }
        let asked = self.shared.lock().asked;
        let is_asked = asked > self.shared.lock().answered;
        if let Some(error) = self.broken.clone() {
            if is_asked {
                self.answer(asked, Err(error));
            }
            return;
        }
        if !is_asked && monotonic() < self.due {
            return;
        }
        self.due = monotonic() + interval(&self.settings);
        let last = self.shared.lock().progress.last.map(|last| last.id);
        let (requested, answers) = self.snapshots.request();
        let wanted = match (requested, last) {
            (Requested::Wanted(wanted), _) => wanted,
            (Requested::NothingNew, Some(last)) if is_asked => return self.answer(asked, Ok(last)),
            (Requested::NothingNew | Requested::NothingRead, _) if is_asked => {
                let error = Error::new(ErrorKind::Conflict, "there is nothing to snapshot now")
                    .with_hint("the job has read nothing yet, or all of its input");
                return self.answer(asked, Err(error));
            }
            (Requested::NothingNew | Requested::NothingRead, _) => return,
        };
        self.answers = asked;
        self.handed.clear();
        let place = self.run.spec.place;
        self.pending = Some(Pending::new(wanted, &self.plan, place, wall_ms()));
        self.commit_if_complete();
        answers.into_iter().for_each(|handed| self.receive(handed));
    }

    fn receive(&mut self, handed: Handed) {
        if self.broken.is_some() {
            return;
        }
        let frontier = self.pending.as_ref().map(|p| p.frontier);
        match handed {
            Handed::State { place, worker, .. } if self.handed.contains(&(place, worker)) => {
                self.next.push(handed);
            }
            Handed::State { place, worker, frontier: of, part } => {
                let spec = &self.run.spec;
                let added =
                    self.states.add(&spec.store, &spec.job, (place, worker), self.snapshot, &part);
                match added {
                    Ok(bytes) => {
                        self.new_bytes += bytes;
                        self.tallies.entry(place).or_default().add(&part);
                    }
                    Err(error) => return self.fail(error),
                }
                if of.is_some() && of == frontier {
                    self.handed.insert((place, worker));
                    if let Some(pending) = &mut self.pending {
                        pending.state(place, worker);
                    }
                }
            }
            Handed::Source { index, process, frontier: of, positions } => {
                if let Some(pending) = self.pending.as_mut().filter(|p| p.frontier == of) {
                    pending.source(index, process, positions);
                }
            }
            Handed::Digests { output, worker, since, to, digests } => {
                let entries = digest_entries(&self.plan, output, (since, to), &digests);
                match self.pending.as_mut().filter(|p| p.frontier == to) {
                    Some(pending) => pending.digests(output, worker, entries),
                    // It has come to its end.
                    None => {
                        let run = &self.run;
                        let noted = run.spec.store.journal(&run.spec.job, run.run);
                        if let Err(error) = noted.and_then(|journal| journal.append(&entries)) {
                            return self.fail(error);
                        }
                    }
                }
            }
            Handed::Sink { output, frontier: of } => {
                if let Some(pending) = self.pending.as_mut().filter(|p| p.frontier == of) {
                    pending.sink(output);
                }
            }
        }
        self.commit_if_complete();
    }

    fn commit_if_complete(&mut self) {
        let Some(pending) = self.pending.take_if(|pending| pending.is_complete()) else { return };
        let committed = self.commit(&pending);
        self.snapshots.done();
        self.handed.clear();
        match committed {
            Ok(()) => {
                let id = self.snapshot;
                self.snapshot += 1;
                self.new_bytes = 0;
                self.tallies.clear();
                self.answer(self.answers, Ok(id));
                for handed in std::mem::take(&mut self.next) {
                    self.receive(handed);
                }
            }
            Err(error) => self.fail(error),
        }
    }

    fn commit(&mut self, pending: &Pending) -> Result<()> {
        let Run { spec, fingerprints, .. } = &self.run;
        let (store, job, frontier) = (&spec.store, &spec.job, pending.frontier);
        self.new_bytes += self.states.tidy(store, job, self.snapshot, frontier)?;
        let plan = &self.plan;
        let states = self.states.kept(|place| pending.holds(place, plan));
        let states = states.iter().map(|(place, state)| SavedState {
            operator: operator_name(plan, *place),
            node: place_number(*place),
            fingerprint: state_fingerprint(fingerprints, *place),
            recovery: state.recovery.map_or("", |r| r.name()).to_string(),
            since: match state.recovery {
                Some(Recovery::History(since)) => Some(since),
                _ => None,
            },
            tables: state.tables.clone(),
        });
        let sinks = sinks_of(plan, fingerprints).into_iter();
        let sinks = sinks.map(|(_, sink)| SavedSink { committed: frontier, ..sink });
        let now = wall_ms();
        let manifest = Manifest {
            duration_ms: now.saturating_sub(pending.started_ms).unsigned_abs(),
            states: states.collect(),
            sources: sources_of(plan, fingerprints, &pending.positions()),
            sinks: sinks.collect(),
            new_bytes: self.new_bytes,
            changed_bytes: self.tallies.values().map(Tally::changed_bytes).sum(),
            pause_us: u64::try_from(self.snapshots.take_pause().as_micros()).unwrap_or(u64::MAX),
            counters: self.snapshots.counters_of_all(frontier)?,
            ..self.manifest(frontier, now)
        };
        // All have been asked for what they count: a failure anywhere would be known by now.
        self.snapshots.sound()?;
        store.journal(job, self.run.run)?.append(&pending.told)?;
        self.put(&manifest)
    }

    /// The next snapshot, of nothing yet.
    fn manifest(&self, frontier: EventTime, created_ms: i64) -> Manifest {
        let Run { spec, fingerprint, run, begun_ms, .. } = &self.run;
        Manifest {
            format: FORMAT,
            job: spec.job.clone(),
            run: *run,
            begun_ms: *begun_ms,
            id: self.snapshot,
            frontier,
            complete: false,
            created_ms,
            duration_ms: 0,
            sql: spec.sql.clone(),
            settings: spec.settings.clone(),
            plan: fingerprint.clone(),
            workers: u32::try_from(spec.workers()).unwrap_or(u32::MAX),
            states: Vec::new(),
            sources: Vec::new(),
            sinks: Vec::new(),
            outputs: None,
            counters: BTreeMap::new(),
            new_bytes: 0,
            changed_bytes: 0,
            pause_us: 0,
        }
    }

    fn put(&self, manifest: &Manifest) -> Result<()> {
        let spec = &self.run.spec;
        spec.store.commit(manifest)?;
        self.shared.lock().progress.note(manifest);
        spec.store.retain(&spec.job, self.settings.snapshot_keep)
    }

    fn answer(&self, up_to: u64, result: Result<u64>) {
        let mut asked = self.shared.lock();
        asked.answered = asked.answered.max(up_to);
        asked.last = Some(result);
        drop(asked);
        self.shared.changed.notify_all();
    }

    /// From here on there are no more snapshots in this run.
    fn fail(&mut self, error: Error) {
        self.snapshots.end();
        let job = self.run.spec.job.as_str();
        tracing::error!(job, "job {job}: no more snapshots, the last complete one stays: {error}");
        self.snapshots.done();
        self.pending = None;
        self.next.clear();
        self.shared.lock().progress.stopped = Some(error.clone());
        self.answer(self.answers, Err(error.clone()));
        if self.settings.on_snapshot_failure == OnSnapshotFailure::Stop {
            self.snapshots.fail(error.clone());
        }
        self.broken = Some(error);
    }

    /// Says how the run has ended.
    fn end(self) {
        let is_complete = self.shared.lock().asked == u64::MAX;
        let spec = &self.run.spec;
        let ended = (|| {
            if is_complete && self.broken.is_none() {
                let counters = self.snapshots.counters_of_all(CLOSED)?;
                let end = self.manifest(CLOSED, wall_ms());
                self.put(&Manifest { complete: true, counters, ..end })?;
            }
            let journal = spec.store.journal(&spec.job, self.run.run)?;
            // Of a snapshot that came too late; the next run drops what it computes again.
            if let Some(pending) = &self.pending {
                journal.append(&pending.told)?;
            }
            let outcome = if is_complete { "complete" } else { "stopped" };
            journal.append(&[JournalEntry::Ended {
                at_ms: wall_ms(),
                outcome: outcome.to_string(),
            }])?;
            journal.sync()
        })();
        self.snapshots.end();
        if let Err(error) = ended {
            let job = spec.job.as_str();
            tracing::error!(job, "job {job}: its end was not noted: {error}");
        }
        self.shared.changed.notify_all();
    }
}

fn interval(settings: &Settings) -> Duration {
    Duration::from_millis(settings.snapshot_interval.unsigned_abs())
}

/// What an output has given on one worker, for the journal.
fn digest_entries(
    plan: &StreamPlan,
    output: usize,
    (since, to): (EventTime, EventTime),
    digests: &Digests,
) -> Vec<JournalEntry> {
    let entry = |from, digest: Digest| JournalEntry::Digest {
        output: output_name(plan, output),
        from,
        to,
        since,
        updates: digest.updates,
        digest: digest.sum,
    };
    // Even what gave nothing says how far it is.
    let none = digests.is_empty().then(|| entry(since.max(0), Digest::default()));
    digests.iter().map(|(from, digest)| entry(*from, *digest)).chain(none).collect()
}

/// The state's owner as users see it in `EXPLAIN`.
pub fn operator_name(plan: &StreamPlan, place: StatePlace) -> String {
    match place {
        StatePlace::Node(id) => crate::plan::explain::operator_name(plan, id),
        StatePlace::Edge(id, input) => format!("Recursive#{}.Enter{input}", id.0),
        StatePlace::Output(index) => output_name(plan, index),
    }
}

/// A number of the place that is unique in its plan and says which it is.
pub fn place_number(place: StatePlace) -> u64 {
    match place {
        StatePlace::Node(id) => id.0 as u64,
        StatePlace::Edge(id, input) => EDGES + ((id.0 as u64) << 16) + input as u64,
        StatePlace::Output(index) => OUTPUTS + index as u64,
    }
}

/// The place of [`place_number`].
pub fn place_of(number: u64) -> StatePlace {
    match number {
        n if n >= EDGES => {
            let n = n - EDGES;
            StatePlace::Edge(NodeId((n >> 16) as usize), (n & 0xffff) as usize)
        }
        n if n >= OUTPUTS => StatePlace::Output((n - OUTPUTS) as usize),
        n => StatePlace::Node(NodeId(n as usize)),
    }
}

const OUTPUTS: u64 = 1 << 32;
const EDGES: u64 = 1 << 40;

/// The fingerprint of a part of the state.
pub fn state_fingerprint(fingerprints: &Fingerprints, place: StatePlace) -> String {
    let known = |all: &[String], index: usize| all.get(index).cloned().unwrap_or_default();
    match place {
        StatePlace::Node(id) => known(&fingerprints.nodes, id.0),
        StatePlace::Edge(id, input) => format!("{}.{input}", known(&fingerprints.nodes, id.0)),
        StatePlace::Output(index) => known(&fingerprints.outputs, index),
    }
}

/// The sinks of a plan with the numbers of their outputs, none of which has committed anything.
pub fn sinks_of(plan: &StreamPlan, fingerprints: &Fingerprints) -> Vec<(usize, SavedSink)> {
    let of = |(index, output): (usize, &PlanOutput)| {
        let OutputTarget::Sink(table) = &output.target else { return None };
        let sink = SavedSink {
            name: table.name.clone(),
            committed: BEGINNING,
            fingerprint: fingerprints.outputs.get(index).cloned().unwrap_or_default(),
            declared: fingerprints.sinks.get(index).cloned().flatten().unwrap_or_default(),
            updates: plan.node(output.node).props.mode != ChangelogMode::Append,
        };
        Some((index, sink))
    };
    plan.outputs.iter().enumerate().filter_map(of).collect()
}

fn sources_of(
    plan: &StreamPlan,
    fingerprints: &Fingerprints,
    positions: &BTreeMap<usize, Vec<PartitionPosition>>,
) -> Vec<SavedSource> {
    let of = |(index, scan): (usize, &Scan)| {
        let fingerprint = fingerprints.sources.get(index).cloned().unwrap_or_default();
        let partitions = positions.get(&index)?.iter().map(|p| SavedPartition {
            name: p.name.clone(),
            offset: p.offset,
            floor: p.floor,
            ended: p.ended,
        });
        let (table, partitions) = (scan.table.def.name.clone(), partitions.collect());
        Some(SavedSource { table, fingerprint, again: false, partitions })
    };
    plan.scans().enumerate().filter_map(of).collect()
}
