//! A decoded split on its way to event times: timestamps, watermarks, refused records.
//!
//! Owns everything about one split that needs no other split but `f_p` at its start. Rows without
//! a usable rowtime become dead letters here, each with its place among the rows, from which its
//! own time follows: that of a record without a timestamp.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute;
use arrow::datatypes::{DataType, TimeUnit, TimestampMillisecondType};

use super::clock::{assign_times, bound_of};
use super::side::{DeadLetters, cut_record, row_texts};
use crate::batch::UpdateBatch;
use crate::connectors::{Decoded, RowOffsets, Source};
use crate::error::{DeadLetter, Result};
use crate::plan::expr::{Expression, time_type};
use crate::plan::node::Scan;
use crate::time::{BEGINNING, EARLIEST, EventTime, LATEST};

/// Where a split is from, to write its dead letters.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// The table.
    pub table: &'a str,
    /// Knows the partition's name.
    pub source: &'a dyn Source,
    /// The partition.
    pub partition: usize,
}

/// A decoded split whose event times are not known yet.
pub struct TimedSplit {
    rows: RecordBatch,
    /// `ts(e)`.
    times: Vec<EventTime>,
    watermarks: Watermarks,
    /// Each with the number of rows before it.
    letters: Vec<(usize, DeadLetter)>,
    /// Of the first record.
    offset: i64,
    offsets: RowOffsets,
}

enum Watermarks {
    /// `ts - delay`.
    Delayed(i64),
    /// One a row.
    Values(ArrayRef),
    /// None: the time at which the split was read.
    Ingestion(EventTime),
}

impl Watermarks {
    /// 1 ms + the watermark of row `i`, whose timestamp is `ts`.
    fn bound_at(&self, i: usize, ts: EventTime) -> EventTime {
        match self {
            Watermarks::Delayed(delay) => bound_of(ts.saturating_sub(*delay)),
            Watermarks::Values(values) => {
                let values = values.as_primitive::<TimestampMillisecondType>();
                if values.is_valid(i) { bound_of(values.value(i)) } else { BEGINNING }
            }
            Watermarks::Ingestion(read) => *read,
        }
    }
}

impl TimedSplit {
    /// The split with its timestamps by `scan`; `read_ms` is its ingestion time, if it has one.
    pub fn new(decoded: Decoded, scan: &Scan, origin: Origin<'_>, read_ms: i64) -> Result<Self> {
        let rows = decoded.rows.unwrap_or_else(|| RecordBatch::new_empty(scan.columns.clone()));
        let mut split = TimedSplit {
            times: vec![read_ms; rows.num_rows()],
            rows,
            watermarks: Watermarks::Ingestion(read_ms),
            letters: decoded.dead_letters,
            offset: decoded.offset,
            offsets: decoded.row_offsets,
        };
        if let Some((time, watermark)) = &scan.watermark {
            split.read_times(time, watermark, origin)?;
        }
        Ok(split)
    }

    /// Rows left.
    pub fn row_count(&self) -> usize {
        self.rows.num_rows()
    }

    fn read_times(
        &mut self,
        time: &Expression,
        watermark: &Expression,
        origin: Origin<'_>,
    ) -> Result<()> {
        let mut refused = BTreeMap::new();
        let ts = millis(time, &self.rows, 0, &mut refused)?;
        self.watermarks = match (watermark.as_column_minus_millis(), time.as_column()) {
            (Some((column, delay)), Some(rowtime)) if column == rowtime => {
                Watermarks::Delayed(delay)
            }
            _ => Watermarks::Values(millis(watermark, &self.rows, 0, &mut refused)?),
        };
        let ts = ts.as_primitive::<TimestampMillisecondType>();
        let usable = |t: i64| (EARLIEST..=LATEST).contains(&t);
        let all_usable = compute::min(ts).is_none_or(usable) && compute::max(ts).is_none_or(usable);
        if ts.null_count() > 0 || !all_usable {
            for i in 0..ts.len() {
                if ts.is_null(i) {
                    refused.entry(i).or_insert_with(|| "the rowtime column is NULL".to_string());
                } else if !usable(ts.value(i)) {
                    let reason = format!("the rowtime is out of range: {} ms", ts.value(i));
                    refused.entry(i).or_insert(reason);
                }
            }
        }
        self.times = ts.values().to_vec();
        self.refuse(&refused, origin)
    }

    /// Moves rows to the dead letters, each with its reason.
    fn refuse(&mut self, refused: &BTreeMap<usize, String>, origin: Origin<'_>) -> Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        let kept: Vec<bool> = (0..self.row_count()).map(|i| !refused.contains_key(&i)).collect();
        let mut before = Vec::with_capacity(kept.len() + 1);
        let mut count = 0;
        for &kept in &kept {
            before.push(count);
            count += usize::from(kept);
        }
        before.push(count);
        for (place, _) in &mut self.letters {
            *place = before[*place];
        }
        let kept = BooleanArray::from(kept);
        let rows = compute::filter_record_batch(&self.rows, &compute::not(&kept)?)?;
        let partition = origin.source.partition_name(origin.partition);
        for ((&i, reason), text) in refused.iter().zip(row_texts(&rows)) {
            let letter = DeadLetter {
                source: origin.table.to_string(),
                partition: partition.clone(),
                offset: self.offset_of(i),
                reason: reason.clone(),
                record: cut_record(text),
            };
            self.letters.push((before[i], letter));
        }
        self.letters.sort_by_key(|(place, letter)| (*place, letter.offset));
        self.rows = compute::filter_record_batch(&self.rows, &kept)?;
        let mut keep = kept.values().iter();
        self.times.retain(|_| keep.next().unwrap_or(true));
        if let Watermarks::Values(values) = &self.watermarks {
            self.watermarks = Watermarks::Values(compute::filter(values, &kept)?);
        }
        self.offsets = match std::mem::take(&mut self.offsets) {
            RowOffsets::Unknown => RowOffsets::Unknown,
            RowOffsets::Consecutive => {
                let indices = kept.values().set_indices_u32();
                RowOffsets::Behind(indices.collect())
            }
            RowOffsets::Behind(behind) => {
                let behind = compute::filter(&UInt32Array::from(behind), &kept)?;
                let behind = behind.as_primitive::<arrow::datatypes::UInt32Type>();
                RowOffsets::Behind(behind.values().to_vec())
            }
        };
        Ok(())
    }

