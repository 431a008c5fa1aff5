//! Aggregates that need their rows in order: `LISTAGG`, `FIRST_VALUE` and `LAST_VALUE` under
//! retractions, and every function of the library without a state of its own.
//!
//! All argument rows are kept, ordered by event time and then by their bytes. A retraction carries
//! its own time, not that of the row it takes back: it takes back the oldest equal row. One that
//! comes before its row waits as a debt.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow::datatypes::DataType;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::extreme::BytesReader;
use super::{AggregateState, StepInput, row_converter, same};
use crate::error::{Error, Result};
use crate::state::column::ColumnBuilder;
use crate::state::encode::Encode;
use crate::state::saved::{LoadedColumns, SavedColumns};
use crate::time::BEGINNING;

/// What is read from the ordered rows.
#[derive(Clone, Debug)]
pub(super) enum Reader {
    /// The first row.
    First,
    /// The last row.
    Last,
    /// All rows, joined; each once if `distinct`.
    Join { separator: String, distinct: bool },
    /// The library's function over all rows, whose columns have `types`.
    Library { function: Box<AggregateFunctionExpr>, types: Vec<DataType> },
}

type Row = Box<[u8]>;

/// The rows of one group.
#[derive(Clone, Default)]
struct OrderedRows {
    by_time: BTreeMap<(i64, Row), i64>,
    /// Only under retractions; debts have the time [`BEGINNING`] and a count below zero.
    by_row: BTreeMap<(Row, i64), i64>,
}

/// All rows of every group.
pub(super) struct Ordered {
    column: usize,
    selection: usize,
    retracts: bool,
    reader: Reader,
    groups: Vec<OrderedRows>,
}

impl OrderedRows {
    fn add(&mut self, time: i64, row: Row, mut count: i64, retracts: bool) {
        if !retracts {
            *self.by_time.entry((time, row)).or_default() += count;
            return;
        }
        // A debt lies first among the entries of its row.
        let mut debt = (row, BEGINNING);
        if let Some(owed) = self.by_row.get_mut(&debt)
            && *owed < 0
        {
            let paid = count.min(-*owed);
            *owed += paid;
            count -= paid;
            if *owed == 0 {
                self.by_row.remove(&debt);
            }
        }
        if count > 0 {
            *self.by_time.entry((time, debt.0.clone())).or_default() += count;
            debt.1 = time;
            *self.by_row.entry(debt).or_default() += count;
        }
    }

    fn take_back(&mut self, row: Row, mut count: i64) {
        while count > 0 {
            let oldest = self.by_row.range((row.clone(), BEGINNING)..).next();
            let Some(((found, time), held)) = oldest.filter(|((r, _), n)| *r == row && **n > 0)
            else {
                *self.by_row.entry((row, BEGINNING)).or_default() -= count;
                return;
            };
            let taken = count.min(*held);
            let (key, left) = ((*time, found.clone()), held - taken);
            count -= taken;
            if left == 0 {
                self.by_time.remove(&key);
                self.by_row.remove(&(key.1, key.0));
            } else {
                self.by_time.insert(key.clone(), left);
                self.by_row.insert((key.1, key.0), left);
            }
        }
    }

    fn merge(&mut self, other: &OrderedRows, retracts: bool) {
        for ((time, row), count) in &other.by_time {
            self.add(*time, row.clone(), *count, retracts);
        }
        for ((row, _), count) in other.by_row.iter().filter(|(_, count)| **count < 0) {
            self.take_back(row.clone(), -count);
        }
    }
}

impl Ordered {
    pub(super) fn new(column: usize, selection: usize, retracts: bool, reader: Reader) -> Self {
        Ordered { column, selection, retracts, reader, groups: Vec::new() }
    }

