//! The connector without a service: bounds, the log, options.

use std::sync::Mutex;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};

use super::inlet::{Block, Inlet, Logged, Refusal, RowLog, Unlogged};
use super::*;
use crate::connectors::registry::{self, Role};
use crate::connectors::{NextSplit, PartitionPosition};
use crate::error::ErrorKind;
use crate::limits::{HTTP_TABLE_LOG_BYTES, HTTP_TABLE_QUEUE_BYTES_MAX};
use crate::sql::catalog::ColumnDef;

/// A table `t (n BIGINT, s STRING)`.
fn table(options: &[(&str, &str)]) -> Arc<TableDef> {
    let column = |name: &str, data_type| ColumnDef {
        name: name.into(),
        data_type,
        nullable: true,
        kind: ColumnKind::Physical,
    };
    let options = [("connector", "http")].iter().chain(options);
    Arc::new(TableDef {
        name: "t".into(),
        columns: vec![column("n", DataType::Int64), column("s", DataType::Utf8View)],
        watermark: None,
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: options.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        location: None,
        option_places: Default::default(),
    })
}

fn spec(table: &Arc<TableDef>) -> SourceSpec {
    let schema = table.stored_schema().project(&[0]).map(Arc::new).unwrap();
    let table = Arc::clone(table);
    SourceSpec { table, schema, split_bytes: 1, process: 0, processes: 1 }
}

/// A log in memory.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<Block>>>);

impl RowLog for Log {
    fn append(&self, block: &Block) -> Result<()> {
        self.0.lock().unwrap().push(block.clone());
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn read(&self, from: u64, bytes: usize) -> Result<(Vec<Block>, u64)> {
        let mut read = 0;
        let all = self.0.lock().unwrap();
        let rest = all.iter().skip(from as usize);
        let is_room = |block: &&Block| {
            let is_room = read < bytes;
            read += block.bytes;
            is_room
        };
        let blocks: Vec<Block> = rest.take_while(is_room).cloned().collect();
        let next = from + blocks.len() as u64;
        Ok((blocks, next))
    }

    fn logged(&self) -> Result<Logged> {
        let all = self.0.lock().unwrap();
        let keys = all.iter().filter_map(|b| Some((b.key.clone()?, b.first, b.end())));
        Ok(Logged { end: all.last().map_or(0, Block::end), keys: keys.collect() })
    }
}

fn body(first: i64, rows: i64) -> Vec<u8> {
    let line = |n: i64| format!("{{\"n\":{n},\"s\":\"{}\"}}\n", "x".repeat(50));
    (first..first + rows).map(line).collect::<String>().into_bytes()
}

fn send(inlet: &Inlet, first: i64, rows: i64) -> Result<inlet::Taken, Refusal> {
    inlet.take(RowsFormat::JsonLines, body(first, rows), None)
}

/// The numbers of all rows that `source` gives until it has given those before `end`.
fn numbers(source: &Arc<dyn Source>, end: i64) -> Vec<i64> {
    let mut found = Vec::new();
    let mut last = 0;
    while last < end {
        let NextSplit::Split(split) = source.next_split(0) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let decoded = source.decode(split).unwrap();
        let rows = decoded.rows.unwrap();
        assert_eq!(rows.num_columns(), 1);
        assert_eq!(decoded.offset + rows.num_rows() as i64, decoded.end.unwrap());
        found.extend(rows.column(0).as_primitive::<Int64Type>().values());
        last = decoded.end.unwrap();
        source.timed(0, last, last * 10);
    }
    found
}

#[test]
fn what_a_job_does_not_read_is_refused_at_a_bound() {
    let table = table(&[]);
    let inlet = Inlet::new(Arc::clone(&table), Box::new(Unlogged)).unwrap();
    let source = inlet.source(&spec(&table)).unwrap();
    source.start(Arc::new(|| {})).unwrap();
    let mut taken = 0;
    let error = loop {
        match send(&inlet, taken, 20_000) {
            Ok(block) => taken = block.end,
            Err(Refusal::Error(error)) => break error,
            Err(Refusal::Rows(rows)) => panic!("{rows:?}"),
        }
    };
    assert_eq!(error.kind, ErrorKind::Limit);
    assert!(error.message.contains("'t'") && error.hint.is_some(), "{error}");
    assert!((taken as usize) * 50 < HTTP_TABLE_QUEUE_BYTES_MAX);
    assert_eq!(numbers(&source, taken), (0..taken).collect::<Vec<_>>());
    // What was refused has no number.
    assert_eq!(send(&inlet, taken, 1).unwrap().first, taken);
}

#[test]
fn each_reader_is_given_the_log_from_its_position_and_then_what_comes() {
    let table = table(&[]);
    let log = Log::default();
    let inlet = Inlet::new(Arc::clone(&table), Box::new(log.clone())).unwrap();
    let rows = 3 * HTTP_TABLE_LOG_BYTES as i64 / 60;
    for first in (0..rows).step_by(1000) {
        send(&inlet, first, 1000.min(rows - first)).unwrap();
    }
    let inlet = Inlet::new(Arc::clone(&table), Box::new(log)).unwrap();
    let sources = [0, rows - 1500, rows].map(|from| {
        let source = inlet.source(&spec(&table)).unwrap();
        let position =
            PartitionPosition { name: "http".into(), offset: from, floor: 0, ended: false };
        source.resume(&[position]).unwrap();
        source.start(Arc::new(|| {})).unwrap();
        (from, source)
    });
    let read = |(from, source): &(i64, Arc<dyn Source>), end| {
        if *from < end {
            assert_eq!(numbers(source, end), (*from..end).collect::<Vec<_>>());
        }
    };
    sources.iter().for_each(|source| read(source, rows));
    let taken = send(&inlet, rows, 10).unwrap();
    assert_eq!((taken.first, inlet.time_of(&taken)), (rows, None));
    for (_, source) in &sources {
        assert_eq!(numbers(source, rows + 10), (rows..rows + 10).collect::<Vec<_>>());
    }
    assert_eq!(inlet.time_of(&taken), Some((rows + 10) * 10));
    inlet.forget(&taken);
    assert_eq!(inlet.time_of(&taken), None);
}

#[test]
fn options_are_checked() {
    let check = |options: &[(&str, &str)]| registry::validate(&table(options), Role::Source);
    for options in [
        &[][..],
        &[("format", "csv"), ("csv.field-delimiter", ";")],
        &[("json.timestamp-format.standard", "ISO-8601"), ("scan.watermark.idle-timeout", "5 s")],
    ] {
        check(options).unwrap();
    }
    for (options, part) in [
        (&[("format", "parquet")][..], "parquet"),
        (&[("json.ignore-parse-errors", "true")], "ignore-parse-errors"),
        (&[("path", "x")], "path"),
        (&[("scan.watermark.idle-timeout", "soon")], "soon"),
    ] {
        let error = check(options).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = registry::validate(&table(&[]), Role::Sink).unwrap_err();
    assert!(error.message.contains("cannot be written"), "{error}");
    assert_eq!(idle_timeout_ms(&table(&[("scan.watermark.idle-timeout", "0 s")])), None);
    assert_eq!(idle_timeout_ms(&table(&[])), Some(10_000));
}
