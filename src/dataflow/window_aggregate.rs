//! Windowed aggregation: one row a window and group, emitted when the window closes.
//!
//! Rows are assigned to windows here (TUMBLE, HOP, CUMULATE) or carry their window (the second
//! level of two-level windows). State: aggregates per pane or per window; a pane is a stretch of
//! time whose rows are in the same windows, so that a row is added once however many windows hold
//! it. Bounded by the windows that are open.
//!
//! * A window `[s, e)` closes at `e + input delay`; its rows have the time just before that, which
//!   without a delay is `e - 1`.
//! * Late is decided row by row: a row is dropped for a window that is closed at `time(e)`, that is
//!   `time(e) >= e + delay + allowed lateness`. A row that no window takes is given to the late
//!   output with the end of its last window. A row in no window at all (a hop with gaps) is dropped
//!   in silence.
//! * With allowed lateness a late row corrects the result at `time(e)`: old row `-1`, new row `+1`.
//!   All rows of one millisecond are one correction.
//! * Rows whose time is NULL, or so extreme that a window bound would leave `i64`, are dead
//!   letters.
//!
//! * A retraction is applied to the windows of its row. Where order matters (`FIRST_VALUE` and its
//!   like) it takes back the oldest equal argument of the row's pane.
//!
//! Law: the output depends on the set of updates alone, not on their cut or on the frontiers seen.
//!
//! Late rows may be handed out after `is_due` was false for a frontier beyond their times: they are
//! beside the output's time and a driver must not clamp the output to them.

mod each;
mod panes;
mod saved;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMillisecondArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::datatypes::*;

use super::logic::{Emitted, LateRows, Rest, StatefulLogic};
use super::side::bury_failed;
use super::window_math::{Window, WindowShape};
use crate::batch::UpdateBatch;
use crate::error::{DeadLetter, Error, Result};
use crate::limits::{BATCH_ROWS, WINDOW_ROWS_UNREAD_MAX};
use crate::plan::aggregate::AggregateCall;
use crate::plan::node::WindowInput;
use crate::state::aggregate::{AggregatePlan, StepInput};
use crate::state::column::Column;
use crate::state::keyed::{KeyedState, Results, row_text};
use crate::state::keys::GroupKeys;
use crate::state::saved::{Recovery, SavedTable};
use crate::state::touched::Increments;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// The logic of a windowed aggregation.
pub struct WindowAggregate {
    parts: Parts,
    shape: Option<WindowShape>,
    store: Store,
    /// The frontier up to which input was applied.
    applied: EventTime,
}

enum Store {
    Panes(panes::Panes),
    Each(each::Each),
}

/// What both ways to keep windows need.
struct Parts {
    input: SchemaRef,
    source: WindowInput,
    keys: Vec<usize>,
    key_types: Vec<DataType>,
    plan: Arc<AggregatePlan>,
    output: SchemaRef,
    delay: i64,
    lateness: i64,
    /// Emptied states, for their memory.
    spare: Vec<KeyedState>,
    /// Whether states note what is touched, for the next save.
    tracks: bool,
    increments: Increments,
    /// How the save that has begun is placed, and states of closed windows that it waits for.
    shard: Option<Vec<usize>>,
    closed: Vec<KeyedState>,
}

/// A batch read for its keys and aggregates.
struct Prepared {
    input: StepInput,
    keys: Vec<Column>,
}

/// States kept for their memory.
const SPARE_MAX: usize = 4;

impl WindowAggregate {
    /// Groups rows of `input` by window and the columns `keys`.
    ///
    /// `output` is keys, `calls`, then window start, end and time (TIMESTAMP(3)).
    pub fn new(
        input: SchemaRef,
        source: WindowInput,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
        output: SchemaRef,
        allowed_lateness: i64,
        append_only: bool,
    ) -> Result<Self> {
        if output.fields().len() != keys.len() + calls.len() + 3 {
            return Err(Error::internal("a window aggregate's output is keys, calls, window"));
        }
        let plan = Arc::new(AggregatePlan::new(&calls, &input, append_only)?);
        let key_types = keys.iter().map(|&k| input.field(k).data_type().clone()).collect();
        let shape = match &source {
            WindowInput::Assigned { spec, .. } => Some(WindowShape::new(spec)?),
            WindowInput::Attached { .. } => None,
        };
        let lateness = allowed_lateness.max(0);
        let store = match shape {
            Some(shape) if lateness == 0 && shape.has_panes() => {
                Store::Panes(panes::Panes::new(shape))
            }
            _ => Store::Each(each::Each::new(shape)),
        };
        let parts = Parts {
            input,
            source,
            keys,
            key_types,
            plan,
            output,
            delay: 0,
            lateness,
            spare: Vec::new(),
            tracks: false,
            increments: Increments::default(),
            shard: None,
            closed: Vec::new(),
        };
        Ok(WindowAggregate { parts, shape, store, applied: BEGINNING })
    }

