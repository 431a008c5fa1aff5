//! What stands around the rows of each dialect: which changes a record says, of which rows.

use super::super::scan::{self, SyntaxError};
use super::super::value::{Fault, ValueReader};
use super::Dialect;
use super::rows::{Layout, RowReader, fault};
use crate::batch::changes::ChangeKind::{self, Delete, Insert, UpdateAfter, UpdateBefore};

type Read<T> = Result<T, Box<Fault>>;

/// The members of a record that are looked at.
#[derive(Default)]
struct Members {
    /// `before`, or `old`.
    before: Option<usize>,
    /// `after`, or `data`.
    after: Option<usize>,
    /// `op`, or `type`.
    op: Option<usize>,
    database: Option<usize>,
    table: Option<usize>,
    source: Option<usize>,
    payload: Option<usize>,
    /// One an entry of the layout.
    metadata: Vec<Option<usize>>,
}

/// The changes of one record.
pub(super) struct Record<'d> {
    pub dialect: &'d Dialect,
    /// Whether a key tells which row is meant.
    pub keyed: bool,
    /// Where the record starts.
    pub start: usize,
    /// Where its line ends.
    pub end: usize,
}

impl Record<'_> {
    /// Appends the record's changes to `reader`, which is rolled back if it fails.
    pub fn read(&self, reader: &mut RowReader<'_>) -> Read<()> {
        let bytes = reader.values.bytes;
        let at = scan::spaces(bytes, self.start);
        if let Some(end) = scan::word(bytes, at, b"null")
            && scan::spaces(bytes, end) == self.end
        {
            // What a log keeps of a key that is gone.
            return Ok(());
        }
        let mut members =
            Members { metadata: vec![None; reader.layout.metadata.len()], ..Members::default() };
        let end = members.read(&mut reader.values, reader.layout, self.dialect, at, false)?;
        let end = scan::spaces(bytes, end);
        if end != self.end {
            return Err(SyntaxError { at: end, reason: "more text after the object" }.into());
        }
        if let Dialect::Debezium { schema_include } = self.dialect {
            match (schema_include, members.payload) {
                (true, Some(payload)) => {
                    let outer = std::mem::take(&mut members.metadata);
                    members = Members { metadata: outer, ..Members::default() };
                    members.read(&mut reader.values, reader.layout, self.dialect, payload, true)?;
                }
                (true, None) => return Err(fault("the record has no 'payload'")),
                (false, Some(_)) if members.op.is_none() => {
                    return Err(fault(
                        "the record has a 'payload': set 'debezium-json.schema-include' to 'true'",
                    ));
                }
                _ => {}
            }
        }
        if let Some(source) = members.source {
            members.read_source(&mut reader.values, reader.layout, source)?;
        }
        reader.metadata = std::mem::take(&mut members.metadata);
        match self.dialect {
            Dialect::Debezium { .. } => self.debezium(reader, &members),
            Dialect::Canal { database, table } => {
                for (pattern, at) in [(database, members.database), (table, members.table)] {
                    let name = text(bytes, at).unwrap_or_default();
                    if pattern.as_ref().is_some_and(|p| !p.is_match(name)) {
                        return Ok(());
                    }
                }
                self.canal(reader, &members)
            }
            Dialect::Maxwell => self.maxwell(reader, &members),
            Dialect::Records => self.plain(reader, &members, at),
        }
    }

    fn push(
        &self,
        reader: &mut RowReader<'_>,
        kind: ChangeKind,
        (at, base): (usize, Option<usize>),
        name: &str,
    ) -> Read<()> {
        let pushed = reader.push(kind, at, base, self.start);
        pushed.map_err(|misfit| Box::new(misfit.inside(name)))
    }

    fn debezium(&self, reader: &mut RowReader<'_>, members: &Members) -> Read<()> {
        let op = text(reader.values.bytes, members.op).ok_or_else(|| fault("no 'op'"))?;
        let need = |at: Option<usize>, name: &str| {
            at.ok_or_else(|| fault(format!("no '{name}' in a record of op '{op}'")))
        };
        match op {
            "c" | "r" => {
                let after = need(members.after, "after")?;
                self.push(reader, Insert, (after, None), "after")
            }
            "u" => {
                let after = need(members.after, "after")?;
                self.before(reader, members.before, None, "before")?;
                self.push(reader, UpdateAfter, (after, None), "after")
            }
            "d" => {
                let before = need(members.before, "before").map_err(|_| no_before("before"))?;
                self.push(reader, Delete, (before, None), "before")
            }
            other => Err(fault(format!("unknown op '{other}', expected c, r, u or d"))),
        }
    }

    /// The row before an update; where a key tells which row is meant it may be missing.
    fn before(
        &self,
        reader: &mut RowReader<'_>,
        at: Option<usize>,
        base: Option<usize>,
        name: &str,
    ) -> Read<()> {
        match at {
            Some(at) => self.push(reader, UpdateBefore, (at, base), name),
            None if self.keyed => Ok(()),
            None => Err(no_before(name)),
        }
    }

    fn canal(&self, reader: &mut RowReader<'_>, members: &Members) -> Read<()> {
        let bytes = reader.values.bytes;
        let kind = text(bytes, members.op).ok_or_else(|| fault("no 'type'"))?;
        let kind = match kind {
            "INSERT" => Insert,
            "UPDATE" => UpdateAfter,
            "DELETE" => Delete,
            // The table was made; it has no rows yet.
            "CREATE" => return Ok(()),
            other => {
                let expected = "expected INSERT, UPDATE or DELETE";
                return Err(fault(format!("unknown type '{other}', {expected}")));
            }
        };
        let data = members.after.ok_or_else(|| fault("no 'data'"))?;
        let rows = elements(bytes, data, "data")?;
        let old = members.before.map(|at| elements(bytes, at, "old")).transpose()?;
        for (index, &row) in rows.iter().enumerate() {
            if kind == UpdateAfter {
                let old = old.as_ref().and_then(|old| old.get(index)).copied();
                self.before(reader, old, Some(row), "old")?;
            }
            self.push(reader, kind, (row, None), "data")?;
        }
        Ok(())
    }

    fn maxwell(&self, reader: &mut RowReader<'_>, members: &Members) -> Read<()> {
        let kind = text(reader.values.bytes, members.op).ok_or_else(|| fault("no 'type'"))?;
        let kind = match kind {
            "insert" | "bootstrap-insert" => Insert,
            "update" => UpdateAfter,
            "delete" => Delete,
            "bootstrap-start" | "bootstrap-complete" => return Ok(()),
            other => {
                let expected = "expected insert, update or delete";
                return Err(fault(format!("unknown type '{other}', {expected}")));
            }
        };
        let data = members.after.ok_or_else(|| fault("no 'data'"))?;
        if kind == UpdateAfter {
            self.before(reader, members.before, Some(data), "old")?;
        }
        self.push(reader, kind, (data, None), "data")
    }

    fn plain(&self, reader: &mut RowReader<'_>, members: &Members, at: usize) -> Read<()> {
        let kind = match text(reader.values.bytes, members.op) {
            Some("+I") => Insert,
            Some("-U") => UpdateBefore,
            Some("+U") => UpdateAfter,
            Some("-D") => Delete,
            Some(other) => {
                return Err(fault(format!("unknown op '{other}', expected +I, -U, +U or -D")));
            }
            None => return Err(fault("no 'op'")),
        };
        match members.after {
            Some(data) => self.push(reader, kind, (data, None), "data"),
            None => reader.push(kind, at, None, self.start),
        }
    }
}

