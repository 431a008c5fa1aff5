//! Side outputs: late rows and dead letters as collections beside an operator's own output.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::logical_expr::TableSource;
use timely::container::NoopBuilder;
use timely::dataflow::Stream;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::logic::{Emitted, LateRows};
use crate::batch::UpdateBatch;
use crate::error::{DeadLetter, Result};
use crate::limits::DEAD_LETTER_RECORD_BYTES_MAX;
use crate::sql::context::{LATE_SOURCE, SystemTable, late_schema};
use crate::sql::diagnostics::sql_type_names;
use crate::state::keyed::out_of_range;
use crate::time::EventTime;

/// An output port for batches.
pub type Port = OutputBuilder<EventTime, NoopBuilder<UpdateBatch>>;

/// The side streams of an operator, where someone reads them.
#[derive(Clone, Default)]
pub struct SideStreams<'s> {
    /// Late rows.
    pub late: Option<Stream<'s, EventTime, UpdateBatch>>,
    /// Dead letters.
    pub dead: Option<Stream<'s, EventTime, UpdateBatch>>,
}

/// A port for dead letters, if anyone reads them.
pub fn dead_port<'s>(
    builder: &mut OperatorBuilder<'s, EventTime>,
    wanted: bool,
) -> (Option<Port>, SideStreams<'s>) {
    let (port, dead) = side_port(builder, wanted);
    (port, SideStreams { late: None, dead })
}

/// A further port, if wanted.
pub fn side_port<'s>(
    builder: &mut OperatorBuilder<'s, EventTime>,
    wanted: bool,
) -> (Option<Port>, Option<Stream<'s, EventTime, UpdateBatch>>) {
    if !wanted {
        return (None, None);
    }
    let (output, stream) = builder.new_output::<UpdateBatch>();
    (Some(OutputBuilder::from(output)), Some(stream))
}

/// Dead letters at their event times.
#[derive(Debug, Default)]
pub struct DeadLetters {
    letters: Vec<DeadLetter>,
    times: Vec<EventTime>,
    /// The multiplicities of the rows that failed.
    diffs: Vec<i64>,
}

impl DeadLetters {
    /// Adds a letter.
    pub fn push(&mut self, letter: DeadLetter, time: EventTime) {
        self.push_change(letter, time, 1);
    }

    /// Adds the letter of a row of multiplicity `diff`.
    pub fn push_change(&mut self, letter: DeadLetter, time: EventTime, diff: i64) {
        self.letters.push(letter);
        self.times.push(time);
        self.diffs.push(diff);
    }

    /// The greatest time of a letter.
    pub fn latest(&self) -> Option<EventTime> {
        self.times.iter().max().copied()
    }

    /// Adds all of `others`.
    pub fn append(&mut self, others: DeadLetters) {
        self.letters.extend(others.letters);
        self.times.extend(others.times);
        self.diffs.extend(others.diffs);
    }

    /// The letters and their times.
    pub fn iter(&self) -> impl Iterator<Item = (&DeadLetter, EventTime)> {
        self.letters.iter().zip(self.times.iter().copied())
    }

    /// The letters and the multiplicities of their rows.
    pub fn changes(self) -> impl Iterator<Item = (DeadLetter, i64)> {
        self.letters.into_iter().zip(self.diffs)
    }

    /// The letters without their times.
    pub fn letters(&self) -> &[DeadLetter] {
        &self.letters
    }
}

/// Sends dead letters, none of them earlier than `capability`, if there is a port for them.
pub fn send_dead(
    port: &mut Option<Port>,
    capability: Option<&Capability<EventTime>>,
    dead: DeadLetters,
) {
    let (Some(port), Some(capability)) = (port, capability) else { return };
    if let Some(mut batch) = dead_letter_batch(dead) {
        port.activate().session_with_builder(capability).give_container(&mut batch);
    }
}

/// Dead letters as rows of `floodmark.dead_letters`.
fn dead_letter_batch(dead: DeadLetters) -> Option<UpdateBatch> {
    let DeadLetters { letters, times, .. } = dead;
    if letters.is_empty() {
        return None;
    }
    // The beginning of time is no timestamp that could be printed.
    let shown = times.iter().map(|&t| if t == crate::time::BEGINNING { 0 } else { t });
    let text = |of: fn(&DeadLetter) -> &String| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(letters.iter().map(of)))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(shown)),
        text(|l| &l.source),
        text(|l| &l.partition),
        Arc::new(Int64Array::from_iter_values(letters.iter().map(|l| l.offset))),
        text(|l| &l.reason),
        text(|l| &l.record),
    ];
    let rows = RecordBatch::try_new(SystemTable::dead_letters().schema(), columns).ok()?;
    Some(UpdateBatch::new(rows, ScalarBuffer::from(times), None))
}

