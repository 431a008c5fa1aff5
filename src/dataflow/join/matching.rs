//! Every join but the inner one of append-only inputs: tick by tick.
//!
//! All updates of a tick are simultaneous. For each row that a tick touches its count before and
//! after is known, and so is that of each row with its key on the other side: their products give
//! how often the pair was there before and is there now. A side that is preserved keeps for each of
//! its rows the number of matches, from which follows whether the row shows (without a match, or
//! with one). What is emitted is the net change of the tick, at its start.
//!
//! Nothing of this needs the rows' columns: pairs are pairs of slots. They are gathered over many
//! ticks, the condition is evaluated over thousands of them at once, and only then are matches
//! counted and rows made.

mod pairs;
mod side;

use std::cell::Ref;
use std::rc::Rc;

use self::pairs::{Pair, Settling};
use self::side::{Side, Touched};
use super::output::{Condition, Output};
use super::{Shared, contents_of, updates_of};
use crate::batch::UpdateBatch;
use crate::dataflow::logic::{Emitted, Rest, StatefulLogic, TakeTables};
use crate::error::Result;
use crate::limits::{BATCH_ROWS, JOIN_STEP_ROWS};
use crate::state::arrangement::Arrangement;
use crate::state::arrangement::index::NONE;
use crate::state::saved::{Recovery, SavedTable};
use crate::time::{BEGINNING, EventTime, Resolution};

/// What a side of a join shows of its rows beside pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// Nothing: its rows show in pairs alone.
    Nothing,
    /// The rows without a match; beside pairs, or alone.
    Unmatched {
        /// Whether pairs show as well.
        pairs: bool,
    },
    /// The rows that have a match, once.
    Matched,
    /// Every row, with whether it has a match.
    Marked,
}

/// The logic of a join tick by tick.
pub struct Matching {
    sides: [Side; 2],
    settling: Settling,
    resolution: Resolution,
    /// Whether pairs show.
    emits_pairs: bool,
    /// Whether NULL keys match.
    nulls: bool,
}

impl Matching {
    /// An inner join of the arrangements `sides`, each with the number of this reader of it.
    pub fn new(
        sides: [(Shared, usize); 2],
        output: Output,
        condition: Option<Condition>,
        resolution: Resolution,
    ) -> Self {
        Matching {
            sides: sides.map(|(shared, reader)| Side::new(shared, reader)),
            settling: Settling::new(output, condition),
            resolution,
            emits_pairs: true,
            nulls: false,
        }
    }

    /// The same with NULL keys that match, or not.
    pub fn with_nulls(mut self, nulls: bool) -> Self {
        self.nulls = nulls;
        self
    }

    /// What each side shows beside pairs.
    pub fn with_shows(mut self, shows: [Shows; 2]) -> Self {
        let pairs = |s: &Shows| matches!(s, Shows::Nothing | Shows::Unmatched { pairs: true });
        self.emits_pairs = shows.iter().all(pairs);
        self.settling.set_shows(shows, self.emits_pairs);
        self
    }

    /// Of side `side` only the keys `keys` matter, and whether any row has them: its arrangement is
    /// of those columns.
    pub fn with_counted(mut self, side: usize, keys: Vec<usize>) -> Self {
        self.sides[side].count_keys(keys);
        self
    }

    /// The ends of the stretches that the updates are applied in: whole ticks, some thousand rows.
    fn stretch(&self, new: &[UpdateBatch; 2], at: [usize; 2], to: EventTime) -> EventTime {
        let ends = new.iter().zip(at).filter_map(|(batch, at)| {
            let last = at + JOIN_STEP_ROWS - 1;
            (last + 1 < batch.len()).then(|| batch.times()[last])
        });
        match ends.min() {
            None => to,
            Some(time) => {
                let tick = self.resolution.tick_start(time);
                tick.saturating_add(self.resolution.tick_ms()).min(to)
            }
        }
    }

