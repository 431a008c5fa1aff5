//! Tests of the SQL front end: statements, types, queries, errors.

mod casts;
mod errors;
mod nexmark;
mod queries;
mod recursion;
mod statements;
mod types;

use super::bind::{BoundJob, BoundOutput, bind};
use super::script::parse_script;
use crate::error::Error;

/// Parses and binds one text.
fn bound(text: &str) -> Result<BoundJob, Error> {
    bind(&[parse_script("test.sql", text)?], &[])
}

/// The job of a text that must bind.
fn job(text: &str) -> BoundJob {
    bound(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The last output of a text that must bind.
fn last(text: &str) -> BoundOutput {
    job(text).outputs.pop().unwrap_or_else(|| panic!("no output: {text}"))
}

/// The optimised plan of the last output, indented.
fn plan(text: &str) -> String {
    last(text).plan.display_indent().to_string()
}

/// The error of a text that must not bind.
fn error(text: &str) -> Error {
    match bound(text) {
        Ok(_) => panic!("no error: {text}"),
        Err(error) => error,
    }
}

/// Tables that most tests read.
const TABLES: &str = "
CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING,
  `dateTime` TIMESTAMP(3), extra STRING,
  WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'bid.jsonl', 'format' = 'json');
CREATE TABLE typed (
  id INT NOT NULL, small SMALLINT, f FLOAT, d DOUBLE, amount DECIMAL(10, 2), name STRING,
  day_of DATE, ts TIMESTAMP(6), ltz TIMESTAMP_LTZ(3), flag BOOLEAN,
  tags ARRAY<STRING>, attributes MAP<STRING, INT>, place ROW<city STRING, at ROW<x INT, y INT>>,
  WATERMARK FOR ts AS ts
) WITH ('connector' = 'filesystem');
";

/// [`TABLES`] and a text.
fn with_tables(text: &str) -> String {
    format!("{TABLES}{text}")
}
