//! The rows of a step in the order of their ticks.

use arrow::array::UInt32Array;

use crate::batch::UpdateBatch;
use crate::error::Result;
use crate::time::{BEGINNING, EventTime, Resolution};

/// The start of the tick of each of `times`, and whether they never go back.
pub fn tick_starts(times: &[EventTime], resolution: Resolution) -> (Vec<EventTime>, bool) {
    let mut starts = Vec::with_capacity(times.len());
    let (mut start, mut sorted) = (BEGINNING, true);
    let (mut low, mut high) = (BEGINNING, BEGINNING);
    for &time in times {
        // Neighbours share their tick mostly: that needs no division.
        if time < low || time >= high {
            start = resolution.tick_start(time);
            sorted &= starts.last().is_none_or(|&last| last <= start);
            (low, high) = (start, start.saturating_add(resolution.tick_ms()));
        }
        starts.push(start);
    }
    (starts, sorted)
}

/// `batch` in the order of ticks, and the start of the tick of each row.
pub fn by_tick(
    batch: UpdateBatch,
    resolution: Resolution,
) -> Result<(UpdateBatch, Vec<EventTime>)> {
    let (starts, sorted) = tick_starts(batch.times(), resolution);
    if sorted {
        return Ok((batch, starts));
    }
    let ticks = Ticks::sorted(starts);
    Ok((batch.take(&UInt32Array::from(ticks.rows))?, ticks.starts))
}

/// The rows of a step by tick: an order of rows, and the start of the tick of each in that order.
pub struct Ticks {
    rows: Vec<u32>,
    starts: Vec<EventTime>,
}

impl Ticks {
    /// Rows at `times`; those of one tick stay in their order.
    pub fn new(times: &[EventTime], resolution: Resolution) -> Self {
        let (starts, sorted) = tick_starts(times, resolution);
        match sorted {
            true => Ticks { rows: (0..times.len() as u32).collect(), starts },
            false => Ticks::sorted(starts),
        }
    }

    fn sorted(starts: Vec<EventTime>) -> Self {
        let mut rows: Vec<u32> = (0..starts.len() as u32).collect();
        rows.sort_by_key(|&row| starts[row as usize]);
        let starts = rows.iter().map(|&row| starts[row as usize]).collect();
        Ticks { rows, starts }
    }

    /// The rows of each tick, and its start.
    pub fn iter(&self) -> impl Iterator<Item = (EventTime, &[u32])> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = *self.starts.get(at)?;
            let length = self.starts[at..].iter().take_while(|&&other| other == start).count();
            let rows = &self.rows[at..at + length];
            at += length;
            Some((start, rows))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_tick_by_tick() {
        let ticks = Ticks::new(&[25, 3, 21, -1, 7], Resolution::new(10));
        let all: Vec<(i64, Vec<u32>)> = ticks.iter().map(|(t, rows)| (t, rows.to_vec())).collect();
        assert_eq!(all, [(-10, vec![3]), (0, vec![1, 4]), (20, vec![0, 2])]);
        assert_eq!(Ticks::new(&[], Resolution::new(10)).iter().count(), 0);
    }
}
