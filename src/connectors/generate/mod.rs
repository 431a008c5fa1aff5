//! Generated tables: rows that are pure functions of their number, and the sources over them.
//!
//! An [`EventGenerator`] knows no partitions, threads or clocks: any range of rows can be computed
//! alone, in any order, on any thread, with the same result. [`Layout`] deals rows out to
//! partitions; [`source`] hands them to the dataflow, [`files`] writes them to disk.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray, make_view};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::limits::BATCH_ROWS;

pub mod datagen;
pub mod files;
pub mod java_random;
pub mod nexmark;
mod options;
pub mod source;
pub mod taxi;
mod text;

/// A table whose rows are pure functions of their number.
pub trait EventGenerator: Send + Sync {
    /// All columns, in their natural order and types.
    fn schema(&self) -> SchemaRef;

    /// The number of rows; `None` if unbounded.
    fn len(&self) -> Option<u64>;

    /// Whether there are no rows at all.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The rows numbered `range` (from 0, below [`EventGenerator::len`]), of the columns `wanted`:
    /// found by name, cast to the type asked for. Columns not wanted cost nothing.
    fn batch(&self, range: Range<u64>, wanted: &SchemaRef) -> Result<RecordBatch>;
}

/// Which rows of a table lie in which partition: blocks of rows are dealt out in turn, so that all
/// partitions advance in event time together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    rows: Option<u64>,
    parts: u64,
    block: u64,
}

impl Layout {
    /// A table of `rows` rows (`None`: unbounded) in `parts` partitions; at least one.
    pub fn new(rows: Option<u64>, parts: u64) -> Self {
        let parts = parts.max(1);
        // Small tables are dealt out in small blocks, or most partitions would stay empty.
        let rounds_min = 16;
        let fair = rows.map_or(u64::MAX, |rows| rows.div_ceil(parts.saturating_mul(rounds_min)));
        Layout { rows, parts, block: fair.clamp(1, BATCH_ROWS as u64) }
    }

    /// The number of partitions.
    pub fn parts(&self) -> u64 {
        self.parts
    }

    /// The number of rows in `part`; `None` if unbounded.
    pub fn part_rows(&self, part: u64) -> Option<u64> {
        let rows = self.rows?;
        let round = self.block.saturating_mul(self.parts);
        let rest = (rows % round).saturating_sub(part.saturating_mul(self.block));
        Some((rows / round) * self.block + rest.min(self.block))
    }

    /// The rows of the table at the positions from `from` on in `part`: one consecutive range of at
    /// most `rows_max` rows, empty at the end of the partition.
    pub fn run(&self, part: u64, from: u64, rows_max: u64) -> Range<u64> {
        let rows_max = match self.part_rows(part) {
            Some(rows) => rows_max.min(rows.saturating_sub(from)),
            None => rows_max,
        };
        if self.parts == 1 {
            return from..from.saturating_add(rows_max);
        }
        let within = from % self.block;
        let start = ((from / self.block) * self.parts + part) * self.block + within;
        start..start + rows_max.min(self.block - within)
    }
}

/// A batch of the `wanted` columns, each computed by `column` from its name and cast if need be.
fn assemble(
    rows: usize,
    wanted: &SchemaRef,
    mut column: impl FnMut(&str) -> Result<ArrayRef>,
) -> Result<RecordBatch> {
    // An overflow must be an error, never a NULL.
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let mut columns = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        let native = column(field.name())?;
        if native.data_type() == field.data_type() {
            columns.push(native);
            continue;
        }
        let cast = cast_with_options(&native, field.data_type(), &strict).map_err(|e| {
            Error::config(format!("column '{}' cannot be generated: {e}", field.name()))
        })?;
        columns.push(cast);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(wanted), columns, &options)?)
}

/// The defect of a caller that asks for a column that [`EventGenerator::schema`] has not.
fn no_such_column(name: &str) -> Error {
    Error::internal(format!("no generator for column '{name}'"))
}

/// A column of strings under construction: all bytes in one buffer of exactly this batch.
struct StringColumn {
    views: Vec<u128>,
    bytes: Vec<u8>,
}

impl StringColumn {
    fn new(rows: usize, bytes_each: usize) -> Self {
        StringColumn {
            views: Vec::with_capacity(rows),
            bytes: Vec::with_capacity(rows * bytes_each),
        }
    }

    fn push(&mut self, value: &[u8]) {
        let offset = self.bytes.len();
        // Views hold short strings themselves.
        if value.len() > 12 {
            self.bytes.extend_from_slice(value);
        }
        self.views.push(make_view(value, 0, u32::try_from(offset).unwrap_or(u32::MAX)));
    }

    fn finish(self) -> Result<ArrayRef> {
        let buffers: Vec<Buffer> =
            if self.bytes.is_empty() { vec![] } else { vec![Buffer::from(self.bytes)] };
        Ok(Arc::new(StringViewArray::try_new(ScalarBuffer::from(self.views), buffers, None)?))
    }
}

/// `word` scaled to `0..bound`: uniform up to a bias of `bound / 2^64`.
#[inline]
fn below(word: u64, bound: u64) -> u64 {
    ((u128::from(word) * u128::from(bound)) >> 64) as u64
}

/// `word` scaled to `0.0..1.0`.
#[inline]
fn unit(word: u64) -> f64 {
    (word >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_layout_deals_out_every_row_once(
            rows in 0_u64..100_000, parts in 1_u64..9, step in 1_u64..20_000,
        ) {
            let layout = Layout::new(Some(rows), parts);
            let mut seen = vec![0_u8; rows as usize];
            for part in 0..parts {
                let total = layout.part_rows(part).unwrap();
                let (mut position, mut previous) = (0, None);
                while position < total {
                    let run = layout.run(part, position, step);
                    prop_assert!(!run.is_empty() && run.end - run.start <= step);
                    prop_assert!(previous < Some(run.start));
                    previous = Some(run.end - 1);
                    position += run.end - run.start;
                    run.for_each(|row| seen[row as usize] += 1);
                }
                prop_assert_eq!(position, total);
                prop_assert!(layout.run(part, total, step).is_empty());
            }
            prop_assert!(seen.iter().all(|n| *n == 1));
        }
    }

    #[test]
    fn an_unbounded_layout_never_ends() {
        let layout = Layout::new(None, 3);
        assert_eq!(layout.part_rows(1), None);
        assert_eq!(layout.run(1, 8192, 100_000), 4 * 8192..5 * 8192);
    }
}