#[cold]
fn no_before(name: &str) -> Box<Fault> {
    fault(format!(
        "no '{name}' row: the database must log whole rows (PostgreSQL: REPLICA IDENTITY FULL), or \
         the table needs a PRIMARY KEY"
    ))
}

impl Members {
    /// Reads the object at `at`; the position after it. `inner` says that it is a payload.
    fn read(
        &mut self,
        values: &mut ValueReader<'_>,
        layout: &Layout,
        dialect: &Dialect,
        at: usize,
        inner: bool,
    ) -> Read<usize> {
        if values.bytes.get(at) != Some(&b'{') {
            return Err(SyntaxError { at, reason: "expected an object" }.into());
        }
        values.members(at, |values, name, at| {
            let end = scan::value(values.bytes, at)?;
            if values.bytes.get(at) == Some(&b'n') {
                return Ok(end);
            }
            let slot = match (dialect, name) {
                (Dialect::Debezium { .. }, b"before") => Some(&mut self.before),
                (Dialect::Debezium { .. }, b"after") => Some(&mut self.after),
                (Dialect::Debezium { .. }, b"source") => Some(&mut self.source),
                (Dialect::Debezium { .. }, b"payload") => Some(&mut self.payload),
                (Dialect::Debezium { .. } | Dialect::Records, b"op") => Some(&mut self.op),
                (Dialect::Canal { .. } | Dialect::Maxwell, b"type") => Some(&mut self.op),
                (Dialect::Canal { .. } | Dialect::Maxwell, b"old") => Some(&mut self.before),
                (Dialect::Canal { .. }, b"database") => Some(&mut self.database),
                (Dialect::Canal { .. }, b"table") => Some(&mut self.table),
                (Dialect::Canal { .. } | Dialect::Maxwell, b"data") => Some(&mut self.after),
                // A column may be named so, too.
                (Dialect::Records, b"data") if values.bytes.get(at) == Some(&b'{') => {
                    Some(&mut self.after)
                }
                _ => None,
            };
            if let Some(slot) = slot {
                *slot = Some(at);
            }
            for ((_, key), found) in layout.metadata.iter().zip(&mut self.metadata) {
                // The schema stands beside the payload, all else in it.
                let is_elsewhere = inner && key.member == "schema";
                if !key.in_source && !is_elsewhere && key.member.as_bytes() == name {
                    *found = Some(at);
                }
            }
            Ok(end)
        })
    }

