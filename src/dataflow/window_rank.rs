//! Window top-N and window deduplication: rows of a closed window and partition, ranked.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};

use super::windowed::{WindowFunction, Windowed, contents, millis_of};
use crate::batch::UpdateBatch;
use crate::batch::order::comparable;
use crate::error::{DeadLetter, Result};
use crate::plan::node::{RankKind, WindowRank};
use crate::time::EventTime;

/// The logic of a [`WindowRank`] node.
pub type WindowRankLogic = Windowed<RankFunction>;

/// Ranks the rows of windows.
pub struct RankFunction {
    rank: WindowRank,
    output: SchemaRef,
    append_only: bool,
}

impl WindowRankLogic {
    /// Over input of schema `input`; `output` is that and the rank.
    pub fn ranked(
        input: SchemaRef,
        rank: WindowRank,
        output: SchemaRef,
        lateness: i64,
        append_only: bool,
    ) -> Self {
        Windowed::new(RankFunction { rank, output, append_only }, vec![input], lateness)
    }
}

impl RankFunction {
    fn rows_of(&self, batch: &UpdateBatch, columns: &[(usize, SortOptions)]) -> Result<Rows> {
        let arrays: Vec<ArrayRef> =
            columns.iter().map(|(c, _)| comparable(batch.column(*c))).collect();
        let fields = columns
            .iter()
            .zip(&arrays)
            .map(|((_, o), a)| SortField::new_with_options(a.data_type().clone(), *o))
            .collect();
        Ok(RowConverter::new(fields)?.convert_columns(&arrays)?)
    }

    /// For each kept copy of a row, in order: its index and rank.
    fn ranks(&self, batch: &UpdateBatch) -> Result<(Vec<u32>, Vec<u64>)> {
        let plain = SortOptions::default();
        let rank = &self.rank;
        let window = [rank.start, rank.end];
        let group: Vec<_> = window.iter().chain(&rank.partition).map(|&c| (c, plain)).collect();
        let order: Vec<_> = rank.order.iter().map(|s| (s.column, s.options)).collect();
        let all = batch.rows().columns();
        let groups = self.rows_of(batch, &group)?;
        let orders = if order.is_empty() { None } else { Some(self.rows_of(batch, &order)?) };
        let fields = all.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let whole = RowConverter::new(fields)?.convert_columns(all)?;
        let by_order = |a: usize, b: usize| {
            orders.as_ref().map_or(std::cmp::Ordering::Equal, |o| o.row(a).cmp(&o.row(b)))
        };
        let mut sorted: Vec<u32> = (0..batch.len() as u32).collect();
        sorted.sort_unstable_by(|&a, &b| {
            let (a, b) = (a as usize, b as usize);
            groups
                .row(a)
                .cmp(&groups.row(b))
                .then_with(|| by_order(a, b))
                .then_with(|| whole.row(a).cmp(&whole.row(b)))
                .then_with(|| a.cmp(&b))
        });
        let (mut kept, mut numbers) = (Vec::new(), Vec::new());
        let (mut row_number, mut current) = (0u64, 0u64);
        let mut previous: Option<usize> = None;
        for row in sorted {
            let at = row as usize;
            let same_group = previous.is_some_and(|p| groups.row(p) == groups.row(at));
            if !same_group {
                (row_number, current) = (0, 0);
            }
            let tied = same_group && previous.is_some_and(|p| by_order(p, at).is_eq());
            for copy in 0..batch.diff(at).max(0) {
                row_number += 1;
                current = match rank.kind {
                    RankKind::RowNumber => row_number,
                    RankKind::Rank if tied || copy > 0 => current,
                    RankKind::Rank => row_number,
                    RankKind::DenseRank if tied || copy > 0 => current,
                    RankKind::DenseRank => current + 1,
                };
                if (rank.from..=rank.to).contains(&current) {
                    kept.push(row);
                    numbers.push(current);
                }
            }
            previous = Some(at);
        }
        Ok((kept, numbers))
    }
}

impl WindowFunction for RankFunction {
    fn name(&self) -> &'static str {
        "WindowRank"
    }

    fn window_end(&self, _index: usize) -> usize {
        self.rank.end
    }

    fn compute(
        &self,
        inputs: &[UpdateBatch],
        _dead: &mut Vec<DeadLetter>,
    ) -> Result<(UpdateBatch, Vec<EventTime>)> {
        let batch = contents(&inputs[0], self.append_only)?;
        let (kept, numbers) = self.ranks(&batch)?;
        let (rows, times, _) = batch.take(&UInt32Array::from(kept))?.into_parts();
        let ends = millis_of(&rows, self.rank.end)?.to_vec();
        let mut columns = rows.columns().to_vec();
        let number: ArrayRef = Arc::new(UInt64Array::from(numbers));
        let last = self.output.fields().len() - 1;
        columns.push(arrow::compute::cast(&number, self.output.field(last).data_type())?);
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        Ok((UpdateBatch::new(rows, times, None), ends))
    }
}
