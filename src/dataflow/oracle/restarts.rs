//! The laws of saved state: an operator that is saved, put aside and loaded anew, on any number of
//! workers, emits what one that ran through does; and so does one that puts all of its state on
//! disk whenever it can.

use arrow::array::{ArrayRef, UInt32Array};

use super::super::logic::Rest;
use super::super::spilling::Spilling;
use super::*;
use crate::batch::hash::hash_columns;
use crate::batch::partition::worker_of;
use crate::error::Result;
use crate::spill::Memory;
use crate::state::saved::{
    Recovery, SavedTable, compact, log_input, log_name, log_rows, log_schema, log_updates,
};
use crate::time::Resolution;

/// How often state is saved, and on how many workers the job goes on after each restart.
#[derive(Clone, Debug)]
pub struct Restarts {
    pub workers: Vec<usize>,
    /// Frontiers between two saves.
    pub every: usize,
    /// Whether state is put aside with every step.
    pub spills: bool,
    /// How many rows a save gives at a time, and whether it goes on only after the next frontier.
    pub piece: usize,
    pub is_slow: bool,
}

pub fn restarts() -> impl Strategy<Value = Restarts> {
    let flags = any::<[bool; 2]>();
    (prop::collection::vec(1usize..4, 1..4), 1usize..4, 1usize..4, flags).prop_map(
        |(workers, every, piece, [spills, is_slow])| Restarts {
            workers,
            every,
            spills,
            piece,
            is_slow,
        },
    )
}

/// A length of which all frontiers of `cut` are multiples, as the ticks of the operators are.
fn tick_of(cut: &Cut) -> EventTime {
    let divisor = |a: EventTime, b: EventTime| {
        let (mut a, mut b) = (a, b);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    // Without frontiers nothing is known of ticks: one that nothing reaches beyond.
    match cut.frontiers.iter().fold(0, |tick, &frontier| divisor(tick, frontier)) {
        0 => 1 << 40,
        tick => tick,
    }
}

/// The logic that `make` makes; if it can, it puts its state aside with every step.
fn spilling<'a, L: StatefulLogic + 'static>(
    make: impl Fn() -> L + 'a,
    by: &[Vec<usize>],
    tick: EventTime,
) -> Box<dyn StatefulLogic + 'a> {
    if make().rest() == Rest::Never || by.iter().any(Vec::is_empty) {
        return Box::new(make());
    }
    let memory = Memory::new(0, &std::env::temp_dir(), 1);
    let make = move || -> Result<Box<dyn StatefulLogic>> { Ok(Box::new(make())) };
    let resolution = Resolution::new(tick);
    Box::new(Spilling::new(Box::new(make), by.to_vec(), resolution, &memory).unwrap())
}

/// Tables as the store keeps them: with the worker that wrote them, the oldest first.
type Stored = Vec<(usize, SavedTable)>;

/// One run on some workers.
struct Run<'a> {
    logics: Vec<Box<dyn StatefulLogic + 'a>>,
    applied: EventTime,
    stored: Stored,
    is_first: bool,
    /// By worker and input what was applied, or by worker what was emitted, since the last save.
    log: Vec<Vec<Vec<UpdateBatch>>>,
    piece: usize,
    /// Whether a save has given its first piece alone.
    is_saving: bool,
}

