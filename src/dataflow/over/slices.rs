//! Row-times: which rows are late, and the rows that the frontier has passed in their order.

use std::cmp::Ordering;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::row::{RowConverter, Rows, SortField};

use super::moves::take_rows;
use crate::batch::UpdateBatch;
use crate::batch::order::comparable;
use crate::dataflow::logic::{Emitted, LateRows};
use crate::dataflow::side::letter_of_row;
use crate::error::{Error, Result};
use crate::plan::node::SortColumn;
use crate::plan::over::OverAggregate;
use crate::state::column::{Column, Reading, Values};
use crate::time::{CLOSED, EventTime};

/// The row-time of an operator's input.
pub struct RowClock {
    column: usize,
    unit: TimeUnit,
    lag: i64,
    /// The order among rows of one row-time, before the whole row.
    rest: Vec<SortColumn>,
}

/// Rows sorted by partition and order; a row that is there several times is repeated.
pub struct Slice {
    /// The rows.
    pub rows: RecordBatch,
    /// When each is emitted.
    pub times: Vec<EventTime>,
    /// The partition of each.
    pub groups: Vec<u32>,
    /// The row-time of each, in units of its column.
    pub values: Vec<i64>,
    /// For each row the first and the one behind the last that order does not tell from it.
    peers: Vec<(u32, u32)>,
}

impl Slice {
    /// The rows that order does not tell from `row`.
    pub fn peers(&self, row: usize) -> Range<usize> {
        let (start, end) = self.peers[row];
        start as usize..end as usize
    }
}

impl RowClock {
    /// The clock of rows of `input`, ordered as `over` says, that come `lag` ms behind at most.
    pub fn new(input: &SchemaRef, over: &OverAggregate, lag: i64) -> Result<Self> {
        let by = over.order.first().map(|by| (by.column, input.field(by.column).data_type()));
        let Some((column, DataType::Timestamp(unit, _))) = by else {
            return Err(Error::internal("an order by row-time without one"));
        };
        let rest = over.order.iter().skip(1).cloned().collect();
        Ok(RowClock { column, unit: *unit, lag, rest })
    }

    fn values(&self, rows: &RecordBatch) -> Result<(Vec<i64>, Option<BooleanArray>)> {
        let column = Column::read(rows.column(self.column), Reading::Plain)?;
        let valid = column.nulls.map(|nulls| BooleanArray::new(nulls.into_inner(), None));
        match &column.values {
            Values::Int(values) => Ok((values.to_vec(), valid)),
            _ => Err(Error::internal("a row-time that is no timestamp")),
        }
    }

    /// The greatest row-time of `batch`.
    pub fn greatest(&self, batch: &UpdateBatch) -> Result<i64> {
        let (values, _) = self.values(batch.rows())?;
        Ok(values.into_iter().max().unwrap_or(i64::MIN))
    }

    fn millis(&self, value: i64) -> EventTime {
        match self.unit {
            TimeUnit::Second => value.saturating_mul(1000),
            TimeUnit::Millisecond => value,
            TimeUnit::Microsecond => value.div_euclid(1000),
            TimeUnit::Nanosecond => value.div_euclid(1_000_000),
        }
    }

    /// The least value of a row in good time that may come once the frontier is at `to`.
    pub fn horizon(&self, to: EventTime) -> i64 {
        if to == CLOSED {
            return i64::MAX;
        }
        let least = to.saturating_sub(self.lag);
        match self.unit {
            TimeUnit::Second => -(least.saturating_neg().div_euclid(1000)),
            TimeUnit::Millisecond => least,
            TimeUnit::Microsecond => least.saturating_mul(1000),
            TimeUnit::Nanosecond => least.saturating_mul(1_000_000),
        }
    }

    /// A frontier at which no row in good time may have a value up to `value` any more.
    pub fn past(&self, value: i64) -> EventTime {
        self.millis(value).saturating_add(self.lag).saturating_add(1001)
    }

    /// The rows of `batch` in good time, at the times at which they are emitted.
    pub fn admit(&self, batch: UpdateBatch, out: &mut Emitted) -> Result<Option<UpdateBatch>> {
        let (values, valid) = self.values(batch.rows())?;
        let batch = match &valid {
            None => batch,
            Some(valid) => {
                let lost = (0..batch.len()).filter(|&row| !valid.value(row));
                for row in lost {
                    let reason = "the row-time is NULL";
                    let letter = letter_of_row("OVER", reason, &batch.rows().slice(row, 1));
                    out.dead.push(letter, batch.times()[row]);
                }
                batch.filter(valid)?
            }
        };
        let valid = |row: &usize| valid.as_ref().is_none_or(|valid| valid.value(*row));
        let due: Vec<EventTime> = (0..values.len())
            .filter(valid)
            .map(|row| self.millis(values[row]).saturating_add(self.lag))
            .collect();
        let is_late = |row: usize| batch.times()[row] > due[row];
        let late: Vec<u32> =
            (0..due.len()).filter(|&row| is_late(row)).map(|row| row as u32).collect();
        if late.is_empty() {
            let (rows, _, diffs) = batch.into_parts();
            return Ok(Some(UpdateBatch::new(rows, due.into(), diffs)));
        }
        let timely: BooleanArray = (0..due.len()).map(|row| Some(!is_late(row))).collect();
        let (rows, _, diffs) = batch.filter(&timely)?.into_parts();
        let times: Vec<_> =
            (0..due.len()).filter(|&row| timely.value(row)).map(|row| due[row]).collect();
        let window_end = late.iter().map(|&row| due[row as usize]).collect();
        out.late.push(LateRows { rows: batch.take(&UInt32Array::from(late))?, window_end });
        Ok(Some(UpdateBatch::new(rows, times.into(), diffs)).filter(|batch| !batch.is_empty()))
    }

