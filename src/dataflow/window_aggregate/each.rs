//! Windows kept one by one: each row is added to each of its windows.
//!
//! For windows that rows carry, for allowed lateness (each window then has its own idea of which
//! rows were in time), and for windows of too many panes.

use std::collections::BTreeMap;

use arrow::array::UInt32Array;

use super::{Parts, WindowInput, push_dead, push_late, read_times};
use crate::batch::UpdateBatch;
use crate::dataflow::logic::Emitted;
use crate::dataflow::window_math::{Window, WindowShape};
use crate::error::Result;
use crate::state::keyed::KeyedState;
use crate::time::EventTime;

/// Pairs of row and window that are worked on at once.
const PAIRS_MAX: i64 = 1 << 18;

/// End, then start of a window: the order in which they close.
type WindowKey = (i64, i64);

/// The windows that are open, or still take late rows.
pub(super) struct Each {
    shape: Option<WindowShape>,
    windows: BTreeMap<WindowKey, Slot>,
}

struct Slot {
    state: KeyedState,
    emitted: bool,
}

/// A row for a window.
struct Pair {
    window: WindowKey,
    row: u32,
}

/// Late rows that correct results of this step: a batch, and the window of each row.
#[derive(Default)]
struct Corrections {
    batches: Vec<UpdateBatch>,
    windows: Vec<WindowKey>,
}

impl Each {
    pub(super) fn new(shape: Option<WindowShape>) -> Self {
        Each { shape, windows: BTreeMap::new() }
    }

    pub(super) fn groups(&self) -> usize {
        self.windows.values().map(|slot| slot.state.len()).sum()
    }

    /// Groups touched since the last save.
    pub(super) fn changed(&self) -> usize {
        self.windows.values().map(|slot| slot.state.changed()).sum()
    }

    /// The states, each with end and start of its window.
    pub(super) fn states(&mut self) -> impl Iterator<Item = (Vec<i64>, &mut KeyedState)> {
        self.windows.iter_mut().map(|(window, slot)| (vec![window.0, window.1], &mut slot.state))
    }

    /// The state of a window, unless it is forgotten at the frontier `to`.
    pub(super) fn state_at(
        &mut self,
        parts: &mut Parts,
        window: WindowKey,
        to: EventTime,
    ) -> Option<&mut KeyedState> {
        if parts.refuses(window.0) <= to {
            return None;
        }
        let is_emitted = parts.closes(window.0) <= to;
        Some(&mut self.slot(parts, window, is_emitted).state)
    }

    /// The first frontier at which a window closes, or can be forgotten.
    pub(super) fn due(&self, parts: &Parts) -> Option<EventTime> {
        let due = |(&(end, _), slot): (&WindowKey, &Slot)| match slot.emitted {
            true => parts.refuses(end),
            false => parts.closes(end),
        };
        self.windows.iter().map(due).min()
    }

    /// Whether a window closes, or can be forgotten, at `frontier`.
    pub(super) fn is_due(&self, parts: &Parts, frontier: EventTime) -> bool {
        self.due(parts).is_some_and(|due| due <= frontier)
    }

    pub(super) fn advance(
        &mut self,
        parts: &mut Parts,
        to: EventTime,
        batches: &[UpdateBatch],
        out: &mut Emitted,
    ) -> Result<()> {
        let mut corrections = Corrections::default();
        let per_row = self.shape.map_or(1, |shape| shape.windows_per_row()).max(1);
        let rows_max = (PAIRS_MAX / per_row).max(1) as usize;
        for batch in batches {
            for start in (0..batch.len()).step_by(rows_max) {
                let part = batch.slice(start, rows_max.min(batch.len() - start));
                self.sort_in(parts, &part, &mut corrections, out)?;
            }
        }
        for (&(end, start), slot) in &mut self.windows {
            if parts.closes(end) > to {
                break;
            }
            if !slot.emitted {
                parts.emit(&slot.state, Window { start, end }, out)?;
                slot.emitted = true;
            }
        }
        self.correct(parts, corrections, out)?;
        while let Some(entry) = self.windows.first_entry() {
            if parts.refuses(entry.key().0) > to {
                break;
            }
            parts.recycle(entry.remove().state);
        }
        Ok(())
    }

