//! Sessions: rows of one key at most a gap apart, whatever is then made of their rows.
//!
//! A session is `[least ts, greatest ts + gap)`. Two rows exactly one gap apart belong to one
//! session, so a row *at* the window's end still belongs, and the session is complete only when the
//! frontier is beyond its end: the result has the time `end` (not `end - 1`) plus the input delay.
//! An operator behind must close one millisecond later: give it an input delay that is greater by
//! one.
//!
//! Late is decided row by row, in the order of `time(e)`, then `ts`; what the frontier was does not
//! matter. At a row of time `t`
//!
//! * a session is closed if `t > end + delay + allowed lateness`;
//! * the row joins all sessions of its key that are not closed and at most one gap away, which
//!   become one session;
//! * if there is none, it begins one; unless that would be closed at `t`: then it is late.
//!
//! With allowed lateness a session that was emitted (`t > end + delay`) and changes is taken back
//! at `t`; the session that it becomes is emitted at `t`, or when it is complete if that is later.
//!
//! What a session holds is its [`Contents`]: aggregate states ([`super::session_aggregate`]) or the
//! rows themselves ([`super::session_assign`]). State is bounded by the sessions that are not
//! closed. Input is append-only.

#[cfg(test)]
pub(super) mod naive;
mod saved;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

use arrow::array::{ArrayRef, TimestampMillisecondArray, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};

use super::logic::{Emitted, Rest, StatefulLogic};
use super::window_aggregate::{coalesce, push_dead, push_late, read_times};
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::saved::{LoadedColumns, Recovery, SavedColumns, SavedTable};
use crate::state::touched::{Increments, Touched};
use crate::time::{CLOSED, EventTime};

/// What is kept of the rows of each session, by the session's number.
pub trait Contents: 'static {
    /// A batch read once for all its rows.
    type Input;

    /// Reads `batch`, whose rows are then added.
    fn read(&mut self, batch: &UpdateBatch) -> Result<Self::Input>;

    /// Makes room for sessions below `sessions`; new ones are empty.
    fn resize(&mut self, sessions: usize);

    /// Adds the rows `rows` of `batch`, read as `input`; `sessions[i]` is that of the `i`-th.
    fn add(
        &mut self,
        batch: &UpdateBatch,
        input: &Self::Input,
        rows: Kept<'_>,
        sessions: &[u32],
    ) -> Result<()>;

    /// Adds, for each pair, the first session to the second and empties the first.
    ///
    /// No session is first and second, or first twice.
    fn absorb(&mut self, pairs: &[(u32, u32)]);

    /// Empties `sessions`.
    fn clear(&mut self, sessions: &[u32]);

    /// Emits the results of `sessions`, each at its time, `diff` times.
    fn emit(&self, keys: &GroupKeys, sessions: &[Due], diff: i64, out: &mut Emitted) -> Result<()>;

    /// Called when a step is done: may tidy up its results and its own memory.
    fn settle(&mut self, out: &mut Emitted) -> Result<()>;

    /// Rows or groups held for `sessions` sessions.
    fn held(&self, sessions: usize) -> usize;

    /// The rows that all is made of again, if it is: all that are held, or those added since the
    /// last call; and whether they are all.
    fn save_rows(&mut self, whole: bool) -> Result<Option<(bool, UpdateBatch)>> {
        let _ = whole;
        Ok(None)
    }

    /// Saves `sessions` as columns, a row each, where they do not come back from rows.
    fn save(&self, sessions: &[u32], out: &mut SavedColumns) {
        let (_, _) = (sessions, out);
    }

    /// Takes back what `save` added; row `i` is that of `sessions[i]`, which is empty.
    fn load(&mut self, sessions: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        let (_, _) = (sessions, saved);
        Ok(())
    }
}

/// Rows of a batch: a range of them, and those of the range that are not late.
#[derive(Clone, Debug)]
pub struct Kept<'a> {
    /// All.
    pub range: Range<usize>,
    /// Those to be added, in order.
    pub kept: &'a [u32],
}

