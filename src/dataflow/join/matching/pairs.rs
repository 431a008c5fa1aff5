//! Pairs whose count changed, settled many at a time: the condition, the matches of each row of a
//! preserved side, and what of it is emitted.

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use hashbrown::HashTable;

use super::super::output::{Condition, Output, Rows};
use super::side::Touched;
use super::{PAIRS, Shows};
use crate::batch::UpdateBatch;
use crate::dataflow::logic::Emitted;
use crate::error::{DeadLetter, Result};
use crate::limits::BATCH_ROWS;
use crate::state::arrangement::Arrangement;
use crate::state::arrangement::index::wipe;
use crate::state::pages::Pages;
use crate::time::EventTime;

/// Two rows with equal keys, one of which a tick touched.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The left and the right row.
    slots: [u32; 2],
    /// By how much the number of these pairs changed.
    diff: i64,
    /// By how much each row's number of matches changed, as far as it is there.
    matches: [i64; 2],
    /// How often each row is there now.
    counts: [i64; 2],
}

impl Pair {
    /// Of a row of side `first` and one of the other, each with its counts before and after.
    #[inline]
    pub fn new(first: usize, one: (u32, [i64; 2]), other: (u32, [i64; 2])) -> Pair {
        let ((left, l), (right, r)) = if first == 0 { (one, other) } else { (other, one) };
        let there = |count: i64, of: i64| if of == 0 { 0 } else { count };
        Pair {
            slots: [left, right],
            diff: l[1] * r[1] - l[0] * r[0],
            matches: [there(r[1], l[1]) - there(r[0], l[0]), there(l[1], r[1]) - there(l[0], r[0])],
            counts: [l[1], r[1]],
        }
    }
}

/// A tick of which pairs are gathered.
struct Tick {
    time: EventTime,
    /// Its first pair.
    start: usize,
    /// Where the rows that it touched end, by side.
    touched: [usize; 2],
    is_open: bool,
}

/// A row of a preserved side that the tick being settled concerns.
struct Visit {
    slot: u32,
    matches: i64,
    before: i64,
    now: i64,
}

/// A list of rows to be emitted.
#[derive(Default)]
struct Lines {
    left: Vec<u32>,
    right: Vec<u32>,
    marks: Vec<bool>,
    times: Vec<EventTime>,
    diffs: Vec<i64>,
}

/// What is preserved of one side.
struct Preserved {
    shows: Shows,
    /// How many matches each row has.
    matches: Pages<i64>,
    touched: Vec<Touched>,
    /// The rows that the tick being settled concerns, and where they are by slot.
    visits: Vec<Visit>,
    places: HashTable<(u32, u32)>,
    lines: Lines,
}

/// Pairs on their way to the output.
pub struct Settling {
    output: Output,
    condition: Option<Condition>,
    emits_pairs: bool,
    sides: [Preserved; 2],
    pairs: Vec<Pair>,
    ticks: Vec<Tick>,
    lines: Lines,
    is_mute: bool,
}

impl Preserved {
    fn new(shows: Shows) -> Self {
        Preserved {
            shows,
            matches: Pages::default(),
            touched: Vec::new(),
            visits: Vec::new(),
            places: HashTable::new(),
            lines: Lines::default(),
        }
    }

    /// The visit to `slot`, which is there `count` times unless the tick touched it.
    fn visit(&mut self, slot: u32, counts: [i64; 2], is_known: bool) -> usize {
        let hash = u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if is_known && let Some(found) = self.places.find(hash, |e| e.0 == slot) {
            return found.1 as usize;
        }
        let place = self.visits.len();
        let rehash = |e: &(u32, u32)| u64::from(e.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.places.insert_unique(hash, (slot, place as u32), rehash);
        self.start_visit(slot, counts);
        place
    }

    fn start_visit(&mut self, slot: u32, [before, now]: [i64; 2]) {
        self.matches.grow(slot as usize + 1, 0);
        if before == 0 {
            // The slot may have been another row's.
            self.matches.set(slot as usize, 0);
        }
        let matches = self.matches.get(slot as usize);
        self.visits.push(Visit { slot, matches, before, now });
    }

    /// Emits what the tick changed of this side.
    fn show(&mut self, time: EventTime) {
        let lines = &mut self.lines;
        let mut line = |slot: u32, mark: bool, diff: i64| {
            if diff != 0 {
                lines.left.push(slot);
                lines.marks.push(mark);
                lines.times.push(time);
                lines.diffs.push(diff);
            }
        };
        for visit in self.visits.drain(..) {
            let slot = visit.slot;
            let (had, has) = (visit.matches > 0, self.matches.get(slot as usize) > 0);
            let shown = |wanted: bool| {
                let (before, now) = (i64::from(had == wanted), i64::from(has == wanted));
                now * visit.now - before * visit.before
            };
            match self.shows {
                Shows::Nothing => {}
                Shows::Unmatched { .. } => line(slot, false, shown(false)),
                Shows::Matched => line(slot, true, shown(true)),
                Shows::Marked => {
                    line(slot, false, shown(false));
                    line(slot, true, shown(true));
                }
            }
            if visit.now == 0 {
                self.matches.set(slot as usize, 0);
            }
        }
        wipe(&mut self.places);
    }
}

impl Settling {
    pub fn new(output: Output, condition: Option<Condition>) -> Self {
        Settling {
            output,
            condition,
            emits_pairs: true,
            sides: [Preserved::new(Shows::Nothing), Preserved::new(Shows::Nothing)],
            pairs: Vec::new(),
            ticks: Vec::new(),
            lines: Lines::default(),
            is_mute: false,
        }
    }

