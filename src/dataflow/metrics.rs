//! Counters of a job, shared by its workers and whoever watches it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::activity::{Activity, Count};
use super::logic::Irregular;
use super::side::DeadLetters;
use crate::error::{DeadLetter, Error};
use crate::limits::DEAD_LETTERS_KEPT_MAX;
use crate::spill::Memory;
use crate::spill::memory::Spilled;
use crate::time::{BEGINNING, EventTime, Resolution};

/// The counters that snapshots hold, by their names there.
const COUNTERS: [&str; 5] =
    ["late_rows", "dead_letters", "unknown_updates", "absent_deletes", "duplicate_inserts"];

/// A count by each of [`COUNTERS`].
type Counts = [u64; COUNTERS.len()];

/// What was counted, by event time, so that a snapshot holds what lies before its frontier and a
/// restored job counts nothing twice.
#[derive(Debug, Default)]
struct Timed {
    /// Times are kept for snapshots, by tick.
    resolution: Option<Resolution>,
    /// What lies below is in the snapshot that the job started from.
    since: Option<EventTime>,
    /// Of all that lies below the last snapshot.
    before: Counts,
    after: BTreeMap<EventTime, Counts>,
}

/// Locks a mutex whose data stays valid even if a holder panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counters of one source.
#[derive(Debug)]
pub struct SourceMetrics {
    /// The table.
    pub table: String,
    /// Rows read.
    pub rows: AtomicU64,
    /// Bytes read.
    pub bytes: AtomicU64,
    /// Its frontier.
    pub frontier: AtomicI64,
}

/// Counters of one output.
#[derive(Debug)]
pub struct OutputMetrics {
    /// The view or sink; empty for a bare query.
    pub name: String,
    /// Updates that reached it.
    pub updates: AtomicU64,
    /// Rows that wait for its writer.
    pub queued: Count,
    /// Nanoseconds that its writer has taken.
    pub writing: Count,
    /// How far it is, by worker of this process.
    frontiers: Vec<AtomicI64>,
}

impl OutputMetrics {
    /// How far it is, as far as all workers of this process have seen it.
    pub fn frontier(&self) -> EventTime {
        let least = self.frontiers.iter().map(|f| f.load(Ordering::Relaxed)).min();
        least.unwrap_or(BEGINNING)
    }

    /// Worker `index` of this process has seen it at `frontier`.
    pub fn reached(&self, index: usize, frontier: EventTime) {
        if let Some(own) = self.frontiers.get(index) {
            own.store(frontier, Ordering::Relaxed);
        }
    }
}

/// Counters and end of one job in this process.
#[derive(Debug)]
pub struct JobMetrics {
    /// One a source.
    pub sources: Vec<SourceMetrics>,
    /// One an output.
    pub outputs: Vec<OutputMetrics>,
    /// What its operators do.
    pub activity: Activity,
    /// Rows that came too late for a window.
    pub late_rows: AtomicU64,
    /// Records and rows that failed.
    pub dead_letters: AtomicU64,
    /// Updates of keys that were not there.
    pub unknown_updates: AtomicU64,
    /// Deletions of keys that were not there.
    pub absent_deletes: AtomicU64,
    /// Insertions of keys that were there.
    pub duplicate_inserts: AtomicU64,
    timed: Mutex<Timed>,
    kept: Mutex<VecDeque<DeadLetter>>,
    frontiers: Vec<AtomicI64>,
    memory: Option<Arc<Memory>>,
    end: Mutex<End>,
    ended: Condvar,
    is_failed: AtomicBool,
    job: OnceLock<String>,
}

#[derive(Debug, Default)]
struct End {
    workers_done: usize,
    failure: Option<Error>,
}

