//! What happens to a row: insertion, deletion, or one side of an update.

use arrow::row::{RowConverter, SortField};

use super::UpdateBatch;
use crate::error::Result;

/// The kind of a change, as Flink writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// `+I`
    Insert,
    /// `-U`
    UpdateBefore,
    /// `+U`
    UpdateAfter,
    /// `-D`
    Delete,
}

impl ChangeKind {
    /// The two characters that stand for it.
    pub fn sign(self) -> &'static str {
        match self {
            ChangeKind::Insert => "+I",
            ChangeKind::UpdateBefore => "-U",
            ChangeKind::UpdateAfter => "+U",
            ChangeKind::Delete => "-D",
        }
    }

    /// The number that stands for it in a column.
    pub fn code(self) -> i8 {
        match self {
            ChangeKind::Insert => 0,
            ChangeKind::UpdateBefore => 1,
            ChangeKind::UpdateAfter => 2,
            ChangeKind::Delete => 3,
        }
    }

    /// The kind of [`ChangeKind::code`].
    pub fn of_code(code: i8) -> Self {
        match code {
            1 => ChangeKind::UpdateBefore,
            2 => ChangeKind::UpdateAfter,
            3 => ChangeKind::Delete,
            _ => ChangeKind::Insert,
        }
    }

    /// Whether it takes a row back.
    pub fn retracts(self) -> bool {
        matches!(self, ChangeKind::UpdateBefore | ChangeKind::Delete)
    }
}

/// The kind of each change in `batch`, which is ordered as
/// [`super::consolidate::order_changes`] does it for the same `key`.
///
/// A retraction and an insertion of one key at one time are the two sides of an update; without a
/// key (empty) nothing is known to be an update.
pub fn change_kinds(batch: &UpdateBatch, key: &[usize]) -> Result<Vec<ChangeKind>> {
    let plain = |row: usize| match batch.diff(row) > 0 {
        true => ChangeKind::Insert,
        false => ChangeKind::Delete,
    };
    let mut kinds: Vec<_> = (0..batch.len()).map(plain).collect();
    if key.is_empty() || batch.diffs().is_none() {
        return Ok(kinds);
    }
    let columns: Vec<_> = key.iter().map(|&k| batch.column(k).clone()).collect();
    let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
    for row in 1..batch.len() {
        let same =
            batch.times()[row] == batch.times()[row - 1] && keys.row(row) == keys.row(row - 1);
        if same && kinds[row - 1] == ChangeKind::Delete && kinds[row] == ChangeKind::Insert {
            kinds[row - 1] = ChangeKind::UpdateBefore;
            kinds[row] = ChangeKind::UpdateAfter;
        }
    }
    Ok(kinds)
}
