//! Rows as a text table for terminals.
//!
//! Numbers stand to the right, NULL is written out. The whole table is built in memory: it is for
//! results that a person reads.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::cells::{Cells, Kind, resolve};
use super::json::JsonWriter;
use crate::error::Result;

/// The table of `batches`, with a line of names even if there are no rows.
pub fn format(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String> {
    let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut widths: Vec<usize> = names.iter().map(|n| n.chars().count()).collect();
    let mut right = vec![false; names.len()];
    let mut lines = Vec::new();
    for batch in batches {
        let cells = unzoned(batch)?;
        for (right, cells) in right.iter_mut().zip(&cells) {
            *right = cells.is_number();
        }
        for row in 0..batch.num_rows() {
            let line = cells.iter().map(|c| cell(c, row)).collect::<Result<Vec<_>>>()?;
            for (width, text) in widths.iter_mut().zip(&line) {
                *width = (*width).max(text.chars().count());
            }
            lines.push(line);
        }
    }
    let border: String = widths.iter().map(|w| format!("+{}", "-".repeat(w + 2))).collect();
    let border = border + "+\n";
    let mut out = border.clone();
    push_line(&mut out, &names, &widths, &vec![false; names.len()]);
    out.push_str(&border);
    for line in &lines {
        push_line(&mut out, line, &widths, &right);
    }
    if !lines.is_empty() {
        out.push_str(&border);
    }
    Ok(out)
}

fn push_line(out: &mut String, texts: &[String], widths: &[usize], right: &[bool]) {
    for ((text, width), right) in texts.iter().zip(widths).zip(right) {
        let padding = " ".repeat(width.saturating_sub(text.chars().count()));
        let (before, after) = if *right { (padding.as_str(), "") } else { ("", padding.as_str()) };
        out.push_str("| ");
        out.push_str(before);
        out.push_str(text);
        out.push_str(after);
        out.push(' ');
    }
    out.push_str("|\n");
}

/// The values of each row as they stand in a table.
pub fn lines(rows: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let cells = unzoned(rows)?;
    (0..rows.num_rows()).map(|row| cells.iter().map(|c| cell(c, row)).collect()).collect()
}

/// The columns of `rows`; moments are written as in results everywhere, without their zone.
fn unzoned(rows: &RecordBatch) -> Result<Vec<Cells>> {
    let mut cells = resolve(rows)?;
    for cells in &mut cells {
        if let Kind::Timestamp { zoned, .. } = &mut cells.kind {
            *zoned = false;
        }
    }
    Ok(cells)
}

/// One value as text on one line.
fn cell(cells: &Cells, row: usize) -> Result<String> {
    if cells.is_null(row) {
        return Ok("NULL".into());
    }
    let mut out = Vec::new();
    if !cells.write_plain(row, b' ', &mut out)? {
        JsonWriter::default().value(cells, row, &mut out)?;
    }
    let text = String::from_utf8_lossy(&out);
    Ok(text
        .chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect())
}