    fn sort_in(
        &mut self,
        parts: &mut Parts,
        batch: &UpdateBatch,
        corrections: &mut Corrections,
        out: &mut Emitted,
    ) -> Result<()> {
        let mut pairs: Vec<Pair> = Vec::new();
        let mut late_pairs: Vec<Pair> = Vec::new();
        let (mut late, mut late_ends) = (Vec::new(), Vec::new());
        let (stamps, ends) = match parts.source {
            WindowInput::Assigned { time_column, .. } => {
                (read_times(batch.column(time_column))?, None)
            }
            WindowInput::Attached { start, end } => {
                (read_times(batch.column(start))?, Some(read_times(batch.column(end))?))
            }
        };
        for (row, &time) in batch.times().iter().enumerate() {
            let mut last_end = None;
            let mut taken = false;
            let mut offer = |window: WindowKey| {
                last_end = Some(window.0);
                let pair = Pair { window, row: row as u32 };
                if time < parts.closes(window.0) {
                    pairs.push(pair);
                    taken = true;
                } else if time < parts.refuses(window.0) {
                    late_pairs.push(pair);
                    taken = true;
                }
            };
            let end = ends.as_ref().and_then(|ends| ends.get(row));
            match (stamps.get(row), self.shape, end) {
                (Some(stamp), Some(shape), _) if shape.pane(stamp).is_some() => {
                    shape.windows(stamp).for_each(|window| offer((window.end, window.start)));
                }
                (Some(start), None, Some(end)) => offer((end, start)),
                _ => push_dead(batch, row, out)?,
            }
            if let Some(end) = last_end.filter(|_| !taken) {
                late.push(row as u32);
                late_ends.push(end);
            }
        }
        push_late(batch, late, late_ends, out)?;
        if !late_pairs.is_empty() {
            let rows: UInt32Array = late_pairs.iter().map(|pair| pair.row).collect();
            corrections.batches.push(batch.take(&rows)?);
            corrections.windows.extend(late_pairs.iter().map(|pair| pair.window));
        }
        self.add(parts, batch, pairs)
    }

    fn add(&mut self, parts: &mut Parts, batch: &UpdateBatch, mut pairs: Vec<Pair>) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        pairs.sort_by_key(|pair| pair.window);
        let whole = pairs.len() == batch.len()
            && pairs.iter().enumerate().all(|(i, pair)| pair.row == i as u32);
        let prepared = if whole {
            parts.prepare(batch)?
        } else {
            let rows: UInt32Array = pairs.iter().map(|pair| pair.row).collect();
            parts.prepare(&batch.take(&rows)?)?
        };
        let mut start = 0;
        for run in pairs.chunk_by(|a, b| a.window == b.window) {
            let rows = start..start + run.len();
            start = rows.end;
            let slot = self.slot(parts, run[0].window, false);
            slot.state.apply(&prepared.input, &prepared.keys(), rows)?;
        }
        Ok(())
    }

    fn slot(&mut self, parts: &mut Parts, window: WindowKey, emitted: bool) -> &mut Slot {
        self.windows.entry(window).or_insert_with(|| Slot { state: parts.state(), emitted })
    }

    /// Corrects the results of closed windows by late rows, millisecond by millisecond.
    fn correct(
        &mut self,
        parts: &mut Parts,
        corrections: Corrections,
        out: &mut Emitted,
    ) -> Result<()> {
        if corrections.batches.is_empty() {
            return Ok(());
        }
        let all = UpdateBatch::concat(&parts.input, &corrections.batches)?;
        let place = |row: u32| (corrections.windows[row as usize], all.times()[row as usize]);
        let mut order: Vec<u32> = (0..all.len() as u32).collect();
        order.sort_by_key(|&row| place(row));
        let prepared = parts.prepare(&all.take(&UInt32Array::from(order.clone()))?)?;
        let mut start = 0;
        for of_window in order.chunk_by(|&a, &b| place(a).0 == place(b).0) {
            let window = place(of_window[0]).0;
            let slot = self.slot(parts, window, true);
            let mut log = slot.state.log();
            for of_time in of_window.chunk_by(|&a, &b| place(a).1 == place(b).1) {
                let rows = start..start + of_time.len();
                start = rows.end;
                let time = place(of_time[0]).1;
                let keys = prepared.keys();
                slot.state.apply_logged(&prepared.input, &keys, rows, time, &mut log)?;
            }
            let (results, times, diffs) = slot.state.changes(&mut log)?;
            let window = Window { start: window.1, end: window.0 };
            parts.emit_results(results, window, times, Some(diffs), out)?;
        }
        Ok(())
    }
}
