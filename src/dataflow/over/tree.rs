//! One partition of an updating OVER: its rows in order, and what a change of one of them reaches.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::plan::over::{OverCall, OverFunction};

/// A row as comparable bytes: its order columns, then all of its columns.
#[derive(Debug)]
pub struct Key {
    bytes: Box<[u8]>,
    order: u32,
}

impl Key {
    /// The bytes of the order columns.
    pub fn order(&self) -> &[u8] {
        &self.bytes[..self.order as usize]
    }

    /// The bytes of the row.
    pub fn row(&self) -> &[u8] {
        &self.bytes[self.order as usize..]
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

/// How often a row is there; a row taken back before it came is there less than never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Before the tick at hand.
    pub old: i64,
    /// After it.
    pub new: i64,
    /// What offsets of RANGE frames are added to.
    pub value: i64,
}

/// The rows of one partition.
#[derive(Debug, Default)]
pub struct Partition {
    /// The rows in order.
    pub rows: BTreeMap<Key, Held>,
    /// Rows that are there, with their multiplicity.
    pub total: u64,
    /// Distinct order values of those.
    pub distinct: u64,
}

/// How far from a row the rows are that its results look at, and so the rows that it matters to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Rows behind it.
    back: Need,
    /// Rows ahead of it.
    ahead: Need,
    /// Every row behind it, through a total that is kept: it matters to all rows ahead.
    pub totals: bool,
    /// Every row of the partition.
    pub whole: bool,
}

/// A distance along a partition; the largest of its kinds holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    rows: u64,
    /// Units of the order column.
    units: Option<i64>,
    /// All rows of equal order.
    peers: bool,
}

impl Need {
    fn join(&mut self, rows: bool, offset: i64) {
        let offset = offset.max(0);
        match (rows, offset) {
            (true, offset) => self.rows = self.rows.max(offset.unsigned_abs()),
            (false, 0) => {}
            (false, offset) => self.units = self.units.max(Some(offset)),
        }
        self.peers |= !rows;
    }
}

impl Reach {
    /// The reach of all `calls`; `ordered` says of one that its aggregate goes by order.
    pub fn of(calls: &[OverCall], ordered: impl Fn(usize) -> bool) -> Self {
        use OverFunction as F;
        let mut reach = Reach::default();
        for (index, call) in calls.iter().enumerate() {
            let frame = call.frame;
            match &call.function {
                F::Shift { back, .. } => {
                    reach.back.join(true, *back);
                    reach.ahead.join(true, back.saturating_neg());
                }
                F::RowNumber => reach.totals = true,
                F::Rank | F::DenseRank => {
                    reach.totals = true;
                    reach.back.peers = true;
                    reach.ahead.peers = true;
                }
                F::PercentRank | F::CumeDist | F::Ntile(_) => reach.whole = true,
                F::Aggregate(_) | F::Edge { .. } | F::Nth { .. } => {
                    match (frame.start, frame.end) {
                        (Some(start), Some(end)) => {
                            reach.back.join(frame.rows, start.saturating_neg());
                            reach.ahead.join(frame.rows, end);
                        }
                        (None, Some(end)) if !ordered(index) => {
                            reach.totals = true;
                            reach.back.join(frame.rows, end.saturating_neg());
                            reach.ahead.join(frame.rows, end);
                        }
                        _ => reach.whole = true,
                    }
                }
            }
        }
        reach
    }
}

/// A stretch of a partition: the rows that changed results may belong to, and around them those
/// that they look at.
pub struct Span<'a> {
    /// The rows in order.
    pub rows: Vec<(&'a Key, &'a Held)>,
    /// Which of them may have changed results.
    pub affected: std::ops::Range<usize>,
}

/// First and last key of what is looked at, and of what is affected.
struct Borders<'a> {
    seen: (&'a Key, &'a Key),
    affected: (&'a Key, &'a Key),
}