    fn offset_of(&self, row: usize) -> i64 {
        match &self.offsets {
            RowOffsets::Unknown => -1,
            RowOffsets::Consecutive => {
                self.offset.saturating_add(i64::try_from(row).unwrap_or(i64::MAX))
            }
            RowOffsets::Behind(behind) => {
                behind.get(row).map_or(-1, |b| self.offset.saturating_add(i64::from(*b)))
            }
        }
    }

    /// 1 ms + the greatest watermark: what the split does to `f_p`, whatever it was before.
    pub fn bound(&self) -> EventTime {
        match &self.watermarks {
            Watermarks::Delayed(_) => {
                // The greatest watermark is that of the greatest timestamp.
                self.times.iter().max().map_or(BEGINNING, |ts| self.watermarks.bound_at(0, *ts))
            }
            Watermarks::Values(values) => {
                compute::max(values.as_primitive::<TimestampMillisecondType>())
                    .map_or(BEGINNING, bound_of)
            }
            Watermarks::Ingestion(read) => *read,
        }
    }

    /// Moves records more than `skew` beyond `f_p` to the dead letters; `start` is `f_p` before
    /// the split.
    pub fn refuse_future(&mut self, start: EventTime, skew: i64, origin: Origin<'_>) -> Result<()> {
        let mut frontier = start;
        let mut refused = BTreeMap::new();
        for (i, &ts) in self.times.iter().enumerate() {
            if frontier != BEGINNING && ts > frontier.saturating_add(skew) {
                let reason = "the rowtime is further in the future than max_future_skew allows";
                refused.insert(i, reason.to_string());
            } else {
                frontier = frontier.max(self.watermarks.bound_at(i, ts));
            }
        }
        self.refuse(&refused, origin)
    }

    /// The rows and the dead letters at their event times, and `f_p` behind them.
    pub fn assign(self, start: EventTime) -> (UpdateBatch, DeadLetters, EventTime) {
        let mut times = self.times;
        let (mut dead, mut at, mut before) = (DeadLetters::default(), 0, start);
        for (place, letter) in self.letters {
            while at < place.min(times.len()) {
                before = before.max(self.watermarks.bound_at(at, times[at]));
                at += 1;
            }
            dead.push(letter, before.max(self.watermarks.ingested()));
        }
        let frontier = match &self.watermarks {
            Watermarks::Delayed(delay) => {
                let (delay, raw): (i64, &mut [EventTime]) = (*delay, &mut times);
                let mut frontier = start;
                for time in raw {
                    let ts = *time;
                    *time = ts.max(frontier);
                    frontier = frontier.max(bound_of(ts.saturating_sub(delay)));
                }
                frontier
            }
            Watermarks::Values(values) => {
                let values = values.as_primitive::<TimestampMillisecondType>();
                assign_times(&mut times, |i| values.is_valid(i).then(|| values.value(i)), start)
            }
            Watermarks::Ingestion(read) => {
                let time = start.max(*read);
                times.fill(time);
                time
            }
        };
        (UpdateBatch::new(self.rows, ScalarBuffer::from(times), None), dead, frontier)
    }
}

impl Watermarks {
    /// The ingestion time, if that is how times are given.
    fn ingested(&self) -> EventTime {
        match self {
            Watermarks::Ingestion(read) => *read,
            Watermarks::Delayed(_) | Watermarks::Values(_) => BEGINNING,
        }
    }
}

/// The values of a timestamp expression in milliseconds; NULL where it fails, with the reason.
fn millis(
    expr: &Expression,
    rows: &RecordBatch,
    from: usize,
    refused: &mut BTreeMap<usize, String>,
) -> Result<ArrayRef> {
    let evaluated = expr.physical().evaluate(rows).and_then(|v| v.into_array(rows.num_rows()));
    let evaluated = evaluated.and_then(|values| match values.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, None) => Ok(values),
        _ => Ok(compute::cast(&values, &time_type())?),
    });
    match evaluated {
        Ok(values) => Ok(values),
        Err(error) if rows.num_rows() <= 1 => {
            let error = crate::error::Error::from(error);
            refused.entry(from).or_insert_with(|| super::calc::reason_of(&error));
            Ok(arrow::array::new_null_array(&time_type(), rows.num_rows()))
        }
        // Halve until the failing rows are alone.
        Err(_) => {
            let half = rows.num_rows() / 2;
            let first = millis(expr, &rows.slice(0, half), from, refused)?;
            let rest = rows.slice(half, rows.num_rows() - half);
            let second = millis(expr, &rest, from + half, refused)?;
            Ok(compute::concat(&[&first, &second])?)
        }
    }
}
