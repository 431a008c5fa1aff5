//! The values that offsets of RANGE frames are added to: ascending in the partition's order.

use arrow::array::RecordBatch;

use crate::error::{Error, Result};
use crate::plan::node::SortColumn;
use crate::plan::over::OverAggregate;
use crate::state::column::{Column, Reading, Values};

/// Reads the first order column as such values, if a frame asks for them.
#[derive(Clone, Debug)]
pub struct OrderValues {
    by: Option<SortColumn>,
}

impl OrderValues {
    /// For the frames of `over`.
    pub fn of(over: &OverAggregate) -> Self {
        let asks = over.calls.iter().any(|call| call.frame.has_range_offset());
        OrderValues { by: over.order.first().filter(|_| asks).cloned() }
    }

    /// The values of `rows`; none if no frame asks for them. NULLs lie beyond all others.
    pub fn read(&self, rows: &RecordBatch) -> Result<Vec<i64>> {
        let Some(by) = &self.by else { return Ok(Vec::new()) };
        let column = Column::read(rows.column(by.column), Reading::Plain)?;
        let Values::Int(values) = &column.values else {
            return Err(Error::internal("a RANGE frame over a column without offsets"));
        };
        let null = if by.options.nulls_first { i64::MIN } else { i64::MAX };
        let value = |row: usize| match (column.is_null(row), by.options.descending) {
            (true, _) => null,
            (false, true) => values[row].saturating_neg(),
            (false, false) => values[row],
        };
        Ok((0..rows.num_rows()).map(value).collect())
    }
}
