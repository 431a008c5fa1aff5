//! Rows as they come to an interval join: their keys, their compared times, and until when each
//! can find a partner.

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};

use crate::batch::UpdateBatch;
use crate::dataflow::calc::reason_of;
use crate::dataflow::side::{DeadLetters, letter_of_row};
use crate::error::Result;
use crate::plan::expr::Expression;
use crate::plan::interval::{IntervalJoin, TimeComparison};
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::time::{CLOSED, EventTime};

/// The group of a row that can have no partner: a key or a compared time is NULL.
pub const NO_GROUP: u32 = u32::MAX;

/// How one input of the join is read.
pub struct Reader {
    keys: Vec<usize>,
    null_equals_null: bool,
    /// The different values compared.
    values: Vec<Expression>,
    /// Which value each comparison reads.
    pub compared: Vec<usize>,
    /// (value, whether partners are strictly below, lag in ms).
    ends: Vec<(usize, bool, i64)>,
    own: Option<(usize, i64)>,
}

impl Reader {
    /// Of the left or the right input.
    pub fn new(join: &IntervalJoin, is_left: bool) -> Self {
        let (mut values, mut compared) = (Vec::new(), Vec::new());
        for time in &join.times {
            let value = if is_left { &time.left } else { &time.right };
            let at = values.iter().position(|known| known == value);
            compared.push(at.unwrap_or(values.len()));
            if at.is_none() {
                values.push(value.clone());
            }
        }
        let (keys, lifetime) =
            if is_left { (&join.left_keys, &join.left) } else { (&join.right_keys, &join.right) };
        let strict = |time: &TimeComparison| {
            let relation = if is_left { time.relation.flipped() } else { time.relation };
            relation.limits_left().unwrap_or(false)
        };
        let ends = lifetime.ends.iter();
        let ends = ends.map(|&(c, lag)| (compared[c], strict(&join.times[c]), lag)).collect();
        Reader {
            keys: keys.clone(),
            null_equals_null: join.null_equals_null,
            ends,
            own: lifetime.own.map(|(c, lag)| (compared[c], lag)),
            values,
            compared,
        }
    }

    /// How many different values are compared.
    pub fn width(&self) -> usize {
        self.values.len()
    }

    /// The key columns' types.
    pub fn key_types(&self, schema: &arrow::datatypes::Schema) -> Vec<DataType> {
        self.keys.iter().map(|&k| schema.field(k).data_type().clone()).collect()
    }

