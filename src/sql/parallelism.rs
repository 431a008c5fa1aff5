//! On how many workers a table is read and written: what its options say.
//!
//! These options are the engine's, of every connector. They change no row that is read or written.
//! Called where options are checked, by the planner and by the dataflow.

use super::catalog::TableDef;
use crate::error::{Error, Result};
use crate::limits::{PARALLELISM_MAX, SINK_WRITERS_MAX};

/// Of reading and of writing.
const BOTH: &str = "parallelism";
/// Of reading.
const SCAN: &str = "scan.parallelism";
/// Whether what is read is dealt out to all workers.
const REBALANCE: &str = "scan.rebalance";
/// Of writing.
const SINK: &str = "sink.parallelism";

/// The connectors with sinks of several writers.
const DEALT: [&str; 1] = ["filesystem"];

/// The options, which every connector has.
pub const OPTIONS: [&str; 4] = [BOTH, SCAN, REBALANCE, SINK];

/// What the options of a table say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableParallelism {
    /// The first so many workers read it; `None`: all.
    pub scan: Option<usize>,
    /// So many writers write it; `None`: one.
    pub sink: Option<usize>,
    /// Whether what is read is dealt out to all workers.
    pub rebalance: bool,
}

impl TableParallelism {
    /// Of `table`; an error names the place of a value that is none.
    pub fn of(table: &TableDef) -> Result<Self> {
        let number = |key: &str| match table.options.get(key) {
            None => Ok(None),
            Some(text) => match parse(text) {
                Some(number) => Ok(Some(number)),
                None => Err(refused(table, key, text, &number_hint())),
            },
        };
        let both = number(BOTH)?;
        let rebalance = match table.options.get(REBALANCE).map(|text| text.trim()) {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(text) => return Err(refused(table, REBALANCE, text, "write 'true' or 'false'")),
        };
        Ok(TableParallelism {
            scan: number(SCAN)?.or(both),
            sink: number(SINK)?.or(both),
            rebalance,
        })
    }
}

/// How many writers a sink of `table` has: of connectors whose output is no one order, as many as
/// it says.
pub fn writers(table: &TableDef) -> Result<usize> {
    let said = TableParallelism::of(table)?.sink.unwrap_or(1);
    let is_dealt = table.options.get("connector").is_some_and(|c| DEALT.contains(&c.as_str()));
    Ok(if is_dealt { said.min(SINK_WRITERS_MAX) } else { 1 })
}

/// A number of workers; one that there are not so many of is all of them.
pub fn parse(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|number| (1..=PARALLELISM_MAX).contains(number))
}

/// What to write instead of what is no number of workers.
pub fn number_hint() -> String {
    format!("write a whole number from 1 to {PARALLELISM_MAX}")
}

fn refused(table: &TableDef, key: &str, value: &str, hint: &str) -> Error {
    let name = super::hints::written_name(&table.name);
    let error = Error::config(format!("table '{name}': '{key}' cannot be '{value}'"));
    table.at_value(key, error.with_hint(hint))
}