impl JobMetrics {
    /// Counters at zero for `workers` workers of this process.
    pub fn new(tables: Vec<String>, outputs: Vec<String>, workers: usize) -> Self {
        let source = |table| SourceMetrics {
            table,
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            frontier: AtomicI64::new(BEGINNING),
        };
        let frontiers = || (0..workers).map(|_| AtomicI64::new(BEGINNING)).collect::<Vec<_>>();
        let output = |name| OutputMetrics {
            name,
            updates: AtomicU64::new(0),
            queued: Count::default(),
            writing: Count::default(),
            frontiers: frontiers(),
        };
        JobMetrics {
            sources: tables.into_iter().map(source).collect(),
            outputs: outputs.into_iter().map(output).collect(),
            activity: Activity::default(),
            late_rows: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            unknown_updates: AtomicU64::new(0),
            absent_deletes: AtomicU64::new(0),
            duplicate_inserts: AtomicU64::new(0),
            timed: Mutex::default(),
            kept: Mutex::new(VecDeque::new()),
            frontiers: frontiers(),
            memory: None,
            end: Mutex::new(End::default()),
            ended: Condvar::new(),
            is_failed: AtomicBool::new(false),
            job: OnceLock::new(),
        }
    }

    /// The same with a memory budget.
    pub fn with_memory(self, memory: Option<Arc<Memory>>) -> Self {
        JobMetrics { memory, ..self }
    }

    /// What was put aside under the memory budget; `None` if there is none.
    pub fn spilled(&self) -> Option<Spilled> {
        self.memory.as_ref().map(|memory| memory.spilled())
    }

    /// Keeps counts by the ticks of `resolution` for snapshots, and goes on from one, if the job
    /// does: from its frontier and counters. Called before anything is counted.
    pub fn keep(
        &self,
        resolution: Resolution,
        restored: Option<(EventTime, &BTreeMap<String, u64>)>,
    ) {
        let mut timed = lock(&self.timed);
        timed.resolution = Some(resolution);
        let Some((frontier, counters)) = restored else { return };
        timed.since = Some(frontier);
        for (index, name) in COUNTERS.iter().enumerate() {
            let count = counters.get(*name).copied().unwrap_or(0);
            timed.before[index] = count;
            self.totals()[index].fetch_add(count, Ordering::Relaxed);
        }
    }

    /// There are no more snapshots.
    pub fn keep_no_more(&self) {
        let mut timed = lock(&self.timed);
        timed.resolution = None;
        timed.after.clear();
    }