    /// Reads `batch`; rows whose times cannot be computed go to `dead`.
    pub fn read(
        &self,
        batch: &UpdateBatch,
        keys: &mut GroupKeys,
        dead: &mut DeadLetters,
    ) -> Result<Fresh> {
        let batch = repeated(batch)?;
        let (batch, times) = self.times(&batch, dead)?;
        let columns = GroupKeys::read(self.keys.iter().map(|&k| batch.column(k)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut groups = Vec::new();
        keys.intern(&columns, 0..batch.len(), &mut groups)?;
        let interned = groups.clone();
        let nullable = columns.iter().filter(|c| !self.null_equals_null && c.nulls.is_some());
        let nullable: Vec<&&Column> = nullable.collect();
        let (mut values, mut is_null) = (Vec::with_capacity(times.len()), Vec::new());
        for (of, nulls) in times {
            is_null.extend(nulls);
            values.push(of);
        }
        let mut fresh = Fresh { until: Vec::with_capacity(batch.len()), ..Fresh::default() };
        for (row, (&time, group)) in batch.times().iter().zip(&mut groups).enumerate() {
            let has_null =
                is_null.iter().any(|n| n.is_null(row)) || nullable.iter().any(|c| c.is_null(row));
            if has_null {
                *group = NO_GROUP;
                fresh.until.push(time);
                continue;
            }
            let end = self.end(&values, row);
            fresh.until.push(end.max(time));
            if let Some((value, lag)) = self.own
                && end < time
                && millis(values[value][row]).saturating_add(lag) < time
            {
                fresh.late.push((row as u32, end));
            }
        }
        Ok(Fresh { batch, groups, interned, values, ..fresh })
    }

    /// The last time of a partner on time.
    fn end(&self, values: &[Vec<i64>], row: usize) -> EventTime {
        let ends = self.ends.iter().map(|&(value, strict, lag)| {
            let last = values[value][row].saturating_sub(i64::from(strict));
            millis(last).saturating_add(lag)
        });
        ends.min().unwrap_or(CLOSED)
    }

    /// The compared times in microseconds, one column a value; rows that fail are left out.
    fn times(
        &self,
        batch: &UpdateBatch,
        dead: &mut DeadLetters,
    ) -> Result<(UpdateBatch, Vec<Micros>)> {
        let read = |batch: &UpdateBatch| -> Result<Vec<Micros>> {
            self.values.iter().map(|value| micros(value, batch)).collect()
        };
        let error = match read(batch) {
            Ok(times) => return Ok((batch.clone(), times)),
            Err(error) => error,
        };
        if batch.len() <= 1 {
            let letter = letter_of_row("IntervalJoin", &reason_of(&error), batch.rows());
            batch.times().iter().take(1).for_each(|&time| dead.push(letter.clone(), time));
            let none = UpdateBatch::empty(batch.schema());
            let times = self.values.iter().map(|_| (Vec::new(), None)).collect();
            return Ok((none, times));
        }
        // Row by row: failures are rare.
        let mut kept = Vec::new();
        for row in 0..batch.len() {
            let (one, _) = self.times(&batch.slice(row, 1), dead)?;
            if !one.is_empty() {
                kept.push(row as u32);
            }
        }
        let kept = batch.take(&UInt32Array::from(kept))?;
        let times = read(&kept)?;
        Ok((kept, times))
    }
}

type Micros = (Vec<i64>, Option<arrow::buffer::NullBuffer>);

fn micros(value: &Expression, batch: &UpdateBatch) -> Result<Micros> {
    let array = value.physical().evaluate(batch.rows())?.into_array(batch.len())?;
    let factor = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
        _ => 1,
    };
    let ints = compute::cast(&array, &DataType::Int64)?;
    let ints = ints.as_primitive::<Int64Type>();
    let scaled = ints.values().iter().map(|v| v.saturating_mul(factor)).collect();
    Ok((scaled, ints.nulls().filter(|n| n.null_count() > 0).cloned()))
}

/// The millisecond of a time in microseconds.
fn millis(micros: i64) -> EventTime {
    micros.div_euclid(1000)
}

/// `batch` with a row of its own for each of its multiplicity.
fn repeated(batch: &UpdateBatch) -> Result<UpdateBatch> {
    let Some(diffs) = batch.diffs() else { return Ok(batch.clone()) };
    if diffs.iter().all(|&d| d == 1) {
        let (rows, times, _) = batch.clone().into_parts();
        return Ok(UpdateBatch::new(rows, times, None));
    }
    // What is never taken back has no negative multiplicity.
    let times = |d: i64| usize::try_from(d).unwrap_or(0);
    let rows = diffs.iter().enumerate();
    let rows: Vec<u32> =
        rows.flat_map(|(row, &d)| std::iter::repeat_n(row as u32, times(d))).collect();
    let (rows, times, _) = batch.take(&UInt32Array::from(rows))?.into_parts();
    Ok(UpdateBatch::new(rows, times, None))
}

/// Rows that have just come.
#[derive(Default)]
pub struct Fresh {
    /// The rows.
    pub batch: UpdateBatch,
    /// The key of each; [`NO_GROUP`] if it can have no partner.
    pub groups: Vec<u32>,
    /// The key of each, NULLs included.
    pub interned: Vec<u32>,
    /// The last moment at which each is there.
    pub until: Vec<EventTime>,
    /// The compared times in microseconds, one column a value.
    pub values: Vec<Vec<i64>>,
    /// Rows behind the watermark whose partners on time have all passed, with the time of the last.
    pub late: Vec<(u32, EventTime)>,
}

impl Fresh {
    /// The rows that can have partners.
    pub fn rows_with_group(&self) -> Vec<u32> {
        let rows = (0u32..).zip(&self.groups);
        rows.filter(|(_, group)| **group != NO_GROUP).map(|(row, _)| row).collect()
    }

    /// The rows that can have none.
    pub fn rows_without_group(&self) -> Vec<u32> {
        let rows = (0u32..).zip(&self.groups);
        rows.filter(|(_, group)| **group == NO_GROUP).map(|(row, _)| row).collect()
    }
}
