//! Session assignment: the rows of a closed session, each with the session's window columns.
//!
//! When a session closes, and what late rows do, is said in [`super::sessions`]; the rows of a
//! session are emitted together, at the time of its result. State: the rows of the sessions that
//! are not closed, as columns in the batches that they came in.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take};
use arrow::datatypes::SchemaRef;

use super::logic::Emitted;
use super::sessions::{Contents, Due, Kept, SessionSpec, Sessions, bounds};
use crate::batch::UpdateBatch;
use crate::batch::consolidate::consolidate;
use crate::batch::ipc::compact;
use crate::error::{Error, Result};
use crate::limits::BATCH_ROWS;
use crate::state::keys::GroupKeys;
use crate::state::touched::{Increments, outgrown};
use crate::time::EventTime;

/// The logic of a session assignment.
pub type SessionAssign = Sessions<SessionRows>;

impl SessionAssign {
    /// Appends the session's window to rows of schema `input`; `output` is that and window start,
    /// end and time. `keys` are the `PARTITION BY` columns.
    pub fn new(
        input: SchemaRef,
        time_column: usize,
        gap: i64,
        keys: Vec<usize>,
        output: SchemaRef,
        lateness: i64,
    ) -> Result<Self> {
        if output.fields().len() != input.fields().len() + 3 {
            return Err(Error::internal("a session assignment's output is its input and a window"));
        }
        let rows = SessionRows::new(Arc::clone(&input), output);
        let spec = SessionSpec { input, time_column, gap, keys, allowed_lateness: lateness };
        Sessions::of(spec, rows)
    }
}

/// The rows of sessions.
pub struct SessionRows {
    input: SchemaRef,
    output: SchemaRef,
    /// Rows as they came; `None` where all were given back.
    batches: Vec<Option<Stored>>,
    /// The batch that small ones are still appended to.
    tail: Option<u32>,
    free: Vec<u32>,
    /// Rows of all batches, and those of them that a session holds.
    stored: usize,
    live: usize,
    /// The rows of each session: batch, row.
    sessions: Vec<Vec<(u32, u32)>>,
    /// Rows added since the last save; `None` while the next one must be whole.
    added: Option<Vec<UpdateBatch>>,
    added_rows: usize,
    increments: Increments,
}

struct Stored {
    rows: UpdateBatch,
    live: usize,
}

/// Below this many rows the next batch is appended to the one before.
const SMALL_ROWS: usize = 1024;

impl SessionRows {
    fn new(input: SchemaRef, output: SchemaRef) -> Self {
        SessionRows {
            input,
            output,
            batches: Vec::new(),
            tail: None,
            free: Vec::new(),
            stored: 0,
            live: 0,
            sessions: Vec::new(),
            added: None,
            added_rows: 0,
            increments: Increments::default(),
        }
    }

    /// Keeps rows for the next save.
    fn note(&mut self, batch: &UpdateBatch, rows: &Kept<'_>) -> Result<()> {
        let Some(added) = &mut self.added else { return Ok(()) };
        if !rows.kept.is_empty() {
            added.push(compacted(&batch.take(&UInt32Array::from(rows.kept.to_vec()))?)?);
            self.added_rows += rows.kept.len();
        }
        if outgrown(self.added_rows, self.live) {
            self.added = None;
        }
        Ok(())
    }

    fn store(&mut self, rows: UpdateBatch, live: usize) -> u32 {
        self.stored += rows.len();
        let stored = Some(Stored { rows, live });
        if let Some(place) = self.free.pop() {
            self.batches[place as usize] = stored;
            return place;
        }
        self.batches.push(stored);
        self.batches.len() as u32 - 1
    }

    fn drop_batch(&mut self, place: u32) {
        if let Some(batch) = self.batches[place as usize].take() {
            self.stored -= batch.rows.len();
            self.free.push(place);
        }
        if self.tail == Some(place) {
            self.tail = None;
        }
    }