    /// Whether what is settled is counted alone and not emitted: it has been before.
    pub fn mute(&mut self, is_mute: bool) {
        self.is_mute = is_mute;
    }

    pub fn set_shows(&mut self, shows: [Shows; 2], emits_pairs: bool) {
        self.emits_pairs = emits_pairs;
        self.sides = shows.map(Preserved::new);
    }

    /// Whether matches are counted for the rows of side `side`.
    pub fn is_preserved(&self, side: usize) -> bool {
        self.sides[side].shows != Shows::Nothing
    }

    /// A tick begins that is emitted at `time` and touched these rows.
    pub fn begin(&mut self, time: EventTime, touched: [&[Touched]; 2]) {
        for (side, touched) in self.sides.iter_mut().zip(touched) {
            if side.shows != Shows::Nothing {
                side.touched.extend_from_slice(touched);
            }
        }
        let ends = [self.sides[0].touched.len(), self.sides[1].touched.len()];
        let start = self.pairs.len();
        self.ticks.push(Tick { time, start, touched: ends, is_open: true });
    }

    /// Adds a pair of the tick.
    #[inline]
    pub fn push(&mut self, pair: Pair) {
        if pair.diff != 0 || pair.matches != [0, 0] {
            self.pairs.push(pair);
        }
    }

    /// The tick has no more pairs.
    pub fn end(&mut self) {
        if let Some(tick) = self.ticks.last_mut() {
            tick.is_open = false;
        }
    }

    /// Whether pairs should be settled.
    pub fn is_full(&self) -> bool {
        self.pairs.len() >= PAIRS
    }

    /// Settles the pairs so far; of a tick that has not ended only its pairs.
    pub fn settle(&mut self, held: [&Arrangement; 2], out: &mut Emitted) -> Result<()> {
        let passing = self.passing(held, out)?;
        let ticks = std::mem::take(&mut self.ticks);
        let ends: Vec<usize> =
            ticks.iter().skip(1).map(|t| t.start).chain([self.pairs.len()]).collect();
        let mut touched = [0, 0];
        for (tick, end) in ticks.iter().zip(&ends) {
            self.count(tick, touched, *end, passing.as_deref());
            touched = tick.touched;
            if !tick.is_open {
                self.sides.iter_mut().for_each(|side| side.show(tick.time));
            }
        }
        self.pairs.clear();
        for side in &mut self.sides {
            side.touched.clear();
        }
        if let Some(Tick { time, is_open: true, .. }) = ticks.last() {
            // Its touched rows have been visited.
            self.ticks.push(Tick { time: *time, start: 0, touched: [0, 0], is_open: true });
        }
        self.flush_full(held, out)
    }

    /// Which pairs fulfil the condition; all of them if absent.
    fn passing(&mut self, held: [&Arrangement; 2], out: &mut Emitted) -> Result<Option<Vec<bool>>> {
        let Some(condition) = &self.condition else { return Ok(None) };
        if self.pairs.is_empty() {
            return Ok(None);
        }
        let mut failed = Vec::new();
        let mask = holding(condition, &self.pairs, held, &mut failed)?;
        for (at, letter) in failed {
            // A pair that goes has been said to fail when it came.
            let pair = &self.pairs[at];
            let tick = self.ticks.partition_point(|tick| tick.start <= at).checked_sub(1);
            if let Some(tick) = tick.and_then(|tick| self.ticks.get(tick))
                && (pair.diff > 0 || pair.matches.iter().any(|&m| m > 0))
            {
                out.dead.push(letter, tick.time);
            }
        }
        Ok(Some(mask.iter().collect()))
    }

