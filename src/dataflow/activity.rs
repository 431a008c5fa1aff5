//! What the operators of one job do in this process: rows and batches in and out, and how long each
//! was busy, idle, or held back, by operator and worker.
//!
//! Each cell is written by one worker, a few relaxed additions a batch or an activation, never one
//! a row, and read by whoever asks for metrics. Rows, batches and times come from the log of
//! timely's workers (`cluster::tally`); the operators here add only what that does not know.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use timely::scheduling::Activator;

use super::metrics::lock;
use super::spilling::bytes_of;
use crate::batch::UpdateBatch;
use crate::batch::partition::Route;
use crate::limits::{METRICS_BATCHES_PER_WEIGHING, METRICS_STATE_SECONDS};
use crate::telemetry::clock::monotonic;

/// The bytes of a row beside its columns: its time.
const ROW_TIME_BYTES: usize = 8;

/// A number that one worker adds to and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes `less` away, if there is that much.
    pub fn take(&self, less: u64) {
        // An error would say that there was nothing to change.
        let less_of = |now: u64| Some(now.saturating_sub(less));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_of);
    }

    /// Adds the nanoseconds of `time`.
    pub fn add_time(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Makes it `now`.
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// What it is, as seconds of nanoseconds.
    pub fn seconds(&self) -> f64 {
        Duration::from_nanos(self.get()).as_secs_f64()
    }
}

/// What holds an operator back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// As many rows of a source are on their way as may be.
    InFlight,
    /// A source is further ahead of the others in event time than it may be.
    Drift,
    /// The writer of a sink has enough to do.
    Writer,
}

impl Wait {
    /// All of them.
    pub const ALL: [Wait; 3] = [Wait::InFlight, Wait::Drift, Wait::Writer];

    /// As users read it.
    pub fn name(self) -> &'static str {
        match self {
            Wait::InFlight => "rows_in_flight",
            Wait::Drift => "max_drift",
            Wait::Writer => "writer",
        }
    }

    fn number(self) -> usize {
        match self {
            Wait::InFlight => 0,
            Wait::Drift => 1,
            Wait::Writer => 2,
        }
    }
}

/// What one operator does on one worker.
#[derive(Debug, Default)]
pub struct OperatorActivity {
    /// Rows and batches that it was given.
    pub taken: Flow,
    /// Rows and batches that it has given.
    pub given: Flow,
    /// About the bytes of the rows that it was given.
    pub bytes: Count,
    /// Nanoseconds in which it ran.
    pub busy: Count,
    /// Nanoseconds in which it had nothing to do, or others ran.
    pub idle: Count,
    /// Nanoseconds in which it was held back, by what: in the order of [`Wait::ALL`].
    pub held_back: [Count; 3],
    /// Rows that wait in it for its frontier.
    pub queued: Count,
    state: Mutex<Option<(u64, u64)>>,
    in_flight: Mutex<Option<(u64, u64)>>,
    is_sink: AtomicBool,
    /// What holds it back: 0, or a number of a [`Wait`] and 1.
    waits: AtomicU8,
}

/// Rows and batches.
#[derive(Debug, Default)]
pub struct Flow {
    /// Rows.
    pub rows: Count,
    /// Batches.
    pub batches: Count,
}

impl Flow {
    /// One batch more, of `rows` rows.
    pub fn add(&self, rows: u64) {
        self.rows.add(rows);
        self.batches.add(1);
    }
}

impl OperatorActivity {
    /// Whether something can hold it back: only sources and sinks are.
    pub fn can_wait_for(&self, wait: Wait) -> bool {
        match wait {
            Wait::InFlight | Wait::Drift => self.in_flight().is_some(),
            Wait::Writer => self.is_sink.load(Ordering::Relaxed),
        }
    }

    /// Rows of a source that are on their way, and how many may be; `None` if it is none.
    pub fn in_flight(&self) -> Option<(u64, u64)> {
        *lock(&self.in_flight)
    }

    /// It is a source with `rows` rows on their way, of which there may be `most`.
    pub fn set_in_flight(&self, rows: usize, most: usize) {
        *lock(&self.in_flight) = Some((rows as u64, most as u64));
    }