/// Late rows as rows of `<view>$late`, but for the tables that they are from.
pub fn late_batch(operator: &str, late: &LateRows) -> Result<UpdateBatch> {
    let times = late.rows.times();
    let texts = row_texts(late.rows.rows());
    let by: Vec<i64> =
        times.iter().zip(&late.window_end).map(|(t, e)| t.saturating_sub(*e)).collect();
    let reasons = by.iter().map(|ms| format!("late by {ms} ms: what it belongs to had closed"));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::new(times.clone(), None)),
        Arc::new(TimestampMillisecondArray::from(late.window_end.clone())),
        Arc::new(Int64Array::from_iter_values(by.iter().copied())),
        Arc::new(StringViewArray::from_iter_values(reasons)),
        Arc::new(StringViewArray::from_iter_values(times.iter().map(|_| operator))),
        Arc::new(StringViewArray::from_iter_values(texts)),
    ];
    let schema = late_schema();
    let here = (0..schema.fields().len()).filter(|c| schema.field(*c).name() != LATE_SOURCE);
    let schema = schema.project(&here.collect::<Vec<_>>())?;
    let rows = RecordBatch::try_new(Arc::new(schema), columns)?;
    Ok(UpdateBatch::new(rows, times.clone(), late.rows.diffs().cloned()))
}

/// Late rows as rows of `<view>$late`: `batch` is that of an operator that reads `tables`.
pub fn late_from(batch: &UpdateBatch, tables: &str) -> Result<UpdateBatch> {
    let source: ArrayRef =
        Arc::new(StringViewArray::from_iter_values(batch.times().iter().map(|_| tables)));
    let column = |field: &FieldRef| {
        let known = batch.rows().column_by_name(field.name());
        known.cloned().unwrap_or_else(|| Arc::clone(&source))
    };
    let schema = late_schema();
    let columns = schema.fields().iter().map(column).collect();
    Ok(batch.with_rows(RecordBatch::try_new(schema, columns)?))
}

/// Results of aggregates that their types cannot hold, at the times of their rows: they are NULL in
/// the output. Of its `columns` the first `keys` are keys; `failed` names row and call.
pub fn bury_failed(
    schema: &SchemaRef,
    columns: &[ArrayRef],
    (keys, failed): (usize, &[(usize, usize)]),
    time: impl Fn(usize) -> EventTime,
    out: &mut Emitted,
) -> Result<()> {
    let letters = out_of_range(schema, columns, keys, failed)?;
    for (mut letter, (row, _)) in letters.into_iter().zip(failed) {
        letter.reason = sql_type_names(&letter.reason);
        out.dead.push(letter, time(*row));
    }
    Ok(())
}

/// Each row as a JSON object; one that cannot be written as such is empty.
pub fn row_texts(rows: &RecordBatch) -> Vec<String> {
    let write = |rows: &RecordBatch| {
        let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
        writer.write(rows).and_then(|()| writer.finish()).ok()?;
        Some(String::from_utf8_lossy(&writer.into_inner()).into_owned())
    };
    let one = |row| write(&rows.slice(row, 1)).unwrap_or_default().trim_end().to_string();
    let mut lines: Vec<String> = match write(rows) {
        Some(text) => text.lines().map(str::to_string).collect(),
        None => (0..rows.num_rows()).map(one).collect(),
    };
    lines.resize(rows.num_rows(), "{}".to_string());
    lines
}

/// As much of a record as a dead letter keeps.
pub fn cut_record(mut record: String) -> String {
    record.truncate(record.floor_char_boundary(DEAD_LETTER_RECORD_BYTES_MAX));
    record
}

/// A dead letter for the only row of `rows`, whose place in its partition is not known any more.
pub fn letter_of_row(source: &str, reason: &str, rows: &RecordBatch) -> DeadLetter {
    DeadLetter {
        source: source.to_string(),
        partition: String::new(),
        offset: -1,
        reason: reason.to_string(),
        record: cut_record(row_texts(rows).pop().unwrap_or_default()),
    }
}