    fn append_one(&self, rows: &OrderedRows, out: &mut ColumnBuilder) -> Result<()> {
        let rows = &rows.by_time;
        match &self.reader {
            Reader::First => push_row(rows.keys().next(), out),
            Reader::Last => push_row(rows.keys().next_back(), out),
            Reader::Join { separator, distinct } => {
                if rows.is_empty() {
                    out.push_null();
                    return Ok(());
                }
                let (mut joined, mut seen) = (Vec::new(), BTreeSet::new());
                let mut first = true;
                for ((_, value), count) in rows {
                    let copies = match (distinct, seen.insert(value)) {
                        (true, new) => i64::from(new),
                        (false, _) => *count,
                    };
                    for _ in 0..copies {
                        if !std::mem::take(&mut first) {
                            joined.extend_from_slice(separator.as_bytes());
                        }
                        joined.extend_from_slice(value);
                    }
                }
                out.push_bytes(&joined);
            }
            Reader::Library { function, types } => {
                let converter = row_converter(types.iter().cloned())?;
                let parser = converter.parser();
                let all = rows.iter().flat_map(|((_, row), count)| {
                    let copies = usize::try_from(*count).unwrap_or(0);
                    std::iter::repeat_n(parser.parse(row), copies)
                });
                let arguments = converter.convert_rows(all)?;
                let mut accumulator = function.create_accumulator()?;
                accumulator.update_batch(&arguments)?;
                out.push_scalar(accumulator.evaluate()?);
            }
        }
        Ok(())
    }
}

fn push_row(row: Option<&(i64, Row)>, out: &mut ColumnBuilder) {
    match row {
        Some((_, row)) => out.push_bytes(row),
        None => out.push_null(),
    }
}

impl AggregateState for Ordered {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, OrderedRows::default);
    }

    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        let reader = BytesReader::new(input.column(self.column)?)
            .ok_or_else(|| Error::internal("an ordered aggregate reads bytes"))?;
        // Insertions first: within a step a retraction finds the rows of the same step.
        input.for_each(self.selection, rows.clone(), groups, |row, group, diff| {
            if diff > 0 {
                let (time, value) = (input.times[row], reader.get(row).into());
                self.groups[group].add(time, value, diff, self.retracts);
            }
        });
        if self.retracts && input.diffs.is_some() {
            input.for_each(self.selection, rows, groups, |row, group, diff| {
                if diff < 0 {
                    self.groups[group].take_back(reader.get(row).into(), -diff);
                }
            });
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()> {
        for (&group, rows) in groups.iter().zip(&same::<Self>(other)?.groups) {
            self.groups[group as usize].merge(rows, self.retracts);
        }
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        for &(from, into) in pairs {
            let rows = std::mem::take(&mut self.groups[from as usize]);
            self.groups[into as usize].merge(&rows, self.retracts);
        }
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&group| self.groups[group as usize] = OrderedRows::default());
    }

    fn reset(&mut self) {
        self.groups.clear();
    }

    fn append(&self, _member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()> {
        groups.iter().try_for_each(|&group| self.append_one(&self.groups[group as usize], out))
    }

    fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        out.encoded(groups.iter().map(|&group| &self.groups[group as usize]), |rows, out| {
            rows.by_time.encode(out);
            let debts = rows.by_row.iter().filter(|(_, count)| **count < 0);
            let debts: BTreeMap<Row, i64> =
                debts.map(|((row, _), count)| (row.clone(), *count)).collect();
            debts.encode(out);
        });
    }

    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        saved.encoded(|row, from| {
            let rows = &mut self.groups[groups[row] as usize];
            rows.by_time = BTreeMap::decode(from)?;
            let debts: BTreeMap<Row, i64> = BTreeMap::decode(from)?;
            rows.by_row = debts.into_iter().map(|(row, n)| ((row, BEGINNING), n)).collect();
            if self.retracts {
                let held = rows.by_time.iter();
                rows.by_row.extend(held.map(|((time, row), n)| ((row.clone(), *time), *n)));
            }
            Ok(())
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