impl Partition {
    /// The stretches that the changes of the rows `changed`, ascending, matter to.
    pub fn spans(&self, changed: &[&[u8]], reach: &Reach) -> Vec<Span<'_>> {
        if reach.whole {
            let rows: Vec<_> = self.rows.iter().collect();
            let affected = 0..rows.len();
            return vec![Span { rows, affected }];
        }
        let mut spans: Vec<Borders<'_>> = Vec::new();
        for &key in changed {
            let last = spans.last();
            if reach.totals && last.is_some() {
                break;
            }
            let Some(next) = self.borders(key, reach) else { continue };
            match spans.last_mut() {
                Some(last) if next.seen.0 <= last.seen.1 => {
                    last.seen.1 = last.seen.1.max(next.seen.1);
                    last.affected.1 = last.affected.1.max(next.affected.1);
                }
                _ => spans.push(next),
            }
        }
        spans.iter().map(|borders| self.span(borders)).collect()
    }

    fn span(&self, borders: &Borders<'_>) -> Span<'_> {
        let range = (Bound::Included(borders.seen.0), Bound::Included(borders.seen.1));
        let rows: Vec<_> = self.rows.range::<Key, _>(range).collect();
        let start = rows.partition_point(|(key, _)| *key < borders.affected.0);
        let end = rows.partition_point(|(key, _)| *key <= borders.affected.1);
        Span { rows, affected: start..end }
    }

    fn borders(&self, key: &[u8], reach: &Reach) -> Option<Borders<'_>> {
        let (key, held) = self.rows.get_key_value(key)?;
        let at = (key, held);
        // A row looks ahead as far as it matters back.
        let first = self.walk_back(at, reach.ahead);
        let seen_first = self.walk_back(first, reach.back);
        if reach.totals {
            let last = self.rows.last_key_value()?.0;
            let (seen, affected) = ((seen_first.0, last), (first.0, last));
            return Some(Borders { seen, affected });
        }
        let last = self.walk_ahead(at, reach.back);
        let seen_last = self.walk_ahead(last, reach.ahead);
        Some(Borders { seen: (seen_first.0, seen_last.0), affected: (first.0, last.0) })
    }

    fn walk_back<'a>(&'a self, from: (&'a Key, &'a Held), need: Need) -> (&'a Key, &'a Held) {
        let range = (Bound::Unbounded, Bound::Excluded(from.0));
        walk(self.rows.range::<Key, _>(range).rev(), from, need)
    }

    fn walk_ahead<'a>(&'a self, from: (&'a Key, &'a Held), need: Need) -> (&'a Key, &'a Held) {
        let range = (Bound::Excluded(from.0), Bound::Unbounded);
        walk(self.rows.range::<Key, _>(range), from, need)
    }

    /// Adds `diff` to how often a row is there.
    pub fn change(&mut self, bytes: &[u8], order: usize, value: i64, diff: i64) {
        match self.rows.get_mut(bytes) {
            Some(held) => held.new += diff,
            None => {
                let key = Key { bytes: bytes.into(), order: order as u32 };
                self.rows.insert(key, Held { old: 0, new: diff, value });
            }
        }
    }

    /// The tick is over: forgets what was before it.
    pub fn settle(&mut self, changed: &[&[u8]]) {
        for &key in changed {
            let Some(held) = self.rows.get_mut(key) else { continue };
            held.old = held.new;
            if held.new == 0 {
                self.rows.remove(key);
            }
        }
    }
}

/// The last row that `need` reaches from `from`, in both the old and the new rows.
fn walk<'a>(
    rows: impl Iterator<Item = (&'a Key, &'a Held)>,
    from: (&'a Key, &'a Held),
    need: Need,
) -> (&'a Key, &'a Held) {
    let mut last = from;
    let (mut old, mut new) = (0u64, 0u64);
    for (key, held) in rows {
        let near = |units: i64| held.value.abs_diff(from.1.value) <= units.unsigned_abs();
        let reached = old < need.rows
            || new < need.rows
            || need.units.is_some_and(near)
            || (need.peers && key.order() == from.0.order());
        if !reached {
            break;
        }
        old += held.old.max(0).unsigned_abs();
        new += held.new.max(0).unsigned_abs();
        last = (key, held);
    }
    last
}