    /// It gives rows to the writer of a sink.
    pub fn writes(&self) {
        self.is_sink.store(true, Ordering::Relaxed);
    }

    /// Rows or groups of its state, and about their bytes; `None` before they were counted.
    pub fn state(&self) -> Option<(u64, u64)> {
        *lock(&self.state)
    }

    /// Its state has `rows` rows of about `bytes` bytes in all.
    pub fn set_state(&self, rows: u64, bytes: u64) {
        *lock(&self.state) = Some((rows, bytes));
    }

    /// From now on `wait` holds it back, or nothing.
    pub fn set_wait(&self, wait: Option<Wait>) {
        let number = wait.map_or(0, |wait| wait.number() as u8 + 1);
        self.waits.store(number, Ordering::Relaxed);
    }

    /// What holds it back.
    pub fn wait(&self) -> Option<Wait> {
        let number = usize::from(self.waits.load(Ordering::Relaxed));
        Wait::ALL.get(number.checked_sub(1)?).copied()
    }

    /// It did not run for `time`.
    pub fn rested(&self, time: Duration) {
        match self.wait().and_then(|wait| self.held_back.get(wait.number())) {
            Some(count) => count.add_time(time),
            None => self.idle.add_time(time),
        }
    }
}

/// How a worker has spent its time, all jobs together.
#[derive(Debug, Default)]
pub struct WorkerTimes {
    /// Nanoseconds at work.
    pub busy: Count,
    /// Nanoseconds asleep.
    pub idle: Count,
    /// Nanoseconds asleep while an operator of it was held back.
    pub held_back: Count,
}

/// An operator and a worker.
pub type Cell = (String, usize);

/// An input of an operator.
pub type Edge = (String, usize);

/// An exchange as one worker receives it.
#[derive(Debug)]
pub struct Exchange {
    /// How rows find their worker.
    pub kind: &'static str,
    /// What came to this worker.
    pub received: Flow,
}

/// The activity of one job in this process.
#[derive(Debug, Default)]
pub struct Activity {
    operators: Mutex<BTreeMap<Cell, Arc<OperatorActivity>>>,
    kinds: Mutex<BTreeMap<Edge, &'static str>>,
    exchanges: Mutex<BTreeMap<(Edge, usize), Arc<Exchange>>>,
}

impl Activity {
    /// The cell of `operator` on worker `worker` (of all processes).
    pub fn operator(&self, operator: &str, worker: usize) -> Arc<OperatorActivity> {
        Arc::clone(lock(&self.operators).entry((operator.to_owned(), worker)).or_default())
    }

    /// Input `input` of `operator` is behind an exchange.
    pub fn is_exchanged(&self, operator: &str, input: usize, route: &Route) {
        lock(&self.kinds).insert((operator.to_owned(), input), route.kind());
    }

    /// What worker `worker` receives at an input, if that is behind an exchange.
    pub fn exchange(&self, edge: &Edge, worker: usize) -> Option<Arc<Exchange>> {
        let kind = *lock(&self.kinds).get(edge)?;
        let fresh = || Arc::new(Exchange { kind, received: Flow::default() });
        let mut exchanges = lock(&self.exchanges);
        Some(Arc::clone(exchanges.entry((edge.clone(), worker)).or_insert_with(fresh)))
    }

    /// All operators, by name and worker.
    pub fn operators(&self) -> Vec<(Cell, Arc<OperatorActivity>)> {
        let operators = lock(&self.operators);
        operators.iter().map(|(cell, own)| (cell.clone(), Arc::clone(own))).collect()
    }

    /// All exchanges, by operator, input and worker.
    pub fn exchanges(&self) -> Vec<((Edge, usize), Arc<Exchange>)> {
        let exchanges = lock(&self.exchanges);
        exchanges.iter().map(|(at, own)| (at.clone(), Arc::clone(own))).collect()
    }
}

/// Says how many bytes an operator is given: the width of rows is measured on one batch of several.
#[derive(Debug)]
pub struct Scales {
    cell: Arc<OperatorActivity>,
    batches: u64,
    row_bytes: u64,
}

