//! The rows of each key in order, and what of them is shown.

use std::cmp::Ordering;

use super::{Log, NONE, Rows, Step};
use crate::error::{Error, Result};
use crate::plan::node::{Rank, RankKind};
use crate::state::ordered_rows::{Candidate, Entry, OrderedRows};
use crate::time::EventTime;

/// A row that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The prefix of its entry.
    prefix: u64,
    pub(super) slot: u32,
    /// Its number, or zero where that is not part of the output.
    pub(super) number: u64,
    pub(super) copies: i64,
}

/// Which rows of a list are shown.
#[derive(Clone, Copy)]
struct Range {
    kind: RankKind,
    from: u64,
    to: u64,
    numbered: bool,
}

/// The rows of a key.
#[derive(Default)]
struct List {
    rows: OrderedRows,
    /// The last tick that changed it.
    mark: u32,
}

/// A row that came to be there no times.
struct Gone {
    /// Its key; [`NONE`] if it has been removed already.
    group: u32,
    prefix: u64,
    slot: u32,
}

/// Rows in order, key by key.
pub(super) struct Lists {
    range: Range,
    append_only: bool,
    /// Nothing is logged: what is shown is read at the end.
    unseen: bool,
    lists: Vec<List>,
    /// The keys of this tick, and where what they showed begins in `before`.
    touched: Vec<(u32, usize)>,
    before: Vec<Item>,
    after: Vec<Item>,
    /// Rows that came to be there no times in this tick.
    gone: Vec<Gone>,
    /// For each row of this tick the slot of the same row before it, if that was found.
    same: Vec<u32>,
    candidates: Vec<Candidate>,
}

impl Lists {
    pub(super) fn new(rank: &Rank, append_only: bool) -> Self {
        let Rank { kind, from, to, number, .. } = *rank;
        Lists {
            range: Range { kind, from, to, numbered: number },
            append_only,
            unseen: rank.final_only,
            lists: Vec::new(),
            touched: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            gone: Vec::new(),
            same: Vec::new(),
            candidates: Vec::new(),
        }
    }

    pub(super) fn resize(&mut self, bound: usize) {
        self.lists.resize_with(bound, List::default);
    }

    pub(super) fn reset_marks(&mut self) {
        self.lists.iter_mut().for_each(|list| list.mark = 0);
    }

    /// Whether a further entry can do nothing behind the last one of `list`.
    fn is_full(&self, list: &OrderedRows) -> bool {
        self.append_only
            && self.range.kind == RankKind::RowNumber
            && self.range.to <= list.len_if_small().unwrap_or(usize::MAX) as u64
            && self.range.to <= list.len() as u64
    }

    /// Looks for the rows of a tick among those held.
    ///
    /// Lists, entries and values lie far apart when there are many. One kind of them is read for
    /// all rows before the next, so that the reads overlap: none waits for that of another row.
    fn find_same(&mut self, kept: &Rows, step: &Step, rows: &[u32]) {
        self.same.clear();
        if self.append_only {
            return;
        }
        self.same.resize(rows.len(), NONE);
        let (lists, prefixes) = (&self.lists, &step.prefixes);
        let block_of = |&row: &u32| {
            let row = row as usize;
            lists[step.groups[row] as usize].rows.block_of(prefixes[row])
        };
        let blocks: Vec<&[Entry]> = rows.iter().map(block_of).collect();
        self.candidates.clear();
        for (at, (block, &row)) in blocks.into_iter().zip(rows).enumerate() {
            let (prefix, place) = (prefixes[row as usize], step.place(row));
            let first = block.partition_point(|entry| entry.prefix < prefix);
            if let Some(Entry { slot, .. }) = block.get(first).filter(|e| e.prefix == prefix) {
                let (slot, row) = (*slot, at as u32);
                self.candidates.push(Candidate { row, prefix, slot, place, other: place });
            }
        }
        self.candidates.iter_mut().for_each(|c| c.other = kept.pool.at(c.slot));
        kept.order.retain_same(&kept.pool, &mut self.candidates);
        self.candidates.iter().for_each(|c| self.same[c.row as usize] = c.slot);
    }

