//! Event time, assigned once, at the source, per partition.
//!
//! For partition `p`, `f_p` is 1 ms + the greatest watermark of its earlier records, and
//! `time(e) = max(ts(e), f_p)`. Splits of a partition are decoded in parallel and in any order; a
//! split's greatest watermark is *published* here, and a split's `f_p` is known once all splits
//! before it have been published. So times follow file order whoever decodes what.

use std::collections::BTreeMap;

use super::marks::Marks;
use crate::connectors::PartitionPosition;
use crate::telemetry::clock::wall_ms;
use crate::time::{BEGINNING, CLOSED, EventTime, LATEST};

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
    /// For snapshots.
    marks: Marks,
    /// Where reading began.
    origin: i64,
    /// Splits that begin no earlier than a time which others had reached, until someone asks.
    raised: Vec<(u64, EventTime)>,
    /// Up to here its records were read before: their times are known, and time stands still.
    known_to: Option<i64>,
    /// Stopped holding the frontier for lack of data.
    idle: bool,
    /// Wall time since when it has had nothing to read, in ms.
    pending_ms: Option<i64>,
    /// Up to where its records have been read.
    offset: i64,
    /// Wall time at which `f_p` last moved, in ms; nothing depends on it.
    moved_ms: i64,
}

impl PartitionClock {
    /// A partition that begins at `floor`.
    pub fn new(floor: EventTime) -> Self {
        PartitionClock {
            frontier: floor,
            next: 0,
            waiting: BTreeMap::new(),
            starts: BTreeMap::from([(0, floor)]),
            last: None,
            handed: 0,
            marks: Marks::default(),
            origin: 0,
            raised: Vec::new(),
            known_to: None,
            idle: false,
            pending_ms: None,
            offset: 0,
            moved_ms: wall_ms(),
        }
    }

    /// A partition that goes on from a position.
    pub fn resumed(position: &PartitionPosition) -> Self {
        let mut clock = PartitionClock::new(position.floor);
        clock.origin = position.offset;
        clock.offset = position.offset;
        if position.ended {
            // As if its last split had been read.
            clock.hand_out(0, true, BEGINNING);
            clock.publish(0, position.floor);
            clock.take_start(0);
        }
        clock
    }

    /// For snapshots: where its splits lie.
    pub fn marks(&mut self) -> &mut Marks {
        &mut self.marks
    }

    /// It begins at a floor that others have reached.
    fn found_at(floor: EventTime) -> Self {
        let mut clock = PartitionClock::new(floor);
        if floor != BEGINNING {
            clock.raised.push((0, floor));
        }
        clock
    }

    /// The times of its records before the offset `end` are known.
    pub fn know_to(&mut self, end: Option<i64>) {
        self.known_to = end.filter(|end| *end > self.origin);
    }

    /// Its records up to the offset `end` have got their times.
    pub fn read_to(&mut self, end: i64) {
        self.known_to = self.known_to.filter(|known| *known > end);
    }

    /// The time that split `sequence` begins no earlier than because others had reached it.
    pub fn take_raised(&mut self, sequence: u64) -> Option<EventTime> {
        let at = self.raised.iter().position(|(raised, _)| *raised == sequence)?;
        Some(self.raised.swap_remove(at).1)
    }

    /// From where to read again for a snapshot at `frontier`: offset, `f_p` there, and whether
    /// nothing is left.
    pub fn position(&self, frontier: EventTime) -> (i64, EventTime, bool) {
        match self.marks.position(frontier) {
            Some(found) => (found.offset, found.floor, found.is_behind_all && self.is_done()),
            None if self.is_done() && self.marks.is_empty() => (self.origin, self.frontier, true),
            None => {
                let start = self.starts.get(&0).copied().unwrap_or(self.frontier);
                (self.origin, start, false)
            }
        }
    }

