//! Windows put together from panes: each row is added once; a window is the sum of its panes.
//!
//! * TUMBLE: a pane is a window.
//! * HOP: panes of the greatest common divisor of size and slide; a closing window merges its
//!   panes.
//! * CUMULATE: panes of one step; once a window has closed, its panes are one, since they are in
//!   the same open windows from then on.
//!
//! A row that is late for some of its windows and not for all waits until the former have closed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow::array::UInt32Array;

use super::{Parts, Prepared, Stamps, WindowInput, push_dead, push_late, read_times};
use crate::batch::UpdateBatch;
use crate::dataflow::logic::Emitted;
use crate::dataflow::window_math::{Pane, Window, WindowShape};
use crate::error::Result;
use crate::state::keyed::KeyedState;
use crate::time::EventTime;

/// Runs of rows of one pane in a batch beyond which rows are sorted by pane first.
const RUNS_MAX: usize = 8;

/// The open panes, by start.
pub(super) struct Panes {
    shape: WindowShape,
    panes: BTreeMap<i64, KeyedState>,
    /// The pane of the row before: times mostly stay in one for long.
    last: Option<Pane>,
}

/// Rows of one pane.
struct Run {
    pane: i64,
    rows: Range<usize>,
}

/// Rows of a step that wait for windows to close, and the panes they are for.
#[derive(Default)]
struct Waiting {
    batches: Vec<UpdateBatch>,
    panes: BTreeSet<i64>,
}