    /// Counts the matches of the pairs of one tick.
    fn count(&mut self, tick: &Tick, touched: [usize; 2], end: usize, passing: Option<&[bool]>) {
        let has_pairs = tick.start < end || tick.is_open;
        for (index, start) in touched.into_iter().enumerate() {
            let side = &mut self.sides[index];
            for at in start..tick.touched[index] {
                let row = side.touched[at];
                match has_pairs {
                    true => {
                        side.visit(row.slot, [row.before, row.now], false);
                    }
                    false => side.start_visit(row.slot, [row.before, row.now]),
                }
            }
        }
        for at in tick.start..end {
            if passing.is_some_and(|passing| !passing[at]) {
                continue;
            }
            let pair = self.pairs[at];
            for (index, side) in self.sides.iter_mut().enumerate() {
                if side.shows != Shows::Nothing && pair.matches[index] != 0 {
                    let (slot, count) = (pair.slots[index], pair.counts[index]);
                    side.visit(slot, [count, count], true);
                    *side.matches.at_mut(slot as usize) += pair.matches[index];
                }
            }
            if self.emits_pairs && pair.diff != 0 {
                self.lines.left.push(pair.slots[0]);
                self.lines.right.push(pair.slots[1]);
                self.lines.times.push(tick.time);
                self.lines.diffs.push(pair.diff);
            }
        }
    }

    fn flush_full(&mut self, held: [&Arrangement; 2], out: &mut Emitted) -> Result<()> {
        let lines = [&self.lines, &self.sides[0].lines, &self.sides[1].lines];
        if lines.iter().any(|l| l.times.len() >= BATCH_ROWS) {
            self.flush(held, out)?;
        }
        Ok(())
    }

    /// Emits all rows.
    pub fn flush(&mut self, held: [&Arrangement; 2], out: &mut Emitted) -> Result<()> {
        if self.is_mute {
            self.lines = Lines::default();
            self.sides.iter_mut().for_each(|side| side.lines = Lines::default());
            return Ok(());
        }
        let lines = std::mem::take(&mut self.lines);
        let stores = [held[0].rows(), held[1].rows()];
        for part in chunks(lines.times.len()) {
            let left = Rows::Slots(stores[0], &lines.left[part.clone()]);
            let right = Rows::Slots(stores[1], &lines.right[part.clone()]);
            let rows = self.output.rows(&left, &right, &[], part.len())?;
            emit(rows, &lines, part, out);
        }
        for side in [0, 1] {
            let lines = std::mem::take(&mut self.sides[side].lines);
            for part in chunks(lines.times.len()) {
                let own = Rows::Slots(stores[side], &lines.left[part.clone()]);
                let none = Rows::Null;
                let (left, right) = if side == 0 { (&own, &none) } else { (&none, &own) };
                let marks = &lines.marks[part.clone()];
                let rows = self.output.rows(left, right, marks, part.len())?;
                emit(rows, &lines, part, out);
            }
        }
        Ok(())
    }
}

/// Which of `pairs` fulfil a condition.
fn holding(
    condition: &Condition,
    pairs: &[Pair],
    held: [&Arrangement; 2],
    failed: &mut Vec<(usize, DeadLetter)>,
) -> Result<BooleanBuffer> {
    let slots = |side: usize| pairs.iter().map(|p| p.slots[side]).collect::<Vec<u32>>();
    let (left, right) = (slots(0), slots(1));
    let left = Rows::Slots(held[0].rows(), &left);
    let right = Rows::Slots(held[1].rows(), &right);
    condition.holds(&left, &right, pairs.len(), failed)
}

fn chunks(count: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..count).step_by(BATCH_ROWS).map(move |start| start..(start + BATCH_ROWS).min(count))
}

fn emit(rows: RecordBatch, lines: &Lines, part: std::ops::Range<usize>, out: &mut Emitted) {
    let diffs = &lines.diffs[part.clone()];
    let diffs = diffs.iter().any(|&d| d != 1).then(|| diffs.to_vec().into());
    out.push(UpdateBatch::new(rows, lines.times[part].to_vec().into(), diffs));
}