    /// A split was handed out.
    pub fn hand_out(&mut self, sequence: u64, last: bool, floor: EventTime) {
        self.handed = self.handed.max(sequence + 1);
        self.pending_ms = None;
        if last {
            self.last = Some(sequence);
        }
        if std::mem::take(&mut self.idle) {
            // What a silent partition says next comes at or after the frontier it let pass.
            self.raise(floor);
            if let Some(start) = self.starts.get_mut(&self.next) {
                *start = (*start).max(floor);
            }
            self.raised.push((sequence, floor));
        }
    }

    /// Publishes `bound`: 1 ms + the greatest watermark in split `sequence`.
    pub fn publish(&mut self, sequence: u64, bound: EventTime) {
        self.waiting.insert(sequence, bound);
        while let Some(bound) = self.waiting.remove(&self.next) {
            self.raise(bound);
            self.next += 1;
            self.starts.insert(self.next, self.frontier);
        }
    }

    /// `f_p` at the start of split `sequence`, once known; asked once.
    pub fn take_start(&mut self, sequence: u64) -> Option<EventTime> {
        self.starts.remove(&sequence)
    }

    /// `f_p` is `bound` at least.
    fn raise(&mut self, bound: EventTime) {
        if bound > self.frontier {
            self.frontier = bound;
            self.moved_ms = wall_ms();
        }
    }

    /// `f_p`.
    pub fn frontier(&self) -> EventTime {
        self.frontier
    }

    /// Wall time at which `f_p` last moved, in ms.
    pub fn moved_ms(&self) -> i64 {
        self.moved_ms
    }

    /// Its records before the offset `end` have been read; `None`: that is not known.
    pub fn reads_to(&mut self, end: Option<i64>) {
        self.offset = self.offset.max(end.unwrap_or(self.offset));
    }

    /// Up to where its records have been read.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Wall time since when it has had nothing to read, in ms, if it has not.
    pub fn pending_since(&self) -> Option<i64> {
        self.pending_ms
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
        if self.handed == self.next && self.known_to.is_none() {
            self.raise(now_ms);
            self.starts.insert(self.next, self.frontier);
        }
    }

    /// It was asked and had nothing to read; after `timeout_ms` of that it holds nothing any more.
    ///
    /// One that is not asked, because the source must wait for others, does not become idle.
    pub fn pending(&mut self, timeout_ms: Option<i64>, now_ms: i64) {
        let since = *self.pending_ms.get_or_insert(now_ms);
        let is_over = timeout_ms.is_some_and(|timeout| now_ms.saturating_sub(since) >= timeout);
        self.idle |= is_over && self.handed == self.next;
    }

    /// Nothing of it will come before `floor`; only before it has been begun.
    fn begin_at(&mut self, floor: EventTime) {
        if self.handed == 0 && floor > self.frontier {
            self.raise(floor);
            self.starts.insert(0, floor);
        }
    }

    /// Whether it holds the source's frontier.
    pub fn holds(&self) -> bool {
        !self.is_done() && !self.idle
    }
}

/// The times of all partitions of a source in this process.
#[derive(Debug)]
pub struct SourceClock {
    partitions: Vec<PartitionClock>,
    /// By partition the one that it goes on from, if any.
    chain: Vec<Option<(usize, i64)>>,
    /// What has been let pass; never moves back.
    frontier: EventTime,
    /// Partitions that are found begin no earlier.
    found_from: EventTime,
    /// Wall time of the last split, in ms.
    active_ms: i64,
}

impl SourceClock {
    /// A source that has no partition yet.
    pub fn new(now_ms: i64) -> Self {
        SourceClock {
            partitions: Vec::new(),
            chain: Vec::new(),
            frontier: BEGINNING,
            found_from: BEGINNING,
            active_ms: now_ms,
        }
    }

    /// The source goes on at `frontier`; its first partitions, from `positions`.
    pub fn resume(&mut self, frontier: EventTime, positions: &[PartitionPosition]) {
        self.frontier = frontier;
        self.partitions = positions.iter().map(PartitionClock::resumed).collect();
    }

