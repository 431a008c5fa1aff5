//! The corpus of `tests/slt`: records in the form of sqllogictest, each run as a job of the engine.
//!
//! Statements (`CREATE`, `SET`) are kept as the beginning of the script; a query runs behind them,
//! once on one worker over whole inputs, and once on two over small chunks, which must not differ.
//! The expected rows come from an independent batch engine (`scripts/slt`).
//! `CASE=text` runs the files whose names contain the text.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use common::{in_parallel, tests_dir};
use floodmark::cluster::Topology;
use floodmark::error::{Error, Result};
use floodmark::formats::csv;
use floodmark::job::batch_run;
use floodmark::job::definition::Definition;
use sqllogictest::{DB, DBOutput, DefaultColumnType, Runner};

/// Fewer records than this, and the corpus has lost some.
const RECORDS_MIN: usize = 1500;

/// (workers, bytes of a split).
const SHAPES: [(usize, &str); 2] = [(1, "1000000"), (2, "200")];

/// The engine as sqllogictest sees it: a script that grows.
struct Engine {
    script: String,
}

type Rows = (Vec<DefaultColumnType>, Vec<Vec<String>>);

impl DB for Engine {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>> {
        let text = format!("{}{sql};\n", self.script);
        let first = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
        if !["SELECT", "WITH", "VALUES", "("].iter().any(|word| first.starts_with(word)) {
            Definition::new(&[("statement".into(), text.clone())], &[])?;
            self.script = text;
            return Ok(DBOutput::StatementComplete(0));
        }
        let mut found: Option<Rows> = None;
        for (workers, split_bytes) in SHAPES {
            let rows = query(&text, workers, split_bytes)?;
            match &found {
                Some(first) if first.1 != rows.1 => {
                    return Err(Error::internal(format!(
                        "{workers} workers give {:?}, one gives {:?}",
                        rows.1, first.1
                    )));
                }
                _ => found = Some(rows),
            }
        }
        let (types, rows) = found.unwrap_or_default();
        Ok(DBOutput::Rows { types, rows })
    }

    fn engine_name(&self) -> &str {
        "floodmark"
    }
}

/// The final contents of the last query of `script`.
fn query(script: &str, workers: usize, split_bytes: &str) -> Result<Rows> {
    let settings = [("source.split_bytes".to_owned(), split_bytes.to_owned())];
    let definition = Definition::new(&[("query".into(), script.to_owned())], &settings)?;
    let mut found = None;
    let stop = AtomicBool::new(false);
    batch_run::run(
        &definition,
        &Topology::alone(workers),
        None,
        None,
        &stop,
        |_| {},
        |rows| {
            found = Some(texts(rows)?);
            Ok(())
        },
    )?;
    found.ok_or_else(|| Error::internal("a query without an answer"))
}

/// The rows as sqllogictest compares them.
fn texts(rows: &RecordBatch) -> Result<Rows> {
    let schema = rows.schema();
    let types = schema.fields().iter().map(|field| match field.data_type() {
        t if t.is_integer() => DefaultColumnType::Integer,
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => {
            DefaultColumnType::FloatingPoint
        }
        _ => DefaultColumnType::Text,
    });
    let mut bytes = Vec::new();
    csv::write_rows(rows, &mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::internal("rows are UTF-8"))?;
    Ok((types.collect(), parse(&text)))
}

/// The fields of CSV rows: NULL and the empty string by their usual names.
fn parse(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut is_quoted, mut was_quoted) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => {
                is_quoted = !is_quoted;
                was_quoted = true;
            }
            ',' | '\n' if !is_quoted => {
                row.push(match (field.is_empty(), was_quoted) {
                    (true, true) => "(empty)".to_owned(),
                    (true, false) => "NULL".to_owned(),
                    (false, _) => std::mem::take(&mut field),
                });
                was_quoted = false;
                if c == '\n' {
                    rows.push(std::mem::take(&mut row));
                }
            }
            other => field.push(other),
        }
    }
    rows
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the folder of the corpus");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "slt")).collect();
    files.sort();
    files
}

#[test]
fn the_corpus_holds() {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let mut files = files(&tests_dir().join("slt"));
    files.retain(|path| path.to_string_lossy().contains(&wanted));
    in_parallel(&files, |path| {
        let engine = || async { Ok(Engine { script: String::new() }) };
        Runner::new(engine).run_file(path).map_err(|error| error.to_string())
    });
}

#[test]
fn the_corpus_is_whole() {
    let is_record = |line: &&str| line.starts_with("statement ") || line.starts_with("query ");
    let records = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a file of the corpus");
        text.lines().filter(is_record).count()
    };
    let count: usize = files(&tests_dir().join("slt")).iter().map(records).sum();
    assert!(count >= RECORDS_MIN, "{count} records, {RECORDS_MIN} are wanted");
}