impl Scales {
    /// For the operator of `cell`.
    pub fn new(cell: Arc<OperatorActivity>) -> Self {
        Scales { cell, batches: 0, row_bytes: 0 }
    }

    /// The operator is given `batch`.
    pub fn weigh(&mut self, batch: &UpdateBatch) {
        let rows = batch.len();
        if rows == 0 {
            return;
        }
        if self.batches.is_multiple_of(METRICS_BATCHES_PER_WEIGHING) {
            let bytes = bytes_of(batch.rows()) / rows + ROW_TIME_BYTES;
            self.row_bytes = bytes as u64;
        }
        self.batches += 1;
        self.cell.bytes.add(self.row_bytes * rows as u64);
    }

    /// About the bytes of a row.
    pub fn row_bytes(&self) -> u64 {
        self.row_bytes
    }

    /// What is weighed for.
    pub fn cell(&self) -> &OperatorActivity {
        &self.cell
    }
}

/// An operator that is gone holds nothing.
impl Drop for Scales {
    fn drop(&mut self) {
        self.cell.queued.set(0);
        self.cell.set_wait(None);
        if self.cell.state().is_some() {
            self.cell.set_state(0, 0);
        }
    }
}

/// Counts the state of an operator, not more often than every second.
#[derive(Debug, Default)]
pub struct StateCount {
    /// When it was counted last.
    counted: Option<Instant>,
    /// Whether it has changed since.
    has_changed: bool,
    /// Whether the operator is going to be run again for that.
    is_called: bool,
}

impl StateCount {
    /// The state has changed.
    pub fn changed(&mut self) {
        self.has_changed = true;
    }

    /// Counts if it is time, or else has the operator run again when it is: an operator without
    /// input must not keep a number that was true a second before its last.
    pub fn look(&mut self, calls: &Activator, count: impl FnOnce()) {
        const EVERY: Duration = Duration::from_secs(METRICS_STATE_SECONDS);
        if !self.has_changed {
            return;
        }
        let now = monotonic();
        let waited = self.counted.map_or(EVERY, |counted| now.duration_since(counted));
        if waited >= EVERY {
            count();
            *self = StateCount { counted: Some(now), has_changed: false, is_called: false };
        } else if !self.is_called {
            self.is_called = true;
            calls.activate_after(EVERY - waited);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, StringViewArray};

    use super::*;

    #[test]
    fn time_without_running_is_idle_unless_something_holds_it_back() {
        let cell = OperatorActivity::default();
        cell.rested(Duration::from_secs(1));
        for (wait, seconds) in Wait::ALL.into_iter().zip(2..) {
            cell.set_wait(Some(wait));
            assert_eq!(cell.wait(), Some(wait));
            cell.rested(Duration::from_secs(seconds));
        }
        cell.set_wait(None);
        cell.rested(Duration::from_secs(10));
        assert_eq!(cell.idle.seconds(), 11.0);
        assert_eq!(cell.held_back.each_ref().map(Count::seconds), [2.0, 3.0, 4.0]);
    }

    #[test]
    fn bytes_are_those_of_the_rows_of_a_batch_alone() {
        let texts = StringViewArray::from(vec!["a text that is longer than twelve bytes"; 100]);
        let numbers = Int64Array::from_iter_values(0..100);
        let columns: Vec<(&str, arrow::array::ArrayRef)> =
            vec![("n", Arc::new(numbers)), ("t", Arc::new(texts))];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let cell = Arc::new(OperatorActivity::default());
        let mut scales = Scales::new(Arc::clone(&cell));
        scales.weigh(&UpdateBatch::at(rows.slice(50, 10), 1));
        // The number, the view, the text behind it and the time.
        assert_eq!(cell.bytes.get(), 10 * (8 + 16 + 39 + 8));
        scales.weigh(&UpdateBatch::at(rows.slice(0, 0), 1));
        scales.weigh(&UpdateBatch::at(rows, 1));
        assert_eq!(cell.bytes.get(), 110 * (8 + 16 + 39 + 8));
    }
}
