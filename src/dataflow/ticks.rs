//! The rows of a step in the order of their ticks.

use crate::time::{BEGINNING, EventTime, Resolution};

/// The rows of a step by tick: an order of rows, and the start of the tick of each in that order.
pub struct Ticks {
    rows: Vec<u32>,
    starts: Vec<EventTime>,
}

impl Ticks {
    /// Rows at `times`; those of one tick stay in their order.
    pub fn new(times: &[EventTime], resolution: Resolution) -> Self {
        let mut starts = Vec::with_capacity(times.len());
        let (mut start, mut sorted) = (BEGINNING, true);
        let (mut low, mut high) = (BEGINNING, BEGINNING);
        for &time in times {
            if time < low || time >= high {
                start = resolution.tick_start(time);
                sorted &= starts.last().is_none_or(|&last| last <= start);
                (low, high) = (start, start.saturating_add(resolution.tick_ms()));
            }
            starts.push(start);
        }
        let mut rows: Vec<u32> = (0..times.len() as u32).collect();
        if !sorted {
            rows.sort_by_key(|&row| starts[row as usize]);
            starts = rows.iter().map(|&row| starts[row as usize]).collect();
        }
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
