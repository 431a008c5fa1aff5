//! Matches as rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;

use super::compute::{Failures, Frame, Source};
use super::partition::Found;
use super::{MatchLogic, NAME};
use crate::batch::UpdateBatch;
use crate::dataflow::logic::Emitted;
use crate::dataflow::side::letter_of_row;
use crate::error::{Error, Result};
use crate::limits::BATCH_ROWS;
use crate::sql::match_recognize::node::{Output, OutputColumn};
use crate::time::{CLOSED, EventTime, LATEST};

/// A row of output: the match, the row that it shows, and how many of the match's rows there are up
/// to it.
#[derive(Clone, Copy)]
struct Shown<'a> {
    found: &'a Found,
    row: Option<u32>,
    upto: u32,
}

impl MatchLogic {
    /// Emits the rows of `found`; nothing before `from`.
    pub(super) fn emit(&self, found: &[Found], from: EventTime, out: &mut Emitted) -> Result<()> {
        let (matches, unmatched): (Vec<&Found>, Vec<&Found>) =
            found.iter().partition(|found| found.number > 0);
        let mut shown: Vec<Shown<'_>> = Vec::new();
        for found in matches {
            self.show(found, &mut shown);
            if shown.len() >= BATCH_ROWS {
                self.rows_of(&shown, true, from, out)?;
                shown.clear();
            }
        }
        self.rows_of(&shown, true, from, out)?;
        let of_none = unmatched.iter().map(|found| {
            let row = found.rows.first().copied();
            Shown { found, row, upto: 0 }
        });
        self.rows_of(&of_none.collect::<Vec<_>>(), false, from, out)
    }

    fn show<'a>(&self, found: &'a Found, shown: &mut Vec<Shown<'a>>) {
        let length = found.path.len();
        let row = |place: u32| found.rows.get((found.before + place) as usize).copied();
        match self.matched.output {
            Output::OneRow => shown.push(Shown { found, row: row(0), upto: length }),
            Output::AllRows { empty, .. } if length == 0 => {
                if empty {
                    shown.push(Shown { found, row: row(0), upto: 0 });
                }
            }
            Output::AllRows { .. } => {
                for (start, run) in found.path.runs().filter(|(_, run)| !run.excluded) {
                    let places = start..run.end;
                    shown.extend(places.map(|p| Shown { found, row: row(p), upto: p + 1 }));
                }
            }
        }
    }

    fn rows_of(
        &self,
        shown: &[Shown<'_>],
        matched: bool,
        from: EventTime,
        out: &mut Emitted,
    ) -> Result<()> {
        if shown.is_empty() {
            return Ok(());
        }
        let frames: Vec<Frame<'_>> = shown
            .iter()
            .map(|shown| Frame {
                path: &shown.found.path,
                upto: shown.upto,
                number: shown.found.number,
                source: Source::List { rows: &shown.found.rows, before: shown.found.before },
            })
            .collect();
        let rows: Vec<Option<u32>> = shown.iter().map(|shown| shown.row).collect();
        let mut failures = Failures::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (column, field) in self.matched.columns.iter().zip(self.output.fields()) {
            let array = match column {
                OutputColumn::Row(column) => self.rows.column(*column, &rows)?,
                OutputColumn::Measure(_) if !matched => {
                    new_null_array(field.data_type(), rows.len())
                }
                OutputColumn::Measure(measure) => {
                    let Some(measure) = self.measures.get(*measure) else {
                        return Err(Error::internal("a match without one of its measures"));
                    };
                    measure.run(&frames, &self.rows, &self.matched.variables, &mut failures)?
                }
            };
            columns.push(match array.data_type() == field.data_type() {
                true => array,
                false => cast(&array, field.data_type())?,
            });
        }
        let times: Vec<EventTime> =
            shown.iter().map(|shown| self.time(shown.found.high, from)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(shown.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)?;
        let batch = UpdateBatch::new(batch, times.into(), None);
        let batch = self.without_failed(batch, &rows, failures, out)?;
        out.push(batch);
        Ok(())
    }

    /// The time at which a match became certain.
    pub(super) fn time(&self, high: i64, from: EventTime) -> EventTime {
        if high >= i64::MAX - 1 {
            return LATEST.max(from).min(CLOSED - 1);
        }
        high.saturating_add(self.delay).min(CLOSED - 1)
    }

    /// `batch` without the rows of which a measure failed: they become dead letters.
    fn without_failed(
        &self,
        batch: UpdateBatch,
        rows: &[Option<u32>],
        mut failures: Failures,
        out: &mut Emitted,
    ) -> Result<UpdateBatch> {
        if failures.is_empty() {
            return Ok(batch);
        }
        failures.sort();
        failures.dedup_by_key(|(row, _)| *row);
        let mut good = vec![true; batch.len()];
        for (at, reason) in failures {
            good[at] = false;
            if let Some(row) = rows[at] {
                let reason = format!("a measure of the match from this row: {reason}");
                let letter = letter_of_row(NAME, &reason, &self.rows.row(row)?);
                out.dead.push(letter, batch.times()[at]);
            }
        }
        batch.filter(&BooleanArray::from(good))
    }
}
