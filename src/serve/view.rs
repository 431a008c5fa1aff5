//! The contents of one view over a span of event times.
//!
//! Worker threads append closed updates; anyone reads the view as of a time in `[since, upper]`.
//! An append pushes batches under a short lock. When the appended updates outnumber the
//! consolidated ones, the appending thread merges both outside the lock, so that `n` updates cost
//! `O(n log n)` in all, memory stays within a factor of what is readable, and readers go on
//! meanwhile.
//!
//! Law: `read(as_of)` is the sum of all updates ever appended with `time < as_of`, whatever the
//! cuts, the writers' interleaving and the merges in between.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;

use super::run::{self, Run};
use crate::batch::UpdateBatch;
use crate::batch::consolidate::consolidate;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{BATCH_ROWS, VIEW_PENDING_ROWS_MIN};
use crate::time::{BEGINNING, CLOSED, EventTime};

/// The contents of one view, written by the workers of one process and read by anyone.
#[derive(Debug)]
pub struct ViewContents {
    schema: SchemaRef,
    retain_history_ms: i64,
    state: Mutex<State>,
    /// Held by the one thread that merges.
    merging: Mutex<()>,
    moved: Condvar,
}

#[derive(Debug)]
struct State {
    writers: Vec<Writer>,
    /// Updates older than every other one here, consolidated.
    base: Arc<Run>,
    /// Updates that a merge is working on: no longer a writer's, not yet in `base`.
    sealed: Arc<Vec<UpdateBatch>>,
    since: EventTime,
    /// `since` never passes this time.
    hold: EventTime,
    last_time: Option<EventTime>,
    update_count: u64,
    rows: i64,
    pending_rows: usize,
    failure: Option<Error>,
}

#[derive(Debug)]
struct Writer {
    upper: EventTime,
    pending: Vec<UpdateBatch>,
}

/// How much a view holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewStats {
    /// Updates appended so far.
    pub update_count: u64,
    /// Rows in the view now, those at or after its upper included.
    pub rows: i64,
    /// Updates kept.
    pub stored: usize,
    /// Bytes of the updates kept.
    pub bytes: usize,
}

/// What a reader takes out of the lock.
struct Snapshot {
    base: Arc<Run>,
    others: Vec<UpdateBatch>,
}

impl ViewContents {
    /// An empty view of `schema`, written by `writers` threads, readable `retain_history_ms` back.
    pub fn new(schema: SchemaRef, writers: usize, retain_history_ms: i64) -> Self {
        let writer = || Writer { upper: BEGINNING, pending: Vec::new() };
        ViewContents {
            retain_history_ms: retain_history_ms.max(0),
            state: Mutex::new(State {
                writers: std::iter::repeat_with(writer).take(writers).collect(),
                base: Arc::new(Run::empty(Arc::clone(&schema))),
                sealed: Arc::default(),
                since: BEGINNING,
                hold: CLOSED,
                last_time: None,
                update_count: 0,
                rows: 0,
                pending_rows: 0,
                failure: None,
            }),
            schema,
            merging: Mutex::new(()),
            moved: Condvar::new(),
        }
    }

    /// Columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Adds the updates of `writer` in `[its previous upper, upper)`; `upper` is [`CLOSED`] at its
    /// end.
    ///
    /// Called by one thread a writer. A writer's upper never moves back. An error means a defect:
    /// it is also kept, and every later read returns it.
    pub fn append(&self, writer: usize, updates: Vec<UpdateBatch>, upper: EventTime) -> Result<()> {
        let appended = self.try_append(writer, updates, upper);
        if let Err(error) = &appended {
            self.lock().failure.get_or_insert_with(|| error.clone());
            self.moved.notify_all();
        }
        appended
    }

    fn try_append(&self, writer: usize, updates: Vec<UpdateBatch>, upper: EventTime) -> Result<()> {
        let mut owned = Vec::with_capacity(updates.len());
        let (mut last, mut net) = (None, 0);
        for batch in updates.iter().filter(|batch| !batch.is_empty()) {
            let rows = run::compact_rows(batch.rows())?;
            let rows =
                run::with_columns(Arc::clone(&self.schema), rows.columns().to_vec(), batch.len())?;
            last = last.max(batch.time_range().map(|(_, high)| high));
            net += batch.diffs().map_or(batch.len() as i64, |d| d.iter().sum::<i64>());
            owned.push(batch.with_rows(rows));
        }
        let mut state = self.lock();
        let before = state.upper();
        let appended: usize = owned.iter().map(UpdateBatch::len).sum();
        let count = state.writers.len();
        let own = state.writers.get_mut(writer).ok_or_else(|| {
            Error::internal(format!("writer {writer} of a view with {count} writers"))
        })?;
        let is_closed = |b: &UpdateBatch| {
            b.time_range().is_none_or(|(low, high)| own.upper <= low && high < upper)
        };
        if !owned.iter().all(is_closed) {
            return Err(Error::internal("updates of a view outside of [previous upper, upper)"));
        }
        own.upper = own.upper.max(upper);
        for batch in owned {
            own.push(&self.schema, batch)?;
        }
        state.last_time = state.last_time.max(last);
        state.update_count += appended as u64;
        state.pending_rows += appended;
        state.rows += net;
        let (after, pending) = (state.upper(), state.pending_rows);
        let kept = state.base.updates.len().max(VIEW_PENDING_ROWS_MIN);
        drop(state);
        if after != before {
            self.moved.notify_all();
        }
        // At twice the bound the writer waits for the thread that merges; before, it goes on. An
        // ended view is merged once more: from then on it is only read.
        let ended = after == CLOSED && before != CLOSED;
        if ended || pending >= 2 * kept {
            let guard = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
            self.merge(&guard)?;
        } else if pending >= kept
            && let Ok(guard) = self.merging.try_lock()
        {
            self.merge(&guard)?;
        }
        Ok(())
    }

