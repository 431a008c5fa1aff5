//! The snapshots of a running job: when they are taken, what is written, what a job starts from.
//!
//! * [`start`] looks for the last complete snapshot of a job and loads it
//! * `writer`: the thread that asks for snapshots, writes what the operators hand over and commits
//! * `pending`: what a snapshot in progress still waits for
//! * `states`: the tables of each part of the state, and when they are summed up
//! * `journal`: what the run has decided, from and to the store
//! * `rows`: rows that were sent to tables of the run, from and to the store
//! * `load`: from a manifest to what the operators take back
//!
//! The dataflow never waits for a disk: what is handed over goes through a bounded channel. A
//! snapshot that cannot be written is reported and given up; the one before stays whole.

pub mod journal;
pub mod load;
mod pending;
pub mod rows;
mod states;
mod writer;

use writer::ToWriter;
pub use writer::{operator_name, place_number, place_of, sinks_of, state_fingerprint};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::connectors::filesystem::steps::{BEFORE_SYNC, Steps};
use crate::dataflow::decisions::Journal;
use crate::dataflow::restored::{Amount, Restored};
use crate::dataflow::runtime::Place;
use crate::dataflow::snapshots::{Hand, Others, RunOf, Snapshots};
use crate::error::{Error, ErrorKind, Result};
use crate::job::processes::KeptRun;
use crate::job::upgrade::end_dropped;
use crate::limits::{BUDGET_SNAPSHOT_MESSAGES_MAX, SNAPSHOT_MESSAGES_MAX};
use crate::plan::explain::explain_computed;
use crate::plan::fingerprint::Fingerprints;
use crate::plan::node::StreamPlan;
use crate::snapshot::{Chunks, JournalEntry, Latest, Manifest, Store, failpoint};
use crate::telemetry::clock::{monotonic, wall_ms};
use crate::telemetry::prometheus::Observed;
use crate::telemetry::threads::spawn;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// How long a job that is told to stop waits for its last snapshot.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What is snapshotted, and how.
#[derive(Clone)]
pub struct SnapshotSpec {
    /// Where to.
    pub store: Arc<Store>,
    /// The job's name.
    pub job: String,
    /// Its script.
    pub sql: String,
    /// Its settings from outside of the script.
    pub settings: BTreeMap<String, String>,
    /// The first process, which takes them; of several all have as many workers.
    pub place: Place,
    /// The others.
    pub others: Option<Arc<dyn Others>>,
    /// Whether a job that has come to its end is run anew; otherwise it is computed again, and its
    /// sinks are left as they are.
    pub anew: bool,
}

impl SnapshotSpec {
    /// Workers of the run, in all processes.
    pub fn workers(&self) -> usize {
        self.place.workers * self.place.processes
    }
}

/// The snapshots of one running job.
pub struct JobSnapshots {
    /// Those inside the dataflow.
    pub snapshots: Arc<Snapshots>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Of the thread, if there is one.
    sender: Option<SyncSender<ToWriter>>,
}

/// What the writer's thread shares with those who ask it for something.
struct Shared {
    state: Mutex<Asked>,
    changed: Condvar,
    is_over: AtomicBool,
}

#[derive(Default)]
struct Asked {
    /// Snapshots that have been asked for so far.
    asked: u64,
    /// Requests answered, and how the last one was.
    answered: u64,
    last: Option<Result<u64>>,
    /// What has become of them so far.
    progress: SnapshotProgress,
}

/// What has become of a job's snapshots so far.
#[derive(Clone, Debug, Default)]
pub struct SnapshotProgress {
    /// How many this run has taken.
    pub taken: u64,
    /// Bytes that they have written.
    pub written_bytes: u64,
    /// Bytes in memory of the rows of state that had changed.
    pub changed_bytes: u64,
    /// The longest that a worker was kept from its work, in microseconds.
    pub pause_us_max: u64,
    /// The last one there is, if it is known to be whole.
    pub last: Option<LastSnapshot>,
    /// Why there are no more.
    pub stopped: Option<Error>,
    /// What the run has taken back, and how long that took.
    pub restored: Option<(Amount, Duration)>,
    /// How long those that this run has taken took, in seconds.
    pub took: Box<Observed>,
}

/// The bounds by which the durations of snapshots are counted, in seconds.
const DURATION_BOUNDS: [f64; 12] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

