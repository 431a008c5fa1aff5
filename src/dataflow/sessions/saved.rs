//! The state of sessions as a table.
//!
//! Either `sessions`, a row a session: keys, start, end and what the contents save; later rows of a
//! key take the place of all earlier ones. Or `rows`, the rows of open sessions as they came, from
//! which all is made again: for contents that are the rows themselves.
//!
//! Which sessions are closed or emitted as of a frontier follows from their ends: what has closed
//! since it was saved needs no mark.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use super::{Contents, Session, Sessions};
use crate::dataflow::logic::{Emitted, StatefulLogic};
use crate::error::{Error, Result};
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::saved::{
    LoadedColumns, SavedColumns, SavedTable, log_rows, log_updates, shard_of,
};
use crate::time::{BEGINNING, EventTime};

const SESSIONS: &str = "sessions";
const ROWS: &str = "rows";

impl<C: Contents> Sessions<C> {
    pub(super) fn save_tables(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let mut tables = Vec::new();
        let mut push = |name: &str, rows: RecordBatch, shard| {
            if rows.num_rows() > 0 {
                tables.push(SavedTable { name: name.to_owned(), rows, shard });
            }
        };
        if let Some((whole, rows)) = self.contents.save_rows(whole)? {
            push(ROWS, log_rows(&rows)?, placement.map(<[usize]>::to_vec));
            return Ok((whole, tables));
        }
        let all = self.sessions.len() - self.free.len();
        let whole = self.increments.must_be_whole(whole, self.changed.len(), all);
        let touched = self.changed.take();
        let keys = if whole { self.groups.live() } else { touched };
        let open = |&key: &u32| self.open[key as usize].iter().copied();
        let numbers: Vec<u32> = keys.iter().flat_map(open).collect();
        let sessions = || numbers.iter().map(|&number| &self.sessions[number as usize]);
        let keys: Vec<u32> = sessions().map(|session| session.key).collect();
        let mut columns = SavedColumns::new(self.groups.columns(&keys)?);
        columns.ints(sessions().map(|session| session.start));
        columns.ints(sessions().map(|session| session.end));
        self.contents.save(&numbers, &mut columns);
        push(SESSIONS, columns.finish(numbers.len())?, shard_of(placement, &self.keys));
        Ok((whole, tables))
    }

    pub(super) fn load_tables(&mut self, tables: &[SavedTable], to: EventTime) -> Result<()> {
        let mut replayed = Vec::new();
        for table in tables {
            match table.name.as_str() {
                ROWS => replayed.push(log_updates(&table.rows, &self.input)?),
                SESSIONS => self.load_sessions(&table.rows, to)?,
                other => return Err(Error::internal(format!("sessions have no table {other}"))),
            }
        }
        replayed.retain(|batch| !batch.is_empty());
        if replayed.is_empty() {
            return Ok(());
        }
        // What it emits lies below the frontier: whoever reads it has it already.
        self.advance(BEGINNING, to, vec![replayed], &mut Emitted::default())
    }

    fn load_sessions(&mut self, rows: &RecordBatch, to: EventTime) -> Result<()> {
        let mut columns = LoadedColumns::new(rows);
        let arrays = self.keys.iter().map(|_| columns.array()).collect::<Result<Vec<_>>>()?;
        let read = GroupKeys::read(arrays)?;
        let read: Vec<&Column> = read.iter().collect();
        let mut keys = Vec::new();
        self.groups.intern(&read, 0..rows.num_rows(), &mut keys)?;
        self.open.resize_with(self.groups.bound(), Vec::new);
        self.held.resize(self.groups.bound(), 0);
        let mut replaced = Vec::new();
        for &key in &keys {
            replaced.append(&mut self.open[key as usize]);
        }
        self.contents.clear(&replaced);
        replaced.into_iter().for_each(|number| self.end(number));
        let (starts, ends) = (columns.ints()?, columns.ints()?);
        let (mut numbers, mut alive) = (Vec::new(), Vec::new());
        for (row, &key) in (0u32..).zip(&keys) {
            let (start, end) = (starts[row as usize], ends[row as usize]);
            if self.complete(end.saturating_add(self.lateness)) < to {
                continue;
            }
            let emitted = self.complete(end) < to;
            let number = self.begin(Session { start, end, key, life: 0, emitted });
            self.open[key as usize].push(number);
            numbers.push(number);
            alive.push(row);
        }
        self.contents.resize(self.sessions.len());
        let alive = take_record_batch(rows, &UInt32Array::from(alive))?;
        let mut columns = LoadedColumns::new(&alive);
        for _ in 0..self.keys.len() + 2 {
            columns.array()?;
        }
        self.contents.load(&numbers, &mut columns)?;
        self.forget(keys);
        Ok(())
    }
}
