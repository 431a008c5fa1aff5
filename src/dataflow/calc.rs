//! Filter and projection. A row that fails an expression goes to the dead letters; its batch goes
//! on.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions, TimestampMillisecondArray};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::SchemaRef;

use super::side::{DeadLetters, letter_of_row};
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::plan::expr::with_time_column;
use crate::plan::node::Calc;

/// A [`Calc`] ready to run.
pub struct CalcLogic {
    calc: Calc,
    name: String,
    output: SchemaRef,
    /// The input's columns and the event time, if an expression reads it.
    with_time: Option<SchemaRef>,
}

impl CalcLogic {
    /// For input of schema `input`; dead letters are said to be of `name`.
    pub fn new(name: &str, calc: Calc, input: &SchemaRef, output: SchemaRef) -> Self {
        let width = input.fields().len();
        let reads_time = calc
            .columns
            .iter()
            .chain(&calc.filter)
            .any(|e| e.columns().iter().any(|&c| c >= width));
        let with_time = reads_time.then(|| with_time_column(input));
        CalcLogic { calc, name: name.to_string(), output, with_time }
    }

    /// The rows that pass, computed; failing rows are added to `dead`.
    pub fn apply(&self, batch: &UpdateBatch, dead: &mut DeadLetters) -> Result<Vec<UpdateBatch>> {
        match self.evaluate(batch) {
            Ok(done) => Ok(done.into_iter().collect()),
            Err(error) if batch.len() == 1 => {
                let letter = letter_of_row(&self.name, &reason_of(&error), batch.rows());
                dead.push_change(letter, batch.times()[0], batch.diff(0));
                Ok(Vec::new())
            }
            // Halve until the failing rows are alone.
            Err(_) => {
                let half = batch.len() / 2;
                let mut done = self.apply(&batch.slice(0, half), dead)?;
                done.extend(self.apply(&batch.slice(half, batch.len() - half), dead)?);
                Ok(done)
            }
        }
    }

    fn evaluate(&self, batch: &UpdateBatch) -> Result<Option<UpdateBatch>> {
        let filtered;
        let mut batch = batch;
        if let Some(filter) = &self.calc.filter {
            let rows = self.input(batch)?;
            let value = filter.physical().evaluate(&rows)?.into_array(rows.num_rows())?;
            let mask = value.as_boolean();
            let mask = match arrow::array::Array::null_count(mask) {
                0 => mask.clone(),
                _ => prep_null_mask_filter(mask),
            };
            filtered = batch.filter(&mask)?;
            if filtered.is_empty() {
                return Ok(None);
            }
            batch = &filtered;
        }
        let rows = self.input(batch)?;
        let count = rows.num_rows();
        let mut columns = Vec::with_capacity(self.calc.columns.len());
        for expr in &self.calc.columns {
            columns.push(match expr.as_column() {
                Some(column) => Arc::clone(rows.column(column)),
                None => expr.physical().evaluate(&rows)?.into_array(count)?,
            });
        }
        for (column, field) in columns.iter_mut().zip(self.output.fields()) {
            if column.data_type() != field.data_type() {
                *column = arrow::compute::cast(column, field.data_type())?;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let schema = Arc::clone(&self.output);
        let out = RecordBatch::try_new_with_options(schema, columns, &options)?;
        Ok(Some(batch.with_rows(out)))
    }

    fn input(&self, batch: &UpdateBatch) -> Result<RecordBatch> {
        let Some(schema) = &self.with_time else { return Ok(batch.rows().clone()) };
        let mut columns = batch.rows().columns().to_vec();
        columns.push(Arc::new(TimestampMillisecondArray::new(batch.times().clone(), None)));
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}

/// What failed, without the layers that it came through.
pub fn reason_of(error: &Error) -> String {
    let known = [
        "Arrow error: ",
        "Cast error: ",
        "Compute error: ",
        "Execution error: ",
        "External error: ",
    ];
    let mut text = error.message.as_str();
    while let Some(rest) = known.iter().find_map(|p| text.strip_prefix(p)) {
        text = rest;
    }
    crate::sql::diagnostics::sql_type_names(text.lines().next().unwrap_or_default())
}