    /// Merges what was appended into the base; readers see both until the base is replaced.
    fn merge(&self, _only_one: &MutexGuard<'_, ()>) -> Result<()> {
        let (parts, since) = {
            let mut state = self.lock();
            // Announced before the work, so that a hold set from here on is never overrun.
            let since = state.since.max(self.since_wanted(&state));
            state.since = since;
            let mut sealed = state.sealed.to_vec();
            for writer in &mut state.writers {
                sealed.append(&mut writer.pending);
            }
            state.pending_rows = 0;
            state.sealed = Arc::new(sealed);
            let mut parts = vec![state.base.updates.clone()];
            parts.extend(state.sealed.iter().cloned());
            (parts, since)
        };
        let merged = Arc::new(Run::merge(&self.schema, parts, since)?);
        let mut state = self.lock();
        let old = std::mem::replace(&mut state.base, merged);
        let sealed = std::mem::take(&mut state.sealed);
        drop(state);
        drop((old, sealed));
        Ok(())
    }

    fn since_wanted(&self, state: &State) -> EventTime {
        state.newest_time().saturating_sub(self.retain_history_ms).min(state.hold)
    }

    /// No update with a time below this will still appear: the least upper of the writers.
    pub fn upper(&self) -> EventTime {
        self.lock().upper()
    }

    /// The earliest time that can be read.
    pub fn since(&self) -> EventTime {
        self.lock().since
    }

    /// Lets history before `to` go and holds the rest: `since` does not pass `to` until called
    /// again.
    ///
    /// Without a call, `retain_history_ms` alone decides; [`CLOSED`] removes the hold.
    pub fn allow_compaction(&self, to: EventTime) {
        self.lock().hold = to;
    }

    /// Nothing before `since` can be read: it has been summed up.
    pub fn begin_at(&self, since: EventTime) {
        let mut state = self.lock();
        state.since = state.since.max(since);
    }

    /// The greatest time of an update so far.
    pub fn last_time(&self) -> Option<EventTime> {
        self.lock().last_time
    }

    /// The time at which to read the newest closed contents: the upper, and for an ended view the
    /// first time that includes all its updates. [`BEGINNING`] if it ended empty.
    pub fn newest_time(&self) -> EventTime {
        self.lock().newest_time()
    }

    /// How much the view holds.
    pub fn stats(&self) -> ViewStats {
        let state = self.lock();
        let parts = || {
            let pending = state.writers.iter().flat_map(|w| &w.pending);
            std::iter::once(&state.base.updates).chain(state.sealed.iter()).chain(pending)
        };
        ViewStats {
            update_count: state.update_count,
            rows: state.rows,
            stored: parts().map(UpdateBatch::len).sum(),
            bytes: parts().map(bytes_of).sum(),
        }
    }

    /// Waits until the upper is at least `min`; false when `timeout` passes before.
    pub fn wait_upper(&self, min: EventTime, timeout: Duration) -> bool {
        let waited = self
            .moved
            .wait_timeout_while(self.lock(), timeout, |s| s.upper() < min && s.failure.is_none());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.upper() >= min
    }

    /// The rows as of `as_of`, with multiplicity, sorted by whole row (ascending, NULLs first).
    pub fn read(&self, as_of: EventTime) -> Result<RecordBatch> {
        Ok(self.read_at(Some(as_of), &[], &[])?.1)
    }

    /// The rows as of `as_of` whose `key_columns` equal `values` (NULL equals NULL), sorted.
    pub fn read_key(
        &self,
        as_of: EventTime,
        key_columns: &[usize],
        values: &[ScalarValue],
    ) -> Result<RecordBatch> {
        Ok(self.read_at(Some(as_of), key_columns, values)?.1)
    }

