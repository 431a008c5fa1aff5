//! Ranked rows inside of a recursion: top-N and deduplication.
//!
//! A partition is ranked anew whenever its rows change; the whole row breaks ties.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};

use super::fragment::{Fragment, Rows};
use super::row::{Diff, Row, RowCodec};
use crate::batch::order::comparable;
use crate::error::Result;
use crate::plan::node::{Rank, RankKind};

impl<'s> Fragment<'_, 's> {
    pub(super) fn rank(
        &self,
        rows: Rows<'s>,
        schema: &SchemaRef,
        rank: &Rank,
        output: &SchemaRef,
    ) -> Result<Rows<'s>> {
        let fields = rank.order.iter().map(|by| {
            let data_type = schema.field(by.column).data_type().clone();
            SortField::new_with_options(data_type, by.options)
        });
        let orders = RowConverter::new(fields.collect())?;
        let columns: Vec<usize> = rank.order.iter().map(|by| by.column).collect();
        let prepared: Rc<RefCell<Vec<Row>>> = Rc::default();
        let keys = Rc::clone(&prepared);
        let keyed = self.keyed_by(
            rows,
            schema,
            &rank.partition,
            true,
            move |row, i| {
                let keys = keys.borrow();
                let key = keys.get(i).map_or(&[] as &[u8], Row::bytes);
                // The order's bytes behind their length, then the row.
                let mut value = (key.len() as u32).to_le_bytes().to_vec();
                value.extend_from_slice(key);
                value.extend_from_slice(row.bytes());
                Row::new(&value)
            },
            move |batch, count| {
                let arrays: Vec<ArrayRef> =
                    columns.iter().map(|&c| comparable(batch.column(c))).collect();
                *prepared.borrow_mut() = match arrays.is_empty() {
                    true => vec![Row::default(); count],
                    false => {
                        let keys = orders.convert_columns(&arrays)?;
                        keys.iter().map(|key| Row::new(key.as_ref())).collect()
                    }
                };
                Ok(())
            },
        )?;
        let numbers = match rank.number {
            true => Some(Numbers::new(output)?),
            false => None,
        };
        let (kind, from, to) = (rank.kind, rank.from, rank.to);
        let ranked = keyed.reduce_named(
            "RecursiveRank",
            move |_, input: &[(&Row, Diff)], output: &mut Vec<(Row, Diff)>| {
                let mut rows: Vec<(&[u8], &[u8], i64)> =
                    input.iter().filter_map(|(value, diff)| split(value.bytes(), diff.0)).collect();
                rows.sort_unstable();
                place(
                    &rows,
                    kind,
                    |row, number, count| {
                        if number < from || number > to {
                            return;
                        }
                        let row = match &numbers {
                            Some(numbers) => Row::join(row, numbers.bytes(number).bytes()),
                            None => Row::new(row),
                        };
                        output.push((row, Diff(count)));
                    },
                    (numbers.is_some(), from, to),
                );
            },
        );
        Ok(ranked.map(|(_, row)| row))
    }
}

/// The order's bytes and the row's.
fn split(value: &[u8], count: i64) -> Option<(&[u8], &[u8], i64)> {
    let (length, rest) = value.split_first_chunk::<4>()?;
    let (order, row) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (count > 0).then_some((order, row, count))
}

/// Calls `each(row, rank, copies)` for rows in order; copies of a row have ranks of their own in a
/// `ROW_NUMBER` that is shown, and otherwise only those within `from..=to` count.
fn place(
    rows: &[(&[u8], &[u8], i64)],
    kind: RankKind,
    mut each: impl FnMut(&[u8], u64, i64),
    (shown, from, to): (bool, u64, u64),
) {
    let (mut before, mut groups, mut rank) = (0u64, 0u64, 0u64);
    let mut last: Option<&[u8]> = None;
    for &(order, row, count) in rows {
        let copies = count.unsigned_abs();
        if last != Some(order) {
            (groups, rank, last) = (groups + 1, before + 1, Some(order));
        }
        match kind {
            RankKind::Rank => each(row, rank, count),
            RankKind::DenseRank => each(row, groups, count),
            RankKind::RowNumber => {
                let first = (before + 1).max(from);
                let end = before.saturating_add(copies).min(to);
                if shown {
                    (first..=end).for_each(|number| each(row, number, 1));
                } else if first <= end {
                    each(row, first, (end - first + 1) as i64);
                }
            }
        }
        before = before.saturating_add(copies);
        if before >= to && kind == RankKind::RowNumber {
            return;
        }
    }
}

/// Ranks as bytes of the last column.
struct Numbers {
    codec: RowCodec,
}

impl Numbers {
    fn new(output: &SchemaRef) -> Result<Self> {
        let last = output.fields().len().saturating_sub(1);
        Ok(Numbers { codec: RowCodec::of_columns(output, &[last])? })
    }

    fn bytes(&self, number: u64) -> Row {
        let wanted = self.codec.schema().field(0).data_type();
        let array: ArrayRef = match i64::try_from(number) {
            Ok(number) => Arc::new(Int64Array::from(vec![number])),
            Err(_) => Arc::new(UInt64Array::from(vec![number])),
        };
        let mut row = Row::default();
        // A rank fits every type that ranks have.
        if let Ok(array) = cast(&array, wanted) {
            let _ = self.codec.encode(&[array], 1, |_, bytes| row = Row::new(bytes));
        }
        row
    }
}