impl Panes {
    pub(super) fn new(shape: WindowShape) -> Self {
        Panes { shape, panes: BTreeMap::new(), last: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }

    pub(super) fn groups(&self) -> usize {
        self.panes.values().map(KeyedState::len).sum()
    }

    /// Groups touched since the last save.
    pub(super) fn changed(&self) -> usize {
        self.panes.values().map(KeyedState::changed).sum()
    }

    /// The states, each with the start of its pane.
    pub(super) fn states(&mut self) -> impl Iterator<Item = (Vec<i64>, &mut KeyedState)> {
        self.panes.iter_mut().map(|(start, state)| (vec![*start], state))
    }

    /// The state of the pane that begins at `start`, unless at the frontier `to` it is in no open
    /// window or has become part of another one.
    pub(super) fn state_at(
        &mut self,
        parts: &mut Parts,
        start: i64,
        to: EventTime,
    ) -> Option<&mut KeyedState> {
        let pane = self.shape.pane(start)?;
        let is_open = |end: Option<i64>| end.is_some_and(|end| parts.closes(end) > to);
        let is_merged = self.shape.is_cumulate()
            && !is_open(pane.first_end)
            && self.shape.window_ending(pane.end).is_none_or(|window| window.start != start);
        if is_merged || !is_open(pane.last_end) {
            return None;
        }
        Some(self.panes.entry(start).or_insert_with(|| parts.state()))
    }

    pub(super) fn advance(
        &mut self,
        parts: &mut Parts,
        from: EventTime,
        to: EventTime,
        batches: &[UpdateBatch],
        out: &mut Emitted,
    ) -> Result<()> {
        let mut waiting = Waiting::default();
        for batch in batches {
            self.sort_in(parts, batch, &mut waiting, out)?;
        }
        let ends = self.ends(parts, from, to, &waiting.panes);
        let mut rest = self.by_time(parts, waiting.batches)?;
        for end in ends {
            if let Some((batch, done)) = &mut rest {
                let until = batch.times().partition_point(|&time| time < parts.closes(end));
                self.add_waiting(parts, batch, *done..until)?;
                *done = until.max(*done);
            }
            self.close(parts, end, out)?;
        }
        if let Some((batch, done)) = rest {
            let all = batch.len();
            self.add_waiting(parts, &batch, done..all)?;
        }
        Ok(())
    }

    fn pane(&mut self, time: i64) -> Option<Pane> {
        match self.last {
            Some(pane) if pane.start <= time && time < pane.end => Some(pane),
            _ => {
                self.last = self.shape.pane(time);
                self.last
            }
        }
    }

    /// The pane of all rows, if they are in one and on time for all its windows.
    fn one_pane(&mut self, parts: &Parts, batch: &UpdateBatch, stamps: &Stamps) -> Option<i64> {
        let ((least, greatest), (_, latest)) = (stamps.range()?, batch.time_range()?);
        let pane = self.pane(least)?;
        (greatest < pane.end && latest < parts.closes(pane.first_end?)).then_some(pane.start)
    }

    /// Adds the rows that are on time, puts others aside.
    fn sort_in(
        &mut self,
        parts: &mut Parts,
        batch: &UpdateBatch,
        waiting: &mut Waiting,
        out: &mut Emitted,
    ) -> Result<()> {
        let WindowInput::Assigned { time_column, .. } = parts.source else { return Ok(()) };
        let mut runs: Vec<Run> = Vec::new();
        let (mut aside, mut late, mut late_ends) = (Vec::new(), Vec::new(), Vec::new());
        let stamps = read_times(batch.column(time_column))?;
        if let Some(pane) = self.one_pane(parts, batch, &stamps) {
            return self.add(parts, batch, vec![Run { pane, rows: 0..batch.len() }]);
        }
        for (row, &time) in batch.times().iter().enumerate() {
            let Some(pane) = stamps.get(row).and_then(|stamp| self.pane(stamp)) else {
                push_dead(batch, row, out)?;
                continue;
            };
            let (Some(first), Some(last)) = (pane.first_end, pane.last_end) else { continue };
            if time < parts.closes(first) {
                match runs.last_mut() {
                    Some(run) if run.pane == pane.start && run.rows.end == row => run.rows.end += 1,
                    _ => runs.push(Run { pane: pane.start, rows: row..row + 1 }),
                }
            } else if time < parts.refuses(last) {
                waiting.panes.insert(pane.start);
                aside.push(row as u32);
            } else {
                late.push(row as u32);
                late_ends.push(last);
            }
        }
        push_late(batch, late, late_ends, out)?;
        if !aside.is_empty() {
            waiting.batches.push(batch.take(&UInt32Array::from(aside))?);
        }
        self.add(parts, batch, runs)
    }

    fn add(&mut self, parts: &mut Parts, batch: &UpdateBatch, mut runs: Vec<Run>) -> Result<()> {
        if runs.is_empty() {
            return Ok(());
        }
        let sorted;
        let prepared = if runs.len() <= RUNS_MAX {
            parts.prepare(batch)?
        } else {
            runs.sort_by_key(|run| (run.pane, run.rows.start));
            let order: Vec<u32> =
                runs.iter().flat_map(|run| run.rows.start as u32..run.rows.end as u32).collect();
            sorted = batch.take(&UInt32Array::from(order))?;
            let mut start = 0;
            for run in &mut runs {
                run.rows = start..start + run.rows.len();
                start = run.rows.end;
            }
            runs.dedup_by(|next, run| {
                let same = next.pane == run.pane;
                if same {
                    run.rows.end = next.rows.end;
                }
                same
            });
            parts.prepare(&sorted)?
        };
        runs.into_iter().try_for_each(|run| self.add_run(parts, &prepared, run))
    }

    fn add_run(&mut self, parts: &mut Parts, prepared: &Prepared, run: Run) -> Result<()> {
        let state = self.panes.entry(run.pane).or_insert_with(|| parts.state());
        state.apply(&prepared.input, &prepared.keys(), run.rows)
    }

    /// The waiting rows as one batch by time, and how many are done.
    fn by_time(
        &self,
        parts: &Parts,
        batches: Vec<UpdateBatch>,
    ) -> Result<Option<(UpdateBatch, usize)>> {
        if batches.is_empty() {
            return Ok(None);
        }
        Ok(Some((UpdateBatch::concat(&parts.input, &batches)?.by_time()?, 0)))
    }

    /// Adds waiting rows: the windows that they are late for have closed.
    fn add_waiting(
        &mut self,
        parts: &mut Parts,
        batch: &UpdateBatch,
        rows: Range<usize>,
    ) -> Result<()> {
        let WindowInput::Assigned { time_column, .. } = parts.source else { return Ok(()) };
        if rows.is_empty() {
            return Ok(());
        }
        let batch = batch.slice(rows.start, rows.len());
        let mut runs = Vec::new();
        let stamps = read_times(batch.column(time_column))?;
        for row in 0..batch.len() {
            let Some(pane) = stamps.get(row).and_then(|stamp| self.pane(stamp)) else { continue };
            let mut start = pane.start;
            // The panes of closed windows of a cycle are one: that of its start.
            if self.shape.is_cumulate()
                && let Some(window) = self.shape.window_ending(pane.end)
            {
                start = window.start;
            }
            runs.push(Run { pane: start, rows: row..row + 1 });
        }
        self.add(parts, &batch, runs)
    }

    /// The ends of windows with rows that close in this step, ascending.
    fn ends(
        &self,
        parts: &Parts,
        from: EventTime,
        to: EventTime,
        waiting: &BTreeSet<i64>,
    ) -> BTreeSet<i64> {
        let closing = |end: i64| parts.closes(end) > from && parts.closes(end) <= to;
        let mut ends = BTreeSet::new();
        for &pane in self.panes.keys().chain(waiting) {
            let windows = self.shape.windows(pane).map(|window| window.end);
            ends.extend(
                windows
                    .skip_while(|&end| parts.closes(end) <= from)
                    .take_while(|&end| closing(end)),
            );
        }
        ends
    }

    fn close(&mut self, parts: &mut Parts, end: i64, out: &mut Emitted) -> Result<()> {
        let Some(window) = self.shape.window_ending(end) else { return Ok(()) };
        if self.shape.is_tumble() {
            if let Some(state) = self.panes.remove(&window.start) {
                parts.emit(&state, window, out)?;
                parts.recycle(state);
            }
            return Ok(());
        }
        if self.shape.is_cumulate() {
            return self.close_cumulate(parts, window, out);
        }
        let mut panes = self.panes.range(window.start..window.end).map(|(_, state)| state);
        match (panes.next(), panes.next()) {
            (Some(only), None) => parts.emit(only, window, out)?,
            (Some(first), Some(second)) => {
                let mut whole = parts.state();
                whole.merge(first)?;
                whole.merge(second)?;
                panes.try_for_each(|pane| whole.merge(pane))?;
                parts.emit(&whole, window, out)?;
                parts.recycle(whole);
            }
            (None, _) => {}
        }
        // Panes before the next window's start are in no open window.
        let next = self.shape.next_start(window);
        while let Some(entry) = self.panes.first_entry().filter(|entry| *entry.key() < next) {
            parts.recycle(entry.remove());
        }
        Ok(())
    }

    fn close_cumulate(
        &mut self,
        parts: &mut Parts,
        window: Window,
        out: &mut Emitted,
    ) -> Result<()> {
        let inner: Vec<i64> =
            self.panes.range(window.start..window.end).map(|(&start, _)| start).collect();
        let mut whole: Option<KeyedState> = None;
        for start in inner {
            let Some(mut pane) = self.panes.remove(&start) else { continue };
            match &mut whole {
                None => {
                    if start != window.start {
                        pane.touch_all();
                    }
                    whole = Some(pane);
                }
                Some(whole) => {
                    whole.merge(&pane)?;
                    parts.recycle(pane);
                }
            }
        }
        let Some(whole) = whole else { return Ok(()) };
        parts.emit(&whole, window, out)?;
        if self.shape.ends_cycle(window) {
            parts.recycle(whole);
        } else {
            self.panes.insert(window.start, whole);
        }
        Ok(())
    }
}
