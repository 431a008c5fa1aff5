//! Counters of a job, shared by its workers and whoever watches it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::logic::Irregular;
use crate::error::{DeadLetter, Error};
use crate::limits::DEAD_LETTERS_KEPT_MAX;
use crate::spill::Memory;
use crate::spill::memory::Spilled;
use crate::time::{BEGINNING, EventTime};

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
}

/// Counters and end of one job in this process.
#[derive(Debug)]
pub struct JobMetrics {
    /// One a source.
    pub sources: Vec<SourceMetrics>,
    /// One an output.
    pub outputs: Vec<OutputMetrics>,
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
    kept: Mutex<VecDeque<DeadLetter>>,
    frontiers: Vec<AtomicI64>,
    memory: Option<Arc<Memory>>,
    end: Mutex<End>,
    ended: Condvar,
    is_failed: AtomicBool,
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
        let output = |name| OutputMetrics { name, updates: AtomicU64::new(0) };
        JobMetrics {
            sources: tables.into_iter().map(source).collect(),
            outputs: outputs.into_iter().map(output).collect(),
            late_rows: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            unknown_updates: AtomicU64::new(0),
            absent_deletes: AtomicU64::new(0),
            duplicate_inserts: AtomicU64::new(0),
            kept: Mutex::new(VecDeque::new()),
            frontiers: (0..workers).map(|_| AtomicI64::new(BEGINNING)).collect(),
            memory: None,
            end: Mutex::new(End::default()),
            ended: Condvar::new(),
            is_failed: AtomicBool::new(false),
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

    /// Counts changes that did not fit what they change.
    pub fn record_irregular(&self, irregular: Irregular) {
        let add = |counter: &AtomicU64, count: u64| {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        };
        add(&self.unknown_updates, irregular.unknown_updates);
        add(&self.absent_deletes, irregular.absent_deletes);
        add(&self.duplicate_inserts, irregular.duplicate_inserts);
    }

    /// Counts dead letters and keeps the latest of them.
    pub fn record_dead_letters(&self, letters: &[DeadLetter]) {
        self.dead_letters.fetch_add(letters.len() as u64, Ordering::Relaxed);
        let mut kept = lock(&self.kept);
        for letter in letters {
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

    /// The job cannot go on; the first error is kept.
    pub fn fail(&self, error: Error) {
        lock(&self.end).failure.get_or_insert(error);
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