    /// Applies what is new below `to`, which the arrangements hold already.
    fn apply(&mut self, from: EventTime, to: EventTime, out: &mut Emitted) -> Result<()> {
        let shared = [Rc::clone(&self.sides[0].shared), Rc::clone(&self.sides[1].shared)];
        let held: [Ref<'_, Arrangement>; 2] = [shared[0].borrow(), shared[1].borrow()];
        let held = [&*held[0], &*held[1]];
        let resolution = self.resolution;
        for (side, arrangement) in self.sides.iter_mut().zip(held) {
            side.take_events(arrangement, to, resolution);
        }
        let mut at = [0, 0];
        while let Some(tick) = self.sides.iter().zip(at).filter_map(|(s, at)| s.tick_at(at)).min() {
            for side in [0, 1] {
                at[side] = self.sides[side].touch(at[side], tick, held[side]);
            }
            let touched = [self.sides[0].touched(), self.sides[1].touched()];
            let time = tick.max(from);
            self.settling.begin(time, touched);
            self.pair(held, out)?;
            self.settling.end();
            if self.settling.is_full() {
                self.settling.settle(held, out)?;
            }
        }
        self.settling.settle(held, out)?;
        self.settling.flush(held, out)?;
        for side in &mut self.sides {
            side.finish();
        }
        Ok(())
    }

    /// The pairs of one tick that changed.
    fn pair(&mut self, held: [&Arrangement; 2], out: &mut Emitted) -> Result<()> {
        for first in [0, 1] {
            for index in 0..self.sides[first].touched().len() {
                let touched = self.sides[first].touched()[index];
                if (touched.tag.null && !self.nulls) || !self.is_walked(first, &touched) {
                    continue;
                }
                let (own, other) = (held[first], held[1 - first]);
                let Some(chain) = other.find_same(touched.tag, own, touched.slot) else { continue };
                let mut slot = chain.head;
                while slot != NONE {
                    let next = other.next(slot);
                    let (before, now, marked) = self.sides[1 - first].counts(other, slot);
                    // Pairs of two touched rows are found from the left one.
                    let is_found = first == 1 && marked && {
                        let it = Touched { slot, before, now, tag: touched.tag };
                        self.is_walked(0, &it)
                    };
                    if !is_found {
                        let (own_slot, counts) = (touched.slot, [touched.before, touched.now]);
                        let pair = Pair::new(first, (own_slot, counts), (slot, [before, now]));
                        self.settling.push(pair);
                        if self.settling.is_full() {
                            self.settling.settle(held, out)?;
                        }
                    }
                    slot = next;
                }
            }
        }
        Ok(())
    }

    /// Whether the matches of a touched row of side `side` are looked up. Where no pairs show,
    /// those
    /// of a row that was there before are known by number.
    fn is_walked(&self, side: usize, touched: &Touched) -> bool {
        let changed = touched.before != touched.now;
        match self.emits_pairs || !self.settling.is_preserved(side) {
            true => changed,
            false => touched.before == 0 && changed,
        }
    }
}

impl StatefulLogic for Matching {
    fn is_due(&self, _frontier: EventTime, buffered: usize) -> bool {
        buffered > 0
    }

    fn advance(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let mut inputs = inputs.into_iter();
        let mut next = |side: &Side| {
            let batches = side.project(inputs.next().unwrap_or_default())?;
            UpdateBatch::concat(&side.schema, &batches)?.by_time()
        };
        let new = [next(&self.sides[0])?, next(&self.sides[1])?];
        self.apply_all(from, to, &new, out)
    }

    /// As of a tick's border rows and their matches are those of the inputs' contents.
    fn recovery(&self) -> Recovery {
        Recovery::Contents
    }

    fn rest(&self) -> Rest {
        Rest::UntilInput
    }

    fn unload_to(&mut self, _by: &[Vec<usize>], each: &mut TakeTables<'_>) -> Result<()> {
        contents_of([&self.sides[0].shared, &self.sides[1].shared], each)
    }

    /// Rows of a key come back together, and so find their matches among themselves.
    fn reload(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        let before = to.saturating_sub(1);
        let rows = |side: &Side, index: usize| {
            side.shared.borrow_mut().rewind();
            UpdateBatch::concat(&side.schema, &updates_of(&tables, index, &side.schema, before)?)
        };
        let new = [rows(&self.sides[0], 0)?, rows(&self.sides[1], 1)?];
        self.settling.mute(true);
        let applied = self.apply_all(BEGINNING, to, &new, &mut Emitted::default());
        self.settling.mute(false);
        applied
    }

    fn state_rows(&self) -> usize {
        let [left, right] = &self.sides;
        let rows = left.shared.borrow().len();
        match Rc::ptr_eq(&left.shared, &right.shared) {
            true => rows,
            false => rows + right.shared.borrow().len(),
        }
    }

    fn state_bytes(&self) -> Option<usize> {
        let [left, right] = &self.sides;
        let bytes = left.shared.borrow().bytes();
        Some(match Rc::ptr_eq(&left.shared, &right.shared) {
            true => bytes,
            false => bytes + right.shared.borrow().bytes(),
        })
    }
}

impl Matching {
    /// Applies the rows `new` of both sides, by time, all below `to`.
    fn apply_all(
        &mut self,
        from: EventTime,
        to: EventTime,
        new: &[UpdateBatch; 2],
        out: &mut Emitted,
    ) -> Result<()> {
        let mut at = [0, 0];
        while at[0] < new[0].len() || at[1] < new[1].len() {
            let end = self.stretch(new, at, to);
            for side in [0, 1] {
                let batch = &new[side];
                let upto = batch.times().partition_point(|&time| time < end);
                let mut arrangement = self.sides[side].shared.borrow_mut();
                arrangement.extend(&batch.slice(at[side], upto - at[side]), end)?;
                // The other side may be the same arrangement.
                arrangement.reach(end);
                at[side] = upto;
            }
            self.apply(from, end, out)?;
            self.sides.iter().for_each(|side| side.passed(end));
        }
        self.sides.iter().for_each(|side| {
            side.shared.borrow_mut().reach(to);
            side.passed(to);
        });
        Ok(())
    }
}

/// How many pairs are gathered before they are settled.
const PAIRS: usize = BATCH_ROWS;
