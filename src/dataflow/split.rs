//! A decoded split on its way to event times: timestamps, watermarks, refused records.
//!
//! Owns everything about one split that needs no other split but `f_p` at its start. Rows without
//! a usable rowtime become dead letters here, each with its place among the rows, from which its
//! own time follows: that of a record without a timestamp.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray, UInt32Array,
};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::compute;
use arrow::datatypes::{DataType, TimeUnit, TimestampMillisecondType};

use super::clock::{assign_times, bound_of};
use super::decisions::Decisions;
use super::side::{DeadLetters, cut_record, row_texts};
use crate::batch::UpdateBatch;
use crate::batch::changes::ChangeKind;
use crate::connectors::{Decoded, RowOffsets, Source};
use crate::error::{DeadLetter, Result};
use crate::plan::changelog::{CHANGES_PER_RECORD_BITS, ScanChanges, log_schema};
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
    /// Of a table whose records are changes.
    changes: Option<Changes>,
    /// By row: from there on nothing is earlier. Decided when an earlier reader read them.
    floors: Vec<(usize, EventTime)>,
}

enum Watermarks {
    /// `ts - delay`.
    Delayed(i64),
    /// One a row.
    Values(ArrayRef),
    /// None: the time at which the split was read.
    Ingestion(EventTime),
    /// None: the times at which an earlier reader has read the records.
    Recorded {
        decisions: Arc<Decisions>,
        /// The greatest time of a record.
        latest: EventTime,
    },
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
            Watermarks::Recorded { .. } => ts,
        }
    }
}

impl TimedSplit {
    /// The split with its timestamps by `scan`; `read_ms` is its ingestion time, if it has one.
    pub fn new(decoded: Decoded, scan: &Scan, origin: Origin<'_>, read_ms: i64) -> Result<Self> {
        let rows = decoded.rows.unwrap_or_else(|| RecordBatch::new_empty(scan.columns.clone()));
        let changes = scan.changes.as_ref().map(|c| Changes::new(c, &rows, decoded.kinds, origin));
        let mut split = TimedSplit {
            times: vec![read_ms; rows.num_rows()],
            rows,
            watermarks: Watermarks::Ingestion(read_ms),
            letters: decoded.dead_letters,
            offset: decoded.offset,
            offsets: decoded.row_offsets,
            changes,
            floors: Vec::new(),
        };
        if let (Some(changes), Some(known)) = (&split.changes, &scan.changes) {
            let refused = changes.incomplete(known, &split.rows);
            split.refuse(&refused, origin)?;
        }
        if let Some((time, watermark)) = &scan.watermark {
            split.read_times(time, watermark, origin)?;
        }
        Ok(split)
    }

    /// Gives the records what was decided when they were first read; `end` is the offset behind
    /// them. Records that nothing is known of are read now.
    pub fn replay(&mut self, decisions: &Arc<Decisions>, end: Option<i64>) {
        let floors = decisions.floors(self.offset, end.unwrap_or(i64::MAX));
        let rows = 0..self.row_count();
        let row_at = |offset| rows.clone().find(|&row| self.offset_of(row) >= offset);
        self.floors = floors.map(|(o, floor)| (row_at(o).unwrap_or(rows.end), floor)).collect();
        let Watermarks::Ingestion(read) = self.watermarks else { return };
        let known = |offset| decisions.ingested_at(offset);
        let letters = self.letters.iter().map(|(_, letter)| letter.offset);
        let offsets = (0..self.row_count()).map(|row| self.offset_of(row)).chain(letters);
        if !offsets.chain([self.offset]).any(|offset| known(offset).is_some()) {
            return;
        }
        let at = |offset: i64| known(offset).unwrap_or(read);
        self.times = (0..self.row_count()).map(|row| at(self.offset_of(row))).collect();
        let letters = self.letters.iter().map(|(_, letter)| at(letter.offset));
        let latest = self.times.iter().copied().chain(letters).max().unwrap_or(at(self.offset));
        self.watermarks = Watermarks::Recorded { decisions: Arc::clone(decisions), latest };
    }