    /// The rows `picked`, as one batch; times and diffs are theirs.
    fn gather(&self, picked: &[(u32, u32)]) -> Result<(RecordBatch, Option<Vec<i64>>, Vec<i64>)> {
        let mut places = vec![usize::MAX; self.batches.len()];
        let mut used: Vec<&UpdateBatch> = Vec::new();
        let mut indices = Vec::with_capacity(picked.len());
        for &(batch, row) in picked {
            let Some(stored) = &self.batches[batch as usize] else {
                return Err(Error::internal("a session's rows are gone"));
            };
            let place = &mut places[batch as usize];
            if *place == usize::MAX {
                *place = used.len();
                used.push(&stored.rows);
            }
            indices.push((*place, row as usize));
        }
        let rows: Vec<&RecordBatch> = used.iter().map(|batch| batch.rows()).collect();
        let rows = interleave_record_batch(&rows, &indices)?;
        let diffs = used.iter().any(|batch| batch.diffs().is_some());
        let diffs =
            diffs.then(|| indices.iter().map(|&(batch, row)| used[batch].diff(row)).collect());
        let times = indices.iter().map(|&(batch, row)| used[batch].times()[row]).collect();
        Ok((rows, diffs, times))
    }

    /// Puts what sessions hold into batches of its own, when most of what is stored is not theirs.
    fn compact(&mut self) -> Result<()> {
        if self.stored <= 2 * self.live + BATCH_ROWS {
            return Ok(());
        }
        let held: Vec<(u32, u32)> = self.sessions.iter().flatten().copied().collect();
        let mut fresh = Vec::new();
        for part in held.chunks(BATCH_ROWS) {
            let (rows, diffs, times) = self.gather(part)?;
            let rows = UpdateBatch::new(rows, times.into(), diffs.map(Into::into));
            fresh.push(Some(Stored { rows: compacted(&rows)?, live: part.len() }));
        }
        let rows = self.sessions.iter_mut().flatten();
        for (place, row) in (0u32..).zip(rows) {
            let size = BATCH_ROWS as u32;
            *row = (place / size, place % size);
        }
        self.batches = fresh;
        self.free.clear();
        self.tail = None;
        self.stored = held.len();
        Ok(())
    }
}

/// `batch` without the bytes of rows that are not its own.
fn compacted(batch: &UpdateBatch) -> Result<UpdateBatch> {
    let columns: Vec<ArrayRef> = batch.rows().columns().iter().map(compact).collect();
    Ok(batch.with_rows(RecordBatch::try_new(batch.schema(), columns)?))
}

/// Where the rows of a batch are kept: the batch, and the row in it of the first.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    batch: u32,
    first: u32,
}

impl Contents for SessionRows {
    type Input = Place;

    fn read(&mut self, batch: &UpdateBatch) -> Result<Place> {
        let tail = self.tail.and_then(|tail| self.batches[tail as usize].as_ref().zip(Some(tail)));
        if let Some((stored, place)) = tail
            && stored.rows.len() < SMALL_ROWS
            && batch.len() < BATCH_ROWS
        {
            let first = stored.rows.len() as u32;
            let parts = [stored.rows.clone(), compacted(batch)?];
            let rows = UpdateBatch::concat(&self.input, &parts)?;
            let live = stored.live;
            self.batches[place as usize] = Some(Stored { rows, live });
            self.stored += batch.len();
            return Ok(Place { batch: place, first });
        }
        let place = self.store(compacted(batch)?, 0);
        self.tail = Some(place);
        Ok(Place { batch: place, first: 0 })
    }

    fn resize(&mut self, sessions: usize) {
        self.sessions.resize(sessions, Vec::new());
    }

