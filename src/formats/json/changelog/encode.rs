//! Changes as the records of each dialect, encoded as Flink does.
//!
//! Debezium, Canal and Maxwell have no records for the two halves of an update: what is taken back
//! is written as a deletion and what takes its place as an insertion.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use indexmap::IndexMap;

use super::super::super::RowEncoder;
use super::super::super::cells::{Cells, resolve};
use super::super::encode::{JsonWriter, quoted_names};
use super::{ChangelogOptions, Dialect};
use crate::batch::changes::ChangeKind;
use crate::error::{Error, Result};

/// Writes changes as JSON lines.
pub struct ChangelogEncoder {
    writer: JsonWriter,
    names: Vec<Vec<u8>>,
    dialect: Dialect,
}

impl ChangelogEncoder {
    /// An encoder for rows of `schema`.
    pub fn new(format: &str, options: &IndexMap<String, String>, schema: &Schema) -> Result<Self> {
        let options = ChangelogOptions::read(format, options)?;
        if let Dialect::Debezium { schema_include: true } = options.dialect {
            return Err(Error::config("a sink cannot write 'debezium-json.schema-include'")
                .with_hint("remove it: records are written without their schema"));
        }
        let writer = JsonWriter::new(&options.json);
        Ok(ChangelogEncoder { writer, names: quoted_names(schema), dialect: options.dialect })
    }

    fn record(
        &self,
        cells: &[Cells],
        row: usize,
        kind: ChangeKind,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let inserts = matches!(kind, ChangeKind::Insert | ChangeKind::UpdateAfter);
        let (before, after): (&[u8], String) = match &self.dialect {
            Dialect::Debezium { .. } if inserts => {
                (b"{\"before\":null,\"after\":", ",\"op\":\"c\"}\n".into())
            }
            Dialect::Debezium { .. } => (b"{\"before\":", ",\"after\":null,\"op\":\"d\"}\n".into()),
            Dialect::Canal { .. } => {
                let name = if inserts { "INSERT" } else { "DELETE" };
                (b"{\"data\":[", format!("],\"type\":\"{name}\"}}\n"))
            }
            Dialect::Maxwell => {
                let name = if inserts { "insert" } else { "delete" };
                (b"{\"data\":", format!(",\"type\":\"{name}\"}}\n"))
            }
            Dialect::Records => (b"{\"data\":", format!(",\"op\":\"{}\"}}\n", kind.sign())),
        };
        out.extend_from_slice(before);
        self.writer.object(&self.names, cells, row, out)?;
        out.extend_from_slice(after.as_bytes());
        Ok(())
    }
}

impl RowEncoder for ChangelogEncoder {
    fn begin(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let cells = resolve(rows)?;
        (0..rows.num_rows()).try_for_each(|row| self.record(&cells, row, ChangeKind::Insert, out))
    }

    fn encode_changes(
        &mut self,
        rows: &RecordBatch,
        kinds: &[ChangeKind],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let cells = resolve(rows)?;
        kinds.iter().enumerate().try_for_each(|(row, kind)| self.record(&cells, row, *kind, out))
    }
}