impl SnapshotProgress {
    /// How long those that this run has taken took, in seconds.
    pub fn durations(&self) -> Observed {
        match self.took.count {
            0 => Observed::by(&DURATION_BOUNDS),
            _ => Observed::clone(&self.took),
        }
    }

    fn note(&mut self, manifest: &Manifest) {
        self.taken += 1;
        self.written_bytes += manifest.new_bytes;
        self.changed_bytes += manifest.changed_bytes;
        self.pause_us_max = self.pause_us_max.max(manifest.pause_us);
        // What says that the run has come to its end took no time.
        if !manifest.complete {
            *self.took = self.durations();
            self.took.observe(manifest.duration_ms as f64 / 1000.0);
        }
        self.last = Some(manifest.into());
    }
}

/// The last snapshot of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSnapshot {
    /// Its number.
    pub id: u64,
    /// Its frontier.
    pub frontier: EventTime,
    /// Wall time of its commit.
    pub created_ms: i64,
    /// Bytes of all that it names.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
}

impl From<&Manifest> for LastSnapshot {
    fn from(manifest: &Manifest) -> Self {
        let bytes = manifest.bytes();
        let Manifest { id, frontier, created_ms, duration_ms, .. } = *manifest;
        let duration_ms = i64::try_from(duration_ms).unwrap_or(i64::MAX);
        LastSnapshot { id, frontier, created_ms, bytes, duration_ms }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job's beginning: from a snapshot, or from nothing.
pub struct Beginning {
    /// The snapshots to come.
    pub snapshots: Arc<JobSnapshots>,
    /// The number of the snapshot that it starts from.
    pub from: Option<u64>,
    /// The frontier of that snapshot.
    pub frontier: EventTime,
    /// What was found damaged on the way.
    pub skipped: Vec<String>,
    /// Whether the run before had come to its end.
    pub was_complete: bool,
    /// Whether another version of the program had planned that in another way.
    pub was_planned_otherwise: bool,
    /// What it is planned as.
    pub plan: String,
    /// The run, for the processes that this one leads.
    pub kept: KeptRun,
    /// Where the snapshot is that it starts from, if that was made for another script than those
    /// before.
    upgraded: Option<Arc<Store>>,
}

/// A word for what a plan computes, and of what; two plans with the same one have the same state.
pub fn fingerprint(plan: &StreamPlan, parts: &Fingerprints) -> String {
    format!("{} {}", shape(plan), parts.whole())
}

/// What a plan is without the options of its tables: the word before there were fingerprints of
/// parts.
fn shape(plan: &StreamPlan) -> String {
    let text = explain_computed(plan);
    let hash = crate::batch::hash::hash_bytes(text.as_bytes());
    let second = crate::batch::hash::mix(hash, text.len() as u64);
    format!("{hash:016x}{second:016x}")
}

/// Whether `word`, which this or an earlier version has written, is the fingerprint of `plan`.
pub fn is_fingerprint(word: &str, plan: &StreamPlan, parts: &Fingerprints) -> bool {
    match word.contains(' ') {
        true => word == fingerprint(plan, parts),
        false => word == shape(plan),
    }
}

/// Opens the store under `dir`.
pub fn open_store(dir: &Path) -> Result<Arc<Store>> {
    Ok(Arc::new(Store::open(dir)?))
}

/// Starts the snapshots of `plan`'s job, from its last complete one if there is one.
///
/// A job whose last run came to its end is computed again, without writing to its sinks, however it
/// is planned now. One that is to go on and whose plan has changed is refused: its state would mean
/// something else.
pub fn start(spec: SnapshotSpec, plan: &Arc<StreamPlan>) -> Result<Beginning> {
    let begun = monotonic();
    let fingerprints = Fingerprints::of(plan)?;
    let fingerprint = fingerprint(plan, &fingerprints);
    let is_same = |manifest: &Manifest| is_fingerprint(&manifest.plan, plan, &fingerprints);
    let (latest, chunks) = latest(&spec, plan, &is_same)?;
    let skipped = latest.skipped.iter().map(ToString::to_string).collect();
    let is_same_script = |m: &Manifest| m.sql == spec.sql && m.settings == spec.settings;
    let ended = latest.manifest.as_ref().filter(|manifest| manifest.complete);
    if let Some(manifest) = ended.filter(|m| !spec.anew && (is_same(m) || is_same_script(m))) {
        let (from, frontier) = (Some(manifest.id), manifest.frontier);
        let was_planned_otherwise = !is_same(manifest);
        let decided = spec.store.journal(&spec.job, manifest.run)?.read_decisions()?;
        let snapshots = again(&spec, plan, manifest, &decided)?;
        let (run, begun_ms) = (manifest.run, manifest.begun_ms);
        let kept = KeptRun { run, begun_ms, manifest: None, is_ended: true, decided };
        return Ok(Beginning {
            snapshots,
            from,
            frontier,
            skipped,
            was_complete: true,
            was_planned_otherwise,
            plan: fingerprint,
            kept,
            upgraded: None,
        });
    }
    let ended = ended.map(|manifest| manifest.run);
    let manifest = latest.manifest.filter(|manifest| !manifest.complete);
    if let Some(manifest) = manifest.as_ref().filter(|manifest| !is_same(manifest)) {
        return Err(has_changed(&spec, manifest, is_same_script(manifest)));
    }
    let restored =
        manifest.as_ref().map(|m| load::restored(&load::of_store(&spec.store), &chunks, m, plan));
    let restored = restored.transpose()?;
    let restored = restored.map(|restored| Restored { begun: Some(begun), ..restored });
    drop(chunks);
    let begun = spec.store.runs(&spec.job)?.last().copied();
    let run = match (&manifest, ended, begun) {
        (Some(manifest), _, _) => manifest.run,
        // One that stopped before its first snapshot is gone on with, from its beginning.
        (None, Some(ended), Some(begun)) => begun.max(ended + 1),
        (None, Some(ended), None) => ended + 1,
        (None, None, Some(begun)) => begun,
        (None, None, None) => spec.store.first_run(&spec.job)?,
    };
    let journal = spec.store.journal(&spec.job, run)?;
    let entries = journal.read_decisions()?;
    let now = wall_ms();
    let begun_ms = match &manifest {
        Some(manifest) => manifest.begun_ms,
        None => first_start(&entries).unwrap_or(now),
    };
    journal.append(&[JournalEntry::Started {
        run,
        at_ms: now,
        sql: spec.sql.clone(),
        settings: spec.settings.clone(),
        workers: u32::try_from(spec.workers()).unwrap_or(u32::MAX),
        from: manifest.as_ref().map(|m| m.id),
        frontier: manifest.as_ref().map(|m| m.frontier),
        plan: fingerprint.clone(),
    }])?;
    journal.sync()?;
    let from = manifest.as_ref().map(|m| m.id);
    let frontier = manifest.as_ref().map_or(BEGINNING, |m| m.frontier);
    let store = Arc::clone(&spec.store);
    let planned = fingerprint.clone();
    let own = writer::Run { spec, fingerprint, fingerprints, run, begun_ms };
    let snapshots = begin(own, plan, manifest.as_ref(), restored, &entries)?;
    let is_upgraded = manifest.as_ref().is_some_and(|manifest| manifest.outputs.is_some());
    Ok(Beginning {
        snapshots,
        from,
        frontier,
        skipped,
        was_complete: ended.is_some(),
        was_planned_otherwise: false,
        plan: planned,
        kept: KeptRun { run, begun_ms, manifest, is_ended: false, decided: entries },
        upgraded: is_upgraded.then_some(store),
    })
}

/// The last snapshot that is not damaged, and of its rows those that are to be read at once.
///
/// What is loaded is verified as it is read; of others nothing but their damage matters.
fn latest(
    spec: &SnapshotSpec,
    plan: &StreamPlan,
    goes_on: &impl Fn(&Manifest) -> bool,
) -> Result<(Latest, Chunks)> {
    let read = |manifest: &Manifest| {
        if goes_on(manifest) && !manifest.complete {
            return load::verified(&spec.store, manifest, plan, spec.workers());
        }
        match spec.store.verify(manifest) {
            damages if damages.is_empty() => Ok(Chunks::new()),
            damages => Err(damages),
        }
    };
    let (latest, chunks) = spec.store.latest_with(&spec.job, read)?;
    Ok((latest, chunks.unwrap_or_default()))
}

impl Beginning {
    /// The job has been built. If it is the first time with this script, the sinks that only the
    /// one before had are closed.
    pub fn is_built(&self) {
        if let (Some(store), Some(manifest)) = (&self.upgraded, &self.kept.manifest) {
            end_dropped(store, &manifest.job, manifest);
        }
    }
}

/// The refusal of a plan that is not that of `manifest`.
fn has_changed(spec: &SnapshotSpec, manifest: &Manifest, is_same_script: bool) -> Error {
    let (job, id) = (&spec.job, manifest.id);
    let message = match is_same_script {
        true => format!("job {job} is planned otherwise by this version than in its snapshot {id}"),
        false => format!("job {job} has changed since its snapshot {id}"),
    };
    Error::new(ErrorKind::Conflict, message).with_hint(format!(
        "see what becomes of its state with `floodmark upgrade {job} FILE`, run it as it was, give \
         it another name with --name, or forget its snapshots: floodmark snapshots delete {job} \
         --all"
    ))
}

/// A run that has come to its end and is computed again: it takes no snapshots, the last one says
/// that it has ended.
fn again(
    spec: &SnapshotSpec,
    plan: &Arc<StreamPlan>,
    manifest: &Manifest,
    entries: &[JournalEntry],
) -> Result<Arc<JobSnapshots>> {
    let restored = Restored { frontier: CLOSED, ..Restored::default() };
    let run = (manifest.run, manifest.begun_ms);
    let snapshots = inside(spec, plan, run, Some(restored), Box::new(drop), entries)?;
    let progress = SnapshotProgress { last: Some(manifest.into()), ..Default::default() };
    let shared = Arc::new(Shared {
        state: Mutex::new(Asked { progress, ..Asked::default() }),
        changed: Condvar::new(),
        is_over: AtomicBool::new(true),
    });
    Ok(Arc::new(JobSnapshots { snapshots, shared, thread: Mutex::default(), sender: None }))
}

/// Wall time at which the run of a journal was started for the first time, if it was.
fn first_start(entries: &[JournalEntry]) -> Option<i64> {
    entries.iter().find_map(|entry| match entry {
        JournalEntry::Started { at_ms, .. } => Some(*at_ms),
        _ => None,
    })
}

/// The snapshots of a run, with its number and its beginning, inside the dataflow. It has decided
/// what `entries` say.
fn inside(
    spec: &SnapshotSpec,
    plan: &Arc<StreamPlan>,
    (run, begun_ms): (u64, i64),
    restored: Option<Restored>,
    hand: Hand,
    entries: &[JournalEntry],
) -> Result<Arc<Snapshots>> {
    let journal = spec.store.journal(&spec.job, run)?;
    let notes = Arc::new(journal::Notes::new(journal, plan));
    let decided = journal::decided(plan, entries);
    let before_sync = Arc::clone(&notes);
    let steps = Steps::new(move |step| {
        // What a sink makes durable follows from what is noted, which must not be lost alone.
        if step == BEFORE_SYNC {
            before_sync.sync()?;
        }
        failpoint::reach(step)
    });
    let job = spec.job.clone();
    let dir = Some(spec.store.dir().to_owned());
    let (others, processes) = (spec.others.clone(), spec.place.processes);
    let of =
        RunOf { job, run, begun_ms, steps, decided, dir, processes, others, ..RunOf::default() };
    Ok(Arc::new(Snapshots::new(of, plan, hand, restored, notes)))
}

/// A run that another process leads.
pub struct FollowedRun {
    /// The job.
    pub job: String,
    /// The run.
    pub run: KeptRun,
    /// This process.
    pub place: Place,
    /// For what is put aside under a memory budget.
    pub dir: Option<PathBuf>,
}

/// The snapshots of a run that another process leads, inside the dataflow. `read` reads its chunks.
pub fn followed(
    of: FollowedRun,
    plan: &Arc<StreamPlan>,
    hand: Hand,
    journal: Arc<dyn Journal>,
    read: &load::ReadChunk,
) -> Result<Arc<Snapshots>> {
    let FollowedRun { job, run, place, dir } = of;
    let begun = monotonic();
    let restored = match &run.manifest {
        _ if run.is_ended => Some(Restored { frontier: CLOSED, ..Restored::default() }),
        None => None,
        Some(manifest) => {
            let workers = place.workers * place.processes;
            let chunks = load::shared_chunks(read, manifest, plan, (workers, place.workers))?;
            let restored = load::restored(read, &chunks, manifest, plan)?;
            // They go on in the process that leads.
            let counters = BTreeMap::new();
            Some(Restored { begun: Some(begun), counters, ..restored })
        }
    };
    let decided = journal::decided(plan, &run.decided);
    let of = RunOf {
        job,
        run: run.run,
        begun_ms: run.begun_ms,
        decided,
        dir,
        process: place.process,
        processes: place.processes,
        ..RunOf::default()
    };
    Ok(Arc::new(Snapshots::new(of, plan, hand, restored, journal)))
}

fn begin(
    run: writer::Run,
    plan: &Arc<StreamPlan>,
    manifest: Option<&Manifest>,
    restored: Option<Restored>,
    entries: &[JournalEntry],
) -> Result<Arc<JobSnapshots>> {
    let messages = match plan.has_budget() {
        true => BUDGET_SNAPSHOT_MESSAGES_MAX,
        false => SNAPSHOT_MESSAGES_MAX,
    };
    let (sender, receiver) = sync_channel(messages);
    let of = (run.run, run.begun_ms);
    let handing = sender.clone();
    // A writer that is gone takes nothing: then there are no more snapshots.
    let hand: Hand = Box::new(move |handed| drop(handing.send(ToWriter::Handed(handed))));
    let snapshots = inside(&run.spec, plan, of, restored, hand, entries)?;
    let progress =
        SnapshotProgress { last: manifest.map(LastSnapshot::from), ..Default::default() };
    let shared = Arc::new(Shared {
        state: Mutex::new(Asked { progress, ..Asked::default() }),
        changed: Condvar::new(),
        is_over: AtomicBool::new(false),
    });
    let name = format!("snapshots-{}", run.spec.job);
    let writer = writer::Writer::new(
        run,
        Arc::clone(plan),
        manifest,
        Arc::clone(&snapshots),
        Arc::clone(&shared),
    )?;
    let thread = Mutex::new(Some(spawn(&name, move || writer.run(&receiver))?));
    Ok(Arc::new(JobSnapshots { snapshots, shared, thread, sender: Some(sender) }))
}

impl JobSnapshots {
    /// Takes a snapshot now and waits for it at most `patience`; its number. An error if there is
    /// nothing to snapshot, or it could not be taken.
    pub fn create(&self, patience: Duration) -> Result<u64> {
        if self.shared.is_over.load(Ordering::Acquire) {
            let message = "the job has ended and takes no snapshots any more";
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let mut asked = self.shared.lock();
        asked.asked += 1;
        let own = asked.asked;
        self.wake();
        let waiting = |asked: &mut Asked| {
            asked.answered < own && !self.shared.is_over.load(Ordering::Acquire)
        };
        let waited = self.shared.changed.wait_timeout_while(asked, patience, waiting);
        let (asked, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &asked.last {
            Some(last) if asked.answered >= own => last.clone(),
            _ => Err(Error::new(
                ErrorKind::Conflict,
                "the snapshot is not complete yet: some source or sink is behind",
            )
            .with_hint("look again with `floodmark snapshots list`")),
        }
    }

    /// Takes a last snapshot before the job is stopped, so that nothing is computed again; a job
    /// that cannot take one soon goes on from an earlier one.
    pub fn at_stop(&self) {
        if let Err(error) = self.create(STOP_PATIENCE) {
            tracing::info!("no snapshot at the end: {error}");
        }
    }

    /// Has the writer look at what it is asked for.
    fn wake(&self) {
        if let Some(sender) = &self.sender {
            // One that has messages waiting looks after each of them.
            let _ = sender.try_send(ToWriter::Look);
        }
    }

    /// What has become of the snapshots so far.
    pub fn progress(&self) -> SnapshotProgress {
        let progress = self.shared.lock().progress.clone();
        SnapshotProgress { restored: self.snapshots.restoration(), ..progress }
    }

    /// Ends the snapshots; `complete`: the job has come to its end.
    pub fn finish(&self, complete: bool) -> Result<()> {
        {
            let mut asked = self.shared.lock();
            if complete {
                asked.asked = u64::MAX;
            }
            self.shared.is_over.store(true, Ordering::Release);
        }
        self.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.join().map_err(|_| Error::internal("the writer of snapshots panicked"))?;
        }
        Ok(())
    }
}
