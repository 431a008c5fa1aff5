//! The law of saved state: an operator that is saved, put aside and loaded anew, on any number of
//! workers, emits what one that ran through does.

use arrow::array::{ArrayRef, UInt32Array};

use super::*;
use crate::batch::hash::hash_columns;
use crate::batch::partition::worker_of;
use crate::state::saved::SavedTable;

/// How often state is saved, and on how many workers the job goes on after each restart.
#[derive(Clone, Debug)]
pub struct Restarts {
    pub workers: Vec<usize>,
    /// Frontiers between two saves.
    pub every: usize,
}

pub fn restarts() -> impl Strategy<Value = Restarts> {
    (prop::collection::vec(1usize..4, 1..4), 1usize..4)
        .prop_map(|(workers, every)| Restarts { workers, every })
}

/// Tables as the store keeps them: with the worker that wrote them, the oldest first.
type Stored = Vec<(usize, SavedTable)>;

/// One run on some workers.
struct Run<L> {
    logics: Vec<L>,
    applied: EventTime,
    stored: Stored,
    is_first: bool,
}

impl<L: StatefulLogic> Run<L> {
    fn start(make: &impl Fn(usize) -> L, workers: usize, stored: &Stored, at: EventTime) -> Self {
        let mut logics: Vec<L> = (0..workers).map(make).collect();
        for (worker, logic) in logics.iter_mut().enumerate() {
            let own = |(owner, table): &(usize, SavedTable)| {
                let rows = table.rows_of(worker, workers, *owner).unwrap();
                SavedTable { rows, ..table.clone() }
            };
            if at != BEGINNING {
                logic.load(stored.iter().map(own).collect(), at).unwrap();
            }
        }
        Run { logics, applied: at, stored: stored.clone(), is_first: true }
    }

    fn advance(&mut self, to: EventTime, step: &[Row], placement: &[usize], seen: &mut Seen) {
        let workers = self.logics.len();
        for (worker, logic) in self.logics.iter_mut().enumerate() {
            let own: Vec<UpdateBatch> = step
                .chunks(7)
                .filter_map(|r| part_of(&batch(r), placement, worker, workers))
                .collect();
            let mut out = Emitted::default();
            logic.advance(self.applied, to, vec![own], &mut out).unwrap();
            seen.take(&out, Some((self.applied, to)));
        }
        self.applied = to;
    }

    fn save(&mut self, placement: &[usize]) {
        let by = (!placement.is_empty()).then_some(placement);
        let mut fresh = Vec::new();
        for (worker, logic) in self.logics.iter_mut().enumerate() {
            let (whole, tables) = logic.save(self.is_first, by).unwrap();
            assert!(whole || !self.is_first);
            if whole {
                let is_first = self.is_first;
                self.stored.retain(|(owner, _)| !is_first && *owner != worker);
            }
            fresh.extend(tables.into_iter().map(|table| (worker, table)));
        }
        self.stored.extend(fresh);
        self.is_first = false;
    }
}

/// The rows of `batch` that the exchange by `placement` sends to `worker`.
fn part_of(
    batch: &UpdateBatch,
    placement: &[usize],
    worker: usize,
    workers: usize,
) -> Option<UpdateBatch> {
    let columns: Vec<ArrayRef> = placement.iter().map(|&c| batch.column(c).clone()).collect();
    let hashes = hash_columns(&columns, batch.len()).unwrap();
    let home = |hash: u64| if placement.is_empty() { 0 } else { worker_of(hash, workers) };
    let own: Vec<u32> =
        (0..batch.len() as u32).filter(|&row| home(hashes[row as usize]) == worker).collect();
    (!own.is_empty()).then(|| batch.take(&UInt32Array::from(own)).unwrap())
}

/// Drives the logics that `make` makes for each worker; rows are exchanged by `placement`. The
/// frontiers of `cut` are shared out evenly among the runs of `restarts`.
pub fn drive_restarted<L: StatefulLogic>(
    make: impl Fn(usize) -> L,
    updates: &[Row],
    cut: &Cut,
    placement: &[usize],
    restarts: &Restarts,
) -> Seen {
    let mut seen = Seen::default();
    let mut rest = updates.to_vec();
    if cut.by_rank {
        rest.sort_by_key(|row| row.rank);
    }
    let mut take_below = |to: EventTime| {
        let (step, later): (Vec<Row>, _) =
            std::mem::take(&mut rest).into_iter().partition(|row| row.time < to);
        rest = later;
        step
    };
    let mut stored = Stored::new();
    let mut at = BEGINNING;
    let per_run = cut.frontiers.len().div_ceil(restarts.workers.len()).max(1);
    for (run, &workers) in restarts.workers.iter().enumerate() {
        let mut current = Run::start(&make, workers, &stored, at);
        let own = cut.frontiers.iter().skip(run * per_run).take(per_run);
        for (step, &to) in own.enumerate() {
            current.advance(to, &take_below(to), placement, &mut seen);
            if step % restarts.every == 0 {
                current.save(placement);
            }
        }
        if run + 1 == restarts.workers.len() {
            current.advance(CLOSED, &take_below(CLOSED), placement, &mut seen);
        } else if current.applied != BEGINNING {
            current.save(placement);
        }
        (stored, at) = (current.stored, current.applied);
    }
    seen
}
