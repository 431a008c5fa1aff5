//! The rows of one step in the order in which they are matched.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, take, take_record_batch};
use arrow::row::{RowConverter, SortField};

use crate::batch::UpdateBatch;
use crate::batch::order::comparable;
use crate::error::{Error, Result};
use crate::plan::node::SortColumn;
use crate::state::keys::GroupKeys;

/// Rows by partition, then in order.
pub struct Slice {
    /// The rows.
    pub rows: RecordBatch,
    /// The partition of each.
    pub partitions: Vec<u32>,
    /// The time of each.
    pub times: Vec<i64>,
}

/// The rows of `batch`, whose times are those of the first column of `order`, sorted by partition,
/// `order` and `ties`; equal rows as often as they are there. New partitions get numbers in `keys`.
pub fn sorted(
    batch: &UpdateBatch,
    partition: &[usize],
    order: &[SortColumn],
    ties: &[usize],
    keys: &mut GroupKeys,
) -> Result<Slice> {
    let columns = GroupKeys::read(partition.iter().map(|&column| batch.column(column)))?;
    let mut groups = Vec::new();
    keys.intern(&columns.iter().collect::<Vec<_>>(), 0..batch.len(), &mut groups)?;
    let times = batch.times();
    let place = |row: u32| (groups[row as usize], times[row as usize]);
    let mut rows: Vec<u32> = (0..batch.len() as u32).collect();
    rows.sort_unstable_by_key(|&row| place(row));
    break_ties(batch, order, ties, &mut rows, &place)?;
    if batch.diffs().is_some() {
        let mut copies = Vec::with_capacity(rows.len());
        for &row in &rows {
            let diff = usize::try_from(batch.diff(row as usize))
                .map_err(|_| Error::internal("MATCH_RECOGNIZE over rows that are taken back"))?;
            copies.extend(std::iter::repeat_n(row, diff));
        }
        rows = copies;
    }
    if rows.len() >= 1 << 31 {
        return Err(Error::internal("too many rows in one step of MATCH_RECOGNIZE"));
    }
    let partitions = rows.iter().map(|&row| groups[row as usize]).collect();
    let ordered = rows.iter().map(|&row| times[row as usize]).collect();
    let rows = match rows.is_sorted() && rows.len() == batch.len() {
        true => batch.rows().clone(),
        false => take_record_batch(batch.rows(), &UInt32Array::from(rows))?,
    };
    Ok(Slice { rows, partitions, times: ordered })
}

/// Sorts rows of equal place by the further columns of `order`, then by `ties`.
fn break_ties(
    batch: &UpdateBatch,
    order: &[SortColumn],
    ties: &[usize],
    rows: &mut [u32],
    place: &impl Fn(u32) -> (u32, i64),
) -> Result<()> {
    let mut tied = Vec::new();
    for run in rows.chunk_by(|a, b| place(*a) == place(*b)).filter(|run| run.len() > 1) {
        tied.extend_from_slice(run);
    }
    if tied.is_empty() {
        return Ok(());
    }
    let further = order.iter().skip(1).map(|o| (o.column, o.options));
    let all = ties.iter().map(|&column| (column, SortOptions::default()));
    let indices = UInt32Array::from(tied.clone());
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    let further = further.map(|(column, options)| (comparable(batch.column(column)), options));
    let all = all.map(|(column, options)| (Arc::clone(batch.column(column)), options));
    for (column, options) in further.chain(all) {
        let array = take(&column, &indices, None)?;
        fields.push(SortField::new_with_options(array.data_type().clone(), options));
        arrays.push(array);
    }
    let bytes = RowConverter::new(fields)?.convert_columns(&arrays)?;
    let mut first = 0;
    let mut numbers: Vec<usize> = Vec::new();
    for run in rows.chunk_by_mut(|a, b| place(*a) == place(*b)).filter(|run| run.len() > 1) {
        numbers.clear();
        numbers.extend(first..first + run.len());
        numbers.sort_unstable_by(|&a, &b| bytes.row(a).cmp(&bytes.row(b)).then(a.cmp(&b)));
        run.iter_mut().zip(&numbers).for_each(|(row, &number)| *row = tied[number]);
        first += run.len();
    }
    Ok(())
}