    /// Finds the metadata that stands in the object `source`.
    fn read_source(
        &mut self,
        values: &mut ValueReader<'_>,
        layout: &Layout,
        at: usize,
    ) -> Read<()> {
        if values.bytes.get(at) != Some(&b'{') || !layout.metadata.iter().any(|(_, k)| k.in_source)
        {
            return Ok(());
        }
        values.members(at, |values, name, at| {
            for ((_, key), found) in layout.metadata.iter().zip(&mut self.metadata) {
                let is_null = values.bytes.get(at) == Some(&b'n');
                if key.in_source && key.member.as_bytes() == name && !is_null {
                    *found = Some(at);
                }
            }
            Ok(scan::value(values.bytes, at)?)
        })?;
        Ok(())
    }
}

/// The string at `at`, as it stands there.
fn text(bytes: &[u8], at: Option<usize>) -> Option<&str> {
    let at = at.filter(|at| bytes.get(*at) == Some(&b'"'))?;
    let (end, _) = scan::string(bytes, at + 1).ok()?;
    std::str::from_utf8(bytes.get(at + 1..end - 1)?).ok()
}

/// Where the elements of the array at `at` are.
fn elements(bytes: &[u8], at: usize, name: &str) -> Read<Vec<usize>> {
    if bytes.get(at) != Some(&b'[') {
        return Err(fault(format!("'{name}' is an array of rows")));
    }
    let mut found = Vec::new();
    let mut at = scan::spaces(bytes, at + 1);
    while bytes.get(at).is_some_and(|b| *b != b']') {
        found.push(at);
        at = scan::spaces(bytes, scan::value(bytes, at)?);
        if bytes.get(at) == Some(&b',') {
            at = scan::spaces(bytes, at + 1);
        }
    }
    Ok(found)
}