    /// The rows whose `key_columns` equal `values`, as of a time or else of the newest one; and
    /// that time.
    pub fn read_at(
        &self,
        as_of: Option<EventTime>,
        key_columns: &[usize],
        values: &[ScalarValue],
    ) -> Result<(EventTime, RecordBatch)> {
        let (as_of, snapshot) = {
            let state = self.lock();
            let as_of = as_of.unwrap_or_else(|| state.newest_time());
            (as_of, state.snapshot(as_of, as_of)?)
        };
        if key_columns.is_empty() && values.is_empty() {
            let rows = run::contents(&self.schema, &snapshot.base, &snapshot.others, as_of)?;
            return Ok((as_of, rows));
        }
        let mut parts = Vec::with_capacity(1 + snapshot.others.len());
        for part in std::iter::once(&snapshot.base.updates).chain(&snapshot.others) {
            parts.push(part.filter(&matching(part.rows(), key_columns, values)?)?);
        }
        let rows = run::sums(&self.schema, &run::between(&parts, BEGINNING, as_of)?)?;
        Ok((as_of, rows))
    }

    /// The consolidated updates with `from <= time < to`, sorted by time, then row.
    ///
    /// With the rows as of `from` they make the rows as of `to`.
    pub fn changes(&self, from: EventTime, to: EventTime) -> Result<UpdateBatch> {
        let snapshot = self.lock().snapshot(from, to)?;
        let mut parts = run::between(std::slice::from_ref(&snapshot.base.updates), from, to)?;
        parts.extend(run::between(&snapshot.others, from, to)?);
        consolidate(&UpdateBatch::concat(&self.schema, &parts)?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: every change under the lock is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The time at which to read the newest closed contents.
    fn newest_time(&self) -> EventTime {
        match self.upper() {
            CLOSED => self.last_time.map_or(BEGINNING, |t| t.saturating_add(1)),
            upper => upper,
        }
    }

    fn snapshot(&self, from: EventTime, to: EventTime) -> Result<Snapshot> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        let (since, upper) = (self.since, self.upper());
        if from < since || to > upper {
            return Err(out_of_range(if from < since { from } else { to }, since, upper));
        }
        let mut others = self.sealed.to_vec();
        others.extend(self.writers.iter().flat_map(|w| w.pending.iter().cloned()));
        Ok(Snapshot { base: Arc::clone(&self.base), others })
    }

    fn upper(&self) -> EventTime {
        self.writers.iter().map(|w| w.upper).min().unwrap_or(CLOSED)
    }
}

impl Writer {
    /// Keeps `batch`; small batches at the end are joined, so that their number stays small.
    fn push(&mut self, schema: &SchemaRef, batch: UpdateBatch) -> Result<()> {
        self.pending.push(batch);
        while let [.., before, last] = self.pending.as_slice() {
            if before.len() > 2 * last.len() || before.len() + last.len() > BATCH_ROWS {
                break;
            }
            let joined = UpdateBatch::concat(schema, &[before.clone(), last.clone()])?;
            let rows = run::compact_rows(joined.rows())?;
            self.pending.truncate(self.pending.len() - 2);
            self.pending.push(joined.with_rows(rows));
        }
        Ok(())
    }
}

fn matching(
    rows: &RecordBatch,
    key_columns: &[usize],
    values: &[ScalarValue],
) -> Result<BooleanArray> {
    if key_columns.len() != values.len() {
        let (columns, given) = (key_columns.len(), values.len());
        return Err(Error::config(format!("a key of {columns} columns and {given} values")));
    }
    let mut mask = BooleanArray::new(BooleanBuffer::new_set(rows.num_rows()), None);
    for (&column, value) in key_columns.iter().zip(values) {
        let column = rows
            .columns()
            .get(column)
            .ok_or_else(|| Error::internal(format!("key column {column} of a view")))?;
        let equal = not_distinct(column, &value.to_scalar()?)?;
        mask = arrow::compute::and(&mask, &equal)?;
    }
    Ok(mask)
}

fn bytes_of(batch: &UpdateBatch) -> usize {
    let diffs = batch.diffs().map_or(0, |d| d.len() * 8);
    batch.rows().get_array_memory_size() + batch.len() * 8 + diffs
}

fn out_of_range(time: EventTime, since: EventTime, upper: EventTime) -> Error {
    use super::time_text::format_time;
    let wanted = format_time(time);
    let error = if time < since {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "the view cannot be read as of {wanted}: its history begins at {}",
                format_time(since)
            ),
        )
        .with_hint("`SET 'retain_history' = '..'` in the job keeps more history")
    } else if upper == BEGINNING {
        Error::new(ErrorKind::Conflict, "the view cannot be read yet: no event time has closed")
            .with_hint("try again once its sources have delivered rows")
    } else {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "the view cannot be read as of {wanted}: it is complete up to {}",
                format_time(upper)
            ),
        )
    };
    let valid = format!("readable from {} to {}", format_time(since), format_time(upper));
    match error.hint.clone() {
        Some(hint) => error.with_hint(format!("{valid}; {hint}")),
        None => error.with_hint(valid),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
