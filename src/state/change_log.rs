//! The log of a step: results of groups before and after each change, in columns.
//!
//! An updating operator may change a group many times in one step. Each result is appended once;
//! the result before a change is the one after the previous change. Called by the operators that
//! emit `-1` old and `+1` new rows.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;

use super::aggregate::AggregateStates;
use super::column::ColumnBuilder;
use crate::error::Result;
use crate::time::EventTime;

/// No entry was made yet.
const UNKNOWN: u32 = u32::MAX;
/// The group did not exist.
const ABSENT: u32 = u32::MAX - 1;

/// One change of one group; `before` and `after` are entries of the log or [`ABSENT`].
struct Change {
    time: EventTime,
    group: u32,
    before: u32,
    after: u32,
}

/// Changes of groups, to be emitted together.
pub struct ChangeLog {
    builders: Vec<ColumnBuilder>,
    entries: u32,
    /// The last entry of each group, and its index among `groups`.
    latest: Vec<(u32, u32)>,
    groups: Vec<u32>,
    changes: Vec<Change>,
    scratch: Vec<u32>,
}

/// The rows that a log comes to.
pub struct Changes {
    /// The groups that were touched.
    pub groups: Vec<u32>,
    /// For each row the index of its group in `groups`.
    pub rows: UInt32Array,
    /// For each row its time.
    pub times: Vec<EventTime>,
    /// For each row `-1` or `+1`.
    pub diffs: Vec<i64>,
    /// The results of each call.
    pub columns: Vec<ArrayRef>,
    /// New rows with a result that its type cannot hold: row and call.
    pub failed: Vec<(usize, usize)>,
}

impl ChangeLog {
    /// An empty log with a builder for each call.
    pub fn new(builders: Vec<ColumnBuilder>) -> Self {
        ChangeLog {
            builders,
            entries: 0,
            latest: Vec::new(),
            groups: Vec::new(),
            changes: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Number of logged results.
    pub fn len(&self) -> usize {
        self.entries as usize
    }

    /// Whether nothing was logged.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Notes the present results of those `touched` that are not known; call before an update.
    ///
    /// All groups are below `bound`.
    pub fn before(
        &mut self,
        states: &AggregateStates,
        bound: usize,
        touched: &[u32],
        exists: impl Fn(u32) -> bool,
    ) -> Result<()> {
        if self.latest.len() < bound {
            self.latest.resize(bound, (UNKNOWN, 0));
        }
        self.scratch.clear();
        for &group in touched {
            let latest = &mut self.latest[group as usize];
            if latest.0 != UNKNOWN {
                continue;
            }
            *latest = (ABSENT, self.groups.len() as u32);
            self.groups.push(group);
            if exists(group) {
                latest.0 = self.entries + self.scratch.len() as u32;
                self.scratch.push(group);
            }
        }
        self.append(states)
    }

    /// Notes the new results of `touched`, each group once; call after the update at `time`.
    pub fn after(
        &mut self,
        states: &AggregateStates,
        time: EventTime,
        touched: &[u32],
        exists: impl Fn(u32) -> bool,
    ) -> Result<()> {
        self.scratch.clear();
        for &group in touched {
            let after = if exists(group) {
                self.scratch.push(group);
                self.entries + self.scratch.len() as u32 - 1
            } else {
                ABSENT
            };
            let before = std::mem::replace(&mut self.latest[group as usize].0, after);
            if before != ABSENT || after != ABSENT {
                self.changes.push(Change { time, group, before, after });
            }
        }
        self.append(states)
    }

    fn append(&mut self, states: &AggregateStates) -> Result<()> {
        if !self.scratch.is_empty() {
            states.append(&self.scratch, &mut self.builders)?;
            self.entries += self.scratch.len() as u32;
        }
        Ok(())
    }

    /// The rows of all changes; those that leave a result as it was are dropped unless
    /// `every_row_changes`. The log is empty again.
    pub fn finish(&mut self, every_row_changes: bool) -> Result<Changes> {
        let size = self.changes.len() * 2;
        let (mut rows, mut times) = (Vec::with_capacity(size), Vec::with_capacity(size));
        let (mut diffs, mut entries) = (Vec::with_capacity(size), Vec::with_capacity(size));
        for change in &self.changes {
            let (before, after) = (change.before as usize, change.after as usize);
            let same = change.before != ABSENT
                && change.after != ABSENT
                && !every_row_changes
                && !self.builders.iter().any(|builder| builder.differ(before, after));
            if same {
                continue;
            }
            let row = self.latest[change.group as usize].1;
            for (entry, diff) in [(change.before, -1), (change.after, 1)] {
                if entry != ABSENT {
                    rows.push(row);
                    times.push(change.time);
                    diffs.push(diff);
                    entries.push(entry);
                }
            }
        }
        let failed = self.failed(&entries, &diffs);
        let entries = UInt32Array::from(entries);
        let columns = self
            .builders
            .iter_mut()
            .map(|builder| Ok(take(builder.finish()?.as_ref(), &entries, None)?))
            .collect::<Result<_>>()?;
        self.groups.iter().for_each(|&group| self.latest[group as usize] = (UNKNOWN, 0));
        self.changes.clear();
        self.entries = 0;
        let groups = std::mem::take(&mut self.groups);
        Ok(Changes { groups, rows: rows.into(), times, diffs, columns, failed })
    }

    fn failed(&self, entries: &[u32], diffs: &[i64]) -> Vec<(usize, usize)> {
        let mut failed = Vec::new();
        for (call, builder) in self.builders.iter().enumerate() {
            let bad = builder.failed();
            if bad.is_empty() {
                continue;
            }
            for (row, (entry, diff)) in entries.iter().zip(diffs).enumerate() {
                // Entries that failed are noted in ascending order.
                if *diff > 0 && bad.binary_search(entry).is_ok() {
                    failed.push((row, call));
                }
            }
        }
        failed
    }
}