    /// The input may come this much after its window's time: every close is put off by `delay` ms.
    ///
    /// One above a session, whose result comes at its end and not just before.
    pub fn with_input_delay(mut self, delay: i64) -> Self {
        self.parts.delay = delay.max(0);
        self
    }
}

impl StatefulLogic for WindowAggregate {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        if frontier == CLOSED || buffered > WINDOW_ROWS_UNREAD_MAX {
            return true;
        }
        let corrects = self.parts.lateness > 0;
        match (&self.store, &self.shape) {
            (Store::Panes(panes), _) if buffered == 0 && panes.is_empty() => false,
            (Store::Each(each), _) if buffered == 0 => each.is_due(&self.parts, frontier),
            (_, Some(shape)) if !corrects && self.applied != BEGINNING => {
                // Rows that are not late are in windows that end after what was applied.
                let next = shape.next_end(self.applied.saturating_sub(self.parts.delay));
                next.is_some_and(|end| self.parts.closes(end) <= frontier)
            }
            _ => true,
        }
    }

    fn advance(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let batches = coalesce(&self.parts.input, inputs)?;
        match &mut self.store {
            Store::Panes(panes) => panes.advance(&mut self.parts, from, to, &batches, out)?,
            Store::Each(each) => each.advance(&mut self.parts, to, &batches, out)?,
        }
        self.applied = to;
        Ok(())
    }

    fn state_rows(&self) -> usize {
        match &self.store {
            Store::Panes(panes) => panes.groups(),
            Store::Each(each) => each.groups(),
        }
    }

    fn rest(&self) -> Rest {
        let due = match (&self.store, &self.shape) {
            (Store::Panes(_), Some(shape)) => {
                let end = shape.next_end(self.applied.saturating_sub(self.parts.delay));
                end.map(|end| self.parts.closes(end))
            }
            (Store::Panes(_), None) => None,
            (Store::Each(each), _) => each.due(&self.parts),
        };
        Rest::Until(due.unwrap_or(CLOSED))
    }

    fn recovery(&self) -> Recovery {
        Recovery::Tables
    }

    fn save(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        Ok((self.begin_save(whole, placement), Vec::new()))
    }

    fn save_more(&mut self, most: usize) -> Result<Option<SavedTable>> {
        self.save_piece(most)
    }

    fn changed_rows(&self) -> Option<usize> {
        Some(self.changed())
    }

    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        self.applied = to;
        tables.iter().try_for_each(|table| self.load_table(table, to))
    }
}

impl Parts {
    /// The frontier at which a window that ends at `end` closes.
    fn closes(&self, end: i64) -> EventTime {
        end.saturating_add(self.delay)
    }

    /// The time from which a row is too late for a window that ends at `end`.
    fn refuses(&self, end: i64) -> EventTime {
        self.closes(end).saturating_add(self.lateness)
    }

    fn state(&mut self) -> KeyedState {
        let new = || KeyedState::new(Arc::clone(&self.plan), self.key_types.clone());
        let mut state = self.spare.pop().unwrap_or_else(new);
        if self.tracks {
            state.track();
        }
        state
    }

    fn recycle(&mut self, mut state: KeyedState) {
        if state.is_saving() {
            self.closed.push(state);
        } else if self.spare.len() < SPARE_MAX {
            state.reset();
            self.spare.push(state);
        }
    }

    fn prepare(&self, batch: &UpdateBatch) -> Result<Prepared> {
        let keys = GroupKeys::read(self.keys.iter().map(|&key| batch.column(key)))?;
        Ok(Prepared { input: self.plan.read(batch)?, keys })
    }

    /// Emits the results of a window that closes.
    fn emit(&self, state: &KeyedState, window: Window, out: &mut Emitted) -> Result<()> {
        let results = state.results()?;
        // A closing frontier has no time before it that a far end could need.
        let time = self.closes(window.end).saturating_sub(1).min(CLOSED - 1);
        let times = vec![time; results.rows];
        self.emit_results(results, window, times, None, out)
    }

