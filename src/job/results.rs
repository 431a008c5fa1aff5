//! The final contents of a bare query: ordered, cut, ready to be printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};

use crate::batch::UpdateBatch;
use crate::batch::order::comparable;
use crate::dataflow::collect::Collected;
use crate::error::{Error, Result};
use crate::plan::node::PrintOrder;

/// The rows of `collected` in `order`, ties broken by the whole row; each as often as it is there.
///
/// `owed` is given where changes are applied as they come from outside: it counts what was taken
/// back and never put in, which is not shown. Otherwise that is a defect.
pub fn final_rows(
    collected: &Collected,
    schema: &SchemaRef,
    order: &PrintOrder,
    owed: Option<&AtomicU64>,
) -> Result<RecordBatch> {
    let contents = collected.contents(schema)?;
    let mut picked: Vec<u32> = (0..contents.len() as u32).collect();
    if !order.order.is_empty() {
        let rows = contents.rows();
        let columns = order
            .order
            .iter()
            .map(|(e, _)| {
                let column = e.physical().evaluate(rows)?.into_array(rows.num_rows())?;
                Ok(comparable(&column))
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let fields = columns
            .iter()
            .zip(&order.order)
            .map(|(c, (_, o))| SortField::new_with_options(c.data_type().clone(), *o))
            .collect();
        let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
        // Stable: the contents are sorted by the whole row.
        picked.sort_by(|&a, &b| keys.row(a as usize).cmp(&keys.row(b as usize)));
    }
    let copies = picked.into_iter().flat_map(|row| {
        let diff = usize::try_from(contents.diff(row as usize)).unwrap_or(0);
        std::iter::repeat_n(row, diff)
    });
    let fetch = order.fetch.unwrap_or(usize::MAX);
    let shown: Vec<u32> = copies.skip(order.skip).take(fetch).collect();
    check_owed(&contents, owed)?;
    let taken = contents.take(&UInt32Array::from(shown))?;
    let shown: Vec<usize> = (0..order.columns.min(schema.fields().len())).collect();
    Ok(taken.rows().clone().with_schema(Arc::clone(schema))?.project(&shown)?)
}

fn check_owed(contents: &UpdateBatch, owed: Option<&AtomicU64>) -> Result<()> {
    let below = (0..contents.len()).map(|i| contents.diff(i)).filter(|diff| *diff < 0);
    let count: u64 = below.map(i64::unsigned_abs).sum();
    match owed {
        _ if count == 0 => Ok(()),
        Some(counter) => {
            counter.fetch_add(count, Ordering::Relaxed);
            Ok(())
        }
        None => Err(Error::internal("a row was retracted more often than it was inserted")),
    }
}