    fn add(
        &mut self,
        batch: &UpdateBatch,
        input: &Place,
        rows: Kept<'_>,
        sessions: &[u32],
    ) -> Result<()> {
        self.note(batch, &rows)?;
        for (&row, &session) in rows.kept.iter().zip(sessions) {
            self.sessions[session as usize].push((input.batch, input.first + row));
        }
        self.live += rows.kept.len();
        if let Some(stored) = &mut self.batches[input.batch as usize] {
            stored.live += rows.kept.len();
        }
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        for &(from, to) in pairs {
            let mut moved = std::mem::take(&mut self.sessions[from as usize]);
            let home = &mut self.sessions[to as usize];
            if moved.len() > home.len() {
                std::mem::swap(&mut moved, home);
            }
            home.append(&mut moved);
        }
    }

    fn clear(&mut self, sessions: &[u32]) {
        for &session in sessions {
            let rows = std::mem::take(&mut self.sessions[session as usize]);
            self.live -= rows.len();
            for (batch, _) in rows {
                if let Some(stored) = &mut self.batches[batch as usize] {
                    stored.live -= 1;
                }
            }
        }
    }

    fn emit(
        &self,
        _keys: &GroupKeys,
        sessions: &[Due],
        diff: i64,
        out: &mut Emitted,
    ) -> Result<()> {
        let rows = sessions.iter().zip(0u32..).flat_map(|(due, place)| {
            let rows = &self.sessions[due.number as usize];
            rows.iter().map(move |&row| (row, place))
        });
        let (rows, places): (Vec<(u32, u32)>, Vec<u32>) = rows.unzip();
        let windows = bounds(sessions, &self.output, self.input.fields().len())?;
        for (rows, places) in rows.chunks(BATCH_ROWS).zip(places.chunks(BATCH_ROWS)) {
            let (rows, diffs, _) = self.gather(rows)?;
            let times: Vec<EventTime> =
                places.iter().map(|&place| sessions[place as usize].time).collect();
            let mut columns = rows.columns().to_vec();
            let places = UInt32Array::from(places.to_vec());
            for window in &windows {
                columns.push(take(window, &places, None)?);
            }
            let diffs = match diffs {
                Some(diffs) => Some(diffs.iter().map(|own| own * diff).collect::<Vec<_>>()),
                None => (diff != 1).then(|| vec![diff; times.len()]),
            };
            let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
            out.push(UpdateBatch::new(rows, times.into(), diffs.map(Into::into)));
        }
        Ok(())
    }

    fn settle(&mut self, out: &mut Emitted) -> Result<()> {
        // A session that a late row left as it was, but for that row, was taken back and emitted.
        if out.updates.iter().any(|batch| batch.diffs().is_some()) {
            let updates = UpdateBatch::concat(&self.output, &std::mem::take(&mut out.updates))?;
            out.push(consolidate(&updates)?);
        }
        for place in 0..self.batches.len() as u32 {
            let unused = self.batches[place as usize].as_ref().is_some_and(|b| b.live == 0);
            if unused {
                self.drop_batch(place);
            }
        }
        self.compact()
    }

    fn held(&self, _sessions: usize) -> usize {
        self.stored
    }

    /// Rows of sessions that have closed since do no harm: no later row joins those.
    fn save_rows(&mut self, whole: bool) -> Result<Option<(bool, UpdateBatch)>> {
        let added = self.added.replace(Vec::new());
        let rows = std::mem::take(&mut self.added_rows);
        let whole = self.increments.must_be_whole(whole || added.is_none(), rows, self.live);
        if let Some(added) = added.filter(|_| !whole) {
            return Ok(Some((false, UpdateBatch::concat(&self.input, &added)?)));
        }
        let held: Vec<(u32, u32)> = self.sessions.iter().flatten().copied().collect();
        let mut all = Vec::new();
        for part in held.chunks(BATCH_ROWS) {
            let (rows, diffs, times) = self.gather(part)?;
            all.push(UpdateBatch::new(rows, times.into(), diffs.map(Into::into)));
        }
        Ok(Some((true, UpdateBatch::concat(&self.input, &all)?)))
    }
}
