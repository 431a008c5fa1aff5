//! OVER within windows: partitions of closed windows, evaluated whole.
//!
//! State, lateness and corrections are those of [`Windowed`]: rows are kept until their window
//! closes.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};

use super::lines::{Line, Sheet, bounds, evaluate, slide};
use super::moves::{Moves, take_rows};
use super::program::Program;
use super::values::OrderValues;
use crate::batch::UpdateBatch;
use crate::batch::order::comparable;
use crate::dataflow::windowed::{WindowFunction, Windowed, contents, millis_of};
use crate::error::{DeadLetter, Result};
use crate::plan::over::OverAggregate;
use crate::state::aggregate::AggregateStates;
use crate::state::keyed::out_of_range;
use crate::time::EventTime;

/// The logic of an OVER within windows.
pub type WindowedOver = Windowed<OverFunctions>;

/// OVER calls over whole windows.
pub struct OverFunctions {
    over: OverAggregate,
    end: usize,
    program: Program,
    values: OrderValues,
    output: SchemaRef,
    append_only: bool,
}

impl WindowedOver {
    /// Over rows of `input` whose window ends in column `end`.
    pub fn over(
        input: SchemaRef,
        over: OverAggregate,
        end: usize,
        output: SchemaRef,
        lateness: i64,
        append_only: bool,
    ) -> Result<Self> {
        let program = Program::new(&input, &over, |_| false)?;
        let values = OrderValues::of(&over);
        let functions = OverFunctions { over, end, program, values, output, append_only };
        Ok(Windowed::new(functions, vec![input], lateness))
    }
}

/// The bytes by which rows compare in `columns`; of equal numbers they are the same.
fn bytes_of(rows: &RecordBatch, columns: &[(usize, SortOptions)]) -> Result<Option<Rows>> {
    if columns.is_empty() {
        return Ok(None);
    }
    let arrays: Vec<ArrayRef> = columns.iter().map(|(c, _)| comparable(rows.column(*c))).collect();
    let fields = columns
        .iter()
        .zip(&arrays)
        .map(|((_, o), a)| SortField::new_with_options(a.data_type().clone(), *o))
        .collect();
    Ok(Some(RowConverter::new(fields)?.convert_columns(&arrays)?))
}

impl OverFunctions {
    /// The rows in order, one line a partition, and for each row whether order tells it from the
    /// one before it.
    fn lines(&self, batch: &UpdateBatch) -> Result<(Vec<u32>, Vec<Line>, Vec<u32>)> {
        let plain = SortOptions::default();
        let of = |columns: &[usize]| columns.iter().map(|&c| (c, plain)).collect::<Vec<_>>();
        let by: Vec<_> = self.over.order.iter().map(|by| (by.column, by.options)).collect();
        let groups = bytes_of(batch.rows(), &of(&self.over.partition))?;
        let orders = bytes_of(batch.rows(), &by)?;
        let all = batch.rows().columns();
        let fields = all.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let whole = Some(RowConverter::new(fields)?.convert_columns(all)?);
        let compare = |rows: &Option<Rows>, a: u32, b: u32| {
            let row = |at: u32| rows.as_ref().map(|rows| rows.row(at as usize));
            row(a).cmp(&row(b))
        };
        let mut sorted: Vec<u32> = (0..batch.len() as u32).collect();
        sorted.sort_unstable_by(|&a, &b| {
            compare(&groups, a, b)
                .then_with(|| compare(&orders, a, b))
                .then_with(|| compare(&whole, a, b))
        });
        let mut peers = vec![0u32; batch.len()];
        let (mut rows, mut lines): (Vec<u32>, Vec<Line>) = (Vec::new(), Vec::new());
        let mut peer = 0;
        for (at, &row) in sorted.iter().enumerate() {
            let before = (at > 0).then(|| sorted[at - 1]);
            let same_group = before.is_some_and(|b| compare(&groups, b, row).is_eq());
            let same_order = before.is_some_and(|b| compare(&orders, b, row).is_eq());
            if !same_group {
                lines.push(Line { first_result: rows.len() as u32, ..Line::default() });
            }
            peer += u32::from(!same_group || !same_order);
            peers[row as usize] = peer;
            let copies = batch.diff(row as usize).max(0) as usize;
            rows.extend(std::iter::repeat_n(row, copies));
            if let Some(line) = lines.last_mut() {
                line.rows.extend(std::iter::repeat_n(row, copies));
                line.evaluated = 0..line.rows.len();
            }
        }
        Ok((rows, lines, peers))
    }
}

impl WindowFunction for OverFunctions {
    fn window_end(&self, _index: usize) -> usize {
        self.end
    }

    fn compute(
        &self,
        inputs: &[UpdateBatch],
        dead: &mut Vec<DeadLetter>,
    ) -> Result<(UpdateBatch, Vec<EventTime>)> {
        let batch = contents(&inputs[0], self.append_only)?;
        let (rows, lines, peers) = self.lines(&batch)?;
        let mut places = vec![0; batch.len()];
        for line in &lines {
            line.rows.iter().enumerate().for_each(|(at, &row)| places[row as usize] = at as i64);
        }
        let values = self.values.read(batch.rows())?;
        let sheet = Sheet { rows: self.program.narrow(batch.rows())?, peers, values, places };
        let arguments = self.program.arguments(&sheet.rows)?;
        let mut framed = Vec::new();
        for frame in &self.program.frames {
            let mut states = AggregateStates::new(Arc::clone(&frame.plan));
            states.resize(lines.len());
            let mut moves = Moves::default();
            for (group, line) in lines.iter().enumerate() {
                slide(line, &bounds(line, &sheet, &frame.frame), group as u32, &mut moves);
            }
            framed.push(moves.run(&mut states, &arguments, &sheet.places)?);
        }
        let results = rows.len();
        let found = evaluate(&self.program, &self.output, &sheet, &lines, results, &framed)?;
        let rows = take_rows(batch.rows(), &UInt32Array::from(rows))?;
        let ends = millis_of(&rows, self.end)?.to_vec();
        let mut columns = rows.columns().to_vec();
        let first = columns.len();
        columns.extend(found.columns);
        dead.extend(out_of_range(&self.output, &columns, first, &found.failed)?);
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        let times = vec![0; rows.num_rows()];
        Ok((UpdateBatch::new(rows, times.into(), None), ends))
    }
}
