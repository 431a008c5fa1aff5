//! The memory budget of a job: what the process uses, and which operator must give memory back.
//!
//! The measure is what the system counts as the process's memory. Each stateful operator of each
//! worker has a [`Share`] that says about how much of it is its state; when the process comes near
//! the budget the large ones are put aside.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::{
    BUDGET_IN_FLIGHT_DIVISOR, BUDGET_ROW_BYTES_GUESS, BUDGET_ROWS_IN_FLIGHT_MIN,
    BUDGET_SHORT_DIVISOR, SPILL_HARD_PERCENT, SPILL_PIECE_DIVISOR, SPILL_SHARE_DIVISOR,
    SPILL_START_PERCENT,
};
use crate::telemetry::clock::monotonic;
use crate::telemetry::memory::resident_bytes;

/// The memory budget of one job in this process.
#[derive(Debug)]
pub struct Memory {
    budget: u64,
    dir: PathBuf,
    workers: u64,
    /// What the widest rows take that an operator was given, about; 0 before any.
    row_bytes: AtomicU64,
    shares: Mutex<Vec<Arc<AtomicU64>>>,
    /// What the process was last seen to use, and when that was, in ms since `began`.
    seen: AtomicU64,
    seen_at: AtomicI64,
    began: std::time::Instant,
    used: Used,
}

/// What was put aside and came back.
#[derive(Debug, Default)]
struct Used {
    spilled: AtomicU64,
    restored: AtomicU64,
    disk: AtomicU64,
}

/// What was put aside so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spilled {
    /// The budget.
    pub budget: u64,
    /// Bytes written to disk.
    pub spilled: u64,
    /// Bytes read back.
    pub restored: u64,
    /// Bytes on disk now.
    pub disk: u64,
}

/// About how much of the memory is one operator's state.
#[derive(Debug)]
pub struct Share {
    memory: Arc<Memory>,
    bytes: Arc<AtomicU64>,
}

impl Memory {
    /// A budget of `budget` bytes for `workers` workers; files go to `dir`.
    pub fn new(budget: u64, dir: &Path, workers: usize) -> Arc<Self> {
        Arc::new(Memory {
            budget,
            dir: dir.to_owned(),
            workers: workers.max(1) as u64,
            row_bytes: AtomicU64::new(0),
            shares: Mutex::default(),
            seen: AtomicU64::new(0),
            seen_at: AtomicI64::new(-1),
            began: monotonic(),
            used: Used::default(),
        })
    }

    /// The budget.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// How much a worker reads back, or gathers to be put aside, at a time, in bytes.
    pub fn piece_bytes(&self) -> u64 {
        self.budget / SPILL_PIECE_DIVISOR / self.workers
    }

    /// An operator is given rows of about `bytes` bytes.
    pub fn note_rows_of(&self, bytes: u64) {
        self.row_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Rows that may be in flight on a worker: they are in memory more than once on their way.
    pub fn rows_in_flight(&self) -> usize {
        let width = match self.row_bytes.load(Ordering::Relaxed) {
            0 => BUDGET_ROW_BYTES_GUESS,
            bytes => bytes,
        };
        let most = self.budget / BUDGET_IN_FLIGHT_DIVISOR / self.workers / width;
        let most = if self.is_short() { most / BUDGET_SHORT_DIVISOR } else { most };
        usize::try_from(most).unwrap_or(usize::MAX).max(BUDGET_ROWS_IN_FLIGHT_MIN)
    }

    /// What was put aside so far.
    pub fn spilled(&self) -> Spilled {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Used { spilled, restored, disk } = &self.used;
        let budget = self.budget;
        Spilled { budget, spilled: of(spilled), restored: of(restored), disk: of(disk) }
    }

    /// A share for one operator.
    pub fn share(self: &Arc<Self>) -> Share {
        let bytes = Arc::new(AtomicU64::new(0));
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.push(Arc::clone(&bytes));
        Share { memory: Arc::clone(self), bytes }
    }

    /// What the process uses; looked up once a millisecond.
    fn resident(&self) -> u64 {
        let now = i64::try_from(monotonic().duration_since(self.began).as_millis());
        let now = now.unwrap_or(i64::MAX);
        if self.seen_at.swap(now, Ordering::Relaxed) != now {
            self.seen.store(resident_bytes().unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.seen.load(Ordering::Relaxed)
    }

    /// Whether the process uses nearly all of it.
    fn is_short(&self) -> bool {
        self.resident() >= self.budget / 100 * SPILL_HARD_PERCENT
    }

    /// How many operators there are, and the share of the largest.
    fn shares(&self) -> (u64, u64) {
        let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let largest = shares.iter().map(|share| share.load(Ordering::Relaxed)).max();
        (shares.len() as u64, largest.unwrap_or(0))
    }

    /// Where files go.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn wrote(&self, bytes: u64) {
        self.used.spilled.fetch_add(bytes, Ordering::Relaxed);
        self.used.disk.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn read(&self, bytes: u64) {
        self.used.restored.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, bytes: u64) {
        self.used.disk.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Share {
    /// The budget that it is a share of.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Says about how large the state is; whether it must be put aside.
    pub fn must_yield(&self, bytes: u64) -> bool {
        self.bytes.store(bytes, Ordering::Relaxed);
        let budget = self.memory.budget;
        // Small states are not worth it, whatever else fills the memory.
        let least = budget / SPILL_SHARE_DIVISOR;
        if bytes < least {
            return false;
        }
        let resident = self.memory.resident();
        if resident < budget / 100 * SPILL_START_PERCENT {
            return false;
        }
        let (count, largest) = self.memory.shares();
        // Often little is put aside where memory is given back late; that is not worth it either.
        let fair = match resident < budget / 100 * SPILL_HARD_PERCENT {
            true => budget / 4 / count.max(1),
            false => least,
        };
        bytes >= fair && bytes >= largest / 2
    }

    /// Says that the state has been put aside.
    pub fn clear(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self.memory.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|share| !Arc::ptr_eq(share, &self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_states_yield() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(1 << 20, dir.path(), 1);
        let (large, small) = (memory.share(), memory.share());
        assert!(large.must_yield(1 << 20));
        assert!(!small.must_yield(1 << 10), "not worth it");
        assert!(!small.must_yield(1 << 18), "others have more");
        large.clear();
        assert!(small.must_yield(1 << 18));
        let wide = Memory::new(u64::MAX, dir.path(), 1);
        assert!(!wide.share().must_yield(u64::MAX), "there is room");
    }

    #[test]
    fn fewer_rows_are_in_flight_the_wider_they_are() {
        let memory = Memory::new(1 << 50, Path::new("/"), 2);
        let unknown = memory.rows_in_flight();
        memory.note_rows_of(100);
        let narrow = memory.rows_in_flight();
        memory.note_rows_of(100_000);
        assert!(narrow > unknown && unknown > memory.rows_in_flight());
        let short = Memory::new(1 << 20, Path::new("/"), 2);
        assert_eq!(short.rows_in_flight(), BUDGET_ROWS_IN_FLIGHT_MIN);
    }
}
