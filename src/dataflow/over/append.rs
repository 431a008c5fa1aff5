//! OVER by row-time of input that only grows: each row once, when the frontier passes it.
//!
//! State: per partition the number of rows, the aggregates of its frames as of its last row, and
//! the rows that will leave a frame or that `LAG` looks at: at most those of the longest frame.
//! Rows of RANGE frames are dropped when the frontier has passed them by the frame's length, and
//! a partition of which nothing else is known with them.
//!
//! Law: a row in good time is emitted with its results at its row-time (and the input's lag), equal
//! to those of batch SQL over all rows in good time. A row whose row-time has been passed when it
//! comes is late. Rows of one partition and row-time are ordered by the rest of the order, then
//! by the whole row.

mod partition;
mod saved;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::SchemaRef;

use self::partition::{Looks, Partition, Ranks, Run};
use super::held::HeldRows;
use super::lines::{gather, shifted};
use super::moves::{Moves, take_rows};
use super::program::Program;
use super::slices::{RowClock, Slice};
use crate::batch::{UpdateBatch, rows_without_columns};
use crate::dataflow::driver::Stash;
use crate::dataflow::logic::{Emitted, Rest, StatefulLogic};
use crate::dataflow::unsaved::Unsaved;
use crate::error::Result;
use crate::plan::over::{OverAggregate, OverFrame, OverFunction};
use crate::state::aggregate::AggregateStates;
use crate::state::column::Column;
use crate::state::keyed::out_of_range;
use crate::state::keys::GroupKeys;
use crate::state::saved::{Recovery, SavedTable};
use crate::state::touched::{Increments, Touched};
use crate::time::{CLOSED, EventTime};

/// The logic of an OVER by row-time.
pub struct Appending {
    over: OverAggregate,
    program: Program,
    input: SchemaRef,
    output: SchemaRef,
    clock: RowClock,
    keys: GroupKeys,
    partitions: Vec<Partition>,
    /// For each frame, by partition.
    states: Vec<AggregateStates>,
    held: HeldRows,
    /// Rows in good time that the frontier has not passed.
    pending: Stash,
    /// For each slice whose rows may leave RANGE frames: its greatest value and its partitions.
    leaving: VecDeque<(i64, Vec<u32>)>,
    /// The least offset of a RANGE frame's end by which rows leave or enter without new rows.
    expires: Option<i64>,
    /// Whether a partition without rows held has nothing to remember.
    forgets: bool,
    /// Rows at the start of partitions that are held for ever (NTH_VALUE).
    heads: u64,
    /// Of each step that may hold rows that still matter: the greatest row-time, and the least
    /// time.
    steps: VecDeque<(i64, EventTime)>,
    /// Partitions touched, and pending rows that have come, since the last save.
    changed: Touched,
    unsaved: Unsaved,
    increments: Increments,
}

/// `place + offset`, not before the first.
fn shifted_place(place: u64, offset: i64) -> u64 {
    place.saturating_add_signed(offset)
}

impl Appending {
    /// Over rows of `input`, which come at most `lag` ms behind their row-time; `output` is the
    /// input and the results.
    pub fn new(input: SchemaRef, over: OverAggregate, output: SchemaRef, lag: i64) -> Result<Self> {
        let program = Program::new(&input, &over, |frame| frame.start.is_none())?;
        let clock = RowClock::new(&input, &over, lag)?;
        let types = over.partition.iter().map(|&c| input.field(c).data_type().clone());
        let states =
            program.frames.iter().map(|f| AggregateStates::new(Arc::clone(&f.plan))).collect();
        let ranges = program.frames.iter().map(|f| f.frame).filter(|f| !f.rows);
        let moves = |frame: OverFrame| frame.start.or(frame.end.filter(|end| *end < 0));
        let expires = ranges.filter_map(moves).min();
        let forgets = over.calls.iter().all(|call| {
            call.function.reads_frame() && !call.frame.rows && call.frame.start.is_some()
        });
        let heads = over.calls.iter().map(|call| match &call.function {
            OverFunction::Nth { place, .. } if call.frame.start.is_none() => *place,
            _ => 0,
        });
        let narrow = Arc::new(input.project(&program.used)?);
        Ok(Appending {
            clock,
            keys: GroupKeys::new(types.collect()),
            partitions: Vec::new(),
            states,
            held: HeldRows::new(narrow),
            pending: Stash::default(),
            leaving: VecDeque::new(),
            expires,
            forgets,
            heads: heads.max().unwrap_or(0),
            steps: VecDeque::new(),
            changed: Touched::default(),
            unsaved: Unsaved::default(),
            increments: Increments::default(),
            over,
            program,
            input,
            output,
        })
    }

