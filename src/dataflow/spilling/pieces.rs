//! Tables and rows on their way to disk and back: cut, numbered, and how wide they are.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;

use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::spill::ColdRows;
use crate::state::saved::SavedTable;
use crate::time::EventTime;

/// By input some batches.
type Inputs = Vec<Vec<UpdateBatch>>;

/// By input the rows below `border`, and the others.
pub fn split_at(inputs: Inputs, border: EventTime) -> Result<[Inputs; 2]> {
    let mut parts = [Vec::new(), Vec::new()];
    for batches in inputs {
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for batch in batches {
            let (below, above) = batch.split_at(border)?;
            now.extend(below);
            later.extend(above);
        }
        parts[0].push(now);
        parts[1].push(later);
    }
    Ok(parts)
}

/// An operator has a table without a key, and said that it could be put aside.
pub fn keyless() -> Error {
    Error::internal("state without a key was put aside")
}

/// Puts tables of a snapshot aside; each keeps its number, and so its place among them.
pub fn stage(staged: &mut ColdRows, tables: Vec<(usize, SavedTable)>) -> Result<()> {
    let named = |(number, table): (usize, SavedTable)| {
        let name = format!("{number:08} {}", table.name);
        SavedTable { name, ..table }
    };
    match staged.put(tables.into_iter().map(named).collect())?.is_empty() {
        true => Ok(()),
        false => Err(keyless()),
    }
}

/// Tables that [`stage`] has put aside, in their order.
pub fn unstaged(mut tables: Vec<SavedTable>) -> Vec<SavedTable> {
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let named = tables.into_iter().filter_map(|table| {
        let (_, name) = table.name.split_once(' ')?;
        Some(SavedTable { name: name.to_owned(), ..table })
    });
    named.collect()
}

/// Rows that are looked at to learn how wide they are.
pub const SAMPLE_ROWS: usize = 256;

/// Memory that a row of state takes beside its values.
pub const ROW_OVERHEAD_BYTES: usize = 48;

/// Rows of all tables.
pub fn rows_of(tables: &[SavedTable]) -> usize {
    tables.iter().map(|table| table.rows.num_rows()).sum()
}

/// About the bytes of the values of rows, whatever else their buffers hold.
pub fn bytes_of(rows: &RecordBatch) -> usize {
    let of = |column: &ArrayRef| {
        let count = column.len();
        match column.data_type() {
            DataType::Utf8View => count * 16 + column.as_string_view().total_buffer_bytes_used(),
            DataType::BinaryView => count * 16 + column.as_binary_view().total_buffer_bytes_used(),
            other => match other.primitive_width() {
                Some(width) => count * width,
                None => column.to_data().get_slice_memory_size().unwrap_or(count * 64),
            },
        }
    };
    rows.columns().iter().map(of).sum()
}
