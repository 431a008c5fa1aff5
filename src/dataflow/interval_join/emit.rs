//! What an interval join gives out: pairs, rows alone, and left or right rows by their partners.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::JoinType;

use super::fresh::Fresh;
use super::side::Side;
use crate::batch::UpdateBatch;
use crate::dataflow::logic::Emitted;
use crate::dataflow::window_join::holding;
use crate::error::Result;
use crate::limits::BATCH_ROWS;
use crate::plan::expr::Expression;
use crate::plan::interval::IntervalJoin;
use crate::time::EventTime;

/// Builds output rows.
pub struct Emit {
    kind: JoinType,
    filter: Option<Expression>,
    output: SchemaRef,
    /// Left columns, then right columns: what the condition reads.
    wide: SchemaRef,
    /// Widths of the inputs.
    widths: [usize; 2],
    /// Rows of a semi join that found a partner in this step: (is fresh, row, time).
    hits: Vec<(bool, u32, EventTime)>,
    /// Kept rows of a semi or anti join that have a partner: nothing more can come of them.
    done: Vec<u32>,
}

/// Where the second rows of pairs are.
pub enum Second<'a> {
    /// Kept rows, by slot.
    Kept,
    /// Rows that have just come, and which of them have a partner.
    Fresh(&'a Fresh, &'a mut [bool]),
}

impl Emit {
    /// For `join` over inputs of schemas `left` and `right`.
    pub fn new(
        join: &IntervalJoin,
        left: &SchemaRef,
        right: &SchemaRef,
        output: SchemaRef,
    ) -> Self {
        let fields = left.fields().iter().chain(right.fields().iter());
        let fields: Vec<_> =
            fields.map(|f| Arc::new(f.as_ref().clone().with_nullable(true))).collect();
        Emit {
            kind: join.kind,
            filter: join.filter.clone(),
            output,
            wide: Arc::new(Schema::new(fields)),
            widths: [left.fields().len(), right.fields().len()],
            hits: Vec::new(),
            done: Vec::new(),
        }
    }

    /// The input whose rows come out once when they have a partner.
    fn semi_side(&self) -> Option<usize> {
        match self.kind {
            JoinType::LeftSemi => Some(0),
            JoinType::RightSemi => Some(1),
            _ => None,
        }
    }

    /// The input of whose rows one partner decides.
    pub fn decided_side(&self) -> Option<usize> {
        match self.kind {
            JoinType::LeftSemi | JoinType::LeftAnti => Some(0),
            JoinType::RightSemi | JoinType::RightAnti => Some(1),
            _ => None,
        }
    }

