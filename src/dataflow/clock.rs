//! Event time, assigned once, at the source, per partition.
//!
//! For partition `p`, `f_p` is 1 ms + the greatest watermark of its earlier records, and
//! `time(e) = max(ts(e), f_p)`. Splits of a partition are decoded in parallel and in any order; a
//! split's greatest watermark is *published* here, and a split's `f_p` is known once all splits
//! before it have been published. So times follow file order whoever decodes what.

use std::collections::BTreeMap;

use crate::time::{BEGINNING, CLOSED, EventTime};

/// The times of one partition.
#[derive(Debug)]
pub struct PartitionClock {
    /// `f_p` over the splits published without a gap.
    frontier: EventTime,
    /// The least sequence number not published.
    next: u64,
    /// Published behind a gap.
    waiting: BTreeMap<u64, EventTime>,
    /// `f_p` at the start of splits, until their decoder asks.
    starts: BTreeMap<u64, EventTime>,
    /// Sequence number of the last split, once known.
    last: Option<u64>,
    /// Splits handed out.
    handed: u64,
    /// Stopped holding the frontier for lack of data.
    idle: bool,
    /// Wall time of the last split, in ms.
    active_ms: i64,
}

impl PartitionClock {
    /// A partition that begins at `floor`.
    pub fn new(floor: EventTime, now_ms: i64) -> Self {
        PartitionClock {
            frontier: floor,
            next: 0,
            waiting: BTreeMap::new(),
            starts: BTreeMap::from([(0, floor)]),
            last: None,
            handed: 0,
            idle: false,
            active_ms: now_ms,
        }
    }

    /// A split was handed out.
    pub fn hand_out(&mut self, sequence: u64, last: bool, floor: EventTime, now_ms: i64) {
        self.handed = self.handed.max(sequence + 1);
        self.active_ms = now_ms;
        if last {
            self.last = Some(sequence);
        }
        if std::mem::take(&mut self.idle) {
            // What a silent partition says next comes at or after the frontier it let pass.
            self.frontier = self.frontier.max(floor);
            if let Some(start) = self.starts.get_mut(&self.next) {
                *start = (*start).max(floor);
            }
        }
    }

    /// Publishes `bound`: 1 ms + the greatest watermark in split `sequence`.
    pub fn publish(&mut self, sequence: u64, bound: EventTime) {
        self.waiting.insert(sequence, bound);
        while let Some(bound) = self.waiting.remove(&self.next) {
            self.frontier = self.frontier.max(bound);
            self.next += 1;
            self.starts.insert(self.next, self.frontier);
        }
    }

    /// `f_p` at the start of split `sequence`, once known; asked once.
    pub fn take_start(&mut self, sequence: u64) -> Option<EventTime> {
        self.starts.remove(&sequence)
    }

    /// `f_p` at the start of split `sequence`, if known; it stays known.
    pub fn start(&self, sequence: u64) -> Option<EventTime> {
        self.starts.get(&sequence).copied()
    }

    /// `f_p`.
    pub fn frontier(&self) -> EventTime {
        self.frontier
    }

    /// Splits handed out and not published.
    pub fn outstanding(&self) -> u64 {
        self.handed - self.next - self.waiting.len() as u64
    }

    /// Whether the last split was handed out.
    pub fn is_exhausted(&self) -> bool {
        self.last.is_some()
    }

    /// Whether it has been read to its end for good.
    pub fn is_done(&self) -> bool {
        self.last.is_some_and(|last| self.next > last)
    }

    /// Ingestion time: nothing will come before `now_ms` any more.
    pub fn tick(&mut self, now_ms: i64) {
        if self.handed == self.next {
            self.frontier = self.frontier.max(now_ms);
            self.starts.insert(self.next, self.frontier);
        }
    }

    /// Stops holding the frontier if it was silent for `timeout_ms`.
    pub fn check_idle(&mut self, timeout_ms: i64, now_ms: i64) {
        if self.handed == self.next && now_ms - self.active_ms >= timeout_ms {
            self.idle = true;
        }
    }

