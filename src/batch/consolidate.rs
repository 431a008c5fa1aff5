//! Consolidation: the same collection with one update per distinct `(row, time)`, or per row.

use arrow::array::UInt32Array;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};

use super::UpdateBatch;
use crate::error::Result;

/// A converter of whole rows of `schema` to comparable bytes (NULLs first, ascending).
pub fn row_converter(schema: &SchemaRef) -> Result<RowConverter> {
    let fields = schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
    Ok(RowConverter::new(fields)?)
}

/// Comparable bytes of the rows of `batch`; `None` when there are no columns.
pub fn row_bytes(batch: &UpdateBatch) -> Result<Option<Rows>> {
    if batch.rows().num_columns() == 0 {
        return Ok(None);
    }
    let converter = row_converter(&batch.schema())?;
    Ok(Some(converter.convert_columns(batch.rows().columns())?))
}

/// Sums the diffs of equal rows at equal times and drops zeros; sorted by time, then row.
pub fn consolidate(batch: &UpdateBatch) -> Result<UpdateBatch> {
    sorted_sums(batch, true)
}

/// Sums the diffs of equal rows over all times and drops zeros; sorted by row.
///
/// The time kept is the latest of the summed updates.
pub fn accumulate(batch: &UpdateBatch) -> Result<UpdateBatch> {
    sorted_sums(batch, false)
}

fn sorted_sums(batch: &UpdateBatch, by_time: bool) -> Result<UpdateBatch> {
    let rows = row_bytes(batch)?;
    let time = |i: u32| if by_time { batch.times()[i as usize] } else { 0 };
    let compare = |a: u32, b: u32| {
        time(a).cmp(&time(b)).then_with(|| match &rows {
            Some(rows) => rows.row(a as usize).cmp(&rows.row(b as usize)),
            None => std::cmp::Ordering::Equal,
        })
    };
    let mut order: Vec<u32> = (0..batch.len() as u32).collect();
    order.sort_by(|&a, &b| compare(a, b));
    let (mut kept, mut times, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    let mut from = 0;
    while from < order.len() {
        let mut to = from + 1;
        while to < order.len() && compare(order[from], order[to]).is_eq() {
            to += 1;
        }
        let run = &order[from..to];
        let sum: i64 = run.iter().map(|&i| batch.diff(i as usize)).sum();
        if sum != 0 {
            kept.push(order[from]);
            sums.push(sum);
            times.push(run.iter().map(|&i| batch.times()[i as usize]).max().unwrap_or_default());
        }
        from = to;
    }
    let all_one = sums.iter().all(|&s| s == 1);
    let taken = batch.take(&UInt32Array::from(kept))?;
    let diffs = (!all_one).then(|| ScalarBuffer::from(sums));
    Ok(UpdateBatch::new(taken.rows().clone(), times.into(), diffs))
}

/// Consolidated changes in the order in which they are shown, each with a diff of one: by time,
/// then
/// key, then retractions before insertions, then row; without a key by time, then row.
pub fn order_changes(batch: &UpdateBatch, key: &[usize]) -> Result<UpdateBatch> {
    let summed = consolidate(batch)?;
    // The order at one time must not depend on what else is in the batch: only where the key leads
    // the row is the order of insertions that by row.
    let key_leads = key.iter().enumerate().all(|(place, &column)| place == column);
    if summed.diffs().is_none() && key_leads {
        return Ok(summed);
    }
    let mut order: Vec<u32> = (0..summed.len() as u32).collect();
    if !key.is_empty() {
        let columns: Vec<_> = key.iter().map(|&k| summed.column(k).clone()).collect();
        let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
        let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
        // Stable: rows of one key stay in the order of the whole row.
        order.sort_by(|&a, &b| {
            let (a, b) = (a as usize, b as usize);
            let sign = |i: usize| summed.diff(i).signum();
            summed.times()[a]
                .cmp(&summed.times()[b])
                .then_with(|| keys.row(a).cmp(&keys.row(b)))
                .then_with(|| sign(a).cmp(&sign(b)))
        });
    }
    let (mut rows, mut diffs) = (Vec::new(), Vec::new());
    for row in order {
        let diff = summed.diff(row as usize);
        for _ in 0..diff.unsigned_abs() {
            rows.push(row);
            diffs.push(diff.signum());
        }
    }
    let (rows, times, _) = summed.take(&UInt32Array::from(rows))?.into_parts();
    let retracts = diffs.iter().any(|&d| d < 0);
    Ok(UpdateBatch::new(rows, times, retracts.then(|| diffs.into())))
}