impl<'a> Run<'a> {
    fn start<L: StatefulLogic + 'static>(
        make: &'a impl Fn(usize) -> L,
        (workers, spills): (usize, Option<EventTime>),
        by: &[Vec<usize>],
        (stored, at): (&Stored, EventTime),
        piece: usize,
    ) -> Self {
        let inputs = by.len();
        let logic = |worker: usize| -> Box<dyn StatefulLogic + 'a> {
            match spills {
                Some(tick) => spilling(move || make(worker), by, tick),
                None => Box::new(make(worker)),
            }
        };
        let mut logics: Vec<_> = (0..workers).map(logic).collect();
        for (worker, logic) in logics.iter_mut().enumerate().filter(|_| at != BEGINNING) {
            let own = |(owner, table): &(usize, SavedTable)| {
                let rows = table.rows_of(worker, workers, *owner).unwrap();
                SavedTable { rows, ..table.clone() }
            };
            let own: Vec<SavedTable> = stored.iter().map(own).collect();
            if logic.recovery() == Recovery::Tables {
                logic.load(own, at).unwrap();
                continue;
            }
            let mut logs = vec![Vec::new(); inputs];
            for table in own.iter().filter(|table| table.rows.num_rows() > 0) {
                let updates = log_updates(&table.rows, &log_schema(&table.rows)).unwrap();
                logs[log_input(&table.name).unwrap()].push(updates);
            }
            if logs.iter().any(|log| !log.is_empty()) {
                logic.catch_up(at, logs).unwrap();
            }
        }
        let log = vec![vec![Vec::new(); inputs]; workers];
        let (stored, is_first, is_saving) = (stored.clone(), true, false);
        Run { logics, applied: at, stored, is_first, log, piece, is_saving }
    }

    fn advance(&mut self, to: EventTime, step: &[Vec<Row>], by: &[Vec<usize>], seen: &mut Seen) {
        let workers = self.logics.len();
        for (worker, logic) in self.logics.iter_mut().enumerate() {
            let mut inputs = Vec::new();
            for (rows, by) in step.iter().zip(by) {
                let parts = rows.chunks(7);
                let own = parts.filter_map(|r| part_of(&batch(r), by, worker, workers));
                inputs.push(own.collect::<Vec<UpdateBatch>>());
            }
            for (input, log) in self.log[worker].iter_mut().enumerate() {
                if !logic.is_its_output() && logic.is_logged(input) {
                    log.extend(inputs[input].iter().cloned());
                }
            }
            let mut out = Emitted::default();
            logic.advance(self.applied, to, inputs, &mut out).unwrap();
            if logic.is_its_output() {
                self.log[worker][0].extend(out.updates.iter().cloned());
            }
            seen.take(&out, Some((self.applied, to)));
        }
        self.applied = to;
    }

    /// Gives what is left of the last save.
    fn finish_save(&mut self) {
        if !std::mem::take(&mut self.is_saving) {
            return;
        }
        for (worker, logic) in self.logics.iter_mut().enumerate() {
            while let Some(table) = logic.save_more(self.piece).unwrap() {
                self.stored.push((worker, table));
            }
        }
    }

    fn save(&mut self, by: &[Vec<usize>]) {
        self.finish_save();
        self.is_saving = true;
        let shard = |input: usize| (!by[input].is_empty()).then(|| by[input].clone());
        let mut fresh = Vec::new();
        for (worker, logic) in self.logics.iter_mut().enumerate() {
            let logs = std::mem::take(&mut self.log[worker]);
            self.log[worker] = vec![Vec::new(); logs.len()];
            if logic.recovery() == Recovery::Tables {
                let (whole, tables) = logic.save(self.is_first, shard(0).as_deref()).unwrap();
                assert!(whole || !self.is_first);
                if whole {
                    let is_first = self.is_first;
                    self.stored.retain(|(owner, _)| !is_first && *owner != worker);
                }
                fresh.extend(tables.into_iter().map(|table| (worker, table)));
                let more = logic.save_more(self.piece).unwrap();
                fresh.extend(more.map(|table| (worker, table)));
                continue;
            }
            for (input, log) in logs.into_iter().enumerate().filter(|(_, log)| !log.is_empty()) {
                let all = UpdateBatch::concat(&log[0].schema(), &log).unwrap();
                let (name, shard) = (log_name(input), shard(input));
                fresh.push((worker, SavedTable { name, rows: log_rows(&all).unwrap(), shard }));
            }
        }
        self.stored.extend(fresh);
        let recoveries = self.logics.iter().map(|logic| logic.recovery());
        match recoveries.reduce(Recovery::with).unwrap() {
            Recovery::Contents => self.sum_up(),
            Recovery::Since(first) => self.drop_before(first),
            _ => {}
        }
        self.is_first = false;
    }

    /// Logs that may lie anywhere are summed up over all workers.
    fn sum_up(&mut self) {
        let mut sums = Stored::new();
        for (owner, table) in std::mem::take(&mut self.stored) {
            let is_of = |(o, t): &&mut (usize, SavedTable)| {
                t.name == table.name && (t.shard.is_some() || *o == owner)
            };
            let schema = log_schema(&table.rows);
            match sums.iter_mut().find(is_of) {
                Some((_, sum)) => {
                    let parts = [sum.rows.clone(), table.rows];
                    sum.rows = compact(&schema, &parts, self.applied).unwrap();
                }
                None => sums.push((owner, table)),
            }
        }
        self.stored = sums;
    }

    /// What is of no use goes, table by table.
    fn drop_before(&mut self, first: EventTime) {
        self.stored.retain(|(_, table)| {
            let updates = log_updates(&table.rows, &log_schema(&table.rows)).unwrap();
            updates.time_range().is_some_and(|(_, last)| last >= first)
        });
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
pub fn drive_restarted<L: StatefulLogic + 'static>(
    make: impl Fn(usize) -> L,
    updates: &[Row],
    cut: &Cut,
    placement: &[usize],
    restarts: &Restarts,
) -> Seen {
    drive_all_restarted(make, &[updates], cut, &[placement.to_vec()], restarts)
}

/// The same for a logic of several inputs, each exchanged by columns of its own.
pub fn drive_all_restarted<L: StatefulLogic + 'static>(
    make: impl Fn(usize) -> L,
    inputs: &[&[Row]],
    cut: &Cut,
    placements: &[Vec<usize>],
    restarts: &Restarts,
) -> Seen {
    let mut seen = Seen::default();
    let mut rest: Vec<Vec<Row>> = inputs.iter().map(|rows| rows.to_vec()).collect();
    if cut.by_rank {
        rest.iter_mut().for_each(|rows| rows.sort_by_key(|row| row.rank));
    }
    let mut take_below = |to: EventTime| -> Vec<Vec<Row>> {
        let split = |rows: &mut Vec<Row>| {
            let (step, later): (Vec<Row>, _) =
                std::mem::take(rows).into_iter().partition(|row| row.time < to);
            *rows = later;
            step
        };
        rest.iter_mut().map(split).collect()
    };
    let mut stored = Stored::new();
    let mut at = BEGINNING;
    let per_run = cut.frontiers.len().div_ceil(restarts.workers.len()).max(1);
    for (run, &workers) in restarts.workers.iter().enumerate() {
        let spread = (workers, restarts.spills.then_some(tick_of(cut)));
        let mut current = Run::start(&make, spread, placements, (&stored, at), restarts.piece);
        let own = cut.frontiers.iter().skip(run * per_run).take(per_run);
        for (step, &to) in own.enumerate() {
            current.advance(to, &take_below(to), placements, &mut seen);
            if step % restarts.every == 0 {
                current.save(placements);
            }
            if !restarts.is_slow {
                current.finish_save();
            }
        }
        if run + 1 == restarts.workers.len() {
            current.advance(CLOSED, &take_below(CLOSED), placements, &mut seen);
        } else if current.applied != BEGINNING {
            current.save(placements);
        }
        current.finish_save();
        (stored, at) = (current.stored, current.applied);
    }
    seen
}