    fn slice(&mut self, batches: &[UpdateBatch]) -> Result<Slice> {
        let batch = UpdateBatch::concat(&self.input, batches)?;
        let columns = GroupKeys::read(self.over.partition.iter().map(|&c| batch.column(c)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut groups = Vec::new();
        self.keys.intern(&columns, 0..batch.len(), &mut groups)?;
        self.make_room(&groups);
        self.changed.touch(&groups, self.keys.bound());
        self.clock.sort(&batch, &groups)
    }

    fn apply(&mut self, batches: &[UpdateBatch], out: &mut Emitted) -> Result<()> {
        let slice = self.slice(batches)?;
        let narrowed = self.program.narrow(&slice.rows)?;
        let count = slice.groups.len();
        let mut looks = Looks { own: count, ..Looks::default() };
        let mut moves: Vec<Moves> = self.states.iter().map(|_| Moves::default()).collect();
        let mut picks: Vec<Vec<Option<u32>>> = self
            .program
            .functions
            .iter()
            .map(|f| match f {
                OverFunction::Shift { .. } | OverFunction::Nth { .. } => vec![None; count],
                _ => Vec::new(),
            })
            .collect();
        let (mut places, mut ranks) = (Vec::with_capacity(count), Ranks::default());
        let mut start = 0;
        for group in slice.groups.chunk_by(|a, b| a == b) {
            let rows = start..start + group.len();
            start = rows.end;
            let first = self.partitions[group[0] as usize].count;
            let run = Run { slice: &slice, group: group[0], rows, first };
            places.extend((run.first..run.end()).map(|place| place as i64));
            for (frame, moves) in moves.iter_mut().enumerate() {
                self.frame_moves(&run, frame, moves, &mut looks, &mut picks);
            }
            self.shifts(&run, &mut looks, &mut picks);
            let partition = &mut self.partitions[run.group as usize];
            ranks.add(&run, partition);
            partition.count = run.end();
        }
        places.extend(&looks.places);
        let held = self.held.rows(&looks.slots)?;
        let all = joined(&narrowed, &held)?;
        let arguments = self.program.arguments(&all)?;
        let mut framed = Vec::new();
        for (moves, states) in moves.into_iter().zip(&mut self.states) {
            framed.push(moves.run(states, &arguments, &places)?);
        }
        let found = gather(&self.program, &self.output, &framed, |call, _| {
            let own = || (0..count as u32).collect::<Vec<u32>>();
            match &self.program.functions[call] {
                OverFunction::Shift { column, default, .. } => {
                    let picks = std::mem::take(&mut picks[call]);
                    shifted(&all, *column, *default, picks, own())
                }
                OverFunction::Nth { column, .. } => {
                    let picks = UInt32Array::from(std::mem::take(&mut picks[call]));
                    Ok(take(all.column(*column), &picks, None)?)
                }
                function => ranks.column(function),
            }
        })?;
        self.keep(&slice, &narrowed)?;
        let mut columns = slice.rows.columns().to_vec();
        let first = columns.len();
        columns.extend(found.columns);
        let letters = out_of_range(&self.output, &columns, first, &found.failed)?;
        for (letter, (row, _)) in letters.into_iter().zip(&found.failed) {
            out.dead.push(letter, slice.times[*row]);
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        out.push(UpdateBatch::new(rows, slice.times.into(), None));
        Ok(())
    }

    /// What enters and leaves frame `index` row by row, and its rows that NTH_VALUE picks.
    fn frame_moves(
        &mut self,
        run: &Run<'_>,
        index: usize,
        moves: &mut Moves,
        looks: &mut Looks,
        picks: &mut [Vec<Option<u32>>],
    ) {
        let frame = self.program.frames[index].frame;
        let partition = &self.partitions[run.group as usize];
        let (mut start, mut end) = partition.edges[index];
        for row in run.rows.clone() {
            let round = (row - run.rows.start) as u32;
            let place = run.first + u64::from(round);
            let peers = run.slice.peers(row);
            let behind = |peer: usize| run.first + (peer - run.rows.start) as u64;
            let value = i128::from(run.slice.values[row]);
            let from = match frame.start {
                None => 0,
                Some(rows) if frame.rows => shifted_place(place, rows),
                Some(0) => behind(peers.start),
                Some(units) => {
                    let least = value + i128::from(units);
                    let mut from = start;
                    while from < place && i128::from(run.value(partition, from)) < least {
                        from += 1;
                    }
                    from
                }
            };
            let to = match frame.end {
                Some(0) if !frame.rows => behind(peers.end),
                Some(units) if !frame.rows => {
                    let most = value + i128::from(units);
                    let mut to = end;
                    while to < place && i128::from(run.value(partition, to)) <= most {
                        to += 1;
                    }
                    to
                }
                // Before the first row there is none.
                rows => place.checked_add_signed(rows.unwrap_or(0)).map_or(0, |last| last + 1),
            };
            let to = to.max(from).max(end);
            for place in end.max(from)..to {
                moves.enter(round, run.row(partition, place, looks), run.group);
            }
            for place in start..from.min(end) {
                moves.leave(round, run.row(partition, place, looks), run.group);
            }
            (start, end) = (from.max(start), to);
            moves.result(round, run.group, row as u32);
            for (call, pick) in picks.iter_mut().enumerate() {
                if let Some(nth) = self.program.nth(call, index) {
                    let wanted = start + nth - 1;
                    pick[row] = (wanted < end).then(|| run.row(partition, wanted, looks));
                }
            }
        }
        self.partitions[run.group as usize].edges[index] = (start, end);
    }

    fn shifts(&self, run: &Run<'_>, looks: &mut Looks, picks: &mut [Vec<Option<u32>>]) {
        let partition = &self.partitions[run.group as usize];
        for (function, pick) in self.program.functions.iter().zip(picks) {
            let OverFunction::Shift { back, .. } = function else { continue };
            for row in run.rows.clone() {
                let place = run.first + (row - run.rows.start) as u64;
                let wanted = place.checked_sub(back.unsigned_abs());
                pick[row] = wanted.map(|wanted| run.row(partition, wanted, looks));
            }
        }
    }

    /// The first place of a partition that a later row may look at.
    fn needed(&self, partition: &Partition) -> u64 {
        let mut needed = partition.count;
        for (framed, (start, end)) in self.program.frames.iter().zip(&partition.edges) {
            needed = needed.min(if framed.frame.start.is_some() { *start } else { *end });
        }
        for function in &self.program.functions {
            if let OverFunction::Shift { back, .. } = function {
                needed = needed.min(partition.count.saturating_sub(back.unsigned_abs()));
            }
        }
        needed
    }

    /// Holds the rows of `slice` that later ones will look at, and forgets those they will not.
    fn keep(&mut self, slice: &Slice, narrowed: &RecordBatch) -> Result<()> {
        let (mut kept, mut heads) = (Vec::new(), Vec::new());
        let mut start = 0;
        let runs: Vec<(u32, usize)> =
            slice.groups.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
        for &(group, length) in &runs {
            self.trim(group);
            let partition = &self.partitions[group as usize];
            let first = partition.count - length as u64;
            let needed = self.needed(partition).max(first);
            kept.extend((start + (needed - first) as usize..start + length).map(|r| r as u32));
            let heads_end = self.heads.clamp(first, partition.count);
            heads.extend((start..start + (heads_end - first) as usize).map(|r| r as u32));
            start += length;
        }
        let hold = |held: &mut HeldRows, rows: &[u32]| {
            held.insert(&take_rows(narrowed, &UInt32Array::from(rows.to_vec()))?)
        };
        let slots = hold(&mut self.held, &kept)?;
        for (row, slot) in kept.into_iter().zip(slots) {
            let group = slice.groups[row as usize];
            self.partitions[group as usize].tail.push_back((slice.values[row as usize], slot));
        }
        for &(group, _) in &runs {
            let partition = &mut self.partitions[group as usize];
            partition.base = partition.count - partition.tail.len() as u64;
        }
        if !heads.is_empty() {
            let slots = hold(&mut self.held, &heads)?;
            for (row, slot) in heads.into_iter().zip(slots) {
                self.partitions[slice.groups[row as usize] as usize].head.push(slot);
            }
        }
        if self.expires.is_some()
            && let Some(&greatest) = slice.values.iter().max()
        {
            self.leaving.push_back((greatest, runs.into_iter().map(|(group, _)| group).collect()));
        }
        self.held.tidy()
    }

    /// Forgets the rows of `group` that no later row looks at.
    fn trim(&mut self, group: u32) {
        let needed = self.needed(&self.partitions[group as usize]);
        let partition = &mut self.partitions[group as usize];
        while partition.base < needed {
            let Some((_, slot)) = partition.tail.pop_front() else { break };
            self.held.remove(slot);
            partition.base += 1;
        }
    }

    /// Whether rows leave RANGE frames once the frontier is at `to`.
    fn is_leaving(&self, to: EventTime) -> bool {
        let horizon = self.clock.horizon(to);
        let past = |greatest: i64| match self.expires {
            Some(offset) => i128::from(greatest) < i128::from(horizon) + i128::from(offset),
            None => false,
        };
        self.leaving.front().is_some_and(|(greatest, _)| past(*greatest))
    }

    /// Lets rows leave RANGE frames that every later row in good time is too far from.
    fn expire(&mut self, to: EventTime) -> Result<()> {
        let mut groups = Vec::new();
        while self.is_leaving(to) {
            groups.extend(self.leaving.pop_front().map(|(_, groups)| groups).unwrap_or_default());
        }
        groups.sort_unstable();
        groups.dedup();
        groups.retain(|&group| self.partitions[group as usize].count > 0);
        self.changed.touch(&groups, self.keys.bound());
        let horizon = i128::from(self.clock.horizon(to));
        for index in 0..self.program.frames.len() {
            let frame = self.program.frames[index].frame;
            if frame.rows {
                continue;
            }
            let (mut moves, mut looks) = (Moves::default(), Looks::default());
            for &group in &groups {
                let partition = &self.partitions[group as usize];
                let (mut start, mut end) = partition.edges[index];
                let before = |place: u64, than: i128| {
                    place < partition.count && i128::from(partition.value(place)) < than
                };
                let (first, last) = (start, end);
                while frame.start.is_some_and(|units| before(start, horizon + i128::from(units))) {
                    start += 1;
                }
                while frame.end.is_some_and(|units| before(end, horizon + i128::from(units) + 1)) {
                    end += 1;
                }
                end = end.max(start);
                for place in last.max(start)..end {
                    moves.enter(0, looks.held(partition.slot(place), place), group);
                }
                for place in first..start.min(last) {
                    moves.leave(0, looks.held(partition.slot(place), place), group);
                }
                self.partitions[group as usize].edges[index] = (start, end);
            }
            if !moves.is_empty() {
                let arguments = self.program.arguments(&self.held.rows(&looks.slots)?)?;
                moves.run(&mut self.states[index], &arguments, &looks.places)?;
            }
        }
        groups.iter().for_each(|&group| self.trim(group));
        if self.forgets {
            groups.retain(|&group| self.partitions[group as usize].tail.is_empty());
            self.states.iter_mut().for_each(|states| states.clear(&groups));
            for group in groups {
                self.partitions[group as usize] = Partition::default();
                self.keys.remove(group);
            }
        }
        self.held.tidy()
    }
}

/// The rows of `first`, then those of `second`.
fn joined(first: &RecordBatch, second: &RecordBatch) -> Result<RecordBatch> {
    match (first.num_columns(), second.num_rows()) {
        (_, 0) => Ok(first.clone()),
        (0, more) => rows_without_columns(first.schema(), first.num_rows() + more),
        _ => Ok(concat_batches(&first.schema(), [first, second])?),
    }
}

impl StatefulLogic for Appending {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        buffered > 0 || self.pending.rows() > 0 || self.is_leaving(frontier)
    }

    fn advance(
        &mut self,
        _from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        for batch in inputs.into_iter().flatten() {
            if let (true, Some((first, _))) = (self.forgets, batch.time_range()) {
                self.steps.push_back((self.clock.greatest(&batch)?, first));
            }
            if let Some(timely) = self.clock.admit(batch, out)? {
                self.unsaved.push(&timely);
                self.pending.push(timely);
            }
        }
        self.unsaved.pass(to)?;
        let closed = self.pending.take_below(to)?;
        if !closed.is_empty() {
            self.apply(&closed, out)?;
        }
        if to != CLOSED {
            self.expire(to)?;
        }
        if self.forgets {
            let least = self.clock.horizon(to).saturating_add(self.expires.unwrap_or(i64::MIN));
            while self.steps.front().is_some_and(|(greatest, _)| *greatest < least) {
                self.steps.pop_front();
            }
        }
        Ok(())
    }

    /// Where all frames are ranges of time, from the rows that are held on: what frames have had
    /// and lost leaves nothing behind. Otherwise totals and numbers go back to the first row of a
    /// partition, and are saved.
    fn recovery(&self) -> Recovery {
        match self.forgets {
            true => {
                let first = self.steps.iter().map(|(_, first)| *first).min();
                Recovery::Since(first.unwrap_or(CLOSED))
            }
            false => Recovery::Tables,
        }
    }

    /// Partitions of which nothing is known once their rows have left come back for that, some
    /// time.
    fn rest(&self) -> Rest {
        if self.over.partition.is_empty() {
            return Rest::Never;
        }
        let left = self.leaving.iter().map(|(greatest, _)| *greatest).max();
        let left = left.filter(|_| self.forgets).zip(self.expires);
        let left = left.map(|(last, offset)| self.clock.past(last.saturating_sub(offset)));
        let pending = self.pending.first().map(|first| first.saturating_add(1));
        left.into_iter().chain(pending).min().map_or(Rest::UntilInput, Rest::Until)
    }

    fn unload(&mut self, by: &[Vec<usize>]) -> Result<Vec<SavedTable>> {
        self.tables(true, by.first().map(Vec::as_slice))
    }

    fn track(&mut self) {
        self.changed.take();
        self.unsaved.start();
    }

    fn changes(&mut self, placement: Option<&[usize]>) -> Result<Option<Vec<SavedTable>>> {
        match self.changed.is_on() {
            true => self.tables(false, placement).map(Some),
            false => Ok(None),
        }
    }

    fn save(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        self.save_tables(whole, placement)
    }

    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        self.load_tables(&tables, to)
    }

    fn state_rows(&self) -> usize {
        self.keys.len() + self.held.len() + self.pending.rows()
    }
}
