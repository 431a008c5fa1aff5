//! The changes of a bare query, as rows with their kind and time in front.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::SinkWriter;
use crate::batch::UpdateBatch;
use crate::batch::changes::change_kinds;
use crate::error::{Error, Result};
use crate::formats::{csv, json, table};
use crate::time::EventTime;

/// How changes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeFormat {
    /// `+I | time | values ..`, for people.
    Table,
    /// With a header.
    Csv,
    /// One object a line.
    Json,
}

/// Writes changes to standard output.
pub struct ChangePrinter {
    schema: SchemaRef,
    key: Vec<usize>,
    format: ChangeFormat,
    has_header: bool,
}

impl ChangePrinter {
    /// For rows of `schema` with unique `key`.
    pub fn new(schema: &SchemaRef, key: Option<&[usize]>, format: ChangeFormat) -> Self {
        let mut fields = vec![
            Field::new("op", DataType::Utf8View, false),
            Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        ];
        fields.extend(schema.fields().iter().map(|f| f.as_ref().clone()));
        let schema = Arc::new(Schema::new(fields));
        ChangePrinter {
            schema,
            key: key.map(<[usize]>::to_vec).unwrap_or_default(),
            format,
            has_header: false,
        }
    }

    fn with_kinds(&self, batch: &UpdateBatch) -> Result<RecordBatch> {
        let kinds = change_kinds(batch, &self.key)?;
        let ops = StringViewArray::from_iter_values(kinds.iter().map(|k| k.sign()));
        let times = TimestampMillisecondArray::new(batch.times().clone(), None);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(ops), Arc::new(times)];
        columns.extend(batch.rows().columns().iter().cloned());
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn header(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_header, true) {
            match self.format {
                ChangeFormat::Csv => out.extend(csv::header(&self.schema).into_bytes()),
                ChangeFormat::Table => {
                    let names: Vec<_> =
                        self.schema.fields().iter().map(|f| f.name().as_str()).collect();
                    out.extend(format!("{}\n", names.join(" | ")).into_bytes());
                }
                ChangeFormat::Json => {}
            }
        }
    }
}

impl SinkWriter for ChangePrinter {
    fn write(&mut self, batch: &UpdateBatch) -> Result<()> {
        let mut out = Vec::new();
        self.header(&mut out);
        let rows = self.with_kinds(batch)?;
        match self.format {
            ChangeFormat::Csv => csv::write_rows(&rows, &mut out)?,
            ChangeFormat::Json => json::write_rows(&rows, &mut out)?,
            ChangeFormat::Table => {
                for line in table::lines(&rows)? {
                    out.extend(format!("{}\n", line.join(" | ")).into_bytes());
                }
            }
        }
        print(&out)
    }

    fn commit(&mut self, _frontier: EventTime) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, _complete: bool) -> Result<()> {
        let mut out = Vec::new();
        self.header(&mut out);
        print(&out)
    }
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|e| Error::io("standard output", &e))
}
