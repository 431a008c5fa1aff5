//! Random tables, their histories as files, and their contents as of a time.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::value::{BASE, Row, Tape, Type, Value};

/// How a table changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows are added, in the order of their times or not.
    Append,
    /// A changelog with a PRIMARY KEY, the first column.
    Keyed,
    /// A changelog without one: rows may be there several times.
    Changes,
    /// Without row-times: all is there from the beginning.
    Static,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub data_type: Type,
    sql: &'static str,
    nullable: bool,
}

/// A change, at its time.
#[derive(Clone, Debug)]
struct Change {
    time: i64,
    before: Option<Row>,
    after: Option<Row>,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    kind: Kind,
    changes: Vec<Change>,
}

/// Seconds of event time that a history is spread over.
pub const TICKS: i64 = 8;
/// The length of a tick in ms.
pub const TICK: i64 = 1000;

impl Table {
    pub fn random(name: String, tape: &mut Tape<'_>, history: &mut Tape<'_>) -> Self {
        let kind =
            tape.one(&[Kind::Append, Kind::Keyed, Kind::Changes, Kind::Append, Kind::Static]);
        let mut columns = Vec::new();
        for place in 0..2 + tape.pick(3) {
            let data_type = match place {
                0 => Type::Int,
                _ => tape.one(&Type::OF_TABLES),
            };
            let sql = match data_type {
                Type::Int => tape.one(&["INT", "BIGINT"]),
                Type::Text => "STRING",
                Type::Double | Type::Mean => "DOUBLE",
                Type::Decimal => tape.one(&["DECIMAL(10, 2)", "DECIMAL(5, 2)"]),
                Type::Bool => "BOOLEAN",
                Type::Time => "TIMESTAMP(3)",
            };
            let nullable = tape.chance(70) && !(kind == Kind::Keyed && place == 0);
            columns.push(Column { data_type, sql, nullable });
        }
        if kind != Kind::Static {
            let (data_type, sql) = (Type::Time, "TIMESTAMP(3)");
            columns.push(Column { data_type, sql, nullable: false });
        }
        let mut table = Table { name, columns, kind, changes: Vec::new() };
        table.fill(history);
        table
    }

    fn row(&self, tape: &mut Tape<'_>, time: i64) -> Row {
        let timed = usize::from(self.kind != Kind::Static);
        let own = self.columns.len() - timed;
        let mut row: Row = self.columns[..own]
            .iter()
            .map(|column| match column.nullable && tape.chance(20) {
                true => Value::Null,
                false => tape.value(column.data_type),
            })
            .collect();
        row.extend((timed == 1).then_some(Value::Time(time)));
        row
    }

    fn fill(&mut self, tape: &mut Tape<'_>) {
        let mut now = BASE;
        let mut rows: Vec<Row> = Vec::new();
        // The watermark in front of a record, and 1 ms: an update takes effect at the time of the
        // row
        // after it, a deletion at once, and neither behind the watermark.
        let mut reached = BASE;
        for _ in 0..3 + tape.pick(12) {
            now = (now + tape.one(&[1000, 0, 300, 1000, 700])).min(BASE + TICKS * TICK - 1);
            let (time, before, after) = match self.kind {
                Kind::Static => (i64::MIN, None, Some(self.row(tape, 0))),
                Kind::Append => {
                    let back = tape.one(&[0, 0, 400, 1700]);
                    let time = (now - back).max(BASE);
                    (time, None, Some(self.row(tape, time)))
                }
                Kind::Keyed | Kind::Changes => {
                    let mut row = self.row(tape, now);
                    let known = match self.kind {
                        Kind::Keyed => rows.iter().position(|known| known[0] == row[0]),
                        _ if rows.is_empty() || tape.chance(50) => None,
                        _ => Some(tape.pick(rows.len())),
                    };
                    let stays = known.is_none() || tape.pick(3) != 1;
                    if let (true, Some(known), false) = (stays, known, self.kind == Kind::Keyed) {
                        // Without a key an update may leave part of the row as it is.
                        row[0] = rows[known][0].clone();
                    }
                    let before = known.map(|known| rows.remove(known));
                    let time = if stays { reached.max(now) } else { reached };
                    if stays {
                        rows.push(row.clone());
                        reached = reached.max(now + 1);
                    }
                    (time, before, stays.then_some(row))
                }
            };
            self.changes.push(Change { time, before, after });
        }
    }

    /// The rows at the border `time`: all changes before it.
    pub fn contents(&self, time: i64) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for change in self.changes.iter().filter(|change| change.time < time) {
            if let Some(before) = &change.before {
                let known = rows.iter().position(|row| row == before).expect("a row that is there");
                rows.remove(known);
            }
            rows.extend(change.after.clone());
        }
        rows
    }

    pub fn types(&self) -> Vec<Type> {
        self.columns.iter().map(|column| column.data_type).collect()
    }

    /// The declaration, over the file in `dir`.
    pub fn sql(&self, dir: &Path) -> String {
        let mut sql = format!("CREATE TABLE {} (", self.name);
        for (at, column) in self.columns.iter().enumerate() {
            let not = if column.nullable { "" } else { " NOT NULL" };
            let comma = if at == 0 { "" } else { ", " };
            let _ = write!(sql, "{comma}c{at} {}{not}", column.sql);
        }
        let last = self.columns.len() - 1;
        let watermark = match self.kind {
            Kind::Static => String::new(),
            Kind::Append => format!(", WATERMARK FOR c{last} AS c{last} - INTERVAL '20' SECOND"),
            Kind::Keyed | Kind::Changes => format!(", WATERMARK FOR c{last} AS c{last}"),
        };
        let key = if self.kind == Kind::Keyed { ", PRIMARY KEY (c0) NOT ENFORCED" } else { "" };
        let format = match self.kind {
            Kind::Append | Kind::Static => "json",
            Kind::Keyed | Kind::Changes => "changelog-json",
        };
        let path = dir.join(format!("{}.jsonl", self.name));
        let _ = writeln!(
            sql,
            "{watermark}{key}) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = \
             '{format}');",
            path.display()
        );
        sql
    }

    /// The file's text.
    pub fn file(&self) -> String {
        let mut text = String::new();
        for change in &self.changes {
            let lines = match (&change.before, &change.after, self.kind) {
                (_, Some(row), Kind::Append | Kind::Static) => vec![self.json(row)],
                (Some(before), Some(after), _) => {
                    vec![self.record("-U", before), self.record("+U", after)]
                }
                (Some(before), None, _) => vec![self.record("-D", before)],
                (_, Some(after), _) => vec![self.record("+I", after)],
                (None, None, _) => vec![],
            };
            lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
        text
    }

    pub fn write(&self, dir: &Path) {
        let path = dir.join(format!("{}.jsonl", self.name));
        fs::write(path, self.file()).expect("a table's file is written");
    }

    fn record(&self, op: &str, row: &Row) -> String {
        format!("{{\"op\":\"{op}\",\"data\":{}}}", self.json(row))
    }

    fn json(&self, row: &Row) -> String {
        let fields: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(at, value)| format!("\"c{at}\":{}", value.json()))
            .collect();
        format!("{{{}}}", fields.join(","))
    }
}
