//! Rows as JSON lines and CSV.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;

/// The header line.
pub(super) fn csv_header(schema: &SchemaRef) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    format!("{}\n", names.join(","))
}

/// Appends one line a row.
pub(super) fn write_csv(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    let builder = arrow::csv::WriterBuilder::new().with_header(false);
    let builder = builder.with_timestamp_format("%Y-%m-%d %H:%M:%S%.3f".to_owned());
    builder.build(out).write(rows)?;
    Ok(())
}

/// Appends one object a line.
pub(super) fn write_json(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    let builder = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_format("%Y-%m-%d %H:%M:%S%.3f".to_owned());
    let mut writer = builder.build::<_, arrow::json::writer::LineDelimited>(out);
    writer.write(rows)?;
    writer.finish()?;
    Ok(())
}
