//! Dead letters of the operators inside of a recursion.
//!
//! Operators inside see changes, of which some cancel out, here or on another worker, and those of
//! iterations that are taken back. Each notes the changes of its failing rows; all notes of one row
//! come together, and it is a dead letter of a tick in which it came to be there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use super::edge::AT_END;
use super::fragment::Time;
use crate::batch::UpdateBatch;
use crate::batch::consolidate::consolidate;
use crate::dataflow::logic::{Emitted, StatefulLogic};
use crate::error::{DeadLetter, Result};
use crate::time::{EventTime, LATEST};

/// The change of a row that fails.
pub struct Note {
    /// What is said of it.
    pub letter: DeadLetter,
    /// The tick and the iteration.
    pub time: Time,
    /// By how much its multiplicity changes.
    pub diff: i64,
}

/// The notes of a worker, on their way out.
pub type Notes = Rc<RefCell<Vec<Note>>>;

/// Columns of notes that say which are of one row: all but the iteration.
pub const ROW: [usize; 3] = [0, 1, 2];

fn schema() -> SchemaRef {
    let text = ["source", "reason", "record"].map(|n| Field::new(n, DataType::Utf8View, false));
    let iteration = Field::new("iteration", DataType::Int64, false);
    Arc::new(Schema::new(text.into_iter().chain([iteration]).collect::<Vec<_>>()))
}

/// Hands on the notes of closed ticks; what comes in says only which are closed.
pub struct Collect(pub Notes);

impl StatefulLogic for Collect {
    fn advance(
        &mut self,
        _from: EventTime,
        to: EventTime,
        _inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let (closed, open): (Vec<Note>, Vec<Note>) =
            self.0.take().into_iter().partition(|note| note.time.outer < to);
        self.0.replace(open);
        if closed.is_empty() {
            return Ok(());
        }
        let text = |of: fn(&DeadLetter) -> &String| -> ArrayRef {
            let texts = closed.iter().map(|note| of(&note.letter));
            Arc::new(StringViewArray::from_iter_values(texts))
        };
        let iterations = closed.iter().map(|note| note.time.inner as i64);
        let columns: Vec<ArrayRef> = vec![
            text(|l| &l.source),
            text(|l| &l.reason),
            text(|l| &l.record),
            Arc::new(Int64Array::from_iter_values(iterations)),
        ];
        let times: Vec<EventTime> = closed.iter().map(|note| note.time.outer).collect();
        let diffs: Vec<i64> = closed.iter().map(|note| note.diff).collect();
        let rows = RecordBatch::try_new(schema(), columns)?;
        out.push(consolidate(&UpdateBatch::new(rows, times.into(), Some(diffs.into())))?);
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Makes dead letters of the notes of one row.
pub struct Bury;

impl StatefulLogic for Bury {
    fn advance(
        &mut self,
        from: EventTime,
        _to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let mut changes: BTreeMap<(EventTime, [String; 3]), BTreeMap<i64, i64>> = BTreeMap::new();
        for batch in inputs.iter().flatten() {
            let text = |column: usize, row: usize| {
                batch.column(column).as_string_view().value(row).to_string()
            };
            let iterations = batch.column(ROW.len()).as_primitive::<Int64Type>();
            for (row, &time) in batch.times().iter().enumerate() {
                let of_row = changes.entry((time, ROW.map(|column| text(column, row))));
                let change = of_row.or_default().entry(iterations.value(row)).or_default();
                *change = change.saturating_add(batch.diff(row));
            }
        }
        for ((time, [source, reason, record]), changes) in changes {
            // It came if it is there after some iteration, more often than before the tick.
            let mut count = 0i64;
            let mut counts = changes.into_values().map(|change| {
                count = count.saturating_add(change);
                count
            });
            if counts.any(|count| count > 0) {
                let letter =
                    DeadLetter { source, partition: String::new(), offset: -1, reason, record };
                // The last moment is no event time.
                out.dead.push(letter, if time == AT_END { LATEST.max(from) } else { time });
            }
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        0
    }
}