    /// The source, which had come to `frontier`, is read again from `positions`: its partitions
    /// then. Others begin at that frontier, as they would have without.
    pub fn begin_again(&mut self, frontier: EventTime, positions: &[PartitionPosition]) {
        self.found_from = frontier;
        self.partitions = positions.iter().map(PartitionClock::resumed).collect();
    }

    /// There are `count` partitions now; new ones begin at the frontier.
    pub fn grow(&mut self, count: usize) {
        let floor = self.frontier.max(self.found_from);
        if self.partitions.len() < count {
            self.partitions.resize_with(count, || PartitionClock::found_at(floor));
        }
    }

    /// The partitions.
    pub fn partitions(&self) -> &[PartitionClock] {
        &self.partitions
    }

    /// A partition that [`SourceClock::grow`] has made.
    pub fn partition(&mut self, index: usize) -> &mut PartitionClock {
        &mut self.partitions[index]
    }

    /// Hands out a split; what a silent partition says next comes at or after the frontier.
    pub fn hand_out(&mut self, partition: usize, sequence: u64, last: bool, now_ms: i64) {
        self.active_ms = now_ms;
        let floor = self.frontier;
        self.partition(partition).hand_out(sequence, last, floor);
    }

    /// Ingestion time: nothing will come before `now_ms` any more.
    pub fn tick(&mut self, now_ms: i64) {
        self.partitions.iter_mut().for_each(|p| p.tick(now_ms));
    }

    /// The frontier; [`CLOSED`] once all partitions are done and `complete`: there will be no more.
    pub fn frontier(&mut self, complete: bool) -> EventTime {
        self.frontier = self.frontier.max(source_frontier(&self.partitions, complete));
        self.frontier
    }

    /// Whether a partition holds the frontier.
    pub fn holds(&self) -> bool {
        self.partitions.iter().any(PartitionClock::holds)
    }

    /// Whether no partition holds the frontier and none has spoken for `timeout_ms`.
    pub fn is_silent(&self, timeout_ms: i64, now_ms: i64) -> bool {
        !self.holds() && now_ms.saturating_sub(self.active_ms) >= timeout_ms
    }

    /// A silent source lets pass what others have reached.
    pub fn follow(&mut self, others: EventTime) -> EventTime {
        self.frontier = self.frontier.max(others.min(LATEST));
        self.frontier
    }

    /// Learns which partitions new ones go on from: `follows` says which, and how many ms after its
    /// end they begin at least.
    pub fn chain(&mut self, follows: impl Fn(usize) -> Option<(usize, i64)>) {
        for partition in self.chain.len()..self.partitions.len() {
            self.chain.push(follows(partition).filter(|(before, _)| *before < partition));
        }
        // Ascending: what one has reached passes on to all behind it.
        for (partition, before) in self.chain.iter().enumerate() {
            let Some((before, gap)) = *before else { continue };
            let before = &self.partitions[before];
            let gap = if before.is_done() { gap } else { 0 };
            let floor = before.frontier().saturating_add(gap);
            self.partitions[partition].begin_at(floor);
        }
    }

    /// The partition that `index` goes on from and that has not ended, if there is one.
    pub fn waits_for(&self, index: usize) -> Option<usize> {
        let before = self.chain.get(index).copied().flatten();
        before.map(|(before, _)| before).filter(|_| !self.may_begin(index))
    }

    /// What has been let pass.
    pub fn reached(&self) -> EventTime {
        self.frontier
    }

    /// Whether partition `index` may be read: the one that it goes on from has ended.
    pub fn may_begin(&self, index: usize) -> bool {
        let before = self.chain.get(index).copied().flatten();
        before.is_none_or(|(before, _)| self.partitions[before].is_done())
    }

    /// The greatest `f_p`.
    pub fn greatest(&self) -> EventTime {
        self.partitions.iter().map(PartitionClock::frontier).max().unwrap_or(BEGINNING)
    }
}