/// A session to be emitted.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Its number.
    pub number: u32,
    /// First time inside.
    pub start: i64,
    /// First time after.
    pub end: i64,
    /// The group of its key.
    pub key: u32,
    /// The time of its result.
    pub time: EventTime,
}

impl Due {
    fn new(number: u32, session: &Session, time: EventTime) -> Self {
        let Session { start, end, key, .. } = *session;
        Due { number, start, end, key, time: time.min(CLOSED - 1) }
    }
}

/// Window start, end and time of `sessions`, in the types of the fields of `output` from `place`.
pub fn bounds(sessions: &[Due], output: &SchemaRef, place: usize) -> Result<Vec<ArrayRef>> {
    let of: [fn(&Due) -> i64; 3] = [|s| s.start, |s| s.end, |s| s.end - 1];
    of.into_iter()
        .zip(place..)
        .map(|(bound, place)| {
            let times = TimestampMillisecondArray::from_iter_values(sessions.iter().map(bound));
            Ok(cast(&times, output.field(place).data_type())?)
        })
        .collect()
}

/// How rows come to sessions.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// The rows' schema.
    pub input: SchemaRef,
    /// Their time column.
    pub time_column: usize,
    /// The gap in ms.
    pub gap: i64,
    /// The columns of `PARTITION BY`.
    pub keys: Vec<usize>,
    /// For how many ms after its end a session takes late rows.
    pub allowed_lateness: i64,
}

/// The logic of sessions with contents `C`.
pub struct Sessions<C> {
    input: SchemaRef,
    time_column: usize,
    gap: i64,
    keys: Vec<usize>,
    lateness: i64,
    delay: i64,
    pub(super) groups: GroupKeys,
    /// Sessions of each key that take rows.
    open: Vec<Vec<u32>>,
    /// Number of sessions of each key, those included that only wait for the frontier.
    held: Vec<u32>,
    /// Sessions; their number is also that in `contents`.
    sessions: Vec<Session>,
    contents: C,
    free: Vec<u32>,
    /// When each session is next to be looked at: time, session, life. May be too early, never
    /// late.
    agenda: BinaryHeap<Reverse<(i64, u32, u32)>>,
    /// Keys whose sessions were touched since the last save.
    changed: Touched,
    increments: Increments,
}

#[derive(Clone, Copy, Default)]
struct Session {
    start: i64,
    end: i64,
    key: u32,
    /// Counts the sessions that had this number: entries of the agenda may be of an earlier one.
    life: u32,
    /// Its result is out.
    emitted: bool,
}

/// What the rows of a step did to sessions.
#[derive(Default)]
struct Step {
    /// The session of each row, as assigned: it may have been absorbed since.
    rows: Vec<u32>,
    /// Sessions that became part of another.
    absorbed: Vec<(u32, u32)>,
    /// Emitted sessions as they were.
    revised: Vec<(u32, Session)>,
}

/// Rows of a batch that are not late, in order.
struct Ordered {
    batch: UpdateBatch,
    stamps: Vec<i64>,
}

impl<C: Contents> Sessions<C> {
    /// Sessions of `spec` that keep `contents`.
    pub fn of(spec: SessionSpec, contents: C) -> Result<Self> {
        if spec.gap <= 0 {
            return Err(Error::sql("the gap of a session must be above zero"));
        }
        let types: Vec<DataType> =
            spec.keys.iter().map(|&key| spec.input.field(key).data_type().clone()).collect();
        Ok(Sessions {
            input: spec.input,
            time_column: spec.time_column,
            gap: spec.gap,
            keys: spec.keys,
            lateness: spec.allowed_lateness.max(0),
            delay: 0,
            groups: GroupKeys::new(types),
            open: Vec::new(),
            held: Vec::new(),
            sessions: Vec::new(),
            contents,
            free: Vec::new(),
            agenda: BinaryHeap::new(),
            changed: Touched::default(),
            increments: Increments::default(),
        })
    }