    /// Whether the times of some of its records were known before.
    pub fn is_replayed(&self) -> bool {
        matches!(self.watermarks, Watermarks::Recorded { .. })
    }

    /// The offset of the first record.
    pub fn offset(&self) -> i64 {
        self.offset
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
        let mut ts = millis(time, &self.rows, 0, &mut refused)?;
        self.watermarks = match (watermark.as_column_minus_millis(), time.as_column()) {
            (Some((column, delay)), Some(rowtime)) if column == rowtime => {
                Watermarks::Delayed(delay)
            }
            _ => Watermarks::Values(millis(watermark, &self.rows, 0, &mut refused)?),
        };
        let mut refused: Refused = refused.into_iter().map(|(i, why)| (i, Some(why))).collect();
        if let Some(changes) = &self.changes {
            ts = changes.times(&ts, &mut refused)?;
            if let Watermarks::Values(values) = &self.watermarks {
                self.watermarks = Watermarks::Values(changes.paired(values)?);
            }
        }
        let ts = ts.as_primitive::<TimestampMillisecondType>();
        let usable = |t: i64| (EARLIEST..=LATEST).contains(&t);
        let all_usable = compute::min(ts).is_none_or(usable) && compute::max(ts).is_none_or(usable);
        if ts.null_count() > 0 || !all_usable {
            for i in 0..ts.len() {
                if ts.is_null(i) {
                    refused.entry(i).or_insert_with(|| Some("the rowtime column is NULL".into()));
                } else if !usable(ts.value(i)) {
                    let reason = format!("the rowtime is out of range: {} ms", ts.value(i));
                    refused.entry(i).or_insert(Some(reason));
                }
            }
        }
        self.times = ts.values().to_vec();
        self.refuse(&refused, origin)
    }