    /// Whether it holds the source's frontier.
    pub fn holds(&self) -> bool {
        !self.is_done() && !self.idle
    }
}

/// The frontier of a source: the least `f_p` of the partitions that hold it.
///
/// When none does it stands at the greatest `f_p` reached, or is [`CLOSED`] when no more will come.
pub fn source_frontier(clocks: &[PartitionClock], ended: bool) -> EventTime {
    match clocks.iter().filter(|c| c.holds()).map(PartitionClock::frontier).min() {
        Some(frontier) => frontier,
        None if ended && clocks.iter().all(PartitionClock::is_done) => CLOSED,
        None => clocks.iter().map(PartitionClock::frontier).max().unwrap_or(BEGINNING),
    }
}

/// `time(e)` for consecutive records: `times` on entry their `ts`, on return their event time.
///
/// `watermarks[i]` is the watermark expression's value (`None`: NULL). Returns the new `f_p`.
pub fn assign_times(
    times: &mut [EventTime],
    watermark: impl Fn(usize) -> Option<EventTime>,
    mut frontier: EventTime,
) -> EventTime {
    for (i, time) in times.iter_mut().enumerate() {
        let bound = watermark(i).map_or(frontier, |w| w.saturating_add(1));
        *time = (*time).max(frontier);
        frontier = frontier.max(bound);
    }
    frontier
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The times are those of the definition, whatever the splits and the order of publishing.
        #[test]
        fn times_follow_file_order(
            records in prop::collection::vec((0i64..1000, 0i64..50), 1..60),
            cuts in prop::collection::vec(1usize..7, 1..30),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let mut expected = Vec::new();
            for (i, (ts, _)) in records.iter().enumerate() {
                let f = records[..i].iter().map(|(t, delay)| t - delay + 1).max();
                expected.push(f.map_or(*ts, |f| f.max(*ts)));
            }
            let mut splits = Vec::new();
            let mut at = 0;
            for cut in cuts.iter().cycle() {
                if at >= records.len() { break; }
                let to = (at + cut).min(records.len());
                splits.push(at..to);
                at = to;
            }
            let mut clock = PartitionClock::new(BEGINNING, 0);
            for s in 0..splits.len() {
                clock.hand_out(s as u64, s + 1 == splits.len(), BEGINNING, 0);
            }
            let mut left: Vec<usize> = (0..splits.len()).collect();
            let mut picks = order.into_iter();
            while !left.is_empty() {
                let pick = picks.next().map_or(0, |i| i.index(left.len()));
                let split = left.remove(pick);
                let bound = records[splits[split].clone()].iter().map(|(t, d)| t - d + 1).max();
                clock.publish(split as u64, bound.unwrap_or(BEGINNING));
            }
            let mut got = Vec::new();
            for (s, range) in splits.iter().enumerate() {
                let mut times: Vec<_> = records[range.clone()].iter().map(|r| r.0).collect();
                let start = clock.take_start(s as u64).unwrap();
                let slice = &records[range.clone()];
                assign_times(&mut times, |i| Some(slice[i].0 - slice[i].1), start);
                got.extend(times);
            }
            prop_assert_eq!(got, expected);
            prop_assert!(clock.is_done());
        }
    }

    #[test]
    fn a_done_partition_no_longer_holds_the_frontier() {
        let mut slow = PartitionClock::new(BEGINNING, 0);
        let mut fast = PartitionClock::new(BEGINNING, 0);
        slow.hand_out(0, false, BEGINNING, 0);
        fast.hand_out(0, true, BEGINNING, 0);
        slow.publish(0, 10);
        fast.publish(0, 50);
        assert_eq!(source_frontier(&[slow, fast], true), 10);
        let mut done = PartitionClock::new(BEGINNING, 0);
        done.hand_out(0, true, BEGINNING, 0);
        done.publish(0, 7);
        assert_eq!(source_frontier(&[done], true), CLOSED);
    }
}