    /// Applies the rows of one tick.
    pub(super) fn apply(
        &mut self,
        kept: &mut Rows,
        step: &Step,
        rows: &[u32],
        mark: u32,
    ) -> Result<()> {
        self.find_same(kept, step, rows);
        for (at, &row) in rows.iter().enumerate() {
            let group = step.groups[row as usize];
            let (prefix, place, diff) =
                (step.prefixes[row as usize], step.place(row), step.diff(row));
            let same = self.same.get(at).copied().unwrap_or(NONE);
            let Rows { pool, order } = &*kept;
            let compare = |entry: &Entry| -> Ordering {
                entry.prefix.cmp(&prefix).then_with(|| match entry.slot == same {
                    true => Ordering::Equal,
                    false => order.compare_tied(pool, prefix, pool.at(entry.slot), place),
                })
            };
            let list = &self.lists[group as usize].rows;
            let is_full = self.is_full(list);
            if diff == 0 || (is_full && list.last().is_some_and(|last| compare(last).is_le())) {
                continue;
            }
            let found = list.search(compare);
            if self.lists[group as usize].mark != mark {
                self.lists[group as usize].mark = mark;
                self.touch(kept, group);
            }
            let list = &mut self.lists[group as usize].rows;
            match found {
                Ok(position) => {
                    let Some(entry) = list.get_mut(position) else { continue };
                    entry.count = sum(entry.count, diff)?;
                    if entry.count == 0 {
                        self.gone.push(Gone { group, prefix, slot: entry.slot });
                    }
                }
                Err(position) => {
                    let (slot, count) = (kept.pool.keep(place), sum(0, diff)?);
                    list.insert(position, Entry { prefix, slot, count });
                    if is_full && let Some(last) = list.pop() {
                        // It may have been shown before this tick.
                        self.gone.push(Gone { group: NONE, prefix, slot: last.slot });
                    }
                }
            }
        }
        Ok(())
    }

    fn touch(&mut self, kept: &Rows, group: u32) {
        self.touched.push((group, self.before.len()));
        if !self.unseen {
            self.range.shown(kept, &self.lists[group as usize].rows, &mut self.before);
        }
    }

    /// Ends a tick: logs the difference of what is shown, forgets what can matter no more.
    pub(super) fn settle(
        &mut self,
        kept: &mut Rows,
        time: EventTime,
        log: &mut Log,
        emptied: &mut Vec<u32>,
    ) {
        let mut gone = std::mem::take(&mut self.gone);
        for row in &gone {
            if row.group == NONE || self.remove(kept, row) {
                log.released.push(row.slot);
            }
        }
        gone.clear();
        self.gone = gone;
        let touched = std::mem::take(&mut self.touched);
        let before = std::mem::take(&mut self.before);
        let mut after = std::mem::take(&mut self.after);
        for (at, &(group, start)) in touched.iter().enumerate() {
            let end = touched.get(at + 1).map_or(before.len(), |(_, next)| *next);
            let list = &mut self.lists[group as usize].rows;
            if self.append_only || !self.unseen {
                after.clear();
                let hidden = self.range.shown(kept, list, &mut after);
                if let (true, Some(hidden)) = (self.append_only, hidden) {
                    list.truncate(hidden, |entry| log.released.push(entry.slot));
                }
            }
            if !self.unseen {
                self.range.difference(kept, &before[start..end], &after, time, log);
            }
            if list.is_empty() {
                emptied.push(group);
            }
        }
        // Their memory is used again.
        (self.touched, self.before, self.after) = (touched, before, after);
        self.touched.clear();
        self.before.clear();
    }

    /// Removes a row if it is still there no times.
    fn remove(&mut self, kept: &Rows, row: &Gone) -> bool {
        let Rows { pool, order } = kept;
        let Gone { group, prefix, slot } = *row;
        let list = &mut self.lists[group as usize].rows;
        let found = list.search(|entry| {
            entry.prefix.cmp(&prefix).then_with(|| match entry.slot == slot {
                true => Ordering::Equal,
                false => order.compare_tied(pool, prefix, pool.at(entry.slot), pool.at(slot)),
            })
        });
        let Ok(position) = found else { return false };
        let is_gone = list.get_mut(position).is_some_and(|e| e.slot == slot && e.count == 0);
        if is_gone {
            list.remove(position);
        }
        is_gone
    }

    /// Drops the list of `group` if it has no rows.
    pub(super) fn forget_if_empty(&mut self, group: u32) -> bool {
        let list = &mut self.lists[group as usize].rows;
        let is_empty = list.is_empty();
        if is_empty {
            *list = OrderedRows::default();
        }
        is_empty
    }