    /// The rows of `batch`, of the partitions `groups`, in order.
    pub fn sort(&self, batch: &UpdateBatch, groups: &[u32]) -> Result<Slice> {
        let (values, _) = self.values(batch.rows())?;
        let key = |row: u32| (groups[row as usize], values[row as usize]);
        let mut sorted: Vec<u32> = (0..batch.len() as u32).collect();
        sorted.sort_unstable_by_key(|&row| key(row));
        let ties = self.break_ties(batch, &mut sorted, key)?;
        let (mut rows, mut ends) = (Vec::with_capacity(sorted.len()), Vec::new());
        for (at, &row) in sorted.iter().enumerate() {
            let same = at > 0 && key(sorted[at - 1]) == key(row) && !ties.contains(&at);
            if !same && at > 0 {
                ends.push(rows.len() as u32);
            }
            rows.extend(std::iter::repeat_n(row, batch.diff(row as usize).max(0) as usize));
        }
        ends.push(rows.len() as u32);
        let mut peers = Vec::with_capacity(rows.len());
        let mut start = 0;
        for end in ends {
            peers.extend((start..end).map(|_| (start, end)));
            start = end;
        }
        let pick = |row: &u32| *row as usize;
        Ok(Slice {
            times: rows.iter().map(|row| batch.times()[pick(row)]).collect(),
            groups: rows.iter().map(|row| groups[pick(row)]).collect(),
            values: rows.iter().map(|row| values[pick(row)]).collect(),
            rows: take_rows(batch.rows(), &UInt32Array::from(rows))?,
            peers,
        })
    }

    /// Sorts rows of one partition and row-time by the rest of the order and the whole row; where
    /// among them the order begins to differ.
    fn break_ties(
        &self,
        batch: &UpdateBatch,
        sorted: &mut [u32],
        key: impl Fn(u32) -> (u32, i64),
    ) -> Result<hashbrown::HashSet<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        for run in sorted.chunk_by(|a, b| key(*a) == key(*b)) {
            if run.len() > 1 {
                runs.push(start..start + run.len());
            }
            start += run.len();
        }
        let mut borders = hashbrown::HashSet::new();
        if runs.is_empty() {
            return Ok(borders);
        }
        let tied: Vec<u32> = runs.iter().flat_map(|run| sorted[run.clone()].to_vec()).collect();
        let rows = take_rows(batch.rows(), &UInt32Array::from(tied.clone()))?;
        let order = match self.rest.is_empty() {
            true => None,
            false => Some(self.order_bytes(&rows)?),
        };
        let whole = crate::batch::consolidate::row_bytes(&UpdateBatch::at(rows, 0))?;
        let by_order = |a: usize, b: usize| {
            order.as_ref().map_or(Ordering::Equal, |rows| rows.row(a).cmp(&rows.row(b)))
        };
        let by_row = |a: usize, b: usize| {
            whole.as_ref().map_or(Ordering::Equal, |rows| rows.row(a).cmp(&rows.row(b)))
        };
        let mut first = 0;
        for run in runs {
            let mut places: Vec<usize> = (first..first + run.len()).collect();
            first += run.len();
            places.sort_unstable_by(|&a, &b| by_order(a, b).then_with(|| by_row(a, b)));
            for (nth, &place) in places.iter().enumerate() {
                sorted[run.start + nth] = tied[place];
                if nth > 0 && by_order(places[nth - 1], place).is_ne() {
                    borders.insert(run.start + nth);
                }
            }
        }
        Ok(borders)
    }

    fn order_bytes(&self, rows: &RecordBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> =
            self.rest.iter().map(|by| comparable(rows.column(by.column))).collect();
        let field = |(by, column): (&SortColumn, &ArrayRef)| {
            SortField::new_with_options(column.data_type().clone(), by.options)
        };
        let fields = self.rest.iter().zip(&columns).map(field).collect();
        Ok(RowConverter::new(fields)?.convert_columns(&columns)?)
    }
}