    /// The input may come this much after its times: every close is put off by `delay` ms.
    pub fn with_input_delay(mut self, delay: i64) -> Self {
        self.delay = delay.max(0);
        self
    }

    /// The last time at which a session that ends at `end` is not complete.
    fn complete(&self, end: i64) -> EventTime {
        end.saturating_add(self.delay)
    }

    fn is_closed(&self, end: i64, time: EventTime) -> bool {
        time > self.complete(end).saturating_add(self.lateness)
    }

    /// Rows of all batches by time, then ts, without those that have no time.
    fn order(&self, batches: &[UpdateBatch], out: &mut Emitted) -> Result<Ordered> {
        let batch = UpdateBatch::concat(&self.input, batches)?;
        if batch.diffs().is_some_and(|diffs| diffs.iter().any(|&diff| diff < 0)) {
            return Err(Error::sql("a session window needs append-only input")
                .with_hint("sessions cannot be taken apart again when a row is retracted"));
        }
        let times = read_times(batch.column(self.time_column))?;
        let (mut order, mut stamps) = (Vec::with_capacity(batch.len()), Vec::new());
        for row in 0..times.len() {
            // Times so extreme that the session's bounds would leave `i64` have none.
            match times.get(row).filter(|stamp| {
                stamp.checked_add(self.gap).is_some() && stamp.checked_sub(self.gap).is_some()
            }) {
                Some(stamp) => {
                    order.push(row as u32);
                    stamps.push(stamp);
                }
                None => push_dead(&batch, row, out)?,
            }
        }
        let place = |row: u32| (batch.times()[row as usize], times.get(row as usize));
        let whole = order.len() == batch.len();
        if whole && order.is_sorted_by_key(|&row| place(row)) {
            return Ok(Ordered { batch, stamps });
        }
        order.sort_by_key(|&row| place(row));
        let stamps = order.iter().filter_map(|&row| times.get(row as usize)).collect();
        Ok(Ordered { batch: batch.take(&UInt32Array::from(order))?, stamps })
    }