/// The frontier of a source: the least `f_p` of the partitions that hold it.
///
/// When none does it stands at the greatest `f_p` reached, or is [`CLOSED`] when no more will come.
fn source_frontier(clocks: &[PartitionClock], ended: bool) -> EventTime {
    match clocks.iter().filter(|c| c.holds()).map(PartitionClock::frontier).min() {
        Some(frontier) => frontier,
        None if ended && clocks.iter().all(PartitionClock::is_done) => CLOSED,
        None => clocks.iter().map(PartitionClock::frontier).max().unwrap_or(BEGINNING),
    }
}

/// What a record with this watermark does to `f_p`. An ended source alone has no more to come.
pub fn bound_of(watermark: EventTime) -> EventTime {
    watermark.saturating_add(1).min(LATEST)
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
        let bound = watermark(i).map_or(frontier, bound_of);
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
            let mut clock = PartitionClock::new(BEGINNING);
            for s in 0..splits.len() {
                clock.hand_out(s as u64, s + 1 == splits.len(), BEGINNING);
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
    fn a_partition_goes_on_from_the_end_of_another() {
        let mut clock = SourceClock::new(0);
        clock.grow(3);
        let chain = |p: usize| (p > 0).then(|| (p - 1, i64::from(p == 2)));
        clock.chain(chain);
        assert!(clock.may_begin(0) && !clock.may_begin(1));
        clock.hand_out(0, 0, true, 0);
        clock.partition(0).publish(0, 70);
        clock.chain(chain);
        assert_eq!(clock.frontier(true), 70, "what has not begun holds nothing back");
        assert!(clock.may_begin(1) && !clock.may_begin(2));
        clock.hand_out(1, 0, true, 0);
        assert_eq!(clock.partition(1).take_start(0), Some(70));
        clock.partition(1).publish(0, 50);
        clock.chain(chain);
        assert!(clock.may_begin(2));
        assert_eq!(clock.partition(2).frontier(), 71);
    }

    #[test]
    fn a_done_partition_no_longer_holds_the_frontier() {
        let mut slow = PartitionClock::new(BEGINNING);
        let mut fast = PartitionClock::new(BEGINNING);
        slow.hand_out(0, false, BEGINNING);
        fast.hand_out(0, true, BEGINNING);
        slow.publish(0, 10);
        fast.publish(0, 50);
        assert_eq!(source_frontier(&[slow, fast], true), 10);
        let mut done = PartitionClock::new(BEGINNING);
        done.hand_out(0, true, BEGINNING);
        done.publish(0, 7);
        assert_eq!(source_frontier(&[done], true), CLOSED);
    }

    #[test]
    fn only_what_was_asked_and_is_silent_becomes_idle() {
        let mut clock = SourceClock::new(0);
        clock.grow(2);
        clock.hand_out(0, 0, false, 10);
        clock.hand_out(1, 0, false, 10);
        clock.partition(0).publish(0, 100);
        clock.partition(1).publish(0, 50);
        assert_eq!(clock.frontier(true), 50);
        clock.partition(1).pending(Some(5), 11);
        clock.partition(1).pending(Some(5), 15);
        assert_eq!(clock.frontier(true), 50);
        clock.partition(1).pending(Some(5), 16);
        assert_eq!(clock.frontier(true), 100);
        assert!(!clock.is_silent(5, 1000));
        clock.hand_out(1, 1, false, 20);
        assert_eq!(clock.partition(1).take_start(1), Some(100));
        clock.partition(1).publish(1, 60);
        assert_eq!(clock.frontier(true), 100);
        // All are silent: what others have reached may pass, and later rows come behind it.
        clock.partition(0).pending(Some(5), 20);
        clock.partition(0).pending(Some(5), 25);
        clock.partition(1).pending(Some(5), 20);
        clock.partition(1).pending(Some(5), 25);
        assert!(!clock.is_silent(5, 24));
        assert!(clock.is_silent(5, 25));
        assert_eq!(clock.follow(700), 700);
        clock.hand_out(0, 1, false, 30);
        assert_eq!(clock.partition(0).take_start(1), Some(700));
        clock.grow(3);
        assert_eq!(clock.partition(2).frontier(), 700);
    }
}