    /// The kept rows of [`Emit::decided_side`] that were decided in this step.
    pub fn take_done(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.done)
    }

    fn gives_pairs(&self) -> bool {
        use JoinType::{Full, Inner, Left, Right};
        matches!(self.kind, Inner | Left | Right | Full)
    }

    /// Takes candidates (kept row of `first`, row of the other input): those of which the condition
    /// holds are partners.
    pub fn pairs(
        &mut self,
        sides: &mut [Side; 2],
        first: usize,
        pairs: &mut Vec<(u32, u32)>,
        mut second: Second<'_>,
        out: &mut Emitted,
    ) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let time = |&(one, two): &(u32, u32)| {
            let two = match &second {
                Second::Kept => sides[1 - first].times[two as usize],
                Second::Fresh(fresh, _) => fresh.batch.times()[two as usize],
            };
            sides[first].times[one as usize].max(two)
        };
        let mut rows = None;
        if self.gives_pairs() || self.filter.is_some() {
            let gathered = self.gather(sides, first, pairs, &second)?;
            rows = self.filtered(gathered, pairs, time, out)?;
        }
        let times: Vec<EventTime> = pairs.iter().map(time).collect();
        self.mark(sides, first, pairs, &times, &mut second);
        pairs.clear();
        if let Some(rows) = rows.filter(|_| self.gives_pairs()) {
            let rows = RecordBatch::try_new(Arc::clone(&self.output), rows)?;
            out.push(UpdateBatch::new(rows, times.into(), None));
        }
        Ok(())
    }

    /// Remembers which rows have partners.
    fn mark(
        &mut self,
        sides: &mut [Side; 2],
        first: usize,
        pairs: &[(u32, u32)],
        times: &[EventTime],
        second: &mut Second<'_>,
    ) {
        let semi = self.semi_side();
        let anti = self.decided_side().filter(|_| semi.is_none());
        for (&(one, two), &time) in pairs.iter().zip(times) {
            let has_one = &mut sides[first].matched[one as usize];
            match semi == Some(first) {
                true if !*has_one => self.hits.push((false, one, time)),
                true => {}
                false => {
                    if anti == Some(first) && !*has_one {
                        self.done.push(one);
                    }
                    *has_one = true;
                }
            }
            let (is_fresh, has_two) = match second {
                Second::Kept => (false, &mut sides[1 - first].matched[two as usize]),
                Second::Fresh(_, matched) => (true, &mut matched[two as usize]),
            };
            match semi == Some(1 - first) {
                true if !*has_two => self.hits.push((is_fresh, two, time)),
                true => {}
                false => {
                    if anti == Some(1 - first) && !is_fresh && !*has_two {
                        self.done.push(two);
                    }
                    *has_two = true;
                }
            }
        }
        if self.hits.len() > 4 * BATCH_ROWS {
            self.first_hits();
        }
    }

    /// Keeps the earliest hit of each row.
    fn first_hits(&mut self) {
        self.hits.sort_unstable();
        self.hits.dedup_by_key(|(is_fresh, row, _)| (*is_fresh, *row));
    }

    /// The rows of a semi join that found their first partner in this step.
    pub fn semi(
        &mut self,
        sides: &mut [Side; 2],
        fresh: &Fresh,
        matched: &mut [bool],
        out: &mut Emitted,
    ) -> Result<()> {
        let Some(side) = self.semi_side().filter(|_| !self.hits.is_empty()) else {
            return Ok(());
        };
        self.first_hits();
        let hits = std::mem::take(&mut self.hits);
        let (new, kept): (Vec<_>, Vec<_>) = hits.into_iter().partition(|(is_fresh, ..)| *is_fresh);
        let kept_rows: Vec<u32> = kept.iter().map(|h| h.1).collect();
        if !kept_rows.is_empty() {
            let columns = sides[side].rows.columns(&kept_rows)?;
            let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
            let times: Vec<EventTime> = kept.iter().map(|h| h.2).collect();
            out.push(UpdateBatch::new(rows, times.into(), None));
            kept_rows.iter().for_each(|&slot| sides[side].matched[slot as usize] = true);
            self.done.extend(kept_rows);
        }
        let new_rows: Vec<u32> = new.iter().map(|h| h.1).collect();
        if !new_rows.is_empty() {
            new_rows.iter().for_each(|&row| matched[row as usize] = true);
            let (rows, ..) = fresh.batch.take(&UInt32Array::from(new_rows))?.into_parts();
            let rows = RecordBatch::try_new(Arc::clone(&self.output), rows.columns().to_vec())?;
            let times: Vec<EventTime> = new.iter().map(|h| h.2).collect();
            out.push(UpdateBatch::new(rows, times.into(), None));
        }
        Ok(())
    }

    /// The columns of pairs, left before right.
    fn gather(
        &self,
        sides: &[Side; 2],
        first: usize,
        pairs: &[(u32, u32)],
        second: &Second<'_>,
    ) -> Result<Vec<ArrayRef>> {
        let (ones, twos): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
        let one = sides[first].rows.columns(&ones)?;
        let two = match second {
            Second::Kept => sides[1 - first].rows.columns(&twos)?,
            Second::Fresh(fresh, _) => {
                let twos = UInt32Array::from(twos);
                let columns = fresh.batch.rows().columns().iter();
                columns.map(|c| compute::take(c, &twos, None)).collect::<Result<_, _>>()?
            }
        };
        Ok(if first == 0 { [one, two].concat() } else { [two, one].concat() })
    }

    /// The pairs of which the condition holds.
    fn filtered(
        &self,
        columns: Vec<ArrayRef>,
        pairs: &mut Vec<(u32, u32)>,
        time: impl Fn(&(u32, u32)) -> EventTime,
        out: &mut Emitted,
    ) -> Result<Option<Vec<ArrayRef>>> {
        let Some(filter) = &self.filter else { return Ok(Some(columns)) };
        let rows = RecordBatch::try_new(Arc::clone(&self.wide), columns)?;
        let mut failed = Vec::new();
        let held = holding("IntervalJoin", filter, &rows, 0, &mut failed)?;
        failed.into_iter().for_each(|(at, letter)| out.dead.push(letter, time(&pairs[at])));
        if held.len() == pairs.len() {
            return Ok(Some(rows.columns().to_vec()));
        }
        *pairs = held.iter().map(|&row| pairs[row]).collect();
        if pairs.is_empty() || !self.gives_pairs() {
            return Ok(None);
        }
        let held: UInt32Array = held.into_iter().map(|row| row as u32).collect();
        let taken = rows.columns().iter().map(|c| compute::take(c, &held, None));
        Ok(Some(taken.collect::<Result<_, _>>()?))
    }

    /// Rows of input `side` that have just come and go without a partner.
    pub fn alone_fresh(
        &self,
        side: usize,
        fresh: &Fresh,
        rows: &[u32],
        out: &mut Emitted,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let times = rows.iter().map(|&row| fresh.until[row as usize]).collect();
        let rows = fresh.batch.take(&UInt32Array::from(rows.to_vec()))?;
        self.alone(side, rows.rows().columns().to_vec(), times, out)
    }

    /// Kept rows of input `side` that go, those of them without a partner.
    pub fn alone_kept(
        &self,
        side: usize,
        kept: &Side,
        gone: &[u32],
        out: &mut Emitted,
    ) -> Result<()> {
        let alone: Vec<u32> =
            gone.iter().copied().filter(|&slot| !kept.matched[slot as usize]).collect();
        for part in alone.chunks(BATCH_ROWS) {
            let times = part.iter().map(|&slot| kept.until[slot as usize]).collect();
            self.alone(side, kept.rows.columns(part)?, times, out)?;
        }
        Ok(())
    }

    fn alone(
        &self,
        side: usize,
        own: Vec<ArrayRef>,
        times: Vec<EventTime>,
        out: &mut Emitted,
    ) -> Result<()> {
        let mut columns = own;
        if self.gives_pairs() {
            let nulls = |range: std::ops::Range<usize>| {
                let fields = &self.wide.fields()[range];
                let nulls = fields.iter().map(|f| new_null_array(f.data_type(), times.len()));
                nulls.collect::<Vec<_>>()
            };
            columns = match side {
                0 => [columns, nulls(self.widths[0]..self.widths[0] + self.widths[1])].concat(),
                _ => [nulls(0..self.widths[0]), columns].concat(),
            };
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        out.push(UpdateBatch::new(rows, times.into(), None));
        Ok(())
    }
}