    fn apply(&mut self, ordered: &Ordered, to: EventTime, out: &mut Emitted) -> Result<()> {
        let batch = &ordered.batch;
        let columns = GroupKeys::read(self.keys.iter().map(|&key| batch.column(key)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let input = self.contents.read(batch)?;
        if self.lateness == 0 {
            self.apply_rows(ordered, &input, &columns, 0..batch.len(), out)?;
            return Ok(());
        }
        // A late row may correct a result: what is out at its time must be out.
        let mut start = 0;
        for run in batch.times().chunk_by(|a, b| a == b) {
            self.close(run[0].min(to), out)?;
            self.apply_rows(ordered, &input, &columns, start..start + run.len(), out)?;
            start += run.len();
        }
        Ok(())
    }

    fn apply_rows(
        &mut self,
        ordered: &Ordered,
        input: &C::Input,
        columns: &[&Column],
        rows: Range<usize>,
        out: &mut Emitted,
    ) -> Result<()> {
        let mut keys = Vec::new();
        self.groups.intern(columns, rows.clone(), &mut keys)?;
        self.open.resize_with(self.groups.bound(), Vec::new);
        self.held.resize(self.groups.bound(), 0);
        self.changed.touch(&keys, self.groups.bound());
        let (mut step, mut kept) = (Step::default(), Vec::with_capacity(rows.len()));
        let (mut late, mut late_ends) = (Vec::new(), Vec::new());
        for (row, &key) in rows.clone().zip(&keys) {
            let (stamp, time) = (ordered.stamps[row], ordered.batch.times()[row]);
            match self.assign(key, stamp, time, &mut step) {
                Some(session) => {
                    kept.push(row as u32);
                    step.rows.push(session);
                }
                None => {
                    late.push(row as u32);
                    late_ends.push(stamp + self.gap);
                }
            }
        }
        self.contents.resize(self.sessions.len());
        let time = ordered.batch.times().get(rows.start).copied().unwrap_or_default();
        self.take_back(&step, time, out)?;
        self.absorb(&mut step);
        let rows = Kept { range: rows, kept: &kept };
        self.contents.add(&ordered.batch, input, rows, &step.rows)?;
        if !late.is_empty() {
            push_late(&ordered.batch, late, late_ends, out)?;
            // Keys of late rows alone have no session.
            self.forget(keys);
        }
        self.correct(&step, time, out)
    }

    /// The session of a row; `None` if it is late.
    fn assign(&mut self, key: u32, stamp: i64, time: EventTime, step: &mut Step) -> Option<u32> {
        let (start, end) = (stamp, stamp + self.gap);
        let mut open = std::mem::take(&mut self.open[key as usize]);
        let mut home: Option<u32> = None;
        let mut i = 0;
        while let Some(&number) = open.get(i) {
            let session = self.sessions[number as usize];
            if self.is_closed(session.end, time) {
                // Its result comes with the frontier; no more rows join it.
                open.swap_remove(i);
                continue;
            }
            if stamp > session.end || end < session.start {
                i += 1;
                continue;
            }
            if session.emitted {
                step.revised.push((number, session));
                self.sessions[number as usize].emitted = false;
            }
            match home {
                None => {
                    home = Some(number);
                    let mine = &mut self.sessions[number as usize];
                    mine.start = mine.start.min(start);
                    mine.end = mine.end.max(end);
                    i += 1;
                }
                Some(home) => {
                    let mine = &mut self.sessions[home as usize];
                    mine.start = mine.start.min(session.start);
                    mine.end = mine.end.max(session.end);
                    step.absorbed.push((number, home));
                    open.swap_remove(i);
                }
            }
        }
        if home.is_none() && !self.is_closed(end, time) {
            let number = self.begin(Session { start, end, key, life: 0, emitted: false });
            open.push(number);
            home = Some(number);
        }
        self.open[key as usize] = open;
        home
    }

    fn begin(&mut self, session: Session) -> u32 {
        self.held[session.key as usize] += 1;
        let number = match self.free.pop() {
            Some(number) => {
                let slot = &mut self.sessions[number as usize];
                *slot = Session { life: slot.life, ..session };
                number
            }
            None => {
                self.sessions.push(session);
                self.sessions.len() as u32 - 1
            }
        };
        let life = self.sessions[number as usize].life;
        self.agenda.push(Reverse((session.end, number, life)));
        number
    }

    /// Gives back the number of a session that was emptied.
    fn end(&mut self, number: u32) {
        let session = &mut self.sessions[number as usize];
        // Entries of the agenda for this life are void from now on.
        session.life = session.life.wrapping_add(1);
        self.held[session.key as usize] -= 1;
        self.free.push(number);
    }

    /// Carries out what a step made one session of several; its rows go to what they became.
    fn absorb(&mut self, step: &mut Step) {
        if step.absorbed.is_empty() {
            return;
        }
        let mut homes: BTreeMap<u32, u32> = BTreeMap::new();
        // A home may be absorbed later, never earlier: backwards, every home is final.
        for pair in step.absorbed.iter_mut().rev() {
            pair.1 = homes.get(&pair.1).copied().unwrap_or(pair.1);
            homes.insert(pair.0, pair.1);
        }
        for number in &mut step.rows {
            *number = homes.get(number).copied().unwrap_or(*number);
        }
        self.contents.absorb(&step.absorbed);
        step.absorbed.iter().for_each(|&(number, _)| self.end(number));
    }

    /// Takes back the results of emitted sessions that a step changes; before the change.
    fn take_back(&self, step: &Step, time: EventTime, out: &mut Emitted) -> Result<()> {
        let revised = step.revised.iter();
        let sessions: Vec<Due> =
            revised.map(|(number, session)| Due::new(*number, session, time)).collect();
        self.emit(&sessions, -1, out)
    }

    /// Emits sessions of a step of late rows that are complete at `time`.
    fn correct(&mut self, step: &Step, time: EventTime, out: &mut Emitted) -> Result<()> {
        if self.lateness == 0 {
            return Ok(());
        }
        let mut changed: Vec<u32> = step.rows.clone();
        changed.sort_unstable();
        changed.dedup();
        let mut complete = Vec::new();
        for number in changed {
            let session = self.sessions[number as usize];
            if self.complete(session.end) < time {
                self.sessions[number as usize].emitted = true;
                complete.push(Due::new(number, &session, time));
            }
            // The entry that it had may be that of its horizon.
            self.agenda.push(Reverse((session.end, number, session.life)));
        }
        self.emit(&complete, 1, out)
    }

    /// Emits complete sessions and forgets closed ones as of the frontier `to`.
    fn close(&mut self, to: EventTime, out: &mut Emitted) -> Result<()> {
        let (mut complete, mut closed) = (Vec::new(), Vec::new());
        while let Some(&Reverse((at, number, life))) = self.agenda.peek() {
            if self.complete(at) >= to && to != CLOSED {
                break;
            }
            self.agenda.pop();
            let session = &mut self.sessions[number as usize];
            if session.life != life {
                continue;
            }
            let horizon = session.end.saturating_add(self.lateness);
            let due = if session.emitted { horizon } else { session.end };
            if due > at {
                self.agenda.push(Reverse((due, number, life)));
                continue;
            }
            if !session.emitted {
                session.emitted = true;
                let time = session.end.saturating_add(self.delay);
                complete.push(Due::new(number, session, time));
            }
            if horizon > at {
                self.agenda.push(Reverse((horizon, number, life)));
            } else {
                closed.push((number, session.key));
                self.end(number);
            }
        }
        self.emit(&complete, 1, out)?;
        let numbers: Vec<u32> = closed.iter().map(|(number, _)| *number).collect();
        self.contents.clear(&numbers);
        let mut keys = Vec::with_capacity(closed.len());
        for (number, key) in closed {
            self.open[key as usize].retain(|&open| open != number);
            keys.push(key);
        }
        self.forget(keys);
        Ok(())
    }

    /// Forgets those of `keys` that have no sessions.
    fn forget(&mut self, mut keys: Vec<u32>) {
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            if self.held[key as usize] == 0 {
                self.changed.forget(key);
                self.groups.remove(key);
            }
        }
    }

    fn emit(&self, sessions: &[Due], diff: i64, out: &mut Emitted) -> Result<()> {
        match sessions {
            [] => Ok(()),
            _ => self.contents.emit(&self.groups, sessions, diff, out),
        }
    }
}

impl<C: Contents> StatefulLogic for Sessions<C> {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        let next = self.agenda.peek().map(|Reverse((at, ..))| self.complete(*at));
        buffered > 0 || next.is_some_and(|at| at < frontier)
    }

    fn advance(
        &mut self,
        _from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let batches = coalesce(&self.input, inputs)?;
        if !batches.is_empty() {
            let ordered = self.order(&batches, out)?;
            self.apply(&ordered, to, out)?;
        }
        self.close(to, out)?;
        self.contents.settle(out)
    }

    fn state_rows(&self) -> usize {
        self.contents.held(self.sessions.len() - self.free.len())
    }

    fn rest(&self) -> Rest {
        let next = self.agenda.peek().map(|Reverse((at, ..))| self.complete(*at));
        Rest::Until(next.map_or(CLOSED, |at| at.saturating_add(1)))
    }

    fn recovery(&self) -> Recovery {
        Recovery::Tables
    }

    fn save(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        self.save_tables(whole, placement)
    }

    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        self.load_tables(&tables, to)
    }
}