    /// The counters of all that lies before `frontier`, which the job has reached. Later calls are
    /// for later frontiers.
    pub fn counters_before(&self, frontier: EventTime) -> BTreeMap<String, u64> {
        let mut timed = lock(&self.timed);
        let after = timed.after.split_off(&frontier);
        for counts in std::mem::replace(&mut timed.after, after).into_values() {
            timed.before.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        COUNTERS.iter().map(|name| (*name).to_owned()).zip(timed.before).collect()
    }

    fn totals(&self) -> [&AtomicU64; COUNTERS.len()] {
        [
            &self.late_rows,
            &self.dead_letters,
            &self.unknown_updates,
            &self.absent_deletes,
            &self.duplicate_inserts,
        ]
    }

    /// Counts what has happened at some times, unless a snapshot holds it.
    fn record(&self, counted: impl Iterator<Item = (EventTime, Counts)>) {
        let mut timed = lock(&self.timed);
        for (time, counts) in counted {
            if timed.since.is_some_and(|since| time < since) {
                continue;
            }
            for (total, count) in self.totals().into_iter().zip(counts) {
                total.fetch_add(count, Ordering::Relaxed);
            }
            if let Some(resolution) = timed.resolution {
                let own = timed.after.entry(resolution.tick_start(time)).or_default();
                own.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
    }

    /// Counts rows that were late, by their times.
    pub fn record_late(&self, times: &[EventTime]) {
        self.record(times.iter().map(|time| (*time, [1, 0, 0, 0, 0])));
    }

    /// Counts changes that did not fit what they change, by time.
    pub fn record_irregular(&self, irregular: &BTreeMap<EventTime, Irregular>) {
        if irregular.is_empty() {
            return;
        }
        self.record(irregular.iter().map(|(time, i)| {
            (*time, [0, 0, i.unknown_updates, i.absent_deletes, i.duplicate_inserts])
        }));
    }

    /// Counts dead letters and keeps the latest of them.
    pub fn record_dead_letters(&self, letters: &DeadLetters) {
        if letters.letters().is_empty() {
            return;
        }
        self.record(letters.iter().map(|(_, time)| (time, [0, 1, 0, 0, 0])));
        let since = lock(&self.timed).since;
        let mut kept = lock(&self.kept);
        let is_new = |time: EventTime| since.is_none_or(|since| time >= since);
        for (letter, _) in letters.iter().filter(|(_, time)| is_new(*time)) {
            if kept.len() == DEAD_LETTERS_KEPT_MAX {
                kept.pop_front();
            }
            kept.push_back(letter.clone());
        }
    }

    /// The dead letters kept, sorted.
    pub fn dead_letters_kept(&self) -> Vec<DeadLetter> {
        let mut letters: Vec<_> = lock(&self.kept).iter().cloned().collect();
        letters.sort();
        letters
    }

    /// The frontier of all outputs, as far as all workers of this process have seen it.
    pub fn frontier(&self) -> EventTime {
        let least = self.frontiers.iter().map(|f| f.load(Ordering::Acquire)).min();
        least.unwrap_or(BEGINNING)
    }

    /// Worker `index` has seen the outputs' frontier at `frontier`.
    pub fn advance(&self, index: usize, frontier: EventTime) {
        if let Some(own) = self.frontiers.get(index) {
            own.store(frontier, Ordering::Release);
        }
    }

    /// The job is called `name`: what it says of itself in the log carries the name.
    pub fn named(&self, name: &str) {
        // It has one name.
        let _ = self.job.set(name.to_owned());
    }

    /// What the job is called, if it was told.
    pub fn name(&self) -> Option<&str> {
        self.job.get().map(String::as_str)
    }

    /// The job cannot go on: `operator` says why.
    pub fn fail_in(&self, operator: &str, error: Error) {
        self.end_with(Some(operator), error);
    }

    /// The job cannot go on; the first error is kept.
    pub fn fail(&self, error: Error) {
        self.end_with(None, error);
    }

    /// The first error is kept; a job with a name says it in the log.
    fn end_with(&self, operator: Option<&str>, error: Error) {
        let mut end = lock(&self.end);
        if end.failure.is_none() {
            if let Some(job) = self.job.get() {
                tracing::error!(job = job.as_str(), operator, "job {job} failed: {error}");
            }
            end.failure = Some(error);
        }
        drop(end);
        self.is_failed.store(true, Ordering::Release);
        self.ended.notify_all();
    }

    /// Whether [`JobMetrics::fail`] was called.
    pub fn is_failed(&self) -> bool {
        self.is_failed.load(Ordering::Acquire)
    }

    /// The error that the job failed with.
    pub fn failure(&self) -> Option<Error> {
        lock(&self.end).failure.clone()
    }

    /// One more worker has finished the dataflow.
    pub fn worker_done(&self) {
        lock(&self.end).workers_done += 1;
        self.ended.notify_all();
    }

    /// Whether all workers of this process have finished.
    pub fn is_done(&self) -> bool {
        lock(&self.end).workers_done >= self.frontiers.len()
    }

    /// Waits at most `timeout` for the end; true if the job is done or failed.
    pub fn wait(&self, timeout: Duration) -> bool {
        let over = |end: &mut End| end.workers_done < self.frontiers.len() && end.failure.is_none();
        let guard = lock(&self.end);
        let waited = self.ended.wait_timeout_while(guard, timeout, over);
        let (mut end, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !over(&mut end)
    }
}
