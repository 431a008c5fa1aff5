//! Rows that were sent to a table of a run, from and to the store's journal.

use std::fmt;

use crate::connectors::http::inlet::{Block, Logged, RequestKey, RowLog};
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::{Journal, JournalEntry, Store, decode_rows, encode_rows};
use crate::telemetry::clock::wall_ms;

/// The rows of one table in the journal of one run.
pub struct TableRows {
    journal: Journal,
    table: String,
}

impl fmt::Debug for TableRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableRows").field("table", &self.table).finish_non_exhaustive()
    }
}

impl TableRows {
    /// Those of `table` in run `run` of `job`.
    pub fn open(store: &Store, job: &str, run: u64, table: &str) -> Result<Self> {
        Ok(TableRows { journal: store.journal(job, run)?, table: table.to_owned() })
    }
}

fn end_of(first: i64, rows: u64) -> i64 {
    first.saturating_add_unsigned(rows)
}

impl RowLog for TableRows {
    fn append(&self, block: &Block) -> Result<()> {
        self.journal.append(&[JournalEntry::Rows {
            table: self.table.clone(),
            offset: block.first,
            time: wall_ms(),
            rows: block.rows.num_rows() as u64,
            key: block.key.as_ref().map(|key| key.key.clone()),
            body: block.key.as_ref().map_or(0, |key| key.body),
            ipc: encode_rows(&block.rows)?,
        }])
    }

    fn sync(&self) -> Result<()> {
        self.journal.sync()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn read(&self, from: u64, bytes: usize) -> Result<(Vec<Block>, u64)> {
        let (mut blocks, mut read, mut next) = (Vec::new(), 0, from);
        self.journal.each_from(from, |number, entry| {
            next = number + 1;
            let JournalEntry::Rows { table, offset, rows: count, ipc, .. } = entry else {
                return Ok(true);
            };
            if table != self.table {
                return Ok(true);
            }
            let rows = decode_rows(&ipc).map_err(|what| {
                Error::new(ErrorKind::Io, format!("logged rows of table '{table}': {what}"))
            })?;
            if rows.num_rows() as u64 != count {
                let message = format!("logged rows of table '{table}': some are missing");
                return Err(Error::new(ErrorKind::Io, message));
            }
            read += ipc.len();
            blocks.push(Block { first: offset, rows, bytes: ipc.len(), key: None });
            Ok(read < bytes)
        })?;
        Ok((blocks, next))
    }

    fn logged(&self) -> Result<Logged> {
        let mut logged = Logged::default();
        self.journal.each_from(0, |_, entry| {
            if let JournalEntry::Rows { table, offset, rows, key, body, .. } = entry
                && table == self.table
            {
                let end = end_of(offset, rows);
                logged.end = logged.end.max(end);
                logged.keys.extend(key.map(|key| (RequestKey { key, body }, offset, end)));
            }
            Ok(true)
        })?;
        Ok(logged)
    }
}