    fn emit_results(
        &self,
        results: Results,
        window: Window,
        times: Vec<EventTime>,
        diffs: Option<Vec<i64>>,
        out: &mut Emitted,
    ) -> Result<()> {
        if results.rows == 0 {
            return Ok(());
        }
        let mut columns = results.columns;
        let failed = (self.keys.len(), results.failed.as_slice());
        bury_failed(&self.output, &columns, failed, |row| times[row], out)?;
        for bound in [window.start, window.end, window.end.saturating_sub(1)] {
            let data_type = self.output.field(columns.len()).data_type();
            columns.push(constant_time(bound, results.rows, data_type));
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        out.push(UpdateBatch::new(rows, times.into(), diffs.map(Into::into)));
        Ok(())
    }
}

impl Prepared {
    fn keys(&self) -> Vec<&Column> {
        self.keys.iter().collect()
    }
}

/// `rows` times the time `value`, as `data_type` (a TIMESTAMP(3), with or without a zone).
pub(super) fn constant_time(value: i64, rows: usize, data_type: &DataType) -> ArrayRef {
    let times = TimestampMillisecondArray::from(vec![value; rows]);
    match data_type {
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            Arc::new(times.with_timezone_opt(zone.clone()))
        }
        _ => Arc::new(times),
    }
}

/// A timestamp column in milliseconds.
pub(super) struct Stamps {
    values: ScalarBuffer<i64>,
    /// Absent when every row has a time.
    valid: Option<BooleanBuffer>,
}

impl Stamps {
    /// The time of row `row`; `None` for NULL and out of range.
    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<i64> {
        match &self.valid {
            Some(valid) if !valid.value(row) => None,
            _ => Some(self.values[row]),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Least and greatest time, if every row has one.
    fn range(&self) -> Option<(i64, i64)> {
        let all = (self.valid.is_none() && !self.values.is_empty()).then_some(&self.values)?;
        Some(all.iter().fold((i64::MAX, i64::MIN), |(l, h), &t| (l.min(t), h.max(t))))
    }
}

/// Reads a timestamp column, rounded down to milliseconds.
pub(super) fn read_times(array: &ArrayRef) -> Result<Stamps> {
    fn read<T: ArrowPrimitiveType<Native = i64>>(
        array: &ArrayRef,
        convert: impl Fn(i64) -> Option<i64>,
    ) -> Stamps {
        let stamps: Vec<Option<i64>> =
            array.as_primitive::<T>().iter().map(|value| value.and_then(&convert)).collect();
        let all = stamps.iter().all(Option::is_some);
        let valid = (!all).then(|| stamps.iter().map(Option::is_some).collect());
        Stamps { values: stamps.into_iter().map(Option::unwrap_or_default).collect(), valid }
    }
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let values = array.as_primitive::<TimestampMillisecondType>().values().clone();
            let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
            Stamps { values, valid: nulls.map(|nulls| nulls.inner().clone()) }
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            read::<TimestampSecondType>(array, |seconds| seconds.checked_mul(1000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            read::<TimestampMicrosecondType>(array, |micros| Some(micros.div_euclid(1000)))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            read::<TimestampNanosecondType>(array, |nanos| Some(nanos.div_euclid(1_000_000)))
        }
        other => {
            return Err(Error::sql(format!("a window needs a TIMESTAMP column, not {other}")));
        }
    })
}

/// All batches, small neighbours put together.
pub(super) fn coalesce(
    schema: &SchemaRef,
    inputs: Vec<Vec<UpdateBatch>>,
) -> Result<Vec<UpdateBatch>> {
    let (mut all, mut small, mut rows) = (Vec::new(), Vec::new(), 0);
    for batch in inputs.into_iter().flatten() {
        if batch.len() >= BATCH_ROWS / 2 {
            all.push(batch);
            continue;
        }
        rows += batch.len();
        small.push(batch);
        if rows >= BATCH_ROWS {
            all.push(UpdateBatch::concat(schema, &small)?);
            small.clear();
            rows = 0;
        }
    }
    if !small.is_empty() {
        all.push(UpdateBatch::concat(schema, &small)?);
    }
    all.retain(|batch| !batch.is_empty());
    Ok(all)
}

/// Hands rows of `batch` to the late output.
pub(super) fn push_late(
    batch: &UpdateBatch,
    rows: Vec<u32>,
    window_end: Vec<EventTime>,
    out: &mut Emitted,
) -> Result<()> {
    if !rows.is_empty() {
        let rows = batch.take(&UInt32Array::from(rows))?;
        out.late.push(LateRows { rows, window_end });
    }
    Ok(())
}

/// A dead letter for row `row` of `batch`, which has no window.
pub(super) fn push_dead(batch: &UpdateBatch, row: usize, out: &mut Emitted) -> Result<()> {
    let letter = DeadLetter {
        source: "window".to_owned(),
        partition: String::new(),
        offset: -1,
        reason: "the window's time is NULL or out of range".to_owned(),
        record: row_text(batch.rows().columns(), row)?,
    };
    out.dead.push(letter, batch.times()[row]);
    Ok(())
}
