//! Where the splits of a partition lie in event time: what a snapshot's position is found by.
//!
//! A position for frontier `F` is an offset before which every record lies below `F`, with `f_p`
//! there. Records behind it that lie below `F` too are read again, get the same times and are
//! ignored: the state has them.

use std::collections::BTreeMap;

use crate::time::EventTime;

/// The splits of one partition that a position may still fall into.
#[derive(Debug, Default)]
pub struct Marks {
    by_sequence: BTreeMap<u64, Mark>,
}

/// One split.
#[derive(Clone, Copy, Debug)]
struct Mark {
    offset: i64,
    /// Behind its last record, if reading can go on there.
    end: Option<i64>,
    /// `f_p` at its start, once known.
    start: Option<EventTime>,
    /// The greatest time of its records and `f_p` behind it, once its times are assigned.
    settled: Option<(EventTime, EventTime)>,
}

/// An offset and `f_p` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset.
    pub offset: i64,
    /// `f_p`.
    pub floor: EventTime,
    /// Whether all splits known lie before it.
    pub is_behind_all: bool,
}

impl Marks {
    /// Split `sequence` begins at `offset`, and another may at `end`.
    pub fn decoded(&mut self, sequence: u64, offset: i64, end: Option<i64>) {
        let mark = Mark { offset, end, start: None, settled: None };
        self.by_sequence.insert(sequence, mark);
    }

    /// `f_p` is `start` where split `sequence` begins.
    pub fn started(&mut self, sequence: u64, start: EventTime) {
        if let Some(mark) = self.by_sequence.get_mut(&sequence) {
            mark.start = Some(start);
        }
    }

    /// The records of split `sequence` are at `latest` at most, and `f_p` behind them is `floor`.
    ///
    /// Splits wholly below `passed`, which no later snapshot is below, are forgotten, up to one
    /// of which it is known where in time it begins: a position may be there.
    pub fn settled(
        &mut self,
        sequence: u64,
        latest: EventTime,
        floor: EventTime,
        passed: EventTime,
    ) {
        if let Some(mark) = self.by_sequence.get_mut(&sequence) {
            mark.settled = Some((latest, floor));
        }
        while self.by_sequence.len() > 1 {
            let mut marks = self.by_sequence.iter();
            let (Some((first, mark)), Some((second, next))) = (marks.next(), marks.next()) else {
                return;
            };
            let is_over = mark.settled.is_some_and(|(latest, _)| latest < passed);
            if !is_over || *second != first + 1 || next.start.is_none() {
                return;
            }
            self.by_sequence.pop_first();
        }
    }

    /// Whether no split has been read.
    pub fn is_empty(&self) -> bool {
        self.by_sequence.is_empty()
    }

    /// The position for a snapshot at `frontier`; `None` if it is where reading began.
    pub fn position(&self, frontier: EventTime) -> Option<Position> {
        let mut found: Option<Position> = None;
        let mut expected = *self.by_sequence.keys().next()?;
        for (sequence, mark) in &self.by_sequence {
            // The one between is with another worker: it begins where the last one ended.
            if *sequence != expected {
                break;
            }
            let Some(start) = mark.start else { break };
            expected += 1;
            let own = Position { offset: mark.offset, floor: start, is_behind_all: false };
            match mark.settled {
                Some((latest, floor)) if latest < frontier => {
                    found = Some(match mark.end {
                        Some(offset) => Position { offset, floor, is_behind_all: true },
                        None => own,
                    });
                }
                _ => return Some(own),
            }
        }
        let is_last = self.by_sequence.keys().next_back().is_some_and(|last| last + 1 == expected);
        found.map(|p| Position { is_behind_all: p.is_behind_all && is_last, ..p })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_lies_before_the_first_record_at_or_after_the_frontier() {
        let mut marks = Marks::default();
        assert_eq!(marks.position(100), None);
        for (sequence, offset) in [(0, 0), (2, 20), (1, 10)] {
            marks.decoded(sequence, offset, Some(offset + 10));
            marks.started(sequence, offset * 10);
        }
        marks.settled(0, 150, 100, 0);
        marks.settled(2, 250, 260, 0);
        let at = |offset, floor, is_behind_all| Some(Position { offset, floor, is_behind_all });
        assert_eq!(marks.position(100), at(0, 0, false));
        assert_eq!(marks.position(200), at(10, 100, false), "the second is not settled");
        marks.settled(1, 180, 200, 0);
        assert_eq!(marks.position(200), at(20, 200, false));
        assert_eq!(marks.position(251), at(30, 260, true));
        marks.settled(2, 250, 260, 200);
        assert_eq!(marks.by_sequence.len(), 1);
        assert_eq!(marks.position(251), at(30, 260, true));
    }

    #[test]
    fn a_last_split_that_has_not_begun_is_still_to_be_read() {
        let mut marks = Marks::default();
        marks.decoded(0, 0, Some(10));
        marks.started(0, 0);
        marks.settled(0, 5, 6, 0);
        marks.decoded(1, 10, Some(20));
        let found = marks.position(100);
        assert_eq!(found, Some(Position { offset: 10, floor: 6, is_behind_all: false }));
    }

    #[test]
    fn what_a_position_can_be_told_by_is_not_forgotten() {
        let mut marks = Marks::default();
        marks.decoded(0, 0, Some(10));
        marks.started(0, 0);
        marks.decoded(1, 10, Some(20));
        marks.settled(0, 5, 6, 100);
        let found = marks.position(100);
        assert_eq!(found, Some(Position { offset: 10, floor: 6, is_behind_all: false }));
    }

    #[test]
    fn a_split_that_another_worker_holds_is_read_again() {
        let mut marks = Marks::default();
        for sequence in [0, 2] {
            marks.decoded(sequence, sequence as i64 * 10, Some(sequence as i64 * 10 + 10));
            marks.started(sequence, 0);
            marks.settled(sequence, 5, 6, 0);
        }
        let found = marks.position(100);
        assert_eq!(found, Some(Position { offset: 10, floor: 6, is_behind_all: false }));
    }
}
