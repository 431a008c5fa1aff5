//! Rows that enter and leave frames, and results in between, for many partitions at a time.
//!
//! The `k`-th result of every partition is one round: rounds follow each other, the partitions of
//! a round are independent and go through the aggregate states in one call.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{take, take_record_batch};

use crate::batch::{UpdateBatch, rows_without_columns};
use crate::error::Result;
use crate::state::aggregate::AggregateStates;

/// The moves of one frame.
#[derive(Default)]
pub struct Moves {
    /// Round, row, multiplicity, group.
    steps: Vec<(u32, u32, i64, u32)>,
    /// Round, group, result.
    results: Vec<(u32, u32, u32)>,
}

/// The results of the calls over one frame.
pub struct Results {
    /// A column a call, in order of the results' numbers.
    pub columns: Vec<ArrayRef>,
    /// Results that their type cannot hold: result and call.
    pub failed: Vec<(usize, usize)>,
}

impl Moves {
    /// `row` enters the frame of `group` in `round`.
    pub fn enter(&mut self, round: u32, row: u32, group: u32) {
        self.steps.push((round, row, 1, group));
    }

    /// `row` leaves the frame of `group` in `round`.
    pub fn leave(&mut self, round: u32, row: u32, group: u32) {
        self.steps.push((round, row, -1, group));
    }

    /// Result number `result` is that of `group` at the end of `round`.
    pub fn result(&mut self, round: u32, group: u32, result: u32) {
        self.results.push((round, group, result));
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.results.is_empty()
    }

    /// Applies the moves to `states`. `places` are what "first" and "last" go by.
    ///
    /// Result numbers are those below the number of results, each once.
    pub fn run(
        mut self,
        states: &mut AggregateStates,
        arguments: &RecordBatch,
        places: &[i64],
    ) -> Result<Results> {
        if !self.steps.is_sorted_by_key(|step| step.0) {
            self.steps.sort_by_key(|step| step.0);
        }
        if !self.results.is_sorted_by_key(|result| result.0) {
            self.results.sort_by_key(|result| result.0);
        }
        let groups: Vec<u32> = self.steps.iter().map(|step| step.3).collect();
        let input = {
            let rows: UInt32Array = self.steps.iter().map(|step| step.1).collect();
            let times: Vec<i64> = self.steps.iter().map(|s| places[s.1 as usize]).collect();
            let leaves = self.steps.iter().any(|step| step.2 < 0);
            let diffs: Option<Vec<i64>> =
                leaves.then(|| self.steps.iter().map(|step| step.2).collect());
            let rows = take_rows(arguments, &rows)?;
            let batch = UpdateBatch::new(rows, times.into(), diffs.map(Into::into));
            states.plan().read(&batch)?
        };
        let mut builders = states.builders();
        let result_groups: Vec<u32> = self.results.iter().map(|result| result.1).collect();
        let (mut step, mut result) = (0, 0);
        while step < self.steps.len() || result < self.results.len() {
            let next = [self.steps.get(step).map(|s| s.0), self.results.get(result).map(|r| r.0)];
            let Some(round) = next.into_iter().flatten().min() else { break };
            let steps = self.steps[step..].iter().take_while(|s| s.0 == round).count();
            if steps > 0 {
                states.update(&input, step..step + steps, &groups[step..step + steps])?;
                step += steps;
            }
            let results = self.results[result..].iter().take_while(|r| r.0 == round).count();
            if results > 0 {
                states.append(&result_groups[result..result + results], &mut builders)?;
                result += results;
            }
        }
        let mut order = vec![0u32; self.results.len()];
        for (at, (_, _, number)) in self.results.iter().enumerate() {
            order[*number as usize] = at as u32;
        }
        let mut failed = Vec::new();
        for (call, builder) in builders.iter().enumerate() {
            let bad = builder.failed().iter();
            failed.extend(bad.map(|&at| (self.results[at as usize].2 as usize, call)));
        }
        let order = UInt32Array::from(order);
        let columns = builders
            .iter_mut()
            .map(|builder| Ok(take(builder.finish()?.as_ref(), &order, None)?))
            .collect::<Result<_>>()?;
        Ok(Results { columns, failed })
    }
}

/// The rows of `batch` at `indices`, whether it has columns or not.
pub fn take_rows(batch: &RecordBatch, indices: &UInt32Array) -> Result<RecordBatch> {
    match batch.num_columns() {
        0 => rows_without_columns(batch.schema(), indices.len()),
        _ => Ok(take_record_batch(batch, indices)?),
    }
}