    /// All rows that are held, and how often each is there.
    pub(super) fn held(&self) -> impl Iterator<Item = (u32, i32)> + '_ {
        self.lists.iter().flat_map(|list| list.rows.iter().map(|e| (e.slot, e.count)))
    }

    /// Those of `group`.
    pub(super) fn held_of(&self, group: u32) -> impl Iterator<Item = (u32, i32)> + '_ {
        self.lists[group as usize].rows.iter().map(|e| (e.slot, e.count))
    }

    /// What is shown of `group`.
    pub(super) fn shown(&self, kept: &Rows, group: u32, out: &mut Vec<Item>) {
        self.range.shown(kept, &self.lists[group as usize].rows, out);
    }
}

fn sum(count: i32, diff: i64) -> Result<i32> {
    i64::from(count)
        .checked_add(diff)
        .and_then(|sum| i32::try_from(sum).ok())
        .ok_or_else(|| Error::internal("one row more than two billion times"))
}

impl Range {
    /// Appends what is shown of `list`; the index of the first entry behind all that can be.
    fn shown(&self, kept: &Rows, list: &OrderedRows, out: &mut Vec<Item>) -> Option<usize> {
        let (pool, order) = (&kept.pool, &kept.order);
        let (mut before, mut current) = (0u64, 0u64);
        let mut previous: Option<u32> = None;
        for (index, entry) in list.iter().enumerate().filter(|(_, e)| e.count > 0) {
            let copies = u64::from(entry.count.unsigned_abs());
            if self.kind == RankKind::RowNumber {
                let (first, last) = (before + 1, before + copies);
                self.push_copies(entry, first.max(self.from), last.min(self.to), out);
                before = last;
                if before >= self.to {
                    return Some(index + 1);
                }
                continue;
            }
            let is_tied = previous
                .is_some_and(|p| order.compare_keys(pool, pool.at(p), pool.at(entry.slot)).is_eq());
            current = match (is_tied, self.kind) {
                (true, _) => current,
                (false, RankKind::DenseRank) => current + 1,
                (false, _) => before + 1,
            };
            if current > self.to {
                return Some(index);
            }
            if current >= self.from {
                let number = if self.numbered { current } else { 0 };
                let Entry { prefix, slot, .. } = *entry;
                out.push(Item { prefix, slot, number, copies: copies as i64 });
            }
            before += copies;
            previous = Some(entry.slot);
        }
        None
    }

    /// The copies of a row that have the numbers `first..=last`.
    fn push_copies(&self, entry: &Entry, first: u64, last: u64, out: &mut Vec<Item>) {
        if first > last {
            return;
        }
        let Entry { prefix, slot, .. } = *entry;
        if self.numbered {
            out.extend((first..=last).map(|number| Item { prefix, slot, number, copies: 1 }));
        } else {
            out.push(Item { prefix, slot, number: 0, copies: (last - first + 1) as i64 });
        }
    }

    /// Logs what makes `after` of `before`; both are in order.
    fn difference(
        &self,
        kept: &Rows,
        before: &[Item],
        after: &[Item],
        time: EventTime,
        log: &mut Log,
    ) {
        let mut take = |item: &Item, sign: i64| {
            log.push(item.slot, item.number, sign * item.copies, time);
        };
        if self.numbered && self.kind == RankKind::RowNumber {
            // The same places have the same numbers.
            for place in 0..before.len().max(after.len()) {
                let (old, new) = (before.get(place), after.get(place));
                if old.map(|i| i.slot) != new.map(|i| i.slot) {
                    old.iter().for_each(|item| take(item, -1));
                    new.iter().for_each(|item| take(item, 1));
                }
            }
            return;
        }
        let (pool, order) = (&kept.pool, &kept.order);
        let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
        loop {
            let side = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) if a.slot == b.slot => Ordering::Equal,
                (Some(a), Some(b)) => a.prefix.cmp(&b.prefix).then_with(|| {
                    order.compare_tied(pool, a.prefix, pool.at(a.slot), pool.at(b.slot))
                }),
            };
            let gone = if side.is_le() { old.next() } else { None };
            let come = if side.is_ge() { new.next() } else { None };
            match (gone, come) {
                (Some(a), Some(b)) if a.number == b.number && a.slot == b.slot => {
                    let copies = b.copies - a.copies;
                    if copies != 0 {
                        take(&Item { copies, ..*b }, 1);
                    }
                }
                _ => {
                    gone.iter().for_each(|item| take(item, -1));
                    come.iter().for_each(|item| take(item, 1));
                }
            }
        }
    }
}