    /// Moves rows to the dead letters, each with its reason.
    fn refuse(&mut self, refused: &Refused, origin: Origin<'_>) -> Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        let mut refused = refused.clone();
        if let Some(changes) = &self.changes {
            changes.refuse_pairs(&mut refused);
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
            let Some(reason) = reason else { continue };
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
        if let Some(changes) = &mut self.changes {
            let mut keep = kept.values().iter();
            changes.kinds.retain(|_| keep.next().unwrap_or(true));
        }
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

    /// Where each row is in its partition: the offset of its record, then its place in the record.
    fn positions(&self) -> Vec<i64> {
        let mut last = (i64::MIN, 0i64);
        let mut position = |i: usize| {
            let offset = match self.offsets {
                RowOffsets::Unknown => i64::try_from(i).unwrap_or(i64::MAX),
                _ => self.offset_of(i),
            };
            last = if last.0 == offset { (offset, last.1 + 1) } else { (offset, 0) };
            (offset << CHANGES_PER_RECORD_BITS).saturating_add(last.1)
        };
        (0..self.rows.num_rows()).map(&mut position).collect()
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

    /// What row `i`, whose timestamp is `ts`, does to `f_p`: records that are changes keep their
    /// order, so that none takes effect before the one in front of it.
    fn bound_at(&self, i: usize, ts: EventTime) -> EventTime {
        let bound = self.watermarks.bound_at(i, ts);
        if self.changes.is_some() { bound.max(ts) } else { bound }
    }

    /// 1 ms + the greatest watermark: what the split does to `f_p`, whatever it was before.
    pub fn bound(&self) -> EventTime {
        let floor = self.floors.iter().map(|(_, floor)| *floor).max();
        self.bound_of_records().max(floor.unwrap_or(BEGINNING))
    }

    fn bound_of_records(&self) -> EventTime {
        if self.changes.is_some() {
            let bounds = self.times.iter().enumerate().map(|(i, ts)| self.bound_at(i, *ts));
            return bounds.max().unwrap_or(BEGINNING).max(self.watermarks.ingested_at(self.offset));
        }
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
            Watermarks::Recorded { latest, .. } => *latest,
        }
    }

    /// Moves records more than `skew` beyond `f_p` to the dead letters; `start` is `f_p` before
    /// the split.
    pub fn refuse_future(&mut self, start: EventTime, skew: i64, origin: Origin<'_>) -> Result<()> {
        let mut frontier = start;
        let mut refused = Refused::new();
        for (i, &ts) in self.times.iter().enumerate() {
            if frontier != BEGINNING && ts > frontier.saturating_add(skew) {
                let reason = "the rowtime is further in the future than max_future_skew allows";
                refused.insert(i, Some(reason.to_string()));
            } else {
                frontier = frontier.max(self.bound_at(i, ts));
            }
        }
        self.refuse(&refused, origin)
    }

    /// The rows and the dead letters at their event times, and `f_p` behind them.
    pub fn assign(mut self, start: EventTime) -> Result<(UpdateBatch, DeadLetters, EventTime)> {
        let mut times = std::mem::take(&mut self.times);
        let (mut dead, mut at, mut before) = (DeadLetters::default(), 0, start);
        for (place, letter) in std::mem::take(&mut self.letters) {
            while at < place.min(times.len()) {
                before = before.max(self.bound_at(at, times[at]));
                at += 1;
            }
            let time = before.max(self.watermarks.ingested_at(letter.offset));
            dead.push(letter, time);
        }
        let frontier = match &self.watermarks {
            Watermarks::Ingestion(read) => {
                let time = start.max(*read);
                times.fill(time);
                time
            }
            _ if self.changes.is_some() || !self.floors.is_empty() => {
                let mut floors = self.floors.iter().peekable();
                let is_paired = |i: usize| self.changes.as_ref().is_some_and(|c| c.is_paired(i));
                let mut frontier = start;
                for (i, time) in times.iter_mut().enumerate() {
                    while let Some((_, floor)) = floors.next_if(|(row, _)| *row <= i) {
                        frontier = frontier.max(*floor);
                    }
                    let ts = *time;
                    *time = ts.max(frontier);
                    // Both halves of an update have one time.
                    if !is_paired(i) {
                        frontier = frontier.max(self.bound_at(i, ts));
                    }
                }
                floors.fold(frontier, |frontier, (_, floor)| frontier.max(*floor))
            }
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
            Watermarks::Recorded { latest, .. } => {
                let mut frontier = start;
                for time in &mut times {
                    frontier = frontier.max(*time);
                    *time = frontier;
                }
                frontier.max(*latest)
            }
        };
        let times = ScalarBuffer::from(times);
        let batch = match &self.changes {
            None => UpdateBatch::new(self.rows, times, None),
            Some(changes) => changes.batch(&self, times)?,
        };
        Ok((batch, dead, frontier))
    }
}

impl Watermarks {
    /// The ingestion time of the record at `offset`, if that is how times are given.
    fn ingested_at(&self, offset: i64) -> EventTime {
        match self {
            Watermarks::Ingestion(read) => *read,
            Watermarks::Recorded { decisions, latest } => {
                decisions.ingested_at(offset).unwrap_or(*latest)
            }
            Watermarks::Delayed(_) | Watermarks::Values(_) => BEGINNING,
        }
    }
}

/// Rows that are refused, each with the reason; without one nothing is said of it.
type Refused = BTreeMap<usize, Option<String>>;

/// What the rows of a split change.
struct Changes {
    kinds: Vec<ChangeKind>,
    /// The partition's name, if the source hands over a log.
    log: Option<String>,
}

impl Changes {
    fn new(
        known: &ScanChanges,
        rows: &RecordBatch,
        kinds: Option<Vec<ChangeKind>>,
        origin: Origin<'_>,
    ) -> Self {
        let count = rows.num_rows();
        let kinds = match (&known.upserts, kinds) {
            (Some(columns), _) => {
                let is_null = |row: usize| columns.iter().all(|&c| rows.column(c).is_null(row));
                // A table that is its key has no row that could say its end.
                let ends = |row: usize| !columns.is_empty() && is_null(row);
                let kind =
                    |row| if ends(row) { ChangeKind::Delete } else { ChangeKind::UpdateAfter };
                (0..count).map(kind).collect()
            }
            (None, Some(kinds)) => kinds,
            (None, None) => vec![ChangeKind::Insert; count],
        };
        let log = known.is_log().then(|| origin.source.partition_name(origin.partition));
        Changes { kinds, log }
    }

    /// Whether row `i` is the first half of an update whose other half is row `i + 1`.
    fn is_paired(&self, i: usize) -> bool {
        self.kinds.get(i) == Some(&ChangeKind::UpdateBefore)
            && self.kinds.get(i + 1) == Some(&ChangeKind::UpdateAfter)
    }

    /// Rows that are put in and lack a column that they must have.
    fn incomplete(&self, known: &ScanChanges, rows: &RecordBatch) -> Refused {
        let mut refused = Refused::new();
        for &column in &known.required {
            let values = rows.column(column);
            if values.null_count() == 0 {
                continue;
            }
            let is_missing = |i: &usize| values.is_null(*i) && !self.kinds[*i].retracts();
            for i in (0..rows.num_rows()).filter(is_missing) {
                let name = rows.schema_ref().field(column).name().clone();
                refused.entry(i).or_insert(Some(format!("{name}: NULL in a NOT NULL column")));
            }
        }
        refused
    }

    /// Values of rows, those of an update's first half being those of the other: they are one.
    fn paired(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let from = |i: usize| if self.is_paired(i) { i + 1 } else { i } as u32;
        let places = UInt32Array::from_iter_values((0..values.len()).map(from));
        Ok(compute::take(values, &places, None)?)
    }

    /// The timestamps of the changes: what takes a row back may have none, and is done at once.
    fn times(&self, ts: &ArrayRef, refused: &mut Refused) -> Result<ArrayRef> {
        let ts = self.paired(ts)?;
        let values = ts.as_primitive::<TimestampMillisecondType>();
        refused.retain(|i, _| !self.kinds[*i].retracts());
        if values.null_count() == 0 {
            return Ok(ts);
        }
        let time = |i: usize| match values.is_valid(i) {
            true => Some(values.value(i)),
            false => (self.kinds[i].retracts() && !self.is_paired(i)).then_some(EARLIEST),
        };
        Ok(Arc::new((0..values.len()).map(time).collect::<TimestampMillisecondArray>()))
    }

    /// With one half of an update the other is refused.
    fn refuse_pairs(&self, refused: &mut Refused) {
        let halves: Vec<usize> = refused.keys().copied().collect();
        for i in halves {
            if i.checked_sub(1).is_some_and(|before| self.is_paired(before)) {
                refused.insert(i - 1, None);
            } else if self.is_paired(i) && !refused.contains_key(&(i + 1)) {
                refused.insert(i + 1, None);
            }
        }
    }

    /// The rows of `split` with what they change.
    fn batch(&self, split: &TimedSplit, times: ScalarBuffer<EventTime>) -> Result<UpdateBatch> {
        let Some(partition) = &self.log else {
            if !self.kinds.iter().any(|kind| kind.retracts()) {
                return Ok(UpdateBatch::new(split.rows.clone(), times, None));
            }
            let diff = |kind: &ChangeKind| if kind.retracts() { -1 } else { 1 };
            let diffs: Vec<i64> = self.kinds.iter().map(diff).collect();
            return Ok(UpdateBatch::new(split.rows.clone(), times, Some(diffs.into())));
        };
        let codes = Int8Array::from_iter_values(self.kinds.iter().map(|kind| kind.code()));
        let mut columns = split.rows.columns().to_vec();
        columns.push(Arc::new(codes));
        columns.push(Arc::new(repeated(partition, self.kinds.len())?));
        columns.push(Arc::new(Int64Array::from(split.positions())));
        let rows = RecordBatch::try_new(log_schema(split.rows.schema_ref()), columns)?;
        Ok(UpdateBatch::new(rows, times, None))
    }
}

/// One text `count` times, its bytes once.
fn repeated(text: &str, count: usize) -> Result<StringViewArray> {
    let view = arrow::array::make_view(text.as_bytes(), 0, 0);
    let views = ScalarBuffer::from(vec![view; count]);
    let bytes = Buffer::from_slice_ref(text.as_bytes());
    Ok(StringViewArray::try_new(views, vec![bytes], None)?)
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
